# SPDX-License-Identifier: Apache-2.0
"""Whatever name a Keras file uses, and wherever Keras looks for it: what is accepted is an object on the list."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import keras as keras3
import pytest
import tensorflow as tf

from bnn.importers.tensorflow import keras_files
from bnn.importers.tensorflow.keras_objects import KerasObjects

with contextlib.suppress(ImportError):
    import larq  # noqa: F401  the importer imports it, too

# The Kerases, by the package that has their code.
KERASES = {KerasObjects(keras).package: keras for keras in (tf.keras, keras3)}
PARTS = (
    "activations", "constraints", "initializers", "layers", "losses", "metrics", "optimizers", "optimizers.schedules",
    "regularizers",
)  # fmt: skip
REGISTERED = ("absent", None, "itself", "function", "get_file", "exec")


def attribute(thing: Any, path: str) -> Any:
    for name in path.split("."):
        thing = getattr(thing, name, None)
    return thing


def names(module: Any) -> list[str]:
    return [name for name in {*vars(module), *dir(module)} if isinstance(name, str)]


def spaces(package: str) -> dict[str, Mapping[str, Any]]:
    """{name of a module: its contents}, for all that are loaded, and public modules by the names that Keras exports."""
    found = {name: vars(m) for name, m in list(sys.modules.items()) if isinstance(m, ModuleType)}
    prefix = f"{package}."
    shorter = {"keras." + name.removeprefix(prefix): m for name, m in found.items() if name.startswith(prefix)}
    found |= {name: m for name, m in shorter.items() if package != "keras"}
    for part in (*PARTS, "models", "utils", "saving", "mixed_precision", "layers.experimental", "optimizers.legacy"):
        public = attribute(KERASES[package], part)
        if public is not None:
            found[f"keras.{part}"] = {**found.get(f"keras.{part}", {}), **dict.fromkeys(names(public))}
    found["builtins"] = dict.fromkeys({*names(builtins), *(n for p in found.values() for n in p)})
    return found


def entries(module: str, name: str) -> Iterator[dict[str, Any]]:
    """All ways to name an object."""
    for said in REGISTERED:
        registered = {} if said == "absent" else {"registered_name": name if said == "itself" else said}
        yield {"class_name": "function", "config": name, "module": module, **registered}
        yield {"class_name": name, "config": {}, "module": module, **registered}


def taken(entry: dict[str, Any], package: str) -> Any:
    """The object that Keras itself finds, or None if it refuses."""
    lib = importlib.import_module(f"{package}.src.saving.serialization_lib")
    function = entry["class_name"] == "function"
    name = entry["config"] if function else entry["class_name"]
    registered = entry.get("registered_name", entry["class_name"])
    kind = "function" if function else "class"
    with contextlib.suppress(TypeError, ValueError):
        return lib._retrieve_class_or_fn(name, registered, entry["module"], obj_type=kind, full_config=entry)
    return None


def candidate(known: KerasObjects, module: str, name: str) -> bool:
    found = known.registered(name) is not None or known.found(module, name) is not None
    return found or name in known.class_names or module == "builtins"


@pytest.mark.parametrize("package", KERASES)
def test_every_name_of_every_module(package: str) -> None:
    known = KerasObjects(KERASES[package])
    listed = {*map(id, known.classes), *map(id, known.functions)}
    pairs = [(module, name) for module, found in spaces(package).items() for name in found]
    accepted, foreign = 0, []
    for module, name in pairs:
        if not candidate(known, module, name):
            continue  # it is refused as a class, and as a function
        for entry in entries(module, name):
            if keras_files.named(entry, known) is None:
                accepted += 1
                found = taken(entry, package)
                if found is not None and id(found) not in listed and found is not known.registered(name):
                    foreign.append((entry, found))
    print(f"{len(pairs)} pairs of {package}, {accepted} ways to name an object accepted")
    assert not foreign
    assert len(pairs) > 50_000 and accepted > 1000


@pytest.mark.parametrize("package", KERASES)
def test_what_is_left_out_above_is_refused(package: str) -> None:
    """The shortcut of the test above, for one module in a hundred."""
    known = KerasObjects(KERASES[package])
    for module, found in [*spaces(package).items()][::100]:
        for name in found:
            assert candidate(known, module, name) or all(
                keras_files.named(entry, known) for entry in entries(module, name)
            ), (module, name)


class _Seen(Exception):
    pass


def namespaces(package: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Mapping[str, Any]]:
    """The objects among which each part of Keras looks up a name without its module."""
    found: dict[str, Mapping[str, Any]] = {}

    def see(*args: Any, module_objects: Any = None, **options: Any) -> Any:
        raise _Seen(module_objects)

    for lib in (f"{package}.src.saving.serialization_lib", f"{package}.src.saving.legacy.serialization"):
        if lib in sys.modules:
            monkeypatch.setattr(sys.modules[lib], "deserialize_keras_object", see)
    for part in PARTS:
        public = attribute(KERASES[package], part)
        for options in ({}, {"use_legacy_format": True}):
            try:
                public.deserialize({"class_name": "A", "config": {}}, **options)
            except _Seen as seen:
                found[f"{part} {options}"] = seen.args[0] or {}
            except TypeError:
                pass  # no older format
    monkeypatch.undo()
    with contextlib.suppress(ImportError):  # what Keras 3 uses for older files
        of = importlib.import_module(f"{package}.src.legacy.saving.saving_utils")
        with contextlib.suppress(Exception):
            of.model_from_config({"class_name": "A", "config": {}})
        found["older files"] = of.MODULE_OBJECTS.ALL_OBJECTS
    return found


@pytest.mark.parametrize("package", KERASES)
def test_every_name_without_a_module(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = KerasObjects(KERASES[package])
    listed = {*map(id, known.classes), *map(id, known.functions)}
    found = namespaces(package, monkeypatch)
    assert len(found) >= len(PARTS) and sum(map(len, found.values())) > 200
    # Metrics have functions of the same names as losses, and there are
    # tf.nn's leaky_relu, log_softmax, relu6 and silu; L1L2 from two numbers; the same layers of TensorFlow 1.
    older = {"l1_l2", "leaky_relu", "log_softmax", "normal", "one", "relu6", "silu", "uniform", "zero"}
    bases = tuple(known.classes)
    for part, space in found.items():
        for name in known.class_names | known.texts | {f.__name__ for f in known.functions}:
            of = space.get(name)
            own = id(of) in listed or isinstance(of, type) and issubclass(of, bases)
            own |= name in {f.__name__ for f in known.functions} and ".metrics." in f"{getattr(of, '__module__', '')}."
            assert of is None or own or name in older, (part, name, of)
