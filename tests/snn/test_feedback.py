# SPDX-License-Identifier: Apache-2.0
"""Learning by feedback: an update is that of e-prop's formulas, targets are given as an input, and what cannot learn is
refused.  tests/snn/test_learning.py compares random networks with the oracle."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import bnn.snn
from bnn._types import Floats
from bnn.errors import CompileError, ModelFormatError
from bnn.runtime.handles import available_kernels
from bnn.snn.file import FORMAT, PROJECTION, encode
from bnn.snn.handle import State
from bnn.snn.learning import Feedback, Plastic
from bnn.snn.network import Network, Population, Projection
from bnn.snn.oracle import Oracle
from bnn.snn.rules import RULES, Dynamics, Emits, Reset
from raw_model import with_checksum
from seed import SEED
from snn.test_engine import compare, opened, run
from snn.test_learning import differences

INPUTS, HIDDEN, CLASSES = 9, 7, 3
STEPS = 4
READOUT, ERROR, SIGNAL = 2, 4, 5


def population(name: str, size: int, rule: str, reset: Reset = Reset.NONE, **numbers: float) -> Population:
    values = {"threshold": 1.0, "reset": 0.0, "initial": 0.0, **numbers}
    emits = Emits.SPIKES if reset else Emits.VALUES
    dynamics = Dynamics(RULES[rule], reset, emits)
    return Population(name, (size,), dynamics, {k: np.full(1, v, np.float32) for k, v in values.items()})


def dyadic(rng: Any, *shape: int, scale: int = 8) -> Floats:
    """Few bits, so that no sum or product of a few steps rounds."""
    return (rng.integers(-scale, scale + 1, shape) / scale).astype(np.float32)


def classifier(rng: Any, feedback: Floats | None = None, readout: Floats | None = None) -> Network:
    """Recurrent hidden neurons, a readout without memory, and its errors, which come back through fixed weights."""
    populations = [
        Population("pixels", (INPUTS,)),
        population("hidden", HIDDEN, "decay", Reset.LATE_SUBTRACT, beta=0.5),
        population("readout", CLASSES, "relay"),
        Population("target", (CLASSES,), input_emits=Emits.VALUES),
        population("error", CLASSES, "relay"),
        population("signal", HIDDEN, "relay"),
    ]
    populations[READOUT].output = True
    one = np.ones(1, np.float32)
    rule = Feedback(SIGNAL, rate=0.25, decay=0.5, width=1.0)
    readout = dyadic(rng, HIDDEN, CLASSES, scale=4) if readout is None else readout
    return Network(
        populations,
        [
            Projection(0, 1, "dense", dyadic(rng, INPUTS, HIDDEN), name="in", learning=rule),
            Projection(1, 1, "dense", dyadic(rng, HIDDEN, HIDDEN) / 2, delay=1, name="recurrent", learning=rule),
            Projection(1, READOUT, "dense", readout, name="out", learning=Feedback(ERROR, rate=0.25, decay=0.0)),
            Projection(3, ERROR, "diagonal", one),
            Projection(READOUT, ERROR, "diagonal", -one),
            Projection(ERROR, SIGNAL, "dense", dyadic(rng, CLASSES, HIDDEN, scale=2) if feedback is None else feedback),
        ],
    )  # fmt: skip


def single_steps(network: Network, pixels: Floats, targets: Floats) -> list[dict[str, Floats]]:
    """What each step does to the weights of the beginning, which are put back after it."""
    model = bnn.snn.build(network)
    before = {p.name: p.weights for p in network.projections if p.learning}
    found = []
    for t in range(len(pixels)):
        model.run({"pixels": pixels[t : t + 1], "target": targets[t : t + 1]}, learn=True, reset=t == 0)
        found.append({name: model.weights(name) for name in before})
        for name, weights in before.items():
            model.set_weights(name, weights)
    return found


def drawn_sample(rng: Any) -> tuple[Floats, Floats]:
    return (rng.random((STEPS, INPUTS)) < 0.4).astype(np.float32), dyadic(rng, STEPS, CLASSES, scale=2)


def test_updates_are_those_of_eprop() -> None:
    """Equations 3, 4 and 22 of Bellec et al. (2020), as sums over all earlier steps, in float64, where nothing rounds.

    Traces are of spikes that have arrived; the learning signal is B applied to the errors of the step.
    """
    print(f"BNN_TEST_SEED={SEED}")
    changed = 0
    for number in range(8):
        rng = np.random.default_rng([SEED, 31, number])
        network = classifier(rng)
        pixels, targets = drawn_sample(rng)
        w_in, w_rec, w_out = (p.weights.astype(np.float64) for p in network.projections[:3])
        b = network.projections[5].weights.astype(np.float64)
        v, z = np.zeros((STEPS, HIDDEN)), np.zeros((STEPS + 1, HIDDEN))  # z[t + 1]: the spikes of step t
        found = single_steps(network, pixels, targets)
        for t in range(STEPS):
            v[t] = 0.5 * (v[t - 1] if t else 0) + pixels[t] @ w_in + z[t] @ w_rec - z[t]
            z[t + 1] = v[t] > 1
            error = targets[t] - z[t + 1] @ w_out
            psi = np.maximum(0, 1 - np.abs(v[t] - 1))
            fading = 0.5 ** np.arange(t, -1, -1)
            expected = {
                "in": w_in + 0.25 * np.outer(fading @ pixels[: t + 1], psi * (error @ b)),
                "recurrent": w_rec + 0.25 * np.outer(fading @ z[: t + 1], psi * (error @ b)),
                "out": w_out + 0.25 * np.outer(z[t + 1], error),
            }
            for name, weights in expected.items():
                assert np.array_equal(found[t][name], weights.astype(np.float32)), (SEED, number, t, name)
            changed += int((expected["recurrent"] != w_rec).sum())
    assert changed


def test_whole_runs_equal_the_oracle() -> None:
    """Errors that depend on what was learned; targets from an input; every kernel family."""
    print(f"BNN_TEST_SEED={SEED}")
    changed = 0
    for number in range(4):
        rng = np.random.default_rng([SEED, 32, number])
        network = classifier(rng)
        for p in network.projections[:3]:
            assert isinstance(p.learning, Feedback)
            p.learning = replace(p.learning, rate=0.03, decay=0.9, width=0.7, low=-1.5, high=1.5)
        oracle, data = Oracle(network), encode(network)
        states = [State(opened(data, kernels)) for kernels in available_kernels()]
        for sample, learning in enumerate((True, False, True)):
            oracle.learning = learning
            inputs = [(rng.random((20, INPUTS)) < 0.3).astype(np.float32), rng.normal(size=(20, CLASSES))]
            inputs[1] = inputs[1].astype(np.float32)
            expected = oracle.run(inputs)
            for state in states:
                state.set_learning(learning)
                compare(network, expected, run(state.opened, inputs, state), (SEED, number, sample))
                assert not differences(network, oracle, state), (SEED, number, sample)
                state.normalize()
                state.reset()
            oracle.normalize()
            oracle.reset()
        changed += sum(not np.array_equal(x.weights, p.weights) for p, x in oracle.plastic.items())
    assert changed


def test_three_factors_by_hand() -> None:
    """Trace, slope and signal are multiplied; without one of them nothing changes."""
    one = np.ones(1, np.float32)
    rule = Feedback(0, rate=0.5, decay=0.5, width=2.0, high=2.0)
    assert rule.slope(np.float32([1, 0, 3, 4, 1e38]), np.float32(1)).tolist() == [1, 0.5, 0, 0, 0]
    w = Plastic(rule, np.ones((1, 1), np.float32))
    w.direct(one * 0, one, one)  # no spike arrived yet
    w.direct(one, one * 0, one)
    w.direct(one, one, one * 0)
    assert w.weights[0, 0] == 1 and w.pre[0] == 1.5
    w.direct(one * 0, one * 0.5, one * -2)
    assert w.weights[0, 0] == 1 - 0.5 * 0.75
    w.direct(one, one, one * 100)
    assert w.weights[0, 0] == 2
    w.reset()
    assert w.pre[0] == 0 and w.weights[0, 0] == 2


def test_what_was_learned_is_kept() -> None:
    """In the file, with the rule: a model that is loaded goes on as the one that was saved."""
    print(f"BNN_TEST_SEED={SEED}")
    went_on = 0
    for number in range(8):
        rng = np.random.default_rng([SEED, 34, number])
        network = classifier(rng)
        model = bnn.snn.build(network)
        given = dict(zip(("pixels", "target"), drawn_sample(rng), strict=True))
        model.run(given, learn=True)
        data = model.to_bytes()
        again = bnn.snn.SpikingModel.from_bytes(data)
        for x in (model, again):
            x.run(given, learn=True)
        assert model.to_bytes() == again.to_bytes(), number
        went_on += encode(network) != data != model.to_bytes()
    assert went_on


def changed(edit: Callable[[Network], None]) -> Network:
    network = classifier(np.random.default_rng(0))
    edit(network)
    return network


def ruled(**changes: Any) -> Callable[[Network], None]:
    def edit(network: Network) -> None:
        rule = network.projections[0].learning
        assert isinstance(rule, Feedback)
        network.projections[0].learning = replace(rule, **changes)

    return edit


def hidden(**changes: Any) -> Callable[[Network], None]:
    def edit(network: Network) -> None:
        dynamics = network.populations[1].dynamics
        assert dynamics is not None
        network.populations[1].dynamics = replace(dynamics, **changes)

    return edit


def counted(network: Network) -> None:
    network.populations[0].input_emits = Emits.COUNTS


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (ruled(rate=np.inf), "in: learning: found the rate inf, expected a finite number"),
        (ruled(decay=-0.5), "in: learning: found the decay -0.5, expected 0 to 1"),
        (ruled(width=0.0), "in: learning: found the width 0.0, expected a finite number above 0"),
        (ruled(width=1e39), "in: learning: found the width inf"),
        (ruled(low=2.0, high=1.0), "in: learning: found bounds from 2.0 to 1.0"),
        (ruled(rate="fast"), "projection 0: learning: rate: found 'fast', expected a number"),
        (ruled(signal=6), "in: learning: found the signal 6, expected a population below 6"),
        (ruled(signal=ERROR), "in: learning: found a signal of 3 values from error, expected 7 values, one for each"),
        (ruled(signal=1), "in: learning: found a signal of 7 spikes from hidden, expected 7 values"),
        (hidden(reset=Reset.VALUE), "feedback to spikes of hidden with the reset VALUE, expected values, or spikes"),
        (hidden(reset=Reset.CORRECTED_SUBTRACT), "with the reset CORRECTED_SUBTRACT"),
        (hidden(reset=Reset.NONE, emits=Emits.COUNTS), "found feedback to counts of hidden"),
        (counted, "in: found learning from counts of pixels, expected spikes"),
    ],
)  # fmt: skip
def test_what_cannot_learn_is_refused(edit: Callable[[Network], None], message: str) -> None:
    with pytest.raises(CompileError, match=message):
        encode(changed(edit))


FEEDBACK = "feedback to values, or to spikes with a late reset (1: yes)"
SIGNALS = "signal of a value for each target (1: yes)"


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([(2, "B", 28)], "flags (below): found 28, expected 24"),
        ([(2, "B", 16)], "flags (below): found 16, expected 8"),
        ([(88, "f", 1.0)], "rate of a source's spikes, or norm, of feedback"),
        ([(112, "f", 1.0)], "rate of a source's spikes, or norm, of feedback"),
        ([(92, "f", np.nan)], "finite learning rates"),
        ([(96, "f", 1.5)], "decays of traces from 0 to 1"),
        ([(100, "f", 0.0)], "finite width above 0 (1: yes)"),
        ([(100, "f", np.inf)], "finite width above 0 (1: yes)"),
        ([(104, "f", np.inf), (108, "f", 0.0)], "bounds of weights in their order"),
        ([(116, "I", 6)], "population of a signal (below)"),
        ([(116, "I", ERROR)], SIGNALS),
        ([(116, "I", 1)], SIGNALS),
        ([(120, "B", 1)], "byte without a meaning"),
        ([(2, "B", 4)], "byte without a meaning"),
    ],
)
def test_records_are_checked(edits: list[tuple[int, str, float]], message: str) -> None:
    """By the runtime, of a file that another program wrote."""
    file = bytearray(encode(classifier(np.random.default_rng(0))))
    first = FORMAT.header.unpack_from(file)[9]
    for offset, form, value in edits:
        struct.pack_into("<" + form, file, first + offset, value)
    with pytest.raises(ModelFormatError) as raised:
        bnn.snn.SpikingModel.from_bytes(with_checksum(file))
    assert f"projection 0: {message}" in str(raised.value)
    assert PROJECTION.size == 128


@pytest.mark.parametrize("reset", [Reset.VALUE, Reset.CORRECTED_SUBTRACT, Reset.NONE])
def test_targets_of_a_file_are_checked(reset: Reset) -> None:
    file = bytearray(encode(classifier(np.random.default_rng(0))))
    populations = FORMAT.header.unpack_from(file)[8]
    file[populations + 128 + 1] = reset
    with pytest.raises(ModelFormatError) as raised:
        bnn.snn.SpikingModel.from_bytes(with_checksum(file))
    assert f"projection 0: {FEEDBACK}" in str(raised.value)
    if reset == Reset.NONE:
        file[populations + 128 + 2] = Emits.COUNTS
        with pytest.raises(ModelFormatError) as raised:
            bnn.snn.SpikingModel.from_bytes(with_checksum(file))
        assert f"projection 0: {FEEDBACK}" in str(raised.value)


def test_signals_are_of_no_event_population() -> None:
    """Its values are not those of one step."""
    network = classifier(np.random.default_rng(0))
    network.projections[2].learning = Feedback(3, rate=0.25, decay=0.0)
    file = bytearray(encode(network))
    network.populations[3].steps = 1
    with pytest.raises(
        CompileError, match="out: learning: found a signal of 3 values from the event population target"
    ):
        encode(network)
    file[FORMAT.header.unpack_from(file)[8] + 3 * 128 + 116] = 1
    with pytest.raises(ModelFormatError) as raised:
        bnn.snn.SpikingModel.from_bytes(with_checksum(file))
    assert f"projection 2: {SIGNALS}" in str(raised.value)
