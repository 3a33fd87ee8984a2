# SPDX-License-Identifier: Apache-2.0
"""What runs tell: answers over time, right and final, operations and energy, with the encoder apart; bad arguments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.events import EventEngine
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import Graph, Node
from bnn.passes import lower
from bnn.streams import recordings
from bnn.streams.energy import ACCUMULATE, MULTIPLY_ACCUMULATE
from events.spiking import random_images


@pytest.fixture
def model() -> bnn.Model:
    return bnn.load(Path(__file__).parents[2] / "examples/digits.bnn")


def positive(rng: np.random.Generator, model: bnn.Model, count: int) -> Array:
    return np.abs(random_images(rng, model, count))


# -- answers over time ------------------------------------------------------------------------------------------------


def test_a_wrong_answer_is_named(rng: np.random.Generator, model: bnn.Model) -> None:
    image = positive(rng, model, 1)[0]
    engine = EventEngine(model)
    blank = int(engine.run_image(image).answers[0])
    answer = engine.run_image(image).answer
    assert f"answer {answer}; final" in str(engine.run_image(image, label=answer))
    assert f"answer {answer}; right is {(answer + 1) % 10}" in str(engine.run_image(image, label=(answer + 1) % 10))
    assert "first right before any event" in str(engine.run_image(image, label=blank))
    names = [f"class {k}" for k in range(10)]
    assert f"answer “class {answer}”; final" in engine.run_image(image).describe(names)


def test_a_stream_with_a_label(rng: np.random.Generator, model: bnn.Model) -> None:
    video = positive(rng, model, 12)
    answers = model(video).argmax(axis=1)
    label = int(answers[5])
    run = EventEngine(model).run_stream(video, label=label)
    assert np.array_equal(run.answers, answers) and run.answer == answers[-1] and run.moments == 11
    assert run.first_correct == np.flatnonzero(answers == label)[0]
    assert np.all(answers[run.final :] == answers[-1]) and (run.final == 0 or answers[run.final - 1] != answers[-1])
    assert run.up.shape == (11, len(run.report.layers))
    assert run.up.sum(axis=0).tolist() == [layer.spikes_up for layer in run.report.layers]
    assert run.down.sum(axis=0).tolist() == [layer.spikes_down for layer in run.report.layers]
    result = json.loads(json.dumps(run.as_dict()))
    assert result["answers"] == answers.tolist() and np.array_equal(np.float32(result["outputs"]), model(video))
    assert (result["label"], result["first_correct"], result["final"]) == (label, run.first_correct, run.final)


@pytest.mark.parametrize("rule", ["window", "surface"])
def test_a_recording_with_a_label(rng: np.random.Generator, model: bnn.Model, rule: str) -> None:
    """What a window does when it empties is no answer; skipped steps have the output of the step before."""
    t = np.sort(rng.integers(5_000, 30_000, 80))
    events = recordings.from_fields(rng.integers(0, 8, 80), rng.integers(0, 8, 80), rng.integers(0, 2, 80), t)
    engine = EventEngine(model)
    label = int(engine.run_events(events, rule).answers[9])
    run = engine.run_events(events, rule, label=label)
    heard = run.answers[: run.moments + 1]
    assert run.seen[run.moments - 1] == 80 and (run.moments == 1 or run.seen[run.moments - 2] < 80)
    assert (rule == "window") == (run.moments < len(run.times))
    assert run.answer == heard[-1] and run.first_correct == np.flatnonzero(heard == label)[0]
    assert np.all(heard[run.final :] == run.answer) and (run.final == 0 or heard[run.final - 1] != run.answer)
    assert run.up.sum(axis=0).tolist() == [layer.spikes_up for layer in run.report.layers]
    result = json.loads(json.dumps(run.as_dict()))
    assert len(result["outputs"]) == len(result["answers"]) == len(result["times_us"]) == len(run.times) + 1
    assert result["times_us"][0] == t[0] and np.array_equal(np.float32(result["outputs"]), run.outputs)
    assert result["first_correct_us"] == run.first_correct * 1000
    assert "of the time" in str(run) or "before any event" in str(run)


# -- operations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["incremental", "synchronous"])
def test_the_encoder_is_counted_apart(rng: np.random.Generator, model: bnn.Model, encoder: str) -> None:
    """Its multiply-accumulates of floats are no accumulates by spikes, and cost more."""
    run = EventEngine(model, encoder=encoder).run_image(positive(rng, model, 1)[0])
    first, *others = run.report.layers
    assert first.kind == "encoder" and first.multiplies and not any(layer.multiplies for layer in others)
    if encoder == "synchronous":
        assert first.synchronous == run.events and 0 < first.synops < first.dense * run.events / 4
    assert run.report.encoder_synops == first.synops
    assert run.report.synops == first.synops + sum(layer.synops for layer in others)
    events = run.report.energy()[0]
    spikes = sum(layer.synops for layer in others)
    assert events.operations == spikes and events.joules[0] == spikes * ACCUMULATE
    assert np.isclose(events.total[0], spikes * ACCUMULATE + first.synops * MULTIPLY_ACCUMULATE)
    assert run.report.energy()[3].encoder_joules == 0  # chips of neurons run no encoder
    text = str(run.report)
    assert "0.9 pJ is a 32-bit float addition, 4.6 pJ an addition and a multiplication" in text
    assert "without encoder" in text and f"encoder {first.synops:,} x 4.6 pJ" in text


def test_the_encoder_says_how_it_ran(rng: np.random.Generator, model: bnn.Model) -> None:
    video = positive(rng, model, 6)
    engine = EventEngine(model)
    assert engine.run_stream(video).report.encoder == "incremental"
    engine.handle.set_limit(0, 0)
    assert engine.run_stream(video).report.encoder == "incremental, synchronous in 5 of 5"
    run = engine.run_image(video[0])  # pixel by pixel
    engine.step(np.zeros_like(video[:1]))
    assert engine.report().encoder == f"incremental, synchronous in 1 of {run.events + 1}"
    run = engine.run_image(video[0] / np.float32(3))
    assert run.report.encoder == "synchronous"
    encoder = run.report.layers[0]
    assert f"{encoder.synops:,} operations in {run.events} runs: inputs are not multiples" in str(run.report)


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pool", r"'last': its spikes .*average pooling \(layer 'between'\); use max-pooling"),
        ("shortcut", r"'last': its spikes .*a shortcut of real numbers is added \(layer '\w+'\); quantize both"),
        ("prelu", r"an activation of two slopes \(PReLU\) \(layer 'between'\)"),
        ("gate", r"two real numbers are multiplied \(a gate\) \(layer 'between'\); leave the gate out"),
        ("float", r"a layer of floats.* \(layer 'between'\); give it an input and a kernel quantizer"),
    ],
)
def test_each_reason_is_named(rng: np.random.Generator, builder: Any, kind: str, message: str) -> None:
    net = builder(int(rng.integers(2**32)))
    image = ops.input_node("image", (6, 6, 8))

    def conv(x: Node, name: str, real: bool = False) -> Node:
        weights = rng.normal(size=(8, 3, 3, 8)) if real else rng.choice([-1.0, 1.0], (8, 3, 3, 8))
        return ops.make("conv2d", x, ops.constant(weights), attrs=ops.ConvAttrs(pads=(1, 1, 1, 1)), name=name)

    x = net.norm(conv(net.sign(image, "sign"), "first"), "first_norm")
    if kind == "pool":
        x = ops.make("avg_pool", x, attrs=ops.PoolAttrs((2, 2), (2, 2)), name="between")
    elif kind == "prelu":
        x = ops.make("prelu", x, ops.constant(rng.uniform(-1, -0.1, 8)), name="between")
        x = ops.make("sub", x, ops.constant([1.0]), name="between")  # what is large is far from 0 on either side
    elif kind == "float":
        x = conv(x, "between", real=True)
    else:
        aside = net.sign(conv(net.sign(image, "aside_sign"), "aside"), "second_sign")
        other = net.norm(conv(aside, "second"), "second_norm")
        x = ops.make("add" if kind == "shortcut" else "mul", x, other, name="between")
    last = conv(ops.make("sign", x, name="last"), "last")
    compiled = bnn.Model.from_bytes(encode(lower(Graph((image,), (conv(net.sign(last, "end_sign"), "end"),)))))
    with pytest.raises(bnn.UnsupportedOpError, match=message):
        EventEngine(compiled)


@pytest.mark.parametrize("label", [99, -1, 2.5, True, "3"])
def test_bad_labels(rng: np.random.Generator, model: bnn.Model, label: Any) -> None:
    images = positive(rng, model, 2)
    events = recordings.from_fields([1, 2], [1, 2], [0, 1], [0, 5000])
    engine = EventEngine(model)
    for call in (
        lambda: engine.run_image(images[0], label=label),
        lambda: engine.run_stream(images, label=label),
        lambda: engine.run_events(events, label=label),
    ):
        with pytest.raises(bnn.InputError, match=f"label: found '?{label}"):
            call()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_that_are_not_finite(rng: np.random.Generator, model: bnn.Model, value: float) -> None:
    images = positive(rng, model, 2)
    images[1, 2, 3, 0] = value
    with pytest.raises(bnn.InputError, match=rf"x: found {value} at \(2, 3, 0\), expected finite numbers"):
        EventEngine(model).run_image(images[1])
    with pytest.raises(bnn.InputError, match=rf"x: found {value} at \(1, 2, 3, 0\)"):
        EventEngine(model).run_stream(images)


def test_numbers_of_outputs_and_tensors(model: bnn.Model) -> None:
    engine = EventEngine(model)
    engine.reset()
    with pytest.raises(bnn.InputError, match="output: found 5, expected 0 to 0"):
        engine.output(5)
    with pytest.raises(bnn.InputError, match="tensor: found -1"):
        engine.state(-1)


@pytest.mark.parametrize("seed", [-1, 1.5, "x", None])
def test_bad_seeds(rng: np.random.Generator, model: bnn.Model, seed: Any) -> None:
    with pytest.raises(bnn.InputError, match="seed: found"):
        EventEngine(model).run_image(positive(rng, model, 1)[0], order="random", seed=seed)


def test_networks_of_two_inputs_run_frame_by_frame(rng: np.random.Generator) -> None:
    x, y = ops.input_node("image", (3, 3, 4)), ops.input_node("other", (3, 3, 4))
    pair = ops.make("concat", ops.make("sign", x), ops.make("sign", y))
    weights = ops.constant(rng.choice([-1.0, 1.0], (5, 3, 3, 8)))
    sums = ops.make("conv2d", pair, weights, attrs=ops.ConvAttrs(), name="sums")
    model = bnn.Model.from_bytes(encode(lower(Graph((x, y), (sums,)))))
    engine = EventEngine(model)
    pictures = [rng.normal(size=(2, 3, 3, 4)).astype(np.float32) for _ in range(2)]
    message = r"the network has 2 inputs, expected one; give them to step\(inputs\)"
    for run in (engine.run_image, engine.run_stream):
        with pytest.raises(bnn.InputError, match=message):
            run(pictures)
    engine.reset()
    for k in range(2):
        frame = [p[k : k + 1] for p in pictures]
        assert np.array_equal(engine.step(frame), model(frame)[0])
