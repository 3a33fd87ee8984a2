# SPDX-License-Identifier: Apache-2.0
"""Runs that are watched: outputs over time, images, recordings, reports; all against plain computations."""

from __future__ import annotations

import pickle
import re
from collections import UserDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.snn import SpikingModel, build
from bnn.snn.coding import image_frames, recording_frames, recording_steps, step_of
from bnn.snn.handle import Samples, State
from bnn.snn.network import Network, Population, Projection
from bnn.snn.oracle import Oracle
from bnn.snn.rules import Emits, Reset
from bnn.streams.grid import Recording
from bnn.streams.recordings import from_fields
from conftest import Limit
from seed import SEED
from snn.networks import draw_inputs, draw_network
from snn.small import CLASSES, SIDE, population, small_network

RAGGED = [[1, 0], [1]]


@pytest.fixture(scope="module")
def model() -> SpikingModel:
    return build(small_network())


def spikes(seed: int, steps: int = 30, share: float = 0.2) -> Array:
    return np.random.default_rng(seed).random((steps, 2, SIDE, SIDE)) < share


def recording(seed: int, count: int = 500, until: int = 20_000) -> Array:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, until, count)) + 7_000
    x, y = rng.integers(0, SIDE + 2, (2, count))
    return from_fields(x, y, rng.integers(0, 2, count), t)


def test_a_stream_is_the_run_step_by_step(model: SpikingModel) -> None:
    """The same spikes as run(); sums, answers, moments and counts follow from them."""
    x = spikes(1)
    plain = model.run(x, record=["input", "conv", "output"])
    watched = model.run_stream(x, label=2, trace=True)
    assert np.array_equal(watched.outputs[1:], np.cumsum(plain.output, axis=0)) and not watched.outputs[0].any()
    for k, layer in enumerate(watched.report.layers):
        if layer.name != "pool":
            sent = plain.recorded[layer.name].reshape(len(x), -1)
            assert np.array_equal(watched.sent[:, k], np.count_nonzero(sent, axis=1))
            assert layer.spikes == np.count_nonzero(sent)
    assert watched.report.layers == plain.report.layers
    total = watched.outputs[-1]
    assert watched.answer == int(np.argmax(total)) and watched.moments == len(x)
    right = [k for k, row in enumerate(watched.outputs) if row.any() and int(np.argmax(row)) == 2]
    assert watched.first_correct == (right[0] if right else None)
    assert (watched.answers[: watched.final] != watched.answer)[-1:].all()
    assert (watched.answers[watched.final :] == watched.answer).all()
    assert watched.answers[0] == -1 and "none" not in watched.describe()


def test_the_trace_has_every_spike(model: SpikingModel) -> None:
    """Of populations that send spikes; neurons by row, column, channel."""
    x = spikes(2)
    run = model.run_stream(x, trace=True)
    assert run.spikes is not None
    found = np.zeros((len(x), SIDE, SIDE, 2), bool)
    own = run.spikes[run.spikes["population"] == 0]
    found.reshape(len(x), -1)[own["step"] - 1, own["neuron"]] = True
    assert np.array_equal(found, np.moveaxis(x, 1, -1))
    assert set(run.spikes["population"]) == {0, 1, 3}
    assert model.run_stream(x).spikes is None


def test_state_is_kept_between_calls(model: SpikingModel) -> None:
    x = spikes(3, steps=40)
    whole = model.run_stream(x)
    parts = [model.run_stream(x[:13]), model.run_stream(x[13:], reset=False)]
    assert np.array_equal(whole.outputs[-1], parts[0].outputs[-1] + parts[1].outputs[-1])
    assert np.array_equal(whole.sent, np.concatenate([p.sent for p in parts]))
    assert whole.report.synops == sum(p.report.synops for p in parts)
    again = model.run_stream(x)
    assert np.array_equal(whole.outputs, again.outputs)


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``in_parts(most)`` divides runs into parts of at most ``most`` steps."""

    def divide(most: int) -> None:
        monkeypatch.setattr(
            "bnn.snn.model.blocks", lambda steps, neurons: ((k, min(most, steps - k)) for k in range(0, steps, most))
        )

    return divide


def test_runs_of_many_parts(model: SpikingModel, in_parts: Callable[[int], None]) -> None:
    """What a long run is divided into changes nothing."""
    x = spikes(4, steps=50)
    whole = model.run_stream(x, trace=True)
    in_parts(7)
    other = model.run_stream(x, trace=True)
    assert np.array_equal(whole.outputs, other.outputs) and whole.report == other.report
    assert whole.spikes is not None and other.spikes is not None
    order = ["population", "step", "neuron"]
    assert np.array_equal(np.sort(whole.spikes, order=order), np.sort(other.spikes, order=order))


def test_nothing_sent_is_no_answer(model: SpikingModel) -> None:
    run = model.run_stream(np.zeros((5, 2, SIDE, SIDE), bool), label=0)
    assert run.answer == -1 and run.first_correct is None and run.final == 0
    assert "answer none; right is 0; never right" in str(run) and "never right" in str(run)
    assert run.as_dict()["answer"] == -1


@pytest.mark.parametrize("weights", ["float", "dyadic", "int8", None])
def test_counts_of_random_networks(weights: str | None) -> None:
    """SynOps and dense counts, against the oracle's spikes and the weights: what a source sends reaches its targets."""
    print(f"BNN_TEST_SEED={SEED}")
    for number in range(20):
        rng = np.random.default_rng([SEED, number])
        network = draw_network(rng, weights)
        inputs = draw_inputs(rng, network, 12)
        model = build(network)
        p = network.populations[0]
        given = inputs[0].reshape(12, *p.shape)
        run = model.run_stream(np.moveaxis(given, -1, 1))
        sent = Oracle(network).run(inputs).sent
        ordered = sorted(network.projections, key=lambda q: q.target)
        synops = [0] * len(network.populations)
        for q, synapses in zip(ordered, model.synapses, strict=True):
            fan = fan_out(network, q)
            assert synapses == fan.sum(), (SEED, number, q.name)
            steps = sent[q.source][: max(12 - q.delay, 0)]
            sent_any = (steps != 0).any(axis=1, keepdims=True) if q.kind == "window" else steps != 0
            synops[q.target] += int((sent_any * fan).sum())
        for k, layer in enumerate(run.report.layers):
            assert layer.spikes == np.count_nonzero(sent[k]), (SEED, number, layer.name)
            assert layer.synops == synops[k], (SEED, number, layer.name)
            assert layer.dense == 12 * sum(
                s for q, s in zip(ordered, model.synapses, strict=True) if q.target == k
            )  # fmt: skip


def fan_out(network: Network, q: Any) -> Array:
    """Additions per source, by trying each tap."""
    source, target = network.populations[q.source], network.populations[q.target]
    if q.kind == "dense":
        fan = np.full(source.size, target.size)
    elif q.kind == "diagonal":
        fan = np.ones(source.size, int)
    else:
        (h, w, c), (oh, ow, oc) = source.grid, target.grid
        kernel, each = (q.window, 1) if q.kind == "window" else (q.weights.shape[1:3], oc // q.groups)
        fan = np.zeros((h, w, c), int)
        for oy in range(oh):
            for ox in range(ow):
                for ky in range(kernel[0]):
                    for kx in range(kernel[1]):
                        y = oy * q.stride[0] + ky * q.dilation[0] - q.padding[0]
                        x = ox * q.stride[1] + kx * q.dilation[1] - q.padding[1]
                        if 0 <= y < h and 0 <= x < w:
                            fan[y, x] += each
        fan = fan.reshape(-1)
    return fan if q.mask is None else fan * q.mask


def test_the_report(model: SpikingModel) -> None:
    """Energy: accumulates of spikes, multiply-accumulates of the pool's real values."""
    run = model.run_stream(spikes(5))
    report = run.report
    conv, pool, output = report.layers[1:]
    assert (conv.multiplied, pool.multiplied, output.kind) == (0, 0, "spikes")
    own = run.report.layers[3].spikes - int(run.outputs[-1].sum() - run.outputs[-2].sum())
    assert output.synops - output.multiplied == CLASSES * own
    assert report.spikes == conv.spikes + output.spikes
    assert report.synops == conv.synops + pool.synops + output.synops and report.multiplied == output.multiplied
    assert report.updates == 30 * (4 * SIDE * SIDE + 64 + CLASSES)
    rows = {e.what.split(":")[0]: e for e in report.energy()}
    by_spikes = rows["45 nm, by spikes"]
    expected = (report.synops - report.multiplied) * 0.9e-12 + report.multiplied * 4.6e-12
    assert np.allclose(by_spikes.total, expected, rtol=1e-12, atol=0)
    connections = 2 * (3 * SIDE - 2) ** 2 * 4 + SIDE * SIDE * 4 + 64 * CLASSES + CLASSES * CLASSES
    assert sum(model.synapses) == connections and report.dense == 30 * connections
    assert rows["45 nm, one pass of floats"].operations == connections
    assert rows["Loihi, by spikes"].joules[0] == (report.synops - report.multiplied) * 23.6e-12
    text = str(report)
    assert "30 steps of 1 ms" in text and f"{report.synops:,}" in text and "real values" in text
    both = report + report
    assert (both.samples, both.steps, both.synops) == (2, 60, 2 * report.synops)


# -- images -----------------------------------------------------------------------------------------------------------


def test_an_image_by_chance(model: SpikingModel) -> None:
    image = np.random.default_rng(6).random((2, SIDE, SIDE)).astype(np.float32)
    image[0, 0, 0], image[0, 0, 1] = 0, 1
    frames = image_frames(image, "rate", 4000, 9, 0, 4000)
    assert not frames[:, 0, 0, 0].any() and frames[:, 0, 0, 1].all()
    assert np.abs(frames.mean(axis=0) - image).max() < 0.04
    assert np.array_equal(frames[100:120], image_frames(image, "rate", 4000, 9, 100, 20))
    assert not np.array_equal(frames[:20], image_frames(image, "rate", 4000, 10, 0, 20))
    run = model.run_image(image, 50, coding="rate", seed=9)
    assert np.array_equal(run.outputs, model.run_stream(frames[:50]).outputs)


def test_an_image_by_latency(model: SpikingModel) -> None:
    image = np.linspace(0, 1, 2 * SIDE * SIDE, dtype=np.float32).reshape(2, SIDE, SIDE)
    frames = image_frames(image, "latency", 11, 0, 0, 11)
    counts = frames.sum(axis=0)
    assert counts.max() == 1 and not counts[image == 0].any() and counts[image > 0].all()
    assert np.array_equal(np.argmax(frames, axis=0)[image > 0], np.rint((1 - image[image > 0]) * 10))
    run = model.run_image(image, 11, coding="latency")
    assert np.array_equal(run.outputs, model.run_stream(frames).outputs)


def test_a_constant_image() -> None:
    model = build(small_network(emits=Emits.VALUES))
    image = np.random.default_rng(7).random((2, SIDE, SIDE)).astype(np.float32)
    run = model.run_image(image, 20, coding="constant", trace=True)
    plain = model.run(np.repeat(image[None], 20, axis=0))
    assert np.array_equal(run.outputs[-1], plain.scores) and run.report.layers == plain.layers
    assert run.image is not None and np.array_equal(run.image, np.moveaxis(image, 0, -1))
    assert run.report.layers[1].multiplied == run.report.layers[1].synops > 0


# -- recordings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("emits", [Emits.SPIKES, Emits.COUNTS, Emits.VALUES])
@pytest.mark.parametrize("dt", [1e-3, 3e-4, 1 / 3000])
def test_a_recording_steps_the_network(channels: int, emits: Emits, dt: float) -> None:
    """Against frames that are filled event by event."""
    model = build(small_network(dt=dt, emits=emits, channels=channels))
    events = recording(8)
    run = model.run_events(events, origin=(1, 1), label=1)
    step = float(str(np.float32(dt))) * 1e6
    steps = int((events["t"][-1] - events["t"][0]) / step) + 1
    frames = np.zeros((steps, channels, SIDE, SIDE), np.float32)
    inside = 0
    first = None
    for x, y, p, t in events.tolist():
        if 1 <= x <= SIDE and 1 <= y <= SIDE:
            first = t if first is None else first
            frames[int((t - first) / step), p if channels == 2 else 0, y - 1, x - 1] += 1
            inside += 1
    frames = frames[: run.moments]
    assert (run.events, run.dropped) == (inside, len(events) - inside)
    merged = inside - np.count_nonzero(frames) if emits == Emits.SPIKES else 0
    assert run.merged == merged and frames.sum() == inside
    frames = (frames > 0).astype(np.float32) if emits == Emits.SPIKES else frames
    assert np.array_equal(run.outputs, model.run_stream(frames).outputs)
    assert run.seen[-1] == inside and run.events_share(run.moments) == 1
    assert np.isclose(run.step_seconds, step / 1e6, rtol=1e-6) and run.report.dt == run.step_seconds


@pytest.mark.parametrize("dt", [1 / 3000, 7.5e-6, 1e-3])
def test_every_microsecond_belongs_to_the_step_that_it_lies_in(dt: float) -> None:
    t, step, size = np.arange(7, 2000), step_of(dt), 10
    one = Recording(np.zeros_like(t), np.zeros_like(t), t, 0)
    steps = recording_steps(one, step)
    expected = np.bincount([int((int(n) - 7) // step) for n in t])
    for start in range(0, steps, size):
        frames, seen = recording_frames(one, (1, 1, 1), step, Emits.COUNTS, start, min(size, steps - start))
        assert np.array_equal(frames.reshape(-1), expected[start : start + size])
        assert np.array_equal(seen, np.cumsum(expected)[start : start + size])


def test_two_recordings_in_a_row(model: SpikingModel) -> None:
    """A camera goes on: the second part finds the neurons as the first left them."""
    events = recording(9, until=40_000)
    inside = events[(events["x"] < SIDE) & (events["y"] < SIDE)]
    cut = inside["t"][0] + 17_000
    whole = model.run_events(inside)
    parts = [model.run_events(inside[inside["t"] < cut])]
    rest = inside[inside["t"] >= cut].copy()
    rest[0]["t"] = cut  # a step begins here
    whole_again = model.run_events(np.concatenate([inside[inside["t"] < cut], rest]))
    parts.append(model.run_events(inside[inside["t"] < cut]))
    parts.append(model.run_events(rest, reset=False))
    assert parts[1].moments == 17 and parts[1].moments + parts[2].moments == whole_again.moments
    assert np.array_equal(parts[1].outputs[-1] + parts[2].outputs[-1], whole_again.outputs[-1])
    assert whole.moments == whole_again.moments


def test_the_seconds_of_a_step() -> None:
    """A float32 says 0.001 and means it: no event moves to another step by rounding."""
    for dt, microseconds in ((np.float32(1e-3), 1000), (np.float32(1e-4), 100), (0.01, 10_000), (np.float32(1e-6), 1)):
        assert step_of(float(dt)) == microseconds
    model = build(small_network(dt=1e-3))
    t = np.arange(0, 50) * 1000
    run = model.run_events(from_fields(t % SIDE, t % SIDE, t % 2, t))
    assert run.moments == 50 and (run.sent[:, 0] == 1).all()


def test_another_step_is_noted(model: SpikingModel) -> None:
    run = model.run_events(recording(10), dt=2e-3, shrink=2)
    assert run.report.notes == ("a step is 0.002 s of the recording; the network's neurons were made for 0.001 s",)
    assert run.step_seconds == 2e-3 and "0.002 s" in str(run.report)


# -- bad input --------------------------------------------------------------------------------------------------------

X = np.zeros((3, 2, SIDE, SIDE), np.float32)


def one_wrong(value: float, steps: int = 3) -> Array:
    x = np.zeros((steps, 2, SIDE, SIDE), np.float32)
    x[-1, 1, 3, 4] = value
    return x


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.run_stream(X[:, :1]), r"input input: found shape \(3, 1, 8, 8\), expected \(steps, 2, 8, 8\)"),
        (lambda m: m.run_stream(X[0]), "expected .steps"),
        (
            lambda m: m.run_stream(X + 0.5),
            r"found 0.5 at \(0, 0, 0, 0\), expected spikes, 0 or 1; 384 of 384 values are",
        ),
        (lambda m: m.run_stream(X + 0.5), "not; show images with a coding: run_image, or --coding and --steps"),
        (lambda m: m.run(one_wrong(2)), r"found 2.0 at \(2, 1, 3, 4\), expected spikes, 0 or 1; 1 of 384 values"),
        (lambda m: m.run(one_wrong(-1).astype(int)), r"found -1 at \(2, 1, 3, 4\), expected spikes, 0 or 1"),
        (
            lambda m: m.run(one_wrong(np.nan)),
            r"found nan at \(2, 1, 3, 4\), .* values are not; 1 are not finite: correct",
        ),
        (lambda m: m.step(one_wrong(2)[2]), r"found 2.0 at \(1, 3, 4\), expected spikes"),
        (lambda m: m.step(X), r"found shape \(3, 2, 8, 8\), expected \(2, 8, 8\), one step"),
        (lambda m: m.run(X, record="conv"), "record: found the text 'conv', expected a list of populations' names"),
        (
            lambda m: m.run(X, record=["cov"]),
            "record: found 'cov', expected one of input, conv, pool, out",
        ),
        (lambda m: m.run(X, membranes=["input"]), "membranes: found 'input', which has no membrane, expected one of"),
        (
            lambda m: m.run(X, currents=["input"]),
            "currents: found 'input', which has no current, expected one of conv, pool, output$",
        ),
        (lambda m: m.run(X, record=None), "record: found None, expected a list of populations' names"),
        (lambda m: m.run(X, record=[["conv"]]), "record: found list, expected one of input, conv, pool, output"),
        (lambda m: m.run(RAGGED), "input input: list is not an array: .* inhomogeneous"),
        (lambda m: m.step(RAGGED), "input input: list is not an array"),
        (lambda m: m.run_stream(RAGGED), "input input: list is not an array"),
        (lambda m: m.run_image(RAGGED, 5), "input input: list is not an array"),
        (lambda m: m.scores(RAGGED), "input input: list is not an array"),
        (lambda m: m.run(X[:, None], learn=True), "learn: no weights"),
        (lambda m: m.run(X[:, None], reset=False), r"reset=False: found 1 sample, \(T, N, \*shape\), expected one"),
        (lambda m: m.run(X[:, None][:, :0]), "x: found no sample, expected at least one"),
        (lambda m: m.run_stream(X[:, None]), r"expected \(steps, [^)]*\)$"),
        (lambda m: m.run(X[:, None, None]), r"expected \(steps, [^)]*\) or \(steps, samples, [^)]*\)$"),
        (lambda m: m.run(UserDict(other=X)), "inputs: found other, expected input"),
        (lambda m: m.state("conv", "w"), "conv: has no state variable w; it has v$"),
        (lambda m: m.state("conv", ["v"]), "variable: found list, expected the name of a state variable"),
        (lambda m: m.state("input"), "input: has no state variable v; it has none$"),
        (
            lambda m: SpikingModel.from_bytes(m.to_bytes(), max_bytes="1"),
            "max_bytes: found '1', expected a whole number",
        ),
        (lambda m: SpikingModel.from_bytes(m.to_bytes(), max_bytes=-1), "max_bytes: found -1, expected 0 to"),
        (lambda m: m.run_stream(X[:0]), "x: found no step, expected at least one"),
        (lambda m: m.run_stream(X, label=4), "label: found 4, expected 0 to 3"),
        (lambda m: m.run_image(X[0], 0), "steps: found 0, expected 1 to"),
        (lambda m: m.run_image(X[0] + 0.5, 5), "takes whole numbers from 0 on; use coding 'rate'"),
        (lambda m: m.run_image(X[0] + 2, 5, coding="rate"), "values from 0 to 2, expected 0 to 1"),
        (lambda m: m.run_image(X[0] * np.nan, 5, coding="rate"), "expected finite numbers"),
        (lambda m: m.run_image(X[0], 5, coding="phase"), "found 'phase', expected one of constant, rate, latency"),
        (lambda m: m.run_image(X, 5), r"found shape \(3, 2, 8, 8\), expected one image \(2, 8, 8\)"),
        (lambda m: m.run_events(recording(1), origin=(90, 90)), "none of the 500 events lies on the network's 8 x 8"),
        (lambda m: m.run_events(recording(1)), r"larger than the network's 8 x 8 pixels .* of 500 events lie outside"),
        (lambda m: m.run_events(recording(1)[::-1]), "time decreases"),
        (lambda m: m.run_events(recording(1)[:0]), "found none, expected at least one"),
        (lambda m: m.run_events(X), "expected a structured array"),
        (lambda m: m.run_events(recording(1), dt=0), "expected seconds of a step, more than 0"),
        (lambda m: m.run_events(recording(1), dt=np.inf), "expected a finite number"),
        (lambda m: m.run_events(recording(1), dt=1e-9, shrink=1), "steps of 0.001 us, expected at most 1,000,000"),
        (lambda m: m.run_events(recording(1), dt=1e300), r"found 1e\+300 seconds, expected 1e-9 to 1e6"),
        (lambda m: m.run_events(recording(1), origin=((1, 2), 3)), "origin: tuple is not an array"),
        (lambda m: m.run_events(recording(1), origin=(True, False)), "expected .y, x., two whole numbers"),
    ],
)
def test_bad_input(model: SpikingModel, call: Any, message: str) -> None:
    with pytest.raises((bnn.InputError, bnn.InputTypeError), match=message):
        call(model)


def test_where_the_network_looks_may_be_said_in_any_whole_numbers(model: SpikingModel) -> None:
    expected = model.run_events(recording(1), origin=(1, 2), shrink=2).outputs
    for dtype in (np.int8, np.uint64):
        origin: Any = np.array([1, 2], dtype)
        assert (model.run_events(recording(1), origin=origin, shrink=dtype(2)).outputs == expected).all()


def relays(shape: tuple[int, ...], *emits: Emits) -> SpikingModel:
    """An output that passes on what its inputs send."""
    inputs = [Population(f"in{i}", shape, input_emits=e) for i, e in enumerate(emits)]
    output = population("out", shape, "relay", Reset.NONE, Emits.VALUES, output=True)
    one = np.ones(1, np.float32)
    return build(
        Network([*inputs, output], [Projection(i, len(emits), "diagonal", one, name="w") for i in range(len(emits))])
    )


@pytest.mark.parametrize(
    ("emits", "wrong", "expected"),
    [
        (Emits.VALUES, 1e300, "finite float32 numbers; 1 of 12 values are not"),
        (Emits.VALUES, -1e39, "finite float32 numbers"),
        (Emits.CHANGES, -(2**63), r"changes, whole numbers from -2\^24 to 2\^24"),
        (Emits.CHANGES, -(2**24) - 1, r"changes, whole numbers from -2\^24 to 2\^24"),
        (Emits.CHANGES, np.float16(np.inf), r"changes, whole numbers from -2\^24 to 2\^24"),
        (Emits.COUNTS, np.float16(0.5), r"numbers of spikes, whole numbers from 0 to 2\^24"),
        (Emits.COUNTS, 2**24 + 1, r"numbers of spikes, whole numbers from 0 to 2\^24"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_value_that_an_input_cannot_send_is_named(emits: Emits, wrong: float, expected: str) -> None:
    x = np.zeros((3, 4), np.asarray(wrong).dtype)
    x[1, 2] = wrong
    with pytest.raises(bnn.InputError, match=rf"input in0: found {re.escape(str(x[1, 2]))} at \(1, 2\), .*{expected}"):
        relays((4,), emits).run(x)


@pytest.mark.parametrize("shape", [(70,), (64,), (3, 5, 2)])
def test_spikes_are_the_same_in_any_type_and_layout(shape: tuple[int, ...]) -> None:
    """Contiguous float32 is packed in C; it and everything else as NumPy packs it."""
    model = relays(shape, Emits.SPIKES)
    shape = model.input_shapes["in0"]
    x = np.random.default_rng(SEED).random((9, *shape)) < 0.3
    wide = np.zeros((9, *shape[:-1], 2 * shape[-1]), np.float32)
    wide[..., ::2] = x
    for given in (x, x.astype(np.uint8), x.astype(np.float32), x.astype(float), -np.float32(0) + x, wide[..., ::2]):
        run = model.run(given, record=["in0"])
        assert (run.recorded["in0"] == x).all() and (run.output == x).all() and run.report.layers[0].spikes == x.sum()
    several = np.stack([x, ~x, x[::-1]], axis=1).astype(np.float32)
    assert (model.run(several, threads=2).output == several).all()
    assert (model.run(several[::-1, 1]).output == ~x[::-1]).all()
    for wrong in (0.5, -1, np.nan, np.inf, 1e-45):
        x = wide[..., ::2].copy()
        x[(7, *(n - 1 for n in shape))] = wrong
        with pytest.raises(bnn.InputError, match="input in0: found .* expected spikes, 0 or 1"):
            model.run(x)


@pytest.mark.parametrize("channels", [1, 3])
def test_values_are_the_same_in_any_type_and_layout(channels: int) -> None:
    """float32 in the order of the neurons is taken as it is; everything else is brought into it."""
    output = population("out", (4, 5, channels), "relay", Reset.NONE, Emits.VALUES, output=True)
    given = Population("in", (4, 5, channels), input_emits=Emits.VALUES)
    one = Projection(0, 1, "diagonal", np.ones(1, np.float32))
    for first in (False, True):
        model = build(Network([given, output], [one], channels_first=first))
        x = np.random.default_rng(SEED).normal(size=(9, *model.input_shapes["in"])).astype(np.float32)
        odd = np.empty(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
        odd[...] = x
        for same in (x, x.astype(float), np.repeat(x, 2, axis=-1)[..., ::2], x[::-1][::-1], odd):
            assert np.array_equal(model.run(same).output, x), SEED
        several = np.stack([x, -x, x[::-1]], axis=1)
        assert np.array_equal(model.run(several, threads=2).output, several)


def test_a_run_travels_with_its_report(model: SpikingModel) -> None:
    """The report is made when it is asked for, of the run's own counts, wherever the run is then."""
    run = model.run(spikes(1))
    model.run(spikes(2))
    assert pickle.loads(pickle.dumps(run)).report == run.report == model.run(spikes(1)).report


def test_a_mapping_is_as_good_as_a_dict(tmp_path: Path) -> None:
    model = relays((2,), Emits.SPIKES, Emits.COUNTS)
    given = {"in0": np.eye(2), "in1": np.full((2, 2), 3)}
    np.savez(tmp_path / "x.npz", **given)
    with np.load(tmp_path / "x.npz") as archive:
        for x in (UserDict(given), archive):
            assert (model.run(x).output == [[4, 3], [3, 4]]).all()
            assert (model.run_stream(x).outputs[-1] == 7).all()


def test_a_network_without_input_says_so() -> None:
    neurons = population("out", (2,), "integrate", Reset.SUBTRACT, output=True)
    model = build(Network([neurons], []))
    for call in (model.run, model.step, model.run_stream):
        for x in ({}, [], None):
            with pytest.raises(bnn.InputError, match="the network has no input, expected one"):
                call(x)


def test_scores_add_step_by_step() -> None:
    """One class, too: NumPy adds its values in pairs."""
    rng = np.random.default_rng(SEED)
    for classes in (1, 2, 9):
        x = rng.normal(size=(300, classes)).astype(np.float32)
        model = relays((classes,), Emits.VALUES)
        assert (model.run(x).scores == model.run_stream(x).outputs[-1]).all(), SEED
        assert (model.scores(x[:, None]) == model.run(x).scores[None]).all()
        assert (model.run(x[:0]).scores == np.zeros(classes)).all()
        assert (model.scores(x) == model.run(x).scores).all()


def test_samples_run_as_if_each_were_alone() -> None:
    rng = np.random.default_rng(SEED)
    model = build(small_network())
    x = rng.random((15, 4, 2, SIDE, SIDE)) < 0.2
    names = {"record": ["conv", "input"], "membranes": ["conv"], "currents": ["output"]}
    both, alone = model.run(x, **names), [model.run(x[:, i], **names) for i in range(4)]
    assert (both.steps, both.samples, both.output.shape) == (15, 4, (15, 4, 4)), SEED
    for kind in ("outputs", "recorded", "membranes", "currents"):
        for name, found in getattr(both, kind).items():
            assert np.array_equal(found, np.stack([getattr(run, kind)[name] for run in alone], axis=1))
    assert both.output.any() and np.array_equal(both.scores, [run.scores for run in alone])
    assert (both.report.samples, both.report.steps) == (4, 60)
    assert both.synops == sum(run.synops for run in alone)
    assert np.array_equal(model.run({"input": x}).output, both.output)
    model.run(x)
    assert np.array_equal(model.run(x[:, 2], reset=False).output, alone[2].output)  # the state was reset


def test_samples_in_threads() -> None:
    """The same results with any number of threads, also of one whose neurons ran others before."""
    rng = np.random.default_rng(SEED)
    model = build(small_network())
    names = {"record": ["conv", "input"], "membranes": ["conv"]}
    for count in (7, 2, 9):
        x = rng.random((12, count, 2, SIDE, SIDE)) < 0.3
        one = model.run(x, **names, threads=1)
        for threads in (2, 3, 16):
            found = model.run(x, **names, threads=threads)
            for kind in ("outputs", "recorded", "membranes"):
                for name, expected in getattr(one, kind).items():
                    assert np.array_equal(getattr(found, kind)[name], expected), SEED
            assert (found.report, found.samples) == (one.report, count)


def driven(rng: Any) -> SpikingModel:
    """Two layers of neurons; their input is packed for all samples together."""
    hidden = population("hidden", (40,), "integrate", Reset.SUBTRACT)
    output = population("out", (5,), "integrate", Reset.SUBTRACT, output=True)
    weights = [rng.normal(0, 1, shape).astype(np.float32) for shape in ((70, 40), (40, 5))]
    dense = [Projection(i, i + 1, "dense", w) for i, w in enumerate(weights)]
    return build(Network([Population("input", (70,)), hidden, output], dense))


def test_samples_that_are_packed_together() -> None:
    """As if each were alone, in threads that take several at a time, too."""
    rng = np.random.default_rng(SEED)
    model = driven(rng)
    x = (rng.random((9, 50, 70)) < rng.random((50, 1)) * 0.1).astype(np.float32)
    names = {"membranes": ["hidden"], "currents": ["out"]}
    for more in ({}, {"until": "first-spike"}, {"record": ["hidden"]}, {"record": ["input"], "until": "first-spike"}):
        alone = [model.run(x[:, i], **names, **more) for i in range(50)]
        for threads in (1, 2, 5):
            found = model.run(x, **names, **more, threads=threads)
            for kind in ("outputs", "recorded", "membranes", "currents"):
                for name, rows in getattr(found, kind).items():
                    assert np.array_equal(rows, np.stack([getattr(run, kind)[name] for run in alone], axis=1)), SEED
            assert np.array_equal(found.taken, [run.taken for run in alone])
            assert (found.synops, found.spikes) == tuple(
                sum(getattr(r, k) for r in alone) for k in ("synops", "spikes")
            )


def test_the_first_sample_whose_membranes_overflow_is_told() -> None:
    """Its step says which it was; the model can be used after that."""
    neurons = population("out", (3,), "integrate", Reset.SUBTRACT, output=True)
    huge = Projection(0, 1, "dense", np.full((2, 3), 3e38, np.float32))
    model = build(Network([Population("input", (2,)), neurons], [huge]))
    x = np.zeros((5, 60, 2), np.float32)
    x[2, 33], x[4, 21], x[1, 38] = 1, 1, 1
    for threads in (1, 2, 5):
        with pytest.raises(bnn.InputError, match="population out: found a membrane that is not finite in step 4"):
            model.run(x, threads=threads)
        assert not model.run(np.zeros_like(x), threads=threads).output.any()


def test_a_thread_looks_at_the_others_between_long_samples() -> None:
    """Several samples take one call into C only if they are short."""
    state, steps, taken = State(driven(np.random.default_rng(SEED))._opened), 500_000, np.zeros(3, np.int64)
    samples = Samples(state, steps, [], taken, False)
    samples.give([np.ones((steps, 3), np.uint32)], False)  # at least 20 ns for a step
    for done in (1, 2, 3):
        samples.run(3)
        assert samples.next == done and taken.tolist() == [steps] * done + [0] * (3 - done)


def test_the_first_sample_that_is_wrong_is_told() -> None:
    """With threads, too; the model can be used after that."""
    relay = relays((3,), Emits.COUNTS)
    x = np.zeros((5, 40, 3), np.float32)
    x[2, 33], x[4, 21, 1], x[1, 38] = -1, 0.5, -2
    for threads in (1, 2, 5):
        with pytest.raises(bnn.InputError, match=r"found 0\.5 at \(4, 1\), expected numbers of spikes"):
            relay.run(x, threads=threads)
        assert not relay.run(np.zeros((5, 40, 3)), threads=threads).output.any()
    with pytest.raises(bnn.InputError, match="threads: found 0, expected 1 to 256"):
        relay.run(x, threads=0)


@pytest.mark.parametrize(
    ("emits", "value", "message"),
    [
        (Emits.COUNTS, 0.5, "found 0.5 at .2, 1, 3, 4., expected numbers of spikes, whole numbers from 0 to 2"),
        (Emits.COUNTS, -1, "found -1.0 at .2, 1, 3, 4., expected numbers of spikes"),
        (Emits.CHANGES, 2.0**25, "found 33554432.0 at .2, 1, 3, 4., expected changes, whole numbers from -2"),
        (Emits.VALUES, np.inf, "found inf at .2, 1, 3, 4., expected finite float32 numbers; 1 of 384 values are"),
        (Emits.COUNTS, np.nan, "found nan at .2, 1, 3, 4., .* 1 are not finite: correct the data"),
    ],
)
def test_a_bad_value_of_every_kind(emits: Emits, value: float, message: str) -> None:
    with pytest.raises(bnn.InputError, match=message):
        build(small_network(emits=emits)).run(one_wrong(value))


def test_where_a_bad_value_is_in_a_long_run(model: SpikingModel, in_parts: Callable[[int], None]) -> None:
    """The step counts from the first of the run, not of the part that is being run."""
    in_parts(4)
    with pytest.raises(bnn.InputError, match=r"found 3.0 at \(11, 1, 3, 4\)"):
        model.run_stream(one_wrong(3, 12))


def test_what_is_no_network() -> None:
    data = build(small_network()).to_bytes()
    with pytest.raises(
        bnn.ModelNotFoundError, match="null character; if these are the contents .* use from_bytes"
    ) as e:
        bnn.snn.load(data)  # type: ignore[arg-type]
    assert len(str(e.value)) < 300 < len(data)
    with pytest.raises(bnn.InputTypeError, match=r"model: found str, expected a SpikingModel: bnn.snn.load\(path\)"):
        bnn.verify_snn("net.nir", "net.snn")  # type: ignore[arg-type]


def test_bad_networks() -> None:
    with pytest.raises(bnn.InputError, match="does not say how long a step is; expected dt="):
        build(small_network(dt=0)).run_events(recording(1))
    network = small_network(dt=1)
    network.simulator = "sinabs"
    model = build(network)
    with pytest.raises(bnn.InputError, match="sinabs has no time, .* expected dt=, .*--dt SECONDS"):
        model.run_events(recording(1))
    run = model.run_events(recording(1), dt=1e-3, origin=(0, 0))
    assert (model.dt, run.report.dt, run.report.notes) == (0, 1e-3, ())
    with pytest.raises(bnn.InputError, match="input .H, W, 1., .H, W, 2. or .units,."):
        build(small_network(channels=3)).run_events(recording(1))
    network = small_network()
    network.populations.insert(0, replace(network.populations[0], name="other"))
    for q in network.projections:
        q.source, q.target = q.source + 1, q.target + 1
    with pytest.raises(bnn.InputError, match="has 2 inputs, expected one; give what they send to run_stream"):
        build(network).run_image(X[0], 5)


def test_a_trace_too_large(model: SpikingModel, limit: Limit) -> None:
    limit("bnn.snn.model.MOST_SPIKES", 50)
    with pytest.raises(bnn.InputError, match=r"trace: found .* spikes after 30 of 30 steps, expected at most 50"):
        model.run_stream(spikes(1), trace=True)
    assert model.run_stream(spikes(1)).report.spikes > 50
