# SPDX-License-Identifier: Apache-2.0
"""What the event engine's builder refuses, through the C functions; and what it does where a poll stops it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bnn
import op_graphs
from bnn._native import ffi, lib
from bnn.events import EventEngine
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import DType, Graph
from bnn.ir.ops import ConvAttrs, PadAttrs
from bnn.runtime.handles import Memory
from opened import again
from raw_model import B1, F32, INPUT, OUTPUT, Answer, Fields, Net, Op, Tensor, answer, changed, memory_of
from raw_model import opened as opening
from seed import some

from . import handmade

CLEARED = 4 * lib.BNN_POLL_WORK  # bytes between two questions before anything is built


def size_of(data: bytes, max_bytes: int = 2**40) -> Answer:
    """What bnn_events_size says of a file."""
    model = again(bnn.Model.from_bytes(data, max_bytes=max_bytes))
    size, problem = ffi.new("size_t *"), ffi.new("bnn_problem *")
    return answer(lib.bnn_events_size(model.pointer, size, problem), problem)


NUMBERS = "numbers of several bits between spiking layers"
REFUSED = {
    "a constant convolved to b1": Answer("OPCODE", "op 1 (conv): spikes of a constant", 1, 0),
    "a constant convolved to f32": Answer("OPCODE", "op 2 (conv): spikes of a constant", 1, 0),
    "bits read as numbers": Answer("OPCODE", f"op 1 (planes): {NUMBERS}", 1, 0),
    "numbers of other channels": Answer("OPCODE", f"op 1 (other): {NUMBERS}", 1, 0),
    "planes as bits": Answer("OPCODE", f"op 1: {NUMBERS}", 1, 0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_there_is_memory(rng: np.random.Generator, name: str) -> None:
    assert size_of(encode(handmade.refused(rng)[name])) == REFUSED[name]


def padded(channels: int, width: int, *heights: int) -> bytes:
    """Bits of a pixel, padded to images of which a corner is read."""
    x, bits = handmade.bits((1, 1, channels))
    filters = op_graphs.signs(np.random.default_rng(0), (1, 1, 1, channels))
    pads = [ops.make("pad", bits, attrs=PadAttrs((h - 1, width - 1, 0, 0), 1.0), name="huge") for h in heights]
    sums = [ops.make("bconv2d", pad, filters, attrs=ConvAttrs(stride=(2**16, 2**16)), name="conv") for pad in pads]
    return encode(op_graphs.plan([x], sums))


@pytest.mark.parametrize(
    ("images", "op", "found"),
    [
        ((32, 2**16, 2**11 - 1), 0, 0),
        ((32, 2**16, 2**11), 1, 2**32 + 32),  # the first 32 are those of the padded bits
        ((65537, 2, 32767), 1, 2**32 - 1),
        ((32, 2**16, 2**10, 2**10 - 1), 0, 0),
        ((32, 2**16, 2**10, 2**10), 3, 2**32 + 32),
    ],
)
def test_more_neurons_than_can_be_numbered(images: tuple[int, ...], op: int, found: int) -> None:
    data = padded(*images)
    said = Answer("LIMIT", f"op {op} (huge): neurons up to it (below)", found, 2**32 - 1)
    assert size_of(data) == (said if found else Answer("OK"))
    if found:
        text = rf"too large for the event engine: op {op} \(huge\): neurons .*: found {found}, expected 4294967295; use"
        with pytest.raises(bnn.InputError, match=text):
            EventEngine(bnn.Model.from_bytes(data, max_bytes=2**40))


def test_memory_that_overflows() -> None:
    """The context is as large as what bnn_reserve gives: nothing is left for the engine's own tables."""
    x, bits = handmade.bits((1, 1, 32))
    data = encode(op_graphs.plan([x], [handmade.conv(np.random.default_rng(0), bits, 1)]))
    beside = memory_of(data)[1] - Fields(data)["header.arena"]
    for context, said in ((2**62 - 64, "engine: the memory it needs overflows"), (2**61, "")):
        status = "LIMIT" if said else "OK"
        assert size_of(changed(data, {"header.arena": context - beside}), 2**63 - 1) == Answer(status, said)


@pytest.mark.parametrize(("side", "piece"), [(14654, 0), (14655, 5 * 14655**2), (2**16, 5 * 2**32)])
def test_no_window_has_more_taps_than_an_int32(side: int, piece: int) -> None:
    """Opening refuses those: the engine looks at all of a window between two polls."""
    x, one = Tensor(F32, (1, 1, 1), INPUT), Tensor(B1, (1, 1, 1))
    image, pooled, y = Tensor(B1, (side, side, 1)), Tensor(B1, (1, 1, 1)), Tensor(F32, (1, 1, 1), OUTPUT)
    pad = Op("pad", [one], image, {"pad_top": side - 1, "pad_left": side - 1, "value": 1.0})
    attrs = {"kernel_h": side, "kernel_w": side, "stride_h": 1, "stride_w": 1}
    pool = Op("max_pool", [image], pooled, attrs)
    data = Net([Op("binarize", [x], one), pad, pool, Op("unpack", [pooled], y)]).bytes()
    if piece:
        said = Answer("LIMIT", "op 2: work of a part that cannot be cut (at most)", piece, lib.BNN_MAX_PIECE)
        assert opening(data, max_bytes=2**40) == said
    else:
        assert size_of(data) == Answer("OK")


def weights_of_floats() -> Graph:
    """A dense layer of 768 x 768 floats."""
    x = ops.input_node("image", (768,))
    weights = op_graphs.integers(np.random.default_rng(0), (768, 1, 1, 768))
    bits = ops.make("conv2d", x, ops.constant(weights), attrs=ConvAttrs(out=DType.b1))
    return op_graphs.plan([x], [handmade.conv(np.random.default_rng(1), bits, 1)])


def wires() -> Graph:
    """Two megabits, padded."""
    x, bits = handmade.bits((32, 64, 1024))
    pad = ops.make("pad", bits, attrs=PadAttrs((0, 1, 1, 0), 1.0))
    return op_graphs.plan([x], [handmade.conv(np.random.default_rng(0), pad, 1)])


@pytest.mark.drawn
@pytest.mark.parametrize("made", some([weights_of_floats, wires]))
def test_stopped_wherever_it_asks(made: Callable[[], Graph]) -> None:
    """There is no engine then; and the tables ask, too, beside what clears the memory."""
    opened = again(bnn.Model.from_bytes(encode(made())))
    size, engine, left, asked = ffi.new("size_t *"), ffi.new("bnn_events **"), [0], 0
    assert lib.bnn_events_size(opened.pointer, size, ffi.NULL) == lib.BNN_OK
    memory = Memory(size[0])

    @ffi.callback("int(void *)")
    def poll(argument: Any) -> int:
        left[0] -= 1
        return left[0] == -1

    def create() -> int:
        return lib.bnn_events_create_polled(opened.pointer, memory.pointer, size[0], poll, ffi.NULL, engine, ffi.NULL)

    while (status := create()) == lib.BNN_ERROR_STOPPED:
        assert (engine[0], left[0]) == (ffi.NULL, -1)
        asked += 1
        left[0] = asked
    assert status == lib.BNN_OK and engine[0] != ffi.NULL
    assert asked > -(-size[0] // CLEARED)
