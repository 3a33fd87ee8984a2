# SPDX-License-Identifier: Apache-2.0
"""Run .snn files: arrays in, spikes out.  Uses bytes and bnn_snn.h; nothing from the compiler."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from .._arguments import check_choice, check_count, check_flag, check_kind, check_text, check_threads, shown
from .._text import printable
from .._types import Array, Floats
from ..errors import InputError, InputTypeError
from ..runtime.arrays import FLOAT32, as_array, as_numbers, check_numbers, given, given_shape, room_for
from ..runtime.files import path_text, replacing
from ..runtime.handles import SNN, Contents, select_kernels
from ..runtime.progress import progress as progress_bar
from ..runtime.summary import quantity
from ..streams.grid import check_finite, place
from .activity import ActivityReport, Counted, PopulationCounts, seconds, total
from .coding import (
    MOST_STEPS,
    as_image,
    blocks,
    check_image,
    check_seed,
    image_frames,
    recording_frames,
    recording_steps,
    step_of,
)  # fmt: skip
from .handle import (
    CURRENT,
    MEMBRANE,
    SENT,
    Counts,
    OpenedNetwork,
    PopulationInfo,
    ProjectionInfo,
    State,
    frames,
    unpacked,
)  # fmt: skip
from .network import CONVERTED, TIMELESS, Network, Shape, longest_step
from .rules import BY_OPCODE, EVENT_RULES, Emits, Reset
from .runs import SPIKE, RecordingStepRun, Run, StepRun
from .samples import run_samples

#: Spikes that a trace may keep, 16 bytes each.
MOST_SPIKES = 40_000_000
#: Where a run may end before its last step.
UNTIL = ("first-spike",)
_GIVEN = {SENT: "record", MEMBRANE: "membranes", CURRENT: "currents"}  # the arguments that name populations
_LONG = 2000  # steps; a progress bar is shown for this many or more


class SpikingModel:
    """A network of spiking neurons, ready to run, with the state of its neurons between two steps.

    ``run(x)`` takes what the input sends, (T, *shape) with the channels where the source has them, from the first step
    on; :meth:`step` goes on where the last step ended.  A model belongs to one thread at a time.
    """

    def __init__(self, opened: OpenedNetwork, max_bytes: int = 0) -> None:
        """Use :meth:`from_file`, :meth:`from_bytes` or ``bnn.snn.compile``."""
        made = "a file that was opened: use bnn.snn.load(path), SpikingModel.from_bytes(data) or bnn.snn.compile"
        self._opened: OpenedNetwork = check_kind(opened, "SpikingModel", OpenedNetwork, made)
        self._state = State(opened, max_bytes)
        self._max_bytes = max_bytes
        self._others: list[State] = []  # of other threads
        #: What ``bnn.snn.compile`` warned of; empty for a network that was opened.
        self.warnings: tuple[str, ...] = ()
        self._inputs = [p for p in opened.populations if not p.opcode]
        self._outputs = [p for p in opened.populations if p.output]
        self._shapes = [self._outer(p) for p in self._inputs]

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
        return cls(OpenedNetwork(Contents.of_file(name, SNN), family), max_bytes)

    @classmethod
    def from_bytes(
        cls, data: bytes | bytearray | memoryview, *, kernels: str | None = None, max_bytes: int = 0
    ) -> SpikingModel:
        """The same from the bytes of a .snn file, which are copied."""
        family = select_kernels(kernels)
        return cls(OpenedNetwork(Contents.of_bytes(data, SNN), family), max_bytes)

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

    @cached_property
    def _learns(self) -> bool:
        return any(p.learns for p in self.projections) or any(p.adapts for p in self.populations)

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def populations(self) -> tuple[PopulationInfo, ...]:
        """The populations, in the order in which they settle."""
        return self._opened.populations

    @property
    def projections(self) -> tuple[ProjectionInfo, ...]:
        """The projections, in the order of their targets."""
        return self._opened.projections

    @property
    def dt(self) -> float:
        """Seconds of a step; 0 if nobody said, as for sinabs, whose time constants are steps."""
        return 0.0 if self._opened.dt == 1 and self.simulator in TIMELESS else self._opened.dt

    @property
    def step_text(self) -> str:
        """How long a step is, in words."""
        if self.dt:
            return f"a step is {seconds(self.dt)}"
        if self._opened.dt:
            return f"{printable(self.simulator)} has no time, its time constants are steps"
        return "the network does not say how long a step is"

    @property
    def simulator(self) -> str:
        """Whose rules it has, or ""."""
        return self._opened.simulator

    @property
    def converted(self) -> bool:
        """Whether it is a ReLU network as counters, whose input takes an image once."""
        return self.simulator == CONVERTED

    @cached_property
    def longest_delay(self) -> int:
        """Steps; in a shorter run a part of the network does nothing.  A converted network that gets its image in the
        first step is done after as many, and after 1 if this is 0."""
        return max((q.delay for q in self.projections), default=0)

    @property
    def kernels(self) -> str:
        """The kernel family in use."""
        return self._opened.kernels

    @property
    def layout(self) -> str:
        """ "NHWC", or "NCHW": where arrays have their channels, as in the source."""
        return "NCHW" if self._opened.channels_first else "NHWC"

    @property
    def nbytes(self) -> int:
        """Bytes of the file."""
        return self._opened.size

    @property
    def state_bytes(self) -> int:
        """Bytes of the neurons and all that a run needs."""
        return self._state.bytes

    @cached_property
    def synapses(self) -> tuple[int, ...]:
        """Per projection, the additions of a weight in a step in which all sources send."""
        return tuple(q.synapses(self.populations[q.source], self.populations[q.target]) for q in self.projections)

    @property
    def input_shapes(self) -> dict[str, Shape]:
        """The shapes of one step's inputs by name, in the layout of the source."""
        return {p.name: self._outer(p) for p in self._inputs}

    @property
    def output_shapes(self) -> dict[str, Shape]:
        """Per output, by its name, the shape of its neurons in the source's layout."""
        return {p.name: self._outer(p) for p in self._outputs}

    def __repr__(self) -> str:
        neurons = sum(p.size for p in self.populations)
        return (
            f"<SpikingModel: {neurons} neurons in {len(self.populations)} populations, "
            f"{sum(p.weights for p in self.projections)} weights, rules of {printable(self.simulator) or 'nobody'}>"
        )

    # -- running --------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Go back to before the first step; weights and thresholds that were learned stay."""
        self._state.reset()

    def run(
        self, x: Any, *, record: Iterable[str] = (), membranes: Iterable[str] = (), currents: Iterable[str] = (),
        reset: bool = True, learn: bool = False, threads: int | None = None, until: str | None = None,
    ) -> Run:  # fmt: skip
        """Run T steps, of one sample or of N that each start as before the first step.

        Args:
            x: what the input sends, (T, *shape), or (T, N, *shape), and the result has the same axes; several inputs: a
                dict by name, or a list in their order.
            record: populations whose spikes are returned, beside the outputs; ``membranes``, ``currents``: likewise.
            reset: start as before the first step; otherwise go on: of one sample.
            learn: after each step change the weights that can, and adapt thresholds; they stay as they are when the
                model is reset, and :meth:`save` writes them: of one sample.
            threads: of several samples; each has neurons of its own, :attr:`state_bytes` of them.  Default:
                BNN_THREADS, or 1.
            until: "first-spike": each sample ends after the step in which a neuron of an output fires for the first
                time in this run, or after T; ``taken`` says when, and ``answers`` which.  None: all T steps.

        Raises:
            InputError: a wrong shape, an input of spikes that is neither 0 nor 1, a name that is not there, nothing
                that learns, ``until`` of an output that does not send spikes, or a membrane that is not finite: the
                message names its population and the step.  After that, the state is that before the first step.
        """
        self._check_learns(learn)
        check_flag(reset, "reset")
        until_spike = self._until_spike(until)
        samples = self._samples(x)
        workers = 1 if threads is None and samples is None else check_threads(threads)
        if samples is None:
            return self._one(x, record, membranes, currents, reset=reset, learn=learn, until_spike=until_spike)
        count = next(iter(samples.values())).shape[1]
        if learn or not reset:
            what = "learn=True" if learn else "reset=False"
            raise InputError(f"{what}: found {quantity(count, 'sample')}, (T, N, *shape), expected one")
        try:
            return self._several(samples, count, record, membranes, currents, workers, until_spike)
        finally:
            self.reset()

    def _several(
        self, x: Mapping[str, Array], count: int, record: Iterable[str], membranes: Iterable[str],
        currents: Iterable[str], threads: int, until_spike: bool,
    ) -> Run:  # fmt: skip
        """:meth:`run` of samples (T, N, *shape)."""
        _, steps = self._arrays({name: a[:, 0] for name, a in x.items()}, several=True)
        wanted = self._named(record, SENT)
        sent = dict[PopulationInfo, Array]()
        records = []
        for p in (p for p in self.populations if p.output or p in wanted):
            dtype = np.uint32 if p.emits == Emits.SPIKES else np.float32
            sent[p] = room_for((count, steps, p.frame // 4), dtype, p.name, np.zeros)
            if p not in self._inputs:
                records.append((p.index, SENT, sent[p]))
        floats: dict[str, dict[PopulationInfo, Array]] = {}
        for what, names in ((MEMBRANE, membranes), (CURRENT, currents)):
            shapes = {p: (count, steps, p.size) for p in self._named(names, what)}
            floats[what] = {p: room_for(n, np.float32, f"{what} of {p.name}", np.zeros) for p, n in shapes.items()}
            records += [(p.index, what, values) for p, values in floats[what].items()]

        threads = min(threads, count)
        packed = [self._packed(x[p.name], p, threads) for p in self._inputs]
        together = [frames for frames in packed if frames is not None]

        def given(i: int) -> list[Array]:
            """The frames of a sample, made where they are used if they were not together."""
            frames = [
                self._frames(x[p.name][:, i], p, 0) if all_of is None else all_of[i]
                for p, all_of in zip(self._inputs, packed, strict=True)
            ]
            for p, own in zip(self._inputs, frames, strict=True):
                if p in sent:
                    sent[p][i] = own
            return frames

        all_of = together if len(together) == len(packed) and not any(p in sent for p in self._inputs) else None
        counts, taken = run_samples(self._states(threads), all_of, given, count, steps, records, until_spike)
        for p in self._inputs:
            for i, end in enumerate(taken if p in sent else ()):
                sent[p][i, end:] = 0

        def outer(rows: Array, p: PopulationInfo, spikes: bool) -> Array:
            over_time = np.ascontiguousarray(np.moveaxis(rows, 1, 0)).reshape(steps * count, rows.shape[-1])
            found = self._to_outer(unpacked(over_time, p.size, p.emits) if spikes else over_time, p)
            return found.reshape(steps, count, *found.shape[1:])

        arrays = {p: outer(rows, p, True) for p, rows in sent.items()}
        return Run(
            steps,
            {p.name: a for p, a in arrays.items() if p.output},
            {p.name: a for p, a in arrays.items() if p in wanted},
            {p.name: outer(rows, p, False) for p, rows in floats[MEMBRANE].items()},
            {p.name: outer(rows, p, False) for p, rows in floats[CURRENT].items()},
            self._counted(counts, int(taken.sum()), count, int(taken.max())),
            taken,
            samples=count,
            so_far=self._sums_so_far,
        )

    def _states(self, count: int) -> list[State]:
        """Neurons of as many threads, with the weights and thresholds that were learned."""
        while len(self._others) < count - 1:
            self._others.append(State(self._opened, self._max_bytes))
        others = self._others[: count - 1]
        for q in self.projections if others else ():
            if q.learns:
                values = self._state.weights(q)
                for state in others:
                    state.set_weights(q, values)
        for p in self.populations if others else ():
            if p.adapts:
                values = self._state.get(p.index, "adapted")
                for state in others:
                    state.set(p.index, "adapted", values)
        return [self._state, *others]

    def _one(
        self, x: Any, record: Iterable[str], membranes: Iterable[str], currents: Iterable[str], **options: bool
    ) -> Run:
        """:meth:`run` of one sample."""
        given, steps = self._given(x, several=True)
        wanted = self._named(record, SENT)
        named: dict[str, list[PopulationInfo]] = {}
        for what, names in ((MEMBRANE, membranes), (CURRENT, currents)):
            if found := self._named(names, what):
                named[what] = found
        return self._run(given, steps, wanted, named, **options)

    def _run(
        self, given: list[Array], steps: int, wanted: Sequence[PopulationInfo],
        named: Mapping[str, Sequence[PopulationInfo]] = {}, *, reset: bool, learn: bool = False,  # noqa: B006
        until_spike: bool = False,
    ) -> Run:  # fmt: skip
        """:meth:`run` on frames and populations that have been checked; ``named``: those whose membranes, currents are
        returned."""
        before = None if reset else self._counts()
        if reset:
            self._state.reset()
        floats: dict[str, dict[PopulationInfo, Array]] = {}
        for what, found in named.items():
            floats[what] = {p: room_for((steps, p.size), np.float32, f"{what} of {p.name}", np.zeros) for p in found}
            for p, values in floats[what].items():
                self._state.record(p.index, what, values)
        recorded = [p for p in self.populations if p.output or p in wanted] if wanted else self._outputs
        arrays, taken = self._sent(given, steps, recorded, learn, until_spike)
        outputs: dict[str, Array] = {}
        others: dict[str, Array] = {}
        outer: dict[str, dict[str, Array]] = {MEMBRANE: {}, CURRENT: {}}
        for p in recorded:  # no comprehensions: of a short run, calls are what takes time
            if p.output:
                outputs[p.name] = arrays[p]
            if p in wanted:
                others[p.name] = arrays[p]
        for what, rows in floats.items():
            outer[what] = {p.name: self._to_outer(x, p) for p, x in rows.items()}
        counted = self._counted(self._counts(before), taken, 1, taken if reset else self._state.steps)
        return Run(
            steps, outputs, others, outer[MEMBRANE], outer[CURRENT], counted, np.array(taken), so_far=self._sums_so_far
        )

    @cached_property
    def _sums_so_far(self) -> bool:
        return self._outputs[0].opcode == EVENT_RULES["sum"].opcode

    def _until_spike(self, until: str | None) -> bool:
        """Whether a run ends with the first spike of an output."""
        if until is None:
            return False
        check_choice(until, "until", UNTIL)
        for p in self._outputs:
            if p.emits not in (Emits.SPIKES, Emits.COUNTS):
                raise InputError(
                    f"until: the output {p.name} sends {p.emits.name.lower()}, expected spikes; leave until out"
                )
        return True

    def _check_learns(self, learn: bool) -> None:
        if check_flag(learn, "learn") and not self._learns:
            raise InputError("learn: no weights of this network learn and no threshold adapts, expected learn=False")

    def _sent(
        self, given: list[Array], steps: int, record: Iterable[PopulationInfo], learn: bool, until_spike: bool = False
    ) -> tuple[dict[PopulationInfo, Array], int]:
        """Run steps; what these populations sent, and the number of steps done."""
        sent: dict[PopulationInfo, Array] = {}
        for p in record:
            if p in self._inputs:
                sent[p] = given[self._inputs.index(p)].copy()
                continue
            dtype = np.uint32 if p.emits == Emits.SPIKES else np.float32
            sent[p] = room_for((steps, p.frame // 4), dtype, p.name, np.zeros)
            self._state.record(p.index, SENT, sent[p])
        if self._learns:
            self._state.set_learning(learn)
        try:
            taken = self._state.run(given, steps, until_spike)
        finally:
            self._state.forget()
        for p in self._inputs:
            if p in sent:
                sent[p][taken:] = 0
        for p, x in sent.items():
            sent[p] = self._to_outer(unpacked(x, p.size, p.emits), p)
        return sent, taken

    def step(self, x: Any, *, learn: bool = False) -> Array:
        """One more step on what the input sends, without the dimension of time; returns the first output's."""
        self._check_learns(learn)
        output = self._outputs[0]
        return np.asarray(self._sent(*self._given(x, None), [output], learn)[0][output][0])

    def state(self, population: str, variable: str = "v") -> Floats:
        """A state variable of a population after the last step, (*shape): v, i, refractory, adapted, level,
        inhibition or b."""
        (p,) = self._named([population], SENT, "population")
        return np.asarray(self._to_outer(self._state.get(p.index, variable)[None], p)[0])

    def scores(self, x: Any) -> Floats:
        """The first output's sum over time: (N, n) of (T, N, *shape), each sample from the first step on; (n,) of
        (T, *shape)."""
        return self.run(x).scores

    # -- learning -------------------------------------------------------------------------------------------------

    def weights(self, name: str) -> Floats:
        """Those of a projection that learns, by its name: a copy, float32 (sources, targets); neurons are
        numbered by row, column, channel, whatever the layout."""
        return self._state.weights(self._learner(name))

    def set_weights(self, name: str, weights: Floats) -> None:
        """The inverse; they are bounded in the next step that learns."""
        self._state.set_weights(self._learner(name), as_numbers(weights, f"weights of {name}"))

    def thresholds(self, name: str) -> Floats:
        """How far those of a population have adapted: float32 (n,), by row, column, channel, beyond its parameter."""
        check_text(name, "thresholds", "the name of a population")
        for p in self.populations:
            if p.name == name and p.adapts:
                return self._state.get(p.index, "adapted")
        names = [p.name for p in self.populations if p.adapts]
        raise InputError(f"thresholds of '{name}': " + _instead(names, "they do not adapt", "no threshold adapts"))

    def normalize(self) -> None:
        """Scale each target's weights, where a projection has a norm; usually after each sample."""
        self._state.normalize()

    def _learner(self, name: str) -> ProjectionInfo:
        check_text(name, "weights", "the name of a projection")
        found = [p for p in self.projections if p.name == name and p.learns]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(
                f"weights of '{name}': found {len(found)} projections with this name, expected one; rename one"
            )
        names = [p.name for p in self.projections if p.learns]
        raise InputError(f"weights of '{name}': " + _instead(names, "they do not learn", "no projection learns"))

    # -- watching -------------------------------------------------------------------------------------------------

    def run_image(
        self, x: Any, steps: int, *, coding: str = "constant", seed: int = 0, label: int | None = None,
        trace: bool = False, reset: bool = True, progress: bool = False, until: str | None = None,
    ) -> StepRun:  # fmt: skip
        """Show an image for some steps, and watch the output.

        Args:
            x: one image, in the layout of the source; finite.
            coding: "constant": its values in every step; "rate": spikes with the probability x in each step, by
                ``seed``; "latency": one spike per element, the earlier the larger x is; "once": its values in the
                first step.
            label: the right class, for "first correct".
            trace: keep every spike (16 bytes each; InputError if there are more than MOST_SPIKES).
            reset: start as before the first step; otherwise go on.
            progress: show a bar on stderr while it takes a while.
            until: "first-spike": end after the step in which a neuron of an output fires for the first time in this
                run; the run's moments are the steps until then.

        Raises:
            InputError: a wrong shape, an input of spikes that is to take real values, values beyond 0 and 1 as a rate
                or a latency, a label that is not a class, ``until`` of an output that does not send spikes.
        """
        p = self._only_input()
        image = as_image(x, self._outer(p), p.name)
        check_finite(image)
        check_image(image, coding, p.emits, p.name, once=self.converted)
        steps, seed = check_count(steps, "steps", MOST_STEPS), check_seed(seed)

        def frames(start: int, count: int) -> Array:
            return image_frames(image, coding, steps, seed, start, count)

        what = {"constant": "an image", "once": "an image at once"}
        what["rate"] = f"an image as spikes by chance (seed {seed})"
        text = f"{what.get(coding, 'an image, the brighter the earlier')}, {quantity(steps, 'step')}"
        shown = self._inner(image[None], p).reshape(p.shape) if coding == "constant" else None
        return replace(self._watched(frames, steps, label, trace, reset, progress, until, text), image=shown)

    def run_stream(
        self, x: Any, *, label: int | None = None, trace: bool = False, reset: bool = True, progress: bool = False,
        until: str | None = None,
    ) -> StepRun:  # fmt: skip
        """Watch the output over what the input sends, (T, *shape), at least one step; as :meth:`run_image`."""
        arrays, steps = self._arrays(x)
        if not steps:
            raise InputError("x: found no step, expected at least one")

        def frames(start: int, count: int) -> Any:
            return {p.name: a[start : start + count] for p, a in zip(self._inputs, arrays, strict=True)}

        return self._watched(frames, steps, label, trace, reset, progress, until, quantity(steps, "step"))

    def run_events(
        self, events: Any, *, dt: float | None = None, origin: tuple[int, int] | None = None, shrink: int | None = None,
        label: int | None = None, trace: bool = False, reset: bool = True, progress: bool = False,
        until: str | None = None,
    ) -> RecordingStepRun:  # fmt: skip
        """An event camera's recording steps the network in its own time: one step per ``dt``, from its first event on.

        Args:
            events: structured array with fields x, y, p, t (microseconds, never decreasing), as from ``tonic`` and
                :func:`bnn.streams.recordings.read`.
            dt: seconds of a step; default: the network's own.
            origin: pixel (y, x) of the camera is ((y, x) - origin) // shrink of the network, by default (0, 0) and 1;
                events outside are dropped and counted, or, if neither is given, refused.
            shrink: see origin.
            label: the right class, for "first correct".
            trace: keep every spike.
            reset: begin as before the first step.
            progress: show a bar on stderr while it takes a while.
            until: as of :meth:`run_image`.

        A network with one input channel sees both polarities in it, one with two falling edges in channel 0 and rising
        ones in channel 1.  An input of spikes is sent one spike for all events of a pixel in a step (``merged`` counts
        the others), another input their number.

        Raises:
            InputError: the input is not (H, W) with one or two channels, nobody said how long a step is, no event is on
                the network's pixels, times fall, the recording has too many steps, a label is not a class.
        """
        p = self._only_input()
        if dt is None and not self.dt:
            raise InputError(f"dt: {self.step_text}; expected dt=, the seconds of a step (--dt SECONDS)")
        step = step_of(self.dt if dt is None else dt)
        recording = place(events, p.shape, (0, 0) if origin is None else origin, 1 if shrink is None else shrink)
        if recording.dropped and origin is None and shrink is None:
            raise InputError(
                f"the recording is larger than the network's {p.shape[0]} x {p.shape[1]} pixels (height x width): "
                f"{recording.dropped:,} of {recording.dropped + len(recording.t):,} events lie outside; say what the "
                "network sees: origin, the camera's pixel (y, x) of its corner, or shrink, camera pixels per pixel"
            )
        steps = recording_steps(recording, step)
        if not steps:
            raise InputError("events: found none, expected at least one")
        seen, taken = np.zeros(steps, np.int64), np.zeros(steps, np.int64)

        def frames(start: int, count: int) -> Array:
            part = slice(start, start + count)
            sent, seen[part] = recording_frames(recording, p.shape, step, p.emits, start, count)
            taken[part] = sent.reshape(count, -1).sum(axis=1, dtype=np.float64)
            return given(sent, self._opened.channels_first)

        lasts = float(step / 10**6)
        note = []
        if self.dt and step != step_of(self.dt):
            note = [f"a step is {lasts:g} s of the recording; the network's neurons were made for {self.dt:g} s"]
        watched = self._watched(frames, steps, label, trace, reset, progress, until, "a recording", note)
        watched = replace(watched, report=replace(watched.report, dt=lasts))
        done = watched.moments
        return RecordingStepRun(
            **vars(watched), start=int(recording.t[0]), step_seconds=lasts, seen=seen[:done], events=len(recording.t),
            dropped=recording.dropped, merged=int(seen[done - 1] - taken[:done].sum()),
        )  # fmt: skip

    def _watched(
        self, frames: Callable[[int, int], Any], steps: int, label: int | None, trace: bool, reset: bool,
        progress: bool, until: str | None, what: str, notes: Iterable[str] = (),
    ) -> StepRun:  # fmt: skip
        """A run over ``frames(start, count)``."""
        classes, until_spike, done = self._outputs[0].size, self._until_spike(until), 0
        for name, flag in (("trace", trace), ("reset", reset), ("progress", progress)):
            check_flag(flag, name)
        if label is not None:
            check_count(label, "label", classes - 1, 0)
        if reset:
            self.reset()
        outputs = room_for((steps + 1, classes), np.float32, "outputs", np.zeros)
        sent = room_for((steps, len(self.populations)), np.int64, "spikes in each step", np.zeros)
        spikes: list[Array] = []
        reports, kept = [], 0
        with progress_bar("steps", steps, progress and steps >= _LONG) as advance:
            for start, count in blocks(steps, sum(p.size for p in self.populations)):
                given, _ = self._given(frames(start, count), start)
                run = self._run(given, count, self.populations, reset=False, until_spike=until_spike)
                done += int(run.taken)
                reports.append(run.report)
                sums = np.concatenate([outputs[start : start + 1], run.output.reshape(count, -1)])
                so_far = sums if run.so_far else np.cumsum(sums, axis=0, dtype=np.float32)
                outputs[start + 1 : start + count + 1] = so_far[1:]
                for p in self.populations:
                    rows = self._inner(run.recorded[p.name], p)
                    sent[start : start + count, p.index] = np.count_nonzero(rows, axis=1)
                    if trace and p.emits != Emits.VALUES:
                        spikes.append(_spikes(rows, p.index, start))
                        kept += len(spikes[-1])
                if kept > MOST_SPIKES:
                    raise InputError(
                        f"trace: found {kept:,} spikes after {start + count:,} of {steps:,} steps, expected at most "
                        f"{MOST_SPIKES:,}; run without, or fewer steps"
                    )
                advance(count)
                if until_spike and any(x.any() for x in run.outputs.values()):
                    break
        together = total(reports)
        report = ActivityReport(together.layers, done, 1, self.dt, (*notes, *self._unfinished(self._state.steps)))
        traced = np.concatenate(spikes) if spikes else np.zeros(0, SPIKE)
        shapes = tuple(p.shape for p in self.populations)
        what = f"{what}, until the first spike" if until_spike else what
        return StepRun(
            outputs[: done + 1], label, report, sent[:done], self.dt, what, shapes, traced if trace else None
        )

    def _only_input(self) -> PopulationInfo:
        if len(self._inputs) != 1:
            raise InputError(
                f"the network has {len(self._inputs)} inputs, expected one; give what they send to run_stream, by name"
            )
        return self._inputs[0]

    # -- layouts --------------------------------------------------------------------------------------------------

    def _outer(self, p: PopulationInfo) -> Shape:
        """The shape in the source's layout."""
        return given_shape(p.shape, self._opened.channels_first)

    def _moves(self, p: PopulationInfo) -> bool:
        """Whether neurons are in another order than the source's."""
        return self._opened.channels_first and len(p.shape) > 1 and p.shape[-1] > 1

    def _to_outer(self, x: Array, p: PopulationInfo) -> Array:
        x = x.reshape(len(x), *p.shape)
        return given(x, True) if self._opened.channels_first else x

    def _inner(self, x: Array, p: PopulationInfo) -> Array:
        """(T, n): the inverse of :meth:`_to_outer`."""
        if self._opened.channels_first and x.ndim > 2:
            x = np.moveaxis(x, 1, -1)
        return x.reshape(len(x), -1)

    def _given(self, x: Any, start: int | None = 0, several: bool = False) -> tuple[list[Array], int]:
        """Frames of every input, from the step ``start`` on, and the number of steps; None: one step, (*shape)."""
        arrays, steps = self._arrays(x, start is not None, several)
        if len(arrays) == 1:
            return [self._frames(arrays[0], self._inputs[0], start)], steps
        return [self._frames(a, p, start) for a, p in zip(arrays, self._inputs, strict=True)], steps

    def _is_plain(self, x: Any) -> bool:
        """Whether it is one sample, (T, *shape), of the only input."""
        return type(x) is np.ndarray and len(self._shapes) == 1 and x.ndim > 0 and x.shape[1:] == self._shapes[0]

    def _samples(self, x: Any) -> dict[str, Array] | None:
        """What every input sends in N samples, (T, N, *shape); None: in one, (T, *shape)."""
        if self._is_plain(x):
            return None
        names = [p.name for p in self._inputs]
        if isinstance(x, Mapping):
            arrays = dict(x)
        elif isinstance(x, (list, tuple)) and len(names) > 1:
            arrays = dict(zip(names, x, strict=False))
        else:
            arrays = dict.fromkeys(names[:1], x)
        found = {name: as_array(a, f"input {name}") for name, a in arrays.items() if name in names}
        ranks = {name: len(shape) + 2 for name, shape in zip(names, self._shapes, strict=True)}
        if len(found) < len(names) or not names or any(a.ndim != ranks[name] for name, a in found.items()):
            return None  # anything that is wrong is so in one sample
        counts = {a.shape[1] for a in found.values()}
        if len(counts) > 1:
            raise InputError(f"inputs: found {sorted(counts)} samples, expected one number for all inputs")
        if not counts.pop():
            raise InputError("x: found no sample, expected at least one")
        return found

    def _arrays(self, x: Any, over_time: bool = True, several: bool = False) -> tuple[list[Array], int]:
        """What every input sends, (T, *shape), and the number of steps; not ``over_time``: of one step, (*shape).
        ``several``: the caller takes several samples, too, for messages."""
        if over_time and self._is_plain(x):
            return [as_array(x, f"input {self._inputs[0].name}")], len(x)
        names = [p.name for p in self._inputs]
        if not names:
            raise InputError("the network has no input, expected one: what it sends says how many steps to run")
        if isinstance(x, Mapping):
            if set(x) != set(names):
                raise InputError(f"inputs: found {', '.join(map(str, x))}, expected {', '.join(names)}")
            arrays = [x[name] for name in names]
        elif isinstance(x, (list, tuple)) and len(names) > 1:
            arrays = list(x)
        else:
            arrays = [x]
        if len(arrays) != len(names):
            raise InputError(f"inputs: found {len(arrays)}, expected {len(names)}: {', '.join(names)}")
        found = [as_array(a, f"input {name}") for a, name in zip(arrays, names, strict=True)]
        found = found if over_time else [a[None] for a in found]
        for array, p, shape in zip(found, self._inputs, self._shapes, strict=True):
            if array.shape[1:] != shape or not array.ndim:
                sizes = ", ".join(map(str, shape))
                expected = f"(steps, {sizes})" if over_time else f"{shape}, one step"
                expected += f" or (steps, samples, {sizes})" if several else ""
                raise InputError(f"input {p.name}: found shape {array.shape[not over_time :]}, expected {expected}")
        steps = {len(a) for a in found}
        if len(steps) > 1:
            raise InputError(f"inputs: found {sorted(steps)} steps, expected one number for all inputs")
        return found, steps.pop()

    def _packed(self, x: Array, p: PopulationInfo, threads: int) -> Array | None:
        """Frames of all samples, (N, T, words), from an array (T, N, *shape) in one pass in its order, which is several
        times faster than sample by sample; None: not so."""
        if x.dtype != FLOAT32 or p.emits != Emits.SPIKES or not x.flags.carray or self._moves(p) or not x.size:
            return None
        parts = np.array_split(x.reshape(-1, p.size), threads)
        with ThreadPoolExecutor(threads) as pool:
            each = pool.map if threads > 1 else map  # starting a thread takes as long as packing a sample
            packed = list(each(partial(self._opened.packed, p.index), parts))
        words = [part for part in packed if part is not None]
        if len(words) < len(parts):
            return None  # something that a message says
        return np.ascontiguousarray(np.moveaxis(np.concatenate(words).reshape(*x.shape[:2], -1), 1, 0))

    def _frames(self, x: Array, p: PopulationInfo, start: int | None) -> Array:
        flags = x.flags
        plain = x.dtype == FLOAT32 and flags.aligned and not self._moves(p)
        if plain and p.emits == Emits.SPIKES:
            dense = flags.c_contiguous or (len(x) > 0 and x[0].flags.c_contiguous and x.strides[0] % 4 == 0)
            packed = self._opened.packed(p.index, x) if dense else None
            if packed is not None:  # otherwise a message says where
                return packed
        if plain and p.emits == Emits.VALUES and np.isfinite(x).all():
            return np.ascontiguousarray(x).reshape(len(x), p.size)
        x = check_numbers(x, f"input {p.name}")
        x = np.require(x, requirements=["C", "A"])  # several passes follow
        if x.dtype == np.float16:  # which has no 2^24
            x = x.astype(np.float32)
        if p.emits == Emits.SPIKES and x.dtype != bool:
            spikes = x == 1
            if np.count_nonzero(spikes) != np.count_nonzero(x != 0):
                hint = "show images with a coding: run_image, or --coding and --steps of bnn snn run"
                raise _misfit(x, spikes | (x == 0), p, start, "spikes, 0 or 1", hint)
            x = spikes
        if p.emits == Emits.COUNTS and not (right := (x >= 0) & (x == np.floor(x)) & (x <= 2**24)).all():
            raise _misfit(x, right, p, start, "numbers of spikes, whole numbers from 0 to 2^24")
        if p.emits == Emits.CHANGES and not (right := (x == np.floor(x)) & (x >= -(2**24)) & (x <= 2**24)).all():
            raise _misfit(x, right, p, start, "changes, whole numbers from -2^24 to 2^24")
        if p.emits == Emits.VALUES:
            with np.errstate(over="ignore"):
                single = x.astype(np.float32, copy=False)
            if not (right := np.isfinite(single)).all():
                raise _misfit(x, right, p, start, "finite float32 numbers")
            x = single
        return frames(x, p.emits, channels_first=self._opened.channels_first)

    def _named(self, names: Iterable[str], what: str, given: str = "") -> list[PopulationInfo]:
        """Those that have ``what``; ``given``: the argument, if it is not the usual one for that."""
        given = given or _GIVEN[what]
        if isinstance(names, tuple) and not names:
            return []
        if isinstance(names, (str, bytes, np.ndarray)) or not isinstance(names, Iterable):
            found = f"the text '{names}'" if isinstance(names, str) else shown(names)
            raise InputTypeError(f"{given}: found {found}, expected a list of populations' names")
        wanted = list(names)
        if not wanted:
            return []
        by_name = {
            p.name: p for p in self.populations
            if what == SENT or (p.opcode and (what == CURRENT or BY_OPCODE[p.opcode].name != "relay"))
        }  # fmt: skip
        for name in wanted:
            if not isinstance(name, str) or name not in by_name:
                known = isinstance(name, str) and name in [p.name for p in self.populations]
                has = f", which has no {what}" if known else ""
                raise InputError(f"{given}: found {shown(name)}{has}, expected one of {', '.join(by_name) or 'none'}")
        return [by_name[name] for name in wanted]

    def _counts(self, before: Counts | None = None) -> Counts:
        """What was sent, and synaptic operations, since the last reset, or since ``before``."""
        counts = self._state.counts()
        if before is None:
            return counts
        sent, synops = ([a - b for a, b in zip(*pair, strict=True)] for pair in zip(counts, before, strict=True))
        return sent, synops

    @cached_property
    def _layers(self) -> tuple[tuple[PopulationCounts, list[int], list[int]], ...]:
        """Per population: its counts in one step in which all sources send, and the projections that bring it spikes,
        and real values."""
        found = []
        for p in self.populations:
            into: tuple[list[int], list[int]] = ([], [])
            for q in self.projections:
                if q.target == p.index:
                    values = self.populations[q.source].emits == Emits.VALUES and q.kind != "window"
                    into[values].append(q.index)
            dense, multiplied = (sum(self.synapses[i] for i in part) for part in into)
            kind = p.emits.name.lower() if p.opcode else "input"
            layer = PopulationCounts(p.name, rule_text(p), p.size, 0, 0, kind, 0, dense + multiplied, multiplied)
            found.append((layer, *into))
        return tuple(found)

    def _counted(self, counts: Counts, steps: int, samples: int, done: int) -> Counted:
        """``steps``: of all samples together; ``done``: since the last reset."""
        return Counted(self._layers, *counts, steps, samples, self.dt, self._unfinished(done))

    def _unfinished(self, done: int) -> tuple[str, ...]:
        """A note, if the steps since the last reset are fewer than the longest delay."""
        needed = self.longest_delay
        if done >= needed:
            return ()
        return (
            f"the answer is not complete: a projection has a delay of {needed:,} steps, and this is step {done:,}; run "
            f"{needed:,} steps or more (--steps {needed})",
        )


def _misfit(x: Array, right: Array, p: PopulationInfo, start: int | None, expected: str, hint: str = "") -> InputError:
    """The error for the first value that is not ``right`` of (T, *shape), which begins with the step ``start``."""
    wrong = np.argwhere(~right)
    first = tuple(wrong[0].tolist())
    at = first[1:] if start is None else (first[0] + start, *first[1:])
    bad = int((~np.isfinite(x)).sum())
    if bad:
        hint = f"{bad:,} are not finite: correct the data"
    text = f"input {p.name}: found {x[first]} at {at}, expected {expected}; {len(wrong):,} of {x.size:,} values are not"
    return InputError(f"{text}; {hint}" if hint else text)


def _instead(names: list[str], what: str, none: str) -> str:
    made = "build one with a Projection(learning=...), or the rule 'adaptive'"
    return f"{what}, expected one of {', '.join(names)}" if names else f"{none} in this network; {made}"


def _spikes(rows: Array, population: int, start: int) -> Array:
    """Those of (T, n), from the step ``start`` on."""
    step, neuron = np.nonzero(rows)
    found = np.empty(len(step), SPIKE)
    found["step"], found["population"], found["neuron"] = step + start + 1, population, neuron
    found["sign"] = np.where(rows[step, neuron] < 0, -1, 1)
    return found


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


def build(network: Network, *, kernels: str | None = None) -> SpikingModel:
    """Write a :class:`~bnn.snn.network.Network` and open it; warns of steps that are longer than a time constant.

    Raises CompileError where :meth:`~bnn.snn.network.Network.check` does.
    """
    from .file import encode

    if not isinstance(network, Network):
        found = type(network).__name__
        raise InputTypeError(
            f"network: found {found}, expected a Network; for a file use bnn.snn.load or bnn.snn.compile"
        )
    model = SpikingModel.from_bytes(encode(network), kernels=kernels)
    found = [(p.name, longest_step(p)) for p in network.populations]
    model.warnings = tuple(
        f"{name}: found dt / tau = {share:.3g}; above 1, every step overshoots, and membranes swing"
        for name, share in found
        if share > 1
    )
    for text in model.warnings:
        warnings.warn(text, stacklevel=2)
    return model
