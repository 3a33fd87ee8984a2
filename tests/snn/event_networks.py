# SPDX-License-Identifier: Apache-2.0
"""Networks of event populations for tests: of every rule, on sources of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnn._types import Floats
from bnn.snn.network import Network, Population, Projection
from bnn.snn.rules import EVENT_RULES, Dynamics, Emits

Rng = np.random.Generator
NONE = np.zeros(0, np.float32)


def f(*values: Any) -> Floats:
    return np.array(values, np.float32).reshape(-1)


def event(name: str, rule: str, shape: tuple[int, ...], steps: int = 1, **more: Any) -> Population:
    emits = Emits.VALUES if rule == "sum" else Emits.CHANGES
    cuts = more.pop("cuts", NONE)
    own = {"counter": {"sign": f(1), "lowest": f(0)}, "any": {"every": f(0)}}.get(rule, {})
    parameters = {"threshold": f(1), "reset": f(0), "initial": f(0)} | own | more
    return Population(name, shape, Dynamics(EVENT_RULES[rule], emits=emits), parameters, steps=steps, cuts=f(cuts))


def given(name: str, shape: tuple[int, ...], steps: int = 1, emits: Emits = Emits.CHANGES) -> Population:
    return Population(name, shape, input_emits=emits, steps=steps)


def rising(rng: Rng, channels: int, steps: int) -> Floats:
    return np.sort(rng.integers(-9, 10, (channels, steps)), axis=1).astype(np.float32).reshape(-1)


def convolution(rng: Rng, net: Network, source: int, shape: tuple[int, int], lanes: bool) -> tuple[Any, Projection]:
    """(the target's grid, a projection to it) of a convolution of any geometry."""
    h, w, c = net.populations[source].grid
    groups = int(rng.choice([g for g in (1, 2, 5) if c % g == 0]))
    kernel = tuple(int(rng.integers(1, n + 1)) for n in shape)
    stride, dilation, padding = (tuple(int(n) for n in rng.integers(low, 3, 2)) for low in (1, 1, 0))
    filters = groups * int(rng.integers(1, 40))
    weights = rng.integers(-1, 2, (c, *kernel, filters // groups))
    values = weights.astype(np.int8) if lanes else (weights * 0.5).astype(np.float32)
    grid = (int(rng.integers(1, h + 2)), int(rng.integers(1, w + 2)), filters)
    return grid, Projection(source, len(net.populations), "conv", values, 2.0 if lanes else 1.0, stride=stride,
                            padding=padding, dilation=dilation, groups=groups)  # fmt: skip


def draw(rng: Rng) -> Network:
    """Inputs of bits, levels and real values; every rule, on sources of every kind that it takes."""
    net = Network([], [], channels_first=False)
    shape = tuple(int(n) for n in rng.integers(1, 6, 2))

    def add(p: Population, *projections: Projection) -> int:
        net.populations.append(p)
        net.projections += projections
        return len(net.populations) - 1

    channels = int(rng.choice([1, 5, 10, 32, 40]))
    bits = [add(given("bits", (*shape, channels)))]
    levels = [add(given("levels", (*shape, 2 * channels), int(rng.integers(2, 256))))]
    values = [add(given("values", (*shape, channels), emits=Emits.VALUES))]
    sums = []
    for k in range(int(rng.integers(4, 12))):
        kind = rng.choice(["lanes", "floats", "levels", "sum", "look", "any", "wire", "moved"])
        if kind in ("lanes", "floats", "levels", "sum"):
            source = int(rng.choice(bits if kind == "lanes" else bits + levels + values))
            lanes = kind == "lanes" or (kind == "sum" and source in bits and rng.random() < 0.5)
            grid, projection = convolution(rng, net, source, shape, lanes)
            initial = rng.integers(-9, 10, rng.choice([1, grid[2], np.prod(grid)])).astype(np.float32)
            more = [projection] * int(rng.integers(1, 3))
            steps = int(rng.integers(2, 200)) if kind == "levels" else 1
            if kind == "sum":
                sums.append(add(event(f"{k}", "sum", grid, initial=initial), *more))
                continue
            sign = f(1) if kind == "lanes" else rng.choice([-1, 1], grid[2]).astype(np.float32)
            cuts = rising(rng, grid[2], steps) / (1 if kind == "lanes" else 2)
            made = add(event(f"{k}", "counter", grid, steps, initial=initial, sign=sign, cuts=cuts), *more)
            (levels if steps > 1 else bits).append(made)
            continue
        sources = {"look": sums, "any": bits, "wire": bits, "moved": levels}[str(kind)]
        if not sources:
            continue
        source = int(rng.choice(sources))
        h, w, c = net.populations[source].grid
        if kind in ("look", "any"):
            window = tuple(int(rng.integers(1, n + 1)) for n in (h, w))
            padding = tuple(int(rng.integers(0, k)) for k in window)
            stride = tuple(int(n) for n in rng.integers(1, 3, 2))
            grid = tuple(
                int(rng.integers(1, (n + p - 1) // s + 2)) for n, p, s in zip((h, w), padding, stride, strict=True)
            )
            at = {"window": window, "padding": padding, "stride": stride}
            look = Projection(source, len(net.populations), "window", NONE, **at)
            if kind == "any":
                every = rng.integers(0, 2, c).astype(np.float32)
                bits.append(add(event(f"{k}", "any", (*grid, c), every=every), look))
                continue
            steps = int(rng.choice([1, 1, 7]))
            sign, lowest = rng.choice([-1, 1], c).astype(np.float32), rng.integers(0, 2, c).astype(np.float32)
            cuts = rising(rng, c, steps)
            made = add(event(f"{k}", "counter", (*grid, c), steps, sign=sign, lowest=lowest, cuts=cuts), look)
            (levels if steps > 1 else bits).append(made)
            continue
        target = tuple(int(n) for n in rng.integers(1, 5, 3))
        steps, number = net.populations[source].steps, len(net.populations)
        which = rng.integers(0, 3, np.prod(target))  # of several sources, and of none
        same = [s for s in sources if net.populations[s].steps == steps]
        wires = []
        for part, s in enumerate([source, int(rng.choice(same))]):
            numbers = rng.integers(0, net.populations[s].size, which.size)
            wires.append(Projection(s, number, "wires", np.where(which == part, numbers, -1).astype(np.int32)))
        initial = np.where(which == 2, rng.integers(0, 2, which.size), 0).astype(np.float32) * (steps == 1)
        (levels if steps > 1 else bits).append(add(event(f"{k}", "wire", target, steps, initial=initial), *wires))
    for p in net.populations[1:]:
        p.output = True
    return net


def changes(rng: Rng, p: Population, steps: int) -> Floats:
    """What an input sends: most often nothing."""
    if p.emits == Emits.VALUES:
        moved = rng.integers(-8, 9, (steps, p.size)) / 4 * (rng.random((steps, p.size)) < 0.3)
        return moved.astype(np.float32)
    level, rows = np.zeros(p.size), []
    for _ in range(steps):
        moves = rng.random(p.size) < rng.choice([0.0, 0.05, 0.6])
        wanted = np.where(moves, rng.integers(0, p.steps + 1, p.size), level)
        rows.append(wanted - level)
        level = wanted
    return np.array(rows, np.float32)
