# SPDX-License-Identifier: Apache-2.0
"""What is refused, each reason by a smallest model, and every place of the importer that refuses by one of them."""

from __future__ import annotations

import ast
import functools
import re
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the package onnx is not installed: pip install -e '.[onnx]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install -e '.[onnx]'")

import ml_dtypes
import onnx
from onnx import TensorProto, helper

import bnn
from bnn._types import Array
from bnn.errors import BnnError
from bnn.importers.onnx.load import open_onnx

from ..refusals import without_remedy
from .size_cases import called
from .small import model, node

Model = onnx.ModelProto


def floats(*shape: int) -> Array:
    return np.ones(shape, np.float32)


def numbers(*values: int) -> Array:
    return np.array(values, np.int64)


SCALAR, TRUE = np.float32(1), np.ones((), bool)
MANY = np.arange(120, dtype=np.float32)
W = MANY[:36].reshape(6, 6)
IMAGE = ("N", 4, 5, 6)


def one(op: str, inputs: str = "x", shape: Any = IMAGE, outputs: str = "y", attrs: Any = None, **given: Any) -> Model:
    """A model of one node."""
    constants = {k: v for k, v in given.items() if isinstance(v, np.ndarray | np.generic)}
    more = {k: v for k, v in given.items() if k not in constants}
    return model([node(op, inputs, outputs, **attrs or {})], constants, shape, **{"rank": len(shape), **more})


def chain(*nodes: str, shape: Any = IMAGE, attrs: Any = None, **given: Any) -> Model:
    """Nodes as "op, operands, results"; ``attrs``: of each, by its number."""
    constants = {k: v for k, v in given.items() if isinstance(v, np.ndarray | np.generic)}
    more = {k: v for k, v in given.items() if k not in constants}
    made = [node(*map(str.strip, n.split(",")), **(attrs or {}).get(i, {})) for i, n in enumerate(nodes)]
    return model(made, constants, shape, **{"rank": len(shape), **more})


def changed(proto: Model, change: Callable[[Model], object]) -> Model:
    change(proto)
    return proto


MODELS: dict[str, tuple[str, Callable[[], Model]]] = {
    # of the whole model
    "an unknown operator": ("layer 'LRN_y' uses the ONNX op LRN", lambda: one("LRN", attrs={"size": 3})),
    "another domain": ("node 'Conv_y' is the operator com.example::Conv",
                       lambda: one("Conv", "x w", w=W, domains=["com.example"], attrs={"domain": "com.example"})),
    "a second result": ("output 'm' is a result of Dropout that is not read", lambda: changed(
        model([node("Dropout", "x", "y m")]), lambda p: p.graph.output.add(name="m"))),
    "an old version": ("version 6 of ONNX's operators; 7 or newer", lambda: one("Relu", opset=6)),
    "old and damaged": ("cannot be converted to version 11", lambda: one("Add", "x missing", opset=9)),
    "an operator of later": ("version 17 of ONNX's operators does not have it", lambda: one("Gelu")),
    "a new version": ("version 99 of ONNX's operators; the package onnx that is installed knows",
                      lambda: changed(one("Relu"), lambda m: setattr(m.opset_import[0], "version", 99))),
    "a recurrent layer": ("uses the ONNX op LSTM",
                          lambda: one("LSTM", "x w r", ("N", 4, 6), w=floats(1, 8, 6), r=floats(1, 8, 2),
                                      attrs={"hidden_size": 2})),
    "a name twice": ("an attribute is given twice", lambda: changed(
        one("Softmax", attrs={"axis": 1}), lambda m: m.graph.node[0].attribute.append(m.graph.node[0].attribute[0]))),
    "functions in a circle": ("its function 'f0' calls itself", lambda: called(3, 1, circle=True)),
    "functions, deep": ("its functions call each other more than 64 deep", lambda: called(100, 1)),
    "functions, doubled": ("its functions expand to [0-9,]+ nodes; at most", lambda: called(30, 2)),
    "a branch": (r"op If \(.*\) is part of a loop or a branch", lambda: one(
        "If", "x", attrs={"then_branch": one("Relu").graph})),
    "a branch in a function": (r"op If \(.*\) is part of a loop or a branch", lambda: in_function(
        node("If", "x", "z", then_branch=one("Relu").graph))),
    "sparse weights": ("has sparse weights; save them as dense ones",
                       lambda: changed(one("Relu"), lambda m: m.graph.sparse_initializer.add())),
    "no output": ("has no input or no output", lambda: changed(one("Relu"), lambda m: m.graph.ClearField("output"))),
    "damaged": ("the ONNX model is damaged", lambda: changed(
        one("Relu"), lambda m: m.graph.node[0].attribute.add(name="a", ref_attr_name="b", type=1))),
    "an operand from nowhere": ("reads 'nothing', which nothing before it computes", lambda: one("Add", "x nothing")),
    "a value twice": ("computes 'a', which exists already", lambda: chain("Relu, x, a", "Neg, x, a", "Relu, a, y")),
    "an output from nowhere": ("output 'y' is not computed by any node", lambda: one("Relu", "x", outputs="a")),
    "an input twice": ("two of the model's inputs have one name: found x, x; give each its own",
                       lambda: changed(one("Relu"), lambda m: m.graph.input.append(m.graph.input[0]))),
    "an output of constants": ("output 'y' does not depend on the data", lambda: chain("Abs, x, a", "Abs, c, y", c=W)),
    "batches of two sizes": (r"the inputs have batches of \[2, 3\] images; expected one",
                             lambda: changed(chain("Add, x z, y", shape=(2, 4), inputs=("x", "z")), two_batches)),
    "a text": ("the Constant 'c' is not made of numbers", lambda: chain(
        "Constant, , c", "Relu, x, y", attrs={0: {"value_string": "text"}})),
    "text for weights": ("the constant 'w' is text", lambda: one("Add", "x w", w=np.array(["a"]))),
    "weights elsewhere": ("the constant 'w' is in another file, which was not loaded", lambda: outside("w")),
    "weights that are cut": ("the constant 'w' cannot be read", lambda: changed(
        one("Relu"), lambda m: m.graph.initializer.add(name="w", data_type=1, dims=[4], raw_data=b"12"))),
    "parts by the data": ("splits by numbers that are not constants", lambda: chain(
        "SplitToSequence, x n, s", "SequenceAt, s x, y", n=numbers(2, 2))),
    "parts without an axis": ("drops its axis", lambda: chain(
        "SplitToSequence, x, s", "SequenceAt, s i, y", i=np.int64(0), attrs={0: {"keepdims": 0}})),
    # inputs
    "a free size": ("only the batch size may be unknown", lambda: one("Relu", "x", ("N", 4, "H", 6))),
    "no batch": (r"input 'x' has shape \(\); expected \(N, ...\), the batch first", lambda: one("Relu", "x", ())),
    "no image": (r"input 'x' has shape \(3,\); expected \(N, ...\)", lambda: one("Relu", "x", (3,))),
    "no shape": ("input 'x' has no shape; export the model with an example",
                 lambda: changed(one("Relu"), lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"))),
    "no floats": ("input 'x' is int32; supported: float32", lambda: one("Relu", dtype=TensorProto.INT32)),
    "a huge batch": ("input 'x' has shape .*; at most 1,073,741,824 bytes", lambda: one("Relu", "x", (2**31, 4))),
    "many dimensions": ("'x' has 5 dimensions; two to four are supported", lambda: one("Relu", "x", ("N", 2, 3, 4, 5))),
    # operands and results
    "attention": ("both depend on the data", lambda: chain(
        "Transpose, x, t", "MatMul, x t, y", attrs={0: {"perm": [0, 1, 3, 2]}})),
    "over the batch": ("it reduces over the batch", lambda: one("ReduceMean", attrs={"axes": [0, 2, 3]})),
    "over rows and channels": (r"reduction over axes .*; supported: consecutive", lambda: one(
        "ReduceMax", attrs={"axes": [1, 2]})),
    "a number per image": ("MatMul .*data of 1 dimensions; two to four", lambda: chain(
        "ReduceMax, x, m", "MatMul, m w, y", shape=(6, 4), w=W, attrs={0: {"axes": [1], "keepdims": 0}})),
    "places in constants": ("which must be a constant of few numbers", lambda: chain(
        "ConstantOfShape, s, c", "NonZero, c, d", "Relu, x, y", s=numbers(2**25))),
    "training": ("batch norm in training mode", lambda: one(
        "BatchNormalization", "x g b m v", outputs="y mm vv", attrs={"training_mode": 1},
        **dict.fromkeys("gbmv", floats(4)))),
    "training by dropout": ("Dropout .*: training mode; export", lambda: one("Dropout", "x r t", r=SCALAR / 2, t=TRUE)),
    "interpolation": ("mode linear, which computes new values",
                      lambda: one("Resize", "x _ s", s=np.array([1, 1, 2, 2], np.float32), attrs={"mode": "linear"})),
    "whole numbers that wrap": ("arithmetic of uint8", lambda: chain("Add, x x, a", "Cast, a, y", attrs={1: {"to": 1}},
                                                                     dtype=TensorProto.UINT8)),
    "doubles": ("numbers of type float64; only float32", lambda: chain(
        "Cast, x, a", "Cast, a, y", attrs={0: {"to": 11}, 1: {"to": 1}})),
    "no elements": (r"a result of shape \(2, 0, 5, 6\), which has no elements", lambda: chain(
        "GreaterOrEqual, x a, b", "Cast, b, y", shape=("N", 1, 5, 6), a=floats(0, 1, 1), attrs={1: {"to": 1}})),
    "huge results": ("a result of [0-9,]+ bytes; at most", lambda: one("Tile", "x r", r=numbers(1, 10**6, 10**3, 1))),
    "constants that are made": ("values that do not depend on the data are [0-9,]+ bytes", lambda: chain(
        "Tile, c r, a", "Relu, x, y", c=floats(1), r=numbers(2**26))),
    "windows past the end": ("ceil_mode", lambda: one(
        "MaxPool", attrs={"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1})),
    "dilated windows": ("dilations or a storage order", lambda: one(
        "MaxPool", attrs={"kernel_shape": [2, 2], "dilations": [1, 2]})),
    "windows of a volume": ("a window of 3 dimensions over data", lambda: chain(
        "Reshape, x s, a", "MaxPool, a, y", s=numbers(0, 1, 4, 5, 6), attrs={1: {"kernel_shape": [2, 2, 2]}})),
    "a volume, transposed": ("a window of 3 dimensions over data", lambda: chain(
        "Reshape, x s, a", "ConvTranspose, a w, y", s=numbers(0, 1, 4, 5, 6), w=floats(1, 1, 2, 2, 2))),
    "groups, transposed": ("groups or dilations", lambda: one(
        "ConvTranspose", "x w", w=floats(4, 1, 2, 2), attrs={"group": 2})),
    "a factor": ("a transposed data matrix, or", lambda: one("Gemm", "x w", ("N", 6), w=W, attrs={"alpha": 2.0})),
    "a bias per image": (r"a third operand \(2, 6\) that differs over", lambda: one(
        "Gemm", "x w c", (2, 6), w=W, c=W[:2])),
    "many matrices": (r"weights of shape \(4, 6, 6\); two dim", lambda: one("MatMul", "x w", w=np.stack([W] * 4))),
    "one vector": ("output 'y' has 2 dimensions; expected 1", lambda: chain(
        "Reshape, x s, a", "MatMul, a w, y", shape=(1, 6), s=numbers(6), w=W)),
    "a known condition": ("a condition that does not depend on the data", lambda: one("Where", "c x x", c=TRUE)),
    "slopes per pixel": (r"slopes .*; one per channel", lambda: one("PRelu", "x a", a=MANY.reshape(4, 5, 6))),
    "exponents": ("an exponent that is not one constant number", lambda: one("Pow", "x p", p=floats(6))),
    "other constants of Selu": ("factors other than the usual ones", lambda: one("Selu", attrs={"gamma": 2.0})),
    "scales per image": (r"scales \(2,\) along axis 0", lambda: one(
        "DequantizeLinear", "x s", (2, 4), s=np.array([1, 2], np.float32), attrs={"axis": 0}, dtype=TensorProto.UINT8)),
    "a norm of nothing": ("noop_with_empty_axes without axes", lambda: one(
        "ReduceL2", opset=18, attrs={"noop_with_empty_axes": 1})),
    "an old softmax": ("axis 1 of 4 in version 12 of ONNX's operators", lambda: one("Softmax", opset=12)),
    "a padded batch": ("padding of the batch", lambda: chain(
        "Pad, x p, a", "Slice, a b e z, y", shape=(3, 4), p=numbers(1, 0, 0, 0), b=numbers(1), e=numbers(4),
        z=numbers(0))),
    "a constant beside the data": ("it joins the data with a constant", lambda: one("Concat", "x c", (6, 6), c=W,
                                                                                  attrs={"axis": 1})),
    "moves of many elements": ("it moves [0-9,]+ elements", lambda: one(
        "Expand", "x s", (1, 1, 1), s=numbers(1, 2**14, 9000))),
    "moves of a large image": ("an image of more than [0-9,]+ elements", lambda: one(
        "DepthToSpace", "x", (1, 4, 2**11, 2**11 + 1), attrs={"blocksize": 2})),
    "the batch last": ("expected the batch first", lambda: one("Transpose", attrs={"perm": [1, 2, 3, 0]})),
    "the batch elsewhere": ("'y' does not keep the batch as its first dimension", lambda: one(
        "Gather", "x i", (3, 4), i=numbers(1, 2, 0))),
    "moved by the number of images": ("where its elements go depends on the number of images", lambda: chain(
        "Shape, x, n", "Gather, x n, y", shape=("N", 5), attrs={0: {"end": 1}, 1: {"axis": 1}})),
    "rows of several images": ("rows that mix images", lambda: chain(
        "Transpose, x, t", "MatMul, t w, a", "Transpose, a, y", shape=(6, 4), w=W,
        attrs={0: {"perm": [1, 0]}, 2: {"perm": [1, 0]}})),
    "weights by the number of images": ("operand 1 depends on the number of images", lambda: chain(
        "Shape, x, n", "Cast, n, f", "Mul, f w, v", "MatMul, x v, y", shape=("N", 6), w=W,
        attrs={0: {"end": 1}, 1: {"to": 1}})),
    "a sum with the number of images": ("operand 1 depends on the number of images", lambda: chain(
        "Shape, x, n", "Cast, n, f", "Add, x f, y", shape=("N", 6), attrs={0: {"end": 1}, 1: {"to": 1}})),
    "a constant per image": (r"a constant of shape \(6, 6\) that differs over the batch", lambda: one(
        "Add", "x c", (6, 6), c=W)),
    "data for weights": ("operand 1 depends on the data; it must be", lambda: one("Conv", "x x", (4, 4, 1, 1))),
    "a constant for data": ("operand 0 does not depend on the data", lambda: chain(
        "Reshape, x s, r", "Dropout, c r, d", "Add, d x, y", shape=(1, 1), s=numbers(1), c=W)),
    "scales of constants": ("none of its operands depends on the data", lambda: chain(
        "Reshape, x s, r", "QuantizeLinear, c r, y", shape=(1, 1), s=numbers(1), c=W)),
    "ranks": ("operands of different numbers of dimensions", lambda: chain(
        "ReduceMax, x, m", "Add, x m, y", shape=(1, 4, 4), attrs={0: {"axes": [2], "keepdims": 0}})),
    "dimensions on the way": ("a' has 5 dimensions|has 5 dimensions; two to four", lambda: chain(
        "Reshape, x s, a", "Softmax, a, y", s=numbers(0, 2, 2, 5, 6))),
    "constants of lost images": ("a constant that differs within values that have lost", lambda: chain(
        "Reshape, x s, a", "Add, a c, b", "Reshape, b t, y", s=numbers(-1, 6), c=MANY[:6],
        t=numbers(-1, 4, 5, 6))),
    "norms of lost images": ("values that do not keep the batch as their first", lambda: chain(
        "Reshape, x s, a", "BatchNormalization, a g b m v, c", "Reshape, c t, y", s=numbers(-1, 6),
        t=numbers(-1, 4, 5, 6), **dict.fromkeys("gbmv", MANY[1:7]))),
    "a shape of the data": ("depends on operand 1, which must be a constant, or follow from shapes", lambda: chain(
        "Cast, x, i", "ReduceMax, i, s", "Reshape, x s, y", shape=(2, 2),
        attrs={0: {"to": 7}, 1: {"axes": [0], "keepdims": 0}})),
}  # fmt: skip

SIGNED, FEW = {"signed": 1, "narrow": 0}, "has 3 operands; expected"
QONNX: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    **{mode: ("which round to the nearest, up or down", "Quant", "x s z b", {**SIGNED, "rounding_mode": mode})
       for mode in ("UP", "DOWN", "HALF_UP", "HALF_DOWN")},
    "a rounding of Trunc": ("which round to the nearest, up or down", "Trunc", "x s z b b", {"rounding_mode": "DOWN"}),
    "few of Trunc": ("has 4 operands; expected 5 or 6", "Trunc", "x s z b", {}),
    "widths of Trunc": (r"widths of shape \(6, 6\); one for all", "Trunc", "x s z b s w", {}),
    "truncated by the data": ("a scale or a zero point that depends on the data", "Trunc", "x r z b b", {}),
    "a width of Trunc of the data": ("a zero point that depends on the data", "Trunc", "x s z b r", {}),
    "thresholds of three channels": (r"thresholds of shape \(3, 2\); expected \(1, n\) or \(5, n\)", "MultiThreshold",
                                     "x three", {}),
    "no thresholds": (r"thresholds of shape \(1, 0\)", "MultiThreshold", "x none", {}),
    "bits that do not fit": (r"shapes \(1, 4, 5\) and \(6, 6\) do not fit", "XnorPopcountMatMul", "x w", {}),
    "FloatQuant": ("uses the ONNX op FloatQuant", "FloatQuant", "x s", {}),
    "a constant FloatQuant": ("of QONNX, BipolarQuant", "FloatQuant", "s s", {}),
    "signs unknown": ("does not say whether its numbers are signed", "Quant", "x s z b", {"narrow": 0}),
    "ends unknown": ("does not say whether its numbers are signed and narrow", "Quant", "x s z b", {"signed": 1}),
    "no width": (FEW, "Quant", "x s z", SIGNED), "no zero point": (FEW, "IntQuant", "x s _ b", SIGNED),
    "a zero point of signs": (FEW, "BipolarQuant", "x s z", {}),
    "several widths": (r"widths of shape \(6, 6\); one for all", "Quant", "x s z w", SIGNED),
    "a huge width": ("attributes or operands are damaged", "Quant", "x s z h", SIGNED),
    "a width of the data": ("operand 3 depends on the data; it must be a constant", "Quant", "x s z r", SIGNED),
    "a scale of the data": ("a scale or a zero point that depends on the data", "Quant", "x r z b", SIGNED),
    "a zero point of the data": ("a scale or a zero point that depends on the data", "Quant", "x s r b", SIGNED),
    "signs scaled by the data": ("a scale or a zero point that depends on the data", "BipolarQuant", "x x", {}),
    "a quantized constant": ("a scale or a zero point that depends on the data", "BipolarQuant", "w r", {}),
    "levels of other shapes": ("do not fit", "Quant", "x w z b", SIGNED),
}  # fmt: skip


def of_qonnx(op: str, operands: str, attrs: dict[str, Any]) -> Model:
    known = {
        "s": SCALAR,
        "z": np.float32(0),
        "b": np.float32(3),
        "h": np.float32(1e9),
        "w": W,
        "three": MANY[:6].reshape(3, 2),
        "none": MANY[:0].reshape(1, 0),
    }
    domain = "qonnx.custom_op.general"
    return chain("ReduceMax, x, r", f"{op}, {operands}, y", shape=(1, 4, 5), domains=[domain],
                 attrs={0: {"axes": [1, 2]}, 1: {**attrs, "domain": domain}}, **known)  # fmt: skip


def two_batches(proto: Model) -> None:
    proto.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 3


def in_function(*nodes: onnx.NodeProto) -> Model:
    proto = one("f", attrs={"domain": "own"}, domains=["own"])
    opsets = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("own", "f", ["x"], ["z"], nodes, opsets))
    return proto


def outside(location: str, **given: str) -> Model:
    """Weights in another file."""
    proto = one("Add", "x w", ("N", 4))
    tensor = proto.graph.initializer.add(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **given}.items():
        tensor.external_data.add(key=key, value=value)
    return proto


# (message, operator and results, operands: a shape for ones of that shape, attributes): constants, not yet computed.
A, B, IMAGES, LONG = (2, 3), (2, 3, 4), (1, 4, 6, 6), np.zeros(2**16 + 1, np.int64)
WHOLE, ROWS = numbers(0, 1), np.zeros((1, 2), np.int64)
BYTES = np.ones(3, np.uint8)
SIZES: list[tuple[str, str, list[Any], dict[str, Any]]] = [
    ("scales of blocks are not read", "DequantizeLinear", [BYTES, SCALAR], {"block_size": 2}),
    ("zero points of type uint8 for numbers of", "QuantizeLinear", [A, SCALAR, np.uint8(1)], {"output_dtype": 3}),
    ("3 elements in 2 parts", "Split z w", [(3,)], {}),
    ("it has 2 operands; expected 1 or more", "Relu", [A, A], {}),
    ("it has 2 results; expected 1 or more, at most 1", "Relu z w", [A], {}),
    ("result 1 has no name", "Split z _", [A], {}),
    ("operand 1 is left out", "Where", [TRUE, None, A], {}),
    ("operand 2 is left out", "Resize", [IMAGES, None, None], {}),
    ("numbers of type float8_e4m3fn, which are not read", "Relu", [np.ones(2, ml_dtypes.float8_e4m3fn)], {}),
    ("operand 0 has 17 dimensions", "Relu", [(1,) * 17], {}),
    ("operand 0 has numbers of type float32", "And", [A, A], {}),
    ("its operands have numbers of types float32 and int64", "Add", [A, WHOLE], {}),
    ("it has no attribute 'nonsense'", "Relu", [A], {"nonsense": 1}),
    ("the attribute 'axis' has another type", "Softmax", [A], {"axis": 0.5}),
    ("the attribute 'axis' is out of range", "Softmax", [A], {"axis": 2**40}),
    ("the attribute 'value' is in another", "ConstantOfShape", [WHOLE], {"value": onnx.TensorProto(data_location=1)}),
    ("its attribute 'to' is missing", "Cast", [A], {}),
    ("which is too large", "Reshape", [A, LONG], {}),
    (r"operand 1 has shape \(1, 2\); expected one dimension", "Reshape", [A, ROWS], {}),
    (r"operand 1 has shape \(2,\); expected one number", "CumSum", [A, WHOLE], {}),
    ("reverse: found 2, expected 0 or 1", "CumSum", [A, np.int64(0)], {"reverse": 2}),
    ("mode: found 'odd', expected one of constant", "Pad", [A, WHOLE], {"mode": "odd"}),
    (r"strides: found \[1\], expected 2 numbers from 1", "MaxPool", [IMAGES], {"kernel_shape": [2, 2], "strides": [1]}),
    ("axis 2 of 2 dimensions", "Softmax", [A], {"axis": 2}),
    (r"axes \[0, 0\]: one is given twice", "Squeeze", [(1, 1), numbers(0, 0)], {}),
    ("result 1 has no type that is read", "LayerNormalization z w", [A, (3,)], {}),
    ("the number 8 stands for a type that is not read", "Cast", [A], {"to": 8}),
    (r"shapes \(2, 3\), \(2, 3, 4\) do not fit", "Add", [A, B], {}),
    (r"shape \(2, 1, 1\) does not fit \(3,\)", "PRelu", [(3,), (2, 1, 1)], {}),
    ("operand 1 is not one number", "Clip", [A, A], {}),
    ("operand 1 is not one number", "Dropout", [A, A], {}),
    ("it is in training mode", "Dropout", [A, SCALAR, TRUE], {}),
    ("it divides by 0", "Div", [WHOLE, WHOLE], {}),
    ("it divides -9223372036854775808 by -1", "Mod", [numbers(-(2**63)), numbers(-1)], {}),
    (r"data of shape \(2,\)", "BatchNormalization", [(2,), *[(2,)] * 4], {}),
    (r"operand 2 has shape \(2,\); expected \(3,\)", "BatchNormalization", [A, (3,), (2,), (3,), (3,)], {}),
    (r"data of shape \(2, 3\)", "InstanceNormalization", [A, (3,), (3,)], {}),
    (r"operand 1 has shape \(2,\)", "InstanceNormalization", [B, (2,), (3,)], {}),
    (r"operand 1 has shape \(2,\); expected \(3,\)", "LayerNormalization", [A, (2,)], {}),
    ("or stash_type is not 1", "LayerNormalization", [A, (3,)], {"stash_type": 16}),
    (r"scales of shape \(2,\) for axis 1 of \(2, 3\)", "QuantizeLinear", [A, (2,)], {}),
    ("scales and zero points have different shapes", "QuantizeLinear", [A, SCALAR, BYTES], {}),
    ("an operand without dimensions", "MatMul", [A, SCALAR], {}),
    (r"shapes \(2, 3\) and \(2, 3\) do not fit", "MatMul", [A, A], {}),
    ("expected matrices", "Gemm", [A, B], {}),
    (r"shapes \(2, 3\) and \(2, 3\) do not fit", "Gemm", [A, A], {}),
    (r"data of shape \(2, 3\)", "MaxPool", [A], {"kernel_shape": [2]}),
    (r"a window \[1, 1\] for weights of", "Conv", [IMAGES, (1, 4, 2, 2)], {"kernel_shape": [1, 1]}),
    (r"padding .* for windows \[2, 2\]", "MaxPool", [IMAGES], {"kernel_shape": [2, 2], "pads": [2, 0, 0, 0]}),
    ("windows that reach over .* pixels of 6", "MaxPool", [IMAGES], {"kernel_shape": [7, 1]}),
    ("and weights of shape", "Conv", [IMAGES, (1, 4, 2)], {}),
    ("0 groups and weights of shape", "Conv", [IMAGES, (1, 4, 2, 2)], {"group": 0}),
    ("and 1 groups do not fit", "Conv", [IMAGES, (1, 3, 2, 2)], {}),
    ("a bias for 1 filters", "Conv", [IMAGES, (1, 4, 2, 2), (2,)], {}),
    (r"output_padding \[1, 0\] for strides", "ConvTranspose", [IMAGES, (4, 1, 2, 2)], {"output_padding": [1, 0]}),
    (r"output_shape \[9, 1\]; at most", "ConvTranspose", [IMAGES, (4, 1, 2, 2)], {"output_shape": [9, 1]}),
    ("padding .* of .* pixels", "ConvTranspose", [IMAGES, (4, 1, 1, 1)], {"pads": [3, 0, 3, 0]}),
    ("dilations .* and SAME_UPPER", "MaxPool", [IMAGES], {
        "kernel_shape": [2, 2], "dilations": [2, 2], "auto_pad": "SAME_UPPER"}),
    (r"data of shape \(2, 3\)", "GlobalMaxPool", [A], {}),
    (r"nothing to reduce in shape \(0,\)", "ReduceMax", [(0,)], {}),
    (r"a number of shape \(\)", "TopK z w", [A, np.int64(1)], {}),
    ("the 4 largest of 3", "TopK z w", [A, numbers(4)], {}),
    (r"data of shape \(2,\)", "Trilu", [(2,)], {}),
    ("k is out of range", "Trilu", [A, np.int64(2**40)], {}),
    ("its value is not one number", "ConstantOfShape", [WHOLE], {"value": helper.make_tensor("v", 1, [2], [1, 2])}),
    (r"a negative size in \[-1\]", "ConstantOfShape", [numbers(-1)], {}),
    (r"data of shape \(2, 3, 4\)", "EyeLike", [B], {}),
    ("diagonal 4 of shape", "EyeLike", [A], {"k": 4}),
    ("axis 3 of 2 dimensions", "OneHot", [(2,), SCALAR, A], {"axis": 3}),
    ("a depth of 0", "OneHot", [WHOLE, np.int64(0), WHOLE], {}),
    ("values of shape .*; expected two", "OneHot", [WHOLE, np.int64(3), numbers(1)], {}),
    ("a range of", "Range", [np.int64(0), np.int64(3), np.int64(0)], {}),
    ("do not fit along axis 0", "Concat", [A, B], {"axis": 0}),
    ("and blocks of 0", "DepthToSpace", [IMAGES], {"blocksize": 0}),
    ("4 channels and blocks of 3", "DepthToSpace", [IMAGES], {"blocksize": 3}),
    (r"data of shape \(2, 3\) and blocks", "SpaceToDepth", [A], {"blocksize": 1}),
    ("an image of 6 x 6 and blocks of 4", "SpaceToDepth", [IMAGES], {"blocksize": 4}),
    ("axis 3 of 2 dimensions", "Flatten", [A], {"axis": 3}),
    ("indices of shape .* for data of shape", "GatherElements", [A, ROWS.reshape(1, 1, 2)], {}),
    ("-7 dimensions of batches", "GatherND", [A, ROWS], {"batch_dims": -7}),
    (r"indices of shape \(2,\) for data of shape \(\)", "ScatterND", [SCALAR, WHOLE, A], {}),
    ("indices of 2 numbers for data of shape", "GatherND", [(3,), ROWS], {}),
    ("indices of shape .* and updates", "ScatterElements", [A, ROWS, A], {}),
    ("updates of shape .*; expected", "ScatterND", [A, ROWS, A], {}),
    ("2 numbers of padding for 2 dimensions", "Pad", [A, WHOLE], {}),
    ("its constant is not one number", "Pad", [(3,), WHOLE, A], {}),
    ("padding 0, 3 of 3 pixels, mode reflect", "Pad", [(3,), numbers(0, 3)], {"mode": "reflect"}),
    ("padding 0, -4 of 3 pixels", "Pad", [(3,), numbers(0, -4)], {}),
    (r"shape \[-1, -1\]", "Reshape", [A, numbers(-1, -1)], {}),
    (r"\(2, 3\) in shape \[2, 3, 0\]", "Reshape", [A, numbers(2, 3, 0)], {}),
    (r"\(2, 3\) in shape \[4, -1\]", "Reshape", [A, numbers(4, -1)], {}),
    (r"\(2, 3\) in shape \[4\]", "Reshape", [A, numbers(4)], {}),
    ("only stretch is read", "Resize", [A, None, None, numbers(4, 4)], {"keep_aspect_ratio_policy": "*"}),
    (r"data of shape \(0, 3\)", "Resize", [(0, 3), None, None, numbers(4, 4)], {}),
    ("its region does not fit", "Resize", [A, (1,), None, numbers(4, 4)], {
        "coordinate_transformation_mode": "tf_crop_and_resize"}),
    ("1 sizes for 2 dimensions", "Resize", [A, None, None, numbers(4)], {}),
    (r"a size of \[0, 3\]", "Resize", [A, None, None, numbers(0, 3)], {}),
    ("interpolation from", "Resize", [(1, 1, 1, 1), None, None, numbers(2, 2, 2, 2)], {"mode": "linear"}),
    ("factors of shape", "Resize", [A, None, SCALAR], {}),
    ("3 factors for 2 dimensions", "Resize", [A, None, (3,)], {}),
    ("a factor of -1", "Resize", [A, None, np.array([1, -1], np.float32)], {}),
    ("a region of 0", "Resize", [A, np.zeros(4, np.float32), (2,)], {
        "coordinate_transformation_mode": "tf_crop_and_resize"}),
    ("its operands have different lengths", "Slice", [A, WHOLE, numbers(1)], {}),
    ("a step of 0 over 3 elements", "Slice", [A, numbers(0), numbers(1), numbers(1), numbers(0)], {}),
    ("2 parts with 1 names", "Split", [A], {"num_outputs": 2}),
    (r"parts \[1, 1\] of 2|parts \[1\] of 2", "Split", [A, numbers(1)], {}),
    (r"axes \[0\] of shape \(2, 3\)", "Squeeze", [A, numbers(0)], {}),
    ("1 repetitions for 2 dimensions", "Tile", [A, numbers(2)], {}),
    (r"order \[0, 0\] of 2 dimensions", "Transpose", [A], {"perm": [0, 0]}),
    ("cannot be executed: .*indices", "Gather", [A, numbers(7)], {}),
    ("uses the ONNX op LRN .*, which is not supported; replace the", "LRN", [IMAGES], {"size": 3}),
]  # fmt: skip


def of_constants(op: str, operands: list[Any], attrs: dict[str, Any]) -> Model:
    """The operator beside the data."""
    op, _, results = op.partition(" ")
    names = ["_" if o is None else f"c{i}" for i, o in enumerate(operands)]
    arrays = [floats(*o) if isinstance(o, tuple) else o for o in operands]
    weights = {name: a for name, a in zip(names, arrays, strict=True) if a is not None}
    nodes = [node(op, " ".join(names), results or "z", **attrs), node("Relu", "x")]
    return model(nodes, weights, ("N", 4), opset=21, rank=2)


def nested() -> bytes:
    """A branch in a branch, as deep as in no model."""
    proto = Model()
    at = proto.graph
    for _ in range(20):
        at = at.node.add().attribute.add().g
    at.name = "end"
    return proto.SerializeToString()


def written(data: bytes | Model) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "secret").write_bytes(bytes(16))
        (folder / "in").mkdir()
        path = folder / "in" / "a.onnx"
        path.write_bytes(data if isinstance(data, bytes) else data.SerializeToString())
        (folder / "in" / "w").write_bytes(bytes(16))
        return path

    return write


def large(name: str, size: int, proto: Model | None = None) -> Callable[[Path], Path]:
    """A large file, without its bytes."""

    def write(folder: Path) -> Path:
        path = folder / "a.onnx"
        if proto is not None:
            path.write_bytes(proto.SerializeToString())
        with (folder / name).open("wb") as file:
            file.truncate(size)
        return path

    return write


def twice(proto: Model) -> None:
    proto.graph.initializer.add().CopyFrom(proto.graph.initializer[0])


FILES: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "no file": ("no such file; expected an .onnx file", lambda folder: folder / "a.onnx"),
    "a folder": ("not a regular file; expected an .onnx file", lambda folder: folder),
    "a large file": ("2,147,483,649 bytes; at most", large("a.onnx", 2**31 + 1)),
    "a long text": ("not a file of protocol buffers, or damaged", written(b"\x0a\x7f")),
    "no end": ("not a file of protocol buffers, or damaged", written(b"\x0a\xff")),
    "half a number": ("not a file of protocol buffers, or damaged", written(b"\x09\x00")),
    "parts in parts": ("its parts are nested more than 50 deep", written(nested())),
    "a text that is none": ("cannot be read as an ONNX model", written(b"\x08\x08\x3a\x02\x12\x00\x00\x00")),
    "nothing": ("it lists no nodes, or not the version", written(b"")),
    "weights above": ("is in ../secret, which is not beside", written(outside("../secret"))),
    "weights at the root": ("is in /secret, which is not beside", written(outside("/secret"))),
    "weights above a folder": ("is in in/../../secret, which is not beside", written(outside("in/../../secret"))),
    "missing weights": ("which is not a file", written(outside("missing"))),
    "a folder for weights": ("which is not a file", written(outside("."))),
    "weights past the end": ("is bytes 8 to 24 of a file of 16", written(outside("w", offset="8", length="16"))),
    "weights before the file": ("is bytes -8 to 8 of a file of 16", written(outside("w", offset="-8", length="16"))),
    "large weights": ("'w' is 1,073,741,825 bytes; at most", large("w", 2**30 + 1, outside("w"))),
    "weights again": ("are read, and none over and over", large("w", 2**26 + 1, changed(outside("w"), twice))),
    "weights of no number": ("an offset or a length that is no number", written(outside("w", offset="one"))),
}


DTYPES: dict[str, tuple[str, Any]] = {
    "a type of no input": ("input_dtype: found 'z', expected names of inputs: x", {"z": "uint8"}),
    "a type that no input has": ("input_dtype: found 'int16', expected float32, uint8, int8", "int16"),
    "a type that is too small": ("input 'x' is int8 in the model, which uint8 cannot hold", "uint8"),
}


Lines = frozenset[tuple[str, int]]


def refusal(make: Callable[[], Any], dtype: Any = None) -> tuple[str, Lines]:
    """What is said, and the lines that refuse."""
    with pytest.raises(BnnError) as info:
        open_onnx(make()).graph(dtype)
    assert not without_remedy([info.value])
    return str(info.value), frozenset(reached(info.value))


@functools.cache
def refusals() -> dict[str, tuple[str, str, Lines]]:
    """The message that is expected, and the refusal, of every case."""
    found = {name: (message, *refusal(make)) for name, (message, make) in MODELS.items()}
    for name, (message, *given) in QONNX.items():
        found[name] = message, *refusal(functools.partial(of_qonnx, *given))
    for name, (message, dtype) in DTYPES.items():
        found[name] = message, *refusal(lambda: one("Cast", attrs={"to": 1}, dtype=TensorProto.INT8), dtype)
    for message, op, operands, attrs in SIZES:
        found[f"{op}: {message}"] = message, *refusal(functools.partial(of_constants, op, operands, attrs))
    for name, (message, write) in FILES.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = message, *refusal(functools.partial(write, Path(folder)))
    return found


def test_each_says_why() -> None:
    wrong = {name: said for name, (message, said, _) in refusals().items() if not re.search(message, said)}
    assert not wrong


# -- the places that refuse -------------------------------------------------------------------------------------------

ROOT = Path(bnn.importers.__file__).parent
# What other tests reach: the beginning of a file and statement.
ELSEWHERE = (
    "onnx/torch.py",  # test_torch.py, where PyTorch is installed
    "common/hdf5.py", "common/limits.py", "common/padding.py",  # tests of Keras' files, and of TensorFlow's ops
    "common/kinds.py",  # tests/cli/test_outputs.py
    "common/inputs.py raise CompileError(f'input_shape", 'common/inputs.py raise CompileError(f"input_shape',
    "common/reduce.py raise s.unsupported('it reduces over the batch; only",
    "common/reduce.py raise s.unsupported(f'reduction over the batch",
    "common/reduce.py raise s.unsupported(f'a value",
    "onnx/wire.py raise CompileError(f'it has more",  # size_cases.py, in a process of its own
    "onnx/functions.py raise CompileError(f'it has", "onnx/functions.py raise CompileError(f'its functions have",
    "onnx/functions.py raise CompileError(f'its functions expand to {whole.bytes",
    "common/runner.py raise named",  # test_limits.py
    # What nothing should reach: rules, readers and callers that are wrong, and onnx that is not installed.
    "onnx/run.py raise SetupError", "common/source.py raise KeyError",
    "onnx/run.py raise CompileError(f'{node.where} gives",
    "onnx/read.py raise source.misread",
)  # fmt: skip


class Place(NamedTuple):
    file: str
    first: int
    last: int
    text: str


def places() -> Iterator[Place]:
    """Where a statement raises an error, or checks a condition."""
    for path in sorted([*ROOT.glob("onnx/*.py"), *ROOT.glob("common/*.py")]):
        for found in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            raises = isinstance(found, ast.Raise) and found.exc is not None
            call = found.func if isinstance(found, ast.Call) else None
            checks = isinstance(call, ast.Attribute) and call.attr == "check"
            if raises or checks:
                text = ast.unparse(found)
                yield Place(path.relative_to(ROOT).as_posix(), found.lineno, found.end_lineno, text)


def reached(error: BaseException | None) -> Iterator[tuple[str, int]]:
    """The lines that raised an error and those behind it: the last of each traceback, or what called `check`."""
    while error is not None:
        frames = list(traceback.walk_tb(error.__traceback__))
        for i, (frame, line) in enumerate(frames):
            after = frames[i + 1][0].f_code.co_name if i + 1 < len(frames) else "check"
            path = Path(frame.f_code.co_filename)
            if after == "check" and path.is_relative_to(ROOT):
                yield path.relative_to(ROOT).as_posix(), line
        error = error.__cause__ or error.__context__


def test_every_place_that_refuses_has_a_case() -> None:
    lines = frozenset[tuple[str, int]]().union(*(found for *_, found in refusals().values()))
    missing = [
        f"{p.file}:{p.first} {p.text}"
        for p in places()
        if not f"{p.file} {p.text}".startswith(ELSEWHERE)
        and lines.isdisjoint((p.file, line) for line in range(p.first, p.last + 1))
    ]
    assert not missing, "\n".join(missing)
