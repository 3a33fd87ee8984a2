# SPDX-License-Identifier: Apache-2.0
"""From a NIR file to a network that runs: ``bnn.snn.compile``."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace

import numpy as np

from .._arguments import check_choice
from .exact_weights import quantize, quantize_bias, with_int8_weights
from .file import encode
from .from_nir import check_options, read_network
from .model import SpikingModel
from .network import Network
from .nir_file import NirGraph, NirNode, read_nir
from .rules import Emits
from .simulators import Simulator, SimulatorOptions

WEIGHTS = ("float32", "int8")
INPUTS = {"spikes": Emits.SPIKES, "counts": Emits.COUNTS, "values": Emits.VALUES}


def compile(
    path: str | os.PathLike[str],
    *,
    simulator: str,
    dt: float | None = None,
    reset: str | None = None,
    reset_delay: bool | None = None,
    v_reset: float | None = None,
    parametric: bool | None = None,
    spike_fn: str | None = None,
    norm_input: bool | None = None,
    tau_syn: float | None = None,
    min_v_mem: float | None = None,
    inputs: str = "spikes",
    weights: str = "float32",
    kernels: str | None = None,
) -> SpikingModel:
    """Compile a NIR file into the network that a simulator makes of it, spike for spike.

    A NIR file does not say what happens in a step; the simulator does.  What the named simulator would ignore or get
    wrong is refused.  What the file leaves open of its neurons is taken as they have it by default, with a UserWarning
    that says so, unless it is said here.  The model's ``warnings`` keeps the texts.

    Args:
        path: the .nir file (extra ``nir``).
        simulator: "norse", "snntorch", "spikingjelly" or "sinabs": that which trained the network.
        dt: seconds of a step; None: the simulator's default (Norse: 1e-3; snnTorch, SpikingJelly: 1e-4; sinabs, whose
            time constants are steps: 1).
        reset: what a spike does to the membrane, in the simulator's words.  snnTorch's ``reset_mechanism``: "subtract",
            "zero", "none".  Norse's ``reset_method``: "value", "subtract".  sinabs' ``reset_fn``: "subtract"
            (MembraneSubtract), "zero" (MembraneReset, of single spikes).  The first is each one's default.
        reset_delay: of snnTorch: whether it does so one step later; its default is True.
        v_reset: of Norse: the membrane that a spike leaves with reset "value", one for all neurons; its default is 0.
        parametric: of SpikingJelly: whether LIF is ParametricLIFNode, which multiplies by 1 / tau where LIFNode divides
            by tau; its exporter writes both alike.  Default: False.
        spike_fn: of sinabs: "multi" (MultiSpike, its default: several spikes per step) or "single" (SingleSpike).
        norm_input: of sinabs' LIF and ExpLeak; its default is True.
        tau_syn: of sinabs' LIF: the synaptic time constant in steps, one for all neurons; 0, its default: none.
        min_v_mem: of sinabs: the lowest membrane; -inf, its default: none.
        inputs: what the input sends in a step: "spikes" (0 or 1), "counts" (numbers of spikes) or "values" (real ones).
        weights: "float32": as they are (stored in eight bits where that is exact).  "int8": those of each
            neuron, or channel of a convolution, are rounded to k * m * 2^-e, -127 <= k <= 127, m and e its own, m from
            8 to 15, and its bias to a multiple of 2^-e; the simulator equals it once its own are rounded alike.

    Raises:
        CompileError, UnsupportedOpError: names the node and the reason.
        ModelFormatError, ModelNotFoundError: the file cannot be read.
        InputError: an argument is wrong.
    """
    told = check_options(
        simulator, dt=dt, reset=reset, reset_delay=reset_delay, v_reset=v_reset, parametric=parametric,
        spike_fn=spike_fn, norm_input=norm_input, tau_syn=tau_syn, min_v_mem=min_v_mem,
    )  # fmt: skip
    check_choices(inputs, weights)
    network, found = network_for(read_nir(path), told, inputs, weights)
    model = SpikingModel.from_bytes(encode(network), kernels=kernels)
    model.warnings = tuple(found)
    for text in found:
        warnings.warn(text, stacklevel=2)
    return model


def check_choices(inputs: str, weights: str) -> None:
    check_choice(inputs, "inputs", tuple(INPUTS))
    check_choice(weights, "weights", WEIGHTS)


def network_for(
    graph: NirGraph, told: tuple[Simulator, SimulatorOptions], inputs: str = "spikes", weights: str = "float32"
) -> tuple[Network, list[str]]:
    """The network that :func:`compile` builds, and what it warns of; ``told``: of ``check_options``."""
    network, found = read_network(quantized(graph) if weights == "int8" else graph, told, INPUTS[inputs])
    return with_int8_weights(network), found


def quantized(graph: NirGraph) -> NirGraph:
    """The graph with every node's weights and bias quantized."""
    nodes = graph.nodes.items()
    return replace(graph, nodes={name: quantized(n) if isinstance(n, NirGraph) else _rounded(n) for name, n in nodes})


def _rounded(node: NirNode) -> NirNode:
    if "weight" not in node.values:
        return node
    weights = node["weight"].astype(np.float32)
    values = {**node.values, "weight": quantize(weights)}
    if "bias" in values:
        values["bias"] = quantize_bias(node["bias"].astype(np.float32), weights)
    return replace(node, values=values)
