# SPDX-License-Identifier: Apache-2.0
"""What is known of a simulator's importer: one record each, and the words in which a node is refused."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import CompileError, UnsupportedOpError
from ..nir_file import NirNode
from ..nir_order import Edge, Order, executor
from ..rules import RULES, Dynamics, Emits, Reset

SPIKE_FNS = ("multi", "single")  # of sinabs
_OTHERWISE = "change the node, or choose another simulator"
_ONE_GROUP = "takes the input channels of one group for those of all, and fails"


@dataclass(frozen=True, eq=False)
class Found:
    """A node of a file while one simulator's importer looks at it."""

    where: str
    name: str
    node: NirNode
    title: str  # the simulator's
    warnings: list[str] = field(default_factory=list)
    recurrent: bool = False  # neurons that send themselves something by weights of their own

    def __getitem__(self, key: str) -> Any:
        return self.node[key]

    def error(self, found: str, because: str, remedy: str = _OTHERWISE) -> CompileError:
        """Refuses the node: ``found``, what the simulator does with it, and what to do."""
        return CompileError(f"{self.where}: node '{self.name}' ({self.node.kind}): found {found}; {because}; {remedy}")

    def warn(self, found: str, because: str) -> None:
        """Notes what the simulator does, though its user may not have meant it."""
        self.warnings.append(f"{self.where}: node '{self.name}' ({self.node.kind}): found {found}; {because}")

    def steps(self, key: str, dt: float, because: str, remedy: str = "") -> None:
        """Warn of a time constant that is shorter than a step; refuse one that is shorter than half a step."""
        with np.errstate(over="ignore", divide="ignore"):
            share = float(np.max(dt / np.asarray(self.node[key], np.float64)))
        if share > 2:
            raise self.error(
                f"{key} = {dt / share:.3g} s and a step of {dt:g} s, dt / {key} = {share:.3g}",
                f"above 2, {because}",
                remedy or f"give a dt (--dt) of at most {key}",
            )
        if share > 1:
            self.warn(f"dt / {key} = {share:.3g}", f"above 1, {because}")

    def unsupported(self, because: str) -> UnsupportedOpError:
        return UnsupportedOpError(
            f"{self.where}: node '{self.name}': found the kind {self.node.kind}; {because}; {_OTHERWISE}"
        )

    def only(self, key: str, expected: float, because: str, *, close: bool = False) -> None:
        """Refuse other values than one, which the simulator takes whatever the file says; ``close``: it compares with
        numpy.allclose itself."""
        value = self.node[key]
        if not (np.allclose(value, expected) if close else (value == expected).all()):
            raise self.error(
                f"{key} = {_some(value, expected)}",
                because,
                f"choose the simulator that trained it (--simulator), or train it with {key} = {expected:g}",
            )

    def uniform(self, key: str) -> float:
        """The one value of all neurons, where the simulator has one."""
        value = np.unique(self.node[key])
        if value.size != 1:
            raise self.error(f"{key} from {value[0]:g} to {value[-1]:g}", f"{self.title} has one {key} for all neurons")
        return float(value[0])


def _some(value: Array, expected: float) -> str:
    other = np.unique(value[value != expected])
    return f"{other[0]:g}" if other.size == 1 else f"{other[0]:g} to {other[-1]:g}"


@dataclass(frozen=True)
class Neuron:
    """A population's rule, and its parameters: numbers, or arrays that fit the node's shape in NIR.  They become
    float32; threshold, reset and initial are 0 where they are not named."""

    dynamics: Dynamics
    parameters: Mapping[str, Any] = field(default_factory=dict)


def kinds(nodes: Sequence[NirNode]) -> set[str]:
    return {node.kind for node in nodes}


def spiking(
    rule: str, reset: Reset = Reset.VALUE, /, *, at_least: bool = False, floored: bool = False, **parameters: Any
) -> Neuron:
    """One spike per step at most."""
    return Neuron(Dynamics(RULES[rule], reset, at_least=at_least, floored=floored), parameters)


def counting(rule: str, *, floored: bool = False, **parameters: Any) -> Neuron:
    """Several spikes per step; each subtracts the threshold once."""
    return Neuron(Dynamics(RULES[rule], emits=Emits.COUNTS, floored=floored), parameters)


def sending_membranes(rule: str, *, floored: bool = False, **parameters: Any) -> Neuron:
    return Neuron(Dynamics(RULES[rule], emits=Emits.VALUES, floored=floored), parameters)


@dataclass(frozen=True)
class SimulatorOptions:
    """What a file does not say.

    ``dt``: seconds.  ``reset``: what a spike does, in the simulator's words.  ``reset_delay``: of snnTorch, whether it
    does so one step later.  ``v_reset``: of Norse.  ``parametric``: of SpikingJelly, whether its LIF is
    ParametricLIFNode.  ``spike_fn``: of sinabs, "multi" or "single"; ``norm_input``, ``tau_syn`` (steps; 0: none),
    ``min_v_mem`` (-inf: no floor): of sinabs.  ``said``: the names of those that the user gave; the others are what the
    simulator's neurons have by default.
    """

    dt: float
    reset: str
    reset_delay: bool = True
    v_reset: float = 0.0
    parametric: bool = False
    spike_fn: str = "multi"
    norm_input: bool = True
    tau_syn: float = 0.0
    min_v_mem: float = -math.inf
    said: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Simulator:
    """What is known of a simulator.  ``name``: of its package, as it is installed, imported and chosen; ``title``: its
    name for people, and the version that was measured.

    How it imports networks over time, if ``neurons`` is not empty.  ``neurons``: by kind of node, what it makes of one;
    each raises CompileError for what the simulator ignores or gets wrong.  ``refused``: what it does with nodes of
    other kinds.  ``batch``: Flatten counts the batch as a dimension.  ``cycles``: why it cannot run graphs with cycles;
    "" if it can.  ``check_linear``: raises for linear nodes that it gets wrong.  ``recurrent``: of nodes' kinds and
    edges, the neurons that send themselves something by weights of their own, and the node of these.  ``resets``: what
    a spike may do, in its words, first what it does by default.  ``unsaid``: the names of the options that say what its
    files leave open; ``assumed``: of those that matter for these nodes, by name, what neurons then have, in its words.
    ``over_time``: the torch module that it makes of the package nir's graph, with ``dt=`` or without.

    How modules over time are called.  ``imported``: the way (``modules.WAYS``) of one that the importer made;
    ``time_major``: whether one of these parts, whose forward takes more than the input, takes all steps at once;
    ``states``: "one" that it takes and returns, "each" neuron's, or ""; ``forget``: its neurons' method.

    What its own modules are (:func:`bnn.snn.from_torch`).  ``modules``: by class, what neurons are; the node's value
    "module" is the torch module.  ``whole``: whether neurons take all steps at once.  ``own``: the part of neurons that
    has the weights by which they send themselves something; ``weights``: what some have of their own for their inputs.

    How it imports an image's network.  ``profiles``: those that it runs (measured: tools/spiking_matrix.py);
    ``why_not``: why it cannot run the others; ``image``: makes its module of a graph, a profile and the seconds
    of a step; ``time_axis``: that module takes (N, time, n).
    """

    name: str
    title: str
    dt: float = 0.0
    order: Callable[[Mapping[str, Any], tuple[Edge, ...]], Order] = executor
    neurons: Mapping[str, Callable[[Found, SimulatorOptions], Neuron]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    fixed_dt: bool = False
    batch: bool = False
    cycles: str = ""
    resets: tuple[str, ...] = ("value",)
    unsaid: tuple[str, ...] = ()
    assumed: Callable[[SimulatorOptions, Sequence[NirNode]], Mapping[str, str]] = lambda options, nodes: {}
    check_linear: Callable[[Found], None] = lambda found: None
    recurrent: Callable[[Mapping[str, str], Sequence[Edge]], dict[str, str]] = lambda kinds, edges: {}
    over_time: Callable[[Any, SimulatorOptions, dict[str, float]], Any] = lambda graph, options, dt: None
    imported: str = "state"
    time_major: Callable[[Sequence[Any], bool], bool] = lambda parts, more: False
    states: str = ""
    forget: str = ""
    modules: Mapping[str, Callable[[Found], Neuron]] = field(default_factory=dict)
    whole: Callable[[Any], bool] = lambda part: False
    own: str = ""
    weights: str = ""
    profiles: tuple[str, ...] = ()
    why_not: str = ""
    image: Callable[[Any, str, float], Any] = lambda graph, profile, step: None
    time_axis: bool = False

    def version(self) -> str | None:
        """The version of the installed package; None if it is not installed."""
        try:
            return importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            return None


def numbers(value: Any) -> Any:
    """A torch tensor or a number as float32."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value).astype(np.float32)


def few_groups(found: Found) -> None:
    """Refuse a grouped convolution that PyTorch would reject because the groups do not divide the channels."""
    if found.node.kind != "Conv2d":
        return
    groups = int(found["groups"])
    if found["weight"].shape[1] % groups:
        raise found.error(f"groups = {groups}", f"{found.title}'s importer {_ONE_GROUP}")
