# SPDX-License-Identifier: Apache-2.0
"""Polls: who is asked, how often, and that what was stopped can run again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnn._context import Context
from bnn._native import ffi, lib
from bnn.emit.model import encode
from bnn.ops import ClampAttrs, ConvAttrs, input_node, make
from bnn.runtime import Model
from op_graphs import plan, signs

Array = np.ndarray[Any, Any]


def clamps(channels: int, ops: int = 1) -> Model:
    """One row, of work for each op: its channels."""
    x = y = input_node("x", (channels,))
    for i in range(ops):
        y = make("clamp", y, attrs=ClampAttrs(-9.0 - i, 9.0))
    return Model.from_bytes(encode(plan([x], [y])))


def tanhs(channels: int, ops: int) -> Model:
    """One row, of work for each op: 32 times its channels."""
    x = y = input_node("x", (channels,))
    for _ in range(ops):
        y = make("tanh", y)
    return Model.from_bytes(encode(plan([x], [y])))


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

    def run(self, x: Array) -> tuple[int, Array]:
        y = np.full(x.shape, 7, np.float32)
        self.context.inputs[0], self.context.outputs[0] = ffi.from_buffer("char[]", x), ffi.from_buffer("float[]", y)
        return lib.bnn_run(self.context.pointer, self.context.inputs, self.context.outputs, len(x)), y


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (lambda: tanhs(1 << 18, 3), 3),  # an op of an image is more than a piece: cut by images, of which one has fewer
        (lambda: tanhs(1 << 16, 5), 6),  # some ops are a piece
        (lambda: tanhs(1 << 12, 2), 90),  # some images are
        (lambda: clamps(16), 9),  # all of it is less than one
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_stopped_anywhere(model: Any, batch: int, workers: int, rng: np.random.Generator) -> None:
    """By the k-th question, for every k; then the same context runs as if nothing had been."""
    network = model()
    x = rng.normal(size=(batch, *network.input_shapes[0])).astype(np.float32)
    expected = network(x)
    context = Context(network._open(), 2, workers)
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


def test_steps(rng: np.random.Generator) -> None:
    """Nothing to run is no work; what is stepped through asks, too."""
    model = tanhs(1 << 18, 1)
    context = Context(model._open(), 1, 1)
    poll = Poll(context, 1)
    assert lib.bnn_step(context.pointer, 0, 0) == lib.BNN_OK and poll.asked == 0
    assert lib.bnn_step(context.pointer, 0, 1) == lib.BNN_ERROR_STOPPED and poll.asked == 1
    x = input_node("x", (8, 8, 32))
    conv = make("bconv2d", make("binarize", x), signs(rng, (4, 1, 1, 32)), attrs=ConvAttrs())
    context = Context(Model.from_bytes(encode(plan([x], [conv])))._open(), 1, 1)
    values = ffi.new("float[]", 8 * 8 * 4)
    assert lib.bnn_step_raw(context.pointer, 1, values, 0) == lib.BNN_OK
    assert lib.bnn_step_raw(context.pointer, 1, values, 1) == lib.BNN_OK
