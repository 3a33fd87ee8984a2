# SPDX-License-Identifier: Apache-2.0
"""Every rule equals its simulator: the same spikes, membranes, currents, refractoriness and thresholds in every step.

Both get the same random currents; nothing is rounded away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from bnn._types import Floats
from snn.simulators.cases import CASES, Count, Draw, check, compare, needs, torch

FEW, MANY = 200_000, 10_000_000  # decisions
READOUTS = ("norse_li", "snntorch_readout", "sinabs_exp_leak")  # cases that send values


@pytest.mark.parametrize("name", CASES)
def test_every_step_equals_the_simulator(name: str, rng: np.random.Generator) -> None:
    check(name, Draw(rng), FEW, 100, 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_ten_million_decisions_equal_the_simulator(name: str, rng: np.random.Generator) -> None:
    assert check(name, Draw(rng), MANY, 100, 10).decisions >= MANY


@dataclass
class OneInput(Draw):
    """Currents in the first step alone."""

    first: bool = True

    def currents(self, n: int, scale: float) -> Floats:
        x = super().currents(n, scale) * self.first
        self.first = False
        return x


@pytest.mark.parametrize(
    "name",
    ["norse_li", "snntorch_leaky-none-True", "snntorch_synaptic-zero-True", "spikingjelly_lif-zero-True",
     "spikingjelly_cubalif-soft", "sinabs_lif-multi-False-False-False", "bindsnet_lif"],
)  # fmt: skip
def test_silence_fades_as_in_the_simulator(name: str, rng: np.random.Generator) -> None:
    """Down to the smallest numbers, which neither flushes to 0."""
    needs(CASES[name][0])
    draw, n = OneInput(rng), 50
    with torch.no_grad():
        compare(CASES[name][1](draw, n), draw, n, 1000, Count())


@pytest.mark.parametrize("name", [name for name in CASES if name.split("-")[0] not in READOUTS])
def test_exact_ties_are_decided_as_in_the_simulator(name: str, rng: np.random.Generator) -> None:
    """Dyadic parameters and currents, so that membranes reach thresholds exactly: > or >= matters, and is right.

    Few steps, for the numbers get longer with each.
    """
    assert check(name, Draw(rng, exact=True), FEW, 5, 50).ties > 20


@pytest.mark.parametrize("reset", [None, 0.0, -0.1])
@pytest.mark.parametrize("name", ["IFNode", "LIFNode", "ParametricLIFNode", "CUBALIFNode"])
def test_spikingjellys_step_modes_agree(name: str, reset: float | None, rng: np.random.Generator) -> None:
    """So what equals single steps equals several, and a batch equals its samples."""
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron", reason="spikingjelly is not installed")
    draw, steps, batch, n = Draw(rng), 40, 5, 203
    x = torch.from_numpy(np.stack([draw.currents(batch * n, 0.7) for _ in range(steps)]).reshape(steps, batch, n))
    single, several, alone = (getattr(neuron, name)(v_threshold=0.7, v_reset=reset) for _ in range(3))
    several.step_mode = "m"
    with torch.no_grad():
        sent = torch.stack([single(row) for row in x])
        assert torch.equal(sent, several(x))
        assert torch.equal(single.v, several.v)
        assert torch.equal(sent[:, 3, 7:8], torch.stack([alone(row[3, 7:8]) for row in x]))
    assert 0.02 < sent.mean() < 0.9


OPERATIONS = (
    lambda v, x, a: a * v + x,
    lambda v, x, a: v + a * ((x + a) - v),
    lambda v, x, a: v - (v - 0.3) / 1.7 + x,
    lambda v, x, a: v - (v - a) / 3 * x,
    lambda v, x, a: (1 - a) * v + a * (v - x),
    lambda v, x, a: torch.div(v, a, rounding_mode="trunc"),
    lambda v, x, a: v.clone().sub_(a).mul_(x).add_(a),
    lambda v, x, a: 1 / a,
)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_pytorch_rounds_alike_alone_and_in_vectors(operation: Callable[..., Any], rng: np.random.Generator) -> None:
    """No fused operations in vectors, none in their tails."""
    v, x, a = (Draw(rng).tensor(3003, low, 2) for low in (-2, -2, 0.1))
    together = operation(v, x, a)
    for size in (1, 3, 7, 16, 33):
        parts = [operation(v[i : i + size], x[i : i + size], a[i : i + size]) for i in range(0, len(v), size)]
        assert torch.equal(together, torch.cat(parts))
    assert torch.equal(together[::2], operation(v[::2], x[::2], a[::2]))


def test_parameters_of_float64_make_another_network() -> None:
    """Why an importer must refuse them: these simulators would compute in float64."""
    snntorch = pytest.importorskip("snntorch", reason="snntorch is not installed")
    _, v = snntorch.Leaky(torch.full((3,), 0.9, dtype=torch.float64))(torch.ones(1, 3))
    assert v.dtype == torch.float64
    layers = pytest.importorskip("sinabs.layers", reason="sinabs is not installed")
    layer = layers.IAF(spike_threshold=torch.ones(3, dtype=torch.float64))
    layer(torch.ones(1, 1, 3))
    assert layer.v_mem.dtype == torch.float64
