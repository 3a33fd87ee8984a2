# SPDX-License-Identifier: Apache-2.0
"""SpikingJelly 2.0: spikingjelly/activation_based/nir_exchange/from_nir.py, which computes in Python's floats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..nir_file import NirNode
from ..nir_order import interpreter
from ..rules import Reset
from .record import Found, Neuron, Simulator, SimulatorOptions, numbers, spiking

_FAILS = "SpikingJelly's importer has no such node, and fails"


def _close(value: float, expected: float) -> bool:
    """As SpikingJelly compares (numpy.isclose)."""
    return math.isfinite(expected) and abs(value - expected) <= 1e-12 + 1e-6 * abs(expected)


def _is(found: Found, key: str, *expected: tuple[float, str]) -> float:
    """The value of all neurons, which must be one of some; the message names them."""
    value = found.uniform(key)
    if not any(_close(value, number) for number, _ in expected):
        names = " or ".join(f"{number:g} ({name})" if name else f"{number:g}" for number, name in expected)
        raise found.error(f"{key} = {value:g}", f"SpikingJelly computes as if it were {names}, and refuses others",
                          f"set {key} to that, or choose another dt or simulator")  # fmt: skip
    return value


def _if(found: Found, options: SimulatorOptions) -> Neuron:
    _is(found, "r", (1 / options.dt, "1 / dt"))
    reset = found.uniform("v_reset")
    return spiking("integrate", at_least=True, threshold=found.uniform("v_threshold"), reset=reset, initial=reset)


def _lif(found: Found, options: SimulatorOptions) -> Neuron:
    tau = found.uniform("tau") / options.dt
    if not (math.isfinite(tau) and tau > 1):
        raise found.error(f"tau / dt = {tau:g}", "SpikingJelly's neurons need more than 1", "choose a smaller dt")
    every = _close(_is(found, "r", (1.0, ""), (tau, "tau / dt")), 1.0)
    reset = found.uniform("v_reset")
    _is(found, "v_leak", (reset, "v_reset"))
    if options.parametric:  # the file has 1 / sigmoid(w) in double precision, so its reciprocal is sigmoid(w)
        rule, key, constant = "approach_rest" if every else "leak_rest", "rate", 1 / tau
    else:
        rule, key, constant = "divide_all" if every else "divide", "tau", tau
    values: dict[str, Any] = {"reset": reset, "initial": reset, "rest": reset, key: constant}
    return spiking(rule, at_least=True, threshold=found.uniform("v_threshold"), **values)


def _cuba_lif(found: Found, options: SimulatorOptions) -> Neuron:
    tau_syn, tau_mem, dt = found.uniform("tau_syn"), found.uniform("tau_mem"), options.dt
    if tau_syn < dt or tau_mem < dt:
        constants = f"time constants of {tau_syn:g} and {tau_mem:g} s"
        raise found.error(constants, f"SpikingJelly's are at least dt, {dt:g} s", "choose a smaller dt")
    _is(found, "r", (tau_mem / dt, "tau_mem / dt"))
    _is(found, "w_in", (tau_syn / dt, "tau_syn / dt"))
    _is(found, "v_leak", (0.0, ""))
    reset = found.uniform("v_reset")
    return spiking(
        "synaptic", at_least=True, threshold=found.uniform("v_threshold"), reset=reset, initial=reset,
        alpha=1.0 - dt / tau_syn, beta=1.0 - dt / tau_mem,
    )  # fmt: skip


def _check_linear(found: Found) -> None:
    if found.node.kind in ("Conv1d", "Conv2d") and int(found["groups"]) != 1:
        raise found.error(f"groups = {int(found['groups'])}", "SpikingJelly's importer refuses grouped convolutions")


def _assumed(options: SimulatorOptions, nodes: Sequence[NirNode]) -> dict[str, str]:
    taus = np.concatenate([np.unique(node["tau"]) for node in nodes if node.kind == "LIF"] or [np.ones(0)])
    if (np.frexp((taus / options.dt).astype(np.float32))[0] == 0.5).all():  # dividing is multiplying
        return {}
    divides = "LIF is LIFNode, which divides by tau (ParametricLIFNode multiplies by 1 / tau, rounded otherwise)"
    return {"parametric": "LIF is ParametricLIFNode" if options.parametric else divides}


def _over_time(graph: Any, options: SimulatorOptions, dt: dict[str, float]) -> Any:
    from spikingjelly.activation_based.neuron import LIFNode, ParametricLIFNode
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    module = import_from_nir(graph, **dt)
    for part in list(module.modules()):
        neurons: Any = getattr(part, "module", None)  # its importer wraps them
        if options.parametric and type(neurons) is LIFNode:
            part.module = ParametricLIFNode(
                neurons.tau, neurons.decay_input, neurons.v_threshold, neurons.v_reset, step_mode=neurons.step_mode
            )
            part.module.w.data = _logit(1 / neurons.tau)
    return module


def _logit(rate: float) -> Any:
    """A float32 number whose sigmoid in torch is this, if there is one nearby."""
    import torch

    sought, w = torch.tensor(rate, dtype=torch.float32), torch.tensor(rate, dtype=torch.float64).logit().float()
    bits = w.view(torch.int32)
    for away in sorted(range(-512, 513), key=abs):
        found = (bits + away).view(torch.float32)
        if found.sigmoid() == sought:
            return found
    return w


def _module(found: Found, rule: str, **parameters: Any) -> Neuron:
    """Neurons as they were made; without v_reset a spike subtracts, and membranes rest at 0."""
    part = found["module"]
    reset, rest = Reset.SUBTRACT if part.v_reset is None else Reset.VALUE, part.v_reset or 0.0
    values = {"reset": rest, "initial": rest, **parameters}
    return spiking(rule, reset, at_least=True, threshold=numbers(part.v_threshold), **values)


def _decaying(found: Found, every: str, alone: str, **constant: Any) -> Neuron:
    """``every``: the rule if the input decays, too; ``alone``: if only the membrane does."""
    part = found["module"]
    return _module(found, every if part.decay_input else alone, rest=part.v_reset or 0.0, **constant)


_MODULES: dict[str, Callable[[Found], Neuron]] = {
    "IFNode": lambda f: _module(f, "integrate"),
    "LIFNode": lambda f: _decaying(f, "divide_all", "divide", tau=numbers(f["module"].tau)),
    "ParametricLIFNode": lambda f: _decaying(f, "approach_rest", "leak_rest", rate=numbers(f["module"].w.sigmoid())),
    "CUBALIFNode": lambda f: _module(
        f, "synaptic", alpha=numbers(f["module"].c_decay), beta=numbers(f["module"].v_decay)
    ),
}


def _time_major(parts: Sequence[Any], more: bool) -> bool:
    return any(getattr(part, "step_mode", "s") == "m" for part in parts)


def _image(graph: Any, profile: str, step: float) -> Any:
    from spikingjelly.activation_based import nir_exchange

    # Its IF neurons need r = 1 / dt.
    return nir_exchange.import_from_nir(graph, dt=1.0 if profile in ("if", "flat") else step)


SPIKINGJELLY = Simulator(
    "spikingjelly", "SpikingJelly 2.0", 1e-4, interpreter, {"IF": _if, "LIF": _lif, "CubaLIF": _cuba_lif},
    dict.fromkeys(("CubaLI", "Delay", "I", "LI", "Scale", "Threshold"), _FAILS), check_linear=_check_linear,
    unsaid=("parametric",), assumed=_assumed,
    over_time=_over_time, time_major=_time_major, forget="reset",
    modules=_MODULES, whole=lambda part: bool(part.step_mode == "m"),
    profiles=("if", "lif", "flat", "cuba"), image=_image,
)  # fmt: skip
