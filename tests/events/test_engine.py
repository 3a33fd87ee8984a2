# SPDX-License-Identifier: Apache-2.0
"""The engine against the synchronous one: every layer, every bit, in whatever order and parts inputs arrive."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bnn
import graphs
from bnn.events import EventEngine
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import DType, Graph
from bnn.passes import PIPELINE, lower
from conftest import Builder
from events.spiking import mismatches, planned, random_images, random_model
from op_graphs import BYTE_OPS, signs

GRAPHS = 6


@pytest.mark.parametrize("binary_input", [False, True])
def test_frames_parts_and_pixels_in_any_order(rng: np.random.Generator, binary_input: bool) -> None:
    """Whole frames, then in random parts, then pixel by pixel in a random order."""
    for _ in range(3 * GRAPHS):
        model = random_model(rng, binary_input)
        engine = EventEngine(model)
        images = random_images(rng, model, 3)
        for image in images[:2]:
            engine.step(image[None])
            assert mismatches(engine, image) == {}
        part, now = rng.integers(0, 5, images[2].shape), images[1].copy()
        for k in range(5):
            now[part == k] = images[2][part == k]
            engine.step(now[None])
        assert mismatches(engine, images[2]) == {}
        run = engine.run_image(images[2], order="random", seed=int(rng.integers(2**32)))
        assert run.report.encoder == "incremental"
        assert mismatches(engine, images[2]) == {}
        assert np.array_equal(run.outputs[-1], model(images[2:])[0].reshape(-1, run.outputs.shape[1])[0])


def bytes_model(rng: np.random.Generator) -> bnn.Model:
    """A convolution of bytes to bits, and sums."""
    image = ops.input_node("image", (9, 11, 2), DType.u8)
    while (bits := BYTE_OPS["iconv2d"](rng, image)).type.dtype is not DType.b1:
        pass
    return bnn.Model.from_bytes(
        encode(planned(image, ops.make("bconv2d", bits, signs(rng, (3, 1, 1, bits.type.shape[-1])))))
    )


def encoder_model(rng: np.random.Generator, levels: int, kind: str) -> bnn.Model:
    """A convolution of floats of any geometry, its quantizer (``levels``: 2 for a sign), and sums."""
    h, w, c, filters = (int(n) for n in rng.integers((8, 8, 1, 1), (16, 16, 4, 40)))
    kh, kw, *pads = (int(n) for n in rng.integers((1, 1, 0, 0, 0, 0), (5, 5, 3, 3, 6, 6)))
    stride, dilation = (tuple(int(n) for n in rng.integers(1, 3, 2)) for _ in range(2))
    image = scaled = ops.input_node("image", (h, w, c), DType.u8 if kind == "bytes" else DType.f32)
    if kind == "normalized":
        for op in ("sub", "mul", "add"):
            scaled = ops.make(op, scaled, ops.constant(rng.uniform(0.5, 1.5, c).astype(np.float32)), name="n")
    elif kind != "floats":  # as Keras' Rescaling
        scaled = ops.make("cast", image, name="r") if kind == "bytes" else image
        scaled = ops.make("sub", ops.make("div", scaled, ops.constant(127.5), name="r"), ops.constant(1.0), name="r")
    attrs = ops.ConvAttrs(stride=stride, pads=tuple(pads), dilation=dilation)
    weights = ops.constant(rng.normal(size=(filters, kh, kw, c)).astype(np.float32))
    value = ops.make("conv2d", scaled, weights, attrs=attrs, name="conv")
    value = ops.make("add", value, ops.constant(rng.normal(size=filters).astype(np.float32)), name="norm")
    if levels == 2:
        bits = Builder().sign(value, "sign")
    else:
        most = ops.constant(float(levels - 1))
        clipped = ops.make("mul", ops.make("clamp", value, attrs=ops.ClampAttrs(0.0, 1.0), name="q"), most, name="q")
        bits = ops.make("div", ops.make("round", clipped, name="q"), most, name="q")
    flat = ops.make("reshape", bits, attrs=ops.ReshapeAttrs((int(np.prod(bits.type.shape)),)), name="flat")
    signs = ops.constant(rng.choice([-1.0, 1.0], (3, 1, 1, *flat.type.shape)).astype(np.float32))
    sums = ops.make("conv2d", flat, signs, attrs=ops.ConvAttrs(), name="sums")
    return bnn.Model.from_bytes(encode(lower(Graph((image,), (sums,)))))


@pytest.mark.parametrize("levels", [2, 2, 3, 4])
def test_an_encoder_runs_where_inputs_changed(rng: np.random.Generator, levels: int) -> None:
    """Sums of such floats round, so nothing is added to them: bits and levels are those of a whole run."""
    done = whole = 0
    for k in range(9):
        kind = ("floats", "scaled", "bytes", "normalized")[k % 4]
        model = encoder_model(rng, levels, kind) if k else bytes_model(rng)
        engine = EventEngine(model, encoder="synchronous")
        image = rng.integers(0, 256, model.input_shapes[0]).astype(model.input_dtypes[0])
        engine.reset(image[None])
        for change in (1, 1, 1, 1, 2, 0, 1, 5):
            flat = image.reshape(-1)
            first = int(rng.integers(flat.size)) if change == 2 else 0
            at = (first + rng.choice(min(flat.size - first, 6), 2)) if change == 2 else rng.choice(flat.size, change)
            flat[at] = rng.integers(0, 256, len(at)) / (1 if image.dtype == np.uint8 else 3)
            assert np.array_equal(engine.step(image[None]), model(image[None])[0])
            assert mismatches(engine, image) == {}
        encoder = engine.layers[0]
        done, whole = done + encoder.synops, whole + encoder.dense * encoder.synchronous
    assert 0 < done < whole or levels > 2  # a quantizer after a reshape of sums runs as a whole


@pytest.mark.parametrize("binary_input", [False, True])
def test_random_models_have_layers_of_every_kind(rng: np.random.Generator, binary_input: bool) -> None:
    """Else the tests with them prove little."""
    missing = {"encoder", "synapses", "pool", "relay", "readout"}
    for _ in range(100):
        missing -= {layer.kind for layer in EventEngine(random_model(rng, binary_input)).layers}
        if not missing:
            return
    raise AssertionError(missing)


def test_every_kernel_family(rng: np.random.Generator) -> None:
    """The inner loops of every instruction set do the same."""
    for _ in range(3):
        data = random_model(rng).to_bytes()
        images, traces = None, []
        for family in bnn.runtime.available_kernels():
            model = bnn.Model.from_bytes(data, kernels=family)
            images = random_images(rng, model, 1) if images is None else images
            run = EventEngine(model).run_image(images[0], trace=True)
            traces.append(run.spikes)
        assert all(np.array_equal(trace, traces[0]) for trace in traces)


@pytest.mark.parametrize("channels", [2048, 2049, 2080, 2100])
def test_pixels_of_many_words(rng: np.random.Generator, channels: int) -> None:
    """They are looked at 64 words at a time; what stands behind a pixel's last channel are other pixels' membranes."""
    image = ops.input_node("image", (2, 2, 33))
    filters = ops.constant(rng.choice([-1, 1], (channels, 1, 1, 33)), DType.b1)
    limits = ops.constant(rng.integers(-3, 4, channels), DType.i32)
    attrs = ops.ConvAttrs(slots=("threshold",), out=DType.b1)
    hidden = ops.make("bconv2d", ops.make("binarize", image), filters, limits, attrs=attrs)
    readout = ops.constant(rng.choice([-1, 1], (5, 2, 2, channels)), DType.b1)
    graph = planned(image, ops.make("bconv2d", hidden, readout, attrs=ops.ConvAttrs()))
    for family in bnn.runtime.available_kernels():
        model = bnn.Model.from_bytes(encode(graph), kernels=family)
        engine = EventEngine(model)
        tensor, up, down = engine.layers[1].tensor, 0, 0
        for frame in random_images(rng, model, 3):
            before = engine.state(tensor)
            assert np.array_equal(engine.step(frame[None]), model(frame[None])[0])
            assert mismatches(engine, frame) == {}
            after = engine.state(tensor)
            up, down = up + np.count_nonzero(after > before), down + np.count_nonzero(after < before)
        assert (engine.layers[1].spikes_up, engine.layers[1].spikes_down) == (up, down)


def wires(rng: np.random.Generator) -> bnn.Model:
    """A BINARY graph of every op that only moves bits, between a binarize with thresholds and a readout."""
    x = ops.input_node("image", (4, 5, 6))
    thresholds, flips = ops.constant(rng.integers(-8, 9, 6) / 16), ops.constant(rng.choice([-1, 1], 6), DType.b1)
    bits = ops.make("binarize", x, thresholds, flips, name="encoder")
    more = ops.make("slice", bits, attrs=ops.SliceAttrs(2, 5), name="slice")
    more = ops.make("pad", more, attrs=ops.PadAttrs((1, 0, 2, 3), rng.choice([-1.0, 1.0])), name="pad")
    joined = ops.make("concat", more, more, name="concat")
    tall = ops.make("reshape", joined, attrs=ops.ReshapeAttrs((8, 7, joined.type.shape[2])), name="reshape")
    filters = ops.constant(rng.choice([-1, 1], (5, 3, 3, tall.type.shape[2])), DType.b1)
    limits = ops.constant(rng.integers(-9, 10, 5), DType.i32)
    attrs = ops.ConvAttrs(slots=("threshold",), out=DType.b1)
    hidden = ops.make("bconv2d", tall, filters, limits, attrs=attrs, name="hidden")
    out = ops.make("unpack", hidden, name="unpack")
    graph = Graph((x,), (out, ops.make("unpack", tall, name="wires")), ("hidden", "wires"))
    for function, _ in PIPELINE[-3:]:
        graph = function(graph)
    return bnn.Model.from_bytes(encode(graph))


def test_wires(rng: np.random.Generator) -> None:
    for _ in range(12):
        model = wires(rng)
        engine = EventEngine(model)
        for image in random_images(rng, model, 3):
            engine.step(image[None])
            assert mismatches(engine, image) == {}
            for k, want in enumerate(model(image[None])):
                assert np.array_equal(engine.output(k), want[0])
        image = random_images(rng, model, 1)[0]
        assert engine.run_image(image).report.encoder == "incremental"
        assert mismatches(engine, image) == {}


@pytest.mark.parametrize("limit", [0, 5])
def test_switching_to_the_synchronous_kernel(rng: np.random.Generator, limit: int) -> None:
    """Layers that switch and layers that do not give the same, frame after frame."""
    switched: dict[str, int] = {}
    for _ in range(6):
        model = random_model(rng)
        engine = EventEngine(model)
        for k, layer in enumerate(engine.layers):
            if layer.kind in ("synapses", "encoder"):
                engine.handle.set_limit(k, limit)
        frames = random_images(rng, model, 6)
        engine.reset(frames[:1])
        assert engine.prepare(frames) == "incremental"
        for k in range(1, 6):  # from one to the next few pixels change
            keep = rng.random(frames[k].shape) < 0.9
            frames[k][keep] = frames[k - 1][keep]
        for frame in frames:
            engine.step(frame[None])
            assert mismatches(engine, frame) == {}
        for layer in engine.layers:
            switched[layer.kind] = switched.get(layer.kind, 0) + layer.synchronous
    assert switched["synapses"] > 0 and switched["encoder"] > 0


def test_back_from_the_synchronous_kernel(rng: np.random.Generator) -> None:
    """Membranes that a synchronous run left as they were are made right again: by few spikes, by a pixel."""
    switched = returned = 0
    for _ in range(6):
        model = random_model(rng)
        engine = EventEngine(model)
        frames = random_images(rng, model, 12)
        engine.reset(frames[:1])
        assert engine.prepare(frames) == "incremental"
        for frame in frames:
            chance = rng.choice([0.0, 0.5])  # of each layer to run synchronously
            for k, layer in enumerate(engine.layers):
                if layer.kind in ("synapses", "encoder"):
                    engine.handle.set_limit(k, 0 if rng.random() < chance else 10**6)
            before = sum(layer.synchronous for layer in engine.layers)
            now = engine.state(next(t.index for t in model.tensors if t.storage == "input"))
            changed = now.copy()
            changed.reshape(-1)[rng.choice(now.size, max(1, now.size // 8), replace=False)] = 0.5
            engine.step((frame if rng.random() < 0.5 else changed)[None])
            now = engine.state(next(t.index for t in model.tensors if t.storage == "input"))
            assert mismatches(engine, now) == {}
            index, value = int(rng.integers(now.size)), float(rng.integers(-16, 17) / 16)
            engine.handle.pixel(index, value)
            now.reshape(-1)[index] = value
            engine.run()
            assert mismatches(engine, now) == {}
            engine.handle.pixel(index, -value)
            now.reshape(-1)[index] = -value
            engine.run()
            assert mismatches(engine, now) == {}
            after = sum(layer.synchronous for layer in engine.layers)
            switched, returned = switched + (after > before), returned + (after == before)
    assert switched > 5 and returned > 5


def test_automatic_switching_says_so(rng: np.random.Generator) -> None:
    model = random_model(rng)
    engine = EventEngine(model, switch="auto")
    assert all((layer.limit is None) == (layer.kind in ("pool", "relay")) for layer in engine.layers)
    for image in random_images(rng, model, 3):
        engine.step(image[None])
        assert mismatches(engine, image) == {}


def test_counts(rng: np.random.Generator, builder: Any) -> None:
    """SynOps are what the spikes of a dense network imply, and in layer order no neuron fires twice."""
    net = builder(int(rng.integers(2**32)))
    x = ops.input_node("image", (40,))
    hidden = net.sign(net.norm(net.dense(net.sign(x, "input"), 70, "hidden"), "norm"), "sign")
    model = bnn.Model.from_bytes(encode(lower(Graph((x,), (net.dense(hidden, 10, "scores"),)))))
    engine = EventEngine(model)
    image = random_images(rng, model, 1)[0]
    run = engine.run_image(image, trace=True)
    encoder, synapses, readout = engine.layers
    assert (encoder.kind, synapses.kind, readout.kind) == ("encoder", "synapses", "readout")
    assert synapses.events == encoder.spikes == np.count_nonzero(image >= 0)
    assert synapses.synops == synapses.events * 70
    assert readout.synops == synapses.spikes * 10
    assert run.spikes is not None and len(run.spikes) == encoder.spikes + synapses.spikes
    engine.reset()
    engine.step(image[None])
    _, synapses, readout = engine.layers
    assert synapses.spikes <= 70 and readout.events == synapses.spikes
    totals = engine.report()
    assert totals.dense == 40 + 40 * 70 + 70 * 10
    assert totals.synops == sum(layer.synops for layer in engine.layers)
    assert "0.9 pJ" in str(totals) and "23.6 pJ" in str(totals)


def test_reset_forgets(rng: np.random.Generator) -> None:
    model = random_model(rng)
    engine = EventEngine(model)
    images = random_images(rng, model, 2)
    fresh = EventEngine(model).run_image(images[0], trace=True)
    engine.run_image(images[1])
    again = engine.run_image(images[0], trace=True)
    assert np.array_equal(fresh.spikes, again.spikes) and np.array_equal(fresh.outputs, again.outputs)


def test_inexact_inputs_run_the_encoder_synchronously(rng: np.random.Generator) -> None:
    """Thirds are no multiples of a power of two: the sums are left to the synchronous kernel, which is said."""
    model = random_model(rng)
    image = random_images(rng, model, 1)[0] / np.float32(3)
    engine = EventEngine(model)
    run = engine.run_image(image)
    assert run.report.encoder == "synchronous" and "power of two" in str(run.report)
    assert np.array_equal(run.outputs[-1], model(image[None])[0].reshape(-1, run.outputs.shape[1])[0])
    with pytest.raises(bnn.InputError, match="power of two.*encoder='synchronous'"):
        EventEngine(model, encoder="incremental").run_image(image)


def test_not_a_number_reaches_the_output(small: Any) -> None:
    model = bnn.Model.from_bytes(small.data)
    x = small.inputs(1)[0]
    x[0, 3, 3, 0] = np.nan
    engine = EventEngine(model)
    assert np.isnan(engine.step(x)).all() and np.isnan(model(x)).all()
    x[0, 3, 3, 0] = 0
    assert np.array_equal(engine.step(x), model(x)[0])


@pytest.mark.parametrize("op", ["bconv2d", "conv2d"])
def test_bits_of_the_smallest_numbers(rng: np.random.Generator, op: str) -> None:
    """Negative denormals are +1, as zeros of either sign are; the normal number next to them is not."""
    image = ops.input_node("image", (3, 3, 4))
    x = ops.make("binarize", image) if op == "bconv2d" else image
    filters = ops.constant(rng.choice([-1, 1], (40, 2, 2, 4)), x.type.dtype)
    tiny = ops.constant(rng.choice([-1, 1], 40) * 2.0 ** rng.integers(-149, -120, 40))
    hidden = ops.make(op, x, filters, tiny, attrs=ops.ConvAttrs(slots=("mul",), out=DType.b1))
    readout = ops.make(
        "bconv2d", hidden, ops.constant(rng.choice([-1, 1], (2, 2, 2, 40)), DType.b1), attrs=ops.ConvAttrs()
    )
    engine = EventEngine(bnn.Model.from_bytes(encode(planned(image, readout))))
    for x in rng.choice(np.float32([-1, 1]), (5, 3, 3, 4)):
        engine.run_image(x, order="random")
        assert mismatches(engine, x) == {}


def test_two_inputs_and_outputs(two_by_two: Any) -> None:
    model = bnn.Model.from_bytes(two_by_two.data)
    engine = EventEngine(model)
    for seed in range(3):
        inputs = two_by_two.inputs(1, seed)
        engine.step(inputs)
        for k, want in enumerate(model(inputs)):
            assert np.array_equal(engine.output(k), want[0])
    with pytest.raises(bnn.InputError, match="2 inputs"):
        engine.run_image(inputs[0])


def test_refuses_real_values_between_bits(rng: np.random.Generator, builder: Any) -> None:
    """A shortcut of real values is no spike; the error names the layer."""
    net = builder(0)
    x = ops.input_node("image", (6, 6, 8))
    signs = rng.choice([-1.0, 1.0], (8, 3, 3, 8))
    attrs = ops.ConvAttrs(pads=(1, 1, 1, 1))
    conv = ops.make("conv2d", net.sign(x, "sign"), ops.constant(signs), attrs=attrs, name="conv_with_shortcut")
    joined = ops.make("add", conv, x, name="shortcut")
    last = ops.make("conv2d", net.sign(joined, "last_sign"), ops.constant(signs), attrs=attrs, name="last")
    model = bnn.Model.from_bytes(encode(lower(Graph((x,), (last,)))))
    with pytest.raises(bnn.UnsupportedOpError, match=r"conv_with_shortcut.*shortcut of real numbers is added"):
        EventEngine(model)


def test_what_no_counter_sees_is_a_neuron_per_threshold(rng: np.random.Generator) -> None:
    """Sums of groups side by side: up to 16 levels; more are refused, and the error names the layer."""
    for count in (8, 16, 17):
        x = ops.input_node("image", (5, 5, 4))
        y = ops.make("conv2d", x, ops.constant(rng.choice([-1.0, 1.0], (6, 1, 1, 4))), name="first")
        for k in (1, 2):
            weights = ops.constant(rng.choice([-1.0, 1.0], (6, 2, 2, 3 * k)))
            data = graphs.quantized(y, f"round {count}", f"levels_{k}")
            y = ops.make("conv2d", data, weights, attrs=ops.ConvAttrs(groups=3 - k), name=f"conv_{k}")
        model = bnn.Model.from_bytes(encode(lower(Graph((x,), (y,)))))
        if count > 16:
            with pytest.raises(bnn.UnsupportedOpError, match=r"layer 'levels_2'.*17 levels.*concat"):
                EventEngine(model)
            continue
        engine = EventEngine(model)
        for frame in random_images(rng, model, 3):
            assert np.array_equal(engine.step(frame[None]), model(frame[None])[0])
            assert mismatches(engine, frame) == {}
        assert "activations of several levels run as several neurons, one per threshold" in engine.report().notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"switch": "maybe"}, "switch: found 'maybe'"),
        ({"encoder": "none"}, "encoder: found 'none'"),
    ],
)
def test_bad_options(small: Any, options: dict[str, str], message: str) -> None:
    with pytest.raises(bnn.InputError, match=message):
        EventEngine(bnn.Model.from_bytes(small.data), **options)  # type: ignore[arg-type]


def test_bad_arguments(small: Any) -> None:
    engine, x = EventEngine(bnn.Model.from_bytes(small.data)), small.inputs(1)[0]
    with pytest.raises(TypeError, match="expected a compiled model"):
        EventEngine("net.bnn")  # type: ignore[arg-type]
    with pytest.raises(bnn.InputError, match="order: found 'spiral'"):
        engine.run_image(x[0], order="spiral")
    with pytest.raises(TypeError, match="float32"):
        engine.run_image(x[0].astype(np.float64))
