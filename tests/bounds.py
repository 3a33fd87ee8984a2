# SPDX-License-Identifier: Apache-2.0
"""Ops of a few numbers, and what rounding explains of their results."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnn.ir import ops
from bnn.ir.graph import DType, Node
from bnn.ir.ops.rounding import NOTHING
from bnn.verification.rounding import bound

U = 2.0**-24


def g(n: int) -> float:
    return n * U / (1 - n * U)


def limit(node: Node, operands: list[Any], errors: list[Any], own: float = 0.0) -> list[float]:
    """The bound, as a flat list."""
    types = [np.int32 if i.type.dtype is DType.i32 else np.float32 for i in node.inputs]
    values = [np.asarray(v, t) for v, t in zip(operands, types, strict=True)]
    wide = [NOTHING if e is None else np.broadcast_to(np.asarray(e, np.float32), v.shape)
            for e, v in zip(errors, values, strict=True)]  # fmt: skip
    found = bound(node, lambda: values, wide, own)
    return [float(v) for v in found.reshape(-1)]


def vector(op: str, attrs: Any = None, constants: tuple[Any, ...] = (), size: int = 1) -> Node:
    """An op of a vector, and of constants."""
    return ops.make(op, ops.input_node("x", (size,)), *(ops.constant(c) for c in constants), attrs=attrs)


def unary(op: str, x: float, e: float, attrs: Any = None) -> float:
    return limit(vector(op, attrs), [[[x]]], [e])[0]


def pair(op: str, a: float, b: float, ea: float, eb: float) -> float:
    x, y = ops.input_node("x", (1,)), ops.input_node("y", (1,))
    return limit(ops.make(op, x, y), [[[a]], [[b]]], [ea, eb])[0]


def rounded(error: float, size: float) -> float:
    return error + 2 * U * (size + error)


def dense(weights: list[float], slots: tuple[str, ...] = (), constants: tuple[float, ...] = (), **options: Any) -> Node:
    w = ops.constant(np.reshape(weights, (1, 1, 1, -1)))
    attrs = ops.ConvAttrs(slots=slots, **options)
    x = ops.input_node("x", (len(weights),))
    return ops.make("conv2d", x, w, *(ops.constant([c]) for c in constants), attrs=attrs)


def of_dense(node: Node, x: list[float], e: Any = None, own: float = 0.0) -> float:
    constants = [i.value for i in node.inputs[1:]]
    return limit(node, [[x], *constants], [e, *[None] * len(constants)], own)[0]


def binary(slots: tuple[str, ...], constants: tuple[Any, ...], planes: int = 1, **options: Any) -> Node:
    channels = 3 if planes == 1 else 64 * planes
    x = ops.input_node("x", (channels,), DType.b1)
    w = ops.constant(np.ones((1, 1, 1, channels // planes)), DType.b1)
    attrs = ops.ConvAttrs(slots=slots, planes=planes, **options)
    return ops.make("bconv2d", x, w, *constants, attrs=attrs)
