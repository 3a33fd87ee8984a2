# SPDX-License-Identifier: Apache-2.0
"""From a NIR file to a network that runs: ``bnn.snn.compile``."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from .._arguments import check_choice
from .from_nir import network_from_nir
from .model import SpikingModel, build
from .network import Network
from .nir_file import NirGraph, NirNode, read_nir
from .rules import Emits
from .whole import quantize, quantize_bias, with_int8_weights

WEIGHTS = ("float32", "int8")
INPUTS = {"spikes": Emits.SPIKES, "counts": Emits.COUNTS, "values": Emits.VALUES}


def compile(
    path: str | os.PathLike[str],
    *,
    simulator: str,
    dt: float | None = None,
    reset_method: str = "value",
    inputs: str = "spikes",
    weights: str = "float32",
    kernels: str | None = None,
) -> SpikingModel:
    """Compile a NIR file into the network that a simulator makes of it, spike for spike.

    A NIR file does not say what happens in a step; the simulator does.  What the named simulator would ignore or get
    wrong is refused.

    Args:
        path: the .nir file (extra ``nir``).
        simulator: "norse", "snntorch", "spikingjelly" or "sinabs": that which trained the network.
        dt: seconds of a step; None: the simulator's default.
        reset_method: of Norse's CubaLIF: "value" or "subtract".
        inputs: what the input sends in a step: "spikes" (0 or 1), "counts" (numbers of spikes) or "values" (real ones).
        weights: "float32": as they are (stored in eight bits where that is exact).  "int8": rounded to
            k * 2^-e, -127 <= k <= 127, per node of the file, and its bias to a multiple of 2^-e; the simulator equals
            it once its own are rounded alike.

    Raises:
        CompileError, UnsupportedOpError: names the node and the reason.
        ModelFormatError, ModelNotFoundError: the file cannot be read.
        InputError: an argument is wrong.
    """
    network = network_for(path, simulator, dt=dt, reset_method=reset_method, inputs=inputs, weights=weights)
    return build(network, kernels=kernels)


def network_for(
    path: str | os.PathLike[str],
    simulator: str,
    *,
    dt: float | None = None,
    reset_method: str = "value",
    inputs: str = "spikes",
    weights: str = "float32",
) -> Network:
    """The network that :func:`compile` builds; the same arguments."""
    check_choice(inputs, "inputs", tuple(INPUTS))
    check_choice(weights, "weights", WEIGHTS)
    graph = read_nir(path) if weights == "float32" else _quantized(read_nir(path))
    network = network_from_nir(graph, simulator, dt=dt, reset_method=reset_method, inputs=INPUTS[inputs])
    return with_int8_weights(network)


def _quantized(graph: NirGraph) -> NirGraph:
    """The graph with every node's weights and bias quantized."""
    nodes = graph.nodes.items()
    return replace(graph, nodes={name: _quantized(n) if isinstance(n, NirGraph) else _rounded(n) for name, n in nodes})


def _rounded(node: NirNode) -> NirNode:
    if "weight" not in node.values:
        return node
    weights = node["weight"].astype(np.float32)
    values = {**node.values, "weight": quantize(weights)}
    if "bias" in values:
        values["bias"] = quantize_bias(node["bias"].astype(np.float32), weights)
    return replace(node, values=values)
