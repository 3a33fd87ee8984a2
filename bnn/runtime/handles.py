# SPDX-License-Identifier: Apache-2.0
"""The C API's objects as Python objects: a mapped file, an opened model with its tensors and ops, and a context, whose
work Ctrl-C interrupts."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

import numpy as np

from .._notes import parted
from .._types import Array, Floats
from ..errors import BnnError, EnvironmentVariableError, InputError, InputTypeError, ModelFormatError
from .arrays import INPUT_DTYPES, Inputs, TensorInfo, as_bytes, machine_memory
from .files import file_error, special
from .native import CData, ffi, lib
from .use import from_file

FLOATS = ffi.typeof("float[]")
BYTES = ffi.typeof("char[]")
DTYPES = {
    lib.BNN_F32: "f32",
    lib.BNN_B1: "b1",
    lib.BNN_I32: "i32",
    lib.BNN_U8: "u8",
    lib.BNN_I8: "i8",
    lib.BNN_I16: "i16",
}
_KINDS = {"b1": "binary", "u8": "integer", "i8": "integer", "i16": "integer"}  # an op's kind by the dtype of its data
STORAGES = {
    lib.BNN_INPUT: "input", lib.BNN_OUTPUT: "output", lib.BNN_ARENA: "arena", lib.BNN_CONSTANT: "constant",
    lib.BNN_PASSED: "passed",
}  # fmt: skip
# Fields of a file whose numbers have names, by the beginnings of their texts.
_NAMED = {"dtype": DTYPES, "element type": DTYPES, "storage": STORAGES}


class Kind(NamedTuple):
    """A kind of file."""

    suffix: str
    noun: str  # what is in it
    maker: str  # what makes one
    # How files of other kinds begin, or what comes after four bytes, what they are, and the remedy.
    others: Mapping[bytes, tuple[str, str]]


_COMPILE = "compile it first: bnn compile {0} -o net.bnn, or bnn.compile({0!r})"
_KERAS = ("a zip or HDF5 file, probably a Keras model", _COMPILE)
BNN = Kind(".bnn", "model", "bnn compile MODEL -o NET.bnn, or bnn.compile(model).save(path)", {
    b"PK\x03\x04": _KERAS,
    b"\x89HDF": _KERAS,
    b"TFL3": ("a TensorFlow Lite file", _COMPILE),
    b"\x89SNN": (
        "a .snn file, a network over time", "use bnn snn inspect, bnn snn run or bnn snn verify, or bnn.snn.load"
    ),
})  # fmt: skip
SNN = Kind(".snn", "network", "bnn snn compile FILE.nir, or bnn.snn.compile(path).save(path)", {
    b"PK\x03\x04": (
        "a zip file, probably a Keras model", "convert it first: bnn snn convert {0} --data IMAGES -o net.snn"
    ),
    b"\x89HDF": ("an HDF5 file, probably a NIR file", "compile it first: bnn snn compile {0} --simulator SIMULATOR"),
    b"\x89BNN": ("a .bnn file, a network without time", "use bnn inspect, bnn run or bnn verify, or bnn.load"),
})  # fmt: skip
# The remedy for a file that does not open, by the status.
_ADVICE = {
    lib.BNN_ERROR_MAGIC: "make one with {0.maker}",
    lib.BNN_ERROR_VERSION: "compile the {0.noun} again, or install the version of bnn that wrote it",
    lib.BNN_ERROR_TRUNCATED: "copy the file again, or compile the {0.noun} again",
    lib.BNN_ERROR_CHECKSUM: "copy the file again, or compile the {0.noun} again",
    lib.BNN_ERROR_FORMAT: "compile the {0.noun} again",
    lib.BNN_ERROR_OPCODE: "install the version of bnn that wrote it",
    lib.BNN_ERROR_LIMIT: "compile a smaller {0.noun}",
}
NO_LIMIT = 2**63 - 1  # of bytes or work
PORTABLE = "portable"  # the family whose sums of floats are those of every machine


@dataclass(frozen=True)
class OpInfo:
    """One op in the order of execution; ``inputs`` and ``output`` are tensor numbers, MACs are those of one image.

    ``kind`` is binary if the data it reads are bits, multi-bit if they are numbers of several bits (each product counts
    once per bit), integer if they are bytes, else float; ``note`` says why the layer is not binary.  ``warnings``: what
    its author probably did not mean, each a line that begins with "warning:" and names the layer.
    ``slots`` and ``layer_slots`` are bit masks of a convolution's fused work and of the part that is the layer's own.
    ``weight_bytes`` counts its constants in the type of the computation; in the file they may take fewer bytes.
    ``work`` is the cost of one image, in the units of :attr:`Model.work`.
    """

    index: int
    op: str
    layer: str
    kind: str
    note: str
    warnings: tuple[str, ...]
    inputs: tuple[int, ...]
    output: int
    slots: int
    layer_slots: int
    binary_macs: int
    byte_macs: int
    float_macs: int
    weight_bytes: int
    work: int


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates by type: bits, bytes by signs, or floats."""

    binary: int
    byte: int
    float: int

    @property
    def total(self) -> int:
        return self.binary + self.byte + self.float


class Memory:
    """``size`` bytes with the alignment that the C API needs."""

    def __init__(self, size: int) -> None:
        try:
            if size > machine_memory():
                raise MemoryError
            self._owner = ffi.from_buffer(np.empty(size + lib.BNN_ALIGNMENT, np.uint8))
        except (MemoryError, ValueError):
            raise InputError(f"cannot allocate {size} bytes; use a smaller batch or fewer threads") from None
        address = int(ffi.cast("uintptr_t", self._owner))
        self.pointer = ffi.cast("unsigned char *", self._owner) + -address % lib.BNN_ALIGNMENT
        self.size = size


def check(status: int, what: str) -> None:
    """Raise for any error status; it would be a bug, not the caller's fault."""
    if status != lib.BNN_OK:
        raise BnnError(f"{what}: {ffi.string(lib.bnn_status_text(status)).decode()}")


def problem_field(problem: CData) -> str:
    """The field or layer that a bnn_problem is about, or "" for none."""
    return str(ffi.string(problem.what).decode(errors="replace"))


def problem_text(problem: CData) -> str:
    """A bnn_problem in words: the field, what was found and what was expected; dtypes and storages by their names."""
    what = problem_field(problem)
    field = what.rpartition(": ")[2]
    names = next((names for word, names in _NAMED.items() if field.startswith(word)), {})
    found, expected = (names.get(number, number) for number in (problem.found, problem.expected))
    most = "at most " if what.endswith(("(max_bytes)", "(max_work)")) else ""
    return f"{what}: found {found}, expected {most}{expected}"


def available_kernels() -> list[str]:
    """Names of the kernel families that this processor can run, fastest first, and then "portable": the fastest, with
    sums of floats that are the same on every machine."""
    names: list[str] = []
    while (name := lib.bnn_kernels_list(len(names))) != ffi.NULL:
        names.append(ffi.string(name).decode())
    return [name for name in names if lib.bnn_kernels_select(name.encode()) != ffi.NULL]


def select_kernels(name: str | None) -> CData:
    """The family called ``name``, else the one that BNN_KERNELS names, else the fastest.

    Raises InputError, or EnvironmentVariableError if the variable is wrong.
    """
    if name is not None and not isinstance(name, str):
        raise InputTypeError(f"kernels: found {name!r}, expected a name: {', '.join(available_kernels())}")
    forced = name if name is not None else os.environ.get("BNN_KERNELS") or None
    # C would stop at a null character and use only the part before it.
    encoded = ffi.NULL if forced is None else forced.encode(errors="replace").replace(b"\0", b"?")
    kernels = lib.bnn_kernels_select(encoded)
    if kernels == ffi.NULL:
        blame: Callable[[str], BnnError] = InputError if name is not None else EnvironmentVariableError
        what = "kernels" if name is not None else "environment variable BNN_KERNELS"
        usable = ", ".join(available_kernels())
        raise blame(f"{what}: found '{forced}', expected a family that this processor runs: {usable}")
    return kernels


class Contents:
    """A file's bytes, where C reads them, as long as ``owner`` lives."""

    def __init__(self, owner: object, data: CData, size: int, label: str, kind: Kind) -> None:
        self.owner, self.data, self.size, self.label, self.kind = owner, data, size, label, kind
        head = bytes(ffi.buffer(data, min(size, 8)))
        found = kind.others.get(head[:4]) or kind.others.get(head[4:])
        if found is not None:
            what, remedy = found
            raise ModelFormatError(f"{label}: is {what}, and not a {kind.suffix} file; {remedy.format(label)}")

    @classmethod
    def of_file(cls, path: str, kind: Kind) -> Contents:
        """Mapped read-only.  Raises ModelFileError if it cannot be, ModelFormatError if it is empty."""
        mapping = ffi.gc(ffi.new("bnn_mapping *"), lib.bnn_file_unmap)
        if lib.bnn_file_map(os.fsencode(path), mapping) != lib.BNN_OK:
            hint = {
                errno.ENOENT: f"give the path of a {kind.suffix} file, made by {kind.maker}",
                errno.EISDIR: f"give the {kind.suffix} file itself",
            }.get(mapping.error, "")
            reason = special(path)
            if reason:  # errno would say "no such device"
                hint = "a model is mapped into memory: write it to a file first"
            raise file_error(path, mapping.error, "opened", reason, hint)
        if mapping.size == 0:
            raise ModelFormatError(f"{path}: the file is empty; make one with {kind.maker}")
        return cls(mapping, mapping.data, mapping.size, path, kind)

    @classmethod
    def of_bytes(cls, data: object, kind: Kind) -> Contents:
        """Copied.  Raises InputTypeError for what is not bytes, ModelFormatError for no bytes at all."""
        view = as_bytes(data, f"the bytes of a {kind.suffix} file")
        if not len(view):
            raise ModelFormatError(f"no bytes: expected the contents of a {kind.suffix} file")
        memory = Memory(len(view))
        ffi.memmove(memory.pointer, view, len(view))
        return cls(memory, memory.pointer, len(view), f"{kind.noun} in memory", kind)


class OpenedFile:
    """A file that C has checked, and opened in memory of its own.

    ``measure`` and ``open_`` are C's functions for this kind of file, ``limits`` what both take after the kernels.
    """

    def __init__(
        self, contents: Contents, kernels: CData, measure: Callable[..., int], open_: Callable[..., int], pointer: str,
        *limits: CData,
    ) -> None:  # fmt: skip
        self.contents, self.size = contents, contents.size
        self.kernels: str = ffi.string(lib.bnn_kernels_name(kernels)).decode()
        problem, needed, opened = ffi.new("bnn_problem *"), ffi.new("size_t *"), ffi.new(pointer)
        given = (contents.data, contents.size, kernels, *limits)
        self._check(measure(*given, needed, problem), problem)
        self._memory = Memory(needed[0])
        self._check(open_(*given, self._memory.pointer, self._memory.size, opened, problem), problem)
        self.pointer = opened[0]

    def _check(self, status: int, problem: CData) -> None:
        if status == lib.BNN_OK:
            return
        kind, what = self.contents.kind, problem_field(problem)
        if status == lib.BNN_ERROR_MAGIC:  # one byte of the signature would say nothing more
            parts = [f"not a {kind.suffix} file: the first eight bytes are not its signature"]
        else:
            parts = [str(ffi.string(lib.bnn_status_text(status)).decode()), *([problem_text(problem)] if what else [])]
        argument = next((name for name in ("max_bytes", "max_work") if what.endswith(f"({name})")), None)
        if argument is not None:
            parts.append(f"if you trust the file, open it with a larger {argument}=; otherwise compile a smaller model")
        elif status in _ADVICE:
            parts.append(_ADVICE[status].format(kind))
        raise ModelFormatError(f"{self.contents.label}: {'; '.join(parts)}")

    def buffer(self) -> CData:
        """The file's bytes, in place."""
        return ffi.buffer(self.contents.data, self.size)


class Opened(OpenedFile):
    """A validated model, with everything that bnn.h tells about it.

    ``max_bytes`` and ``max_work`` are the limits of bnn.h; 0: the defaults.
    """

    def __init__(self, contents: Contents, kernels: CData, max_bytes: int = 0, max_work: int = 0) -> None:
        self.limits = (max_bytes, max_work)
        limits = ffi.new("bnn_limits *", self.limits)
        functions = lib.bnn_model_size_within, lib.bnn_model_open_within
        super().__init__(contents, kernels, *functions, "bnn_model **", limits)
        self.arena_bytes: int = lib.bnn_arena_bytes(self.pointer)
        self.work: int = lib.bnn_model_work(self.pointer)
        self.whole_batch = bool(lib.bnn_whole_batch(self.pointer))  # an image's result depends on the other images
        self.channels_first = bool(lib.bnn_channels_first(self.pointer))  # in the source's own arrays
        self.tensors = tuple(self._tensor(i) for i in range(lib.bnn_tensor_count(self.pointer)))
        self.ops = tuple(self._op(i) for i in range(lib.bnn_op_count(self.pointer)))
        inputs = [lib.bnn_input_tensor(self.pointer, i) for i in range(lib.bnn_input_count(self.pointer))]
        outputs = [lib.bnn_output_tensor(self.pointer, i) for i in range(lib.bnn_output_count(self.pointer))]
        self.inputs = tuple(self.tensors[i] for i in inputs)
        self.outputs = tuple(self.tensors[i] for i in outputs)
        length = ffi.new("size_t *")
        text = lib.bnn_model_use(self.pointer, length)
        self.use = from_file(bytes(ffi.buffer(text, length[0])), contents.label, self.inputs, self.outputs)

    def again(self, kernels: CData) -> Opened:
        """The same file, opened for another family of kernels."""
        return Opened(self.contents, kernels, *self.limits)

    def _tensor(self, index: int) -> TensorInfo:
        info = ffi.new("bnn_tensor_info *")
        check(lib.bnn_get_tensor(self.pointer, index, info), f"tensor {index}")
        dims = tuple(info.dims)
        return TensorInfo(
            index,
            text_of(info.name, info.name_length),
            text_of(info.origin, info.origin_length),
            DTYPES[info.dtype],
            STORAGES[info.storage],
            dims[4 - info.rank :] if info.storage == lib.BNN_CONSTANT else dims[: info.rank],
            tuple(info.halo),
            info.offset,
            info.bytes,
        )

    def _op(self, index: int) -> OpInfo:
        info = ffi.new("bnn_op_info *")
        check(lib.bnn_get_op(self.pointer, index, info), f"op {index}")
        inputs = tuple(info.inputs[i] for i in range(info.input_count))
        data = [t.dtype for t in (self.tensors[i] for i in inputs) if t.storage != "constant"]
        return OpInfo(
            index,
            ffi.string(info.op).decode(),
            text_of(info.layer, info.layer_length),
            "multi-bit" if info.planes > 1 else _KINDS.get(data[0] if data else "", "float"),
            *parted(text_of(info.note, info.note_length)),
            inputs,
            info.output,
            info.slots,
            info.layer_slots,
            info.binary_macs,
            info.byte_macs,
            info.float_macs,
            info.weight_bytes,
            info.work,
        )


def text_of(start: CData, length: int) -> str:
    """C's text of this length."""
    return bytes(ffi.buffer(start, length)).decode(errors="replace") if length else ""


class Pulse:
    """A poll of bnn.h: every 50 ms it lets Python run for a moment, so that signal handlers run.

    They run only in the main thread, so calls from other threads need no poll.  Pass :attr:`poll` and :attr:`argument`
    to C; after a stopped call, :meth:`reraise` raises the exception that stopped it, and the poll can be used again.
    """

    poll = ffi.addressof(lib, "bnn_poll_python")

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._handle = ffi.new_handle(self)
        self.argument = ffi.new("bnn_pulse *", {"handle": self._handle})

    def reraise(self) -> None:
        """Raise the exception of a signal handler, if one raised any."""
        error, self.error = self.error, None
        if error is not None:
            raise error


def _keep(kind: type[BaseException], error: BaseException, trace: TracebackType) -> None:
    """Keep an exception until the call ends: it cannot pass through C."""
    ffi.from_handle(trace.tb_frame.f_locals["handle"]).error = error


@ffi.def_extern(name="bnn_ask_python", error=1, onerror=_keep)  # type: ignore[untyped-decorator]
def _ask(handle: CData) -> int:
    return 0  # Python has run pending signal handlers before this statement


class Context:
    """Working memory for one thread of control: ``images`` a micro-batch, ``workers`` threads; ``stepping``: for one
    op at a time, too."""

    def __init__(self, opened: Opened, images: int, workers: int, stepping: bool = False) -> None:
        self.opened, self.images, self.workers = opened, images, workers
        self.pid = os.getpid()
        self._short = (lib.BNN_POLL_WORK - 1) // opened.work  # images of a run that need not be interrupted
        self._pool = ffi.NULL
        needed = ffi.new("size_t *")
        size = lib.bnn_stepping_size if stepping else lib.bnn_context_size
        status = size(opened.pointer, images, workers, needed)
        if status == lib.BNN_ERROR_LIMIT:
            raise InputError(f"{images} images on {workers} threads need more memory than can be addressed; use fewer")
        check(status, "context")
        self._memory = Memory(needed[0])
        context = ffi.new("bnn_context **")
        check(
            lib.bnn_context_create(opened.pointer, images, workers, self._memory.pointer, needed[0], context), "context"
        )
        self.pointer = context[0]
        self.inputs = ffi.new("const void *[]", len(opened.inputs))
        self.outputs = ffi.new("float *[]", len(opened.outputs))
        if workers > 1:
            pool = ffi.new("bnn_pool **")
            if lib.bnn_pool_create(workers, pool) != lib.BNN_OK:
                raise InputError(f"cannot start {workers - 1} threads; use fewer")
            self._pool = pool[0]
            lib.bnn_context_set_threads(self.pointer, ffi.addressof(lib, "bnn_pool_run"), self._pool)

    def run(self, inputs: list[Inputs], outputs: list[Floats], begin: int, end: int) -> None:
        """Run images ``begin`` to ``end`` of dense arrays that have been checked."""
        # The buffers must outlive the call, or a caller could resize an array and free its memory during it.
        held = []
        for slots, kind, arrays in ((self.inputs, BYTES, inputs), (self.outputs, FLOATS, outputs)):
            for i, array in enumerate(arrays):
                buffer = ffi.from_buffer(kind, array if end - begin == len(array) else array[begin:end])
                held.append(buffer)
                slots[i] = buffer
        images = end - begin
        if images <= self._short:  # like call, but inlined to save microseconds
            check(lib.bnn_run(self.pointer, self.inputs, self.outputs, images), "run")
        else:
            self.call(images * self.opened.work, "run", lib.bnn_run, self.inputs, self.outputs, images)

    def run_one(self, x: Inputs, y: Floats) -> None:
        """Run a network of one input and one output on one image, as :meth:`run` does."""
        held = ffi.from_buffer(BYTES, x), ffi.from_buffer(FLOATS, y)
        self.inputs[0], self.outputs[0] = held
        check(lib.bnn_run(self.pointer, self.inputs, self.outputs, 1), "run")

    def is_short(self, images: int) -> bool:
        """Whether a run need not be interrupted."""
        return images <= self._short

    def call(self, work: int, what: str, function: Callable[..., int], *arguments: object) -> None:
        """Call a function of the C API on the context, which does ``work``: long work can be interrupted.

        Raises any exception of a signal handler, such as KeyboardInterrupt; the context can then be used again.
        """
        if work < lib.BNN_POLL_WORK or threading.get_ident() != threading.main_thread().ident:
            check(function(self.pointer, *arguments), what)
            return
        pulse = Pulse()
        lib.bnn_context_set_poll(self.pointer, pulse.poll, pulse.argument)
        try:
            status = function(self.pointer, *arguments)
        finally:
            lib.bnn_context_set_poll(self.pointer, ffi.NULL, ffi.NULL)
        pulse.reraise()
        check(status, what)

    def run_profiled(self, inputs: list[Inputs], outputs: list[Floats], ticks: Array) -> None:
        """Run the whole batch; add the nanoseconds that each op took to ``ticks`` (uint64, one per op)."""
        clock, record = ffi.addressof(lib, "bnn_clock_ns"), ffi.addressof(lib, "bnn_record_ticks")
        lib.bnn_context_set_profile(self.pointer, clock, record, ffi.from_buffer(ticks))
        try:
            self.run(inputs, outputs, 0, len(inputs[0]))
        finally:
            lib.bnn_context_set_profile(self.pointer, ffi.NULL, ffi.NULL, ffi.NULL)

    def usable(self) -> bool:
        """Whether its threads exist: a forked child does not have the pool's threads."""
        return self.workers == 1 or self.pid == os.getpid()

    def __del__(self) -> None:
        if getattr(self, "_pool", ffi.NULL) != ffi.NULL and self.usable():
            lib.bnn_pool_destroy(self._pool)


class OneImage:
    """Calls with one image: the checks of calls in general take longer than a small network.

    ``idle``: contexts for one image; list.append and list.pop are atomic, so no lock is needed.
    """

    def __init__(self, opened: Opened, idle: list[Context]) -> None:
        (x,), (y,) = opened.inputs, opened.outputs
        self._shape, self._dtype, self._result = (1, *x.shape), INPUT_DTYPES[x.dtype], (1, *y.shape)
        self._idle = idle

    @staticmethod
    def fits(opened: Opened, context: Context) -> bool:
        """Whether a call is one short run of C on the arrays as they are."""
        several = len(opened.inputs) > 1 or len(opened.outputs) > 1 or context.workers > 1
        return not several and not opened.channels_first and not opened.whole_batch and context.is_short(1)

    def run(self, x: object) -> Floats | None:
        """The result; None for anything but a dense array of one image, and if all contexts are in use."""
        if type(x) is not np.ndarray or x.shape != self._shape or x.dtype != self._dtype:
            return None
        flags = x.flags
        if not flags.c_contiguous or not flags.aligned:
            return None
        try:
            context = self._idle.pop()
        except IndexError:
            return None
        y = np.empty(self._result, np.float32)
        context.run_one(x, y)
        self._idle.append(context)
        return y
