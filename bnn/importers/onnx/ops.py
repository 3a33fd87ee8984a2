# SPDX-License-Identifier: Apache-2.0
"""One reader per ONNX operator: from the node to IR nodes, or to a value."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..._types import Array
from ...ir.graph import Node
from ...ir.ops import (
    CURVES,
    INF,
    ClampAttrs,
    ConvAttrs,
    PadAttrs,
    PoolAttrs,
    PowAttrs,
    ReshapeAttrs,
    RoundAttrs,
    constant,
)
from ..common import elementwise, moves, padding, reduce
from ..common.moves import Moved
from ..common.padding import as_image, same_pads
from ..common.table import entering
from ..common.transposed import transposed
from . import qonnx
from .sizes import OF_ONE_OPERAND
from .source import OnnxSource
from .values import Laid, Value, channels_last, permutation

Reader = Callable[["OnnxSource"], "Node | Value"]
READERS: dict[str, Reader] = {}
reader = entering(READERS)
# Operators that pass on their first operand.  Dropout does, outside of training.
ALIASES = frozenset({"Identity", "Dropout"})
# Operators that only move elements: they are followed by moving the elements' numbers through ONNX Runtime.
MOVES = frozenset(
    {"Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Pad", "Reshape", "Resize",
     "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)  # fmt: skip
# Weights that are meant to be equal: units in the last place of what was subtracted from them and added, about 1, and
# the share of the weight that this may be.
_CLOSE, _FAR = 4, 2.0**-10


# -- convolutions and products ----------------------------------------------------------------------------------------


def _window(s: OnnxSource, kernel: tuple[int, ...], dilations: tuple[int, ...]) -> dict[str, Any]:
    """Stride and padding (top, left, bottom, right) of a window over rows and columns, or over one of them."""
    spatial = _spatial(s)
    strides = tuple(int(v) for v in s.attr("strides") or [1] * len(kernel))
    auto = s.attr("auto_pad") or "NOTSET"
    pads = [int(v) for v in s.attr("pads") or [0] * 2 * len(kernel)]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same(spatial, kernel, strides, dilations, auto == "SAME_UPPER")
    elif auto == "VALID":
        pads = [0] * 2 * len(kernel)
    if len(kernel) == 1:
        return {"stride": (1, strides[0]), "pads": (0, pads[0], 0, pads[1])}
    return {"stride": strides, "pads": tuple(pads)}


def _spatial(s: OnnxSource) -> tuple[int, ...]:
    """The rows and columns of operand 0, or one of them."""
    found = s.shape(0)[2:]
    if len(found) > 2:
        raise s.unsupported(f"a window of {len(found)} dimensions over data {s.shape(0)}; one and two are supported")
    return found


def _same(
    sizes: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...], upper: bool
) -> list[int]:
    """ceil(size / stride) outputs; an odd pixel of padding goes after (upper) or before."""
    both = [same_pads(*given) for given in zip(sizes, kernel, strides, dilations, strict=True)]
    before, after = ([pads[i] for pads in both] for i in (0, 1))
    return before + after if upper else after + before


def _in_order(s: OnnxSource, make: Callable[[Node], Node]) -> Value:
    """A result with channels last from operand 0 as an image (H, W, C), or (1, L, C) of (N, C, L)."""
    rank = len(s.shape(0)) - 1
    result = make(as_image(s, s.laid(0)))
    if rank == 2:
        result = s.make("reshape", result, attrs=ReshapeAttrs(result.type.shape[1:]))
    return Laid(result, channels_last(rank))


def _snapped(s: OnnxSource, w: Array, transposed: bool = False) -> Array:
    """Operand 1 as weights (filters, ...): ``w``; where all are +-alpha per filter, or zero, up to a few units in the
    last place, they become so.

    A straight-through estimator on weights, (sign(w) * alpha - c) + c, rounds to such neighbours.
    """
    rows = np.abs(w.reshape(len(w), -1))
    if not rows.shape[1]:
        return w
    alpha = np.median(rows, axis=1, keepdims=True).astype(np.float32)
    alpha = rows[np.arange(len(rows)), np.abs(rows - alpha).argmin(axis=1)][:, None]  # one of the weights
    apart = np.abs(rows - alpha)
    near = (apart <= _CLOSE * np.spacing(np.maximum(alpha, np.float32(1)))) & (apart <= _FAR * alpha)
    if (rows == alpha).all() or not (near | (rows == 0)).all() or not (alpha > 0).all():
        return w
    found: Array = (np.sign(w.reshape(len(w), -1)) * alpha).reshape(w.shape).astype(np.float32)
    if np.array_equal(found, w):
        return w
    s.context.snapped[s.onnx.inputs[1]] = found.swapaxes(0, 1) if transposed else found
    s.hint("its weights are within rounding of +-alpha, and read as such")
    return found


_FOLDED = (
    "a batch norm seems to be folded into its weights, so ties before its quantizer are decided by rounding: export "
    "without optimizations"
)


def _looks_folded(s: OnnxSource, w: Array) -> bool:
    """Whether weights are +-alpha with an alpha of its own per filter, and the sums go to a quantizer without another
    batch norm."""
    rows = np.abs(w.reshape(len(w), -1))
    signs = rows.shape[1] > 1 and bool((rows == rows[:, :1]).all()) and bool((w < 0).any() and (w > 0).any())
    if not signs or len(np.unique(rows[:, 0])) < len(rows) // 2 + 1 or len(rows) < 2:
        return False
    return s.context.reaches_quantizer(s.onnx.outputs[0])


def _bias(s: OnnxSource, x: Node, i: int) -> Node:
    return s.make("add", x, constant(np.asarray(s.constant(i), np.float32).reshape(-1), name=s.layer))


@reader("Conv")
def _conv(s: OnnxSource) -> Value:
    w = _snapped(s, np.asarray(s.constant(1), np.float32))
    kernel = w.shape[2:]
    dilation = tuple(int(v) for v in s.attr("dilations") or [1] * len(kernel))
    geometry = _window(s, kernel, dilation)
    if len(kernel) == 1:
        w, dilation = w[:, :, None], (1, *dilation)
    attrs = ConvAttrs(**geometry, dilation=dilation, groups=int(s.attr("group", 1)))  # type: ignore[arg-type]
    plain = len(kernel) == 2
    filters = constant(w.transpose(0, 2, 3, 1), name=s.layer)

    if s.has(2) and _looks_folded(s, w):
        s.hint(_FOLDED)

    def convolve(x: Node) -> Node:
        result = s.make("conv2d", x, filters, attrs=attrs, final=plain and not s.has(2))
        return _bias(s, result, 2) if s.has(2) else result

    return _in_order(s, convolve)


@reader("ConvTranspose")
def _conv_transpose(s: OnnxSource) -> Value:
    w = _snapped(s, np.asarray(s.constant(1), np.float32).swapaxes(0, 1), transposed=True)
    if s.attr("group", 1) != 1 or set(s.attr("dilations") or [1]) != {1}:
        raise s.unsupported("groups or dilations")
    spatial, kernel, size = _spatial(s), w.shape[2:], s.output_shape[1:]
    strides = tuple(int(v) for v in s.attr("strides") or [1] * len(kernel))
    auto = s.attr("auto_pad") or "NOTSET"
    before = [int(v) for v in s.attr("pads") or [0] * 2 * len(kernel)][: len(kernel)]
    if auto != "NOTSET" or s.attr("output_shape"):
        extra = s.attr("output_padding") or [0] * len(kernel)
        total = [
            stride * (given - 1) + more + k - out
            for stride, given, more, k, out in zip(strides, spatial, extra, kernel, size, strict=True)
        ]
        before = [max(t - t // 2 if auto != "SAME_UPPER" else t // 2, 0) for t in total]
    if len(kernel) == 1:
        w, size, strides, before = w[:, :, None], (1, *size), (1, *strides), [0, *before]
    filters = w.transpose(0, 2, 3, 1)

    def convolve(x: Node) -> Node:
        result = transposed(s, x, filters, (size[0], size[1]), (strides[0], strides[1]), (before[0], before[1]))
        return _bias(s, s.inner(result), 2) if s.has(2) else result

    return _in_order(s, convolve)


@reader("Gemm")
def _gemm(s: OnnxSource) -> Value:
    if s.attr("transA", 0) or s.attr("alpha", 1.0) != 1.0 or s.has(2) and s.attr("beta", 1.0) != 1.0:
        raise s.unsupported("a transposed data matrix, or factors other than 1")
    w, rows = np.asarray(s.constant(1), np.float32), bool(s.attr("transB", 0))
    w = _snapped(s, w if rows else w.T, transposed=not rows)
    if s.has(2) and _looks_folded(s, w):
        s.hint(_FOLDED)
    result = _dense(s, s.value(0), w, final=not s.has(2))
    if not s.has(2):
        return result
    bias = np.asarray(s.constant(2), np.float32)
    if bias.size not in (1, len(w)):
        raise s.unsupported(f"a third operand {bias.shape} that differs over the batch")
    added = s.make("add", result.node, constant(np.broadcast_to(bias.reshape(-1), (len(w),)), name=s.layer))
    return Laid(added, result.order)


@reader("MatMul")
def _matmul(s: OnnxSource) -> Value:
    if s.is_constant(0) or not s.is_constant(1):
        raise s.unsupported(
            "a product of two values that both depend on the data (attention), or with constant weights first; only "
            "products of data and constant weights are supported"
        )
    w = np.asarray(s.constant(1), np.float32)
    if w.ndim != 2:
        raise s.unsupported(f"weights of shape {w.shape}; two dimensions are supported")
    w = _snapped(s, w.T, transposed=True)
    value = s.value(0)
    if isinstance(value, Moved) and value.per_image() is None:
        return moves.product(s, value, w.T)
    return _dense(s, value, w, final=True)


def _dense(s: OnnxSource, value: Value, w: Array, final: bool) -> Laid:
    """Rows (..., channels) by weights (units, channels)."""
    rank = len(s.shape(0)) - 1
    if isinstance(value, Moved) and rank == 1:
        own = permutation(value)
        if own is not None:  # the weights move instead of the data
            moved = np.empty_like(w)
            moved[:, own] = w
            value, w = Laid(s.inner(s.flat(value.base)), (0,)), moved
    order = tuple(range(rank))
    x = s.arranged(value, order, "the data") if rank else None
    if x is None:
        raise s.unsupported(f"data of {rank + 1} dimensions; two to four are supported")
    filters = constant(w[:, None, None, :], name=s.layer)
    result = s.make("conv2d", as_image(s, x), filters, attrs=ConvAttrs(), final=final and rank != 2)
    if rank == 2:
        result = s.make("reshape", result, attrs=ReshapeAttrs(result.type.shape[1:]), final=final)
    return Laid(result, order)


# -- elementwise ------------------------------------------------------------------------------------------------------


@reader("BatchNormalization")
def _batch_norm(s: OnnxSource) -> Value:
    """x * s + (beta - mean * s) with s = gamma / sqrt(variance + epsilon), in ONNX Runtime's order of operations."""
    if s.attr("training_mode", 0) or len(s.onnx.outputs) > 1 and any(s.onnx.outputs[1:]):
        raise s.unsupported("batch norm in training mode", "export the model after model.eval()")
    gamma, beta, mean, variance = (np.asarray(s.constant(i), np.float32) for i in range(1, 5))
    scale = (np.float32(1) / np.sqrt(variance + np.float32(s.attr("epsilon", 1e-5)))) * gamma
    shift = beta - mean * scale
    (x,) = s.framed(0)
    rank = len(s.output_shape)
    scales, shifts = (s.image_constant(v.reshape(-1, *[1] * (rank - 1))) for v in (scale, shift))
    return s.result(s.make("add", s.make("mul", x, scales, final=False), shifts))


def _pair(op: str) -> Reader:
    def read(s: OnnxSource) -> Value:
        a, b = s.framed(0, 1)
        return s.result(s.make(op, a, b))

    return read


for _name, _op in {"Sub": "sub", "Mul": "mul", "And": "minimum", "Or": "maximum"}.items():
    READERS[_name] = _pair(_op)


@reader("Div")
def _div(s: OnnxSource) -> Value:
    """A quotient; x / |x| is a sign, whatever it is at 0."""
    onnx = s.context.onnx
    below = onnx.producers.get(onnx.behind(s.onnx.inputs[1]))
    if below is None or below.op != "Abs" or s.is_constant(0) or not _equal(s, below.inputs[0], s.onnx.inputs[0]):
        return _pair("div")(s)  # type: ignore[return-value]
    s.hint("x / |x|, which is not a number at 0, is read as a sign")
    (x,) = s.framed(0)
    return s.result(elementwise.step(s, x, strict=s.context.zero < 0))


@reader("Add")
def _add(s: OnnxSource) -> Value:
    """A sum; (q - c) + c is q, which straight-through estimators write, where q is a quantizer."""
    context = s.context
    for i in (0, 1):
        minuend = context.onnx.producers.get(context.onnx.behind(s.onnx.inputs[i]))
        if minuend is None or minuend.op != "Sub":
            continue
        quantized, given = (context.onnx.behind(t) for t in minuend.inputs)
        if _equal(s, given, context.onnx.behind(s.onnx.inputs[1 - i])) and _is_quantizer(s, quantized):
            value = context.value(quantized)
            assert value is not None
            context.signs[s.onnx.outputs[0]] = quantized
            return value
    return _pair("add")(s)  # type: ignore[return-value]


def _equal(s: OnnxSource, a: str, b: str, depth: int = 8, known: dict[tuple[str, str], bool] | None = None) -> bool:
    """Whether two tensors are one, or the same operators of the same operands; ``known``: of pairs."""
    onnx, known = s.context.onnx, {} if known is None else known
    a, b = onnx.behind(a), onnx.behind(b)
    if a == b:
        return True
    if (a, b) not in known:
        known[a, b] = bool(a and b) and _alike(s, a, b, depth, known)
    return known[a, b]


def _alike(s: OnnxSource, a: str, b: str, depth: int, known: dict[tuple[str, str], bool]) -> bool:
    """Whether two tensors have the same value, or come from the same operator of equal operands."""
    onnx = s.context.onnx
    if s.context.value(a) is None and s.context.value(b) is None:
        return all(np.array_equal(x, y) for x, y in zip(s.context.constants(a), s.context.constants(b), strict=True))
    one, other = onnx.producers.get(a), onnx.producers.get(b)
    if one is None or other is None or not depth or len(one.inputs) != len(other.inputs):
        return False
    same = (one.op, one.custom, one.attrs, len(one.outputs)) == (other.op, other.custom, other.attrs, 1)
    return same and all(_equal(s, x, y, depth - 1, known) for x, y in zip(one.inputs, other.inputs, strict=True))


_QUANTIZERS = frozenset({"Sign", "Where", "BipolarQuant", "Quant", "Round", "Clip"})


def _is_quantizer(s: OnnxSource, tensor: str) -> bool:
    """Whether a tensor that depends on the data comes from an operator that ends a quantizer: perhaps scaled, by
    constants or by a number that depends on the data, and perhaps an estimator itself."""
    for _ in range(8):
        node = s.context.onnx.producers.get(s.context.onnx.behind(tensor))
        if node is None or s.context.value(tensor) is None:
            return False
        if node.op in _QUANTIZERS or tensor in s.context.signs:
            return True
        if node.op not in ("Mul", "Div", "Add", "Sub", "Min", "Max"):
            return False
        data = [i for i in node.inputs if s.context.value(i) is not None]
        if len(data) == 2 and node.op == "Div":
            data = data[:1]
        if len(data) != 1:
            return False
        tensor = data[0]
    return False


def _many(op: str, mean: bool = False) -> Reader:
    def read(s: OnnxSource) -> Value:
        first, *others = s.framed(*range(len(s.onnx.inputs)))
        for i, other in enumerate(others, 1):
            pair = (first, other) if op == "add" else (other, first)  # the larger of two zeros is the second one
            first = s.make(op, *pair, final=i == len(others) and not mean)
        if mean:
            first = s.make("div", first, constant([float(len(others) + 1)]))
        return s.result(first)

    return read


READERS["Max"] = _many("maximum")
READERS["Min"] = _many("minimum")
READERS["Sum"] = _many("add")
READERS["Mean"] = _many("add", mean=True)


def _of_one(function: Callable[[OnnxSource, Node], Node]) -> Reader:
    def read(s: OnnxSource) -> Value:
        (x,) = s.framed(0)
        return s.result(function(s, x))

    return read


def _plain(op: str, attrs: Any = None) -> Reader:
    """An op that the IR also has."""
    return _of_one(lambda s, x: s.make(op, x, attrs=attrs))


READERS["Abs"] = _of_one(elementwise.absolute)
READERS["Ceil"] = _plain("round", RoundAttrs(1))
READERS["Floor"] = _plain("round", RoundAttrs(-1))
READERS["Neg"] = _of_one(lambda s, x: s.make("mul", x, constant([-1.0])))
READERS["Not"] = _of_one(elementwise.opposite)
READERS["Reciprocal"] = _of_one(lambda s, x: s.make("div", constant([1.0]), x))
READERS["Relu"] = _plain("clamp", ClampAttrs(0.0, INF))
READERS["Round"] = _plain("round", RoundAttrs(0))
READERS["Softplus"] = _of_one(elementwise.softplus)


@reader("Softsign")
def _softsign(s: OnnxSource) -> Value:
    """x * (1 / (1 + |x|)), in ONNX Runtime's order of operations."""
    (x,) = s.framed(0)
    below = s.make("add", s.inner(elementwise.absolute(s, x, final=False)), constant([1.0]), final=False)
    return s.result(s.make("mul", x, s.make("div", constant([1.0]), below, final=False)))


@reader("Sign")
def _sign(s: OnnxSource) -> Value:
    (x,) = s.framed(0)
    zero = s.context.zero
    return s.result(elementwise.step(s, x, strict=zero < 0) if zero else s.sign(x))


def _comparison(relation: str) -> Reader:
    def read(s: OnnxSource) -> Value:
        a, b = s.framed(0, 1)
        return s.result(elementwise.compare(s, relation, a, b))

    return read


_RELATIONS = {"Equal": "==", "Greater": ">", "GreaterOrEqual": ">=", "Less": "<", "LessOrEqual": "<="}
READERS.update((op, _comparison(relation)) for op, relation in _RELATIONS.items())


@reader("Xor")
def _xor(s: OnnxSource) -> Value:
    a, b = s.framed(0, 1)
    difference = s.make("sub", a, b, final=False)
    return s.result(s.make("mul", difference, difference))


@reader("Where")
def _where(s: OnnxSource) -> Value:
    if s.is_constant(0):
        raise s.unsupported("a condition that does not depend on the data")
    return s.result(elementwise.select(s, *s.framed(0, 1, 2)))


@reader("Clip")
def _clip(s: OnnxSource) -> Value:
    most = float(np.finfo(np.float32).max)  # which infinity becomes where there is no limit
    limits = [float(np.reshape(s.constant(i), ())) if s.has(i) else end for i, end in ((1, -most), (2, most))]
    (x,) = s.framed(0)
    return s.result(s.make("clamp", x, attrs=ClampAttrs(*limits)))


@reader("Cast", "CastLike")
def _cast(s: OnnxSource) -> Value:
    """Floats stay floats, and truth values are 1 and 0 already."""
    before, after = (s.context.dtype(name) for name in (s.onnx.inputs[0], s.onnx.outputs[0]))
    if after == np.bool_ != before:
        (x,) = s.framed(0)
        return s.result(elementwise.compare(s, "!=", x, constant([0.0])))
    return s.value(0)


@reader("PRelu", "LeakyRelu")
def _prelu(s: OnnxSource) -> Value:
    if s.op == "LeakyRelu":
        (x,) = s.framed(0)
        slope = constant([float(s.attr("alpha", 0.01))])
    else:
        x, slope = s.framed(0, 1)
    channels = x.type.shape[-1]
    if not slope.is_constant or slope.value.size not in (1, channels) or slope.value.size != slope.value.shape[-1]:
        raise s.unsupported(f"slopes {slope.type}; one per channel is supported")
    values = np.broadcast_to(slope.value.reshape(-1), (channels,))
    return s.result(s.make("prelu", x, constant(values, name=s.layer)))


@reader("Elu", "Celu")
def _elu(s: OnnxSource) -> Value:
    """alpha * (exp(x / a) - 1) below zero, a: 1 for Elu, alpha for Celu."""
    alpha = float(s.attr("alpha", 1.0))
    (x,) = s.framed(0)
    if alpha == 1.0:
        return s.result(s.make("elu", x))
    below = s.make("clamp", x, attrs=ClampAttrs(-INF, 0.0), final=False)
    if s.op == "Celu":
        below = s.make("div", below, constant([alpha]), final=False)
    below = s.make("mul", s.make("elu", below, final=False), constant([alpha]), final=False)
    return s.result(s.make("add", s.make("clamp", x, attrs=ClampAttrs(0.0, INF), final=False), below))


@reader("Selu")
def _selu(s: OnnxSource) -> Value:
    standard = np.isclose(s.attr("alpha", 1.67326319), 1.67326319) and np.isclose(
        s.attr("gamma", 1.05070102), 1.05070102
    )
    if not standard:
        raise s.unsupported("factors other than the usual ones")
    return _of_one(elementwise.selu)(s)  # type: ignore[return-value]


@reader("HardSigmoid", "HardSwish")
def _hard(s: OnnxSource) -> Value:
    swish = s.op == "HardSwish"
    alpha, beta = (1 / 6, 0.5) if swish else (s.attr("alpha", 0.2), s.attr("beta", 0.5))
    (x,) = s.framed(0)
    line = s.make("add", s.make("mul", x, constant([alpha]), final=False), constant([beta]), final=False)
    gate = s.make("clamp", line, attrs=ClampAttrs(0.0, 1.0), final=not swish)
    return s.result(s.make("mul", x, gate) if swish else gate)


@reader("Gelu")
def _gelu(s: OnnxSource) -> Value:
    """x * (1 + erf(x / sqrt(2))) / 2, or its approximation by tanh."""
    (x,) = s.framed(0)

    def times(y: Node, factor: float) -> Node:
        return s.make("mul", y, constant([factor]), final=False)

    if s.attr("approximate", "none") == "tanh":
        cube = s.make("mul", s.make("mul", x, x, final=False), x, final=False)
        inner = times(s.make("add", x, times(cube, 0.044715), final=False), np.sqrt(2 / np.pi))
        curve = s.make("tanh", inner, final=False)
    else:
        curve = s.make("erf", times(x, np.sqrt(0.5)), final=False)
    return s.result(s.make("mul", times(x, 0.5), s.make("add", curve, constant([1.0]), final=False)))


@reader("Mish")
def _mish(s: OnnxSource) -> Value:
    (x,) = s.framed(0)
    curve = s.make("tanh", s.inner(elementwise.softplus(s, x)), final=False)
    return s.result(s.make("mul", x, curve))


@reader("Pow")
def _pow(s: OnnxSource) -> Value:
    exponent = s.constant(1)
    if exponent.size != 1:
        raise s.unsupported("an exponent that is not one constant number")
    (x,) = s.framed(0)
    power = float(exponent.reshape(()))
    return s.result(s.make("mul", x, x) if power == 2 else s.make("pow", x, attrs=PowAttrs(power)))


# -- quantizers -------------------------------------------------------------------------------------------------------


def _scaled(s: OnnxSource, data: int, *others: int) -> list[Node]:
    if s.is_constant(data) or not all(map(s.is_constant, others)):
        raise s.unsupported("a scale or a zero point that depends on the data")
    return s.framed(data, *others)


@reader("BipolarQuant")
def _bipolar(s: OnnxSource) -> Value:
    """+scale where x >= 0, else -scale."""
    x, scale = _scaled(s, 0, 1)
    plain = bool((scale.value == 1).all())
    step = elementwise.step(s, x, final=plain)
    return s.result(step if plain else s.make("mul", step, scale))


@reader("Quant", "IntQuant")
def _quant(s: OnnxSource) -> Value:
    """(round(clip(x / scale + zero)) - zero) * scale; a signed number of one bit is +1 or -1."""
    width, signed = float(s.constant(3).reshape(())), bool(s.attr("signed"))
    low, high = qonnx.integer_range(width, signed, bool(s.attr("narrow")))
    x, scale, zero = _scaled(s, 0, 1, 2)
    plain, shifted = bool((scale.value == 1).all()), bool((zero.value != 0).any())
    y = x if plain else s.make("div", x, scale, final=False)
    if shifted:
        y = s.make("add", y, zero, final=False)
    if signed and width == 1:
        y = elementwise.step(s, y, final=plain and not shifted)
    else:
        y = s.make("clamp", y, attrs=ClampAttrs(low, high), final=False)
        y = s.make("round", y, attrs=_rounding(s), final=plain and not shifted)
    if shifted:
        y = s.make("sub", y, zero, final=plain)
    return s.result(y if plain else s.make("mul", y, scale))


def _rounding(s: OnnxSource) -> RoundAttrs:
    return RoundAttrs(qonnx.direction(s.op, s.onnx.attrs) or 0)


@reader("Trunc")
def _trunc(s: OnnxSource) -> Value:
    """Whole numbers without their lowest bits, as :class:`.qonnx.Truncation` says."""
    others = range(1, len(s.onnx.inputs))
    x, _, zero = _scaled(s, 0, *others)[:3]
    to = qonnx.truncation(s.onnx.attrs, *map(s.of_image, others))
    before, part, less, after = map(s.image_constant, (to.before, 1 / to.factor, to.zero, to.after))
    y = s.make("add", s.make("div", x, before, final=False), zero, final=False)
    y = s.make("mul", s.make("round", y, attrs=RoundAttrs(0), final=False), part, final=False)
    y = s.make("round", s.make("clamp", y, attrs=ClampAttrs(*to.limits), final=False), attrs=_rounding(s), final=False)
    return s.result(s.make("mul", s.make("sub", y, less, final=False), after))


@reader("MultiThreshold")
def _multi_threshold(s: OnnxSource) -> Value:
    """How many thresholds a value reaches: half of the sum of their steps of +-1, plus half of their number; scaled."""
    thresholds, rank = np.asarray(s.constant(1), np.float32), len(s.shape(0))
    (x,) = s.framed(0)
    steps = []
    for column in thresholds.T:
        limit = s.image_constant(column.reshape(-1, *[1] * (rank - 1 - qonnx.channel_axis(s.onnx.attrs, rank))))
        steps.append(elementwise.step(s, s.make("sub", x, limit, final=False), final=False))
    total = functools.reduce(lambda a, b: s.make("add", a, b, final=False), steps)
    half = s.make("mul", total, constant([0.5]), final=False)
    count = s.make("add", half, constant([0.5 * len(steps)]), final=False)
    scaled = s.make("mul", count, constant([float(s.attr("out_scale", 1.0))]), final=False)
    return s.result(s.make("add", scaled, constant([float(s.attr("out_bias", 0.0))])))


@reader("XnorPopcountMatMul")
def _xnor(s: OnnxSource) -> Value:
    """How many bits, 0 and 1, of two rows are equal: half of their product as -1 and +1, plus half of their length."""
    w = 2 * np.asarray(s.constant(1), np.float32).T - 1
    (x,) = s.framed(0)
    signs = s.make("add", s.make("mul", x, constant([2.0]), final=False), constant([-1.0]), final=False)
    product = _dense(s, s.result(signs), w, final=False)
    total = s.make("add", product.node, constant([float(w.shape[1])]), final=False)
    return Laid(s.make("mul", total, constant([0.5])), product.order)


def _along(s: OnnxSource, i: int, axis: int, default: float) -> Array:
    """A constant for an image: one number, or one per element of an axis."""
    if not s.has(i):
        return np.full(1, default, np.float32)
    array, rank = np.asarray(s.constant(i)).astype(np.float32), len(s.output_shape)
    if array.size == 1:
        return array.reshape(1)
    if array.ndim != 1 or axis % (rank + 1) == 0:
        raise s.unsupported(f"scales {array.shape} along axis {axis}")
    return array.reshape(-1, *[1] * (rank - axis % (rank + 1)))


@reader("QuantizeLinear")
def _quantize(s: OnnxSource) -> Value:
    """clip(round(x / scale) + zero): whole numbers, held as floats."""
    (x,) = s.framed(0)
    axis = int(s.attr("axis", 1))
    scale, zero = (s.image_constant(_along(s, i, axis, d)) for i, d in ((1, 1.0), (2, 0.0)))
    y = s.make("round", s.make("div", x, scale, final=False), attrs=RoundAttrs(0), final=False)
    if (zero.value != 0).any():
        y = s.make("add", y, zero, final=False)
    limits = np.iinfo(s.context.dtype(s.onnx.outputs[0]))
    return s.result(s.make("clamp", y, attrs=ClampAttrs(float(limits.min), float(limits.max))))


@reader("DequantizeLinear")
def _dequantize(s: OnnxSource) -> Value:
    """(x - zero) * scale"""
    (x,) = s.framed(0)
    axis = int(s.attr("axis", 1))
    scale, zero = (s.image_constant(_along(s, i, axis, d)) for i, d in ((1, 1.0), (2, 0.0)))
    if (zero.value != 0).any():
        x = s.make("sub", x, zero, final=False)
    return s.result(s.make("mul", x, scale))


# -- pools and reductions ---------------------------------------------------------------------------------------------


def _pool(op: str) -> Reader:
    def read(s: OnnxSource) -> Value:
        kernel = tuple(int(v) for v in s.attr("kernel_shape"))
        if set(s.attr("dilations") or [1]) != {1} or s.attr("storage_order", 0):
            raise s.unsupported("dilations or a storage order")
        geometry = _window(s, kernel, (1,) * len(kernel))
        size = (kernel[0], kernel[1]) if len(kernel) == 2 else (1, kernel[0])
        pads = geometry["pads"]

        def pool(x: Node) -> Node:
            own = pads
            if op == "avg_pool" and any(pads) and s.attr("count_include_pad", 0):
                x, own = s.make("pad", x, attrs=PadAttrs(pads, 0.0), final=False), (0,) * 4
            attrs = PoolAttrs(kernel=size, stride=geometry["stride"], pads=own)
            result = s.make(op, x, attrs=attrs, final=len(kernel) == 2)
            if (1, *s.output_shape[1:])[-2:] != result.type.shape[:2]:
                raise s.unsupported("ceil_mode: windows that reach past the padding", "use ceil_mode=False")
            return result

        return _in_order(s, pool)

    return read


READERS["AveragePool"] = _pool("avg_pool")
READERS["MaxPool"] = _pool("max_pool")


_OF_SQUARES = frozenset({"ReduceL2", "ReduceSumSquare"})


def _reduced(s: OnnxSource, op: str, axes: list[int], keep: bool, negated: bool = False) -> Value:
    """A reduction over axes of the source, 0 being the batch."""
    if 0 in axes:
        raise s.unsupported("it reduces over the batch")
    value = s.value(0)
    rank = len(s.shape(0)) - 1
    order = value.order if isinstance(value, Laid) else tuple(range(rank))
    x = s.arranged(value, order, "the data")
    if s.op in _OF_SQUARES:
        x = s.make("mul", x, x, final=False)
    own = sorted(order[a - 1] for a in axes)
    dims = x.type.shape
    shape = tuple(1 if i in own else d for i, d in enumerate(dims) if keep or i not in own) or (1,)
    node = reduce.reduction(s, op, x, [a + 1 for a in own], shape, negated)
    if s.op == "ReduceL2":
        node = s.make("sqrt", s.inner(node))
    if keep:
        return Laid(node, order)
    left = [i for i in order if i not in own]
    ranked = sorted(left)
    return Laid(node, tuple(ranked.index(i) for i in left))


def _reduction(op: str, negated: bool = False) -> Reader:
    def read(s: OnnxSource) -> Value:
        rank = len(s.shape(0))
        given = s.constant(1).reshape(-1).tolist() if s.has(1) else s.attr("axes")
        if not given:
            if s.attr("noop_with_empty_axes", 0):
                if s.op in _OF_SQUARES:
                    raise s.unsupported("noop_with_empty_axes without axes")
                return s.value(0)
            given = range(rank)
        axes = sorted({int(a) % rank for a in given})
        return _reduced(s, op, axes, bool(s.attr("keepdims", 1)), negated)

    return read


READERS["ReduceMax"] = _reduction("max_pool")
READERS["ReduceMean"] = _reduction("avg_pool")
READERS["ReduceMin"] = _reduction("max_pool", negated=True)
READERS["ReduceL2"] = READERS["ReduceSum"] = READERS["ReduceSumSquare"] = _reduction("sum_pool")


@reader("GlobalAveragePool", "GlobalMaxPool")
def _global(s: OnnxSource) -> Value:
    op = "avg_pool" if s.op == "GlobalAveragePool" else "max_pool"
    return _reduced(s, op, list(range(2, len(s.shape(0)))), keep=True)


@reader("Softmax", "LogSoftmax")
def _softmax(s: OnnxSource) -> Value:
    """log(softmax(x)) over one axis.  log(softmax(x)) = x - max - log1p(sum(exp(x - max)) - 1)."""
    rank = len(s.shape(0)) - 1
    axis = int(s.attr("axis", -1 if s.context.onnx.opset >= 13 else 1)) % (rank + 1)
    if axis == 0 or s.context.onnx.opset < 13 and axis != rank:
        raise s.unsupported(f"axis {axis} of {rank + 1} in version {s.context.onnx.opset} of ONNX's operators")
    value = s.value(0)
    order = value.order if isinstance(value, Laid) else tuple(range(rank))
    if order[axis - 1] != rank - 1:
        order = tuple(rank - 1 if i == axis - 1 else i - (i > axis - 1) for i in range(rank))
    x = s.arranged(value, order, "the data")
    if s.op == "Softmax":
        return Laid(s.make("softmax", x), order)
    each = (*x.type.shape[:-1], 1)

    def over(op: str, y: Node) -> Node:
        return s.inner(reduce.reduction(s, op, y, [rank], each))

    shifted = s.make("sub", x, over("max_pool", x), final=False)
    total = over("sum_pool", s.make("exp", shifted, final=False))
    rest = s.make("log1p", s.make("sub", total, constant([1.0]), final=False), final=False)
    return Laid(s.make("sub", shifted, rest), order)


# -- moves that the IR has --------------------------------------------------------------------------------------------


def concat(s: OnnxSource) -> Value | None:
    """A concatenation of channels; None for any other one, which is read as a move."""
    rank = len(s.shape(0)) - 1
    axis = int(s.attr("axis")) % (rank + 1)
    if axis == 0 or any(s.is_constant(i) for i in range(len(s.onnx.inputs))):
        return None
    values = [s.value(i) for i in range(len(s.onnx.inputs))]
    laid = [v for v in values if isinstance(v, Laid)]
    if len(laid) < len(values) or len({v.order for v in laid}) > 1 or laid[0].order[axis - 1] != rank - 1:
        return None
    return Laid(s.concat([v.node for v in laid], final=True), laid[0].order)


def pad(s: OnnxSource) -> Value | None:
    """Padding with a number; None if it repeats elements, which is a move."""
    if s.attr("mode", "constant") != "constant":
        return None
    rank = len(s.shape(0))
    pads = np.zeros(2 * rank, np.int64)
    axes = [int(a) % rank for a in s.constant(3).reshape(-1)] if s.has(3) else list(range(rank))
    given = s.constant(1).reshape(2, -1)
    for column, axis in enumerate(axes):
        pads[[axis, rank + axis]] = given[:, column]
    number = float(np.reshape(s.constant(2), ())) if s.has(2) else 0.0
    if pads[0] or pads[rank]:
        raise s.unsupported("padding of the batch")
    value = s.value(0)
    order = value.order if isinstance(value, Laid) else channels_last(rank - 1)
    if (pads < 0).any():  # cut first
        ends = zip(pads[1:rank], pads[rank + 1 :], s.shape(0)[1:], strict=True)
        cut = (slice(None), *(slice(-min(int(b), 0), size + min(int(a), 0)) for b, a, size in ends))
        moved = value.moved(s.context.batches) if isinstance(value, Laid) else value
        value = moved.mapped(lambda layout: layout.index[cut])
        pads = np.maximum(pads, 0)
    x = s.arranged(value, order, "the data")
    own = np.zeros((rank - 1, 2), int)
    for i, at in enumerate(order):
        own[at] = pads[1 + i], pads[rank + 1 + i]
    return Laid(padding.pad(s, x, np.vstack([[0, 0], own]), number), order)


def transpose(s: OnnxSource) -> Value | None:
    """An image with its dimensions in another order; None if the batch moves."""
    rank = len(s.shape(0))
    perm = [int(p) for p in s.attr("perm") or reversed(range(rank))]
    value = s.value(0)
    if perm[0] != 0 or not isinstance(value, Laid):
        return None
    return replace(value, order=tuple(value.order[p - 1] for p in perm[1:]))


# ONNX's names are the IR's, capitalized; what has attributes in ONNX alone is read above.
for _op in CURVES:
    if _op.name.capitalize() in OF_ONE_OPERAND:
        READERS.setdefault(_op.name.capitalize(), _plain(_op.name))
