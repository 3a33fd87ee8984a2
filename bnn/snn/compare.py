# SPDX-License-Identifier: Apache-2.0
"""What a network sends, against what a simulator's module sent."""

from __future__ import annotations

import numpy as np

from .._types import Array, Floats
from .handle import CURRENT, MEMBRANE, SENT, OpenedNetwork, State, frames, unpacked
from .network import Network, Population
from .oracle import Record
from .rounding_risk import Risk, excused
from .rules import Emits


def run_engine(opened: OpenedNetwork, inputs: list[Floats], state: State | None = None) -> Record:
    """Everything that happens in the engine, as :meth:`Oracle.run` returns it; from ``state`` on, None: a new one."""
    steps, state, record = len(inputs[0]), state or State(opened), Record()
    raw: dict[int, Array] = {}
    for p in opened.populations:
        raw[p.index] = np.zeros((steps, p.frame // 4), np.uint32 if p.emits == Emits.SPIKES else np.float32)
        state.record(p.index, SENT, raw[p.index])
        wanted = {CURRENT: record.currents} if p.opcode else {}
        wanted |= {MEMBRANE: record.membranes} if p.opcode > 1 else {}
        for what, to in wanted.items():
            to[p.index] = np.zeros((steps, p.size), np.float32)
            state.record(p.index, what, to[p.index])
    given = [p for p in opened.populations if not p.opcode]
    state.run([frames(x, p.emits) for x, p in zip(inputs, given, strict=True)], steps)
    record.sent = {
        i: unpacked(x, opened.populations[i].size, opened.populations[i].emits).astype(np.float32)
        for i, x in raw.items()
    }
    return record


def differing(network: Network, ours: Record, risk: Risk, theirs: dict[str, Floats]) -> dict[int, Array]:
    """Per population that a module is (by name, of the same size): the decisions that differ, bool (T, n); of real
    values, those that differ by more than rounding."""
    found = {}
    for i, p in enumerate(network.populations):
        if p.dynamics is not None and p.name in theirs and theirs[p.name].shape == ours.sent[i].shape:
            sent = inner(theirs[p.name], p)
            found[i] = ours.sent[i] != sent
            if i in risk.errors:
                found[i] &= ~(np.abs(ours.sent[i].astype(np.float64) - sent) <= risk.errors[i])
    return found


def first_of(
    network: Network, risk: Risk, wrong: dict[int, Array], sample: int
) -> tuple[tuple[int, int, str, int] | None, bool]:
    """The first difference, and whether rounding can have made it."""
    found = [(*(int(n) for n in np.argwhere(rows)[0]), i) for i, rows in wrong.items() if rows.any()]
    if not found:
        return None, False
    step, neuron, i = min(found, key=lambda one: (one[0], one[2], one[1]))
    return (sample, step, network.populations[i].name, neuron), excused(network, risk, i, step, neuron)


def has_neurons(population: Population) -> bool:
    """Whether neurons of the file are this population, and not only sums that are passed on."""
    dynamics = population.dynamics
    return dynamics is not None and (dynamics.rule.name != "relay" or population.emits == Emits.SPIKES)


def takes_currents(population: Population) -> bool:
    """Whether a simulator's module takes what the engine calls currents: not a pool, nor neurons that add their own."""
    rule = population.dynamics.rule if population.dynamics else None
    return rule is not None and not rule.recurrent and has_neurons(population)


def inner(values: Floats, population: Population) -> Floats:
    """(T, n) in the engine's order."""
    c, *grid = population.shape[-1], *population.shape[:-1]
    return np.ascontiguousarray(np.moveaxis(values.reshape(len(values), c, *grid), 1, -1)).reshape(len(values), -1)


def settled(state: State, population: Population, index: int, currents: Floats) -> Floats:
    """What the engine's population sends on these currents."""
    info = state.opened.populations[index]
    state.reset()
    sent = np.zeros((len(currents), info.frame // 4), np.uint32 if info.emits == Emits.SPIKES else np.float32)
    state.record(index, SENT, sent)
    state.settle(index, currents)
    state.forget()
    return unpacked(sent, info.size, info.emits).astype(np.float32)
