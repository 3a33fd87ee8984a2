# SPDX-License-Identifier: Apache-2.0
"""The op table: one record per op, in its family's module.

The verifier, the oracle, the file's writer and reader, the C headers and the format's documentation derive from it.
"""

from __future__ import annotations

from . import batch, bits, conv, elementwise, int16, moves, pool, requantize, softmax, sources
from .batch import BatchSizeAttrs
from .bits import MOST_PLANES, DequantizeAttrs, QuantizeAttrs
from .conv import CONVOLUTIONS, MOST_BYTE_PRODUCTS, REQUANTIZATION, SLOTS, ConvAttrs, conv_attrs, conv_output
from .elementwise import ClampAttrs, PowAttrs, RoundAttrs
from .int16 import LimitsAttrs, WidthAttrs
from .moves import PadAttrs, PadChannelsAttrs, ReshapeAttrs, SliceAttrs
from .pool import PoolAttrs, ResizeAttrs
from .record import INF, OPS, SMALLEST_NORMAL, Level, NoAttrs, Op, make, replaced
from .requantize import RequantizeAttrs
from .rows import rows_at_once, rows_computed, rows_read, sums_rows, takes_rows
from .sources import ConstantAttrs, InputAttrs, constant, input_node, unrepeated

__all__ = [
    "CONVOLUTIONS", "CURVES", "INF", "MOST_BYTE_PRODUCTS", "MOST_PLANES", "OPS", "REQUANTIZATION", "SLOTS",
    "SMALLEST_NORMAL", "BatchSizeAttrs", "ClampAttrs", "ConstantAttrs", "ConvAttrs", "DequantizeAttrs", "InputAttrs",
    "Level", "LimitsAttrs", "NoAttrs", "Op", "PadAttrs", "PadChannelsAttrs", "PoolAttrs", "PowAttrs", "QuantizeAttrs",
    "RequantizeAttrs", "ReshapeAttrs", "ResizeAttrs", "RoundAttrs", "SliceAttrs", "WidthAttrs", "constant",
    "conv_attrs", "conv_output", "input_node", "make", "replaced", "rows_at_once", "rows_computed", "rows_read",
    "sums_rows", "takes_rows", "unrepeated",
]  # fmt: skip

_FAMILIES = (sources, conv, pool, batch, bits, elementwise, moves, requantize, int16, softmax)
# In the order of their numbers in the file, like the generated tables.
_RECORDS = sorted((op for family in _FAMILIES for op in family.RECORDS), key=lambda op: op.opcode or 0)
OPS.update((op.name, op) for op in _RECORDS)
# Functions of one float without attributes.  TensorFlow and ONNX have them by the same names, capitalized.
CURVES = tuple(op for op in _RECORDS if op.library and op.elementwise and op.attrs is NoAttrs)
