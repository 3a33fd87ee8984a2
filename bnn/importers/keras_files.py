"""What stands in a Keras model file: the model's configuration, and whether loading it would run code of the file.

Keras' own safe mode is no such test.  Keras 2 ignores it for .h5 files and unmarshals their Lambda layers, and in files
of every kind calls any function of TensorFlow (``TFOpLambda``), one that writes files too; older versions of Keras 3
import any module that a file names and call any function of it.  So a file is read here first, and what could do more
than build Keras' layers needs the user's permission.

A SavedModel is a graph.  ``tf.saved_model.load`` runs no Python, but the functions that fill its tables and restore
what is no variable, and those that are called as its own methods: any ops, which may write files.  Keras' models need
none of them, so a SavedModel that has some needs permission, too.  ``keras.models.load_model`` on the same folder could
rebuild its Lambda layers and run them, and is not used.
"""

from __future__ import annotations

import builtins
import json
import re
import sys
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ..errors import CompileError
from .reason import reason

# What functions are called in the SavedModels that Keras writes, with an underscore.
_OWN_FUNCTIONS = frozenset(
    {"__call__", "_default_save_signature", "_jit_compiled_convolution_op", "_update_step_xla"}
)
_PERMISSION = "if you trust the file, pass unsafe=True (--unsafe), or compile the model from memory"
# Layers that unpickle, load other files or run any op.
_UNTAMED = frozenset({"ClassMethod", "FlaxLayer", "JaxLayer", "TFSMLayer", "TensorFlowOpLayer", "TorchModuleWrapper"})
# The functions of TensorFlow that only compute: tf.math.add, tf.reshape.
_COMPUTES = re.compile(
    r"(?:compat\.v1\.)?(?:(?:__operators__|bitwise|dtypes|image|linalg|math|nn|quantization|signal)\.)?\w+"
)
_MORE_THAN_COMPUTES = re.compile(r"file|func|graph|import|load|print|py_|read_|save|session|write", re.IGNORECASE)
_FUNCTIONS = ("activations", "constraints", "initializers", "losses", "metrics", "regularizers")


def read_config(path: Path) -> tuple[str, Any]:
    """(the version of Keras that wrote a file, the model's configuration)"""
    try:
        return _config(path)
    except (AttributeError, KeyError, OSError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, CompileError):
            raise
        raise CompileError(f"{path}: cannot be read ({reason(error)}); is it complete?") from error


def _config(path: Path) -> tuple[str, Any]:
    import h5py

    hdf5 = h5py.is_hdf5(path)
    if zipfile.is_zipfile(path):
        if hdf5:  # Keras would choose by the name, and could load what was not looked at here
            raise CompileError(f"{path}: both a zip and an HDF5 file; save the model again with model.save(...)")
        with zipfile.ZipFile(path) as archive:
            if "metadata.json" not in archive.namelist():
                raise CompileError(f"{path}: a zip file, but not one written by Keras (no metadata.json)")
            version = json.loads(archive.read("metadata.json")).get("keras_version", "2")
            config = json.loads(archive.read("config.json"))
        if isinstance(config, dict):
            config.pop("compile_config", None)  # losses and the like: a model is loaded without
        return str(version), config
    if not hdf5:
        with path.open("rb") as opened:
            if opened.read(4) == b"\x89BNN":
                raise CompileError(f"{path}: is a compiled network; give the Keras model that it was compiled from")
        raise CompileError(f"{path}: neither a .keras (zip) nor an .h5 (HDF5) file; is it complete?")
    with h5py.File(path) as file:
        version, text = file.attrs.get("keras_version", "2"), file.attrs.get("model_config")
    if text is None:
        raise CompileError(f"{path}: holds weights only, without the model; save it with model.save(...)")
    return _text(version), json.loads(_text(text))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def check_trusted(path: Path, config: Any, keras: Any) -> None:
    """Refuse a configuration with code in it, or with classes to import; ``keras``: the one that is to load it."""
    for entry in _entries(config):
        code = _code(entry, keras)
        if code is not None:
            raise CompileError(f"{path}: contains {code}; {_PERMISSION}")
        unknown = _unknown_class(entry, keras)
        if unknown is not None:
            raise CompileError(
                f"{path}: contains an object of the class {unknown}, which is not imported here; import that module "
                "and load the file again (or compile the model from memory), or export the model as a SavedModel: "
                "model.export(folder)"
            )


def check_graph_trusted(path: Path, saved: Any, hooks: Collection[str]) -> None:
    """Refuse a SavedModel (its protocol buffer) that runs functions of its own while it is loaded; ``hooks``: the
    methods by which TensorFlow restores an object, which a file could name its functions like."""
    for graph in saved.meta_graphs:
        if not graph.HasField("object_graph_def"):
            raise CompileError(
                f"{path}: a SavedModel of TensorFlow 1, whose initializer would run while loading; {_PERMISSION}"
            )
        nodes = graph.object_graph_def.nodes
        for node in nodes:
            if node.WhichOneof("kind") == "resource" or node.saveable_objects or node.registered_saver:
                raise CompileError(
                    f"{path}: contains a table or another resource, whose functions would run while loading; "
                    f"{_PERMISSION}"
                )
            for child in node.children:
                private = child.local_name.startswith("_") and child.local_name not in _OWN_FUNCTIONS
                function = nodes[child.node_id].WhichOneof("kind") in ("bare_concrete_function", "function")
                if private and (child.local_name in hooks or function):
                    called = f"contains an object called {child.local_name}, which may run while loading"
                    raise CompileError(f"{path}: {called}; {_PERMISSION}")


def _entries(config: Any) -> Iterator[dict[str, Any]]:
    """All dicts of a nested configuration."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _code(entry: dict[str, Any], keras: Any) -> str | None:
    """What an entry would run while it is loaded."""
    inner = entry.get("config")
    options = inner if isinstance(inner, dict) else {}
    classes = _classes(entry)
    if "__lambda__" in classes:
        return "a Python function, which would run while loading"
    unmarshalled = "lambda" in [entry.get(f"{part}_type") for part in ("function", "output_shape", "mask")]
    if unmarshalled or "Lambda" in classes and not _calls_by_name(options):
        return "a Lambda layer, whose Python code would run while loading"
    for name in sorted(classes & _UNTAMED):
        return f"a layer {name}, which can do more than compute"
    if any(name.endswith("OpLambda") for name in classes):
        symbol = str(options.get("function"))
        if not _COMPUTES.fullmatch(symbol) or _MORE_THAN_COMPUTES.search(symbol):
            return f"a call of the TensorFlow function {symbol}, which would run while loading"
    if _is_function(entry, classes) and not _known_function(entry, keras):
        named = inner if isinstance(inner, str) else entry["class_name"]
        return f"the function {named} of module {entry['module']}, which would run while loading"
    return None


def _classes(entry: dict[str, Any]) -> set[str]:
    """The names by which Keras may look an entry up, without package and module."""
    names = (entry.get("class_name"), entry.get("registered_name"))
    return {re.split(r"[.>]", name)[-1] for name in names if isinstance(name, str)}


def _calls_by_name(options: dict[str, Any]) -> bool:
    """Whether a Lambda layer holds the name of a function and no code; what it names is looked at where it stands."""
    function = options.get("function")
    if "function_type" in options:  # Keras 2
        return bool(options["function_type"] == "function")
    return isinstance(function, dict) and function.get("class_name") == "function"


def _is_function(entry: dict[str, Any], names: set[str]) -> bool:
    """A function of a module, also where it is called a class: then its name does not begin with a capital."""
    lower = any(not name.lstrip("_")[:1].isupper() for name in names)
    return isinstance(entry.get("class_name"), str) and isinstance(entry.get("module"), str) and lower


def _known_function(entry: dict[str, Any], keras: Any) -> bool:
    """An activation and the like of Keras, or what the program has registered."""
    if entry["class_name"] != "function":
        return _registered(entry.get("registered_name") or entry["class_name"], keras)
    name = entry.get("config")
    if not isinstance(name, str):
        return False
    if entry["module"] == "builtins":  # what Keras writes for its own and for registered ones; it looks there last
        known = not hasattr(builtins, name.split(".")[0])
    else:
        own = entry["module"].split(".")[0] in ("keras", "tf_keras")
        known = own and any(hasattr(getattr(keras, group, None), name) for group in _FUNCTIONS)
    return known or _registered(name, keras)


def _unknown_class(entry: dict[str, Any], keras: Any) -> str | None:
    """A class that Keras would import a module for."""
    name, module = entry.get("class_name"), entry.get("module")
    if not isinstance(name, str) or not isinstance(module, str) or name == "function":
        return None
    if module.split(".")[0] in ("keras", "tf_keras") or _registered(entry.get("registered_name") or name, keras):
        return None
    return None if module in sys.modules else f"'{name}' of module '{module}'"


def _registered(name: Any, keras: Any) -> bool:
    return isinstance(name, str) and keras.saving.get_registered_object(name) is not None
