# SPDX-License-Identifier: Apache-2.0
"""Values that no op computes, inputs and constants; and helpers of the makers of random instances.

A maker gets a generator and data (H, W, C) of a type that its record takes, and returns a node that is the op, or reads
it.  The constants are small integers: sums and products of them are exact in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..._types import Array
from ..graph import Attrs, DType, Node, TensorType, Value
from .record import Maker, Op, Rng, Types, make, want


@dataclass(frozen=True)
class InputAttrs(Attrs):
    label: str = "input"
    shape: tuple[int, ...] = ()
    dtype: DType = DType.f32


@dataclass(frozen=True)
class ConstantAttrs(Attrs):
    value: Value = field(default_factory=lambda: Value(np.zeros(1, np.float32)))
    dtype: DType = DType.f32


def input_type(_: Types, a: InputAttrs) -> TensorType:
    return TensorType(a.shape, a.dtype)


def constant_type(_: Types, a: ConstantAttrs) -> TensorType:
    array = a.value.array
    want(array.dtype == a.dtype.numpy, f"a constant of {a.dtype.name} holds {array.dtype}")
    if a.dtype is DType.b1:
        want(bool(np.all(np.abs(array) == 1)), "a b1 constant must hold +1 and -1 only")
    return TensorType(tuple(array.shape), a.dtype)


def constant(array: Any, dtype: DType = DType.f32, name: str = "") -> Node:
    """A constant node from anything NumPy takes; bits are given as +1 and -1."""
    value = Value(np.asarray(array, dtype=dtype.numpy))
    return make("constant", attrs=ConstantAttrs(value, dtype), name=name)


def unrepeated(array: Array) -> Array:
    """A float32 array of the fewest elements that broadcasts to this one, at least one-dimensional; bits are compared,
    so that signs of zeros stay."""
    array = np.atleast_1d(array)
    for axis, size in enumerate(array.shape):
        first = array[(slice(None),) * axis + (slice(1),)]
        same = array.strides[axis] == 0 or size > 1 and (array.view(np.uint32) == first.view(np.uint32)).all()
        array = first if same else array
    begin = next((i for i, n in enumerate(array.shape[:-1]) if n != 1), array.ndim - 1)
    return array.reshape(array.shape[begin:])


def input_node(label: str, shape: tuple[int, ...], dtype: DType = DType.f32) -> Node:
    """A graph input (shape without the batch)."""
    return make("input", attrs=InputAttrs(label, shape, dtype), name=label)


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


RECORDS = (
    Op("input", None, InputAttrs, input_type, lambda a: None, gives_bytes=True),
    Op("constant", None, ConstantAttrs, constant_type, lambda a: a.value.array, gives_bytes=True),
)
