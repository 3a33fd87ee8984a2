"""Run a compiled network event by event: a network of binary activations as the spiking network that it equals.

    engine = bnn.events.EventEngine(bnn.load("net.bnn"))
    run = engine.run_image(x, order="brightest", label=3)   # pixels arrive one by one
    print(run)                                              # when the answer was first right, and when final
    print(run.report)                                       # spikes and SynOps per layer, energy

Whenever no spike is under way, every layer equals what ``model(x)`` computes, bit for bit.  docs/events.md has the
rules; the engine itself is C (csrc/include/bnn_events.h).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ._arrays import Floats, Shape, check_inputs
from ._events_engine import KINDS, Engine
from ._events_report import Energy, LayerCounts, Report
from ._events_rules import RULES, Rule, frames, place
from ._events_runs import ImageRun, RecordingRun, StreamRun
from .errors import InputError, InputTypeError, UnsupportedOpError
from .runtime import Model

__all__ = [
    "ORDERS",
    "RULES",
    "Energy",
    "EventEngine",
    "ImageRun",
    "LayerCounts",
    "RecordingRun",
    "Report",
    "Rule",
    "StreamRun",
    "pixel_order",
]

ORDERS = ("raster", "random", "brightest")
FIRING_ORDERS = ("layers", "fifo", "random")
ENCODERS = ("auto", "incremental", "synchronous")
_NEURONS = "activations of several levels run as several neurons, one a threshold"
_FINEST = 24  # steps down to 2**-24 are looked for


def pixel_order(x: Floats, order: str, seed: int = 0, blank: float = 0.0) -> np.ndarray[Any, Any]:
    """Indices (row-major) of the elements of ``x`` that differ from ``blank``, in the order in which they arrive.

    raster: row by row.  random: any, by ``seed``.  brightest: by falling value (latency coding: the stronger a pixel,
    the earlier its spike), equal ones in raster order.
    """
    flat = x.reshape(-1)
    index = np.flatnonzero(flat != np.float32(blank))
    if order == "raster":
        return index
    if order == "random":
        return np.random.default_rng(seed).permutation(index)
    if order == "brightest":
        return index[np.argsort(-flat[index], kind="stable")]
    raise InputError(f"order: found {order!r}, expected one of {', '.join(ORDERS)}")


def _exact_step(x: Floats) -> float | None:
    """The greatest power of two, 1 at most, of which all elements are multiples; None: there is none worth it."""
    for exponent in range(_FINEST + 1):
        scaled = x * np.float32(2.0**exponent)
        if np.array_equal(scaled, np.rint(scaled)):
            return float(2.0**-exponent)
    return None


class EventEngine:
    """An event-driven instance of a model: membranes, and the spikes between them.

    Args:
        model: a compiled model. Several engines may share it.
        firing: which of the spikes under way travels next: "layers" (all of a layer, then the next: fastest), "fifo",
            or "random" by ``seed``. At rest the result is the same.
        switch: "never": events only. "auto": a layer at which more spikes arrive at once than its measured
            break-even runs its synchronous kernel instead; the report says how often.
        encoder: how real inputs become the first bits. "incremental": only what a changed pixel touches, refused
            where sums are not exact; "synchronous": the whole encoder each time; "auto": the first where it is exact.

    Raises:
        UnsupportedOpError: names the layer that cannot run event by event, and why.
        InputError: an argument that is none of these.
    """

    def __init__(
        self, model: Model, *, firing: str = "layers", seed: int = 0, switch: str = "never", encoder: str = "auto"
    ) -> None:
        for what, found, choices in (
            ("firing", firing, FIRING_ORDERS),
            ("switch", switch, ("never", "auto")),
            ("encoder", encoder, ENCODERS),
        ):
            if found not in choices:
                raise InputError(f"{what}: found {found!r}, expected one of {', '.join(choices)}")
        if not isinstance(model, Model):
            raise InputTypeError(f"model: found {type(model).__name__}, expected a compiled model (bnn.load(path))")
        self.model = model
        #: The model that runs: ``model`` itself, or, where activations of several levels are made neurons of their own
        #: (one a threshold), that network.  Numbers of ops and tensors are this one's.
        self.network = model
        self._dense: dict[int, int] = {}
        self._several = False
        self._engine = self._made()
        self._opened = self._engine.opened
        if switch == "auto":
            self._engine.calibrate()
        self._engine.set_order(firing, seed)
        self._encoder = encoder
        self._notes = self._about = (_NEURONS,) if self._several else ()
        self._mode = "synchronous"
        tensors, ops = self._opened.tensors, self._opened.ops
        infos = self._engine.layers()
        self._names = [ops[i.op].layer or tensors[i.tensor].name for i in infos]
        binarized = any(ops[i.op].op == "binarize" and len(ops[i.op].inputs) == 1 for i in infos)
        #: What an input is before anything arrived: 0, or -1 where it is binarized at once (the sign of 0 is +1).
        self.blank = -1.0 if binarized and self._opened.inputs[0].dtype == "f32" else 0.0

    # -- one step at a time ---------------------------------------------------------------------------------------

    def reset(self, x: Any = None) -> None:
        """At rest on the inputs ``x`` (as for ``model(x)``, a batch of one; None: blank), counts at zero."""
        self._engine.reset(self._inputs(x))

    def step(self, x: Any) -> Floats:
        """New inputs (a batch of one): propagate what changed; gives the first output (one image's, no batch)."""
        self.push(x)
        self.run()
        return self.output()

    def push(self, x: Any) -> None:
        """New inputs (a batch of one); the bits that changed are spikes under way until :meth:`run`."""
        self._engine.frame(self._inputs(x))

    def run(self) -> None:
        """Until no spike is under way."""
        self._engine.run()

    def prepare(self, data: Floats) -> str:
        """Promise that until the next reset all inputs are values like those of ``data`` (multiples of the same power
        of two, not larger): then only what a changed element touches is computed, where that is exact.

        Returns "incremental" or "synchronous"; raises InputError where the engine must be incremental and cannot.
        """
        self._prepare(data)
        return self._mode

    def output(self, index: int = 0) -> Floats:
        """An output as it is now, float32, without the batch."""
        return self._engine.output(index)

    def state(self, tensor: int) -> Floats:
        """A tensor as it is now (numbers as in ``network.tensors``): bits are +1 and -1."""
        if not 0 <= tensor < len(self._opened.tensors):
            raise InputError(f"tensor: found {tensor}, expected 0 to {len(self._opened.tensors) - 1}")
        return self._engine.state(tensor)

    @property
    def layers(self) -> tuple[LayerCounts, ...]:
        """Counts per layer since the last reset."""
        rows = []
        for name, info in zip(self._names, self._engine.layers(), strict=True):
            limit = None if Engine.never(info.limit) else int(info.limit)
            rows.append(
                LayerCounts(
                    name=name,
                    kind=KINDS[info.kind],
                    op=info.op,
                    tensor=info.tensor,
                    neurons=info.neurons,
                    dense=self._dense.get(info.op, info.dense),
                    events=info.events,
                    synops=info.synops,
                    spikes_up=info.up,
                    spikes_down=info.down,
                    synchronous=info.synchronous,
                    limit=limit,
                )
            )
        return tuple(rows)

    def report(self, inferences: int = 1) -> Report:
        """The counts since the last reset, against a synchronous engine's for so many inputs."""
        return Report(self.layers, inferences, self._mode, self._notes)

    # -- a static image -------------------------------------------------------------------------------------------

    def run_image(
        self, x: Any, *, order: str = "raster", seed: int = 0, label: int | None = None, trace: bool = False
    ) -> ImageRun:
        """Let an image arrive pixel by pixel, from blank, and watch the output.

        Args:
            x: (H, W, C) or (1, H, W, C), as the model's input.
            order: "raster", "random" (by ``seed``) or "brightest"; see :func:`pixel_order`.
            label: the right class, for "first correct".
            trace: keep every spike (memory: 24 bytes each).
        """
        image = self._image(x)
        index = pixel_order(image, order, seed, self.blank)
        engine = self._engine
        self.reset()
        self._prepare(image[None])
        outputs = np.empty((len(index) + 1, self._opened.outputs[0].shape[-1]), np.float32)
        outputs[0] = self._scores()
        now = np.full(image.shape, self.blank, np.float32)
        flat, values = now.reshape(-1), image.reshape(-1)
        if trace:
            engine.start_trace(self._trace_room(len(index)))
        for k, i in enumerate(index, 1):
            engine.set_time(k)
            if self._mode == "incremental":
                engine.pixel(int(i), float(values[i]))
            else:
                flat[i] = values[i]
                engine.frame([now])
            engine.run()
            outputs[k] = self._scores()
        spikes, count = engine.stop_trace() if trace else (None, 0)
        report = self.report()
        return ImageRun(image, index, order, outputs, label, report, spikes, count)

    # -- a stream of frames ---------------------------------------------------------------------------------------

    def run_stream(self, stream: Any, *, compare: bool = True) -> StreamRun:
        """Frames one after another; only what changed between them is propagated.

        Args:
            stream: (T, H, W, C), as the model's input.  The engine is at rest on the first frame; the others are
                counted and timed.
            compare: run ``model`` on every frame too: times it, and counts outputs that differ (there must be none).
        """
        (video,) = self._floats(stream)
        if len(video) < 2:
            raise InputError(f"stream: found {len(video)} frames, expected at least two")
        self._engine.reset([video[0]])
        self._prepare(video)
        count = len(video) - 1
        synops, spikes, events = (np.zeros(count, np.int64) for _ in range(3))
        own, other = np.zeros(count, np.int64), np.zeros(count, np.int64)
        outputs = np.empty((count, *self._opened.outputs[0].shape), np.float32)
        before = np.zeros(3, np.int64)
        wrong = 0
        for k, frame in enumerate(video[1:]):
            start = time.perf_counter_ns()
            self._engine.frame([frame])
            self._engine.run()
            outputs[k] = self._engine.output()
            own[k] = time.perf_counter_ns() - start
            if compare:
                start = time.perf_counter_ns()
                want = self.model(frame[None].astype(self.model.input_dtypes[0], copy=False))
                other[k] = time.perf_counter_ns() - start
                first = want[0] if isinstance(want, list) else want
                wrong += not np.array_equal(first[0], outputs[k], equal_nan=True)
            layers = self._engine.layers()
            after = np.array([sum(getattr(i, n) for i in layers) for n in ("synops", "up", "events")], np.int64)
            after[1] += sum(i.down for i in layers)
            synops[k], spikes[k], events[k] = after - before
            before = after
        changed = np.count_nonzero(video[1:] != video[:-1], axis=tuple(range(1, video.ndim)))
        return StreamRun(changed, synops, spikes, events, own, other, outputs, wrong, compare, self.report(count))

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
        **options: Any,
    ) -> RecordingRun:
        """An event camera's recording, accumulated into the network's input by a stated rule.

        Args:
            events: structured array with fields x, y, p, t (microseconds, not falling), as ``tonic`` and
                :func:`bnn.event_sources.read` give it.
            rule: a :class:`Rule`, or its name with its parameters as ``options`` (step, window, count, tau, level).
            origin, shrink: pixel (y, x) of the camera is ((y, x) - origin) // shrink of the network; events outside
                are dropped and counted.
            on, off: the input's value where a bit is set, and where it is not (default: blank).
        """
        try:
            how = rule if isinstance(rule, Rule) else Rule(rule, **options)
        except TypeError:
            raise InputError(f"options: found {', '.join(options)}, expected step, window, count, tau, level") from None
        shape = self._single_shape()
        recording = place(events, shape, origin, shrink)
        clear = self.blank if off is None else off
        levels = np.array([clear, on], np.float32)
        self._engine.reset([np.full(shape, clear, np.float32)])
        self._prepare(levels)
        times, seen, outputs, changed = [], [], [self._scores()], []
        last = np.zeros(shape, bool)
        for now, count, bits in frames(recording, shape, how):
            self._engine.set_time(now)
            self._engine.frame([levels[bits.astype(np.intp)]])
            self._engine.run()
            times.append(now)
            seen.append(count)
            changed.append(int(np.count_nonzero(bits != last)))
            outputs.append(self._scores())
            last = bits
        report = self.report(max(len(times), 1))
        return RecordingRun(
            how, np.array(times, np.int64), np.array(seen, np.int64), np.array(changed, np.int64), np.array(outputs),
            len(recording.t), recording.dropped, report,
        )  # fmt: skip

    # -- inside ---------------------------------------------------------------------------------------------------

    def _made(self) -> Engine:
        try:
            return Engine(self.model._open())
        except UnsupportedOpError as error:
            from ._events_form import network_of_neurons  # the compiler's part of the package: only where it is needed

            form = network_of_neurons(self.model)
            if form is None:
                raise
            self.network, self._dense, self._several = form
            try:
                return Engine(self.network._open())
            except UnsupportedOpError:
                raise error from None

    def _prepare(self, data: Floats) -> None:
        """Choose the encoder for inputs with the values of ``data`` (those of the state included)."""
        self._mode, self._notes = "synchronous", self._about
        if self._encoder == "synchronous":
            return
        values = np.append(data.reshape(-1), np.float32(self.blank))
        step = _exact_step(values) if np.isfinite(values).all() else None
        why = "inputs are not multiples of a power of two" if step is None else ""
        if step is not None:
            why = self._engine.expect(step, float(np.abs(values).max()))
        if not why:
            self._mode = "incremental"
        elif self._encoder == "incremental":
            raise InputError(f"incremental encoder: {why}; use encoder='synchronous'")
        else:
            self._notes = (*self._about, f"the encoder ran synchronously: {why}")

    def _scores(self) -> Floats:
        """The first output; of an image, its first pixel."""
        values = self._engine.output()
        return np.asarray(values.reshape(-1, values.shape[-1])[0])

    def _trace_room(self, events: int) -> int:
        return int(min(4_000_000, 64 * 1024 + sum(layer.neurons for layer in self.layers) * min(events, 64)))

    def _single_shape(self) -> Shape:
        shapes = self.model.input_shapes
        if len(shapes) != 1:
            raise InputError(f"the model has {len(shapes)} inputs; this needs one")
        return shapes[0]

    def _image(self, x: Any) -> Floats:
        shape = self._single_shape()
        array = np.asarray(x)
        (image,) = self._floats(array[None] if array.shape == shape else array)
        if len(image) != 1:
            raise InputError(f"x: found {len(image)} images, expected one")
        return np.asarray(image[0])

    def _floats(self, x: Any) -> list[Floats]:
        """Checked inputs as the engine holds them; bytes become floats."""
        model = self.model
        arrays = check_inputs(x, model.input_names, model.input_shapes, model.input_dtypes)
        return [a.astype(np.float32, copy=False) for a in arrays]

    def _inputs(self, x: Any) -> list[Floats]:
        if x is None:
            return [np.full(shape, self.blank, np.float32) for shape in self.model.input_shapes]
        arrays = self._floats(x)
        if len(arrays[0]) != 1:
            raise InputError(f"x: found a batch of {len(arrays[0])}, expected one image")
        return [a[0] for a in arrays]
