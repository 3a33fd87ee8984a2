# SPDX-License-Identifier: Apache-2.0
"""One reader per TensorFlow op type: from the node to IR nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import UnsupportedOpError
from ...ir.graph import Node
from ...ir.ops import (
    CURVES,
    INF,
    ClampAttrs,
    ConvAttrs,
    PoolAttrs,
    PowAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    RoundAttrs,
    constant,
)
from ..common import elementwise, moves, reduce
from ..common.moves import Moved, in_order, numbers, start
from ..common.padding import as_image, pad, same_pads
from ..common.reduce import Shared
from ..common.remedies import CUT, LOOK_UP
from ..common.table import entering
from ..common.transposed import transposed
from .source import TfSource

Reader = Callable[["TfSource"], Node]
READERS: dict[str, Reader] = {}
reader = entering(READERS)
REDUCTIONS = frozenset({"Mean", "Sum"})  # reductions that may be over the batch
NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_MOST_WEIGHTS = 2**26


def _spatial(s: TfSource, kernel: tuple[int, int]) -> dict[str, Any]:
    """Stride, dilation and padding of a convolution or a pool."""
    strides = tuple(s.attr("strides"))
    dilations = tuple(s.attr("dilations") or (1, 1, 1, 1))
    if strides[0] != 1 or strides[3] != 1 or dilations[0] != 1 or dilations[3] != 1:
        raise s.unsupported(f"strides {strides} or dilations {dilations} over the batch or the channels")
    _, h, w, _ = s.shape(0)
    padding = s.attr("padding")
    if padding == "SAME":
        top, bottom = same_pads(h, kernel[0], strides[1], dilations[1])
        left, right = same_pads(w, kernel[1], strides[2], dilations[2])
    elif padding == "EXPLICIT":
        explicit = s.attr("explicit_paddings")
        top, bottom, left, right = explicit[2:6]
    else:
        top = bottom = left = right = 0
    return {
        "stride": (int(strides[1]), int(strides[2])),
        "dilation": (int(dilations[1]), int(dilations[2])),
        "pads": (int(top), int(left), int(bottom), int(right)),
    }


@reader("Conv2D", "DepthwiseConv2dNative")
def _conv2d(s: TfSource) -> Node:
    w, groups = _filters(s)
    attrs = ConvAttrs(**_spatial(s, (w.shape[1], w.shape[2])), groups=groups)
    return s.make("conv2d", s.value(0), constant(w, name=s.layer), attrs=attrs)


def _filters(s: TfSource) -> tuple[Array, int]:
    """Filters as OHWI, and the number of groups."""
    w = s.constant(1)
    if s.op == "DepthwiseConv2dNative":  # kh, kw, C, multiplier
        kh, kw, c, m = w.shape
        return w.transpose(2, 3, 0, 1).reshape(c * m, kh, kw, 1), c
    return w.transpose(3, 0, 1, 2), s.shape(0)[3] // w.shape[2]  # kh, kw, I, O


def unsupported_alone(s: TfSource) -> UnsupportedOpError:
    """The error for an op that is read only together with others."""
    if s.op == "SpaceToBatchND":
        return s.unsupported("it does not belong to a dilated convolution")
    if s.is_constant(0) or s.is_constant(1):
        return s.unsupported("a product of these matrices; supported: data by constant weights, as in a Dense layer")
    return s.unsupported(
        "a product of two values that both depend on the data (Dot, attention) is not supported, only of data and "
        "constant weights"
    )


@reader("MatMul", "SparseMatMul")
def _matmul(s: TfSource) -> Node:
    if s.attr("transpose_a"):
        raise s.unsupported("a transposed data matrix")
    w = s.constant(1)
    if not s.attr("transpose_b"):
        w = w.T
    return s.make("conv2d", s.value(0), constant(w[:, None, None, :], name=s.layer), attrs=ConvAttrs())


@reader(*NORMS)
def _batch_norm(s: TfSource) -> Node:
    """(x - mean) * (rsqrt(variance + epsilon) * gamma) + beta, in TensorFlow's order of operations."""
    if s.attr("is_training"):
        raise s.unsupported("batch norm in training mode", "call the model with training=False")
    gamma, beta, mean, variance = (s.constant(i) for i in range(1, 5))
    scale = s.multiplier(variance, float(s.attr("epsilon")), gamma)
    x = s.make("sub", s.value(0), constant(mean), final=False)
    x = s.make("mul", x, constant(scale), final=False)
    return s.make("add", x, constant(beta))


def _operands(s: TfSource) -> list[Node]:
    """The operands of an elementwise op."""
    rank = max(len(s.shape(i)) for i in range(len(s.tf.inputs)))
    return [_operand(s, i, rank) for i in range(len(s.tf.inputs))]


def _operand(s: TfSource, i: int, rank: int) -> Node:
    """Operand i; a constant without its batch dimension and leading ones."""
    if not s.is_constant(i):
        return s.value(i)
    value = s.same_for_all(i) if s.shape(i)[:1] != (1,) and len(s.shape(i)) == rank else s.constant(i)
    if value.ndim == rank:
        value = value[0]
    while value.ndim > 1 and value.shape[0] == 1:
        value = value[0]
    return constant(value if value.ndim else value.reshape(1), name=s.layer)


def _elementwise(op: str) -> Callable[..., Node]:
    def read(s: TfSource, final: bool = True) -> Node:
        a, b = _operands(s)
        if not a.is_constant and not b.is_constant and len(a.type.shape) != len(b.type.shape):
            raise s.unsupported(f"operands of different rank, {a.type} and {b.type}")
        return s.make(op, a, b, final=final)

    return read


# Truth values are numbers: true is 1, false is 0.
_PAIRS = {
    "Add": "add", "AddV2": "add", "BiasAdd": "add", "Div": "div", "LogicalAnd": "minimum", "LogicalOr": "maximum",
    "Maximum": "maximum", "Minimum": "minimum", "Mul": "mul", "RealDiv": "div", "Sub": "sub",
}  # fmt: skip
READERS.update((tf_op, _elementwise(op)) for tf_op, op in _PAIRS.items())


@reader("FloorDiv")
def _floor_div(s: TfSource) -> Node:
    return s.make("round", _elementwise("div")(s, final=False), attrs=RoundAttrs(-1))


@reader("AddN")
def _add_n(s: TfSource) -> Node:
    total, *others = _operands(s)
    for i, other in enumerate(others, 1):
        total = s.make("add", total, other, final=i == len(others))
    return total


def _plain(op: str, attrs: Any = None) -> Reader:
    """An op that the IR also has."""
    return lambda s: s.make(op, s.value(0), attrs=attrs)


READERS["Ceil"] = _plain("round", RoundAttrs(1))
READERS["Floor"] = _plain("round", RoundAttrs(-1))
READERS["Relu"] = _plain("clamp", ClampAttrs(0.0, INF))
READERS["Relu6"] = _plain("clamp", ClampAttrs(0.0, 6.0))
READERS["Round"] = _plain("round", RoundAttrs(0))
READERS["Sign"] = _plain("sign")
READERS["Softmax"] = _plain("softmax")
# TensorFlow's names are the IR's, capitalized; powers have their own reader.
READERS.update((op.name.capitalize(), _plain(op.name)) for op in CURVES)


@reader("LeakyRelu")
def _leaky_relu(s: TfSource) -> Node:
    x = s.value(0)
    slope = np.full(x.type.shape[-1], s.attr("alpha"), np.float32)
    return s.make("prelu", x, constant(slope, name=s.layer))


@reader("Neg")
def _neg(s: TfSource) -> Node:
    return s.make("mul", s.value(0), constant([-1.0], name=s.layer))


@reader("ClipByValue")
def _clip(s: TfSource) -> Node:
    lo, hi = (float(np.reshape(s.constant(i), ())) for i in (1, 2))
    return s.make("clamp", s.value(0), attrs=ClampAttrs(lo, hi))


@reader("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")
def _fake_quant(s: TfSource) -> Node:
    """Whole steps between two limits, which move so that zero is one of them (Jacob et al., 2018); with each rounding
    of TensorFlow's kernels.  Limits that are both zero give zero."""
    if s.op == "FakeQuantWithMinMaxArgs":
        low, high = (np.full(1, s.attr(limit), np.float32) for limit in ("min", "max"))
    else:
        low, high = (s.constant(i).reshape(-1).astype(np.float32) for i in (1, 2))
    first, last = np.float32(s.attr("narrow_range")), np.float32(2 ** s.attr("num_bits") - 1)
    none = (low == 0) & (high == 0)
    wrong = ~((none | (low < high)) & np.isfinite(low) & np.isfinite(high))
    if wrong.any():
        found = f"limits of {low[wrong][0]:g} and {high[wrong][0]:g}"
        raise s.unsupported(f"{found}; expected two finite numbers, the smaller first", "train them, or give others")
    wide = np.where(none, np.float32(1), high - low)
    step, inverse = wide / (last - first), (last - first) / wide
    zero = np.clip(first - low / step, first, last)
    zero = np.floor(zero + np.float32(0.5))  # of numbers that are not negative: halves away from zero
    low, high = (np.where(none, np.float32(0), (end - zero) * step) for end in (first, last))
    zero = np.floor(-low * inverse + np.float32(0.5))

    def by(op: str, x: Node, numbers: Array) -> Node:
        return s.make(op, x, constant(numbers, name=s.layer), final=False)

    if len(step) == 1:
        x = s.make("clamp", s.value(0), attrs=ClampAttrs(float(low[0]), float(high[0])), final=False)
    else:
        x = by("maximum", by("minimum", s.value(0), high), low)
    x = by("sub", x, low)
    x = by("div", x, step) if s.op == "FakeQuantWithMinMaxVars" else by("mul", x, inverse)
    x = by("add", by("sub", x, zero), np.full(1, 0.5, np.float32))
    return s.make("mul", s.make("round", x, attrs=RoundAttrs(-1), final=False), constant(step, name=s.layer))


@reader("Square", "SquaredDifference")
def _square(s: TfSource) -> Node:
    x = s.value(0) if s.op == "Square" else _elementwise("sub")(s, final=False)
    return s.make("mul", x, x)


@reader("Cast")
def _cast(s: TfSource) -> Node:
    """Floats stay as they are, booleans already are 1 or 0, and integer inputs are held as floats."""
    if s.attr("DstT") != "float32":
        raise s.unsupported(
            f"a conversion from {s.attr('SrcT')} to {s.attr('DstT')}; only float32 arithmetic is supported",
            f"{CUT}; {LOOK_UP}",
        )
    return s.value(0)


def _of_one(function: Callable[[TfSource, Node], Node]) -> Reader:
    return lambda s: function(s, s.value(0))


READERS["Abs"] = _of_one(elementwise.absolute)
READERS["LogicalNot"] = _of_one(elementwise.opposite)
READERS["Selu"] = _of_one(elementwise.selu)
READERS["Softplus"] = _of_one(elementwise.softplus)
READERS["Softsign"] = _of_one(elementwise.softsign)


@reader("Pow")
def _pow(s: TfSource) -> Node:
    if not s.is_constant(1) or np.size(s.constant(1)) != 1:
        raise s.unsupported("an exponent that is not one constant number")
    return s.make("pow", s.value(0), attrs=PowAttrs(float(np.reshape(s.constant(1), ()))))


def _comparison(relation: str) -> Reader:
    def read(s: TfSource) -> Node:
        return elementwise.compare(s, relation, *_operands(s))

    return read


_RELATIONS = {"Equal": "==", "Greater": ">", "GreaterEqual": ">=", "Less": "<", "LessEqual": "<=", "NotEqual": "!="}
READERS.update((tf_op, _comparison(relation)) for tf_op, relation in _RELATIONS.items())


@reader("Select", "SelectV2")
def _select(s: TfSource) -> Node:
    if s.is_constant(0):
        raise s.unsupported("a condition that does not depend on the data")
    return elementwise.select(s, *_operands(s))


def _pool(op: str) -> Reader:
    def read(s: TfSource) -> Node:
        kernel = s.attr("ksize")
        if kernel[0] != 1 or kernel[3] != 1:
            raise s.unsupported(f"a window of {kernel} over the batch or the channels")
        geometry = _spatial(s, (kernel[1], kernel[2]))
        geometry.pop("dilation")
        return s.make(op, s.value(0), attrs=PoolAttrs(kernel=(kernel[1], kernel[2]), **geometry))

    return read


READERS["MaxPool"] = _pool("max_pool")
READERS["AvgPool"] = _pool("avg_pool")


@reader("Pad", "PadV2")
def _pad(s: TfSource) -> Node:
    value = float(np.reshape(s.constant(2), ())) if len(s.tf.inputs) > 2 else 0.0
    return pad(s, s.value(0), s.constant(1), value)


def concat(s: TfSource) -> Node | None:
    """A concatenation of channels; None for any other concatenation, which is read as a move."""
    rank = len(s.shape(0))
    parts = range(len(s.tf.inputs) - 1)
    over_channels = rank > 1 and int(s.constant(len(parts))) % rank == rank - 1
    if not over_channels or any(s.is_constant(i) for i in parts):
        return None
    return s.concat([s.value(i) for i in parts], final=True)


def _dilated_transposed(s: TfSource, conv: TfSource, space: TfSource, pads: Array, crops: Array) -> Node:
    """Output o gets x[o + crop - dilation * k] w[k]: an ordinary dilated convolution by the filters in reverse."""
    w = conv.constant(1).transpose(2, 0, 1, 3)[:, ::-1, ::-1]  # (kh, kw, O, I) to OHWI
    x, dilation = space.value(0), space.constant(1)
    span = dilation * (np.array(w.shape[1:3]) - 1)
    before = span - crops[:, 0]
    after = np.array(s.output_shape[:2]) + span - np.array(x.type.shape[:2]) - before
    plain = conv.attr("padding") == "VALID" and set(conv.attr("strides")) == {1} and not pads[:, 0].any()
    if not plain or min(*before, *after) < 0:
        raise s.unsupported(f"blocks {dilation.tolist()} with crops {crops.tolist()}, or a stride")
    (top, left), (bottom, right) = before.tolist(), after.tolist()
    attrs = ConvAttrs(dilation=tuple(dilation.tolist()), pads=(top, left, bottom, right))
    return s.make("conv2d", x, constant(w, name=s.layer), attrs=attrs)


@reader("BatchToSpaceND")
def _batch_to_space(s: TfSource) -> Node:
    """SpaceToBatchND, a convolution, BatchToSpaceND: how Keras writes a dilated convolution."""
    conv = s.producer(0, through=("Squeeze",))
    if conv is None or conv.op not in ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput"):
        raise s.unsupported("it does not follow a convolution")
    transposed = conv.op == "Conv2DBackpropInput"
    space = conv.producer(2 if transposed else 0, through=("ExpandDims",))
    if space is None or space.op != "SpaceToBatchND":
        raise s.unsupported("its convolution does not follow SpaceToBatchND")
    pads, crops = space.constant(2), s.constant(2)
    if transposed:
        return _dilated_transposed(s, conv, space, pads, crops)
    if crops[:, 0].any() or (pads[:, 1] < crops[:, 1]).any() or set(conv.attr("strides")) != {1}:
        raise s.unsupported(f"blocks {space.constant(1).tolist()} with crops {crops.tolist()}, or a stride")
    w, groups = _filters(conv)
    dilation_h, dilation_w = [1, *space.constant(1).tolist()][-2:]
    (top, bottom), (left, right) = [[0, 0], *(pads - crops).tolist()][-2:]
    x = space.value(0)
    flat = len(x.type.shape) == 2
    attrs = ConvAttrs(dilation=(dilation_h, dilation_w), pads=(top, left, bottom, right), groups=groups)
    result = s.make("conv2d", as_image(s, x), constant(w, name=s.layer), attrs=attrs, final=not flat)
    return s.make("reshape", result, attrs=ReshapeAttrs(s.output_shape)) if flat else result


@reader("Conv2DBackpropInput")
def _transposed(s: TfSource) -> Node:
    if any(d != 1 for d in s.attr("dilations")):
        raise s.unsupported("a dilation")
    w = s.constant(1).transpose(2, 0, 1, 3)  # (kh, kw, O, I) to OHWI
    h, width, _ = s.output_shape
    row, column = s.attr("strides")[1:3]
    before = (0, 0)
    if s.attr("padding") == "EXPLICIT":
        before = tuple(s.attr("explicit_paddings")[2:6:2])
    elif s.attr("padding") == "SAME":  # the padding of the convolution that this op transposes
        before = (same_pads(h, w.shape[1], row)[0], same_pads(width, w.shape[2], column)[0])
    return transposed(s, s.value(2), w, (h, width), (row, column), before)


@reader("ResizeBilinear")
def _resize(s: TfSource) -> Node:
    height, width = (int(n) for n in np.reshape(s.constant(1), -1))
    attrs = ResizeAttrs((height, width), int(s.attr("align_corners")), int(s.attr("half_pixel_centers")))
    return s.make("resize_bilinear", s.value(0), attrs=attrs)


def _axes(s: TfSource) -> list[int]:
    return sorted(int(a) % len(s.shape(0)) for a in np.reshape(s.constant(1), -1))


def over_batch(s: TfSource) -> bool:
    """Whether it is a reduction over the batch."""
    return s.op in REDUCTIONS and s.is_constant(1) and 0 in _axes(s)


def batch_reduction(s: TfSource) -> Shared:
    return reduce.over_batch(s, s.value(0), _axes(s), s.reading.shapes[s.name, 0], mean=s.op == "Mean")


def _reduction(op: str, negated: bool = False) -> Reader:
    return lambda s: reduce.reduction(s, op, s.value(0), _axes(s), s.output_shape, negated)


READERS["Sum"] = _reduction("sum_pool")
READERS["Mean"] = _reduction("avg_pool")
READERS["Max"] = _reduction("max_pool")
READERS["Min"] = _reduction("max_pool", negated=True)


def layer_norm(s: TfSource, x: Moved) -> Moved:
    """Layer normalization as Keras 2 writes it: batch norm in training mode on one image (1, images * vectors, size, 1)
    whose channels are all vectors, in their order.

    Its scale and offset are ones and zeros; the layer's own scale and offset follow as separate ops.
    """
    shape = x.index.shape
    scale, offset = (s.constant_of_batch(i) for i in (1, 2))
    plain = (scale == 1).all() and not offset.any() and s.attr("data_format") == "NCHW"
    rows = in_order(s, x.mapped(lambda a: a.index[..., 0])) if shape[0] == shape[3] == 1 else None
    if not plain or rows is None:
        raise s.unsupported(f"batch norm in training mode of data {shape}; supported: what LayerNormalization makes")
    result = reduce.layer_norm(s, rows.base, float(s.attr("epsilon")))
    return replace(rows, base=result).mapped(lambda a: a.index[..., None])


def product(s: TfSource, moved: Moved) -> Moved:
    """A matrix product over positions by one matrix, or by one per position."""
    weights = s.constant(1)
    own = s.op == "BatchMatMulV2"
    if own and (s.attr("adj_x") or s.attr("adj_y")) or s.attr("transpose_a") or weights.ndim != (3 if own else 2):
        raise s.unsupported("a product of these matrices")
    return moves.product(s, moved, weights.T if s.attr("transpose_b") else weights)


def sparse_product(s: TfSource) -> Moved:
    """A sparse matrix times the flat images as columns, which gives columns, too: a dense layer with many zero weights
    (a locally connected layer with Keras' implementation 3)."""
    if not s.attr("adjoint_b"):
        raise s.unsupported("a product other than that of a locally connected layer")
    index, values, shape = (s.constant(i) for i in range(3))
    if np.prod(shape.astype(np.float64)) > _MOST_WEIGHTS:
        size = f"{shape[0]:,} x {shape[1]:,}"
        raise s.unsupported(f"as a dense layer it has {size} weights", "build the layer with implementation=1")
    weights = np.zeros(shape, np.float32)
    np.add.at(weights, tuple(index.T), values)
    if s.attr("adjoint_a"):
        weights = weights.T
    filters = constant(weights[:, None, None, :], name=s.layer)
    base = s.make("conv2d", s.value(3), filters, attrs=ConvAttrs(), final=False)
    return start(base, s.reading.batches).mapped(lambda a: numbers(a.images, len(weights)).T)
