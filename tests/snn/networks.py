# SPDX-License-Identifier: Apache-2.0
"""Random networks of spiking neurons: every rule, reset and kind of projection, cycles, delays, pools."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnn._types import Array, Floats
from bnn.snn.learning import Feedback, Learning
from bnn.snn.network import LATE, Network, Population, Projection
from bnn.snn.rules import RULES, Dynamics, Emits, Reset


def draw_population(
    rng: Any, name: str, shape: tuple[int, ...], dyadic: bool, values: bool = False, rule: str = ""
) -> Population:
    """Parameters per population, channel or neuron; ``dyadic``: multiples of 1/16, so that thresholds are reached.
    ``rule``: its name; "": any."""
    rule = RULES[rule or rng.choice(list(RULES))]
    emits = Emits.VALUES if values else Emits(rng.choice([0, 0, 0, 1]))
    if values and rule.name == "take_back":
        rule = RULES["integrate"]
    elif rule.name == "take_back":
        emits = Emits.CHANGES
    if "refractory" in rule.states:
        emits = Emits.SPIKES
    resets = list(Reset)
    if emits != Emits.SPIKES:
        resets = [Reset.NONE]
    elif "refractory" in rule.states or not rule.states:
        resets = [r for r in Reset if r not in LATE]
    dynamics = Dynamics(
        rule,
        Reset(rng.choice(resets)),
        emits,
        at_least=bool(emits == Emits.SPIKES and rng.random() < 0.5),
        floored=bool(rule.states and rng.random() < (0.5 if emits == Emits.COUNTS else 0.1)),
        winner=bool(emits == Emits.SPIKES and rng.random() < 0.15),
    )
    n = int(np.prod(shape))

    def draw(low: float, high: float) -> Floats:
        size = rng.choice([1, shape[-1], n])
        value = rng.uniform(low, high, size)
        return (np.round(value * 16) / 16 if dyadic else value).astype(np.float32)

    ranges = {
        "threshold": (0.25, 2), "tau": (1, 8), "period": (0, 4), "gain": (0.1, 1), "alpha": (0.1, 0.9),
        "beta": (0.1, 1),
        "rate": (0.1, 0.9), "decay": (0.1, 1), "weight": (0.5, 2), "resistance": (0.5, 2), "step": (0, 0.5),
        "fall": (0.5, 1), "fade": (0.05, 0.5), "rise": (0, 1),
    }  # fmt: skip
    probe = Population(name, shape, dynamics)
    parameters = {p: draw(*ranges.get(p, (-0.25, 0.25))) for p in probe.parameter_names}
    parameters["period"] = np.round(parameters["period"]) if "period" in parameters else np.zeros(1, np.float32)
    if "most" in parameters:
        parameters["most"] = rng.integers(0, 9, parameters["most"].size).astype(np.float32)
    parameters = {p: parameters[p] for p in probe.parameter_names}
    bias = draw(-0.1, 0.2) if rng.random() < 0.7 else np.zeros(1, np.float32)
    return Population(name, shape, dynamics, parameters, bias, output=bool(rng.random() < 0.3))


def draw_weights(rng: Any, shape: tuple[int, ...], kind: str) -> tuple[Array, float]:
    if kind == "int8":
        return rng.integers(-128, 128, shape).astype(np.int8), float(rng.choice([2.0**-7, 0.0123]))
    value = rng.normal(0, 0.6, shape)
    return (np.round(value * 8) / 8 if kind == "dyadic" else value).astype(np.float32), 1.0


def draw_mask(rng: Any, population: Population) -> Array | None:
    return rng.random(population.size) < 0.5 if rng.random() < 0.3 else None  # type: ignore[no-any-return]


def draw_network(rng: Any, weights: str | None = None, rule: str = "") -> Network:
    """``weights``: float, dyadic, int8, or None: any.  ``rule``: of the first population."""
    kind = weights or rng.choice(["float", "dyadic", "int8", "mixed"])

    def pick() -> str:
        return str(rng.choice(["float", "dyadic", "int8"]) if kind == "mixed" else kind)

    def size(most: int) -> int:
        return int(rng.integers(1, most + 1))

    emits = Emits(rng.choice([0, 0, 1, 3] + [2] * (kind != "int8")))
    populations = [Population("input", (size(9), size(9), size(5)), input_emits=emits)]
    projections: list[Projection] = []
    for k in range(1, 2 + int(rng.integers(4))):
        source = int(rng.integers(max(0, k - 2), k))
        before = populations[source]
        relation = rng.choice(["dense", "conv", "pool", "diagonal"])
        if before.emits in (Emits.COUNTS, Emits.VALUES) and rng.random() < 0.3:
            relation = "window"
        here = "float" if before.emits == Emits.VALUES and kind == "int8" else pick()
        if before.emits == Emits.VALUES and here == "int8":
            here = "float"
        options: dict[str, Any] = {}
        h, w, c = before.grid
        if relation == "dense":
            shape: tuple[int, ...] = (size(40),)
            full: tuple[int, ...] = (before.size, shape[0])
        elif relation == "diagonal":
            shape = before.shape
            full = (int(rng.choice([1, c, before.size])),)
        else:
            pool = relation in ("pool", "window")
            groups = c if pool else int(rng.choice([g for g in range(1, c + 1) if c % g == 0]))
            kernel = (min(size(5), h), min(size(5), w))
            gaps = relation != "window" and rng.random() >= 0.7
            stride, dilation = (size(3), size(3)), (size(2), size(2)) if gaps else (1, 1)
            padding = (int(rng.integers(kernel[0])), int(rng.integers(kernel[1])))
            out = [
                max((n + 2 * p - d * (k_ - 1) - 1) // s + 1, 1)
                for n, p, d, k_, s in zip((h, w), padding, dilation, kernel, stride, strict=True)
            ]
            width = 1 if pool else size(9)
            shape = (out[0], out[1], groups * width)
            full = (c, *kernel, width)
            options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
            if relation == "window":
                full, here, options = (0,), "float", {"stride": stride, "padding": padding, "window": kernel}
        values = k > 1 and bool(rng.random() < 0.15)
        target = draw_population(rng, f"p{k}", shape, here == "dyadic", values, rule if k == 1 else "")
        populations.append(target)
        value, scale = draw_weights(rng, full, here)
        kind_name: Any = "conv" if relation in ("conv", "pool") else relation
        projections.append(
            Projection(
                source, k, kind_name, value, scale, delay=int(rng.integers(3)), name=f"{source}-{k}",
                mask=None if relation == "window" else draw_mask(rng, before), **options,
            )
        )  # fmt: skip
    for _ in range(int(rng.integers(3))):  # recurrent and further connections
        source, target = int(rng.integers(len(populations))), int(rng.integers(1, len(populations)))
        dynamics = populations[target].dynamics
        if dynamics and dynamics.rule.recurrent and rng.random() < 0.7:
            source = target
        here = "float" if populations[source].emits == Emits.VALUES else pick()
        value, scale = draw_weights(rng, (populations[source].size, populations[target].size), here)
        value = (value // 4).astype(value.dtype) if here == "int8" else (value / 4).astype(np.float32)
        mask = rng.random(populations[source].size) < 0.5 if rng.random() < 0.5 else None
        bias = rng.normal(0, 0.1, populations[target].size).astype(np.float32) if rng.random() < 0.5 else None
        delay = int(rng.integers(1, 5))
        projections.append(Projection(source, target, "dense", value, scale, delay, mask=mask, bias=bias, name="more"))
    populations[-1].output = True
    for p in projections:
        if p.whole and rng.random() < 0.5:
            channels, n = populations[p.target].channels, populations[p.target].size
            count = channels if p.kind == "conv" else int(rng.choice([1, channels, n]))
            p.scale, p.scales = 1.0, rng.uniform(0.002, 0.02, count).astype(np.float32)
    return Network(populations, projections, dt=1e-3, simulator="none")


def draw_inputs(rng: Any, network: Network, steps: int) -> list[Floats]:
    """(T, n) of each input; half of those that send values send the same in some steps that follow each other."""
    found = []
    for i in network.inputs:
        p = network.populations[i]
        x = rng.random((steps, p.size)) < rng.choice([0.02, 0.2, 0.6])
        if p.input_emits == Emits.COUNTS:
            found.append((x * rng.integers(1, 5, x.shape)).astype(np.float32))
        elif p.input_emits == Emits.CHANGES:
            found.append((x * rng.integers(-4, 5, x.shape)).astype(np.float32))
        elif p.input_emits == Emits.VALUES:
            x = (x * np.round(rng.normal(size=x.shape) * 8) / 8).astype(np.float32)
            new = rng.random(steps) < rng.choice([0.2, 1])
            found.append(x[np.maximum.accumulate(np.where(new, np.arange(steps), 0))])
        else:
            found.append(x.astype(np.float32))
    return found


def draw_plastic_network(rng: Any) -> Network:
    """Populations of single spikes, dense weights, with cycles and delays; most of floats learn, thresholds adapt."""
    populations = [Population("input", (int(rng.integers(1, 70)),))]
    projections = []
    for k in range(1, 2 + int(rng.integers(3))):
        while True:
            p = draw_population(rng, f"p{k}", (int(rng.integers(1, 50)),), dyadic=False)
            if p.emits == Emits.SPIKES:
                break
        if p.adapts:
            p.adapted = rng.uniform(0, 0.3, p.size).astype(np.float32)
        populations.append(p)
    for target in range(1, len(populations)):
        for source in {target - 1, int(rng.integers(len(populations)))}:
            shape = (populations[source].size, populations[target].size)
            weights, scale = draw_weights(rng, shape, str(rng.choice(["float", "dyadic", "int8"], p=[0.4, 0.4, 0.2])))
            learns = weights.dtype != np.int8 and rng.random() < 0.8
            weights = (weights / 4).astype(weights.dtype) if source >= target else weights
            projections.append(
                Projection(
                    source, target, "dense", weights, scale, delay=int(rng.integers(source >= target, 3)),
                    name=f"{source}-{target}", learning=draw_learning(rng) if learns else None,
                )
            )  # fmt: skip
    populations[-1].output = True
    if rng.random() < 0.6:
        _add_feedback(rng, populations, projections)
    return Network(populations, projections)


def _add_feedback(rng: Any, populations: list[Population], projections: list[Projection]) -> None:
    """A readout; what leads to it, and to neurons whose late reset allows it, learns by signals that spikes make."""
    spiking = range(len(populations))

    def values(name: str, shape: tuple[int, ...]) -> Population:
        return draw_population(rng, name, shape, False, True, str(rng.choice(["relay", "decay", "synaptic"])))

    readout = values("readout", (int(rng.integers(1, 20)),))
    weights, _ = draw_weights(rng, (populations[-1].size, readout.size), "float")
    projections.append(Projection(spiking[-1], len(populations), "dense", weights, name="readout"))
    populations.append(readout)
    late = set(LATE) - {Reset.CORRECTED_SUBTRACT}
    for p in list(projections):
        target = populations[p.target]
        fits = target is readout or (target.dynamics is not None and target.dynamics.reset in late)
        if p.whole or not fits:
            continue
        p.learning = draw_feedback(rng, len(populations))
        signal = values(f"signal {len(populations)}", target.shape)
        for source in {int(rng.integers(len(spiking))), 0}:
            weights, _ = draw_weights(rng, (populations[source].size, signal.size), "float")
            projections.append(Projection(source, len(populations), "dense", weights))
        populations.append(signal)


def draw_feedback(rng: Any, signal: int) -> Feedback:
    rate, decay = (float(rng.choice(x)) for x in ([1e-4, 1e-2, 0.3, -0.1], [0, 0.5, 0.951, 1]))
    width = float(rng.choice([1e-30, 0.3, 1, 20]))
    low, high = rng.choice([-np.inf, -1.0, 0.0]), rng.choice([0.5, 1.0, np.inf])
    return Feedback(signal, rate, decay, width, float(low), float(high))


def draw_learning(rng: Any) -> Learning:
    nu = rng.choice([0, 1e-4, 1e-2, 0.3, -0.1], 2)
    decay = rng.choice([0, 0.5, 0.951, 1], 2)
    low, high = rng.choice([-np.inf, -1.0, 0.0]), rng.choice([0.5, 1.0, np.inf])
    return Learning(*nu, *decay, bool(rng.random() < 0.5), float(low), float(high), float(rng.choice([0, 0.3, 5])))
