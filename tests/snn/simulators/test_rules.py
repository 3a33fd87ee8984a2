# SPDX-License-Identifier: Apache-2.0
"""Every rule equals its simulator: the same spikes, membranes, currents, refractoriness and thresholds in every step.

Both get the same random currents; nothing is rounded away.
"""

from __future__ import annotations

import numpy as np
import pytest

from snn.simulators.cases import CASES, Draw, check, torch

FEW, MANY = 200_000, 10_000_000  # decisions
READOUTS = ("norse_li", "snntorch_readout", "sinabs_exp_leak")  # cases that send values


@pytest.mark.parametrize("name", CASES)
def test_every_step_equals_the_simulator(name: str, rng: np.random.Generator) -> None:
    check(name, Draw(rng), FEW, 100, 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_ten_million_decisions_equal_the_simulator(name: str, rng: np.random.Generator) -> None:
    assert check(name, Draw(rng), MANY, 100, 10).decisions >= MANY


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
