# SPDX-License-Identifier: Apache-2.0
"""Decisions of the runtime's Python side, on both sides of each: what is polled, shared, pooled, put back and said."""

from __future__ import annotations

import errno
import os
import pickle
import struct
import threading
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bnn import errors
from bnn._native import ffi, lib
from bnn.file.write import encode
from bnn.ir.graph import DType, Node
from bnn.ir.ops import ClampAttrs, ConvAttrs, constant, input_node, make
from bnn.runtime import Model, handles
from bnn.runtime import model as runtime
from bnn.runtime.handles import Context, Pulse
from op_cases import CASES
from op_graphs import plan
from raw_model import I32, OUTPUT, changed


def model_of(x: Node, *outputs: Node) -> Model:
    return Model.from_bytes(encode(plan([x], list(outputs))))


def clamp(size: int) -> Model:
    x = input_node("x", (size,))
    return model_of(x, make("clamp", x, attrs=ClampAttrs(-9.0, 9.0)))


def whole_batch() -> Model:
    """Sums over a batch."""
    x = input_node("x", (2,))
    return model_of(x, make("batch_sum", x))


class Library:
    """The C library; calls whose names begin with ``seen`` are kept, ``instead`` are given."""

    def __init__(self, *seen: str, **instead: Any) -> None:
        self.seen, self.instead, self.calls = seen, instead, list[tuple[str, Any]]()

    def __getattr__(self, name: str) -> Any:
        found = self.instead.get(name) or getattr(lib, name)
        if not name.startswith(self.seen):
            return found

        def call(*arguments: Any) -> Any:
            self.calls.append((name, arguments[1] if arguments[1:] else None))
            return found(*arguments)

        return call


class Addresses:
    """cffi, which knows the addresses of the C library alone."""

    def __getattr__(self, name: str) -> Any:
        return getattr(ffi, name)

    def addressof(self, _: Any, name: str) -> Any:
        return ffi.addressof(lib, name)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    """As contexts see it."""
    found = Library("bnn_context_set_poll", "bnn_context_set_profile", "bnn_pool_destroy")
    monkeypatch.setattr(handles, "lib", found)
    monkeypatch.setattr(handles, "ffi", Addresses())
    return found


# -- opening ----------------------------------------------------------------------------------------------------------


def sealed(data: bytearray) -> bytes:
    struct.pack_into("<I", data, 12, zlib.crc32(data[16:], zlib.crc32(data[:12])))
    return bytes(data)


def with_field(kind: str, at: int, value: int) -> Any:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        struct.pack_into(kind, changed, at, value)
        return sealed(changed) if at != 12 else bytes(changed)

    return change


@pytest.mark.parametrize(
    ("change", "limits", "advice"),
    [
        (lambda data: b"x" * 200, {}, "make one with bnn compile MODEL"),
        (lambda data: b"PK\x03\x04" + bytes(200), {}, "is a zip or HDF5 file, probably a Keras model"),
        (lambda data: b"\x89HDF" + bytes(200), {}, "is a zip or HDF5 file, probably a Keras model"),
        (
            lambda data: b"\x89SNN" + bytes(200),
            {},
            "and not a .bnn file; use bnn snn inspect, bnn snn run",
        ),
        (
            lambda data: b"\x89PNG" + bytes(200),
            {},
            "not a .bnn file: the first eight bytes are not its signature; make",
        ),
        (lambda data: b"\x89HDG" + bytes(200), {}, "make one with bnn compile MODEL"),
        (with_field("<I", 8, 99), {}, "or install the version of bnn that wrote it"),
        (lambda data: data[:-1], {}, "copy the file again, or compile the model again"),
        (with_field("<I", 12, 1), {}, "copy the file again, or compile the model again"),
        (with_field("<I", 28, 2**31), {}, "; compile a smaller model"),
        (lambda data: data, {"max_bytes": 1}, "open it with a larger max_bytes=; otherwise compile a smaller"),
        (lambda data: data, {"max_work": 1}, "open it with a larger max_work=; otherwise compile a smaller"),
        (lambda data: b"", {}, "no bytes: expected the contents of a .bnn file"),
    ],
)
def test_what_to_do_about_a_file(small: Any, change: Any, limits: dict[str, int], advice: str) -> None:
    with pytest.raises(errors.ModelFormatError) as caught:
        Model.from_bytes(change(small.data), **limits)
    assert advice in str(caught.value)


@pytest.mark.parametrize("name", ["max_bytes", "max_work"])
def test_limits_are_whole_numbers(small: Any, name: str) -> None:
    Model.from_bytes(small.data, **{name: 2**63 - 1})  # type: ignore[arg-type]
    for value in (0, -1, 2**63):
        with pytest.raises(errors.InputError, match=f"{name}: found {value}, expected 1 to {2**63 - 1}"):
            Model.from_bytes(small.data, **{name: value})  # type: ignore[arg-type]


def test_copies_have_the_limits(small: Any) -> None:
    for limits in ({}, {"max_bytes": 2**30}, {"max_work": 2**40}, {"max_bytes": 2**30, "max_work": 2**40}):
        again = pickle.loads(pickle.dumps(Model.from_bytes(small.data, **limits)))  # type: ignore[arg-type]
        assert again._open().limits == (limits.get("max_bytes", 0), limits.get("max_work", 0))


def test_a_status_that_is_no_callers_fault() -> None:
    handles.check(lib.BNN_OK, "it")
    for status in range(1, 16):
        with pytest.raises(errors.BnnError, match="^it: "):
            handles.check(status, "it")


def test_errors_of_files_have_the_systems_number(tmp_path: Path) -> None:
    for path, number, kind in (
        (tmp_path / "absent", errno.ENOENT, errors.ModelNotFoundError), (tmp_path, errno.EISDIR, errors.ModelFileError),
    ):  # fmt: skip
        with pytest.raises(errors.ModelFileError) as caught:
            Model.from_file(path)
        assert type(caught.value) is kind and caught.value.errno == number


def test_kinds_and_shapes() -> None:
    """Of ops by the data that they read; of constants with as many dimensions as they have."""
    kinds = {"bconv2d": "binary", "iconv2d": "integer", "excess_128": "integer", "cast": "integer", "add": "float"}
    for name, kind in kinds.items():
        number, data = CASES[name]().file()
        assert Model.from_bytes(data).ops[number].kind == kind, name
    x = input_node("x", (1, 1, 32))
    levels = make("binarize_levels", x, constant([0.0, 1.0, 2.0]))
    signs, scale = constant(np.ones((3, 1, 1, 32)), DType.b1), constant([1.0, 2.0, 3.0])
    model = model_of(x, make("bconv2d", levels, signs, scale, attrs=ConvAttrs(planes=2, slots=("pre_mul",))))
    assert [op.kind for op in model.ops] == ["float", "multi-bit"]
    assert [model.tensors[i].shape for i in model.ops[1].inputs[1:]] == [(3, 1, 1, 32), (3,)]


def test_threads_of_the_environment(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, threads in (("", 1), (" 7 ", 7), ("256", 256)):
        monkeypatch.setenv("BNN_THREADS", text)
        assert Model.from_bytes(small.data)._threads == threads
    monkeypatch.delenv("BNN_THREADS")
    assert Model.from_bytes(small.data)._threads == 1


def test_closed_models(small: Any) -> None:
    with Model.from_bytes(small.data) as model:
        assert not model.closed
    assert model.closed
    with pytest.raises(errors.ClosedModelError), model:
        pass


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(a context's images, images of the call), of all that is run."""
    found = []
    real = Context.run

    def run(self: Context, inputs: Any, outputs: Any, begin: int, end: int) -> None:
        found.append((self.images, end - begin))
        real(self, inputs, outputs, begin, end)

    monkeypatch.setattr(Context, "run", run)
    return found


def test_images_run_together(calls: list[tuple[int, int]]) -> None:
    """One alone, a micro-batch, or a whole batch, which is one call."""
    x = np.ones((20, 2), np.float32)
    together, whole = clamp(2), whole_batch()
    for model in (together, whole):
        for batch, size in ((1, None), (20, None), (20, 7)):
            model.predict(x[:batch], batch_size=size)
    assert calls == [
        (1, 1), (8, 20), *[(8, 7)] * 2, (8, 6), (1, 1), (20, 20), *[(7, 7)] * 2, (7, 6),
    ]  # fmt: skip
    assert together._idle.keys() == {(1, 1), (8, 1)} and whole._idle.keys() == {(7, 1)}  # others may be large
    assert all(len(idle) == 1 for idle in (*together._idle.values(), *whole._idle.values()))
    assert [len(y) for y in whole.activations(x[:0]).values()] == [0]
    calls.clear()
    whole.profile(x, repeats=1)
    together.profile(x, repeats=1)
    assert calls == [(20, 20), (20, 20), (8, 20), (8, 20)]


def test_a_call_does_some_work_and_then_shows_progress(
    calls: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_WORK_PER_CALL", 2**14)
    for size, each in ((2**14, 1), (2**13, 2), (2**20, 1), (1, 2)):
        calls.clear()
        clamp(size)(np.ones((4, size), np.float32))
        assert [images for _, images in calls] == [each] * (4 // each)
    calls.clear()
    clamp(1).predict(np.ones((8, 1), np.float32), threads=2)
    assert [images for _, images in calls] == [4, 4]
    calls.clear()
    whole_batch()(np.ones((8, 2), np.float32))  # which is not cut
    assert calls == [(8, 8)]


def test_a_context_of_another_process_is_not_used(small: Any) -> None:
    model, (x,) = Model.from_bytes(small.data), small.inputs(3)
    expected = model.predict(x, threads=2)
    ((context,),) = model._idle.values()
    context.pid += 1
    np.testing.assert_array_equal(model.predict(x, threads=2), expected)
    ((other,),) = model._idle.values()
    assert other is not context
    context.pid -= 1


@pytest.mark.parametrize(("kilobytes", "pixels", "together"), [(256, 1, 8), (257, 1, 1), (257, 2, 1)])
def test_micro_batches(kilobytes: int, pixels: int, together: int) -> None:
    """Those that fit into a cache; where they do not, dense layers with more weights than activations."""
    opened = SimpleNamespace(
        tensors=[SimpleNamespace(index=0, shape=(1, pixels, 5))], arena_bytes=kilobytes * 1024,
        ops=[SimpleNamespace(output=0, weight_bytes=kilobytes * 1024)],
    )  # fmt: skip
    assert runtime._micro_batch(opened) == together  # type: ignore[arg-type]
    opened.ops[0].weight_bytes += 1
    assert runtime._micro_batch(opened) == (8 if pixels == 1 else together)  # type: ignore[arg-type]


# -- contexts ---------------------------------------------------------------------------------------------------------


def test_long_work_is_polled_in_the_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(handles, "Pulse", lambda: made.append(1) or Pulse())
    context = Context(clamp(4)._open(), 1, 1)
    function = lambda pointer: lib.BNN_OK  # noqa: E731
    for work, polled in ((lib.BNN_POLL_WORK - 1, 0), (lib.BNN_POLL_WORK, 1)):
        context.call(work, "it", function)
        assert len(made) == polled
    thread = threading.Thread(target=context.call, args=(lib.BNN_POLL_WORK, "it", function))
    thread.start()
    thread.join()
    assert len(made) == 1


@pytest.mark.parametrize("work", [1, 3, lib.BNN_POLL_WORK // 2, lib.BNN_POLL_WORK - 1, lib.BNN_POLL_WORK])
def test_runs_too_short_for_a_poll(work: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less work than a poll's, in all."""
    opened = clamp(4)._open()
    monkeypatch.setattr(opened, "work", work)
    short = Context(opened, 1, 1)._short
    assert short * work < lib.BNN_POLL_WORK <= (short + 1) * work


@pytest.mark.parametrize("fails", [False, True])
def test_polls_and_profiles_end_with_their_call(fails: bool, library: Library) -> None:
    context = Context(clamp(4)._open(), 1, 1)
    x, ticks = np.ones((1, 4), np.float32), np.zeros(1, np.uint64)

    def function(*_: Any) -> int:
        if fails:
            raise KeyboardInterrupt
        return int(lib.BNN_OK)

    library.instead["bnn_run"] = function
    for call, name in (
        (lambda: context.call(lib.BNN_POLL_WORK, "it", function), "bnn_context_set_poll"),
        (lambda: context.run_profiled([x], [x.copy()], ticks), "bnn_context_set_profile"),
    ):
        library.calls.clear()
        try:
            call()
        except KeyboardInterrupt:
            assert fails
        assert [n for n, _ in library.calls] == [name] * 2
        assert library.calls[0][1] != ffi.NULL and library.calls[1][1] == ffi.NULL


def test_an_exception_is_raised_once() -> None:
    pulse = Pulse()
    pulse.reraise()
    pulse.error = KeyError("it")
    with pytest.raises(KeyError, match="it"):
        pulse.reraise()
    pulse.reraise()


def test_contexts_have_threads_that_their_process_destroys(library: Library) -> None:
    opened = clamp(4)._open()
    alone, two = Context(opened, 1, 1), Context(opened, 1, 2)
    assert alone._pool == ffi.NULL and two._pool != ffi.NULL and alone.usable() and two.usable()
    for context in (alone, two):
        context.pid = os.getpid() + 1  # as in a child that was forked
    assert alone.usable() and not two.usable()
    del alone, context
    two.__del__()
    assert not library.calls
    two.pid = os.getpid()
    del two
    assert [name for name, _ in library.calls] == ["bnn_pool_destroy"]


def test_contexts_that_no_memory_holds() -> None:
    opened = clamp(2**16)._open()
    for images, workers in ((2**64 - 1, 1), (2**62, 2**31 - 1)):
        with pytest.raises(errors.InputError, match="need more memory than can be addressed; use fewer"):
            Context(opened, images, workers)
    with pytest.raises(errors.InputError, match="cannot allocate .* bytes; use a smaller batch"):
        Context(opened, 2**40, 1)


# -- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "least", "most"), [(DType.u8, 0, 255), (DType.i8, -128, 127)])
def test_bytes_are_poked_as_bytes_or_floats(dtype: DType, least: int, most: int) -> None:
    x = input_node("x", (2,), dtype)
    middle = make("excess_128", x) if dtype is DType.i8 else x
    stepper = model_of(x, make("cast", middle)).stepper(1)
    ends = np.array([[least, most]])
    for kind in (dtype.numpy, np.float32):
        stepper.poke(0, np.zeros((1, 2), np.float32))
        stepper.poke(0, ends.astype(kind))
        assert stepper.peek(0, 1).tolist() == [[least, most]]
    for value in (least - 1, most + 1, 0.5):
        with pytest.raises(errors.InputError, match=f"expected only whole numbers from {least} to {most}"):
            stepper.poke(0, np.float32([[0, value]]))
    for other in (np.int16, np.float64, np.int8 if dtype is DType.u8 else np.uint8):
        with pytest.raises(errors.InputTypeError, match=f"found dtype {np.dtype(other)}, expected float32"):
            stepper.poke(0, np.zeros((1, 2), other))
    with pytest.raises(errors.InputTypeError, match="found dtype int64, expected float32"):
        stepper.poke(0, [[0, 0]])  # type: ignore[arg-type]


def test_numbers_past_the_last(small: Any) -> None:
    model = Model.from_bytes(small.data)
    stepper = model.stepper(2)
    ops, tensors = len(model.ops), len(model.tensors)
    for call, last in ((lambda n: stepper.step(n, 1), ops - 1), (lambda n: stepper.step_raw(n, 1), ops - 1)):
        for number in (-1, last + 1):
            with pytest.raises(errors.InputError, match=f"op number: found {number}, expected 0 to {last}"):
                call(number)
    for number in (-1, tensors):
        with pytest.raises(errors.InputError, match=f"tensor number: found {number}, expected 0 to {tensors - 1}"):
            stepper.peek(number, 1)
    shape = model.input_shapes[0]
    for images in (1, 2):
        stepper.poke(0, np.ones((images, *shape), np.float32))
    for images in (0, 3):
        with pytest.raises(errors.InputError, match="images: found .*, expected 1 to 2"):
            stepper.poke(0, np.ones((images, *shape), np.float32))
    odd = np.frombuffer(bytearray(4 * 288 + 1), np.float32, offset=1).reshape(2, *shape)
    for values in (odd, np.asfortranarray(np.ones((2, *shape), np.float32))):
        stepper.poke(0, values)


@pytest.mark.parametrize("name", ["conv2d", "bconv2d", "iconv2d"])
def test_steps_are_as_long_as_their_images(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    number, data = CASES[name]().file()
    model = Model.from_bytes(data)
    stepper, works = model.stepper(3), []
    monkeypatch.setattr(Context, "call", lambda self, work, what, *rest: works.append((what, work)))
    stepper.step(number, 3)
    stepper.step_raw(number, 2)
    work = model.ops[number].work
    assert works == [("step", 3 * work), ("step_raw", 2 * work)] and work > 0


@pytest.mark.parametrize(
    ("field", "number", "said"),
    [
        ("tensor 1.dtype", I32, "storage of an i32: found arena, expected constant;"),
        ("tensor 1.storage", OUTPUT, "dtype of an input or output: found b1, expected f32;"),
        ("tensor 1.dtype", 77, "dtype (at most): found 77, expected i8;"),
        ("op 0.opcode", 77, "opcode (1 to the last one known): found 77, expected"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_by_names(field: str, number: int, said: str) -> None:
    x = input_node("x", (2, 3, 4))
    data = encode(plan([x], [make("unpack", make("binarize", x))]))
    with pytest.raises(errors.ModelFormatError) as caught:
        Model.from_bytes(changed(data, {field: number}))
    assert said in str(caught.value)
