# SPDX-License-Identifier: Apache-2.0
"""sinabs 3.1: sinabs/nir.py.  Its time constants are steps, and it runs all steps of a layer before the next layer."""

from __future__ import annotations

import math
from collections.abc import Set
from typing import Any

import numpy as np

from ..._types import Array
from ..nir_order import executor
from ..rules import ONE
from .record import Found, Neuron, Options, Simulator, counting, few_groups, sending_membranes

_DROPS = "sinabs' importer drops it, and runs the graph without it"


def _alpha(found: Found, options: Options) -> Any:
    """exp(-1 / tau) in float32, rounded correctly: torch's own differs in the last place for 2% of all tau."""
    tau: Array = found["tau"].astype(np.float32)
    if not (tau > 0).all():
        raise found.error(f"tau = {tau.min():g}", "a membrane cannot decay so")
    if options.dt != 1:
        raise found.error(f"dt = {options.dt:g} s", "sinabs takes tau for a number of steps, whatever dt is",
                          "give tau in steps, and dt = 1")  # fmt: skip
    if (tau < 1).any() and "dt" not in options.said:
        raise found.error(f"tau = {tau.min():g}", "sinabs takes it for a number of steps, and NIR says seconds",
                          "give tau in steps; if these are steps, say so with dt = 1")  # fmt: skip
    return np.exp((np.float32(-1.0) / tau).astype(np.float64)).astype(np.float32)


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


def _floor(options: Options) -> dict[str, Any]:
    return {"floored": True, "reset": np.float32(options.min_v_mem)} if options.min_v_mem > -math.inf else {}


def _gain(options: Options, beta: Any) -> dict[str, Any]:
    """1 - beta, where inputs are normalized."""
    return {"gain": ONE - beta} if options.norm_input else {}


def _no_leak(found: Found) -> None:
    leak: Array = found["v_leak"]
    if leak.ndim == 0 or leak[0].size > 1:
        raise found.error(f"v_leak of the shape {leak.shape}", "sinabs' importer fails unless it has one dimension",
                          "store (channels, 1, 1), or (n,) after a Flatten")  # fmt: skip
    found.only("v_leak", 0, "sinabs knows no leak")


def _if(found: Found, options: Options) -> Neuron:
    return counting("integrate", threshold=_threshold(found), **_floor(options))


def _lif(found: Found, options: Options) -> Neuron:
    _no_leak(found)
    beta = _alpha(found, options)
    rule = "decay_scaled" if options.norm_input else "decay"
    return counting(rule, threshold=_threshold(found), beta=beta, **_gain(options, beta), **_floor(options))


def _li(found: Found, options: Options) -> Neuron:
    _no_leak(found)
    found.only("r", 1, "sinabs takes r for 1")
    beta = _alpha(found, options)
    rule = "decay_scaled" if options.norm_input else "decay"
    return sending_membranes(rule, beta=beta, **_gain(options, beta), **_floor(options))


def _assumed(options: Options, kinds: Set[str]) -> str:
    if not kinds & {"IF", "LIF", "LI"}:
        return ""
    floor = "None" if options.min_v_mem == -math.inf else f"{options.min_v_mem:g}"
    norm = f"norm_input={options.norm_input}, no tau_syn, " if kinds & {"LIF", "LI"} else ""
    return f"{norm}min_v_mem={floor}, spike_fn=MultiSpike, reset_fn=MembraneSubtract()"


SINABS = Simulator(
    "sinabs", "sinabs 3.1", 1.0, executor, {"IF": _if, "LIF": _lif, "LI": _li},
    {
        **dict.fromkeys(("AvgPool2d", "CubaLI", "CubaLIF", "Delay", "I", "Linear", "Scale", "Threshold"), _DROPS),
        "Conv1d": "sinabs' importer expects the weights of a torch module, and fails",
    },
    cycles="sinabs runs all steps of a layer before the next layer, so nothing comes back", check_linear=few_groups,
    resets=("subtract",), unsaid=("norm_input", "min_v_mem"), assumed=_assumed,
)  # fmt: skip
