# SPDX-License-Identifier: Apache-2.0
"""Layers that move bits and compute nothing, as maps of elements; random chains of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bnn._types import Array
from bnn.ir import ops
from bnn.ir.graph import DType, Node

Rng = np.random.Generator
MOST = 4096  # elements that a chain may grow to


def permute(rng: Rng, x: Array) -> Array:
    return x.transpose([(1, 0, 2), (2, 1, 0), (0, 2, 1), (1, 2, 0)][rng.integers(4)])


def channel_shuffle(rng: Rng, x: Array) -> Array:
    h, w, c = x.shape
    groups = int(rng.choice([g for g in range(1, c + 1) if c % g == 0]))
    return x.reshape(h, w, groups, c // groups).swapaxes(2, 3).reshape(h, w, c)


def crop(rng: Rng, x: Array) -> Array:
    top, left = (int(rng.integers(n)) for n in x.shape[:2])
    bottom, right = (int(rng.integers(at, n)) + 1 for at, n in zip((top, left), x.shape, strict=False))
    return x[top:bottom, left:right]


def upsample(rng: Rng, x: Array) -> Array:
    return x.repeat(int(rng.integers(1, 3)), axis=0).repeat(int(rng.integers(1, 4)), axis=1)


def strided(rng: Rng, x: Array) -> Array:
    y, x_step = (int(n) for n in rng.integers(1, 4, 2))
    return x[int(rng.integers(min(y, x.shape[0]))) :: y, int(rng.integers(min(x_step, x.shape[1]))) :: x_step]


def flip(rng: Rng, x: Array) -> Array:
    return np.flip(x, axis=int(rng.integers(3)))


def depth_to_space(rng: Rng, x: Array) -> Array:
    h, w, c = x.shape
    if c % 4:
        return x.reshape(w, h, c)  # a reshape of its own
    return x.reshape(h, w, 2, 2, c // 4).transpose(0, 2, 1, 3, 4).reshape(2 * h, 2 * w, c // 4)


KINDS: dict[str, Callable[[Rng, Array], Array]] = {
    f.__name__: f for f in (permute, channel_shuffle, crop, upsample, strided, flip, depth_to_space)
}


def moved(rng: Rng, x: Node, kind: str, name: str = "") -> Node:
    """A value moved by a kind of layer."""
    h, w, c = x.type.shape
    index = KINDS[kind](rng, np.arange(h * w * c).reshape(h, w, c))
    return ops.make("gather", x, ops.constant(index, DType.i32), name=name or kind)


def chain(rng: Rng, x: Node, length: int) -> Node:
    """A value moved by so many layers, of random kinds."""
    for k in range(length):
        longer = moved(rng, x, str(rng.choice(list(KINDS))), f"move_{k}")
        x = longer if np.prod(longer.type.shape) <= MOST else x
    return x
