# SPDX-License-Identifier: Apache-2.0
"""The host's threads: every job has them all, not only the first."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from bnn._native import ffi, lib


@pytest.mark.parametrize("threads", [2, 3])
def test_all_threads_work_in_every_job(threads: int) -> None:
    """Each task waits for the others, so that one thread alone would wait for ever."""
    together = threading.Barrier(threads, timeout=60)
    workers: list[int] = []

    @ffi.callback("void(void *, size_t, size_t)")
    def meet(argument: Any, index: int, worker: int) -> None:
        try:
            together.wait()
            workers.append(worker)
        except threading.BrokenBarrierError:  # once broken, nobody waits
            pass

    pool = ffi.new("bnn_pool **")
    assert lib.bnn_pool_create(threads, pool) == lib.BNN_OK
    for _ in range(4):
        lib.bnn_pool_run(pool[0], meet, ffi.NULL, threads)
    lib.bnn_pool_destroy(pool[0])
    assert sorted(workers) == sorted([*range(threads)] * 4)
