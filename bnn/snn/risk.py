# SPDX-License-Identifier: Apache-2.0
"""Which decisions of a run rounding could turn.

Two programs that add the same float32 numbers in different orders differ by less than a bound.  The bound follows the
neurons' states through time; a decision is at risk if it changes when current and state move by their bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .._types import Array, Floats
from .network import Network, Projection
from .oracle import Oracle
from .rules import Emits
from .whole import inexact

UNIT = 2.0**-24  # of float32 rounding


@dataclass(frozen=True)
class Risk:
    """``why[p]``: "" if all sums of a population are exact, otherwise why not; ``at_risk[p]``: bool (T, n)."""

    why: list[str]
    at_risk: dict[int, Array]


def find_risk(network: Network, inputs: list[Floats]) -> Risk:
    """The decisions at risk in a run on ``inputs`` (T, n) from the first step on."""
    most = _most_counts(network, inputs)
    why = inexact(network, most)
    if not any(why):
        return Risk(why, {})
    follower = _Follower(network, why)
    return Risk(why, follower.run(inputs))


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
            p, weights=np.abs(p.weights.astype(np.float32)) * np.float32(abs(p.scale)), scale=1.0,
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

    def run(self, inputs: list[Floats]) -> dict[int, Array]:
        found: dict[int, list[Array]] = {
            i: [] for i, p in enumerate(self._network.populations) if p.dynamics is not None
        }
        for t in range(len(inputs[0])):
            given = dict(zip(self._network.inputs, inputs, strict=True))
            for i, p in enumerate(self._network.populations):
                if p.dynamics is None:
                    sent, error = np.asarray(given[i][t], np.float32), np.zeros(p.size, np.float32)
                else:
                    sent, error, risky = self._settle(i)
                    found[i].append(risky)
                self._oracle.sent[i].append(sent)
                self._sizes.sent[i].append(np.abs(sent))
                self._errors.sent[i].append(error)
            for oracle in (self._oracle, self._sizes, self._errors):
                oracle.time += 1
        return {i: np.array(rows).reshape(-1, self._network.populations[i].size) for i, rows in found.items()}

    def _settle(self, i: int) -> tuple[Floats, Floats, Array]:
        """What population i sends, how far that may be off, and which decisions may be others."""
        population, oracle = self._network.populations[i], self._oracle
        dynamics, values, state, off = population.dynamics, oracle.values[i], oracle.states[i], self._off[i]
        assert dynamics is not None
        x, own = oracle.arriving(i)
        size, own_size = self._sizes.arriving(i)
        error, own_error = self._errors.arriving(i)
        rounding = 0.0 if not self._why[i] else 2 * UNIT * self._terms[i]
        dx = rounding * size + error
        down = {name: v - off[name] for name, v in state.items()}
        up = {name: v + off[name] for name, v in state.items()}
        d_own = None if own is None else rounding * own_size + own_error  # type: ignore[operator]
        sent = dynamics.settle(values, state, x, own)
        moved = []
        for sign, other in ((-1.0, down), (1.0, up)):
            other32 = {name: v.astype(np.float32) for name, v in other.items()}
            current = (x + sign * dx).astype(np.float32)
            own32 = None if own is None else (own + sign * d_own).astype(np.float32)  # type: ignore[operator]
            moved.append((dynamics.settle(values, other32, current, own32), other32))
        risky = np.zeros(population.size, np.bool_)
        if dynamics.emits != Emits.VALUES:
            risky = (moved[0][0] != sent) | (moved[1][0] != sent)
        for name, v in state.items():
            farthest = np.maximum(np.abs(moved[0][1][name] - v), np.abs(moved[1][1][name] - v)).astype(np.float64)
            farthest = np.where(farthest > 0, farthest + 8 * UNIT * np.abs(v), 0)
            # A decision that went the other way is counted; the rest of the run is judged as if it had not.
            off[name] = np.where(risky, 0, farthest)
        sent_error = np.zeros(population.size, np.float32)
        if dynamics.emits == Emits.VALUES:
            sent_error = np.maximum(np.abs(moved[0][0] - sent), np.abs(moved[1][0] - sent))
        return sent, sent_error, risky


def _fan_in(network: Network, p: Projection) -> int:
    """The most sources of a target."""
    if p.kind == "dense":
        return int(p.weights.shape[0])
    if p.kind == "diagonal":
        return 1
    return int(np.prod(p.weights.shape[1:3])) * p.weights.shape[0] // p.groups
