# SPDX-License-Identifier: Apache-2.0
"""The rules, resets and what is sent, on small cases that are computed by hand; simulators/ has the real ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn.snn.rules import EVENT_RULES, RULES, Dynamics, Emits, Reset
from seed import SEED

ROOT = Path(__file__).resolve().parents[2]
FAR = 2.0**24  # the next float32 is 2 away: what is added first is lost
Run = tuple[list[Any], dict[str, list[Any]]]


def run(
    dynamics: Dynamics, currents: Sequence[Any], own: Sequence[Any] = (), learning: bool = False, **p: float
) -> Run:
    """What one neuron (or as many as a row of currents has) sends in each step, and its variables after it."""
    rows = np.array(currents, np.float32).reshape(len(currents), -1)
    n = rows.shape[1]
    given = {"threshold": 1.0, "reset": 0.0, "initial": 0.0} | p
    parameters = {k: np.broadcast_to(np.float32(v), (n,)) for k, v in given.items()}
    assert set(given) == {"threshold", "reset", "initial", *dynamics.rule.parameters}
    state = dynamics.initial(parameters, n)
    sent: list[Any] = []
    seen: dict[str, list[Any]] = {name: [] for name in dynamics.rule.states}
    for t, x in enumerate(rows):
        second = np.full(n, own[t], np.float32) if dynamics.rule.recurrent else None
        out = dynamics.settle(parameters, state, x, own=second, learning=learning)
        assert out.dtype == np.float32 and all(state[name].dtype == np.float32 for name in seen)
        sent.append(out.tolist() if n > 1 else out.item())
        for name, values in seen.items():
            values.append(state[name].tolist() if n > 1 else state[name].item())
    return sent, seen


def values_of(rule: str, currents: Sequence[float], own: Sequence[float] = (), **p: Any) -> dict[str, list[Any]]:
    """Variables after each step of a neuron that only integrates; a membrane is what it sends."""
    sent, seen = run(Dynamics(RULES[rule], emits=Emits.VALUES), currents, own, **p)
    assert seen.get("v", sent) == sent
    return seen | {"v": sent}


# rule: currents, own currents, parameters, variables after each step
CHARGES: dict[str, tuple[list[float], list[float], dict[str, float], dict[str, list[float]]]] = {
    "relay": ([1, -3], [], {}, {"v": [1, -3]}),
    "integrate": ([1, -3], [], {"initial": 0.5}, {"v": [1.5, -1.5]}),
    "approach": ([1, 0], [], {"rate": 0.5, "leak": 0.25, "initial": 0.25}, {"v": [0.75, 0.5]}),
    "decay": ([1, 1], [], {"beta": 0.5}, {"v": [1, 1.5]}),
    "decay_scaled": ([1, 1], [], {"beta": 0.5, "gain": 0.25}, {"v": [0.25, 0.375]}),
    "divide_all": ([1, 1], [], {"tau": 4, "rest": -0.5, "initial": -0.5}, {"v": [-0.25, -0.0625]}),
    "divide": ([1, 1], [], {"tau": 4, "rest": -0.5, "initial": -0.5}, {"v": [0.5, 1.25]}),
    "synaptic": ([1, 0], [], {"alpha": 0.5, "beta": 0.25}, {"i": [1, 0.5], "v": [1, 0.75]}),
    "synaptic_approach": (
        [1, 0],
        [],
        {"alpha": 0.5, "rate": 0.25, "leak": 0.25, "weight": 2, "resistance": 4, "initial": 0.25},
        {"i": [1.25, 0.75], "v": [1.5, 1.9375]},
    ),
    "synaptic_scaled": ([1, 0], [], {"alpha": 0.5, "beta": 0.25, "gain": 2}, {"i": [0.5, 0.25], "v": [1, 0.75]}),
    "adaptive": (
        [4, 8],
        [],
        {"decay": 0.5, "rest": -4, "period": 2, "step": 0.5, "fall": 0.5, "initial": -8},
        {"v": [-2, 5], "refractory": [0, 0], "adapted": [0, 0]},
    ),
    "approach_rest": ([1, 0], [], {"rate": 0.5, "rest": 0.25, "initial": 0.25}, {"v": [0.75, 0.5]}),
    "leak_rest": ([1, 1], [], {"rate": 0.25, "rest": -0.5, "initial": -0.5}, {"v": [0.5, 1.25]}),
    "decay_recurrent": ([1, 1], [0.25, -1], {"beta": 0.5}, {"v": [1.25, 0.625]}),
    "synaptic_recurrent": ([1, 0], [0.25, 1], {"alpha": 0.5, "beta": 0.5}, {"i": [1.25, 1.625], "v": [1.25, 2.25]}),
    "take_back": ([1, -3], [], {"offset": 0, "most": 3, "initial": 0.5}, {"v": [1.5, -1.5], "level": [0, 0]}),
    "synaptic_jump": ([1, 0], [], {"alpha": 0.5, "rate": 0.25, "rest": 0.5, "initial": 0.5},
                      {"i": [0.5, 0.25], "v": [0.75, 0.8125]}),
    "synaptic_jump_recurrent": ([1, 0], [0.25, 1], {"alpha": 0.5, "rate": 0.25, "rest": 0.5, "initial": 0.5},
                                {"i": [0.625, 0.8125], "v": [0.8125, 1.140625]}),
    "alpha": ([1, 0], [], {"alpha": 0.5, "beta": 0.25, "gain": 2},
              {"i": [1, 0.5], "inhibition": [-1, -0.25], "v": [0, 0.5]}),
    "integrate_rectified": ([1.5, -3], [], {"initial": 0.25}, {"v": [1.75, 1.75]}),
    "refractory_lif": ([1, 1], [], {"rate": 0.5, "period": 2},
                       {"v": [np.float32(1 - math.exp(-t)).item() for t in (0.5, 1)], "refractory": [-1, -2]}),
    # The membrane sees the current of the step before.
    "lsnn": ([1, 0], [], {"alpha": 0.5, "rate": 0.25, "rest": 0.5, "fade": 0.5, "rise": 2, "initial": 0.5},
             {"v": [0.5, 0.75], "i": [1, 0.5], "b": [1, 1]}),
    "lsnn_recurrent": ([1, 0], [0.25, 1],
                       {"alpha": 0.5, "rate": 0.25, "rest": 0.5, "fade": 0.5, "rise": 2, "initial": 0.5},
                       {"v": [0.5, 0.8125], "i": [1.25, 1.625], "b": [1, 1]}),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_charges(rule: str) -> None:
    currents, own, parameters, expected = CHARGES[rule]
    assert values_of(rule, currents, own, **parameters) == expected


def test_a_threshold_moves_at_inference() -> None:
    """b rises with a spike, after the comparison, and goes back to the threshold by half of the way in a step."""
    parameters = {"alpha": 1, "rate": 1, "rest": 0, "fade": 0.5, "rise": 2}
    sent, seen = run(Dynamics(RULES["lsnn"], Reset.VALUE), [2, 4, 2, 5, 0], **parameters)
    assert sent == [0, 1, 1, 0, 1] and seen["b"] == [1, 3, 4, 2.5, 3.75]


@pytest.mark.parametrize(
    ("rule", "currents", "own", "parameters", "expected"),
    [
        # (FAR + 1) - 1 is FAR - 1; FAR - (1 - 1) is FAR.
        ("approach", [FAR], [], {"rate": 0.5, "leak": 1, "initial": 1}, FAR / 2),
        ("approach_rest", [FAR], [], {"rate": 0.5, "rest": 1, "initial": 1}, FAR / 2 + 1),
        ("divide_all", [FAR], [], {"tau": 2, "rest": 1, "initial": 1}, FAR / 2 + 1),
        ("divide", [FAR], [], {"tau": 4, "rest": -3, "initial": 1}, FAR),
        ("leak_rest", [FAR], [], {"rate": 0.25, "rest": -3, "initial": 1}, FAR),
        # FAR + 1 + 1 is FAR, FAR + 2 is not.
        ("decay_recurrent", [1], [1], {"beta": 1, "initial": FAR}, FAR),
        ("decay", [2], [], {"beta": 1, "initial": FAR}, FAR + 2),
        # Half of FAR - 1 is whole and a half.
        (
            "synaptic_approach",
            [FAR],
            [],
            {"alpha": 0.5, "rate": 1, "leak": 1, "weight": 1, "resistance": 1},
            FAR / 2 + 2,
        ),
    ],
)
def test_operations_come_in_their_order(
    rule: str, currents: list[float], own: list[float], parameters: dict[str, float], expected: float
) -> None:
    assert values_of(rule, currents, own, **parameters)["v"] == [expected]


def test_a_late_synapse_adds_what_it_sends_itself_last() -> None:
    own = {"alpha": 1, "beta": 1, "initial": 0}
    assert values_of("synaptic_recurrent", [FAR, 1], [0, 1], **own)["i"] == [FAR, FAR]
    assert values_of("synaptic", [FAR, 2], **own)["i"] == [FAR, FAR + 2]


# reset: currents, spikes, membranes; integrate with threshold 1 and reset 1/4
RESETS: dict[Reset, tuple[list[float], list[int], list[float]]] = {
    Reset.NONE: ([1.5, 1.5, 0], [1, 1, 1], [1.5, 3, 3]),
    Reset.VALUE: ([1.5, 1.5, 0.75], [1, 1, 0], [0.25, 0.25, 1]),
    Reset.SUBTRACT: ([1.5, 1.5, 0], [1, 1, 0], [0.5, 1, 1]),
    Reset.LATE_ZERO: ([1.5, 1.5, 0.5], [1, 1, 0], [1.5, 1.5, 0.5]),
    Reset.LATE_SUBTRACT: ([1.5, 1.5, 0], [1, 1, 0], [1.5, 2, 1]),
    **dict.fromkeys((Reset.LATE_DISCARD, Reset.LATE_ALL), ([1.5, 1.5, 0.5], [1, 0, 0], [1.5, 0, 0.5])),
    # Once v is above twice the threshold, it never fires again.
    Reset.CORRECTED_SUBTRACT: ([1.5, 0.75, 3.5, 0, 0, 0], [1, 1, 1, 1, 0, 0], [0.5, 0.25, 2.75, 1.75, 1.75, 1.75]),
}


@pytest.mark.parametrize("reset", Reset)
def test_resets(reset: Reset) -> None:
    currents, spikes, membranes = RESETS[reset]
    assert run(Dynamics(RULES["integrate"], reset), currents, reset=0.25) == (spikes, {"v": membranes})


def test_a_spike_may_take_the_currents_along() -> None:
    p = {"alpha": 0.5, "beta": 0.25, "gain": 4}
    kept = {"i": [2, 3, 1.5], "inhibition": [-2, -2.5, -0.625], "v": [0, 2, 0]}
    gone = {"i": [2, 3, 0], "inhibition": [-2, -2.5, 0], "v": [0, 2, 0]}
    for reset, seen in ((Reset.LATE_DISCARD, kept), (Reset.LATE_ALL, gone)):
        assert run(Dynamics(RULES["alpha"], reset), [2, 2, 0], **p) == ([0, 1, 0], seen)


AT_LEAST: dict[Reset, list[float]] = {
    Reset.NONE: [1, 1],
    Reset.VALUE: [0.25, 0.25],
    Reset.SUBTRACT: [0, 0],
    Reset.LATE_ZERO: [1, 0],
    Reset.LATE_SUBTRACT: [1, 0],
    **dict.fromkeys((Reset.LATE_DISCARD, Reset.LATE_ALL), [1, 0]),
    Reset.CORRECTED_SUBTRACT: [0, 0],
}


@pytest.mark.parametrize("reset", Reset)
def test_at_the_threshold(reset: Reset) -> None:
    """>= fires and resets where > does neither."""
    sent, seen = run(Dynamics(RULES["integrate"], reset, at_least=True), [1, 0], reset=0.25)
    assert (sent, seen["v"]) == ([1, int(reset == Reset.NONE)], AT_LEAST[reset])
    assert run(Dynamics(RULES["integrate"], reset), [1, 0], reset=0.25) == ([0, 0], {"v": [1, 1]})


def test_stateless_neurons() -> None:
    relay = RULES["relay"]
    assert run(Dynamics(relay), [1, 1.5, 0.5]) == ([0, 1, 0], {})
    assert run(Dynamics(relay, at_least=True), [1, 1.5, 0.5]) == ([1, 1, 0], {})
    assert run(Dynamics(relay, emits=Emits.COUNTS), [2.5, -3, 0.75], threshold=0.5) == ([5, 0, 1], {})


def test_counts() -> None:
    """What is left of a membrane stays; it may fall as low as it likes, or not below the floor."""
    integrate = RULES["integrate"]
    currents = [2.5, -4, 3.5]
    free, floored = (Dynamics(integrate, emits=Emits.COUNTS, floored=f) for f in (False, True))
    assert run(free, currents, reset=-1) == ([2, 0, 0], {"v": [0.5, -3.5, 0]})
    assert run(floored, currents, reset=-1) == ([2, 0, 2], {"v": [0.5, -1, 0.5]})
    assert run(free, [1.5, 0], threshold=0.5) == ([3, 0], {"v": [0, 0]})


def test_counts_have_a_limit() -> None:
    sent, seen = run(Dynamics(RULES["integrate"], emits=Emits.COUNTS), [2**30])
    assert sent == [2**24] and seen["v"] == [2**30 - 2**24]


def test_floors() -> None:
    """Values are sent before; single spikes reset before. Far above the floor, a membrane is rounded there."""
    integrate = RULES["integrate"]
    values = Dynamics(integrate, emits=Emits.VALUES, floored=True)
    assert run(values, [-2, 1], reset=-1) == ([-2, 0], {"v": [-1, 0]})
    spikes = Dynamics(integrate, Reset.SUBTRACT, floored=True)
    assert run(spikes, [1.25, -3, 1], reset=0.5) == ([1, 0, 1], {"v": [0.5, 0.5, 0.5]})
    assert run(values, [2**-24], reset=-1)[1] == {"v": [0]}


def test_the_winner_alone_sends_its_spike() -> None:
    """The first of equals; all that fire are reset."""
    dynamics = Dynamics(RULES["integrate"], Reset.VALUE, winner=True)
    sent, seen = run(dynamics, [[2, 3, 3, 0.5], [0, 0, 0, 0.25], [0, 0, 0, 2]], reset=-1)
    assert sent == [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert seen["v"] == [[-1, -1, -1, 0.5], [-1, -1, -1, 0.75], [-1, -1, -1, -1]]


@pytest.mark.parametrize("learning", [False, True])
def test_adapting_thresholds(learning: bool) -> None:
    """Refractory neurons ignore currents for ``period`` steps; only learning changes the threshold."""
    p = {"decay": 0.5, "rest": -4, "initial": -4, "threshold": 0, "reset": -8, "period": 2, "step": 0.5, "fall": 0.5}
    dynamics = Dynamics(RULES["adaptive"], Reset.VALUE, at_least=True)
    sent, seen = run(dynamics, [4, 8, 8, 8], learning=learning, **p)
    assert sent == [1, 0, 0, 1]
    assert seen["v"] == [-8, -6, -5, -8]
    assert seen["refractory"] == [2, 1, 0, 2]
    assert seen["adapted"] == ([0.5, 0.25, 0.125, 0.5625] if learning else [0, 0, 0, 0])
    # At 1/16 above its resting threshold it would fire, but the threshold has risen that far and more.
    risen = run(dynamics, [4, 8, 8, 4.5625 - 0.0625], learning=learning, **p)[0]
    assert risen == ([1, 0, 0, 0] if learning else [1, 0, 0, 1])


def test_refractory_neurons_begin_where_they_reached_the_threshold() -> None:
    """In float64, by the equations: what is left of a step follows the end of the refractory time."""
    rng, n, steps = np.random.default_rng(SEED), 500, 200
    rate, period = rng.uniform(0.01, 1, n).astype(np.float32), rng.uniform(0, 4, n).astype(np.float32)
    currents = (rng.uniform(0, 8, n) + rng.uniform(-1, 1, (steps, n))).astype(np.float32)
    p = {"threshold": np.float32(1), "reset": np.float32(0), "initial": np.float32(0), "rate": rate, "period": period}
    dynamics = Dynamics(RULES["refractory_lif"], Reset.VALUE)
    state = dynamics.initial(p, n)
    spikes = 0
    for x in currents.astype(np.float64):
        left = np.clip(2 - state["refractory"].astype(np.float64), 0, 1)  # of this step
        v = x + (state["v"] - x) * np.exp(-rate.astype(np.float64) * left)
        before = state["refractory"]
        fired = dynamics.settle(p, state, x.astype(np.float32)) == 1
        sure = np.abs(v - 1) > 1e-5
        assert (fired == (v > 1))[sure].all()
        assert np.abs(state["v"] - np.where(fired, 0, v)).max() < 1e-5
        moment = 1 + np.log((x - v) / (x - 1), where=fired, out=np.zeros(n)) / rate
        expected = np.where(fired, period + moment, before - 1)
        assert (np.abs(state["refractory"] - expected) <= 1e-5 / rate / np.where(fired, x - v, 1) + 1e-5)[sure].all()
        spikes += fired.sum()
    assert spikes > 1000


def test_a_level_follows_the_membrane_up_and_down() -> None:
    """floor((v + 1) / 2) from 0 to 3; what is sent adds up to it."""
    dynamics = Dynamics(RULES["take_back"], emits=Emits.CHANGES)
    sent, seen = run(dynamics, [0, 0.5, 0.5, 10, -4, -100, 95], threshold=2, offset=1, most=3)
    assert seen["v"] == [0, 0.5, 1, 11, 7, -93, 2]
    assert seen["level"] == [0, 0, 1, 3, 3, 0, 1]
    assert sent == [0, 0, 1, 2, 0, -3, 1]


def test_a_level_is_sent_before_anything_arrives() -> None:
    dynamics = Dynamics(RULES["take_back"], emits=Emits.CHANGES)
    assert run(dynamics, [0, 0], threshold=1, offset=2, most=3)[0] == [2, 0]


def settled(rng: Any, dynamics: Dynamics, n: int) -> tuple[Any, Any]:
    """Of neurons in random states: whether anything is sent, and whether a bit of the state changes, in a step without
    current, after a step with any; with `integrate` after one that sent nothing, because the runtime visits others."""
    parameters = {k: np.float32(np.round(rng.uniform(0.1, 2, n) * 8) / 8) for k in dynamics.rule.parameters}
    parameters |= {"threshold": np.float32(rng.choice([0.1, 0.5, 1], n)), "most": np.float32(rng.integers(0, 9, n))}
    parameters |= {"reset": np.float32(rng.choice([-0.0, 0.0, 0.3, 2], n)), "initial": np.zeros(n, np.float32)}
    draw = [np.zeros(n), -np.zeros(n), np.round(rng.normal(0, 1, n), 1), rng.normal(0, 1, n), rng.normal(0, 1e9, n)]
    x = rng.permuted(np.float32(draw), axis=0)[0] + np.float32(0)  # currents are never -0
    state = {name: rng.permuted(np.float32(draw), axis=0)[0] for name in dynamics.rule.states}
    own = np.zeros(n, np.float32) if dynamics.rule.recurrent else None
    silent = (dynamics.settle(parameters, state, x, own) == 0) | (dynamics.rule.name != "integrate")
    before = {name: value.copy() for name, value in state.items()}
    sent = dynamics.settle(parameters, state, np.zeros(n, np.float32), own)
    same = [before[name].view(np.uint32) == state[name].view(np.uint32) for name in dynamics.rule.states]
    return silent & (sent != 0), silent & ~np.all(same, axis=0) if same else np.zeros(n, bool)


@pytest.mark.parametrize("name", RULES)
def test_what_skips_changes_nothing_without_a_current(name: str) -> None:
    """In the ways of firing and the resets that the runtime leaves out (csrc/snn/open.c), and in no other rule."""
    rng, rule, wrong = np.random.default_rng(SEED), RULES[name], 0
    ways = [(Reset(r), e, least) for r in (0, 1, 2) for e in (Emits.SPIKES, Emits.COUNTS) for least in (False, True)]
    for reset, emits, at_least in ways if name != "take_back" else [(Reset.NONE, Emits.CHANGES, False)]:
        if emits == Emits.COUNTS and (reset != Reset.NONE or at_least):
            continue
        sends, changes = settled(rng, Dynamics(rule, reset, emits, at_least), 10_000)
        wrong += int(sends.sum() + changes.sum())
    assert rule.skips == (wrong == 0), wrong


def test_opcodes_are_those_of_the_file_format() -> None:
    assert sorted(rule.opcode for rule in (RULES | EVENT_RULES).values()) == list(range(1, 28))
    assert list(RULES) == list(CHARGES)  # above, in their order
    names = ["NONE", "VALUE", "SUBTRACT", "LATE_ZERO", "LATE_SUBTRACT", "LATE_DISCARD", "CORRECTED_SUBTRACT",
             "LATE_ALL"]  # fmt: skip
    assert [(r.name, r.value) for r in Reset] == [(name, i) for i, name in enumerate(names)]
    assert [(e.name, e.value) for e in Emits] == [("SPIKES", 0), ("COUNTS", 1), ("VALUES", 2), ("CHANGES", 3)]


def test_the_page_states_every_rule_and_reset_as_the_records_do() -> None:
    rows = [[c.strip() for c in line.split("|")] for line in (ROOT / "docs/spikes/rules.md").read_text().splitlines()]
    for name, rule in (RULES | EVENT_RULES).items():
        formula = rule.text.split(": ")[0].rstrip(".")
        assert [r for r in rows if r[1:4] == [str(rule.opcode), f"`{name}`", f"`{formula}`"]], (
            f"docs/spikes/rules.md: no row of {name}"
        )
    for reset in Reset:
        assert [r for r in rows if r[1:3] == [str(reset.value), f"`{reset.name}`"]], f"no row of {reset}"
