# SPDX-License-Identifier: Apache-2.0
"""A context of the C API as a Python object, and how Ctrl-C interrupts its work."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType

from .._types import Array, Floats
from ..errors import InputError
from .arrays import Inputs
from .handles import BYTES, FLOATS, Memory, Opened, check
from .native import CData, ffi, lib


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
    """Working memory for one thread of control: ``images`` a micro-batch, ``workers`` threads."""

    def __init__(self, opened: Opened, images: int, workers: int) -> None:
        self.opened, self.images, self.workers = opened, images, workers
        self.pid = os.getpid()
        self._short = (lib.BNN_POLL_WORK - 1) // opened.work  # images of a run that need not be interrupted
        self._pool = ffi.NULL
        needed = ffi.new("size_t *")
        status = lib.bnn_context_size(opened.pointer, images, workers, needed)
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
