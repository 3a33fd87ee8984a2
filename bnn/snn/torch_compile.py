# SPDX-License-Identifier: Apache-2.0
"""From a trained torch module to a network that runs: ``bnn.snn.from_torch``."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from .._arguments import check_choice
from .._types import Floats
from ..errors import CompileError, InputError, InputTypeError, SetupError
from ..runtime.arrays import as_numbers
from .calling import more_arguments, run_module, why_not
from .compare import differing, first_of, inner, run_engine, settled, takes_currents
from .compiler import INPUTS, check_choices, quantized
from .exact_weights import with_int8_weights
from .file import encode
from .from_nir import Builder
from .handle import OpenedNetwork, State
from .model import SpikingModel, build
from .network import Network
from .nir_file import NirGraph, NirNode
from .rounding_risk import Risk, find_risk
from .rules import Emits, Reset
from .simulators import SIMULATORS, Found, Neuron, Simulator, SimulatorOptions
from .torch_graph import INPUT
from .torch_trace import Traced, trace

_STEPS = 20  # of random inputs, for modules that take one step at a time
_RATES = (0.05, 0.3)  # of spikes in them
_MOST = 2**28  # of a sample


def from_torch(
    module: Any, sample: Any, *, simulator: str, inputs: str = "spikes", weights: str = "float32",
    kernels: str | None = None,
) -> SpikingModel:  # fmt: skip
    """Compile a trained torch module of a simulator's neurons: the network sends what its last neurons or layers send.

    The module runs in evaluation mode on ``sample``, and what its layers, functions and neurons do is recorded; each
    step must do the same.  What has no rule here is refused by name.  Then the network is compared with the module on
    the sample and on random inputs: each decision of each population must be the module's, unless rounding can turn it.

    Args:
        module: a ``torch.nn.Module``.  It is called once, if its forward goes through time by itself (a loop, or layers
            over time), otherwise for each step; of several things that it returns, the first counts.
        sample: a tensor or array, one input as the module takes it: (batch, *shape), of a step, or of all steps where
            each gets the same; (steps, batch, *shape) where it gets all steps (sinabs: (batch, steps, *shape), or
            (steps, *shape) where layers squeeze).  Of a batch the first is used.
        simulator: "norse", "snntorch", "spikingjelly" or "sinabs": whose neurons it has.
        inputs: what the input sends in a step: "spikes" (0 or 1), "counts" (numbers of spikes) or "values" (real ones).
        weights: "float32": as they are (stored in eight bits where that is exact).  "int8": then rounded, as by
            :func:`bnn.snn.compile`.

    Returns:
        The model, which takes (steps, *shape): repeat an input that is the same in every step.  ``warnings`` keeps what
        was warned of.

    Raises:
        CompileError, UnsupportedOpError: names the part of the module and the reason; or the network differs from it.
        InputError, InputTypeError: an argument is wrong, or the module fails on the sample.
        SetupError: torch or the simulator is not installed.
    """
    record = SIMULATORS[check_choice(simulator, "simulator", tuple(SIMULATORS))]
    check_choices(inputs, weights)
    if not hasattr(module, "named_modules") or isinstance(module, type):
        raise InputTypeError(f"module: found {type(module).__name__}, expected the trained torch.nn.Module")
    if reason := why_not(record.name, ("torch",)):
        raise SetupError(f"{record.title}: {reason}")
    traced = trace(record, module, _tensor(module, sample, inputs), more_arguments(module))
    network, found = _network(record, traced, INPUTS[inputs], "float32")
    found += _prove(record, module, traced, network)
    if weights == "int8":
        network, _ = _network(record, traced, INPUTS[inputs], weights)
    model = build(with_int8_weights(network), kernels=kernels)
    model.warnings += tuple(found)
    for text in found:
        warnings.warn(text, stacklevel=2)
    return model


def _tensor(module: Any, sample: Any, inputs: str) -> Any:
    import torch

    if isinstance(sample, torch.Tensor):
        sample = sample.detach().cpu().to_dense()
        sample = (sample.float() if sample.is_floating_point() else sample).numpy()  # NumPy has no bfloat16
    x = as_numbers(sample, "sample")
    if x.ndim < 2 or not 0 < x.size <= _MOST:
        raise InputError(f"sample: found the shape {x.shape}, expected (batch, ...), with 1 to {_MOST:,} numbers")
    if not (finite := np.isfinite(x)).all():
        raise InputError(f"sample: found {x[~finite][0]:g}, expected finite numbers")
    right = {"spikes": (x == 0) | (x == 1), "counts": (x >= 0) & (x == np.rint(x))}.get(inputs, np.ones(1, bool))
    if not right.all():
        raise InputError(f"sample: found {x[~right][0]:g}, expected {inputs}; if the input sends real values, say "
                         'inputs="values" (--inputs values)')  # fmt: skip
    return torch.tensor(x, dtype=torch.float32, device=next((p.device for p in module.parameters()), "cpu"))


def _network(record: Simulator, traced: Traced, inputs: Emits, weights: str) -> tuple[Network, list[str]]:
    """The network of what was recorded, lowered as a NIR graph is, and what to warn of."""

    def neurons(found: Found, _: SimulatorOptions) -> Neuron:
        neuron, part = record.modules[found.node.kind](found), found["module"]
        for name, value in [*part.named_parameters(), *part.named_buffers()]:
            if str(value.dtype) == "torch.float64" and value.ndim:
                raise found.error(f"{name} of float64", "membranes are then float64, too", "give it float32")
        if found.name not in traced.membranes:
            return neuron
        if neuron.dynamics.reset != Reset.NONE:
            raise found.error("that their membranes are returned", "only those of neurons without a reset are sent",
                              'return the spikes, or use reset_mechanism="none"')  # fmt: skip
        return replace(neuron, dynamics=replace(neuron.dynamics, emits=Emits.VALUES, at_least=False))

    graph = NirGraph(traced.nodes, ())
    nodes = {
        k: n for k, n in (quantized(graph) if weights == "int8" else graph).nodes.items() if isinstance(n, NirNode)
    }
    steps = {float(node["module"].dt) for node in nodes.values() if hasattr(node.values.get("module"), "dt")}
    kinds = dict.fromkeys(record.modules, neurons)
    own = replace(record, neurons=kinds, refused={}, check_linear=lambda found: None)
    builder = Builder(traced.where, own, SimulatorOptions(steps.pop() if len(steps) == 1 else 0.0, ""), frozenset())
    edges = [*traced.edges, (traced.output, "output", False)]
    builder.add([*nodes.items(), ("output", NirNode("Output", {}))], edges, INPUT, "output", inputs)
    network = Network(builder.populations, builder.projections, builder.options.dt, record.name).check()
    return network, traced.warnings + builder.warnings


def _prove(record: Simulator, module: Any, traced: Traced, network: Network) -> list[str]:
    """Raise CompileError unless the network sends what the module's parts send, except where rounding can turn it.
    Returns a warning of neurons that never sent anything."""
    opened = SpikingModel.from_bytes(encode(network))._opened
    rng, samples = np.random.default_rng(0), [traced.x]
    silent = {name for name, node in traced.nodes.items() if "module" in node.values}
    for rate in _RATES:
        steps = {"steps": _STEPS, "state": _STEPS, "constant": 1}.get(traced.way, len(traced.x))
        random = rng.random((steps, *traced.x.shape[1:]))
        values = network.populations[0].emits == Emits.VALUES
        random = traced.x.min() + np.ptp(traced.x) * random if values else np.less(random, rate)
        samples.append(np.repeat(random, len(traced.x) if traced.way == "constant" else 1, axis=0).astype(np.float32))
    for x in samples:
        silent -= _compare(record, module, traced, network, opened, x)
    return [f"{traced.where}: nothing fired in {', '.join(sorted(silent))}, on the sample and on random inputs: only "
            "silence was compared there; give a sample that makes them fire"] if silent else []  # fmt: skip


def _compare(
    record: Simulator, module: Any, traced: Traced, network: Network, opened: OpenedNetwork, x: Floats
) -> set[str]:  # fmt: skip
    """One sample; the populations that sent something.  Neurons get the module's own currents, too: then nothing may
    differ."""
    given = [np.ascontiguousarray(np.moveaxis(x, 1, -1) if x.ndim > 2 else x).reshape(len(x), -1)]
    ours, state, where = run_engine(opened, given), State(opened), traced.where
    names = [name for name, node in traced.nodes.items() if "module" in node.values]
    output, parts = run_module(record.name, module, x, traced.way, names, traced.membranes)
    theirs = {name: sent for name, (_, sent) in parts.items()}
    order = {p.name: i for i, p in enumerate(network.populations)}
    if not traced.warnings:
        theirs[network.populations[network.outputs[0]].name] = output if output is not None else np.zeros(0, np.float32)
    for name in {**dict.fromkeys(names), **theirs}:
        if name not in theirs or theirs[name].shape != ours.sent[order[name]].shape:
            raise CompileError(f"{where}: '{name}': found that it does not send something in each of {len(x)} steps; "
                               "give a sample of as many steps as the module has")  # fmt: skip
    for name in names:
        i, p = order[name], network.populations[order[name]]
        currents, sent = parts[name]
        if not takes_currents(p) or currents.shape != sent.shape:
            continue
        if (wrong := settled(state, p, i, inner(currents, p)) != inner(sent, p)).any():
            step, neuron = np.argwhere(wrong)[0]
            raise CompileError(
                f"{where}: '{name}' ({traced.nodes[name].kind}): found that {wrong.sum():,} of {wrong.size:,} "
                f"decisions are not those of its rule, first of neuron {neuron} in step {step}: it was changed after "
                "it was made, or by a function that it was given; use neurons as they are"
            )
    if any(rows.any() for rows in differing(network, ours, Risk([], {}), theirs).values()):
        risk = find_risk(network, given)
        found = differing(network, ours, risk, theirs)
        first, _ = first_of(network, risk, found, 0)
        # All neurons are compared, so the first that differs must be at risk itself.
        if first and not (risk.at_risk and risk.at_risk[order[first[2]]][: first[1] + 1, first[3]].any()):
            raise CompileError(
                f"{where}: found that the network differs from the module in "
                f"{sum(int(rows.sum()) for rows in found.values()):,} decisions, first in step {first[1]}, "
                f"'{first[2]}', neuron {first[3]}, and rounding does not explain it: the module does something that "
                "cannot be seen while it runs; leave out what is not done by its layers and torch's functions"
            )
    return {name for name, sent in theirs.items() if sent.any()}
