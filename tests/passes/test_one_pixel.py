# SPDX-License-Identifier: Apache-2.0
"""Dense layers over images of few channels: small files, and the same sums, spikes and events."""

from __future__ import annotations

import numpy as np
import pytest

from bnn._types import Array
from bnn.emit.nir.proof import prove
from bnn.emit.nir.write import layers_for
from bnn.events import EventEngine
from bnn.file.read import decode
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.ops import ClampAttrs, ReshapeAttrs, constant, input_node, make
from bnn.passes import lower
from bnn.runtime import Model, available_kernels

from .build import conv, dense, graph, quantizer


def behind_bits(shape: tuple[int, ...]) -> Node:
    return quantizer(input_node("x", shape))


def behind_two_bits(shape: tuple[int, ...]) -> Node:
    return make("round", make("clamp", input_node("x", shape), attrs=ClampAttrs(0.0, 3.0)))


def behind_a_layer(shape: tuple[int, ...]) -> Node:
    return quantizer(conv(quantizer(input_node("x", shape)), shape[-1], 1))


def behind_bytes(shape: tuple[int, ...]) -> Node:
    return make("cast", input_node("x", shape, DType.u8))


STARTS = {"bits": behind_bits, "two bits": behind_two_bits, "a layer": behind_a_layer, "bytes": behind_bytes}


def first_layer(result: Graph) -> Node:
    """The convolution with most weights."""
    layers = [n for n in result.nodes() if n.op in ("bconv2d", "iconv2d")]
    return max(layers, key=lambda n: n.inputs[1].value.size)


def images(result: Graph, rng: np.random.Generator) -> Array:
    shape = (5, *result.inputs[0].type.shape)
    if result.inputs[0].type.dtype is DType.u8:
        return rng.integers(0, 256, shape, np.uint8)
    return rng.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("shape", [(28, 28, 1), (7, 7, 24), (5, 3, 33), (4, 4, 2), (3, 5, 7)])
def test_they_are_equal(start: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    source = graph(dense(STARTS[start](shape), 200))
    result = lower(source)
    assert first_layer(result).inputs[1].type.shape == (200, 1, 1, np.prod(shape))
    data = images(result, rng)
    expected = interpret.outputs(source, [data])[0]
    for family in available_kernels():
        assert np.array_equal(Model.from_bytes(encode(result), kernels=family)(data), expected), family


def test_ternary_weights_of_bytes(rng: np.random.Generator) -> None:
    """Their planes stand side by side in the one pixel, too."""
    x = make("reshape", behind_bytes((6, 5, 3)), attrs=ReshapeAttrs((90,)))
    source = graph(make("conv2d", x, constant(rng.integers(-1, 2, (70, 1, 1, 90)).astype(np.float32)), name="dense"))
    result = lower(source)
    assert first_layer(result).inputs[1].type.shape == (70, 1, 1, 180)
    data = images(result, rng)
    expected = interpret.outputs(source, [data])[0]
    assert np.array_equal(Model.from_bytes(encode(result))(data), expected)


def test_a_perceptron_of_bits_is_small() -> None:
    """It took 3.3 MB: a word for every pixel."""
    y = dense(quantizer(dense(quantizer(dense(behind_bits((28, 28, 1)), 1024)), 1024)), 10)
    assert len(encode(lower(graph(y)))) < 260_000


@pytest.mark.parametrize("start", ["bits", "a layer", "bytes"])
@pytest.mark.parametrize(
    ("shape", "units"), [((7, 7, 32), 200), ((7, 7, 64), 200), ((1, 1, 5), 200), ((2, 2, 24), 10), ((2, 3, 8), 12)]
)
def test_what_would_save_nothing_stays(start: str, shape: tuple[int, ...], units: int) -> None:
    """No word, or none that pays for the op that moves the bits."""
    layer = first_layer(lower(graph(dense(STARTS[start](shape), units))))
    assert layer.inputs[1].type.shape == (units, *shape)


def test_few_filters_are_read_faster_than_bits_are_moved() -> None:
    """Where floats can be moved instead, before they become bits, there is nothing to lose."""
    for start, kernel in (("a layer", (7, 7, 24)), ("bits", (1, 1, 7 * 7 * 24))):
        result = lower(graph(dense(STARTS[start]((7, 7, 24)), 100)))
        layer = next(n for n in result.nodes() if n.op == "bconv2d" and n.inputs[1].type.shape[0] == 100)
        assert layer.inputs[1].type.shape[1:] == kernel, start


@pytest.mark.parametrize("shared", [False, True])
def test_floats_are_moved_rather_than_bits(shared: bool) -> None:
    """Unless another layer reads the bits in their places."""
    x = behind_bits((6, 6, 3))
    outputs = [dense(x, 100), *([conv(x, 4, 3)] if shared else [])]
    result = lower(graph(*outputs))
    moved = {n.type.dtype for n in result.nodes() if n.op == "reshape" and n.type.shape == (1, 1, 108)}
    assert moved == {DType.b1 if shared else DType.f32}


@pytest.mark.parametrize("shape", [(28, 28, 1), (7, 7, 24)])
@pytest.mark.parametrize("start", ["bits", "a layer", "two bits"])
def test_as_events_and_as_spikes(start: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    source = graph(dense(quantizer(dense(STARTS[start](shape), 200)), 10))
    model = Model.from_bytes(encode(lower(source)))
    data = images(decode(model.to_bytes()), rng)
    expected = model(data)
    engine = EventEngine(model)
    for k, image in enumerate(data):
        assert np.array_equal(engine.step(image[None]), expected[k])
    for profile in ("lif", "flat"):
        proof = prove(layers_for(decode(model.to_bytes()), profile), [data])
        (outputs,) = (value for key, value in proof.items() if key.startswith("output/"))
        assert np.array_equal(outputs, expected), profile
