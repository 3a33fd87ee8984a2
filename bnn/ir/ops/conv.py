# SPDX-License-Identifier: Apache-2.0
"""Convolutions: of floats, of bits, of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..._types import Array
from ...errors import CompileError
from ..graph import Attrs, DType, Node, TensorType
from .bits import MOST_PLANES, binarize, level_sums, make_levels, plane_channels
from .elementwise import clamp
from .moves import pad_spatial
from .record import INF, Infer, Level, Op, Operands, Rng, Types, make, stored, want
from .requantize import (
    MOST_BIAS,
    random_limits,
    random_multiplier,
    random_range,
    requantize,
    requantized_error,
    want_requantized,
)
from .rounding import NOTHING, TINY, clamped, gamma, magnitude, spacing, step
from .sources import constant, integers, signs

CONVOLUTIONS = ("conv2d", "bconv2d", "iconv2d", "qconv2d")

# For a sum of bytes: the sum and the correction for the zero byte are together exact in float32.  By int8 weights, sums
# are then below 2**30, and they fit into 32 bits together with a threshold.
MOST_BYTE_PRODUCTS = (2**24 - 1) // (2 * 255)

# A convolution's fused work around its accumulator, in this fixed order; each slot is one float32 operation, and those
# that name an operand take one more input, in this order.  The bit of a slot in the file is its position here.
SLOTS: dict[str, bool] = {
    "zeros": True,  # before it, for bytes (and always there): operand[channel of the data] is the channel's zero
    "pre_mul": True,  # v * operand[c]      weight scale
    "pre_add": True,  # v + operand[c]      bias
    "clamp0": False,  # min(max(v, lo), hi) activation before batch norm
    "sub": True,  # v - operand[c]          batch norm, in TensorFlow's own order of operations:
    "mul": True,  # v * operand[c]          (x - mean) * (rsqrt(variance + eps) * gamma) + beta
    "add": True,  # v + operand[c]
    "residual": True,  # v + operand[h, w, c]
    "clamp1": False,  # activation after it
    "threshold": True,  # bit = accumulator >= operand[c]; excludes the other slots
    "negated": True,  # of bits or a threshold: the filters (+1) whose weights the compiler negated; only for reports
    "bias": True,  # to bytes: accumulator (of bits in steps of 1/64) + operand[c], a whole number; with the next three
    "multiplier": True,  # requantize: see there
    "shift": True,
    "range": True,  # operand[4]: the zero, the lowest and the highest byte; 1: rounded once
}
REQUANTIZATION = ("bias", "multiplier", "shift", "range")
# A sum of bits counts this many steps of a bias: a bias of whole sums alone would be off by half of one, which is many
# bytes where there are few products.  Sums are below 2**24, so their steps are below 2**30, as sums of bytes are.
BIT_STEPS = 64


@dataclass(frozen=True)
class ConvAttrs(Attrs):
    """``pads``: top, left, bottom, right."""

    stride: tuple[int, int] = stored((1, 1), "stride_h", "stride_w")
    dilation: tuple[int, int] = stored((1, 1), "dilation_h", "dilation_w")
    pads: tuple[int, int, int, int] = stored((0,) * 4, "pad_top", "pad_left", "pad_bottom", "pad_right")
    pad_value: int = stored(0, "pad_value")  # of bits
    groups: int = stored(1, "groups")
    slots: tuple[str, ...] = stored((), "slots")
    layer_slots: tuple[str, ...] = stored((), "layer_slots")  # slots of the source layer itself (its bias)
    clamp0: tuple[float, float] = stored((-INF, INF), "clamp0_lo", "clamp0_hi")
    clamp1: tuple[float, float] = stored((-INF, INF), "clamp1_lo", "clamp1_hi")
    out: DType = DType.f32  # b1: the bits v >= 0, or the threshold's; u8, i16: what is requantized
    planes: int = stored(1, "planes")  # planes of the data's bits: accumulators add 2**p times the sums of plane p

    @property
    def operands(self) -> list[str]:
        """The slots that take an operand, in the order of the inputs from the third on."""
        return [s for s in self.slots if SLOTS[s]]

    def operand(self, slot: str) -> int:
        """The number of the input that is the operand of one of ``slots``."""
        return 2 + self.operands.index(slot)


def conv_attrs(node: Node) -> ConvAttrs:
    """A convolution's attributes."""
    assert isinstance(node.attrs, ConvAttrs)
    return node.attrs


def residual_of(node: Node) -> tuple[Node, ...]:
    """The residual of a convolution, if it adds one."""
    a = conv_attrs(node)
    return (node.inputs[a.operand("residual")],) if "residual" in a.slots else ()


def with_threshold(
    conv: Node, x: Node, filters: Node, threshold: Array, falling: Array, *, tap: str = "", origin: str = ""
) -> Node:
    """The convolution of x whose bits are accumulator >= threshold (O), without what followed the accumulator.

    The ``filters`` (O, kh, kw, I) of bits that are ``falling`` (O) are negated: acc <= t is -acc >= -t.  Where none is,
    the node itself is kept: layers that share filters share them in the file.
    """
    a = conv_attrs(conv)
    before = a.slots[:1] if "zeros" in a.slots else ()
    slots, operands = (*before, "threshold"), [*conv.inputs[2 : 2 + len(before)], constant(threshold, DType.i32)]
    if falling.any():
        slots += ("negated",)
        operands.append(constant(np.where(falling, 1, -1), DType.b1))
        signs = np.where(falling[:, None, None, None], -filters.value, filters.value)
        filters = constant(signs, DType.b1, filters.name)
    attrs = ConvAttrs(a.stride, a.dilation, a.pads, a.pad_value, a.groups, slots, before, out=DType.b1, planes=a.planes)
    return make(conv.op, x, filters, *operands, attrs=attrs, name=conv.name, tap=tap, origin=origin)


def conv_output(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> int:
    """Output length of one spatial axis."""
    return (size + before + after - (kernel - 1) * dilation - 1) // stride + 1


def conv_type(data: DType, filters: DType) -> Infer:
    """The type of a convolution of f32, b1 or u8 data by f32, b1 or i8 filters."""
    binary, integers = data is DType.b1, data is DType.u8

    def infer(types: Types, a: ConvAttrs) -> TensorType:
        x, w = types[:2]
        right = x.dtype is data and w.dtype is filters
        want(right, f"expected {data.name} data and {filters.name} filters, found {x} and {w}")
        want(len(w.shape) == 4, f"filters must be (O, kh, kw, I), found {w}")
        want(len(x.shape) in (1, 3), f"data must be (H, W, C) or (C), found {x}")
        out_c, kh, kw, in_g = w.shape
        if integers:
            if filters is DType.b1:
                want(in_g in (x.shape[-1], 2 * x.shape[-1]), f"{w} are not one or two planes of signs for {x}")
                in_g = x.shape[-1]
            want(kh * kw * in_g <= MOST_BYTE_PRODUCTS, f"{kh * kw * in_g} products; at most {MOST_BYTE_PRODUCTS}")
        _planes(x, in_g, kh * kw, a, binary)
        want(out_c % a.groups == 0, f"{out_c} filters do not divide into {a.groups} groups")
        want(min(a.stride + a.dilation) >= 1 and min(a.pads) >= 0, f"bad stride, dilation or padding in {a}")
        pads = (-1, 0, 1) if binary else (0,)
        want(a.pad_value in pads, f"cannot pad with {a.pad_value}")
        shape: tuple[int, ...]
        if len(x.shape) == 1:
            want((kh, kw) == (1, 1) and not any(a.pads), f"a dense layer needs 1x1 filters, found {w}")
            shape = (out_c,)
        else:
            oh = conv_output(x.shape[0], kh, a.stride[0], a.dilation[0], a.pads[0], a.pads[2])
            ow = conv_output(x.shape[1], kw, a.stride[1], a.dilation[1], a.pads[1], a.pads[3])
            want(oh > 0 and ow > 0, f"the {kh}x{kw} kernel is larger than the padded image {x}")
            shape = (oh, ow, out_c)
        want(("zeros" in a.slots) == integers, f"{'no' if integers else 'found'} operand of zeros for {x}")
        before = () if binary else ("zeros",) if filters is DType.i8 else None
        _slots(types[2:], a, x.shape[-1:], shape, binary or integers, before)
        return TensorType(shape, a.out)

    return infer


def _planes(x: TensorType, in_g: int, taps: int, a: ConvAttrs, binary: bool) -> None:
    """Check the data's channels, and that every sum is exact in float32; so is what borders add to sums of several
    planes, which is less than the sums themselves."""
    channels = in_g * a.groups
    want(1 <= a.planes <= (MOST_PLANES if binary else 1), f"cannot read {a.planes} planes")
    wanted, whose = channels, f"{in_g} x {a.groups} channels of filters of {taps} taps"
    if a.planes > 1:
        wanted, whose = a.planes * plane_channels(channels), f"channels of {a.planes} planes of {in_g} x {a.groups}"
    want(x.shape[-1] == wanted, f"{x} has not the {whose}")
    if a.planes > 1:
        want(a.groups == 1 or in_g == plane_channels(in_g), f"groups of {in_g} channels are not whole words")
    largest = taps * in_g * (1 if a.planes == 1 else 2 * (2**a.planes - 1))
    want(largest < 2**24, f"sums up to {largest}; at most 2**24 - 1 are exact in float32")


def _slots(
    types: Types,
    a: ConvAttrs,
    channels: tuple[int, ...],
    shape: tuple[int, ...],
    exact: bool,
    before: tuple[str, ...] | None,
) -> None:
    """``before``: the slots before those of requantization, or None if there is none."""
    want(list(a.slots) == [s for s in SLOTS if s in a.slots], f"slots out of order: {a.slots}")
    want(len(a.operands) == len(types), f"slots {a.slots} take {len(a.operands)} operands, found {len(types)}")
    for slot, t in zip(a.operands, types, strict=True):
        dtype = DType.i32 if slot in ("threshold", *REQUANTIZATION) else DType.b1 if slot == "negated" else DType.f32
        expected = TensorType({"zeros": channels, "residual": shape, "range": (4,)}.get(slot, shape[-1:]), dtype)
        want(t == expected, f"slot {slot} expects {expected}, found {t}")
    whole = a.out in (DType.u8, DType.i16) or any(slot in REQUANTIZATION for slot in a.slots)
    if "threshold" in a.slots or ("negated" in a.slots and not whole):
        alone = {*a.slots} <= {"zeros", "threshold", "negated"} and "threshold" in a.slots
        want(exact and alone and a.out is DType.b1, "a threshold stands alone and gives b1")
    if whole:
        slots = tuple(s for s in a.slots if before or s != "negated")
        alone = before is not None and slots == (*before, *REQUANTIZATION) and a.out in (DType.u8, DType.i16)
        want(
            alone,
            f"bits, and bytes by int8 weights, give u8 or i16 by {', '.join(REQUANTIZATION)} alone; found {a.slots}",
        )
        want(a.planes == 1, f"sums of {a.planes} planes do not give {a.out.name}; one plane's do")
    want(a.out is not DType.i32 and a.out is not DType.i8, "a convolution gives f32, b1, u8 or i16")


def conv_accumulate(x: Array, w: Array, a: ConvAttrs, dtype: type = np.float32) -> Array:
    """Convolution (cross-correlation) of (N, H, W, C) or (N, C) by OHWI filters, with sums of ``dtype``.

    The order of the float sums is not part of the meaning; integer-valued sums are exact in any order.
    """
    if a.planes > 1:
        x = level_sums(x, a.planes, w.shape[3] * a.groups)
    flat = x.ndim == 2
    if flat:
        x = x[:, None, None, :]
    x = pad_spatial(x.astype(dtype), a.pads, float(a.pad_value * (2**a.planes - 1)))
    w = w.astype(dtype)
    out_c, kh, kw, in_g = w.shape
    sh, sw = a.stride
    dh, dw = a.dilation
    oh = (x.shape[1] - (kh - 1) * dh - 1) // sh + 1
    ow = (x.shape[2] - (kw - 1) * dw - 1) // sw + 1
    y: Array = np.zeros((x.shape[0], oh, ow, out_c), dtype)
    per_group = out_c // a.groups
    with np.errstate(invalid="ignore", over="ignore"):
        for ky in range(kh):
            for kx in range(kw):
                tap = x[:, ky * dh : ky * dh + (oh - 1) * sh + 1 : sh, kx * dw : kx * dw + (ow - 1) * sw + 1 : sw]
                if in_g == 1:  # depthwise
                    y += np.repeat(tap, per_group, axis=3) * w[:, ky, kx, 0]
                    continue
                for g in range(a.groups):
                    rows = slice(g * per_group, (g + 1) * per_group)
                    y[..., rows] += tap[..., g * in_g : (g + 1) * in_g] @ w[rows, ky, kx].T
    return y[:, 0, 0, :] if flat else y


def byte_accumulate(x: Array, w: Array, zeros: Array, a: ConvAttrs) -> Array:
    """The same for x - zeros (C) of uint8 x; the difference is zero outside the image.

    The filters (O, kh, kw, n C) are n planes of signs; a weight is the mean of its planes.
    """
    weights = w.reshape(*w.shape[:3], -1, x.shape[-1]).mean(axis=3, dtype=np.float32)
    return conv_accumulate(x.astype(np.float32) - zeros, weights, a)


def epilogue(acc: Array, a: ConvAttrs, operands: tuple[Array, ...]) -> Array:
    """Apply a convolution's fused slots in their fixed order, each one float32 operation (no fused multiply-add)."""
    v = acc.astype(np.float32)
    rest = list(operands)
    with np.errstate(invalid="ignore", over="ignore"):
        for slot in a.slots:
            if slot == "zeros":  # already in the accumulator
                rest.pop(0)
            elif slot in ("clamp0", "clamp1"):
                v = clamp(v, *getattr(a, slot))
            elif slot == "threshold":
                return np.where(v >= rest.pop(0), np.int8(1), np.int8(-1))
            elif slot in ("pre_mul", "mul"):
                v = v * rest.pop(0)
            elif slot == "sub":
                v = v - rest.pop(0)
            else:  # pre_add, add, residual
                v = v + rest.pop(0)
    return v


def of_sums(acc: Array, a: ConvAttrs, operands: tuple[Array, ...]) -> Array:
    """What a convolution of bits gives for its sums ``acc`` (..., O), by the operands of its slots: float32, bits of a
    threshold, or bytes."""
    if "bias" in a.slots:
        return _requantized(BIT_STEPS * acc.astype(np.int64), a, *operands[-len(REQUANTIZATION) :])
    return epilogue(acc, a, operands)


def _conv_reference(x: Array, w: Array, *operands: Array, a: ConvAttrs) -> Array:
    acc = byte_accumulate(x, w, operands[0], a) if x.dtype == np.uint8 else conv_accumulate(x, w, a)
    v = of_sums(acc, a, operands)
    return binarize(v) if a.out is DType.b1 and v.dtype == np.float32 else v


def _requantized(sums: Array, a: ConvAttrs, bias: Array, multiplier: Array, shift: Array, range_of: Array) -> Array:
    zero, low, high, once = range_of.tolist()
    return requantize(sums + bias, multiplier, shift, zero, low, high, once, a.out)


def _quantized_reference(x: Array, w: Array, zeros: Array, *operands: Array, a: ConvAttrs) -> Array:
    """The sums of (x - zeros) w are integers below 2**30; a threshold compares them, or they are requantized with a
    bias, or other slots get them rounded to float32."""
    acc = conv_accumulate(x.astype(np.float64) - zeros, w, a, np.float64)
    if "threshold" in a.slots:
        return np.where(acc >= operands[0], np.int8(1), np.int8(-1))
    if "bias" in a.slots:
        return _requantized(acc.astype(np.int64), a, *operands)
    v = epilogue(acc, a, (zeros, *operands))
    return binarize(v) if a.out is DType.b1 else v


def _convolution_bound(node: Node, operands: Operands, errors: Operands, own: float = 0.0) -> Array:
    """``own``: how far the other computation rounds where this one does not."""
    attrs = conv_attrs(node)
    if "bias" in attrs.slots and not errors[0].any() and not own:
        return NOTHING
    x, w = operands[0], np.abs(operands[1].astype(np.float32))  # in int8, the magnitude of -128 would be -128
    # The magnitudes' own sums are float32 sums too.
    products, plain = int(np.prod(w.shape[1:])), replace(attrs, pad_value=0)
    g = gamma(products)
    error: Array = np.asarray(own)
    if node.op == "qconv2d":
        # With ``own``, the other computation sums floats, whose weights are at most that far from these.
        x = np.abs(x.astype(np.float64) - operands[attrs.operand("zeros")])
        size = (1 + 2 * g) * conv_accumulate(x, w, plain).astype(np.float64)
        error = own * conv_accumulate(x, np.ones_like(w), plain).astype(np.float64) + 2 * g * size * bool(own)
        w = w + own
    elif node.op == "conv2d":
        size = (1 + 2 * g) * conv_accumulate(magnitude(x), w, plain).astype(np.float64)
        grid = spacing(x).reshape(-1, *[1] * (size.ndim - 1)) * spacing(w)
        exact = (size < 2**24 * grid) & (grid > TINY) & ~errors[0].any()
        error = np.where(exact | (size == 0), 0, 2 * g * size + products * TINY)
    else:  # integers
        size = np.asarray(float(products * (2**attrs.planes - 1)))
    if errors[0].any():
        passed = (1 + 2 * g) ** 2 * conv_accumulate(errors[0], w, plain).astype(np.float64)
        size, error = size + passed, error + passed
    if "bias" in attrs.slots:
        error = error * (BIT_STEPS if node.op == "bconv2d" else 1)
        multiplier, shift = operands[attrs.operand("multiplier") : attrs.operand("shift") + 1]
        return requantized_error(error, multiplier, shift, 255 if attrs.out is DType.u8 else 2**16 - 1)
    rest = iter(range(2, len(operands)))
    for slot in attrs.slots:
        if slot in ("clamp0", "clamp1"):
            size, error = clamped(size, error, getattr(attrs, slot))
        elif slot == "zeros":
            zeros = operands[next(rest)]
            if node.op == "qconv2d":
                continue
            size = size * max(255.0, float(magnitude(zeros).max()), float(magnitude(255 - zeros).max()))
        elif slot not in ("threshold", "negated"):
            i = next(rest)
            scales = slot in ("pre_mul", "mul")
            size, error = step(size, error, magnitude(operands[i]), errors[i], scales)
    return error


def random_attrs(rng: Rng, shape: tuple[int, ...], kernel: tuple[int, int], pad_values: Sequence[int]) -> ConvAttrs:
    """Strides, dilations and paddings with which the kernel fits an image."""
    while True:
        top, left, bottom, right = rng.integers(0, 3, 4).tolist()
        (sh, sw), (dh, dw) = rng.integers(1, 3, 2).tolist(), rng.integers(1, 3, 2).tolist()
        oh = conv_output(shape[0], kernel[0], sh, dh, top, bottom)
        ow = conv_output(shape[1], kernel[1], sw, dw, left, right)
        if min(oh, ow) > 0:
            return ConvAttrs((sh, sw), (dh, dw), (top, left, bottom, right), int(rng.choice(pad_values)))


def _random_kernel(rng: Rng) -> tuple[int, int]:
    kh, kw = rng.integers(1, 4, 2).tolist()
    return kh, kw


def _make_conv2d(rng: Rng, x: Node) -> Node:
    kernel = _random_kernel(rng)
    attrs = random_attrs(rng, x.type.shape, kernel, [0])
    filters = constant(integers(rng, (int(rng.integers(1, 40)), *kernel, x.type.shape[2])))
    return make("conv2d", x, filters, attrs=attrs)


def _make_bconv2d(rng: Rng, x: Node) -> Node:
    """Bits to sums, bits or bytes; or floats to sums, through numbers of several planes."""
    kernel, outputs, channels = _random_kernel(rng), int(rng.integers(1, 70)), x.type.shape[2]
    attrs = random_attrs(rng, x.type.shape, kernel, [-1, 0, 1])
    filters = signs(rng, (outputs, *kernel, channels))
    if x.type.dtype is DType.f32:
        levels = make_levels(rng, x)
        planes = levels.inputs[1].type.shape[0].bit_length()
        return make("bconv2d", levels, filters, attrs=replace(attrs, planes=planes))
    kind = rng.integers(0, 3)
    if kind == 0:
        return make("bconv2d", x, filters, attrs=attrs)
    if kind == 1:
        sizes = np.full(outputs, BIT_STEPS * np.sqrt(filters.value[0].size))
        slots: tuple[str, ...] = REQUANTIZATION
        out, numbers = random_requantization(rng, sizes)
        if rng.random() < 0.5:
            slots, numbers = ("negated", *slots), [signs(rng, (outputs,)), *numbers]
        return make("bconv2d", x, filters, *numbers, attrs=replace(attrs, slots=slots, out=out))
    thresholds = constant(rng.integers(-9, 10, outputs), DType.i32)
    return make("bconv2d", x, filters, thresholds, attrs=replace(attrs, slots=("threshold",), out=DType.b1))


def random_requantization(rng: Rng, sizes: Array, out: DType | None = None) -> tuple[DType, list[Node]]:
    """What the slots make of sums of about these sizes (O), and their operands."""
    out = out or (DType.i16 if rng.random() < 0.3 else DType.u8)
    scales = [random_multiplier(rng, size * (1 if out is DType.u8 else 2.0**-8)) for size in sizes]
    range_of = (*random_range(rng), int(rng.integers(2))) if out is DType.u8 else (0, *random_limits(rng), 0)
    numbers = (rng.integers(-sizes, sizes + 1), *zip(*scales, strict=True), range_of)
    return out, [constant(n, DType.i32) for n in numbers]


def _make_iconv2d(rng: Rng, x: Node) -> Node:
    """Draw one or two planes of weights; results are sums, bits of thresholds, scaled sums, or bits of scaled sums."""
    kernel = _random_kernel(rng)
    attrs = random_attrs(rng, x.type.shape, kernel, [0])
    outputs, planes, channels = int(rng.integers(1, 150)), int(rng.integers(1, 3)), x.type.shape[2]
    kind = rng.integers(0, 3)
    zeros = np.full(channels, rng.choice([0, 1, 128, 255])) if rng.random() < 0.5 else rng.integers(-300, 600, channels)
    zeros = zeros / rng.choice([1, 4])
    operands: list[Node] = [x, signs(rng, (outputs, *kernel, planes * channels)), constant(zeros)]
    attrs = replace(attrs, slots=("zeros",))
    if kind == 0:
        most = int(rng.choice([2000, 600 * channels * kernel[0] * kernel[1]]))
        operands.append(constant(rng.integers(-most, most, outputs), DType.i32))
        attrs = replace(attrs, slots=("zeros", "threshold"), out=DType.b1)
    elif kind == 1:
        operands += [constant(2.0 ** rng.integers(-8, 2, outputs)), constant(integers(rng, [outputs]))]
        out = DType.b1 if rng.random() < 0.5 else DType.f32
        attrs = replace(attrs, slots=("zeros", "pre_mul", "pre_add"), out=out)
    return make("iconv2d", *operands, attrs=attrs)


def _make_qconv2d(rng: Rng, x: Node) -> Node:
    """Draw int8 filters, in groups or not, or depthwise; results as of iconv2d, or requantized sums."""
    kernel = _random_kernel(rng)
    attrs = random_attrs(rng, x.type.shape, kernel, [0])
    channels = x.type.shape[2]
    groups = int(rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
    outputs, kind = groups * int(rng.integers(1, max(150 // groups, 1) + 1)), rng.integers(0, 4)
    if channels <= 150 and rng.random() < 0.3:
        groups = outputs = channels
    weights = rng.integers(-128, 128, (outputs, *kernel, channels // groups))
    zeros = (
        np.broadcast_to(rng.choice([0, 1, 128, 255]), channels)
        if rng.random() < 0.5
        else rng.integers(0, 256, channels)
    )
    operands: list[Node] = [x, constant(weights, DType.i8), constant(zeros)]
    attrs = replace(attrs, groups=groups, slots=("zeros",))
    if kind == 0:
        most = int(rng.choice([2000, 2**31 - 1]))
        operands.append(constant(rng.integers(-most, most, outputs), DType.i32))
        attrs = replace(attrs, slots=("zeros", "threshold"), out=DType.b1)
    elif kind == 1:
        operands += [constant(rng.normal(0, 0.01, outputs)), constant(integers(rng, [outputs]))]
        out = DType.b1 if rng.random() < 0.5 else DType.f32
        attrs = replace(attrs, slots=("zeros", "pre_mul", "pre_add"), out=out)
    elif kind == 2:
        out, numbers = random_requantization(rng, np.abs(weights).sum(axis=(1, 2, 3)) * 60.0 + 1)
        operands += numbers
        attrs = replace(attrs, slots=("zeros", *REQUANTIZATION), out=out)
    return make("qconv2d", *operands, attrs=attrs)


def requantization(node: Node) -> str:
    """What is wrong with the constants by which a node requantizes its sums, or nothing."""
    if node.op in CONVOLUTIONS and "bias" not in conv_attrs(node).slots:
        return ""
    bias, multiplier, shift, range_of = (i.value for i in node.inputs[-len(REQUANTIZATION) :])
    try:
        zero, low, high, once = range_of.tolist()
        want_requantized(multiplier, shift, zero, low, high, once, node.type.dtype)
        most = int(np.abs(bias.astype(np.int64)).max())
        want(most <= MOST_BIAS, f"a bias of {most} is above 2**30, beyond which sums could leave 32 bits")
    except CompileError as error:
        return str(error)
    return ""


RECORDS = (
    Op(
        "conv2d", 1, ConvAttrs, conv_type(DType.f32, DType.f32), _conv_reference, bound=_convolution_bound,
        maker=_make_conv2d, sums=True, in_place=residual_of, by_rows=True,
    ),
    Op(
        "bconv2d", 2, ConvAttrs, conv_type(DType.b1, DType.b1), _conv_reference, Level.BINARY | Level.RUNTIME,
        bound=_convolution_bound, maker=_make_bconv2d, takes=(DType.b1, DType.f32), in_place=residual_of,
        gives_bytes=True, by_rows=True,
    ),
    Op(
        "iconv2d", 30, ConvAttrs, conv_type(DType.u8, DType.b1), _conv_reference, Level.BINARY | Level.RUNTIME,
        bound=_convolution_bound, maker=_make_iconv2d, takes=(DType.u8,), in_place=residual_of, by_rows=True,
    ),
    Op(
        "qconv2d", 45, ConvAttrs, conv_type(DType.u8, DType.i8), _quantized_reference, bound=_convolution_bound,
        maker=_make_qconv2d, takes=(DType.u8,), in_place=residual_of, gives_bytes=True, by_rows=True,
    ),
)  # fmt: skip
