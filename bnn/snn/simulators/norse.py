# SPDX-License-Identifier: Apache-2.0
"""Norse 1.1: norse/torch/utils/import_nir.py, which makes float32 of everything first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..._types import Array
from ..nir_file import NirNode
from ..nir_order import executor
from ..rules import ONE, Reset
from .record import Found, Neuron, Simulator, SimulatorOptions, few_groups, kinds, numbers, sending_membranes, spiking

_RESETS = {"value": Reset.VALUE, "subtract": Reset.SUBTRACT}
_DROPS = "Norse's importer drops it, and runs the graph without it"

_STEPS = (
    "every step overshoots, and currents and membranes swing and grow",
    "give a dt (--dt) of at most the time constant; if Norse wrote the file, write it again with to_nir(..., dt=1): "
    "otherwise it scales time constants by 0.001",
)


def _float(value: Array) -> Any:
    return value.astype(np.float32)


def _rate(tau: Array, dt: float) -> Any:
    """dt * tau_inv"""
    return np.float32(dt) * (ONE / _float(tau))


def _checked(found: Found, options: SimulatorOptions) -> None:
    found.only("v_reset", 0, "Norse resets to 0 whatever the file says")
    if found.node.kind != "CubaLIF":
        found.only("r", 1, "Norse takes r for 1", close=True)
    if found.node.kind == "IF" and options.reset != "value":
        raise found.error(
            f"reset '{options.reset}' asked for", "Norse's IAFCell only resets to a value", "leave it out"
        )


def _reset(options: SimulatorOptions) -> dict[str, Any]:
    """What a spike leaves, where it does not subtract."""
    return {"reset": options.v_reset} if options.reset == "value" else {}


def _if(found: Found, options: SimulatorOptions) -> Neuron:
    _checked(found, options)
    return spiking("integrate", threshold=_float(found["v_threshold"]), initial=options.v_reset, **_reset(options))


def _lif(found: Found, options: SimulatorOptions) -> Neuron:
    _checked(found, options)
    found.steps("tau", options.dt, *_STEPS)
    leak = _float(found["v_leak"])
    rate = _rate(found["tau"], options.dt)
    return spiking(
        "approach", _RESETS[options.reset], threshold=_float(found["v_threshold"]), initial=leak, rate=rate, leak=leak,
        **_reset(options),
    )  # fmt: skip


def lif_cell(r: Any, w_in: Any) -> bool:
    """Whether a CubaLIF is what Norse's exporter writes of its LIFCell, of which its importer makes another neuron."""
    return bool((np.asarray(r) == 1).all() and (np.asarray(w_in) == 1).all())


def _cuba_lif(found: Found, options: SimulatorOptions) -> Neuron:
    if lif_cell(found["r"], found["w_in"]):
        return _lif_cell(found, options)
    _checked(found, options)
    found.only("v_leak", 0, "Norse adds the leak to the synaptic current as well")
    found.steps("tau_syn", options.dt, *_STEPS)
    found.steps("tau_mem", options.dt, *_STEPS)
    return spiking(
        "synaptic_approach", _RESETS[options.reset], threshold=_float(found["v_threshold"]),
        alpha=_rate(found["tau_syn"], options.dt), rate=_rate(found["tau_mem"], options.dt), leak=0,
        weight=_float(found["w_in"]), resistance=_float(found["r"]), **_reset(options),
    )  # fmt: skip


def _lif_cell(found: Found, options: SimulatorOptions) -> Neuron:
    _checked(found, options)
    found.steps("tau_syn", options.dt, *_STEPS)
    found.steps("tau_mem", options.dt, *_STEPS)
    if options.reset != "value":
        raise found.error(
            f"reset '{options.reset}' asked for", "Norse's LIFCell only resets to a value", "leave it out"
        )
    leak = _float(found["v_leak"])
    return spiking(
        "synaptic_jump", threshold=_float(found["v_threshold"]), initial=leak, rest=leak,
        alpha=_rate(found["tau_syn"], options.dt), rate=_rate(found["tau_mem"], options.dt), **_reset(options),
    )  # fmt: skip


def _assumed(options: SimulatorOptions, nodes: Sequence[NirNode]) -> dict[str, str]:
    found = kinds(nodes)
    if not found & {"IF", "LIF", "CubaLIF"}:
        return {}
    cuba = " (and CubaLIF with r = w_in = 1 is the LIFCell that Norse's exporter writes so)" * ("CubaLIF" in found)
    value = {"v_reset": f"v_reset={options.v_reset:g}"} if options.reset == "value" else {}
    return {"reset": f"reset_method=reset_{options.reset}{cuba}", **value}


def _over_time(graph: Any, options: SimulatorOptions, dt: dict[str, float]) -> Any:
    import nir
    import nirtorch
    import norse.torch.functional.reset as resets
    import torch
    from norse.torch.functional.lif import LIFParameters
    from norse.torch.module.iaf import IAFCell
    from norse.torch.module.lif import LIFCell
    from norse.torch.module.lif_box import LIFBoxCell
    from norse.torch.utils.import_nir import _import_norse_module

    def part_of(node: Any) -> Any:
        if not isinstance(node, nir.CubaLIF) or not lif_cell(node.r, node.w_in):
            return _import_norse_module(node, **dt)
        syn, mem, leak, threshold = (
            torch.from_numpy(np.asarray(value, np.float32))
            for value in (node.tau_syn, node.tau_mem, node.v_leak, node.v_threshold)
        )
        return LIFCell(LIFParameters(1 / syn, 1 / mem, leak, threshold), **dt)

    module = nirtorch.load(graph, part_of)  # as its from_nir does
    for part in module.modules():
        if isinstance(part, LIFBoxCell):
            part.p = part.p._replace(reset_method=getattr(resets, f"reset_{options.reset}"))
        if isinstance(part, (IAFCell, LIFBoxCell, LIFCell)):
            part.p = part.p._replace(v_reset=torch.tensor(options.v_reset, dtype=torch.float32))
    return module


def _module(found: Found, rule: str, initial: str = "v_leak", **parameters: Any) -> Neuron:
    """Neurons as they were made.  Integrators, whose parameters have no threshold, send their membranes."""
    part = found["module"]
    p = {name: numbers(value) for name, value in part.p._asdict().items() if hasattr(value, "detach")}
    if "v_th" not in p:
        return sending_membranes(rule, initial=p[initial], **parameters)
    method = getattr(part.p, "reset_method", None)
    name = getattr(method, "__name__", "reset_value").removeprefix("reset_")
    if name not in _RESETS:
        raise found.error(f"reset_method={name}", "there is no rule for it", "use reset_value or reset_subtract")
    reset = {"reset": p["v_reset"]} if name == "value" else {}
    return spiking(rule, _RESETS[name], threshold=p["v_th"], initial=p[initial], **reset, **parameters)


def _rates(found: Found, **rates: str) -> dict[str, Any]:
    """dt / tau as torch computes it."""
    part = found["module"]
    return {name: numbers(part.dt * getattr(part.p, f"{tau}_inv")) for name, tau in rates.items()}


def _jump(found: Found, rule: str = "synaptic_jump") -> Neuron:
    rates = _rates(found, alpha="tau_syn", rate="tau_mem")
    return _module(found, rule, rest=numbers(found["module"].p.v_leak), **rates)


def _adapting(found: Found, rule: str = "lsnn") -> Neuron:
    p, rates = found["module"].p, _rates(found, alpha="tau_syn", rate="tau_mem", fade="tau_adapt")
    return _module(found, rule, rest=numbers(p.v_leak), rise=numbers(p.beta), **rates)


def _box(rule: str, leak: str) -> Callable[[Found], Neuron]:
    """``leak``: the rule's name for it."""

    def made(found: Found) -> Neuron:
        return _module(found, rule, **{leak: numbers(found["module"].p.v_leak)}, **_rates(found, rate="tau_mem"))

    return made


_CELLS = {
    "IAF": lambda f: _module(f, "integrate", "v_reset"), "LIF": _jump, "LI": _jump,
    "LIFRecurrent": lambda f: _jump(f, "synaptic_jump_recurrent"),
    "LSNN": _adapting, "LSNNRecurrent": lambda f: _adapting(f, "lsnn_recurrent"),
    "LIFBox": _box("approach", "leak"), "LIBox": _box("approach_rest", "rest"),
}  # fmt: skip
_MODULES = {**_CELLS, **{f"{name}Cell": made for name, made in _CELLS.items()}, "LILinearCell": _jump}


def _time_major(parts: Sequence[Any], more: bool) -> bool:
    from norse.torch.module.snn import SNN, SNNRecurrent

    return any(isinstance(part, (SNN, SNNRecurrent)) for part in parts) or not more


def _image(graph: Any, profile: str, step: float) -> Any:
    from norse.torch.utils.import_nir import from_nir

    return from_nir(graph, dt=step)


NORSE = Simulator(
    "norse", "Norse 1.1", 0.001, executor, {"IF": _if, "LIF": _lif, "CubaLIF": _cuba_lif},
    dict.fromkeys(("AvgPool2d", "Conv1d", "CubaLI", "Delay", "I", "LI", "Scale", "Threshold"), _DROPS),
    batch=True, check_linear=few_groups, resets=tuple(_RESETS), unsaid=("reset", "v_reset"), assumed=_assumed,
    over_time=_over_time, time_major=_time_major, states="one",
    modules=_MODULES, own="recurrent_weights", weights="input_weights",
    whole=lambda part: not type(part).__name__.endswith("Cell"),
    profiles=("if", "lif", "flat", "cuba"), image=_image,
)  # fmt: skip
