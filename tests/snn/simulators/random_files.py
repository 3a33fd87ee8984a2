# SPDX-License-Identifier: Apache-2.0
"""Random NIR graphs that a simulator runs.  Weights are multiples of 1/8, so that every sum is exact in any order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import nir_graphs
from ..nir_graphs import node

DT = {"norse": 1e-3, "snntorch": 1e-4, "spikingjelly": 1e-4, "sinabs": 1.0}
KINDS = {
    "norse": ("IF", "LIF", "CubaLIF"),
    "snntorch": ("LIF", "CubaLIF"),
    "spikingjelly": ("IF", "LIF", "CubaLIF"),
    "sinabs": ("IF", "LIF"),
}
# Time constants in steps for which torch rounds exp(-1 / tau) correctly.
SINABS_TAU = (2.0, 3.0, 5.0, 10.0, 20.0, 50.0)


def say(rng: Any, simulator: str, root: dict[str, Any]) -> dict[str, Any]:
    """What the file does not say, by chance."""
    said: dict[str, Any] = {"dt": DT[simulator]}
    if simulator == "norse" and "IF" not in _kinds(root):
        said["reset"] = str(rng.choice(["value", "subtract"]))
    elif simulator == "snntorch":
        said |= {"reset": str(rng.choice(["subtract", "zero", "none"])), "reset_delay": bool(rng.random() < 0.5)}
    elif simulator == "sinabs":
        said |= {"norm_input": bool(rng.random() < 0.5), "min_v_mem": float(rng.choice([-np.inf, -1.0, -0.25]))}
    return said


def _kinds(root: dict[str, Any]) -> set[str]:
    return {root["type"]}.union(*(_kinds(made) for made in root.get("nodes", {}).values()))


def dyadic(rng: Any, *shape: int, low: int = -4, high: int = 9) -> Any:
    return (rng.integers(low, high, shape) / 8).astype(np.float32)


def neuron(rng: Any, simulator: str, shape: tuple[int, ...], kind: str | None = None) -> dict[str, Any]:
    kind = kind or str(rng.choice(KINDS[simulator]))
    one = simulator in ("snntorch", "spikingjelly")  # one number for all neurons
    dt = DT[simulator]
    if simulator == "sinabs" and kind == "LIF":
        shape = (shape[0], *(1 for _ in shape[1:]))

    def each(low: float, high: float) -> Any:
        return (np.ones(shape) * rng.uniform(low, high, () if one else shape)).astype(np.float32)

    def full(value: Any) -> Any:
        return np.full(shape, value, np.float32)

    threshold = full(rng.integers(4, 13) / 8) if one else dyadic(rng, *shape, low=4, high=13)
    values: dict[str, Any] = {"v_threshold": threshold}
    if rng.random() < 0.5:
        values["v_reset"] = full(0)
    if kind == "IF":
        if simulator == "spikingjelly" and rng.random() < 0.5:
            values["v_reset"] = full(-0.25)
        return node("IF", r=full(1 / dt if simulator == "spikingjelly" else 1), **values)
    tau = each(1.5 * dt, 30 * dt)
    leak = full(0)
    if kind == "LIF":
        if simulator == "sinabs":
            tau = rng.choice(SINABS_TAU, shape).astype(np.float32)
        r = full(1)
        if simulator == "spikingjelly":
            if rng.random() < 0.5:
                r = tau / np.float32(dt)
            if rng.random() < 0.5:
                values["v_reset"] = leak = full(-0.125)
        if simulator == "norse" and rng.random() < 0.5:
            leak = dyadic(rng, *shape, low=-2, high=3)
        if simulator == "snntorch":  # r only scales the threshold
            r = (tau / np.float32(dt) * np.float32(rng.choice([1.0, 0.5]))).astype(np.float32)
        return node("LIF", tau=tau, r=r, v_leak=leak, **values)
    tau_syn = each(1.5 * dt, 10 * dt)
    w_in, r = tau_syn / np.float32(dt), tau / np.float32(dt)
    if simulator == "norse":
        w_in, r = dyadic(rng, *shape, low=4, high=33), dyadic(rng, *shape, low=4, high=33)
    if simulator == "snntorch" and rng.random() < 0.5:
        w_in = w_in / 2
    return node("CubaLIF", tau_syn=tau_syn, tau_mem=tau, r=r, v_leak=leak, w_in=w_in, **values)


@dataclass
class Draft:
    """A graph that grows at its end ``last``, which sends ``shape``."""

    rng: Any
    simulator: str
    shape: tuple[int, ...]
    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    last: str = "input"

    def __post_init__(self) -> None:
        self.nodes["input"] = node("Input", shape=list(self.shape))

    def add(self, added: dict[str, Any], shape: tuple[int, ...], name: str = "") -> str:
        name = name or f"{len(self.nodes) - 1:02}"  # names sort as they run
        self.nodes[name] = added
        self.edges.append((self.last, name))
        self.last, self.shape = name, shape
        return name

    def neurons(self, kind: str | None = None) -> str:
        return self.add(neuron(self.rng, self.simulator, self.shape, kind), self.shape)

    def dense(self, outputs: int) -> str:
        weight = dyadic(self.rng, outputs, *self.shape)
        if self.simulator != "sinabs" and self.rng.random() < 0.5:
            return self.add(node("Linear", weight=weight), (outputs,))
        return self.add(node("Affine", weight=weight, bias=dyadic(self.rng, outputs, low=-1, high=2)), (outputs,))

    def conv(self, outputs: int) -> str:
        rng, line = self.rng, len(self.shape) == 2
        rank = 1 if line else 2
        kernel = rng.integers(1, 4, rank)
        stride, dilation = rng.integers(1, 3, rank), rng.integers(1, 3, rank)
        padding: Any = rng.integers(0, 3, rank)
        groups = 2 if self.shape[0] == 4 and outputs == 4 and not line and rng.random() < 0.5 else 1
        groups = 1 if self.simulator == "spikingjelly" else groups
        if rng.random() < 0.2:
            padding = str(rng.choice(["same", "valid"]))
            stride = np.ones(rank, np.int64)
        pad = padding if not isinstance(padding, str) else 0 * kernel
        size = (np.array(self.shape[1:]) + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        if isinstance(padding, str) and padding == "same":
            size = np.array(self.shape[1:])
        if min(size) < 1:
            return self.conv(outputs)
        numbers = {"stride": stride, "padding": padding, "dilation": dilation}
        if line:  # nir has single numbers there
            numbers = {k: v if isinstance(v, str) else int(v[0]) for k, v in numbers.items()}
        weight = dyadic(rng, outputs, self.shape[0] // groups, *kernel)
        made = node("Conv1d" if line else "Conv2d", weight=weight, bias=dyadic(rng, outputs, low=-1, high=2),
                    groups=groups, input_shape=self.shape[1] if line else list(self.shape[1:]), **numbers)  # fmt: skip
        return self.add(made, (outputs, *(int(n) for n in size)))

    def pool(self) -> None:
        rng = self.rng
        kinds = {"norse": ["SumPool2d"], "sinabs": ["SumPool2d"]}.get(self.simulator, ["SumPool2d", "AvgPool2d"])
        kind = str(rng.choice(kinds))
        spikes = self.nodes[self.last]["type"] in ("IF", "LIF", "CubaLIF")
        sizes = [(2, 2), (1, 2), (4, 1), *([(3, 3), (1, 3)] if spikes else [])]
        sizes = [size for size in sizes if size[0] <= self.shape[1] and size[1] <= self.shape[2]] or [(1, 1)]
        kernel = np.array(sizes[rng.integers(len(sizes))])
        stride = rng.integers(1, 3, 2)
        size = (np.array(self.shape[1:]) - kernel) // stride + 1
        made = node(kind, kernel_size=kernel, stride=stride, padding=[0, 0])
        self.add(made, (self.shape[0], *(int(n) for n in size)))
        if kind == "AvgPool2d" and 3 in kernel:  # thirds have no exact sums
            self.neurons()

    def flatten(self) -> str:
        first = 1 if self.simulator in ("norse", "snntorch") and self.rng.random() < 0.5 else 0
        made = node("Flatten", start_dim=first, end_dim=-1, input_type=list(self.shape))
        return self.add(made, (int(np.prod(self.shape)),))

    def recurrent(self, within: bool) -> None:
        """Neurons with weights back to themselves, in a graph of their own or not."""
        rng, n = self.rng, self.shape[0]
        weight = dyadic(rng, n, n, low=-3, high=4)
        back = node("Affine", weight=weight, bias=dyadic(rng, n, low=-1, high=3))
        if rng.random() < 0.3:
            back = node("Linear", weight=weight)
        if not within:
            name = self.neurons()
            self.nodes[f"{name}.w_rec"] = back
            self.edges += [(name, f"{name}.w_rec"), (f"{name}.w_rec", name)]
            return
        inner = {"input": node("Input", shape=[n]), "lif": neuron(rng, self.simulator, (n,)), "w_rec": back,
                 "output": node("Output", shape=[n])}  # fmt: skip
        edges = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
        self.add(nir_graphs.graph(inner, edges), (n,))

    def feedback(self, to: str) -> None:
        """A way back to neurons before, named so that it may come before all else in the file."""
        n = int(np.prod(self.nodes[to]["v_threshold"].shape))
        name = str(self.rng.choice(["back", "00.back", "zzz"]))
        self.nodes[name] = node("Affine", weight=dyadic(self.rng, n, *self.shape, low=-3, high=4),
                                bias=dyadic(self.rng, n, low=-1, high=3))  # fmt: skip
        self.edges += [(self.last, name), (name, to)]

    def done(self) -> dict[str, Any]:
        self.add(node("Output", shape=list(self.shape)), self.shape, "output")
        return nir_graphs.graph(self.nodes, self.edges)


def draw(rng: Any, simulator: str) -> tuple[dict[str, Any], tuple[int, ...]]:
    """(the graph, the shape of its input)"""
    lines = simulator in ("snntorch", "spikingjelly")
    shape: tuple[int, ...] = [(2, 7, 6), (4, 5, 5), (6,), (3, 9)][rng.integers(0, 4 if lines else 3)]
    draft = Draft(rng, simulator, shape)
    if len(shape) > 1:
        for _ in range(int(rng.integers(1, 3))):
            draft.conv(int(rng.choice([3, 4])))
            if rng.random() < 0.3 and len(shape) == 3:
                draft.pool()
            draft.neurons()
            if rng.random() < 0.5 and len(shape) == 3:
                draft.pool()
        if draft.rng.random() < 0.3 and draft.nodes[draft.last]["type"] not in ("IF", "LIF", "CubaLIF"):
            draft.neurons()
        draft.flatten()
    draft.dense(5)
    if rng.random() < 0.3:
        draft.dense(4)
    first = draft.neurons()
    if simulator != "sinabs" and rng.random() < 0.7:
        draft.dense(4)
        draft.recurrent(within=simulator == "snntorch" or bool(rng.random() < 0.5))
    if rng.random() < 0.5:
        draft.dense(int(np.prod(draft.nodes[first]["v_threshold"].shape)))
        last = draft.neurons()
        if draft.edges[-1][0] != first:
            draft.edges.append((first, last))  # past the layers between
    if simulator != "sinabs" and rng.random() < 0.5 and draft.nodes[draft.last].get("type") != "NIRGraph":
        if draft.last == first:
            draft.dense(6)
            draft.neurons()
        draft.feedback(first)
    if rng.random() < 0.5:
        draft.dense(3)
    if simulator == "sinabs" and rng.random() < 0.5:
        tau = rng.choice(SINABS_TAU, draft.shape).astype(np.float32)
        draft.add(node("LI", tau=tau, r=np.ones_like(tau), v_leak=np.zeros_like(tau)), draft.shape)
    return draft.done(), shape
