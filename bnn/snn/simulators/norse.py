# SPDX-License-Identifier: Apache-2.0
"""Norse 1.1: norse/torch/utils/import_nir.py, which makes float32 of everything first."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._types import Array
from ..nir_order import executor
from ..rules import ONE
from .record import Found, Neuron, Options, Simulator, few_groups, spiking

_DROPS = "Norse's importer drops it, and runs the graph without it"


def _float(value: Array) -> Any:
    return value.astype(np.float32)


def _rate(tau: Array, dt: float) -> Any:
    """dt * tau_inv"""
    return np.float32(dt) * (ONE / _float(tau))


def _checked(found: Found, options: Options) -> None:
    found.only("v_reset", 0, "Norse resets to 0 whatever the file says")
    if found.node.kind != "CubaLIF":
        found.only("r", 1, "Norse takes r for 1", close=True)
        if options.reset_method != "value":
            raise found.error(
                f"the reset method '{options.reset_method}'",
                f"Norse has it for CubaLIF alone, and resets {found.node.kind} to 0",
                "leave the reset method out",
            )


def _if(found: Found, options: Options) -> Neuron:
    _checked(found, options)
    return spiking("integrate", threshold=_float(found["v_threshold"]))


def _lif(found: Found, options: Options) -> Neuron:
    _checked(found, options)
    leak = _float(found["v_leak"])
    rate = _rate(found["tau"], options.dt)
    return spiking("approach", threshold=_float(found["v_threshold"]), initial=leak, rate=rate, leak=leak)


def _cuba_lif(found: Found, options: Options) -> Neuron:
    _checked(found, options)
    found.only("v_leak", 0, "Norse adds the leak to the synaptic current as well")
    return spiking(
        "synaptic_approach", subtract=options.reset_method == "subtract", threshold=_float(found["v_threshold"]),
        alpha=_rate(found["tau_syn"], options.dt), rate=_rate(found["tau_mem"], options.dt), leak=0,
        weight=_float(found["w_in"]), resistance=_float(found["r"]),
    )  # fmt: skip


NORSE = Simulator(
    "norse", "Norse 1.1", 0.001, executor, {"IF": _if, "LIF": _lif, "CubaLIF": _cuba_lif},
    dict.fromkeys(("AvgPool2d", "Conv1d", "CubaLI", "Delay", "I", "LI", "Scale", "Threshold"), _DROPS),
    batch=True, reset_methods=("value", "subtract"), check_linear=few_groups,
)  # fmt: skip
