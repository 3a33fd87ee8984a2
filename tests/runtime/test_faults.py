# SPDX-License-Identifier: Apache-2.0
"""The k-th allocation, thread, file or mapping is refused, for every k: a clear error, nothing leaked, no crash."""

from __future__ import annotations

import gc
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn import errors
from bnn.events import EventEngine
from bnn.runtime import Model, build, handles
from sanitized import call
from seed import some

ROOT = Path(__file__).resolve().parents[2]
WRAPPED = (
    *("calloc", "free", "pthread_mutex_init", "pthread_mutex_destroy", "pthread_cond_init", "pthread_cond_destroy"),
    *("pthread_create", "pthread_join", "open", "close", "fstat", "mmap", "munmap"),
)


def test_host_helpers(tmp_path: Path) -> None:
    """One block, a mutex, two conditions and four threads of a pool of five; a file's open, fstat and mmap."""
    program = tmp_path / "host_faults"
    sources = ["tests/runtime/host_faults.c", *build.sources("host")]
    flags = ["-std=c11", "-g", "-O1", *build.INCLUDE_FLAGS, "-fsanitize=address,undefined",
             "-fno-sanitize-recover=all", *(f"-Wl,--wrap={name}" for name in WRAPPED)]  # fmt: skip
    compiler = os.environ.get("CC", "cc")
    call(compiler, *flags, *sources, "-o", str(program), "-pthread")
    (tmp_path / "file").write_bytes(b"hello")
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1"}
    done = subprocess.run([program, tmp_path / "file", tmp_path], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "pool 8, file 3\n"), done.stderr


class Refusing:
    """Stands for a function, of which one call fails."""

    def __init__(self, real: Callable[..., Any], failure: Callable[[], Any]) -> None:
        self.real, self.failure = real, failure
        self.calls, self.at, self.failed = 0, -1, False

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls - 1 == self.at:
            self.failed = True
            return self.failure()
        return self.real(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class Numpy:
    """NumPy as `_handles` sees it, with an ``empty`` that may fail."""

    def __init__(self, empty: Refusing) -> None:
        self.empty = empty

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


class Library:
    """The C library, with one function that may fail."""

    def __init__(self, real: Any, name: str, function: Refusing) -> None:
        self._real = real
        setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def out_of_memory() -> Any:
    raise MemoryError


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, object], None]:
    """instead(name, it): what stands for NumPy or the C library where memory and threads are asked for."""
    return lambda name, it: monkeypatch.setattr(handles, name, it)


def alive() -> int:
    """Blocks of the C API's memory."""
    gc.collect()
    return sum(isinstance(found, handles.Memory) for found in gc.get_objects())


def uses(small: Any, path: Path) -> dict[str, Callable[[], Any]]:
    """What allocates, each from nothing; all give the same classes."""
    x = small.inputs(6)[0]
    path.write_bytes(small.data)

    def stepped() -> Any:
        model = Model.from_bytes(small.data)
        stepper = model.stepper(6)
        stepper.poke(next(t.index for t in model.tensors if t.storage == "input"), x)
        for op in model.ops:
            y = stepper.step(op.index, 6)
        return y

    return {
        "from_bytes": lambda: Model.from_bytes(small.data)(x),
        "load": lambda: bnn.load(path)(x),
        "threads": lambda: Model.from_bytes(small.data).predict(x, threads=3),
        "profile": lambda: Model.from_bytes(small.data).profile(x, repeats=1),
        "activations": lambda: Model.from_bytes(small.data).activations(x)["softmax"],
        "stepper": stepped,
        "events": lambda: EventEngine(Model.from_bytes(small.data)).run_image(x[0]),
    }


@pytest.mark.drawn
@pytest.mark.parametrize("name", some(["from_bytes", "load", "threads", "profile", "activations", "stepper", "events"]))
def test_the_kth_allocation(small: Any, tmp_path: Path, instead: Any, name: str) -> None:
    use, before = uses(small, tmp_path / "net.bnn")[name], alive()
    empty = Refusing(np.empty, out_of_memory)
    instead("np", Numpy(empty))
    while True:
        empty.calls, empty.failed = 0, False
        empty.at += 1
        try:
            use()
        except errors.InputError as error:
            assert empty.failed and "cannot allocate" in str(error) and "bytes" in str(error)
        else:
            assert not empty.failed
            break
        assert alive() == before
    assert empty.at >= 2  # the model's memory, and a context's
    assert alive() == before


def test_a_model_stays_usable(small: Any, instead: Any) -> None:
    """After a context could not be made, the next call makes one."""
    model, x = Model.from_bytes(small.data), small.inputs(6)[0]
    empty = Refusing(np.empty, out_of_memory)
    empty.at = 0
    instead("np", Numpy(empty))
    with pytest.raises(errors.InputError, match="cannot allocate .* bytes; use a smaller batch or fewer threads"):
        model(x)
    assert np.array_equal(model(x), Model.from_bytes(small.data)(x))


@pytest.mark.parametrize("count", [2, 5])
def test_threads_that_do_not_start(small: Any, instead: Any, count: int) -> None:
    model, x = Model.from_bytes(small.data), small.inputs(6)[0]
    lib = handles.lib
    create = Refusing(lib.bnn_pool_create, lambda: lib.BNN_ERROR_THREAD)
    create.at = 0
    before = threading.active_count(), alive()
    instead("lib", Library(lib, "bnn_pool_create", create))
    with pytest.raises(errors.InputError, match=f"cannot start {count - 1} threads; use fewer"):
        model.predict(x, threads=count)
    instead("lib", lib)
    assert (threading.active_count(), alive()) == before
    assert np.array_equal(model.predict(x, threads=count), model(x))


@pytest.mark.parametrize("size", [2**62, 2**63, 2**70])
def test_more_than_there_can_be(size: int) -> None:
    with pytest.raises(errors.InputError, match=f"cannot allocate {size} bytes"):
        handles.Memory(size)
