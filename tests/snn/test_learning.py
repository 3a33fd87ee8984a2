# SPDX-License-Identifier: Apache-2.0
"""Local learning: the engine equals the oracle in every spike, weight and threshold, and what a user can do with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn.snn
from bnn._types import Floats
from bnn.errors import CompileError, InputError, ModelFormatError
from bnn.runtime.handles import available_kernels
from bnn.runtime.native import lib
from bnn.snn.file import FORMAT, PROJECTION, encode
from bnn.snn.handle import State
from bnn.snn.learning import Learning, Plastic
from bnn.snn.network import Network, Population, Projection
from bnn.snn.oracle import Oracle
from bnn.snn.rules import RULES, Dynamics, Emits, Reset
from raw_model import with_checksum
from seed import SEED, numbers
from snn.networks import draw_inputs, draw_plastic_network
from snn.test_engine import BALLAST, ballast, compare, opened, run, run_frames, stopping_after

RULE = Learning(0.01, 0.1, 0.5, 0.75, low=0.0, high=1.0, norm=4.0)


def small(learning: Learning | None = RULE, step: float = 0.25, **changes: Any) -> Network:
    """Twenty inputs and five neurons that inhibit each other."""
    rng = np.random.default_rng(SEED)
    numbers = {
        "threshold": 1,
        "reset": 0,
        "initial": 0,
        "decay": 0.9,
        "rest": 0,
        "period": 2,
        "step": step,
        "fall": 0.5,
    }
    dynamics = Dynamics(RULES["adaptive"], Reset.VALUE, at_least=True)
    neurons = Population(
        "neurons", (5,), dynamics, {k: np.full(1, v, np.float32) for k, v in numbers.items()}, output=True,
        adapted=np.zeros(5, np.float32),
    )  # fmt: skip
    weights = rng.uniform(0, 0.4, (20, 5)).astype(np.float32)
    inhibition = (-0.5 * (1 - np.eye(5))).astype(np.float32)
    return Network(
        [Population("input", (20,)), neurons],
        [
            Projection(0, 1, "dense", weights, delay=1, name="in", learning=learning, **changes),
            Projection(1, 1, "dense", inhibition, delay=1, name="inhibition"),
        ],
        dt=1e-3,
    )


def spikes(steps: int = 60, seed: int = 0) -> Floats:
    return (np.random.default_rng([SEED, seed]).random((steps, 20)) < 0.2).astype(np.float32)


def differences(network: Network, oracle: Oracle, state: State) -> list[str]:
    """What was learned, and differs."""
    infos = {p.name: p for p in state.opened.projections if p.learns}
    found = []
    for p, plastic in oracle.plastic.items():
        if not np.array_equal(state.weights(infos[p.name]), plastic.weights, equal_nan=True):
            found.append(p.name)
    for i, population in enumerate(network.populations):
        if population.adapts and not np.array_equal(
            state.get(i, "adapted"), oracle.states[i]["adapted"], equal_nan=True
        ):
            found.append(population.name)
    return found


@pytest.mark.drawn
def test_random_networks_learn_as_the_oracle() -> None:
    """Samples one after the other, with and without learning, a reset and a normalization between them."""
    print(f"BNN_TEST_SEED={SEED}")
    sent = changed = 0
    for number in numbers(40):
        rng = np.random.default_rng([SEED, 8, number])
        network = draw_plastic_network(rng)
        oracle, data = Oracle(network), encode(network)
        states = [State(opened(data, kernels)) for kernels in available_kernels()]
        before = {p: x.weights.copy() for p, x in oracle.plastic.items()}
        for sample, learning in enumerate((True, True, False, True)):
            oracle.learning = learning
            inputs = draw_inputs(rng, network, 20)
            expected, what = oracle.run(inputs), (SEED, number, sample)
            for state in states:
                state.set_learning(learning)
                sent += compare(network, expected, run(state.opened, inputs, state), what)
                assert not differences(network, oracle, state), what
            if sample != 1:
                oracle.normalize()
                for state in states:
                    state.normalize()
                    assert not differences(network, oracle, state), what
                    state.reset()
                oracle.reset()
        changed += sum(not np.array_equal(w, oracle.plastic[p].weights) for p, w in before.items())
    assert sent and changed


def test_a_pair_of_spikes_by_hand() -> None:
    """Before the target: the weight rises; after it: it falls; traces decay once per step."""
    rule = Learning(0.5, 0.25, 0.5, 0.5, high=10)
    one, none = np.ones(1, np.float32), np.zeros(1, np.float32)
    w = Plastic(rule, np.ones((1, 1), np.float32))
    for source, target in ((one, none), (none, none), (none, one)):
        w.step(source, target)
    assert w.weights[0, 0] == 1 + 0.25 * 0.25
    w.step(one, none)
    assert w.weights[0, 0] == 1 + 0.0625 - 0.5 * 0.5
    w.step(one, one)  # both: the source's traces are 1 by then
    assert w.weights[0, 0] == 1 + 0.0625 - 0.25 - 0.5 + 0.25
    added = Plastic(replace(rule, added=True), np.ones((1, 1), np.float32))
    added.step(one, none)
    added.step(one, none)
    assert added.pre[0] == 1.5


def test_a_run_begins_with_what_was_learned() -> None:
    model = bnn.snn.build(small(RULE))
    model.run(spikes(), learn=True)
    learned = model.thresholds("neurons"), model.weights("in")
    model.run(spikes(seed=1))
    assert learned[0].any()
    assert np.array_equal(model.thresholds("neurons"), learned[0]) and np.array_equal(model.weights("in"), learned[1])


def test_threads_have_what_was_learned() -> None:
    model = bnn.snn.build(small())
    x = np.stack([spikes(seed=i) for i in range(6)], axis=1)
    before = model.run(x).output
    model.run(spikes(seed=9), learn=True)
    alone = np.stack([model.run(x[:, i]).output for i in range(6)], axis=1)
    for threads in (3, 1):
        assert np.array_equal(model.run(x, threads=threads).output, alone)
    assert not np.array_equal(alone, before), SEED


def test_samples_do_not_learn() -> None:
    """Not even right after a run that learned."""
    model = bnn.snn.build(small(RULE))
    model.run(spikes(), learn=True)
    learned = model.thresholds("neurons"), model.weights("in")
    model.run(np.stack([spikes(seed=i) for i in range(3)], axis=1))
    assert np.array_equal(model.thresholds("neurons"), learned[0]) and np.array_equal(model.weights("in"), learned[1])


def test_learning_goes_on_and_is_kept(tmp_path: Path) -> None:
    """Only with learn=True; a reset leaves it; a saved file goes on where the model was."""
    model, oracle = bnn.snn.build(small()), Oracle(small())
    first = model.weights("in")
    model.run(spikes())
    assert np.array_equal(model.weights("in"), first) and not model.thresholds("neurons").any()
    assert model.to_bytes() == encode(small())
    model.run(spikes(), learn=True)
    model.normalize()
    oracle.learning = True
    oracle.run([spikes()])
    oracle.normalize()
    learned = model.weights("in")
    assert np.array_equal(learned, next(iter(oracle.plastic.values())).weights)
    assert not np.array_equal(learned, first) and model.thresholds("neurons").any()
    assert np.allclose(learned.sum(axis=0), RULE.norm)

    model.reset()
    assert np.array_equal(model.weights("in"), learned)
    model.save(tmp_path / "learned.snn")
    again = bnn.snn.load(tmp_path / "learned.snn")
    assert np.array_equal(again.weights("in"), learned)
    assert np.array_equal(again.thresholds("neurons"), model.thresholds("neurons"))
    for seed, learn in ((1, True), (2, False), (3, True)):
        mine, other = (m.run(spikes(seed=seed), learn=learn).output for m in (model, again))
        assert np.array_equal(mine, other) and mine.any()
    assert model.to_bytes() == again.to_bytes()


def test_steps_learn_as_a_run_does() -> None:
    one, other = bnn.snn.build(small()), bnn.snn.build(small())
    one.run(spikes(), learn=True)
    for x in spikes():
        other.step(x, learn=True)
    assert one.to_bytes() == other.to_bytes() != encode(small())


def test_weights_that_are_set_are_learned_from() -> None:
    model = bnn.snn.build(small())
    weights = np.random.default_rng(SEED).uniform(-1, 3, (20, 5)).astype(np.float32)
    for _ in range(2):  # the second time those before are within their bounds
        model.set_weights("in", weights)
        assert np.array_equal(model.weights("in"), weights)
        model.run(np.zeros((1, 20)), learn=True)
        assert np.array_equal(model.weights("in"), weights.clip(0, 1))
    for wrong in (weights[:3], np.where(weights > 2, np.nan, weights)):
        with pytest.raises(
            InputError, match=r"weights of in: found shape .*expected finite numbers of shape \(20, 5\)"
        ):
            model.set_weights("in", wrong)
    for wrong, message in (([[1], [1, 2]], "list is not an array"), ("x", "found .x., expected an array of numbers")):
        with pytest.raises(InputError, match=f"weights of in: {message}"):
            model.set_weights("in", wrong)


def test_weights_are_of_one_projection() -> None:
    network = small()
    again = replace(network.projections[0])
    model = bnn.snn.build(replace(network, projections=[*network.projections, again]))
    for call in (lambda: model.weights("in"), lambda: model.set_weights("in", np.ones((20, 5)))):
        with pytest.raises(
            InputError, match="weights of 'in': found 2 projections with this name, expected one; rename one"
        ):
            call()


def test_what_does_not_learn_is_said() -> None:
    fixed = small(None)
    fixed.populations[1].dynamics = Dynamics(RULES["integrate"], Reset.VALUE)
    fixed.populations[1].parameters = {k: fixed.populations[1].parameters[k] for k in ("threshold", "reset", "initial")}
    model = bnn.snn.build(fixed)
    with pytest.raises(InputError, match="learn: no weights of this network learn and no threshold adapts"):
        model.run(spikes(), learn=True)
    with pytest.raises(InputError, match="weights of 'in': no projection learns in this network; build one with"):
        model.weights("in")
    with pytest.raises(InputError, match="weights of 'inhibition': they do not learn, expected one of in"):
        bnn.snn.build(small()).weights("inhibition")
    with pytest.raises(InputError, match="thresholds of 'input': they do not adapt, expected one of neurons"):
        bnn.snn.build(small()).thresholds("input")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nu_pre": np.inf}, "found the rates inf and"),
        ({"decay_post": 1.5}, "found the decays 0.5 and 1.5, expected 0 to 1"),
        ({"low": 2.0}, "found bounds from 2.0 to 1.0"),
        ({"norm": -1.0}, "found the norm -1.0"),
    ],
)
def test_numbers_of_learning_are_checked(changes: dict[str, Any], message: str) -> None:
    """By the compiler; and by the runtime, of a file that another program wrote."""
    rule = replace(RULE, **changes)
    with pytest.raises(CompileError, match=f"in: learning: {message}"):
        encode(small(rule))
    file = bytearray(encode(small()))
    at = FORMAT.header.unpack_from(file)[9] + 88
    file[at : at + 28] = rule.numbers.tobytes()
    with pytest.raises(ModelFormatError, match="projection 0"):
        bnn.snn.SpikingModel.from_bytes(with_checksum(file))


def test_what_cannot_learn_is_refused() -> None:
    with pytest.raises(CompileError, match="learning of float32 dense weights with a mask"):
        encode(small(mask=np.ones(20, bool)))
    whole = small()
    whole.projections[0].weights = whole.projections[0].weights.astype(np.int8)
    with pytest.raises(CompileError, match="learning of int8 dense weights"):
        encode(whole)
    counts = small()
    counts.populations[0].input_emits = Emits.COUNTS
    with pytest.raises(CompileError, match="learning from counts of input, expected spikes"):
        encode(counts)
    still = small()
    still.populations[0].adapted = np.ones(1, np.float32)
    with pytest.raises(CompileError, match="adapted: found a value that is not 0"):
        encode(still)


def test_bytes_without_a_meaning_are_zero() -> None:
    """Of every projection: those of one that does not learn, and the rest of one that does."""
    file = encode(small())
    first = FORMAT.header.unpack_from(file)[9]
    for at in [first + k for k in range(116, 128)] + [first + PROJECTION.size + k for k in range(88, 128)]:
        wrong = bytearray(file)
        assert wrong[at] == 0
        wrong[at] = 1
        with pytest.raises(ModelFormatError, match="byte without a meaning"):
            bnn.snn.SpikingModel.from_bytes(with_checksum(wrong))


@pytest.mark.parametrize(("work", "learned"), [(32, 0), (1024, 1), (3072, 2), (9600, None)])
def test_stopped_while_it_learns(work: int, learned: int | None) -> None:
    """Between two projections, or before the first: those that have learned keep it; None: not stopped."""
    rng = np.random.default_rng(SEED)
    weights = rng.uniform(0.2, 0.4, (2, 32, 32)).astype(np.float32)
    numbers = {"threshold": 1.0, "reset": 0.0, "initial": 0.0}
    firing = Population(
        "firing", (32,), Dynamics(RULES["integrate"], Reset.VALUE), {k: np.float32([v]) for k, v in numbers.items()},
        np.full(1, 2, np.float32), output=True,
    )  # fmt: skip
    network = Network(
        [Population("input", (32,)), ballast(), firing],
        [Projection(0, 2, "dense", w, delay=1, learning=RULE, name=str(k)) for k, w in enumerate(weights)],
    )
    state = State(opened(encode(network)))
    asked = stopping_after(state, BALLAST + work)
    state.set_learning(True)
    status = run_frames(state, np.ones((1, 32), np.float32))
    changed = [not np.array_equal(state.weights(p), weights[p.index]) for p in state.opened.projections]
    if learned is None:
        assert status == lib.BNN_OK and asked == [0] and all(changed)
    else:
        assert status == lib.BNN_ERROR_STOPPED and asked == [1] and changed == [learned > 0, learned > 1]
    oracle = Oracle(network)
    oracle.learning = True
    oracle.run([np.ones((1, 32), np.float32)])
    for p, have, new in zip(state.opened.projections, changed, oracle.plastic.values(), strict=True):
        assert not have or np.array_equal(state.weights(p), new.weights)
