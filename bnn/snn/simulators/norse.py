# SPDX-License-Identifier: Apache-2.0
"""Norse 1.1: norse/torch/utils/import_nir.py, which makes float32 of everything first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._types import Array
from ..nir_file import NirNode
from ..nir_order import executor
from ..rules import ONE, Reset
from .record import Found, Neuron, Simulator, SimulatorOptions, few_groups, kinds, spiking

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


NORSE = Simulator(
    "norse", "Norse 1.1", 0.001, executor, {"IF": _if, "LIF": _lif, "CubaLIF": _cuba_lif},
    dict.fromkeys(("AvgPool2d", "Conv1d", "CubaLI", "Delay", "I", "LI", "Scale", "Threshold"), _DROPS),
    batch=True, check_linear=few_groups, resets=tuple(_RESETS), unsaid=("reset", "v_reset"), assumed=_assumed,
)  # fmt: skip
