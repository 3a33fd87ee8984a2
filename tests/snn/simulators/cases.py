# SPDX-License-Identifier: Apache-2.0
"""Simulators' own neurons (PyTorch, on the CPU) with random parameters, and what they are in terms of bnn.snn.rules."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from bnn._types import Floats
from bnn.snn.network import Network, Population
from bnn.snn.rules import RULES, Dynamics, Emits, Reset

torch = pytest.importorskip("torch", reason="torch is not installed")

States = dict[str, Any]  # tensors


@dataclass
class Draw:
    """Random parameters and currents; with ``exact`` they are dyadic, so that thresholds are reached exactly."""

    rng: np.random.Generator
    exact: bool = False

    def array(self, n: int, low: float, high: float) -> Floats:
        x = self.rng.uniform(low, high, n)
        return (np.ceil(x * 4) / 4 if self.exact else x).astype(np.float32)

    def tensor(self, n: int, low: float, high: float) -> Any:
        return torch.from_numpy(self.array(n, low, high))

    def number(self, low: float, high: float) -> float:
        """For a simulator that takes one Python number for all neurons; not a float32 unless exact."""
        x = float(self.rng.uniform(low, high))
        return float(np.ceil(x * 8) / 8) if self.exact else x

    def steps(self, n: int, most: float) -> Any:
        """Time constants in steps: more than 1, or powers of two."""
        if self.exact:
            return torch.from_numpy(np.exp2(self.rng.integers(1, int(np.log2(most)), n)).astype(np.float32))
        return self.tensor(n, 1.01, most)

    def currents(self, n: int, scale: float) -> Floats:
        """(n,): some are 0, as between spikes."""
        x = self.rng.normal(0.2, 1, n) * scale
        x = np.where(self.rng.random(n) < 0.2, 0, x)
        return (np.round(x * 4) / 4 if self.exact else x).astype(np.float32)


@dataclass
class Neurons:
    """A simulator's neurons. ``step``: from the currents (n,) to what they send (n,), and their state, named as here.

    ``scale``: how large currents are, beside thresholds of about 1.
    """

    dynamics: Dynamics
    parameters: dict[str, Any]
    step: Callable[[Any], tuple[Any, States]]
    scale: float = 1.0
    learning: bool = False
    before: dict[str, Floats] = field(default_factory=dict)  # states that are not what a new network has


Case = Callable[[Draw, int], Neurons]
CASES: dict[str, tuple[str, Case]] = {}


def case(module: str, *variants: object) -> Callable[[Callable[..., Neurons]], Callable[..., Neurons]]:
    """Adds a function of (draw, n, variant...) to the cases, once per variant."""

    def add(function: Callable[..., Neurons]) -> Callable[..., Neurons]:
        for variant in variants or ((),):
            values = variant if isinstance(variant, tuple) else (variant,)
            name = "-".join([function.__name__, *(str(getattr(v, "__name__", v)) for v in values)])
            CASES[name] = (module, lambda draw, n, f=function, v=values: f(draw, n, *v))
        return function

    return add


def dynamics(rule: str, reset: Reset = Reset.NONE, emits: Emits = Emits.SPIKES, **flags: bool) -> Dynamics:
    return Dynamics(RULES[rule], reset, emits, **flags)


# --- Norse


@case("norse")
def norse_iaf(draw: Draw, n: int) -> Neurons:
    from norse.torch.functional.iaf import IAFParameters
    from norse.torch.module.iaf import IAFCell

    threshold, reset = draw.tensor(n, 0.3, 2), draw.tensor(n, -0.5, 0.2)
    cell, state = IAFCell(IAFParameters(v_th=threshold, v_reset=reset)), None

    def step(x: Any) -> tuple[Any, States]:
        nonlocal state
        z, state = cell(x, state)
        return z, {"v": state.v}

    values = {"threshold": threshold, "reset": reset, "initial": reset}
    return Neurons(dynamics("integrate", Reset.VALUE), values, step, 0.5)


def step_length(draw: Draw) -> float:
    return 2**-10 if draw.exact else float(draw.rng.choice([1e-3, 1e-4]))


def norse_box(draw: Draw, n: int) -> tuple[float, Any, Any, Any]:
    """dt, 1 / tau, dt / tau as Norse computes it, leak."""
    dt = step_length(draw)
    inverse = 1 / (dt * draw.steps(n, 64))
    return dt, inverse, dt * inverse, draw.tensor(n, -0.5, 0.5)


@case("norse", "reset_value", "reset_subtract")
def norse_lif(draw: Draw, n: int, method: str) -> Neurons:
    import norse.torch.functional.reset as resets
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.module.lif_box import LIFBoxCell

    dt, inverse, rate, leak = norse_box(draw, n)
    threshold, reset = draw.tensor(n, 0.3, 1), draw.tensor(n, -0.5, 0.2)
    function = getattr(resets, method)
    parameters = LIFBoxParameters(inverse, leak, threshold, reset, reset_method=function)
    cell, state = LIFBoxCell(parameters, dt=dt), None

    def step(x: Any) -> tuple[Any, States]:
        nonlocal state
        z, state = cell(x, state)
        return z, {"v": state.v}

    kind = Reset.VALUE if method == "reset_value" else Reset.SUBTRACT
    values = {"threshold": threshold, "reset": reset, "initial": leak, "rate": rate, "leak": leak}
    return Neurons(dynamics("approach", kind), values, step, 5.0)


@case("norse", "reset_value", "reset_subtract")
def norse_cubalif(draw: Draw, n: int, method: str) -> Neurons:
    """As Norse imports it from NIR."""
    import nir
    import norse.torch.functional.reset as resets
    from norse.torch.utils.import_nir import _import_norse_module

    dt = step_length(draw)
    ranges = {"r": (0.5, 3), "v_leak": (-0.3, 0.3), "v_threshold": (0.3, 1), "w_in": (0.5, 3)}
    p = {name: draw.tensor(n, *limits) for name, limits in ranges.items()}
    p |= {"tau_syn": dt * draw.steps(n, 16), "tau_mem": dt * draw.steps(n, 64)}
    node = nir.CubaLIF(v_reset=np.zeros(n, np.float32), **{name: value.numpy() for name, value in p.items()})
    cell, state = _import_norse_module(node, reset_method=getattr(resets, method), dt=dt), None

    def step(x: Any) -> tuple[Any, States]:
        nonlocal state
        z, state = cell(x, state)
        return z, {"i": state[0].v, "v": state[1].v}

    values = {"threshold": p["v_threshold"], "reset": 0, "initial": p["v_leak"], "leak": p["v_leak"]}
    values |= {"alpha": dt * (1 / p["tau_syn"]), "rate": dt * (1 / p["tau_mem"])}
    values |= {"weight": p["w_in"], "resistance": p["r"]}
    kind = Reset.VALUE if method == "reset_value" else Reset.SUBTRACT
    return Neurons(dynamics("synaptic_approach", kind), values, step, 5.0)


@case("norse")
def norse_lif_cell(draw: Draw, n: int) -> Neurons:
    from norse.torch.functional.lif import LIFParameters
    from norse.torch.module.lif import LIFCell

    dt, inverse, rate, leak = norse_box(draw, n)
    synapse = 1 / (dt * draw.steps(n, 16))
    threshold, reset = draw.tensor(n, 0.3, 1), draw.tensor(n, -0.5, 0.2)
    cell, state = LIFCell(LIFParameters(synapse, inverse, leak, threshold, reset), dt=dt), None

    def step(x: Any) -> tuple[Any, States]:
        nonlocal state
        z, state = cell(x, state)
        return z, {"i": state.i, "v": state.v}

    values = {"threshold": threshold, "reset": reset, "initial": leak, "rest": leak, "rate": rate}
    return Neurons(dynamics("synaptic_jump", Reset.VALUE), values | {"alpha": dt * synapse}, step, 2.0)


@case("norse")
def norse_lsnn_cell(draw: Draw, n: int) -> Neurons:
    from norse.torch.functional.lsnn import LSNNFeedForwardState, LSNNParameters
    from norse.torch.module.lsnn import LSNNCell

    dt, inverse, rate, leak = norse_box(draw, n)
    synapse, adapt = 1 / (dt * draw.steps(n, 16)), 1 / (dt * draw.steps(n, 64))
    threshold, reset, beta = draw.tensor(n, 0.3, 1), draw.tensor(n, -0.5, 0.2), draw.tensor(n, 0.1, 1)
    cell = LSNNCell(LSNNParameters(synapse, inverse, adapt, leak, threshold, reset, beta), dt=dt)
    state = LSNNFeedForwardState(leak, torch.zeros(n), threshold)  # its own takes one leak for all

    def step(x: Any) -> tuple[Any, States]:
        nonlocal state
        z, state = cell(x, state)
        return z, {"i": state.i, "v": state.v, "b": state.b}

    values = {"threshold": threshold, "reset": reset, "initial": leak, "rest": leak, "rate": rate, "rise": beta}
    values |= {"alpha": dt * synapse, "fade": dt * adapt}
    return Neurons(dynamics("lsnn", Reset.VALUE), values, step, 3.0)


@case("norse")
def norse_li(draw: Draw, n: int) -> Neurons:
    from norse.torch.functional.leaky_integrator_box import LIBoxParameters
    from norse.torch.module.leaky_integrator_box import LIBoxCell

    dt, inverse, rate, leak = norse_box(draw, n)
    cell, state = LIBoxCell(LIBoxParameters(inverse, leak), dt=dt), None

    def step(x: Any) -> tuple[Any, States]:
        nonlocal state
        v, state = cell(x, state)
        return v, {"v": state.v}

    values = {"threshold": 1, "reset": 0, "initial": leak, "rate": rate, "rest": leak}
    return Neurons(dynamics("approach_rest", emits=Emits.VALUES), values, step)


# --- snnTorch

LEAKY_RESETS = {
    ("none", True): Reset.NONE,
    ("none", False): Reset.NONE,
    ("zero", True): Reset.LATE_ZERO,
    ("subtract", True): Reset.LATE_SUBTRACT,
    ("zero", False): Reset.VALUE,
    ("subtract", False): Reset.CORRECTED_SUBTRACT,
}
OTHER_RESETS = LEAKY_RESETS | {("zero", True): Reset.LATE_DISCARD}


@case("snntorch", *LEAKY_RESETS)
def snntorch_leaky(draw: Draw, n: int, mechanism: str, delay: bool) -> Neurons:
    import snntorch

    beta, threshold = draw.tensor(n, 0, 1.1), draw.tensor(n, 0.3, 2)
    cell = snntorch.Leaky(beta, threshold, reset_mechanism=mechanism, reset_delay=delay)

    def step(x: Any) -> tuple[Any, States]:
        z, v = cell(x)
        return z, {"v": v}

    values = {"threshold": threshold, "reset": 0, "initial": 0, "beta": beta.clamp(0, 1)}
    return Neurons(dynamics("decay", LEAKY_RESETS[mechanism, delay]), values, step)


@case("snntorch", *OTHER_RESETS)
def snntorch_synaptic(draw: Draw, n: int, mechanism: str, delay: bool) -> Neurons:
    import snntorch

    alpha, beta, threshold = draw.tensor(n, 0, 1), draw.tensor(n, 0, 1.1), draw.tensor(n, 0.3, 2)
    cell = snntorch.Synaptic(alpha, beta, threshold, reset_mechanism=mechanism, reset_delay=delay)

    def step(x: Any) -> tuple[Any, States]:
        z, i, v = cell(x)
        return z, {"i": i, "v": v}

    values = {"threshold": threshold, "reset": 0, "initial": 0, "alpha": alpha, "beta": beta.clamp(0, 1)}
    return Neurons(dynamics("synaptic", OTHER_RESETS[mechanism, delay]), values, step, 0.5)


@case("snntorch", "none", "zero")
def snntorch_alpha(draw: Draw, n: int, mechanism: str) -> Neurons:
    import snntorch

    alpha, beta, threshold = draw.tensor(n, 0.5, 1), draw.tensor(n, 0, 0.25), draw.tensor(n, 0.3, 2)
    cell = snntorch.Alpha(alpha, beta, threshold, reset_mechanism=mechanism)
    gain = alpha.log() / (beta.log() - alpha.log()) + 1

    def step(x: Any) -> tuple[Any, States]:
        z, i, inhibition, v = cell(x)
        return z, {"i": i, "inhibition": inhibition, "v": v}

    values = {"threshold": threshold, "reset": 0, "initial": 0, "alpha": alpha, "beta": beta, "gain": gain}
    return Neurons(dynamics("alpha", Reset.NONE if mechanism == "none" else Reset.LATE_ALL), values, step)


@case("snntorch")
def snntorch_readout(draw: Draw, n: int) -> Neurons:
    """The membrane of Leaky without reset."""
    neurons = snntorch_leaky(draw, n, "none", True)
    inner = neurons.step

    def step(x: Any) -> tuple[Any, States]:
        _, state = inner(x)
        return state["v"], state

    neurons.step, neurons.dynamics = step, dynamics("decay", emits=Emits.VALUES)
    return neurons


# --- SpikingJelly: one Python number for all neurons


def spikingjelly(node: Any, seen: Callable[[Any], States]) -> Callable[[Any], tuple[Any, States]]:
    def step(x: Any) -> tuple[Any, States]:
        return node(x), seen(node)

    return step


def membrane(node: Any) -> States:
    return {"v": node.v}


def jelly_reset(draw: Draw, kind: str) -> tuple[float | None, Reset]:
    """v_reset for the simulator, and what it is here."""
    if kind == "soft":
        return None, Reset.SUBTRACT
    return (0.0 if kind == "zero" else draw.number(-0.5, 0.2)), Reset.VALUE


JELLY = ("zero", "hard", "soft")


@case("spikingjelly", *JELLY)
def spikingjelly_if(draw: Draw, n: int, kind: str) -> Neurons:
    from spikingjelly.activation_based.neuron import IFNode

    v, reset = jelly_reset(draw, kind)
    threshold = draw.number(0.3, 2)
    node = IFNode(threshold, v)
    values = {"threshold": threshold, "reset": v or 0, "initial": v or 0}
    return Neurons(dynamics("integrate", reset, at_least=True), values, spikingjelly(node, membrane), 0.5)


@case("spikingjelly", *((k, d) for k in JELLY for d in (True, False)))
def spikingjelly_lif(draw: Draw, n: int, kind: str, decay_input: bool) -> Neurons:
    from spikingjelly.activation_based.neuron import LIFNode

    v, reset = jelly_reset(draw, kind)
    threshold, tau = draw.number(0.3, 1), float(draw.steps(1, 32)[0])
    node = LIFNode(tau, decay_input, threshold, v)
    values = {"threshold": threshold, "reset": v or 0, "initial": v or 0, "tau": tau, "rest": v or 0}
    rule = dynamics("divide_all" if decay_input else "divide", reset, at_least=True)
    return Neurons(rule, values, spikingjelly(node, membrane), tau / 2 if decay_input else 0.5)


@case("spikingjelly", *((k, d) for k in JELLY for d in (True, False)))
def spikingjelly_parametric(draw: Draw, n: int, kind: str, decay_input: bool) -> Neurons:
    from spikingjelly.activation_based.neuron import ParametricLIFNode

    v, reset = jelly_reset(draw, kind)
    threshold, tau = draw.number(0.3, 1), 2.0 if draw.exact else draw.number(1.01, 20)  # 2: the rate is exactly 1/2
    node = ParametricLIFNode(tau, decay_input, threshold, v)
    values = {"threshold": threshold, "reset": v or 0, "initial": v or 0, "rest": v or 0, "rate": node.w.sigmoid()}
    rule = dynamics("approach_rest" if decay_input else "leak_rest", reset, at_least=True)
    return Neurons(rule, values, spikingjelly(node, membrane), tau / 2 if decay_input else 0.5)


@case("spikingjelly", *JELLY)
def spikingjelly_cubalif(draw: Draw, n: int, kind: str) -> Neurons:
    from spikingjelly.activation_based.neuron import CUBALIFNode

    v, reset = jelly_reset(draw, kind)
    threshold, alpha, beta = draw.number(0.3, 1), draw.number(0, 1), draw.number(0, 1)
    node = CUBALIFNode(alpha, beta, threshold, v)
    values = {"threshold": threshold, "reset": v or 0, "initial": v or 0, "alpha": alpha, "beta": beta}
    step = spikingjelly(node, lambda node: {"i": node.c, "v": node.v})
    return Neurons(dynamics("synaptic", reset, at_least=True), values, step, 0.5)


# --- sinabs


def sinabs_step(layer: Any) -> Callable[[Any], tuple[Any, States]]:
    def step(x: Any) -> tuple[Any, States]:
        sent = layer(x.reshape(1, 1, -1)).reshape(-1)
        state = {"v": layer.v_mem.reshape(-1)}
        return sent, state | ({"i": layer.i_syn.reshape(-1)} if getattr(layer, "i_syn", None) is not None else {})

    return step


def sinabs_kind(draw: Draw, n: int, spikes: str, floored: bool) -> tuple[Any, Any, dict[str, Any], dict[str, Any]]:
    """The threshold, arguments for the simulator, parameters and flags here."""
    from sinabs import activation

    threshold, floor = draw.tensor(n, 0.3, 2), draw.tensor(n, -1, 0.1)
    arguments = {"spike_threshold": threshold, "min_v_mem": floor if floored else None}
    flags: dict[str, Any] = {"floored": floored}
    if spikes == "multi":
        flags |= {"emits": Emits.COUNTS}
        arguments |= {"spike_fn": activation.MultiSpike}
    else:
        flags |= {"at_least": True, "reset": Reset.SUBTRACT if spikes == "single" else Reset.VALUE}
        arguments |= {"spike_fn": activation.SingleSpike}
        if spikes == "zero":
            arguments |= {"reset_fn": activation.MembraneReset()}
    values = {"threshold": threshold, "reset": floor if floored else 0, "initial": 0}
    return threshold, arguments, values, flags


SINABS = (("multi", False), ("multi", True), ("single", False), ("single", True), ("zero", False))


@case("sinabs", *SINABS)
def sinabs_iaf(draw: Draw, n: int, spikes: str, floored: bool) -> Neurons:
    from sinabs.layers import IAF

    _, arguments, values, flags = sinabs_kind(draw, n, spikes, floored)
    return Neurons(dynamics("integrate", **flags), values, sinabs_step(IAF(**arguments)))


@case("sinabs", *((*kind, s, norm) for kind in SINABS for s in (False, True) for norm in (True, False)))
def sinabs_lif(draw: Draw, n: int, spikes: str, floored: bool, synapse: bool, norm_input: bool) -> Neurons:
    from sinabs.layers import LIF

    _, arguments, values, flags = sinabs_kind(draw, n, spikes, floored)
    tau, tau_syn = draw.tensor(n, 1, 50), draw.tensor(n, 1, 20)
    layer = LIF(tau, tau_syn if synapse else None, norm_input=norm_input, train_alphas=draw.exact, **arguments)
    if draw.exact:
        layer.alpha_mem.copy_(draw.tensor(n, 0, 0.8))
        if synapse:
            layer.alpha_syn.copy_(draw.tensor(n, 0, 0.8))
    values["beta"] = layer.alpha_mem_calculated
    values["gain"] = 1 - values["beta"] if norm_input else 1
    rule = "decay_scaled"
    if synapse:
        values["alpha"], rule = layer.alpha_syn_calculated, "synaptic_scaled"
    elif not norm_input:
        del values["gain"]
        rule = "decay"
    return Neurons(dynamics(rule, **flags), values, sinabs_step(layer), 10.0 if norm_input else 1.0)


@case("sinabs", *((floored, norm) for floored in (False, True) for norm in (True, False)))
def sinabs_exp_leak(draw: Draw, n: int, floored: bool, norm_input: bool) -> Neurons:
    """A floor comes after the value that is sent."""
    from sinabs.layers import ExpLeak

    floor = draw.tensor(n, -1, 0.1)
    layer = ExpLeak(draw.tensor(n, 1, 50), min_v_mem=floor if floored else None, norm_input=norm_input)
    values = {"threshold": 1, "reset": floor if floored else 0, "initial": 0, "beta": layer.alpha_mem_calculated}
    if norm_input:
        values["gain"] = 1 - values["beta"]
    rule = dynamics("decay_scaled" if norm_input else "decay", emits=Emits.VALUES, floored=floored)
    return Neurons(rule, values, sinabs_step(layer))


# --- BindsNET


@case("bindsnet", True, False)
def bindsnet_diehl_and_cook(draw: Draw, n: int, learning: bool) -> Neurons:
    from bindsnet.network.nodes import DiehlAndCookNodes

    return bindsnet(draw, n, partial(DiehlAndCookNodes, one_spike=False), learning)


@case("bindsnet")
def bindsnet_lif(draw: Draw, n: int) -> Neurons:
    from bindsnet.network.nodes import LIFNodes

    return bindsnet(draw, n, LIFNodes, None)


def bindsnet(draw: Draw, n: int, kind: Callable[..., Any], learning: bool | None) -> Neurons:
    """``learning``: None for neurons whose threshold does not adapt. Reset and refractoriness are one number."""
    dt, period, reset = float(draw.rng.choice([1, 0.5])), int(draw.rng.integers(0, 8)), draw.number(-70, -60)
    nodes = kind(n=n, refrac=period, reset=reset)
    tensors = {"rest": draw.tensor(n, -70, -60), "tc_decay": draw.tensor(n, 5, 200)}
    tensors["thresh"] = tensors["rest"] + draw.tensor(n, 5, 15)
    if learning is not None:
        tensors |= {"theta_plus": draw.tensor(n, 0.01, 1), "tc_theta_decay": draw.tensor(n, 50, 1e4)}
        tensors |= {"theta": draw.tensor(n, 0, 5)}
    for name, value in tensors.items():
        setattr(nodes, name, value.clone())
    nodes.compute_decays(dt)
    if draw.exact:
        nodes.decay = draw.tensor(n, 0.3, 1)
        nodes.theta_decay = draw.tensor(n, 0.3, 1)
    nodes.set_batch_size(1)
    nodes.train(bool(learning))

    def step(x: Any) -> tuple[Any, States]:
        nodes.forward(x.reshape(1, -1))
        state = {"v": nodes.v[0], "refractory": (nodes.refrac_count[0] / dt).clamp(0)}
        return nodes.s[0].float(), state | ({"adapted": nodes.theta} if learning is not None else {})

    values = {"threshold": tensors["thresh"], "reset": reset, "initial": tensors["rest"], "rest": tensors["rest"]}
    values |= {"decay": nodes.decay, "period": period / dt, "step": 0, "fall": 1}
    adapted = {}
    if learning is not None:
        values |= {"step": tensors["theta_plus"], "fall": nodes.theta_decay}
        adapted = {"adapted": tensors["theta"].numpy()}
    return Neurons(dynamics("adaptive", Reset.VALUE, at_least=True), values, step, 10.0, bool(learning), adapted)


# --- the comparison


def needs(module: str) -> None:
    """sinabs and BindsNET want more than they use here, and say so only when they are imported."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        pytest.skip(f"{module} cannot be imported: {error}")


def arrays(values: dict[str, Any], n: int) -> dict[str, Floats]:
    """Parameters per neuron in float32, as a file has them."""
    return {k: np.broadcast_to(np.asarray(torch.as_tensor(v).detach(), np.float32), (n,)) for k, v in values.items()}


@dataclass
class Count:
    decisions: int = 0
    sent: int = 0
    ties: int = 0  # decisions that the other comparison would turn; for counts: nothing is left


def compare(neurons: Neurons, draw: Draw, n: int, steps: int, count: Count) -> None:
    """Fails at the first difference. Numbers are compared as numbers: 0 equals -0, which nothing here distinguishes."""
    rule, parameters = neurons.dynamics, arrays(neurons.parameters, n)
    population = Population("neurons", (n,), rule, {k: np.array(v) for k, v in parameters.items()}, output=True)
    Network([population], []).check()
    other = replace(rule, at_least=not rule.at_least)
    state = rule.initial(parameters, n) | neurons.before
    for t in range(steps):
        x = draw.currents(n, neurons.scale)
        theirs, seen = neurons.step(torch.from_numpy(x.copy()))
        turned = other.settle(parameters, dict(state), x, learning=neurons.learning) if draw.exact else None
        ours = rule.settle(parameters, state, x, learning=neurons.learning)
        equal(f"step {t}: sent", ours, theirs)
        for name, value in seen.items():
            equal(f"step {t}: {name}", state[name], value)
        count.decisions += n
        count.sent += int(np.count_nonzero(ours))
        if turned is not None:
            tied = (ours > 0) & (state["v"] == 0) if rule.emits == Emits.COUNTS else turned != ours
            count.ties += int(np.count_nonzero(tied))


def equal(what: str, ours: Floats, theirs: Any) -> None:
    theirs = np.broadcast_to(np.asarray(theirs.detach()), ours.shape)
    assert theirs.dtype == np.float32, f"{what}: the simulator computes in {theirs.dtype}"
    assert np.isfinite(ours).all()
    different = np.flatnonzero(ours != theirs)
    if different.size:
        i = different[0]
        pytest.fail(f"{what}: {different.size} of {ours.size} differ; neuron {i}: {ours[i]!r}, simulator {theirs[i]!r}")


def check(name: str, draw: Draw, decisions: int, steps: int, parts: int) -> Count:
    """``parts``: how often new parameters are drawn."""
    module, build = CASES[name]
    needs(module)
    n = decisions // (steps * parts) + 3  # vectors of neurons have a tail, too
    count = Count()
    with torch.no_grad():
        for _ in range(parts):
            neurons = build(draw, n)
            compare(neurons, draw, n, steps, count)
    share = count.sent / count.decisions
    print(f"{name}: {count.decisions} decisions, {share:.1%} sent, {count.ties} ties, 0 differ")
    assert neurons.dynamics.emits == Emits.VALUES or 0.01 < share < 0.9
    return count
