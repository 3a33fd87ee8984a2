# SPDX-License-Identifier: Apache-2.0
"""Run compiled models: arrays in, arrays out.  Uses bytes and bnn.h; nothing from the compiler."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arguments import check_count, check_flag, check_kind, check_threads
from .._text import printable
from .._types import Floats
from ..errors import ClosedModelError, InputError
from .arrays import (
    INPUT_DTYPES,
    Inputs,
    Shape,
    TensorInfo,
    batched,
    check_inputs,
    check_outputs,
    given,
    given_shape,
    results,
)
from .files import path_text, replacing
from .handles import BNN, NO_LIMIT, PORTABLE, Contents, Context, Macs, OneImage, Opened, OpInfo, select_kernels
from .progress import progress as progress_bar
from .use import Preprocessing

if TYPE_CHECKING:  # rarely needed modules are imported when used
    from .evaluation import Evaluation
    from .stepper import Stepper
    from .summary import Profile

Outputs = Floats | Sequence[Floats]

MOST_REPEATS = 10**6
# Images run together by one worker: enough that a dense layer's weights are read once for many images.
MICRO_BATCH = 8
_CACHED = 2**21  # bytes of a micro-batch's activations that a core's caches can be expected to hold
# One call into C does about this much work, a tenth of a second or two, so that progress never waits longer.
_WORK_PER_CALL = 2**27


class Model:
    """A compiled network, ready to run.

    ``model(x)`` and :meth:`predict` take arrays whose first dimension is the batch: float32, or uint8 or int8 if the
    network was compiled for these.  They return float32 arrays.  Python threads may share a model; the interpreter
    lock is released while C runs.

    Environment variables, read when a model is loaded: BNN_THREADS (default number of threads per call; 1 if not set)
    and BNN_KERNELS (the kernel family; see :func:`available_kernels`).

    Bits, integers, and sums of floats that are exact are the same on every machine.  Other sums of floats round
    differently in the fast families of some processors; the family "portable" computes the same bytes as every other
    machine, and as the C that :func:`bnn.emit_c` writes: ``bnn.load(path, kernels="portable")``, or
    :meth:`with_kernels`.
    """

    def __init__(self, opened: Opened, path: str | None = None) -> None:
        """Use :meth:`from_file`, :meth:`from_bytes` or ``bnn.compile``."""
        made = "a file that was opened: use bnn.load(path), bnn.Model.from_bytes(data) or bnn.compile(model)"
        self._opened: Opened | None = check_kind(opened, "Model", Opened, made)
        self._path = path
        self._threads = check_threads(None)
        # Unused contexts, by (images, workers).  list.append and list.pop are atomic, so no lock is needed.
        self._idle: dict[tuple[int, int], list[Context]] = {}
        self._one: OneImage | None = None  # after the first such call
        self._micro_batch = _micro_batch(opened)
        self._images_per_call = max(_WORK_PER_CALL // max(opened.work, 2**13), 1)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        kernels: str | None = None,
        max_bytes: int | None = None,
        max_work: int | None = None,
    ) -> Model:
        """Map a .bnn file into memory and check every byte of it.

        The file must not be rewritten in place while the model is open; replacing it by :meth:`save` is safe.

        Args:
            kernels: the kernel family; default: BNN_KERNELS, or the fastest.  "portable": the same bytes everywhere.
            max_bytes: memory that the opened model and one image's activations may take together.  Default: 64 MiB plus
                64 times the file size for the model; 256 MiB plus 256 times the size of one image's inputs and outputs
                as float32 for the activations.  Networks need far less.
            max_work: the allowed cost of one image, in the units of :attr:`work`; default: unlimited.

        Raises:
            ModelNotFoundError, ModelFileError: it cannot be opened (both are OSError and ModelFormatError).
            ModelFormatError: it is empty, truncated, damaged, contradictory, of another version, or exceeds a limit;
                names the op.
            InputError, EnvironmentVariableError: ``kernels`` or BNN_KERNELS names no family this processor runs.
            InputTypeError: ``path`` is not a path, ``kernels`` not a name, or a limit not a whole number.
        """
        name = path_text(path)
        family = select_kernels(kernels)
        limits = _limits(max_bytes, max_work)
        return cls(Opened(Contents.of_file(name, BNN), family, *limits), name)

    @classmethod
    def from_bytes(
        cls,
        data: bytes | bytearray | memoryview,
        *,
        kernels: str | None = None,
        max_bytes: int | None = None,
        max_work: int | None = None,
    ) -> Model:
        """The same from a .bnn file's bytes, which are copied.  Raises like :meth:`from_file`."""
        family = select_kernels(kernels)
        limits = _limits(max_bytes, max_work)
        return cls(Opened(Contents.of_bytes(data, BNN), family, *limits))

    def with_kernels(self, kernels: str) -> Model:
        """The same network in kernels of this family: "portable" for the same bytes everywhere (see the class).

        Raises InputError if this processor runs no such family, InputTypeError if it is not a name.
        """
        return Model(self._open().again(select_kernels(kernels)), self._path)

    def __call__(self, x: object, *, out: Outputs | None = None) -> Any:
        """Run a batch.

        Args:
            x: array (N, *shape): see :attr:`input_shapes` and :attr:`input_dtypes`.  Several inputs: a list in their
                order, or a dict by :attr:`input_names`.  C-contiguous arrays are read in place, others copied first.
            out: where to put the result instead of new arrays: float32, C-contiguous, (N, *output shape).

        Returns:
            A float32 array (N, *output shape), or a list of arrays if the model has several outputs.

        Raises:
            InputTypeError: the dtype is not the input's.
            InputError: a wrong shape, batch size, or output array; names what was found and expected.
            ClosedModelError: after :meth:`close`.
        """
        one = self._one
        if one is not None and out is None and (result := one.run(x)) is not None:
            return result
        return self._run(x, out, self._threads, None, False)

    def predict(
        self,
        x: object,
        *,
        threads: int | None = None,
        batch_size: int | None = None,
        progress: bool = False,
        out: Outputs | None = None,
    ) -> Any:
        """Like ``model(x)``, for large batches.

        Args:
            threads: the number of threads (1 to 256); default: BNN_THREADS, or 1.
            batch_size: images passed to C at a time; the progress bar advances after each call; default: by the
                network's size.  The result does not depend on it, unless :attr:`whole_batch` is set: then it is the
                size of the batches, as in Keras, and by default all images are one batch.
            progress: show a bar on stderr.
        """
        workers = self._threads if threads is None else check_threads(threads)
        images = None if batch_size is None else check_count(batch_size, "batch_size")
        return self._run(x, out, workers, images, check_flag(progress, "progress"))

    def evaluate(
        self,
        x: object,
        y: object = None,
        *,
        top: int = 5,
        steps: int | None = None,
        threads: int | None = None,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> Evaluation:
        """How often the best class is the right one; of a model with one output, the scores of its classes.

        Args:
            x: as for ``model(x)``; or, without ``y``, what gives batches (x, y) one after the other: a generator, a
                ``tf.data.Dataset``, a ``DataLoader`` of PyTorch.
            y: the right classes: whole numbers (N,), or one-hot rows (N, classes).
            top: how many of the best classes :attr:`Evaluation.top_accuracy` looks at.
            steps: the number of batches that are taken from ``x``; default: all.
            threads: as for :meth:`predict`.
            batch_size: as for :meth:`predict`.
            progress: as for :meth:`predict`.

        Returns an Evaluation: accuracy, confusion matrix; printing it gives a text.

        Raises like ``model(x)``, and InputError if a right class is not one of the model's, or if there is no image.
        """
        from .evaluation import Counter, are_batches, batches, class_numbers, classes_of, pair, scores_of

        shapes = self.output_shapes
        classes = classes_of(shapes)
        labels = self.labels
        counter = Counter(classes, check_count(top, "top"), labels if labels and len(labels) == classes else None)
        most = None if steps is None else check_count(steps, "steps")
        options: dict[str, Any] = {"threads": threads, "batch_size": batch_size, "progress": progress}
        if y is None and not are_batches(x):
            hint = "of pictures in folders: bnn evaluate"
            raise InputError(f"y: found None, expected the right classes, or an x that gives batches (x, y); {hint}")
        for images, targets in map(pair, batches(x, most)) if y is None else [(x, y)]:
            scores = scores_of(self.predict(images, **options), shapes)
            counter.add(scores, class_numbers(targets, len(scores), classes))
        return counter.result()

    def _run(self, x: object, out: Outputs | None, workers: int, images_per_call: int | None, show: bool) -> Any:
        opened = self._open()
        inputs = check_inputs(x, opened.inputs, channels_first=opened.channels_first)
        batch = len(inputs[0])
        wanted = None if out is None else check_outputs(out, inputs, opened.outputs, opened.channels_first)
        outputs = [results(batch, t) for t in opened.outputs] if wanted is None or opened.channels_first else wanted
        step = images_per_call or (batch if opened.whole_batch else self._images_per_call * workers)
        if batch:
            context, idle = self._context(opened, self._images_together(opened, min(step, batch)), workers)
            with progress_bar("predict", batch, show) as advance:
                for begin in range(0, batch, step):
                    end = min(begin + step, batch)
                    context.run(inputs, outputs, begin, end)
                    advance(end - begin)
            idle.append(context)
            if batch == 1 and self._one is None and workers == self._threads:
                self._one = OneImage(opened, idle) if OneImage.fits(opened, context) else None
        if opened.channels_first:
            outputs = [given(y, True) for y in outputs]
            for own, y in zip(wanted or (), outputs, strict=wanted is not None):
                own[...] = y
            outputs = wanted or outputs
        return outputs[0] if len(outputs) == 1 else outputs

    def _images_together(self, opened: Opened, batch: int) -> int:
        """The number of images of a context, for batches of this size."""
        return batch if opened.whole_batch else 1 if batch == 1 else self._micro_batch

    def check_inputs(self, x: object, *, least: int = 0, convert: bool = False) -> list[Inputs]:
        """The arrays that a call with ``x`` runs on, one per input: C-contiguous (N, *shape) of the input's dtype, with
        their channels last.

        Args:
            least: 1 refuses an empty batch.
            convert: an input of floats also takes other numbers.

        Raises like ``model(x)``.
        """
        opened = self._open()
        check_count(least, "least", least=0)
        return check_inputs(x, opened.inputs, least, check_flag(convert, "convert"), opened.channels_first)

    def _context(self, opened: Opened, images: int, workers: int) -> tuple[Context, list[Context]]:
        """An idle context, or a new one, and the list to put it back on."""
        if opened.whole_batch and (images, workers) not in self._idle:
            self._idle = {}  # drop the ones for other batch sizes, which may be large
        idle = self._idle.setdefault((images, workers), [])
        while True:
            try:
                context = idle.pop()
            except IndexError:
                return Context(opened, images, workers), idle
            if context.usable():
                return context, idle

    def activations(self, x: object) -> dict[str, Floats]:
        """Every layer's output, for comparison with the source model layer by layer.

        Returns:
            {source layer: float32 (N, *shape)}; bits are +1 and -1.  If layers were fused into one op, the last layer
            has the op's output, and the convolution's own layer its accumulators (with its bias).  A dense layer over
            an image runs as a convolution of the image's size, so (N, units) in Keras may be (N, 1, 1, units) here; the
            values and their order are the same.
        """
        from .stepper import activations

        opened = self._open()
        inputs = self.check_inputs(x)
        taps = activations(opened, inputs, max(len(inputs[0]), 1) if opened.whole_batch else MICRO_BATCH)
        return {name: given(values, opened.channels_first) for name, values in taps.items()}

    def stepper(self, images: int) -> Stepper:
        """Run the model op by op on up to ``images`` images; see :class:`Stepper`."""
        from .stepper import Stepper

        return Stepper(self._open(), images)

    def profile(self, x: object, *, repeats: int = 20) -> Profile:
        """Time every op on one thread.

        Args:
            x: as for ``model(x)``, at least one image.
            repeats: number of runs after one warm-up run, at most a million; the median is taken.

        Returns a list of :class:`LayerTime` in the order of execution; printing it gives a table.  Ops that run
        together (a convolution and its max-pool; arithmetic in one pass) have their time at the first of them.
        """
        from .summary import profile

        opened = self._open()
        inputs = self.check_inputs(x, least=1)
        batch = len(inputs[0])
        check_count(repeats, "repeats", MOST_REPEATS)
        outputs = [results(batch, t) for t in opened.outputs]
        context = Context(opened, self._images_together(opened, batch), 1)
        context.run(inputs, outputs, 0, batch)
        ticks = np.zeros((repeats, len(opened.ops)), np.uint64)
        for row in ticks:
            context.run_profiled(inputs, outputs, row)
        return profile(opened, np.median(ticks, axis=0).astype(int).tolist(), batch, repeats)

    def summary(self, *, warnings: bool = True) -> str:
        """A table with one line per op: layer, kind (binary, multi-bit, integer or float), output, weights, MACs, and a
        note: why the layer is not binary.  ``warnings``: with the lines of :attr:`warnings` after it."""
        from .summary import summary

        shown = self.warnings if check_flag(warnings, "warnings") else []
        return "\n".join([summary(self._open()), *shown])

    @property
    def warnings(self) -> list[str]:
        """What the author of the network probably did not mean: a line for each, which begins with "warning:" and names
        the layer and the cause."""
        from .summary import warnings

        return warnings(self._open())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the .bnn file, completely or not at all; a file that is in use can be replaced safely.

        For a link, the target is replaced; the new file keeps the old one's permissions.  Pipes and devices such as
        /dev/stdout are written directly.

        Raises ModelFileError (an OSError) if it cannot be written, InputTypeError if ``path`` is not a path.
        """
        opened = self._open()
        with replacing(path_text(path)) as file:
            file.write(opened.buffer())

    def to_bytes(self) -> bytes:
        """The .bnn file's bytes."""
        return bytes(self._open().buffer())

    def close(self) -> None:
        """Give the memory back as soon as no call uses it; closing twice is allowed."""
        self._opened = None
        self._idle, self._one = {}, None

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._opened is None

    @property
    def input_shapes(self) -> list[Shape]:
        """Per input, the shape of one image: an array is (N, *shape)."""
        opened = self._open()
        return [given_shape(t.shape, opened.channels_first) for t in opened.inputs]

    @property
    def input_shape(self) -> Shape:
        """The one input's shape of one image; raises InputError if the model has several."""
        shapes = self.input_shapes
        if len(shapes) > 1:
            raise InputError(f"input_shape: the model has {len(shapes)} inputs, expected one; use input_shapes")
        return shapes[0]

    @property
    def labels(self) -> list[str] | None:
        """The names of the classes; None if the file does not name them."""
        labels = self._open().use.labels
        return None if labels is None else list(labels)

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How a picture becomes the input; None if the file does not say.  Calls do not apply it: they take what
        :meth:`Preprocessing.apply` gives."""
        return self._open().use.preprocessing

    @property
    def metadata(self) -> dict[str, str]:
        """What else the file says of the network, as texts by their keys."""
        return dict(self._open().use.metadata)

    @property
    def layout(self) -> str:
        """ "NHWC", or "NCHW": where a call's arrays have their channels, as in the source model.  ONNX and PyTorch have
        them first."""
        return "NCHW" if self._open().channels_first else "NHWC"

    @property
    def input_dtypes(self) -> list[np.dtype[Any]]:
        """Per input, the dtype its arrays must have: float32, uint8 or int8."""
        return [INPUT_DTYPES[t.dtype] for t in self._open().inputs]

    @property
    def output_shapes(self) -> list[Shape]:
        """Per output, the shape of one image's result."""
        opened = self._open()
        return [given_shape(t.shape, opened.channels_first) for t in opened.outputs]

    @property
    def input_names(self) -> list[str]:
        """Per input, its name."""
        return [t.name for t in self._open().inputs]

    @property
    def output_names(self) -> list[str]:
        """Per output, its name."""
        return [t.name for t in self._open().outputs]

    @property
    def ops(self) -> tuple[OpInfo, ...]:
        """The ops, in the order of execution."""
        return self._open().ops

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """Inputs, activations and constants, by number."""
        return self._open().tensors

    @property
    def nbytes(self) -> int:
        """Size of the .bnn file."""
        return self._open().size

    @property
    def arena_bytes(self) -> int:
        """Memory for the activations of one image."""
        return self._open().arena_bytes

    @property
    def macs(self) -> Macs:
        """Multiply-accumulates of one image, all layers together."""
        ops = self._open().ops
        return Macs(sum(o.binary_macs for o in ops), sum(o.byte_macs for o in ops), sum(o.float_macs for o in ops))

    @property
    def work(self) -> int:
        """The cost of one image through all ops.  A unit is about one addition of floats, many at a time, or 8 products
        of floats, 16 of bytes, 128 of bits; exp is 32.  A fast core does billions of units per second."""
        return self._open().work

    @property
    def whole_batch(self) -> bool:
        """Whether an image's result depends on the other images of its batch, as in the Keras model: a quantizer scales
        by a mean over it.  The images of one call are one batch."""
        return self._open().whole_batch

    @property
    def kernels(self) -> str:
        """The kernel family in use."""
        return self._open().kernels

    def _open(self) -> Opened:
        if self._opened is None:
            raise ClosedModelError(f"{self!r}: load it again with bnn.load(path)")
        return self._opened

    def __repr__(self) -> str:
        name = "" if self._path is None else f" '{printable(self._path)}'"
        if self._opened is None:
            return f"<bnn.Model{name}, closed>"
        signature = " -> ".join(", ".join(map(batched, s)) for s in (self.input_shapes, self.output_shapes))
        return f"<bnn.Model{name}: {signature}, {len(self.ops)} ops, {self.nbytes:,} bytes, {self.kernels} kernels>"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickling and copying use the file's bytes.  Portable kernels stay so; others are the receiver's choice, which
        may be another machine."""
        kernels = PORTABLE if self.kernels == PORTABLE else None
        return _reopened, (self.to_bytes(), *self._open().limits, kernels)

    def __enter__(self) -> Model:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


load = Model.from_file
"""Open a .bnn file: ``load(path, *, kernels=None, max_bytes=None, max_work=None)``, as :meth:`Model.from_file`."""


def _limits(max_bytes: int | None, max_work: int | None) -> tuple[int, int]:
    """The limits for bnn.h: 0 if none is given."""
    named = {"max_bytes": max_bytes, "max_work": max_work}
    most, work = (0 if value is None else check_count(value, name, NO_LIMIT) for name, value in named.items())
    return most, work


def opened_model(model: object) -> Model:
    """A compiled model, or the one of a .bnn file's path; raises InputTypeError for anything else."""
    if isinstance(model, (str, os.PathLike)):
        return Model.from_file(model)
    return check_kind(model, "model", Model, "a compiled model or the path of a .bnn file: see bnn.compile")


def _reopened(data: bytes, max_bytes: int, max_work: int, kernels: str | None) -> Model:
    return Model.from_bytes(data, max_bytes=max_bytes or None, max_work=max_work or None, kernels=kernels)


def _micro_batch(opened: Opened) -> int:
    """The number of images to run together: many if this saves more reads of dense layers' weights than it costs that
    all the activations no longer fit the caches."""
    pixels = {t.index: math.prod(t.shape[:-1]) for t in opened.tensors}
    dense = sum(op.weight_bytes for op in opened.ops if pixels[op.output] == 1)
    return MICRO_BATCH if MICRO_BATCH * opened.arena_bytes <= _CACHED or dense > opened.arena_bytes else 1
