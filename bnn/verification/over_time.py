# SPDX-License-Identifier: Apache-2.0
"""A compiled network of spiking neurons against the simulator whose rules it has: every spike of every layer."""

from __future__ import annotations

import copy
import importlib.metadata
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._arguments import check_count, check_number
from .._distribution import install_packages
from .._text import printable
from .._types import Array, Floats
from ..errors import BnnError, InputError, InputTypeError, SetupError
from ..runtime.arrays import as_numbers
from ..runtime.files import path_text
from ..snn.coding import check_seed
from ..snn.compiler import INPUTS, network_for
from ..snn.file import decode, encode
from ..snn.handle import CURRENT, MEMBRANE, SENT, OpenedNetwork, State, frames, unpacked
from ..snn.model import SpikingModel
from ..snn.network import Network, Population
from ..snn.oracle import Oracle, Record
from ..snn.risk import Risk, find_risk
from ..snn.rules import Emits
from ..snn.simulators import SIMULATORS
from ..snn.whole import quantize, quantize_bias
from .simulators import quiet

_TORCH = ("torch", "nir", "nirtorch")


@dataclass
class LayerReport:
    """One population over all samples.

    ``decisions``: neurons times steps.  ``fed``: decisions of the engine that differ from the simulator's when it gets
    the simulator's own currents; None: the simulator has no such module, or its neurons add currents of their own.
    ``alone``: decisions that differ when the whole network runs alone.  ``why``: "" if all sums are exact, otherwise
    why not.  ``at_risk``: decisions within rounding of turning.
    """

    name: str
    neurons: int
    decisions: int = 0
    spikes: int = 0
    fed: int | None = None
    alone: int | None = None
    why: str = ""
    at_risk: int = 0


@dataclass
class SpikeReport:
    """The result of :func:`verify`.

    ``oracle``: values that differ between the engine and the definition in NumPy (0, or there is a bug).  ``first``:
    the first difference of the networks run alone, as (sample, step, population, neuron), and ``excused``: whether
    that decision was at risk.  ``rounded``: the simulator's weights and biases were rounded, as the file's.
    """

    simulator: str
    version: str
    samples: int
    steps: int
    oracle: int
    layers: list[LayerReport] = field(default_factory=list)
    first: tuple[int, int, str, int] | None = None
    excused: bool = False
    rounded: bool = False

    @property
    def proven(self) -> bool:
        """Whether every sum is exact: then any order of additions gives the same spikes."""
        return not any(layer.why for layer in self.layers)

    @property
    def ok(self) -> bool:
        return self.oracle == 0 and not any(x.fed for x in self.layers) and (self.first is None or self.excused)

    @property
    def silent(self) -> list[str]:
        """Populations that sent nothing in any sample: of these, only silence was compared."""
        return [x.name for x in self.layers if not x.spikes]

    def __str__(self) -> str:
        rows = [("population", "neurons", "decisions", "spikes", "on its currents", "alone", "at risk")]
        for x in self.layers:
            fed, alone = ("-" if n is None else f"{n} differ" for n in (x.fed, x.alone))
            risk = "proven" if not x.why else str(x.at_risk)
            rows.append((x.name, str(x.neurons), str(x.decisions), str(x.spikes), fed, alone, risk))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(c.ljust(w) if not i else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in rows
        ]
        lines.append(f"{self.simulator} {self.version}, {self.samples} x {self.steps} steps; "
                     f"engine and definition: {self.oracle} values differ")  # fmt: skip
        if self.first is not None:
            sample, step, name, neuron = self.first
            lines.append(
                f"first difference: sample {sample}, step {step}, {name}, neuron {neuron}"
                + (": within rounding of its threshold" if self.excused else "")
            )
        if self.proven:
            lines.append("proven: every sum is exact, so no order of additions changes a spike")
        else:
            lines.append(f"at risk: {sum(x.at_risk for x in self.layers)} decisions are within rounding")
            for why in dict.fromkeys(x.why for x in self.layers if x.why):
                lines.append(f"  {', '.join(x.name for x in self.layers if x.why == why)}: {why}")
        if self.rounded:
            lines.append("weights (to eight bits) and biases are rounded on both sides, here and in the simulator")
        if self.silent:
            lines.append(
                f"warning: never sent anything: {', '.join(self.silent)}; their spikes were not compared: more input "
                "shows more (--rate, --steps, --data; x=)"
            )
        return "\n".join(map(printable, lines))


def verify(
    path: str | os.PathLike[str],
    model: SpikingModel,
    x: Any = None,
    *,
    samples: int = 1,
    steps: int = 100,
    rate: float = 0.1,
    seed: int = 0,
    progress: Callable[[int], object] = lambda done: None,
) -> SpikeReport:
    """Compare a compiled network with the simulator, on the NIR file that it was compiled from.

    Three comparisons: the engine with the NumPy definition, bit for bit; every population fed with the simulator's own
    currents; the whole network alone.  If all sums are exact the spikes are proven equal; otherwise decisions within
    rounding of turning are counted.

    Args:
        path: the .nir file.
        model: what :func:`bnn.snn.compile` made of it.
        x: (N, T, *shape), in the simulator's layout, or one sample (T, *shape); None: ``samples`` random ones of
            ``steps`` steps, in which an input sends with probability ``rate``.
        progress: called with the number of samples that are done.

    Raises:
        InputError: the network was not compiled from this file, x has a wrong shape or a value that the input cannot
            send, or a number is wrong.
        SetupError: the simulator is not installed.
    """
    if not isinstance(model, SpikingModel):
        raise InputTypeError(f"model: found {type(model).__name__}, expected a SpikingModel: bnn.snn.load(path)")
    path = path_text(path)
    network = decode(model.to_bytes())
    quantized = _options(path, network)
    given = _samples(network, x, samples, steps, rate, seed)
    for sample in given:
        model._given(sample)  # raises for what the input cannot send
    module = _imported(path, network, quantized)
    report = SpikeReport(
        network.simulator, _version(network.simulator), len(given), given.shape[1], 0, rounded=quantized
    )
    layers = {i: LayerReport(p.name, p.size) for i, p in enumerate(network.populations) if p.dynamics is not None}
    for number, one in enumerate(given):
        # A copy, because neurons may hold their own state.
        _compare(model._opened, network, copy.deepcopy(module), one, number, report, layers)
        progress(1)
    report.layers = list(layers.values())
    return report


def _options(path: str | os.PathLike[str], network: Network) -> bool:
    """Whether the weights were rounded; checks that the network is that of the file."""
    if network.simulator not in SIMULATORS:
        raise InputError(f"the network has the rules of '{network.simulator}', expected one of {', '.join(SIMULATORS)}")
    record = SIMULATORS[network.simulator]
    another = f"{path}: the network was not compiled from this file; compile the file again"
    emits = [network.populations[i].emits for i in network.inputs]
    if len(emits) != 1 or emits[0] not in INPUTS.values():
        raise InputError(another)
    inputs = next(name for name, value in INPUTS.items() if value == emits[0])
    dt = None if record.fixed_dt else _rounded(network.dt, record.dt)
    data = encode(network)
    errors = []
    for weights in ("float32", "int8"):
        for method in record.reset_methods:
            try:
                other = network_for(path, record.name, dt=dt, reset_method=method, inputs=inputs, weights=weights)
            except BnnError as error:
                errors.append(error)
                continue
            if encode(other) == data:
                return weights == "int8"
    if errors:
        raise errors[0]
    raise InputError(another)


def _rounded(dt: float, default: float) -> float:
    """The file has dt as float32: the shortest number that rounds to it."""
    return default if np.float32(default) == np.float32(dt) else float(str(np.float32(dt)))


def _samples(network: Network, x: Any, samples: int, steps: int, rate: float, seed: int) -> Floats:
    """(N, T, *shape), channels first, of the one input."""
    population = network.populations[network.inputs[0]]
    shape = (population.shape[-1], *population.shape[:-1])
    if x is None:
        samples, steps = check_count(samples, "samples"), check_count(steps, "steps")
        if not 0 <= check_number(rate, "rate") <= 1:
            raise InputError(f"rate: found {rate}, expected 0 to 1")
        rng = np.random.default_rng(check_seed(seed))
        given = (rng.random((samples, steps, *shape)) < rate).astype(np.float32)
        return given * rng.normal(size=given.shape).astype(np.float32) if population.emits == Emits.VALUES else given
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        given = as_numbers(x, "x").astype(np.float32)
    if given.ndim == len(shape) + 1:
        given = given[None]
    if given.ndim != len(shape) + 2 or given.shape[2:] != shape or not all(given.shape):
        sizes = ", ".join(map(str, shape))
        raise InputError(f"x: found shape {np.shape(x)}, expected (steps, {sizes}) or (samples, steps, {sizes})")
    return given


def run_engine(opened: OpenedNetwork, inputs: list[Floats], state: State | None = None) -> Record:
    """Everything that happens in the engine, as :meth:`Oracle.run` returns it; from ``state`` on, None: a new one."""
    steps, state, record = len(inputs[0]), state or State(opened), Record()
    raw: dict[int, Array] = {}
    for p in opened.populations:
        raw[p.index] = np.zeros((steps, p.frame // 4), np.uint32 if p.emits == Emits.SPIKES else np.float32)
        state.record(p.index, SENT, raw[p.index])
        wanted = {CURRENT: record.currents} if p.opcode else {}
        wanted |= {MEMBRANE: record.membranes} if p.opcode > 1 else {}
        for what, to in wanted.items():
            to[p.index] = np.zeros((steps, p.size), np.float32)
            state.record(p.index, what, to[p.index])
    given = [p for p in opened.populations if not p.opcode]
    state.run([frames(x, p.emits) for x, p in zip(inputs, given, strict=True)], steps)
    record.sent = {
        i: unpacked(x, opened.populations[i].size, opened.populations[i].emits).astype(np.float32)
        for i, x in raw.items()
    }
    return record


def _differ(a: Record, b: Record) -> int:
    """Values that are not the same."""
    return sum(
        int((~((x == y) | np.isnan(x) & np.isnan(y))).sum())
        for name in ("sent", "currents", "membranes")
        for x, y in ((value, getattr(b, name)[i]) for i, value in getattr(a, name).items())
    )


def _compare(
    opened: OpenedNetwork, network: Network, module: Any, x: Floats, number: int, report: SpikeReport,
    layers: dict[int, LayerReport],
) -> None:  # fmt: skip
    moved = np.moveaxis(x, 1, -1) if x.ndim > 2 else x
    inputs = [np.ascontiguousarray(moved.reshape(len(x), -1))]
    ours = run_engine(opened, inputs)
    report.oracle += _differ(Oracle(network).run(inputs), ours)
    risk = find_risk(network, inputs)
    theirs = run_simulator(network.simulator, module, x, [network.populations[i].name for i in layers])
    state = State(opened)
    first: tuple[int, int, int] | None = None  # step, population, neuron
    for i, layer in layers.items():
        population = network.populations[i]
        layer.decisions += ours.sent[i].size
        layer.spikes += int(np.count_nonzero(ours.sent[i]))
        layer.why = risk.why[i]
        layer.at_risk += int(risk.at_risk[i].sum()) if risk.at_risk else 0
        if population.name not in theirs:
            continue
        received, sent = theirs[population.name]
        sent = _inner(sent, population)
        if _takes_currents(population):
            received = _inner(received, population)
            layer.fed = (layer.fed or 0) + int((_settled(state, population, i, received) != sent).sum())
        wrong = ours.sent[i] != sent
        layer.alone = (layer.alone or 0) + int(wrong.sum())
        if wrong.any():
            step, neuron = (int(n) for n in np.argwhere(wrong)[0])
            first = min(first, (step, i, neuron)) if first is not None else (step, i, neuron)
    if first is not None and report.first is None:
        step, i, neuron = first
        report.first = (number, step, network.populations[i].name, neuron)
        report.excused = _excused(risk, i, step, neuron)


def _takes_currents(population: Population) -> bool:
    """Whether a simulator's module takes what the engine calls currents: not a pool, nor neurons that add their own."""
    rule = population.dynamics.rule if population.dynamics else None
    return rule is not None and not rule.recurrent and (rule.name != "relay" or population.emits == Emits.SPIKES)


def _excused(risk: Risk, population: int, step: int, neuron: int) -> bool:
    """Whether rounding can have turned this decision, or one before that nobody compared."""
    return any(
        bool(rows[: step + 1].any()) if i < population else bool(rows[: step + 1, neuron].any())
        for i, rows in risk.at_risk.items()
        if i <= population
    )


def _inner(values: Floats, population: Population) -> Floats:
    """(T, n) in the engine's order."""
    c, *grid = population.shape[-1], *population.shape[:-1]
    return np.ascontiguousarray(np.moveaxis(values.reshape(len(values), c, *grid), 1, -1)).reshape(len(values), -1)


def _settled(state: State, population: Population, index: int, currents: Floats) -> Floats:
    """What the engine's population sends on these currents."""
    info = state.opened.populations[index]
    state.reset()
    sent = np.zeros((len(currents), info.frame // 4), np.uint32 if info.emits == Emits.SPIKES else np.float32)
    state.record(index, SENT, sent)
    state.settle(index, currents)
    state.forget(index)
    return unpacked(sent, info.size, info.emits).astype(np.float32)


# -- the simulators ---------------------------------------------------------------------------------------------------


def why_not(name: str) -> str:
    """Why a simulator cannot be used here, and what to install, or ""."""
    missing = []
    for package in (*_TORCH, name):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        return f"not installed: {', '.join(missing)}; run: {install_packages(missing)}"
    try:
        with quiet():
            __import__(name)
    except ImportError as error:
        return f"{name} cannot be imported ({error}); install it again: {install_packages([name])}"
    return ""


def _version(name: str) -> str:
    return importlib.metadata.version(name)


def import_file(
    name: str, path: str | os.PathLike[str], dt: float | None, reset_method: str = "value", quantized: bool = False
) -> Any:
    """The torch module that a simulator's own importer makes of a NIR file; ``quantized``: with weights and biases
    rounded."""
    reason = why_not(name)
    if reason:
        raise SetupError(f"{SIMULATORS[name].title}: {reason}")
    import nir

    graph = nir.read(path, type_check=False)
    if quantized:
        _quantize(graph)
    step = {} if dt is None else {"dt": dt}
    with quiet():
        if name == "norse":
            import norse.torch.functional.reset as reset
            from norse.torch.utils.import_nir import from_nir

            module = from_nir(graph, reset_method=getattr(reset, f"reset_{reset_method}"), **step)
        elif name == "snntorch":
            from snntorch.import_nir import import_from_nir

            module = import_from_nir(graph)
        elif name == "spikingjelly":
            from spikingjelly.activation_based.nir_exchange import import_from_nir as import_spikingjelly

            module = import_spikingjelly(graph, **step)
        else:
            from sinabs.nir import from_nir as import_sinabs

            module = import_sinabs(graph, batch_size=1)
    return module


def _quantize(graph: Any) -> None:
    """Round the weights and biases of the package nir's nodes in place, in their own types."""
    for node in graph.nodes.values():
        if hasattr(node, "nodes"):
            _quantize(node)
        elif hasattr(node, "weight"):
            weights = np.asarray(node.weight)
            single = weights.astype(np.float32)
            node.weight = quantize(single).astype(weights.dtype)
            if hasattr(node, "bias"):
                bias = np.asarray(node.bias)
                node.bias = quantize_bias(bias.astype(np.float32), single).astype(bias.dtype)


def _imported(path: str | os.PathLike[str], network: Network, quantized: bool) -> Any:
    record = SIMULATORS[network.simulator]
    dt = None if record.fixed_dt or np.float32(record.dt) == np.float32(network.dt) else _rounded(network.dt, record.dt)
    method = "subtract" if _subtracts(network) and "subtract" in record.reset_methods else "value"
    return import_file(network.simulator, path, dt, method, quantized)


def _subtracts(network: Network) -> bool:
    """Whether Norse's CubaLIF neurons subtract."""
    found = [p.dynamics for p in network.populations if p.dynamics and p.dynamics.rule.name == "synaptic_approach"]
    return any(d.reset.name == "SUBTRACT" for d in found)


def run_simulator(name: str, module: Any, x: Floats, populations: Iterable[str]) -> dict[str, tuple[Floats, Floats]]:
    """(currents, sent), each (T, n) in NIR's order, of each population that is a module; ``x``: (T, ...), a sample."""
    import torch

    taps: dict[str, list[tuple[Array, Array]]] = {}
    parts = dict(module.named_modules())
    hooks = []
    for p in populations:
        full = p if p in parts else p.replace(".", "_")
        if full in parts:
            hooks.append(parts[full].register_forward_hook(_tap(taps, p)))
    state = None
    try:
        with torch.no_grad(), quiet():
            if name == "sinabs":  # all steps at once
                module(torch.from_numpy(np.ascontiguousarray(x)))
            else:
                for step in x:
                    state = module(torch.from_numpy(np.ascontiguousarray(step[None])), state)[1]
    finally:
        for hook in hooks:
            hook.remove()
    rows = len(x) if name == "sinabs" else 1
    return {
        full: (
            np.concatenate([a.reshape(rows, -1) for a, _ in values]),
            np.concatenate([b.reshape(rows, -1) for _, b in values]),
        )
        for full, values in taps.items()
    }


def _tap(taps: dict[str, list[tuple[Array, Array]]], name: str) -> Callable[[Any, Any, Any], None]:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        sent = output[0] if isinstance(output, tuple) else output
        taps.setdefault(name, []).append((inputs[0].detach().numpy().copy(), sent.detach().numpy().copy()))

    return hook
