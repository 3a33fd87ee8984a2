# SPDX-License-Identifier: Apache-2.0
"""One reader per operator: from the file to IR nodes.  ``evaluate.py`` says what each computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..._types import Array
from ...ir.graph import Node
from ...ir.ops import INF, ClampAttrs, ConvAttrs, PoolAttrs, ReshapeAttrs, SliceAttrs, constant
from ..common import elementwise, reduce
from ..common.moves import arrange, numbers
from ..common.padding import pad
from ..common.table import entering
from .evaluate import PAIRS, SUM, pad_value, padding, slices
from .larq import binary_convolution
from .step import Step, Window, layer_of
from .tables import CLAMPS

Reader = Callable[[Step], "Node | list[Node]"]
READERS: dict[str, Reader] = {}
reader = entering(READERS)


def _clamped(s: Step, x: Node, limits: tuple[float, float]) -> Node:
    return x if limits == (-INF, INF) else s.make("clamp", x, attrs=ClampAttrs(*limits))


def reshaped(s: Step, x: Node, shape: tuple[int, ...]) -> Node:
    return x if x.type.shape == shape else s.make("reshape", x, attrs=ReshapeAttrs(shape))


# -- Larq's own -------------------------------------------------------------------------------------------------------


@reader("LceQuantize")
def _quantize(s: Step) -> Node:
    return elementwise.step(s, s.value(0))


@reader("LceDequantize")
def _dequantize(s: Step) -> Node:
    return s.value(0)


@reader("LceBconv2d")
def _binary_convolution(s: Step) -> Node:
    conv, x = binary_convolution(s), s.value(0)
    w = conv.window
    if conv.pad_value and any(w.pads):
        x = pad(s, x, np.array([(0, 0), w.pads[::2], w.pads[1::2], (0, 0)]), 1.0)
        w = replace(w, pads=(0, 0, 0, 0))
    y = _convolution(s, x, conv.filters, w, conv.groups)
    # The quantizer before it belongs to the layer; what it is fused with may not.
    y = replace(y, name=layer_of(s.network, s.number(0)), origin=SUM.format(s.output().name))
    if not isinstance(conv.result, tuple):
        return elementwise.step(s, s.make("sub", y, constant(conv.result, name=s.layer)))
    multiplier, offset = conv.result
    y = _clamped(s, y, conv.clamp)
    if (multiplier == 1).all() and (offset == conv.reach).all():  # exact
        return y
    y = s.make("sub", y, constant(np.full(len(conv.filters), conv.reach), name=s.layer))
    y = s.make("mul", y, constant(multiplier, name=s.layer))
    return s.make("add", y, constant(offset, name=s.layer))


@reader("LceBMaxPool2d")
def _binary_max_pool(s: Step) -> Node:
    return pool(s, "max_pool")


# -- floats -----------------------------------------------------------------------------------------------------------


def _convolution(s: Step, x: Node, filters: Array, w: Window, groups: int) -> Node:
    attrs = ConvAttrs(w.stride, w.dilation, w.pads, groups=groups)
    return s.make("conv2d", x, constant(filters, name=s.layer), attrs=attrs)


def _with_bias(s: Step, y: Node, filters: int) -> Node:
    """The bias, if there is one, and the fused activation."""
    if s.has(2):
        y = s.make("add", y, constant(s.per_filter(2, filters), name=s.layer))
    return _clamped(s, y, s.clamp())


@reader("CONV_2D", "DEPTHWISE_CONV_2D")
def _conv2d(s: Step) -> Node:
    w, groups = s.filters()
    y = _convolution(s, s.value(0), w, s.window((w.shape[1], w.shape[2])), groups)
    return _with_bias(s, y, len(w))


@reader("FULLY_CONNECTED")
def _fully_connected(s: Step) -> Node:
    w, _ = s.filters()
    y = s.make("conv2d", s.flat(s.value(0)), constant(w, name=s.layer), attrs=ConvAttrs())
    return reshaped(s, _with_bias(s, y, len(w)), s.output().shape[1:])


def pool(s: Step, op: str) -> Node:
    w = s.window()
    return s.make(op, s.value(0), attrs=PoolAttrs(w.kernel, w.stride, w.pads))


@reader("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _float_pool(s: Step) -> Node:
    return _clamped(s, pool(s, "max_pool" if s.op == "MAX_POOL_2D" else "avg_pool"), s.clamp())


def operand(s: Step, i: int, rank: int) -> Node:
    """An operand of an elementwise op, whose result has ``rank`` dimensions, the batch included."""
    shape = s.input(i).shape
    if s.is_constant(i):
        value = s.constant(i)
        if len(shape) > rank or len(shape) == rank and shape[0] != 1:
            raise s.unsupported(f"a constant of shape {shape}, which differs over the batch")
        value = value[0] if len(shape) == rank else value
        while value.ndim > 1 and len(value) == 1:
            value = value[0]
        return constant(value if value.ndim else value.reshape(1), name=s.layer)
    if len(shape) < rank and shape[0] != 1:
        raise s.unsupported(f"operands with {len(shape)} and {rank} dimensions in batches of {shape[0]} images")
    return reshaped(s, s.value(i), (1,) * (rank - len(shape)) + shape[1:]) if len(shape) < rank else s.value(i)


def _pair(op: str) -> Reader:
    def read(s: Step) -> Node:
        operands = [operand(s, i, len(s.output().shape)) for i in range(2)]
        return _clamped(s, s.make(op, *operands), s.clamp())

    return read


READERS.update((op, _pair(name)) for op, name in PAIRS.items())


@reader("ABS")
def _absolute(s: Step) -> Node:
    return elementwise.absolute(s, s.value(0))


@reader(*CLAMPS)
def _relu(s: Step) -> Node:
    return _clamped(s, s.value(0), CLAMPS[s.op])


@reader("PRELU")
def _prelu(s: Step) -> Node:
    return _sloped(s, s.constant(1))


@reader("HARD_SWISH")
def _hard_swish(s: Step) -> Node:
    x = s.value(0)
    gate = s.make("clamp", s.make("add", x, constant([3.0]), final=False), attrs=ClampAttrs(0.0, 6.0), final=False)
    return s.make("div", s.make("mul", x, gate, final=False), constant([6.0]))


@reader("LEAKY_RELU")
def _leaky_relu(s: Step) -> Node:
    return _sloped(s, np.asarray(s.option("alpha"), np.float32))


def _sloped(s: Step, slope: Array) -> Node:
    x, channels = s.value(0), s.value(0).type.shape[-1]
    if slope.size not in (1, channels) or slope.size != 1 and slope.shape[-1] != channels:
        raise s.unsupported(f"slopes of shape {slope.shape}; expected one for each of {channels} channels")
    return s.make("prelu", x, constant(np.broadcast_to(slope.reshape(-1), channels), name=s.layer))


def _plain(op: str) -> Reader:
    """An op that the IR also has."""
    return lambda s: s.make(op, s.value(0))


READERS["LOGISTIC"] = _plain("sigmoid")
READERS["TANH"] = _plain("tanh")


@reader("SOFTMAX")
def _softmax(s: Step) -> Node:
    x, beta = s.value(0), s.option("beta")
    return s.make("softmax", x if beta == 1 else s.make("mul", x, constant([beta])))


@reader("MEAN")
def _mean(s: Step) -> Node:
    return reduce.reduction(s, "avg_pool", s.value(0), s.axes(1, len(s.input(0).shape)), s.output().shape[1:])


# -- moves ------------------------------------------------------------------------------------------------------------


@reader("PAD", "PADV2")
def _pad(s: Step) -> Node:
    return pad(s, s.value(0), padding(s), pad_value(s))


@reader("CONCATENATION")
def _concatenation(s: Step) -> Node:
    count, rank = max(len(s.operator.inputs), 1), len(s.output().shape)
    axis = s.axis(s.option("axis"), rank)
    if axis != rank - 1:
        raise s.unsupported(f"dimension {axis} of {rank}; supported: the channels, which are last")
    if s.clamp() != (-INF, INF):
        raise s.unsupported("a fused activation, which TensorFlow Lite refuses here")
    return s.concat([s.value(i) for i in range(count)], final=True)


@reader("SPLIT")
def _split(s: Step) -> list[Node]:
    x, count, rank = s.value(1), len(s.operator.outputs), len(s.input(1).shape)
    if s.axes(0, rank) != [rank - 1] or x.type.shape[-1] % count:
        raise s.unsupported(f"dimensions {s.axes(0, rank)} of {rank}; supported: the channels, which are last")
    width = x.type.shape[-1] // count
    return [s.make("slice", x, attrs=SliceAttrs(i * width, (i + 1) * width)) for i in range(count)]


@reader("STRIDED_SLICE")
def _strided_slice(s: Step) -> Node:
    x, (*outer, last) = s.value(0), slices(s)
    whole = [slice(0, n, 1) for n in x.type.shape]
    if outer != whole[:-1] or last.step != 1:
        return arrange(s, x, numbers(*x.type.shape)[tuple(slices(s))])
    return x if last == whole[-1] else s.make("slice", x, attrs=SliceAttrs(last.start, last.stop))


@reader("RESHAPE")
def _reshape(s: Step) -> Node:
    return reshaped(s, s.value(0), s.output().shape[1:])
