# SPDX-License-Identifier: Apache-2.0
"""What `verify` reads off the Keras model's graph, of graphs made by hand; and which layers read a network's input."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import bnn
from bnn import compiler
from bnn.importers.tensorflow.frozen import Frozen
from bnn.importers.tensorflow.load import TensorFlowModel
from bnn.ir import ops
from bnn.ir.graph import DType, Graph, Node
from bnn.passes import lower
from bnn.verification import reference
from bnn.verification.reference import accumulators, by_functions, exact_layers, likely_cause, pre_activations

KERAS = TensorFlowModel(Frozen([], [], [], [], [], lambda *_: [], lambda *_: np.zeros(0)))


def graph(*outputs: Node) -> Graph:
    inputs = [n for n in Graph((), outputs).nodes() if n.op == "input"]
    return Graph(tuple(inputs), outputs, tuple(f"y{i}" for i in range(len(outputs))))


def x(*shape: int) -> Node:
    return ops.input_node("x", shape)


def test_what_a_quantizer_compares() -> None:
    """Keras' own tensors, or what is computed from them; less the threshold."""
    a = ops.make("mul", x(3), ops.constant([2.0]), origin="a:0")
    inner = ops.make("add", a, ops.constant([1.0, 2.0, 3.0]))
    found = pre_activations(graph(
        ops.make("binarize", a, origin="b:0"), ops.make("binarize", inner, ops.constant([0.5, 1.0, 1.5]),
        ops.constant([1, -1, 1], DType.b1), origin="c:0"),
        ops.make("binarize", a), ops.make("binarize", ops.make("mul", x(3), ops.constant([2.0])), origin="d:0"),
    ))  # fmt: skip
    assert set(found) == {"b:0", "c:0"} and found["c:0"].origins == {"a:0"}
    keras = {"a:0": np.float32([[1, 2, 3], [0.5, 0, -1]])}
    assert np.array_equal(found["b:0"].margins(keras, (2, 3)), keras["a:0"])
    assert np.array_equal(found["c:0"].margins(keras, (2, 3)), keras["a:0"] + np.float64([0.5, 1, 1.5]))


def signs(*shape: int) -> Node:
    return ops.make("binarize", x(*shape))


def step(op: str, data: Node, name: str, origin: str = "") -> Node:
    return ops.make(op, data, ops.constant([2.0]), name=name, origin=origin)


def test_where_accumulators_are() -> None:
    weights = ops.constant(np.ones((2, 1, 1, 2)), DType.b1)

    def binary(name: str, origin: str) -> Node:
        return ops.make("bconv2d", signs(1, 1, 2), weights, attrs=ops.ConvAttrs(), name=name, origin=origin)

    def of_bytes(name: str, origin: str) -> Node:
        """With what stands for zero in each channel."""
        data, attrs = ops.input_node("bytes", (1, 1, 2), DType.u8), ops.ConvAttrs(slots=("zeros",))
        zeros = ops.constant([0.0, 0.0])
        return ops.make("iconv2d", data, weights, zeros, attrs=attrs, name=name, origin=origin)

    plain = binary("plain", "plain:0")
    unnamed = binary("unnamed", "")
    scaled = step("add", step("mul", of_bytes("scaled", ""), "scaled"), "scaled", "scaled:0")
    named = step("add", step("mul", of_bytes("named", "named:0"), "named", "m:0"), "named", "more:0")
    others = step("mul", of_bytes("other", ""), "its norm", "norm:0")
    bits = step("mul", binary("bits", ""), "bits", "bits:0")
    twice = [binary("twice", "twice:0"), binary("twice", "twice:1")]
    larger = step("maximum", of_bytes("larger", ""), "larger", "larger:0")
    found = accumulators(graph(plain, unnamed, scaled, named, others, *twice, larger, bits))
    assert found.origins == {"plain": "plain:0", "scaled": "scaled:0", "named": "named:0", "other": "norm:0"}
    assert {layer: [n.op for n in steps] for layer, steps in found.steps.items() if steps} == {
        "scaled": ["mul", "add"],
        "other": ["mul"],
    }
    assert found.offset == {"scaled", "named"}


def test_what_functions_make() -> None:
    data = ops.make("exp", x(2, 2), origin="exp:0")
    moved = ops.make("reshape", step("mul", data, "", "mul:0"), attrs=ops.ReshapeAttrs((4,)), origin="moved:0")
    total = ops.make("softmax", x(4), origin="softmax:0")
    dense = ops.make("conv2d", moved, ops.constant(np.ones((3, 1, 1, 4))), attrs=ops.ConvAttrs(), origin="dense:0")
    plain = step("mul", x(4), "", "plain:0")
    both = ops.make("add", plain, moved, origin="both:0")
    found = by_functions(graph(dense, total, both, ops.make("exp", x(3)), plain))
    assert found >= {"exp:0", "mul:0", "moved:0", "both:0"} and not found & {"dense:0", "plain:0", ""}


def conv(data: Node, weights: Any, name: str = "layer") -> Node:
    filters = ops.constant(np.reshape(weights, (1, 1, 1, -1)))
    return ops.make("conv2d", data, filters, attrs=ops.ConvAttrs(), name=name)


LARGE = 2.0**24
SIGNS = ops.make("sign", x(1, 1, 2))
EXACT: dict[str, tuple[list[Node], bool]] = {
    "the largest": ([conv(SIGNS, [LARGE - 2, 1.0])], True),
    "one more": ([conv(SIGNS, [LARGE - 1, 1.0])], False),
    "of another unit": ([conv(SIGNS, [(LARGE - 2) / 8, 0.125])], True),
    "floats": ([conv(x(1, 1, 2), [1.0, 1.0])], False),
    "two calls, the first not": ([conv(SIGNS, [LARGE, 1.0]), conv(SIGNS, [2.0, 1.0])], False),
    "two calls, the second not": ([conv(SIGNS, [2.0, 1.0]), conv(SIGNS, [LARGE, 1.0])], False),
    "moved": ([conv(ops.make("reshape", SIGNS, attrs=ops.ReshapeAttrs((2,))), [3.0, 1.0])], True),
    "padded with zeros": ([conv(ops.make("pad", SIGNS, attrs=ops.PadAttrs((1, 0, 0, 0))), [3.0, 1.0])], True),
    "padded with others": ([conv(ops.make("pad", SIGNS, attrs=ops.PadAttrs((1, 0, 0, 0), 0.5)), [3.0, 1.0])], False),
    "scaled": ([conv(ops.make("mul", SIGNS, ops.constant([0.5])), [3.0, 1.0])], True),
    "scaled by channels": ([conv(ops.make("mul", SIGNS, ops.constant([0.5, 0.25])), [3.0, 1.0])], False),
    "scaled beyond": ([conv(ops.make("mul", SIGNS, ops.constant([np.inf])), [3.0, 1.0])], False),
    "of two": ([conv(ops.make("add", SIGNS, ops.make("sign", x(1, 1, 2))), [3.0, 1.0])], False),
}


@pytest.mark.filterwarnings(
    "ignore:invalid value encountered in (multiply|add)", "error:invalid value encountered in cast"
)
@pytest.mark.parametrize("name", EXACT)
def test_exact_layers(name: str) -> None:
    outputs, exact = EXACT[name]
    assert exact_layers(lower(graph(*outputs), until="recognize_quantizers")) == ({"layer"} if exact else set())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [[1.0, np.inf], [np.nan, 1.0], [-np.inf, np.inf], [1.0, -1.0]])
def test_levels_that_are_no_numbers_are_not_exact(values: list[float]) -> None:
    levels = ops.make("dequantize", ops.input_node("bits", (2,), DType.b1), ops.constant(values))
    assert exact_layers(graph(conv(levels, [2.0, 0.0]))) == ({"layer"} if np.isfinite(values).all() else set())


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_other_weights_are_the_likeliest_cause(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")

    def network(changed: int) -> Graph:
        data = x(1, 1, 2)
        for i in range(5):
            data = conv(data, [1.0, 2.0 + (i < changed)], f"layer {i}")
            data = ops.make("concat", data, data)
        return graph(data)

    cause = likely_cause(KERAS, network(0), lower(network(count)).schedule)
    names = [f"'layer {i}'" for i in range(5) if f"'layer {i}'" in cause]
    assert len(names) == min(count, 3) and ("and 1 more layers" in cause) == ("more layers" in cause) == (count == 4)
    assert ("other weights" in cause) == (count > 0) and ("a bug of bnn" in cause) == (count == 0)


@pytest.mark.parametrize(("value", "onednn"), [(None, True), ("1", True), ("0", False)])
def test_onednn_is_the_next_likely_cause(value: str | None, onednn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", value)
    model = graph(conv(x(1, 1, 2), [1.0, 2.0]))
    cause = likely_cause(KERAS, model, lower(model).schedule)
    assert ("may run with oneDNN" in cause) == onednn and ("a bug of bnn" in cause) != onednn


def test_constants_of_layers() -> None:
    """By their bytes and shapes: the same numbers in another shape are others."""
    one, two = (ops.make("mul", x(2, 2), ops.constant(np.ones(shape)), name="a") for shape in ((2,), (2, 1)))
    found = [reference._constants([n, x(3), n]) for n in (one, two)]
    assert [len(f["a"]) for f in found] == [2, 2] and found[0] != found[1]


class Layer:
    """A node, as far as its operands matter."""

    def __init__(self, op: str, *inputs: Any, name: str = "layer", channels: int = 1) -> None:
        self.op, self.inputs, self.name = op, inputs, name
        self.data = tuple(i for i in inputs if i.op != "constant")
        self.type = type("", (), {"shape": (3, 1, 1, channels)})


IMAGE, WEIGHTS = Layer("input"), Layer("constant", channels=1)


def first_half(name: str, channels: int) -> Layer:
    return Layer("conv2d", IMAGE, Layer("constant", channels=channels), name=name)


PREPARES = {op.name for op in ops.OPS.values() if op.moves or op.scales}
READS = {
    "the image": (IMAGE, True), "the image, scaled": (Layer("mul", IMAGE, WEIGHTS), True),
    "two of it": (Layer("concat", IMAGE, Layer("pad", IMAGE)), True),
    "a layer of it": (first_half("other", 1), False), "its own first half": (first_half("layer", 1), True),
    "a whole layer of its name": (first_half("layer", 2), False),
    "a layer beside it": (Layer("concat", IMAGE, first_half("other", 1)), False),
    **{f"{op} of it": (Layer(op, IMAGE), op in PREPARES) for op in sorted({*ops.OPS} - {"input", "constant",
    "conv2d"})},
}  # fmt: skip


@pytest.mark.parametrize("name", READS)
def test_what_reads_the_input(name: str) -> None:
    data, expected = READS[name]
    assert compiler._reads_input(Layer("conv2d", data, first_half("weights are no data", 2))) == expected


def test_inputs_are_met_once() -> None:
    data = IMAGE
    for _ in range(60):
        data = Layer("add", data, data)
    assert compiler._reads_input(Layer("conv2d", data))


def test_what_prepares_has_no_weights() -> None:
    """Moves, scales and activations, of one value or some: what sums over channels is a layer."""
    assert {
        "add", "affine", "avg_pool", "cast", "clamp", "concat", "copy", "div", "gather", "max_pool", "maximum",
        "minimum", "mul", "pad", "pad_channels", "prelu", "reshape", "resize_bilinear", "slice", "sub", "sum_pool",
    } == PREPARES  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 2])
def test_binary_layers_are_required(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that is not is named; one that reads the input may stay float."""
    data = conv(x(1, 1, 2), [1.0, 2.0], "first")
    for i in range(count):
        data = conv(ops.make("clamp", data, attrs=ops.ClampAttrs(0.0, 6.0)), [1.5], f"float {i}")
    seen: dict[str, Any] = {}
    opened = SimpleNamespace(
        hints=dict, metadata={}, said=[], graph=lambda input_dtype: seen.update(input_dtype=input_dtype) or graph(data)
    )
    monkeypatch.setattr(compiler, "open_source", lambda model, **options: seen.update(options) or opened)
    options = {"unsafe": True, "input_shape": (1, 1, 2), "input_dtype": "int8"}
    bnn.compile(None, **options)
    assert seen == {**options, "example": None, "zero": 0}
    if not count:
        bnn.compile(None, require_binary=True)
        return
    with pytest.raises(bnn.CompileError, match=f"^{count} layers? (is|are) not binary: 'float 0': ") as error:
        bnn.compile(None, require_binary=True)
    assert all(f"'float {i}': " in str(error.value) for i in range(count)) and "'first'" not in str(error.value)
