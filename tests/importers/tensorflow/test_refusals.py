# SPDX-License-Identifier: Apache-2.0
"""Each refusal of what reads a graph is met by a model, or by a node and its operands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.text_format import Parse
from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.core.framework.tensor_pb2 import TensorProto

from bnn.errors import CompileError
from bnn.importers.common import limits
from bnn.importers.tensorflow import graphdef
from bnn.importers.tensorflow.frozen import TfNode, from_function, numbers
from bnn.importers.tensorflow.run import TfRunner

from ..refusals import unmet, without_remedy
from .models import drawn, frozen, hand_made, import_model
from .test_attributes import REFUSED
from .test_counts import OTHERS
from .test_every_op import OPS, judged, variants
from .test_parts import RUN

FILES = [f"tensorflow/{name}.py" for name in ("counts", "frozen", "graphdef", "ops", "run", "sizes", "source")]


def node(op: str, name: str, *inputs: str, **attributes: Any) -> TfNode:
    return TfNode(op, name, tuple((i, 0) for i in inputs), attributes)


def run(op: str, *operands: Any, **attributes: Any) -> Callable[[], object]:
    return lambda: TfRunner(tf, False)(TfNode(op, "a", (), attributes), operands)


def named(name: str) -> Any:
    """A function with a node of this name."""
    made = FunctionDef()
    made.node_def.add(name=name, op="NoOp")
    return made


def zeros(*shape: int) -> Any:
    """That take no memory."""
    return np.broadcast_to(np.float32(0), shape)


def input_of(*shape: int, dtype: str = "float32") -> Callable[[], object]:
    return lambda: import_model(drawn(tf.identity, shape, dtype)[0])


def function(text: str, **others: str) -> Callable[[], object]:
    """A function of x, which calls others."""

    def made(name: str, body: str) -> Any:
        found = Parse(body, FunctionDef())
        found.signature.name = name
        return found

    return lambda: from_function(tf, made("f", text), {name: made(name, body) for name, body in others.items()})


def convolution(op: str, **attributes: Any) -> Callable[[], object]:
    """Of attributes that TensorFlow's kernels for processors do not execute, as if they did."""
    plain = {"strides": [1] * 4, "dilations": [1] * 4, "padding": "VALID"}
    inputs = ("size", "w", "x") if op == "Conv2DBackpropInput" else ("x", "w")
    nodes = [node("Const", "w", value=zeros(1, 1, 4, 4)), node("Const", "size", value=np.int32([3, 6, 7, 4]))]
    return lambda: import_model(hand_made(*nodes, node(op, "y", *inputs, **plain | attributes), shape=(6, 7, 4)))


X = 'signature { input_arg { name: "x" } output_arg { name: "y" } } ret { key: "y" value: "n:activations:0" }'
TYPES = "".join(f'attr {{ key: "{key}" value {{ list {{ type: DT_FLOAT }} }} }}' for key in ("Tin", "Tout"))
CALLED = f'{TYPES} attr {{ key: "f" value {{ func {{ name: "g" }} }} }}'
CALL = f'node_def {{ name: "n" op: "PartitionedCall" input: "x" {CALLED} }}'
OTHER = 'signature { input_arg { name: "x" } } node_def { name: "n" op: "Relu" input: "x" }'
TWO = 'signature { input_arg { name: "x" } input_arg { name: "y" } }'
CASES: dict[str, tuple[Callable[[], object], str]] = {
    "an input without elements": (input_of(0), "only the batch size may be unknown"),
    "an input of integers": (input_of(4, dtype="int32"), "input 'x' is int32; supported: float32"),
    "a large input": (input_of(2**27), r"3 of them are 1,610,612,736 bytes; at most 1,073,741,824 are read"),
    **{
        f"{name} over dimension {axis}": (
            convolution("Conv2D", **{name: [2 if i == axis else 1 for i in range(4)]}), "over the batch or the chan",
        ) for name in ("strides", "dilations") for axis in (0, 3)
    },
    **{
        f"a transposed dilation over dimension {axis}": (
            convolution("Conv2DBackpropInput", dilations=[2 if i == axis else 1 for i in range(4)]), "a dilation",
        ) for axis in range(4)
    },
    "a result that is not there": (
        lambda: import_model(hand_made(node("Relu", "a", "x"), TfNode("Relu", "b", (("a", 1),), {}))),
        "reads result 1 of 'a', which has fewer",
    ),
    "itself": (
        lambda: import_model(hand_made(node("Identity", "a", "b"), node("Identity", "b", "a"), node("Relu", "c", "b"))),
        "passes on its own result",
    ),
    "an op of another program": (
        lambda: TfRunner(tf, True)(TfNode("Mine", "a", (), {}), []), r"op Mine \('a'\) cannot be executed",
    ),
    "long names": (lambda: from_function(tf, named("n" * 2**26 + "n"), {}), "nodes have more than 67,108,864 char"),
    "no value": (run("Const"), r"op Const \('a'\) has no value of numbers"),
    "many products": (run("MatMul", zeros(2**14, 2**13), zeros(2**13, 2**14)), "computes 2,199,023,255,552 products"),
    "a large operand": (run("Relu", zeros(2**28 + 1)), r"operand 0 of shape \(268435457,\) is 1,073,741,828 bytes"),
    "too many operands": (run("Relu", zeros(3), zeros(3)), "2 operands; expected 1"),
    "too few operands": (run("AddV2", zeros(3)), "1 operands; expected 2"),
    "no numbers": (run("Relu", np.array(["text"])), "operand 0 is .* of 1 dimensions; expected numbers"),
    "many dimensions": (run("Relu", zeros(*[1] * 9)), "of 9 dimensions; expected numbers of at most 8"),
    "many sizes": (run("Tile", zeros(3), np.ones(33, np.int32)), "multiples has 33 numbers; expected one or two"),
    "no such dimension": (
        run("GatherV2", zeros(3, 4), np.int32([[0]]), np.int32(1), batch_dims=3), "its operands of shapes",
    ),
    "a dimension before the shared ones": (
        run("GatherV2", zeros(3, 4), np.int32([[0]] * 3), np.int32(0), batch_dims=1), "its operands of shapes",
    ),
    "no channels": (
        run("FakeQuantWithMinMaxVarsPerChannel", zeros(), zeros(1), zeros(1)), "its operands of shapes",
    ),
    "an attribute of another kind": (run("LeakyRelu", zeros(3), alpha="1"), "alpha: found '1'"),
    "a type of handles": (run("Cast", zeros(3), DstT="resource"), "DstT: found 'resource'"),
    "a window of nothing": (run("MaxPool", zeros(1, 2, 2, 1), ksize=[1, 0, 1, 1]), r"ksize: found \[1, 0, 1, 1\]"),
    "a large window": (run("MaxPool", zeros(1, 2, 2, 1), strides=[1, 2**15, 1, 1]), r"strides: found \[1, 32768"),
    "a layout of words": (run("BiasAdd", zeros(1, 2), zeros(2), data_format="NCHW_VECT_C"), "data_format: found"),
    "a function with two nodes of one name": (
        function(X + 'node_def { name: "x" op: "Relu" input: "x" }'), "has two nodes of one name",
    ),
    "a function that names nobody": (function(X + 'node_def { name: "n" op: "Relu" input: "z" }'), "which it does not"),
    "an op with another number of operands": (function(X + 'node_def { name: "n" op: "Relu" }'), "takes 1 operands"),
    "an op that nobody knows": (function(X + 'node_def { name: "n" op: "Mine" }'), "op Mine .* is not known"),
    "a type that nobody knows": (
        function(X + 'node_def { name: "n" op: "Relu" input: "x" attr { key: "T" value { type: 99 } } }'), "number 99",
    ),
    "a call with fewer values": (function(X + CALL, g=TWO), "the function 'g' takes 2 values, not 1"),
    "a call with more results": (function(X + CALL, g=OTHER), "the call 'n' has 1 results, and 'g' gives 0"),
    "many results": (
        function(X + 'node_def { name: "n" op: "Unpack" input: "x" attr { key: "num" value { i: 131073 } } }'),
        "has 131,073 results; at most 131,072 are read",
    ),
    "a constant of any rank": (
        lambda: numbers(tf, Parse("dtype: DT_FLOAT tensor_shape { unknown_rank: true }", TensorProto())), "the shape",
    ),
    "a constant of negative size": (
        lambda: numbers(tf, Parse("dtype: DT_FLOAT tensor_shape { dim { size: -2 } }", TensorProto())), r"shape \[-2\]",
    ),
    "a constant of nine dimensions": (
        lambda: numbers(tf, Parse(f"dtype: DT_FLOAT tensor_shape {{ {'dim { size: 1 } ' * 9} }}", TensorProto())), "mo",
    ),
    "a damaged constant": (
        lambda: numbers(tf, Parse('dtype: DT_FLOAT tensor_shape { dim { size: 3 } } tensor_content: "abcde"',
                        TensorProto())), r"a constant of float32 \[3\] is damaged",
    ),
}  # fmt: skip
CHAIN = [node("Relu", "a", "x"), node("Relu", "b", "a"), node("Relu", "c", "b")]
WEIGHTS = np.zeros(5, np.float32)
CONSTANTS = [node("Const", "a", value=WEIGHTS), node("Identity", "b", "a"), node("Const", "c", value=WEIGHTS)]
LIMITS: dict[str, tuple[Any, str, int, str, Any]] = {
    # module; name of the limit; what a graph needs; the message; the graph
    "an input": (graphdef, "MOST_BYTES", 60, "3 of them are 60 bytes; at most 59 are read", hand_made()),
    "an input of bytes": (
        graphdef, "MOST_BYTES", 15, "3 of them are 15 bytes; at most 14 are",
        hand_made(node("Cast", "c", "x", DstT="float32"), dtype="uint8"),
    ),
    "constants": (  # all together, those behind aliases once
        limits, "LEAST_MADE", 40, "that do not depend on the data are 40 bytes at 'c'; at most 39 are made of",
        replace(hand_made(*CONSTANTS, last="x"), stored=0),
    ),
    "values at one time": (
        limits, "MOST_CONSTANTS", 120, "values of 120 bytes are needed at once; at most 119 are held; if you trust",
        hand_made(*CHAIN),
    ),
    "positions": (
        limits, "MOST_CONSTANTS", 4 * 12 * 70, "positions of moved elements are 3,360 bytes",
        frozen(lambda x: tf.reverse(x, [1]), (3, 4)),
    ),
    "constants of shapes": (
        limits, "MOST_CONSTANTS", 4 * 12 * 1012, "depend only on the shape of the data are 48,576 bytes at 'ones_like'",
        frozen(lambda x: x + tf.ones_like(x), (3, 4)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name: str, at_most: Any) -> None:
    """What a graph needs is read; with a limit of one less, it is refused."""
    *limit, graph = LIMITS[name]
    at_most(*limit, lambda: import_model(graph))


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str) -> None:
    make, message = CASES[name]
    with pytest.raises(CompileError, match=message):
        make()


ELSEWHERE = {
    "tensorflow/frozen.py _node: nodes, with those of the functions that": "test_hostile_saved_models.py",
    "tensorflow/graphdef.py _check_positions: the positions of moved elements are": "test_limits",
    "tensorflow/graphdef.py _read: raise source.misread(shape[1:], result.t": "test_loading.py",
    "tensorflow/run.py size: ): the size of its result is not known b": None,  # of no op that is executed today
}
"""Refusals that other tests meet: which."""


def test_every_refusal_has_a_model(rng: np.random.Generator) -> None:
    calls = [make for make, _ in CASES.values()]
    calls += [lambda f=f, shape=shape: import_model(frozen(f, shape)) for shape, f, _ in REFUSED.values()]
    calls += [lambda f=f: import_model(frozen(f, (2, 4))) for f, _ in OTHERS.values()]
    calls += [
        run(given["op"], *operands, **given.get("attrs", {})) for given, operands, said in RUN.values()
        if isinstance(said, str)
    ]  # fmt: skip
    errors: list[BaseException] = []
    for call in calls:
        with pytest.raises(CompileError) as caught:
            call()
        errors.append(caught.value)
    for op in OPS:
        for case, message in variants(op):
            if message:
                judged(op, case, rng, errors=errors)
    assert unmet(FILES, errors) == ELSEWHERE.keys()
    assert not without_remedy(errors)
