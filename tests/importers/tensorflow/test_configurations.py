# SPDX-License-Identifier: Apache-2.0
"""What may stand in the configuration of a Keras file, entry by entry: nothing is loaded here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from bnn.errors import CompileError
from bnn.importers.tensorflow import keras_files
from bnn.importers.tensorflow.keras_files import check_trusted
from bnn.importers.tensorflow.keras_objects import VALUES

keras = tf.keras
Entry = dict[str, Any]


class Mine(tf.keras.layers.Layer):  # type: ignore[misc]
    pass


@keras.saving.register_keras_serializable("configurations")
def squashed(x: Any) -> Any:
    return x


@keras.saving.register_keras_serializable("configurations", "lowered")
class Registered(tf.keras.layers.Layer):  # type: ignore[misc]
    pass


HERE, PACKAGE = __name__, keras.layers.Layer.__module__.partition(".")[0]
SQUASHED, LOWERED = "configurations>squashed", "configurations>lowered"


def layer(name: str, module: str = "keras.layers", **more: Any) -> Entry:
    return {"class_name": name, "module": module, "config": {}, **more}


def function(name: Any, module: str, registered: Any = None) -> Entry:
    return {"class_name": "function", "module": module, "config": name, "registered_name": registered}


def op(symbol: Any, *calls: Any, **more: Any) -> Entry:
    return {
        "class_name": "TFOpLambda",
        "config": {"function": symbol},
        **({"inbound_nodes": list(calls)} if calls else {}),
        **more,
    }


TENSOR = {"class_name": "__keras_tensor__", "config": {"shape": [3], "dtype": "float32", "keras_history": ["a", 0, 0]}}


def lam(**options: Any) -> Entry:
    return {"class_name": "Lambda", "config": options}


ALLOWED: dict[str, Any] = {
    "nothing": None,
    "no entries": [1, "a", [None, {"name": 3}]],
    "layers": [layer("Dense"), layer("Dense", "keras.src.layers.core.dense"), layer("Dense", f"{PACKAGE}.layers")],
    "a model": [layer("Sequential", "keras"), layer("Functional", "keras.src.engine.functional")],
    "parts": [
        layer("Zeros", "keras.initializers"), layer("L2", "keras.regularizers"),
        layer("Policy", "keras.mixed_precision"), layer("Adam", "keras.optimizers"),
        layer("Adam", "keras.optimizers.legacy"),
    ],
    "an older name": [layer("Convolution2D"), layer("AvgPool2D"), {"class_name": "BatchNormalizationV1"}],
    "without a module": [{"class_name": "Dense"}, {"class_name": "Dense", "module": None}, {"module": "subprocess"}],
    "the same name twice": layer("Dense", registered_name="Dense"),
    "no registered name": layer("Dense", registered_name=None),
    "an activation": function("relu", "keras.activations"),
    "a loss": function("mean_squared_error", "keras.losses"),
    "of Keras, as it writes it": function("relu", "builtins"),
    "a registered function": function(SQUASHED, "builtins"),
    "a registered function of a module": function(SQUASHED, "elsewhere", SQUASHED),
    "a registered class": layer("Registered", "nowhere", registered_name=LOWERED),
    "a registered class by its name": layer(LOWERED, "nowhere"),
    "of Keras, as it writes functions": function("relu", "builtins", "function"),
    "texts": layer("Dense") | {"config": {
        "activation": "relu", "kernel_initializer": "glorot_uniform", "bias_constraint": None,
        "kernel_regularizer": "l2", "recurrent_activation": SQUASHED,
    }},
    "values": [{"class_name": name, "config": {}} for name in sorted(VALUES)],
    "a layer that is called": layer("Add") | {"inbound_nodes": [[["a", 0, 0, {}], ["_CONSTANT_VALUE", -1, [1.5], {}]]]},
    "a layer that is called with options": layer("Add") | {"inbound_nodes": [[["a", 0, 0, {"training": False}]]]},
    "a layer that Keras 3 calls": layer("Add") | {
        "inbound_nodes": [{"args": [[TENSOR, 1.0]], "kwargs": {"mode": "a"}}],
    },
    "a Lambda layer of a function by name": [lam(function=f, function_type="function") for f in ("relu", SQUASHED)],
    "a Lambda layer of Keras 3": lam(function=function("relu", "keras.activations")),
    "a call": [op("math.abs"), op("compat.v1.where_v2"), op("nn.relu", ["a", 0, 0, {}]), op("add", ["a", 1, 2])],
    "a call of two": op("math.add", [[["a", 0, 0, {"y": 1.0}]]], [["b", 0, 0]]),
    "a call of a tensor by a name": op("concat", ["_CONSTANT_VALUE", -1, 1, {"values": [["a", 0, 0]]}]),
    "a vocabulary": layer("StringLookup") | {"config": {"vocabulary": ["a", "b"]}},
    "a slice": {"class_name": "SlicingOpLambda", "config": {"function": "__operators__.getitem"}},
}  # fmt: skip


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed(name: str) -> None:
    check_trusted(Path("net.keras"), {"config": {"layers": [ALLOWED[name]]}}, keras)


CODE, LAYER = "a Python function, which would run", "a Lambda layer, whose Python code would run"
PART = "which is not on the list of what networks are made of"
CALL, ALONE = "a call of the TensorFlow function", "on constants only"
REFUSED: dict[str, tuple[Any, str]] = {
    "a function of Python": ({"class_name": "__lambda__"}, CODE),
    "a function of Python by another name": (layer("Dense", registered_name="a>__lambda__"), PART),
    "deep down": ([[{"a": {"b": [{"class_name": "__lambda__"}]}}]], CODE),
    **{f"code, {part}": (lam(function="x") | {"config": {f"{part}_type": "lambda"}}, LAYER)
       for part in ("function", "output_shape", "mask")},
    "code in another layer": (layer("Dense") | {"config": {"mask_type": "lambda"}}, LAYER),
    "code, of no type": (lam(function=["4w=="]), LAYER),
    "code, a layer": (lam(function=layer("Dense")), LAYER),
    "code, the last of several": ([1, [None, {"class_name": "__lambda__"}]], CODE),
    "code, raw": (lam(function="4w==", function_type="raw"), LAYER),
    "code of another class": (lam(function={"class_name": "__lambda__", "config": {}}), "code would run"),
    "a dotted class": (layer("x.__lambda__"), PART),
    "a registered Lambda that is not": (layer("My>Lambda"), PART),
    "a Lambda by the other name": (layer("Dense", registered_name="Lambda"), PART),
    **{f"{name}, which does more": (layer(name), f"the class '{name}'.*{PART}") for name in (
        "TFSMLayer", "DenseFeatures", "JaxLayer", "FlaxLayer", "TorchModuleWrapper", "Layer", "Wrapper", "InputSpec",
        "add", "deserialize", "Input")},
    "by its module": (layer("keras.layers.TFSMLayer"), PART),
    "parts by the name": (layer("layers.Dense", "keras"), PART),
    "an unknown class": ({"class_name": "Popen"}, "an object of the class 'Popen', which is not on the list"),
    "an unknown class of no module": ({"class_name": "Popen", "module": None}, PART),
    "no name": ({"class_name": 3}, "an entry with the class_name 3, which is not a name"),
    "a type": (layer("__typespec__", spec_name="TensorSpec"), PART),
    "an older class of no module that is here": (layer("Dense", "keras.not_here"), PART),
    "an internal part": (layer("Dense", "keras.__internal__.layers"), PART),
    "a class by what it is not": (layer("Dense", registered_name="get_file"), PART),
    "a class by an empty name": (layer("Dense", registered_name=""), PART),
    "a text for a function": (layer("Dense") | {"config": {"activation": "deserialize"}},
        r"the function or class 'deserialize' \(activation\)"),
    "a text for an initializer of another part": (layer("ReLU") | {"config": {"initializer": "get"}}, PART),
    "a text for a quantizer": (layer("Dense") | {"config": {"input_quantizer": "serialize"}}, PART),
    "a Lambda layer of another function": (lam(function="deserialize", function_type="function"),
        r"the function or class 'deserialize' \(function\)"),
    "a layer called with a text": (layer("Add") | {"inbound_nodes": [[["_CONSTANT_VALUE", -1, ["a"], {}]]]},
        "a call of the layer None with a text"),
    "a layer called with a text beside a tensor": (layer("Add") | {"inbound_nodes": [[["a", 0, 0, {}],
        ["_CONSTANT_VALUE", -1, {"b": "a"}, {}]]]}, "with a text"),
    "a layer that Keras 3 calls with a text": (layer("Add") | {"inbound_nodes": [{"args": [TENSOR, "a"]}]},
        "with a text"),
    "a layer called with numbers": (layer("Add") | {"inbound_nodes": [[["_CONSTANT_VALUE", -1, [1.5], {}]]]}, ALONE),
    "a layer that Keras 3 calls with a list for a name": (layer("Add") | {"inbound_nodes": [{"args": [TENSOR,
        {"class_name": ["a"]}]}]}, "with a text"),
    "a layer that Keras 3 calls with numbers": (layer("Add") | {"inbound_nodes": [{"args": [1.5]}]}, ALONE),
    "a vocabulary": (layer("StringLookup") | {"config": {"vocabulary": "/etc/passwd"}},
        r"another file \('/etc/passwd'\)"),
    "a call": (op("io.write_file", ["a", 0, 0]), f"{CALL} io.write_file, which would run"),
    "a call of another class": ({"class_name": "x>AnyOpLambda", "config": {"function": "io.read_file"}}, PART),
    "a call of no function": ({"class_name": "TFOpLambda"}, f"{CALL} None"),
    "a call of a number": (op("fill", ["_CONSTANT_VALUE", -1, 3]), ALONE),
    "a call of what looks like a number": (op("fill", ["_CONSTANT_VALUE", 0, 0]), ALONE),
    "a call of short lists": (op("fill", ["a", 0]), ALONE),
    "a call of long lists": (op("fill", ["a", 0, 0, {}, 1]), ALONE),
    "a call of other types": (op("fill", ["a", 0.0, 0], ), ALONE),
    "a call of truth": (op("fill", ["a", True, 0]), ALONE),
    "a call of text": (op("fill", "a00"), ALONE),
    "the second of two calls": (op("fill", ["a", 0, 0], ["_CONSTANT_VALUE", -1, 3]), ALONE),
    "calls that are no list": (op("fill") | {"inbound_nodes": {"a": 1}}, ALONE),
    "a function of a module": (function("system", "os"), f"the function 'system' of module 'os', {PART}"),
    "of the language": (function("exec", "builtins"), "the function 'exec' of module 'builtins'"),
    **{f"of the language by the other name, {name}": (function("a", "builtins", name), "the function 'a'")
       for name in ("exec", "eval", "open", "__import__")},
    **{f"of Keras by the other name, {name}": (function("relu", module, name), "the function 'relu'")
       for name, module in (("load_model", "keras.models"), ("get_file", "keras.utils"), ("func_load",
       "keras.src.utils.generic_utils"), ("exec", "builtins"))},
    "of the language, its parts": (function("str.join", "builtins"), "the function 'str.join'"),
    "a builder by its path": (function("schedules.deserialize", "keras.optimizers"), PART),
    "a function that is none": (function(None, "keras.activations"), "of module 'keras.activations'"),
    "of a module like the language": (function("relu", "builtins_"), "the function 'relu' of module 'builtins_'"),
    "of Keras, but none of those": (function("Dense", "keras.layers"), "the function 'Dense'"),
    "of a module like Keras": (function("relu", "keras_.activations"), "the function 'relu'"),
    **{f"a builder of {module}, {name}": (function(name, module), f"the function '{name}'")
       for name in ("deserialize", "get", "serialize") for module in ("keras.activations", "builtins")},
    "a class without a capital": (layer("popen", "subprocess"), "the class 'popen' of module 'subprocess'"),
    "an underscored class without a capital": (layer("__popen", "keras.layers"), PART),
    "one name without a capital": (layer("Dense", registered_name="getenv"), PART),
    "a function of a known class": (function("relu", "os", SQUASHED), "the function 'relu' of module 'os'"),
    "no layer": (layer("Popen", "subprocess"), f"the class 'Popen' of module 'subprocess', {PART}"),
    "a layer of a module that is here": (layer("Mine", HERE), f"the class 'Mine' of module '{HERE}'.*register it"),
    "no part of Keras": (layer("Saver", "keras.saving"), PART),
    "a registered name that is not": (layer("Registered", "subprocess", registered_name="Popen"), PART),
    "another class under a registered name": (layer("Dense", registered_name=LOWERED), PART),
    "a module that is not here": (layer("Layer", "not_here"), "the class 'Layer' of module 'not_here'"),
    "a registered name of none": (layer(LOWERED, "not_here", registered_name=None), "of module 'not_here'"),
    "a registered name that is empty": (layer("Registered", "not_here", registered_name=""), "of module 'not_here'"),
    "a module like Keras": (layer("Dense", "kerasx.layers"), "of module 'kerasx.layers'"),
}  # fmt: skip


def test_a_layer_of_larq_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "larq", None)
    with pytest.raises(CompileError, match=r"Larq, which is not installed: pip install --no-deps 'larq.*if it is your"):
        check_trusted(Path("net.keras"), {"config": {"layers": [layer("QuantBlock", "larq.layers")]}}, keras)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    entry, message = REFUSED[name]
    with pytest.raises(CompileError, match=message) as error:
        check_trusted(Path("net.keras"), {"config": {"layers": [json.loads(json.dumps(entry))]}}, keras)
    assert str(error.value).startswith("net.keras: contains ")


@pytest.mark.parametrize(("content", "message"), [
    (b"hello", "neither a .keras (zip) nor an .h5 (HDF5) file; expected a .keras, .h5,"), (b"", "neither a .keras"),
    (b"\x89BNN and more", "is a compiled network; give the Keras model"), (b"\x89BN", "neither a .keras"),
    (b"\x89SNN and more", "is a compiled network; give the Keras model"),
])  # fmt: skip
def test_other_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    path.write_bytes(content)
    with pytest.raises(CompileError) as error:
        keras_files.read_config(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_a_nir_file(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "net.nir"
    with h5py.File(path, "w") as file:
        file.create_group("node")
        file.create_dataset("version", data="1.0.8", dtype=h5py.string_dtype())
    with pytest.raises(CompileError, match="is a NIR file; compile it with bnn snn compile"):
        keras_files.read_config(path)


def functional(*layers: Entry, **more: Any) -> Entry:
    return {"class_name": "Functional", "config": {"layers": [*layers], "input_layers": [["x", 0, 0]], **more}}


def node(name: str, *calls: Any, kind: str = "Dense", **config: Any) -> Entry:
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": list(calls)}


X = node("x", kind="InputLayer")
INNER = {"layers": [X], "input_layers": [["x", 0, 0]]}
ENDS = {
    "a chain in another order": functional(node("b", [["a", 0, 0, {}]]), node("a", [["x", 0, 0]]), X),
    "a layer called twice": functional(X, node("a", [["x", 0, 0]], [["b", 0, 0]]), node("b", [["a", 0, 0]])),
    "a model within": functional(X, node("m", [["x", 0, 0]], kind="Functional", **INNER), node("b", [["m", 1, 0]])),
    "a sequence within": functional(
        X, node("m", [["x", 0, 0]], kind="Sequential", layers=[X]), node("b", [["m", 1, 0]])
    ),
    "a sequence without its input": functional(
        X, node("m", [["x", 0, 0]], kind="Sequential", layers=[node("a")]), node("b", [["m", 0, 0]])
    ),
    "an empty sequence within": functional(
        X, node("m", [["x", 0, 0]], kind="Sequential", layers=[]), node("b", [["m", 1, 0]])
    ),
    "a name of no layer": functional(X, node("a", [["x", 0, 0, {"mode": ["b", 0, 0]}]])),  # Keras looks in vain, once
    "no calls to look at": {"class_name": "Sequential", "config": {"layers": [{"class_name": "Dense"}]}},
}
WAITS = {
    "a call that is not there": (functional(X, node("a", [["x", 0, 0]]), node("b", [["a", 1, 0]])),
        "needs call 1 of the layer 'a', which has 1"),
    "a call before the first": (functional(X, node("a", [["x", 0, 0]]), node("b", [["a", -1, 0]])), "needs call -1"),
    "a model's own call": (
        functional(X, node("m", [["x", 0, 0]], kind="Functional", **INNER), node("b", [["m", 0, 0]])),
        "needs call -1 of the layer 'm'"),
    "itself": (functional(X, node("a", [["a", 0, 0]])), "a layer that depends on its own result: 'a'"),
    "each other": (functional(X, node("a", [["b", 0, 0]]), node("b", [["a", 0, 0]])), "depends on its own result"),
    "in its options": (functional(X, node("a", [["x", 0, 0, {"y": ["a", 0, 0]}]])), "depends on its own result: 'a'"),
    "its next call": (functional(X, node("a", [["a", 1, 0]], [["x", 0, 0]])), "depends on its own result: 'a'"),
    "a text for a number": (functional(X, node("a", [["x", 0, 0]]), node("b", [["a", "", 0]])),
        "needs call '' of the layer 'a', which is not the number of one"),
    "half a number": (functional(X, node("a", [["x", 0, 0]]), node("b", [["a", 0.5, 0]])), "needs call 0.5 of"),
    "no number, in its options": (
        functional(X, node("a", [["x", 0, 0]]), node("b", [["x", 0, 0, {"y": ["a", None, 0]}]])), "needs call None of"),
    "a layer without a name": (functional(X, {"class_name": "Dense", "inbound_nodes": []}), "without a name or calls"),
    "two of one name": (functional(X, node("a", [["x", 0, 0]]), node("a", [["x", 0, 0]])), "without a name or calls"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_calls_that_come_to_be(name: str) -> None:
    check_trusted(Path("net.keras"), ENDS[name], keras)


@pytest.mark.parametrize("name", WAITS)
def test_calls_that_keras_would_wait_for(name: str) -> None:
    config, message = WAITS[name]
    with pytest.raises(CompileError, match=f"net.keras: .*{message}"):
        check_trusted(Path("net.keras"), {"a": [config]}, keras)
