# SPDX-License-Identifier: Apache-2.0
"""Weights as whole numbers: where sums are exact, and so equal in any order, and weights of eight bits.

Weights k * 2^-e, with sums below 2^24 * 2^-e, have exact float32 sums.  Simulators add in other orders than the engine,
and in others with another batch size; what is exact is the same for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .._types import Array, Floats
from .network import Network, Projection
from .rules import Emits

EXACT = 2.0**24
LARGEST = 127  # of an int8 weight that quantization makes


def grid(*values: Array) -> int:
    """The smallest e for which all values times 2^e are whole numbers; negative if they have a larger common step."""
    x = np.concatenate([np.asarray(v, np.float64).reshape(-1) for v in values])
    x = x[x != 0]
    if not x.size:
        return -1022
    mantissas, exponents = np.frexp(x)
    whole = np.abs(mantissas * 2.0**53).astype(np.int64)
    lowest = (whole & -whole).astype(np.float64)  # the lowest bit that is set
    return int((53 - exponents - np.log2(lowest)).max())


def quantize(weights: Floats) -> Floats:
    """Weights k * 2^-e, -127 <= k <= 127, with the largest e for which the largest weight fits; float32, same shape.

    Weights that are all the same stay: a pool's are not trained.
    """
    step = _step(weights)
    if not step or (weights == weights.reshape(-1)[0]).all():
        return weights
    return _multiples(weights, step)


def quantize_bias(bias: Floats, weights: Floats) -> Floats:
    """The bias beside these weights, before they are quantized, as multiples of the same 2^-e: then sums are exact."""
    step = _step(weights)
    return _multiples(bias, step) if step else bias


def _step(weights: Floats) -> float:
    """2^-e of quantized weights; 0 if all are 0."""
    largest = float(np.abs(weights).max(initial=0))
    return 2.0 ** math.ceil(math.log2(largest / LARGEST)) if largest else 0.0


def _multiples(values: Floats, step: float) -> Floats:
    return np.asarray(np.rint(values.astype(np.float64) / step) * step, np.float32)


def with_int8_weights(network: Network) -> Network:
    """The network with weights of eight bits where that is exact: those that are k * 2^-e, -128 <= k <= 127."""
    return replace(network, projections=[_compact(network, p) for p in network.projections])


def _compact(network: Network, p: Projection) -> Projection:
    if p.whole or p.kind == "window" or network.populations[p.source].emits == Emits.VALUES:
        return p
    e = grid(p.weights)
    scaled = p.weights.astype(np.float64) * 2.0 ** min(e, 126)
    if e > 126 or scaled.min() < -128 or scaled.max() > 127:
        return p
    return replace(p, weights=scaled.astype(np.int8), scale=2.0**-e if e > -127 else 1.0)


def inexact(network: Network, most: Mapping[int, float] | None = None) -> list[str]:
    """Per population "", if its currents are exact in float32 whatever the order of additions; otherwise why not.

    ``most``: the largest number of spikes, or change, that a population sent in a step of the runs in question.
    """
    found: list[str] = []
    steps: list[int] = []  # each population sends multiples of 2^-step ...
    bounds: list[float] = []  # ... at most that large
    order = network.populations
    for i, population in enumerate(order):
        if population.dynamics is None or population.emits != Emits.VALUES:
            steps.append(0 if population.emits != Emits.VALUES else 1 << 20)
            bounds.append(1.0 if population.emits == Emits.SPIKES else (most or {}).get(i, EXACT))
        else:
            steps.append(1 << 20)
            bounds.append(math.inf)
        found.append("")
    for i, population in enumerate(order):
        if population.dynamics is None:
            continue
        into = network.into(i)
        step, bound = grid(population.bias), float(np.abs(population.bias).max(initial=0))
        for p in into:
            if steps[p.source] >= 1 << 20:
                found[i] = f"{order[p.source].name} sends real values"
            here = grid(p.weights.astype(np.float64) * p.scale) if p.kind != "window" else 0
            step = max(step, here + steps[p.source], grid(p.bias) if p.bias is not None else step)
            bound += _most(network, p) * bounds[p.source] + (float(np.abs(p.bias).max()) if p.bias is not None else 0)
        if not found[i] and bound * 2.0 ** max(min(step, 900), -900) >= EXACT:
            found[i] = "its weights and bias have no common step, or sums are too large for it"
        if population.dynamics.rule.name == "refractory_lif" and not found[i]:
            found[i] = "its exponential and logarithm round otherwise than the simulator's"
        if population.dynamics.rule.name == "relay" and population.emits == Emits.VALUES and not found[i]:
            steps[i], bounds[i] = step, bound
    return found


def _most(network: Network, p: Projection) -> float:
    """The largest sum of |weights| that one target can get from single spikes."""
    weights = np.abs(p.weights.astype(np.float64)) * abs(p.scale)
    if p.kind == "dense":
        return float(weights.sum(axis=0).max(initial=0))
    if p.kind == "window":
        return 1.0
    if p.kind == "diagonal":
        return float(weights.max(initial=0))
    groups = network.populations[p.source].channels // p.groups
    sums = weights.reshape(-1, groups, *weights.shape[1:]).sum(axis=(1, 2, 3))
    return float(sums.max(initial=0))
