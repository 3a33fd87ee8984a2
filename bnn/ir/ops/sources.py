# SPDX-License-Identifier: Apache-2.0
"""Values that no op computes: inputs and constants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..graph import Attrs, DType, Node, TensorType, Value
from .record import Op, Types, make, want


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


def input_node(label: str, shape: tuple[int, ...], dtype: DType = DType.f32) -> Node:
    """A graph input (shape without the batch)."""
    return make("input", attrs=InputAttrs(label, shape, dtype), name=label)


RECORDS = (
    Op("input", None, InputAttrs, input_type, lambda a: None, gives_bytes=True),
    Op("constant", None, ConstantAttrs, constant_type, lambda a: a.value.array),
)
