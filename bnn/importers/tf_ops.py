"""One reader per TensorFlow op type: from the node to IR nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir import Node
from ..ops import INF, ClampAttrs, ConvAttrs, PadAttrs, PadChannelsAttrs, PoolAttrs, ReshapeAttrs, SliceAttrs, constant
from .frozen import Array

if TYPE_CHECKING:
    from .graphdef import Source

Reader = Callable[["Source"], "Node | tuple[Node, ...]"]
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


def _channels_last(s: Source) -> None:
    if s.attr("data_format", "NHWC") != "NHWC":
        raise s.unsupported(f"data format {s.attr('data_format')}; build the model with channels last (NHWC)")


def _spatial(s: Source, kernel: tuple[int, int]) -> dict[str, Any]:
    """Stride, dilation and padding of a convolution or a pool."""
    _channels_last(s)
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


@reader("Conv2D", "DepthwiseConv2dNative")
def _conv2d(s: Source) -> Node:
    w, groups = _filters(s)
    attrs = ConvAttrs(**_spatial(s, (w.shape[1], w.shape[2])), groups=groups)
    return s.make("conv2d", s.value(0), constant(w, name=s.layer), attrs=attrs)


def _filters(s: Source) -> tuple[Array, int]:
    """Filters as OHWI, and the number of groups."""
    w = s.constant(1)
    if s.tf.op == "DepthwiseConv2dNative":  # kh, kw, C, multiplier
        kh, kw, c, m = w.shape
        return w.transpose(2, 3, 0, 1).reshape(c * m, kh, kw, 1), c
    return w.transpose(3, 0, 1, 2), s.shape(0)[3] // w.shape[2]  # kh, kw, I, O


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
    _channels_last(s)
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
        _channels_last(s)
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


@reader("LeakyRelu")
def _leaky_relu(s: Source) -> Node:
    x = s.value(0)
    slope = np.full(x.type.shape[-1], s.attr("alpha", 0.2), np.float32)
    return s.make("prelu", x, constant(slope, name=s.layer))


@reader("Neg")
def _neg(s: Source) -> Node:
    return s.make("mul", s.value(0), constant([-1.0], name=s.layer))


@reader("ClipByValue")
def _clip(s: Source) -> Node:
    lo, hi = (float(np.reshape(s.constant(i), ())) for i in (1, 2))
    return s.make("clamp", s.value(0), attrs=ClampAttrs(lo, hi))


@reader("Sigmoid")
def _sigmoid(s: Source) -> Node:
    return s.make("sigmoid", s.value(0))


@reader("Round")
def _round(s: Source) -> Node:
    return s.make("round", s.value(0))


@reader("Sign")
def _sign(s: Source) -> Node:
    return s.make("sign", s.value(0))


@reader("Softmax")
def _softmax(s: Source) -> Node:
    return s.make("softmax", s.value(0))


def _pool(op: str) -> Reader:
    def read(s: Source) -> Node:
        _channels_last(s)
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
            raise s.unsupported(f"reduction over axes {axes} of {rank}; supported: global pooling, axes 1 and 2 of 4")
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
    rank = len(pads)
    if pads[0].any() or (pads < 0).any() or rank not in (2, 3, 4):
        raise s.unsupported(f"padding {pads.tolist()}; only height, width and channels can be padded")
    before, after = (int(p) for p in pads[-1])
    channels = PadChannelsAttrs(before, after, value)
    (top, bottom), (left, right) = [[0, 0], [0, 0], *pads[1:-1].tolist()][-2:]
    x = s.value(0)
    if not (top or bottom or left or right):
        return s.make("pad_channels", x, attrs=channels)
    h, w, c = (1, *x.type.shape)[-3:]
    if rank == 3:  # (W, C): as an image of one row
        x = s.make("reshape", x, attrs=ReshapeAttrs((h, w, c)), final=False)
    final = rank == 4 and not (before or after)
    x = s.make("pad", x, attrs=PadAttrs((top, left, bottom, right), value), final=final)
    if rank == 3:
        x = s.make("reshape", x, attrs=ReshapeAttrs(x.type.shape[1:]), final=not (before or after))
    return s.make("pad_channels", x, attrs=channels) if before or after else x


@reader("ConcatV2")
def _concat(s: Source) -> Node:
    rank = len(s.shape(0))
    axis = int(s.constant(s.count - 1)) % rank
    if axis != rank - 1:
        raise s.unsupported(f"concatenation over axis {axis}; only the channels (the last axis) can be concatenated")
    if any(s.is_constant(i) for i in range(s.count - 1)):
        raise s.unsupported("concatenation with a constant")
    return s.make("concat", *(s.value(i) for i in range(s.count - 1)))


@reader("Split", "SplitV")
def _split(s: Source) -> tuple[Node, ...]:
    value, axis = (1, 0) if s.tf.op == "Split" else (0, 2)
    rank = len(s.shape(value))
    where = int(np.reshape(s.constant(axis), ())) % rank
    if where != rank - 1:
        raise s.unsupported(f"a split over axis {where}; only the channels (the last axis) can be split")
    x = s.value(value)
    ends = np.cumsum([s.output_shape_of(i)[-1] for i in range(s.outputs)]).tolist()
    begins = [0, *ends[:-1]]
    return tuple(
        s.make("slice", x, attrs=SliceAttrs(begin, end), output=i)
        for i, (begin, end) in enumerate(zip(begins, ends, strict=True))
    )


@reader("StridedSlice")
def _strided_slice(s: Source) -> Node:
    shape = s.shape(0)
    index: list[Any] = []
    for i, (begin, end, step) in enumerate(zip(*(s.constant(k).tolist() for k in (1, 2, 3)), strict=True)):
        if s.attr("ellipsis_mask", 0) >> i & 1:
            index.append(Ellipsis)
        elif s.attr("new_axis_mask", 0) >> i & 1:
            index.append(None)
        elif s.attr("shrink_axis_mask", 0) >> i & 1:
            index.append(begin)
        else:
            first = None if s.attr("begin_mask", 0) >> i & 1 else begin
            last = None if s.attr("end_mask", 0) >> i & 1 else end
            index.append(slice(first, last, step))
    kept = np.broadcast_to(np.arange(shape[-1]), shape)[tuple(index)]
    channels = kept.reshape(-1)[: kept.shape[-1]] if kept.ndim == len(shape) and kept.size else np.zeros(0, int)
    if kept.shape[:-1] != shape[:-1] or not np.array_equal(channels, np.arange(len(channels)) + (channels[:1].sum())):
        raise s.unsupported("only a run of channels (the last axis) can be cut out")
    begin = int(channels[0])
    return s.make("slice", s.value(0), attrs=SliceAttrs(begin, begin + len(channels)))


@reader("BatchToSpaceND")
def _batch_to_space(s: Source) -> Node:
    """SpaceToBatchND, a convolution, BatchToSpaceND: how Keras writes a dilated convolution."""
    conv = s.producer(0)
    if conv is None or conv.tf.op not in ("Conv2D", "DepthwiseConv2dNative"):
        raise s.unsupported("it does not follow a convolution")
    space = conv.producer(0)
    if space is None or space.tf.op != "SpaceToBatchND":
        raise s.unsupported("its convolution does not follow SpaceToBatchND")
    dilation = tuple(int(d) for d in space.constant(1))
    pads, crops = space.constant(2), s.constant(2)
    if len(dilation) != 2 or crops[:, 0].any() or (pads[:, 1] < crops[:, 1]).any():
        raise s.unsupported(f"blocks {dilation} with crops {crops.tolist()}")
    w, groups = _filters(conv)
    (top, bottom), (left, right) = (pads - crops).tolist()
    x = space.value(0)
    attrs = ConvAttrs(dilation=(dilation[0], dilation[1]), pads=(top, left, bottom, right), groups=groups)
    return s.make("conv2d", x, constant(w, name=s.layer), attrs=attrs)


@reader("Reshape", "Squeeze", "ExpandDims")
def _reshape(s: Source) -> Node:
    if not s.output_shape:
        raise s.unsupported("a reshape to no dimensions")
    return s.make("reshape", s.value(0), attrs=ReshapeAttrs(s.output_shape))
