# SPDX-License-Identifier: Apache-2.0
"""What runs and reports say of numbers that are given: moments, answers, shares, operations and energy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnn.events.counts import EventReport, LayerCounts
from bnn.events.rules import Rule
from bnn.events.runs import ImageRun, RecordingRun, StreamRun
from bnn.streams.energy import ACCUMULATE, MULTIPLY_ACCUMULATE, SYNOP, _joules


def counts(kind: str, synops: int, dense: int, multiplies: bool = False) -> LayerCounts:
    return LayerCounts(kind, kind, 0, 0, 4, dense, 3, synops, 5, 6, 0, None, multiplies)


def test_energy_of_one_and_of_several_inputs() -> None:
    layers = (counts("encoder", 10, 20, True), counts("encoder", 3, 4), counts("synapses", 100, 200))
    assert (ACCUMULATE, MULTIPLY_ACCUMULATE) == (0.9e-12, 4.6e-12)
    assert SYNOP == {
        "Loihi": (23.6e-12, 23.6e-12), "SpiNNaker2": (10e-12, 10e-12), "TrueNorth": (2.5e-12, 26e-12),
    }  # fmt: skip
    for n in (1, 2):
        report = EventReport(layers, n, "incremental")
        assert (report.synops, report.dense, report.spikes) == (113, 224 * n, 33)
        assert (report.encoder_synops, report.encoder_dense) == (13, 24 * n)
        assert report.share == 113 / (224 * n) and report.share_without_encoder == 100 / (200 * n)
        found = [(e.operations, *e.total) for e in report.energy()]
        assert np.allclose(found, [
            (100, *[(100 + 3) * 0.9e-12 + 10 * 4.6e-12] * 2), (200 * n, *[n * (204 * 0.9e-12 + 20 * 4.6e-12)] * 2),
            (200 * n, *[n * 224 * 4.6e-12] * 2), (100, *[100 * 23.6e-12] * 2), (100, *[100 * 10e-12] * 2),
            (100, 100 * 2.5e-12, 100 * 26e-12),
        ], rtol=1e-12, atol=0)  # fmt: skip
        assert f"\n{n} input{'s' if n > 1 else ''}; encoder: incremental\n" in str(report)
    none = EventReport((counts("encoder", 0, 7),), 1, "synchronous")
    assert none.share_without_encoder == 0.0 and "without encoder" in str(none)
    assert "without encoder" not in str(EventReport(layers[2:], 1, "none"))
    assert EventReport((), 0, "none").share == 0.0


@pytest.mark.parametrize(
    ("joules", "text"),
    [
        (1.0, "1 J"),
        (0.9994, "999 mJ"),
        (1e-3, "1 mJ"),
        (1e-6, "1 uJ"),
        (1e-9, "1 nJ"),
        (9.994e-10, "999 pJ"),
        (9.996e-10, "1 nJ"),
        (0.0, "0 pJ"),
    ],
)
def test_units_of_energy(joules: float, text: str) -> None:
    assert _joules(joules) == text


def image_run(answers: list[int], label: int | None, **more: Any) -> ImageRun:
    outputs = np.eye(4, dtype=np.float32)[answers]
    shape = more.pop("image", np.zeros((1, len(answers) - 1, 1), np.float32))
    return ImageRun(outputs, label, EventReport((), 1, "none"), shape, np.arange(len(answers) - 1), "raster", **more)


@pytest.mark.parametrize(
    ("answers", "label", "first", "final"),
    [
        ([0, 1, 2, 2], 2, 2, 2), ([2, 2, 2, 2], 2, 0, 0), ([0, 0, 0, 1], 1, 3, 3), ([0, 1, 0, 0], 1, 1, 2),
        ([0, 0, 0, 0], 1, None, 0), ([0, 1, 2, 3], None, None, 3),
    ],
)  # fmt: skip
def test_moments(answers: list[int], label: int | None, first: int | None, final: int) -> None:
    run = image_run(answers, label)
    assert (run.moments, run.answer, run.first_correct, run.final) == (3, answers[-1], first, final)
    assert run.share(first) == (None if first is None else first / 3)
    assert ("never right" in run.verdict()) == (label is not None and first is None)
    assert image_run([1], 1).share(0) == 0.0


def test_units() -> None:
    for shape in ((2, 2, 1), (2, 2, 3), (4,), (4, 1)):
        unit = "pixel" if shape == (2, 2, 1) else "input value"
        assert image_run([0] * 5, None, image=np.zeros(shape, np.float32)).unit == unit


def recording_run(seen: list[int], answers: list[int], count: int) -> RecordingRun:
    outputs, steps = np.eye(4, dtype=np.float32)[answers], np.zeros(len(seen), np.int64)
    return RecordingRun(outputs, None, EventReport((), 1, "none"), rule=Rule(step=10), times=steps, changed=steps,
                        seen=np.array(seen, np.int64), up=steps, down=steps, events=count)  # fmt: skip


def test_moments_of_recordings() -> None:
    """The answer is that of the step that saw the last event; the most frequent one does not count the start."""
    run = recording_run([1, 4, 4, 4], [0, 1, 2, 0, 0], 4)
    assert (run.moments, run.answer, run.most_frequent) == (2, 2, (0, 2))
    assert [run.events_share(m) for m in (None, 0, 1, 2)] == [None, 0, 0.25, 1]
    assert [run.time(m) for m in (None, 0, 2)] == [None, 0, 20]
    assert run.when(0) == "before any event" and run.when(1) == "after 10 us (50% of the time, 25% of the events)"
    assert recording_run([4, 4], [0, 1, 1], 4).moments == 1
    empty = recording_run([], [3], 0)
    assert (empty.moments, empty.answer, empty.events_share(0), empty.most_frequent) == (0, 3, 0, (0, 0))
    names = ("changed", "up", "down", "synops", "events", "nanoseconds", "synchronous_nanoseconds")
    arrays: Any = dict.fromkeys(names, np.zeros(1))
    stream = StreamRun(np.zeros((2, 1), np.float32), None, EventReport((), 1, "none"), **arrays, wrong=0, compared=True)
    assert stream.moments == 1
