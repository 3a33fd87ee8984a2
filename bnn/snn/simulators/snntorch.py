# SPDX-License-Identifier: Apache-2.0
"""snnTorch 1.0: snntorch/import_nir.py, which computes with NumPy in the type of the file, for steps of 0.1 ms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..._types import Array
from ..nir_order import Edge, interpreter
from ..rules import ONE, ZERO
from .record import Found, Neuron, Options, Simulator, few_groups, spiking

_FAILS = "snnTorch's importer has no such node, and fails"


def _decay(dt: float, tau: Array) -> Any:
    """1 - dt / tau, which snnTorch clamps to 0 ... 1."""
    return np.clip((1 - (dt / np.atleast_1d(tau))).astype(np.float32), ZERO, ONE)


def _threshold(found: Found, scale: Array) -> Any:
    """The threshold, divided by what inputs should be multiplied by."""
    found.only("v_reset", 0, "snnTorch resets to 0 whatever the file says")
    found.only("v_leak", 0, "snnTorch's importer knows no leak", close=True)
    threshold = found["v_threshold"]
    if not np.allclose(scale, 1.0):
        if np.unique(scale).size != 1:
            raise found.error(
                f"inputs that are scaled by {scale.min():g} to {scale.max():g} (r or w_in, times dt / tau)",
                "snnTorch divides the threshold instead, by one number for all neurons",
            )
        threshold = threshold / np.unique(scale)[0]
    value = np.unique(threshold)
    if value.size != 1:
        raise found.error(
            f"v_threshold from {value[0]:g} to {value[-1]:g}", "snnTorch has one threshold for all neurons"
        )
    if not value[0] > 0:
        raise found.error(f"a threshold of {value[0]:g}", "snnTorch's neurons then reset twice")
    return value[0]


def _lif(found: Found, options: Options) -> Neuron:
    tau, r = np.atleast_1d(found["tau"]), np.atleast_1d(found["r"])
    threshold = _threshold(found, r * options.dt / tau)
    return spiking("decay", threshold=threshold, beta=_decay(options.dt, found["tau"]).reshape(found["tau"].shape))


def _cuba_lif(found: Found, options: Options) -> Neuron:
    tau_syn, tau_mem = np.atleast_1d(found["tau_syn"]), np.atleast_1d(found["tau_mem"])
    if not np.allclose(found["r"], tau_mem.reshape(found["tau_mem"].shape) / options.dt):
        raise found.error(
            f"r = {found['r'].flat[0]:g}",
            f"snnTorch takes r for tau_mem / dt, {tau_mem.flat[0] / options.dt:g}",
            "set r to that, or choose another simulator",
        )
    threshold = _threshold(found, np.atleast_1d(found["w_in"]) * (options.dt / tau_syn))
    shape = found["tau_syn"].shape
    return spiking(
        "synaptic", threshold=threshold, alpha=_decay(options.dt, tau_syn).reshape(shape),
        beta=_decay(options.dt, tau_mem).reshape(shape),
    )  # fmt: skip


def _if(found: Found, options: Options) -> Neuron:
    raise found.unsupported("snnTorch imports it as a neuron with a leak (beta = 0.9), whose output nothing can follow")


def _check_linear(found: Found) -> None:
    few_groups(found)
    if found.node.kind == "Conv1d" and int(found["groups"]) != 1:
        raise found.error(f"groups = {int(found['groups'])}", "nirtorch takes its inputs for its outputs, and fails")


def _check_edges(nodes: Mapping[str, Any], edges: tuple[Edge, ...]) -> str:
    """snnTorch makes a graph of its own of a neuron with recurrent weights, and wires it wrongly."""
    kinds = {name: getattr(node, "kind", "") for name, node in nodes.items()}
    for a, b in edges:
        dense = kinds[b] in ("Affine", "Linear") and kinds[a] in ("LIF", "CubaLIF")
        if dense and [e for e in edges if b in e] in ([(a, b), (b, a)], [(b, a), (a, b)]):
            return (
                f"found a cycle of '{a}' and '{b}', which snnTorch's importer wires wrongly: it sends the input of "
                f"'{a}' to '{b}'; put the two into a graph of their own within the file"
            )
    return ""


SNNTORCH = Simulator(
    "snntorch", "snnTorch 1.0", 1e-4, interpreter, {"IF": _if, "LIF": _lif, "CubaLIF": _cuba_lif},
    dict.fromkeys(("CubaLI", "Delay", "I", "LI", "Scale", "Threshold"), _FAILS),
    fixed_dt=True, batch=True, check_linear=_check_linear, check_edges=_check_edges,
)  # fmt: skip
