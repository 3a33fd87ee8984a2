# SPDX-License-Identifier: Apache-2.0
"""Networks that simulators export: the oracle equals the network before its export."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn._types import Floats
from bnn.snn.from_nir import network_from_nir
from bnn.snn.nir_file import read_nir

from .. import nir_graphs
from . import importers

STEPS = 40


def ready(name: str) -> int:
    if reason := importers.why_not(name):
        pytest.skip(reason)
    import torch

    seed = secrets.randbits(31)
    print(f"seed {seed}")
    torch.manual_seed(seed)
    return seed


def dyadic(module: Any) -> Any:
    """Weights that are multiples of 1/8."""
    import torch

    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randint(-4, 9, parameter.shape) / 8)
    return module


def compare(
    path: Path, simulator: str, shape: tuple[int, ...], seed: int, original: Any, dt: float | None = None
) -> None:
    """``original``: (T, ...) to what the network sends, (T, n)."""
    network = network_from_nir(read_nir(path), simulator, dt=dt)
    x: Floats = (np.random.default_rng(seed).random((STEPS, *shape)) < 0.5).astype(np.float32)
    name = network.populations[network.outputs[0]].name
    ours = importers.oracle(network, x)[name]
    with importers.quiet():
        theirs = original(x)
    assert ours.any() and np.array_equal(ours, theirs), np.count_nonzero(ours != theirs)


@pytest.mark.parametrize("kind", ["dense", "synaptic", "convolutions"])
def test_snntorch(kind: str, tmp_path: Path) -> None:
    """Neurons that reset to zero in the step of the spike, as its importer makes them; NIR does not say so."""
    seed = ready("snntorch")
    import nir
    import snntorch as snn
    import torch
    from snntorch.export_nir import export_to_nir
    from torch.nn import AvgPool2d, Conv2d, Flatten, Linear, Sequential

    def leaky(*shape: int, **options: Any) -> Any:
        # Its exporter needs one number per neuron.
        return snn.Leaky(torch.full(shape, 0.9), torch.ones(shape), init_hidden=True, reset_mechanism="zero",
                         reset_delay=False, **options)  # fmt: skip

    shape: tuple[int, ...] = (12,)
    layers = [dyadic(Linear(12, 20)), leaky(20), dyadic(Linear(20, 5)), leaky(5, output=True)]
    if kind == "synaptic":
        layers[1] = snn.Synaptic(torch.full((20,), 0.5), torch.full((20,), 0.9), torch.ones(20), init_hidden=True,
                                 reset_mechanism="zero", reset_delay=False)  # fmt: skip
    elif kind == "convolutions":
        shape = (1, 8, 8)
        layers = [dyadic(Conv2d(1, 3, 3)), leaky(3, 6, 6), AvgPool2d(2), Flatten(0), dyadic(Linear(27, 5)),
                  leaky(5, output=True)]  # fmt: skip
    net = Sequential(*layers)
    with importers.quiet():
        nir.write(tmp_path / "a.nir", export_to_nir(net, torch.zeros(shape)))

    def original(x: Floats) -> Floats:
        for layer in net:
            if hasattr(layer, "reset_mem"):
                layer.reset_mem()
        with torch.no_grad():
            return np.array([net(torch.from_numpy(step))[0].numpy().reshape(-1) for step in x])

    compare(tmp_path / "a.nir", "snntorch", shape, seed, original)


@pytest.mark.parametrize("kind", ["IF", "LIF", "LIF all", "CUBALIF"])
def test_spikingjelly(kind: str, tmp_path: Path) -> None:
    seed = ready("spikingjelly")
    import torch
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    def neurons() -> Any:
        if kind == "IF":
            return neuron.IFNode(v_threshold=0.75, v_reset=-0.25)
        if kind == "CUBALIF":
            return neuron.CUBALIFNode(c_decay=0.5, v_decay=0.75)
        return neuron.LIFNode(tau=2.5, decay_input=kind == "LIF all", v_reset=0.0, v_threshold=0.5)

    net = torch.nn.Sequential(
        dyadic(layer.Conv2d(2, 3, 3, padding=1, bias=False)), neurons(), layer.AvgPool2d(2), layer.Flatten(),
        dyadic(layer.Linear(27, 6)), neurons(),
    )  # fmt: skip
    with importers.quiet():
        export_to_nir(net, torch.zeros(1, 2, 7, 6), tmp_path / "a.nir", dt=1e-3)

    def original(x: Floats) -> Floats:
        functional.reset_net(net)
        with torch.no_grad():
            return np.array([net(torch.from_numpy(step[None])).numpy().reshape(-1) for step in x])

    compare(tmp_path / "a.nir", "spikingjelly", (2, 7, 6), seed, original, dt=1e-3)


def plain(value: Any) -> Any:
    """Without torch's tensors and shapes that are not known, which sinabs leaves and nir does not write."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if inner is not None}
    return value.numpy() if hasattr(value, "numpy") else value


@pytest.mark.parametrize("kind", ["IAF", "LIF"])
def test_sinabs(kind: str, tmp_path: Path) -> None:
    seed = ready("sinabs")
    import sinabs.layers as sl
    import torch
    from sinabs.nir import to_nir

    if kind == "IAF":
        floor = {"min_v_mem": torch.tensor(-1.0), "batch_size": 1}
        shape: tuple[int, ...] = (2, 8, 8)
        layers = [dyadic(torch.nn.Conv2d(2, 3, 3)), sl.IAFSqueeze(**floor), sl.SumPool2d(2), torch.nn.Flatten(),
                  dyadic(torch.nn.Linear(27, 5)), sl.IAFSqueeze(**floor)]  # fmt: skip
    else:
        shape = (12,)
        lif = sl.LIFSqueeze(
            tau_mem=torch.full((20,), 10.0), batch_size=1, norm_input=False, spike_threshold=torch.ones(20)
        )
        iaf = sl.IAFSqueeze(min_v_mem=torch.tensor(-1.0), batch_size=1)
        layers = [dyadic(torch.nn.Linear(12, 20)), lif, dyadic(torch.nn.Linear(20, 5)), iaf]
    net = torch.nn.Sequential(*layers)
    with torch.no_grad(), importers.quiet():
        graph = to_nir(net, torch.zeros(1, *shape))
    nir_graphs.write(tmp_path / "a.nir", plain(graph.to_dict()))

    def original(x: Floats) -> Floats:
        for part in net.modules():
            if hasattr(part, "reset_states"):
                part.reset_states()
        with torch.no_grad():
            return np.asarray(net(torch.from_numpy(x)).numpy()).reshape(len(x), -1)

    compare(tmp_path / "a.nir", "sinabs", shape, seed, original)
