# SPDX-License-Identifier: Apache-2.0
"""Execute single nodes of a TensorFlow graph: only ops that compute, and only results that stay within a size limit."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import CompileError, UnsupportedOpError
from ..common.limits import MOST_BYTES
from ..common.remedies import CUT, OUTSIDE
from .allowed import PURE, UNUSED
from .frozen import POINTWISE, TfNode
from .reason import reason
from .sizes import BOUNDS, MOST_WORK, check_attributes, check_extent, check_operands, memory, work

_MOST_SHAPE = 1024  # elements of a tensor that specifies a shape
_WIDEST = 8  # bytes of the widest type that is computed with


def check_pure(node: TfNode) -> None:
    if node.op in PURE:
        return
    why = "may do more than compute (read and write files, wait, call functions, draw numbers)"
    if node.op in UNUSED:
        why = "only computes, but is none of the ops that are executed while a model is read"
    raise UnsupportedOpError(
        f"op {node.op} ('{node.name}') {why}, so it is not compiled; leave it out of the model, or, if you trust the "
        "model, pass unsafe=True (--unsafe)"
    )


class TfRunner:
    """Runs single nodes eagerly through tf.raw_ops.  No other code executes any part of a model.

    ``unsafe``: also run ops that may do more than compute, and without limits.
    """

    def __init__(self, tf: Any, unsafe: bool) -> None:
        from tensorflow.python.framework import op_def_registry

        self.tf = tf
        self.unsafe = unsafe
        self.definition = op_def_registry.get
        self.sizes: dict[tuple[Any, ...], int] = {}

    def __call__(self, node: TfNode, operands: Sequence[Any]) -> list[Any]:
        tf = self.tf
        if not self.unsafe:
            check_pure(node)
        if node.op == "Const":
            return [_readable(tf.constant(_constant(node)))]
        if node.op == "IdentityN":
            return list(operands)
        function = self._function(node)
        if not self.unsafe:
            self._check(node, operands)
        try:
            result = function(**self._arguments(node, function, operands))
        except Exception as error:  # TensorFlow may raise anything; the caller wants one kind
            raise CompileError(f"op {node.op} ('{node.name}') cannot be executed: {reason(error)}") from error
        results = list(result) if isinstance(result, (list, tuple)) else [result]
        if not self.unsafe:
            for made in results:  # an empty one may have a huge dimension
                check_extent(node, "a result", made.shape.as_list(), int(made.dtype.size), MOST_BYTES)
        return [_readable(made) for made in results]

    def _function(self, node: TfNode) -> Any:
        function = getattr(self.tf.raw_ops, node.op, None)
        if function is None or self.definition(node.op) is None:
            raise UnsupportedOpError(f"op {node.op} ('{node.name}') cannot be executed; {CUT}")
        return function

    def _arguments(self, node: TfNode, function: Any, operands: Sequence[Any]) -> dict[str, Any]:
        """By the function's parameters: first the operands, in their order, then the attributes, those with a default
        last.  (Python renames some: Mean's reduction_indices and Squeeze's squeeze_dims are axis.)"""
        definition = self.definition(node.op)
        parameters = iter(_parameters(function))
        arguments, rest = {}, list(operands)
        implicit = set()  # types and the lengths of lists
        for argument, name in zip(definition.input_arg, parameters, strict=False):
            implicit |= {argument.type_attr, argument.number_attr, argument.type_list_attr}
            if argument.number_attr or argument.type_list_attr:
                length = node.attrs[argument.number_attr or argument.type_list_attr]
                count = length if isinstance(length, int) else len(length)
                arguments[name], rest = rest[:count], rest[count:]
            else:
                arguments[name] = rest.pop(0)
        attributes = [a for a in definition.attr if a.name not in implicit]
        attributes.sort(key=lambda a: bool(a.HasField("default_value")))
        named = zip(attributes, parameters, strict=True)
        return arguments | {name: node.attrs[a.name] for a, name in named if a.name in node.attrs}

    def _check(self, node: TfNode, operands: Sequence[Any]) -> None:
        """Refuse what a kernel may not survive, and a result that is too large before it is made: a few numbers can
        request any size."""
        arrays = [np.asarray(operand) for operand in operands]
        key = (node.name, tuple(map(_known, arrays)))
        if key not in self.sizes:
            definition = self.definition(node.op)
            check_attributes(definition, node)
            check_operands(definition, node, arrays, MOST_BYTES)
            self.sizes[key] = self.size(node, arrays)
        if self.sizes[key] > MOST_BYTES:
            raise UnsupportedOpError(
                f"op {node.op} ('{node.name}') makes {self.sizes[key]:,} bytes; at most {MOST_BYTES:,} are made of one "
                "value: use smaller batches, or, if you trust the model, pass unsafe=True (--unsafe)"
            )

    def size(self, node: TfNode, operands: Sequence[Array]) -> int:
        """Bytes of all results, and what the kernel takes beside them, at most."""
        if node.op in BOUNDS:
            return BOUNDS[node.op](node, operands)
        if node.op in POINTWISE:
            try:
                width = _WIDEST if node.op == "Cast" else max(x.dtype.itemsize for x in operands)
                return math.prod(np.broadcast_shapes(*(x.shape for x in operands))) * int(width)
            except ValueError:
                pass  # they do not broadcast: the op has its own rule
        results = self._inferred(node, operands)
        if any(shape is None for shape, _ in results):
            raise UnsupportedOpError(
                f"op {node.op} ('{node.name}'): the size of its result is not known before it is made; leave the op "
                "out of the model, or, if you trust the model, pass unsafe=True (--unsafe)"
            )
        shapes = [shape or [] for shape, _ in results]
        if (most := work(node, operands, shapes)) > MOST_WORK:
            raise UnsupportedOpError(
                f"op {node.op} ('{node.name}') computes {most:,} products or comparisons; at most {MOST_WORK:,} are "
                "computed: use smaller batches, or, if you trust the model, pass unsafe=True (--unsafe)"
            )
        return sum(math.prod(shape or []) * width for shape, width in results) + memory(node, operands)

    def _inferred(self, node: TfNode, operands: Sequence[Array]) -> list[tuple[list[int] | None, int]]:
        """The shapes of the results, as far as TensorFlow infers them in a graph, which is not executed, and the bytes
        of an element.  Some kernels end the whole process on operands that do not fit; this finds these before."""
        tf, function = self.tf, self._function(node)
        try:
            with tf.Graph().as_default():
                said = [
                    tf.constant(x) if _says_a_shape(x) else tf.compat.v1.placeholder(x.dtype.name, x.shape)
                    for x in operands
                ]
                result = function(**self._arguments(node, function, said))
            results = list(result) if isinstance(result, (list, tuple)) else [result]
            known = [r.shape.is_fully_defined() for r in results]  # an error if a size is negative
            return [(r.shape.as_list() if k else None, int(r.dtype.size)) for r, k in zip(results, known, strict=True)]
        except Exception as error:  # TensorFlow may raise anything; the caller wants one kind
            raise CompileError(f"op {node.op} ('{node.name}') cannot be executed: {reason(error)}") from error


def _constant(node: TfNode) -> Any:
    value = node.attrs.get("value")
    if value is None:
        raise UnsupportedOpError(f"op Const ('{node.name}') has no value of numbers; {OUTSIDE}")
    return value


def _readable(result: Any) -> Any:
    """A tensor that NumPy can read: TensorFlow's own of a single bfloat16 fails."""
    return np.asarray(result.numpy()) if result.dtype == "bfloat16" and result.shape.rank == 0 else result


@functools.cache
def _parameters(function: Any) -> tuple[str, ...]:
    return tuple(name for name in inspect.signature(function).parameters if name != "name")


def _says_a_shape(array: Array) -> bool:
    return array.dtype.kind in "iu" and array.size <= _MOST_SHAPE or array.size == 1


def _known(array: Array) -> tuple[Any, ...]:
    """(type, shape) of an operand, and its value if that may specify a shape."""
    if _says_a_shape(array):
        return array.dtype.name, array.shape, array.tobytes()
    return array.dtype.name, array.shape
