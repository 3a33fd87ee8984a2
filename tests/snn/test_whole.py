# SPDX-License-Identifier: Apache-2.0
"""Weights as whole numbers, sums that are exact, and decisions at risk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bnn._types import Floats
from bnn.snn.exact_weights import grid, inexact, quantize, quantize_bias, with_int8_weights
from bnn.snn.network import Network, Population, Projection
from bnn.snn.oracle import Oracle
from bnn.snn.rounding_risk import Risk, excused, find_risk
from bnn.snn.rules import RULES, Dynamics, Emits, Reset
from seed import SEED

from .networks import draw_inputs, draw_network


def chain(weights: Floats, bias: float = 0.0, threshold: float = 1.0) -> Network:
    """Spikes -> integrate-and-fire neurons that reset to zero."""
    values = {"threshold": threshold, "reset": 0.0, "initial": 0.0}
    parameters = {name: np.array([v], np.float32) for name, v in values.items()}
    neurons = Population(
        "out", (weights.shape[1],), Dynamics(RULES["integrate"], Reset.VALUE), parameters, np.float32([bias]), True
    )
    return Network([Population("in", (weights.shape[0],)), neurons], [Projection(0, 1, "dense", weights)])


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.5, 0.25, 3], 2), ([4, -8], -2), ([0], -1022), ([1.5e-45], 149), ([0.1], 27), ([2.0**-126, 1], 126)],
)
def test_grid(values: list[float], expected: int) -> None:
    found = grid(np.array(values, np.float32))
    assert found == expected
    scaled = np.array(values, np.float32).astype(np.float64) * 2.0**found
    assert (scaled == np.rint(scaled)).all() and (not scaled.any() or (scaled % 2).any())


def test_quantized_weights_are_whole_and_near() -> None:
    print(f"BNN_TEST_SEED={SEED}")
    rng = np.random.default_rng(SEED)
    for _ in range(20):
        sizes = 10.0 ** rng.uniform(-6, 6, (int(rng.integers(2, 20)), 1))  # of each target
        weights = (rng.normal(size=(len(sizes), int(rng.integers(30, 300)))) * sizes).astype(np.float32)
        weights[0] *= rng.random() < 0.8  # a target may have no weights
        found, bias = quantize(weights), (rng.normal(size=len(sizes)) * sizes[:, 0]).astype(np.float32)
        rounded = quantize_bias(bias, weights)
        (compact,) = with_int8_weights(chain(np.ascontiguousarray(found.T))).projections
        scales = compact.scales
        assert compact.whole and scales is not None
        assert (compact.weights.T.astype(np.float32) * scales[:, None] == found).all()
        for w, q, b, r in zip(weights, found, bias, rounded, strict=True):
            most = np.abs(w).max() / 127 * 9 / 8  # the largest step: nine where eight do not do
            off = q.astype(np.float64) - w
            assert (np.abs(off) <= most * 1.001).all()
            assert (np.abs(off.cumsum()) <= most * 0.51).all()  # what rounding leaves is carried on
            assert abs(r - b) <= np.abs(weights if not w.any() else w).max() / 127 / 15
            assert inexact(chain(q[:, None], bias=float(r) if w.any() else 0)) == ["", ""]
        assert (quantize(found) == found).all()
        units = rng.integers(-127, 128, (9, 9)).astype(np.float32) / 64  # as they were trained
        assert (quantize(units) == units).all()
        third = float(np.float32(1 / 3)) * 2.0 ** np.floor(np.log2(np.abs(found[1]).max()))  # of 24 bits
        assert "weights and bias have no common step" in inexact(chain(found[1:2].T, bias=third))[1]
    assert (quantize_bias(bias, weights * 0) == bias).all()
    same = np.full((3, 3), 1 / 9, np.float32)
    assert quantize(same) is same


def test_weights_of_eight_bits_change_nothing_that_is_exact() -> None:
    print(f"BNN_TEST_SEED={SEED}")
    whole = exact = number = 0
    while exact < 10:
        number += 1
        rng = np.random.default_rng([SEED, number])
        network = draw_network(rng, "dyadic")
        inputs = draw_inputs(rng, network, 12)
        other = with_int8_weights(network)
        a, b = Oracle(network).run(inputs), Oracle(other).run(inputs)
        why = inexact(network, {i: float(sent.max(initial=0)) for i, sent in a.sent.items()})
        whole += sum(p.whole for p in other.projections)
        if not any(why):
            exact += 1
            for i, sent in a.sent.items():
                assert (sent == b.sent[i]).all()
    assert whole


@pytest.mark.parametrize("factor", [1, 15, 17])
def test_scales_of_targets_have_few_bits(factor: int) -> None:
    """Float sums of multiples of s are exact only while s has few bits."""
    weights = np.float32([[9 * factor, 1], [-factor, 127]]) / 64
    (found,) = with_int8_weights(chain(weights)).projections
    assert found.whole == (factor < 16)
    kernel = np.float32([[1, 3], [2, 127], [127 * 15, 15], [15, 30]]).reshape(4, 1, 2, 1)
    grouped = chain(weights)
    grouped.populations = [Population("in", (1, 2, 4)), replace(grouped.populations[1], shape=(1, 1, 2))]
    grouped.projections = [Projection(0, 1, "conv", kernel, groups=2)]
    (conv,) = with_int8_weights(grouped).projections
    assert conv.whole and conv.scales is not None and conv.scales.tolist() == [1, 15]
    assert (conv.real_weights(grouped.populations[1]) == kernel).all()


def test_why_a_sum_is_not_exact() -> None:
    rng = np.random.default_rng(1)
    weights = np.round(rng.normal(size=(50, 20)) * 8).astype(np.float32) / 8
    assert inexact(chain(weights, bias=0.5)) == ["", ""]
    assert "no common step" in inexact(chain(weights + np.float32(0.1)))[1]
    assert "no common step" in inexact(chain(weights, bias=0.1))[1]
    assert "too large" in inexact(chain(weights * 2.0**20 + 0.125))[1]
    values = chain(weights)
    values.populations[0] = replace(values.populations[0], input_emits=Emits.VALUES)
    assert inexact(values)[1] == "in sends real values"
    counts = chain(weights)
    counts.populations[0] = replace(counts.populations[0], input_emits=Emits.COUNTS)
    assert "too large" in inexact(counts)[1] and inexact(counts, {0: 3.0}) == ["", ""]


@pytest.mark.parametrize(("weight", "whole"), [(127, True), (128, False), (-128, True), (-129, False)])
@pytest.mark.parametrize("unit", [1, 2.0**-9])
def test_weights_beside_the_range_of_bytes(weight: int, whole: bool, unit: float) -> None:
    weights = np.float32([[weight * unit], [unit]])
    (found,) = with_int8_weights(chain(weights)).projections
    assert found.whole == whole and (found.weights.astype(np.float32) * np.float32(found.scale) == weights).all()


@pytest.mark.parametrize(("more", "exact"), [(0, True), (1, True), (2, False)])
@pytest.mark.parametrize("where", ["weights", "bias", "projection", "int8", "conv", "groups", "source"])
def test_sums_below_2_to_24_are_exact(where: str, more: int, exact: bool) -> None:
    """All that may come together in one neuron counts: 2^24 - 2, and a little more."""
    network = chain(np.float32([[2**23], [2**23 - 3], [1], [0.0]]))
    population, projection = network.populations[1], network.projections[0]
    if where == "weights":
        projection.weights[3] = more
    elif where == "bias":
        population.bias[:] = more
    elif where == "projection":
        projection = replace(projection, bias=np.float32([more]))
    elif where == "int8":  # of another projection
        more_of_it = Projection(0, 1, "dense", np.int8([[more], [0], [0], [0]]), 1.0)
        network.projections.append(more_of_it)
    elif where == "source":  # sums that are passed on
        relay = Dynamics(RULES["relay"], emits=Emits.VALUES)
        parameters = {k: np.zeros(1, np.float32) for k in ("threshold", "reset", "initial")}
        network.populations.insert(1, Population("sums", (1,), relay, parameters, np.zeros(1, np.float32)))
        population.bias[:] = more
        network.projections.append(Projection(1, 2, "diagonal", np.ones(1, np.float32)))
        projection.target = 1
    else:
        network.populations[0] = Population("in", (1, 2, 2))
        kernel = projection.weights.reshape(2, 1, 2, 1)
        kernel[1, 0, 1, 0] = more
        groups = 2 if where == "groups" else 1
        if groups == 2:  # each target gets one channel: one of the large weights
            kernel = np.float32([[2**24 - 2, more], [1, 1]]).reshape(2, 1, 2, 1)
        projection = replace(projection, kind="conv", weights=kernel, groups=groups)
        network.populations[1] = replace(population, shape=(1, 1, groups))
    network.projections[0] = projection
    assert (inexact(network)[-1] == "") == exact


def reordered(network: Network, inputs: list[Floats], rng: np.random.Generator) -> tuple[Network, list[Floats]]:
    """The same network with its inputs in another order: only the order of additions differs."""
    order = rng.permutation(network.populations[0].size)
    first = replace(network.projections[0], weights=network.projections[0].weights[order])
    return replace(network, projections=[first]), [inputs[0][:, order]]


@pytest.mark.parametrize(
    ("risky", "late"),
    [
        (("far", 2, 0), 0), (("first", 2, 0), 0), (("first", 2, 1), 0),  # earlier in a step
        (("own", 2, 1), 0), (("own", 2, 0), 1),  # itself, but another neuron only by what it sends to itself
        (("last", 2, 0), 1),  # later in a step: what it sends arrives in the next
        (("apart", 0, 0), None),  # from where no way leads here
        (("after", 0, 0), None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("returning", [True, False])
def test_which_decisions_at_risk_excuse(risky: tuple[str, int, int], late: int | None, returning: bool) -> None:
    """Another one, neuron 1's of "own", ``late`` steps after the risky one or later, and none before."""
    names = ("in", "far", "first", "own", "apart", "last", "after")
    neurons = [replace(chain(np.ones((2, 2), np.float32)).populations[1], name=name) for name in names[1:]]
    ways = [("in", "far", 0), ("far", "first", 0), ("first", "own", 0), ("in", "apart", 0), ("own", "after", 0)]
    ways += [("own", "last", 0), ("last", "own", 1), ("own", "own", 1)] if returning else []
    network = Network(
        [Population("in", (2,)), *neurons],
        [Projection(names.index(a), names.index(b), "diagonal", np.ones(1, np.float32), delay=d) for a, b, d in ways],
    )
    name, step, neuron = risky
    rows = {i: np.zeros((6, 2), np.bool_) for i in range(1, len(names))}
    rows[names.index(name)][step, neuron] = True
    if not returning and (name == "last" or risky == ("own", 2, 0)):
        late = None
    found = [excused(network, Risk([], rows), names.index("own"), t, 1) for t in range(6)]
    assert found == [late is not None and t >= step + late for t in range(6)]


def test_every_decision_that_another_order_turns_is_at_risk() -> None:
    """Weights k * 0.1 with threshold 1, whose sums meet it but for rounding: many turn.  Weights k * 0.125: none."""
    print(f"BNN_TEST_SEED={SEED}")
    rng = np.random.default_rng(SEED)
    turned = 0
    for number in range(15):
        weights = (rng.integers(-3, 8, (60, 30)) * np.float32(0.1)).astype(np.float32)
        network = chain(weights)
        inputs = [(rng.random((30, 60)) < 0.15).astype(np.float32)]
        risk = find_risk(network, inputs)
        a = Oracle(network).run(inputs).sent[1]
        other, moved = reordered(network, inputs, rng)
        b = Oracle(other).run(moved).sent[1]
        for neuron in np.flatnonzero((a != b).any(axis=0)):
            first = int(np.argmax(a[:, neuron] != b[:, neuron]))
            assert risk.at_risk[1][: first + 1, neuron].any(), (number, first, neuron)
            turned += 1
        assert risk.at_risk[1].mean() < 0.2
        exact = chain(quantize((weights / np.float32(0.1) * np.float32(0.125)).astype(np.float32)))
        assert find_risk(exact, inputs).at_risk == {}
    assert turned
