# SPDX-License-Identifier: Apache-2.0
"""The event engine in Python: frames, streams and recordings in, spikes and reports out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .._arguments import check_choice, check_count, check_flag, check_kind
from .._types import Array, Floats
from ..errors import InputError
from ..runtime import Model
from ..runtime.arrays import Shape, as_array, as_numbers, given, room_for
from ..runtime.handles import SNN, Contents, select_kernels
from ..runtime.progress import progress as progress_bar
from ..streams.grid import check_finite, place
from .counts import SPIKING, EventReport, LayerCounts
from .handle import Engine, check_bytes
from .rules import Rule, bit_values, exact_step, frames, pixel_order, step_count
from .runs import ImageRun, RecordingRun, StreamRun

_NEURONS = "activations of several levels run as several neurons, one per threshold"
#: Spikes that a trace may keep, 24 bytes each.
MOST_SPIKES = 40_000_000
_ROOM = 4_000_000  # the spikes that it has room for at first
_LONG = 200  # inputs; a progress bar is shown for this many or more


class EventEngine:
    """An event-driven instance of a model: membranes, and the spikes between them.

    Args:
        model: a compiled model. Several engines may share it.
        switch: "never": events only.  "auto": a layer that receives more spikes at once than its measured break-even
            runs its synchronous kernel instead; the report says how often.
        encoder: how real inputs become the first bits.  "incremental": only the effects of changed pixels, refused if
            sums are not exact; "synchronous": the whole encoder each time; "auto": incremental if it is exact.

    Raises:
        UnsupportedOpError: names the layer that cannot run event by event, and why.
        InputError: an argument is invalid, or the engine needs more memory than ``max_bytes`` of :func:`bnn.load`.
        BnnError: after an interrupted call (Ctrl-C), from all methods except :meth:`reset` and those that begin with a
            reset (``run_...``).
    """

    def __init__(self, model: Model, *, switch: str = "never", encoder: str = "auto") -> None:
        check_choice(switch, "switch", ("never", "auto"))
        check_choice(encoder, "encoder", ("auto", "incremental", "synchronous"))
        self.model: Model = check_kind(model, "model", Model, "a compiled model: bnn.load(path)")
        #: The model that runs: ``model`` itself, or, if it has real numbers before its bits, the network with integer
        #: thresholds.  Numbers of ops and tensors refer to this model.
        self.network = model
        self._dense, self._several = dict[int, int](), False
        #: The functions of bnn_events.h, whose arguments are not checked: limits of layers, single pixels.
        self.handle = self._made()
        self._opened = self.handle.opened
        if switch == "auto":
            self.handle.calibrate()
        self._encoder, self._mode, self._why = encoder, "synchronous", ""
        self._updates = 0  # inputs since the last reset
        ops = [self._opened.ops[layer.op] for layer in self.layers]
        binarized = any(op.op == "binarize" and len(op.inputs) == 1 for op in ops)
        #: The value of an input before anything arrives: 0, or -1 if it is binarized immediately (the sign of 0 is +1).
        self.blank = -1.0 if binarized and self._opened.inputs[0].dtype == "f32" else 0.0

    # -- one step at a time ---------------------------------------------------------------------------------------

    def reset(self, x: Any = None) -> None:
        """Start at rest on the inputs ``x`` (as for ``model(x)``, a batch of one; None: blank), with counts at zero."""
        self._reset(self._inputs(x))

    def step(self, x: Any) -> Floats:
        """Take new inputs (a batch of one), propagate the changes, return the first output (without the batch)."""
        self.push(x)
        self.run()
        return self.output()

    def push(self, x: Any) -> None:
        """Take new inputs (a batch of one); the bits that changed are pending spikes until :meth:`run`."""
        self._frame(self._inputs(x))

    def run(self) -> None:
        """Run until no spike is pending."""
        self.handle.run()

    def time_frames(self, frames: Floats) -> Array:
        """Nanoseconds of :meth:`run` after each frame (N, *shape) of a network with one input, measured in C."""
        return self.handle.time_frames(self._floats(frames))

    def prepare(self, data: Floats) -> str:
        """Promise that until the next reset all inputs are values like those of ``data`` (multiples of the same power
        of two, not larger): then only the effects of changed elements are computed, if that is exact.

        Returns "incremental" or "synchronous"; raises InputError if the engine must be incremental and cannot be.
        """
        data = np.asarray(as_numbers(data, "data"), np.float32)
        self._mode, self._why = "synchronous", ""
        if self._encoder == "synchronous":
            return self._mode
        values = np.append(data.reshape(-1), np.float32(self.blank))  # those of the state included
        step = exact_step(values) if np.isfinite(values).all() else None
        why = "inputs are not multiples of a power of two" if step is None else ""
        if step is not None:
            why = self.handle.expect(step, float(np.abs(values).max()))
        if not why:
            self._mode = "incremental"
        elif self._encoder == "incremental":
            raise InputError(f"incremental encoder: {why}; use encoder='synchronous'")
        else:
            self._why = why
        return self._mode

    def output(self, index: int = 0) -> Floats:
        """An output's current value, float32, without the batch; its channels last, whatever the model's layout."""
        return self.handle.output(check_count(index, "output", len(self._opened.outputs) - 1, 0))

    def state(self, tensor: int) -> Floats:
        """A tensor's current value (numbers as in ``network.tensors``): bits are +1 and -1."""
        return self.handle.state(check_count(tensor, "tensor", len(self._opened.tensors) - 1, 0))

    def levels(self, layer: LayerCounts) -> Array:
        """The current level of each neuron of a layer (uint8, in the neurons' shape), from 0; of bits 0 and 1."""
        check_kind(layer, "layer", LayerCounts, "one of the engine's layers")
        op = self._opened.ops[check_count(layer.op, "op", len(self._opened.ops) - 1, 0)]
        bits = self.state(layer.tensor) > 0
        if op.op != "binarize_levels":
            return bits.astype(np.uint8)
        shape = self._opened.tensors[op.inputs[0]].shape
        planes = bits.reshape(*shape[:-1], (layer.levels - 1).bit_length(), -1)[..., : shape[-1]]
        return np.asarray((planes * 2 ** np.arange(planes.shape[-2])[:, None]).sum(axis=-2).astype(np.uint8))

    @property
    def layers(self) -> tuple[LayerCounts, ...]:
        """Counts per layer since the last reset."""
        return self.handle.layer_counts(self._dense)

    def report(self, inferences: int = 1) -> EventReport:
        """The counts since the last reset, compared with a synchronous engine's for ``inferences`` inputs."""
        layers = self.layers
        encoder, notes = self._mode, [_NEURONS] if self._several else []
        times = max((layer.synchronous for layer in layers if layer.kind == "encoder"), default=0)
        if self._mode == "incremental" and times:
            encoder += f", synchronous in {times} of {self._updates}"
        elif self._why:
            operations = sum(layer.synops for layer in layers if layer.kind == "encoder")
            notes.append(f"the encoder ran synchronously, {operations:,} operations in {times:,} runs: {self._why}")
        return EventReport(layers, inferences, encoder, tuple(notes))

    # -- a static image -------------------------------------------------------------------------------------------

    def run_image(
        self, x: Any, *, order: str = "raster", seed: int = 0, label: int | None = None, trace: bool = False,
        most_spikes: int = MOST_SPIKES, progress: bool = False,
    ) -> ImageRun:  # fmt: skip
        """Let an image arrive pixel by pixel, from blank, and watch the output.

        Args:
            x: one image, with or without a batch dimension, in the model's own layout; finite.
            order: "raster", "random" (by ``seed``) or "brightest"; see :func:`pixel_order`.
            label: the right class, for "first correct".
            trace: keep every spike (24 bytes each; InputError if there are more than ``most_spikes``).
            progress: show a bar on stderr while it takes a while.
        """
        image = self._image(x)
        self._check(image, label)
        check_flag(trace, "trace"), check_flag(progress, "progress"), check_count(most_spikes, "most_spikes")
        index = pixel_order(image, order, seed, self.blank)
        likely = 64 * 1024 + sum(layer.neurons for layer in self.layers) * min(len(index), 64)
        room = min(_ROOM, most_spikes, likely) if trace else 0
        if trace:
            self.reset()
        start = tuple(self.levels(layer) for layer in self.layers if trace and layer.kind in SPIKING)
        while True:
            with progress_bar("events", len(index), progress and len(index) >= _LONG) as advance:
                outputs, spikes, count = self._arrive(image, index, room, advance)
            if count <= room:
                break
            if count > most_spikes:
                most = f"{most_spikes:,} ({most_spikes * 24 / 1e9:.0f} GB); run without, or a smaller image or network"
                raise InputError(f"trace: found {count:,} spikes, expected at most {most}")
            room = count  # run again
        return ImageRun(outputs, label, self.report(), image, index, order, self.blank, spikes, start)

    def _arrive(
        self, image: Floats, index: Array, room: int, advance: Callable[[int], None]
    ) -> tuple[Floats, Array | None, int]:
        """(outputs over time, the spikes that had room, the number of all spikes)"""
        engine = self.handle
        self.reset()
        self.prepare(image[None])
        outputs = room_for((len(index) + 1, self._opened.outputs[0].shape[-1]), np.float32, "outputs")
        outputs[0] = self._scores()
        now = np.full(image.shape, self.blank, np.float32)
        flat, values = now.reshape(-1), image.reshape(-1)
        if room:
            engine.start_trace(room)
        for k, i in enumerate(index, 1):
            if self._mode == "incremental":
                self._updates += 1
                engine.pixel(int(i), float(values[i]))
            else:
                flat[i] = values[i]
                self._frame([now])
            engine.run()
            outputs[k] = self._scores()
            advance(1)
        return (outputs, *engine.stop_trace()) if room else (outputs, None, 0)

    # -- a stream of frames ---------------------------------------------------------------------------------------

    def run_stream(
        self, stream: Any, *, label: int | None = None, compare: bool = True, progress: bool = False
    ) -> StreamRun:
        """Frames one after another; only what changed between them is propagated.

        Args:
            stream: (T, *image), in the model's own layout; finite.  The engine is at rest on the first frame; the
                others are counted and timed.
            label: the right class, for "first correct".
            compare: also run and time ``model`` on every frame, and count outputs that differ (there must be none).
            progress: show a bar on stderr while it takes a while.
        """
        check_flag(compare, "compare"), check_flag(progress, "progress")
        self._single_shape()
        (video,) = self._floats(stream)
        if len(video) < 2:
            raise InputError(f"stream: found {len(video)} frames, expected at least two")
        self._check(video, label)
        self._reset([video[0]])
        self.prepare(video)
        count = len(video) - 1
        own, other = np.zeros(count, np.int64), np.zeros(count, np.int64)
        outputs = room_for((len(video), *self._opened.outputs[0].shape), np.float32, "outputs")
        outputs[0] = self.handle.output()
        counts = [self.handle.counts()]
        wrong, first = 0, self._opened.channels_first
        with progress_bar("frames", count, progress and count >= _LONG) as advance:
            for k, frame in enumerate(video[1:]):
                start = time.perf_counter_ns()
                self._frame([frame])
                self.handle.run()
                outputs[k + 1] = self.handle.output()
                own[k] = time.perf_counter_ns() - start
                if compare:
                    start = time.perf_counter_ns()
                    want = self.model(given(frame[None].astype(self.model.input_dtypes[0], copy=False), first))
                    other[k] = time.perf_counter_ns() - start
                    scores = given(outputs[k + 1][None], first)
                    wrong += not np.array_equal((want[0] if isinstance(want, list) else want), scores, equal_nan=True)
                counts.append(self.handle.counts())
                advance(1)
        up, down, synops, events = np.moveaxis(np.diff(counts, axis=0), 1, 0)
        changed = np.count_nonzero(video[1:] != video[:-1], axis=tuple(range(1, video.ndim)))
        return StreamRun(
            outputs, label, self.report(count), changed=changed, synops=synops.sum(axis=1), up=up, down=down,
            events=events.sum(axis=1), nanoseconds=own, synchronous_nanoseconds=other, wrong=wrong, compared=compare,
        )  # fmt: skip

    # -- a camera's events ----------------------------------------------------------------------------------------

    def run_events(
        self,
        events: Any,
        rule: str | Rule = "window",
        *,
        origin: tuple[int, int] = (0, 0),
        shrink: int = 1,
        on: float = 1.0,
        off: float | None = None,
        label: int | None = None,
        progress: bool = False,
        **options: Any,
    ) -> RecordingRun:
        """An event camera's recording, accumulated into the network's input by a stated rule.

        Args:
            events: structured array with fields x, y, p, t (microseconds, never decreasing), as from ``tonic`` and
                :func:`bnn.streams.recordings.read`.
            rule: a :class:`Rule`, or its name with its parameters as ``options`` (step, window, count, tau, level).
            origin: pixel (y, x) of the camera is ((y, x) - origin) // shrink of the network; events outside are
                dropped and counted.
            shrink: see origin.
            on: the input's value for a set bit.
            off: the input's value for a clear bit (default: blank).
            label: the right class, for "first correct".
            progress: show a bar on stderr while it takes a while.
        """
        if isinstance(rule, Rule) and options:
            raise InputError(f"options: found {', '.join(options)} together with a Rule; set them in the Rule")
        if not {*options} <= {"step", "window", "count", "tau", "level"}:
            raise InputError(f"options: found {', '.join(options)}, expected step, window, count, tau, level")
        check_flag(progress, "progress")
        how = rule if isinstance(rule, Rule) else Rule(rule, **options)
        self._single_shape()
        shape = self._opened.inputs[0].shape
        recording = place(events, shape, origin, shrink)
        steps = step_count(recording, how)
        levels = bit_values(self.blank if off is None else off, on)
        self._check(levels, label)
        self._reset([np.full(shape, levels[0], np.float32)])
        self.prepare(levels)
        times, seen, changed = (np.zeros(steps, np.int64) for _ in range(3))
        outputs, counts = [self._scores()], [self.handle.counts()]
        last = np.zeros(shape, bool)
        start = int(recording.t[0]) if steps else 0
        with progress_bar("steps", steps, progress and steps >= _LONG) as advance:
            for k, (now, count, bits) in enumerate(frames(recording, shape, how)):
                times[k], seen[k], changed[k] = now, count, np.count_nonzero(bits != last)
                if changed[k]:
                    self._frame([levels[bits.astype(np.intp)]])
                    self.handle.run()
                outputs.append(self._scores() if changed[k] else outputs[-1])
                counts.append(self.handle.counts() if changed[k] else counts[-1])
                last = bits
                advance(1)
        up, down = np.moveaxis(np.diff(counts, axis=0)[:, :2], 1, 0)
        return RecordingRun(
            np.array(outputs), label, self.report(max(steps, 1)), rule=how, start=start, times=times, seen=seen,
            changed=changed, up=up, down=down, events=len(recording.t), dropped=recording.dropped,
        )  # fmt: skip

    # -- inside ---------------------------------------------------------------------------------------------------

    def _made(self) -> Engine:
        """As the network is; or with integer thresholds, where it has real numbers before its bits; or, if counters
        cannot count its levels, with a neuron per threshold."""
        from ..lowering import network_of_events  # the compiler's part: imported only if needed
        from ..snn.handle import OpenedNetwork

        opened = self.model._open()
        form = network_of_events(self.model, lambda needed: check_bytes(needed, opened))
        self.network, self._dense, self._several = form.network, form.dense, form.several
        populations = OpenedNetwork(Contents.of_bytes(form.file, SNN), select_kernels(self.model.kernels))
        return Engine(self.network._open(), populations)

    def _reset(self, inputs: list[Floats]) -> None:
        self._updates = 0
        self._mode, self._why = "synchronous", ""  # promises end here
        self.handle.reset(inputs)

    def _frame(self, inputs: list[Floats]) -> None:
        self._updates += 1
        self.handle.frame(inputs)

    def _check(self, values: Floats, label: int | None) -> None:
        if label is not None:
            check_count(label, "label", self._opened.outputs[0].shape[-1] - 1, 0)
        check_finite(values)

    def _scores(self) -> Floats:
        """The first output; if it is an image, its first pixel."""
        return np.asarray(self.handle.output().reshape(-1, self._opened.outputs[0].shape[-1])[0])

    def _single_shape(self) -> Shape:
        """The shape of an image as the caller has it."""
        shapes = self.model.input_shapes
        if len(shapes) == 1:
            return shapes[0]
        raise InputError(
            f"the network has {len(shapes)} inputs, expected one; give them to step(inputs), frame by frame"
        )

    def _image(self, x: Any) -> Floats:
        shape = self._single_shape()
        array = as_array(x, "x")
        (image,) = self._inputs(array[None] if array.shape == shape else array)
        return image

    def _floats(self, x: Any) -> list[Floats]:
        """The values, checked; bytes become floats."""
        return [a.astype(np.float32, copy=False) for a in self.model.check_inputs(x)]

    def _inputs(self, x: Any) -> list[Floats]:
        if x is None:
            return [np.full(t.shape, self.blank, np.float32) for t in self._opened.inputs]
        arrays = self._floats(x)
        if len(arrays[0]) != 1:
            raise InputError(f"x: found a batch of {len(arrays[0])}, expected one image")
        return [a[0] for a in arrays]
