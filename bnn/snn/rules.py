# SPDX-License-Identifier: Apache-2.0
"""Update rules of spiking neurons: what a population does with its currents in one step.

A rule is one function from (parameters, state, current) to the new membrane; a reset says what a spike does to it, and
when.  Together with the comparison they are what simulators disagree about.  Every operation here is one float32
operation, in the order that the runtime (csrc/snn/neurons.c) and the simulator named in the rule's text have.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass

import numpy as np

from .._types import Array, Floats

Values = Mapping[str, Floats]  # broadcast against the population
State = MutableMapping[str, Floats]
ZERO, ONE = np.float32(0), np.float32(1)
MOST_SPIKES = np.float32(2**24)  # of a neuron in one step


class Reset(enum.IntEnum):
    """What a spike does to the membrane v, by its number in the file; t is the threshold."""

    NONE = 0
    VALUE = 1  # v = reset, in the step of the spike
    SUBTRACT = 2  # v = v - t, in the step of the spike
    LATE_ZERO = 3  # v = 0 before the next step's charge: snnTorch's Leaky, "zero"
    LATE_SUBTRACT = 4  # v = v - t after the next step's charge: snnTorch, "subtract"
    LATE_DISCARD = 5  # v = 0 after the next step's charge, which is lost: snnTorch's Synaptic and RSynaptic, "zero"
    # snnTorch's Leaky, "subtract" with reset_delay=False: a late subtraction, corrected where this step's spike differs
    # from the last one's.
    CORRECTED_SUBTRACT = 6
    LATE_ALL = 7  # v and all currents = 0 after the next step's charge: snnTorch's Alpha, "zero"


LATE = (Reset.LATE_ZERO, Reset.LATE_SUBTRACT, Reset.LATE_DISCARD, Reset.CORRECTED_SUBTRACT, Reset.LATE_ALL)


class Emits(enum.IntEnum):
    """What a population sends, by its number in the file."""

    SPIKES = 0  # 0 or 1
    COUNTS = 1  # several spikes in a step: the whole part of v / t, which is then subtracted (sinabs)
    VALUES = 2  # the membrane itself
    CHANGES = 3  # of the level, a whole number: positive, or negative where spikes are taken back


@dataclass(frozen=True)
class NeuronRule:
    """One rule.

    ``parameters`` and ``states`` are float32 arrays by name; ``charge(p, s, x)`` returns the new membrane (float32, the
    population's shape) from the current ``x``, and updates the states other than ``v``.  A ``recurrent`` rule has a
    second current, ``charge(p, s, x, own)``: the sum of what the population sends to itself, apart from the others,
    because its simulator adds it later.  ``skips``: after a step in which a neuron sent nothing, a step without current
    leaves its state as it is, to the bit, and sends nothing; the runtime leaves such steps out.  ``event``: of an event
    population (csrc/snn/events.h), which changes only where something arrives.
    """

    name: str
    opcode: int
    parameters: tuple[str, ...]
    states: tuple[str, ...]
    charge: Callable[..., Floats]
    text: str
    recurrent: bool = False
    skips: bool = False
    event: bool = False


RULES: dict[str, NeuronRule] = {}
#: Of event populations.
EVENT_RULES: dict[str, NeuronRule] = {}
BY_OPCODE: dict[int, NeuronRule] = {}
#: Parameters that every rule has, in the order of the file; a rule's own follow.
COMMON = ("threshold", "reset", "initial")


def _rule(
    name: str,
    opcode: int,
    parameters: str = "",
    states: str = "v",
    recurrent: bool = False,
    skips: bool = False,
    event: bool = False,
) -> Callable[[Callable[..., Floats]], None]:
    def add(charge: Callable[..., Floats]) -> None:
        text = " ".join((charge.__doc__ or "").split())
        names = tuple(parameters.split()), tuple(states.split())
        rule = NeuronRule(name, opcode, *names, charge, text, recurrent, skips, event)
        if not text or name in RULES or name in EVENT_RULES or opcode in BY_OPCODE:
            raise AssertionError(f"rule {name}: has no text, or its name or opcode is taken")
        (EVENT_RULES if event else RULES)[name] = BY_OPCODE[opcode] = rule

    return add


@_rule("relay", 1, states="", skips=True)
def _relay(p: Values, s: State, x: Floats) -> Floats:
    """v = x: no state. With spikes, a threshold; with values, sums that are passed on (pooling)."""
    return x


@_rule("integrate", 2, skips=True)
def _integrate(p: Values, s: State, x: Floats) -> Floats:
    """v = v + x: integrate-and-fire of Norse, SpikingJelly and sinabs."""
    return s["v"] + x


@_rule("approach", 3, "rate leak")
def _approach(p: Values, s: State, x: Floats) -> Floats:
    """v = v + rate * ((x + leak) - v), rate = dt / tau: Norse's LIFBox."""
    return s["v"] + p["rate"] * ((x + p["leak"]) - s["v"])


@_rule("decay", 4, "beta")
def _decay(p: Values, s: State, x: Floats) -> Floats:
    """v = beta * v + x: snnTorch's Leaky, sinabs' LIF without normalization."""
    return p["beta"] * s["v"] + x


@_rule("decay_scaled", 5, "beta gain")
def _decay_scaled(p: Values, s: State, x: Floats) -> Floats:
    """v = beta * v + gain * x: sinabs' LIF and ExpLeak, gain = 1 - beta."""
    return p["beta"] * s["v"] + p["gain"] * x


@_rule("divide_all", 6, "tau rest")
def _divide_all(p: Values, s: State, x: Floats) -> Floats:
    """v = v + (x - (v - rest)) / tau, tau in steps: SpikingJelly's LIF with decay_input."""
    return s["v"] + np.divide(x - (s["v"] - p["rest"]), p["tau"])


@_rule("divide", 7, "tau rest")
def _divide(p: Values, s: State, x: Floats) -> Floats:
    """v = (v - (v - rest) / tau) + x, tau in steps: SpikingJelly's LIF without decay_input."""
    return (s["v"] - (s["v"] - p["rest"]) / p["tau"]) + x


@_rule("synaptic", 8, "alpha beta", "v i")
def _synaptic(p: Values, s: State, x: Floats) -> Floats:
    """i = alpha * i + x; v = beta * v + i: snnTorch's Synaptic, SpikingJelly's CUBALIF."""
    s["i"] = p["alpha"] * s["i"] + x
    return p["beta"] * s["v"] + s["i"]


@_rule("synaptic_approach", 9, "alpha rate leak weight resistance", "v i")
def _synaptic_approach(p: Values, s: State, x: Floats) -> Floats:
    """i = i + alpha * ((leak - i) + weight * x); v = v + rate * ((resistance * i + leak) - v), alpha = dt / tau_syn,
    rate = dt / tau_mem: Norse's CubaLIF. i begins with leak."""
    s["i"] = s["i"] + p["alpha"] * ((p["leak"] - s["i"]) + p["weight"] * x)
    return s["v"] + p["rate"] * ((p["resistance"] * s["i"] + p["leak"]) - s["v"])


@_rule("synaptic_scaled", 10, "alpha beta gain", "v i")
def _synaptic_scaled(p: Values, s: State, x: Floats) -> Floats:
    """i = alpha * (i + x); v = beta * v + gain * i: sinabs' LIF with a synaptic time constant."""
    s["i"] = p["alpha"] * (s["i"] + x)
    return p["beta"] * s["v"] + p["gain"] * s["i"]


@_rule("adaptive", 11, "decay rest period step fall", "v refractory adapted")
def _adaptive(p: Values, s: State, x: Floats) -> Floats:
    """v = (v - rest) * decay + rest, + x unless refractory: BindsNET's LIF, and its neuron of Diehl & Cook (2015).

    A spike begins ``period`` steps of refractoriness.  While learning, what is added to the threshold is multiplied by
    ``fall`` in each step and rises by ``step`` with each spike.
    """
    v: Floats = (s["v"] - p["rest"]) * p["decay"] + p["rest"]
    v = v + np.where(s["refractory"] <= 0, x, ZERO)
    s["refractory"] = np.maximum(s["refractory"] - ONE, ZERO)
    return v


@_rule("approach_rest", 12, "rate rest")
def _approach_rest(p: Values, s: State, x: Floats) -> Floats:
    """v = v + rate * (x - (v - rest)): Norse's LIBox, SpikingJelly's ParametricLIF with decay_input."""
    return s["v"] + p["rate"] * (x - (s["v"] - p["rest"]))


@_rule("leak_rest", 13, "rate rest")
def _leak_rest(p: Values, s: State, x: Floats) -> Floats:
    """v = (v - rate * (v - rest)) + x: SpikingJelly's ParametricLIF without decay_input."""
    return (s["v"] - p["rate"] * (s["v"] - p["rest"])) + x


@_rule("decay_recurrent", 14, "beta", recurrent=True)
def _decay_recurrent(p: Values, s: State, x: Floats, own: Floats) -> Floats:
    """v = (beta * v + x) + own: snnTorch's RLeaky."""
    return (p["beta"] * s["v"] + x) + own


@_rule("synaptic_recurrent", 15, "alpha beta", "v i", recurrent=True)
def _synaptic_recurrent(p: Values, s: State, x: Floats, own: Floats) -> Floats:
    """i = (alpha * i + x) + own; v = beta * v + i: snnTorch's RSynaptic."""
    s["i"] = (p["alpha"] * s["i"] + x) + own
    return p["beta"] * s["v"] + s["i"]


@_rule("take_back", 16, "offset most", "v level", skips=True)
def _take_back(p: Values, s: State, x: Floats) -> Floats:
    """v = v + x; level = floor((v + offset) / threshold), from 0 to most; sends the level's change: a counter whose
    level follows its input, in whatever order that arrives."""
    return s["v"] + x


@_rule("synaptic_jump", 17, "alpha rate rest", "v i")
def _synaptic_jump(p: Values, s: State, x: Floats) -> Floats:
    """i = i + x; v = v + rate * ((rest - v) + i); i = i - alpha * i, alpha = dt / tau_syn, rate = dt / tau_mem: Norse's
    LIFCell."""
    i = s["i"] + x
    s["i"] = i - p["alpha"] * i
    return s["v"] + p["rate"] * ((p["rest"] - s["v"]) + i)


@_rule("counter", 18, "sign lowest", "v level", event=True)
def _counter(p: Values, s: State, x: Floats) -> Floats:
    """v = v + x, or the highest sum in its window, or of lowest the lowest; level = how many cuts of its channel are <=
    v * sign; sends the level's change: bits and numbers of several bits."""
    return s["v"] + x


@_rule("sum", 19, event=True)
def _sum(p: Values, s: State, x: Floats) -> Floats:
    """v = v + x: counters look at it, or it is a result; it sends v."""
    return s["v"] + x


@_rule("any", 20, "every", "level", event=True)
def _any(p: Values, s: State, x: Floats) -> Floats:
    """level = 1 while any bit of its window is set, or of every all; sends the level's change: max-pools of bits."""
    return x


@_rule("wire", 21, states="level", event=True)
def _wire(p: Values, s: State, x: Floats) -> Floats:
    """level = that of one source, or initial without a source; sends the level's change: slices, concatenations, pads
    and other moves."""
    return x


@_rule("synaptic_jump_recurrent", 22, "alpha rate rest", "v i", recurrent=True)
def _synaptic_jump_recurrent(p: Values, s: State, x: Floats, own: Floats) -> Floats:
    """i = (i + x) + own; v = v + rate * ((rest - v) + i); i = i - alpha * i: Norse's LIFRecurrentCell."""
    i = (s["i"] + x) + own
    s["i"] = i - p["alpha"] * i
    return s["v"] + p["rate"] * ((p["rest"] - s["v"]) + i)


@_rule("alpha", 23, "alpha beta gain", "v i inhibition")
def _alpha(p: Values, s: State, x: Floats) -> Floats:
    """i = alpha * i + x; inhibition = beta * inhibition - x; v = gain * (i + inhibition): snnTorch's Alpha."""
    s["i"] = p["alpha"] * s["i"] + x
    s["inhibition"] = p["beta"] * s["inhibition"] - x
    return p["gain"] * (s["i"] + s["inhibition"])


@_rule("integrate_rectified", 24)
def _integrate_rectified(p: Values, s: State, x: Floats) -> Floats:
    """v = v + max(x, 0): Nengo's SpikingRectifiedLinear, x in spikes per step."""
    return s["v"] + np.maximum(x, ZERO)


@_rule("refractory_lif", 25, "rate period", "v refractory")
def _refractory_lif(p: Values, s: State, x: Floats) -> Floats:
    """v = v + (1 - exp(-rate * part)) * (x - v), part of the step is not refractory, rate = dt / tau: Nengo's LIF.

    The exact solution of tau * dv/dt = x - v.  A spike begins ``period`` steps of refractoriness at the moment within
    the step at which the membrane reached the threshold; ``refractory`` counts down by 1 in each step, below 0 too.
    """
    s["refractory"] = s["refractory"] - ONE
    part = ONE - s["refractory"]
    part = np.where(part > 0, np.where(part < 1, part, ONE), ZERO) * -p["rate"]
    return s["v"] - (x - s["v"]) * (part * _polynomial(part, _EXP))


@_rule("lsnn", 26, "alpha rate rest fade rise", "v i b")
def _lsnn(p: Values, s: State, x: Floats) -> Floats:
    """v = v + rate * ((rest - v) + i); i = (i - alpha * i) + x; b = b + fade * (threshold - b), fade = dt / tau_adapt:
    Norse's LSNNCell. It fires above b, which each spike raises by `rise`."""
    v: Floats = s["v"] + p["rate"] * ((p["rest"] - s["v"]) + s["i"])
    s["i"] = (s["i"] - p["alpha"] * s["i"]) + x
    return v


@_rule("lsnn_recurrent", 27, "alpha rate rest fade rise", "v i b", recurrent=True)
def _lsnn_recurrent(p: Values, s: State, x: Floats, own: Floats) -> Floats:
    """as lsnn; i = ((i - alpha * i) + x) + own: Norse's LSNNRecurrentCell."""
    v: Floats = s["v"] + p["rate"] * ((p["rest"] - s["v"]) + s["i"])
    s["i"] = ((s["i"] - p["alpha"] * s["i"]) + x) + own
    return v


#: Of rates up to 1, what these leave out is below float32's rounding: (1 - exp(-z)) / z of -z, artanh(s) / s of s * s.
_EXP = [np.float32(1 / math.factorial(k)) for k in range(12, 0, -1)]
_LOG = [np.float32(1 / k) for k in range(23, 0, -2)]


def _polynomial(x: Floats, factors: list[np.float32]) -> Floats:
    total: Floats = np.zeros_like(x)
    for factor in factors:
        total = total * x + factor
    return total


def _moment(p: Values, v: Floats, x: Floats) -> Floats:
    """When the membrane reached the threshold, 0 to 1 step after the step's beginning: 1 + log(1 - q) / rate,
    q = (v - threshold) / (x - threshold); the logarithm is -2 artanh(s), s = q / (2 - q)."""
    q = (v - p["threshold"]) / (x - p["threshold"])
    s = np.where(q < 1, q / (np.float32(2) - q), ONE)
    moment = ONE - (s + s) * _polynomial(s * s, _LOG) / p["rate"]
    return np.where(moment > 0, moment, ZERO)


def overflow_text(name: str, step: int) -> str:
    """That the membranes of a population are not finite."""
    return (
        f"population {name}: found a membrane that is not finite in step {step}, expected numbers below 3.4e38: the "
        "network is not stable (dt beside its time constants, weights that feed back), or its inputs are too large"
    )


@dataclass(frozen=True)
class Dynamics:
    """A rule with all that a population adds to it.

    ``at_least``: a neuron fires where v >= threshold; otherwise where v > threshold.  ``floored``: at the end of a step
    v = max(v - reset, 0) + reset, so the parameter ``reset`` is the lowest membrane (sinabs); values are sent before.
    ``winner``: of the neurons that fire in a step only that with the highest membrane above its threshold sends its
    spike (the first of equals); the others are reset, too.
    """

    rule: NeuronRule
    reset: Reset = Reset.NONE
    emits: Emits = Emits.SPIKES
    at_least: bool = False
    floored: bool = False
    winner: bool = False

    def initial(self, p: Values, size: int) -> dict[str, Floats]:
        """The state before the first step, of ``size`` neurons."""
        state = {name: np.zeros(size, np.float32) for name in self.rule.states}
        if "v" in state:
            state["v"] = (np.zeros(size, np.float32) + p["initial"]).astype(np.float32)
        if "i" in state and "leak" in p:
            state["i"] = state["i"] + p["leak"]
        if "b" in state:
            state["b"] = state["b"] + p["threshold"]
        return state

    def settle(
        self, p: Values, s: State, x: Floats, own: Floats | None = None, *, learning: bool = False,
        charged: Callable[[Floats], object] = lambda v: None,
    ) -> Floats:  # fmt: skip
        """One step: takes the currents (float32, one per neuron; ``own`` only for a recurrent rule), updates the state,
        returns what is sent (float32); ``charged`` is told the new membranes, before what a spike does to them."""
        currents = (x,) if own is None else (x, own)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            sent = self._settle(p, s, currents, learning, charged)
            if self.floored:
                s["v"] = np.maximum(s["v"] - p["reset"], ZERO) + p["reset"]
            return sent

    def _settle(
        self, p: Values, s: State, currents: tuple[Floats, ...], learning: bool, charged: Callable[[Floats], object]
    ) -> Floats:
        asked = self.late(p, s)
        late = np.zeros(1, np.bool_) if asked is None else asked
        if self.reset == Reset.LATE_ZERO:
            s["v"] = np.where(late, ZERO, s["v"])
        if "adapted" in s and learning:
            s["adapted"] = s["adapted"] * p["fall"]
        threshold = self.compared(p, s)
        if "b" in s:
            s["b"] = threshold
        v = self.rule.charge(p, s, *currents)
        charged(v)
        if self.reset in (Reset.LATE_SUBTRACT, Reset.CORRECTED_SUBTRACT):
            v = np.where(late, v - threshold, v)
        elif self.reset in (Reset.LATE_DISCARD, Reset.LATE_ALL):
            v = np.where(late, ZERO, v)
            for name in {"i", "inhibition"}.intersection(s) if self.reset == Reset.LATE_ALL else ():
                s[name] = np.where(late, ZERO, s[name])
        if self.emits == Emits.VALUES:
            s["v"] = v
            return v
        if self.emits == Emits.COUNTS:
            return self._count(threshold, s, v)
        if self.emits == Emits.CHANGES:
            before, s["level"], s["v"] = s["level"], self._level(p, v), v
            return s["level"] - before
        fired = self._fires(v, threshold)
        sent = fired
        if self.winner and fired.any():
            excess = np.where(fired, v - threshold, -np.inf)
            sent = np.arange(len(v)) == int(np.argmax(excess))
        if self.rule.name == "refractory_lif":
            period = p["period"] + _moment(p, v, currents[0])
        elif "refractory" in s:
            period = p["period"]
        if self.reset == Reset.VALUE:
            v = np.where(fired, p["reset"], v)
        elif self.reset == Reset.SUBTRACT:
            v = np.where(fired, v - threshold, v)
        elif self.reset == Reset.CORRECTED_SUBTRACT:
            v = np.where(fired & ~late, v - threshold, np.where(late & ~fired, v + threshold, v))
        if "refractory" in s:
            s["refractory"] = np.where(fired, period, s["refractory"])
        if "adapted" in s and learning:
            s["adapted"] = np.where(fired, s["adapted"] + p["step"], s["adapted"])
        if "b" in s:
            s["b"] = np.where(fired, s["b"] + p["rise"], s["b"])
        s["v"] = v
        return sent.astype(np.float32)

    def compared(self, p: Values, s: State) -> Floats:
        """The threshold of a step that begins with this state, except for late resets."""
        if "b" in s:
            return np.asarray(s["b"] + p["fade"] * (p["threshold"] - s["b"]))
        return np.asarray(p["threshold"] + s["adapted"] if "adapted" in s else p["threshold"])

    def late(self, p: Values, s: State) -> Array | None:
        """The neurons for which a late reset is due in this step; None if the rule has no late reset."""
        if self.reset not in LATE:
            return None
        return self._fires(s["v"], p["threshold"])

    def _fires(self, v: Floats, threshold: Floats) -> Array:
        return np.asarray(v >= threshold if self.at_least else v > threshold)

    @staticmethod
    def _level(p: Values, v: Floats) -> Floats:
        share = (v + p["offset"]) / p["threshold"]
        level = np.where(share > 0, np.where(share < p["most"], np.trunc(share), p["most"]), ZERO)
        return level.astype(np.float32)

    def _count(self, threshold: Floats, s: State, v: Floats) -> Floats:
        """Counts are at most MOST_SPIKES, so that each is a float32 and an int32."""
        share = v / threshold
        count = np.where(v > 0, np.where(share < MOST_SPIKES, np.trunc(share), MOST_SPIKES), ZERO).astype(np.float32)
        s["v"] = v - count * threshold
        return count
