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

import io
import json
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..._distribution import INSTALL_LARQ
from ...errors import CompileError
from ..common.hdf5 import check_attributes, check_stored, check_texts, filters, own_objects
from ..common.kinds import READ, begins_with
from ..common.limits import PERMISSION, check_bytes
from .keras_calls import called, endless, is_op
from .keras_objects import VALUES, KerasObjects
from .reason import reason

# The members that Keras writes; model.weights.h5 was once called variables.h5.
_CONFIG = frozenset({"config.json", "metadata.json"})
_WEIGHTS = frozenset({"model.weights.h5", "variables.h5"})
_AGAIN = f"save the model again with model.save(...), or, {PERMISSION}"
_MOST_TEXT = 2**24
_MOST_TOKENS = 200_000  # of a configuration: twice what the largest published networks have
_MOST_UNPACKED = 2**26  # bytes of weights in a zip that are compressed, and so are unpacked in memory
_TEXT_OPTIONS = ("activation", "constraint", "initializer", "quantizer", "regularizer")


@dataclass(frozen=True)
class KerasFile:
    """What a Keras file says of itself.

    ``version``: of the Keras that wrote it.  ``config``: the model's configuration.  ``stored``: bytes of its values;
    0 if they were not checked.
    """

    version: str
    config: Any
    stored: int = 0


def read_config(path: Path, *, unsafe: bool = False) -> KerasFile:
    """What a file says of itself; unless ``unsafe``, its container may hold only what Keras writes.

    Raises CompileError.
    """
    try:
        return _config(path, unsafe)
    except CompileError:
        raise
    except Exception as error:  # zipfile, json and h5py raise many kinds
        raise CompileError(f"{path}: cannot be read ({reason(error)}); is it complete?") from error


def _config(path: Path, unsafe: bool) -> KerasFile:
    import h5py

    hdf5 = h5py.is_hdf5(path)
    if zipfile.is_zipfile(path):
        if hdf5:  # Keras would choose by the name, and could load the part that is not checked
            raise CompileError(f"{path}: both a zip and an HDF5 file; save the model again with model.save(...)")
        if path.suffix != ".keras":  # Keras would take it for an HDF5 file
            raise CompileError(f"{path}: is a .keras file (zip) by another name; rename it to {path.stem}.keras")
        return _config_of_zip(path, unsafe)
    if not hdf5:
        if begins_with(path, b"\x89BNN", b"\x89SNN"):
            raise CompileError(f"{path}: is a compiled network; give the Keras model that it was compiled from")
        raise CompileError(
            f"{path}: neither a .keras (zip) nor an .h5 (HDF5) file; expected {READ}; is the file complete?"
        )
    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs and {*file} == {"node", "version"}:
            raise CompileError(f"{path}: is a NIR file; compile it with bnn snn compile {path} --simulator SIMULATOR")
        total = 0
        if not unsafe:
            with path.open("rb") as stored:
                total = check_hdf5(path, file, stored)
        version, text = file.attrs.get("keras_version", "2"), file.attrs.get("model_config")
    if text is None:
        raise CompileError(f"{path}: contains only weights, without the model; save it with model.save(...)")
    return KerasFile(_text(version), _parsed(path, _text(text).encode(), unsafe), total)


def _config_of_zip(path: Path, unsafe: bool) -> KerasFile:
    with zipfile.ZipFile(path) as archive:
        if "metadata.json" not in archive.namelist():
            raise CompileError(f"{path}: a zip file, but not one written by Keras (no metadata.json)")
        stored = 0 if unsafe else check_zip(path, archive)
        metadata = _parsed(path, archive.read("metadata.json"), unsafe)
        config = _parsed(path, archive.read("config.json"), unsafe)
    if isinstance(config, dict):
        config.pop("compile_config", None)  # losses and the like, which are not loaded
    return KerasFile(str(metadata.get("keras_version", "2")), config, stored)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _parsed(path: Path, text: bytes, unsafe: bool) -> Any:
    """A configuration; unless ``unsafe``, of a number of tokens that Keras builds in seconds."""
    tokens = sum(text.count(mark) for mark in b"{[:,")
    if tokens > _MOST_TOKENS and not unsafe:
        raise CompileError(
            f"{path}: its configuration has {tokens:,} parts; at most {_MOST_TOKENS:,} are read; {PERMISSION}"
        )
    return json.loads(text)


def check_zip(path: Path, archive: zipfile.ZipFile) -> int:
    """Refuse a .keras file with members that Keras does not write, or that ``check_hdf5`` refuses.

    Returns the bytes of its values.
    """
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

    values = 0
    for name in sorted(seen & _WEIGHTS):
        member = archive.getinfo(name)
        with archive.open(member) as plain:
            stored: Any = plain
            if member.compress_type != zipfile.ZIP_STORED:  # Keras does not compress; seeking would unpack it again
                check_bytes(f"{path}: '{name}'", "what is compressed", member.file_size, _MOST_UNPACKED)
                stored = io.BytesIO(plain.read())
            with h5py.File(stored, "r") as file:
                values += check_hdf5(f"{path}: '{name}'", file, stored)
    return values


def check_hdf5(where: str | Path, file: Any, stored: Any) -> int:
    """Refuse all links, values stored in other files, and values that are larger than their stored data.

    ``file``: an open h5py.File; ``stored``: its bytes, as another file.  Returns the bytes of its values.
    """
    import h5py

    total = texts = 0
    objects = []
    for at, found in own_objects(where, file, _AGAIN):
        size, count = check_attributes(f"{where}: '{at}'", found, _AGAIN)
        total, texts = total + size, texts + count
        if isinstance(found, h5py.Dataset):
            total += _checked_dataset(f"{where}: '{at}'", found)
        elif isinstance(found, h5py.Group):
            objects.append((at, found))
    check_bytes(where, "what its datasets declare", total)
    check_texts(where, file, stored, texts, _AGAIN)
    total += sum(_named_again(f"{where}: '{at}'", group) for at, group in objects)
    check_bytes(where, "what its datasets declare", total)
    return total


def _named_again(where: str, group: Any) -> int:
    """Bytes that Keras would read again, and keep, for datasets that lists of weights name more than once."""
    import h5py

    names = [name for key in group.attrs if key.startswith("weight_names") for name in np.ravel(group.attrs[key])]
    seen, total = set(), 0
    for name in names:
        if not isinstance(name, (str, bytes)):
            raise CompileError(f"{where} has weight_names that are not texts, but {type(name).__name__}; {_AGAIN}")
        found = group.get(name)
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


def check_trusted(path: Path, config: Any, keras: Any) -> bool:
    """Refuse a configuration that names anything but what networks are made of; ``keras``: the Keras that will load it.

    An initializer that is not on the list becomes zeros in ``config``: the file's weights replace what it would make.
    Returns whether there was one.  Raises CompileError.
    """
    known = KerasObjects(keras)
    older = str(getattr(keras, "__version__", "2")).startswith("2")
    apart = older or isinstance(config, dict) and "module" in config  # Keras 3 builds an .h5 file only from the file
    changed = [apart and _with_known_initializers(entry, known) for entry in _entries(config)]
    for entry in _entries(config):
        problem = _problem(entry, known)
        if problem is not None:
            raise CompileError(f"{path}: contains {problem}; {PERMISSION}")
        problem = endless(_options(entry))
        if problem is not None:
            raise CompileError(f"{path}: {problem}; save the model again with model.save(...)")
    return any(changed)


def find_functions(config: Any, keras: Any) -> bool:
    """Replace functions in the configuration of an .h5 file by those registered under their names, in place; returns
    whether there were any.  Keras 2 writes them as entries there, as in .keras files, but reads only names, and calls
    what it finds."""
    known, found = KerasObjects(keras), False
    for entry in _entries(config):
        for key, value in _options(entry).items():
            if isinstance(value, dict) and value.get("class_name") == "function":
                own = known.registered(value.get("config"))
                entry["config"][key], found = (value if own is None else own), found or own is not None
    return found


def _problem(entry: dict[str, Any], known: KerasObjects) -> str | None:
    return _code(entry) or named(entry, known) or called(entry)


def _with_known_initializers(entry: dict[str, Any], known: KerasObjects) -> bool:
    """Replace the other ones of a layer of Keras or Larq, which use them only for weights that files hold."""
    name = entry.get("class_name")
    if not isinstance(name, str) or not _knows_class(entry, known):
        return False
    own = known.registered(entry.get("registered_name", name))
    if own is not None and own.__module__.partition(".")[0] != "larq":
        return False
    options = _options(entry)
    given = {key: {"config": {key: value}} for key, value in options.items() if key.endswith("_initializer")}
    unknown = [key for key, value in given.items() if any(_problem(inner, known) for inner in _entries(value))]
    options.update(dict.fromkeys(unknown, "zeros"))
    return bool(unknown)


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


def _options(entry: dict[str, Any]) -> dict[str, Any]:
    inner = entry.get("config")
    return inner if isinstance(inner, dict) else {}


def _code(entry: dict[str, Any]) -> str | None:
    """The code, or the other file, that an entry brings with it."""
    name, options = entry.get("class_name"), _options(entry)
    if name == "__lambda__":
        return "a Python function, which would run while loading"
    unmarshalled = "lambda" in [entry.get(f"{part}_type") for part in ("function", "output_shape", "mask")]
    if unmarshalled or name == "Lambda" and not _calls_by_name(options):
        return "a Lambda layer, whose Python code would run while loading"
    if isinstance(options.get("vocabulary"), str):
        return f"a vocabulary that is read from another file ('{options['vocabulary']}')"
    return None


def _calls_by_name(options: dict[str, Any]) -> bool:
    """Whether a Lambda layer holds the name of a function and no code; the named function is checked separately."""
    function = options.get("function")
    if "function_type" in options:  # Keras 2
        return bool(options["function_type"] == "function")
    return isinstance(function, dict) and function.get("class_name") == "function"


def named(entry: dict[str, Any], known: KerasObjects) -> str | None:
    """The object that an entry names, if it is not on the list."""
    for key, text in _options(entry).items():
        named = isinstance(text, str) and (key.endswith(_TEXT_OPTIONS) or key == "function" and not is_op(entry))
        if named and text not in known.texts and known.registered(text) is None:
            return _not_listed(f"the function or class '{text}' ({key})")
    if "class_name" not in entry:
        return None
    name, module = entry["class_name"], entry.get("module")
    where = "" if module is None else f" of module '{module}'"
    if not isinstance(name, str):
        return f"an entry with the class_name {name!r}, which is not a name"
    if name in VALUES:
        return None
    if name == "function":
        return None if _knows_function(entry, known) else _not_listed(f"the function '{entry.get('config')}'{where}")
    return None if _knows_class(entry, known) else _not_listed(f"an object of the class '{name}'{where}")


def _not_listed(what: str) -> str:
    larq = "" if sys.modules.get("larq") else f"if it is one of Larq, which is not installed: {INSTALL_LARQ}; "
    return (
        f"{what}, which is not on the list of what networks are made of; {larq}if it is your own, register it with "
        "@keras.saving.register_keras_serializable(), import its module and load the file again, or export the model "
        "as a SavedModel: model.export(folder)"
    )


def _knows_function(entry: dict[str, Any], known: KerasObjects) -> bool:
    name = entry.get("config")
    if not isinstance(name, str) or entry.get("registered_name") not in (None, name, "function"):
        return False  # Keras writes "function" for functions of its own
    return known.registered(name) is not None or known.has_function(name, entry.get("module"))


def _knows_class(entry: dict[str, Any], known: KerasObjects) -> bool:
    name: str = entry["class_name"]
    sought = entry.get("registered_name", name)  # without a registered name, Keras looks for the class's own
    own = known.registered(sought)
    if own is not None:
        return name in (sought, getattr(own, "__name__", sought))
    return sought in (None, name) and known.has_class(name, entry.get("module"))
