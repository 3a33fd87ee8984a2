# SPDX-License-Identifier: Apache-2.0
"""Networks whose input is bytes: what they take, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bnn
import op_graphs
from bnn import events
from bnn._types import Array
from bnn.emit.nir import proof as nir_proof
from bnn.emit.nir import write as nir
from bnn.file.read import decode
from bnn.file.write import encode
from bnn.ir import interpret, ops
from bnn.ir.graph import DType, Graph
from bnn.passes import lower
from bnn.runtime import Model


def graph(builder: Any, dtype: DType) -> Graph:
    """(6, 7, 3) bytes -> (4): from -1 to 1, a convolution by signs, a binary layer."""
    build = builder(3)
    image = ops.input_node("image", (6, 7, 3), dtype)
    if dtype is DType.i8:
        values = ops.constant(np.arange(-128, 128))
        x = ops.make("cast", ops.make("excess_128", image, name="image"), values, name="image")
        x = ops.make("mul", x, ops.constant(1 / 128), name="scale")
    else:
        x = ops.make("mul", ops.make("cast", image, name="image"), ops.constant(1 / 128), name="scale")
        x = ops.make("add", x, ops.constant(-1), name="scale")
    x = build.norm(build.conv(x, 32, "conv_a"), "norm_a")
    x = build.dense(build.sign(x, "sign_b"), 4, "dense")
    return Graph((image,), (x,), ("scores",))


@pytest.fixture(scope="module", params=[DType.u8, DType.i8], ids=["uint8", "int8"])
def source(builder: Any, request: pytest.FixtureRequest) -> Graph:
    return graph(builder, request.param)


@pytest.fixture(scope="module")
def model(source: Graph) -> Model:
    return Model.from_bytes(encode(lower(source)))


def images(model: Model, rng: np.random.Generator, count: int) -> Array:
    return rng.integers(0, 256, (count, 6, 7, 3), np.uint8).view(model.input_dtypes[0])


def test_bytes_go_in_and_floats_come_out(source: Graph, model: Model, rng: np.random.Generator) -> None:
    x = images(model, rng, 11)
    want = interpret.outputs(source, [x])[0]
    dtype = source.inputs[0].type.dtype
    assert model.input_dtypes == [np.dtype(dtype.numpy)]
    assert sum(op.op == "copy" for op in model.ops) == (dtype is DType.u8)  # excess_128 writes the rim itself
    for family in bnn.runtime.available_kernels():
        loaded = Model.from_bytes(model.to_bytes(), kernels=family)
        for batch in (x, x[:1], x[::-1], np.asfortranarray(x)):
            expected = interpret.outputs(source, [batch])[0]
            assert np.array_equal(loaded(batch), expected), family
        assert np.array_equal(loaded.predict(x, threads=2, batch_size=3), want)


def test_the_file_reads_back(source: Graph, model: Model) -> None:
    decoded = decode(model.to_bytes())
    assert decoded.inputs[0].type.dtype is source.inputs[0].type.dtype
    assert encode(decoded) == model.to_bytes()


def test_thresholds_at_the_end_of_what_sums_reach() -> None:
    """And past it: such a bit never turns."""
    x = ops.input_node("image", (1, 1, 3), DType.u8)
    reach = 3 * 255
    limits = [-(2**30), -reach - 1, -reach, -reach + 1, 0, reach, reach + 1, 2**30]
    signs = np.repeat([1, -1], len(limits)).reshape(-1, 1, 1, 1) * np.ones((1, 1, 1, 3), np.int8)
    operands = (ops.constant(signs, DType.b1), ops.constant(np.zeros(3)), ops.constant(limits * 2, DType.i32))
    attrs = ops.ConvAttrs(slots=("zeros", "threshold"), out=DType.b1)
    bits = ops.make("iconv2d", x, *operands, attrs=attrs, name="counted")
    data = encode(op_graphs.plan([x], [ops.make("unpack", bits)]))
    images = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1).repeat(3, axis=3)
    sums = images.astype(int).sum(axis=3)[..., None] * signs[:, 0, 0, 0]
    for family in bnn.runtime.available_kernels():
        found = Model.from_bytes(data, kernels=family)(images)
        assert np.array_equal(found, np.where(sums >= np.array(limits * 2), 1.0, -1.0)), family


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int64", "bool", "other bytes"])
def test_other_types_are_refused(model: Model, dtype: str) -> None:
    own = model.input_dtypes[0]
    if dtype == "other bytes":
        dtype = "int8" if own == np.uint8 else "uint8"
    with pytest.raises(bnn.InputTypeError, match=rf"'image': found dtype {dtype}, expected {own}; pass "):
        model(np.zeros((2, 6, 7, 3), dtype))


def test_wrong_shape(model: Model) -> None:
    with pytest.raises(bnn.InputError, match=r"found shape \(6, 7, 3\), expected \(N, 6, 7, 3\)"):
        model(np.zeros((6, 7, 3), model.input_dtypes[0]))


def test_steps_take_whole_numbers(model: Model, rng: np.random.Generator) -> None:
    stepper = model.stepper(2)
    x = images(model, rng, 2)
    stepper.poke(0, x)
    assert np.array_equal(stepper.peek(0, 2), x)
    least, most = np.iinfo(x.dtype).min, np.iinfo(x.dtype).max
    for wrong in (least - 1, most + 1, 0.5, np.nan, np.inf):
        with pytest.raises(bnn.InputError, match=f"whole numbers from {least} to {most}"):
            stepper.poke(0, np.full((1, 6, 7, 3), wrong, np.float32))
    assert np.array_equal(stepper.peek(0, 2), x)


def test_an_event_engine_takes_frames_of_bytes(model: Model, rng: np.random.Generator) -> None:
    engine = events.EventEngine(model)
    x = images(model, rng, 4)
    run = engine.run_stream(x)
    assert run.wrong == 0
    assert np.array_equal(engine.run_image(x[2]).outputs[-1], model(x[2:3])[0])


def test_the_report_says_what_the_first_layer_is(model: Model) -> None:
    first = next(op for op in model.ops if op.byte_macs)
    assert (first.op, first.kind, first.note) == ("iconv2d", "integer", "integer input, binary weights")
    assert first.byte_macs == 6 * 7 * 32 * 27 and not first.binary_macs and not first.float_macs
    text = model.summary()
    assert "byte MACs" in text and f"{first.byte_macs:,}" in text and "integer input, binary weights" in text
    assert model.profile(np.zeros((1, 6, 7, 3), model.input_dtypes[0]), repeats=2)[1].byte_macs == first.byte_macs


def test_as_spikes(source: Graph) -> None:
    """Bytes and their layer stay outside, as floats do: the first bits are the spikes' input."""
    lowered = lower(source)
    chain = nir.layers_for(lowered, "if")
    inputs = nir_proof.random_inputs(lowered)
    dtype = source.inputs[0].type.dtype.numpy
    assert inputs[0].dtype == dtype
    proof = nir_proof.prove(chain, inputs)
    assert proof["input/image"].dtype == dtype and "spikes/input" in proof
    with pytest.raises(bnn.InputError, match=f"found dtype float32, expected {np.dtype(dtype)}"):
        bnn.emit_nir(Model.from_bytes(encode(lowered)), "net.nir", proof_inputs=np.zeros((1, 6, 7, 3), np.float32))
