# SPDX-License-Identifier: Apache-2.0
"""What an op asks for, from its operands and attributes alone: known before it runs, or the op does not run.

TensorFlow's shape inference gives the shapes of most results.  For the ops below a bound is known without it: those
that give no more than they take, and those whose results depend on their operands' numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..._types import Array
from ...errors import CompileError, UnsupportedOpError
from ..common.remedies import CUT
from .frozen import ALIASES, MOST_RANK, NUMBERS, TfNode

Operands = Sequence[Array]
Shape = Sequence[int]

MOST_WORK = 2**40
"""Products and comparisons of one op: minutes."""
_MOST_WINDOW = 2**15
_MOST_RESULTS = 2**14
_WIDE = 8  # bytes of the types of positions and sizes


def extent(shape: Shape, width: int) -> int:
    """The bytes of a tensor, or, if it is empty, of one whose other dimensions are as large: what a reduction may make
    of it."""
    return math.prod(max(size, 1) for size in shape) * width


def _largest(operands: Operands) -> int:
    return max((extent(x.shape, x.dtype.itemsize) for x in operands), default=0)


def _no_larger(node: TfNode, operands: Operands) -> int:
    return _largest(operands)


def _together(node: TfNode, operands: Operands) -> int:
    return sum(extent(x.shape, x.dtype.itemsize) for x in operands)


def _positions(node: TfNode, operands: Operands) -> int:
    """A number for each element, or fewer."""
    return max((extent(x.shape, _WIDE) for x in operands), default=0)


def _shapes(node: TfNode, operands: Operands) -> int:
    return sum(_WIDE * max(x.ndim, 1) for x in operands)


def _norm(node: TfNode, operands: Operands) -> int:
    """The data, and five results of one number per channel, which may be wider than the data."""
    return _largest(operands) + 5 * 4 * max((max(x.shape, default=1) for x in operands), default=1)


BOUNDS: dict[str, Callable[[TfNode, Operands], int]] = {
    **dict.fromkeys(ALIASES, _no_larger),
    **dict.fromkeys((
        "All", "Any", "EuclideanNorm", "Max", "Mean", "Min", "OnesLike", "Prod", "Reshape", "Slice", "Split", "SplitV",
        "Squeeze", "Sum", "Transpose", "Unpack", "ZerosLike",
    ), _no_larger),
    **dict.fromkeys(("ArgMax", "ArgMin"), _positions),
    **dict.fromkeys(("Rank", "Shape", "ShapeN", "Size"), _shapes),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), _norm),
    **dict.fromkeys(("BroadcastArgs", "ConcatOffset"), _together),
    "Where": lambda node, operands: sum(extent(x.shape, _WIDE * max(x.ndim, 1)) for x in operands),
}  # fmt: skip
"""Bytes that all results have at most; these ops need no inference."""


def memory(node: TfNode, operands: Operands) -> int:
    """Bytes that a kernel takes beside its operands and results, where these do not bound it."""
    if node.op == "Conv2DBackpropInput":  # the taps of every output pixel of one image
        _, filters, data = operands
        return math.prod(data.shape[1:3]) * math.prod(filters.shape[:3]) * int(data.dtype.itemsize)
    return 0


def work(node: TfNode, operands: Operands, results: Sequence[Shape]) -> int:
    """Products, or comparisons, that an op computes; 0 for ops that take each number a few times."""
    given = [x.shape for x in operands]
    made = math.prod(results[0]) if results else 0
    if node.op in ("MatMul", "SparseMatMul"):
        return made * given[0][0 if node.attrs.get("transpose_a") else 1]
    if node.op.startswith("BatchMatMul"):
        return made * given[0][-2 if node.attrs.get("adj_x") else -1]
    if node.op == "SparseTensorDenseMatMul":
        return given[0][0] * max(given[3])
    if node.op == "Conv2D":
        return made * math.prod(given[1][:3])
    if node.op == "DepthwiseConv2dNative":
        return made * math.prod(given[1][:2])
    if node.op == "Conv2DBackpropInput":
        return math.prod(given[2]) * math.prod(given[1][:3])
    return made * math.prod(node.attrs["ksize"]) if node.op in ("AvgPool", "MaxPool") else 0


# -- attributes and operands ------------------------------------------------------------------------------------------

# Attributes that are sizes of windows or steps, and the least that each of their numbers may be.
_WINDOWS = {"block_size": 1, "dilations": 1, "explicit_paddings": 0, "ksize": 1, "strides": 1}
# How many numbers they have: one per dimension of an image, or two.
_LENGTHS = {"dilations": (4,), "explicit_paddings": (0, 8), "ksize": (4,), "strides": (4,)}
_KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,), "float": (float, int), "int": (int,), "shape": (list,), "string": (str,), "type": (str,),
}  # fmt: skip
# Operands with a number for each dimension, or two; TensorFlow makes a shape of as many dimensions as there are.
_PER_DIMENSION = frozenset({
    "a_shape", "begin", "block_shape", "crops", "dims", "end", "input_sizes", "multiples", "paddings", "perm", "shape",
    "size", "strides",
})  # fmt: skip
_MOST_NUMBERS = 4 * MOST_RANK
_LAYOUTS = frozenset({"NCHW", "NHWC"})


def check_attributes(definition: Any, node: TfNode) -> None:
    """Refuse attributes that kernels trust: of another kind than declared, or numbers beyond what windows have."""
    kinds = {a.name: a.type for a in definition.attr}
    counts = {argument.number_attr for argument in definition.output_arg}
    for name, value in node.attrs.items():
        values = value if isinstance(value, list) else [value]
        kind = kinds.get(name, "")
        most = _MOST_RESULTS if name in counts else 2**31 - 1  # beyond, TensorFlow ends the whole process
        right = _fits(kind, value) and len(values) in _LENGTHS.get(name, (len(values),))
        if not right or not all(_is_right(name, kind, v, most) for v in values):
            raise CompileError(f"op {node.op} ('{node.name}') cannot be executed: {name}: found {_text(value)}")


def _fits(kind: str, value: Any) -> bool:
    """Whether an attribute is of its kind; one that is not declared is not used."""
    if kind.startswith("list("):
        expected = _KINDS.get(kind[len("list(") : -1])
        return isinstance(value, list) and (expected is None or all(type(v) in expected for v in value))
    return kind not in _KINDS or type(value) in _KINDS[kind]


def _is_right(name: str, kind: str, value: Any, most: int) -> bool:
    if isinstance(value, int) and not -(2**31) <= value <= most:
        return False
    if kind in ("type", "list(type)"):
        return value in NUMBERS
    if name == "data_format":
        return value in _LAYOUTS
    return name not in _WINDOWS or isinstance(value, int) and _WINDOWS[name] <= value < _MOST_WINDOW


def _gathers(node: TfNode, operands: Operands) -> bool:
    """Whether the dimensions that a gather names are there."""
    data, index, axis = operands
    shared = node.attrs.get("batch_dims") or 0
    shared += index.ndim if shared < 0 else 0
    first = int(axis) if axis.ndim == 0 else data.ndim
    return 0 <= shared <= index.ndim and -data.ndim <= first < data.ndim and shared <= first % data.ndim


_CHECKS: dict[str, Callable[[TfNode, Operands], bool]] = {
    "FakeQuantWithMinMaxVarsPerChannel": lambda node, operands: operands[0].ndim > 0,
    "GatherV2": _gathers,
}
"""What kernels, or the inference of their shapes, trust in operands."""


def _text(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def check_operands(definition: Any, node: TfNode, operands: Operands, most: int) -> None:
    """Refuse operands of another number than the op takes, that are no numbers, have too many dimensions, or are larger
    than any result may be."""
    lists = [a.number_attr for a in definition.input_arg]  # only IdentityN has lists of types, and it is not executed
    expected = sum(node.attrs.get(length) or 0 if length else 1 for length in lists)
    if len(operands) != expected:
        raise CompileError(
            f"op {node.op} ('{node.name}') cannot be executed: {len(operands)} operands; expected {expected}"
        )
    for i, x in enumerate(operands):
        if x.dtype.name not in NUMBERS or x.ndim > MOST_RANK:
            raise UnsupportedOpError(
                f"op {node.op} ('{node.name}'): operand {i} is {x.dtype.name} of {x.ndim} dimensions; expected numbers "
                f"of at most {MOST_RANK} dimensions; {CUT}"
            )
        check_extent(node, f"operand {i}", x.shape, x.dtype.itemsize, most)
    for argument, x in zip(definition.input_arg, operands, strict=False):
        if argument.number_attr:  # what comes after a list is not per dimension
            break
        if argument.name in _PER_DIMENSION and x.size > _MOST_NUMBERS:
            raise CompileError(
                f"op {node.op} ('{node.name}') cannot be executed: {argument.name} has {x.size:,} numbers; expected "
                f"one or two per dimension, at most {_MOST_NUMBERS}"
            )
    if node.op in _CHECKS and not _CHECKS[node.op](node, operands):
        shapes = [x.shape for x in operands]
        raise CompileError(
            f"op {node.op} ('{node.name}') cannot be executed: its operands of shapes {shapes} do not fit"
        )


def check_extent(node: TfNode, what: str, shape: Shape, width: int, most: int) -> None:
    if (size := extent(shape, width)) > most:
        raise UnsupportedOpError(
            f"op {node.op} ('{node.name}'): {what} of shape {tuple(shape)} is {size:,} bytes; at most {most:,} are "
            f"read; {CUT}"
        )
