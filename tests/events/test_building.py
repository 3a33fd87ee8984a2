# SPDX-License-Identifier: Apache-2.0
"""What the lowering to event populations refuses; and what creating an engine does where a poll stops it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import bnn
import op_graphs
from bnn._native import ffi, lib
from bnn._types import Floats
from bnn.events.handle import Engine
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.ops import ConvAttrs, PadAttrs
from bnn.runtime.handles import SNN, Contents, Memory, Opened, select_kernels
from bnn.snn import file as snn_file
from bnn.snn.handle import OpenedNetwork
from bnn.snn.network import Network, Population
from bnn.snn.rules import Emits
from opened import again

from . import handmade
from .spiking import opened_populations, populations

NUMBERS = "numbers of several bits between spiking layers"
REFUSED = {
    "a constant convolved to b1": "op 1 (conv): spikes of a constant",
    "a constant convolved to f32": "op 2 (conv): spikes of a constant",
    "bits of what may be no number": "op 1 (infinite): operands that make of spikes what is no number",
    "bits of what overflows": "op 1 (large): operands that make of spikes what is no number",
    "real values between": "op 3 (joined): real values between spiking layers",
    "windows of moved pixels": "op 4 (row): real values between spiking layers",
    "a residual of bits": "op 2 (epilogue): real values between spiking layers",
    "the batch": "op 0: a value of the whole batch",
    "bits read as numbers": f"op 1 (planes): {NUMBERS}",
    "numbers of other channels": f"op 1 (other): {NUMBERS}",
    "planes as bits": f"op 1: {NUMBERS}",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_the_lowering_itself(rng: np.random.Generator, name: str) -> None:
    """Before Python looks for another network."""
    with pytest.raises(bnn.UnsupportedOpError, match=f"^{re.escape(REFUSED[name])}: the event engine runs bits"):
        populations(encode(handmade.refused(rng)[name]))


def test_all_that_is_refused_names_an_op(rng: np.random.Generator) -> None:
    for name, graph in handmade.refused(rng).items():
        with pytest.raises(
            bnn.UnsupportedOpError, match=r"^op \d+.*: (spikes of|operands|real values|a value|numbers)"
        ):
            populations(encode(graph))
            pytest.fail(name)


def padded(channels: int, width: int, height: int, count: int = 1) -> bytes:
    """Bits of a pixel, padded to images of which a corner is read."""
    x, bits = handmade.bits((1, 1, channels))
    filters = op_graphs.signs(np.random.default_rng(0), (1, 1, 1, channels))
    attrs = [PadAttrs((height - 1, width - 1, k, 0), 1.0) for k in range(count)]
    pads = [ops.make("pad", bits, attrs=a, name="huge") for a in attrs]
    sums = [ops.make("bconv2d", pad, filters, attrs=ConvAttrs(stride=(4096, 4096)), name="conv") for pad in pads]
    return encode(op_graphs.plan([x], sums))


@pytest.mark.slow
def test_as_many_neurons_as_a_file_of_populations_holds() -> None:
    made = snn_file.decode(populations(padded(1, 2**12, 2**12)))
    assert max(p.size for p in made.populations) == 2**24


def test_what_a_file_of_populations_cannot_hold() -> None:
    """A row of neurons more than it may have, and a stride that is too long."""
    with pytest.raises(
        bnn.UnsupportedOpError, match=r"op 1 \(huge\): found 16781312 neurons, expected at most 16777216"
    ):
        populations(padded(1, 2**12, 2**12 + 1))
    x, bits = handmade.bits((4098, 1, 1))
    one = op_graphs.signs(np.random.default_rng(0), (1, 1, 1, 1))
    sums = ops.make("bconv2d", bits, one, attrs=ConvAttrs(stride=(4097, 1)), name="far")
    with pytest.raises(bnn.UnsupportedOpError, match=r"op 1 \(far\): found stride \(4097, 1\), expected at most 4096"):
        populations(encode(op_graphs.plan([x], [sums])))


def wires() -> Graph:
    """Two megabits, padded."""
    x, bits = handmade.bits((32, 64, 1024))
    pad = ops.make("pad", bits, attrs=PadAttrs((0, 1, 1, 0), 1.0))
    return op_graphs.plan([x], [handmade.conv(np.random.default_rng(0), pad, 1)])


def test_stopped_wherever_it_asks() -> None:
    """There is no engine then."""
    data = encode(wires())
    opened, network = again(bnn.Model.from_bytes(data)), opened_populations(data)
    size, engine, left, asked = ffi.new("size_t *"), ffi.new("bnn_events **"), [0], 0
    assert lib.bnn_events_size(opened.pointer, network.pointer, size) == lib.BNN_OK
    memory = Memory(size[0])

    @ffi.callback("int(void *)")
    def poll(argument: Any) -> int:
        left[0] -= 1
        return left[0] == -1

    def create() -> int:
        both = (opened.pointer, network.pointer, memory.pointer, size[0], poll, ffi.NULL)
        return lib.bnn_events_create(*both, engine, ffi.NULL)

    while (status := create()) == lib.BNN_ERROR_STOPPED:
        assert (engine[0], left[0]) == (ffi.NULL, -1)
        asked += 1
        left[0] = asked
    assert status == lib.BNN_OK and engine[0] != ffi.NULL
    assert asked > 0


def test_populations_of_another_model() -> None:
    """Refused where what is copied would not fit; no byte beside them is touched."""
    x, bits = handmade.bits((3, 4, 40))
    rng = np.random.default_rng(0)
    sizes = [40, 41, 8]
    files = [
        encode(op_graphs.plan([x], [handmade.conv(rng, handmade.conv(rng, bits, n, out=DType.b1), 3)])) for n in sizes
    ]
    files.append(encode(op_graphs.plan([x], [handmade.conv(rng, bits, 3)])))
    for i, data in enumerate(files):
        opened = again(bnn.Model.from_bytes(data))
        for k, other in enumerate(files):
            if i == k:
                Engine(opened, opened_populations(other))
                continue
            with pytest.raises(bnn.BnnError, match="the event populations are not of this network: (population|op) "):
                Engine(opened, opened_populations(other))


def encoder(rng: np.random.Generator, x: Node, *kernel: int) -> Node:
    weights = ops.constant(op_graphs.integers(rng, (8, *(kernel or (1, 1)), 8)))
    return ops.make("conv2d", x, weights, attrs=ConvAttrs(out=DType.b1))


def test_pixels_of_another_input(rng: np.random.Generator) -> None:
    """More of them, bytes, and beside a shortcut, to an encoder with as many neurons."""
    x, large = ops.input_node("image", (4, 4, 8)), ops.input_node("image", (5, 4, 8))
    u8 = ops.input_node("image", (4, 4, 8), DType.u8)
    seen, seen_large = ops.make("copy", x), ops.make("copy", large)
    attrs = ConvAttrs(slots=("residual",), out=DType.b1)
    added = ops.make("conv2d", seen, ops.constant(op_graphs.integers(rng, (8, 1, 1, 8))), x, attrs=attrs)
    bits_of = (encoder(rng, seen), encoder(rng, seen_large, 2, 1), encoder(rng, ops.make("cast", u8)), added)
    inputs = zip((x, large, u8, x), bits_of, strict=True)
    files = [encode(op_graphs.plan([image], [handmade.conv(rng, bits, 3)])) for image, bits in inputs]
    for data in files[1:]:
        with pytest.raises(bnn.BnnError, match=r"not of this network: population \d"):
            Engine(again(bnn.Model.from_bytes(data)), opened_populations(files[0]))
        Engine(again(bnn.Model.from_bytes(data)), opened_populations(data))


def is_refused(opened: Opened, made: Network, frame: list[Floats]) -> bool:
    """Whether an engine says that these are not its model's populations; otherwise it does all that it can."""
    try:
        network = OpenedNetwork(Contents.of_bytes(snn_file.encode(made), SNN), select_kernels(None))
        engine = Engine(opened, network)
        engine.frame(frame)
        engine.run()
        engine.output()
        engine.calibrate()
        engine.expect(0.5, 4.0)
    except bnn.BnnError as error:
        return "the event populations are not of this network" in str(error)
    return False


def test_every_origin_is_tried(rng: np.random.Generator) -> None:
    """Populations that say they stand for another op, with as many neurons: refused, or the engine stays within its
    memory; and other levels, missing weights, a population that is no event population."""
    x, y = ops.input_node("image", (4, 4, 8)), ops.input_node("bytes", (4, 4, 8), DType.u8)
    encoded, again_encoded = (encoder(rng, ops.make("copy", x)) for _ in range(2))
    pooled = ops.make("max_pool", encoded, attrs=ops.PoolAttrs((2, 2), (1, 1), (1, 0, 0, 0)))
    hidden = handmade.conv(rng, ops.make("copy", pooled), 8, out=DType.b1)
    sums = ops.make("bconv2d", hidden, op_graphs.signs(rng, (8, 1, 1, 8)), attrs=ConvAttrs())
    counted = ops.make("binarize_levels", sums, ops.constant([-4.0, 0.0, 4.0]))
    last = ops.make("bconv2d", counted, op_graphs.signs(rng, (8, 1, 1, 8)), attrs=ConvAttrs(planes=2))
    flat = ops.make("reshape", sums, attrs=ops.ReshapeAttrs((1, 1, 96)))
    flat = ops.make("binarize_levels", flat, ops.constant([-4.0, 0.0, 4.0]))
    flat = ops.make("bconv2d", flat, op_graphs.signs(rng, (8, 1, 1, 96)), attrs=ConvAttrs(planes=2))
    bits = (ops.make("binarize", x), handmade.conv(rng, encoded, 8, out=DType.b1), again_encoded)
    beside = [handmade.conv(rng, b, 5) for b in bits]
    read = ops.make("unpack", ops.make("binarize", ops.make("cast", y)))
    for inputs, outputs in (([x], [ops.make("tanh", last), flat, *beside]), ([x, y], [last, *beside, read])):
        data = encode(op_graphs.plan(inputs, outputs))
        opened, made = again(bnn.Model.from_bytes(data)), snn_file.decode(populations(data))
        frame, refused = [np.ones((4, 4, 8), np.float32) for _ in inputs], 0

        records: list[Any] = [*made.populations, *made.projections]
        for record in records:
            kept = record.origin
            for origin in range(len(opened.ops) + 2):
                record.origin = origin
                refused += is_refused(opened, made, frame)
            record.origin = kept
        assert refused > 100
        projections = made.projections
        for k in range(len(projections)):
            made.projections = projections[:k] + projections[k + 1 :]
            is_refused(opened, made, frame)
        made.projections = projections
        for p in made.populations:
            if p.dynamics is None and p.emits == Emits.CHANGES:
                p.steps = 2
                is_refused(opened, made, frame)
                p.steps = 1
        made.populations.append(Population("spikes", (1,)))
        assert is_refused(opened, made, frame)
