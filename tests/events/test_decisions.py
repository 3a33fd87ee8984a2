# SPDX-License-Identifier: Apache-2.0
"""Decisions of the event engine's Python side, on both sides of each: arguments, memory, and how inputs arrive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._arguments import check_number
from bnn._types import Array
from bnn.events import EventEngine
from bnn.events.rules import Rule, bit_values, exact_step, frames, pixel_order, step_count
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import DType
from bnn.streams.grid import MOST_STEPS, Recording, check_finite, place
from bnn.streams.recordings import from_fields
from conftest import Limit
from op_graphs import plan, signs


@pytest.fixture(scope="module")
def model() -> bnn.Model:
    return bnn.load(Path(__file__).parents[2] / "examples/digits.bnn")


@pytest.fixture
def image(model: bnn.Model, rng: np.random.Generator) -> Array:
    return (rng.integers(0, 3, (1, *model.input_shapes[0])) / 2).astype(np.float32)


# -- arguments --------------------------------------------------------------------------------------------------------


def test_one_image_at_a_time(model: bnn.Model, image: Array) -> None:
    engine, two = EventEngine(model), np.concatenate([image, image])
    for call, words in (
        (engine.step, "found a batch of 2, expected one image"), (engine.push, "found a batch of 2"),
        (engine.reset, "found a batch of 2"), (engine.run_image, "found a batch of 2, expected one image"),
    ):  # fmt: skip
        call(image)
        with pytest.raises(bnn.InputError, match=words):
            call(two)
    with pytest.raises(bnn.InputError, match="found a batch of 0"):
        engine.step(image[:0])
    assert len(engine.run_stream(two).changed) == 1
    with pytest.raises(bnn.InputError, match="stream: found 1 frames, expected at least two"):
        engine.run_stream(image)


def test_labels_and_numbers_up_to_the_last(model: bnn.Model, image: Array) -> None:
    engine = EventEngine(model)
    engine.reset(image)
    assert engine.run_image(image[0], label=9).label == 9
    for call, last in (
        (lambda n: engine.run_image(image[0], label=n), 9), (engine.output, 0), (engine.state, len(model.tensors) - 1),
    ):  # fmt: skip
        for number in (-1, last + 1):
            with pytest.raises(bnn.InputError, match=f": found {number}, expected 0 to {last}"):
                call(number)


def test_a_trace_has_room_for_all_spikes(model: bnn.Model, image: Array, limit: Limit) -> None:
    """However many there are: where there is no room for them at first, the image arrives again."""
    count = EventEngine(model).run_image(image[0]).report.spikes
    for room in (1, 100, count):
        limit("bnn.events.engine._ROOM", room)
        run = EventEngine(model).run_image(image[0], trace=True, most_spikes=count)
        assert run.spikes is not None and len(run.spikes) == run.report.spikes > 100
        assert len(run.spikes) == count
        assert np.array_equal(run.outputs[-1], model(image)[0])
        assert room < count or len(run.spikes) == len(run.spikes.base) == count  # once was enough
        with pytest.raises(bnn.InputError, match=f"trace: found {count:,} spikes, expected at most {count - 1:,} "):
            EventEngine(model).run_image(image[0], trace=True, most_spikes=count - 1)


@pytest.mark.parametrize(("kind", "blank"), [("sign", -1.0), ("thresholds", 0.0), ("bytes", 0.0)])
def test_what_is_blank(kind: str, blank: float, rng: np.random.Generator) -> None:
    x = ops.input_node("x", (2, 2, 3), DType.u8 if kind == "bytes" else DType.f32)
    y = ops.make("cast", x) if kind == "bytes" else x
    limits = (ops.constant([0.5] * 3), ops.constant([1.0] * 3, DType.b1)) if kind == "thresholds" else ()
    last = ops.make("bconv2d", ops.make("binarize", y, *limits), signs(rng, (4, 1, 1, 3)))
    assert EventEngine(bnn.Model.from_bytes(encode(plan([x], [last])))).blank == blank


def test_updates_are_counted_from_a_reset(model: bnn.Model, image: Array) -> None:
    """And what was promised before it is no promise any more."""
    engine = EventEngine(model)
    engine.reset()
    assert engine.prepare(image) == "incremental" and engine.report().encoder == "incremental"
    engine.handle.set_limit(0, 0)
    for _ in range(2):
        engine.step(image)
        engine.step(1 - image)
    assert engine.report().encoder == "incremental, synchronous in 4 of 4"
    engine.reset()
    assert engine.report().encoder == "synchronous"
    engine.prepare(image)
    engine.step(image)
    assert engine.report().encoder == "incremental, synchronous in 1 of 1"


@pytest.mark.parametrize(("data", "encoder"), [(-1.0, "incremental"), (2.0**-23, "incremental"), (2.0**-24, "synchr")])
def test_what_is_blank_is_promised_too(rng: np.random.Generator, data: float, encoder: str) -> None:
    """Elements that have not arrived are -1 where inputs are binarized at once: with it sums must be exact."""
    x = ops.input_node("x", (2, 2, 1))
    first = ops.make("conv2d", x, ops.constant(np.ones((4, 1, 1, 1))))
    last = ops.make("bconv2d", ops.make("binarize", first), signs(rng, (4, 1, 1, 4)))
    engine = EventEngine(bnn.Model.from_bytes(encode(plan([x], [last]))))
    assert engine.prepare(np.float32([data])).startswith(encoder)


def test_a_recording_of_nothing(model: bnn.Model) -> None:
    run = EventEngine(model).run_events(event(0, 0)[:0])
    assert (run.moments, len(run.times), run.report.inferences, len(run.outputs)) == (0, 0, 1, 1)


def test_a_recording_shows_what_the_model_says(model: bnn.Model, rng: np.random.Generator) -> None:
    """After every step, also where nothing changes for a while, and at the end, where no event is left."""
    rule, t = Rule(step=1000, window=4000), np.sort(np.append(rng.integers(0, 3000, 30), [9500, 12000]))
    events = from_fields(rng.integers(0, 8, 32), rng.integers(0, 8, 32), rng.integers(0, 2, 32), t)
    run, seen = EventEngine(model).run_events(events, rule), np.zeros((1, 8, 8, 1), np.float32)
    looks = list(frames(place(events, (8, 8, 1), (0, 0), 1), (8, 8, 1), rule))
    assert len(run.outputs) == len(looks) + 1 and run.times.tolist() == [now for now, _, _ in looks]
    for outputs, changed, (_, count, bits) in zip(run.outputs[1:], run.changed, looks, strict=True):
        assert changed == np.count_nonzero(bits != seen[0]) and count <= 32
        seen[0] = bits
        assert np.array_equal(outputs, model(seen)[0])
    assert not run.changed.all()


def test_what_is_refused_of_bytes_and_of_two_inputs(two_by_two: Any, rng: np.random.Generator) -> None:
    x = ops.input_node("x", (2, 2, 1), DType.u8)
    last = ops.make("bconv2d", ops.make("binarize", ops.make("cast", x)), signs(rng, (4, 1, 1, 1)))
    engine = EventEngine(bnn.Model.from_bytes(encode(plan([x], [last]))))
    for on in (255, 1.0):
        engine.run_events(event(0, 0), on=on)
    for on in (256, 0.5, -1):
        with pytest.raises(bnn.InputError, match="takes whole numbers of its type, 0 to 255 or -128 to 127"):
            engine.run_events(event(0, 0), on=on)
    assert "sums of an input of bytes are computed anew" in str(engine.run_image(np.ones((2, 2, 1), np.uint8)).report)
    pair = EventEngine(bnn.Model.from_bytes(two_by_two.data))
    with pytest.raises(bnn.InputError, match="frames: the network has 2 inputs; only one can be timed"):
        pair.time_frames(two_by_two.inputs(2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "why"),
    [([0.25], ""), ([1 / 3], "not multiples"), ([np.inf], "not multiples"), ([np.nan], "not multiples")],
)
def test_promises(model: bnn.Model, data: list[float], why: str) -> None:
    engine = EventEngine(model)
    engine.reset()
    assert engine.prepare(np.float32(data)) == ("synchronous" if why else "incremental")
    if why:
        with pytest.raises(bnn.InputError, match=f"incremental encoder: .*{why}.*encoder='synchronous'"):
            EventEngine(model, encoder="incremental").prepare(np.float32(data))
    assert EventEngine(model, encoder="synchronous").prepare(np.float32([0.25])) == "synchronous"


@pytest.mark.parametrize("wrong", [1.5, -1.5, 0.25, np.inf, np.nan])
def test_promises_are_kept(model: bnn.Model, image: Array, wrong: float) -> None:
    """Frames, single pixels and what is there already are multiples of what was promised, and not larger."""
    engine, other = EventEngine(model), image.copy()
    other.reshape(-1)[3] = wrong
    engine.reset()
    assert engine.prepare(np.float32([1, 0.5])) == "incremental"
    for _ in range(2):
        assert np.array_equal(engine.step(-image), model(-image)[0])
        with pytest.raises(bnn.InputError, match=r"unlike those that prepare\(\) was told of.*call reset\(\) first"):
            engine.step(other)
        with pytest.raises(bnn.BnnError, match="^pixel: "):
            engine.handle.pixel(3, wrong)
        engine.handle.pixel(3, 0.5)
        engine.run()
    engine.reset(other)
    assert np.array_equal(engine.output(), model(other)[0], equal_nan=True)
    assert engine.prepare(np.float32([1, 0.5])) == "synchronous"


def test_a_stream_counts_what_differs(model: bnn.Model, image: Array) -> None:
    video = np.concatenate([image, 1 - image, image])
    engine = EventEngine(model)
    assert (engine.run_stream(video).wrong, engine.run_stream(video, compare=False).as_dict()["wrong"]) == (0, None)
    calls: list[int] = []

    class Other(bnn.Model):
        def __call__(self, x: Any, **options: Any) -> Array:
            calls.append(len(x))
            return np.asarray(super().__call__(x, **options)) + (len(calls) == 1)

    run = EventEngine(Other.from_bytes(model.to_bytes())).run_stream(video)
    assert run.wrong == 1 and calls == [1, 1] and run.as_dict()["synchronous_microseconds"] is not None
    assert engine.run_stream(video, compare=False).as_dict()["synchronous_microseconds"] is None


# -- memory -----------------------------------------------------------------------------------------------------------


def test_traces_end(model: bnn.Model, image: Array) -> None:
    engine = EventEngine(model)
    engine.reset()
    with pytest.raises(bnn.BnnError, match="no trace was started"):
        engine.handle.stop_trace()
    engine.handle.start_trace(5)
    engine.reset()  # after a run that was interrupted
    with pytest.raises(bnn.BnnError, match="no trace was started"):
        engine.handle.stop_trace()


def test_limits_of_layers(model: bnn.Model) -> None:
    engine = EventEngine(model)
    assert engine.layers[0].limit is None
    for limit in (0, 2**63, 2**64 - 2, None):
        engine.handle.set_limit(0, limit)
        assert engine.layers[0].limit == limit


# -- how inputs arrive ------------------------------------------------------------------------------------------------


def test_which_elements_arrive_and_when() -> None:
    x = np.float32([[3, -1, 0], [3, 5, -1]])
    assert pixel_order(x, "raster").tolist() == [0, 1, 3, 4, 5]
    assert pixel_order(x, "raster", blank=-1.0).tolist() == [0, 2, 3, 4]
    assert pixel_order(x, "brightest").tolist() == [4, 0, 3, 1, 5]
    many = np.ones(100, np.float32)
    assert pixel_order(many, "brightest").tolist() == list(range(100))
    for seed in (0, 2**64 - 1):
        assert sorted(pixel_order(many, "random", seed)) == list(range(100))
    for seed in (-1, 2**64):
        with pytest.raises(bnn.InputError, match=f"seed: found {seed}"):
            pixel_order(many, "random", seed)


@pytest.mark.parametrize(
    ("value", "step"),
    [(0.0, 1.0), (5.0, 1.0), (0.5, 0.5), (2.0**-24, 2.0**-24), (2.0**-25, None), (1 + 2.0**-23, 2.0**-23), (0.1, None)],
)
def test_steps_of_numbers(value: float, step: float | None) -> None:
    assert exact_step(np.float32([value, 0, 3])) == step


def test_numbers() -> None:
    for value in (1, 1.5, np.int8(1), np.float32(1.5)):
        assert check_number(value, "it") == value
    for value in (True, "1", None, [1.0]):
        with pytest.raises(bnn.InputTypeError, match="it: found .*, expected a number"):
            check_number(value, "it")
    for value in (np.inf, -np.inf, np.nan):
        with pytest.raises(bnn.InputError, match="it: found .*, expected a finite number"):
            check_number(value, "it")
        with pytest.raises(bnn.InputError, match=r"x: found .* at \(1,\), expected finite numbers; 1 are not"):
            check_finite(np.float32([0, value]))
    assert bit_values(0, 1).tolist() == [0, 1]
    for off, on in ((1, 1), (1.0, 1 + 2.0**-30)):  # equal as float32
        with pytest.raises(bnn.InputError, match="expected two different numbers"):
            bit_values(off, on)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"step": 2**40, "window": 2**40}, "step"), ({"window": 2**40}, "window"), ({"count": 2**40}, "count"),
        ({"step": 1, "window": 1}, "step"),
    ],
)  # fmt: skip
def test_the_longest_and_the_shortest_of_a_rule(options: dict[str, int], name: str) -> None:
    rule = Rule(**options)  # type: ignore[arg-type]
    assert getattr(rule, name) == options[name]
    value = 2**40 + 1 if options[name] == 2**40 else 0
    with pytest.raises(bnn.InputError, match=f"{name}: found {value}, expected 1 to {2**40}"):
        Rule(**{**options, name: value})  # type: ignore[arg-type]


def test_what_rules_take() -> None:
    assert Rule(step=500, window=500).window == 500 and Rule(step=10_001).window == 10_001 and Rule().step == 1000
    with pytest.raises(bnn.InputError, match="window: found 499 us, expected at least one step of 500 us"):
        Rule(step=500, window=499)
    for name in ("tau", "level"):
        assert getattr(Rule("decay", **{name: 1e-9}), name) == 1e-9  # type: ignore[arg-type]
        for value in (0, -1e-9):
            with pytest.raises(bnn.InputError, match=f"{name}: found {value}, expected more than 0"):
                Rule("decay", **{name: value})  # type: ignore[arg-type]


def event(x: int, y: int) -> Array:
    return from_fields([x], [y], [1], [0])


def test_events_inside() -> None:
    """On the first and the last pixel, and one beside them, in every direction."""
    for x, y, pixel in ((10, 20, 0), (15, 20, 2), (15, 23, 5), (10, 23, 3)):
        placed = place(event(x, y), (2, 3, 1), (20, 10), 2)
        assert placed.pixel.tolist() == [pixel] and placed.dropped == 0
    for x, y in ((9, 20), (16, 20), (10, 19), (10, 24)):
        with pytest.raises(bnn.InputError, match="none of the 1 events lies on the network's 2 x 3 pixels"):
            place(event(x, y), (2, 3, 1), (20, 10), 2)
    twice = from_fields([0, 0], [0, 0], [0, 1], [5, 5])  # at one time
    assert place(twice, (2, 2, 2), (0, 0), 1).polarity.tolist() == [0, 1]
    assert len(place(twice[:0], (2, 2, 1), (0, 0), 1).t) == 0


@pytest.mark.parametrize("shape", [(2, 2, 3), (2, 2, 0), (), (2, 2), (2, 1), (2, 2, 1, 1)])
def test_networks_that_see_no_camera(shape: tuple[int, ...]) -> None:
    with pytest.raises(bnn.InputError, match=r"need an input \(H, W, 1\), \(H, W, 2\) or"):
        place(event(0, 0), shape, (0, 0), 1)


@pytest.mark.parametrize("origin", [(0,), (0, 0, 0), 0, (0, 0.5), ((0, 0), (0, 0)), ("0", 0), None])
def test_origins(origin: Any) -> None:
    with pytest.raises(bnn.InputError, match="origin: found"):
        place(event(0, 0), (2, 2, 1), origin, 1)


def test_how_often_a_recording_is_looked_at() -> None:
    rule = Rule(step=1, window=1)
    for last, steps in ((0, 2), (MOST_STEPS - 2, MOST_STEPS)):
        assert step_count(recording([0, last]), rule) == steps
    with pytest.raises(bnn.InputError, match="1,000,001 steps of 1 us, expected at most 1,000,000; "):
        step_count(recording([0, MOST_STEPS - 1]), rule)
    assert step_count(recording([]), rule) == 0
    assert [step_count(recording([0, last]), Rule("surface", step=10)) for last in (9, 10)] == [1, 2]


def recording(times: list[int]) -> Recording:
    t = np.array(times, np.int64)
    return Recording(np.zeros(len(t), np.int64), np.zeros(len(t), np.int64), t, 0)


@pytest.mark.parametrize(
    ("rule", "seen", "bits"),
    [
        (Rule(step=10, window=20), [1, 3, 3, 3], [1, 1, 1, 0]), (Rule("surface", step=10), [1, 3], [0, 0]),
        (Rule(step=10, window=20, count=2), [1, 3, 3, 3], [0, 1, 1, 0]),
        (Rule(step=10, window=20, count=3), [1, 3, 3, 3], [0, 1, 0, 0]),
        (Rule("decay", step=10, tau=10.0, level=float(np.exp(-1))), [1, 3], [1, 1]),
        (Rule("decay", step=10, tau=10.0, level=float(np.nextafter(np.exp(-1), 1))), [1, 3], [0, 1]),
    ],
)  # fmt: skip
def test_an_event_counts_until_it_is_as_old_as_the_window(rule: Rule, seen: list[int], bits: list[int]) -> None:
    """Events at 0, 10 and 10; looked at at 10, 20, ...: what happens then is not seen yet."""
    found = list(frames(recording([0, 10, 10]), (1, 1, 1), rule))
    assert [now for now, _, _ in found] == [10 * (k + 1) for k in range(len(seen))]
    assert [n for _, n, _ in found] == seen and [int(b[0, 0, 0]) for _, _, b in found] == bits
