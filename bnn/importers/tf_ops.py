"""One reader per TensorFlow op type: from the node to IR nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir import Node
from ..ops import INF, ClampAttrs, ConvAttrs, PadAttrs, PoolAttrs, ReshapeAttrs, constant
from .frozen import Array

if TYPE_CHECKING:
    from .graphdef import Source

Reader = Callable[["Source"], Node]
READERS: dict[str, Reader] = {}


def reader(*ops: str) -> Callable[[Reader], Reader]:
    """Register a reader for TensorFlow op types."""

    def register(function: Reader) -> Reader:
        for op in ops:
            READERS[op] = function
        return function

    return register


def same_pads(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME: ceil(size / stride) outputs; an odd pixel of padding goes after."""
    out = -(-size // stride)
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _spatial(s: Source, kernel: tuple[int, int]) -> dict[str, Any]:
    """Stride, dilation and padding of a convolution or a pool."""
    if s.attr("data_format", "NHWC") != "NHWC":
        raise s.unsupported(f"data format {s.attr('data_format')}; build the model with channels last (NHWC)")
    strides = tuple(s.attr("strides", [1, 1, 1, 1]))
    dilations = tuple(s.attr("dilations", None) or (1, 1, 1, 1))
    if strides[0] != 1 or strides[3] != 1 or dilations[0] != 1 or dilations[3] != 1:
        raise s.unsupported(f"strides {strides} or dilations {dilations} over the batch or the channels")
    _, h, w, _ = s.shape(0)
    padding = s.attr("padding", "VALID")
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


@reader("Conv2D")
def _conv2d(s: Source) -> Node:
    w = s.constant(1)  # kh, kw, I, O
    channels = s.shape(0)[3]
    geometry = _spatial(s, (w.shape[0], w.shape[1]))
    attrs = ConvAttrs(**geometry, groups=channels // w.shape[2])
    return s.make("conv2d", s.value(0), constant(w.transpose(3, 0, 1, 2), name=s.layer), attrs=attrs)


@reader("DepthwiseConv2dNative")
def _depthwise(s: Source) -> Node:
    w = s.constant(1)  # kh, kw, C, multiplier
    kh, kw, c, m = w.shape
    filters = w.transpose(2, 3, 0, 1).reshape(c * m, kh, kw, 1)
    attrs = ConvAttrs(**_spatial(s, (kh, kw)), groups=c)
    return s.make("conv2d", s.value(0), constant(filters, name=s.layer), attrs=attrs)


@reader("MatMul")
def _matmul(s: Source) -> Node:
    if s.attr("transpose_a"):
        raise s.unsupported("a transposed data matrix")
    w = s.constant(1)
    if not s.attr("transpose_b"):
        w = w.T
    return s.make("conv2d", s.value(0), constant(w[:, None, None, :], name=s.layer), attrs=ConvAttrs())


@reader("FusedBatchNormV3", "FusedBatchNormV2", "FusedBatchNorm")
def _batch_norm(s: Source) -> Node:
    """(x - mean) * (rsqrt(variance + epsilon) * gamma) + beta, in TensorFlow's order of operations."""
    if s.attr("is_training"):
        raise s.unsupported("batch norm in training mode; call the model with training=False")
    gamma, beta, mean, variance = (s.constant(i) for i in range(1, 5))
    scale = s.multiplier(variance, float(s.attr("epsilon", 1e-3)), gamma)
    x = s.make("sub", s.value(0), constant(mean), final=False)
    x = s.make("mul", x, constant(scale), final=False)
    return s.make("add", x, constant(beta))


def _operand(s: Source, i: int, rank: int) -> Node:
    """An elementwise operand; a constant loses its batch dimension and leading ones."""
    if not s.is_constant(i):
        return s.value(i)
    value = s.constant(i)
    if value.ndim == rank:
        if value.shape[0] != 1:
            raise s.unsupported(f"a constant of shape {value.shape} that differs over the batch")
        value = value[0]
    while value.ndim > 1 and value.shape[0] == 1:
        value = value[0]
    return constant(value if value.ndim else value.reshape(1), name=s.layer)


def _elementwise(op: str) -> Reader:
    def read(s: Source) -> Node:
        rank = max(len(s.shape(0)), len(s.shape(1)))
        a, b = _operand(s, 0, rank), _operand(s, 1, rank)
        if not a.is_constant and not b.is_constant and len(a.type.shape) != len(b.type.shape):
            raise s.unsupported(f"operands of different rank, {a.type} and {b.type}")
        return s.make(op, a, b)

    return read


for _tf_op, _op in {
    "Add": "add",
    "AddV2": "add",
    "BiasAdd": "add",
    "Sub": "sub",
    "Mul": "mul",
    "RealDiv": "div",
    "Div": "div",
    "Maximum": "maximum",
    "Minimum": "minimum",
}.items():
    READERS[_tf_op] = _elementwise(_op)


@reader("Relu")
def _relu(s: Source) -> Node:
    return s.make("clamp", s.value(0), attrs=ClampAttrs(0.0, INF))


@reader("Relu6")
def _relu6(s: Source) -> Node:
    return s.make("clamp", s.value(0), attrs=ClampAttrs(0.0, 6.0))


@reader("Sign")
def _sign(s: Source) -> Node:
    return s.make("sign", s.value(0))


@reader("Softmax")
def _softmax(s: Source) -> Node:
    return s.make("softmax", s.value(0))


def _pool(op: str) -> Reader:
    def read(s: Source) -> Node:
        kernel = s.attr("ksize")
        if kernel[0] != 1 or kernel[3] != 1:
            raise s.unsupported(f"a window of {kernel} over the batch or the channels")
        geometry = _spatial(s, (kernel[1], kernel[2]))
        geometry.pop("dilation")
        return s.make(op, s.value(0), attrs=PoolAttrs(kernel=(kernel[1], kernel[2]), **geometry))

    return read


READERS["MaxPool"] = _pool("max_pool")
READERS["AvgPool"] = _pool("avg_pool")


def _global(op: str) -> Reader:
    def read(s: Source) -> Node:
        rank = len(s.shape(0))
        axes = sorted(int(a) % rank for a in np.reshape(s.constant(1), -1))
        if rank != 4 or axes != [1, 2]:
            raise s.unsupported(f"reduction over axes {axes} of {rank}; only global pooling (axes 1 and 2 of 4) is supported")
        _, h, w, _ = s.shape(0)
        attrs = PoolAttrs(kernel=(h, w))
        if s.attr("keep_dims"):
            return s.make(op, s.value(0), attrs=attrs)
        pooled = s.make(op, s.value(0), attrs=attrs, final=False)
        return s.make("reshape", pooled, attrs=ReshapeAttrs(s.output_shape))

    return read


READERS["Mean"] = _global("avg_pool")
READERS["Max"] = _global("max_pool")


@reader("Pad", "PadV2")
def _pad(s: Source) -> Node:
    value = float(np.reshape(s.constant(2), ())) if s.count > 2 else 0.0
    pads: Array = s.constant(1)
    if len(pads) != 4 or pads[0].any() or pads[3].any():
        raise s.unsupported(f"padding {pads.tolist()}; only height and width of (N, H, W, C) can be padded")
    (top, bottom), (left, right) = pads[1], pads[2]
    attrs = PadAttrs((int(top), int(left), int(bottom), int(right)), value)
    return s.make("pad", s.value(0), attrs=attrs)


@reader("ConcatV2")
def _concat(s: Source) -> Node:
    rank = len(s.shape(0))
    axis = int(s.constant(s.count - 1)) % rank
    if axis != rank - 1:
        raise s.unsupported(f"concatenation over axis {axis}; only the channels (the last axis) can be concatenated")
    if any(s.is_constant(i) for i in range(s.count - 1)):
        raise s.unsupported("concatenation with a constant")
    return s.make("concat", *(s.value(i) for i in range(s.count - 1)))


@reader("Reshape", "Squeeze", "ExpandDims")
def _reshape(s: Source) -> Node:
    if not s.output_shape:
        raise s.unsupported("a reshape to no dimensions")
    return s.make("reshape", s.value(0), attrs=ReshapeAttrs(s.output_shape))
