# SPDX-License-Identifier: Apache-2.0
"""The functions of bnn.h given what they must refuse: null, out of range, too little memory, not aligned, too many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import op_graphs
from bnn._native import ffi, lib
from bnn.file.write import encode
from bnn.ir.graph import DType
from bnn.ir.ops import OPS, ConvAttrs, input_node, make
from events.spiking import opened_populations
from op_cases import CASES
from opened import KERNELS, NULL, Opened, no_arena
from raw_model import ARENA, B1, F32, I8, INPUT, OUTPUT, STATUSES, U8, Answer, Net, Op, Tensor, aligned, answer, buffer

ROOT = Path(__file__).resolve().parents[2]
DIGITS = (ROOT / "examples/digits.bnn").read_bytes()
SIZE_MAX = 2**64 - 1


def network() -> bytes:
    """Two inputs, of floats and of bytes; a convolution of bits; two outputs."""
    x, z = input_node("x", (3, 4, 5)), input_node("z", (3, 4, 5), DType.u8)
    filters = op_graphs.signs(np.random.default_rng(1), (6, 2, 2, 5))
    y = make("bconv2d", make("binarize", x), filters, attrs=ConvAttrs(pads=(1, 1, 0, 0)))
    return encode(op_graphs.plan([x, z], [y, make("cast", z)]))


def whole_batch() -> bytes:
    """x of (200, 200, 5) -> binarize -> unpack -> batch_sum."""
    x, bits, signs = Tensor(F32, (200, 200, 5), INPUT), Tensor(B1, (200, 200, 5)), Tensor(F32, (200, 200, 5))
    ops = [("binarize", x, bits), ("unpack", bits, signs), ("batch_sum", signs, Tensor(F32, (5,), OUTPUT))]
    return Net([Op(name, [i], o) for name, i, o in ops]).bytes()


@pytest.fixture
def opened() -> Opened:
    return Opened(network())


class TestModels:
    def answer_of_size(self, file: Any, kernels: Any = KERNELS, size: Any = None, length: int = 0) -> Answer:
        problem = ffi.new("bnn_problem *")
        out = ffi.new("size_t *") if size is None else size
        return answer(lib.bnn_model_size(file, length, kernels, out, problem), problem)

    def answer_of_open(self, o: Opened, **other: Any) -> Answer:
        a = {"file": o.file, "kernels": KERNELS, "memory": o.memory, "size": o.size, "model": ffi.new("bnn_model **")}
        a |= other
        problem = ffi.new("bnn_problem *")
        arguments = (a["file"], len(o.data), a["kernels"], a["memory"], a["size"], a["model"], problem)
        found = answer(lib.bnn_model_open(*arguments), problem)
        assert a["model"] == NULL or (a["model"][0] != NULL) == (found.status == "OK")
        assert STATUS[found.status] == lib.bnn_model_open(*arguments[:-1], NULL)
        return found

    def test_null(self, opened: Opened) -> None:
        file, length = opened.file, len(opened.data)
        assert self.answer_of_size(file, size=NULL, length=length) == Answer("ARGUMENT", "bytes: given (1: yes)", 0, 1)
        assert self.answer_of_size(NULL, length=length) == Answer("ARGUMENT", "file: given (1: yes)", 0, 1)
        assert self.answer_of_size(file, NULL, length=length) == Answer("KERNELS", "kernels: given (1: yes)", 0, 1)
        assert self.answer_of_open(opened, model=NULL) == Answer("ARGUMENT", "model: given (1: yes)", 0, 1)
        assert self.answer_of_open(opened, file=NULL) == Answer("ARGUMENT", "file: given (1: yes)", 0, 1)
        assert self.answer_of_open(opened, kernels=NULL) == Answer("KERNELS", "kernels: given (1: yes)", 0, 1)
        assert self.answer_of_open(opened, memory=NULL) == Answer("ARGUMENT", "memory: given (1: yes)", 0, 1)

    def test_what_is_not_aligned(self, opened: Opened) -> None:
        for shift in range(1, 64):
            file = aligned(len(opened.data), shift)
            ffi.memmove(file, opened.data, len(opened.data))
            expected = Answer("MEMORY", "file: bytes past an aligned address", shift, 0)
            assert self.answer_of_open(opened, file=file) == expected
            assert self.answer_of_size(file, length=len(opened.data)) == expected
            memory = aligned(opened.size, shift)
            expected = Answer("MEMORY", "memory: bytes past an aligned address", shift, 0)
            assert self.answer_of_open(opened, memory=memory) == expected

    def test_every_size_of_memory(self, opened: Opened) -> None:
        for size in range(0, opened.size, 7):
            assert self.answer_of_open(opened, size=size) == Answer(
                "MEMORY", "memory: bytes (at least)", size, opened.size
            )
        less = opened.size - 1
        assert self.answer_of_open(opened, size=less) == Answer("MEMORY", "memory: bytes (at least)", less, opened.size)
        assert self.answer_of_open(opened).status == "OK"

    def test_what_a_model_does_not_have(self, opened: Opened) -> None:
        tensor, op = ffi.new("bnn_tensor_info *"), ffi.new("bnn_op_info *")
        tensors, ops = lib.bnn_tensor_count(opened.model), lib.bnn_op_count(opened.model)
        for get, count, info in ((lib.bnn_get_tensor, tensors, tensor), (lib.bnn_get_op, ops, op)):
            assert get(NULL, 0, info) == get(opened.model, 0, NULL) == lib.BNN_ERROR_ARGUMENT
            assert get(opened.model, count, info) == get(opened.model, 2**32 - 1, info) == lib.BNN_ERROR_ARGUMENT
            assert get(opened.model, count - 1, info) == lib.BNN_OK
        assert lib.bnn_input_tensor(opened.model, 1) < tensors and lib.bnn_output_tensor(opened.model, 1) < tensors
        assert lib.bnn_input_tensor(opened.model, 2) == lib.bnn_output_tensor(opened.model, 2) == 2**32 - 1


STATUS = {name: value for value, name in STATUSES.items()}


class Selected:
    """A bnn_selection with what it points to."""

    def __init__(self, ops: Sequence[Any], kernels: Sequence[Any] = (KERNELS,)) -> None:
        self.ops = ffi.new("bnn_op_row *[]", list(ops))
        self.kernels = ffi.new("bnn_kernels *[]", list(kernels))
        fields = {"ops": self.ops, "op_count": len(ops), "kernels": self.kernels, "kernel_count": len(kernels)}
        self.selection = ffi.new("bnn_selection *", fields)

    def open(self, data: bytes) -> tuple[Answer, Any]:
        """The answer of opening a file, and the memory with the model."""
        file, size, model = buffer(data), ffi.new("size_t *"), ffi.new("bnn_model **")
        problem = ffi.new("bnn_problem *")
        arguments = (file, len(data), self.selection, NULL)
        found = answer(lib.bnn_model_size_selected(*arguments, size, problem), problem)
        memory = aligned(size[0]) if found.status == "OK" else NULL
        same = answer(lib.bnn_model_open_selected(*arguments, memory, size[0], model, problem), problem)
        assert same == found and (model[0] != NULL) == (found.status == "OK")
        return found, (model[0], memory, file)


def op_rows() -> dict[str, Any]:
    rows: list[Any] = []
    while (row := lib.bnn_op_list(len(rows))) != NULL:
        rows.append(row)
    return {ffi.string(lib.bnn_op_name(row)).decode(): row for row in rows}


class TestSelections:
    def test_the_list_has_every_op_in_the_order_of_their_numbers(self) -> None:
        opcodes = {op.name: op.opcode for op in OPS.values() if op.opcode is not None}
        assert list(op_rows()) == sorted(opcodes, key=lambda name: opcodes[name])
        assert lib.bnn_op_list(SIZE_MAX) == NULL

    def test_null(self, opened: Opened) -> None:
        problem, size, model = ffi.new("bnn_problem *"), ffi.new("size_t *"), ffi.new("bnn_model **")
        expected = Answer("ARGUMENT", "selection: given (1: yes)", 0, 1)
        arguments = (opened.file, len(opened.data), NULL, NULL)
        assert answer(lib.bnn_model_size_selected(*arguments, size, problem), problem) == expected
        model[0] = opened.model
        status = lib.bnn_model_open_selected(*arguments, opened.memory, opened.size, model, problem)
        assert answer(status, problem) == expected and model[0] == NULL
        status = lib.bnn_model_open_selected(*arguments, opened.memory, opened.size, NULL, problem)
        assert answer(status, problem) == expected
        selected = Selected(list(op_rows().values()))
        status = lib.bnn_model_open_selected(
            opened.file, len(opened.data), selected.selection, NULL, opened.memory, opened.size, NULL, problem
        )
        assert answer(status, problem) == Answer("ARGUMENT", "model: given (1: yes)", 0, 1)

    @pytest.mark.parametrize("name", sorted(CASES.keys() - {"threshold on floats"}))  # which is no valid file
    def test_an_op_that_is_not_selected_is_named(self, name: str) -> None:
        """Every op in a file of its own: with the ops of the file it opens, whatever their order; without one, not."""
        number, data = CASES[name]().file()
        rows, model = op_rows(), Opened(data).model
        info = ffi.new("bnn_op_info *")
        used: list[str] = []
        for i in range(lib.bnn_op_count(model)):
            lib.bnn_get_op(model, i, info)
            used.append(ffi.string(info.op).decode())
        op = used[number]
        needed = sorted(set(used), reverse=True)
        assert Selected([rows[n] for n in needed]).open(data)[0].status == "OK"
        found, _ = Selected([row for n, row in rows.items() if n != op]).open(data)
        first = used.index(op)
        layer = " (it)" if first == number else ""
        opcode = OPS[op].opcode
        assert found == Answer("OPCODE", f"op {first}{layer}: table of ops without {op}", 0, opcode)
        none, size = Selected([]), ffi.new("size_t *")
        assert none.open(data)[0].status == "OPCODE"
        status = lib.bnn_model_size_selected(buffer(data), len(data), none.selection, NULL, size, NULL)
        assert status == lib.BNN_ERROR_OPCODE

    def test_a_damaged_file_is_called_damaged(self) -> None:
        data = bytearray(network())
        data[-1] ^= 1
        assert Selected([]).open(bytes(data))[0].status == "CHECKSUM"

    @pytest.mark.parametrize("name", ["conv2d", "bconv2d", "iconv2d", "binarize", "binarize_levels", "max_pool"])
    def test_kernels_that_no_family_has(self, name: str) -> None:
        _, data = CASES[name]().file()
        rows = list(op_rows().values())
        found, _ = Selected(rows, []).open(data)
        kernels = "kernels for it in the families given (1: yes)"
        assert found.status == "KERNELS" and found.what.endswith(f": {kernels}") and found.what.startswith("op ")
        assert (found.found, found.expected) == (0, 1)
        assert Selected(rows, [KERNELS, lib.bnn_kernels_select(b"scalar")]).open(data)[0].status == "OK"

    def test_ops_without_kernels_run_and_the_event_engine_refuses(self) -> None:
        found, (model, *_) = Selected([op_rows()["copy"]], []).open(no_arena())
        assert found.status == "OK"
        problem, size, context = ffi.new("bnn_problem *"), ffi.new("size_t *"), ffi.new("bnn_context **")
        assert lib.bnn_context_size(model, 1, 1, size) == lib.BNN_OK
        room = aligned(size[0])
        assert lib.bnn_context_create(model, 1, 1, room, size[0], context) == lib.BNN_OK
        value, result = ffi.new("float[]", [0.5]), ffi.new("float[1]")
        assert lib.bnn_run(context[0], ffi.new("void *[]", [value]), ffi.new("float *[]", [result]), 1) == lib.BNN_OK
        assert result[0] == 0.5
        expected = Answer("KERNELS", "engine: kernels for it in the families given (1: yes)", 0, 1)
        network, engine = opened_populations(DIGITS), ffi.new("bnn_events **")
        assert lib.bnn_events_size(model, network.pointer, size) == lib.BNN_OK
        room = aligned(size[0])
        status = lib.bnn_events_create(model, network.pointer, room, size[0], NULL, NULL, engine, problem)
        assert answer(status, problem) == expected


def test_every_status_has_a_text() -> None:
    texts = [ffi.string(lib.bnn_status_text(i)).decode() for i in range(17)]
    assert texts[0] == "ok" and texts[16] == "unknown status"
    assert len(set(texts)) == 17


class TestContexts:
    def test_null_and_none(self, opened: Opened) -> None:
        size, context = ffi.new("size_t *"), ffi.new("bnn_context **")
        for arguments in ((NULL, 1, 1, size), (opened.model, 0, 1, size), (opened.model, 1, 0, size)):
            assert lib.bnn_context_size(*arguments) == lib.BNN_ERROR_ARGUMENT
            assert lib.bnn_stepping_size(*arguments) == lib.BNN_ERROR_ARGUMENT
        assert lib.bnn_context_size(opened.model, 1, 1, NULL) == lib.BNN_ERROR_ARGUMENT
        assert lib.bnn_stepping_size(opened.model, 1, 1, NULL) == lib.BNN_ERROR_ARGUMENT
        room = aligned(64)
        assert lib.bnn_context_create(opened.model, 1, 1, room, 64, NULL) == lib.BNN_ERROR_ARGUMENT
        assert lib.bnn_context_create(opened.model, 0, 1, room, 64, context) == lib.BNN_ERROR_ARGUMENT
        assert lib.bnn_context_create(NULL, 1, 1, room, 64, context) == lib.BNN_ERROR_ARGUMENT

    @pytest.mark.parametrize("data", [network(), CASES["batch_sum"]().file()[1], no_arena()], ids=len)
    def test_sizes_that_overflow(self, data: bytes) -> None:
        """Every power of two of images and workers: a size, or LIMIT where it does not fit in half of a size_t."""
        opened = Opened(data)
        size = ffi.new("size_t *")
        sizes: dict[tuple[int, int], int] = {}
        for i in range(64):
            for w in range(64):
                status = lib.bnn_context_size(opened.model, 2**i, 2**w, size)
                sizes[i, w] = size[0] if status == lib.BNN_OK else 0
                assert status in (lib.BNN_OK, lib.BNN_ERROR_LIMIT)
                assert sizes[i, w] <= SIZE_MAX // 2
        for (i, w), found in sizes.items():
            if found:
                smaller = [sizes[j, v] for j, v in ((i - 1, w), (i, w - 1)) if j >= 0 and v >= 0]
                assert all(0 < s <= found for s in smaller)
        assert sizes[0, 0] and not sizes[63, 0] and not sizes[0, 63] and not sizes[40, 40]

    def test_every_size_and_alignment_of_memory(self, opened: Opened) -> None:
        size, context = ffi.new("size_t *"), ffi.new("bnn_context **")
        lib.bnn_context_size(opened.model, 2, 2, size)
        memory = aligned(size[0])
        for less in range(size[0]):
            assert lib.bnn_context_create(opened.model, 2, 2, memory, less, context) == lib.BNN_ERROR_MEMORY
            assert context[0] == NULL
        assert lib.bnn_context_create(opened.model, 2, 2, NULL, size[0], context) == lib.BNN_ERROR_MEMORY
        for shift in range(1, 64):
            shifted = aligned(size[0], shift)
            assert lib.bnn_context_create(opened.model, 2, 2, shifted, size[0], context) == lib.BNN_ERROR_MEMORY
        assert lib.bnn_context_create(opened.model, 2, 2, memory, size[0], context) == lib.BNN_OK


class TestEngines:
    def test_null_too_small_and_not_aligned(self) -> None:
        opened, network = Opened(DIGITS), opened_populations(DIGITS)
        size, engine = ffi.new("size_t *"), ffi.new("bnn_events **")
        both = opened.model, network.pointer
        for first, second, to in ((NULL, both[1], size), (both[0], NULL, size), (*both, NULL)):
            assert lib.bnn_events_size(first, second, to) == lib.BNN_ERROR_ARGUMENT
        assert lib.bnn_events_size(*both, size) == lib.BNN_OK
        memory = aligned(size[0])
        for first, second, to in ((NULL, both[1], engine), (both[0], NULL, engine), (*both, NULL)):
            status = lib.bnn_events_create(first, second, memory, size[0], NULL, NULL, to, NULL)
            assert status == lib.BNN_ERROR_ARGUMENT
        for room, count in ((NULL, size[0]), (memory, size[0] - 1), (memory, 0), (aligned(size[0], 4), size[0])):
            assert lib.bnn_events_create(*both, room, count, NULL, NULL, engine, NULL) == lib.BNN_ERROR_MEMORY
            assert engine[0] == NULL
        assert lib.bnn_events_create(*both, memory, size[0], NULL, NULL, engine, NULL) == lib.BNN_OK

    def test_numbers_past_the_last(self) -> None:
        opened, network = Opened(DIGITS), opened_populations(DIGITS)
        size, made = ffi.new("size_t *"), ffi.new("bnn_events **")
        both = opened.model, network.pointer
        assert lib.bnn_events_size(*both, size) == lib.BNN_OK
        memory = aligned(size[0])
        assert lib.bnn_events_create(*both, memory, size[0], NULL, NULL, made, NULL) == lib.BNN_OK
        engine, room, info = made[0], ffi.new("float[]", 2**20), ffi.new("bnn_events_layer *")
        outputs, layers = lib.bnn_output_count(opened.model), lib.bnn_events_layer_count(engine)
        tensors = lib.bnn_tensor_count(opened.model)
        assert lib.bnn_events_expect(engine, 1.0, 1.0) == lib.BNN_OK
        assert lib.bnn_events_run(NULL) == lib.bnn_events_get_layer(engine, 0, NULL) == lib.BNN_ERROR_ARGUMENT
        tensor = ffi.new("bnn_tensor_info *")
        assert lib.bnn_get_tensor(opened.model, lib.bnn_input_tensor(opened.model, 0), tensor) == lib.BNN_OK
        pixels = int(np.prod(list(tensor.dims)[: tensor.rank]))
        calls = {
            (lib.bnn_events_output, room): (outputs - 1, outputs),
            (lib.bnn_events_state, room): (lib.bnn_output_tensor(opened.model, 0), tensors),
            (lib.bnn_events_get_layer, info): (layers - 1, layers),
            (lib.bnn_events_set_limit, 2**64 - 1): (layers - 1, layers),
            (lambda e, number, value: lib.bnn_events_pixel(e, number, 0, value), 1.0): (0, 1),
            (lambda e, number, value: lib.bnn_events_pixel(e, 0, number, value), 1.0): (pixels - 1, pixels),
        }
        for (call, last), (there, past) in calls.items():
            assert call(engine, there, last) == lib.BNN_OK
            assert call(engine, past, last) == call(engine, 2**32 - 1, last) == lib.BNN_ERROR_ARGUMENT
            assert call(NULL, there, last) == lib.BNN_ERROR_ARGUMENT


def test_an_empty_file_is_mapped_and_too_short(tmp_path: Path) -> None:
    """At an aligned address, as every file, so that opening it finds its length wrong."""
    (tmp_path / "empty").write_bytes(b"")
    mapping = ffi.new("bnn_mapping *")
    assert lib.bnn_file_map(bytes(tmp_path / "empty"), mapping) == lib.BNN_OK
    assert mapping.size == 0 and int(ffi.cast("uintptr_t", mapping.data)) % lib.BNN_ALIGNMENT == 0
    for size in (lib.bnn_model_size, lib.bnn_snn_size):
        status = size(mapping.data, 0, KERNELS, ffi.new("size_t *"), NULL)
        assert status == lib.BNN_ERROR_TRUNCATED
    lib.bnn_file_unmap(mapping)


class Arrays:
    """Inputs and outputs of `network` for bnn_run, at any address."""

    def __init__(self, batch: int, shift: int = 0) -> None:
        rng = np.random.default_rng(3)
        values = [rng.normal(size=batch * 60).astype("<f4"), rng.integers(0, 256, batch * 60).astype("u1")]
        self.inputs = [aligned(v.nbytes, shift) for v in values]
        self.sizes = [batch * 72 * 4, batch * 60 * 4]
        self.outputs = [aligned(size, shift) for size in self.sizes]
        for pointer, value in zip(self.inputs, values, strict=True):
            ffi.memmove(pointer, value.tobytes(), value.nbytes)

    def run(self, context: Any, batch: int) -> int:
        outputs = [ffi.cast("float *", o) for o in self.outputs]
        status: int = lib.bnn_run(context, ffi.new("void *[]", self.inputs), ffi.new("float *[]", outputs), batch)
        return status

    def results(self) -> list[bytes]:
        return [bytes(ffi.buffer(o, size)) for o, size in zip(self.outputs, self.sizes, strict=True)]


class TestRuns:
    def test_null(self, opened: Opened) -> None:
        context, arrays = opened.context(), Arrays(1)
        ins = ffi.new("void *[]", arrays.inputs)
        outs = ffi.new("float *[]", [ffi.cast("float *", o) for o in arrays.outputs])
        assert lib.bnn_run(NULL, ins, outs, 1) == lib.BNN_ERROR_ARGUMENT
        assert lib.bnn_run(context, NULL, outs, 1) == lib.BNN_ERROR_ARGUMENT
        assert lib.bnn_run(context, ins, NULL, 1) == lib.BNN_ERROR_ARGUMENT
        assert lib.bnn_run(context, NULL, NULL, 0) == lib.BNN_OK
        for ports in (arrays.inputs, arrays.outputs):
            for i in range(2):
                kept, ports[i] = ports[i], NULL
                assert arrays.run(context, 1) == lib.BNN_ERROR_ARGUMENT
                ports[i] = kept
        assert arrays.run(context, 1) == lib.BNN_OK

    @pytest.mark.parametrize("shift", range(64))
    def test_arrays_need_the_alignment_of_their_elements(self, opened: Opened, shift: int) -> None:
        context, there, here = opened.context(), Arrays(5), Arrays(5, shift)
        assert there.run(context, 5) == lib.BNN_OK
        assert here.run(context, 5) == (lib.BNN_OK if shift % 4 == 0 else lib.BNN_ERROR_ARGUMENT)
        here.inputs[0] = there.inputs[0]
        here.outputs = there.outputs  # bytes alone may lie anywhere
        before = there.results()
        assert here.run(context, 5) == lib.BNN_OK and here.results() == before

    def test_batches_that_overflow(self, opened: Opened) -> None:
        """No array is as large: nothing is read of them."""
        context, arrays = opened.context(), Arrays(1)
        for batch in (2**63 // (72 * 4) + 1, 2**63, SIZE_MAX):
            assert arrays.run(context, batch) == lib.BNN_ERROR_LIMIT

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_whole_batch(self, workers: int) -> None:
        """The sums of batches of 3 and 2 images; of threads too, which share the rows of what has some."""
        opened = Opened(whole_batch())
        context, pool = opened.context(2, workers), ffi.new("bnn_pool **")
        assert lib.bnn_pool_create(workers, pool) == lib.BNN_OK
        lib.bnn_context_set_threads(context, lib.bnn_pool_run, pool[0])
        x, y = np.ones((3, 200, 200, 5), np.float32), np.zeros((3, 5), np.float32)
        ins = ffi.new("void *[]", [ffi.from_buffer(x)])
        outs = ffi.new("float *[]", [ffi.cast("float *", ffi.from_buffer(y, require_writable=True))])
        assert lib.bnn_run(context, ins, outs, 3) == lib.BNN_ERROR_BATCH and not y.any()
        assert lib.bnn_run(context, ins, outs, 2) == lib.BNN_OK
        np.testing.assert_array_equal(y, [[80000] * 5, [80000] * 5, [0] * 5])
        x[1, 199, 7, 3] = np.nan  # a bit of one image that is none goes into the results of both
        assert lib.bnn_run(context, ins, outs, 2) == lib.BNN_OK
        assert np.isnan(y[:2]).all() and not y[2].any()
        assert lib.bnn_run(context, ins, outs, 1) == lib.BNN_OK
        np.testing.assert_array_equal(y[0], [40000] * 5)
        lib.bnn_pool_destroy(pool[0])


class TestThreads:
    @pytest.fixture(params=[2, 3])
    def pool(self, request: pytest.FixtureRequest) -> Iterator[Any]:
        pool = ffi.new("bnn_pool **")
        assert lib.bnn_pool_create(request.param, pool) == lib.BNN_OK
        yield pool[0], request.param
        lib.bnn_pool_destroy(pool[0])

    @pytest.mark.parametrize("batch", [1, 2, 5, 6, 13])
    def test_any_batch_gives_the_same(self, opened: Opened, pool: Any, batch: int) -> None:
        threads, workers = pool
        expected, found = Arrays(batch), Arrays(batch)
        assert expected.run(opened.context(3), batch) == lib.BNN_OK
        context = opened.context(2, workers)
        lib.bnn_context_set_threads(context, lib.bnn_pool_run, threads)
        assert found.run(context, batch) == lib.BNN_OK and found.results() == expected.results()
        lib.bnn_context_set_threads(context, NULL, NULL)
        assert found.run(context, batch) == lib.BNN_OK and found.results() == expected.results()

    @pytest.mark.parametrize("shape", [(64, 64, 40), (2, 2048, 40)])
    def test_rows_of_one_image(self, pool: Any, shape: tuple[int, int, int]) -> None:
        """Threads share the rows of ops that take long, halos and all; there may be fewer rows than threads."""
        rng, x = np.random.default_rng(5), input_node("x", shape)
        y = make(
            "bconv2d", make("binarize", x), op_graphs.signs(rng, (8, 3, 3, 40)), attrs=ConvAttrs(pads=(1, 1, 1, 1))
        )
        opened = Opened(encode(op_graphs.plan([x], [y])))
        image, found = op_graphs.integers(rng, shape), [np.zeros((*shape[:2], 8), np.float32) for _ in range(2)]
        for i, workers in enumerate((1, pool[1])):
            context = opened.context(1, workers)
            lib.bnn_context_set_threads(context, lib.bnn_pool_run, pool[0])
            out = ffi.cast("float *", ffi.from_buffer(found[i], require_writable=True))
            status = lib.bnn_run(context, ffi.new("void *[]", [ffi.from_buffer(image)]), ffi.new("float *[]", [out]), 1)
            assert status == lib.BNN_OK
        assert found[0].any()
        np.testing.assert_array_equal(found[0], found[1])

    def test_a_context_of_one_worker(self, opened: Opened, pool: Any) -> None:
        """Runs on the calling thread whatever the pool has."""
        expected, found = Arrays(1), Arrays(1)
        assert expected.run(opened.context(1), 1) == lib.BNN_OK
        context = opened.context(1)
        lib.bnn_context_set_threads(context, lib.bnn_pool_run, pool[0])
        assert found.run(context, 1) == lib.BNN_OK and found.results() == expected.results()

    def test_accumulators(self, opened: Opened, pool: Any) -> None:
        """A step that gives them has one worker; other steps have all."""
        found = [np.zeros(1000, np.float32) for _ in range(2)]
        for i, workers in enumerate((1, pool[1])):
            context, info = opened.context(2, workers), ffi.new("bnn_op_info *")
            lib.bnn_context_set_threads(context, lib.bnn_pool_run, pool[0])
            for op in range(lib.bnn_op_count(opened.model)):
                assert lib.bnn_step(context, op, 2) == lib.BNN_OK
                assert lib.bnn_get_op(opened.model, op, info) == lib.BNN_OK
                if ffi.string(info.op) == b"bconv2d":
                    out = ffi.cast("float *", ffi.from_buffer(found[i], require_writable=True))
                    assert lib.bnn_step_raw(context, op, out, 2) == lib.BNN_OK
        assert found[0].any()
        np.testing.assert_array_equal(found[0], found[1])

    def test_profiles_need_a_clock(self, opened: Opened, pool: Any) -> None:
        """With one, every op of every micro-batch; without, none."""
        ticks = ffi.new("uint64_t[]", lib.bnn_op_count(opened.model))
        context, arrays = opened.context(2, pool[1]), Arrays(5)
        lib.bnn_context_set_threads(context, lib.bnn_pool_run, pool[0])
        lib.bnn_context_set_profile(context, NULL, lib.bnn_record_ticks, ticks)
        assert arrays.run(context, 5) == lib.BNN_OK and not any(ticks)
        lib.bnn_context_set_profile(context, lib.bnn_clock_ns, lib.bnn_record_ticks, ticks)
        assert arrays.run(context, 5) == lib.BNN_OK and all(ticks)


class TestSteps:
    def test_a_context_of_less_memory_runs_and_cannot_be_stepped(self, opened: Opened) -> None:
        least, size, context = ffi.new("size_t *"), ffi.new("size_t *"), ffi.new("bnn_context **")
        assert lib.bnn_context_size(opened.model, 2, 1, least) == lib.BNN_OK
        assert lib.bnn_stepping_size(opened.model, 2, 1, size) == lib.BNN_OK
        memory, values = aligned(size[0]), ffi.new("float[]", 1000)
        for count in (least[0], size[0] - 1, size[0]):
            assert lib.bnn_context_create(opened.model, 2, 1, memory, count, context) == lib.BNN_OK
            status = lib.BNN_OK if count == size[0] else lib.BNN_ERROR_MEMORY
            assert lib.bnn_step(context[0], 0, 1) == status
            assert lib.bnn_step_raw(context[0], 1, values, 1) == status
            assert lib.bnn_poke(context[0], 0, values, 1) == lib.bnn_peek(context[0], 0, values, 1) == status
            assert lib.bnn_step(context[0], 1000, 1) == lib.BNN_ERROR_ARGUMENT
            assert lib.bnn_peek(context[0], 1000, values, 1) == lib.BNN_ERROR_ARGUMENT
            assert Arrays(3).run(context[0], 3) == lib.BNN_OK

    def test_what_cannot_be_stepped(self, opened: Opened) -> None:
        context, values = opened.context(2), ffi.new("float[]", 1000)
        ops, tensors = lib.bnn_op_count(opened.model), lib.bnn_tensor_count(opened.model)
        for arguments in ((NULL, 0, 1), (context, ops, 1), (context, 0, 3)):
            assert lib.bnn_step(*arguments) == lib.BNN_ERROR_ARGUMENT
            assert lib.bnn_step_raw(*arguments[:2], values, arguments[2]) == lib.BNN_ERROR_ARGUMENT
        assert lib.bnn_step(context, ops - 1, 2) == lib.BNN_OK
        info = ffi.new("bnn_op_info *")
        for op in range(ops):
            assert lib.bnn_get_op(opened.model, op, info) == lib.BNN_OK
            conv = ffi.string(info.op) == b"bconv2d"
            assert lib.bnn_step_raw(context, op, NULL, 1) == lib.BNN_ERROR_ARGUMENT
            assert lib.bnn_step_raw(context, op, values, 1) == (lib.BNN_OK if conv else lib.BNN_ERROR_ARGUMENT)
        constant = next(i for i in range(tensors) if self.storage(opened, i) == lib.BNN_CONSTANT)
        for call in (lib.bnn_poke, lib.bnn_peek):
            for arguments in ((NULL, 0, values, 1), (context, tensors, values, 1), (context, 0, NULL, 1)):
                assert call(*arguments) == lib.BNN_ERROR_ARGUMENT
            assert call(context, constant, values, 1) == lib.BNN_ERROR_ARGUMENT
            assert call(context, 0, values, 3) == lib.BNN_ERROR_ARGUMENT
            assert call(context, 0, values, 2) == lib.BNN_OK

    @staticmethod
    def storage(opened: Opened, tensor: int) -> int:
        info = ffi.new("bnn_tensor_info *")
        assert lib.bnn_get_tensor(opened.model, tensor, info) == lib.BNN_OK
        return int(info.storage)

    @pytest.mark.parametrize(
        ("name", "least", "most"), [("cast", 0, 255), ("excess_128", -128, 127), ("copy", -np.inf, np.inf)]
    )
    def test_what_a_tensor_holds(self, name: str, least: float, most: float) -> None:
        """Of bytes whole numbers of their range alone."""
        opened = Opened(CASES[name]().file()[1])
        context, values, back = opened.context(1), np.zeros(30, np.float32), np.zeros(30, np.float32)
        tries = (least, most, least - 1, most + 1, least + 0.5, np.nan, np.float32(3e38), -np.float32(3e38))
        for at in (0, 29):
            for value in tries:
                values[:], values[at] = max(least, 7.0) if np.isfinite(least) else 7.0, value
                fits = name == "copy" or (least <= value <= most and value == np.round(value))
                status = lib.bnn_poke(context, 0, ffi.cast("float *", ffi.from_buffer(values)), 1)
                assert status == (lib.BNN_OK if fits else lib.BNN_ERROR_ARGUMENT), value
                if fits:
                    pointer = ffi.cast("float *", ffi.from_buffer(back, require_writable=True))
                    assert lib.bnn_peek(context, 0, pointer, 1) == lib.BNN_OK
                    np.testing.assert_array_equal(back, values)

    @pytest.mark.parametrize("dtype", [B1, I8])
    def test_bits_and_signed_bytes(self, dtype: int) -> None:
        """What is poked is peeked, of bits by their signs; a pixel of 33 has a word for the last of them."""
        rng, shape = np.random.default_rng(4), (2, 3, 33)
        if dtype == B1:
            values, t = rng.choice([-1, 1], shape), Tensor(B1, shape)
            ops = [Op("binarize", [Tensor(F32, shape, INPUT)], t), Op("unpack", [t], Tensor(F32, shape, OUTPUT))]
        else:
            values, t, middle = rng.integers(-128, 128, shape), Tensor(I8, shape, INPUT), Tensor(U8, shape, ARENA)
            ops = [Op("excess_128", [t], middle), Op("cast", [middle], Tensor(F32, shape, OUTPUT))]
        net = Net(ops)
        opened, numbers, back = Opened(net.bytes()), values.astype(np.float32), np.zeros(shape, np.float32)
        context, tensor = opened.context(1), net.number[id(t)]
        assert lib.bnn_poke(context, tensor, ffi.cast("float *", ffi.from_buffer(numbers)), 1) == lib.BNN_OK
        assert lib.bnn_peek(context, tensor, ffi.cast("float *", ffi.from_buffer(back)), 1) == lib.BNN_OK
        np.testing.assert_array_equal(back, numbers)

    @pytest.mark.parametrize("name", ["conv2d", "bconv2d", "iconv2d", "add", "unpack"])
    def test_what_an_op_says_of_its_work(self, name: str) -> None:
        number, data = CASES[name]().file()
        opened, info = Opened(data), ffi.new("bnn_op_info *")
        assert lib.bnn_get_op(opened.model, number, info) == lib.BNN_OK
        macs = 4 * 5 * 4 * 2 * 3 * 3
        found = [info.float_macs, info.binary_macs, info.byte_macs, info.planes]
        expected = {"conv2d": [macs, 0, 0, 1], "bconv2d": [0, macs, 0, 1], "iconv2d": [0, 0, macs, 1]}
        assert found == expected.get(name, [0, 0, 0, 0])
        constants = {"conv2d": 4 * 4 * 2 * 3 * 3, "bconv2d": 4 * 4 * 2 * 3, "iconv2d": 4 * 4 * 2 * 3 + 12}
        assert info.weight_bytes == constants.get(name, 0)
