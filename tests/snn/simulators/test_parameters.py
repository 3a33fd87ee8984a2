# SPDX-License-Identifier: Apache-2.0
"""Parameters of neurons, bit for bit those of the simulator's modules: one in the last place changes few spikes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn._types import Floats
from bnn.snn.from_nir import network_from_nir
from bnn.snn.nir_file import read_nir

from .. import nir_graphs
from ..nir_graphs import chain, node
from . import importers, random_files

SIZE = 300


def theirs(simulator: str, kind: str, module: Any) -> dict[str, Any]:
    """Our names for what the simulator computes in a step."""
    if simulator == "norse":
        if kind == "CubaLIF":
            return {
                "alpha": module.synapse.dt * module.synapse.p.tau_mem_inv, "weight": module.w_in,
                "resistance": module.r, "rate": module.lif.dt * module.lif.p.tau_mem_inv,
                "threshold": module.lif.p.v_th,
            }  # fmt: skip
        lif = {} if kind == "IF" else {"rate": module.dt * module.p.tau_mem_inv, "leak": module.p.v_leak}
        return {"threshold": module.p.v_th, "reset": module.p.v_reset, **lif}
    if simulator == "snntorch":
        found = {"threshold": module.threshold, "beta": module.beta.clamp(0, 1)}
        return {**found, "alpha": module.alpha.clamp(0, 1)} if kind == "CubaLIF" else found
    if simulator == "spikingjelly":
        part = module.module
        found = {"threshold": part.v_threshold, "reset": part.v_reset}
        if kind == "LIF":
            found |= {"tau": part.tau, "rest": part.v_reset}
        return {**found, "alpha": part.c_decay, "beta": part.v_decay} if kind == "CubaLIF" else found
    found = {"threshold": module.spike_threshold}
    return {**found, "reset": module.min_v_mem} if kind == "IF" else {**found, "beta": module.alpha_mem_calculated}


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", ["IF", "LIF", "CubaLIF"])
def test_parameters(simulator: str, kind: str, double: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    if kind not in random_files.KINDS[simulator] or (double and simulator == "sinabs"):
        pytest.skip(f"refused for {simulator}")
    for number in range(1 if simulator == "norse" else 20):
        neurons = random_files.neuron(rng, simulator, (SIZE,), kind)
        if double:
            neurons = {k: v.astype(np.float64) if isinstance(v, np.ndarray) else v for k, v in neurons.items()}
        root = chain(input=node("Input", shape=[SIZE]), x=neurons, output=node("Output", shape=[SIZE]))
        path = nir_graphs.write(tmp_path / f"{number}.nir", root)
        dt = random_files.DT[simulator] * (1 if simulator in ("snntorch", "sinabs") else 0.9)
        if simulator == "spikingjelly":
            dt = random_files.DT[simulator]
        said = {"min_v_mem": -0.3} if simulator == "sinabs" else {}
        population = network_from_nir(read_nir(path), simulator, dt=dt, **said).populations[1]
        module = dict(importers.imported(simulator, path, dt=dt, **said).named_modules())["x"]
        for name, value in theirs(simulator, kind, module).items():
            expected: Floats = np.asarray(value.detach().numpy() if hasattr(value, "detach") else value, np.float32)
            found = population.per_neuron(population.parameters[name])
            assert np.array_equal(found, np.broadcast_to(expected, SIZE)), name
