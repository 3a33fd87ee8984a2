# SPDX-License-Identifier: Apache-2.0
"""Which decisions of a run rounding could turn.

Two programs that add the same float32 numbers in different orders differ by less than a bound.  The bound follows the
neurons' states through time: currents and states lie in a box around those of the oracle.  A rule is linear in them, so
its membrane is extreme in the corners of the box; a decision is at risk if it changes in a corner.  What follows from
a decision that went the other way is judged by ``excused``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import numpy as np

from .._types import Array, Floats
from .exact_weights import inexact
from .network import Network, Projection
from .oracle import Oracle
from .rules import Dynamics, Emits, Reset, Values

UNIT = 2.0**-24  # of float32 rounding
_PADS = 16  # roundings of a rule's operations, generously
#: A rule's parameters that currents and states are multiplied by, or divided by.
_FACTORS = ("rate", "alpha", "beta", "gain", "weight", "resistance", "decay")
_ADDED = ("leak", "rest", "offset", "threshold")


@dataclass(frozen=True)
class Risk:
    """``why[p]``: "" if all sums of a population are exact, otherwise why not.  ``at_risk[p]``: bool (T, n); of values,
    False: ``errors[p]`` (T, n) is how far they may be off unless a decision before turned."""

    why: list[str]
    at_risk: dict[int, Array]
    errors: dict[int, Array] = field(default_factory=dict)


def find_risk(network: Network, inputs: list[Floats]) -> Risk:
    """The decisions at risk in a run on ``inputs`` (T, n) from the first step on."""
    most = _most_counts(network, inputs)
    why = inexact(network, most)
    if not any(why):
        return Risk(why, {})
    return _Follower(network, why).run(inputs)


def excused(network: Network, risk: Risk, population: int, step: int, neuron: int) -> bool:
    """Whether rounding can have turned this decision, or one before it that leads to it."""
    before = _leading(network, population)
    dynamics = network.populations[population].dynamics
    rivals = dynamics is not None and dynamics.winner
    for i, rows in risk.at_risk.items():
        # What a later population sends arrives a step later, and what the population sends itself, too.
        if i in before and rows[: step + (i < population)].any():
            return True
        if i == population and rows[: step + 1, neuron].any():
            return True
        # Whether a rival is reset decides who wins, in this step and in later ones.
        if i == population and rivals and rows[: step + 1].any():
            return True
    return False


def _leading(network: Network, population: int) -> set[int]:
    """The populations from which a way leads to this one."""
    found: set[int] = set()
    waiting = [population]
    while waiting:
        sources = {p.source for p in network.into(waiting.pop())} - found
        found |= sources
        waiting += sources
    return found


def _most_counts(network: Network, inputs: list[Floats]) -> dict[int, float]:
    counted = [i for i, p in enumerate(network.populations) if p.emits in (Emits.COUNTS, Emits.CHANGES)]
    if not counted:
        return {}
    record = Oracle(network).run(inputs)
    return {i: float(np.abs(record.sent[i]).max(initial=0)) for i in counted}


def _magnitudes(network: Network, biases: bool = True) -> Network:
    """The network with the magnitudes of weights and biases (or without these), as float32."""
    populations = [replace(p, bias=np.abs(p.bias) * np.float32(biases)) for p in network.populations]
    projections = [
        replace(
            p, weights=np.abs(p.real_weights(network.populations[p.target])).astype(np.float32), scale=1.0, scales=None,
            bias=np.abs(p.bias) if p.bias is not None and biases else None,
        )
        for p in network.projections
    ]  # fmt: skip
    return replace(network, populations=populations, projections=projections)


class _Follower:
    """An oracle, beside it one of magnitudes (whose currents bound the sums) and one of errors of what was sent."""

    def __init__(self, network: Network, why: list[str]) -> None:
        self._network, self._why = network, why
        self._oracle = Oracle(network)
        self._sizes, self._errors = Oracle(_magnitudes(network)), Oracle(_magnitudes(network, biases=False))
        self._terms = [1 + sum(_fan_in(network, p) for p in network.into(i)) for i in range(len(network.populations))]
        self._off = [{name: np.zeros(v.size) for name, v in state.items()} for state in self._oracle.states]

    def run(self, inputs: list[Floats]) -> Risk:
        numbers = [i for i, p in enumerate(self._network.populations) if p.dynamics is not None]
        found: dict[int, list[Array]] = {i: [] for i in numbers}
        errors: dict[int, list[Floats]] = {i: [] for i in numbers}
        for t in range(len(inputs[0])):
            given = dict(zip(self._network.inputs, inputs, strict=True))
            for i, p in enumerate(self._network.populations):
                if p.dynamics is None:
                    sent, error = np.asarray(given[i][t], np.float32), np.zeros(p.size, np.float32)
                else:
                    sent, error, risky = self._settle(i)
                    found[i].append(risky)
                    errors[i].append(error)
                self._oracle.sent[i].append(sent)
                self._sizes.sent[i].append(np.abs(sent))
                self._errors.sent[i].append(error)
            for oracle in (self._oracle, self._sizes, self._errors):
                oracle.time += 1
        sizes = {i: self._network.populations[i].size for i in numbers}
        return Risk(
            self._why,
            {i: np.array(rows).reshape(-1, sizes[i]) for i, rows in found.items()},
            {i: np.array(rows).reshape(-1, sizes[i]) for i, rows in errors.items()},
        )

    def _settle(self, i: int) -> tuple[Floats, Floats, Array]:
        """What population i sends, how far values that it sends may be off, and which decisions may be others."""
        population, oracle, off = self._network.populations[i], self._oracle, self._off[i]
        dynamics, values, state = population.dynamics, oracle.values[i], oracle.states[i]
        assert dynamics is not None
        currents = [c for c in oracle.arriving(i) if c is not None]
        radii = self._radii(i)
        before, threshold = dict(state), dynamics.compared(values, state)
        late = dynamics.late(values, before)
        sent = dynamics.settle(values, state, *currents)
        # A box: the states that may be off, and the currents.
        own = _of_functions(dynamics, values, before, currents[0])
        for name, extra in own.items():  # what a step of these rounds is as if the state before had been off
            off[name] = off[name] + extra
        names = [name for name, radius in off.items() if radius.any()]
        moves = [k for k, radius in enumerate(radii) if radius.any()]
        if not names and not moves:
            return sent, np.zeros(population.size, np.float32), np.zeros(population.size, np.bool_)
        loose = np.any([off[name] > 0 for name in names] + [radii[k] > 0 for k in moves], axis=0)
        pad = own.get("v", np.where(loose, _PADS * UNIT * _scale(values, before, currents), 0))
        corners = []
        for signs in itertools.product((-1, 1), repeat=len(names) + len(moves)):
            moved = {**before, **{n: _outward(before[n], s, off[n]) for n, s in zip(names, signs, strict=False)}}
            if late is not None:  # as it was decided in the step before
                moved["v"] = _same_side(dynamics, values, moved["v"], late)
            there = list(currents)
            for k, s in zip(moves, signs[len(names) :], strict=True):
                there[k] = _outward(currents[k], s, radii[k])
            corners.append(_corner(dynamics, values, moved, there, late))
        low = np.min([corner[2] for corner in corners], axis=0) - pad
        high = np.max([corner[2] for corner in corners], axis=0) + pad
        risky = np.zeros_like(loose)
        if dynamics.emits != Emits.VALUES:
            risky = _turns(dynamics, values, threshold, low, high)
        if late is not None and (dynamics.floored or dynamics.reset == Reset.CORRECTED_SUBTRACT):
            # What follows a spike changes the membrane, so whether a reset is due is not what the step before decided.
            due = [dynamics.late(values, {**before, "v": _outward(before["v"], s, off["v"])}) for s in (-1, 1)]
            risky = risky | (due[0] != due[1])
        values_sent = dynamics.emits == Emits.VALUES
        for name in off.keys() - {"b"}:  # which follows from decisions alone
            # A decision that went the other way is at risk, and so is all that follows from it.
            reach = [np.where(values_sent | (there == sent), np.abs(moved[name].astype(np.float64) - state[name]), 0)
                     for there, moved, _ in corners]  # fmt: skip
            off[name] = np.max(reach, axis=0) + own.get(name, pad)
        error = np.zeros(population.size)
        if values_sent:
            error = np.max([np.abs(there.astype(np.float64) - sent) for there, _, _ in corners], axis=0) + pad
        return sent, _outward(np.zeros(population.size, np.float32), 1, error), risky

    def _radii(self, i: int) -> list[Array]:
        """How far the currents, and those from the population itself, may be off."""
        rounding = 0.0 if not self._why[i] else 2.1 * UNIT * self._terms[i]
        pairs = zip(self._sizes.arriving(i), self._errors.arriving(i), strict=True)
        return [
            (rounding * size.astype(np.float64) + 1.001 * error.astype(np.float64))
            for size, error in pairs
            if size is not None and error is not None
        ]


def _scale(values: Values, state: dict[str, Floats], currents: list[Floats]) -> Array:
    """A bound of the magnitudes in a rule's operations."""
    parts = [np.abs(v) for name, v in state.items() if name in ("v", "i", "inhibition")] + [np.abs(c) for c in currents]
    parts += [np.abs(values[name]) for name in _ADDED if name in values]
    total = np.sum(np.array(parts, np.float64), axis=0)
    for name in _FACTORS:
        if name in values:
            total = total * np.maximum(1, np.abs(values[name]))
    if "tau" in values:
        total = total * np.maximum(1, 1 / np.abs(values["tau"]))
    return np.asarray(total)


def _of_functions(dynamics: Dynamics, values: Values, state: dict[str, Floats], x: Floats) -> dict[str, Array]:
    """By variable, a bound of what a step rounds of a rule whose functions others compute otherwise; of others none."""
    if dynamics.rule.name != "refractory_lif":
        return {}
    v, refractory = np.abs(state["v"].astype(np.float64)), np.maximum(state["refractory"], 0)
    return {
        "v": UNIT * (4 * v + _PADS * values["rate"] * (v + np.abs(x))),
        "refractory": UNIT * (_PADS + 4 * (values["period"] + refractory)),
    }


def _outward(center: Floats, sign: int, radius: Array) -> Floats:
    """float32 beyond center + sign * radius; the center itself where the radius is 0."""
    there = (center + sign * radius).astype(np.float32)
    beyond = np.nextafter(there, np.float32(sign * np.inf))
    return np.asarray(np.where(radius > 0, beyond, center), np.float32)


def _same_side(dynamics: Dynamics, values: Values, v: Floats, late: Array) -> Floats:
    """Membranes that ask for a late reset exactly where ``late`` says."""
    threshold = np.broadcast_to(values["threshold"], v.shape)
    above = threshold if dynamics.at_least else np.nextafter(threshold, np.float32(np.inf))
    below = np.nextafter(threshold, np.float32(-np.inf)) if dynamics.at_least else threshold
    return np.where(late, np.maximum(v, above), np.minimum(v, below))


def _corner(
    dynamics: Dynamics, values: Values, state: dict[str, Floats], currents: list[Floats], late: Array | None
) -> tuple[Floats, dict[str, Floats], Array]:
    """What is sent in a corner, the state after it, and the membrane that decides."""
    charged: list[Floats] = []
    sent = dynamics.settle(values, state, *currents, charged=charged.append)
    v: Array = charged[0].astype(np.float64)
    if late is not None and dynamics.reset in (Reset.LATE_SUBTRACT, Reset.CORRECTED_SUBTRACT):
        v = np.where(late, v - values["threshold"], v)
    elif late is not None and dynamics.reset in (Reset.LATE_DISCARD, Reset.LATE_ALL):
        v = np.where(late, 0, v)
    return sent, state, v


def _turns(dynamics: Dynamics, values: Values, compared: Floats, low: Array, high: Array) -> Array:
    """Whose decisions differ between two membranes."""
    if dynamics.emits != Emits.SPIKES:
        offset = values.get("offset", np.float32(0)).astype(np.float64)
        most = values.get("most", np.float32(2**24))
        share = [np.clip((v + offset) / compared, 0, most) for v in (low, high)]
        slack = _PADS * UNIT * np.abs(share[1])
        return np.asarray(np.trunc(share[0] - slack) != np.trunc(share[1] + slack))
    threshold = compared.astype(np.float64)
    fires = [v >= threshold if dynamics.at_least else v > threshold for v in (low, high)]
    turns = np.asarray(fires[0] != fires[1])
    if dynamics.winner and fires[1].any():  # others may win
        surely = (low - threshold)[fires[0]].max(initial=-np.inf)
        rivals = fires[1] & (high - threshold >= surely)
        turns = turns | (rivals & (rivals.sum() > 1))
    return turns


def _fan_in(network: Network, p: Projection) -> int:
    """The most sources of a target."""
    if p.kind == "dense":
        return int(p.weights.shape[0])
    if p.kind in ("diagonal", "window"):
        return 1
    return int(np.prod(p.weights.shape[1:3])) * p.weights.shape[0] // p.groups
