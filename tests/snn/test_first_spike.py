# SPDX-License-Identifier: Apache-2.0
"""Runs that end with the first spike of an output: against the definition in NumPy, which runs all steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array, Floats
from bnn.runtime.handles import SNN, Contents, select_kernels
from bnn.snn import build
from bnn.snn.file import encode
from bnn.snn.handle import CURRENT, MEMBRANE, SENT, OpenedNetwork, State, frames, unpacked
from bnn.snn.network import Network, Population, Projection
from bnn.snn.oracle import Oracle, Record
from bnn.snn.rules import Emits, Reset
from bnn.streams.recordings import from_fields
from conftest import Limit
from seed import SEED, numbers
from snn.event_networks import changes, draw
from snn.networks import draw_inputs, draw_network
from snn.small import SIDE, population, small_network

STEPS = 24


def ends(network: Network, record: Record) -> list[int]:
    """The steps after which runs end that go on until the last step."""
    sent = np.concatenate([record.sent[i] for i in network.outputs], axis=1)
    found = (np.flatnonzero(sent.any(axis=1)) + 1).tolist()
    return found if found[-1:] == [STEPS] else [*found, STEPS]


def rises(opened: OpenedNetwork, given: list[Array]) -> list[int]:
    """The same by what outputs count, step by step: event populations may take back in a step what they sent in it."""
    state, found, counts = State(opened, 2**40), [0], [0]
    for t in range(STEPS):
        state.run([x[t : t + 1] for x in given], 1)
        counts.append(sum(state.sent(p.index) for p in opened.populations if p.output))
        found += [t + 1] if counts[-1] > counts[-2] or t + 1 == STEPS else []
    return found[1:]


def check(network: Network, inputs: list[Floats], events: bool = False) -> int:
    """A state goes on until every output spike, with everything recorded; returns how often it stopped early."""
    expected = Oracle(network).run(inputs)
    state = State(OpenedNetwork(Contents.of_bytes(encode(network), SNN), select_kernels(None)), 2**40)
    infos, begin, early = state.opened.populations, 0, 0
    given = [frames(x, infos[i].emits) for i, x in zip(network.inputs, inputs, strict=True)]
    for end in rises(state.opened, given) if events else ends(network, expected):
        made: dict[tuple[int, str], Array] = {}
        for p in infos:
            made[p.index, SENT] = np.zeros((STEPS, p.frame // 4), np.float32 if p.emits else np.uint32)
            if p.index in expected.membranes:
                made |= {(p.index, what): np.zeros((STEPS, p.size), np.float32) for what in (CURRENT, MEMBRANE)}
        for (i, what), to in made.items():
            state.record(i, what, to)
        assert state.run([x[begin:] for x in given], STEPS - begin, until_spike=True) == end - begin
        state.forget()
        assert state.steps == end
        for (i, what), rows in made.items():
            want = {SENT: expected.sent, CURRENT: expected.currents, MEMBRANE: expected.membranes}[what][i]
            found = unpacked(rows, infos[i].size, infos[i].emits) if what == SENT else rows
            assert np.array_equal(found[: end - begin], want[begin:end], equal_nan=True), (infos[i].name, what)
            assert not found[end - begin :].any(), (infos[i].name, what)
        early += end < STEPS
        begin = end
    return early


@pytest.mark.drawn
def test_random_networks_stop_where_the_oracle_fires(limit: Limit) -> None:
    """Also where a run is divided into calls, and the spike ends one of them."""
    print(f"BNN_TEST_SEED={SEED}")
    early = 0
    for number in numbers(40):
        rng = np.random.default_rng([SEED, number])
        limit("bnn.snn.handle._STEPS", int(rng.choice([1, 3, 4096])))
        network = draw_network(rng)
        early += check(network, draw_inputs(rng, network, STEPS))
        events = draw(rng)
        early += check(events, [changes(rng, events.populations[i], STEPS) for i in events.inputs], events=True)
    assert early


def racing(threshold: float = 2.0, outputs: int = 3) -> bnn.SpikingModel:
    """Each output adds up its own two inputs, and remembers them."""
    integrate = population("race", (outputs,), "integrate", Reset.VALUE, output=True, threshold=threshold)
    weights = np.repeat(np.eye(outputs, dtype=np.float32), 2, axis=0)
    return build(Network([Population("in", (2 * outputs,)), integrate], [Projection(0, 1, "dense", weights)]))


def sending(*steps: list[int], neurons: int = 6) -> Array:
    x = np.zeros((len(steps), neurons), bool)
    for row, sent in zip(x, steps, strict=True):
        row[sent] = True
    return x


def test_the_first_to_fire_is_the_answer() -> None:
    """Of those that fire in one step, the first, although another gets more; of none, none."""
    model = racing(threshold=1.5)
    late = sending([], [4], [5], [0, 1])
    tie = sending([2, 4], [], [3, 5, 4], [0])
    silent = sending([0], [], [2], [4])
    last = sending([], [], [], [4, 5])
    run = model.run(np.stack([late, tie, silent, last], axis=1), until="first-spike", record=["in"])
    assert run.taken.tolist() == [3, 3, 4, 4] and run.answers.tolist() == [2, 1, -1, 2]
    assert run.recorded["in"][:3, 0].sum() == 2 and not run.recorded["in"][3, :2].any()
    assert run.report.steps == 14 and run.synops == 3 * (2 + 5 + 3 + 2)
    one = model.run(late, until="first-spike")
    assert one.taken.shape == () and (int(one.taken), int(one.answers)) == (3, 2) and one.output.shape == (4, 3)
    whole = model.run(late)
    assert (int(whole.taken), int(whole.answers)) == (4, 0) and whole.report.steps == 4  # both fired once by then
    assert model.run(np.stack([late, silent], axis=1)).answers.tolist() == [0, -1]


@pytest.mark.parametrize("threads", [1, 2])
def test_each_sample_stops_by_itself(threads: int) -> None:
    """As it does alone; what it sent until then is what it sends in a whole run."""
    print(f"BNN_TEST_SEED={SEED}")
    rng, model, network = np.random.default_rng(SEED), build(small_network()), small_network()
    x = rng.random((STEPS, 4, 2, SIDE, SIDE)) < rng.random((4, 1, 1, 1)) * 0.3
    x[:, 2] = False
    names = {"record": ["input", "conv", "output"], "membranes": ["conv"], "currents": ["output"]}
    run = model.run(x, until="first-spike", threads=threads, **names)
    for i, taken in enumerate(run.taken):
        oracle = Oracle(network).run([np.moveaxis(x[:, i], 1, -1).reshape(STEPS, -1).astype(np.float32)])
        assert taken == ends(network, oracle)[0]
        for what in ("outputs", "recorded", "membranes", "currents"):
            whole, alone = (getattr(model.run(x[:, i], until=u, **names), what) for u in (None, "first-spike"))
            for name, rows in getattr(run, what).items():
                assert np.array_equal(rows[:, i], alone[name]), (what, name)
                assert np.array_equal(rows[:taken, i], whole[name][:taken]) and not rows[taken:, i].any(), (what, name)
    prefixes = [model.run(x[:taken, i]) for i, taken in enumerate(run.taken)]
    assert run.synops == sum(prefix.synops for prefix in prefixes)
    assert run.report.steps == run.taken.sum() and run.taken[2] == STEPS and run.answers[2] == -1


def test_a_watched_run_ends_with_the_spike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is divided into; the next one goes on."""
    model = racing()
    x = sending([0], [2], [2], [3], [0], [0], [1], [1])
    for most in (1, 2, 3, 100):
        monkeypatch.setattr(
            "bnn.snn.model.blocks", lambda steps, neurons, most=most: (
                (k, min(most, steps - k)) for k in range(0, steps, most))
        )  # fmt: skip
        run = model.run_stream(x, until="first-spike", label=1, trace=True)
        assert (run.moments, run.answer, run.final, run.first_correct) == (4, 1, 4, 4), most
        assert run.sent.tolist() == [[1, 0], [1, 0], [1, 0], [1, 1]] and run.spikes is not None
        assert run.spikes["step"].max() == 4 and run.report.steps == 4 and run.report.synops == 12
        rest = model.run_stream(x[4:], until="first-spike", reset=False)
        assert (rest.moments, rest.answer, rest.report.steps) == (2, 0, 2), most
    assert "8 steps, until the first spike: answer 1" in str(run) and "step 4 of 4" in str(run)


def test_images_and_recordings() -> None:
    model = racing(threshold=3.0)
    run = model.run_image(np.array([0, 0, 1, 1, 0, 1]), 9, until="first-spike")
    assert (run.moments, run.answer, run.report.steps) == (2, 1, 2)
    camera = build(small_network())
    rng = np.random.default_rng(SEED)
    x, y, p = rng.integers(0, SIDE, (3, 3000))
    t = np.sort(rng.integers(0, 40_000, 3000)) + 5
    events = from_fields(x, y, p % 2, t)
    whole, until = camera.run_events(events), camera.run_events(events, until="first-spike", label=0)
    first = int(np.flatnonzero(whole.outputs.any(axis=1))[0])
    assert until.moments == first < whole.moments and np.array_equal(until.outputs, whole.outputs[: first + 1])
    seen = int((t < t[0] + 1000 * first).sum())
    assert until.seen.tolist() == whole.seen[:first].tolist() and until.seen[-1] == seen
    assert until.merged == seen - int(until.sent[:, 0].sum()) and until.events == 3000
    assert until.events_share(until.moments) == seen / 3000


@pytest.mark.parametrize("emits", [Emits.VALUES, Emits.COUNTS])
def test_an_output_sends_spikes(emits: Emits) -> None:
    network = small_network()
    network.populations[3] = population("output", (4,), "relay", Reset.NONE, emits, output=True)
    if emits == Emits.COUNTS:
        network.populations[3] = population("output", (4,), "integrate", Reset.NONE, emits, output=True)
    network.projections.pop()
    model, x = build(network), np.ones((5, 2, SIDE, SIDE))
    if emits == Emits.COUNTS:
        assert model.run(x, until="first-spike").taken < 5
        return
    for call in (model.run, model.run_stream):
        with pytest.raises(bnn.InputError, match="until: the output output sends values, expected spikes; leave until"):
            call(x, until="first-spike")


@pytest.mark.parametrize(("until", "kind"), [("spike", bnn.InputError), (True, bnn.InputTypeError)])
def test_another_end(until: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"until: found {until!r}, expected one of first-spike"):
        racing().run(sending([0]), until=until)
