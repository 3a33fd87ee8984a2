# SPDX-License-Identifier: Apache-2.0
"""Layers that move bits, as convolutions where possible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..._types import Array
from ...errors import UnsupportedOpError
from .network import SpikeOp, Term
from .views import spatial


def as_convolutions(op: SpikeOp) -> SpikeOp:
    """The same layer, what it moves as convolutions."""
    terms = tuple(t if t.index is None else _as_convolution(t, t.index, op.name) for t in op.terms)
    return replace(op, terms=terms)


def _as_convolution(t: Term, index: Array, name: str) -> Term:
    """A move that takes every pixel of a channel from the same place beside its own: a crop, every second pixel, pixels
    as channels, elements as one pixel."""
    height, width, channels = spatial(t.source.type.shape)
    h, w, c = index.shape
    mine = np.flatnonzero(index[0, 0] >= 0)
    pixel, channel = np.divmod(index[:, :, mine], channels)
    y, x = np.divmod(pixel, width)
    tops, lefts = y[0, 0], x[0, 0]
    down = int(y[1, 0, 0] - tops[0]) if h > 1 and len(mine) else 1
    right = int(x[0, 1, 0] - lefts[0]) if w > 1 and len(mine) else 1
    alike = (
        len(mine) > 0
        and ((index >= 0) == (index[0, 0] >= 0)).all()
        and down > 0 < right
        and (channel == channel[0, 0]).all()
        and (y == tops + down * np.arange(h)[:, None, None]).all()
        and (x == lefts + right * np.arange(w)[:, None]).all()
    )
    if not alike:
        raise UnsupportedOpError(
            f"layer '{name}': it moves bits as no convolution does (flipped, transposed, repeated or rearranged "
            "pixels); use the profile 'flat', or leave the layer out"
        )
    top, left = int(tops.min()), int(lefts.min())
    weight = np.zeros((c, int(tops.max()) - top + 1, int(lefts.max()) - left + 1, channels), np.int64)
    weight[mine, tops - top, lefts - left, channel[0, 0]] = 1
    return Term(t.source, weight, (down, right), (-top, -left, 0, 0), np.full(c, -1))
