# SPDX-License-Identifier: Apache-2.0
"""Polls: who is asked, how often, and that what was stopped can run again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnn._native import ffi, lib
from bnn._types import Array
from bnn.file.write import encode
from bnn.ir.ops import ClampAttrs, ConvAttrs, PoolAttrs, SliceAttrs, constant, input_node, make
from bnn.runtime import Model
from bnn.runtime.handles import Context
from op_graphs import plan, signs
from opened import context_of


def clamps(channels: int, ops: int = 1) -> Model:
    """One row, of work for each op: its channels."""
    x = y = input_node("x", (channels,))
    for i in range(ops):
        y = make("clamp", y, attrs=ClampAttrs(-9.0 - i, 9.0))
    return Model.from_bytes(encode(plan([x], [y])))


def tanhs(channels: int, ops: int, rows: int = 1) -> Model:
    """Rows, of work for each op: 32 times their channels."""
    x = y = input_node("x", (channels,) if rows == 1 else (rows, 1, channels))
    for _ in range(ops):
        y = make("tanh", y)
    return Model.from_bytes(encode(plan([x], [y])))


def passed(height: int, width: int) -> Model:
    """A convolution and a pool of single pixels, which run together."""
    x = input_node("x", (height, width, 64))
    filters = signs(np.random.default_rng(1), (64, 3, 3, 64))
    sums = make("bconv2d", make("binarize", x), filters, attrs=ConvAttrs(pads=(1, 1, 1, 1)))
    model = Model.from_bytes(encode(plan([x], [make("max_pool", sums, attrs=PoolAttrs((1, 1), (1, 1)))])))
    assert [t.storage for t in model.tensors].count("passed") == 1
    return model


@pytest.mark.parametrize("height", [100, 101, 102, 103])
def test_the_last_rows_that_are_passed(height: int) -> None:
    """Of narrow images the pool takes four rows at a time, or those that are left."""
    model = passed(height, 2)
    x = np.random.default_rng(0).normal(size=(3, height, 2, 64)).astype(np.float32)
    stepper = model.stepper(3)
    stepper.poke(0, x)
    whole = [stepper.step(op.index, 3) for op in model.ops]
    np.testing.assert_array_equal(model(x), whole[-1])


class Poll:
    """Says stop when it is asked for the k-th time."""

    def __init__(self, context: Context, stop: int | None) -> None:
        self.asked, self.context = 0, context

        @ffi.callback("int(void *)")  # type: ignore[untyped-decorator]
        def poll(_: Any) -> int:
            self.asked += 1
            return self.asked == stop

        self.poll = poll
        lib.bnn_context_set_poll(context.pointer, poll, ffi.NULL)

    def run(self, x: Array, *shape: int) -> tuple[int, Array]:
        """The status, and outputs of this shape, or of the inputs'."""
        y = np.full((len(x), *(shape or x.shape[1:])), 7, np.float32)
        self.context.inputs[0], self.context.outputs[0] = ffi.from_buffer("char[]", x), ffi.from_buffer("float[]", y)
        return lib.bnn_run(self.context.pointer, self.context.inputs, self.context.outputs, len(x)), y


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (lambda: tanhs(1 << 18, 3), 3),  # an op of an image is more than a piece: cut by images, of which one has fewer
        (lambda: tanhs(1 << 16, 5), 6),  # some ops are a piece
        (lambda: tanhs(1 << 12, 2), 90),  # some images are
        (lambda: clamps(16), 9),  # all of it is less than one
        (lambda: passed(160, 96), 3),  # a convolution and its pool are more than a piece
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_stopped_anywhere(model: Any, batch: int, workers: int, rng: np.random.Generator) -> None:
    """By the k-th question, for every k; then the same context runs as if nothing had been."""
    network = model()
    x = rng.normal(size=(batch, *network.input_shapes[0])).astype(np.float32)
    expected = network(x)
    context = context_of(network, 2, workers)
    free = Poll(context, None)
    status, y = free.run(x)
    assert status == lib.BNN_OK
    np.testing.assert_array_equal(y, expected)
    work = network.work * batch / workers
    assert work / lib.BNN_POLL_WORK / 3 - 1 <= free.asked <= work / lib.BNN_POLL_WORK * 2 + 2
    for stop in range(1, free.asked + 1):
        poll = Poll(context, stop)
        assert poll.run(x)[0] == lib.BNN_ERROR_STOPPED and poll.asked == stop
    status, y = Poll(context, free.asked + 1).run(x)
    assert status == lib.BNN_OK
    np.testing.assert_array_equal(y, expected)


def test_a_last_chunk_of_fewer_images_than_there_are_parts(rng: np.random.Generator) -> None:
    """Chunks of three images and a last one of one, an op of each cut into its images."""
    network = tanhs(1 << 18, 1)
    x = rng.normal(size=(7, 1 << 18)).astype(np.float32)
    status, y = Poll(context_of(network, 3, 3), None).run(x)
    assert status == lib.BNN_OK
    np.testing.assert_array_equal(y, network(x))


def test_parts_of_several_rows_of_some_columns(rng: np.random.Generator) -> None:
    """Five rows in parts of two, and because those are not enough, of half their columns."""
    x = input_node("x", (5, 100, 7344))
    w = rng.integers(-1, 2, (32, 1, 1, 7344)).astype(np.float32)
    network = Model.from_bytes(encode(plan([x], [make("conv2d", x, constant(w))])))
    image = rng.integers(-1, 2, (1, 5, 100, 7344)).astype(np.float32)
    poll = Poll(context_of(network, 1, 1), None)
    status, y = poll.run(image, 5, 100, 32)
    assert status == lib.BNN_OK and poll.asked == 3
    np.testing.assert_array_equal(y, image @ w[:, 0, 0].T)


def test_what_was_no_number_in_a_round_is_forgotten_in_the_next(rng: np.random.Generator) -> None:
    x = y = input_node("x", (1 << 17,))
    for _ in range(2):
        y = make("tanh", y)
    network = Model.from_bytes(encode(plan([x], [make("unpack", make("binarize", y))])))
    images = rng.normal(size=(8, 1 << 17)).astype(np.float32)
    images[[1, 2]] = np.nan
    poll = Poll(context_of(network, 2, 2), None)
    for batch in (images, images[4:], images[::-1].copy()):
        status, found = poll.run(batch)
        assert status == lib.BNN_OK and poll.asked > 0
        np.testing.assert_array_equal(np.isnan(found).all(axis=1), np.isnan(batch).any(axis=1))
        np.testing.assert_array_equal(np.isnan(found).any(axis=1), np.isnan(batch).any(axis=1))


def test_what_is_no_number_in_an_image_of_its_own_part() -> None:
    """Quantizers of more than a piece, cut by images: the flag is that image's."""
    x = input_node("x", (1 << 22,))
    bits = make("binarize", x)
    network = Model.from_bytes(encode(plan([x], [make("slice", make("unpack", bits), attrs=SliceAttrs(0, 8))])))
    images = np.ones((4, 1 << 22), np.float32)
    images[[1, 2], [5, -1]] = np.nan
    poll = Poll(context_of(network, 2, 2), None)
    status, y = poll.run(images, 8)
    assert status == lib.BNN_OK and poll.asked > 1
    assert np.isnan(y).all(axis=1).tolist() == np.isnan(y).any(axis=1).tolist() == [False, True, True, False]


def test_steps(rng: np.random.Generator) -> None:
    """Nothing to run is no work; what is stepped through asks, too."""
    model = tanhs(1 << 18, 1)
    context = context_of(model, 1, 1, stepping=True)
    poll = Poll(context, 1)
    assert lib.bnn_step(context.pointer, 0, 0) == lib.BNN_OK and poll.asked == 0
    assert lib.bnn_step(context.pointer, 0, 1) == lib.BNN_ERROR_STOPPED and poll.asked == 1
    x = input_node("x", (8, 8, 32))
    conv = make("bconv2d", make("binarize", x), signs(rng, (4, 1, 1, 32)), attrs=ConvAttrs())
    context = context_of(Model.from_bytes(encode(plan([x], [conv]))), 1, 1, stepping=True)
    values = ffi.new("float[]", 8 * 8 * 4)
    assert lib.bnn_step_raw(context.pointer, 1, values, 0) == lib.BNN_OK
    assert lib.bnn_step_raw(context.pointer, 1, values, 1) == lib.BNN_OK


def dense(pixels: int, outputs: int) -> Model:
    """A row of pixels of 4096 channels; work: 513 for each of their outputs, of which 32 make a block."""
    x = input_node("x", (1, pixels, 4096))
    y = make("conv2d", x, constant(np.ones((outputs, 1, 1, 4096))))
    return Model.from_bytes(encode(plan([x], [y])), kernels="scalar")


def handed_out(model: Model, images: int, workers: int, batch: int, polls: bool) -> str:
    """What a run hands to the workers of a context for so many images: the count of every job, and ? for a poll.

    The jobs are not done."""
    context, seen = context_of(model, images, workers), []

    @ffi.callback("bnn_parallel_for")  # type: ignore[untyped-decorator]
    def jobs(pool: Any, task: Any, argument: Any, count: int) -> None:
        seen.append(str(count))

    @ffi.callback("int(void *)")  # type: ignore[untyped-decorator]
    def poll(_: Any) -> int:
        seen.append("?")
        return 0

    lib.bnn_context_set_threads(context.pointer, jobs, ffi.NULL)
    lib.bnn_context_set_poll(context.pointer, poll if polls else ffi.NULL, ffi.NULL)
    x, y = (np.zeros((batch, *shapes[0]), np.float32) for shapes in (model.input_shapes, model.output_shapes))
    context.inputs[0], context.outputs[0] = ffi.from_buffer("char[]", x), ffi.from_buffer("float[]", y)
    assert lib.bnn_run(context.pointer, context.inputs, context.outputs, batch) == lib.BNN_OK
    return " ".join(seen)


UNIT = 1 << 15  # channels of which a tanh is a quarter of a piece


@pytest.mark.parametrize(
    ("model", "images", "workers", "batch", "expected", "unasked"),
    [
        # One image: its rows are spread in two ranges for each worker, and cut in as many parts as there are pieces of
        # work for each of them.
        (lambda: tanhs(UNIT, 1, 2), 1, 2, 1, "2", "2"),
        (lambda: tanhs(UNIT, 1, 3), 1, 2, 1, "3", "3"),
        (lambda: tanhs(UNIT, 1, 4), 1, 2, 1, "4", "4"),
        (lambda: tanhs(UNIT, 1, 8), 1, 2, 1, "4 ?", "4"),  # one part, and for each worker one piece
        (lambda: tanhs(UNIT, 1, 9), 1, 2, 1, "4 4 ?", "4"),
        (lambda: tanhs(UNIT, 1, 16), 1, 2, 1, "4 ? 4 ?", "4"),
        (lambda: tanhs(UNIT, 1, 17), 1, 2, 1, "4 4 ? 4", "4"),
        (lambda: tanhs(UNIT, 1, 20), 1, 2, 1, "4 4 ? 4", "4"),  # 7, 7 and 6 rows
        # Rows of more than a piece are cut one from the other: then no two share a part.
        (lambda: tanhs(9 * UNIT, 1, 2), 1, 2, 1, "? ?", "2"),
        # What is not worth waking anybody for: an op of a batch has 40000 units of work or more.
        (lambda: tanhs(625, 1, 2), 1, 2, 1, "2", "2"),
        (lambda: tanhs(624, 1, 2), 1, 2, 1, "", ""),
        (lambda: tanhs(105, 1, 4), 3, 4, 3, "4", "4"),  # of three images
        (lambda: tanhs(104, 1, 4), 3, 4, 3, "", ""),
        # As many images as workers: chunks, of the same size in as few rounds as there can be.
        (lambda: tanhs(8, 1), 2, 2, 2, "2", "2"),
        (lambda: tanhs(8, 1), 3, 2, 6, "2", "2"),
        (lambda: tanhs(8, 1), 3, 2, 7, "4", "4"),
        # Eight chunks for each worker, of two images, are a piece.
        (lambda: tanhs(UNIT // 8, 2), 2, 2, 90, "16 ? 16 ? 13", "45"),
        (lambda: tanhs(UNIT // 8, 2), 2, 2, 94, "16 ? 16 ? 15 ?", "47"),
        # A chunk of more than a piece: two ops at a time, and one that is left.
        (lambda: tanhs(UNIT, 3), 2, 2, 4, "2 ? 2", "2"),
        (lambda: tanhs(UNIT, 4), 2, 2, 6, "2 ? 2 ? 1 ? 1 ?", "3"),
        # An op of more than a piece in parts: by rows (2, 2 and 1) and images, by blocks, and at last by columns.
        (lambda: tanhs(11 * UNIT // 8, 1, 5), 2, 2, 4, "2 2 ? 2 2 ? 2 2 ?", "2"),
        (lambda: dense(60, 96), 4, 2, 8, "2 2 ? 2", "2"),
        (lambda: dense(257, 32), 1, 2, 2, "2 2 ?", "2"),
    ],
)  # fmt: skip
def test_what_is_handed_out(model: Any, images: int, workers: int, batch: int, expected: str, unasked: str) -> None:
    assert handed_out(model(), images, workers, batch, True) == expected
    assert handed_out(model(), images, workers, batch, False) == unasked


def test_a_last_chunk_of_fewer_images_than_a_part_begins_with() -> None:
    """Eight images and one, on two threads: a row too large for one piece is divided by images."""
    model = tanhs(2**17, 1)
    x = np.random.default_rng(2).integers(-9, 9, (9, 2**17)).astype(np.float32) / 8
    found = model.predict(x, threads=2, batch_size=9)
    assert np.array_equal(found, np.concatenate([model(image[None]) for image in x]))


def test_small_networks_with_passed_rows_on_two_threads() -> None:
    """Whole chunks for each thread."""
    model = passed(16, 16)
    x = np.random.default_rng(3).integers(-1, 2, (20, 16, 16, 64)).astype(np.float32)
    found = model.predict(x, threads=2)
    assert np.array_equal(found, np.concatenate([model(image[None]) for image in x]))
