# SPDX-License-Identifier: Apache-2.0
"""Random networks whose shortcuts are int16."""

from __future__ import annotations

import numpy as np

import op_graphs
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.ops import (
    REQUANTIZATION,
    ConvAttrs,
    LimitsAttrs,
    PoolAttrs,
    ReshapeAttrs,
    WidthAttrs,
    constant,
    input_node,
    make,
)
from bnn.ir.ops.conv import random_requantization
from bnn.ir.ops.requantize import random_limits
from bnn.ir.ops.sources import signs

Rng = np.random.Generator


def shortcuts(rng: Rng, *, over_time: bool = False) -> Graph:
    """Bytes to sums, blocks and pools of int16, then what reads the whole image.  ``over_time``: without padding of
    rows."""
    height, width, channels = (int(v) for v in rng.integers((16, 1, 1), (40, 6, 5)))
    x = input_node("x", (height, width, channels), DType.u8)
    filters = int(rng.choice([3, 8, 33]))
    kernel = int(rng.integers(1, 5)), int(rng.choice([1, 3]))
    h = _conv(rng, x, filters, kernel, stride=int(rng.integers(1, 3)))
    beside: list[Node] = []
    for _ in range(int(rng.integers(1, 6))):
        kind = rng.integers(0, 5)
        if kind == 0 and h.type.shape[0] >= 4:
            h = make(_pool(rng), h, attrs=PoolAttrs((2, 1), (2, 1)))
        elif kind == 1 and not over_time and min(h.type.shape[:2]) > 1:
            h = make(_pool(rng), h, attrs=PoolAttrs((3, 2), (1, 1), (1, 0, 2, 1)))
        elif kind == 2:
            h = _other_scale(rng, h, DType.i16)
        else:
            thresholds = constant(rng.integers(-9999, 10000, filters), DType.i16)
            bits = make("binarize16", h, thresholds, signs(rng, (filters,)))
            sums = _conv(
                rng,
                bits,
                filters,
                (1, 3) if over_time else (3, 3),
                1,
                not over_time,
                pad_value=int(rng.integers(-1, 2)),
            )
            both = (sums, h) if rng.random() < 0.5 else (h, sums)
            h = make("add16", *both, attrs=LimitsAttrs(*random_limits(rng)))
        beside += [h] * (rng.random() < 0.3)
        if h.type.shape[2] == filters and rng.random() < 0.2:
            beside.append(make("concat", h, _other_scale(rng, h, DType.i16)))
    kinds = [_pool(rng) for _ in (h, *beside)]
    pooled = [_whole(kind, _other_scale(rng, v, DType.u8)) for kind, v in zip(kinds, (h, *beside), strict=True)]
    y = make("concat", *pooled) if beside else pooled[0]
    y = make("cast", y, constant(np.arange(256) - 128))
    return op_graphs.plan([x], [make("reshape", y, attrs=ReshapeAttrs((y.type.shape[2],)))], None if over_time else rng)


def _conv(
    rng: Rng, x: Node, filters: int, kernel: tuple[int, int], stride: int = 1, rows: bool = False, pad_value: int = 0
) -> Node:
    """int16 sums of bytes or bits; columns are padded, and ``rows`` for windows of 3."""
    binary = x.type.dtype is DType.b1
    shape = (filters, *kernel, x.type.shape[2])
    sizes = np.full(filters, np.prod(shape[1:]) * (64.0 if binary else 127 * 100))
    _, numbers = random_requantization(rng, sizes, DType.i16)
    pads = (int(rows), kernel[1] // 2) * 2
    slots = REQUANTIZATION if binary else ("zeros", *REQUANTIZATION)
    attrs = ConvAttrs((stride, 1), (1, 1), pads, pad_value, slots=slots, out=DType.i16)
    if binary:
        return make("bconv2d", x, signs(rng, shape), *numbers, attrs=attrs)
    weights, zeros = constant(rng.integers(-128, 128, shape), DType.i8), constant(rng.integers(0, 256, shape[3]))
    return make("qconv2d", x, weights, zeros, *numbers, attrs=attrs)


def _other_scale(rng: Rng, x: Node, out: DType) -> Node:
    _, numbers = random_requantization(rng, np.full(x.type.shape[2], 64 * 2.0**15), out)
    return make("requantize16", x, *numbers, attrs=WidthAttrs(out))


def _pool(rng: Rng) -> str:
    return str(rng.choice(["max_pool", "avg_pool"]))


def _whole(op: str, x: Node) -> Node:
    return make(op, x, attrs=PoolAttrs(x.type.shape[:2], (1, 1)))
