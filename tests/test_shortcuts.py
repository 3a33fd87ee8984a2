# SPDX-License-Identifier: Apache-2.0
"""Calibration to whole numbers: which sums of shortcuts become int16, and how exact they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.cli import main
from bnn.events import EventEngine
from bnn.ir.graph import DType, Node
from bnn.ir.ops import ClampAttrs, ConvAttrs, PoolAttrs, ReshapeAttrs, constant, input_node, make
from bnn.ir.quantization import bits_numbers
from bnn.runtime import Model
from seed import seeds
from test_integer_only import DIGITS, SAME, Drawn, check, check_families, compiled, drawn_images, sign

Rng = np.random.Generator


class Residual(Drawn):
    """Bits with shortcuts around their layers, behind exact sums of a stem of bytes."""

    strength = 1.0  # of the layers, beside the shortcuts

    def signs(self, x: Node, filters: int, name: str) -> Node:
        w = self.rng.choice([-1.0, 1.0], (filters, 3, 3, x.type.shape[2]))
        return make("conv2d", x, constant(w), attrs=ConvAttrs(pads=SAME), name=name)

    def positive(self, x: Node, name: str) -> Node:
        """A batch norm; it keeps numbers around 1."""
        scale = self.rng.uniform(0.5, 1.5, x.type.shape[-1]) / np.sqrt(9 * 12) * self.strength
        return make("add", make("mul", x, constant(scale), name=name), self.numbers(x, -0.3, 0.3), name=name)

    def block(self, x: Node, number: int) -> Node:
        y = self.positive(self.signs(sign(x, f"sign{number}"), x.type.shape[2], f"conv{number}"), f"norm{number}")
        return make("add", y, x, name=f"sum{number}")

    def residual(self, blocks: int) -> tuple[Node, list[Node]]:
        """The image, and the values of the shortcut."""
        image = input_node("x", (12, 12, 3), DType.u8)
        x = make("cast", image, name="image")
        x = make("max_pool", self.signs(x, 12, "stem"), attrs=PoolAttrs((2, 2), (2, 2)), name="pool")
        centers, scales = constant(self.rng.uniform(0, 400, 12)), constant(self.rng.uniform(0.5, 1.5, 12) / 300)
        x = make("mul", make("sub", x, centers), scales, name="norm")
        values = [x]
        for number in range(blocks):
            values.append(self.block(values[-1], number))
        return image, values

    def classified(self, blocks: int) -> Model:
        image, values = self.residual(blocks)
        w = self.rng.choice([-1.0, 1.0], (10, 6, 6, 12))
        x = make("conv2d", sign(values[-1], "last"), constant(w), attrs=ConvAttrs(), name="classes")
        x = make("reshape", self.positive(x, "classes"), attrs=ReshapeAttrs((10,)))
        return compiled([image], x)


def images_for(rng: Rng, count: int = 60) -> Array:
    return np.asarray(drawn_images(rng, input_node("x", (12, 12, 3), DType.u8), count))


def dtypes(model: Model) -> set[str]:
    return {t.dtype for t in model.tensors if t.storage in ("arena", "passed")}


@pytest.mark.drawn
@pytest.mark.parametrize("seed", seeds(8))
def test_chosen_where_it_halves_the_noise(seed: int) -> None:
    """Of the whole stream: the stem's sums, their max-pool and batch norm, the layers of bits; the report says so."""
    print("seed", seed)
    rng = np.random.default_rng(seed)
    model, images = Residual(rng).classified(3), images_for(rng)
    found = bnn.calibrate(model, images, integer_only=True)
    print(found)
    assert found.tried is not None and found.tried[1] > found.tried[0] + 3 and found.float_ops == 0
    ops = [(op.op, found.model.tensors[op.output].dtype) for op in found.model.ops]
    assert ops.count(("qconv2d", "i16")) == 1 and ops.count(("bconv2d", "i16")) == ops.count(("add16", "i16")) == 3
    assert ops.count(("binarize16", "b1")) == 4 and ("max_pool", "i16") in ops and ("requantize16", "i16") in ops
    check_families(found.model, images[:6])
    assert [layer.layer for layer in found.layers if layer.int16] == ["stem", "conv0", "conv1", "conv2"]
    assert [shortcut.layer for shortcut in found.shortcuts] == ["sum0", "sum1", "last"]
    text = str(found)
    assert "'conv0': binary, its sums become int16, " in text and "'sum1': a sum of int16, scale " in text
    assert f"shortcuts are int16: the outputs have {found.tried[0]:.1f} dB with bytes, " in text
    assert "int16 after training" in "".join(op.note for op in found.model.ops)
    bytes_alone = bnn.calibrate(model, images, integer_only=True, int16=[])
    assert dtypes(bytes_alone.model) <= {"u8", "b1"} and bytes_alone.tried is None
    assert "'sum1': a sum of bytes, " in str(bytes_alone)
    assert np.mean([s.snr for s in found.shortcuts]) > np.mean([s.snr for s in bytes_alone.shortcuts]) + 3


@pytest.mark.drawn
@pytest.mark.parametrize("seed", seeds(4))
def test_shortcuts_of_fewer_pixels(seed: int) -> None:
    """A mean of pixels, which halves the image, and two of it side by side are of the stream, with its scale."""
    print("seed", seed)
    rng = np.random.default_rng(seed)
    drawn = Residual(rng)
    image, (*_, x) = drawn.residual(1)
    less = make("avg_pool", x, attrs=PoolAttrs((2, 2), (2, 2)), name="mean")
    twice = make("concat", less, less, name="twice")
    w = constant(rng.choice([-1.0, 1.0], (24, 3, 3, 12)))
    y = make("conv2d", sign(x, "half"), w, attrs=ConvAttrs((2, 2), pads=(0, 0, 1, 1)), name="halved")
    y = make("add", drawn.positive(y, "halved"), twice, name="sum")
    model, images = compiled([image], sign(y, "bits"), drawn.block(y, 1)), images_for(rng)
    names = [shortcut.layer for shortcut in bnn.calibrate(model, images, integer_only=True, int16=()).shortcuts]
    found = bnn.calibrate(model, images, integer_only=True, int16=names)
    print(found)
    made = {(op.op, found.model.tensors[op.output].dtype) for op in found.model.ops}
    assert {("avg_pool", "i16"), ("concat", "i16"), ("max_pool", "i16")} <= made and ("avg_pool", "u8") not in made
    assert len({shortcut.scale for shortcut in found.shortcuts}) == 1 and len(names) == 3
    check_families(found.model, images[:6])


@pytest.mark.drawn
@pytest.mark.parametrize("seed", seeds(8))
def test_not_chosen_where_bytes_are_as_near(seed: int) -> None:
    """Shortcuts around layers of int8, whose own bytes are as coarse; unless they are named."""
    print("seed", seed)
    rng = np.random.default_rng(seed)
    drawn, image = Drawn(rng), input_node("x", (12, 12, 3), DType.u8)
    x = drawn.conv_like(drawn.filters(make("cast", image), 12, (3, 3), pads=SAME))
    for number in range(2):
        x = make("add", x, drawn.clamp(drawn.conv_like(x)), name=f"sum{number}")
    model, images = compiled([image], drawn.conv_like(x)), images_for(rng)
    found = bnn.calibrate(model, images, integer_only=True)
    print(found)
    assert found.tried is not None and "shortcuts are bytes: the outputs have" in str(found)
    assert dtypes(found.model) == {"u8"} and all(shortcut.scale is None for shortcut in found.shortcuts)
    assert found.model.to_bytes() == bnn.calibrate(model, images, integer_only=True, int16=()).model.to_bytes()
    named = bnn.calibrate(model, images, integer_only=True, int16=["sum1"])
    assert [shortcut.scale is None for shortcut in named.shortcuts] == [True, False] and "i16" in dtypes(named.model)
    check_families(named.model, images[:6])


@pytest.mark.drawn
@pytest.mark.parametrize("seed", seeds(20))
def test_random_networks(seed: int) -> None:
    """All of whose sums are int16."""
    print("seed", seed)
    rng = np.random.default_rng(seed)
    inputs, y = Drawn(rng).network()
    model, images = compiled(inputs, y), drawn_images(rng, inputs[0], 40)
    sums = [shortcut.layer for shortcut in bnn.calibrate(model, images, integer_only=True, int16=()).shortcuts]
    check(model, images, int16=sums)


def test_streams_are_exact(rng: Rng) -> None:
    """Signs of the stem's batch norm are those of floats; behind them, as many as rounding to 16 bits leaves.  One
    scale for all that is added: the sums are as near as one rounding of each operand."""
    drawn = Residual(rng)
    drawn.strength = 1 / 16
    image, values = drawn.residual(2)
    bits = [sign(x, f"bits{i}") for i, x in enumerate(values)]
    images = images_for(rng, 100)
    model = compiled([image], *bits, *values[1:])
    found = bnn.calibrate(model, images, integer_only=True, int16=["y3", "y4"])
    check_families(found.model, images[:6])
    turned = [(ours != floats).mean() for ours, floats in zip(found.model(images)[:3], model(images)[:3], strict=True)]
    assert turned[0] == 0 and turned[1] < 5e-4, turned
    (scale,) = {shortcut.scale for shortcut in found.shortcuts}
    assert scale is not None and np.log2(scale) % 1 == 0


def test_thresholds_of_all_kinds(rng: Rng) -> None:
    """Rising, falling, and beyond all numbers."""
    image = input_node("x", (6, 6, 4), DType.u8)
    weights = constant(rng.choice([-1.0, 1.0], (2, 8, 3, 3, 4))[0])
    x = make("conv2d", make("cast", image), weights, attrs=ConvAttrs(pads=SAME), name="sums")
    y = make("conv2d", make("cast", image), constant(-weights.value[::-1]), attrs=ConvAttrs(pads=SAME), name="others")
    total = make("add", x, y, name="sum")
    factor = constant([1.0, -1.0, 0.5, -2.0, 1.0, -1.0, 1.0, -1.0])
    term = constant([2.0, 2.0, -20.0, 40.0, 1e6, 1e6, -1e6, -1e6])  # sums are even
    bits = sign(make("add", make("mul", total, factor), term))
    images = rng.integers(0, 4, (40, 6, 6, 4), np.uint8)
    model = compiled([image], bits, total)
    made = bnn.calibrate(model, images, integer_only=True, int16=["y1"]).model
    assert "binarize16" in [op.op for op in made.ops]
    np.testing.assert_array_equal(made(images)[0], model(images)[0])  # of whole numbers: exact
    check_families(made, images[:6])


def test_what_bytes_add(rng: Rng) -> None:
    """A function, its max-pool, and a batch norm that falls are bytes first; a clamp behind the sum is none of theirs.
    The large term of a dead filter has its place among the others."""
    drawn, image = Residual(rng), input_node("x", (12, 12, 3), DType.u8)
    stem = drawn.signs(make("cast", image), 8, "stem")
    falling = constant(np.linspace(-1, 1, 8) / 300)
    norm = make(
        "add", make("mul", make("max_pool", stem, attrs=PoolAttrs((3, 3), (1, 1), SAME)), falling), constant([0.1])
    )
    bits = drawn.signs(sign(stem, "sign"), 8, "bits")
    scale = constant(np.r_[0.0, rng.uniform(0.02, 0.1, 7)])
    layer = make("add", make("mul", bits, scale), constant(np.r_[2.0, np.zeros(7)]))
    curve = make("tanh", norm)
    first = make("add", make("max_pool", curve, attrs=PoolAttrs((3, 3), (1, 1), SAME)), layer)
    y = make("clamp", make("add", curve, make("add", first, norm, name="second")), attrs=ClampAttrs(0.25, 2.5))
    images = images_for(rng)
    model = compiled([image], y, drawn.conv_like(first))
    names = [shortcut.layer for shortcut in bnn.calibrate(model, images, integer_only=True, int16=()).shortcuts]
    found = bnn.calibrate(model, images, integer_only=True, int16=names)
    check_families(found.model, images[:6])
    made = {op.layer: found.model.tensors[op.output].dtype for op in found.model.ops if op.op.endswith("conv2d")}
    assert len(names) == 3 and made["stem"] == "u8" and made["bits"] == "i16"
    assert min(shortcut.snr for shortcut in found.shortcuts) > 30, found
    bias, number, shift = bits_numbers(np.zeros(1), np.full(1, 2e4), 2**15, 1.0, DType.i16)
    assert (bias * number * 2.0 ** (shift - 31)).round() == 2e4


def test_sums_that_have_no_place_in_32_bits(rng: Rng) -> None:
    """Of images far beyond those of the calibration: then all are bytes, unless they are asked for."""
    image = input_node("x", (4, 4, 64), DType.u8)
    drawn = Residual(rng)
    model = compiled([image], make("add", *(drawn.signs(make("cast", image), 4, name) for name in "ab")))
    images = np.zeros((2, 4, 4, 64), np.uint8)
    images[0, 0, 0, 0] = 1
    found = bnn.calibrate(model, images, integer_only=True)
    assert found.tried is None and dtypes(found.model) == {"u8"}
    with pytest.raises(bnn.UnsupportedOpError, match="32 bits do not hold its sums in steps of int16"):
        bnn.calibrate(model, images, integer_only=True, int16=["y0"])


def test_networks_without_shortcuts_stay_what_they_were(rng: Rng) -> None:
    images = rng.random((60, 8, 8, 1), np.float32)
    found = bnn.calibrate(DIGITS, images, integer_only=True)
    assert found.tried is None and found.shortcuts == () and "shortcut" not in str(found)
    assert found.model.to_bytes() == bnn.calibrate(DIGITS, images, integer_only=True, int16=()).model.to_bytes()


def test_what_is_wrong_is_said(rng: Rng, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, images = Residual(rng).classified(2), images_for(rng, 8)
    cases: list[tuple[dict[str, Any], str]] = [
        (
            {"integer_only": True, "int16": ["stem"]},
            "int16: found 'stem', expected layers that add two values: last, sum0",
        ),
        ({"integer_only": True, "int16": "sum0"}, "int16: found 'sum0', expected a list of layers' names"),
        ({"int16": ["sum0"]}, "int16: needs integer_only; without it, sums of two values stay float"),
    ]
    for options, said in cases:
        with pytest.raises(bnn.InputError, match=said):
            bnn.calibrate(model, images, **options)
    net, arrays, out = (str(tmp_path / name) for name in ("net.bnn", "x.npy", "out.bnn"))
    model.save(net)
    np.save(arrays, images)
    command = ["calibrate", net, arrays, "-o", out, "--integer-only"]
    assert main([*command, "--int16", "sum0", "--no-int16"]) == 2
    assert "--int16 and --no-int16 contradict each other" in capsys.readouterr().err
    for more, int16 in ((["--no-int16"], []), (["--int16", "last"], ["last"]), ([], None)):
        assert main([*command, "--json", *more]) == 0
        found = bnn.calibrate(model, images, integer_only=True, int16=int16)
        record = json.loads(capsys.readouterr().out)
        assert Path(out).read_bytes() == found.model.to_bytes()
        assert [part["scale"] for part in record["shortcuts"]] == [part.scale for part in found.shortcuts]
        assert record["tried"] == (None if found.tried is None else list(found.tried))


def test_spikes(rng: Rng) -> None:
    """The event engine gives the int16 sums of binary layers at the end.  A stream between layers cannot be spikes."""
    drawn = Residual(rng)
    image = input_node("x", (12, 12, 3), DType.u8)
    bits = sign(drawn.signs(make("cast", image), 8, "stem"), "bits")
    both = make("add", *(drawn.positive(drawn.signs(bits, 8, name), name) for name in "ab"), name="sum")
    images = images_for(rng, 30)
    model = bnn.calibrate(compiled([image], both), images, integer_only=True, int16=["y0"]).model
    assert "i16" in dtypes(model)
    engine = EventEngine(model)
    for x in images[:4]:
        np.testing.assert_array_equal(engine.step(x[None]), model(x[None])[0])
    stream = bnn.calibrate(drawn.classified(2), images, integer_only=True, int16=["sum0", "last"]).model
    with pytest.raises(bnn.UnsupportedOpError, match="shortcut of real values between binary layers is not a spike"):
        EventEngine(stream)


def test_verify_knows_int16_from_a_mistake(rng: Rng) -> None:
    """Against ONNX Runtime: a layer of bits behind a sum of int16 is compared exactly, as behind bytes."""
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    weights = {"a": rng.normal(size=(8, 3, 3, 3)) / 5, "c": rng.choice([-1.0, 1.0], (8, 8, 3, 3))}
    weights |= {"d": rng.choice([-1.0, 1.0], (8, 8, 3, 3)), "t": rng.normal(size=(8, 1, 1)) / 5}
    weights["f"] = rng.uniform(0.05, 0.1, (8, 1, 1)) * np.array([-1, 1] * 4)[:, None, None]
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["1"], name="first"),
        helper.make_node("Sign", ["1"], ["2"], name="sign"),
        helper.make_node("Conv", ["2", "c"], ["3"], name="binary", pads=[1] * 4),
        helper.make_node("Mul", ["3", "f"], ["4"], name="factors"),
        helper.make_node("Add", ["4", "t"], ["5"], name="terms"),
        helper.make_node("Add", ["5", "1"], ["6"], name="sum"),
        helper.make_node("Sign", ["6"], ["7"], name="next"),
        helper.make_node("Conv", ["7", "d"], ["y"], name="last"),
    ]
    ends = [helper.make_tensor_value_info(n, 1, ["N", *s]) for n, s in (("x", (3, 9, 9)), ("y", (8, 5, 5)))]

    def source(factor: float) -> Any:
        more = {**weights, "d": factor * weights["d"]}
        arrays = [onnx.numpy_helper.from_array(w.astype(np.float32), name) for name, w in more.items()]
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], arrays)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

    images = rng.normal(size=(20, 3, 9, 9)).astype(np.float32)
    floats = bnn.compile(source(1), zero=1)
    sums = [shortcut.layer for shortcut in bnn.calibrate(floats, images, integer_only=True, int16=()).shortcuts]
    model = bnn.calibrate(floats, images, integer_only=True, int16=sums).model
    assert "add16" in [op.op for op in model.ops]
    report = bnn.verify(source(1), model, images, zero=1)
    assert report.ok, str(report)
    assert not bnn.verify(source(-1), model, images, zero=1).ok
