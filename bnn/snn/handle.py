# SPDX-License-Identifier: Apache-2.0
"""The C objects of bnn_snn.h as Python objects: an opened network, and a state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .._arguments import check_count, check_text
from .._types import Array, Floats
from ..errors import BnnError, InputError
from ..runtime.handles import FLOATS, Contents, Memory, OpenedFile, Pulse, check, text_of
from ..runtime.native import CData, ffi, lib
from .network import Shape
from .rules import BY_OPCODE, Emits, overflow_text

#: The default limit on a state's memory: STATE_BYTES plus STATE_TIMES times the file's size.
STATE_BYTES, STATE_TIMES = 2**28, 256
SENT, CURRENT, MEMBRANE = "sent", "current", "membrane"
_WHAT = {SENT: lib.BNN_SNN_SENT, CURRENT: lib.BNN_SNN_CURRENT, MEMBRANE: lib.BNN_SNN_MEMBRANE}
_VARIABLES = {
    "v": lib.BNN_SNN_V, "i": lib.BNN_SNN_I, "refractory": lib.BNN_SNN_REFRACTORY, "adapted": lib.BNN_SNN_ADAPTED,
    "level": lib.BNN_SNN_LEVEL, "inhibition": lib.BNN_SNN_INHIBITION, "b": lib.BNN_SNN_B,
}  # fmt: skip
_KINDS = {
    lib.BNN_SNN_DENSE: "dense", lib.BNN_SNN_CONV: "conv", lib.BNN_SNN_DIAGONAL: "diagonal",
    lib.BNN_SNN_WINDOW: "window", lib.BNN_SNN_WIRES: "wires",
}  # fmt: skip
_WORDS = ffi.typeof("uint32_t[]")
_STEPS = 4096  # in one call into C
#: Per population what it sent, per projection its additions of a weight.
Counts = tuple[list[int], list[int]]


@dataclass(frozen=True, eq=False)  # to be looked up: by what it is, not by all that it has
class PopulationInfo:
    """``shape``: (h, w, c), (w, c) or (c,); ``opcode``: its rule's, 0 for an input; ``frame``: bytes that it sends;
    ``origin``: the op of a .bnn that it stands for, plus one."""

    index: int
    name: str
    shape: Shape
    opcode: int
    reset: int
    emits: Emits
    at_least: bool
    floored: bool
    winner: bool
    output: bool
    frame: int
    origin: int

    @property
    def adapts(self) -> bool:
        """Whether its threshold does, while a run learns."""
        return self.opcode in BY_OPCODE and "adapted" in BY_OPCODE[self.opcode].states

    @cached_property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class ProjectionInfo:
    """``whole``: weights are int8, with one ``scale``, or ``scales`` of them, for each channel or neuron of the target;
    ``weights`` is their number.

    ``kernel``, ``stride``, ``padding``, ``dilation`` (rows, columns) and ``groups`` are a convolution's.  ``mask``: the
    sources that take part (n,), bool; None: all.  ``biased``: it adds a bias from step ``delay`` on.  ``learns``: its
    weights can change.  ``origin``: as a population's.
    """

    index: int
    name: str
    kind: str
    whole: bool
    source: int
    target: int
    delay: int
    scale: float
    scales: int
    weights: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    mask: Array | None
    biased: bool
    learns: bool
    origin: int

    def synapses(self, source: PopulationInfo, target: PopulationInfo) -> int:
        """Additions of a weight in a step in which all sources send."""
        here = np.ones(source.size, bool) if self.mask is None else self.mask
        if self.kind == "wires":
            return self.weights
        if self.kind not in ("conv", "window"):
            return int(here.sum()) * (target.size if self.kind == "dense" else 1)
        (h, w, c), (oh, ow, oc) = ((1, 1, 1, *p.shape)[-3:] for p in (source, target))
        rows, columns = (self._taps(axis, size, out) for axis, size, out in ((0, h, oh), (1, w, ow)))
        each = oc // self.groups if self.kind == "conv" else 1
        return int((here.reshape(h, w, c).sum(axis=2) * rows[:, None] * columns).sum()) * each

    def _taps(self, axis: int, size: int, out: int) -> Array:
        """How many rows or columns of the kernel lead from each source to a target."""
        found = np.zeros(size, np.int64)
        for k in range(self.kernel[axis]):
            at, off = np.divmod(np.arange(size) + self.padding[axis] - k * self.dilation[axis], self.stride[axis])
            found += (off == 0) & (at >= 0) & (at < out)
        return found


class OpenedNetwork(OpenedFile):
    """A checked .snn file, with what bnn_snn.h tells about it."""

    def __init__(self, contents: Contents, kernels: CData) -> None:
        super().__init__(contents, kernels, lib.bnn_snn_size, lib.bnn_snn_open, "bnn_snn **")
        self.dt = float(str(np.float32(lib.bnn_snn_dt(self.pointer))))  # the shortest decimal: 0.0001
        self.channels_first = bool(lib.bnn_snn_channels_first(self.pointer))
        length = ffi.new("size_t *")
        self.simulator = text_of(lib.bnn_snn_simulator(self.pointer, length), length[0])
        self.populations = tuple(self._population(i) for i in range(lib.bnn_snn_population_count(self.pointer)))
        self.projections = tuple(self._projection(i) for i in range(lib.bnn_snn_projection_count(self.pointer)))

    def _population(self, index: int) -> PopulationInfo:
        info = ffi.new("bnn_snn_population_info *")
        check(lib.bnn_snn_get_population(self.pointer, index, info), f"population {index}")
        return PopulationInfo(
            index,
            text_of(info.name, info.name_length),
            tuple(info.dims[i] for i in range(info.rank)),
            info.rule,
            info.reset,
            Emits(info.emits),
            bool(info.at_least),
            bool(info.floored),
            bool(info.winner),
            bool(info.output),
            info.frame,
            info.origin,
        )

    def _projection(self, index: int) -> ProjectionInfo:
        info = ffi.new("bnn_snn_projection_info *")
        check(lib.bnn_snn_get_projection(self.pointer, index, info), f"projection {index}")
        kind = _KINDS[info.kind]
        name = text_of(info.name, info.name_length)
        mask = None
        if info.mask != ffi.NULL:
            size = self.populations[info.source].size
            words = np.frombuffer(ffi.buffer(info.mask, 4 * -(-size // 32)), np.uint8)
            mask = np.unpackbits(words, count=size, bitorder="little").astype(bool)
        kernel, stride, padding, dilation = (
            (int(x[0]), int(x[1])) for x in (info.kernel, info.stride, info.padding, info.dilation)
        )
        return ProjectionInfo(
            index, name, kind, bool(info.whole), info.source, info.target, info.delay, info.scale, info.scales,
            info.weights, kernel, stride, padding, dilation, info.groups, mask, bool(info.biased), bool(info.learns),
            info.origin,
        )  # fmt: skip

    def packed(self, population: int, x: Floats) -> Array | None:
        """:func:`frames` of float32 (T, ...), the neurons of a step side by side in C's order; None: one is neither 0
        nor 1."""
        words = np.empty((len(x), self.populations[population].frame // 4), np.uint32)
        if x.flags.c_contiguous:
            values = ffi.from_buffer(FLOATS, x)
        else:  # cffi takes no array with gaps, and the steps of one sample of a batch have gaps between them
            values = ffi.cast("float *", x.__array_interface__["data"][0])
        stride, to = x.strides[0] // 4, ffi.from_buffer(_WORDS, words)
        status = lib.bnn_snn_pack(self.pointer, population, values, stride, len(x), to)
        return words if status == lib.BNN_OK else None


class State:
    """The neurons of an opened network between two steps."""

    def __init__(self, opened: OpenedNetwork, max_bytes: int = 0) -> None:
        self.opened = opened
        needed = ffi.new("size_t *")
        status = lib.bnn_snn_state_size(opened.pointer, needed)
        most = check_count(max_bytes, "max_bytes", 2**64 - 1, 0) or STATE_BYTES + STATE_TIMES * opened.size
        if status != lib.BNN_OK or needed[0] > most:
            found = "more than can be addressed" if status != lib.BNN_OK else needed[0]
            raise InputError(
                f"the neurons of this network need {found} bytes, expected at most {most}; if you trust the file, open "
                "it with a larger max_bytes="
            )
        self.bytes: int = needed[0]
        self._memory = Memory(self.bytes)
        state = ffi.new("bnn_snn_state **")
        check(lib.bnn_snn_state_create(opened.pointer, self._memory.pointer, self._memory.size, state), "state")
        self.pointer = state[0]
        self._held: dict[tuple[int, str], CData] = {}
        self._counts = ffi.new("uint64_t[]", len(opened.populations) + len(opened.projections))
        self._slots = ffi.new("const void *[]", 1)
        self._pulse = Pulse()
        lib.bnn_snn_set_poll(self.pointer, self._pulse.poll, self._pulse.argument)

    def reset(self) -> None:
        """Go back to before the first step; weights and thresholds that were learned stay."""
        status = lib.bnn_snn_reset(self.pointer)
        if status != lib.BNN_OK:
            check(status, "reset")

    def record(self, population: int, what: str, to: Array) -> None:
        """Write what happens in the next len(to) steps to ``to``, one row per step, until :meth:`forget`."""
        buffer = ffi.from_buffer(to, require_writable=True)
        status = lib.bnn_snn_record(self.pointer, population, _WHAT[what], buffer, len(to))
        if status != lib.BNN_OK:
            check(status, f"record {what}")
        self._held[population, what] = buffer

    def forget(self) -> None:
        """Write nothing anywhere any more."""
        for population, what in self._held:
            lib.bnn_snn_record(self.pointer, population, _WHAT[what], ffi.NULL, 0)
        self._held.clear()

    def run(self, inputs: Sequence[Array | None], steps: int, until_spike: bool = False) -> int:
        """Run steps on frames (T, ...) of each input population, as :func:`frames` makes them; None: what was sent.

        ``until_spike``: end after the first step in which an output fires.  Returns the number of steps done.

        Raises any exception of a signal handler, such as KeyboardInterrupt; the state must then be reset.
        """
        if len(inputs) > len(self._slots):
            self._slots = ffi.new("const void *[]", len(inputs))
        run = lib.bnn_snn_run_until_spike if until_spike else lib.bnn_snn_run
        before, answered = (self.steps, self._answered) if until_spike else (0, 0)
        for begin in range(0, steps, _STEPS) or (0,):
            end = min(begin + _STEPS, steps)
            held = []  # buffers must outlive the call
            for i, x in enumerate(inputs):
                held.append(ffi.NULL if x is None else ffi.from_buffer(x if steps <= _STEPS else x[begin:end]))
                self._slots[i] = held[-1]
            self._polled("run", run, self._slots, end - begin)
            if until_spike and self._answered != answered:
                break
        return self.steps - before if until_spike else steps

    @property
    def _answered(self) -> int:
        """Spikes of all outputs since the last reset."""
        return sum(self.sent(p.index) for p in self.opened.populations if p.output)

    def set_learning(self, learning: bool) -> None:
        """Whether weights change and thresholds adapt in steps to come."""
        lib.bnn_snn_set_learning(self.pointer, learning)

    def normalize(self) -> None:
        """Scale the weights of projections with a norm."""
        check(lib.bnn_snn_normalize(self.pointer), "normalize")

    def weights(self, projection: ProjectionInfo) -> Floats:
        """A copy of those of a projection that learns, (sources, targets)."""
        source, target = (self.opened.populations[k].size for k in (projection.source, projection.target))
        values = np.empty((source, target), np.float32)
        status = lib.bnn_snn_get_weights(self.pointer, projection.index, ffi.from_buffer("float[]", values))
        check(status, f"weights of {projection.name}")
        return values

    def set_weights(self, projection: ProjectionInfo, values: Floats) -> None:
        """The inverse."""
        source, target = (self.opened.populations[k].size for k in (projection.source, projection.target))
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(values, np.float32)
        if values.shape != (source, target) or not np.isfinite(values).all():
            raise InputError(
                f"weights of {projection.name}: found shape {values.shape}"
                f"{'' if np.isfinite(values).all() else ' with values that are not finite'}, "
                f"expected finite numbers of shape {(source, target)}"
            )
        check(lib.bnn_snn_set_weights(self.pointer, projection.index, ffi.from_buffer("float[]", values)), "weights")

    def send(self, population: int, neuron: int, value: float = 1.0) -> None:
        """Let a neuron of an input send in the next step."""
        if lib.bnn_snn_send(self.pointer, population, neuron, value) != lib.BNN_OK:
            raise InputError(f"population {population}, neuron {neuron}: found {value}, or no such neuron of an input")

    def settle(self, population: int, currents: Floats) -> None:
        """One population alone on currents (T, n), with its records."""
        currents = np.ascontiguousarray(currents, np.float32)
        self._polled("settle", lib.bnn_snn_settle, population, ffi.from_buffer("float[]", currents), len(currents))

    def get(self, population: int, variable: str) -> Floats:
        """A state variable (n,): v, i, refractory, adapted, level, inhibition or b."""
        number = self._number(population, variable)
        values = np.empty(self.opened.populations[population].size, np.float32)
        check(lib.bnn_snn_get(self.pointer, population, number, ffi.from_buffer("float[]", values)), variable)
        return values

    def set(self, population: int, variable: str, values: Floats) -> None:
        """The inverse of :meth:`get`."""
        number = self._number(population, variable)
        values = np.ascontiguousarray(values, np.float32)
        if values.shape != (self.opened.populations[population].size,):
            raise InputError(f"{variable}: found shape {values.shape}, expected one value per neuron")
        if variable == "level" and not ((values >= 0) & (values <= 2**24) & (values == np.floor(values))).all():
            raise InputError(f"level: found {values.min():g} to {values.max():g}, expected whole numbers to 2^24")
        check(lib.bnn_snn_set(self.pointer, population, number, ffi.from_buffer("float[]", values)), variable)

    def _number(self, population: int, variable: str) -> int:
        """That of a state variable which the population has."""
        check_text(variable, "variable", "the name of a state variable")
        p = self.opened.populations[population]
        states = BY_OPCODE[p.opcode].states if p.opcode else ()
        if variable not in states:
            raise InputError(f"{p.name}: has no state variable {variable}; it has {', '.join(states) or 'none'}")
        return int(_VARIABLES[variable])

    @property
    def steps(self) -> int:
        """Since the last reset."""
        return int(lib.bnn_snn_steps(self.pointer))

    def sent(self, population: int) -> int:
        """Spikes (values that are not 0) since the last reset."""
        return int(lib.bnn_snn_sent(self.pointer, population))

    def synops(self, projection: int) -> int:
        """Additions of a weight since the last reset."""
        return int(lib.bnn_snn_synops(self.pointer, projection))

    def counts(self) -> Counts:
        """What every population sent, and every projection's additions, since the last reset."""
        populations, projections = len(self.opened.populations), len(self.opened.projections)
        lib.bnn_snn_counts(self.pointer, populations, projections, self._counts)
        found = ffi.unpack(self._counts, populations + projections)
        return found[:populations], found[populations:]

    def _polled(self, what: str, function: object, *arguments: object) -> None:
        self._pulse.argument.next = 0  # a state's time between two calls is nobody's
        status = function(self.pointer, *arguments)  # type: ignore[operator]
        if status == lib.BNN_OK and self._pulse.error is None:
            return  # of most calls, which may be short
        self._pulse.reraise()
        if status == lib.BNN_ERROR_STOPPED:
            raise BnnError(f"{what}: the state was interrupted; reset it first")
        if status == lib.BNN_ERROR_RANGE:
            number = ffi.new("uint32_t *")
            lib.bnn_snn_overflowed(self.pointer, number)
            text = overflow_text(self.opened.populations[number[0]].name, max(self.steps - 1, 0))
            self.reset()
            raise InputError(text)
        if status == lib.BNN_ERROR_ARGUMENT:
            raise InputError(
                f"{what}: found an input that is not finite, or no whole number within 2^24 where one is due"
            )
        check(status, what)


class Samples:
    """Samples that run one after another on a state: many calls into C in one.

    ``records``: what populations do (SENT, CURRENT, MEMBRANE), and where it is written, (N, T, ...); ``taken``, int64
    (N,): where the steps of each are written; ``until_spike``: each ends with its first output spike.
    """

    def __init__(
        self, state: State, steps: int, records: Sequence[tuple[int, str, Array]], taken: Array, until_spike: bool
    ) -> None:
        opened = state.opened
        self._state, self._given = state, ffi.new("bnn_rows[]", len(opened.populations))
        self._frames = ffi.new("const void *[]", len(opened.populations))
        self._counts = ffi.new("uint64_t[]", len(opened.populations) + len(opened.projections))
        self._held = [ffi.from_buffer(taken, require_writable=True)]
        self._recorded = ffi.new("bnn_rows[]", len(records))
        for at, (population, what, rows) in zip(self._recorded, records, strict=True):
            self._held.append(ffi.from_buffer(rows, require_writable=True))
            at.first, at.sample, at.population, at.what = self._held[-1], rows.strides[0], population, _WHAT[what]
        self._samples = ffi.new("bnn_samples *", {
            "steps": steps, "records": len(records), "until_spike": until_spike, "frames": self._frames,
            "populations": len(opened.populations), "projections": len(opened.projections), "given": self._given,
            "recorded": self._recorded, "taken": ffi.cast("int64_t *", self._held[0]), "counts": self._counts,
        })  # fmt: skip
        state.set_learning(False)

    def give(self, frames: Sequence[Array], together: bool) -> None:
        """The frames of each input: of all samples, (N, T, ...), or of the next alone, (T, ...)."""
        self._buffers = [ffi.from_buffer(x) for x in frames]  # they must outlive the calls
        self._samples.inputs = len(frames)
        for at, x, buffer in zip(self._given, frames, self._buffers, strict=False):
            at.first, at.sample = buffer, x.strides[0] if together else 0

    @property
    def next(self) -> int:
        """The sample that runs next, or that failed."""
        return int(self._samples.next)

    @next.setter
    def next(self, sample: int) -> None:
        self._samples.next = sample

    def run(self, end: int) -> None:
        """Run the next samples to before ``end``, or fewer that take long; raises as :meth:`State.run` does."""
        self._state._polled("run", lib.bnn_snn_run_samples, self._samples, end)

    @property
    def counts(self) -> list[int]:
        """What every population sent, and then every projection's additions."""
        return ffi.unpack(self._counts, len(self._counts))


def frames(x: Array, emits: Emits, *, channels_first: bool = False) -> Array:
    """What an input sends, (T, ...), as C reads it: spikes as words of 32 bits, (T, words); others as float32, (T, n).
    C has the channels last."""
    steps, n = len(x), math.prod(x.shape[1:])
    moves = channels_first and x.ndim > 2 and x.shape[1] > 1
    if emits != Emits.SPIKES:
        return np.ascontiguousarray(np.moveaxis(x, 1, -1) if moves else x, np.float32).reshape(steps, n)
    spikes = x if x.dtype == bool else x != 0
    if moves:  # NumPy's inner loop would be along the few channels
        channels = x.shape[1]
        given, spikes = spikes.reshape(steps, channels, n // channels), np.empty((steps, n // channels, channels), bool)
        for channel in range(channels):
            spikes[:, :, channel] = given[:, channel]
    words = np.zeros((steps, -(-n // 32)), "<u4")
    words.view(np.uint8)[:, : -(-n // 8)] = np.packbits(spikes.reshape(steps, n), axis=1, bitorder="little")
    return words


def unpacked(sent: Array, size: int, emits: Emits) -> Array:
    """The inverse, of what a population sent: spikes as uint8, others as float32."""
    if emits != Emits.SPIKES:
        return sent
    return np.unpackbits(sent.view(np.uint8), axis=1, count=size, bitorder="little")
