# SPDX-License-Identifier: Apache-2.0
"""Float filters that are hard to keep: every kind of float, wherever it may stand."""

from __future__ import annotations

import numpy as np

from bnn._types import Array


def hostile_filters(rng: np.random.Generator, shape: tuple[int, ...], wild: float) -> Array:
    """Normal numbers; a part of them, ``wild``, any bits at all: zeros of both signs, denormals, infinities and what is
    not a number, with its payload, among them."""
    bits = rng.normal(size=shape).astype("<f4").view("<u4")
    any_bits = rng.integers(0, 2**32, shape, np.uint32)
    kinds = rng.integers(0, 5, shape)
    any_bits[kinds == 1] &= 0x80000000
    any_bits[kinds == 2] &= 0x807FFFFF
    any_bits[kinds == 3] |= 0x7F800000
    any_bits[kinds == 4] &= 0xFF800000
    return np.where(rng.random(shape) < wild, any_bits, bits).astype("<u4").view("<f4")


def few_values(rng: np.random.Generator, shape: tuple[int, ...], count: int, finite: bool = False) -> Array:
    """Filters of exactly so many values, of every (finite) kind; each stands somewhere, where there is room."""
    drawn = hostile_filters(rng, (8 * count + 8,), 0.5)
    if finite:
        drawn = drawn[np.isfinite(drawn)]
    _, first = np.unique(drawn.view("<u4"), return_index=True)
    values = drawn[np.sort(first)[:count]]
    index = rng.integers(0, count, shape)
    index.reshape(-1)[:count] = np.arange(count)[: index.size]
    return values[index]


def same_bits(a: Array, b: Array) -> bool:
    return np.array_equal(np.ascontiguousarray(a).view("<u4"), np.ascontiguousarray(b).view("<u4"))
