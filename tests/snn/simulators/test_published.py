# SPDX-License-Identifier: Apache-2.0
"""The two published files of the NIR paper in the simulators: every spike of every layer."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bnn._types import Floats
from bnn.errors import CompileError
from bnn.snn.from_nir import network_from_nir
from bnn.snn.network import Network
from bnn.snn.nir_file import read_nir
from bnn.snn.oracle import Oracle
from bnn.snn.rules import Emits

from .. import nir_graphs
from . import importers

STEPS = 100
SEEDS = int(os.environ.get("BNN_TEST_FILES", "1"))
DT = {"norse": None, "snntorch": None, "spikingjelly": 1.0, "sinabs": None}


def published(name: str) -> Path:
    path = nir_graphs.shared("data", "nir", name)
    if path is None:
        pytest.skip("the folder shared/data/nir is missing")
    return path


def nearest(network: Network, x: Floats) -> float:
    """How near a membrane of an integrate-and-fire neuron came to what decides its spikes, in thresholds."""
    record = Oracle(network).run([x.reshape(len(x), -1)])
    shares = []
    for i, membranes in record.membranes.items():
        population = network.populations[i]
        charged = np.concatenate([np.zeros_like(membranes[:1]), membranes[:-1]]) + record.currents[i]
        threshold = np.resize(population.parameters["threshold"], membranes.shape)
        share = charged[charged > 0] / threshold[charged > 0]
        whole = np.maximum(np.rint(share), 1) if population.emits == Emits.COUNTS else np.ones_like(share)
        shares.append(np.abs(share - whole).min(initial=np.inf))
    return float(min(shares))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_one_neuron(simulator: str, seed: int) -> None:
    path = published("lif_norse.nir")
    if simulator == "sinabs":  # its time constants are seconds
        with pytest.raises(CompileError, match="tau = 0.0025; sinabs takes it for a number of steps"):
            network_from_nir(read_nir(path), simulator)
        return
    x = (np.random.default_rng(seed).random((STEPS, 1)) < 0.5).astype(np.float32)
    ours = importers.oracle(network_from_nir(read_nir(path), simulator), x)
    theirs = importers.run(simulator, importers.imported(simulator, path), x, ours)
    assert 10 < ours["1"].sum() < STEPS
    assert importers.differences(ours, theirs) == {"1": 0}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_convolutions(simulator: str, seed: int) -> None:
    """SpikingJelly takes r = 1 for steps of 1 s alone; snnTorch imports IF with a leak."""
    path = published("cnn_sinabs.nir")
    if simulator == "snntorch":
        with pytest.raises(CompileError, match="kind IF; snnTorch imports it as a neuron with a leak"):
            network_from_nir(read_nir(path), simulator)
        return
    x = (np.random.default_rng(seed).random((STEPS, 2, 34, 34)) < 0.05).astype(np.float32)
    network = network_from_nir(read_nir(path), simulator, dt=DT[simulator])
    ours = importers.oracle(network, x)
    theirs = importers.run(simulator, importers.imported(simulator, path, dt=DT[simulator]), x, ours)
    found = importers.differences(ours, theirs)
    spikes = {name: int(values.sum()) for name, values in ours.items()}
    decisions = sum(values.size for values in ours.values())
    print(f"{simulator}, seed {seed}: {sum(found.values())} of {decisions:,} differ; spikes {spikes}; nearest to a "
          f"threshold: {nearest(network, np.moveaxis(x, 1, -1)):.1e} of it")  # fmt: skip
    assert spikes["12"] > 0 and not any(found.values()), found
