# SPDX-License-Identifier: Apache-2.0
"""Random files: the oracle's network and the simulator's send the same from every node, in every step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn.snn.compiler import network_for
from bnn.snn.exact_weights import inexact
from bnn.snn.from_nir import check_options, network_from_nir
from bnn.snn.nir_file import read_nir
from seed import SEED

from .. import nir_graphs
from . import importers, random_files

STEPS = 50
FILES = int(os.environ.get("BNN_TEST_FILES", "12"))


@pytest.mark.parametrize("number", range(FILES))
def test_random_files(simulator: str, number: int, tmp_path: Path) -> None:
    print(f"repeat with BNN_TEST_SEED={SEED}")
    rng = np.random.default_rng([SEED, number])
    root, shape = random_files.draw(rng, simulator)
    path = nir_graphs.write(tmp_path / "net.nir", root)
    said = random_files.say(rng, simulator, root)
    network = network_from_nir(read_nir(path), simulator, **said)
    x = (rng.random((STEPS, *shape)) < 0.4).astype(np.float32)
    ours = importers.oracle(network, x)
    module = importers.imported(simulator, path, **said)
    theirs = importers.run(simulator, module, x, ours)
    found = importers.differences(ours, theirs)
    assert found and not any(found.values()), found


def disturb(root: dict[str, Any], rng: np.random.Generator) -> None:
    """Weights and biases as training leaves them, with no common step."""
    for made in root["nodes"].values():
        if "nodes" in made:
            disturb(made, rng)
        for name in {"weight", "bias"} & {*made}:
            made[name] = (made[name] + rng.normal(0, 0.1, made[name].shape)).astype(np.float32)


@pytest.mark.parametrize("number", range(FILES))
def test_random_files_with_rounded_weights(simulator: str, number: int, tmp_path: Path) -> None:
    """Weights and biases are rounded alike here and in the simulator, which makes sums exact."""
    print(f"repeat with BNN_TEST_SEED={SEED}")
    rng = np.random.default_rng([SEED, number])
    root, shape = random_files.draw(rng, simulator)
    disturb(root, rng)
    path = nir_graphs.write(tmp_path / "net.nir", root)
    dt = None if simulator == "snntorch" else random_files.DT[simulator]
    network, _ = network_for(read_nir(path), check_options(simulator, dt=dt), weights="int8")
    x = (rng.random((STEPS, *shape)) < 0.4).astype(np.float32)
    ours = importers.oracle(network, x)
    sent = [ours.get(p.name, x) for p in network.populations]
    why = inexact(network, {i: float(np.abs(values).max()) for i, values in enumerate(sent)})
    if any(why):
        pytest.skip(", ".join(dict.fromkeys(filter(None, why))))
    theirs = importers.run(simulator, importers.imported(simulator, path, dt=dt, quantized=True), x, ours)
    found = importers.differences(ours, theirs)
    assert found and not any(found.values()), found
