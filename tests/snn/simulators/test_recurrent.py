# SPDX-License-Identifier: Apache-2.0
"""snnTorch's RLeaky and RSynaptic and Norse's LIFRecurrentCell equal a population with a projection to itself, run
by the oracle.

Weights between all are dyadic, for the order in which PyTorch sums them is unknown; those from each neuron to itself
are any floats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnn.snn.network import Network, Population, Projection
from bnn.snn.oracle import Oracle
from bnn.snn.rules import RULES, Dynamics, Emits, Reset
from snn.simulators.cases import OTHER_RESETS, Draw, arrays, equal, torch

snntorch = pytest.importorskip("snntorch", reason="snntorch is not installed")

KINDS = ("dense", "diagonal")


def draw_cell(draw: Draw, n: int, kind: str, name: str, **options: Any) -> tuple[Any, dict[str, Any], Projection]:
    """The simulator's neurons, parameters, and their connection to themselves."""
    decays = {"alpha": draw.tensor(n, 0, 1), "beta": draw.tensor(n, 0, 1)}
    if name == "RLeaky":
        del decays["alpha"]
    threshold = draw.tensor(n, 0.3, 2)
    if kind == "diagonal":
        v = draw.tensor(n, -1, 0.8)
        cell = getattr(snntorch, name)(**decays, V=v, all_to_all=False, threshold=threshold, **options)
        projection = Projection(1, 1, "diagonal", v.numpy(), delay=1)
    else:
        weights = np.round(draw.rng.normal(0, 3, (n, n))).astype(np.float32) / 64
        bias = np.round(draw.rng.normal(0, 8, n)).astype(np.float32) / 64
        cell = getattr(snntorch, name)(**decays, linear_features=n, threshold=threshold, **options)
        cell.recurrent.weight.copy_(torch.from_numpy(weights))
        cell.recurrent.bias.copy_(torch.from_numpy(bias))
        projection = Projection(1, 1, "dense", np.ascontiguousarray(weights.T), delay=1, bias=bias)
    return cell, {"threshold": threshold, "reset": 0, "initial": 0} | decays, projection


def oracle_of(parameters: dict[str, Any], own: Projection, dynamics: Dynamics, n: int) -> Oracle:
    """Currents come from an input of values."""
    values = {k: np.array(v) for k, v in arrays(parameters, n).items()}
    populations = [
        Population("x", (n,), input_emits=Emits.VALUES),
        Population("n", (n,), dynamics, values, output=True),
    ]
    return Oracle(Network(populations, [Projection(0, 1, "diagonal", np.ones(1, np.float32)), own]))


def check(name: str, draw: Draw, kind: str, mechanism: str, delay: bool, reset: Reset, n: int, steps: int) -> None:
    cell, parameters, own = draw_cell(draw, n, kind, name, reset_mechanism=mechanism, reset_delay=delay)
    rule = RULES["decay_recurrent" if name == "RLeaky" else "synaptic_recurrent"]
    oracle, sent = oracle_of(parameters, own, Dynamics(rule, reset), n), 0
    names = ("v",) if name == "RLeaky" else ("i", "v")
    states = [torch.zeros(1, n)] * (1 + len(names))  # the spikes first
    for t in range(steps):
        x = draw.currents(n, 1 if name == "RLeaky" else 0.5)
        oracle.step([x])
        states = cell(torch.from_numpy(x).reshape(1, -1), *states)
        equal(f"step {t}: sent", oracle.sent[1][-1], states[0][0])
        for what, theirs in zip(names, states[1:], strict=True):
            equal(f"step {t}: {what}", oracle.states[1][what], theirs[0])
        sent += int(np.count_nonzero(oracle.sent[1][-1]))
    share = sent / (n * steps)
    print(f"{name} {kind} {mechanism} reset_delay={delay}: {n * steps} decisions, {share:.1%} sent, 0 differ")
    assert 0.02 < share < 0.9


def check_norse(draw: Draw, n: int, steps: int, name: str) -> None:
    norse = pytest.importorskip("norse.torch", reason="norse is not installed")
    weights = np.round(draw.rng.normal(0, 3, (n, n))).astype(np.float32) / 64
    inverse = {"tau_syn_inv": 1000 / draw.steps(n, 16), "tau_mem_inv": 1000 / draw.steps(n, 64)}
    threshold, reset, leak = draw.tensor(n, 0.3, 1), draw.tensor(n, -0.5, 0.2), draw.tensor(1, -0.3, 0.2)[0]
    adapts, more = name == "LSNN", {}
    if adapts:
        more = {"tau_adapt_inv": 1000 / draw.steps(n, 64), "beta": draw.tensor(n, 0.1, 0.5)}
    made = getattr(norse, f"{name}Parameters")
    parameters = made(v_th=threshold, v_reset=reset, v_leak=leak, **inverse, **more)
    own = torch.from_numpy(weights)
    cell = getattr(norse, f"{name}RecurrentCell")(
        n, n, parameters, input_weights=torch.eye(n), recurrent_weights=own, autapses=True
    )
    values = {"threshold": threshold, "reset": reset, "initial": leak, "rest": leak}
    values |= {"alpha": 0.001 * inverse["tau_syn_inv"], "rate": 0.001 * inverse["tau_mem_inv"]}
    projection = Projection(1, 1, "dense", np.ascontiguousarray(weights.T), delay=1)
    if adapts:
        values |= {"fade": 0.001 * more["tau_adapt_inv"], "rise": more["beta"]}
    rule = Dynamics(RULES["lsnn_recurrent" if adapts else "synaptic_jump_recurrent"], Reset.VALUE)
    oracle, state, sent = oracle_of(values, projection, rule, n), None, 0
    for t in range(steps):
        x = draw.currents(n, 2)
        oracle.step([x])
        z, state = cell(torch.from_numpy(x).reshape(1, -1), state)
        equal(f"step {t}: sent", oracle.sent[1][-1], z[0])
        for what in ("i", "v", "b") if adapts else ("i", "v"):
            equal(f"step {t}: {what}", oracle.states[1][what], getattr(state, what).expand(1, n)[0])
        sent += int(np.count_nonzero(oracle.sent[1][-1]))
    share = sent / (n * steps)
    print(f"{name}RecurrentCell: {n * steps} decisions, {share:.1%} sent, 0 differ")
    assert 0.02 < share < 0.9


SIZES = {"dense": (301, 100), "diagonal": (3003, 100)}
MANY = {"dense": (501, 2000), "diagonal": (50_003, 200)}

# RSynaptic never resets early: with reset_delay=False it computes the reset and drops it.
CASES = [
    *(("RLeaky", mechanism, delay, reset) for (mechanism, delay), reset in OTHER_RESETS.items()),
    *(("RSynaptic", m, d, OTHER_RESETS[m, True]) for m, d in OTHER_RESETS),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "mechanism", "delay", "reset"), CASES)
def test_recurrent_neurons_equal_the_simulator(
    name: str, mechanism: str, delay: bool, reset: Reset, kind: str, rng: np.random.Generator
) -> None:
    with torch.no_grad():
        check(name, Draw(rng), kind, mechanism, delay, reset, *SIZES[kind])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "mechanism", "delay", "reset"), CASES)
def test_millions_of_recurrent_decisions_equal_the_simulator(
    name: str, mechanism: str, delay: bool, reset: Reset, kind: str, rng: np.random.Generator
) -> None:
    with torch.no_grad():
        check(name, Draw(rng), kind, mechanism, delay, reset, *MANY[kind])


@pytest.mark.parametrize("size", [SIZES["dense"], pytest.param(MANY["dense"], marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["LIF", "LSNN"])
def test_recurrent_neurons_of_norse_equal_the_simulator(
    name: str, size: tuple[int, int], rng: np.random.Generator
) -> None:
    with torch.no_grad():
        check_norse(Draw(rng), *size, name)


def test_rsynaptic_without_reset_delay_cannot_be_called_without_states() -> None:
    """As its importer's networks call it."""
    cell = snntorch.RSynaptic(0.5, 0.5, all_to_all=False, reset_delay=False, init_hidden=True)
    with pytest.raises(TypeError, match="NoneType"):
        cell(torch.zeros(1, 3))


@pytest.mark.parametrize(("name", "plain"), [("RLeaky", "decay"), ("RSynaptic", "synaptic")])
def test_what_a_population_sends_itself_must_be_added_apart(name: str, plain: str, rng: np.random.Generator) -> None:
    """In one sum with the other currents, membranes round otherwise."""
    draw, n = Draw(rng), 3003
    with torch.no_grad():
        cell, parameters, own = draw_cell(draw, n, "diagonal", name, reset_mechanism="none")
        oracle = oracle_of(parameters, own, Dynamics(RULES[plain]), n)
        different = 0
        for _ in range(20):
            x = draw.currents(n, 1)
            oracle.step([x])
            cell(torch.from_numpy(x).reshape(1, -1))
            different += int(np.count_nonzero(oracle.states[1]["v"] != cell.mem[0].numpy()))
    assert different > 100
