# SPDX-License-Identifier: Apache-2.0
"""Ops that make bits and bytes from floats, and floats from them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..._types import Array
from ..graph import Attrs, DType, Node, TensorType
from .record import SMALLEST_NORMAL, Infer, Level, NoAttrs, Op, Operands, Rng, Types, make, plain, stored, want
from .rounding import looked_up, moved, no_difference, passed_on
from .sources import constant, integers, plain_maker

MOST_PLANES = 8  # bits of one number
MOST_OFF = 0.25  # of a threshold from where numbers are rounded up, in numbers


@dataclass(frozen=True)
class DequantizeAttrs(Attrs):
    channels: int = stored(0, "channels")  # 0: values are counts of set planes; else channels of binary numbers
    made_of: tuple[Node, Node] | None = field(default=None, compare=False, repr=False)  # in the source: x, f(x)


@dataclass(frozen=True)
class QuantizeAttrs(Attrs):
    scale: float = stored(1.0, "scale")
    offset: float = stored(0.0, "offset")
    zero: int = stored(0, "zero")  # the byte of a zero


def binarize_type(types: Types, _: Attrs) -> TensorType:
    x = types[0]
    want(x.dtype is DType.f32, f"expected f32, found {x}")
    if len(types) != 1:
        channels = x.shape[-1:]
        wanted = (TensorType(channels, DType.f32), TensorType(channels, DType.b1))
        want(types[1:] == wanted, f"expected thresholds and flips {wanted}, found {types[1:]}")
    return TensorType(x.shape, DType.b1)


def binarize_levels_type(types: Types, _: Attrs) -> TensorType:
    x, thresholds = types
    want(x.dtype is DType.f32 and thresholds.dtype is DType.f32, f"expected two f32 operands, found {x}, {thresholds}")
    steps = thresholds.shape[0] if len(thresholds.shape) == 1 else 0
    want(2 <= steps < 2**MOST_PLANES, f"expected 2 to {2**MOST_PLANES - 1} thresholds, found {thresholds}")
    return TensorType(x.shape[:-1] + (steps.bit_length() * plane_channels(x.shape[-1]),), DType.b1)


def dequantize_type(types: Types, a: DequantizeAttrs) -> TensorType:
    x, table = types
    want(x.dtype is DType.b1 and table.dtype is DType.f32, f"expected bits and a table of f32, found {x} and {table}")
    want(len(table.shape) == 1 and table.shape[0] >= 2, f"expected a table of two values or more, found {table}")
    if a.channels:
        planes = (table.shape[0] - 1).bit_length()
        wanted = planes * plane_channels(a.channels)
        want(2 <= planes <= MOST_PLANES, f"expected 3 to {2**MOST_PLANES} values, found {table}")
        want(a.channels > 0, f"cannot give {a.channels} channels")
        want(x.shape[-1] == wanted, f"{x} has not the {wanted} channels of {planes} planes of {a.channels}")
        return TensorType(x.shape[:-1] + (a.channels,), DType.f32)
    planes = table.shape[0] - 1
    want(x.shape[-1] % planes == 0, f"the channels of {x} are not {planes} planes")
    return TensorType(x.shape[:-1] + (x.shape[-1] // planes,), DType.f32)


def to_type(dtype: DType, source: DType) -> Infer:
    def infer(types: Types, _: Attrs) -> TensorType:
        (x,) = types
        want(x.dtype is source, f"expected {source.name}, found {x}")
        return TensorType(x.shape, dtype)

    return infer


def cast_type(types: Types, _: Attrs) -> TensorType:
    x = types[0]
    want(x.dtype is DType.u8, f"expected u8, found {x}")
    want(types[1:] in ((), (TensorType((256,), DType.f32),)), f"expected a table of 256 f32, found {types[1:]}")
    return TensorType(x.shape, DType.f32)


def binarize(x: Array, threshold: Array | None = None, flip: Array | None = None) -> Array:
    """The step: +1 if x >= 0 (so sign(0) = sign(-0) = +1), otherwise -1; negative denormals count as zero.

    With a threshold and a flip per channel: +1 if x >= threshold[c], inverted if flip[c] is +1.  The runtime reports
    NaN.
    """
    if threshold is None or flip is None:
        return np.where(x > -SMALLEST_NORMAL, np.int8(1), np.int8(-1))
    return np.where((x >= threshold) != (flip > 0), np.int8(1), np.int8(-1))


def plane_channels(channels: int) -> int:
    """Channels of one plane of numbers in binary: planes begin on words of 32."""
    return -(-channels // 32) * 32


def numbers(x: Array, thresholds: Array) -> Array:
    """How many of the rising thresholds are <= x; 0 for NaN."""
    return np.where(np.isnan(x), 0, np.searchsorted(thresholds, x, side="right"))


def off_halves(thresholds: Array, a: QuantizeAttrs) -> float:
    """The largest distance of threshold k (from 0) * scale + offset, each operation in float32, from k + 1/2."""
    with np.errstate(all="ignore"):
        v = thresholds.astype(np.float32) * np.float32(a.scale) + np.float32(a.offset)
    apart = np.abs(v.astype(np.float64) - (np.arange(len(v)) + 0.5)).max()
    return float(apart) if a.scale > 0 and not np.isnan(apart) else np.inf


def binarize_levels(x: Array, thresholds: Array) -> Array:
    """The number of thresholds that are <= x, in binary: plane p, which begins at channel p * plane_channels(C), holds
    bit p of every channel's number; the rest of a plane is -1.  Thresholds rise, and are the same for all channels."""
    level = numbers(x, thresholds)
    planes = [np.where(level >> p & 1, np.int8(1), np.int8(-1)) for p in range(len(thresholds).bit_length())]
    fill = [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % 32)]
    return np.concatenate([np.pad(p, fill, constant_values=-1) for p in planes], axis=-1)


def level_sums(bits: Array, planes: int, channels: int) -> Array:
    """The sum of 2**p times plane p's +1 or -1, as float32: 2 * number - (2**planes - 1)."""
    apart = bits.reshape(*bits.shape[:-1], planes, -1)[..., :channels].astype(np.float32)
    return np.asarray(np.tensordot(2.0 ** np.arange(planes), apart, (0, apart.ndim - 2)), dtype=np.float32)


def dequantize(bits: Array, table: Array, channels: int = 0) -> Array:
    """table[number of set bits] over the planes of every channel: plane p holds channels p * C to (p + 1) * C - 1.

    With ``channels``: table[number in binary], as :func:`binarize_levels` gives it; its last value past the table.
    """
    if channels:
        planes = (len(table) - 1).bit_length()
        level = (level_sums(bits, planes, channels) + (2**planes - 1)).astype(int) // 2
        return np.asarray(table[np.minimum(level, len(table) - 1)])
    planes = len(table) - 1
    count = (bits.reshape(*bits.shape[:-1], planes, -1) > 0).sum(axis=-2)
    return np.asarray(table[count])


def unpack_bytes(x: Array) -> Array:
    """+1 and -1 as bytes around the zero 1: 2 and 0."""
    return (x.astype(np.int16) + 1).astype(np.uint8)


def cast(x: Array, table: Array | None = None) -> Array:
    """Bytes as floats; with a table (256), table[x]."""
    return x.astype(np.float32) if table is None else np.asarray(table[x])


def quantize(x: Array, a: QuantizeAttrs) -> Array:
    """The byte of every float: x * scale + offset, each operation in float32, rounded to the nearest integer (ties to
    even), plus zero; clamped to 0 to 255.  NaN gives 0."""
    with np.errstate(all="ignore"):
        v = x * np.float32(a.scale) + np.float32(a.offset)
    v = np.minimum(np.where(v > -a.zero, v, np.float32(-a.zero)), np.float32(255 - a.zero))
    return np.asarray(np.rint(v) + a.zero).astype(np.uint8)


def excess_128(x: Array) -> Array:
    """int8 as the uint8 of its value plus 128 ("excess 128"): its bits with the highest one flipped."""
    return (x.astype(np.int16) + 128).astype(np.uint8)


def _quantize_bound(node: Node, operands: Operands, errors: Operands, own: float = 0.0) -> Array:
    """Values that differ may be rounded apart.  With ``own``, the other computation does not round to bytes at all,
    unless there are thresholds, which are its own."""
    a = node.attrs
    assert isinstance(a, QuantizeAttrs)
    if len(operands) > 1:
        x, thresholds = operands[0].astype(np.float64), operands[1].astype(np.float64)
        low, number, high = (numbers(v, thresholds) for v in (x - errors[0], x, x + errors[0]))
        return np.asarray(np.maximum(number - low, high - number).astype(np.float64))
    apart = np.where(errors[0] > 0, errors[0] * abs(a.scale) + (not own), 0.0)
    if own:
        exact = operands[0].astype(np.float64) * a.scale + a.offset + a.zero
        apart = apart + np.abs(exact - quantize(operands[0], a))
    return np.asarray(apart)


def _make_quantize(rng: Rng, x: Node) -> Node:
    """Draw ties, too: of scales that are powers of two."""
    if rng.random() < 0.5:
        return make_byte_levels(rng, x)
    scale = 2.0 ** rng.integers(-3, 4) if rng.random() < 0.5 else rng.normal(0, 20)
    offset = rng.choice([0, 0.5, rng.normal()])
    return make(
        "quantize",
        x,
        attrs=QuantizeAttrs(float(np.float32(scale)), float(np.float32(offset)), int(rng.integers(0, 256))),
    )


def make_byte_levels(rng: Rng, x: Node) -> Node:
    """Draw 2 to 255 thresholds that are up to a fifth of a step from even spaces; ties are common."""
    steps, space = int(rng.integers(2, 256)), 2.0 ** rng.integers(-5, 2)
    apart = rng.integers(-6, 7, steps) / 32 if rng.random() < 0.5 else 0
    first = rng.integers(-steps, 2)
    attrs = QuantizeAttrs(1 / space, 0.5 - float(first), 0)
    return make("quantize", x, constant((first + np.arange(steps) + apart) * space), attrs=attrs)


def _cast_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    """Bytes are exactly the source's; or they number levels, and may be off by whole ones."""
    if len(operands) == 1 or not errors[0].any():
        return errors[0]
    return looked_up(operands[0], operands[1], errors[0])


def _dequantize_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    # Flipped bits can turn any level into any other.
    return np.asarray(np.ptp(operands[1].astype(np.float64)) if errors[0].any() else 0)


def make_levels(rng: Rng, x: Node) -> Node:
    """Draw 2 to 255 rising thresholds, some of them equal."""
    steps = int(rng.integers(2, 16) if rng.random() < 0.7 else rng.integers(16, 256))
    return make("binarize_levels", x, constant(np.sort(rng.integers(-40, 41, steps) / 4)))


def _make_dequantize(rng: Rng, x: Node) -> Node:
    """Dequantize binary numbers."""
    levels = make_levels(rng, x)
    table = constant(integers(rng, [levels.inputs[1].type.shape[0] + 1]))
    return make("dequantize", levels, table, attrs=DequantizeAttrs(x.type.shape[-1]))


def _make_cast(rng: Rng, x: Node) -> Node:
    table = constant(rng.normal(size=256))
    return make("cast", x, table) if rng.random() < 0.5 else make("cast", x)


def _quantize_type(types: Types, a: QuantizeAttrs) -> TensorType:
    want(0 <= a.zero <= 255, f"a zero of {a.zero} is not a byte")
    want(bool(np.isfinite([a.scale, a.offset]).all()), f"bad scale or offset in {a}")
    if len(types) > 1:
        want(len(types) == 2, f"expected data, or data and thresholds, found {types}")
        steps = types[1].shape[0] if len(types[1].shape) == 1 else 0
        want(types[1].dtype is DType.f32 and 2 <= steps < 256, f"expected 2 to 255 f32 thresholds, found {types[1]}")
        want(a.zero == 0 and a.scale > 0, f"expected a zero of 0 and a scale above 0 with thresholds, found {a}")
    return to_type(DType.u8, DType.f32)(types[:1], a)


def _quantize_reference(x: Array, *thresholds: Array, a: QuantizeAttrs) -> Array:
    return numbers(x, *thresholds).astype(np.uint8) if thresholds else quantize(x, a)


RECORDS = (
    Op(
        "binarize", 5, NoAttrs, binarize_type, plain(binarize), bound=passed_on, maker=plain_maker("binarize"),
        by_rows=True,
    ),
    Op(
        "unpack", 6, NoAttrs, to_type(DType.f32, DType.b1), lambda x, a: x.astype(np.float32), bound=moved,
        maker=plain_maker("unpack"), takes=(DType.b1,), by_rows=True,
    ),
    Op(
        "unpack_bytes", 51, NoAttrs, to_type(DType.u8, DType.b1), plain(unpack_bytes), bound=no_difference,
        gives_bytes=True, maker=plain_maker("unpack_bytes"), takes=(DType.b1,), by_rows=True,
    ),
    Op(
        "cast", 29, NoAttrs, cast_type, plain(cast), bound=_cast_bound, scales=True, maker=_make_cast,
        takes=(DType.u8,), by_rows=True,
    ),
    Op(
        "excess_128", 33, NoAttrs, to_type(DType.u8, DType.i8), plain(excess_128), bound=no_difference,
        gives_bytes=True, maker=plain_maker("excess_128"), takes=(DType.i8,), by_rows=True,
    ),
    Op(
        "quantize", 46, QuantizeAttrs, _quantize_type, _quantize_reference, bound=_quantize_bound, gives_bytes=True,
        maker=_make_quantize, by_rows=True,
    ),
    Op(
        "dequantize", 25, DequantizeAttrs, dequantize_type, lambda x, t, a: dequantize(x, t, a.channels),
        bound=_dequantize_bound, maker=_make_dequantize, by_rows=True,
    ),
    Op(
        "binarize_levels", 28, NoAttrs, binarize_levels_type, plain(binarize_levels), Level.BINARY | Level.RUNTIME,
        bound=passed_on, maker=make_levels, by_rows=True,
    ),
)  # fmt: skip
