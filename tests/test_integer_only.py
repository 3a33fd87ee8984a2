# SPDX-License-Identifier: Apache-2.0
"""Calibration to whole numbers alone: what networks become, how near they stay, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.emit.nir.proof import prove
from bnn.emit.nir.write import layers_for
from bnn.events import EventEngine
from bnn.file.read import decode
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.ops import (
    INF,
    ClampAttrs,
    ConvAttrs,
    PadAttrs,
    PadChannelsAttrs,
    PoolAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    RoundAttrs,
    SliceAttrs,
    constant,
    input_node,
    make,
)
from bnn.passes import lower
from bnn.runtime import Model, available_kernels
from graphs import quantized
from op_graphs import plan, signs
from seed import seeds

Rng = np.random.Generator
DIGITS = Path(__file__).parents[1] / "examples" / "digits.bnn"
SAME = (1, 1, 1, 1)


def rms(x: Array) -> float:
    return float(np.sqrt((x.astype(np.float64) ** 2).mean()))


def compiled(inputs: Sequence[Node], *outputs: Node) -> Model:
    return Model.from_bytes(encode(lower(Graph(tuple(inputs), outputs, tuple(f"y{i}" for i in range(len(outputs)))))))


def check(model: Model, images: Array, **options: Any) -> None:
    """No tensor of floats but at both ends, the oracle's numbers in every family, and how near the floats they are."""
    found = bnn.calibrate(model, images, integer_only=True, **options)
    made, graph = found.model, decode(found.model.to_bytes())
    assert found.float_ops == 0 and "ops of floats: 0" in str(found) and all(layer.snr > 15 for layer in found.layers)
    between = {t.dtype for t in made.tensors if t.storage in ("arena", "passed")}
    assert between <= {"u8", "b1", "i16"}, graph
    most = 0.75 if "b1" in between else 0.5  # of the signal: half a step of a byte may turn a sign
    check_families(made, images[:6])
    for ours, floats, output in zip(results_of(made, images), results_of(model, images), graph.outputs, strict=True):
        step = np.diff(output.inputs[1].value)[0]
        noise, signal = rms(ours - floats), rms(floats - floats.mean(axis=0))
        assert noise < signal * most + 2 * step, f"{noise}, {signal}, {step}\n{graph}\n{found}"


def check_families(model: Model, images: Array) -> None:
    """The oracle's numbers."""
    expected = interpret.outputs(decode(model.to_bytes()), [images])
    for family in available_kernels():
        found = results_of(Model.from_bytes(model.to_bytes(), kernels=family), images)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def results_of(model: Model, images: Array) -> list[Array]:
    results = model(images)
    return results if isinstance(results, list) else [results]


class Drawn:
    """Blocks on images (H, W, C) of floats, drawn at random; each keeps numbers around 1."""

    def __init__(self, rng: Rng) -> None:
        self.rng, self.count = rng, 0

    def make(self, op: str, *inputs: Node, attrs: Any = None) -> Node:
        self.count += 1
        return make(op, *inputs, attrs=attrs, name=f"{op}_{self.count}")

    def numbers(self, x: Node, low: float, high: float) -> Node:
        return constant(self.rng.uniform(low, high, x.type.shape[-1]))

    def filters(self, x: Node, outputs: int, size: tuple[int, int], **attrs: Any) -> Node:
        groups = attrs.get("groups", 1)
        w = self.rng.normal(size=(outputs, *size, x.type.shape[-1] // groups))
        return self.make("conv2d", x, constant(w / np.sqrt(w[0].size / 2)), attrs=ConvAttrs(**attrs))

    def conv(self, x: Node) -> Node:
        size = int(self.rng.choice([1, 3]))
        stride = int(self.rng.choice([1, 1, 2]))
        outputs = int(self.rng.integers(2, 20))
        return self.filters(x, outputs, (size, size), pads=(size // 2,) * 4, stride=(stride, stride))

    def conv_like(self, x: Node) -> Node:
        return self.filters(x, x.type.shape[2], (3, 3), pads=SAME)

    def depthwise(self, x: Node) -> Node:
        return self.filters(x, x.type.shape[2], (3, 3), pads=SAME, groups=x.type.shape[2])

    def grouped(self, x: Node) -> Node:
        groups = next(g for g in (3, 2, 1) if x.type.shape[2] % g == 0)
        return self.filters(x, 2 * groups, (2, 2), pads=SAME, groups=groups, dilation=(2, 2))

    def norm(self, x: Node) -> Node:
        x = self.make("sub", x, self.numbers(x, -0.3, 0.3))
        scale = self.rng.uniform(0.5, 1.5, x.type.shape[-1]) * self.rng.choice([1, 1, -1], x.type.shape[-1])
        return self.make("add", self.make("mul", x, constant(scale)), self.numbers(x, -0.3, 0.3))

    def clamp(self, x: Node) -> Node:
        return self.make(
            "clamp", x, attrs=ClampAttrs(*[(0.0, INF), (0.0, 6.0), (-1.0, 1.5), (0.5, 1.0)][int(self.rng.integers(4))])
        )

    def curve(self, x: Node) -> Node:
        kind = str(self.rng.choice(["sigmoid", "tanh", "elu", "prelu", "swish", "square"]))
        if kind == "prelu":
            slopes = self.numbers(x, -1, 1) if self.rng.random() < 0.7 else constant(np.full(x.type.shape[-1], 0.2))
            return self.make("prelu", x, slopes)
        if kind == "swish":  # x * clamp(x + 3, 0, 6) / 6
            gate = self.make("clamp", self.make("add", x, constant([3.0])), attrs=ClampAttrs(0.0, 6.0))
            return self.make("mul", self.make("mul", x, gate), constant([1 / 6]))
        return self.make("mul", x, x) if kind == "square" else self.make(kind, x)

    def pool(self, x: Node) -> Node:
        kind = str(self.rng.choice(["max_pool", "avg_pool"]))
        if min(x.type.shape[:2]) < 3:
            return x
        return self.make(kind, x, attrs=PoolAttrs((3, 3), (2, 2), SAME))

    def shortcut(self, x: Node) -> Node:
        y = self.clamp(self.conv_like(x))
        y = self.make(str(self.rng.choice(["add", "sub"])), x, y)
        return self.clamp(y) if self.rng.random() < 0.5 else y

    def binary(self, x: Node) -> Node:
        c = x.type.shape[2]
        signs = constant(self.rng.choice([-1.0, 1.0], (c, 3, 3, c)))
        y = self.make("conv2d", sign(x, f"sign_{self.count}"), signs, attrs=ConvAttrs(pads=SAME))
        return self.make("add", self.norm(self.make("mul", y, constant([1 / (3 * np.sqrt(c))]))), x)

    def sums(self, x: Node, filters: int) -> Node:
        """Of bits, far above the data."""
        signs = constant(self.rng.choice([-1.0, 1.0], (filters, 3, 3, x.type.shape[2])))
        self.count += 1
        name = f"sums_{self.count}"
        return make("conv2d", sign(self.norm(x), name), signs, attrs=ConvAttrs(pads=SAME), name=name)

    def dense(self, x: Node) -> Node:
        """Sums of bits beside their data, and added to the last channels, as in MeliusNet; then about 1 again."""
        joined = self.make("concat", x, self.sums(x, 8))
        more, before = self.sums(joined, 8), x.type.shape[2]
        joined = self.make("add", joined, self.make("pad_channels", more, attrs=PadChannelsAttrs(before, 0)))
        scale = np.r_[np.ones(before), np.full(8, 1 / (3 * np.sqrt(2 * before + 8)))]
        return self.norm(self.make("mul", joined, constant(scale)))

    def gate(self, x: Node) -> Node:
        mean = self.make("avg_pool", x, attrs=PoolAttrs(x.type.shape[:2], (1, 1)))
        return self.make("mul", x, self.make("sigmoid", self.filters(mean, x.type.shape[2], (1, 1))))

    def joined(self, x: Node) -> Node:
        return self.make("concat", x, self.clamp(self.filters(x, 5, (3, 3), pads=SAME)), x)

    def move(self, x: Node) -> Node:
        h, w, c = x.type.shape
        moves: list[Callable[[], Node]] = [
            lambda: self.make("pad", x, attrs=PadAttrs((1, 0, 1, 2), float(self.rng.choice([0.0, 1.0])))),
            lambda: self.make("pad_channels", x, attrs=PadChannelsAttrs(1, 2, float(self.rng.choice([0.0, -1.0])))),
            lambda: self.make("slice", x, attrs=SliceAttrs(c // 3, c)),
            lambda: self.make("reshape", x, attrs=ReshapeAttrs((w, h, c))),
            lambda: self.make("gather", x, constant(np.arange(h * w * c).reshape(h, w, c)[h // 3 :, ::2], DType.i32)),
            lambda: self.make("add", x, constant(self.rng.normal(size=(h, w, c)))),
            lambda: self.make("sub", self.numbers(x, -1, 1), x),
            lambda: self.make("mul", self.filters(x, 1, (1, 1)), self.numbers(x, -1, 1)),
        ]
        return moves[int(self.rng.integers(len(moves)))]()

    def network(self) -> tuple[list[Node], Node]:
        h, w = self.rng.integers(6, 12, 2).tolist()
        u8 = self.rng.random() < 0.3
        image = input_node("x", (h, w, int(self.rng.integers(1, 5))), DType.u8 if u8 else DType.f32)
        x = image
        if u8:
            x = self.make("mul", self.make("cast", image), constant([1 / 127.5]))
            x = self.make("sub", x, constant([1.0])) if self.rng.random() < 0.5 else x
        blocks = [
            self.conv, self.conv, self.depthwise, self.grouped, self.norm, self.clamp, self.curve, self.pool,
            self.shortcut, self.binary, self.dense, self.gate, self.joined, self.move,
        ]  # fmt: skip
        for _ in range(int(self.rng.integers(2, 7))):
            made = blocks[int(self.rng.integers(len(blocks)))](x)
            x = made if np.prod(made.type.shape) < 3000 else x
        x = self.make("avg_pool", x, attrs=PoolAttrs(x.type.shape[:2], (1, 1))) if self.rng.random() < 0.2 else x
        x = self.make("reshape", x, attrs=ReshapeAttrs((int(np.prod(x.type.shape)),)))
        x = self.make("add", self.filters(x, 10, (1, 1)), constant(self.rng.normal(size=10)))
        return [image], self.make("softmax", x) if self.rng.random() < 0.3 else x


def drawn_images(rng: Rng, image: Node, count: int) -> Array:
    """Of different contrast and brightness, which means of images keep."""
    contrast, brightness = rng.uniform(0.3, 1, (2, count, 1, 1, 1))
    x = rng.normal(size=(count, *image.type.shape)) * contrast + 2 * brightness - 1.3
    return (np.clip(x * 60 + 128, 0, 255) if image.type.dtype is DType.u8 else x).astype(image.type.dtype.numpy)


@pytest.mark.drawn
@pytest.mark.parametrize("seed", seeds(20))
def test_random_networks(seed: int) -> None:
    print("seed", seed)
    rng = np.random.default_rng(seed)
    inputs, y = Drawn(rng).network()
    check(compiled(inputs, y), drawn_images(rng, inputs[0], 40))


def sign(x: Node, name: str = "") -> Node:
    return make("sign", make("add", make("sign", x, name=name), constant([0.1])), name=name)


def times(x: Node, factor: float) -> Node:
    return make("mul", x, constant(np.full(x.type.shape[-1], factor)), name="times")


def bits_of(rng: Rng, x: Node, name: str) -> Node:
    """A convolution of floats, normalized, whose signs a binary one reads."""
    drawn = Drawn(rng)
    x = sign(drawn.norm(x), name)
    weights = constant(rng.choice([-1.0, 1.0], (6, 3, 3, x.type.shape[2])))
    return make("conv2d", x, weights, attrs=ConvAttrs(pads=SAME), name=f"{name} binary")


@pytest.mark.drawn
@pytest.mark.parametrize("pads", [SAME, (0, 0, 0, 0)], ids=["zeros", "ones"])
def test_depthwise_layers_of_bits_are_exact(pads: tuple[int, int, int, int], rng: Rng) -> None:
    """They sum bytes that are bits, so that every bit is that of the float network."""
    drawn, image = Drawn(rng), input_node("x", (7, 6, 35), DType.u8)
    x = sign(make("sub", make("cast", image), constant(rng.integers(60, 190, 35))), "first")
    for number in range(2):
        if pads is not SAME:
            x = make("pad", x, attrs=PadAttrs(SAME, 1.0))
        weights = constant(rng.choice([-1.0, 1.0], (35, 3, 3, 1)))
        x = make("conv2d", x, weights, attrs=ConvAttrs(pads=pads, groups=35), name=f"depthwise{number}")
        x = sign(drawn.norm(x), f"between{number}")
        x = make("conv2d", x, constant(rng.choice([-1.0, 1.0], (35, 1, 1, 35))), name=f"pointwise{number}")
        x = sign(drawn.norm(x), f"last{number}")
    model, images = compiled([image], x), drawn_images(rng, image, 12)
    found = bnn.calibrate(model, images, integer_only=True)
    assert found.float_ops == 0 and sum(op.op == "unpack_bytes" for op in found.model.ops) == 2
    expected = results_of(model, images)[0]
    np.testing.assert_array_equal(results_of(found.model, images)[0], expected)
    assert 0.05 < (expected > 0).mean() < 0.95
    check_families(found.model, images[:4])


def test_signs_stay_thresholds(rng: Rng) -> None:
    """Of sums of bytes, of bytes, and of sums of bits: no value of floats, and nearly all signs of the network."""
    drawn, image = Drawn(rng), input_node("x", (9, 8, 3))
    stem = drawn.filters(image, 12, (3, 3), pads=SAME)
    pooled = drawn.pool(drawn.clamp(drawn.norm(drawn.conv(image))))
    ends = [sign(drawn.norm(bits_of(rng, x, name))) for x, name in ((stem, "sums"), (pooled, "bytes"))]
    model = compiled([image], *ends)
    x = drawn_images(rng, image, 60)
    found = bnn.calibrate(model, x, integer_only=True)
    assert found.float_ops == 0
    ops = [op.op for op in found.model.ops]
    assert ops.count("bconv2d") == 2 and "binarize" not in ops and {"quantize", "qconv2d"} <= set(ops)
    check_families(found.model, x[:6])
    for ours, floats in zip(results_of(found.model, x), results_of(model, x), strict=True):
        assert (ours == floats).mean() > 0.9 and 0.1 < (floats > 0).mean() < 0.9


def test_signs_of_bytes_are_those_of_their_values(rng: Rng) -> None:
    """Every byte against thresholds between two of them and on one, from both sides; the input's bytes are exact."""
    image = input_node("x", (16, 16, 40))
    values = np.float32(2.0**-5) * (np.arange(256, dtype=np.float32) - 100)
    between = np.where(np.arange(40) % 3, rng.uniform(values[0], values[-1], 40), rng.choice(values, 40))
    factors = rng.choice([-1.0, 1.0], 40)
    model = compiled([image], sign(make("mul", make("sub", image, constant(between)), constant(factors))))
    x = np.broadcast_to(values.reshape(1, 16, 16, 1), (1, *image.type.shape))
    found = bnn.calibrate(model, x, method="minmax", integer_only=True)
    expected = np.where((x - between.astype(np.float32)) * factors >= 0, 1, -1)
    np.testing.assert_array_equal(found.model(x), expected)


def test_parts_of_concatenations_are_not_rounded_again(rng: Rng) -> None:
    """As in DenseNet: what the first layer gives has the bytes of the last concatenation from the start."""
    drawn, image = Drawn(rng), input_node("x", (6, 5, 3))
    x = drawn.conv_like(image)
    for _ in range(2):
        x = drawn.make("concat", x, times(drawn.conv_like(x), 3.0))
    found = bnn.calibrate(compiled([image], drawn.conv(x)), drawn_images(rng, image, 20), integer_only=True)
    ops = [op.op for op in found.model.ops]
    assert ops.count("concat") == 2 and "lookup" not in ops


def rounded(x: Node, step: float, most: int, half: float = 0.5) -> Node:
    """To the multiples of a step from 0 on, as training quantizes: the nearest, or with ``half`` 0 those below."""

    def one(number: float) -> Node:
        return constant(np.full(1, number, np.float32))

    down = make("round", make("add", make("mul", x, one(1 / step)), one(half)), attrs=RoundAttrs(-1))
    return make("mul", make("clamp", down, attrs=ClampAttrs(0.0, float(most))), one(step))


def test_roundings_join_what_only_they_read(rng: Rng) -> None:
    """Each sum is computed once; what goes down instead of to the nearest is a table."""
    drawn, image = Drawn(rng), input_node("x", (6, 5, 3))
    x = drawn_images(rng, image, 20)
    conv, step = drawn.conv(image), 0.1
    quarter = np.ptp(results_of(compiled([image], conv), x)[0]) / 255 / 4  # the mean error of bytes that a table reads
    for ends, tables in (
        ([rounded(conv, step, 40)], 0),
        ([rounded(conv, step, 40, half=0.0)], 1),
        ([rounded(conv, step, 40), conv], 1),
    ):
        model = compiled([image], *ends)
        found = bnn.calibrate(model, x, integer_only=True).model
        ops = [op.op for op in found.ops]
        assert (ops.count("qconv2d"), ops.count("lookup")) == (1, tables), ops
        off = np.abs(results_of(found, x)[0] - results_of(model, x)[0]) / step
        assert off.max() < 1.5 and np.rint(off).mean() < 0.1 + (quarter / step if tables else 0.0)


def test_a_concatenation_of_roundings_has_the_levels_of_each(rng: Rng) -> None:
    """Whose steps are coarser than its bytes."""
    drawn, image = Drawn(rng), input_node("x", (6, 5, 3))
    x = drawn_images(rng, image, 20)
    parts = [rounded(drawn.conv_like(image), step, 40) for step in (0.1, 0.15)]
    model = compiled([image], make("concat", *parts))
    found, levels = bnn.calibrate(model, x, integer_only=True).model(x), model(x)
    byte = 40 * 0.15 / 255
    assert (np.abs(found - levels) < byte).mean() > 0.95


@pytest.mark.drawn
@pytest.mark.parametrize("seed", seeds(12))
def test_sums_of_bits(seed: int) -> None:
    """Factors of both signs and of zero: within half a step of the byte, and 1/64 of a sum times its factor."""
    print("seed", seed)
    rng = np.random.default_rng(seed)
    image = input_node("x", (7, 6, int(rng.choice([4, 40]))))
    bits, channels = sign(image), image.type.shape[2]
    value, groups = float(rng.choice([-1.0, 0.0, 1.0])), int(rng.choice([1, 2]))
    bits = make("concat", *[bits] * 16, name="bits") if groups > 1 else bits
    padded = make("pad", bits, attrs=PadAttrs((1, 0, 1, 2), value))
    weights = rng.choice([-1.0, 1.0], (2 * int(rng.integers(1, 20)), 3, 2, bits.type.shape[2] // groups))
    sums = make("conv2d", padded, constant(weights), attrs=ConvAttrs(groups=groups), name="binary")
    factors = rng.normal(size=len(weights)) * rng.choice([0.0, 1e-12, 1.0, 1.0], len(weights))
    sums = make("add", make("mul", sums, constant(factors)), constant(rng.normal(size=len(weights)) * 3 * channels))
    y = make("clamp", sums, attrs=ClampAttrs(-2.0 * channels, INF)) if rng.random() < 0.3 else sums
    model = compiled([image], y)
    x = (rng.uniform(0.5, 1, (30, *image.type.shape)) * rng.choice([-1, 1], (30, *image.type.shape))).astype(np.float32)
    found = bnn.calibrate(model, x, method="minmax", integer_only=True)
    assert [op.op for op in found.model.ops].count("bconv2d") == 1 and found.float_ops == 0
    check_families(found.model, x[:6])
    step = np.diff(decode(found.model.to_bytes()).outputs[0].inputs[1].value)[0]
    off = np.abs(found.model(x).astype(np.float64) - model(x))
    assert off.max() <= 0.51 * step + np.abs(factors).max() / 128 and found.layers[0].binary


def test_parts_of_a_concatenation_keep_their_scales(rng: Rng) -> None:
    """Sums of bits are bytes as they are, whatever stands beside them; what follows is as near as without them."""
    drawn, image = Drawn(rng), input_node("x", (8, 8, 3))
    x = drawn.dense(drawn.filters(image, 8, (3, 3), pads=SAME))
    x = drawn.dense(drawn.make("concat", x, drawn.sums(x, 8)))
    x = drawn.norm(drawn.make("mul", x, constant(np.r_[np.ones(16), np.full(8, 1 / 12), np.ones(8)])))
    x = drawn.make("clamp", drawn.make("max_pool", x, attrs=PoolAttrs((2, 2), (2, 2))), attrs=ClampAttrs(0.0, INF))
    y = make("reshape", drawn.filters(x, 10, x.type.shape[:2]), attrs=ReshapeAttrs((10,)))
    model, images = compiled([image], y), drawn_images(rng, image, 40)
    check(model, images)
    layers = bnn.calibrate(model, images, integer_only=True).layers
    assert [layer.snr for layer in layers if layer.binary] == [np.inf] * 5
    assert min(layer.snr for layer in layers) > 30, layers


def test_rounding_turns_no_sign(rng: Rng) -> None:
    """Signs of sums, of sums of two values, and of negative values, which are bytes because others read them, too: of
    exact data, nearly all are exact; and these bytes are the middle of what they stand for."""
    drawn, image = Drawn(rng), input_node("x", (6, 7, 6))
    weights = rng.integers(-127, 128, (8, 3, 3, 6)).astype(float)
    weights[:, 0, 0, 0] = 127
    sums = make("conv2d", image, constant(weights), attrs=ConvAttrs(pads=SAME), name="sums")
    first, second = (make("slice", image, attrs=SliceAttrs(3 * i, 3 * i + 3)) for i in (0, 1))
    pair = make("add", first, times(second, 0.37), name="pair")
    positive = make("clamp", image, attrs=ClampAttrs(0.0, INF), name="positive")
    below = make("conv2d", positive, constant(-np.abs(weights)), attrs=ConvAttrs(pads=SAME), name="below")
    moved = make("sub", make("mul", pair, constant([1.0, 2.0, 3.0])), constant([4.0, 5.0, 6.0]), name="moved")
    others = [drawn.filters(x, 4, (1, 1)) for x in (drawn.make("add", sums, drawn.filters(image, 8, (1, 1))), below)]
    middle = constant(np.full(8, 1e5))
    bits = [sign(sums), sign(pair), sign(make("add", below, middle, name="below"))]
    images = rng.integers(-128, 128, (60, *image.type.shape)).astype(np.float32)
    images[0, 0, 0, :2], images[1] = (-128, 127), 0
    model = compiled([image], *bits, moved, *others)
    found = bnn.calibrate(model, images, method="minmax", integer_only=True)
    check_families(found.model, images[:6])
    outputs, expected = found.model(images), model(images)
    for ours, floats in zip(outputs[:3], expected[:3], strict=True):
        assert (ours != floats).mean() < 1e-3 and 0.02 < (floats > 0).mean() < 0.98
    step = np.diff(decode(found.model.to_bytes()).outputs[3].inputs[1].value)[0]
    assert np.abs((outputs[3] - expected[3])[..., 2].mean()) < 0.1 * step


@pytest.mark.parametrize("kind", ["dorefa2", "dorefa3", "even"])
def test_levels_of_several_bits(kind: str, rng: Rng) -> None:
    """What the compiler has as planes of bits are bytes by signs: sums exact up to their byte, and so are signs,
    with pixels outside of the lowest level or between two."""
    image = input_node("x", (6, 7, 5))
    x = quantized(image, "dorefa2" if kind == "even" else kind, "levels")
    x = make("sub", x, constant([0.5]), name="levels") if kind == "even" else x
    weights = [constant(rng.choice([-1.0, 1.0], (9, 3, 3, 5))) for _ in "ab"]
    sums, other = (make("conv2d", x, w, attrs=ConvAttrs(pads=SAME), name=f"of {i}") for i, w in enumerate(weights))
    model = compiled([image], times(sums, 0.3), sign(Drawn(rng).norm(other)))
    assert [op.op for op in model.ops].count("bconv2d") == 2
    images = (rng.integers(-128, 128, (40, *image.type.shape)) / 128).astype(np.float32)
    images[0, 0, 0, :2] = -1, 127 / 128  # each is a byte
    found = bnn.calibrate(model, images, method="minmax", integer_only=True)
    assert found.float_ops == 0 and min(layer.snr for layer in found.layers) > 35
    check_families(found.model, images[:6])
    (numbers, bits), expected = found.model(images), model(images)
    step = np.diff(decode(found.model.to_bytes()).outputs[0].inputs[1].value)[0]
    assert np.abs(numbers - expected[0]).max() <= 1.01 * step  # half, and half more at the ends
    assert (bits == expected[1]).mean() > 0.98  # a sum may be 1/127 of a product off


def test_a_sum_too_long_for_what_is_beside_it(rng: Rng) -> None:
    """Of 80,000 products, which count for nothing, beside what 255 bytes stand for."""
    image = input_node("x", (80000,))
    sums = make("conv2d", sign(image), constant(rng.choice([-1.0, 1.0], (2, 1, 1, 80000))), name="long")
    y = make("add", times(sums, 0.0), constant([1.0, 0.5]))
    with pytest.raises(
        bnn.UnsupportedOpError, match=r"layer 'long' .*: 80,000 products a sum, beside a number far above"
    ):
        bnn.calibrate(compiled([image], y), np.ones((2, 80000), np.float32), integer_only=True)


def test_what_has_no_form_in_whole_numbers_is_named(rng: Rng) -> None:
    drawn, image = Drawn(rng), input_node("x", (6, 6, 4))
    x = drawn.conv(image)
    cases = {
        "resized": (
            make("resize_bilinear", x, attrs=ResizeAttrs((9, 9)), name="resized"),
            "no op computes it of bytes",
        ),
        "largest": (
            make("maximum", x, drawn.conv_like(x), name="largest"),
            "no op computes it of two tensors of bytes",
        ),
        "divided": (make("div", x, drawn.conv_like(x), name="divided"), "no op divides bytes"),
        "bits binary": (
            make("clamp", times(bits_of(rng, x, "bits"), 2.0**22), attrs=ClampAttrs(0.0, 6.0), name="steep"),
            "one step of its sums is",
        ),
        "low binary": (
            make(
                "clamp",
                make("add", times(bits_of(rng, x, "low"), 2.0**15), constant(np.full(6, -(2.0**40)))),
                attrs=ClampAttrs(0.0, 6.0),
                name="far below",
            ),
            "one step of its sums is",
        ),
    }
    for layer, (y, why) in cases.items():
        model = compiled([image], y)
        wanted = rf"layer '{layer}' \(\w+\) would stay float: {why}.*; calibrate without integer_only"
        with pytest.raises(bnn.UnsupportedOpError, match=wanted):
            bnn.calibrate(model, drawn_images(rng, image, 8), integer_only=True)
    plain = make(
        "bconv2d",
        make("binarize", x),
        signs(rng, (3, 2, 2, x.type.shape[2])),
        attrs=ConvAttrs(out=DType.b1),
        name="plain",
    )
    own = Model.from_bytes(encode(plan([image], [make("unpack", plain)])))
    with pytest.raises(
        bnn.UnsupportedOpError, match=r"layer 'plain' \(bconv2d\) would stay float: its bits are no thresh"
    ):
        bnn.calibrate(own, drawn_images(rng, image, 8), integer_only=True)
    bits = sign(x, "signs")
    both = compiled([image], bits, make("mul", bits, drawn.conv_like(x), name="product"))  # an output, and read
    with pytest.raises(
        bnn.UnsupportedOpError, match=r"layer 'signs' \(unpack\) would stay float: no op turns bytes into planes"
    ):
        bnn.calibrate(both, drawn_images(rng, image, 8), integer_only=True)
    with pytest.raises(bnn.InputError, match="with integer_only no layer stays float"):
        bnn.calibrate(model, drawn_images(rng, image, 8), keep_float=[x.name], integer_only=True)
    with pytest.raises(bnn.InputError, match="integer_only: found True without images"):
        bnn.compile("net.onnx", integer_only=True)


def residual(tf: Any) -> Any:
    layers = tf.keras.layers

    def normed(x: Any, filters: int, size: int = 3, stride: int = 1) -> Any:
        x = layers.Conv2D(filters, size, stride, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    image = layers.Input((32, 32, 3))
    x = layers.ReLU()(normed(image, 16))
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        short = x if stride == 1 else normed(x, filters, 1, stride)
        x = layers.ReLU()(normed(x, filters, stride=stride))
        x = layers.ReLU()(layers.Add()([normed(x, filters), short]))
    return tf.keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def application(name: str, alpha: float) -> Callable[[Any], Any]:
    options = {"weights": None, "classifier_activation": None, "classes": 100, "alpha": alpha}
    return lambda tf: getattr(tf.keras.applications, name)((96, 96, 3), **options)


NETWORKS = {"MobileNetV2": application("MobileNetV2", 0.35), "residual": residual}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_as_near_as_tensorflow_lite(name: str, record_property: Callable[[str, object], None]) -> None:
    """Of random networks whose batch norms have the statistics of images, its full-integer conversion has at most 1 dB
    less noise in the outputs.  Always the same networks: noise is a matter of the weights."""
    tf, rng = pytest.importorskip("tensorflow"), np.random.default_rng(1)
    tf.keras.utils.set_random_seed(1)
    source = NETWORKS[name](tf)
    coarse = rng.normal(size=(164, 8, 8, 3)) / 2
    images = np.clip(tf.image.resize(coarse, source.input_shape[1:3], "bicubic"), -1, 1).astype(np.float32)
    for layer in source.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = 0.0
    source(images[:64], training=True)
    shown, tested = images[:100], images[100:]
    converter = tf.lite.TFLiteConverter.from_keras_model(source)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[None]] for x in shown)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(given["index"], tested.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], tested)
    interpreter.invoke()
    ours = bnn.compile(source, calibrate=shown, integer_only=True)
    expected = np.asarray(source(tested, training=False))
    found = {"bnn": ours(tested), "TensorFlow Lite": interpreter.get_tensor(result["index"])}
    decibels = {who: 20 * np.log10(rms(expected) / rms(y - expected)) for who, y in found.items()}
    for who, value in decibels.items():
        record_property(who, f"{value:.1f} dB")
    print(name, decibels)
    assert decibels["bnn"] >= decibels["TensorFlow Lite"] - 1, decibels


def test_clamps_hold_beyond_the_images_of_calibration(rng: Rng) -> None:
    """Of each op that a clamp joins, and beside larger numbers in a concatenation."""
    drawn, image = Drawn(rng), input_node("x", (8, 7, 6))
    conv, other = drawn.conv_like(image), drawn.depthwise(image)
    values = [
        drawn.norm(conv), drawn.norm(drawn.pool(image)), drawn.binary(conv), bits_of(rng, conv, "bits"),
        make("add", conv, other), make("sub", conv, other), make("mul", conv, other), times(conv, 3.0),
    ]  # fmt: skip
    ends = [drawn.make("clamp", y, attrs=ClampAttrs(0.5, 1.0)) for y in values]
    narrow = drawn.make("clamp", drawn.norm(other), attrs=ClampAttrs(-1.0, 1.0))
    joined = make("concat", make("mul", conv, conv), narrow)
    x = drawn_images(rng, image, 20)
    made = bnn.calibrate(compiled([image], *ends, joined), x, integer_only=True).model
    *results, both = made(4 * x)
    for y, low, found in [*((y, 0.5, y) for y in results), (both[..., 6:], -1.0, both)]:
        half = np.diff(np.unique(found)).min() / 2
        assert low - half <= y.min() < y.max() <= 1 + half


def test_what_is_outside_an_image(rng: Rng) -> None:
    """Padding by numbers beyond the data's, and a mean that does not count what surrounds the image."""
    image = input_node("x", (6, 5, 3))
    ends = [
        make("pad", image, attrs=PadAttrs((1, 0, 1, 2), 9.0)),
        make("pad_channels", image, attrs=PadChannelsAttrs(1, 2, -9.0)),
        make("avg_pool", image, attrs=PoolAttrs((8, 7), (1, 1), SAME)),
    ]
    x = drawn_images(rng, image, 20)
    model = compiled([image], *ends)
    found = bnn.calibrate(model, x, method="minmax", integer_only=True)
    for ours, floats, output in zip(found.model(x), model(x), decode(found.model.to_bytes()).outputs, strict=True):
        step = np.diff(output.inputs[1].value)[0]  # at most half of one for the input's bytes, and half for its own
        assert np.abs(ours - floats).max() <= 1.01 * step


def test_dead_and_large_filters(rng: Rng) -> None:
    """Whose numbers would have no place beside the others': each keeps to its own, and shifts are moderate."""
    image = input_node("x", (5, 5, 3))
    w, b = rng.normal(size=(8, 3, 3, 3)), rng.normal(size=8)
    w[:5] *= np.array([0.0, 0.0, 1e-12, 1e-7, 0.0])[:, None, None, None]
    b[:5] = [0.0, 3.0, 2.0, -1.5, 1e5]  # the last one is far above what the clamp leaves
    x = make("add", make("conv2d", image, constant(w), attrs=ConvAttrs(), name="conv"), constant(b), name="conv")
    x = make("clamp", x, attrs=ClampAttrs(-INF, 6.0))
    images = drawn_images(rng, image, 20)
    model = compiled([image], x)
    check(model, images)
    made = bnn.calibrate(model, images, method="minmax", integer_only=True).model
    graph = decode(made.to_bytes())
    step = np.diff(graph.outputs[0].inputs[1].value)[0]
    assert np.abs(made(images) - model(images))[..., :5].max() < 0.7 * step
    (conv,) = (n for n in graph.schedule if n.op == "qconv2d")
    assert conv.inputs[5].value.min() >= -22 and conv.inputs[5].value.max() < 0


def test_spikes_of_binary_layers_become_bytes(rng: Rng) -> None:
    """In the event engine, and by the decoder of emitted spikes, which compares with the compiled network."""
    images = rng.random((30, 8, 8, 1), np.float32)
    model = bnn.calibrate(DIGITS, images, integer_only=True).model
    engine = EventEngine(model)
    for image in images[:5]:
        assert np.array_equal(engine.step(image[None]), model(image[None])[0])
    prove(layers_for(decode(model.to_bytes()), "if"), [images[:3]])


def test_verify_feeds_binary_layers_the_bits_of_the_source(rng: Rng) -> None:
    """Against ONNX Runtime: signs of bytes may turn near 0, binary layers behind them are compared exactly, also where
    their filters are negated; bytes that stand for their sums are within rounding, and those of another factor not."""
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper, of_array = onnx.helper, onnx.numpy_helper.from_array
    weights = {"a": rng.normal(size=(16, 3, 3, 3)) / 5, "t": rng.normal(size=(8, 1, 1))}
    weights |= {name: rng.choice([-1.0, 1.0], (8, 16, 3, 3)) for name in "cde"}
    weights |= {"u": rng.uniform(1, 5, (8, 1, 1)), "low": np.zeros(()), "high": np.full((), 6.0)}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["1"], name="first", pads=[1] * 4),
        helper.make_node("Sign", ["1"], ["2"], name="sign"),
        helper.make_node("Conv", ["2", "c"], ["3"], name="binary"),
        helper.make_node("Sign", ["3"], ["y"], name="last"),
        helper.make_node("Conv", ["2", "d"], ["4"], name="scaled"),
        helper.make_node("Mul", ["4", "f"], ["5"], name="factors"),
        helper.make_node("Add", ["5", "t"], ["z"], name="terms"),
        helper.make_node("Conv", ["2", "e"], ["6"], name="steep"),  # a step of its bias is some 30 bytes
        helper.make_node("Mul", ["6", "g"], ["7"], name="steep factors"),
        helper.make_node("Add", ["7", "u"], ["8"], name="steep terms"),
        helper.make_node("Clip", ["8", "low", "high"], ["w"], name="clamp"),
    ]
    shapes = (("x", (3, 9, 9)), *((name, (8, 7, 7)) for name in "yzw"))
    ends = [helper.make_tensor_value_info(n, 1, ["N", *shape]) for n, shape in shapes]

    def source(factors: Array, moved: float = 0.0) -> Any:
        more = {"f": factors, "g": 300 * factors, "u": weights["u"] + moved}
        arrays = [of_array(w.astype(np.float32), name) for name, w in {**weights, **more}.items()]
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], arrays)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

    factors = rng.uniform(0.1, 0.2, (8, 1, 1)) * np.array([-1, 1] * 4)[:, None, None]
    images = rng.normal(size=(20, 3, 9, 9)).astype(np.float32)
    model = bnn.compile(source(factors), zero=1, calibrate=images, integer_only=True)
    report = bnn.verify(source(factors), model, images, zero=1)
    assert report.ok, str(report)
    assert [layer.different for layer in report.layers if layer.layer in ("binary", "last", "scaled")] == [0, 0, 0]
    assert [layer.layer for layer in report.layers if not layer.exact] == ["sign", "z", "w"]  # of bytes
    assert not bnn.verify(source(1.5 * factors), model, images, zero=1).ok
    moved = bnn.verify(source(factors, 15.0), model, images, zero=1)  # by less than half a sum
    assert [layer.beyond > 0 for layer in moved.layers if layer.layer in "zw"] == [False, True]
