# SPDX-License-Identifier: Apache-2.0
"""A compiled network of spiking neurons against the simulator whose rules it has: every spike of every layer."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._arguments import check_count, check_flag, check_number
from .._types import Floats
from ..errors import BnnError, InputError, InputTypeError
from ..runtime.arrays import as_numbers
from ..runtime.files import path_text
from ..snn.calling import WAYS, run_module, trained_way
from ..snn.coding import check_seed
from ..snn.compare import differing, first_of, has_neurons, inner, run_engine, settled, takes_currents
from ..snn.compiler import INPUTS, WEIGHTS, network_for
from ..snn.file import decode, encode
from ..snn.from_nir import check_options
from ..snn.handle import OpenedNetwork, State
from ..snn.model import SpikingModel
from ..snn.network import Network
from ..snn.nir_file import read_nir
from ..snn.oracle import Oracle, Record
from ..snn.rounding_risk import find_risk
from ..snn.rules import Emits
from ..snn.simulators import SIMULATORS, SPIKE_FNS
from ..snn.simulators.sinabs import tau_of
from .modules import import_file
from .report import Report, Row, column, rows_table


@dataclass
class PopulationCheck(Row):
    """One population over all samples.

    ``decisions``: neurons times steps.  ``fed``: decisions of the engine that differ from the simulator's when it gets
    the simulator's own currents; None: the simulator has no such module, or its neurons add currents of their own.
    ``alone``: decisions that differ when the whole network runs alone.  ``trained``: decisions that differ from the
    trained module's; None: no module was given, or it has no part of this name.  ``why``: "" if all sums are exact,
    otherwise why not.  ``at_risk``: decisions within rounding of turning.  Real values differ if they do by more than
    rounding.
    """

    name: str = column("population")
    neurons: int = column("neurons")
    decisions: int = column("decisions", 0)
    spikes: int = column("spikes", 0)
    fed: int | None = column("differ on its currents", None, fails=True)
    alone: int | None = column("differ alone", None)
    trained: int | None = column("differ from the module", None)
    why: str = ""
    at_risk: int = column("at risk", 0)


@dataclass
class SpikeReport(Report):
    """The result of :func:`verify`.

    ``oracle``: values that differ between the engine and the definition in NumPy (0, or there is a bug).  ``first``:
    the first difference of the networks run alone, as (sample, step, population, neuron), and ``excused``: whether
    that decision was at risk; ``first_trained``, ``excused_trained``: of the network and the trained module.
    ``rounded``: the simulator's weights and biases were rounded, as the file's.  ``module``: how the trained module was
    called; "" if none was given.  ``allow_silent``: ``ok`` does not ask whether every population sent something.
    ``missing``: populations of neurons that are no part of what the simulator's importer made, so nothing was compared.
    """

    told = ("ok", "verdict", "proven", "silent")
    simulator: str
    version: str
    samples: int
    steps: int
    oracle: int = column(fails=True)
    layers: list[PopulationCheck] = field(default_factory=list)
    first: tuple[int, int, str, int] | None = None
    excused: bool = False
    first_trained: tuple[int, int, str, int] | None = None
    excused_trained: bool = False
    rounded: bool = False
    module: str = ""
    missing: list[str] = field(default_factory=list)

    @property
    def proven(self) -> bool:
        """Whether every sum is exact: then any order of additions gives the same spikes."""
        return not any(layer.why for layer in self.layers)

    @property
    def equal(self) -> bool:
        """Whether nothing differs, except by rounding."""
        equal = not super().failed and (self.first is None or self.excused)
        return equal and (self.first_trained is None or self.excused_trained)

    @property
    def failed(self) -> bool:
        return not self.equal or bool(self.missing)

    @property
    def verdict(self) -> str:
        if self.ok or not self.equal:
            return super().verdict
        if self.missing:
            return f"NOT COMPARED: the simulator has no {', '.join(self.missing)}"
        return f"NOT COMPARED: nothing fired in {', '.join(self.silent)}"

    @property
    def silent(self) -> list[str]:
        """Populations that sent nothing in any sample: of these, only silence was compared, and ``ok`` is False."""
        return [x.name for x in self.layers if not x.spikes]

    def lines(self) -> Iterator[str]:
        yield from rows_table(self.layers)
        yield (
            f"{self.simulator} {self.version}, {self.samples} x {self.steps} steps; "
            f"engine and definition: {self.oracle} values differ"
        )
        trained = (" from the trained module", self.first_trained, self.excused_trained)
        for what, first, at_risk in (("", self.first, self.excused), trained):
            if first is not None:
                sample, step, name, neuron = first
                excuse = ": within rounding of its threshold" if at_risk else ""
                yield f"first difference{what}: sample {sample}, step {step}, {name}, neuron {neuron}{excuse}"
        if self.module:
            yield f"the trained module was called {self.module}"
        if self.first_trained is not None and not self.excused_trained:
            yield (
                "the file is another network than the trained module: a file does not say all that a neuron does; "
                "compile it with what yours do (reset=, reset_delay=, ...; --reset, --reset-delay, ...)"
            )
        if self.proven:
            yield "proven: every sum is exact, so no order of additions changes a spike"
        else:
            yield "not proven, because sums may be rounded:"
            for why in dict.fromkeys(x.why for x in self.layers if x.why):
                yield f"  {', '.join(x.name for x in self.layers if x.why == why)}: {why}"
            yield f"decisions at risk, within rounding of turning: {sum(x.at_risk for x in self.layers)}"
        if self.rounded:
            yield "weights (to eight bits) and biases are rounded on both sides, here and in the simulator"
        if self.silent:
            yield (
                f"nothing fired in {', '.join(self.silent)}: only silence was compared there; give more input "
                "(--rate, --steps, --data; x=)"
                + ("" if self.allow_silent else ", or say that this is right (--allow-silent; allow_silent=True)")
            )


def verify(
    path: str | os.PathLike[str],
    model: SpikingModel,
    x: Any = None,
    *,
    samples: int = 1,
    steps: int = 100,
    rate: float = 0.1,
    seed: int = 0,
    module: Any = None,
    time_major: bool | None = None,
    allow_silent: bool = False,
    progress: Callable[[int], object] = lambda done: None,
) -> SpikeReport:
    """Compare a compiled network with the simulator, on the NIR file that it was compiled from, and with the trained
    module.

    Three comparisons with what the simulator's importer makes of the file, its neurons as the network was compiled: the
    engine with the NumPy definition, bit for bit; every population fed with the simulator's own currents; the whole
    network alone.  If all sums are exact the spikes are proven equal; otherwise decisions within rounding of turning
    are counted.  The file does not say all that a neuron does, so only ``module`` shows whether the network is the
    trained one: its output is compared in each step, and each population that is a part of it by name.

    A module is called for one sample at a time, in evaluation mode and without gradients; its neurons' states are reset
    before and after.  It returns spikes, or a tuple that begins with them.  How it is called:

    - snnTorch: for each step, with (1, *shape), if its neurons have ``init_hidden=True``; with the states that it
      returned after the spikes, too, if its forward takes more than the input (None in the first step); otherwise once,
      with (T, 1, *shape).
    - Norse: for each step, with (1, *shape) and the state that it returned; once, with (T, 1, *shape), if it has
      modules over time, such as LIFBox, or its forward takes the input alone.
    - SpikingJelly: for each step, with (1, *shape); once, with (T, 1, *shape), if a part has step_mode "m".
    - sinabs: once, with (1, T, *shape), or (T, *shape) if it has layers that squeeze (made for a batch of 1).

    Args:
        path: the .nir file.
        model: what :func:`bnn.snn.compile` made of it.
        x: (T, *shape), or (T, N, *shape) of N samples, in the simulator's layout, as :meth:`SpikingModel.run` takes it;
            None: ``samples`` random ones of ``steps`` steps, in which an input sends with probability ``rate``.
        module: the trained torch module that the file was exported from.
        time_major: whether the module takes all steps at once, (T, 1, *shape); None: as above.
        allow_silent: ``ok`` may be True though a population never sent anything.
        progress: called with the number of samples that are done.

    Raises:
        InputError: the network was not compiled from this file, x has a wrong shape or a value that the input cannot
            send, a number is wrong, values of the run are not finite, or the module cannot be called so.
        CompileError: the simulator's importer fails on the file.
        SetupError: the simulator, or a package that it needs, is not installed.
    """
    if not isinstance(model, SpikingModel):
        raise InputTypeError(f"model: found {type(model).__name__}, expected a SpikingModel: bnn.snn.load(path)")
    if time_major is not None:
        check_flag(time_major, "time_major")
    check_flag(allow_silent, "allow_silent")
    path = path_text(path)
    network = decode(model.to_bytes())
    said, quantized = _options(path, network)
    given = _samples(network, x, samples, steps, rate, seed)
    for number in range(given.shape[1]):
        model._given(given[:, number])  # raises for what the input cannot send
    simulator = SIMULATORS[name := network.simulator]
    modules = [(import_file(name, path, quantized=quantized, **said), simulator.imported)]
    if module is not None:
        modules.append((module, trained_way(name, module, time_major)))
    report = SpikeReport(
        name, simulator.version() or "", given.shape[1], len(given), 0, rounded=quantized, allow_silent=allow_silent
    )
    if module is not None:
        sizes = ", ".join(map(str, given.shape[2:]))
        report.module = WAYS[modules[1][1]].replace("*shape", sizes)
    layers = {i: PopulationCheck(p.name, p.size) for i, p in enumerate(network.populations) if p.dynamics is not None}
    for number in range(given.shape[1]):
        _compare(model._opened, network, modules, given[:, number], number, report, layers)
        progress(1)
    report.layers = list(layers.values())
    report.missing = [x.name for i, x in layers.items() if x.alone is None and has_neurons(network.populations[i])]
    return report


def _options(path: str | os.PathLike[str], network: Network) -> tuple[dict[str, Any], bool]:
    """What was said of the file when it was compiled, and whether the weights were rounded; checks that the network is
    that of the file."""
    if network.simulator not in SIMULATORS:
        whose = f"the rules of '{network.simulator}'" if network.simulator else "rules of its own"
        raise InputError(f"model: found a network with {whose}, expected one that was compiled from {path} for one of "
                         f"{', '.join(SIMULATORS)}: bnn.snn.compile")  # fmt: skip
    record = SIMULATORS[network.simulator]
    another = f"{path}: the network was not compiled from this file; compile the file again"
    emits = [network.populations[i].emits for i in network.inputs]
    if len(emits) != 1 or emits[0] not in INPUTS.values():
        raise InputError(another)
    inputs = next(name for name, value in INPUTS.items() if value == emits[0])
    dt = None if record.fixed_dt else _rounded(network.dt, record.dt)
    data, graph = encode(network), read_nir(path)
    errors = []
    for said in _sayings(network, record.resets, record.unsaid):
        for weights in WEIGHTS:
            try:
                other, _ = network_for(graph, check_options(record.name, dt=dt, **said), inputs, weights)
            except BnnError as error:
                errors.append(error)
                continue
            if encode(other) == data:
                return {"dt": dt, **said}, weights == "int8"
    if errors:
        raise errors[0]
    raise InputError(another)


def _sayings(network: Network, resets: tuple[str, ...], unsaid: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """All that can be said of neurons with which this network may have been compiled."""
    neurons = [(p.dynamics, p.parameters) for p in network.populations if p.dynamics is not None]
    resets_to = {float(q["reset"][0]) for d, q in neurons if d.rule.name != "relay" and not d.floored}
    floors = {float(q["reset"][0]) for d, q in neurons if d.floored}
    decays = {float(q["alpha"][0]) for d, q in neurons if d.rule.name == "synaptic_scaled"}
    either = [True, False]
    choices: dict[str, list[Any]] = {
        "reset": list(resets), "reset_delay": either, "v_reset": sorted(resets_to) or [0.0], "parametric": either,
        "spike_fn": list(SPIKE_FNS), "norm_input": either, "tau_syn": sorted(map(tau_of, decays)) or [0.0],
        "min_v_mem": [*sorted(floors), -math.inf],
    }  # fmt: skip
    names = [name for name in choices if name in unsaid]
    for values in itertools.product(*(choices[name] for name in names)):
        yield dict(zip(names, values, strict=True))


def _rounded(dt: float, default: float) -> float:
    """The file has dt as float32: the shortest number that rounds to it."""
    return default if np.float32(default) == np.float32(dt) else float(str(np.float32(dt)))


def _samples(network: Network, x: Any, samples: int, steps: int, rate: float, seed: int) -> Floats:
    """(T, N, *shape), channels first, of the one input."""
    population = network.populations[network.inputs[0]]
    shape = (population.shape[-1], *population.shape[:-1])
    if x is None:
        samples, steps = check_count(samples, "samples"), check_count(steps, "steps")
        if not 0 <= check_number(rate, "rate") <= 1:
            raise InputError(f"rate: found {rate}, expected 0 to 1")
        rng = np.random.default_rng(check_seed(seed))
        given = (rng.random((steps, samples, *shape)) < rate).astype(np.float32)
        return given * rng.normal(size=given.shape).astype(np.float32) if population.emits == Emits.VALUES else given
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        given = as_numbers(x, "x").astype(np.float32)
    if given.ndim == len(shape) + 1:
        given = given[:, None]
    if given.ndim != len(shape) + 2 or given.shape[2:] != shape or not all(given.shape):
        sizes = ", ".join(map(str, shape))
        raise InputError(f"x: found shape {np.shape(x)}, expected (steps, {sizes}) or (steps, samples, {sizes})")
    return given


def _differ(a: Record, b: Record) -> int:
    """Values that are not the same."""
    return sum(
        int((~((x == y) | np.isnan(x) & np.isnan(y))).sum())
        for name in ("sent", "currents", "membranes")
        for x, y in ((value, getattr(b, name)[i]) for i, value in getattr(a, name).items())
    )


def _compare(
    opened: OpenedNetwork, network: Network, modules: list[tuple[Any, str]], x: Floats, number: int,
    report: SpikeReport, layers: dict[int, PopulationCheck],
) -> None:  # fmt: skip
    """One sample, (T, *shape); ``modules``: the importer's, and the trained one, with how they are called."""
    moved = np.moveaxis(x, 1, -1) if x.ndim > 2 else x
    inputs = [np.ascontiguousarray(moved.reshape(len(x), -1))]
    ours = run_engine(opened, inputs)
    report.oracle += _differ(Oracle(network).run(inputs), ours)
    risk = find_risk(network, inputs)
    names = [network.populations[i].name for i in layers]
    runs = [run_module(network.simulator, module, x, way, names) for module, way in modules]
    state = State(opened)
    for i, layer in layers.items():
        population = network.populations[i]
        layer.decisions += ours.sent[i].size
        layer.spikes += int(np.count_nonzero(ours.sent[i]))
        layer.why = risk.why[i]
        layer.at_risk += int(risk.at_risk[i].sum()) if risk.at_risk else 0
        received, sent = runs[0][1].get(population.name, (None, None))
        if received is not None and sent is not None and takes_currents(population):
            ours_fed = settled(state, population, i, inner(received, population))
            layer.fed = (layer.fed or 0) + int((ours_fed != inner(sent, population)).sum())
    wrong = differing(network, ours, risk, {name: sent for name, (_, sent) in runs[0][1].items()})
    for i, found in wrong.items():
        layers[i].alone = (layers[i].alone or 0) + int(found.sum())
    if report.first is None:
        report.first, report.excused = first_of(network, risk, wrong, number)
    for (output, parts), (_, way) in zip(runs[1:], modules[1:], strict=True):
        last = network.populations[network.outputs[0]]
        if output is None or output.shape[1] != last.size:
            raise InputError(
                f"module: called {WAYS[way]}, it returned "
                f"{'something else' if output is None else output.shape[1]} for a step, expected {last.size} values: "
                f"what {last.name} sends; say time_major=True or False (--time-major), whether it takes all steps at "
                "once"
            )
        wrong = differing(network, ours, risk, {**{name: sent for name, (_, sent) in parts.items()}, last.name: output})
        for i, found in wrong.items():
            layers[i].trained = (layers[i].trained or 0) + int(found.sum())
        if report.first_trained is None:
            report.first_trained, report.excused_trained = first_of(network, risk, wrong, number)
