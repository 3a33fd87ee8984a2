# SPDX-License-Identifier: Apache-2.0
"""Ranges by which bytes are nearer to floats: sums of bits that are bytes as they are, and bytes that keep a sign."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from ..ir.graph import DType, Node
from ..ir.ops import CONVOLUTIONS, INF, conv_attrs
from ..ir.quantization import Bytes
from .channels import Scales
from .separable import MOVES
from .units import Units, is_mean, linear


def exact_ranges(
    units: Units, ranges: Mapping[Node, Bytes], own: Mapping[Node, Scales]
) -> tuple[dict[Node, Bytes], dict[Node, Scales]]:
    """These ranges; of sums of bits, and of their sums, the scale is the distance between two sums, where it is not
    below the scale that they have: each byte is a sum then, and nothing is rounded."""
    steps: dict[Node, float] = {}
    near, apart = dict(ranges), dict(own)
    for node in units.order:
        core = units.core(node)
        data = [steps.get(x, 0.0) for x in core.data]
        step = 0.0
        if core.op == "bconv2d" and core.type.dtype is DType.f32:
            step = _step(core)
        elif core.op == "add" and len(data) == 2 and min(data) > 0 and max(data) % min(data) == 0:
            step = min(data)
        elif core.op in MOVES and core.op != "avg_pool" and len(set(data)) == 1:
            step = data[0]
        step *= all(limit in (-INF, 0.0, INF) for limit in units.limits(node))
        steps[node] = step
        if node in ranges and 0 < ranges[node].scale <= step:
            zero, scale = _spaced(Scales(np.array([ranges[node].zero]), np.array([ranges[node].scale])), step)
            near[node] = Bytes(float(scale[0]), int(zero[0]))
        if node in own and step:
            apart[node] = _spaced(own[node], step)
    return near, apart


def _step(conv: Node) -> float:
    """The distance between two sums of a convolution of bits, or 0 if the filters differ in it."""
    attrs, (factor, term) = conv_attrs(conv), linear(conv)
    if attrs.planes > 1 or (factor != factor[0]).any() or term.any():
        return 0.0
    even = math.prod(conv.inputs[1].type.shape[1:]) % 2 == 0 and (attrs.pad_value != 0 or not any(attrs.pads))
    return abs(float(np.float32(factor[0]))) * (2 if even else 1)


def _spaced(q: Scales, step: float) -> Scales:
    """Of this scale, whose ranges have those of ``q`` in the middle, where it is not below that of ``q``; 0 stays at
    its end."""
    spare = 255 - 255 * q.scales / step
    zeros = np.where(q.zeros == 0, 0, np.rint(q.zeros * q.scales / step + spare / 2)).astype(int)
    return Scales(np.where(spare >= 0, zeros, q.zeros), np.where(spare >= 0, step, q.scales))


def with_signs(
    units: Units, ranges: Mapping[Node, Bytes], own: Mapping[Node, Scales], apart: Collection[Node]
) -> tuple[dict[Node, Bytes], dict[Node, Scales]]:
    """These ranges; the bytes of values whose signs are read begin at 0 instead of having it in their middle, so that
    rounding turns no sign; those of a channel begin at its threshold.  There is no byte of 0 then, which no reader may
    need: none pads or multiplies."""
    readers, fine, near, split = units.readers(), set[Node](), dict(ranges), dict(own)

    def may_read(reader: Node, node: Node) -> bool:
        core = units.core(reader)
        if units.base[reader] is not reader or core.op == "affine" or core.op in ("binarize", "add"):
            return True
        if core.op == "conv2d":
            return not any(conv_attrs(core).pads)
        moves = core.op in ("max_pool", "slice", "copy", "reshape") or core.op == "concat" and core in apart
        return moves and reader in fine or core.op == "avg_pool" and is_mean(core)

    for node in reversed(units.order):
        if all(may_read(reader, node) for reader in readers[node]):
            fine.add(node)
        signs = any(units.core(reader).op == "binarize" for reader in readers[node])
        if node not in fine or not signs or units.limits(node) != (-INF, INF) or units.base[node] is not node:
            continue
        if units.core(node).op not in ("add", *CONVOLUTIONS, "affine"):
            continue
        if node in split:
            split[node] = _turning(split[node], next(r for r in readers[node] if units.core(r).op == "binarize"))
        elif node in near:
            near[node] = replace(near[node], half=True)
    return near, split


def _turning(q: Scales, bits: Node) -> Scales:
    """Zeros, at most half a byte from those of ``q``, by which a channel's threshold lies between two bytes."""
    turn = (bits.inputs[1].value if len(bits.inputs) > 1 else 0.0) / q.scales
    zeros = np.rint(q.zeros + turn) - 0.5 - turn
    return Scales(np.where(zeros > 255, zeros - 1, zeros), q.scales)
