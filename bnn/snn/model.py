# SPDX-License-Identifier: Apache-2.0
"""Run .snn files: arrays in, spikes out.  Uses bytes and bnn_snn.h; nothing from the compiler."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._types import Array, Floats
from ..errors import InputError, InputTypeError, ModelFormatError
from ..runtime.arrays import given, given_shape
from ..runtime.files import path_text, replacing
from ..runtime.handles import Memory, map_file, select_kernels
from ..runtime.native import ffi
from .handle import CURRENT, MEMBRANE, SENT, OpenedNetwork, PopulationInfo, ProjectionInfo, State, frames, unpacked
from .network import Shape
from .rules import BY_OPCODE, Emits, Reset


@dataclass(frozen=True)
class Layer:
    """What a population did in a run: ``spikes`` that it sent (of values: those that are not 0), and ``synops``, the
    additions of a weight to its currents."""

    name: str
    rule: str
    neurons: int
    spikes: int
    synops: int


@dataclass(frozen=True)
class Run:
    """One run of T steps.

    ``outputs`` and ``recorded`` by population: spikes are uint8 (T, *shape), counts and values float32, in the layout
    of the source.  ``membranes`` and ``currents``, float32, of the populations that were asked for.
    """

    steps: int
    outputs: dict[str, Array]
    recorded: dict[str, Array]
    membranes: dict[str, Floats]
    currents: dict[str, Floats]
    layers: tuple[Layer, ...]

    @property
    def output(self) -> Array:
        """That of the first output population."""
        return next(iter(self.outputs.values()))

    @property
    def scores(self) -> Floats:
        """The first output's sum over time, float32 (n,): the number of spikes of each class."""
        return np.asarray(self.output.reshape(self.steps, -1).sum(axis=0, dtype=np.float32))

    @property
    def synops(self) -> int:
        return sum(layer.synops for layer in self.layers)

    @property
    def spikes(self) -> int:
        return sum(layer.spikes for layer in self.layers)

    def __str__(self) -> str:
        rows = [("population", "rule", "neurons", "spikes", "spikes/step", "SynOps")]
        rows += [
            (x.name, x.rule, f"{x.neurons}", f"{x.spikes}", f"{x.spikes / max(self.steps, 1):.1f}", f"{x.synops}")
            for x in self.layers
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        return "\n".join(
            "  ".join(t.ljust(w) if i < 2 else t.rjust(w) for i, (t, w) in enumerate(zip(row, widths, strict=True)))
            for row in rows
        )


class SpikingModel:
    """A network of spiking neurons, ready to run, with the state of its neurons between two steps.

    ``run(x)`` takes what the input sends, (T, *shape) with the channels where the source has them, from the first step
    on; :meth:`step` goes on where the last step ended.  A model belongs to one thread at a time.
    """

    def __init__(self, opened: OpenedNetwork, max_bytes: int = 0) -> None:
        """Use :meth:`from_file`, :meth:`from_bytes` or ``bnn.snn.compile``."""
        self._opened = opened
        self._state = State(opened, max_bytes)
        self._inputs = [p for p in opened.populations if not p.opcode]
        self._outputs = [p for p in opened.populations if p.output]

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, kernels: str | None = None, max_bytes: int = 0) -> SpikingModel:
        """Map a .snn file into memory and check it.

        Args:
            kernels: the kernel family; default: BNN_KERNELS, or the fastest.
            max_bytes: memory that the neurons may take; default: 256 MiB plus 256 times the file's size.

        Raises:
            ModelNotFoundError, ModelFileError: it cannot be opened.
            ModelFormatError: it is empty, truncated, damaged, contradictory or of another version.
            InputError: ``kernels`` names no family that this processor runs, or the neurons need more than max_bytes.
        """
        name = path_text(path)
        family = select_kernels(kernels)
        owner, data, size = map_file(name)
        if size == 0:
            raise ModelFormatError(f"{name}: the file is empty; make one with bnn snn compile FILE.nir")
        return cls(OpenedNetwork(data, size, owner, family, name), max_bytes)

    @classmethod
    def from_bytes(
        cls, data: bytes | bytearray | memoryview, *, kernels: str | None = None, max_bytes: int = 0
    ) -> SpikingModel:
        """The same from the bytes of a .snn file, which are copied."""
        family = select_kernels(kernels)
        try:
            view = memoryview(data).cast("B")
        except TypeError:
            raise InputTypeError(f"found {type(data).__name__}, expected the bytes of a .snn file") from None
        if not len(view):
            raise ModelFormatError("no bytes: expected the contents of a .snn file")
        memory = Memory(len(view))
        ffi.memmove(memory.pointer, view, len(view))
        return cls(OpenedNetwork(memory.pointer, len(view), memory, family, "network in memory"), max_bytes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the .snn file; one that is there is replaced as a whole."""
        with replacing(path_text(path)) as file:
            file.write(self.to_bytes())

    def to_bytes(self) -> bytes:
        """The file's bytes, with the weights and thresholds as they were learned."""
        if not self._learns:
            return bytes(self._opened.buffer())
        from .file import decode, encode

        network = decode(bytes(self._opened.buffer()))
        for projection in self.projections:
            if projection.learns:
                network.projections[projection.index].weights = self._state.weights(projection)
        for population in self.populations:
            if population.adapts:
                network.populations[population.index].adapted = self._state.get(population.index, "adapted")
        return encode(network)

    @property
    def _learns(self) -> bool:
        return any(p.learns for p in self.projections) or any(p.adapts for p in self.populations)

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def populations(self) -> tuple[PopulationInfo, ...]:
        return self._opened.populations

    @property
    def projections(self) -> tuple[ProjectionInfo, ...]:
        return self._opened.projections

    @property
    def dt(self) -> float:
        """Seconds of a step; 0 if nobody said."""
        return self._opened.dt

    @property
    def simulator(self) -> str:
        """Whose rules it has, or ""."""
        return self._opened.simulator

    @property
    def kernels(self) -> str:
        return self._opened.kernels

    @property
    def input_shapes(self) -> dict[str, Shape]:
        """Without time, in the layout of the source."""
        return {p.name: self._outer(p) for p in self._inputs}

    @property
    def output_shapes(self) -> dict[str, Shape]:
        return {p.name: self._outer(p) for p in self._outputs}

    def __repr__(self) -> str:
        neurons = sum(p.size for p in self.populations)
        return (
            f"<SpikingModel: {neurons} neurons in {len(self.populations)} populations, "
            f"{sum(p.weights for p in self.projections)} weights, rules of {self.simulator or 'nobody'}>"
        )

    # -- running --------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """As before the first step, with what was learned: weights and thresholds."""
        self._state.reset()

    def run(
        self, x: Any, *, record: Iterable[str] = (), membranes: Iterable[str] = (), currents: Iterable[str] = (),
        reset: bool = True, learn: bool = False,
    ) -> Run:  # fmt: skip
        """Run T steps.

        Args:
            x: what the input sends, (T, *shape); several inputs: a dict by name, or a list in their order.
            record: populations whose spikes are returned, beside the outputs; ``membranes``, ``currents``: likewise.
            reset: start as before the first step; otherwise go on.
            learn: after each step change the weights that can, and adapt thresholds; they stay as they are when the
                model is reset, and :meth:`save` writes them.

        Raises:
            InputError: a wrong shape, an input of spikes that is neither 0 nor 1, a name that is not there, or nothing
                that learns.
        """
        if learn and not self._learns:
            raise InputError("learn: no weights of this network learn and no threshold adapts, expected learn=False")
        given, steps = self._given(x)
        before = None if reset else self._counts()
        if reset:
            self.reset()
        sent, record = {}, tuple(record)
        for p in self.populations:
            if p.output or p.name in record:
                sent[p] = np.zeros((steps, p.frame // 4), np.uint32 if p.emits == Emits.SPIKES else np.float32)
                self._state.record(p.index, SENT, sent[p])
        floats: dict[str, dict[PopulationInfo, Floats]] = {}
        for what, names in ((MEMBRANE, membranes), (CURRENT, currents)):
            floats[what] = {p: np.zeros((steps, p.size), np.float32) for p in self._named(names, what)}
            for p, values in floats[what].items():
                self._state.record(p.index, what, values)
        self._named(record, SENT)
        self._state.set_learning(learn)
        try:
            self._state.run(given, steps)
        finally:
            for p in self.populations:
                self._state.forget(p.index)
        arrays = {p: self._to_outer(unpacked(x, p.size, p.emits), p) for p, x in sent.items()}
        return Run(
            steps,
            {p.name: x for p, x in arrays.items() if p.output},
            {p.name: x for p, x in arrays.items() if p.name in record},
            {p.name: self._to_outer(x, p) for p, x in floats[MEMBRANE].items()},
            {p.name: self._to_outer(x, p) for p, x in floats[CURRENT].items()},
            self._layers(before),
        )

    def step(self, x: Any, *, learn: bool = False) -> Array:
        """One more step on what the input sends, without the dimension of time; returns the first output's."""
        first = self._inputs[0] if len(self._inputs) == 1 else None
        one = np.asarray(x)[None] if first is not None and not isinstance(x, (dict, list, tuple)) else x
        if isinstance(x, dict):
            one = {name: np.asarray(value)[None] for name, value in x.items()}
        elif isinstance(x, (list, tuple)) and first is None:
            one = [np.asarray(value)[None] for value in x]
        return np.asarray(self.run(one, reset=False, learn=learn).output[0])

    def scores(self, x: Any) -> Floats:
        """Of each sample of (N, T, *shape): the first output's sum over time, (N, n), each from the first step on."""
        return np.array([self.run(sample).scores for sample in np.asarray(x)], np.float32)

    # -- learning -------------------------------------------------------------------------------------------------

    def weights(self, name: str) -> Floats:
        """Those of a projection that learns, by its name: a copy, float32 (sources, targets)."""
        return self._state.weights(self._learner(name))

    def set_weights(self, name: str, weights: Floats) -> None:
        """The inverse; they are bounded in the next step that learns."""
        self._state.set_weights(self._learner(name), np.asarray(weights))

    def thresholds(self, name: str) -> Floats:
        """How far those of a population have adapted: float32 (n,), beyond its parameter."""
        for p in self.populations:
            if p.name == name and p.adapts:
                return self._state.get(p.index, "adapted")
        names = ", ".join(p.name for p in self.populations if p.adapts) or "none: no threshold adapts"
        raise InputError(f"thresholds of '{name}': they do not adapt, expected one of {names}")

    def normalize(self) -> None:
        """Scale each target's weights, where a projection has a norm; usually after each sample."""
        self._state.normalize()

    def _learner(self, name: str) -> ProjectionInfo:
        for p in self.projections:
            if p.name == name and p.learns:
                return p
        names = ", ".join(p.name for p in self.projections if p.learns) or "none: no projection learns"
        raise InputError(f"weights of '{name}': they do not learn, expected one of {names}")

    # -- layouts --------------------------------------------------------------------------------------------------

    def _outer(self, p: PopulationInfo) -> Shape:
        """The shape in the source's layout."""
        return given_shape(p.shape, self._opened.channels_first)

    def _to_outer(self, x: Array, p: PopulationInfo) -> Array:
        return given(x.reshape(len(x), *p.shape), self._opened.channels_first)

    def _given(self, x: Any) -> tuple[list[Array | None], int]:
        """Frames of every input, and the number of steps."""
        names = [p.name for p in self._inputs]
        if isinstance(x, dict):
            if set(x) != set(names):
                raise InputError(f"inputs: found {', '.join(map(str, x))}, expected {', '.join(names)}")
            arrays = [x[name] for name in names]
        elif isinstance(x, (list, tuple)) and len(names) > 1:
            arrays = list(x)
        else:
            arrays = [x]
        if len(arrays) != len(names):
            raise InputError(f"inputs: found {len(arrays)}, expected {len(names)}: {', '.join(names)}")
        found = [self._frames(np.asarray(a), p) for a, p in zip(arrays, self._inputs, strict=True)]
        steps = {len(a) for a in found}
        if len(steps) > 1:
            raise InputError(f"inputs: found {sorted(steps)} steps, expected one number for all inputs")
        return list(found), steps.pop()

    def _frames(self, x: Array, p: PopulationInfo) -> Array:
        if x.ndim != len(p.shape) + 1 or x.shape[1:] != self._outer(p):
            raise InputError(
                f"input {p.name}: found shape {x.shape}, expected (steps, {', '.join(map(str, self._outer(p)))})"
            )
        if x.dtype.kind not in "buif":
            raise InputTypeError(f"input {p.name}: found dtype {x.dtype}, expected numbers")
        if p.emits == Emits.SPIKES and x.dtype != bool and not ((x == 0) | (x == 1)).all():
            raise InputError(f"input {p.name}: found a value that is neither 0 nor 1, expected spikes")
        if p.emits == Emits.COUNTS and not ((x >= 0) & (x == np.floor(x)) & (x <= 2**24)).all():
            raise InputError(f"input {p.name}: expected numbers of spikes, whole numbers from 0 to 2^24")
        if p.emits == Emits.VALUES and not np.isfinite(x).all():
            raise InputError(f"input {p.name}: found a value that is not finite")
        x = np.moveaxis(x, 1, -1) if self._opened.channels_first else x
        return frames(x.reshape(len(x), -1), p.emits)

    def _named(self, names: Iterable[str], what: str) -> list[PopulationInfo]:
        by_name = {p.name: p for p in self.populations}
        found = []
        for name in names:
            p = by_name.get(name)
            if p is None or (what != SENT and not p.opcode) or (what == MEMBRANE and p.opcode == 1):
                raise InputError(f"{what} of '{name}': no such population, expected one of {', '.join(by_name)}")
            found.append(p)
        return found

    def _counts(self) -> tuple[list[int], list[int]]:
        return (
            [self._state.sent(p.index) for p in self.populations],
            [self._state.synops(p.index) for p in self.projections],
        )

    def _layers(self, before: tuple[list[int], list[int]] | None) -> tuple[Layer, ...]:
        sent, synops = self._counts()
        if before is not None:
            sent = [a - b for a, b in zip(sent, before[0], strict=True)]
            synops = [a - b for a, b in zip(synops, before[1], strict=True)]
        into = [
            sum(n for q, n in zip(self.projections, synops, strict=True) if q.target == p.index)
            for p in self.populations
        ]
        return tuple(
            Layer(p.name, rule_text(p), p.size, n, m) for p, n, m in zip(self.populations, sent, into, strict=True)
        )


def rule_text(p: PopulationInfo) -> str:
    """A population's rule, comparison and reset in a few words."""
    if not p.opcode:
        return "input"
    rule = BY_OPCODE[p.opcode].name
    if p.emits != Emits.SPIKES:
        return f"{rule}, {p.emits.name.lower()}"
    return f"{rule}, {'>=' if p.at_least else '>'}, reset {Reset(p.reset).name.lower()}"


def load(path: str | os.PathLike[str], *, kernels: str | None = None, max_bytes: int = 0) -> SpikingModel:
    """Open a .snn file: see :meth:`SpikingModel.from_file`."""
    return SpikingModel.from_file(path, kernels=kernels, max_bytes=max_bytes)


def build(network: Any, *, kernels: str | None = None) -> SpikingModel:
    """Write a :class:`~bnn.snn.network.Network` and open it."""
    from .file import encode

    return SpikingModel.from_bytes(encode(network), kernels=kernels)
