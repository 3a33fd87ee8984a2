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
FACTOR = 16  # a step of quantized weights is less than this times its power of two, so that few bits are added


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
    """Weights k * s, -127 <= k <= 127, with the smallest s = m * 2^-e of each target for which its largest weight fits,
    m from 8 to 15; float32, same shape: (targets, ...).

    What rounding leaves of a weight is added to the target's next one before that is rounded: sources that follow each
    other, as pixels do, often send together, and then errors cancel.  No weight is a step or more from where it was.
    A target's weights that are such multiples already stay, and those that are all the same: a pool's are not trained.
    """
    if not weights.any() or (weights == weights.reshape(-1)[0]).all():
        return weights
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    units = _units(weights)
    units = np.where(units == 0, 1, units)
    steps = np.maximum(units * np.ceil(np.abs(flat).max(axis=1) / LARGEST / units), units)
    rows, left = flat.T / steps, np.zeros(len(flat))
    for row in rows:  # in place
        wanted = row + left
        row[:] = np.clip(np.rint(wanted), -LARGEST, LARGEST)
        left = wanted - row  # at most a half: no weight is more than LARGEST steps
    kept = _as_bytes(flat.T)[2]
    return np.asarray(np.where(kept, flat.T, rows * steps).T.reshape(weights.shape), np.float32)


def quantize_bias(bias: Floats, weights: Floats) -> Floats:
    """The bias beside these weights, before they are quantized, as multiples of each target's 2^-e: then sums are
    exact.  ``bias``: (targets,)."""
    units = _units(weights)
    units = np.where(units == 0, units.max(), units)
    return np.asarray(np.rint(bias.astype(np.float64) / units) * units, np.float32) if units.any() else bias


def _units(weights: Floats) -> Array:
    """2^-e of each target's quantized weights; 0 where all are 0."""
    largest = np.abs(weights.reshape(len(weights), -1)).max(axis=1).astype(np.float64)
    return np.where(largest > 0, 2.0 ** (np.frexp(largest / LARGEST)[1] - 4.0), 0)  # FACTOR / 2 <= step / unit


def _as_bytes(weights: Array) -> tuple[Array, Array, Array]:
    """(k, s, whether these are exact): weights (n, ...) as k * s, -128 <= k <= 127, with a step s = m * 2^-e along the
    first axis, m < FACTOR."""
    mantissas, exponents = np.frexp(weights)
    whole = np.abs(mantissas * 2.0**24).astype(np.int64)
    lowest = np.where(whole == 0, 1 << 10, exponents - 25 + np.frexp((whole & -whole).astype(np.float64))[1])
    units = lowest.min(axis=0)  # 2^units: the largest that all weights are multiples of
    units = np.where(units == 1 << 10, 0, units)
    wide = np.ldexp(weights, -units)
    small = (np.abs(wide).max(axis=0) <= 128 * FACTOR) & (np.abs(wide).sum(axis=0) < EXACT) & (abs(units) < 100)
    k = np.where(small, wide, 0).astype(np.int64)
    factors = np.maximum(np.gcd.reduce(k, axis=0), 1)
    k //= factors
    exact = small & (factors < FACTOR) & (k.min(axis=0) >= -128) & (k.max(axis=0) <= 127)
    return k, np.ldexp(factors.astype(np.float64), units), exact


def with_int8_weights(network: Network) -> Network:
    """The network with weights of eight bits where that is exact: those that are k * 2^-e, -128 <= k <= 127, or
    k * s with a step s = m * 2^-e for each target, m < FACTOR."""
    return replace(network, projections=[_compact(network, p) for p in network.projections])


def _compact(network: Network, p: Projection) -> Projection:
    if p.whole or p.kind == "window" or network.populations[p.source].emits == Emits.VALUES:
        return p
    e = grid(p.weights)
    scaled = p.weights.astype(np.float64) * 2.0 ** min(e, 126)
    if e > 126 or scaled.min() < -128 or scaled.max() > 127:
        return _compact_each(network, p)
    return replace(p, weights=scaled.astype(np.int8), scale=2.0**-e if e > -127 else 1.0)


def _compact_each(network: Network, p: Projection) -> Projection:
    """Eight bits with a scale for each target of a dense layer or channel of a convolution, if that is exact."""
    if p.kind not in ("dense", "conv") or network.populations[p.target].event:
        return p
    grouped = p.weights.astype(np.float64).reshape(p.groups, -1, p.weights.shape[-1])  # weights of a target second
    k, scales, exact = _as_bytes(grouped.swapaxes(0, 1))
    if not exact.all():
        return p
    weights = k.swapaxes(0, 1).reshape(p.weights.shape).astype(np.int8)
    return replace(p, weights=weights, scales=scales.reshape(-1).astype(np.float32))


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
            here = grid(p.real_weights(order[p.target])) if p.kind != "window" else 0
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
    weights = np.abs(p.real_weights(network.populations[p.target]))
    if p.kind == "dense":
        return float(weights.sum(axis=0).max(initial=0))
    if p.kind == "window":
        return 1.0
    if p.kind == "diagonal":
        return float(weights.max(initial=0))
    groups = network.populations[p.source].channels // p.groups
    sums = weights.reshape(-1, groups, *weights.shape[1:]).sum(axis=(1, 2, 3))
    return float(sums.max(initial=0))
