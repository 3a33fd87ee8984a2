# SPDX-License-Identifier: Apache-2.0
"""Every op that is read, by TensorFlow's own definition of it: each attribute away from its default, each type of each
operand.

Either the model is refused, or the graph gives what TensorFlow computes; a naive reading of most of the refused models
would compute something else: integers wrap around, casts round towards zero, channels are in another dimension.  The
table says which are refused.  An op or an attribute without a line in it fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_library, op_def_registry

from bnn.errors import CompileError
from bnn.importers.tensorflow.frozen import ALIASES, NUMBERS, POINTWISE, SHAPE_OPS
from bnn.importers.tensorflow.graphdef import SUPPORTED
from bnn.ir import interpret
from bnn.ir.ops import CURVES

from .models import Array, drawn, import_model

PIXELS = {"int8", "uint8", "int16", "uint16"}  # inputs that a model may cast to floats
OPS = sorted(SUPPORTED | ALIASES | SHAPE_OPS)
# Sums of products, and functions that other libraries compute; all other results are equal to the bit.
_ROUNDED = """
    AvgPool BatchMatMulV2 BatchToSpaceND Conv2D Conv2DBackpropInput DepthwiseConv2dNative MatMul Mean Pow ResizeBilinear
    Selu Softmax Softplus Softsign SpaceToBatchND SparseMatMul SparseTensorDenseMatMul Sum
"""
ROUNDED = {*_ROUNDED.split()} | {op.name.capitalize() for op in CURVES if op.truth and op.truth.ulps > 0.5}


class X:
    """Where the data are."""


def some(*shape: int) -> Array:
    """Eighths of either sign."""
    return (np.random.default_rng(shape).integers(-12, 13, shape) / 8).astype(np.float32)


def many(*shape: int) -> Array:
    return np.abs(some(*shape)) + np.float32(0.5)


def apply(op: str, **given: Any) -> Any:
    """The op, by its definition's names; attributes that are not given have their defaults."""
    for a in op_def_registry.get(op).attr:
        if a.type != "type" and a.HasField("default_value"):
            value = getattr(a.default_value, a.default_value.WhichOneof("value"))
            given.setdefault(a.name, [*value.i] if a.type == "list(int)" else value)
    return op_def_library.apply_op(op, **given)


@dataclass(frozen=True)
class Case:
    """``operands``: in their order; X, or a function of the data, or a constant.  ``after``: what follows."""

    shape: tuple[int, ...]
    operands: tuple[Any, ...]
    attrs: dict[str, Any]
    after: Callable[[Any, Any], Any] | None = None


def case(shape: tuple[int, ...], *operands: Any, after: Any = None, **attrs: Any) -> Case:
    return Case(shape, operands, attrs, after)


def conv(x: Any) -> Any:
    return tf.nn.conv2d(x, some(2, 2, 4, 5), 1, "VALID")


def spaced(x: Any) -> Any:
    return apply("SpaceToBatchND", input=x, block_shape=[2, 3], paddings=[[0, 0], [0, 0]])


def back(*sizes: int, **attrs: Any) -> Case:
    """A transposed convolution with a result of this size; channels are 5."""
    size = lambda x: tf.stack([tf.shape(x)[0], *(sizes if len(sizes) == 3 else (*sizes, 5))])  # noqa: E731
    return case(IMAGE, size, some(3, 2, 5, 4), X, **WINDOW | attrs)


IMAGE, ROWS = (4, 6, 4), (5, 4)  # as many rows as channels: only a guard tells them apart
WINDOW = {"strides": [1, 1, 1, 1], "padding": "VALID"}
NORM = (X, many(4), some(4), some(1, 4)[0], many(4))
CASES: dict[str, Case] = {
    "AddN": case(ROWS, [X, X]),
    "AvgPool": case(IMAGE, X, ksize=[1, 2, 3, 1], **WINDOW),
    "BatchMatMulV2": case(
        ROWS, lambda x: tf.transpose(x, (1, 0, 2)), some(5, 4, 3), after=lambda y, x: tf.transpose(y, (1, 0, 2))
    ),
    "BatchToSpaceND": case(IMAGE, lambda x: conv(spaced(x)), [2, 3], [[0, 0], [0, 0]]),
    "BroadcastTo": case(ROWS, lambda x: x[:, :1], lambda x: tf.stack([tf.shape(x)[0], 5, 4])),
    "CheckNumerics": case(ROWS, X, message=""),
    "ClipByValue": case(ROWS, X, np.float32(-0.25), np.float32(0.75)),
    "ConcatV2": case(IMAGE, [X, X], 3),
    "Conv2D": case(IMAGE, X, some(3, 2, 4, 5), **WINDOW),
    "Conv2DBackpropInput": back(6, 7),
    "DepthToSpace": case(IMAGE, X, block_size=2),
    "DepthwiseConv2dNative": case(IMAGE, X, some(3, 2, 4, 2), **WINDOW),
    "Div": case(ROWS, X, many(4)),
    "ExpandDims": case(ROWS, X, 1),
    "FakeQuantWithMinMaxVars": case(ROWS, X, np.float32(-0.25), np.float32(0.75)),
    "FakeQuantWithMinMaxVarsPerChannel": case(ROWS, X, -many(4), many(4)),
    "FloorDiv": case(ROWS, X, many(4)),
    **{op: case(IMAGE, *NORM, is_training=False) for op in ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")},
    "GatherV2": case(IMAGE, X, [2, 0, 0], 1),
    "LogicalAnd": case(ROWS, lambda x: x > 0.0, lambda x: x < 0.5),
    "LogicalNot": case(ROWS, lambda x: x > 0.0),
    "LogicalOr": case(ROWS, lambda x: x < 0.0, lambda x: x > 0.5),
    "MatMul": case((4,), X, some(4, 4)),
    **{op: case(IMAGE, X, 1) for op in ("Max", "Mean", "Min", "Sum")},
    "MaxPool": case(IMAGE, X, ksize=[1, 2, 3, 1], **WINDOW),
    "MirrorPad": case(IMAGE, X, [[0, 0], [1, 2], [0, 3], [2, 1]], mode="REFLECT"),
    "Pack": case(ROWS, [X, X], axis=1),
    "Pad": case(IMAGE, X, [[0, 0], [1, 2], [0, 3], [2, 0]]),
    "PadV2": case(IMAGE, X, [[0, 0], [1, 2], [0, 3], [2, 0]], 1.5),
    "Pow": case(ROWS, lambda x: x * x, 1.5),
    "RealDiv": case(ROWS, X, many(4)),
    "IdentityN": case(ROWS, [X, X]),
    "OnesLike": case(ROWS, X, after=lambda y, x: x + y),
    "Rank": case(ROWS, X, after=lambda y, x: x * tf.cast(y, tf.float32)),
    "Reshape": case(ROWS, X, [-1, 2, 10]),
    "ResizeBilinear": case(IMAGE, X, [5, 13]),
    "ResizeNearestNeighbor": case(IMAGE, X, [5, 13]),
    "ReverseV2": case(IMAGE, X, [1, 3]),
    "Roll": case(IMAGE, X, [1, -2], [1, 3]),
    "Select": case(ROWS, lambda x: tf.not_equal(x, x[:, ::-1]), X, lambda x: x[:, ::-1]),
    "SelectV2": case(ROWS, lambda x: x > 0.25, X, some(4)),
    "Shape": case(ROWS, X, after=lambda y, x: tf.reshape(x, (y[0], y[1] * y[2]))),
    "ShapeN": case(ROWS, [X, X], after=lambda y, x: tf.reshape(x, (y[1][0], 20))),
    "Size": case(ROWS, X, after=lambda y, x: x / tf.cast(y, tf.float32)),
    "Slice": case(IMAGE, X, [0, 1, 2, 0], [-1, 2, -1, 3]),
    "SpaceToBatchND": case(
        IMAGE, X, [2, 3], [[0, 0], [0, 0]],
        after=lambda y, x: apply("BatchToSpaceND", input=conv(y), block_shape=[2, 3], crops=[[0, 0], [0, 0]]),
    ),
    "SpaceToDepth": case(IMAGE, X, block_size=2),
    "SparseMatMul": case((4,), X, some(4, 4)),
    "SparseTensorDenseMatMul": case(
        (4,), np.int64([[0, 1], [3, 2], [0, 1]]), some(3), np.int64([4, 4]), X, adjoint_b=True,
        after=lambda y, x: tf.transpose(y),
    ),
    "Split": case(IMAGE, 2, X, num_split=2),
    "SplitV": case(IMAGE, X, [1, 2, 3], 2, num_split=3),
    "Squeeze": case((1, 5, 1), X, squeeze_dims=[1]),
    "StridedSlice": case(IMAGE, X, [0, 1, 4, 1], [99, 5, 0, 3], [1, 2, -2, 1]),
    "Tile": case(IMAGE, X, [1, 2, 1, 3]),
    "Transpose": case(IMAGE, X, [0, 2, 3, 1]),
    "Unpack": case(IMAGE, X, num=4, axis=1),
    "ZerosLike": case(ROWS, X, after=lambda y, x: tf.maximum(x, y)),
}  # fmt: skip


@dataclass(frozen=True)
class No:
    """A value of an attribute, with others that belong to it, that is refused, with this text."""

    value: Any
    message: str


FLAG = [False, True]
MASKS = [1, 2, 4, 8]
EXPLICIT = {"padding": "EXPLICIT", "explicit_paddings": [0, 0, 1, 2, 3, 0, 0, 0]}
ONE_STEP = [[1, 2, 1, 1], [1, 1, 3, 1]]
PRODUCT = "a product of these matrices"
FIRST = No("NCHW", "data format NCHW; build the model with channels last")
# Values of attributes, by name, or by op and name where ops differ; a dict sets several.
VALUES: dict[str, list[Any]] = {
    "adj_x": [No(case((3, 4), lambda x: tf.transpose(x, (1, 2, 0)), some(3, 4, 5), adj_x=True), PRODUCT)],
    "adj_y": [No(case((3, 4), lambda x: tf.transpose(x, (1, 0, 2)), some(3, 5, 4), adj_y=True), PRODUCT)],
    "adjoint_a": FLAG,
    "adjoint_b": [
        No(case((4,), np.int64([[0, 1], [3, 2]]), some(2), np.int64([5, 3]), X, adjoint_b=False), "locally connected"),
    ],
    "min": [-6.0, -0.3], "max": [6.0, 0.4], "num_bits": [2, 8, 16], "narrow_range": FLAG,
    "align_corners": FLAG, "alpha": [-0.5, 0.0, 1.5], "axis": [1, 2, -1], "Unpack.axis": [-3, 3, -1],
    "a_is_sparse": FLAG, "b_is_sparse": FLAG,
    "batch_dims": [case(IMAGE, X, lambda x: tf.tile([[2, 0]], [tf.shape(x)[0], 1]), 1, batch_dims=1)],
    "begin_mask": MASKS, "block_size": [2], "data_format": [FIRST],
    "BiasAdd.data_format": [No(case((4, 4), X, some(4), data_format="NCHW"), FIRST.message)],
    "Conv2DBackpropInput.data_format": [No(back(5, 8, 5, data_format="NCHW"), FIRST.message)],
    "dilations": [{"dilations": step, "padding": "SAME"} for step in ONE_STEP],
    "Conv2DBackpropInput.dilations": [No([1, 2, 1, 1], "ilation"), No([1, 1, 2, 1], "ilation")],
    "ellipsis_mask": MASKS, "end_mask": MASKS, "epsilon": [0.25], "explicit_paddings": [EXPLICIT],
    "MaxPool.explicit_paddings": [{"padding": "EXPLICIT", "explicit_paddings": [0, 0, 1, 0, 2, 1, 0, 0]}],
    "Conv2DBackpropInput.explicit_paddings": [back(3, 4, **EXPLICIT)], "exponential_avg_factor": [0.5],
    "grad_a": FLAG, "grad_b": FLAG, "grad_x": FLAG, "grad_y": FLAG, "half_pixel_centers": FLAG,
    "incompatible_shape_error": FLAG, "is_training": [No(True, "batch norm in training mode")], "keep_dims": FLAG,
    "ksize": [[1, 3, 2, 1]],
    "MaxPool.ksize": [[1, 3, 2, 1], No({"ksize": [1, 1, 1, 2], "strides": [1, 1, 1, 2]}, "a window of [1, 1")],
    "message": ["text"], "mode": ["REFLECT", "SYMMETRIC"], "new_axis_mask": [No(1, "keep the batch"), 2, 4, 8],
    "num": [], "num_split": [], "Split.num_split": [1, 3], "out_type": ["int32", "int64"],
    "padding": ["SAME", "VALID"], "Conv2DBackpropInput.padding": [back(4, 6, padding="SAME")],
    "shrink_axis_mask": [No(1, "keep the batch"), 2, 8], "squeeze_dims": [[-1], [1, 3], []], "strides": ONE_STEP,
    "Conv2DBackpropInput.strides": [back(9, 17, strides=[1, 2, 3, 1]), back(9, 18, strides=[1, 2, 3, 1])],
    "DepthwiseConv2dNative.dilations": [No([1, 1, 2, 1], "does not support dilations")],
    "DepthwiseConv2dNative.strides": [[1, 2, 2, 1]],
    "transpose_a": [No(case((3,), X, some(3, 3), transpose_a=True), "a transposed data matrix")], "transpose_b": FLAG,
    "Truncate": FLAG, "use_cudnn_on_gpu": FLAG,
}  # fmt: skip


def defined(op: str) -> Case:
    """Its case; ops of one or two operands that broadcast need none."""
    count = len(op_def_registry.get(op).input_arg)
    return CASES.get(op) or case(ROWS, *[X, some(4)][:count], **({"DstT": "float32"} if op == "Cast" else {}))


def judged(
    op: str,
    c: Case,
    rng: np.random.Generator,
    dtype: str = "float32",
    types: dict[str, str] | None = None,
    errors: list[BaseException] | None = None,
    loose: bool = False,
) -> str:
    """Why a model is refused; or nothing, and it gives what TensorFlow does.  ``types``: of some operands; bits are
    those of a comparison.  Data of another type are an output as floats, too.  ``errors``: gets the refusal.
    ``loose``: images are two positions of one."""
    definition, types = op_def_registry.get(op), types or {}

    def build(x: Any) -> Any:
        images = tf.reshape(x, (-1, *c.shape)) if loose else tf.identity(x)

        def operand(value: Any, kind: str | None) -> Any:
            if isinstance(value, list) and X in value:
                return [operand(v, kind) for v in value]
            if value is X or callable(value):
                data = images > 0 if kind == "bool" else images
                return data if value is X else value(data)
            return value if kind is None else tf.cast(value, kind)

        pairs = zip(definition.input_arg, c.operands, strict=True)
        given = {a.name: operand(value, types.get(a.type_attr)) for a, value in pairs}
        attrs = {k: getattr(tf, v) if k in ("DstT", "out_type") else v for k, v in c.attrs.items()}
        made = apply(op, **given, **attrs)
        made = made[0] if op.startswith("FusedBatchNorm") else made
        made = c.after(made, images) if c.after else made
        if loose:
            return [tf.reshape(y, (tf.shape(x)[0], -1)) for y in tf.nest.flatten(made)]
        return made if dtype == "float32" else [made, tf.cast(images, tf.float32)]

    shape = (2, *c.shape) if loose else c.shape
    try:
        nodes, execute = drawn(build, shape, dtype)
    except (TypeError, ValueError) as error:
        if not types:
            raise
        return f"TensorFlow does not build it: {error}"
    try:
        graph = import_model(nodes)
    except CompileError as error:
        if errors is not None:
            errors.append(error)
        return str(error)
    x = (rng.integers(-12, 13, (4, *shape)) / 8).astype(np.float32)
    if dtype != "float32":
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        x = rng.integers(least, most + 1, x.shape).astype(dtype)
        x.reshape(-1)[:2] = least, most
    for ours, theirs in zip(interpret.outputs(graph, [x]), execute(x), strict=True):
        scale = np.abs(np.nan_to_num(theirs.astype(np.float64))).max()
        what = f"{op} {c.attrs} {dtype} {types}"
        np.testing.assert_allclose(
            ours, theirs.astype(np.float32), 0, scale * (1e-6 if op in ROUNDED else 0), err_msg=what
        )
    return ""


def variants(op: str) -> Iterator[tuple[Case, str]]:
    """The op with each attribute away from its default, and why it is refused, or nothing."""
    c, definition = defined(op), op_def_registry.get(op)
    of_operands = {name for a in definition.input_arg for name in (a.type_attr, a.type_list_attr, a.number_attr)}
    for a in definition.attr:
        if a.name in of_operands or a.name == "DstT":
            continue
        for value in VALUES[a.name if f"{op}.{a.name}" not in VALUES else f"{op}.{a.name}"]:
            wanted, message = (value.value, value.message) if isinstance(value, No) else (value, "")
            more = wanted if isinstance(wanted, dict) else {a.name: wanted}
            yield wanted if isinstance(wanted, Case) else replace(c, attrs=c.attrs | more), message


@pytest.mark.parametrize("op", OPS)
def test_attributes(op: str, rng: np.random.Generator) -> None:
    for c, message in [(defined(op), ""), *variants(op)]:
        found = judged(op, c, rng)
        assert message in found and bool(message) == bool(found), f"{c.attrs}: {found or 'is read'}"


@pytest.mark.parametrize("op", OPS)
def test_positions_as_images(op: str, rng: np.random.Generator) -> None:
    """An op on every position, as of a layer that is distributed over time: refused, or what TensorFlow computes."""
    found = judged(op, defined(op), rng, loose=True)
    assert not found or op in CASES and op not in POINTWISE, found


@pytest.mark.parametrize("op", OPS)
def test_types(op: str, rng: np.random.Generator) -> None:
    """Operands of every type that TensorFlow takes.  Of numbers only floats are computed with: another type is only
    passed on, or cast to floats."""
    c, definition = defined(op), op_def_registry.get(op)
    for a in definition.attr:
        operands = [v for arg, v in zip(definition.input_arg, c.operands, strict=True) if arg.type_attr == a.name]
        data = any(v is X or callable(v) or isinstance(v, list) and X in v for v in operands)
        allowed = {tf.dtypes.as_dtype(t).name for t in a.allowed_values.list.type} or NUMBERS
        for kind in sorted(allowed & NUMBERS - {"float32"} if operands else []):
            if a.name == "Tlen" and kind == "int8":
                continue  # TensorFlow ends the process
            number = data and kind != "bool"
            found = judged(op, c, rng, kind if number else "float32", {a.name: kind})
            if not number:  # there is no kernel for some
                assert found == "" or "cannot be executed: Could not find device" in found or "build" in found, (
                    kind,
                    found,
                )
            elif op in ALIASES | {"Cast"} and kind in PIXELS:
                assert found == "", (kind, found)
            else:
                assert re.match(f"input 'x' is {kind}; supported: |TensorFlow does not build it", found), (kind, found)


@pytest.mark.parametrize("kind", sorted(NUMBERS))
def test_casts(kind: str, rng: np.random.Generator) -> None:
    """Of inputs, and of truth values, to all types: only floats; any other conversion would round, or wrap around."""
    for wanted in sorted(NUMBERS):
        back = None if wanted == "float32" else lambda y, x: tf.cast(y, tf.float32)
        one = case(ROWS, X, after=back, DstT=wanted)
        found = judged("Cast", one, rng, "float32" if kind == "bool" else kind, {"SrcT": kind})
        if kind not in PIXELS | {"float32", "bool"}:
            assert f"input 'x' is {kind}; supported: float32, and int16, int8, uint16, uint8" in found
        elif wanted != "float32":
            assert f"a conversion from {kind} to {wanted}; only float32 arithmetic" in found
        else:
            assert found == ""
