# SPDX-License-Identifier: Apache-2.0
"""Neurons of several levels: one for each activation; at rest its level is that of ``model(x)``, whatever the order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import bnn
import graphs
from bnn.events import EventEngine
from bnn.file.write import encode
from bnn.ir import interpret, ops
from bnn.ir.graph import DType, Graph
from bnn.ir.levels import numbered
from bnn.passes import lower
from seed import some

from . import handmade
from .spiking import mismatches, planned, random_images

Rng = np.random.Generator

LEVELS = (2, 3, 4, 16, 17, 64, 255, 256)
ROUNDED = {f"{rounding} {count}": count for count in LEVELS for rounding in ("round", "floor")}
SPIKING = ("encoder", "synapses", "counter")


def compiled(graph: Graph) -> bnn.Model:
    return bnn.Model.from_bytes(encode(lower(graph)))


def activations(graph: Graph) -> int:
    """Elements of all quantizers' results."""
    ends = [n for n in graph.nodes() if n.op in ("round", "sign")]
    names = {n.name: n for n in ends}  # of the ops of one quantizer, the last
    return sum(int(np.prod(n.type.shape)) for n in names.values())


@pytest.mark.drawn
@pytest.mark.parametrize(
    ("quantizer", "kernel"), some([*itertools.product([*ROUNDED, *graphs.QUANTIZERS], graphs.KERNELS)])
)
def test_one_neuron_for_each_activation(rng: Rng, quantizer: str, kernel: str) -> None:
    """Frames, and an image pixel by pixel: outputs and every neuron are those of the synchronous run."""
    graph = graphs.levels_graph(rng, quantizer, kernel)
    model = compiled(graph)
    engine = EventEngine(model)
    frames = random_images(rng, model, 3)
    for frame in frames[:2]:
        assert np.array_equal(engine.step(frame[None]), model(frame[None])[0])
        assert mismatches(engine, frame) == {}
    run = engine.run_image(frames[2], order="random", seed=int(rng.integers(2**32)))
    assert np.array_equal(run.outputs[-1], model(frames[2:])[0])
    assert mismatches(engine, frames[2]) == {}
    assert not run.report.notes
    if ROUNDED.get(quantizer, 0) > 2 or quantizer == "tern":
        neurons = [layer.neurons for layer in engine.layers if layer.kind in SPIKING]
        assert sum(neurons) == activations(graph)
        assert sum(layer.neurons for layer in engine.layers if layer.kind != "readout") == sum(neurons)
        assert {layer.levels for layer in engine.layers if layer.kind in SPIKING} == {ROUNDED.get(quantizer, 3)}
    # What a synchronous run takes is the compiled network's, not the larger one's.
    plain = sum(op.binary_macs for op in model.ops)
    assert sum(x.dense for x in engine.layers if x.kind in ("synapses", "sums", "readout")) == plain
    assert sum(x.dense for x in engine.layers if x.kind == "encoder") == sum(op.float_macs for op in model.ops)


def test_every_step_is_a_spike(rng: Rng) -> None:
    """The spikes of a trace add up to the level, which never leaves its range; a step is counted where it arrives."""
    model = compiled(graphs.levels_graph(rng, "round 17", "signs"))
    engine = EventEngine(model)
    engine.reset()
    first = {
        layer.tensor: engine.levels(layer).reshape(-1).astype(int) for layer in engine.layers if layer.kind in SPIKING
    }
    image = random_images(rng, model, 1)[0]
    run = engine.run_image(image, order="random", trace=True)
    assert run.spikes is not None and set(run.spikes["sign"].tolist()) == {-1, 1}
    for layer in (x for x in engine.layers if x.kind in SPIKING):
        own = run.spikes[run.spikes["tensor"] == layer.tensor]
        assert len(own) == layer.spikes == layer.spikes_up + layer.spikes_down
        total = np.zeros(layer.neurons, int)
        np.add.at(total, own["neuron"], own["sign"])
        assert np.array_equal(first[layer.tensor] + total, engine.levels(layer).reshape(-1))
        for neuron in np.unique(own["neuron"])[:20]:
            levels_then = first[layer.tensor][neuron] + np.cumsum(own["sign"][own["neuron"] == neuron])
            assert levels_then.min() >= 0 and levels_then.max() <= 16
    sums = [layer for layer in engine.layers if layer.kind in ("sums", "readout")]
    sent = [layer for layer in engine.layers if layer.kind in SPIKING]
    for target, source in zip(sums, sent, strict=True):
        assert 0 < target.events <= source.spikes and (source.spikes - target.events) % 2 == 0  # pairs that cancelled
        assert target.neurons == (5 if target.kind == "readout" else 0)


@pytest.mark.parametrize(
    ("quantizer", "kernel"),
    [
        *itertools.product(["round 3", "round 17", "round 256"], graphs.KERNELS),
        *((q, "signs") for q in graphs.QUANTIZERS),
    ],
)
def test_switching(rng: Rng, quantizer: str, kernel: str) -> None:
    """Layers that run by kernels, those that do not, and back again."""
    switched: set[str] = set()
    for _ in range(20):  # in some networks no bit ever changes
        model = compiled(graphs.levels_graph(rng, quantizer, kernel))
        for family in bnn.runtime.available_kernels()[: None if quantizer == "round 17" else 1]:
            engine = EventEngine(bnn.Model.from_bytes(model.to_bytes(), kernels=family))
            frames = random_images(rng, model, 6)
            engine.reset(frames[:1])
            assert engine.prepare(frames) == "incremental"
            for frame in frames:
                for k, layer in enumerate(engine.layers):
                    if layer.kind in ("encoder", "synapses", "sums", "readout"):
                        engine.handle.set_limit(k, int(rng.choice([0, 10**6])))
                few = np.where(rng.random(frame.shape) < 0.05, frame, frames[0])
                for x in (frame, few):
                    assert np.array_equal(engine.step(x[None]), model(x[None])[0])
                    assert mismatches(engine, x) == {}
            switched |= {layer.kind for layer in engine.layers if layer.synchronous}
        if "encoder" in switched and switched & {"synapses", "sums"}:
            break
    assert "encoder" in switched and switched & {"synapses", "sums"}
    assert EventEngine(model, switch="auto").run_stream(random_images(rng, model, 6)).wrong == 0


def test_quantizers_right_on_the_input(rng: Rng) -> None:
    """A pixel is a counter; the encoder follows each."""
    x = ops.input_node("image", (3, 4, 5))
    last = handmade.read(rng, ops.make("binarize_levels", x, ops.constant(np.linspace(-1, 1, 40))), 3, 40)
    model = bnn.Model.from_bytes(encode(planned(x, last)))
    engine = EventEngine(model)
    image = random_images(rng, model, 1)[0]
    run = engine.run_image(image, order="random")
    assert run.report.encoder == "incremental" and np.array_equal(engine.output(), model(image[None])[0])
    assert engine.layers[0].events == np.count_nonzero(image) and mismatches(engine, image) == {}


@pytest.mark.parametrize("name", ["3 steps", "255 steps", "counters side by side", "sums of sums", "numbers of bits"])
def test_files_that_no_compiler_writes(rng: Rng, name: str) -> None:
    """Every neuron, not only outputs; with the layers' own kernels now and then."""
    graph = handmade.accepted(rng)[name]
    model = bnn.Model.from_bytes(encode(graph))
    engine = EventEngine(model)
    for number in range(6):
        inputs = [(rng.integers(-16, 17, n.type.shape) / 4).astype(np.float32) for n in graph.inputs]
        for k, layer in enumerate(engine.layers):
            if layer.kind in ("sums", "readout"):
                engine.handle.set_limit(k, number % 2 * 10**6)
        engine.step([x[None] for x in inputs])
        assert mismatches(engine, *inputs) == {}


def test_counted_bits_as_numbers(rng: Rng) -> None:
    """The same sums, with every padding, parts of weights, thresholds and epilogues; what moves bits keeps them."""
    for _ in range(15):
        planes, parts = int(rng.integers(2, 6)), int(rng.integers(1, 3))
        x = ops.input_node("image", (4, 5, int(rng.integers(1, 40))))
        channels = x.type.shape[-1]
        never = ops.constant(np.full(channels, -1), DType.b1)
        limits = np.sort(rng.integers(-8, 9, planes) / 4)
        bits = [ops.make("binarize", x, ops.constant(np.full(channels, t)), never) for t in limits]
        data = ops.make("concat", *bits)
        data = data if parts == 1 else ops.make("concat", *[data] * parts)
        w = np.repeat(rng.choice([-1, 1], (7, 2, 3, parts, 1, channels)), planes, axis=4).reshape(7, 2, 3, -1)
        a = ops.ConvAttrs(pads=(1, 0, 2, 1), pad_value=int(rng.integers(-1, 2)), stride=(1, 2))
        y = ops.make("bconv2d", data, ops.constant(w, DType.b1), attrs=a, name="conv")
        if rng.random() < 0.5:
            slots = ops.ConvAttrs(a.stride, a.dilation, a.pads, a.pad_value, slots=("threshold",), out=DType.b1)
            y = ops.make("bconv2d", *y.inputs, ops.constant(rng.integers(-9, 9, 7), DType.i32), attrs=slots)
            y = ops.make("unpack", y)
        graph = Graph((x,), (y, ops.make("unpack", bits[0])))
        image = [(rng.integers(-16, 17, (3, *x.type.shape)) / 4).astype(np.float32)]
        made, moved = numbered(graph)
        assert made is not graph and any(n.op == "binarize_levels" for n in made.nodes()) and moved[y] in made.outputs
        for old, new in zip(interpret.outputs(graph, image), interpret.outputs(made, image), strict=True):
            assert np.array_equal(old, new)
        pooled = ops.make("max_pool", data, attrs=ops.PoolAttrs((1, 1), (1, 1)))
        other = ops.make("bconv2d", pooled, *y.inputs[1:2]) if y.op == "bconv2d" else ops.make("unpack", pooled)
        graph = Graph((x,), (other,))
        assert numbered(graph)[0] is graph


def test_weights_that_differ_by_plane_read_bits(rng: Rng) -> None:
    x = ops.input_node("image", (3, 3, 4))
    never = ops.constant(np.full(4, -1), DType.b1)
    bits = [ops.make("binarize", x, ops.constant(np.full(4, t)), never) for t in (-0.5, 0.5)]
    for data in (ops.make("concat", *bits), ops.make("concat", *reversed(bits)), ops.make("concat", bits[0], bits[0])):
        graph = Graph((x,), (handmade.conv(rng, data, 30),))
        assert numbered(graph)[0] is graph


def test_refused_by_name(rng: Rng) -> None:
    """Levels that are not evenly spaced are read by floats; the error says so."""
    x = ops.input_node("image", (4, 4, 3))
    weights = [ops.constant(rng.choice([-1.0, 1.0], (4, 1, 1, n))) for n in (3, 4, 4)]
    y = ops.make("conv2d", x, weights[0], name="first")
    for k in (1, 2):
        data = graphs.quantized(y, "round 4", f"levels_{k}")
        data = ops.make("mul", data, data, name=f"square_{k}")
        y = ops.make("conv2d", data, weights[k], name=f"conv_{k}")
    model = compiled(Graph((x,), (y,)))
    with pytest.raises(bnn.UnsupportedOpError, match=r"layer 'levels_2'.*layer of floats.*not evenly spaced.*'conv_1'"):
        EventEngine(model)
