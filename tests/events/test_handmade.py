# SPDX-License-Identifier: Apache-2.0
"""Any legal file: the event engine gives what ``model(x)`` gives, or refuses and names the op."""

from __future__ import annotations

import numpy as np
import pytest

import bnn
import op_graphs
from bnn._native import lib
from bnn._types import Array
from bnn.events import EventEngine
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import DType, Graph

from . import handmade


def images(rng: np.random.Generator, graph: Graph, count: int) -> list[list[Array]]:
    return [[op_graphs.values_of(rng, 1, x) for x in graph.inputs] for _ in range(count)]


def runs(rng: np.random.Generator, graph: Graph) -> bool:
    """Whether the engine runs a graph; then all outputs are right on several frames, and else the error names an op."""
    model = bnn.Model.from_bytes(encode(graph))
    try:
        engine = EventEngine(model)
    except bnn.UnsupportedOpError as error:
        assert "op " in str(error) or "layer '" in str(error)
        return False
    for inputs in images(rng, graph, 3):
        engine.step(inputs)
        check_outputs(engine, model, inputs)
    return True


def check_outputs(engine: EventEngine, model: bnn.Model, inputs: list[Array]) -> None:
    found = model(inputs)
    for k, want in enumerate(found if isinstance(found, list) else [found]):
        assert np.array_equal(engine.output(k), want[0], equal_nan=True)


def test_random_files(rng: np.random.Generator) -> None:
    """Chains of any ops, with halos of any size."""
    ran = [runs(rng, op_graphs.network(rng, int(rng.integers(2, 9)))) for _ in range(60)]
    assert 24 < sum(ran) < 60


@pytest.mark.parametrize("name", op_graphs.BIT_OPS)
def test_every_op_on_bits(rng: np.random.Generator, name: str) -> None:
    assert all(runs(rng, op_graphs.one_op(rng, name, op_graphs.BIT_OPS)) for _ in range(15))


def test_files_that_no_compiler_writes(rng: np.random.Generator) -> None:
    """After steps, also where counters look at sums that are an output; calibration of an engine on frames whose
    encoder was promised nothing changes nothing, and a reset is at rest on its inputs.  A window of 2**31 x 2**31
    positions takes no longer than the 20 of them that lie inside."""
    x = ops.input_node("x", (3, 3, 8))
    sums = ops.make("bconv2d", ops.make("binarize", x), op_graphs.signs(rng, (6, 2, 2, 8)))
    counted = ops.make("binarize_levels", sums, ops.constant([-6.0, 0.0, 6.0]))
    last = ops.make("bconv2d", counted, op_graphs.signs(rng, (4, 1, 1, 6)), attrs=ops.ConvAttrs(planes=2))
    for name, graph in {**handmade.accepted(rng), "outputs": op_graphs.plan([x], [sums, last])}.items():
        print(name)
        model = bnn.Model.from_bytes(encode(graph))
        engine = EventEngine(model)
        for inputs in images(rng, graph, 3):
            engine.step(inputs)
            check_outputs(engine, model, inputs)
            engine.handle.calibrate()
            check_outputs(engine, model, inputs)
            engine.reset(inputs)
            check_outputs(engine, model, inputs)


REFUSED = {
    "a constant convolved to b1": r"op 1 \(conv\): spikes of a constant",
    "a constant convolved to f32": r"op 2 \(conv\): spikes of a constant",
    "bits of what may be no number": r"op 1 \(infinite\): operands that make of spikes what is no number",
    "bits of what overflows": r"op 1 \(large\): operands that make of spikes what is no number",
    "real values between": r"layer 'joined'.*a shortcut of real numbers is added",
    "a residual of bits": r"layer 'epilogue'.*a shortcut of real numbers is added",
    "the batch": r"computes with all images of a batch",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(rng: np.random.Generator, name: str) -> None:
    model = bnn.Model.from_bytes(encode(handmade.refused(rng)[name]))
    model(np.zeros((2, 4, 4, 8), np.float32))
    with pytest.raises(bnn.UnsupportedOpError, match=REFUSED[name]):
        EventEngine(model)


def test_pixels_behind_a_reshape(rng: np.random.Generator) -> None:
    """They are those of the input, one for one, and so the encoder follows each of them."""
    graph = handmade.accepted(rng)["an encoder behind a reshape"]
    model, (inputs,) = bnn.Model.from_bytes(encode(graph)), images(rng, graph, 1)
    engine = EventEngine(model)
    run = engine.run_image(inputs[0][0], order="random", seed=int(rng.integers(2**32)))
    assert run.report.encoder == "incremental"
    assert np.array_equal(engine.output(), model(inputs)[0])


def stem(weights: Array) -> bnn.Model:
    """An encoder of one filter right on the input, and a readout."""
    x = ops.input_node("image", (weights.size,))
    first = ops.make("conv2d", x, ops.constant(weights.reshape(1, 1, 1, -1)), attrs=ops.ConvAttrs(out=DType.b1))
    last = ops.make("bconv2d", first, op_graphs.signs(np.random.default_rng(0), (1, 1, 1, 1)), attrs=ops.ConvAttrs())
    return bnn.Model.from_bytes(encode(op_graphs.plan([x], [last])))


@pytest.mark.parametrize(
    ("weights", "step", "bound", "exact"),
    [
        ([1.0, 1.0, 1.0], 1.0, 2796202.0, True),  # 2 x 3 x 2,796,202 = 2^24 - 4
        ([1.0, 1.0, 1.0], 1.0, 2796203.0, False),  # 2^24 + 2
        ([1.0, 1.0], 1.0, 4194304.0, True),  # 2^24
        ([1.0, 1.0], 0.5, 2097152.5, False),
        ([0.25, 1.0], 1.0, 1677721.0, True),  # 5 x 2 x 1,677,721 quarters: 2^24 - 6
        ([0.25, 1.0], 1.0, 1677722.0, False),
        ([8.0, 4.0], 1.0, 2796202.0, True),  # steps of 4: 3 x 2 x 2,796,202
        ([8.0, 4.0], 1.0, 2796203.0, False),
        ([0.0, 0.0], 1.0, 8388608.0, True),
        ([1e-45, 0.0], 1.0, 1.0, False),  # no float has so small a step
    ],
)
def test_sums_at_the_limit(weights: list[float], step: float, bound: float, exact: bool) -> None:
    """Updated pixel by pixel up to 2^24 steps, and never above."""
    model = stem(np.array(weights, np.float32))
    engine = EventEngine(model)
    assert (engine.handle.expect(step, bound) == "") is exact
    data = np.full((1, len(weights)), bound, np.float32)
    data[0, 0] = -bound
    assert engine.prepare(np.append(data, np.float32(step))) == ("incremental" if exact else "synchronous")
    assert np.array_equal(engine.step(data), model(data)[0])


def test_as_many_pixels_as_the_limit_are_updated() -> None:
    """One more, and the encoder runs; after that half as many."""
    model = stem(np.ones(8, np.float32))
    engine = EventEngine(model)
    frame = np.zeros((1, 8), np.float32)
    engine.reset(frame)
    assert engine.prepare(np.ones((1, 8), np.float32)) == "incremental"
    engine.handle.set_limit(0, 4)
    for changed, runs in ((4, 0), (5, 1), (3, 2), (2, 2), (4, 2), (5, 3)):
        frame[0, :changed] = 1 - frame[0, :changed]
        assert np.array_equal(engine.step(frame), model(frame)[0])
        assert engine.layers[0].synchronous == runs, changed


def test_every_encoder_right_on_the_input_counts() -> None:
    """Of those that read one convolution's sums, only the first does: the sums are computed once."""
    rng = np.random.default_rng(0)
    x = ops.input_node("image", (5,))
    never = ops.constant(np.full(5, -1), DType.b1)
    bits = [ops.make("binarize", x, ops.constant(np.full(5, t)), never) for t in (0.0, 1.0)]
    lasts = [ops.make("bconv2d", b, op_graphs.signs(rng, (2, 1, 1, 5)), attrs=ops.ConvAttrs()) for b in bits]
    engine = EventEngine(bnn.Model.from_bytes(encode(op_graphs.plan([x], lasts))))
    assert [layer.dense for layer in engine.handle.layers() if layer.kind == lib.BNN_LAYER_ENCODER] == [5, 5]


def test_an_encoder_that_may_give_no_number_is_synchronous() -> None:
    """Infinity times zero: only the synchronous encoder sees it."""
    x = ops.input_node("image", (2,))
    scale = ops.constant(np.array([np.inf], np.float32))
    attrs = ops.ConvAttrs(slots=("mul",), out=DType.b1)
    first = ops.make("conv2d", x, ops.constant(np.ones((1, 1, 1, 2), np.float32)), scale, attrs=attrs)
    last = ops.make("bconv2d", first, op_graphs.signs(np.random.default_rng(0), (1, 1, 1, 1)), attrs=ops.ConvAttrs())
    model = bnn.Model.from_bytes(encode(op_graphs.plan([x], [last])))
    engine = EventEngine(model)
    for frame in np.array([[1, 2], [1, -1], [2, 2]], np.float32):
        engine.reset(frame[None])
        assert engine.prepare(frame) == "synchronous"
        assert np.array_equal(engine.step(frame[None]), model(frame[None])[0], equal_nan=True)
