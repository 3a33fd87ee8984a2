# SPDX-License-Identifier: Apache-2.0
"""What a model file could run while it is loaded is refused, whatever it is called in the file; what only computes is
not."""

from __future__ import annotations

import base64
import json
import marshal
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras as keras3
import pytest
import tensorflow as tf

from bnn.errors import CompileError
from bnn.importers.tensorflow.keras_files import check_trusted

from .hostile import refused
from .models import check, needs_keras3, scramble

keras = tf.keras
layers = tf.keras.layers
Config = dict[str, Any]
SUFFIXES = (".keras", ".h5")


def save(folder: Path, suffix: str, edit: Callable[[Config], object], model: Any = None) -> Path:
    """A file of Keras 2 with a changed configuration; of the own model: with a ReLU called 'target'."""
    if model is None:
        x = layers.Input((4,))
        model = keras.Model(x, layers.Dense(2)(layers.ReLU(name="target")(x)))
    plain, path = folder / f"plain{suffix}", folder / f"net{suffix}"
    model.save(plain)
    if suffix == ".h5":
        shutil.copy(plain, path)
        with h5py.File(path, "a") as file:
            config = json.loads(file.attrs["model_config"])
            edit(config)
            file.attrs["model_config"] = json.dumps(config)
        return path
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w") as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename == "config.json":
                config = json.loads(data)
                edit(config)
                data = json.dumps(config).encode()
            new.writestr(item, data)
    return path


def target(config: Config) -> Config:
    found: Config = next(entry for entry in config["config"]["layers"] if entry["config"].get("name") == "target")
    return found


def becomes(class_name: str, **options: Any) -> Callable[[Config], None]:
    """The layer is another."""

    def edit(config: Config) -> None:
        entry = target(config)
        entry["class_name"] = class_name
        entry["config"] = {"name": "target", "trainable": True, "dtype": "float32", **options}

    return edit


def code(witness: Path) -> str:
    """A function that leaves a trace, as Keras 2 keeps it."""
    made = compile(f"lambda *a, **k: (open({str(witness)!r}, 'w').close(), a[0])[1]", "<lambda>", "eval")
    inner = next(c for c in made.co_consts if hasattr(c, "co_code"))
    return base64.b64encode(marshal.dumps(inner)).decode()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("part", ["function", "output_shape", "mask"])
@pytest.mark.parametrize("form", ["text", "list"])
def test_marshalled_code(suffix: str, part: str, form: str, tmp_path: Path, witness: Path) -> None:
    value = code(witness) if form == "text" else [code(witness), None, None]
    plain = {"function": "relu", "function_type": "function", "output_shape": [4], "output_shape_type": "raw"}
    path = save(tmp_path, suffix, becomes("Lambda", **{**plain, part: value, f"{part}_type": "lambda"}))
    refused(path, "a Lambda layer", "unsafe=True", "--unsafe")
    assert not witness.exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_code_in_a_nested_model(suffix: str, tmp_path: Path, witness: Path) -> None:
    x = layers.Input((3, 4))
    inner = keras.Sequential([layers.Input((4,)), layers.ReLU()], name="inner")
    model = keras.Model(x, layers.TimeDistributed(inner)(x))

    def edit(config: Config) -> None:
        wrapper = next(e for e in config["config"]["layers"] if e["class_name"] == "TimeDistributed")
        entry = wrapper["config"]["layer"]["config"]["layers"][-1]
        entry["class_name"] = "Lambda"
        entry["config"] = {"name": "a", "function": code(witness), "function_type": "lambda", "output_shape": [4]}

    refused(save(tmp_path, suffix, edit, model), "a Lambda layer")
    assert not witness.exists()


def test_marshalled_code_in_another_layer(tmp_path: Path) -> None:
    value = {"class_name": "__lambda__", "config": {"value": "4w=="}}
    refused(save(tmp_path, ".keras", becomes("ReLU", max_value=value)), "a Python function")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("layer", ["TFOpLambda", "SlicingOpLambda"])
@pytest.mark.parametrize("symbol", ["io.write_file", "compat.v1.disable_eager_execution"])
def test_functions_of_tensorflow_that_do_more_than_compute(
    suffix: str, layer: str, symbol: str, tmp_path: Path, witness: Path
) -> None:
    def edit(config: Config) -> None:
        becomes(layer, function=symbol)(config)
        target(config).pop("module", None)  # these layers have no public name
        target(config)["inbound_nodes"] = [["_CONSTANT_VALUE", -1, str(witness), {"contents": "x"}]]

    refused(save(tmp_path, suffix, edit), symbol, "unsafe=True")
    assert not witness.exists()


SYMBOLS = [
    "Assert", "compat.v1.disable_eager_execution", "compat.v1.get_default_session", "compat.v1.matching_files",
    "compat.v1.py_func", "compat.v1.read_file", "compat.v1.reset_default_graph", "compat.v1.rpc_client",
    "compat.v1.wrap_function", "config.run_functions_eagerly", "data.experimental.save",
    "debugging.set_log_device_placement",
    "experimental.dlpack.from_dlpack", "experimental.numpy.save", "function", "image.decode_image", "init_scope",
    "io.gfile.rmtree", "io.matching_files", "io.read_file", "io.write_file", "keras.models.load_model",
    "keras.utils.get_file", "load_library", "load_op_library", "map_fn", "nn.nce_loss", "numpy_function", "print",
    "py_function", "random.set_seed", "raw_ops.Unstage", "raw_ops.WriteFile", "rpc_server", "saved_model.load",
    "shutdown_tpu_system", "summary.write", "timestamp", "train.list_variables", "variable_creator_scope", "while_loop",
    "xla_call_module",
]  # fmt: skip


def feature_column(checkpoint: Path) -> Config:
    column = {"class_name": "IdentityCategoricalColumn", "config": {"key": "x", "number_buckets": 3}}
    options = {
        "categorical_column": column, "dimension": 2, "combiner": "mean", "ckpt_to_load_from": str(checkpoint),
        "tensor_name_in_ckpt": "w", "initializer": {"class_name": "Zeros", "config": {}}, "max_norm": None,
        "trainable": False, "use_safe_embedding_lookup": True,
    }  # fmt: skip
    return {"class_name": "EmbeddingColumn", "config": options}


@pytest.mark.parametrize("layer", ["DenseFeatures", "SequenceFeatures"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_feature_columns(layer: str, suffix: str, tmp_path: Path) -> None:
    """Of a checkpoint elsewhere they would make weights."""
    options = {"feature_columns": [feature_column(tmp_path / "elsewhere")], "partitioner": None}
    refused(save(tmp_path, suffix, becomes(layer, **options)), f"an object of the class '{layer}'", "not on the list")


@pytest.mark.parametrize("registered", ["", None])
def test_no_module_is_imported_for_a_registered_class(
    registered: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras looks for its registered name, here none, and then imports the module."""
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'it ran')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    changed = {"class_name": "Custom>Adam", "module": "evil_module", "registered_name": registered}
    assert keras.saving.get_registered_object("Custom>Adam") is not None
    refused(save(tmp_path, ".keras", lambda config: target(config).update(changed)), "evil_module")
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("name", ["deserialize", "get"])
def test_functions_that_build_what_they_are_given(name: str, tmp_path: Path) -> None:
    function = {"class_name": "function", "config": name, "module": "keras.layers", "registered_name": None}
    edit = becomes("Activation", activation=function)
    refused(save(tmp_path, ".keras", edit), f"the function '{name}' of module 'keras.layers'", "not on the list")


def test_functions_of_tensorflow_without_a_name_on_the_list() -> None:
    for symbol in (*SYMBOLS, "", "nn", "nn.relu.", "math.math.add", "tf.nn.relu", None, ["nn.relu"]):
        config = {"class_name": "TFOpLambda", "config": {"name": "a", "function": symbol}}
        with pytest.raises(CompileError, match="which would run while loading") as error:
            check_trusted(Path("net.keras"), {"config": {"layers": [config]}}, keras)
        assert f"the TensorFlow function {symbol}," in str(error.value)


def test_functions_of_numbers_alone() -> None:
    """They would be computed while loading, whatever they make: only what takes a layer's result waits for data."""
    entry: Config = {"class_name": "TFOpLambda", "config": {"name": "a", "function": "fill"}}
    config = {"config": {"layers": [entry]}}
    entry["inbound_nodes"] = [["_CONSTANT_VALUE", -1, [2**16, 2**16], {"value": ["input", 0, 0]}]]
    check_trusted(Path("net.keras"), config, keras)
    for size in ([2**16, 2**16], 2**16):
        entry["inbound_nodes"] = [["_CONSTANT_VALUE", -1, size, {"value": 1.0}]]
        with pytest.raises(CompileError, match=r"function fill on constants only.*unsafe=True"):
            check_trusted(Path("net.keras"), config, keras)
    entry["inbound_nodes"].append(["input", 0, 0, {"value": 1.0}])  # a layer that is called twice
    with pytest.raises(CompileError, match=r"function fill on constants only.*unsafe=True"):
        check_trusted(Path("net.keras"), config, keras)


FUNCTIONS = {
    "of a module": {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
    "of the language": {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "exec"},
    "of the language by another name": {
        "module": "builtins", "class_name": "function", "config": "a", "registered_name": "exec",
    },
    "of another module, called like one of Keras": {
        "module": "foreign.activations", "class_name": "function", "config": "relu", "registered_name": "relu",
    },
    "of a module of Keras' own name": {"module": "kerasy", "class_name": "function", "config": "relu"},
    "of Keras, for files": {"module": "keras.utils", "class_name": "function", "config": "get_file"},
    "as a class": {"module": "keras.utils", "class_name": "get_file", "config": {}, "registered_name": None},
    "as a class's other name": {
        "module": "keras.utils", "class_name": "A", "config": {}, "registered_name": "get_file",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_by_name(name: str, tmp_path: Path) -> None:
    options = {"function": FUNCTIONS[name], "function_type": "function", "output_shape": None}
    path = save(tmp_path, ".keras", becomes("Lambda", **options, output_shape_type="raw"))
    refused(path, f"of module '{FUNCTIONS[name]['module']}', which is not on the list", "unsafe=True")


@pytest.mark.parametrize("name", ["exec", "eval", "relu"])
def test_a_text_that_a_function_would_run(name: str, tmp_path: Path, witness: Path) -> None:
    """Keras would look for `builtins.a`, then for the registered name, and call what it found with the text."""
    function = {"class_name": "function", "config": "a", "module": "builtins", "registered_name": name}
    lam = becomes("Lambda", function=function, function_type="function", output_shape=[4], output_shape_type="raw")

    def call(config: Config) -> None:
        target(config)["inbound_nodes"] = [["_CONSTANT_VALUE", -1, f"open({str(witness)!r}, 'w').close()", {}]]

    refused(save(tmp_path, ".keras", lam), "the function 'a' of module 'builtins'", "unsafe=True")
    refused(save(tmp_path, ".keras", call), "a call of the layer target with a text", "unsafe=True")
    refused(save(tmp_path, ".keras", lambda config: (lam(config), call(config))), "net.keras: contains", "unsafe=True")
    assert not witness.exists()


@pytest.mark.parametrize(
    "layer", ["TFSMLayer", "TorchModuleWrapper", "JaxLayer", "TensorFlowOpLayer", "My>TFSMLayer", "InstanceMethod"]
)
def test_layers_of_other_files(layer: str, tmp_path: Path) -> None:
    refused(save(tmp_path, ".keras", becomes(layer)), layer.split(">")[-1], "unsafe=True")


CLASSES = {
    "no layer": ("Popen", "subprocess"),
    "a folder": ("Path", "pathlib"),
    "an editor of files": ("KerasFileEditor", "keras.saving"),
    "a callback": ("BackupAndRestore", "keras.callbacks"),
    "a data set": ("PyDataset", "keras.utils"),
    "an archive": ("ExportArchive", "keras.export"),
}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_that_are_no_part_of_a_network(name: str, tmp_path: Path) -> None:
    class_name, module = CLASSES[name]

    def edit(config: Config) -> None:
        becomes(class_name)(config)
        target(config)["module"] = module

    refused(
        save(tmp_path, ".keras", edit),
        f"the class '{class_name}' of module '{module}'",
        "not on the list",
        "unsafe=True",
    )


@pytest.mark.parametrize("layer", ["StringLookup", "IntegerLookup", "TextVectorization"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_vocabularies_in_other_files(layer: str, suffix: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("1\n2\n")
    path = save(tmp_path, suffix, becomes(layer, vocabulary=str(secret)))
    refused(path, "a vocabulary that is read from another file", str(secret), "unsafe=True")


def test_no_module_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "from_the_file.py").write_text("class Layer: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def edit(config: Config) -> None:
        becomes("Layer")(config)
        target(config)["module"] = "from_the_file"

    refused(save(tmp_path, ".keras", edit), "'Layer' of module 'from_the_file'", "import its module", "model.export")
    assert "from_the_file" not in sys.modules


def test_a_file_of_two_kinds(tmp_path: Path, witness: Path) -> None:
    """Keras takes it by its name; what is read here must be what Keras loads."""
    evil = save(tmp_path, ".h5", becomes("Lambda", function=code(witness), function_type="lambda"))
    harmless = save(tmp_path, ".keras", lambda config: None)
    evil.write_bytes(evil.read_bytes() + harmless.read_bytes())
    refused(evil, "both a zip and an HDF5 file")
    assert not witness.exists()


@keras.saving.register_keras_serializable("bnn_tests")
def doubled(x: Any) -> Any:
    return x * 2.0


@keras3.saving.register_keras_serializable("bnn_tests")
def tripled(x: Any) -> Any:
    return x * 3.0


@keras.saving.register_keras_serializable("bnn_tests")
class Scale(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return x * 0.5


class Halve(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return x * 0.5


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_only_computes_is_loaded(suffix: str, tmp_path: Path) -> None:
    x = layers.Input((4, 6))
    y = tf.nn.relu(x + 1.0)[:, 1:] * 2.0
    y = tf.reshape(tf.math.tanh(y), (-1, 18))
    own = doubled if suffix == ".keras" else "tanh"  # Keras 2 cannot read its own .h5 files with functions
    y = layers.Dense(3, activation=own, kernel_initializer=keras.initializers.HeNormal())(Scale()(y))
    y = layers.Dense(3, activation="relu", kernel_regularizer=keras.regularizers.L2(0.1))(y)
    model = scramble(keras.Model(x, y))
    model.compile("adam", loss=lambda a, b: a - b)
    path = tmp_path / f"net{suffix}"
    model.save(path)
    check(str(path), call=model)


@needs_keras3
def test_a_registered_function_in_a_lambda_layer(tmp_path: Path) -> None:
    of = keras3.layers
    model = keras3.Sequential([of.Input((4,)), of.Lambda(tripled, output_shape=(4,)), of.Dense(2)])
    path = tmp_path / "net.keras"
    model.save(path)
    check(str(path), call=model)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_class_that_is_not_known(suffix: str, tmp_path: Path) -> None:
    model = keras.Sequential([layers.Input((4,)), Halve(name="own"), layers.Dense(2)])
    path = tmp_path / f"net{suffix}"
    model.save(path)
    refused(path, "class 'Halve'", "register it", "import its module", "from memory", "model.export(folder)")
    with keras.saving.custom_object_scope({"Halve": Halve}):
        check(str(path), call=model)


def thirds(shape: Any, dtype: Any = None) -> Any:
    return tf.fill(shape, tf.cast(1 / 3, dtype or tf.float32))


def initializers(of: Any) -> tuple[Any, Any]:
    """A function and an object that no Keras has; ``of``: a Keras."""

    class Filled(of.initializers.Initializer):  # type: ignore[misc]
        def __init__(self, value: float, other: Any = None) -> None:
            self.value = value

        def __call__(self, shape: Any, dtype: Any = None) -> Any:
            return thirds(shape, dtype) * self.value

        def get_config(self) -> Config:
            return {"value": self.value, "other": of.initializers.Zeros()}

    return thirds, Filled(0.75)


@pytest.mark.parametrize(
    ("of", "suffix"), [(keras, ".keras"), (keras, ".h5"), pytest.param(keras3, ".keras", marks=needs_keras3)]
)
def test_initializers_that_are_not_known(of: Any, suffix: str, tmp_path: Path) -> None:
    function, filled = initializers(of)
    x = of.layers.Input((4, 4, 2))
    y = of.layers.Conv2D(3, 3, kernel_initializer=function, bias_initializer=filled)(x)
    y = of.layers.BatchNormalization(gamma_initializer=filled, moving_mean_initializer=function)(y)
    z = of.layers.Input((2, 2, 3))
    inner = of.Model(z, of.layers.DepthwiseConv2D(2, depthwise_initializer=function)(z))
    model = of.Model(x, of.layers.Dense(2, kernel_initializer=filled)(inner(y)))
    path = tmp_path / f"net{suffix}"
    model.save(path)
    check(str(path), call=model)


@needs_keras3
def test_an_initializer_in_an_older_file_of_keras3_is_refused(tmp_path: Path) -> None:
    """Keras 3 can build its network only while it loads the file."""
    model = keras3.Sequential([keras3.layers.Input((4,)), keras3.layers.Dense(2, kernel_initializer=thirds)])
    path = tmp_path / "net.h5"
    model.save(path)
    refused(path, "the function 'thirds'", "register it")


@needs_keras3
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_model_in_a_model_of_keras3(suffix: str, tmp_path: Path) -> None:
    of = keras3.layers
    x, z = of.Input((4,)), of.Input((3,))
    inner = keras3.Model(z, of.Dense(3)(z))
    model = keras3.Model(x, of.Dense(2)(inner(inner(of.Dense(3)(x)))))
    path = tmp_path / f"net{suffix}"
    model.save(path)
    check(str(path), call=model)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("form", ["module", "class", "lambda", "inside", "text"])
def test_an_initializer_runs_nothing(
    suffix: str, form: str, tmp_path: Path, witness: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaves_a_trace.py").write_text(f"open({str(witness)!r}, 'w').close()\nmade = dict")
    monkeypatch.syspath_prepend(tmp_path)
    values: dict[str, Any] = {
        "module": {"module": "leaves_a_trace", "class_name": "function", "config": "made", "registered_name": "made"},
        "class": {"module": "leaves_a_trace", "class_name": "Zeros", "config": {}, "registered_name": None},
        "lambda": {"class_name": "__lambda__", "config": {"value": code(witness)}},
        "text": "leaves_a_trace.made",
    }
    values["inside"] = {"module": "keras.initializers", "class_name": "Constant", "config": {"value": values["lambda"]}}
    x = layers.Input((4,))
    model = scramble(keras.Model(x, layers.Dense(2, name="target")(x)))
    path = save(tmp_path, suffix, lambda config: target(config)["config"].update(bias_initializer=values[form]), model)
    check(str(path), call=model)
    assert not witness.exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_a_layer_of_the_users_initializes_is_not_known(suffix: str, tmp_path: Path) -> None:
    """It may be more than weights that the file holds."""
    x = layers.Input((4,))
    model = keras.Model(x, Scale(name="target")(x))
    path = save(tmp_path, suffix, lambda config: target(config)["config"].update(own_initializer="thirds"), model)
    refused(path, "'thirds' (own_initializer)", "register it")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_class_that_keras3_does_not_know(suffix: str, tmp_path: Path) -> None:
    class Third(keras3.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x / 3.0

    model = keras3.Sequential([keras3.layers.Input((4,)), Third(), keras3.layers.Dense(2)])
    path = tmp_path / f"net{suffix}"
    model.save(path)
    refused(path, "class 'Third'", "register it", "model.export(folder)")
