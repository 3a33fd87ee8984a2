# SPDX-License-Identifier: Apache-2.0
"""A network of spiking neurons that lives in discrete time: populations, and projections between them.

In each step the populations settle in their order.  A population's currents are its bias, then, projection by
projection in their order, the rows of weights of the sources that sent something, from the lowest source to the
highest: each addition is one float32 operation.  A projection of whole weights sums in 32-bit integers and adds sum *
scale; they wrap around, which only large numbers of spikes in one step can cause, never single spikes.
A projection with delay d reads what its source sent d steps before; one from a later population, or from the population
itself, has a delay.  Where the rule is recurrent, projections from the population to itself sum apart, from 0.

Neurons are numbered row-major over (height, width, channels): the channels of a place are neighbours.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_type_hints

import numpy as np

from .._types import Array, Floats
from ..errors import CompileError
from .learning import Feedback, Learning
from .rules import BY_OPCODE, COMMON, LATE, MOST_SPIKES, RULES, Dynamics, Emits, NeuronRule, Reset

#: The simulator that a converted network names: its input takes an image once, as whole numbers.
CONVERTED = "bnn"
#: Simulators whose time constants are steps: a dt of 1 s in a file of theirs stands for a step, not for a time.
TIMELESS = ("sinabs",)

Shape = tuple[int, ...]
Kind = Literal["dense", "conv", "diagonal", "window", "wires"]

#: Limits of a file; see docs/reference/snn-format.md.
MOST_NEURONS = 2**24  # of one population
MOST_POPULATIONS = 4096
MOST_PROJECTIONS = 16384
MOST_DELAY = 2**16  # steps
MOST_KERNEL = 2**12
MOST_SECONDS = 1e6  # of a step
MOST_LEVELS = 255  # of an event population, above 0


@dataclass(eq=False)
class Population:
    """Neurons that share a rule.

    ``shape``: (h, w, c), (w, c) or (c,).  ``dynamics`` is None for an input, which sends what it is given: ``emits``
    says what that is.  ``parameters`` by name, float32, with one element, one per channel (c,), or one per neuron (n,);
    ``bias`` likewise, and ``adapted``, what an adapting threshold starts with beyond ``threshold``.

    Of an event population: ``steps``, the highest level (1: bits); ``cuts`` (channels * steps,), those of a counter,
    which rise; ``origin``, the op of a .bnn that it stands for, plus one.
    """

    name: str
    shape: Shape
    dynamics: Dynamics | None = None
    parameters: dict[str, Floats] = field(default_factory=dict)
    bias: Floats = field(default_factory=lambda: np.zeros(1, np.float32))
    output: bool = False
    input_emits: Emits = Emits.SPIKES
    adapted: Floats = field(default_factory=lambda: np.zeros(1, np.float32))
    steps: int = 0
    cuts: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    origin: int = 0

    @property
    def size(self) -> int:
        return math.prod(map(int, self.shape))

    @property
    def channels(self) -> int:
        return self.shape[-1]

    @property
    def emits(self) -> Emits:
        return self.dynamics.emits if self.dynamics else self.input_emits

    @property
    def grid(self) -> tuple[int, int, int]:
        """(h, w, c)"""
        h, w, c = (1, 1, 1, *self.shape)[-3:]
        return h, w, c

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return (*COMMON, *self.dynamics.rule.parameters) if self.dynamics else ()

    def per_neuron(self, value: Floats) -> Floats:
        """(n,): one element per neuron."""
        return cycled(np.asarray(value, np.float32), self.size)

    @property
    def rule(self) -> str:
        """Its rule's name; of an input "input"."""
        return self.dynamics.rule.name if self.dynamics else "input"

    @property
    def event(self) -> bool:
        """Whether it is an event population."""
        return self.dynamics.rule.event if self.dynamics else self.steps > 0

    @property
    def adapts(self) -> bool:
        """Whether its threshold does, while a run learns."""
        return self.dynamics is not None and "adapted" in self.dynamics.rule.states

    def values(self) -> dict[str, Floats]:
        """All parameters per neuron."""
        return {name: self.per_neuron(self.parameters[name]) for name in self.parameter_names}


@dataclass(eq=False)
class Projection:
    """Weights from one population to another (their places in the network).

    ``weights``: float32, or int8 with ``scale``, or instead with ``scales`` of the targets: as a population's bias,
    of a convolution one per channel.  dense: (sources, targets).  conv: (source channels, kernel h, kernel
    w, target channels of the group).  diagonal: from each neuron to that of the same number: one element, (c,) or (n,).
    ``mask``: the sources that take part (n,), bool; None: all.  ``bias``: as a population's, but only from step
    ``delay`` on: what a recurrent connection adds once there was a previous step.  Among own currents of a recurrent
    rule it is added in every step, as in snnTorch.  ``learning``: how dense float32 weights from neurons that send
    single spikes change while a run learns.

    window: without weights: the highest of what a target's window of the sources sends, counts or values, channel by
    channel.

    Between event populations: conv of float32, or of int8 from -1 to 1 with a scale of 2; window; wires: ``weights``
    are the sources' numbers, int32 (targets,), -1 where there is none.  ``origin``: as a population's.
    """

    source: int
    target: int
    kind: Kind
    weights: Array
    scale: float = 1.0
    delay: int = 0
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)  # rows above, columns on the left
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    window: tuple[int, int] = (0, 0)  # rows, columns of a window
    mask: Array | None = None
    bias: Floats | None = None
    name: str = ""
    learning: Learning | Feedback | None = None
    origin: int = 0
    scales: Floats | None = None

    @property
    def whole(self) -> bool:
        """Whether sums are integers."""
        return bool(self.weights.dtype == np.int8)

    def real_weights(self, target: Population) -> Array:
        """Weights times their scales, float64; ``target``: the population."""
        weights = self.weights.astype(np.float64) * self.scale
        if self.scales is None:
            return weights
        if self.kind == "conv":
            sources, width = weights.shape[0], weights.shape[3]
            group = np.arange(sources) // (sources // self.groups)
            return np.asarray(weights * cycled(self.scales, target.channels).reshape(-1, width)[group][:, None, None])
        if self.kind == "diagonal":
            weights = cycled(weights, target.size)
        return np.asarray(weights * target.per_neuron(self.scales))


@dataclass(eq=False)
class Network:
    """Populations in the order in which they settle, and projections.

    ``dt``: seconds of a step, 0 if nobody said.  ``simulator``: whose rules these are.  ``channels_first``: in the
    source the channels of a population come first.
    """

    populations: list[Population]
    projections: list[Projection]
    dt: float = 0.0
    simulator: str = ""
    channels_first: bool = True

    def into(self, target: int) -> list[Projection]:
        return [p for p in self.projections if p.target == target]

    @property
    def inputs(self) -> list[int]:
        return [i for i, p in enumerate(self.populations) if p.dynamics is None]

    @property
    def outputs(self) -> list[int]:
        return [i for i, p in enumerate(self.populations) if p.output]

    def check(self) -> Network:
        """Raise CompileError, naming what is wrong, unless this can be written and run."""
        _check_types(self, "network")
        for i, population in enumerate(self.populations):
            _check_types(population, f"population {i}")
        for i, projection in enumerate(self.projections):
            _check_types(projection, f"projection {i}")
        if not 0 <= self.dt <= MOST_SECONDS:
            raise CompileError(f"network: dt: found {self.dt}, expected seconds from 0 to {MOST_SECONDS:g}")
        if not 1 <= len(self.populations) <= MOST_POPULATIONS:
            raise CompileError(f"network: found {len(self.populations)} populations, expected 1 to {MOST_POPULATIONS}")
        if len(self.projections) > MOST_PROJECTIONS:
            raise CompileError(
                f"network: found {len(self.projections)} projections, expected at most {MOST_PROJECTIONS}"
            )
        if not self.outputs:
            raise CompileError("network: found no output, expected at least one")
        for population in self.populations:
            _check_population(population)
        names = [p.name for p in self.populations]
        if len(set(names)) < len(names):
            twice = max(names, key=names.count)
            raise CompileError(
                f"network: found {names.count(twice)} populations called '{twice}', expected one; rename one"
            )
        for i, projection in enumerate(self.projections):
            _check_projection(self, projection, projection.name or f"projection {i}")
        return self


def cycled(values: Array, size: int) -> Array:
    """(size,): the values one after the other, from the first again where they end; np.resize takes many times as long
    for one value."""
    values = values.reshape(-1)
    return np.array(np.broadcast_to(values, (-(-size // values.size), values.size))).reshape(-1)[:size]


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_real(value: object) -> bool:
    """Whether it is a number within float's range, or infinite, as bounds may be."""
    if isinstance(value, (float, np.floating)):
        return True
    return _is_whole(value) and abs(value) < 2**1023  # type: ignore[arg-type]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _is_list(values: object, kind: type) -> bool:
    return isinstance(values, (list, tuple)) and all(isinstance(value, kind) for value in values)


def _is_a(kind: type) -> Callable[[object], bool]:
    return lambda v: isinstance(v, kind)


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray)


#: By the type of a field, what its value must be, as a test and in words.
_TYPES: dict[Any, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda v: isinstance(v, (bool, np.bool_)), "True or False"),
    int: (_is_whole, "a whole number"),
    float: (_is_real, "a number"),
    str: (_is_text, "text, of characters that UTF-8 has"),
    Kind: (lambda v: isinstance(v, str) and v in get_args(Kind), f"one of {', '.join(get_args(Kind))}"),
    Shape: (lambda v: isinstance(v, (tuple, list)) and all(map(_is_whole, v)), "whole numbers"),
    tuple[int, int]: (
        lambda v: isinstance(v, (tuple, list)) and len(v) == 2 and all(map(_is_whole, v)),
        "two whole numbers: of rows, of columns",
    ),
    NeuronRule: (_is_a(NeuronRule), f"one of RULES: {', '.join(RULES)}"),
    Reset: (_is_a(Reset), "one of Reset"),
    Emits: (_is_a(Emits), "one of Emits"),
    dict[str, Floats]: (lambda v: isinstance(v, dict) and all(map(_is_array, v.values())), "NumPy arrays by name"),
    list[Population]: (lambda v: _is_list(v, Population), "a list of Population"),
    list[Projection]: (lambda v: _is_list(v, Projection), "a list of Projection"),
    Dynamics | None: (lambda v: v is None or isinstance(v, Dynamics), "Dynamics, or None of an input"),
    Learning | Feedback | None: (
        lambda v: v is None or isinstance(v, (Learning, Feedback)), "Learning, Feedback or None"
    ),
    **dict.fromkeys((Array, Floats), (_is_array, "a NumPy array")),
    **dict.fromkeys((Array | None, Floats | None), (lambda v: v is None or _is_array(v), "a NumPy array or None")),
}  # fmt: skip
_FIELDS = {kind: get_type_hints(kind) for kind in (Network, Population, Dynamics, Projection, Learning, Feedback)}


def _check_types(item: object, where: str) -> None:
    """Raise CompileError for a field of the wrong type, here and in what the item consists of."""
    fields = next(fields for kind, fields in _FIELDS.items() if isinstance(item, kind))
    for name, field_type in fields.items():
        value = getattr(item, name)
        right, expected = _TYPES[field_type]
        if not right(value):
            raise CompileError(f"{where}: {name}: found {reprlib.repr(value)}, expected {expected}")
        if isinstance(value, (Dynamics, Learning, Feedback)):
            _check_types(value, f"{where}: {name}")


def _check_population(p: Population) -> None:
    if not 1 <= len(p.shape) <= 3 or min(p.shape) < 1 or p.size > MOST_NEURONS:
        raise CompileError(
            f"{p.name}: found shape {p.shape}, expected 1 to 3 dimensions, at most {MOST_NEURONS} neurons"
        )
    if p.dynamics is not None:
        _check_dynamics(p, p.dynamics)
    for name, value in {"bias": p.bias, "adapted": p.adapted, **({} if p.dynamics is None else p.parameters)}.items():
        if value.dtype != np.float32 or value.ndim != 1 or value.size not in (1, p.channels, p.size):
            raise CompileError(
                f"{p.name}: {name}: found {value.dtype} of shape {value.shape}, expected float32 of 1, {p.channels} "
                f"(channels) or {p.size} (neurons) elements"
            )
        if not np.isfinite(value).all():
            raise CompileError(f"{p.name}: {name}: found a value that is not finite")
    if not p.adapts and p.adapted.any():
        raise CompileError(f"{p.name}: adapted: found a value that is not 0 of a threshold that does not adapt")
    if p.event and not 1 <= p.steps <= MOST_LEVELS:
        raise CompileError(f"{p.name}: found {p.steps} levels above 0, expected 1 to {MOST_LEVELS}")
    if p.dynamics is not None:
        _check_parameters(p, p.dynamics)


def _check_dynamics(p: Population, d: Dynamics) -> None:
    """What cannot go together."""
    if BY_OPCODE.get(d.rule.opcode) is not d.rule:
        names = ", ".join(rule.name for rule in BY_OPCODE.values())
        raise CompileError(f"{p.name}: found the rule {d.rule.name}, expected one of {names}")
    if d.emits != Emits.SPIKES and (d.reset != Reset.NONE or d.at_least or d.winner):
        raise CompileError(f"{p.name}: found a reset, comparison or winner, expected none without single spikes")
    if (d.emits == Emits.CHANGES) != (d.rule.name in ("take_back", "counter", "any", "wire")):
        raise CompileError(
            f"{p.name}: found the rule {d.rule.name} that sends {d.emits.name.lower()}, expected take_back with "
            "changes, or another rule without"
        )
    if d.reset in LATE and "v" not in d.rule.states:
        raise CompileError(f"{p.name}: found a late reset of the rule {d.rule.name}, which keeps no membrane")
    if "refractory" in d.rule.states and d.emits != Emits.SPIKES:
        raise CompileError(f"{p.name}: found {d.emits.name} of the rule {d.rule.name}, expected SPIKES")
    if d.floored and "v" not in d.rule.states:
        raise CompileError(f"{p.name}: found a floor of the rule {d.rule.name}, which keeps no membrane")
    if d.reset in LATE and "refractory" in d.rule.states:
        raise CompileError(f"{p.name}: found a late reset of refractory neurons, expected VALUE or SUBTRACT")
    if set(p.parameters) != set(p.parameter_names):
        raise CompileError(
            f"{p.name}: found the parameters {', '.join(sorted(p.parameters)) or 'none'}, "
            f"expected {', '.join(p.parameter_names)}"
        )


def _check_parameters(p: Population, d: Dynamics) -> None:
    """The numbers of a rule; its arrays are checked."""
    if d.emits in (Emits.COUNTS, Emits.CHANGES) and not (p.parameters["threshold"] > 0).all():
        raise CompileError(f"{p.name}: threshold: found {p.parameters['threshold'].min()}, expected more than 0")
    if d.rule.name == "counter":
        cuts = p.cuts.reshape(-1, p.steps)
        if p.cuts.dtype != np.float32 or len(cuts) != p.channels or not (cuts[:, 1:] >= cuts[:, :-1]).all():
            raise CompileError(f"{p.name}: found {p.cuts.size} cuts, expected {p.channels} times {p.steps} that rise")
    if "most" in p.parameters:
        most = p.parameters["most"]
        if not ((most >= 0) & (most <= MOST_SPIKES) & (most == np.floor(most))).all():
            raise CompileError(f"{p.name}: most: found {most.min():g} to {most.max():g}, expected whole numbers")
    if "tau" in p.parameters and not (p.parameters["tau"] != 0).all():
        raise CompileError(f"{p.name}: tau: found 0, expected another number")
    if d.rule.name == "refractory_lif":
        rate = p.parameters["rate"]
        if not ((rate > 0) & (rate <= 1)).all():
            raise CompileError(
                f"{p.name}: found dt / tau from {rate.min():.3g} to {rate.max():.3g} in {d.rule.name}, expected more "
                "than 0, at most 1; give smaller steps"
            )
    if (share := longest_step(p)) > 2:
        raise CompileError(
            f"{p.name}: found dt / tau = {share:.3g} in {d.rule.name}, expected at most 2: beyond that every step "
            "overshoots, and membranes swing and grow; give smaller steps"
        )


def longest_step(p: Population) -> float:
    """The largest dt / tau of neurons whose rule approaches a value by that share in each step; 0: it has none."""
    rule = p.dynamics.rule.name if p.dynamics else ""
    shares = [p.parameters[name] for name in _SHARES.get(rule, ())]
    if rule in ("divide", "divide_all"):
        shares = [np.divide(1, p.parameters["tau"])]
    return max((float(share.max(initial=0)) for share in shares), default=0.0)


#: The parameters that are dt / tau, by rule; those of divide and divide_all are tau / dt.
_SHARES = {
    **dict.fromkeys(("approach", "approach_rest", "leak_rest"), ("rate",)),
    **dict.fromkeys(("synaptic_approach", "synaptic_jump", "synaptic_jump_recurrent"), ("alpha", "rate")),
    **dict.fromkeys(("lsnn", "lsnn_recurrent"), ("alpha", "rate", "fade")),
}


def _check_projection(network: Network, p: Projection, name: str) -> None:
    count = len(network.populations)
    if not (0 <= p.source < count and 0 <= p.target < count):
        raise CompileError(f"{name}: found populations {p.source} and {p.target}, expected numbers below {count}")
    source, target = network.populations[p.source], network.populations[p.target]
    if target.dynamics is None:
        raise CompileError(f"{name}: ends at the input {target.name}")
    if not (p.source >= p.target) <= p.delay <= MOST_DELAY:
        raise CompileError(
            f"{name}: found a delay of {p.delay} steps, expected {int(p.source >= p.target)} to {MOST_DELAY}: "
            f"{source.name} settles {'before' if p.source < p.target else 'not before'} {target.name}"
        )
    if source.event != target.event:
        raise CompileError(f"{name}: found one event population, expected both sides or none")
    if p.kind in ("window", "wires"):
        _check_look(name, p, source, target)
        return
    if p.weights.dtype not in (np.dtype(np.float32), np.dtype(np.int8)):
        raise CompileError(f"{name}: found weights of {p.weights.dtype}, expected float32 or int8")
    with np.errstate(over="ignore"):
        scale = np.float32(p.scale)
    if not np.isfinite(p.weights).all() or not np.isfinite(scale):
        raise CompileError(f"{name}: found a weight or a scale that is not finite")
    if p.whole and source.emits == Emits.VALUES:
        raise CompileError(f"{name}: found int8 weights of real values from {source.name}, expected float32")
    if not p.whole and p.scale != 1:
        raise CompileError(f"{name}: found a scale of float32 weights, expected int8")
    if p.scales is not None:
        _check_scales(name, p, target)
    if p.mask is not None and (p.mask.dtype != bool or p.mask.shape != (source.size,)):
        raise CompileError(
            f"{name}: found a mask of {p.mask.dtype}, shape {p.mask.shape}, expected bool, ({source.size},)"
        )
    if p.bias is not None and (p.bias.dtype != np.float32 or p.bias.size not in (1, target.channels, target.size)):
        raise CompileError(
            f"{name}: found a bias of {p.bias.size} elements, expected 1, {target.channels} or {target.size}"
        )
    if p.bias is not None and not np.isfinite(p.bias).all():
        raise CompileError(f"{name}: found a bias that is not finite")
    _check_weights(name, p, source, target)
    if p.learning is not None:
        _check_learning(network, name, p)


def _check_scales(name: str, p: Projection, target: Population) -> None:
    assert p.scales is not None
    sizes = (target.channels,) if p.kind == "conv" else (1, target.channels, target.size)
    if not p.whole or target.event or p.scale != 1:
        raise CompileError(
            f"{name}: found scales of targets, expected int8 weights, a scale of 1, no event populations"
        )
    if p.scales.dtype != np.float32 or p.scales.size not in sizes or not np.isfinite(p.scales).all():
        raise CompileError(
            f"{name}: found scales of {p.scales.dtype}, {p.scales.size} elements, expected finite float32, "
            f"{' or '.join(map(str, sorted(set(sizes))))}"
        )


def _check_look(name: str, p: Projection, source: Population, target: Population) -> None:
    """Raise CompileError unless these are wires between event populations, or a window on them, counts or values."""
    numbers = source.emits in (Emits.COUNTS, Emits.VALUES)
    if not source.event and (p.kind == "wires" or not numbers or p.mask is not None or p.bias is not None):
        raise CompileError(
            f"{name}: found {p.kind} from {source.emits.name.lower()} of {source.name}, expected event populations, or "
            "a window on counts or values without mask and bias"
        )
    if p.kind == "wires":
        if p.weights.dtype != np.int32 or p.weights.shape != (target.size,) or p.weights.max() >= source.size:
            raise CompileError(
                f"{name}: found wires of {p.weights.dtype}, shape {p.weights.shape}, expected the numbers of "
                f"{source.size} sources, int32 ({target.size},), or -1"
            )
    elif source.channels != target.channels or not all(
        0 <= pad < kernel <= MOST_KERNEL and (n - 1) * step < size + pad and 1 <= step <= MOST_KERNEL
        for pad, kernel, step, n, size in zip(
            p.padding, p.window, p.stride, target.grid[:2], source.grid[:2], strict=True
        )
    ):
        raise CompileError(
            f"{name}: found a window {p.window}, stride {p.stride}, padding {p.padding} from {source.grid} to "
            f"{target.grid}, expected as many channels, and a source in every window"
        )


def _check_weights(name: str, p: Projection, source: Population, target: Population) -> None:
    c, oc = source.channels, target.channels
    if p.kind == "dense":
        expected: Shape = (source.size, target.size)
        right = p.weights.shape == expected
    elif p.kind == "diagonal":
        expected = (source.size,)
        right = (
            source.size == target.size and p.weights.ndim == 1 and p.weights.size in (1, source.channels, source.size)
        )
    else:
        if p.groups < 1 or c % p.groups or oc % p.groups:
            raise CompileError(f"{name}: found {p.groups} groups, expected a divisor of {c} and {oc} channels")
        expected = (c, *p.weights.shape[1:3], oc // p.groups)
        right = p.weights.ndim == 4 and p.weights.shape == expected and max(p.weights.shape[1:3]) <= MOST_KERNEL
        if (
            min(*p.stride, *p.dilation) < 1
            or min(p.padding) < 0
            or max(*p.stride, *p.dilation, *p.padding) > MOST_KERNEL
        ):
            raise CompileError(
                f"{name}: found stride {p.stride}, padding {p.padding}, dilation {p.dilation}, "
                f"expected at least 1, 0, 1 and at most {MOST_KERNEL}"
            )
    if not right:
        raise CompileError(f"{name}: found {p.kind} weights of shape {p.weights.shape}, expected {expected}")


def _check_learning(network: Network, name: str, p: Projection) -> None:
    source, target = network.populations[p.source], network.populations[p.target]
    if p.kind != "dense" or p.whole or p.mask is not None:
        kind = f"{'int8' if p.whole else 'float32'} {p.kind} weights{' with a mask' if p.mask is not None else ''}"
        raise CompileError(f"{name}: found learning of {kind}, expected dense float32 weights of all sources")
    for population in (source,) if isinstance(p.learning, Feedback) else (source, target):
        if population.emits != Emits.SPIKES:
            raise CompileError(
                f"{name}: found learning from {population.emits.name.lower()} of {population.name}, expected spikes"
            )
    assert p.learning is not None
    if problem := p.learning.problem():
        raise CompileError(f"{name}: learning: {problem}")
    if isinstance(p.learning, Feedback):
        _check_feedback(network, name, p.learning, target)


#: Resets after which a membrane shows, at the end of a step, how near it was to its threshold.
_SHOWING = tuple(reset for reset in LATE if reset != Reset.CORRECTED_SUBTRACT)


def _check_feedback(network: Network, name: str, rule: Feedback, target: Population) -> None:
    reset = target.dynamics.reset if target.dynamics else Reset.NONE
    if target.emits != Emits.VALUES and not (target.emits == Emits.SPIKES and reset in _SHOWING):
        names = ", ".join(reset.name for reset in _SHOWING)
        raise CompileError(
            f"{name}: learning: found feedback to {target.emits.name.lower()} of {target.name} with the reset "
            f"{reset.name}, expected values, or spikes with one of {names}"
        )
    if not 0 <= rule.signal < len(network.populations):
        count = len(network.populations)
        raise CompileError(f"{name}: learning: found the signal {rule.signal}, expected a population below {count}")
    signal = network.populations[rule.signal]
    if signal.emits != Emits.VALUES or signal.event or signal.size != target.size:
        raise CompileError(
            f"{name}: learning: found a signal of {signal.size} {signal.emits.name.lower()} from "
            f"{'the event population ' if signal.event else ''}{signal.name}, expected {target.size} values, one for "
            f"each neuron of {target.name}"
        )
