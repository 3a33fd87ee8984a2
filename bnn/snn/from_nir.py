# SPDX-License-Identifier: Apache-2.0
"""A NIR graph as a network, with the rules of the simulator that it is for.

NIR fixes neither dt, nor what happens in a step, nor in which order nodes run; a simulator's importer does.  What that
importer ignores or gets wrong is refused by name: either the network equals the simulator's, or there is none.

A linear node between two populations becomes a projection.  One that is followed by another linear node ends in a
population without state that passes sums on, so that sums are added in the simulator's order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arguments import check_choice, check_flag, check_number, shown
from .._types import Array, Floats
from ..errors import CompileError, InputError
from .network import MOST_NEURONS, Network, Population, Projection, Shape
from .nir_file import NirGraph, NirNode
from .nir_order import Edge, in_cycle
from .rules import RULES, Dynamics, Emits, Reset
from .simulators import SIMULATORS, SPIKE_FNS, Found, Neuron, Simulator, SimulatorOptions
from .simulators.record import spiking
from .wires import Wire, flatten, linear, places

__all__ = ["Builder", "check_options", "network_from_nir", "read_network"]

_MOST_ELEMENTS = 2**27  # that all nodes of a file send in a step
_PASSES_ON = Dynamics(RULES["relay"], emits=Emits.VALUES)

Nodes = list[tuple[str, NirNode]]
Edges = list[tuple[str, str, bool]]


def network_from_nir(
    graph: NirGraph,
    simulator: str,
    *,
    inputs: Emits = Emits.SPIKES,
    **said: Any,
) -> Network:
    """The network that a simulator makes of a NIR graph.

    Args:
        graph: from :func:`read_nir`.
        simulator: "norse", "snntorch", "spikingjelly" or "sinabs".
        inputs: what the input sends.
        said: what the file does not say, as of :func:`bnn.snn.compile`: dt, reset and so on.

    Raises:
        InputError: there is no such simulator, or it has no such option.
        UnsupportedOpError: the simulator does not run a kind of node.
        CompileError: the simulator would ignore something in the file or get it wrong, or cannot run it; the message
            names the node, what was found, what the simulator does with it, and what to do.
    """
    return read_network(graph, check_options(simulator, **said), inputs)[0]


def check_options(simulator: str, **said: Any) -> tuple[Simulator, SimulatorOptions]:
    """A simulator's record, and what its files do not say: what was said, or is not None, and its own defaults.

    Raises InputError: there is no such simulator, or it has no such option.
    """
    record = SIMULATORS[check_choice(simulator, "simulator", tuple(SIMULATORS))]
    given = {name: value for name, value in said.items() if value is not None}
    dt = given.get("dt")
    if dt is not None and not check_number(dt, "dt") > 0:
        raise InputError(f"dt: found {dt!r}, expected a positive number of seconds")
    if record.fixed_dt and dt is not None and dt != record.dt:
        raise InputError(
            f"dt: found {dt!r}; {record.title}'s importer has steps of {record.dt!r} s and no others; leave "
            "out dt (--dt)"
        )
    reset = given.get("reset")
    if reset is not None and not (isinstance(reset, str) and reset in record.resets):
        expected = " or ".join(map(repr, record.resets))
        raise InputError(f"reset: found {shown(reset)}, expected {expected}: {record.title} has no other")
    for name in given:
        if name not in ("dt", "reset", *record.unsaid):
            has = ", ".join(n for n in ("dt", *record.unsaid) if n != "dt" or not record.fixed_dt)
            raise InputError(f"{name}: {record.title} has no such option, but {has}; leave it out")
        if name in ("reset_delay", "norm_input", "parametric"):
            check_flag(given[name], name)
        if name == "spike_fn":
            check_choice(given[name], name, SPIKE_FNS)
        if name in ("v_reset", "tau_syn", "min_v_mem") and not (name == "min_v_mem" and _is_no_floor(given[name])):
            check_number(given[name], name)
        if name == "tau_syn" and not (given[name] == 0 or np.float32(given[name]) > 0):
            raise InputError(f"tau_syn: found {given[name]!r}, expected a number of steps, or 0: none")
    options = SimulatorOptions(**{"dt": record.dt, "reset": record.resets[0], **given}, said=frozenset(given))
    if options.v_reset != 0 and options.reset != "value":
        raise InputError(
            f"v_reset: found {options.v_reset!r} with reset '{options.reset}', which leaves another value; leave it out"
        )
    return record, options


def read_network(
    graph: NirGraph, told: tuple[Simulator, SimulatorOptions], inputs: Emits = Emits.SPIKES
) -> tuple[Network, list[str]]:
    """The network of a graph, and warnings: what was assumed, because neither the file nor the user says it, and what
    a simulator does though its user may not have meant it; ``told``: of :func:`check_options`."""
    record, options = told
    own = record.recurrent({name: node.kind for name, node in graph.nodes.items()}, graph.edges)
    builder = Builder(graph.where, record, options, frozenset(own))
    nodes, edges = _flattened(graph, record)
    seen: set[str] = set()
    for name, _ in nodes:
        if name in seen:
            raise CompileError(
                f"{graph.where}: found two nodes called '{name}', one of them in a graph of its own; rename one"
            )
        seen.add(name)
    builder.add(nodes, edges, _only(graph, "Input"), _only(graph, "Output"), inputs)
    network = Network(builder.populations, builder.projections, options.dt, record.name).check()
    assumed = _assumed(record, options, [node for _, node in nodes])
    return network, [*builder.warnings, *([assumed] if assumed else [])]


def _is_no_floor(value: Any) -> bool:
    return isinstance(value, float) and value == -math.inf


def _assumed(record: Simulator, options: SimulatorOptions, nodes: list[NirNode]) -> str:
    """One line: what was assumed of neurons, and how to say something else."""
    assumed = {name: text for name, text in record.assumed(options, nodes).items() if name not in options.said}
    if not assumed:
        return ""
    ways = ", ".join(f"--{name.replace('_', '-')} ({name}=)" for name in assumed)
    return (
        f"the file does not say all that neurons do, so they are as {record.title} makes them by default: "
        f"{', '.join(assumed.values())}; say what yours do: {ways}; bnn snn verify --model compares with your own "
        "module"
    )


def _only(graph: NirGraph, kind: str) -> str:
    return next(name for name, node in graph.nodes.items() if node.kind == kind)


def _flattened(graph: NirGraph, simulator: Simulator, prefix: str = "") -> tuple[Nodes, Edges]:
    """The nodes of a graph and of graphs within it, as a.b, in the order in which they run; its edges, with whether
    they carry what was sent a step before."""
    where = f"{graph.where}: {f'graph {prefix[:-1]!r}' if prefix else 'the graph'}"
    _check_level(where, graph, simulator)
    order = simulator.order(graph.nodes, graph.edges)
    _check_late(where, graph.edges, order.late, simulator)
    if order.problem:
        raise CompileError(f"{where}: {order.problem}")
    for name in graph.nodes:
        if name not in order.nodes:
            raise CompileError(f"{where}: nothing leads to node '{name}', so that {simulator.title} leaves it out; "
                               "remove it, or add an edge")  # fmt: skip
    nodes: Nodes = []
    edges: Edges = []
    ends: dict[str, Edge] = {}
    for name in order.nodes:
        node, full = graph.nodes[name], f"{prefix}{name}"
        ends[name] = (full, full)
        if isinstance(node, NirNode):
            nodes.append((full, node))
            continue
        inner, within = _flattened(node, simulator, f"{full}.")
        nodes += inner
        edges += within
        ends[name] = (f"{full}.{_only(node, 'Input')}", f"{full}.{_only(node, 'Output')}")
    edges += [(ends[a][1], ends[b][0], (a, b) in order.late) for a, b in graph.edges]
    return nodes, edges


def _check_level(where: str, graph: NirGraph, simulator: Simulator) -> None:
    for kind in ("Input", "Output"):
        count = sum(node.kind == kind for node in graph.nodes.values())
        if count != 1:
            raise CompileError(
                f"{where}: found {count} nodes of the kind {kind}, expected 1, as {simulator.title} does"
            )
    start, end = _only(graph, "Input"), _only(graph, "Output")
    into = sum(b == end for _, b in graph.edges)
    if into != 1 or any(a == end or b == start for a, b in graph.edges):
        raise CompileError(
            f"{where}: found {into} edges to '{end}', expected 1, and none from there or to '{start}'; let one node "
            "add what is sent"
        )
    seen: dict[str, str] = {}
    for name in graph.nodes:
        other = seen.setdefault(name.replace(".", "_"), name)
        if other != name:
            raise CompileError(
                f"{where}: found the nodes '{other}' and '{name}', which are one to nirtorch; rename one"
            )


def _check_late(where: str, edges: tuple[Edge, ...], late: frozenset[Edge], simulator: Simulator) -> None:
    for edge in sorted(late):
        shown = f"{where}: edge '{edge[0]}' -> '{edge[1]}'"
        if not in_cycle(edge, edges):
            raise CompileError(
                f"{shown}: {simulator.title} runs '{edge[1]}' before '{edge[0]}', though no cycle needs that, and so "
                "misses what it sends in the same step; change the order of the edges, or choose another simulator"
            )
        if simulator.cycles:
            raise CompileError(f"{shown} closes a cycle; {simulator.cycles}; choose another simulator")


class Builder:
    """Populations and projections, node by node in the order in which they run."""

    def __init__(self, where: str, simulator: Simulator, options: SimulatorOptions, recurrent: frozenset[str]) -> None:
        self.where, self.simulator, self.options, self.recurrent = where, simulator, options, recurrent
        self.populations: list[Population] = []
        self.projections: list[Projection] = []
        self.layouts: list[Shape] = []  # of the populations
        self.warnings: list[str] = []
        self.sums: dict[str, int] = {}  # the populations that pass on the sums of a linear node
        self.ends: dict[str, int] = {}  # where the late edges to a node end
        self.late: dict[str, list[str]] = {}
        self.elements = 0

    def add(self, nodes: Nodes, edges: Edges, start: str, end: str, inputs: Emits) -> None:
        before: dict[str, list[str]] = {name: [] for name, _ in nodes}
        for a, b, late in edges:
            (self.late.setdefault(b, []) if late else before[b]).append(a)
        wires: dict[str, list[Wire]] = {}
        for name, node in nodes:
            found = Found(self.where, name, node, self.simulator.title, self.warnings, name in self.recurrent)
            incoming = [wire for a in before[name] for wire in wires[a]]
            wires[name] = [self.input(found, inputs)] if name == start else self.node(found, incoming)
            self.count(found, wires[name][0].shape)
        for name, sources in self.late.items():
            for wire in [wire for a in sources for wire in wires[a]]:
                self.connect(wire, self.ends[name], delay=1)
        output = self.sent(wires[end][0])
        self.populations[output.source].output = True

    def count(self, found: Found, shape: Shape) -> None:
        """Limit what nodes send, before arrays of its size are made: a few numbers can declare any size."""
        size = math.prod(shape)
        self.elements += size
        if size > MOST_NEURONS or self.elements > _MOST_ELEMENTS:
            raise found.error(
                f"that it sends {size:,} elements, all nodes up to it {self.elements:,}",
                f"at most {MOST_NEURONS:,} and {_MOST_ELEMENTS:,} are read", "use smaller images",
            )  # fmt: skip

    def node(self, found: Found, incoming: list[Wire]) -> list[Wire]:
        """What a node sends: one wire, or several whose sum it is."""
        kind = found.node.kind
        if not incoming:
            raise found.error("no input that comes in the same step", "its shape is not known", "add an edge")
        for wire in incoming[1:]:
            if wire.shape != incoming[0].shape:
                raise found.error(f"inputs of the shapes {incoming[0].shape} and {wire.shape}", "these cannot be added",
                                  "correct the edges")  # fmt: skip
        if kind in ("Input", "Output"):  # of a graph within the graph
            return [self.added(found, incoming)] if found.name in self.late else incoming
        if kind in self.simulator.neurons:
            return [self.neurons(found, incoming, self.simulator.neurons[kind](found, self.options))]
        if kind in self.simulator.refused:
            raise found.unsupported(self.simulator.refused[kind])
        self.simulator.check_linear(found)
        wire = self.added(found, incoming)
        if kind == "Flatten":
            return [flatten(found, wire, self.simulator.batch)]
        wire = self.sent(wire)
        emits = self.populations[wire.source].emits
        wire = linear(found, wire, emits)
        if kind == "MaxPool2d" and emits == Emits.SPIKES:  # whether any came
            return [self.neurons(found, [wire], spiking("relay", Reset.NONE, threshold=0.5))]
        return [wire]

    def input(self, found: Found, emits: Emits) -> Wire:
        shape = tuple(int(n) for n in found["shape"])
        if not 1 <= len(shape) <= 3 or math.prod(shape) > MOST_NEURONS:
            raise found.error(f"the shape {shape}", f"1 to 3 dimensions and at most {MOST_NEURONS:,} elements are read",
                              "leave out the batch, if it is one of them")  # fmt: skip
        index = self.population(found.name, shape, None)
        self.populations[index].input_emits = emits
        return Wire(index, shape, shape)

    def added(self, found: Found, incoming: list[Wire]) -> Wire:
        """What comes into a linear node as one wire: a population adds several."""
        if len(incoming) == 1 and found.name not in self.late:
            return incoming[0]
        return self.collect(f"{found.name}.sum", found, incoming, _PASSES_ON, {})

    def sent(self, wire: Wire) -> Wire:
        """A wire without an operation: a population passes on what a linear node adds up."""
        if wire.kind == "diagonal" and wire.weights is None:
            return wire
        if wire.node not in self.sums:
            self.sums[wire.node] = self.population(wire.node, wire.layout, _PASSES_ON)
            self.connect(wire, self.sums[wire.node])
        return Wire(self.sums[wire.node], wire.shape, wire.layout)

    def neurons(self, found: Found, incoming: list[Wire], neuron: Neuron) -> Wire:
        values, shape = {}, incoming[0].shape
        for key, value in neuron.parameters.items():
            array = np.asarray(value)
            try:
                whole = np.broadcast_to(array, shape)
            except ValueError:
                raise found.error(f"numbers of the shape {array.shape}", f"its input has the shape {shape}",
                                  "correct the edges, or add a Flatten") from None  # fmt: skip
            values[key] = (array.reshape(1) if array.size == 1 else whole).astype(np.float32)
        return self.collect(found.name, found, incoming, neuron.dynamics, values)

    def collect(
        self, name: str, found: Found, incoming: list[Wire], dynamics: Dynamics, values: Mapping[str, Array]
    ) -> Wire:
        """A population and the projections to it."""
        layouts = sorted({wire.layout for wire in incoming if wire.kind != "dense"} or {incoming[0].layout})
        if len(layouts) > 1:
            raise found.error(f"inputs that were flattened from {' and '.join(map(str, layouts))}",
                              "their elements have no common order here", "flatten after they are added")  # fmt: skip
        index = self.population(name, layouts[0], dynamics, values)
        for wire in incoming:
            self.connect(wire, index)
        self.ends[found.name] = index
        return Wire(index, incoming[0].shape, layouts[0])

    def population(
        self, name: str, layout: Shape, dynamics: Dynamics | None, values: Mapping[str, Array] | None = None
    ) -> int:
        """``values``: parameters in NIR's order; others are 0."""
        if any(p.name == name for p in self.populations):
            raise CompileError(f"{self.where}: found two nodes called '{name}', one of them with a sum; rename one")
        population = Population(name, (*layout[1:], layout[0]), dynamics)
        for key in population.parameter_names:
            value = (values or {}).get(key, np.zeros(1, np.float32))
            moved = value if value.size == 1 else _moved(value.reshape(-1), places(layout))
            population.parameters[key] = _reduced(moved, population.channels)
        self.populations.append(population)
        self.layouts.append(layout)
        return len(self.populations) - 1

    def connect(self, wire: Wire, target: int, delay: int = 0) -> None:
        population, bias = self.populations[target], wire.bias
        weights = np.ones(int(wire.kind != "window"), np.float32) if wire.weights is None else wire.weights
        if wire.kind == "dense":
            columns = places(self.layouts[target])
            weights = _moved(_moved(weights.T, places(self.layouts[wire.source])).T, columns).T
            bias = None if bias is None else _moved(bias, columns)
        elif wire.kind == "diagonal" and wire.weights is not None:
            to = places(wire.layout)
            weights = _reduced(_moved(weights.reshape(-1), to), population.channels)
            bias = None if bias is None else _moved(bias.reshape(-1), to)
        if bias is not None:
            bias = _reduced(bias, population.channels) if bias.any() else None
        if bias is not None and not delay:  # a population's bias is there in all steps
            both = population.per_neuron(population.bias) + population.per_neuron(bias)
            population.bias, bias = _reduced(both, population.channels), None
        self.projections.append(
            Projection(
                wire.source, target, wire.kind, np.ascontiguousarray(weights), delay=delay, stride=wire.stride,
                padding=wire.padding, dilation=wire.dilation, groups=wire.groups, window=wire.window, bias=bias,
                name=wire.node or f"{self.populations[wire.source].name} -> {population.name}",
            )
        )  # fmt: skip


def _moved(values: Array, to: Array) -> Array:
    """Element i goes to place ``to[i]``, along the first dimension."""
    moved = np.empty_like(values)
    moved[to] = values
    return moved


def _reduced(value: Floats, channels: int) -> Floats:
    """One element, or one per channel, if that says the same."""
    for size in (1, channels):
        if value.size > size and (value.reshape(-1, size) == value[:size]).all():
            return value[:size].copy()
    return value
