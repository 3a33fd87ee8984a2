"""Networks whose input is bytes: what they take, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bnn
from bnn import events, interpret, ops
from bnn.emit import nir, nir_proof
from bnn.emit.model import encode
from bnn.importers.bnn_file import decode
from bnn.ir import DType, Graph
from bnn.passes import lower
from bnn.runtime import Model

Array = np.ndarray[Any, Any]


def graph(builder: Any) -> Graph:
    """(6, 7, 3) bytes -> (4): x / 128 - 1, a convolution by signs, a binary layer."""
    build = builder(3)
    image = ops.input_node("image", (6, 7, 3), DType.u8)
    x = ops.make("mul", ops.make("cast", image, name="image"), ops.constant(1 / 128), name="scale")
    x = ops.make("add", x, ops.constant(-1), name="scale")
    x = build.norm(build.conv(x, 32, "conv_a"), "norm_a")
    x = build.dense(build.sign(x, "sign_b"), 4, "dense")
    return Graph((image,), (x,), ("scores",))


@pytest.fixture(scope="module")
def source(builder: Any) -> Graph:
    return graph(builder)


@pytest.fixture(scope="module")
def model(source: Graph) -> Model:
    return Model.from_bytes(encode(lower(source)))


def images(rng: np.random.Generator, count: int) -> Array:
    return rng.integers(0, 256, (count, 6, 7, 3), np.uint8)


def test_bytes_go_in_and_floats_come_out(source: Graph, model: Model, rng: np.random.Generator) -> None:
    x = images(rng, 11)
    want = interpret.outputs(source, [x])[0]
    assert model.input_dtypes == [np.dtype(np.uint8)]
    for family in bnn.runtime.available_kernels():
        loaded = Model.from_bytes(model.to_bytes(), kernels=family)
        for batch in (x, x[:1], x[::-1], np.asfortranarray(x)):
            expected = interpret.outputs(source, [batch])[0]
            assert np.array_equal(loaded(batch), expected), family
        assert np.array_equal(loaded.predict(x, threads=2, batch_size=3), want)


def test_the_file_reads_back(model: Model) -> None:
    decoded = decode(model.to_bytes())
    assert decoded.inputs[0].type.dtype is DType.u8
    assert encode(decoded) == model.to_bytes()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int64", "bool"])
def test_other_types_are_refused(model: Model, dtype: str) -> None:
    with pytest.raises(bnn.InputTypeError, match=rf"'image': found dtype {dtype}, expected uint8"):
        model(np.zeros((2, 6, 7, 3), dtype))


def test_wrong_shape(model: Model) -> None:
    with pytest.raises(bnn.InputError, match=r"found shape \(6, 7, 3\), expected \(N, 6, 7, 3\)"):
        model(np.zeros((6, 7, 3), np.uint8))


def test_steps_take_whole_numbers(model: Model, rng: np.random.Generator) -> None:
    stepper = model.stepper(2)
    x = images(rng, 2)
    stepper.poke(0, x)
    assert np.array_equal(stepper.peek(0, 2), x)
    for wrong in (-1.0, 256.0, 0.5, np.nan, np.inf):
        with pytest.raises(bnn.InputError, match="whole numbers from 0 to 255"):
            stepper.poke(0, np.full((1, 6, 7, 3), wrong, np.float32))
    assert np.array_equal(stepper.peek(0, 2), x)


def test_an_event_engine_takes_frames_of_bytes(model: Model, rng: np.random.Generator) -> None:
    engine = events.EventEngine(model)
    x = images(rng, 4)
    run = engine.run_stream(x)
    assert run.wrong == 0
    assert np.array_equal(engine.run_image(x[2]).outputs[-1], model(x[2:3])[0])


def test_the_report_says_what_the_first_layer_is(model: Model) -> None:
    first = next(op for op in model.ops if op.byte_macs)
    assert (first.op, first.kind, first.note) == ("iconv2d", "integer", "integer input, binary weights")
    assert first.byte_macs == 6 * 7 * 32 * 27 and not first.binary_macs and not first.float_macs
    text = model.summary()
    assert "byte MACs" in text and f"{first.byte_macs:,}" in text and "integer input, binary weights" in text
    assert model.profile(np.zeros((1, 6, 7, 3), np.uint8), repeats=2)[1].byte_macs == first.byte_macs


def test_as_spikes(source: Graph) -> None:
    """Bytes and their layer stay outside, as floats do: the first bits are the spikes' input."""
    lowered = lower(source)
    chain = nir.arrange(lowered, "if")
    inputs = nir_proof.proof_inputs(lowered, None)
    assert inputs[0].dtype == np.uint8
    proof = nir_proof.prove(chain, inputs)
    assert proof["input/image"].dtype == np.uint8 and "spikes/input" in proof
    with pytest.raises(bnn.InputError, match="found float32, expected uint8"):
        nir_proof.proof_inputs(lowered, np.zeros((1, 6, 7, 3), np.float32))
