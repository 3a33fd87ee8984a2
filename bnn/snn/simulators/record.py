# SPDX-License-Identifier: Apache-2.0
"""What is known of a simulator's importer: one record each, and the words in which a node is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import CompileError, UnsupportedOpError
from ..nir_file import NirNode
from ..nir_order import Edge, Order
from ..rules import RULES, Dynamics, Emits, Reset

_OTHERWISE = "change the node, or choose another simulator"
_ONE_GROUP = "takes the input channels of one group for those of all, and fails"


@dataclass(frozen=True, eq=False)
class Found:
    """A node of a file while one simulator's importer looks at it."""

    where: str
    name: str
    node: NirNode
    title: str  # the simulator's

    def __getitem__(self, key: str) -> Any:
        return self.node[key]

    def error(self, found: str, because: str, remedy: str = _OTHERWISE) -> CompileError:
        """Refuses the node: ``found``, what the simulator does with it, and what to do."""
        return CompileError(f"{self.where}: node '{self.name}' ({self.node.kind}): found {found}; {because}; {remedy}")

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
                f"choose the simulator that trained it (--as), or train it with {key} = {expected:g}",
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


def spiking(rule: str, *, subtract: bool = False, at_least: bool = False, **parameters: Any) -> Neuron:
    """One spike a step at most, and a reset in the same step."""
    reset = Reset.SUBTRACT if subtract else Reset.VALUE
    return Neuron(Dynamics(RULES[rule], reset, at_least=at_least), parameters)


def counting(rule: str, *, floored: bool = False, **parameters: Any) -> Neuron:
    """Several spikes per step; each subtracts the threshold once."""
    return Neuron(Dynamics(RULES[rule], emits=Emits.COUNTS, floored=floored), parameters)


def sending_membranes(rule: str, **parameters: Any) -> Neuron:
    return Neuron(Dynamics(RULES[rule], emits=Emits.VALUES), parameters)


@dataclass(frozen=True)
class Options:
    """``dt``: seconds.  ``dt_said``: the user gave it.  ``reset_method``: Norse's "value" or "subtract"."""

    dt: float
    dt_said: bool = False
    reset_method: str = "value"


@dataclass(frozen=True)
class Simulator:
    """How a simulator imports NIR.

    ``neurons``: by kind of node, what it makes of one; each raises CompileError for what the simulator ignores or gets
    wrong.  ``refused``: what it does with nodes of other kinds.  ``batch``: Flatten counts the batch as a dimension.
    ``cycles``: why it cannot run graphs with cycles; "" if it can.  ``check_linear``: raises for linear nodes that it
    gets wrong.  ``check_edges``: what is wrong with the edges of a whole file, or "".
    """

    name: str
    title: str
    dt: float
    order: Callable[[Mapping[str, Any], tuple[Edge, ...]], Order]
    neurons: Mapping[str, Callable[[Found, Options], Neuron]]
    refused: Mapping[str, str]
    fixed_dt: bool = False
    batch: bool = False
    cycles: str = ""
    reset_methods: tuple[str, ...] = ("value",)
    check_linear: Callable[[Found], None] = lambda found: None
    check_edges: Callable[[Mapping[str, Any], tuple[Edge, ...]], str] = lambda nodes, edges: ""


def few_groups(found: Found) -> None:
    """Refuse a grouped convolution that PyTorch would reject because the groups do not divide the channels."""
    if found.node.kind != "Conv2d":
        return
    groups = int(found["groups"])
    if found["weight"].shape[1] % groups:
        raise found.error(f"groups = {groups}", f"{found.title}'s importer {_ONE_GROUP}")
