# SPDX-License-Identifier: Apache-2.0
"""Read the configuration of a Keras model file, and check whether loading the file would run its code.

Keras' own safe mode is not such a check.  Keras 2 ignores it for .h5 files and unmarshals their Lambda layers, and in
files of every kind calls any TensorFlow function (``TFOpLambda``), even one that writes files; older versions of Keras
3 import any module that a file names and call any function in it.  So a file is first read here, and anything that
could do more than build Keras' layers needs the user's permission.

The containers, zip and HDF5, can refer to other files, which would be read into the network, and can unpack to much
more than their size.  Keras writes nothing of that kind.
"""

from __future__ import annotations

import builtins
import io
import json
import re
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import CompileError
from ..common.hdf5 import check_stored, filters, own_objects
from ..common.limits import PERMISSION, check_bytes
from .allowed import FUNCTIONS
from .reason import reason

# The members that Keras writes; model.weights.h5 was once called variables.h5.
_CONFIG = frozenset({"config.json", "metadata.json"})
_WEIGHTS = frozenset({"model.weights.h5", "variables.h5"})
_AGAIN = f"save the model again with model.save(...), or, {PERMISSION}"
_MOST_TEXT = 2**26
# Layers and operations that unpickle, load other files (for feature columns: texts and checkpoints), run any op or
# call any method or function.
_UNTAMED = frozenset({
    "AssociativeScan", "ClassMethod", "Cond", "DenseFeatures", "FlaxLayer", "ForiLoop", "InstanceMethod",
    "InstanceProperty", "JaxLayer", "Map", "ModuleWrapper", "Scan", "SequenceFeatures", "Switch", "TFSMLayer",
    "TensorFlowOpLayer", "TorchModuleWrapper", "VectorizedMap", "WhileLoop",
})  # fmt: skip
# The parts of Keras that networks are made of.
_PARTS = frozenset({
    "activations", "constraints", "dtype_policies", "engine", "initializers", "layers", "losses", "metrics",
    "mixed_precision", "models", "ops", "optimizers", "quantizers", "random", "regularizers",
})  # fmt: skip
_BASES = (
    ("constraints", "Constraint"), ("initializers", "Initializer"), ("layers", "Layer"), ("losses", "Loss"),
    ("metrics", "Metric"), ("optimizers", "Optimizer"), ("regularizers", "Regularizer"),
)  # fmt: skip
_FUNCTIONS = ("activations", "constraints", "initializers", "losses", "metrics", "regularizers")
_BUILDERS = frozenset({"deserialize", "get", "serialize"})  # in the same modules; they build their arguments


def read_config(path: Path, *, unsafe: bool = False) -> tuple[str, Any]:
    """(the version of Keras that wrote a file, the model's configuration); unless ``unsafe``, the file's container may
    hold only what Keras writes"""
    try:
        return _config(path, unsafe)
    except CompileError:
        raise
    except (AttributeError, KeyError, OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise CompileError(f"{path}: cannot be read ({reason(error)}); is it complete?") from error


def _config(path: Path, unsafe: bool) -> tuple[str, Any]:
    import h5py

    hdf5 = h5py.is_hdf5(path)
    if zipfile.is_zipfile(path):
        if hdf5:  # Keras would choose by the name, and could load the part that is not checked
            raise CompileError(f"{path}: both a zip and an HDF5 file; save the model again with model.save(...)")
        with zipfile.ZipFile(path) as archive:
            if "metadata.json" not in archive.namelist():
                raise CompileError(f"{path}: a zip file, but not one written by Keras (no metadata.json)")
            if not unsafe:
                check_zip(path, archive)
            version = json.loads(archive.read("metadata.json")).get("keras_version", "2")
            config = json.loads(archive.read("config.json"))
        if isinstance(config, dict):
            config.pop("compile_config", None)  # losses and the like, which are not loaded
        return str(version), config
    if not hdf5:
        with path.open("rb") as opened:
            if opened.read(4) in (b"\x89BNN", b"\x89SNN"):
                raise CompileError(f"{path}: is a compiled network; give the Keras model that it was compiled from")
        raise CompileError(f"{path}: neither a .keras (zip) nor an .h5 (HDF5) file; is it complete?")
    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs and {*file} == {"node", "version"}:
            raise CompileError(f"{path}: is a NIR file; compile it with bnn snn compile {path} --as SIMULATOR")
        if not unsafe:
            check_hdf5(path, file)
        version, text = file.attrs.get("keras_version", "2"), file.attrs.get("model_config")
    if text is None:
        raise CompileError(f"{path}: contains only weights, without the model; save it with model.save(...)")
    return _text(version), json.loads(_text(text))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def check_zip(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse a .keras file with members that Keras does not write, or that ``check_hdf5`` refuses."""
    seen = set()
    total = 0
    for member in archive.infolist():
        name = member.filename
        if name not in _CONFIG | _WEIGHTS:
            raise CompileError(f"{path}: contains a file '{name}', which no network needs; {_AGAIN}")
        if name in seen:
            raise CompileError(f"{path}: contains '{name}' twice; {_AGAIN}")
        seen.add(name)
        total += member.file_size
        if name in _CONFIG and member.file_size > _MOST_TEXT:
            raise CompileError(f"{path}: '{name}' is {member.file_size:,} bytes; at most {_MOST_TEXT:,} are read")
    check_bytes(path, "its unpacked content", total)
    import h5py

    for name in sorted(seen & _WEIGHTS):
        with h5py.File(io.BytesIO(archive.read(name)), "r") as file:
            check_hdf5(f"{path}: '{name}'", file)


def check_hdf5(where: str | Path, file: Any) -> None:
    """Refuse all links, values stored in other files, and values that are larger than their stored data; ``file``: an
    open h5py.File."""
    import h5py

    total = 0
    for at, found in own_objects(where, file, _AGAIN):
        if isinstance(found, h5py.Dataset):
            total += _checked_dataset(f"{where}: '{at}'", found)
        elif isinstance(found, h5py.Group):
            total += _named_again(found)
    check_bytes(where, "what its datasets declare", total)


def _named_again(group: Any) -> int:
    """Bytes that Keras would read again, and keep, for datasets that lists of weights name more than once."""
    import h5py

    names = [name for key in group.attrs if key.startswith("weight_names") for name in np.ravel(group.attrs[key])]
    seen, total = set(), 0
    for name in names:
        found = group.get(name)  # text or bytes
        if isinstance(found, h5py.Dataset):
            address = h5py.h5o.get_info(found.id).addr
            total += found.nbytes if address in seen else 0
            seen.add(address)
    return total


def _checked_dataset(where: str, dataset: Any) -> int:
    """Check a dataset and return its size in bytes."""
    for name in filters(dataset):
        raise CompileError(f"{where} is encoded (filter '{name}'), which Keras does not do; {_AGAIN}")
    if dataset.dtype.hasobject:  # every element could be the same long text, stored once
        raise CompileError(f"{where} contains strings or other elements of variable length, not numbers; {_AGAIN}")
    return check_stored(where, dataset, _AGAIN)


def check_trusted(path: Path, config: Any, keras: Any) -> None:
    """Refuse a configuration with code in it, or with classes to import; ``keras``: the Keras that will load it."""
    for entry in _entries(config):
        code = _code(entry, keras)
        if code is not None:
            raise CompileError(f"{path}: contains {code}; {PERMISSION}")
        _check_class(path, entry, keras)


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
    """The code that an entry would run while it is loaded."""
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
    if isinstance(options.get("vocabulary"), str):
        return f"a vocabulary that is read from another file ('{options['vocabulary']}')"
    if any(name.endswith("OpLambda") for name in classes):
        symbol = str(options.get("function"))
        if symbol not in FUNCTIONS:
            return f"a call of the TensorFlow function {symbol}, which would run while loading"
        calls = entry.get("inbound_nodes", [])
        if not all(map(_takes_tensor, calls if isinstance(calls, list) else [calls])):
            return f"a call of the TensorFlow function {symbol} on constants only, which would run while loading"
    if _is_function(entry, classes) and not _known_function(entry, keras):
        named = inner if isinstance(inner, str) else entry["class_name"]
        return f"the function {named} of module {entry['module']}, which would run while loading"
    return None


def _takes_tensor(call: Any) -> bool:
    """Whether an argument is a layer's result, [layer, call, number] or [layer, call, number, options], which is not
    known before the network runs."""
    waiting = [call]
    while waiting:
        value = waiting.pop()
        inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
        kinds = tuple(map(type, value[:3])) if isinstance(value, list) and len(value) in (3, 4) else ()
        if kinds == (str, int, int) and value[0] != "_CONSTANT_VALUE":
            return True
        waiting += inner
    return False


def _check_class(path: Path, entry: dict[str, Any], keras: Any) -> None:
    """Refuse a class that Keras would import a module for, or that is not part of networks."""
    name, module = entry.get("class_name"), entry.get("module")
    named = isinstance(name, str) and isinstance(module, str) and name != "function"
    if not named or _registered(_sought(entry), keras):
        return
    package, *parts = f"{module}.{name}".split(".")[:-1]
    if package in ("keras", "tf_keras"):
        part = not parts or bool(_PARTS.intersection(parts[:2]))
    elif module not in sys.modules:
        raise CompileError(
            f"{path}: contains an object of the class '{name}' of module '{module}', which is not imported here; "
            "import that module and load the file again (or compile the model from memory), or export the model as a "
            "SavedModel: model.export(folder)"
        )
    else:
        bases = tuple(getattr(getattr(keras, group), base) for group, base in _BASES)
        names = [n for n in (name, entry.get("registered_name")) if isinstance(n, str)]
        found = [_attribute(sys.modules[module], n) for n in names]
        part = all(f is None or isinstance(f, type) and issubclass(f, bases) for f in found)
    if not part:
        raise CompileError(
            f"{path}: contains an object {name} of module {module}, which is not part of a network; {PERMISSION}"
        )


def _attribute(of: Any, name: str) -> Any:
    for part in name.split("."):
        of = getattr(of, part, None)
    return of


def _classes(entry: dict[str, Any]) -> set[str]:
    """The names by which Keras may look an entry up, without package and module."""
    names = (entry.get("class_name"), entry.get("registered_name"))
    return {re.split(r"[.>]", name)[-1] for name in names if isinstance(name, str)}


def _calls_by_name(options: dict[str, Any]) -> bool:
    """Whether a Lambda layer holds the name of a function and no code; the named function is checked separately."""
    function = options.get("function")
    if "function_type" in options:  # Keras 2
        return bool(options["function_type"] == "function")
    return isinstance(function, dict) and function.get("class_name") == "function"


def _is_function(entry: dict[str, Any], names: set[str]) -> bool:
    """Whether an entry is a function of a module, even one declared as a class: its name then begins in lower case."""
    lower = any(not name.lstrip("_")[:1].isupper() for name in names)
    return isinstance(entry.get("class_name"), str) and isinstance(entry.get("module"), str) and lower


def _known_function(entry: dict[str, Any], keras: Any) -> bool:
    """Whether an entry is an activation or similar function of Keras, or one that the program has registered."""
    if entry["class_name"] != "function":
        return _registered(_sought(entry), keras)
    name = entry.get("config")
    if not isinstance(name, str) or name in _BUILDERS:
        return False
    if entry["module"] == "builtins":  # Keras writes it for its own and registered functions, and looks there last
        known = not hasattr(builtins, name.split(".")[0])
    else:
        own = entry["module"].split(".")[0] in ("keras", "tf_keras")
        known = own and any(hasattr(getattr(keras, group, None), name) for group in _FUNCTIONS)
    return known or _registered(name, keras)


def _sought(entry: dict[str, Any]) -> Any:
    """The name by which Keras looks for a registered class; if there is none (or null), Keras imports the module."""
    return entry.get("registered_name", entry.get("class_name"))


def _registered(name: Any, keras: Any) -> bool:
    return isinstance(name, str) and keras.saving.get_registered_object(name) is not None
