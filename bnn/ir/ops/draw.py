# SPDX-License-Identifier: Apache-2.0
"""Helpers of the makers of random instances.

A maker gets a generator and data (H, W, C) of a type that its record takes, and returns a node that is the op, or reads
it.  The constants are small integers: sums and products of them are exact in any order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..._types import Array
from ..graph import DType, Node
from .record import Maker, Rng, make
from .sources import constant


def plain_maker(op: str) -> Maker:
    """The op with the data as its only operand and default attributes."""
    return lambda rng, x: make(op, x)


def integers(rng: Rng, shape: Sequence[int]) -> Array:
    """Small whole numbers as float32."""
    return rng.integers(-4, 5, tuple(shape)).astype(np.float32)


def signs(rng: Rng, shape: Sequence[int]) -> Node:
    """A constant of random bits."""
    return constant(rng.choice([-1, 1], tuple(shape)), DType.b1)


def per_channel(rng: Rng, x: Node) -> Node:
    """A constant number per channel of the data."""
    return constant(integers(rng, x.type.shape[-1:]))
