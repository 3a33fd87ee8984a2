# SPDX-License-Identifier: Apache-2.0
"""sinabs 3.1: sinabs/nir.py.  Its time constants are steps, and it runs all steps of a layer before the next layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._types import Array
from ..nir_file import NirNode
from ..nir_order import executor
from ..rules import ONE, Reset
from .record import (
    Found,
    Neuron,
    Simulator,
    SimulatorOptions,
    counting,
    few_groups,
    kinds,
    numbers,
    sending_membranes,
    spiking,
)  # fmt: skip

_DROPS = "sinabs' importer drops it, and runs the graph without it"


def _decay(tau: Any) -> Any:
    """exp(-1 / tau) in float32, rounded correctly: torch's own differs in the last place for 2% of all tau."""
    return np.exp((np.float32(-1.0) / np.asarray(tau, np.float32)).astype(np.float64)).astype(np.float32)


def tau_of(decay: float) -> float:
    """A float32 time constant of this decay, a float32 number between 0 and 1 that one has."""
    nearest = np.float32(-1.0 / math.log(decay))
    around = nearest.view(np.int32) + np.arange(-8, 9, dtype=np.int32)
    tau = around.view(np.float32)
    return float(tau[np.argmax(_decay(tau) == np.float32(decay))])


def _beta(found: Found, options: SimulatorOptions) -> Any:
    tau: Array = found["tau"].astype(np.float32)
    if not (tau > 0).all():
        raise found.error(f"tau = {tau.min():g}", "a membrane cannot decay so")
    if options.dt != 1:
        raise found.error(f"dt = {options.dt:g} s", "sinabs takes tau for a number of steps, whatever dt is",
                          "give tau in steps, and dt = 1")  # fmt: skip
    if (tau < 1).any() and "dt" not in options.said:
        raise found.error(f"tau = {tau.min():g}", "sinabs takes it for a number of steps, and NIR says seconds",
                          "give tau in steps; if these are steps, say so with dt = 1")  # fmt: skip
    return _decay(tau)


def _threshold(found: Found) -> Array:
    threshold: Array = found["v_threshold"]
    if threshold.dtype != np.float32:
        raise found.error(f"v_threshold of {threshold.dtype}", "sinabs would compute membranes in that type",
                          "store float32")  # fmt: skip
    if not (threshold > 0).all():
        raise found.error(f"v_threshold = {threshold.min():g}", "sinabs divides membranes by it")
    found.only("r", 1, "sinabs takes r for 1")
    found.only("v_reset", 0, "sinabs subtracts the threshold instead")
    return threshold


def _floor(options: SimulatorOptions) -> dict[str, Any]:
    return {"floored": True, "reset": options.min_v_mem} if options.min_v_mem > -math.inf else {}


def _spiking(found: Found, options: SimulatorOptions, rule: str, **parameters: Any) -> Neuron:
    """Neurons of a rule that send spikes as was said."""
    parameters |= _floor(options)
    if options.spike_fn == "single":
        if options.reset == "zero" and options.min_v_mem not in (-math.inf, 0):
            raise found.error(f"reset 'zero' and min_v_mem {options.min_v_mem:g} asked for",
                              "a spike would leave 0, which is not the floor", "leave out min_v_mem")  # fmt: skip
        reset = Reset.VALUE if options.reset == "zero" else Reset.SUBTRACT
        return spiking(rule, reset, at_least=True, **parameters)
    if options.reset != "subtract":
        raise found.error(f"reset '{options.reset}' asked for, of neurons that send several spikes per step",
                          "only neurons that send one are reset so here", "say spike_fn 'single' too")  # fmt: skip
    return counting(rule, **parameters)


def _leaky(options: SimulatorOptions, beta: Any) -> tuple[str, dict[str, Any]]:
    """The rule of a membrane that decays, and its parameters; 1 - beta is the gain where inputs are normalized."""
    if options.norm_input:
        return "decay_scaled", {"beta": beta, "gain": ONE - beta}
    return "decay", {"beta": beta}


def _no_leak(found: Found) -> None:
    leak: Array = found["v_leak"]
    if leak.ndim == 0 or leak[0].size > 1:
        raise found.error(f"v_leak of the shape {leak.shape}", "sinabs' importer fails unless it has one dimension",
                          "store (channels, 1, 1), or (n,) after a Flatten")  # fmt: skip
    found.only("v_leak", 0, "sinabs knows no leak")


def _if(found: Found, options: SimulatorOptions) -> Neuron:
    return _spiking(found, options, "integrate", threshold=_threshold(found))


def _lif(found: Found, options: SimulatorOptions) -> Neuron:
    _no_leak(found)
    rule, parameters = _leaky(options, _beta(found, options))
    if options.tau_syn:
        rule, parameters = "synaptic_scaled", {"gain": ONE, **parameters, "alpha": _decay(options.tau_syn)}
    return _spiking(found, options, rule, threshold=_threshold(found), **parameters)


def _li(found: Found, options: SimulatorOptions) -> Neuron:
    _no_leak(found)
    found.only("r", 1, "sinabs takes r for 1")
    rule, parameters = _leaky(options, _beta(found, options))
    return sending_membranes(rule, **parameters, **_floor(options))


def _module(found: Found) -> Neuron:
    """Neurons as they were made."""
    part = found["module"]
    spike, reset = (getattr(part, name, None) for name in ("spike_fn", "reset_fn"))
    fires = {"MultiSpike": "multi", "SingleSpike": "single"}.get(getattr(spike, "__name__", ""), "")
    resets = {"MembraneSubtract": "subtract", "MembraneReset": "zero"}.get(type(reset).__name__, "")
    if spike is not None and not (fires and resets and not any(vars(reset).values())):
        raise found.error(f"{getattr(spike, '__name__', spike)} and {reset}", "there is no rule for it",
                          "use MultiSpike with MembraneSubtract(), or SingleSpike")  # fmt: skip
    floor = -math.inf if part.min_v_mem is None else float(part.min_v_mem)
    options = SimulatorOptions(1, resets, spike_fn=fires, min_v_mem=floor, norm_input=bool(part.norm_input))
    beta, alpha = numbers(part.alpha_mem_calculated), part.alpha_syn_calculated
    rule, parameters = _leaky(options, beta) if (beta != 1).any() else ("integrate", {})
    if alpha is not None:
        gain = ONE - beta if options.norm_input else ONE
        rule, parameters = "synaptic_scaled", {"beta": beta, "gain": gain, "alpha": numbers(alpha)}
    if spike is None:
        return sending_membranes(rule, **parameters, **_floor(options))
    threshold = numbers(part.spike_threshold)
    if not (threshold > 0).all():
        raise found.error(f"spike_threshold = {threshold.min():g}", "sinabs divides membranes by it")
    return _spiking(found, options, rule, threshold=threshold, **parameters)


def _assumed(options: SimulatorOptions, nodes: Sequence[NirNode]) -> dict[str, str]:
    found, assumed = kinds(nodes), {}
    if found & {"IF", "LIF"}:
        assumed["spike_fn"] = {"multi": "spike_fn=MultiSpike", "single": "spike_fn=SingleSpike"}[options.spike_fn]
        assumed["reset"] = {"subtract": "reset_fn=MembraneSubtract()", "zero": "reset_fn=MembraneReset()"}[
            options.reset
        ]
    if found & {"LIF", "LI"}:
        assumed["norm_input"] = f"norm_input={options.norm_input}"
    if "LIF" in found:
        assumed["tau_syn"] = f"tau_syn={options.tau_syn:g}" if options.tau_syn else "no tau_syn"
    if found & {"IF", "LIF", "LI"}:
        assumed["min_v_mem"] = f"min_v_mem={options.min_v_mem:g}" if options.min_v_mem > -math.inf else "no min_v_mem"
    return assumed


def _over_time(graph: Any, options: SimulatorOptions, dt: dict[str, float]) -> Any:
    import nirtorch
    import torch
    from sinabs import activation
    from sinabs.layers import IAF, LIFSqueeze
    from sinabs.nir import _import_sinabs_module

    floor = None if np.isinf(options.min_v_mem) else torch.nn.Parameter(torch.tensor(options.min_v_mem), False)

    def part_of(node: Any) -> Any:
        part = _import_sinabs_module(node, batch_size=1, num_timesteps=None)
        if options.tau_syn and isinstance(part, LIFSqueeze):
            part = LIFSqueeze(**{**part._param_dict, "tau_syn": torch.tensor(options.tau_syn)})
        if hasattr(part, "norm_input"):
            part.norm_input = options.norm_input and not isinstance(part, IAF)  # a kind of LIF that never has it
            part.min_v_mem = floor
        if getattr(part, "spike_fn", None) is not None:
            part.spike_fn = {"multi": activation.MultiSpike, "single": activation.SingleSpike}[options.spike_fn]
            part.reset_fn = {"subtract": activation.MembraneSubtract, "zero": activation.MembraneReset}[options.reset]()
        return part

    return nirtorch.load(graph, part_of)  # as its from_nir does


SINABS = Simulator(
    "sinabs", "sinabs 3.1", 1.0, executor, {"IF": _if, "LIF": _lif, "LI": _li},
    {
        **dict.fromkeys(("AvgPool2d", "CubaLI", "CubaLIF", "Delay", "I", "Linear", "Scale", "Threshold"), _DROPS),
        "Conv1d": "sinabs' importer expects the weights of a torch module, and fails",
    },
    cycles="sinabs runs all steps of a layer before the next layer, so nothing comes back", check_linear=few_groups,
    resets=("subtract", "zero"), unsaid=("reset", "spike_fn", "norm_input", "tau_syn", "min_v_mem"), assumed=_assumed,
    over_time=_over_time, imported="flat", forget="reset_states",
    modules={f"{name}{squeezed}": _module for name in ("IAF", "LIF", "ExpLeak") for squeezed in ("", "Squeeze")},
    whole=lambda part: True,
)  # fmt: skip
