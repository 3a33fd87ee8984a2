# SPDX-License-Identifier: Apache-2.0
"""Small files that ask for much: a worker of tests/single_ops.py, one case per file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from .small import model, node

Model = onnx.ModelProto
LONG = 2**16


def numbers(*values: int) -> Any:
    return np.array(values, np.int64)


def made(
    *nodes: Any, shape: Any = ("N", 4), rank: int = 2, opset: int = 17, domains: Any = (), **weights: Any
) -> Model:
    """A model of nodes; without one that makes y, they have nothing to do with its data."""
    last = [] if any("y" in n.output for n in nodes) else [node("Relu", "x")]
    constants = {name: np.asarray(value) for name, value in weights.items()}
    return model([*nodes, *last], constants, shape, rank=rank, opset=opset, domains=domains)


def outer(op: str, dtype: Any = np.float32) -> Model:
    """A column by a row."""
    a, b = np.ones((LONG, 1), dtype), np.ones((1, LONG), dtype)
    return made(node(op, "a b", "c"), a=a, b=b)


def of_data(op: str, operands: str = "x", shape: Any = ("N", 4, 8, 8), **given: Any) -> Model:
    """An operator on the data themselves; what is an array is a constant."""
    weights = {k: v for k, v in given.items() if isinstance(v, np.ndarray)}
    attrs = {k: v for k, v in given.items() if k not in weights}
    return made(node(op, operands, **attrs), shape=shape, rank=len(shape), opset=18, **weights)


def doubled(op: str, times: int = 40, **attrs: Any) -> Model:
    """A value with itself, again and again."""
    names = [f"a{i}" for i in range(times + 1)]
    nodes = [node(op, f"{a} {a}", b, **attrs) for a, b in zip(names, names[1:], strict=False)]
    return made(*nodes, a0=np.ones(8, np.float32))


def many_constants() -> Model:
    """Each within the limit, and an output that is refused."""
    nodes = [node("ConstantOfShape", "s", f"c{i}") for i in range(3)]
    return made(*nodes, node("Transpose", "x", perm=[1, 0]), s=numbers(2**18 - 1, 2**10))


def called(depth: int, width: int, circle: bool = False) -> Model:
    """Functions that call each other."""
    functions = []
    for i in range(depth):
        deeper = i + 1 < depth or circle
        op, domain = (f"f{(i + 1) % depth}", "own") if deeper else ("Relu", "")
        nodes = [helper.make_node(op, [f"t{k}" if k else "x"], [f"t{k + 1}"], domain=domain) for k in range(width)]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        functions.append(helper.make_function("own", f"f{i}", ["x"], [f"t{width}"], nodes, opsets))
    made_of = model([helper.make_node("f0", ["x"], ["y"], domain="own")], {}, ("N", 4), rank=2, domains=["own"])
    made_of.functions.extend(functions)
    return made_of


def received(what: str) -> Model:
    """A function whose thousand nodes each receive a large attribute, or a long name."""
    inner = [helper.make_node("Celu", ["x"], [f"t{i}"]) for i in range(1000)]
    long = "n" * 2**19 if what == "name" else "x"
    if what == "attribute":
        inner = [helper.make_node("Constant", [], [f"t{i}"]) for i in range(1000)]
        for n in inner:
            n.attribute.append(onnx.AttributeProto(name="value", ref_attr_name="value", type=TensorProto.INT32 - 2))
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "f", ["x"], ["t1"], inner, opsets, ["value"])
    call = helper.make_node("f", [long], ["y"], domain="own")
    if what == "attribute":
        call.attribute.append(helper.make_attribute("value", onnx.numpy_helper.from_array(np.ones(2**18, np.float32))))
    result = model([node("Relu", "x", long), call] if long != "x" else [call], {}, ("N", 4), rank=2, domains=["own"])
    result.functions.append(function)
    return result


def initializer(**fields: Any) -> Model:
    result = made()
    result.graph.initializer.append(onnx.TensorProto(name="w", **fields))
    return result


CASES: dict[str, Callable[[], Model]] = {
    "ConstantOfShape": lambda: made(node("ConstantOfShape", "s", "c"), s=numbers(2**18, 2**15)),
    "negative sizes": lambda: made(node("ConstantOfShape", "s", "c"), s=numbers(-(2**18), -(2**15))),
    "Expand": lambda: made(node("Expand", "a s", "c"), a=np.ones(1, np.float32), s=numbers(2**18, 2**15)),
    "Tile": lambda: made(node("Tile", "a s", "c"), a=np.ones(2, np.float32), s=numbers(2**32)),
    "Pad": lambda: made(node("Pad", "a s", "c"), a=np.ones(2, np.float32), s=numbers(0, 2**34)),
    "Pad, edges": lambda: made(node("Pad", "a s", "c", mode="edge"), a=np.ones((2, 2), np.float32),
                               s=numbers(LONG, LONG, LONG, LONG)),
    "Range": lambda: made(node("Range", "a b c", "d"), a=np.int64(0), b=np.int64(2**40), c=np.int64(1)),
    "OneHot": lambda: made(node("OneHot", "a b c", "d"), a=numbers(1, 2), b=np.int64(2**36), c=numbers(0, 1)),
    "Resize to sizes": lambda: made(node("Resize", "a _ _ s", "c"), a=np.ones((1, 1, 2, 2), np.float32),
                                    s=numbers(1, 1, LONG, LONG)),
    "Resize by factors": lambda: made(node("Resize", "a _ s", "c"), a=np.ones((1, 1, 2, 2), np.float32),
                                      s=np.array([1, 1, 1e6, 1e6], np.float32)),
    "Gather": lambda: made(node("ConstantOfShape", "s", "i", value=helper.make_tensor("v", 7, [1], [0])),
                           node("Gather", "a i", "c"), a=np.ones((1, LONG), np.float32), s=numbers(LONG)),
    "GatherND": lambda: made(node("GatherND", "a i", "c"), a=np.ones((1, LONG), np.float32),
                             i=np.zeros((LONG, 1), np.int64)),
    "ConvTranspose": lambda: made(node("ConvTranspose", "a w", "c", strides=[2**15, 2**15]),
                                  a=np.ones((1, 1, 9, 9), np.float32), w=np.ones((1, 1, 1, 1), np.float32)),
    "Conv, its windows": lambda: made(node("Conv", "a w", "c", pads=[0, 2**19]), a=np.ones((1, 1, 2**19), np.float32),
                                      w=np.ones((1, 1, 2**19), np.float32)),
    "Conv, its padding": lambda: made(node("Conv", "a w", "c", pads=[2**19] * 4), a=np.ones((1, 1, 1, 1), np.float32),
                                      w=np.ones((1, 1, 1, 1), np.float32)),
    "Gemm": partial(outer, "Gemm"),
    **{op: partial(outer, op) for op in ("Add", "MatMul", "Max", "Mean", "Pow", "Sum", "Equal", "Mod")},
    **{op: partial(outer, op, np.bool_) for op in ("And", "Or", "Xor")},
    "Where": lambda: made(node("Where", "c a b", "d"), a=np.ones((LONG, 1), np.float32), b=np.float32(0),
                          c=np.ones((1, LONG), bool)),
    "Concat of one value": lambda: made(node("Concat", "a " * 5000, "c", axis=0), a=np.ones(LONG, np.float32)),
    "Concat, doubled": partial(doubled, "Concat", axis=0),
    "Cast to text": lambda: made(node("Cast", "a", "c", to=TensorProto.STRING), a=np.ones(LONG, np.float32)),
    "NonZero": lambda: made(node("ConstantOfShape", "s", "c", value=helper.make_tensor("v", 9, [1], [1])),
                            node("NonZero", "c", "d"), s=numbers(2**29)),
    "many constants": many_constants,
    "BipolarQuant": lambda: made(
        node("BipolarQuant", "a b", "c", domain="qonnx.custom_op.general"), domains=["qonnx.custom_op.general"],
        a=np.ones((LONG, 1), np.float32), b=np.ones((1, LONG), np.float32)),
    "Tile of data": partial(of_data, "Tile", "x s", s=numbers(1, 1, 2**13, 2**13)),
    "Resize of data": partial(of_data, "Resize", "x _ s", s=np.array([1, 1, 9e3, 9e3], np.float32)),
    "Pad of data": partial(of_data, "Pad", "x s", s=numbers(0, 0, LONG, LONG, 0, 0, 0, 0)),
    "Expand of data": partial(of_data, "Expand", "x s", shape=("N", 4, 8, 1), s=numbers(1, 1, 1, 2**30)),
    "Add to data": partial(of_data, "Add", "x s", shape=("N", 4, 1, 1), s=np.ones((4, 2**11, 2**11), np.float32)),
    "Conv of data": partial(of_data, "Conv", "x w", pads=[2**19] * 4, w=np.ones((1, 4, 1, 1), np.float32)),
    "MatMul of data": partial(of_data, "MatMul", "x w", ("N", 2**12, 2**10), w=np.ones((2**10, 2**14), np.float32)),
    "an input": lambda: made(shape=("N", 2**16, 2**16), rank=3),
    "a batch": lambda: made(shape=(2**31, 4)),
    "functions, doubled": partial(called, 30, 2),
    "functions, wide": partial(called, 4, 60),
    "functions in a circle": partial(called, 3, 1, True),
    "functions, deep": partial(called, 3000, 1),
    "a function's attribute": partial(received, "attribute"),
    "a function's operand": partial(received, "name"),
    "a weight's size": partial(initializer, data_type=1, dims=[2**20, 2**20], raw_data=b"1234"),
    "a weight's negative size": partial(initializer, data_type=1, dims=[-1, 2**40], raw_data=b"1234"),
    "a weight of texts": partial(initializer, data_type=8, dims=[2**20], string_data=[b""] * 2**20),
}  # fmt: skip

# Weights in another file: offset and length of each.
OUTSIDE: dict[str, list[tuple[str, str]]] = {
    "the same bytes over and over": [("0", "1048576")] * 5000,
    "to the end of the file": [("0", "")] * 5000,
    "past the end": [("1", "1048576")],
    "a negative offset": [("-1", "16")],
    "no number": [("one", "16")],
}
PARTS = ("nodes", "attributes", "functions")
NAMES = [*CASES, *OUTSIDE, *PARTS]


def prepare() -> None:
    import bnn

    bnn.compile(model([node("Relu", "x")], {}))


def case(number: int) -> str:
    import bnn

    name = NAMES[number]
    if name in CASES:
        data = CASES[name]().SerializeToString()
    else:
        data = _outside(OUTSIDE[name]) if name in OUTSIDE else _parts(name)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "weights").write_bytes(bytes(2**20))
        path = Path(folder) / "a.onnx"
        path.write_bytes(data)
        bnn.compile(path)
    return "accepted"


def _outside(places: list[tuple[str, str]]) -> bytes:
    proto = made()
    for i, (offset, length) in enumerate(places):
        tensor = onnx.TensorProto(name=f"w{i}", data_type=1, dims=[2**18], data_location=1)
        given = {"location": "weights", "offset": offset} | ({"length": length} if length else {})
        tensor.external_data.extend(onnx.StringStringEntryProto(key=k, value=v) for k, v in given.items())
        proto.graph.initializer.append(tensor)
    return proto.SerializeToString()


def _parts(name: str) -> bytes:
    """Two million parts without contents."""
    count = 2_000_000

    def long(field: int, content: bytes) -> bytes:
        size, text = len(content), b""
        while size > 127:
            text, size = text + bytes([size & 127 | 128]), size >> 7
        return bytes([field << 3 | 2]) + text + bytes([size]) + content

    opset = long(8, b"\x10\x11")
    if name == "nodes":
        return long(7, long(1, b"") * count) + opset
    if name == "attributes":
        return long(7, long(1, long(4, b"Relu") + long(5, b"") * count)) + opset
    return long(7, long(1, b"")) + opset + b"\xca\x01\x00" * count
