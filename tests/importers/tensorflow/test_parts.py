# SPDX-License-Identifier: Apache-2.0
"""The parts of the importer, each alone: nodes, names, what is executed, and how errors read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from bnn.errors import CompileError, UnsupportedOpError
from bnn.importers.tensorflow import allowed, frozen
from bnn.importers.tensorflow import run as tf_run
from bnn.importers.tensorflow.allowed import PURE
from bnn.importers.tensorflow.frozen import Frozen, TfNode
from bnn.importers.tensorflow.reason import reason
from bnn.importers.tensorflow.run import TfRunner
from bnn.importers.tensorflow.sizes import check_attributes

SCOPES: list[tuple[set[str], dict[str, str], bool]] = [
    # names of layers; {name of a node: its layer}; whether scopes are opened twice, and the second numbered (Keras 3)
    ({"a", "b"}, {"net/a/Relu": "a", "net/a/b/Relu": "b", "a/b": "a", "x/y": "x", "x": "x", "x/y/z": "y"}, False),
    ({"a"}, {"PartitionedCall/a/Relu": "a", "StatefulPartitionedCall_12/net/z/Relu": "z"}, False),
    ({"Relu"}, {"a/Relu": "Relu"}, False),
    (set(), {"PartitionedCall": "PartitionedCall", "PartitionedCall_x/a/b": "a"}, False),
    ({"part", "part_1"}, {"part_1/Relu": "part_1", "part_2/Relu": "part", "part_1_1/Relu": "part_1"}, True),
    ({"a"}, {"a_1/Relu": "a", "a/Relu": "a"}, True),
    ({"a"}, {"net/a_1/Relu": "a_1", "net/a/Relu": "a"}, False),
    ({"a", "a_1"}, {"a/Relu": "a", "a_1/Relu": "a_1"}, True),
]


@pytest.mark.parametrize(("layers", "nodes", "twice"), SCOPES)
def test_layers_behind_scopes(layers: set[str], nodes: dict[str, str], twice: bool) -> None:
    made = [TfNode("Relu", name, (), {}) for name in nodes]
    rest: Any = ([], [], [], [], lambda *_: [], lambda *_: np.zeros(0))
    graph = Frozen(made, *rest, layers=frozenset(layers), scopes_twice=twice)
    assert {name: graph.layer(name) for name in nodes} == nodes


def test_what_stands_behind() -> None:
    def node(name: str, *inputs: tuple[str, int], op: str = "IdentityN") -> TfNode:
        return TfNode(op, name, inputs, {})

    nodes = {n.name: n for n in (
        node("x", op="Split"), node("y", ("x", 0), ("x", 1)), node("z", ("y", 1)), node("w", ("z", 0), op="Relu"),
    )}  # fmt: skip
    known: dict[Any, Any] = {}
    assert frozen.behind(nodes, ("IdentityN",), known, ("z", 0)) == ("x", 1)
    assert known == {("z", 0): ("x", 1), ("y", 1): ("x", 1)}
    assert frozen.behind(nodes, ("IdentityN",), known, ("w", 0)) == ("w", 0)
    assert frozen.behind(nodes, ("IdentityN",), {("y", 0): ("known", 7)}, ("y", 0)) == ("known", 7)
    nodes["x"] = node("x", ("z", 0), ("y", 1))
    with pytest.raises(CompileError, match="passes on its own result"):
        frozen.behind(nodes, ("IdentityN",), {}, ("z", 0))


@pytest.mark.parametrize(("text", "expected"), [
    ("plain. ", "plain"), ("", "ValueError"), ("\x1b[1mbold\x1b[0m\n\nsecond", "bold"),
    ("Exception encountered when calling layer 'a'.\n\nTypeError: the reason.\nmore", "the reason"),
    ("in user code:\n  File \"a.py\", line 3\n    x = 1\n    ValueError: wrong", "wrong"),
    ("first: ValueError: no\nlater", "first: ValueError: no"), ("KeyError: 'a'\nOSError: 'b'", "'b'"),
    ("wrong Full object config: {'a': 1}", "wrong"), ("wrong {{function_node f}} here [Op:Conv2D] name: x",
    "wrong here"),
    ("Shape for '{{node a}} = Conv2D[]'", "Shape"), ("x" * 300, "x" * 300), ("x" * 301, "x" * 300 + "..."),
])  # fmt: skip
def test_reasons(text: str, expected: str) -> None:
    assert reason(ValueError(text)) == expected


def attr(**value: Any) -> Any:
    return NodeDef(attr={"a": value}).attr["a"]


@pytest.mark.parametrize(("value", "expected"), [
    ({"s": b"SAME"}, "SAME"), ({"i": 3}, 3), ({"f": 0.5}, 0.5), ({"b": True}, True), ({"type": 1}, "float32"), ({},
    None),
    ({"shape": {"dim": [{"size": -1}, {"size": 3}]}}, [-1, 3]), ({"list": {"i": [1, 2]}}, [1, 2]),
    ({"list": {"f": [0.5]}}, [0.5]), ({"list": {"b": [True, False]}}, [True, False]), ({"list": {"s": [b"a"]}}, ["a"]),
    ({"list": {"type": [1, 3]}}, ["float32", "int32"]), ({"list": {}}, []), ({"s": b"\xff"}, "\ufffd"),
])  # fmt: skip
def test_attributes_as_plain_values(value: dict[str, Any], expected: Any) -> None:
    assert frozen.attribute(tf, attr(**value)) == expected


def test_attributes_that_a_file_leaves_out() -> None:
    """They are as the op declares them: an older TensorFlow had fewer."""
    resize = {"name": "r", "op": "ResizeBilinear", "input": ["x", "x"], "attr": {"align_corners": {"b": True}}}
    nodes, _ = frozen.from_function(tf, function("f", [resize], ["x"], {}), {})
    assert nodes[-1].attrs == {"align_corners": True, "half_pixel_centers": False}


@pytest.mark.parametrize(("op", "attributes", "expected"), [
    ("Relu", {}, [("activations", 1)]), ("Unpack", {"num": {"i": 2**17}}, [("output", 2**17)]),
    ("TopKV2", {}, [("values", 1), ("indices", 1)]), ("IdentityN", {"T": {"list": {"type": [1, 1, 3]}}}, [("output",
    3)]),
    ("Unpack", {"num": {"i": 2**17 + 1}}, "has 131,073 results; at most 131,072 are read"), ("NoOp", {}, []),
    ("MyOwnOp", {}, "is not known to this TensorFlow"),
])  # fmt: skip
def test_results_of_nodes(op: str, attributes: Any, expected: Any) -> None:
    node = NodeDef(op=op, attr=attributes)
    if isinstance(expected, str):
        with pytest.raises(UnsupportedOpError, match=expected):
            frozen.result_counts(node, "a")
    else:
        assert frozen.result_counts(node, "a") == expected


def function(name: str, nodes: list[dict[str, Any]], inputs: list[str], results: dict[str, str]) -> Any:
    made = FunctionDef(node_def=nodes, ret=results)
    made.signature.name = name
    for argument in inputs:
        made.signature.input_arg.add(name=argument)
    for result in results:
        made.signature.output_arg.add(name=result)
    return made


def test_calls_are_replaced_by_what_they_call() -> None:
    split = {"name": "s", "op": "Split", "input": ["axis", "x", "^axis"], "attr": {"num_split": {"i": 2}}}
    inner = function("inner", [split], ["axis", "x"], {"p": "s:output:1", "q": "s:output:0"})
    call: dict[str, Any] = {"name": "c", "op": "PartitionedCall", "input": ["one", "data", "^data"]}
    types = {"list": {"type": [1, 1]}}
    call["attr"] = {"f": {"func": {"name": "inner"}}, "Tin": types, "Tout": types}
    last = {"name": "r", "op": "Relu", "input": ["c:output:1"]}
    outer = function("outer", [last, call], ["one", "data"], {"y": "r:activations:0"})
    nodes, results = frozen.from_function(tf, outer, {"inner": inner})
    assert {n.name: (n.op, n.inputs) for n in nodes} == {
        "r": ("Relu", (("c", 1),)), "c/axis": ("Identity", (("one", 0),)), "c/x": ("Identity", (("data", 0),)),
        "c/s": ("Split", (("c/axis", 0), ("c/x", 0))), "c": ("IdentityN", (("c/s", 1), ("c/s", 0))),
    }  # fmt: skip
    assert results == (("r", 0),)
    short = {**call, "input": ["one"]}
    with pytest.raises(CompileError, match="takes 2 operands, not 1"):
        frozen.from_function(tf, function("f", [short], ["one"], {}), {"inner": inner})
    for broken in ({**last, "input": ["nobody"]}, {**call, "attr": {**call["attr"], "f": {"func": {"name": "none"}}}}):
        with pytest.raises(CompileError, match=r"the function 'f' names '(nobody|none)', which it does not have"):
            frozen.from_function(tf, function("f", [broken], ["one", "data"], {}), {"inner": inner})


RUN: dict[str, tuple[dict[str, Any], list[Any], Any]] = {
    "a const": ({"op": "Const", "attrs": {"value": np.float32(2)}}, [], [2.0]),
    "several": ({"op": "IdentityN"}, [1, 2], [1, 2]),
    "renamed": ({"op": "Mean", "attrs": {"keep_dims": True}}, [np.eye(2, dtype="f4"), np.int32(1)], [[[0.5], [0.5]]]),
    "renamed attribute": ({"op": "Squeeze", "attrs": {"squeeze_dims": [1]}}, [np.ones((1, 1, 2), "f4")], [[[1.0,
        1.0]]]),
    "a list of operands": (
        {"op": "ConcatV2", "attrs": {"N": 2, "T": "float32"}}, [np.ones(1, "f4"), np.zeros(2, "f4"), np.int32(0)],
        [[1, 0, 0]],
    ),
    "the least number": ({"op": "Relu", "attrs": {"a": -(2**31)}}, [np.float32(-1)], [0.0]),
    "the largest number": ({"op": "Relu", "attrs": {"a": [1, 2**31 - 1]}}, [np.float32(2)], [2.0]),
    "below the least": ({"op": "Relu", "attrs": {"a": -(2**31) - 1}}, [np.float32(-1)], "cannot be executed: a: found"),
    "beyond the largest": ({"op": "Relu", "attrs": {"a": [1, 2**31]}}, [np.float32(-1)],
        "cannot be executed: a: found"),
    "no such op": ({"op": "MyOwnOp"}, [], "op MyOwnOp .* may do more than compute"),
    "a gradient": ({"op": "ReluGrad"}, [np.float32(1)] * 2, "op ReluGrad .* only computes, but is none of the ops"),
    "a function of Python": ({"op": "tf_export"}, [], "may do more than compute"),
    "wrong shapes": ({"op": "MatMul"}, [np.ones((2, 3), "f4")] * 2, "op MatMul .* cannot be executed: Dim"),
    "wrong values": ({"op": "Reshape"}, [np.ones(6, "f4"), np.array([4], "i4")],
        "op Reshape .* cannot be executed: Input to"),
    "large": ({"op": "Fill"}, [np.array([2**15, 2**15], "i4"), np.float64(0)],
        r"makes 8,589,934,592 bytes; at most 1,073,741,824"),
    "wide": ({"op": "AddV2"}, [np.ones((2**14, 1), "f4"), np.ones((1, 2**15), "f4")], "makes 2,147,483,648 bytes"),
    "cast": ({"op": "Cast", "attrs": {"DstT": "uint8"}}, [np.ones(2**27 + 1, "?")], "makes 1,073,741,832 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", RUN)
def test_what_is_executed(name: str) -> None:
    node, operands, expected = RUN[name]
    run = TfRunner(tf, False)
    made = TfNode(**{"name": "a", "inputs": (), "attrs": {}, **node})
    if isinstance(expected, str):
        with pytest.raises(CompileError, match=expected):
            run(made, operands)
    else:
        for found, value in zip(run(made, operands), expected, strict=True):
            np.testing.assert_array_equal(np.asarray(found), value)


def test_no_other_op_is_executed() -> None:
    known = {op for op in dir(tf.raw_ops) if not op.startswith("__")}
    for op in (known | allowed.KEPT | allowed.SAVER | allowed.CALLS | allowed.CONTROL) - allowed.PURE:
        with pytest.raises(UnsupportedOpError, match=rf"^op {op} \('a'\) (may do more|only comp).*unsafe=True"):
            tf_run.check_pure(TfNode(op, "a", (), {}))
    for op in allowed.PURE:
        tf_run.check_pure(TfNode(op, "a", (), {}))


def test_what_is_executed_of_a_trusted_model() -> None:
    run = TfRunner(tf, True)
    empty = TfNode("Empty", "a", (), {"dtype": "float32", "init": True})
    assert run(empty, [np.array([2], "i4")])[0].numpy().tolist() == [0.0, 0.0]
    for op in ("MyOwnOp", "__doc__"):
        with pytest.raises(UnsupportedOpError, match=rf"op {op} \('a'\) cannot be executed"):
            run(TfNode(op, "a", (), {}), [])


@pytest.mark.parametrize(("op", "operands", "size"), [
    ("Add", [np.zeros((5, 1), "f4"), np.zeros(3, "f4")], 60), ("Relu", [np.zeros(3, "f8")], 24),
    ("Select", [np.zeros(3, "?"), np.zeros(3, "f8"), np.zeros(3, "f8")], 24), ("Cast", [np.zeros(3, "?")], 24),
    ("Tile", [np.zeros((2, 3), "f4"), np.array([3, 1], "i4")], 72), ("Max", [np.zeros(3), np.int32(0)], 24),
    ("TopKV2", [np.zeros(9, "f4"), np.int32(5)], 40), ("Tile", [np.zeros((2, 3), "f4"), np.zeros(2000, "i4")[:2]], 0),
    ("Max", [np.zeros((5, 0), "f4"), np.int32(1)], 20), ("ArgMax", [np.zeros((5, 1), "i1"), np.int32(1)], 40),
    ("Where", [np.zeros((3, 4), "?")], 192), ("Shape", [np.zeros((3, 4), "?")], 16),
])  # fmt: skip
def test_sizes_of_results(op: str, operands: list[Any], size: int) -> None:
    attributes = {"DstT": "int8"} if op == "Cast" else {}
    assert TfRunner(tf, False).size(TfNode(op, "a", (), attributes), [np.asarray(o) for o in operands]) == size


WINDOW = {"strides": [1, 1, 1, 1], "padding": "VALID"}
POOL = {"ksize": [1, 2, 3, 1], **WINDOW}


@pytest.mark.parametrize(("op", "shapes", "attributes", "count"), [
    ("MatMul", [(2, 3), (3, 5)], {}, 30), ("MatMul", [(3, 2), (3, 5)], {"transpose_a": True}, 30),
    ("MatMul", [(2, 3), (5, 3)], {"transpose_b": True}, 30), ("BatchMatMulV2", [(4, 2, 3), (4, 3, 5)], {}, 120),
    ("BatchMatMulV2", [(4, 3, 2), (4, 3, 5)], {"adj_x": True}, 120),
    ("SparseTensorDenseMatMul", [[[0, 1], [3, 2], [0, 0]], (3,), [4, 4], (2, 4)], {"adjoint_b": True}, 12),
    ("Conv2D", [(1, 4, 6, 4), (3, 2, 4, 5)], WINDOW, 1200),
    ("DepthwiseConv2dNative", [(1, 4, 6, 4), (3, 2, 4, 2)], WINDOW, 480),
    ("Conv2DBackpropInput", [np.int32([1, 6, 7, 5]), (3, 2, 5, 4), (1, 4, 6, 4)], WINDOW, 2880),
    ("MaxPool", [(1, 4, 6, 4)], POOL, 288), ("AvgPool", [(1, 4, 6, 4)], POOL, 288),
])  # fmt: skip
def test_products(op: str, shapes: list[Any], attributes: dict[str, Any], count: int, at_most: Any) -> None:
    operands = [np.ones(x, np.float32) if isinstance(x, tuple) else np.asarray(x) for x in shapes]
    node, message = TfNode(op, "a", (), attributes), f"computes {count:,} products or comparisons; at most"
    at_most(tf_run, "MOST_WORK", count, message, lambda: TfRunner(tf, False)(node, operands))


def test_windows_have_a_number_for_each_dimension() -> None:
    """A kernel with too few strides ends the process."""
    for op in sorted(PURE):
        definition = TfRunner(tf, False).definition(op)
        names = {a.name for a in definition.attr} & {"ksize", "strides", "dilations", "explicit_paddings"}
        for name in names:
            right = {0, 8} if name == "explicit_paddings" else {4}
            for count in range(10):
                node = TfNode(op, "a", (), {name: [1] * count})
                if count in right:
                    check_attributes(definition, node)
                    continue
                with pytest.raises(CompileError, match=f"op {op} .* cannot be executed: {name}: found "):
                    check_attributes(definition, node)


def test_largest_result(at_most: Any) -> None:
    node, operands = TfNode("Tile", "a", (), {}), [np.zeros((2, 3), "f4"), np.array([3, 1], "i4")]
    at_most(
        tf_run, "MOST_BYTES", 72, "makes 72 bytes; at most 71 are made", lambda: TfRunner(tf, False)(node, operands)
    )


@pytest.mark.parametrize("node", [TfNode("Tile", "a", (), {}), TfNode("Add", "a", (), {})])
def test_a_result_that_grows_with_the_batch(node: TfNode, at_most: Any) -> None:
    """A size is remembered for the operands that it was found for."""
    other = np.array([2, 1], "i4") if node.op == "Tile" else np.zeros((2, 1, 1), "f4")

    def batches() -> None:
        run = TfRunner(tf, False)
        for rows in (1, 7, 3):
            run(node, [np.zeros((rows, 3), "f4"), other])

    at_most(tf_run, "MOST_BYTES", 168, "makes 168 bytes; at most 167 are made", batches)
