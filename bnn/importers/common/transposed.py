# SPDX-License-Identifier: Apache-2.0
"""Transposed convolutions as ordinary ones."""

from __future__ import annotations

import numpy as np

from ..._types import Array
from ...ir.graph import DType, Node
from ...ir.ops import ConvAttrs, constant
from .layer import SourceOp


def transposed(
    s: SourceOp, x: Node, w: Array, size: tuple[int, int], strides: tuple[int, int], before: tuple[int, int]
) -> Node:
    """Output row y gets x[i] w[k] for every stride * i + k - before = y, in an image of some size; filters OHWI.

    Rows with the same remainder by the stride use the same taps k, every stride-th one, and consecutive i: they are an
    ordinary convolution, taps in reverse.  So there are stride_h * stride_w convolutions (one if the stride is 1),
    whose pixels are then interleaved: nothing is multiplied by inserted zeros, and bits stay bits.
    """
    h, width, filters = *size, w.shape[0]
    rows = _Axis(h, x.type.shape[0], w.shape[1], strides[0], before[0])
    columns = _Axis(width, x.type.shape[1], w.shape[2], strides[1], before[1])
    parts = []
    exact = rows.stride == columns.stride == 1 and (rows.count, columns.count) == (h, width)
    for i in range(rows.stride):
        for j in range(columns.stride):
            own = columns.taps(rows.taps(w, 1, i), 2, j)
            (top, bottom), (left, right) = rows.pads(i), columns.pads(j)
            attrs = ConvAttrs(pads=(top, left, bottom, right))
            parts.append(s.make("conv2d", x, constant(own, name=s.layer), attrs=attrs, final=exact))
    if exact:
        return parts[0]
    joined = parts[0] if len(parts) == 1 else s.concat(parts, final=False)
    phase_h, at_h = rows.place()
    phase_w, at_w = columns.place()
    phase = phase_h[:, None] * columns.stride + phase_w
    pixel = at_h[:, None] * columns.count + at_w
    index = ((pixel * len(parts) + phase) * filters)[..., None] + np.arange(filters)
    return s.make("gather", joined, constant(index, DType.i32, s.layer))


class _Axis:
    """One spatial axis: ``count`` outputs of every phase; some are unused."""

    def __init__(self, size: int, given: int, kernel: int, stride: int, before: int) -> None:
        self.size, self.given, self.kernel, self.stride, self.before = size, given, kernel, stride, before
        outputs = -(-size // stride)
        self.count = 0
        for phase in range(stride):
            first, taps, skipped = self._phase(phase)
            self.count = max(self.count, outputs + skipped, given + first - taps + 1)

    def _phase(self, phase: int) -> tuple[int, int, int]:
        """(padding before, taps, outputs before the first used one)"""
        offset, first_tap = divmod(phase + self.before, self.stride)
        taps = max(-(-(self.kernel - first_tap) // self.stride), 1)  # at least one, of zeros
        pad = taps - 1 - offset
        return max(pad, 0), taps, max(-pad, 0)

    def taps(self, w: Array, axis: int, phase: int) -> Array:
        """The phase's filters, reversed."""
        first = (phase + self.before) % self.stride
        own = np.take(w, np.arange(first, self.kernel, self.stride)[::-1], axis)
        return own if own.shape[axis] else np.zeros_like(np.take(w, [0], axis))

    def pads(self, phase: int) -> tuple[int, int]:
        pad, taps, _ = self._phase(phase)
        return pad, self.count + taps - 1 - self.given - pad

    def place(self) -> tuple[Array, Array]:
        """The phase of each output, and its position among the outputs of the phase."""
        phase = np.arange(self.size) % self.stride
        skipped = np.array([self._phase(p)[2] for p in range(self.stride)])
        return phase, np.arange(self.size) // self.stride + skipped[phase]
