# SPDX-License-Identifier: Apache-2.0
"""The populations and projections of what Nengo has built: its decoders, encoders, gains, biases and filters.

An ensemble is two populations: one adds up what it represents, the other is its neurons, which get that by their
encoders.  A connection with a synapse is a population that filters; who reads it gets what the filter held after the
step before, as in Nengo.  Populations settle in an order in which nobody else reads what comes later.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._types import Array, Floats
from ..errors import CompileError, UnsupportedOpError
from .network import Network, Population, Projection
from .rules import RULES, Dynamics, Emits, Reset

_SUM = Dynamics(RULES["relay"], emits=Emits.VALUES)
_FILTER = Dynamics(RULES["decay_scaled"], emits=Emits.VALUES)


@dataclass(frozen=True)
class _Sender:
    """A population, and the factor from what it sends to what Nengo's object has."""

    name: str
    size: int
    factor: float = 1.0


@dataclass(frozen=True)
class _Reader:
    """A population, and the matrix from what a connection brings to its currents, (currents, connection)."""

    name: str
    matrix: Array


@dataclass(frozen=True)
class _Neurons:
    """``scale``: from Nengo's current to ours; ``factor``: from what we send, numbers of spikes, to Nengo's."""

    dynamics: Dynamics
    parameters: dict[str, Any]
    scale: float
    factor: float


class NengoReader:
    """Reads ``simulator``, a ``nengo.Simulator`` that has been built for ``network``."""

    def __init__(self, network: Any, simulator: Any) -> None:
        import nengo

        self._nengo, self._network, self._simulator = nengo, network, simulator
        self._model, self._dt = simulator.model, float(simulator.dt)
        self._populations: dict[str, Population] = {}
        self._projections: list[tuple[str, str, Array, int]] = []  # source, target, matrix, delay
        self._neurons: dict[Any, _Neurons] = {}
        self.names = _names(network)
        self.warnings: list[str] = []

    @property
    def ensembles(self) -> dict[str, tuple[Any, float, float]]:
        """By population: the ensemble; from Nengo's current to ours; from numbers of spikes to Nengo's output."""
        return {self.names[e]: (e, n.scale, n.factor) for e, n in self._neurons.items()}

    @property
    def inputs(self) -> list[Any]:
        """The nodes that are inputs, in the order of the network's."""
        return [node for node in self._network.all_nodes if not node.size_in and node.size_out]

    def read(self) -> Network:
        for node in self._network.all_nodes:
            if node.size_in or node.size_out:  # others only look at the time
                self._add_node(node)
        for ensemble in self._network.all_ensembles:
            self._add_ensemble(ensemble)
        for connection in self._network.all_connections:
            name = self.names[connection]
            self._connect(f"'{name}' (Connection)", name, connection)
        for probe in self._network.all_probes:
            self._add_probe(probe)
        if not any(p.output for p in self._populations.values()):
            raise CompileError("network: found no nengo.Probe of spikes or values, expected at least one: "
                               "what is probed is what the network sends")  # fmt: skip
        network = self._ordered()
        if not network.inputs:
            raise CompileError("network: found no nengo.Node that sends something, expected at least one: what it "
                               "sends says how many steps to run; add nengo.Node([0])")  # fmt: skip
        return network

    # -- objects ---------------------------------------------------------------------------------------------------

    def _add_node(self, node: Any) -> None:
        name = self.names[node]
        if not node.size_in:
            self._add(Population(name, (node.size_out,), input_emits=Emits.VALUES))
        elif node.output is None:
            self._add_sum(name, node.size_in)
        else:
            raise UnsupportedOpError(f"'{name}' (Node): found a function of what it gets, expected one of time alone, "
                                     "an array, or None; compute it in the function of a Connection")  # fmt: skip

    def _add_ensemble(self, ensemble: Any) -> None:
        name, data = self.names[ensemble], self._model.params[ensemble]
        where = f"'{name}' (Ensemble)"
        if ensemble.noise is not None:
            raise UnsupportedOpError(
                f"{where}: found noise ({ensemble.noise}), expected none: it is random; leave it out"
            )
        found = self._neurons[ensemble] = self._rule(where, ensemble)
        bias = (data.bias * found.scale).astype(np.float32)
        parameters = {key: np.full(1, value, np.float32) for key, value in found.parameters.items()}
        parameters["initial"] = self._signal(ensemble, "voltage").astype(np.float32)
        self._add(Population(name, (ensemble.n_neurons,), found.dynamics, parameters, bias))
        self._add_sum(f"{name}.input", ensemble.dimensions)
        self._project(f"{name}.input", name, data.scaled_encoders * found.scale)

    def _rule(self, where: str, ensemble: Any) -> _Neurons:
        kind, dt = ensemble.neuron_type, self._dt
        common = {"threshold": 1.0, "reset": 0.0, "initial": 0.0}
        if type(kind) is self._nengo.SpikingRectifiedLinear:
            if (low := self._signal(ensemble, "voltage").min()) < 0:
                raise CompileError(f"{where}: found the initial voltage {low:g}, expected at least 0")
            counts = Dynamics(RULES["integrate_rectified"], emits=Emits.COUNTS)
            return _Neurons(counts, common, dt, kind.amplitude / dt)
        if type(kind) is not self._nengo.LIF:
            raise UnsupportedOpError(f"{where}: found {type(kind).__name__} neurons, expected LIF or "
                                     "SpikingRectifiedLinear; give it one of these as neuron_type")  # fmt: skip
        if kind.min_voltage not in (0, -np.inf):
            raise UnsupportedOpError(
                f"{where}: found min_voltage={kind.min_voltage:g}, expected 0 or -inf; use one of these"
            )
        if (high := self._signal(ensemble, "voltage").max()) > 1 or self._signal(ensemble, "refractory_time").any():
            raise CompileError(f"{where}: found an initial state with a voltage of {high:g} or a refractory time, "
                               "expected at most 1, and no refractory time")  # fmt: skip
        lif = Dynamics(RULES["refractory_lif"], Reset.VALUE, floored=kind.min_voltage == 0)
        more = {"rate": dt / kind.tau_rc, "period": kind.tau_ref / dt}
        return _Neurons(lif, common | more, 1.0, kind.amplitude / dt)

    def _signal(self, ensemble: Any, name: str) -> Array:
        return np.asarray(self._model.sig[ensemble.neurons][name].initial_value)

    def _add_probe(self, probe: Any) -> None:
        nengo, target, name = self._nengo, probe.obj, self.names[probe]
        where = f"'{name}' (Probe)"
        spikes = isinstance(target, nengo.ensemble.Neurons) and probe.attr in ("output", "spikes")
        if spikes and probe.synapse is None and probe.slice is None:
            self._populations[self.names[target.ensemble]].output = True
            return
        decoded = isinstance(target, nengo.Ensemble) and probe.attr == "decoded_output"
        if not (spikes or decoded or (isinstance(target, nengo.Node) and probe.attr == "output")):
            self.warnings.append(f"{where}: found '{probe.attr}', which is not what an object sends: it is "
                                 "left out; model.run(x, currents=, membranes=) returns it of neurons")  # fmt: skip
            return
        if decoded:
            (made,) = (c for c in self._model.params if isinstance(c, nengo.Connection) and c.post_obj is probe)
            self._add_sum(name, made.size_out, output=True)
            self._connect(where, name, made)
            return
        sender = self._sender(target)
        chosen = _chosen(sender.size, slice(None) if probe.slice is None else probe.slice)
        self._add_sum(name, len(chosen), output=True)
        reader = _Reader(name, np.eye(len(chosen)))
        self._bring(where, f"{name}.filter", sender, chosen, probe.synapse, reader)

    # -- connections -----------------------------------------------------------------------------------------------

    def _sender(self, target: Any) -> _Sender:
        if isinstance(target, self._nengo.Node):
            return _Sender(self.names[target], target.size_out)
        ensemble = getattr(target, "ensemble", target)
        return _Sender(self.names[ensemble], ensemble.n_neurons, self._neurons[ensemble].factor)

    def _reader(self, connection: Any) -> _Reader:
        nengo, post, chosen = self._nengo, connection.post_obj, connection.post_slice
        if isinstance(post, nengo.ensemble.Neurons) or (
            isinstance(connection.pre_obj, nengo.Ensemble)
            and isinstance(post, nengo.Ensemble)
            and connection.solver.weights
        ):
            found = self._neurons[ensemble := getattr(post, "ensemble", post)]
            if post is ensemble:  # weights of a solver hold encoders and gains
                return _Reader(self.names[ensemble], found.scale * np.eye(ensemble.n_neurons))
            gain = found.scale * self._model.params[ensemble].gain
            return _Reader(self.names[ensemble], gain[:, None] * _chosen(ensemble.n_neurons, chosen).T)
        name = f"{self.names[post]}.input" if isinstance(post, nengo.Ensemble) else self.names[post]
        return _Reader(name, _chosen(post.size_in, chosen).T)

    def _connect(self, where: str, name: str, connection: Any) -> None:
        nengo = self._nengo
        if connection.learning_rule is not None or isinstance(connection.post_obj, nengo.connection.LearningRule):
            raise UnsupportedOpError(f"{where}: found a learning rule, expected none; train first, and give a "
                                     "connection what was learned (nengo.solvers.NoSolver)")  # fmt: skip
        if type(connection.transform) not in (nengo.Dense, nengo.transforms.NoTransform):
            raise UnsupportedOpError(f"{where}: found the transform {type(connection.transform).__name__}, expected "
                                     "Dense or none; give its matrix to nengo.Dense")  # fmt: skip
        sender, weights = self._sender(connection.pre_obj), self._model.params[connection].weights
        if isinstance(connection.pre_obj, nengo.Node) and connection.function is not None:
            raise UnsupportedOpError(f"{where}: found a function of what a node sends, expected none; compute it in "
                                     "the node, or let an Ensemble represent its input")  # fmt: skip
        matrix = np.eye(connection.size_mid if weights is None else 1 if weights.ndim == 0 else weights.shape[-1])
        if weights is not None:
            matrix = np.asarray(weights, np.float64) if weights.ndim == 2 else np.diag(
                np.broadcast_to(weights, connection.size_mid).astype(np.float64))  # fmt: skip
        if not isinstance(connection.pre_obj, nengo.Ensemble):
            matrix = matrix @ _chosen(sender.size, connection.pre_slice)
        self._bring(where, f"{name}.filter", sender, matrix, connection.synapse, self._reader(connection))

    def _bring(self, where: str, name: str, sender: _Sender, matrix: Array, synapse: Any, reader: _Reader) -> None:
        """``matrix`` (connection, sender), then the synapse, then the reader's matrix."""
        matrix = matrix * sender.factor
        if synapse is None:
            self._project(sender.name, reader.name, reader.matrix @ matrix)
            return
        if type(synapse) is not self._nengo.Lowpass:
            raise UnsupportedOpError(
                f"{where}: found the synapse {synapse}, expected Lowpass or None; use nengo.Lowpass"
            )
        state = synapse.make_state((1,), (1,), self._dt)
        step = synapse.make_step((1,), (1,), self._dt, None, state)
        beta, gain = (step.a, step.b) if hasattr(step, "a") else (0.0, step.d)
        parameters = {"threshold": 0.0, "reset": 0.0, "initial": 0.0, "beta": beta, "gain": gain}
        self._add(
            Population(name, (len(matrix),), _FILTER, {k: np.full(1, v, np.float32) for k, v in parameters.items()})
        )
        self._project(sender.name, name, matrix)
        self._project(name, reader.name, reader.matrix, delay=1)

    # -- the network -----------------------------------------------------------------------------------------------

    def _add(self, population: Population) -> None:
        self._populations[population.name] = population

    def _add_sum(self, name: str, size: int, output: bool = False) -> None:
        parameters = {key: np.zeros(1, np.float32) for key in ("threshold", "reset", "initial")}
        self._add(Population(name, (size,), _SUM, parameters, output=output))

    def _project(self, source: str, target: str, matrix: Array, delay: int = 0) -> None:
        self._projections.append((source, target, matrix, delay))

    def _ordered(self) -> Network:
        before: dict[str, list[str]] = {name: [] for name in self._populations}
        for source, target, _, delay in self._projections:
            if not delay:
                before[target].append(source)
        order: dict[str, int] = {}
        waiting = [name for name, p in self._populations.items() if p.dynamics is None]  # inputs, in their order
        waiting += [name for name in self._populations if name not in waiting]
        while waiting:
            ready = [name for name in waiting if all(source in order for source in before[name])]
            if not ready:  # of Nengo's networks only between slices of a node
                raise CompileError(f"network: found a way back to '{waiting[0]}', or from there, without a synapse; "
                                   "give it one, or connect ensembles instead of slices of nodes")  # fmt: skip
            order |= {name: len(order) + k for k, name in enumerate(ready)}
            waiting = [name for name in waiting if name not in order]
        projections = [
            replace(_projection(matrix), source=order[source], target=order[target], delay=delay,
                    name=f"{source} -> {target}")
            for source, target, matrix, delay in self._projections
        ]  # fmt: skip
        populations = [self._populations[name] for name in order]
        return Network(populations, projections, self._dt, "nengo").check()


def _chosen(size: int, index: Any) -> Array:
    """The matrix (chosen, size) of a slice, a list or a number."""
    return np.eye(size)[np.atleast_1d(np.arange(size)[index])]


def _projection(matrix: Array) -> Projection:
    """Of a matrix (target, source); the places in the network come later."""
    weights: Floats = np.ascontiguousarray(matrix.T, np.float32)
    diagonal = np.diagonal(weights)
    if weights.shape[0] == weights.shape[1] and np.count_nonzero(weights) == np.count_nonzero(diagonal):
        return Projection(0, 0, "diagonal", diagonal.copy())
    return Projection(0, 0, "dense", weights)


def _names(network: Any) -> dict[Any, str]:
    """Of ensembles, nodes, connections and probes: labels, after those of the networks around them, made unique."""
    found: dict[Any, str] = {}
    taken: set[str] = set()

    def add(item: Any, name: str) -> None:
        number, full = 1, name
        while not taken.isdisjoint(own := {full, f"{full}.input", f"{full}.filter"}):
            number, full = number + 1, f"{name} {number + 1}"
        taken.update(own)
        found[item] = full

    def walk(part: Any, prefix: str) -> None:
        for item in (*part.nodes, *part.ensembles):
            add(item, prefix + (item.label or type(item).__name__.lower()))
        for inner in part.networks:
            walk(inner, f"{prefix}{inner.label or 'network'}.")

    walk(network, "")
    for item in network.all_connections:
        ends = (found.get(getattr(end, "ensemble", end), "") for end in (item.pre_obj, item.post_obj))
        add(item, item.label or " to ".join(ends))
    for item in network.all_probes:
        add(item, item.label or f"{found.get(getattr(item.obj, 'ensemble', item.obj), '')}.probe")
    return found
