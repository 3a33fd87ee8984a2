# SPDX-License-Identifier: Apache-2.0
"""THE op table: one record per op.  The verifier, the oracle, the file writer and the C headers derive from it.

To add an op: its record here, the type of its result in ``shapes.py``, its attributes in ``attributes.py`` and
``fields.py``, its meaning in ``reference.py``, ``csrc/ops/<name>.c`` with its row in the generated list,
``tests/ops/test_<name>.py``, and the rule that creates it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Flag, auto
from typing import Any

import numpy as np

from ...errors import CompileError
from ..graph import Attrs, DType, Node, Value
from . import reference as ref
from . import shapes
from .attributes import (
    INF,
    SLOTS,
    BatchSizeAttrs,
    ClampAttrs,
    ConstantAttrs,
    ConvAttrs,
    DequantizeAttrs,
    InputAttrs,
    NoAttrs,
    PadAttrs,
    PadChannelsAttrs,
    PoolAttrs,
    PowAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    RoundAttrs,
    SliceAttrs,
)
from .shapes import MOST_BYTE_PRODUCTS, MOST_PLANES, Infer, conv_output

__all__ = [
    "CONVOLUTIONS", "INF", "MOST_BYTE_PRODUCTS", "MOST_PLANES", "OPS", "SLOTS", "BatchSizeAttrs", "ClampAttrs",
    "ConstantAttrs", "ConvAttrs", "DequantizeAttrs", "InputAttrs", "Level", "NoAttrs", "Op", "PadAttrs",
    "PadChannelsAttrs", "PoolAttrs", "PowAttrs", "ReshapeAttrs", "ResizeAttrs", "RoundAttrs", "SliceAttrs", "constant",
    "conv_output", "input_node", "make",
]  # fmt: skip


CONVOLUTIONS = ("conv2d", "bconv2d", "iconv2d")


class Level(Flag):
    """Where an op is legal."""

    SOURCE = auto()  # what importers make: float32
    BINARY = auto()  # packed semantics; spikes branch off here
    RUNTIME = auto()  # what the C core executes
    ALL = SOURCE | BINARY | RUNTIME


Reference = Callable[..., Any]


@dataclass(frozen=True)
class Op:
    """One op.

    ``opcode`` is its number in the file (None: never written).  ``infer`` gives the type from the operands' types and
    the attributes, and raises :class:`CompileError` on a contradiction.  ``reference`` gets the operands' arrays and
    the attributes.  ``elementwise`` marks float ops that treat every element alone (broadcasting their operands),
    ``library`` those of them that the C library computes, whose last bits no standard fixes, ``moves`` ops whose values
    are their operand's, elsewhere, and padding, ``whole_batch`` those whose result for an image depends on the others.
    """

    name: str
    opcode: int | None
    attrs: type[Attrs]
    infer: Infer
    reference: Reference
    levels: Level
    elementwise: bool = False
    library: bool = False
    moves: bool = False
    whole_batch: bool = False


def _function(name: str, opcode: int, reference: Reference, attrs: type[Attrs] = NoAttrs) -> Op:
    """The row of a function of one float that the C library computes."""
    return Op(name, opcode, attrs, shapes.same, reference, Level.ALL, elementwise=True, library=True)


def _conv_reference(x: Any, w: Any, *operands: Any, a: Any) -> Any:
    acc = ref.byte_accumulate(x, w, operands[0], a) if x.dtype == np.uint8 else ref.conv_accumulate(x, w, a)
    v = ref.epilogue(acc, a, operands)
    return ref.binarize(v) if a.out is DType.b1 and v.dtype == np.float32 else v


def _pad_reference(x: Any, a: Any) -> Any:
    return ref.pad_spatial(x, a.pads, a.value).astype(x.dtype)


def _plain(function: Callable[..., Any]) -> Reference:
    return lambda *operands, a: function(*operands)


def _concat_reference(*operands: Any, a: Any) -> Any:
    return np.concatenate(operands, axis=-1)


def _div(x: Any, y: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return x / y


S, B, R, ALL = Level.SOURCE, Level.BINARY, Level.RUNTIME, Level.ALL

OPS: dict[str, Op] = {
    op.name: op
    for op in (
        Op("input", None, InputAttrs, shapes.input, lambda a: None, ALL),
        Op("constant", None, ConstantAttrs, shapes.constant, lambda a: a.value.array, ALL),
        Op("conv2d", 1, ConvAttrs, shapes.conv(DType.f32), _conv_reference, ALL),
        Op("bconv2d", 2, ConvAttrs, shapes.conv(DType.b1), _conv_reference, B | R),
        Op("iconv2d", 30, ConvAttrs, shapes.conv(DType.u8), _conv_reference, B | R),
        Op("max_pool", 3, PoolAttrs, shapes.pool, lambda *x, a: ref.max_pool(x[0], a, *x[1:]), ALL, moves=True),
        Op("avg_pool", 4, PoolAttrs, shapes.avg_pool, lambda x, a: ref.avg_pool(x, a), ALL),
        Op("sum_pool", 37, PoolAttrs, shapes.avg_pool, lambda x, a: ref.sum_pool(x, a), ALL),
        Op("resize_bilinear", 36, ResizeAttrs, shapes.resize_bilinear, lambda x, a: ref.resize_bilinear(x, a), ALL),
        Op("batch_sum", 34, NoAttrs, shapes.batch_sum, _plain(ref.batch_sum), ALL, whole_batch=True),
        Op("batch_size", 35, BatchSizeAttrs, shapes.batch_size, lambda x, a: ref.batch_size(x, a.per_image), ALL,
           whole_batch=True),
        Op("binarize", 5, NoAttrs, shapes.binarize, _plain(ref.binarize), ALL),
        Op("unpack", 6, NoAttrs, shapes.to(DType.f32, DType.b1), lambda x, a: x.astype(np.float32), ALL),
        Op("add", 7, NoAttrs, shapes.broadcast, _plain(np.add), ALL, elementwise=True),
        Op("sub", 8, NoAttrs, shapes.broadcast, _plain(np.subtract), ALL, elementwise=True),
        Op("mul", 9, NoAttrs, shapes.broadcast, _plain(np.multiply), ALL, elementwise=True),
        Op("div", 10, NoAttrs, shapes.broadcast, _plain(_div), ALL, elementwise=True),
        Op("maximum", 11, NoAttrs, shapes.broadcast, _plain(np.maximum), ALL, elementwise=True),
        Op("minimum", 12, NoAttrs, shapes.broadcast, _plain(np.minimum), ALL, elementwise=True),
        Op("clamp", 13, ClampAttrs, shapes.same, lambda x, a: ref.clamp(x, a.lo, a.hi), ALL, elementwise=True),
        Op("sign", 14, NoAttrs, shapes.same, _plain(ref.sign), ALL, elementwise=True),
        Op("softmax", 15, NoAttrs, shapes.same, _plain(ref.softmax), ALL),
        Op("concat", 16, NoAttrs, shapes.concat, _concat_reference, ALL, moves=True),
        Op("pad", 17, PadAttrs, shapes.pad, _pad_reference, ALL, moves=True),
        Op("reshape", 18, ReshapeAttrs, shapes.reshape, lambda x, a: x.reshape((-1,) + a.shape), ALL, moves=True),
        Op("cast", 29, NoAttrs, shapes.cast, _plain(ref.cast), ALL),
        Op("excess_128", 33, NoAttrs, shapes.excess_128, _plain(ref.excess_128), ALL),
        Op("copy", 19, NoAttrs, shapes.copy, lambda x, a: x, R, moves=True),
        Op("slice", 20, SliceAttrs, shapes.slice, lambda x, a: x[..., a.begin : a.end], ALL, moves=True),
        Op("gather", 26, NoAttrs, shapes.gather, _plain(ref.gather), ALL, moves=True),
        Op("prelu", 21, NoAttrs, shapes.prelu, _plain(ref.prelu), ALL, elementwise=True),
        _function("sigmoid", 22, _plain(ref.sigmoid)),
        _function("tanh", 31, _plain(np.tanh)),
        _function("elu", 32, _plain(ref.elu)),
        _function("exp", 38, _plain(ref.exp)),
        _function("log1p", 39, _plain(ref.log1p)),
        _function("erfc", 40, _plain(ref.erfc)),
        _function("erf", 44, _plain(ref.erf)),
        _function("sqrt", 41, _plain(ref.sqrt)),
        _function("rsqrt", 42, _plain(ref.rsqrt)),
        _function("pow", 43, lambda x, a: ref.pow(x, a.exponent), PowAttrs),
        Op("round", 23, RoundAttrs, shapes.round, lambda x, a: ref.round(x, a.direction), ALL, elementwise=True),
        Op("affine", 27, ClampAttrs, shapes.affine, lambda *x, a: ref.clamp(ref.affine(*x), a.lo, a.hi), B | R, True),
        Op("dequantize", 25, DequantizeAttrs, shapes.dequantize, lambda x, t, a: ref.dequantize(x, t, a.channels), ALL),
        Op("binarize_levels", 28, NoAttrs, shapes.binarize_levels, _plain(ref.binarize_levels), B | R),
        Op("pad_channels", 24, PadChannelsAttrs, shapes.pad_channels, lambda x, a: ref.pad_channels(x, a), ALL,
           moves=True),
    )
}


def make(
    op: str,
    *inputs: Node,
    attrs: Attrs | None = None,
    name: str = "",
    origin: str = "",
    tap: str = "",
    note: str = "",
) -> Node:
    """Make a node; its type is inferred here, so an ill-typed node cannot exist.

    Raises:
        CompileError: the operands' types or the attributes contradict each other; names the layer.
    """
    record = OPS[op]
    if attrs is None:
        attrs = record.attrs()
    if type(attrs) is not record.attrs:
        raise CompileError(f"{op} takes {record.attrs.__name__}, found {type(attrs).__name__}")
    try:
        inferred = record.infer(tuple(i.type for i in inputs), attrs)
    except CompileError as error:
        raise CompileError(f"layer '{name}' ({op}): {error}") from None
    return Node(op, inputs, attrs, inferred, name, origin, tap, note)


def constant(array: Any, dtype: DType = DType.f32, name: str = "") -> Node:
    """A constant node from anything NumPy takes; bits are given as +1 and -1."""
    value = Value(np.asarray(array, dtype=dtype.numpy))
    return make("constant", attrs=ConstantAttrs(value, dtype), name=name)


def input_node(label: str, shape: tuple[int, ...], dtype: DType = DType.f32) -> Node:
    """A graph input (shape without the batch)."""
    return make("input", attrs=InputAttrs(label, shape, dtype), name=label)
