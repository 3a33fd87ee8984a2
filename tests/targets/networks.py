# SPDX-License-Identifier: Apache-2.0
"""Networks to measure: the layers of tools/training/networks.py, untrained, for images of bytes."""

from __future__ import annotations

import numpy as np

import bnn
import op_graphs
from bnn._types import Array
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import DType, Graph, Node
from bnn.passes import lower
from bnn.runtime import Model
from conftest import Builder


def _pooled(x: Node) -> Node:
    return ops.make("max_pool", x, attrs=ops.PoolAttrs((2, 2), (2, 2)))


def _network(side: int, filters: tuple[tuple[int, bool], ...]) -> Model:
    """Convolutions of 3x3; whether a max-pool follows."""
    build = Builder(1)
    image = ops.input_node("image", (side, side, 1), DType.u8)
    h = ops.make("cast", image, name="image")
    for number, (count, pooled) in enumerate(filters, 1):
        h = build.conv(h, count, f"conv{number}")
        h = build.norm(_pooled(h) if pooled else h, f"norm{number}")
        h = build.sign(h, f"sign{number}")
    h = build.norm(build.dense(h, 10, "dense"), "norm")
    return Model.from_bytes(encode(lower(Graph((image,), (h,), ("logits",)))))


def digits() -> Model:
    return _network(8, ((32, False), (64, True), (64, True)))


def plain() -> Model:
    return _network(28, ((64, True), (64, True), (128, False), (128, True)))


def _floats(build: Builder, x: Node, filters: int, size: int = 3, groups: int = 1, stride: int = 1) -> Node:
    """Normalized, and limited as by ReLU6."""
    weights = build.rng.normal(size=(filters, size, size, x.type.shape[2] // groups))
    attrs = ops.ConvAttrs(stride=(stride, stride), pads=(size // 2,) * 4, groups=groups)
    h = build.norm(ops.make("conv2d", x, ops.constant(weights), attrs=attrs), "norm")
    return ops.make("clamp", h, attrs=ops.ClampAttrs(0.0, 6.0))


def depthwise() -> Model:
    """Two depthwise separable convolutions of floats, and one of bits."""
    build = Builder(1)
    image = ops.input_node("image", (16, 16, 3))
    h = _floats(build, image, 16)
    for _ in range(2):
        h = _floats(build, _floats(build, h, 16, groups=16), 16, size=1)
    h = build.norm(build.conv(build.sign(h, "sign"), 32, "binary"), "last")
    h = build.dense(build.sign(h, "bits"), 10, "dense")
    return Model.from_bytes(encode(lower(Graph((image,), (h,), ("logits",)))))


def residual() -> Model:
    """A residual block of floats, with a curve and a softmax behind it, for images of bytes."""
    build = Builder(1)
    image = ops.input_node("image", (10, 10, 3), DType.u8)
    h = _floats(build, ops.make("cast", image, name="image"), 8)
    h = ops.make("add", _floats(build, _floats(build, h, 8), 8, groups=8), h, name="shortcut")
    h = ops.make("sigmoid", build.norm(_pooled(h), "norm"), name="curve")
    h = build.dense(h, 10, "dense")
    return Model.from_bytes(encode(lower(Graph((image,), (ops.make("softmax", h),), ("classes",)))))


def residual_bits(side: int) -> Model:
    """Three residual blocks of binary convolutions, for images of bytes in three colours: (side, side, 3) -> (10)."""
    build = Builder(1)
    image = ops.input_node("image", (side, side, 3), DType.u8)
    h = _floats(build, ops.make("cast", image, name="image"), 16)
    for number, filters in enumerate((16, 32, 64), 1):
        if number > 1:
            h = _floats(build, ops.make("avg_pool", h, attrs=ops.PoolAttrs((2, 2), (2, 2))), filters, size=1)
        sums = build.conv(build.sign(h, f"sign{number}"), filters, f"conv{number}")
        h = ops.make("add", build.norm(sums, f"norm{number}"), h, name=f"shortcut{number}")
    h = ops.make("avg_pool", h, attrs=ops.PoolAttrs(h.type.shape[:2], (1, 1)))
    return Model.from_bytes(encode(lower(Graph((image,), (build.dense(h, 10, "dense"),), ("logits",)))))


def separable() -> Model:
    """A stem and two depthwise separable convolutions, in integers alone, for images of bytes: (28, 28, 1) -> (10)."""
    build = Builder(1)
    image = ops.input_node("image", (28, 28, 1), DType.u8)
    h = ops.make("mul", ops.make("cast", image, name="image"), ops.constant([1 / 255]))
    h = _floats(build, h, 16, stride=2)
    for filters, stride in ((32, 1), (64, 2)):
        h = _floats(build, h, h.type.shape[2], groups=h.type.shape[2], stride=stride)
        h = _floats(build, h, filters, size=1)
    model = Model.from_bytes(encode(lower(Graph((image,), (build.dense(h, 10, "dense"),), ("logits",)))))
    return bnn.calibrate(model, build.rng.integers(0, 256, (20, 28, 28, 1)).astype(np.uint8), integer_only=True).model


def keywords(*, valid: bool = False) -> Model:
    """A stem of 10x4 and four depthwise separable convolutions of bits, in integers alone, for 49 x 40 bytes of a
    spectrum: (49, 40, 1) -> (12).  ``valid``: without padding over time, for streams."""

    def over_time(top: int, left: int, bottom: int, right: int) -> tuple[int, int, int, int]:
        return (0, left, 0, right) if valid else (top, left, bottom, right)

    build = Builder(1)
    spectrum = ops.input_node("spectrum", (49, 40, 1), DType.u8)
    filters, attrs = (
        ops.constant(build.rng.normal(size=(64, 10, 4, 1))),
        ops.ConvAttrs((2, 2), pads=over_time(4, 1, 5, 1)),
    )
    h = build.norm(ops.make("conv2d", ops.make("cast", spectrum), filters, attrs=attrs, name="stem"), "norm")
    for number in range(1, 5):
        signs = ops.constant(build.rng.choice([-1.0, 1.0], (64, 3, 3, 1)))
        attrs = ops.ConvAttrs(pads=over_time(1, 1, 1, 1), groups=64)
        h = ops.make("conv2d", build.sign(h, f"sign{number}"), signs, attrs=attrs, name=f"depthwise{number}")
        h = build.sign(build.norm(h, f"norm{number}"), f"bits{number}")
        h = build.norm(build.conv(h, 64, f"conv{number}", kernel=1), f"last{number}")
    h = ops.make("avg_pool", h, attrs=ops.PoolAttrs(h.type.shape[:2], (1, 1)))
    model = Model.from_bytes(encode(lower(Graph((spectrum,), (build.dense(h, 12, "dense"),), ("logits",)))))
    return bnn.calibrate(model, build.rng.integers(0, 256, (20, 49, 40, 1)).astype(np.uint8), integer_only=True).model


def shortcuts(*, bytes_alone: bool = False) -> Model:
    """Four residual blocks of bits whose shortcuts, like the sums of the first layer, are int16: (28, 28, 1) -> (10).
    ``bytes_alone``: the same of bytes, as networks of int8 have them."""
    rng, channels = np.random.default_rng(1), 32
    out, zero, unit = (DType.u8, 128, 16.0) if bytes_alone else (DType.i16, 0, 4096.0)

    def numbers(factors: Array, to: DType = out) -> list[Node]:
        """Of requantization, with a random bias."""
        fraction, exponent = np.frexp(factors)
        bias = rng.normal(0, 0.1 * unit, len(factors)) / factors
        limits = (-(2**15), 2**15 - 1) if to is DType.i16 else (0, 255)
        spread = [0 if to is DType.i16 else 128, *limits, 0]
        return [ops.constant(np.rint(v), DType.i32) for v in (bias, fraction * 2.0**31, exponent, spread)]

    def whole(x: Node, filters: Array, factor: float, name: str, to: DType = out, size: int = 0) -> Node:
        """Bytes by int8 weights, requantized."""
        depthwise = filters.shape[3] < x.type.shape[2]
        attrs = ops.ConvAttrs(
            pads=(size // 2,) * 4, groups=len(filters) if depthwise else 1, slots=("zeros", *ops.REQUANTIZATION), out=to
        )
        zeros = np.full(x.type.shape[2], 0 if x.op == "input" else 128)
        factors = factor * rng.uniform(0.5, 1.5, len(filters))
        operands = [ops.constant(filters, DType.i8), ops.constant(zeros), *numbers(factors, to)]
        return ops.make("qconv2d", x, *operands, attrs=attrs, name=name)

    def norm(x: Node, name: str) -> Node:
        if bytes_alone:
            return whole(x, np.full((channels, 1, 1, 1), 64), 1 / 64, name)
        factors = rng.uniform(0.5, 1.5, channels) / 64
        return ops.make("requantize16", x, *numbers(factors), attrs=ops.WidthAttrs(), name=name)

    def sign(x: Node, name: str) -> Node:
        thresholds = np.rint(rng.normal(0, 0.3 * unit, channels))
        if not bytes_alone:
            flips = ops.constant(rng.choice([-1, 1], channels), DType.b1)
            return ops.make("binarize16", x, ops.constant(thresholds, DType.i16), flips, name=name)
        attrs = ops.ConvAttrs(groups=channels, slots=("zeros", "threshold"), layer_slots=("zeros",), out=DType.b1)
        weights = ops.constant(rng.choice([-1, 1], (channels, 1, 1, 1)), DType.i8)
        operands = [weights, ops.constant(np.full(channels, 128)), ops.constant(thresholds, DType.i32)]
        return ops.make("qconv2d", x, *operands, attrs=attrs, name=name)

    def added(x: Node, y: Node, name: str) -> Node:
        if not bytes_alone:
            return ops.make("add16", x, y, attrs=ops.LimitsAttrs(), name=name)
        tables = [ops.constant((np.arange(256) - 128) * 2**16, DType.i32)] * 2
        return ops.make("qadd", x, y, *tables, attrs=ops.RequantizeAttrs(2**30, -15, 128, 0, 255), name=name)

    image = ops.input_node("image", (28, 28, 1), DType.u8)
    h = whole(image, rng.integers(-127, 128, (channels, 3, 3, 1)), unit / 30000, "stem", size=3)
    h = norm(_pooled(h), "norm")
    for number in range(1, 5):
        h = _pooled(h) if number == 3 else h
        filters = ops.constant(rng.choice([-1, 1], (channels, 3, 3, channels)), DType.b1)
        attrs = ops.ConvAttrs(pads=(1,) * 4, pad_value=1, slots=ops.REQUANTIZATION, out=out)
        factors = 0.5 * unit / 17 / 64 * rng.uniform(0.5, 1.5, channels)
        sums = ops.make(
            "bconv2d", sign(h, f"sign{number}"), filters, *numbers(factors), attrs=attrs, name=f"conv{number}"
        )
        h = added(sums, h, f"shortcut{number}")
    if not bytes_alone:
        factors = np.full(channels, 16 / unit / 64)
        h = ops.make("requantize16", h, *numbers(factors, DType.u8), attrs=ops.WidthAttrs(DType.u8), name="bytes")
    h = ops.make("avg_pool", h, attrs=ops.PoolAttrs(h.type.shape[:2], (1, 1)))
    h = whole(h, rng.integers(-127, 128, (10, 1, 1, channels)), 16 / 5000, "dense", DType.u8)
    h = ops.make("cast", h, ops.constant((np.arange(256) - 128) / 16), name="logits")
    h = ops.make("reshape", h, attrs=ops.ReshapeAttrs((10,)))
    return Model.from_bytes(encode(op_graphs.plan([image], [h])))


def emitted() -> dict[str, tuple[Model, bool]]:
    """By the names of their counts: networks, and whether with `--fast`."""
    networks = (digits, plain, depthwise, separable, keywords, shortcuts)
    models = {network.__name__: network() for network in networks}
    ways = ((", emitted", True), (", emitted without --fast", False))
    return {f"network {name}{way}": (model, fast) for name, model in models.items() for way, fast in ways}
