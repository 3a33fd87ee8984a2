# SPDX-License-Identifier: Apache-2.0
"""How models are loaded and frozen, part by part: names, shapes, the order of nodes, and what weights may take."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf

from bnn.errors import CompileError, SetupError, UnsupportedOpError
from bnn.importers.common import limits
from bnn.importers.tensorflow import load as tensorflow
from bnn.importers.tensorflow.frozen import Frozen, TfNode
from bnn.importers.tensorflow.graphdef import read
from bnn.importers.tensorflow.ops import READERS
from bnn.importers.tensorflow.source import TfSource
from bnn.ir import interpret
from bnn.ir.graph import DType
from bnn.ir.ops import PadChannelsAttrs, input_node

from .models import drawn, hand_made, needs_keras3

keras = tf.keras


NAMES: list[tuple[Any, int, Any, list[str]]] = [
    (["a", "b"], 2, None, ["a", "b"]), (["x", "y"], 2, ["b", "a"], ["a", "b"]), (["a"], 2, None, ["", ""]),
    (["a", "b"], 1, None, [""]), (None, 1, None, [""]), (["a"] * 3, 3, None, ["a", "a_1", "a_2"]),
    (["a", "a_1", "a"], 3, None, ["a", "a_1", "a_2"]), (["a", "a", "a_1"], 3, None, ["a", "a_2", "a_1"]),
]  # fmt: skip


@pytest.mark.parametrize(("names", "count", "keys", "expected"), NAMES)
def test_names_of_outputs(names: Any, count: int, keys: Any, expected: list[str]) -> None:
    class Made:
        output_names = names

        def __call__(self, x: Any, training: bool) -> Any:
            results = [x + float(i) for i in range(count)]
            return dict(zip(keys, results, strict=True)) if keys else results

    assert tensorflow.freeze(Made(), input_shape=(2,)).output_names == expected


def node(op: str, name: str, *inputs: str, **attributes: Any) -> TfNode:
    return TfNode(op, name, tuple((i, 0) for i in inputs), attributes)


def needed(
    nodes: list[TfNode], inputs: list[str], *outputs: str, unsafe: bool = False, shape: Any = None
) -> dict[str, TfNode]:
    results = [(name, 0) for name in outputs]
    found = tensorflow.freeze_nodes(tf, nodes, inputs, results, [""] * len(results), unsafe, shape)
    return {n.name: n for n in found.nodes}


def test_operands_come_first() -> None:
    nodes = [
        node("Relu", "d", "b", "c"), node("Relu", "c", "b"), node("Relu", "b", "a"), node("Placeholder", "a"),
        node("Relu", "e"),
    ]  # fmt: skip
    assert [*needed(nodes, ["a"], "d")] == ["a", "b", "c", "d"]
    assert [*needed(nodes, [], "e", "c")] == ["e", "a", "b", "c"]
    nodes[2] = node("Relu", "b", "d")
    with pytest.raises(UnsupportedOpError, match="is part of a loop or a branch"):
        needed(nodes, [], "d")


@pytest.mark.parametrize(("op", "unsafe", "message"), [
    ("Relu", False, None), ("Placeholder", False, None), ("Empty", False, "may do more than compute"), ("Empty", True,
    None),
    ("Switch", False, None), ("NoOp", False, "may do more than compute"), ("While", True, "part of a loop or a branch"),
    ("If", False, "part of a loop or a branch"), ("StatelessCase", True, "part of a loop or a branch"),
])  # fmt: skip
def test_nodes_that_are_needed(op: str, unsafe: bool, message: str | None) -> None:
    nodes = [node("Relu", "y", "x"), node(op, "x"), node("WriteFile", "nobody needs it"), node("While", "nor this")]
    if message is None:
        assert [*needed(nodes, [], "y", unsafe=unsafe)] == ["x", "y"]
    else:
        with pytest.raises(UnsupportedOpError, match=rf"op {op} \('x'\).*{message}"):
            needed(nodes, [], "y", unsafe=unsafe)


@pytest.mark.parametrize(("own", "shape", "expected"), [
    ([-1, -1, 4], (3, 4), [-1, 3, 4]), ([2, 3, 4], (3, 4), [-1, 3, 4]), (None, (3,), [-1, 3]), ([], (3,), [-1, 3]),
    ([-1, 3, 4], (3, 5), None), ([-1, -1, 4], (4,), None), ([-1, 0], (3,), None),
])  # fmt: skip
def test_shapes_of_saved_models(own: Any, shape: tuple[int, ...], expected: Any) -> None:
    nodes = [node("Placeholder", "x", shape=own, dtype="float32"), node("Relu", "y", "x")]
    if expected is None:
        with pytest.raises(CompileError, match="give sizes that it accepts"):
            needed(nodes, ["x"], "y", shape=shape)
    else:
        made = {"x": node("Placeholder", "x", shape=expected, dtype="float32"), "y": nodes[1]}
        assert needed(nodes, ["x"], "y", shape=shape) == made
    with pytest.raises(CompileError, match="the model has 2 inputs"):
        needed([*nodes, node("Placeholder", "x2")], ["x", "x2"], "y", shape=shape)


@pytest.mark.parametrize(("options", "size"), [
    ({"initial_value": lambda: tf.zeros([2, 3])}, 24), ({"initial_value": np.zeros((2, 3))}, 48),
    ({"initial_value": np.zeros(3), "dtype": "int8"}, 3), ({"initial_value": 1.0}, 4),
    ({"initial_value": lambda: tf.zeros([2**20, 2**20])}, 2**42),
    ({"initial_value": lambda: tf.zeros([5]), "shape": (2,)}, 8),
    ({"initial_value": lambda: tf.zeros([5], tf.int8), "dtype": tf.float64}, 5),
    ({"initial_value": lambda: tf.zeros([5], tf.float64), "dtype": tf.float64, "shape": (None,)}, 0),
])  # fmt: skip
@pytest.mark.parametrize("hidden", [False, True])
def test_sizes_of_variables(options: dict[str, Any], size: int, hidden: bool) -> None:
    """All together are refused before the last is made; also where whoever makes it makes another error of it."""
    stored = size + 12 - 2**26

    def make() -> None:
        tf.Variable(np.zeros(3, np.float32))
        with contextlib.suppress(CompileError if hidden else ()):
            tf.Variable(**options)

    if size < 2**40 and (options.get("shape") == (None,) or not {"shape", "dtype"} & {*options}):
        with tensorflow.limited_variables(tf, Path("net.h5"), stored):
            make()
    message = f"net.h5: what its layers have as weights is {size + 12:,} bytes; at most {size + 11:,} are read"
    limited = tensorflow.limited_variables(tf, Path("net.h5"), stored - 1)
    with pytest.raises(CompileError, match=message if size else "is 12 bytes; at most 11"), limited:
        make()


@needs_keras3
def test_which_keras() -> None:
    assert tensorflow.keras_of(tf, "3.1") is keras3 is tensorflow.keras_of(tf, "4.0")
    assert tensorflow.keras_of(tf, "2.15.0").Model is keras.Model
    newer = SimpleNamespace(keras=SimpleNamespace(__version__="3.0"))
    with pytest.raises(SetupError, match="TF_USE_LEGACY_KERAS=1"):
        tensorflow.keras_of(newer, "2.15.0")


def test_a_keras_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(SetupError, match="written by Keras 3.9; pip install keras"):
        tensorflow.keras_of(tf, "3.9")


def test_a_tensorflow_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    needed = "needs TensorFlow, .*install the extra tensorflow: pip .*; models of Larq need this, too: pip .*'larq>="
    with pytest.raises(SetupError, match=needed):
        tensorflow.tensorflow()
    with pytest.raises(CompileError, match="absent.keras: no such file or folder; expected a .keras"):
        tensorflow.freeze("absent.keras")  # which needs no TensorFlow


def test_folders_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="a folder is read as a graph, and loaded as a model only with unsafe=True"):
        tensorflow.load_keras(tmp_path)
    with pytest.raises(CompileError, match="without saved_model.pb"):
        tensorflow.load_keras(tmp_path, unsafe=True)
    with pytest.raises(CompileError, match="no such file or folder"):
        tensorflow.load_keras(tmp_path / "absent")


def test_what_is_frozen_already() -> None:
    made = Frozen([], [], [], [], [], lambda *_: [], lambda *_: np.zeros(0))
    assert tensorflow.freeze(made) is made


def source(node: TfNode, nodes: list[TfNode] = [], foreign: frozenset[str] = frozenset()) -> TfSource:  # noqa: B006
    graph = Frozen([node, *nodes], [], [], [], [], lambda *_: [], lambda *_: np.zeros(0))
    reader = SimpleNamespace(frozen=graph, dependent=set(), slopes={}, growing=set(), constants={}, foreign=foreign)
    return TfSource(reader, node)  # type: ignore[arg-type]


@pytest.mark.parametrize(("op", "foreign", "final", "origin", "tap"), [
    ("Relu", False, True, "a/r:0", "a/r"), ("Sign", False, True, "a/r:0", "a/input"), ("Relu", True, True, "a/r:0", ""),
    ("Sign", True, True, "a/r:0", ""), ("Relu", False, False, "", ""),
])  # fmt: skip
def test_which_values_are_shown(op: str, foreign: bool, final: bool, origin: str, tap: str) -> None:
    """Those that do not leave their layer; what leaves it is the layer's output."""
    one = source(node(op, "a/r"), foreign=frozenset({"a/r"} if foreign else ()))
    made = one.make("sign", input_node("x", (3,)), final=final)
    assert (made.name, made.origin, made.tap) == ("a", origin, tap)
    assert one.make("sign", input_node("x", (3,)), output=2).origin == "a/r:2"


@pytest.mark.parametrize(("count", "joins"), [(1, 1), (32, 1), (33, 3), (65, 4), (1025, 36)])
def test_many_parts_are_joined_a_few_at_a_time(count: int, joins: int) -> None:
    one = source(node("ConcatV2", "a"))
    made = one.concat([input_node(f"x{i}", (1,)) for i in range(count)], final=True)
    nodes, found = [made], {made}
    while nodes:
        new = [x for n in nodes for x in n.inputs if x.op == "concat"]
        nodes, found = new, found | {*new}
    assert len(found) == joins and max(len(n.inputs) for n in found) <= 32 and made.type.shape == (count,)


def test_what_makes_an_operand() -> None:
    nodes = [node("Placeholder", "p"), node("Relu", "r", "p"), node("Squeeze", "s", "r"), node("Squeeze", "t", "s")]
    one = source(node("Neg", "a", "t"), nodes)
    assert [one.producer(0, through).tf.name for through in ((), ("Squeeze",))] == ["t", "r"]  # type: ignore[union-attr]
    assert source(node("Neg", "a", "p"), nodes).producer(0) is None


def test_constants_that_differ_over_the_batch() -> None:
    one = source(node("Add", "a", "c"), [node("Const", "c")])
    reader: Any = one.reading

    def same(value: Any, growing: bool = False, slopes: bool = False) -> Any:
        reader.constants = {("c", 0): np.asarray(value, np.float32)}
        reader.growing, reader.slopes = ({("c", 0)} if growing else set()), ({("c", 0): 0} if slopes else {})
        return one.same_for_all(0).tolist()

    assert same([[1, 2]]) == [[1, 2]] and same([[2, 2]]) == [[2]] and same([[1, 1.5]]) == [[1, 1.5]]
    assert same([[1, 2]] * 3, growing=True) == [[1, 2]]
    for value, options, message in (
        ([[1, 2]] * 3, {}, "differs over the batch"), ([[1, 2]] * 2, {"growing": True}, "differs over the batch"),
        ([[1, 2], [1, 2], [1, 3]], {"growing": True}, "differs over"), ([[1, 2]], {"slopes": True}, "number of images"),
        ([[1, 2]] * 3, {"growing": True, "slopes": True}, "number of images"),
    ):  # fmt: skip
        with pytest.raises(UnsupportedOpError, match=message):
            same(value, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("shape", "fine"), [
    ([-1, 5], True), ([7, 5], True), ([-1, 1], True), ([0, 5], True), ([-1, 2, 3, 4], True), ([], False), ([-1], False),
    ([5], False), ([-1, 0], False), ([-1, -1], False), ([-1, 5, 0], False), ([-1, -1, 5], False), (None, False),
])  # fmt: skip
def test_shapes_of_inputs(shape: Any, fine: bool) -> None:
    made = hand_made()
    made.by_name["x"].attrs["shape"] = shape
    if fine:
        assert read(made).inputs[0].type.shape == tuple(shape[1:])
    else:
        with pytest.raises(CompileError, match="only the batch size may be unknown"):
            read(made)


CAST = node("Cast", "c", "x", DstT="float32")


@pytest.mark.parametrize(("own", "wanted", "expected"), [
    ("float32", None, "float32"), ("float32", "uint8", "uint8"), ("float32", "int8", "int8"), ("uint8", None, "uint8"),
    ("int8", None, "int8"), ("int8", "float32", "float32"), ("uint8", "uint8", "uint8"), ("int16", None, "float32"),
    ("int16", "float32", "float32"), ("float32", {"b": "int8"}, "float32 int8"), ("float32", {}, "float32"),
    ("uint8", "int8", "is uint8 in the model, which int8 cannot hold"), ("int16", "uint8",
    "which uint8 cannot hold"),
    ("int8", "uint8", "is int8 in the model, which uint8 cannot hold"), ("float32", "int16",
    "found 'int16', expected fl"),
    ("float32", {"c": "int8"}, "found 'c', expected names of inputs: a, b, x"),
    ("float32", {"a": "bool"}, "found 'bool'"),
])  # fmt: skip
def test_what_a_network_takes(own: str, wanted: Any, expected: str) -> None:
    made = hand_made(CAST, last="a", dtype=own, labels=("a", "b", "x"))
    if " " in expected and expected != "float32 int8":
        with pytest.raises(CompileError, match=expected):
            read(made, wanted)
    else:
        kinds = {"float32": DType.f32, "uint8": DType.u8, "int8": DType.i8}
        names = expected.split() if " " in expected else [expected] * 2
        assert [x.type.dtype for x in read(made, wanted).inputs][:2] == [kinds[name] for name in names]


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_all_bytes(dtype: str) -> None:
    x = np.arange(256, dtype=np.uint8).astype(dtype).reshape(1, 256)
    for made in (hand_made(shape=(256,)), hand_made(CAST, dtype=dtype, shape=(256,))):
        assert np.array_equal(interpret.outputs(read(made, dtype), [x])[0], x.astype(np.float32))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize(
    "function",
    [lambda x: x + x, lambda x: tf.cast(x, tf.float32) + tf.cast(x * x, tf.float32)],
    ids=["sum", "product beside a cast"],
)
def test_integers_that_wrap_around(function: Any, dtype: str) -> None:
    """TensorFlow's own sums and products of pixels are not those of floats, so only casts may read such an input."""
    x = np.full((2, 5), np.iinfo(dtype).max, dtype)
    made, execute = drawn(lambda x: tf.cast(function(x), tf.float32), (5,), dtype)
    exact = np.asarray(function(tf.constant(x, tf.float32)))
    assert (execute(x)[0] < exact).all()
    with pytest.raises(UnsupportedOpError, match=f"input 'x' is {dtype}; .* if the model first casts it to float32"):
        read(made)


def test_constants_in_proportion_to_the_file() -> None:
    """A file of few bytes may not fill memory step by step; one that somebody trusts, or that stores more, may.
    What is behind aliases counts once."""
    most, more = np.zeros(limits.LEAST_MADE // 4, np.float32), np.zeros(limits.MADE, np.float32)
    nodes = [node("Const", "most", value=most), node("Identity", "same", "most"), node("Const", "more", value=more)]
    for stored, allowed in ((0, 2**27), (3, 2**27 + 192), (4, None), (None, None)):
        said = "" if allowed is None else f"data are {2**27 + 256:,} bytes at 'more'; at most {allowed:,} are made of"
        with pytest.raises(CompileError, match=said) if said else contextlib.nullcontext():
            read(replace(hand_made(*nodes, last="x"), stored=stored))


@pytest.mark.parametrize("order", ["NCHW", "NCDHW"])
def test_channels_first(order: str) -> None:
    """Refused before anything is executed; in training mode they are Keras' layer normalization."""
    made = node("FusedBatchNormV3", "n", "x", "a", "a", "a", "a", data_format=order, is_training=False)
    weights = node("Const", "a", value=np.zeros(1, np.float32))
    with pytest.raises(UnsupportedOpError, match=f"data format {order}; build the model with channels last"):
        read(hand_made(weights, made))
    made.attrs["is_training"] = True
    with pytest.raises(UnsupportedOpError, match="batch norm in training mode"):
        read(hand_made(weights, made))


@pytest.mark.parametrize("added", [(1, 0), (0, 0)])
def test_what_is_read_has_tensorflows_shape(added: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def wider(s: TfSource) -> Any:
        return s.make("pad_channels", s.value(0), attrs=PadChannelsAttrs(*added, 0.0))

    monkeypatch.setitem(READERS, "Relu", wider)
    made = hand_made(node("Relu", "r", "x"), shape=(2, 5))
    if any(added):
        with pytest.raises(
            CompileError, match=r"layer 'r': Relu \('r'\) is read as f32\[2, 6\], but the model has \(2, 5\)"
        ):
            read(made)
    else:
        read(made)
