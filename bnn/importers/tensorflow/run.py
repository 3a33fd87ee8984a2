# SPDX-License-Identifier: Apache-2.0
"""Execute single nodes of a TensorFlow graph: only ops that compute, and only results that stay within a size limit."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import CompileError, UnsupportedOpError
from ..common.limits import MOST_BYTES
from .allowed import PURE
from .frozen import ALIASES, POINTWISE, SHAPE_OPS, TfNode
from .reason import reason

_MOST_SHAPE = 1024  # elements of a tensor that specifies a shape
# Their results have no more elements than the operands.
_NO_LARGER = ALIASES | SHAPE_OPS | {
    "All", "Any", "ArgMax", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "Max", "Mean", "Min", "Prod",
    "Reshape", "Slice", "Split", "SplitV", "Squeeze", "Sum", "Transpose", "Unpack",
}  # fmt: skip
_WIDEST = 16  # bytes of the widest type, complex128


def check_pure(node: TfNode) -> None:
    if node.op not in PURE:
        raise UnsupportedOpError(
            f"op {node.op} ('{node.name}') may do more than compute (read and write files, wait, call functions, draw "
            "numbers), so it is not compiled; leave it out of the model, or, if you trust the model, pass unsafe=True "
            "(--unsafe)"
        )


class Runner:
    """Runs single nodes eagerly through tf.raw_ops.  No other code executes any part of a model.

    ``unsafe``: also run ops that may do more than compute.
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
            return [tf.constant(node.attrs["value"])]
        if node.op == "IdentityN":
            return list(operands)
        function = self._function(node)
        if not self.unsafe:
            self._check_numbers(node)
            self._check_size(node, operands)
        try:
            result = function(**self._arguments(node, function, operands))
        except Exception as error:  # TensorFlow may raise anything; the caller wants one kind
            raise CompileError(f"op {node.op} ('{node.name}') cannot be executed: {reason(error)}") from error
        return list(result) if isinstance(result, (list, tuple)) else [result]

    def _function(self, node: TfNode) -> Any:
        function = getattr(self.tf.raw_ops, node.op, None)
        if function is None or self.definition(node.op) is None:
            raise UnsupportedOpError(f"op {node.op} ('{node.name}') cannot be executed")
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

    def _check_numbers(self, node: TfNode) -> None:
        """Refuse numbers beyond 32 bits: in an attribute they make TensorFlow end the whole process."""
        for name, value in node.attrs.items():
            numbers = value if isinstance(value, list) else [value]
            if any(isinstance(number, int) and not -(2**31) <= number < 2**31 for number in numbers):
                raise CompileError(f"op {node.op} ('{node.name}') cannot be executed: {name}: found {value}")

    def _check_size(self, node: TfNode, operands: Sequence[Any]) -> None:
        """Refuse a result that is too large before it is made: a few numbers can request any size."""
        shapes = tuple(_known(operand) for operand in operands)
        key = (node.name, shapes)
        if key not in self.sizes:
            self.sizes[key] = self._size(node, operands, shapes)
        if self.sizes[key] > MOST_BYTES:
            raise UnsupportedOpError(
                f"op {node.op} ('{node.name}') makes {self.sizes[key]:,} bytes; at most {MOST_BYTES:,} are made of one "
                "value: use smaller batches, or, if you trust the model, pass unsafe=True (--unsafe)"
            )

    def _size(self, node: TfNode, operands: Sequence[Any], shapes: Sequence[Any]) -> int:
        """Bytes of all results, as far as they are known in advance."""
        tf = self.tf
        if node.op in _NO_LARGER:
            return 0
        if node.op in POINTWISE:
            with contextlib.suppress(ValueError):
                width = _WIDEST if node.op == "Cast" else max(np.dtype(known[0]).itemsize for known in shapes)
                return math.prod(np.broadcast_shapes(*(known[1] for known in shapes))) * width
        function = self._function(node)
        try:
            with tf.Graph().as_default():
                said = [
                    tf.constant(operand) if len(known) == 3 else tf.compat.v1.placeholder(known[0], known[1])
                    for operand, known in zip(map(np.asarray, operands), shapes, strict=True)
                ]
                result = function(**self._arguments(node, function, said))
        except Exception as error:  # some kernels end the whole process on such shapes, so they are not executed
            raise CompileError(f"op {node.op} ('{node.name}') cannot be executed: {reason(error)}") from error
        results = result if isinstance(result, (list, tuple)) else [result]
        known = [r for r in results if r.shape.is_fully_defined()]
        return sum(math.prod(r.shape.as_list()) * int(r.dtype.size) for r in known)


@functools.cache
def _parameters(function: Any) -> tuple[str, ...]:
    return tuple(name for name in inspect.signature(function).parameters if name != "name")


def _known(operand: Any) -> tuple[Any, ...]:
    """(type, shape) of an operand, and its value if that may specify a shape."""
    array = np.asarray(operand)
    if array.dtype.kind in "iu" and array.size <= _MOST_SHAPE or array.size == 1:
        return array.dtype.name, array.shape, array.tobytes()
    return array.dtype.name, array.shape
