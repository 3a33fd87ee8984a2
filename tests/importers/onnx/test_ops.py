# SPDX-License-Identifier: Apache-2.0
"""Operators that are read together, on numbers whose results are exact, against ONNX Runtime; quantizers."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the package onnx is not installed: pip install -e '.[onnx]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install -e '.[onnx]'")

import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

import bnn
from bnn._types import Array
from bnn.errors import BnnError, CompileError, InputError
from bnn.importers.onnx.load import open_onnx
from bnn.ir import interpret

from .small import as_read, by_onnx_runtime, model, node

RNG = np.random.default_rng(0)


def eighths(*shape: int) -> Array:
    return RNG.integers(-16, 17, shape).astype(np.float32) / 8


def numbers(*values: int) -> Array:
    return np.array(values, np.int64)


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def scalar(value: float) -> Array:
    return np.float32(value)


# name: (nodes, constants, other arguments of `model`): several operators; test_attributes.py has each alone.
EXACT: dict[str, tuple[list[Any], dict[str, Array], dict[str, Any]]] = {
    "over merged images": ([node("Reshape", "x s", "a"), node("MatMul", "a w", "b"), node("Relu", "b", "c"),
                            node("Reshape", "c t")],
                           {"s": numbers(-1, 6), "w": eighths(6, 3), "t": numbers(-1, 4, 5, 3)}, {}),
    "images with channels last": ([node("Transpose", "x", "a", perm=[0, 3, 1, 2]), node("Conv", "a w")],
                                  {"w": eighths(3, 6, 2, 2)}, {}),
    "scaled by channels": ([node("ReduceMax", "x", "m", axes=[2, 3]), node("Mul", "x m")], {}, {}),
    "several operands": ([node("Max", "x c", "a"), node("Min", "a d", "b"), node("Sum", "a b x")],
                         {"c": eighths(4, 1, 1), "d": scalar(1)}, {}),
    "rounded": ([node("Floor", "x", "a"), node("Ceil", "x", "b"), node("Sub", "a b")], {}, {}),
    "truth": ([node("Greater", "x c", "a"), node("LessOrEqual", "x d", "b"), node("And", "a b", "e"),
               node("Xor", "e b", "f"), node("Or", "f a", "g"), node("Not", "g", "h"), node("Cast", "h", to=1)],
              {"c": scalar(0), "d": eighths(4, 1, 1)}, {}),
    "chosen by data": ([node("Less", "x c", "a"), node("Neg", "x", "b"), node("Where", "a b x")],
                       {"c": scalar(0.5)}, {}),
    "zeros like x": ([node("Shape", "x", "s"), node("ConstantOfShape", "s", "z"), node("GreaterOrEqual", "x z", "a"),
                      node("Cast", "a", to=1)], {}, {}),
    "half of the channels": ([node("Split", "x n", "a b", axis=1), node("Relu", "a", "c"), node("Sub", "c b")],
                             {"n": numbers(2, 2)}, {}),
    "places that nobody uses": ([node("MaxPool", "x", "a", kernel_shape=[2, 2]),
                                 node("MaxPool", "x", "b i", kernel_shape=[2, 2]), node("Add", "a b")], {}, {}),
    "like another type": ([node("CastLike", "x t", "a"), node("CastLike", "a u")],
                          {"t": np.zeros(1, bool), "u": floats(0)}, {}),
    "channels moved beside the image": ([node("Transpose", "x", "a", perm=[0, 3, 1, 2]), node("Relu", "a", "b"),
                                         node("Transpose", "b", "c", perm=[0, 2, 3, 1]), node("Sub", "c x")], {}, {}),
    "expanded": ([node("ReduceMax", "x", "m", axes=[2]), node("Expand", "m s")], {"s": numbers(1, 4, 3, 6)}, {}),
    "expanded as the data": (
        [node("Shape", "x", "s"), node("Expand", "c s", "e"), node("Mul", "x e")], {"c": eighths(4, 1, 6)}, {}),
    "squeezed": ([node("ReduceMax", "x", "a", axes=[3]), node("Squeeze", "a s", "b"), node("Unsqueeze", "b t")],
                 {"s": numbers(3), "t": numbers(1)}, {}),
    "parts of a split": ([node("SplitToSequence", "x n", "s", axis=1), node("SequenceAt", "s j", "a"),
                          node("SequenceAt", "s i", "b"), node("Concat", "a b", axis=1)],
                         {"n": np.int64(3), "i": np.int64(0), "j": np.int64(1)}, {}),
    "two inputs": ([node("Sub", "x z", "a"), node("Abs", "a")], {}, {"inputs": ("x", "z")}),
    "quantized by channels": ([node("QuantizeLinear", "x s z", "q", axis=1), node("DequantizeLinear", "q s z", axis=1)],
                              {"s": floats(0.5, 0.25, 1, 2), "z": np.array([0, 3, 1, 255], np.uint8)}, {}),
    "a function": ([node("Dropout", "x", "a"), node("Identity", "a")], {}, {}),
    "one row": ([node("Flatten", "x", "a"), node("Gemm", "a w c")],
                {"w": eighths(120, 3), "c": eighths(1, 3)}, {"rank": 2}),
    "moved constants": ([node("Flatten", "x", "a"), node("Add", "a c", "b"), node("Mul", "b d")],
                        {"c": eighths(120), "d": eighths(1, 120)}, {"rank": 2}),
    "halves beside each other": ([node("Flatten", "x", "a"), node("Slice", "a b e k", "c"),
                                  node("Slice", "a z b k", "d"), node("Concat", "c d", axis=1)],
                                 {"b": numbers(60), "e": numbers(120), "z": numbers(0), "k": numbers(1)}, {"rank": 2}),
    "a part and constants": ([node("Slice", "x b e k", "a"), node("Add", "a c", "d"), node("Mul", "d f")],
                             {"b": numbers(1), "e": numbers(4), "k": numbers(2), "c": eighths(4, 1, 1),
                              "f": eighths(3, 6)}, {}),
    "two ways around": ([node("Slice", "x m z w n", "a"), node("Slice", "x m z h n", "b"), node("Sub", "a b")],
                        {"m": numbers(-1), "z": numbers(-9), "n": numbers(-1), "w": numbers(3), "h": numbers(2)}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_equal_bits(name: str) -> None:
    nodes, constants, arguments = EXACT[name]
    proto = model(nodes, constants, **arguments)
    shape = arguments.get("shape", ("N", 4, 5, 6))[1:]
    inputs = [eighths(5, *shape) for _ in arguments.get("inputs", "x")]
    compiled = bnn.compile(proto)
    found, expected = compiled(inputs if len(inputs) > 1 else inputs[0]), by_onnx_runtime(proto, *inputs)
    assert found.shape == expected.shape and np.array_equal(found, expected)
    assert bnn.verify(proto, compiled, inputs).ok
    assert compiled.layout == ("NHWC" if name == "images with channels last" else "NCHW")


def test_batch_norm_rounds_as_there(rng: np.random.Generator) -> None:
    """Of numbers with all their bits: the reciprocal of the deviation is rounded before it is scaled."""
    norm = {"g": rng.normal(size=64), "b": rng.normal(size=64), "m": rng.normal(size=64), "v": rng.uniform(0.1, 3, 64)}
    proto = model(
        [node("BatchNormalization", "x g b m v")], {k: v.astype(np.float32) for k, v in norm.items()}, ("N", 64, 3, 3)
    )
    x = rng.normal(size=(20, 64, 3, 3)).astype(np.float32)
    assert np.array_equal(as_read(proto, x)[0], by_onnx_runtime(proto, x))


@pytest.mark.parametrize("dtype", [TensorProto.UINT8, TensorProto.INT8])
def test_bytes(dtype: int) -> None:
    """An input of bytes that the model casts to floats itself."""
    proto = model([node("Cast", "x", "a", to=1), node("Conv", "a w")], {"w": eighths(3, 4, 2, 2)}, dtype=dtype)
    kind = np.uint8 if dtype == TensorProto.UINT8 else np.int8
    x = RNG.integers(-128, 128, (3, 4, 5, 6)).astype(kind)
    compiled = bnn.compile(proto)
    assert compiled.input_dtypes == [np.dtype(kind)]
    assert np.array_equal(compiled(x), by_onnx_runtime(proto, x)) and bnn.verify(proto, compiled, x).ok


def test_bytes_for_floats() -> None:
    proto = model([node("Conv", "x w")], {"w": RNG.choice([-1, 1], (3, 4, 2, 2)).astype(np.float32)})
    x = RNG.integers(0, 256, (3, 4, 5, 6), np.uint8)
    compiled = bnn.compile(proto, input_dtype="uint8")
    assert np.array_equal(compiled(x), by_onnx_runtime(proto, x.astype(np.float32)))
    with pytest.raises(CompileError, match="input_dtype: found 'z', expected names of inputs: x"):
        bnn.compile(proto, input_dtype={"z": "uint8"})


# -- quantizers -------------------------------------------------------------------------------------------------------

SIGNS = RNG.choice([-1.0, 1.0], (8, 4, 3, 3)).astype(np.float32)
MORE = RNG.choice([-1.0, 1.0], (8, 8, 3, 3)).astype(np.float32)
TINY = np.float32(1e-45)  # the smallest denormal


def kinds(compiled: bnn.Model) -> list[str]:
    return [op.kind for op in compiled.ops if op.op in ("conv2d", "bconv2d")]


def planes(compiled: bnn.Model) -> list[int]:
    """The channels of the bits that each binary layer reads."""
    return [compiled.tensors[op.inputs[0]].shape[-1] for op in compiled.ops if op.op == "bconv2d"]


def test_zeros_of_a_sign_take_two_planes() -> None:
    proto = model([node("Sign", "x", "a"), node("Conv", "a w")], {"w": SIGNS})
    x = RNG.integers(-1, 2, (6, 4, 5, 6)).astype(np.float32)
    exact = bnn.compile(proto)
    assert planes(exact) == [8] and np.array_equal(exact(x), by_onnx_runtime(proto, x))
    assert any("a sign that is 0 at 0" in line for line in exact.warnings)
    for zero in (-1, 1):
        one = bnn.compile(proto, zero=zero)
        assert planes(one) == [4]
        assert np.array_equal(one(x), by_onnx_runtime(proto, np.where(x == 0, np.float32(zero), x)))
        assert bnn.verify(proto, one, x, zero=zero).ok and not bnn.verify(proto, one, x).ok


@pytest.mark.parametrize("zero", [-1, 1])
def test_zeros_of_quotients_and_of_constants(zero: int) -> None:
    """x / |x|, whose zeros are told as those of signs, is not a number there; the sign of a weight stays 0 at 0."""
    quotient = [node("Abs", "x", "b"), node("Div", "x b", "a")]
    for made in (quotient, [node("Sign", "x", "a")]):
        proto = model([*made, node("Sign", "v", "w"), node("Conv", "a w")], {"v": MORE[:, :4] * (MORE[:, 4:] - 1)})
        x = RNG.integers(-1, 2, (6, 4, 5, 6)).astype(np.float32)
        one = bnn.compile(proto, zero=zero)
        assert np.array_equal(one(x), by_onnx_runtime(proto, np.where(x == 0, np.float32(zero), x)))
        assert made is quotient or bnn.verify(proto, one, x, zero=zero).ok


def test_a_function_calls_another_overload() -> None:
    """This is not recursion.  ONNX Runtime knows no overloads, so it runs a model without functions."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    inner = helper.make_node("f", ["x"], ["y"], domain="own", overload="inner")
    functions = [
        helper.make_function("own", "f", ["x"], ["y"], [body], opsets, overload=overload)
        for overload, body in (("inner", node("Neg", "x")), ("outer", inner))
    ]
    call = helper.make_node("f", ["x"], ["a"], domain="own", overload="outer")
    proto, plain = model([call, node("Abs", "a")], {}), model([node("Neg", "x", "a"), node("Abs", "a")], {})
    proto.functions.extend(functions)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    x = eighths(3, 4, 5, 6)
    assert np.array_equal(bnn.compile(proto)(x), by_onnx_runtime(plain, x))


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_one_plane_where_no_sum_gives_zero(offset: float) -> None:
    """Sums of signs, padded with zeros, are whole numbers: with a half added, none is zero."""
    nodes = [
        node("Sign", "x", "a"), node("Conv", "a w", "b", pads=[1] * 4), node("MaxPool", "b", "p", kernel_shape=[2, 2]),
        node("Add", "p c", "d"), node("Sign", "d", "e"), node("Conv", "e v"),
    ]  # fmt: skip
    proto = model(nodes, {"w": SIGNS, "v": MORE, "c": np.full((8, 1, 1), offset, np.float32)})
    compiled = bnn.compile(proto)
    assert planes(compiled) == [8, 8 if offset else 16]
    x = RNG.integers(-1, 2, (6, 4, 5, 6)).astype(np.float32)
    assert np.array_equal(compiled(x), by_onnx_runtime(proto, x))


def test_denormals_have_signs() -> None:
    for op, constants in (("Sign", {}), ("GreaterOrEqual", {"c": scalar(0)}), ("Greater", {"c": scalar(0)})):
        last = [node("Cast", "a", "b", to=1)] if constants else [node("Identity", "a", "b")]
        proto = model(
            [node(op, " ".join(["x", *constants]), "a"), *last, node("Conv", "b w")], {"w": SIGNS, **constants}
        )
        x = RNG.choice(np.array([-TINY, TINY, 0, -0.0, 1e-39, -1e-39, 1], np.float32), (4, 4, 5, 6))
        assert np.array_equal(bnn.compile(proto)(x), by_onnx_runtime(proto, x)), op


def test_estimators_are_seen_through() -> None:
    """(sign(x) - c) + c rounds to a sign for small c; for large ones it is off by some units in the last place."""
    for c in ("x", "clip"):
        nodes = [
            node("Clip", "x low high", "clip"), node("Sign", "x", "s"), node("Identity", "s", "detached"),
            node("Sub", f"detached {c}", "d"), node("Add", f"{c} d", "a"), node("Conv", "a w"),
        ]  # fmt: skip
        proto = model(nodes, {"w": SIGNS, "low": scalar(-1), "high": scalar(1)})
        compiled = bnn.compile(proto, zero=1)
        assert kinds(compiled) == ["binary"]
        x = RNG.normal(0, 300, (6, 4, 5, 6)).astype(np.float32)
        assert np.abs(compiled(x) - by_onnx_runtime(proto, x)).max() < 1e-2
        assert bnn.verify(proto, compiled, x, zero=1).ok


# What may stand for "h" in an estimator: nodes that make "@" of "h", "x" and constants.
ESTIMATORS: dict[str, list[tuple[str, str, str, dict[str, Any]]]] = {
    "itself": [("Identity", "h", "@", {})], "another half": [("Split", "x n", "@b @", {"axis": 1})],
    "a half": [("Split", "x n", "@ @b", {"axis": 1})], "clipped": [("Clip", "h low high", "@", {})],
    "clipped from 0": [("Clip", "h zero high", "@", {})], "leaky": [("LeakyRelu", "h", "@", {"alpha": 0.25})],
    "more leaky": [("LeakyRelu", "h", "@", {"alpha": 0.5})], "leaky without a number": [("LeakyRelu", "h", "@", {})],
    "truth": [("Cast", "h", "@t", {"to": 9}), ("Cast", "@t", "@", {"to": 1})],
    "like truth": [("CastLike", "h true", "@t", {}), ("CastLike", "@t high", "@", {})],
    "negated": [("Neg", "h", "@", {})], "of three": [("Max", "h low low", "@", {})],
    "of two": [("Max", "h low", "@", {})], "deep": [("Abs", "h", "@t", {}), ("Clip", "@t low high", "@", {})],
    "deep and other": [("Abs", "h", "@t", {}), ("Clip", "@t low zero", "@", {})],
}  # fmt: skip


def estimator(first: str, second: str, swapped: bool, op: str = "Sub", quantizer: str = "Sign") -> tuple[Array, Array]:
    """(q - first) + second, as it is read and as ONNX Runtime computes it."""
    made = [node(op, i.replace("@", side), o.replace("@", side), **a)
            for side, name in (("l", first), ("r", second)) for op, i, o, a in ESTIMATORS[name]]  # fmt: skip
    nodes = [node("Split", "x n", "h g", axis=1), *made, node(quantizer, "h", "q"),
             node(op, "q l", "d"), node("Add", "r d" if swapped else "d r")]  # fmt: skip
    given = {"n": numbers(2, 2), "low": scalar(-1), "high": scalar(1), "zero": scalar(0), "true": np.ones(1, bool)}
    proto = model(nodes, given, ("N", 4), rank=2)
    x = np.random.default_rng(1).normal(0, [0.01, 2, 300, 0.3], (9, 4)).astype(np.float32)
    return as_read(proto, x)[0], by_onnx_runtime(proto, x)


def test_estimators_are_what_they_seem() -> None:
    """A sum is seen through only where both terms are the same operators, with the same attributes, of the same."""
    pairs = itertools.combinations_with_replacement(enumerate(ESTIMATORS), 2)
    for (i, first), (k, second) in pairs:
        found, expected = estimator(first, second, swapped=(i + k) % 2 == 0)
        if first == second and "half" not in first:
            expected = np.sign(expected)
        assert np.array_equal(found, expected), (first, second)
    for others in ({"op": "Add"}, {"op": "Mul"}, {"quantizer": "Abs"}):
        found, expected = estimator("leaky", "leaky", swapped=False, **others)
        assert np.array_equal(found, expected), others


@pytest.mark.parametrize("quantized", [False, True])
def test_estimators_of_quotients(quantized: bool) -> None:
    """A quantizer divided by a number that follows from the data is one; what is divided by a quantizer is none."""
    divided = [node("Sign", "x", "q"), node("Div", "q m", "d")] if quantized else [
        node("Round", "m", "r"), node("Div", "x r", "d")]  # fmt: skip
    nodes = [node("Abs", "x", "p"), node("ReduceMax", "p", "m", axes=[1], keepdims=1), *divided,
             node("Sub", "d x", "e"), node("Add", "e x")]  # fmt: skip
    proto = model(nodes, {}, ("N", 4), rank=2)
    x = np.random.default_rng(1).normal(0, [1, 2, 300, 3], (9, 4)).astype(np.float32)
    expected = np.sign(x) / np.abs(x).max(axis=1, keepdims=True) if quantized else by_onnx_runtime(proto, x)
    assert np.array_equal(as_read(proto, x)[0], expected)


# alpha, how far one of the weights is from it, whether it is taken for +-alpha
OFF = [(1, 4 * 2**-23, True), (1, 5 * 2**-23, False), (4, 4 * 2**-21, True), (4, -5 * 2**-21, False),
       (0.3, 2**-23, True), (2**-12, 2**-22, True), (2**-12, 1.5 * 2**-22, False), (1e-7, 1e-8, False)]  # fmt: skip


@pytest.mark.parametrize("op", ["MatMul", "Gemm", "Conv", "ConvTranspose"])
def test_weights_a_few_units_off_are_what_they_seem(op: str) -> None:
    """In the graph, and where `verify` computes."""
    for (alpha, off, snapped), zero in itertools.product(OFF, (0, 1)):
        plain = floats(1, -1, 2)[:, None] * floats(-alpha, alpha, -alpha, 0 if zero else alpha, alpha)
        w = plain.copy()
        w[1, 0] += off
        given = {"MatMul": w.T, "Gemm": w.T, "Conv": w[:, :, None], "ConvTranspose": w.T[:, :, None]}[op]
        shape = (5, 5, 1)[: given.ndim]
        proto, x = model([node(op, "x w")], {"w": given}, shape, rank=2), np.eye(5, dtype=np.float32)
        source = open_onnx(proto)
        (found,) = interpret.outputs(source.graph(), [x.reshape(5, 1, 5) if given.ndim > 2 else x])
        (computed,) = source.evaluate([x.reshape(5, 1, 5) if given.ndim > 2 else x], source.outputs).values()
        assert np.array_equal(found.reshape(5, 3), (plain if snapped else w).T), (alpha, off, zero)
        assert np.array_equal(computed.reshape(5, 3), (plain if snapped else w).T), (alpha, off, zero)


def test_parts_of_a_sequence() -> None:
    x = eighths(3, 4, 5, 6)
    for sizes, axis, i in itertools.product((None, 1, 2, 3, [1, 3], [3, 1]), (1, 2, -1), (0, 1)):
        if isinstance(sizes, list):
            sizes = [*sizes[:-1], x.shape[axis] - sizes[0]]
        constants = {"i": np.int64(i)} | ({} if sizes is None else {"n": np.asarray(sizes, np.int64)})
        nodes = [node("SplitToSequence", "x" if sizes is None else "x n", "s", axis=axis), node("SequenceAt", "s i")]
        proto = model(nodes, constants)
        assert np.array_equal(as_read(proto, x)[0], by_onnx_runtime(proto, x)), (sizes, axis, i)


def test_moved_channels_are_slices() -> None:
    """Half of the channels, quantized: no table of places."""
    nodes = [node("Split", "x n", "a b", axis=1), node("Sign", "a", "s"), node("Conv", "s w")]
    compiled = bnn.compile(model(nodes, {"n": numbers(2, 2), "w": SIGNS[:, :2]}), zero=1)
    assert "gather" not in [op.op for op in compiled.ops]


def test_levels_of_qonnx() -> None:
    """BipolarQuant and Quant, which ONNX Runtime does not have: against their definitions."""
    general = "qonnx.custom_op.general"
    quant = node("Quant", "x s z b", "q", domain=general, signed=1, narrow=1, rounding_mode="ROUND")
    bipolar = node("BipolarQuant", "q u", "a", domain=general)
    proto = model([quant, bipolar, node("Conv", "a w")],
                  {"s": scalar(0.5), "z": scalar(0), "b": scalar(2), "u": scalar(1), "w": SIGNS},
                  domains=[general])  # fmt: skip
    x = eighths(5, 4, 5, 6)
    levels = np.clip(np.rint(x / 0.5), -1, 1) * np.float32(0.5)
    plain = model([node("Conv", "x w")], {"w": SIGNS})
    expected = by_onnx_runtime(plain, np.where(levels >= 0, np.float32(1), np.float32(-1)))
    compiled = bnn.compile(proto)
    assert np.array_equal(compiled(x), expected) and kinds(compiled) == ["binary"] and bnn.verify(proto, compiled, x).ok


SPECIAL = np.array([0.0, -0.0, 1, -1, 2.5, -2.5, 3e38, -3e38, np.inf, -np.inf, np.nan], np.float32)
ENDS: dict[str, tuple[str, dict[str, float], dict[str, object]]] = {
    "Abs": ("x", {}, {}), "Clip": ("x", {}, {}), "Clip below": ("x l", {"l": -1}, {}), "Relu": ("x", {}, {}),
    "Clip above": ("x _ h", {"h": 1}, {}), "Clip both": ("x l h", {"l": -1, "h": 1}, {}),
    "PRelu": ("x s", {"s": 0.25}, {}), "PRelu falling": ("x s", {"s": -0.5}, {}), "PRelu of 0": ("x s", {"s": 0}, {}),
    "LeakyRelu": ("x", {}, {"alpha": 0.1}), "Min": ("x z", {}, {}), "Max": ("x z", {}, {}),
    "Min of 3": ("x z x", {}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_zeros_and_infinities_and_nan(name: str) -> None:
    """The sign of a zero, too."""
    operands, constants, attrs = ENDS[name]
    inputs = ("x", "z") if "z" in operands else ("x",)
    proto = model([node(name.split()[0], operands, **attrs)], {k: scalar(v) for k, v in constants.items()},
                  ("N", 11), rank=2, inputs=inputs)  # fmt: skip
    every = np.broadcast_arrays(SPECIAL[:, None], SPECIAL)[: len(inputs)]
    ours, theirs = bnn.compile(proto)(list(every)), by_onnx_runtime(proto, *every)
    numbers = ~np.isnan(theirs)
    assert np.array_equal(ours, theirs, equal_nan=True)
    assert np.array_equal(np.signbit(ours[numbers]), np.signbit(theirs[numbers]))


# -- arguments and names ---------------------------------------------------------------------------------------------


def test_arguments_that_do_not_fit() -> None:
    proto = model([node("Relu", "x")])
    with pytest.raises(InputError, match="zero: found 2, expected -1, 0 or 1"):
        bnn.compile(proto, zero=2)
    with pytest.raises(InputError, match="zero: found"):
        bnn.compile(proto, zero=np.array([1, 0]))  # type: ignore[arg-type]
    for shape in ((4, 5, 7), (4, 5), (5, 4, 6)):
        with pytest.raises(CompileError, match=r"input_shape: found .* input 'x' is \(4, 5, 6\)"):
            bnn.compile(proto, input_shape=shape)
    for source in ("weights.pt", {"weight": eighths(3)}):
        with pytest.raises(BnnError, match="give the PyTorch module itself"):
            bnn.compile(source)
    with pytest.raises(InputError, match="only a PyTorch module needs one"):
        bnn.compile(proto, eighths(1, 4, 5, 6))


def test_free_sizes_are_given() -> None:
    """A network of any height and width is compiled for one."""
    nodes = [node("Conv", "x w", "a"), node("Sign", "a", "s"), node("GlobalAveragePool", "s")]
    proto, x = model(nodes, {"w": eighths(3, 4, 2, 2)}, ("N", 4, "H", "W")), eighths(5, 4, 7, 6)
    compiled = bnn.compile(proto, input_shape=(4, 7, 6))
    assert np.array_equal(compiled(x), by_onnx_runtime(proto, x))
    assert bnn.verify(proto, compiled, x, input_shape=(4, 7, 6)).ok
    two = model([node("Add", "x z")], shape=("N", 4, "H", "W"), inputs=("x", "z"))
    with pytest.raises(CompileError, match="the model has 2 inputs"):
        bnn.compile(two, input_shape=(4, 7, 6))


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE])
def test_other_floats_are_float32(kind: int) -> None:
    """Wherever they are: weights, Constants, casts, the input.  Weights of few bits and whole sums are equal in all."""

    def network(kind: int) -> ModelProto:
        tensor = partial(helper.make_tensor, data_type=kind)
        nodes = [
            node("Constant", "", "c", value=tensor("c", dims=[4, 1, 1], vals=[0.5, -1, 0.25, 2])),
            node("Shape", "x", "n"),
            node("ConstantOfShape", "n", "z", value=tensor("z", dims=[1], vals=[0.5])),
            node("Mul", "x c", "m"), node("Add", "m z", "a"), node("Conv", "a w", "b"), node("Sign", "b", "s"),
            node("Cast", "s", "h", to=kind), node("Conv", "h v", "r"), node("Cast", "r", to=TensorProto.FLOAT),
        ]  # fmt: skip
        made = model(nodes, {}, dtype=kind)
        rng = np.random.default_rng(7)
        w, v = (rng.choice([-1.0, 0.5, 1.0], shape) for shape in ((3, 4, 2, 2), (2, 3, 2, 2)))
        for name, value in (("w", w), ("v", v)):
            made.graph.initializer.append(tensor(name, dims=value.shape, vals=value.reshape(-1)))
        return made

    source, x = network(kind), eighths(6, 4, 5, 6)
    before = source.SerializeToString()
    with pytest.warns(bnn.CompileWarning, match="are computed in float32"):
        compiled = bnn.compile(source)
    assert source.SerializeToString() == before
    assert np.array_equal(compiled(x), by_onnx_runtime(network(TensorProto.FLOAT), x))
    assert bnn.verify(source, compiled, x).ok


PER = floats(0.5, 1, 2, 1)
# (operator, its operands, its attributes, constants): as they were before version 11.
OLD: list[tuple[str, str, dict[str, Any], dict[str, Array]]] = [
    ("AveragePool", "x", {"kernel_shape": [2, 2], "pads": [0, 1, 1, 0], "count_include_pad": 1}, {}),
    ("BatchNormalization", "x a b c a", {"epsilon": 0.5}, {"a": PER, "b": PER[::-1], "c": PER - 1}),
    ("Clip", "x", {"min": -0.5, "max": 1.0}, {}), ("Clip", "x", {"max": 0.25}, {}), ("Concat", "x x", {"axis": 2}, {}),
    ("Dropout", "x", {"ratio": 0.25}, {}), ("Flatten", "x", {"axis": 1}, {}),
    ("Gather", "x i", {"axis": 2}, {"i": numbers(2, 0)}),
    ("MaxPool", "x", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 0]}, {}),
    ("Pad", "x", {"pads": [0, 0, 1, 0, 0, 0, 2, 1], "value": 0.5}, {}), ("PRelu", "x s", {}, {"s": PER[:, None, None]}),
    ("ReduceSum", "x", {"axes": [2, 3], "keepdims": 0}, {}), ("Slice", "x", {"starts": [0, 1], "ends": [9, -1]}, {}),
    ("Slice", "x", {"starts": [1, -4], "ends": [9, 4], "axes": [1, 3]}, {}),
    ("Split", "x", {"split": [1, 3], "axis": 1}, {}), ("Unsqueeze", "x", {"axes": [1]}, {}),
    ("Upsample", "x", {"scales": [1.0, 1.0, 2.0, 3.0], "mode": "nearest"}, {}),
    ("Upsample", "x k", {}, {"k": floats(1, 1, 2, 3)}), ("Resize", "x k", {}, {"k": floats(1, 1, 1.5, 0.5)}),
    ("Where", "t x o", {}, {"o": scalar(0.5)}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "operands", "attrs", "constants"), OLD, ids=[f"{i}-{c[0]}" for i, c in enumerate(OLD)])
def test_old_versions(op: str, operands: str, attrs: dict[str, Any], constants: dict[str, Array]) -> None:
    """Each operator by each of its versions from 7 to 10, refused or as ONNX Runtime runs that version."""
    x, read = eighths(5, 4, 5, 6), 0
    for opset in range(7, 11):
        nodes = [node("Greater", "x z", "t")] if op == "Where" else []
        outputs = "u y" if op == "Split" else "y"
        rank = {"Flatten": 2, "ReduceSum": 2, "Unsqueeze": 5}.get(op, 4)
        given = constants | ({"z": scalar(0)} if nodes else {})
        proto = model([*nodes, node(op, operands, outputs, **attrs)], given, opset=opset, rank=rank)
        proto.ir_version = 3
        proto.graph.input.extend(
            helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in proto.graph.initializer
        )
        try:
            onnx.checker.check_model(proto)
            theirs = by_onnx_runtime(proto, x)
        except Exception:  # this version has no such operator, or not in this form
            continue
        try:
            ours = as_read(proto, x)[0]
        except CompileError as error:
            assert op == "Unsqueeze", f"{opset}: {error}"
            continue
        assert np.array_equal(ours, theirs), opset
        read += 1
    assert read or op == "Unsqueeze"


@pytest.mark.parametrize("domain", ["finn", "finn.custom_op.general", "onnx.brevitas"])
def test_old_models_with_operators_of_qonnx(domain: str) -> None:
    """Their files often do not say which domains they use."""
    quant = node("BipolarQuant", "m one", "q", domain=domain)
    nodes = [node("Clip", "x", "m", min=-0.75, max=0.5), quant, node("MatMul", "q w")]
    proto, x = model(nodes, {"one": scalar(1), "w": eighths(6, 3)}, ("N", 6), rank=2, opset=9), eighths(9, 6)
    signs = np.where(x >= 0, np.float32(1), np.float32(-1))
    assert np.array_equal(bnn.compile(proto)(x), signs @ numpy_helper.to_array(proto.graph.initializer[1]))


def test_doubles_in_the_arithmetic_of_shapes_stay() -> None:
    """In float32, this number would be 6."""
    nodes = [node("Cast", "d", "n", to=TensorProto.INT64), node("Reshape", "x n")]
    proto = model(nodes, {"d": np.array([-1.0, 5.99999999])}, ("N", 5), rank=2)
    assert open_onnx(proto).graph().outputs[0].type.shape == (5,)


NAMES = {"/conv1/Conv": "conv1", "/layers/layers.0/conv1/Conv_3": "layers.0.conv1", "/2/body/body.0/Sign": "2.body.0",
         "/conv/conv1/Conv": "conv.conv1", "/Relu_1": "Relu_1", "node_Relu_1": "node_Relu_1"}  # fmt: skip
PARAMETERS = ["weight", "bias", "running_mean", "running_var"]


def test_layers_are_the_modules() -> None:
    for name, layer in NAMES.items():
        relu = node("Relu", "x")
        relu.name = name
        assert bnn.compile(model([relu])).ops[-1].layer == layer
    for name in (*PARAMETERS, "other"):  # a weight of weights belongs to their module, and what uses it
        proto = model([node("Neg", f"a.b.{name}", "w"), node("Add", "x w")], {f"a.b.{name}": eighths(4, 1, 1)})
        assert bnn.compile(proto).ops[-1].layer == ("a.b" if name in PARAMETERS else "Add_y")


@pytest.mark.parametrize("op", ["Sign", "GreaterOrEqual", "Greater", "Less", "LessOrEqual", "BipolarQuant"])
def test_a_folded_batch_norm_has_a_hint(op: str) -> None:
    """Where weights have scales, and a quantizer follows, perhaps after what keeps its decisions."""
    scale = np.arange(1, 9, dtype=np.float32).reshape(8, 1, 1, 1) / 8
    between = {
        "Identity": {}, "MaxPool": {"kernel_shape": [2, 2]}, "Clip": {}, "Cast": {"to": 1}, "CastLike": {}, "Relu": {},
        "Abs": {}, "AveragePool": {"kernel_shape": [2, 2]},
    }  # fmt: skip
    domain = {"domain": "qonnx.custom_op.general"} if op == "BipolarQuant" else {}
    for (name, attrs), folded in itertools.product(between.items(), (False, True)):
        nodes = [
            node("Conv", "x w b", "c"), node(name, "c b" if name == "CastLike" else "c", "d", **attrs),
            node(op, "d" if op == "Sign" else "d z", "q", **domain),
        ]  # fmt: skip
        constants = {"z": scalar(1), "b": eighths(8), "w": SIGNS * scale if folded else SIGNS}
        proto = model(nodes, constants, domains=[*domain.values()])
        proto.graph.output[0].name = "q"
        source = open_onnx(proto)
        source.graph()
        due = folded and name not in ("Abs", "AveragePool")
        assert any("folded into its weights" in line for line in source.hints().get("Conv_c", ())) == due, (
            name,
            folded,
        )
