# SPDX-License-Identifier: Apache-2.0
"""The definition of what a network computes, in NumPy: one float32 operation after the other.

The runtime equals this bit for bit; it is written to be read, not to be fast.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from .._types import Array, Floats
from ..errors import InputError
from .learning import Feedback, Plastic
from .network import Network, Population, Projection, cycled
from .rules import Emits, overflow_text


@dataclass
class Record:
    """What happened in every population: ``sent[p]``, ``currents[p]`` and ``membranes[p]`` are (T, n) float32; inputs
    have only ``sent``, and stateless populations no membranes."""

    sent: dict[int, Floats] = field(default_factory=dict)
    currents: dict[int, Floats] = field(default_factory=dict)
    membranes: dict[int, Floats] = field(default_factory=dict)


class Oracle:
    """A network with its state; :meth:`step` runs one step.  ``learning``: weights change and thresholds adapt."""

    def __init__(self, network: Network) -> None:
        self.network = network.check()
        self.values = [p.values() for p in network.populations]
        longest = [0] * len(network.populations)
        for p in network.projections:
            longest[p.source] = max(longest[p.source], p.delay)
        self._depth = [n + 1 for n in longest]
        self.learning = False
        self.plastic = {p: Plastic(p.learning, p.weights) for p in network.projections if p.learning}
        self.states: list[dict[str, Floats]] = [
            {"adapted": p.per_neuron(p.adapted)} if p.adapts else {} for p in network.populations
        ]
        self.reset()

    def reset(self) -> None:
        """Back to before the first step, with what was learned: weights and thresholds."""
        self.time = 0
        populations = self.network.populations

        def inputs(p: Population) -> dict[str, Floats]:
            """An event input keeps its level, or its value."""
            name = "v" if p.emits == Emits.VALUES else "level"
            return {name: np.zeros(p.size, np.float32)} if p.event else {}

        self.states = [
            p.dynamics.initial(values, p.size) | {k: s[k] for k in s if k == "adapted"} if p.dynamics else inputs(p)
            for p, values, s in zip(populations, self.values, self.states, strict=True)
        ]
        for plastic in self.plastic.values():
            plastic.reset()
        self.sent = [
            deque([np.zeros(p.size, np.float32)] * depth, maxlen=depth)
            for p, depth in zip(populations, self._depth, strict=True)
        ]
        self.currents = [np.zeros(p.size, np.float32) for p in populations]

    def step(self, inputs: list[Floats]) -> None:
        """``inputs``: what each input sends (n,), in the order of the network's inputs."""
        given = dict(zip(self.network.inputs, inputs, strict=True))
        for i, population in enumerate(self.network.populations):
            if population.event:
                sent = self._event(i, population, given.get(i))
            elif population.dynamics is None:
                sent = np.asarray(given[i], np.float32).reshape(-1)
                if sent.size != population.size:
                    raise InputError(f"{population.name}: found {sent.size} values, expected {population.size}")
            else:
                self.currents[i], own = self.arriving(i)
                settle = partial(population.dynamics.settle, learning=self.learning)
                finite = partial(self._check_finite, population.name)
                sent = settle(self.values[i], self.states[i], self.currents[i], own, charged=finite)
            self.sent[i].append(sent)
        if self.learning:
            for p, plastic in self.plastic.items():
                self._learn(p, plastic)
        self.time += 1

    def _learn(self, p: Projection, plastic: Plastic) -> None:
        """What a projection learns from this step."""
        rule, target = plastic.rule, self.network.populations[p.target]
        if not isinstance(rule, Feedback):
            plastic.step(self.sent[p.source][-1], self.sent[p.target][-1])
            return
        slope = np.ones(target.size, np.float32)
        if target.emits == Emits.SPIKES:
            slope = rule.slope(self.states[p.target]["v"], self.values[p.target]["threshold"])
        plastic.direct(self.sent[p.source][-1 - p.delay], slope, self.sent[rule.signal][-1])

    def _event(self, i: int, p: Population, given: Floats | None) -> Floats:
        """A step of an event population; what it sends: the changes of levels or inputs, or a sum's value."""
        state, into = self.states[i], self.network.into(i)
        if given is not None:
            change = np.asarray(given, np.float32).reshape(-1)
            for name in state:
                state[name] = state[name] + change
            return change
        before = state.get("level", np.zeros(p.size, np.float32))
        if p.rule == "wire":
            state["level"] = self.values[i]["initial"] * (p.steps == 1)
            for q in into:
                passed = self.states[q.source]["level"][q.weights]
                state["level"] = np.where(q.weights >= 0, passed, state["level"])
        elif p.rule == "any":
            levels = self._windows(into[0], self.states[into[0].source]["level"])
            every = self.values[i]["every"] != 0
            state["level"] = np.where(every, np.fmin.reduce(levels, axis=0), np.fmax.reduce(levels, axis=0))
        elif into and into[0].kind == "window":
            sums = self._windows(into[0], self.states[into[0].source]["v"])
            lowest = self.values[i]["lowest"] != 0
            state["v"] = np.where(lowest, np.fmin.reduce(sums, axis=0), np.fmax.reduce(sums, axis=0))
        else:
            self.currents[i], _ = self.arriving(i)
            state["v"] = state["v"] + self.currents[i]
        if p.rule == "counter":
            cuts = np.resize(p.cuts.reshape(-1, p.steps), (p.size, p.steps))
            level = (cuts <= (state["v"] * self.values[i]["sign"])[:, None]).sum(axis=1)
            state["level"] = level.astype(np.float32)
        return state["v"] if p.rule == "sum" else state["level"] - before

    def _windows(self, p: Projection, values: Floats) -> Floats:
        """(places of a window, n): each target's sources, NaN outside."""
        (h, w, c), (oh, ow, _) = self.network.populations[p.source].grid, self.network.populations[p.target].grid
        padded = np.full((*(s + 2 * k for s, k in zip((h, w), p.window, strict=True)), c), np.nan, np.float32)
        top, left = p.padding
        padded[top : top + h, left : left + w] = values.reshape(h, w, c)
        return np.stack([
            padded[y : y + (oh - 1) * p.stride[0] + 1 : p.stride[0], x : x + (ow - 1) * p.stride[1] + 1 : p.stride[1]]
            for y in range(p.window[0]) for x in range(p.window[1])
        ]).reshape(-1, oh * ow * c)  # fmt: skip

    def _check_finite(self, name: str, membranes: Floats) -> None:
        if not np.isfinite(membranes).all():
            raise InputError(overflow_text(name, self.time))

    def normalize(self) -> None:
        """Scale the weights of projections with a norm."""
        for plastic in self.plastic.values():
            plastic.normalize()

    def run(self, inputs: list[Floats]) -> Record:
        """``inputs``: (T, n) each; from the current state on."""
        steps = {len(x) for x in inputs}
        if len(steps) != 1:
            raise InputError(f"inputs: found {sorted(steps)} steps, expected one number for all inputs")
        rows: list[tuple[list[Floats], list[Floats], list[Floats]]] = []
        none = np.zeros(0, np.float32)
        for t in range(steps.pop()):
            self.step([x[t] for x in inputs])
            sent = [
                s["v"] if p.event and p.emits == Emits.VALUES else sent[-1]
                for p, s, sent in zip(self.network.populations, self.states, self.sent, strict=True)
            ]
            rows.append((sent, list(self.currents), [s.get("v", none) for s in self.states]))
        record = Record()
        for i, population in enumerate(self.network.populations):
            record.sent[i] = np.array([r[0][i] for r in rows]).reshape(-1, population.size)
            if population.dynamics is not None and not population.event:
                record.currents[i] = np.array([r[1][i] for r in rows]).reshape(-1, population.size)
                if "v" in population.dynamics.rule.states:
                    record.membranes[i] = np.array([r[2][i] for r in rows]).reshape(-1, population.size)
        return record

    def arriving(self, target: int) -> tuple[Floats, Floats | None]:
        """The currents, and those from the population itself where its rule wants them apart."""
        population = self.network.populations[target]
        current = population.per_neuron(population.bias) + np.float32(0)  # -0 becomes 0
        dynamics = population.dynamics
        own = np.zeros(population.size, np.float32) if dynamics and dynamics.rule.recurrent else None
        for p in self.network.into(target):
            if own is not None and p.source == target:
                own = self._arrived(p, own, always=True)
            else:
                current = self._arrived(p, current)
        return current, own

    def _arrived(self, p: Projection, current: Floats, always: bool = False) -> Floats:
        """``current`` and what the projection adds; ``always``: its bias in every step."""
        population = self.network.populations[p.target]
        if p.bias is not None and (always or self.time >= p.delay):
            current = current + population.per_neuron(p.bias)
        # Frames of this step end with [-1] only where the source has settled already: its delay is then counted from
        # there; one of a later population is counted from the step before.
        settled = p.source < p.target
        sent = self.sent[p.source][-1 - p.delay + (not settled)]
        if p.mask is not None:
            sent = np.where(p.mask, sent, np.float32(0))
        if p.whole:
            sums = self._add(p, np.zeros(population.size, np.int32), sent.astype(np.int32))
            scale = np.float32(p.scale) if p.scales is None else population.per_neuron(p.scales)
            return current + sums.astype(np.float32) * scale
        return self._add(p, current, sent)

    def _add(self, p: Projection, sums: Array, sent: Array) -> Array:
        """Adds to ``sums`` the rows of those that sent something, times what they sent."""
        source, target = self.network.populations[p.source], self.network.populations[p.target]
        weights = self.plastic[p].weights if p in self.plastic else p.weights.astype(sums.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            if p.kind == "diagonal":
                return np.add(sums, np.where(sent != 0, cycled(weights, source.size) * sent, sums.dtype.type(0)))
            if p.kind == "window":
                return np.add(sums, np.fmax.reduce(self._windows(p, sent), axis=0))
            sums = sums.copy()
            active = np.flatnonzero(sent)
            if p.kind == "dense":
                for i in active:
                    sums += weights[i] * sent[i]
                return sums
            (_, w, c), (oh, ow, oc) = source.grid, target.grid
            out = sums.reshape(oh, ow, oc)
            width = oc // p.groups
            for i in active:
                y, x, channel = i // c // w, i // c % w, i % c
                first = channel // (c // p.groups) * width
                for ky in range(weights.shape[1]):
                    oy, off = divmod(y + p.padding[0] - ky * p.dilation[0], p.stride[0])
                    if off or not 0 <= oy < oh:
                        continue
                    for kx in range(weights.shape[2]):
                        ox, off = divmod(x + p.padding[1] - kx * p.dilation[1], p.stride[1])
                        if not off and 0 <= ox < ow:
                            out[oy, ox, first : first + width] += weights[channel, ky, kx] * sent[i]
            return sums
