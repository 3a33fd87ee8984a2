# SPDX-License-Identifier: Apache-2.0
"""Decisions of the runtime's Python side, on both sides of each: what is polled, shared, pooled, put back and said."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn import errors
from bnn._native import lib
from bnn.file.write import encode
from bnn.ir.graph import DType, Node
from bnn.ir.ops import ClampAttrs, ConvAttrs, constant, input_node, make
from bnn.runtime import Model, handles
from bnn.runtime.handles import Context, Pulse
from op_cases import CASES
from op_graphs import floats, plan, shorts
from opened import context_of
from raw_model import I32, OUTPUT, changed, with_checksum


def model_of(x: Node, *outputs: Node) -> Model:
    return Model.from_bytes(encode(plan([x], list(outputs))))


def clamp(size: int) -> Model:
    x = input_node("x", (size,))
    return model_of(x, make("clamp", x, attrs=ClampAttrs(-9.0, 9.0)))


def whole_batch() -> Model:
    """Sums over a batch."""
    x = input_node("x", (2,))
    return model_of(x, make("batch_sum", x))


# -- opening ----------------------------------------------------------------------------------------------------------


def with_field(kind: str, at: int, value: int) -> Any:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        struct.pack_into(kind, changed, at, value)
        return with_checksum(changed) if at != 12 else bytes(changed)

    return change


@pytest.mark.parametrize(
    ("change", "limits", "advice"),
    [
        (lambda data: b"x" * 200, {}, "make one with bnn compile MODEL"),
        (lambda data: b"PK\x03\x04" + bytes(200), {}, "is a zip or HDF5 file, probably a Keras model"),
        (lambda data: b"\x89HDF" + bytes(200), {}, "is a zip or HDF5 file, probably a Keras model"),
        (lambda data: b"\x89SNN" + bytes(200), {}, "and not a .bnn file; use bnn snn inspect, bnn snn run"),
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


def test_copies_have_the_limits(small: Any) -> None:
    given = ({}, {"max_bytes": 2**30}, {"max_work": 2**40}, {"max_bytes": 2**30, "max_work": 2**40})
    pickled = [pickle.dumps(Model.from_bytes(small.data, **limits)) for limits in given]  # type: ignore[arg-type]
    assert len(set(pickled)) == 4 and [pickle.dumps(pickle.loads(data)) for data in pickled] == pickled


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


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(a context's images, images of the call), of all that is run; what is much work is not done."""
    found = []
    real = Context.run

    def run(self: Context, inputs: Any, outputs: Any, begin: int, end: int) -> None:
        found.append((self.images, end - begin))
        if self.opened.work < 2**20:
            real(self, inputs, outputs, begin, end)

    monkeypatch.setattr(Context, "run", run)
    return found


def contexts(model: Model) -> list[tuple[int, int]]:
    """(images, workers) of those that it keeps."""
    gc.collect()
    found = (c for c in gc.get_objects() if isinstance(c, Context))
    return sorted((c.images, c.workers) for c in found if c.opened.tensors is model.tensors)


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
    assert contexts(together) == [(1, 1), (8, 1)] and contexts(whole) == [(7, 1)]  # others may be large
    assert [len(y) for y in whole.activations(x[:0]).values()] == [0]
    calls.clear()
    whole.profile(x, repeats=1)
    together.profile(x, repeats=1)
    assert calls == [(20, 20), (20, 20), (8, 20), (8, 20)]


def test_a_call_does_some_work_and_then_shows_progress(calls: list[tuple[int, int]]) -> None:
    """A tenth of a second: 2^27 units, and 2^13 at least for an image; for each thread."""
    for size, ops, images, threads, each in (
        (2**16, 8, 20, 1, [8, 8, 4]), (2**16, 4, 20, 1, [16, 4]), (2**17, 64, 2, 1, [1, 1]), (2**17, 65, 2, 1, [1, 1]),
        (2**16, 33, 5, 1, [1] * 5), (2**16, 8, 20, 2, [16, 4]), (1, 1, 2**14 + 1, 1, [2**14, 1]),
        (2**8, 1, 2**14 + 1, 1, [2**14, 1]), (2**9, 1, 2**13 + 1, 1, [2**13, 1]),
    ):  # fmt: skip
        x = y = input_node("x", (size,))
        for _ in range(ops):
            y = make("tanh", y)
        model = model_of(x, y)
        assert model.work == 32 * size * ops
        calls.clear()
        model.predict(np.zeros((images, size), np.float32), threads=threads)
        assert [n for _, n in calls] == each, (size, ops)
    calls.clear()
    whole_batch()(np.ones((2**15, 2), np.float32))  # which is not cut
    assert calls == [(2**15, 2**15)]


@pytest.mark.parametrize(
    ("shape", "outputs", "together"),
    [
        ((2**16,), 0, 8), ((2**16 + 16,), 0, 1),  # what fits into a cache, and what does not
        ((2**16 + 16,), 1, 1), ((2**16 + 16,), 2, 8),  # weights of a dense layer: as many as activations, and more
        ((1, 2, 2**15 + 8), 8, 1), ((1, 2, 2**15), 8, 8),  # two pixels: no dense layer
    ],
)  # fmt: skip
def test_micro_batches(shape: tuple[int, ...], outputs: int, together: int, calls: list[tuple[int, int]]) -> None:
    """Those that fit into a cache; where they do not, dense layers with more weights than activations."""
    x = input_node("x", shape)
    y = make("clamp", make("tanh", x), attrs=ClampAttrs(-1.0, 0.5))
    if outputs:
        y = make("conv2d", make("tanh", x), constant(np.ones((outputs, 1, 1, shape[-1]))), attrs=ConvAttrs())
    model = model_of(x, y)
    assert model.arena_bytes == 4 * np.prod(shape)
    model(np.zeros((2, *shape), np.float32))
    assert calls == [(together, 2)]


@pytest.mark.parametrize(("text", "threads"), [("", 1), (" 7 ", 7), (None, 1)])
def test_threads_of_the_environment(text: str | None, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BNN_THREADS", raising=False)
    if text is not None:
        monkeypatch.setenv("BNN_THREADS", text)
    model = clamp(2)
    model(np.ones((9, 2), np.float32))
    assert contexts(model) == [(8, threads)]


# -- contexts ---------------------------------------------------------------------------------------------------------


def test_what_is_profiled_ends_with_its_call() -> None:
    context, x, ticks = context_of(clamp(2**16), 1), np.ones((1, 2**16), np.float32), np.zeros(1, np.uint64)
    context.run_profiled([x], [x.copy()], ticks)
    (once,) = ticks
    context.run([x], [x.copy()], 0, 1)
    assert ticks[0] == once > 0
    context.run_profiled([x], [x.copy()], ticks)
    assert ticks[0] > once


def test_an_exception_is_raised_once() -> None:
    pulse = Pulse()
    pulse.reraise()
    pulse.error = KeyError("it")
    with pytest.raises(KeyError, match="it"):
        pulse.reraise()
    pulse.reraise()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the number of threads")
def test_contexts_have_threads_that_their_process_ends() -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    before = threads()
    alone, three = context_of(clamp(4), 1), context_of(clamp(4), 1, 3)
    assert threads() == before + 2 and alone.usable() and three.usable()
    for context in (alone, three):
        context.pid += 1  # as in a child that was forked
    assert alone.usable() and not three.usable()
    three.__del__()
    assert threads() == before + 2
    for context in (alone, three):
        context.pid -= 1
    del alone, context, three
    assert threads() == before


def test_contexts_that_no_memory_holds() -> None:
    model = clamp(2**16)
    for images, workers in ((2**64 - 1, 1), (2**62, 2**31 - 1)):
        with pytest.raises(errors.InputError, match="need more memory than can be addressed; use fewer"):
            context_of(model, images, workers)
    with pytest.raises(errors.InputError, match="cannot allocate .* bytes; use a smaller batch"):
        context_of(model, 2**40)


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


def test_int16_are_poked_as_floats() -> None:
    x = input_node("x", (1, 2, 3), DType.u8)
    model = model_of(x, floats(make("max_pool", shorts(np.random.default_rng(3), x))))
    stepper, tensors = model.stepper(2), model.tensors
    (number, *_) = (i for i, t in enumerate(tensors) if t.dtype == "i16")
    values = np.float32([-(2**15), 2**15 - 1, 0, -1, 1, 255]).reshape(1, 1, 2, 3)
    stepper.poke(number, values)
    np.testing.assert_array_equal(stepper.peek(number, 1), values)
    for value in (-(2**15) - 1, 2**15, 0.5):
        with pytest.raises(errors.InputError, match="expected only whole numbers from -32768 to 32767"):
            stepper.poke(number, values * 0 + np.float32(value))


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


@pytest.mark.parametrize(
    ("field", "number", "said"),
    [
        ("tensor 1.dtype", I32, "storage of an i32: found arena, expected constant;"),
        ("tensor 1.storage", OUTPUT, "dtype of an input or output: found b1, expected f32;"),
        ("tensor 1.dtype", 77, "dtype (at most): found 77, expected i16;"),
        ("op 0.opcode", 77, "opcode (1 to the last one known): found 77, expected"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_by_names(field: str, number: int, said: str) -> None:
    x = input_node("x", (2, 3, 4))
    data = encode(plan([x], [make("unpack", make("binarize", x))]))
    with pytest.raises(errors.ModelFormatError) as caught:
        Model.from_bytes(changed(data, {field: number}))
    assert said in str(caught.value)
