# SPDX-License-Identifier: Apache-2.0
"""One reader per operator on 8-bit tensors: from the file to IR nodes of bytes, which hold int8 in excess 128.

``integers.py`` says what each computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..._types import Array
from ...errors import CompileError
from ...ir.graph import DType, Node
from ...ir.monotone import floats, order
from ...ir.ops import REQUANTIZATION, ConvAttrs, QuantizeAttrs, constant, make
from ...ir.quantization import BYTES, Bytes, convolution, lookup, pair, sum_tables, taken
from ..common import elementwise
from ..common.padding import pad
from ..common.table import entering
from . import quantized
from .evaluate import MOVES, pad_value, padding, slices
from .integers import attributes, quantized_floats
from .ops import READERS, Reader, operand, pool, reshaped
from .quantized import HIGH, LOW, Filters, exponentials, limits, of, of_result
from .step import Step
from .tables import TABLES, table

BYTE_READERS: dict[str, Reader] = {}
reader = entering(BYTE_READERS)
_EXCESS = 128


def as_bytes(x: Node) -> Node:
    """An input's numbers: int8 in excess 128, uint8 as they are."""
    return make("excess_128", x, name=x.name) if x.type.dtype is DType.i8 else x


def _bytes(s: Step, i: int) -> Bytes:
    """What the bytes of operand i stand for."""
    return Bytes(float(of(s, i).scale), of(s, i).zero_point + _EXCESS)


def _limited(s: Step, x: Node) -> Node:
    """The fused activation, of results whose scale is that of the operand."""
    low, high = limits(s)
    return lookup(x, np.clip(BYTES, low + _EXCESS, high + _EXCESS), s.layer)


@reader(*TABLES)
def _unary(s: Step) -> Node:
    if s.input(0).dtype == "FLOAT32":
        return _quantize(s)
    results = table(s).astype(np.int64)
    return lookup(s.value(0), results + (_EXCESS if s.output().dtype == "INT8" else 0), s.layer)


def _quantize(s: Step) -> Node:
    """The first float that QUANTIZE makes of each number but the least, found by halving intervals of floats."""
    q, (low, high) = of_result(s), quantized.range_of_result(s)
    numbers = np.arange(low + 1, high + 1)
    least, most = (np.full(len(numbers), order(v)) for v in (np.float32(-np.inf), np.float32(np.inf)))
    while (most - least > 1).any():  # the number is below at the one, and not at the other
        middle = (least + most) // 2
        below = quantized_floats(s, floats(middle)).astype(np.int64) < numbers
        least, most = np.where(below, middle, least), np.where(below, most, middle)
    attrs = QuantizeAttrs(float(np.float32(1) / q.scale), float(q.zero_point - low), 0)
    return s.make("quantize", s.value(0), constant(floats(most), name=s.layer), attrs=attrs)


@reader("DEQUANTIZE")
def _dequantize(s: Step) -> Node:
    q, least = of(s, 0), LOW if s.input(0).dtype == "INT8" else 0
    values = (BYTES + least - q.zero_point) * float(q.scale)
    return s.make("cast", s.value(0), constant(values.astype(np.float32), name=s.layer))


@reader("LceQuantize")
def _bits(s: Step) -> Node:
    numbers = constant(BYTES + LOW - of(s, 0).zero_point, name=s.layer)
    return elementwise.step(s, s.make("cast", s.value(0), numbers, final=False))


@reader("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
def _filtered(s: Step) -> Node:
    f = Filters(s)
    x = s.flat(s.value(0)) if s.op == "FULLY_CONNECTED" else s.value(0)
    attrs = replace(attributes(f.window, f.groups), layer_slots=("zeros", *REQUANTIZATION))
    numbers, range_of = (f.bias, f.multipliers, f.shifts), (*_range(s, limits(s)), f.once)
    y = convolution(x, f.weights, _bytes(s, 0).zero, numbers, range_of, attrs, s.layer)
    return reshaped(s, y, s.output().shape[1:])


def _range(s: Step, limits_of: tuple[int, int]) -> tuple[int, int, int]:
    """The byte of the zero point, the lowest and the highest."""
    low, high = limits_of
    return of_result(s).zero_point + _EXCESS, low + _EXCESS, high + _EXCESS


def _pair(s: Step, op: str, tables: Sequence[Array], scale: tuple[int, int]) -> Node:
    """A sum or a product of what tables have for both operands."""
    rank = len(s.output().shape)
    operands = [operand(s, i, rank) for i in range(2)]
    operands = [constant(x.value + _EXCESS, DType.u8, s.layer) if x.is_constant else x for x in operands]
    try:
        found = pair(op, operands, tables, scale, _range(s, limits(s)), s.layer)
    except CompileError:
        found = None
    if found is None or found.type.shape != s.output().shape[1:]:
        raise s.unsupported(
            f"operands of shapes {s.input(0).shape} and {s.input(1).shape}; expected equal ones, or one pixel, or one "
            "number, for the whole of the other"
        )
    return found


@reader("ADD", "SUB")
def _sum(s: Step) -> Node:
    scales, result = quantized.summed(s)
    first, second = sum_tables([_bytes(s, i) for i in range(2)], scales)
    return _pair(s, "qadd", (first, second if s.op == "ADD" else -second), result)


@reader("MUL")
def _product(s: Step) -> Node:
    return _pair(s, "qmul", [_bytes(s, i).numbers for i in range(2)], quantized.product(s))


@reader("SOFTMAX")
def _softmax(s: Step) -> Node:
    return s.make("qsoftmax", s.value(0), constant(exponentials(s), DType.i32, s.layer))


@reader("MAXIMUM", "MINIMUM")
def _extreme(s: Step) -> Node:
    quantized.check_same(s, [0, 1])
    known = next((i for i in range(2) if s.is_constant(i)), None)
    if known is None or s.constant(known).size != 1:
        raise s.unsupported("operands that both depend on the data, or several constants; expected one number")
    function = np.maximum if s.op == "MAXIMUM" else np.minimum
    return lookup(s.value(1 - known), function(BYTES, int(s.constant(known).item()) + _EXCESS), s.layer)


@reader("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _pool(s: Step) -> Node:
    quantized.check_same(s, [0])
    return _limited(s, pool(s, "max_pool" if s.op == "MAX_POOL_2D" else "avg_pool"))


@reader("MEAN")
def _mean(s: Step) -> Node:
    """The sum over an image's pixels, by filters of ones for each channel."""
    x, axes = s.value(0), s.axes(1, len(s.input(0).shape))
    if len(x.type.shape) != 3 or axes != [1, 2]:
        raise s.unsupported(f"dimensions {axes} of {s.input(0).shape}; supported: height and width of images (1, 2)")
    height, width, channels = x.type.shape
    ones = np.ones((channels, height, width, 1), np.int8)
    numbers, range_of = (0, *quantized.mean(s, height * width)), (*_range(s, (LOW, HIGH)), 0)
    y = convolution(x, ones, _bytes(s, 0).zero, numbers, range_of, ConvAttrs(groups=channels), s.layer)
    return reshaped(s, y, s.output().shape[1:])


@reader("PAD", "PADV2")
def _pad(s: Step) -> Node:
    return pad(s, s.value(0), padding(s), pad_value(s) + _EXCESS)


@reader("STRIDED_SLICE")
def _strided_slice(s: Step) -> Node | list[Node]:
    """Rows and columns are taken by a filter with one tap for each channel."""
    x, found = s.value(0), slices(s)
    shape = x.type.shape
    if len(shape) != 3 or all(c == slice(0, n, 1) for c, n in zip(found[:2], shape[:2], strict=True)):
        return READERS["STRIDED_SLICE"](s)
    rows, columns, channels = found
    if channels != slice(0, shape[2], 1) or min(s.output().shape[1:]) < 1:
        raise s.unsupported(f"slices {found} of {shape}; supported: of rows and columns, or of channels")
    cuts = [(cut.start, cut.step, count) for cut, count in zip((rows, columns), s.output().shape[1:], strict=False)]
    return taken(x, cuts[0], cuts[1], s.layer)


@reader("CONCATENATION")
def _concatenation(s: Step) -> Node | list[Node]:
    quantized.check_same(s, [*range(len(s.operator.inputs))])
    return READERS["CONCATENATION"](s)


BYTE_READERS.update((op, READERS[op]) for op in MOVES - BYTE_READERS.keys())
