# SPDX-License-Identifier: Apache-2.0
"""snnTorch 1.0: snntorch/import_nir.py, which computes with NumPy in the type of the file, for steps of 0.1 ms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..._types import Array
from ..nir_file import NirNode
from ..nir_order import Edge, interpreter
from ..rules import ONE, ZERO, Reset
from .record import Found, Neuron, Simulator, SimulatorOptions, few_groups, kinds, numbers, spiking

_FAILS = "snnTorch's importer has no such node, and fails"


def _reset(options: SimulatorOptions, zero: Reset) -> Reset:
    """``zero``: what "zero" with a delay does."""
    if options.reset == "none":
        return Reset.NONE
    if options.reset == "zero":
        return zero if options.reset_delay else Reset.VALUE
    return Reset.LATE_SUBTRACT if options.reset_delay else Reset.CORRECTED_SUBTRACT


def _decay(found: Found, dt: float, key: str) -> Any:
    """1 - dt / tau, which snnTorch clamps to 0 ... 1."""
    found.steps(key, dt, "nothing is left of a membrane after a step: snnTorch clamps beta to 0",
                "correct the time constant: snnTorch's steps are 0.1 ms")  # fmt: skip
    tau: Array = found[key]
    return np.clip((1 - (dt / np.atleast_1d(tau))).astype(np.float32), ZERO, ONE).reshape(tau.shape)


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


def _check_scale(found: Found, scale: Array) -> None:
    """What snnTorch's recurrent neurons send themselves is not scaled, as inputs are."""
    if not np.allclose(scale, 1.0):
        raise found.error(f"inputs that are scaled by {scale.min():g} to {scale.max():g} (r or w_in, times dt / tau)",
                          "snnTorch's recurrent neurons scale none", "set r or w_in to tau / dt")  # fmt: skip


def _lif(found: Found, options: SimulatorOptions) -> Neuron:
    tau, r = np.atleast_1d(found["tau"]), np.atleast_1d(found["r"])
    threshold = _threshold(found, r * options.dt / tau)
    beta = _decay(found, options.dt, "tau")
    if found.recurrent:
        _check_scale(found, r * options.dt / tau)
        return spiking("decay_recurrent", _reset(options, Reset.LATE_DISCARD), threshold=threshold, beta=beta)
    return spiking("decay", _reset(options, Reset.LATE_ZERO), threshold=threshold, beta=beta)


def _cuba_lif(found: Found, options: SimulatorOptions) -> Neuron:
    tau_syn, tau_mem = np.atleast_1d(found["tau_syn"]), np.atleast_1d(found["tau_mem"])
    if not np.allclose(found["r"], tau_mem.reshape(found["tau_mem"].shape) / options.dt):
        raise found.error(
            f"r = {found['r'].flat[0]:g}",
            f"snnTorch takes r for tau_mem / dt, {tau_mem.flat[0] / options.dt:g}",
            "set r to that, or choose another simulator",
        )
    threshold = _threshold(found, np.atleast_1d(found["w_in"]) * (options.dt / tau_syn))
    rule, reset = "synaptic", _reset(options, Reset.LATE_DISCARD)
    if found.recurrent:
        _check_scale(found, np.atleast_1d(found["w_in"]) * (options.dt / tau_syn))
        # RSynaptic resets late, whatever it was told.
        rule, reset = "synaptic_recurrent", _reset(replace(options, reset_delay=True), Reset.LATE_DISCARD)
    alpha, beta = (_decay(found, options.dt, key) for key in ("tau_syn", "tau_mem"))
    return spiking(rule, reset, threshold=threshold, alpha=alpha, beta=beta)


def _if(found: Found, options: SimulatorOptions) -> Neuron:
    raise found.unsupported("snnTorch imports it as a neuron with a leak (beta = 0.9), whose output nothing can follow")


def _check_linear(found: Found) -> None:
    few_groups(found)
    if found.node.kind == "Conv1d" and int(found["groups"]) != 1:
        raise found.error(f"groups = {int(found['groups'])}", "nirtorch takes its inputs for its outputs, and fails")


def recurrent(nodes: Mapping[str, str], edges: Sequence[Edge]) -> dict[str, str]:
    """The neurons that snnTorch's exporter wrote of RLeaky and RSynaptic, with their recurrent weights: neurons and a
    dense node in a cycle of the two.  (Its importer wires them wrongly: it sends the neurons' input to the weights.)"""
    found = {}
    for a, b in edges:
        dense = nodes[b] in ("Affine", "Linear") and nodes[a] in ("LIF", "CubaLIF")
        if dense and [e for e in edges if b in e] in ([(a, b), (b, a)], [(b, a), (a, b)]):
            found[a] = b
    return found


def _assumed(options: SimulatorOptions, nodes: Sequence[NirNode]) -> dict[str, str]:
    if not kinds(nodes) & {"LIF", "CubaLIF"}:
        return {}
    late = {"reset_delay": f"reset_delay={options.reset_delay}"}
    return {"reset": f'reset_mechanism="{options.reset}"', **(late if options.reset != "none" else {})}


def _over_time(graph: Any, options: SimulatorOptions, dt: dict[str, float]) -> Any:
    import nir
    import nirtorch
    import snntorch
    from snntorch.import_nir import _nir_to_snntorch_module

    class Recurrent(nir.LIF):  # type: ignore[misc]
        """Neurons and their recurrent weights as one node: its importer would wire two wrongly."""

        def __init__(self, name: str, back: str) -> None:
            lif = graph.nodes[name]
            shape = list(lif.v_threshold.shape)
            nodes = {"input": nir.Input(np.array(shape)), "output": nir.Output(np.array(shape))}
            edges = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
            self.graph = nir.NIRGraph({**nodes, "lif": lif, "w_rec": graph.nodes[back]}, edges)
            self.input_type, self.output_type = lif.input_type, lif.output_type
            self.metadata: dict[str, Any] = {}

    for name, back in recurrent({n: type(node).__name__ for n, node in graph.nodes.items()}, graph.edges).items():
        graph.nodes[name] = Recurrent(name, back)
        del graph.nodes[back]
        graph.edges = [edge for edge in graph.edges if back not in edge]
    kinds = (nir.Affine, nir.Linear, nir.Conv2d, nir.Flatten, nir.AvgPool2d, nir.IF, nir.LIF, nir.CubaLIF)
    made = {kind: lambda node: _nir_to_snntorch_module(node, init_hidden=True) for kind in kinds}
    made[Recurrent] = lambda node: _nir_to_snntorch_module(node.graph, init_hidden=True)
    module = nirtorch.nir_to_torch(graph, made)  # as its import_from_nir does
    for part in module.modules():
        if hasattr(part, "reset_mechanism"):
            # Told to reset at once, RSynaptic fails in its first step, or resets late.
            part.reset_delay = options.reset_delay or isinstance(part, snntorch.RSynaptic)
            part.reset_mechanism = options.reset
            # Its neurons choose this when they are made.
            part.state_function = getattr(
                part, {"subtract": "_base_sub", "zero": "_base_zero", "none": "_base_int"}[options.reset]
            )
    return module


def _module(found: Found, rule: str, zero: Reset, **parameters: Any) -> Neuron:
    """Neurons as they were made; ``zero``: what a late reset to zero does."""
    part, late = found["module"], True
    for name, usual in (("state_quant", False), ("inhibition", False), ("graded_spikes_factor", 1)):
        if getattr(part, name, usual) != usual:
            raise found.error(f"{name}={getattr(part, name)}", "there is no rule for it", "train without it")
    if found.node.kind != "RSynaptic":  # it resets late, whatever it was told
        late = getattr(part, "reset_delay", True)
    reset = _reset(SimulatorOptions(0, part.reset_mechanism, late), zero)
    threshold = numbers(part.threshold)
    if reset in (Reset.VALUE, Reset.CORRECTED_SUBTRACT) and not (threshold > 0).all():
        raise found.error(f"a threshold of {threshold.min():g}", "snnTorch's neurons then reset twice")
    return spiking(rule, reset, threshold=threshold, **parameters)


def _decays(found: Found, *names: str) -> dict[str, Any]:
    return {name: np.clip(numbers(getattr(found["module"], name)), ZERO, ONE) for name in names}


def _alpha(found: Found) -> Neuron:
    """Its factor as torch computes it, whose logarithms are not NumPy's."""
    part = found["module"]
    if part.reset_mechanism == "subtract":
        raise found.error('reset_mechanism="subtract"', "snnTorch then sets a current to the threshold", 'use "zero"')
    low, high = part.alpha.clamp(0, 1).log(), part.beta.clamp(0, 1).log()
    return _module(
        found, "alpha", Reset.LATE_ALL, gain=numbers(low / (high - low) + 1), **_decays(found, "alpha", "beta")
    )


def _lapicque(found: Found) -> Neuron:
    """(x * R) * (1 / (R C)) * time_step + (1 - time_step / (R C)) * v: one factor, if R and time_step change no bit."""
    part = found["module"]
    r, c, step = part.R, part.C, part.time_step
    if not all((np.frexp(numbers(n))[0] == 0.5).all() for n in (r, step)):
        raise found.error(f"R = {float(r):g} and time_step = {float(step):g}", "snnTorch multiplies by one after the "
                          "other and rounds each time", "use powers of two, such as 1, and scale weights")  # fmt: skip
    gain, beta = numbers(r * (1 / (r * c)) * step), numbers(1 - step / (r * c))
    return _module(found, "decay_scaled", Reset.LATE_DISCARD, beta=beta, gain=gain)


_MODULES: dict[str, Callable[[Found], Neuron]] = {
    "Leaky": lambda f: _module(f, "decay", Reset.LATE_ZERO, **_decays(f, "beta")),
    "Synaptic": lambda f: _module(f, "synaptic", Reset.LATE_DISCARD, **_decays(f, "alpha", "beta")),
    "RLeaky": lambda f: _module(f, "decay_recurrent", Reset.LATE_DISCARD, **_decays(f, "beta")),
    "RSynaptic": lambda f: _module(f, "synaptic_recurrent", Reset.LATE_DISCARD, **_decays(f, "alpha", "beta")),
    "Alpha": _alpha,
    "Lapicque": _lapicque,
}


def _time_major(parts: Sequence[Any], more: bool) -> bool:
    return not more and not all(part.init_hidden for part in parts if hasattr(part, "init_hidden"))


def _image(graph: Any, profile: str, step: float) -> Any:
    from snntorch import import_nir

    return import_nir.import_from_nir(graph)


SNNTORCH = Simulator(
    "snntorch", "snnTorch 1.0", 1e-4, interpreter, {"IF": _if, "LIF": _lif, "CubaLIF": _cuba_lif},
    dict.fromkeys(("CubaLI", "Delay", "I", "LI", "Scale", "Threshold"), _FAILS),
    fixed_dt=True, batch=True, check_linear=_check_linear, recurrent=recurrent,
    resets=("subtract", "zero", "none"), unsaid=("reset", "reset_delay"), assumed=_assumed,
    over_time=_over_time, time_major=_time_major, states="each", forget="reset_mem",
    modules=_MODULES, own="recurrent",
    profiles=("lif", "cuba"), image=_image,
    why_not="snnTorch imports IF as a leaky neuron whose output nothing can follow; use profile 'lif' or 'cuba'",
)  # fmt: skip
