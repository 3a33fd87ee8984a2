# SPDX-License-Identifier: Apache-2.0
"""Files that Python reads, under atheris: whatever the bytes, an answer or a BnnError; see run.py.

python tests/fuzz/python_targets.py TARGET [libFuzzer options] [corpus ...]
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import io
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.recipe import Recipe, damaged
from fuzz.watch import Watch, memory

try:
    import atheris
except ImportError:  # replayed, not fuzzed
    atheris = None

# Importers are imported when they are needed; here before, so that coverage guides the fuzzer in them.
IMPORTERS = (
    "common.hdf5", "onnx.load", "tensorflow.keras_files", "tensorflow.load", "tensorflow.run",
    "tensorflow.saved_models", "tflite.evaluate", "tflite.integers", "tflite.larq", "tflite.model",
    "tflite.ops", "tflite.ops_int8", "tflite.quantized", "tflite.tables",
)  # fmt: skip

with atheris.instrument_imports(include=["bnn"]) if atheris else contextlib.nullcontext():
    import bnn
    from bnn import _distribution
    from bnn.cli import inputs
    from bnn.importers import open_source
    from bnn.importers.common import limits
    from bnn.snn.from_nir import network_from_nir
    from bnn.snn.nir_file import read_nir
    from bnn.snn.simulators import SIMULATORS
    from bnn.streams import recordings as event_sources
    from bnn.verification.nir import verify_nir

    for name in IMPORTERS:
        importlib.import_module(f"bnn.importers.{name}")

    from fuzz import json_edits, seeds, sources

_distribution.install("recordings")  # imports what it needs to say what is missing, before imports are watched
FOLDER = Path(tempfile.mkdtemp(prefix="bnn-fuzz-"))  # in TMPDIR, which run.py sets
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
ENDINGS = {
    "numpy": ".npy", "nmnist": ".bin", "dat": ".dat", "evt2": ".raw", "evt3": ".raw", "text": ".csv",
    **dict.fromkeys(("aedat3", "aedat2-dvs128", "aedat2-davis"), ".aedat"),
}  # fmt: skip
# The limits of models while they are fuzzed, so that one that is within them costs little.
LOWERED = {"MOST_BYTES": 2**25, "MOST_CONSTANTS": 2**27}
GROWN = 2**28  # bytes that frameworks may keep of the models that they loaded, before a new process goes on

watch: Any = contextlib.nullcontext()  # what the fuzzed code must not do; nothing is watched where inputs are replayed


@contextlib.contextmanager
def reading(data: bytes, name: str) -> Iterator[Path]:
    """A file of these bytes, and what may happen while it is read."""
    path = FOLDER / name
    path.write_bytes(data)
    with watch, contextlib.suppress(bnn.BnnError):
        yield path


# How files begin that aedat and h5py read: neither these nor their imports are what is fuzzed.
OTHERS_READ = (b"#!AER-DAT4", b"\x89HDF")


def recordings(data: bytes) -> None:
    """The first byte names the format, and whether it is told or has to be found."""
    if not data or data[0] >= 128 and data.startswith(OTHERS_READ, 1):
        return
    format = seeds.RECORDINGS[data[0] % len(seeds.RECORDINGS)]
    with reading(data[1:], f"input{ENDINGS[format]}") as path:
        events = event_sources.read(path, format if data[0] < 128 else None)
        assert events.dtype == event_sources.EVENT and np.all(events["t"][1:] >= events["t"][:-1])


def arrays(data: bytes) -> None:
    """The first byte: .npy or .npz, and whether numbers are scaled."""
    if not data:
        return
    how = inputs.InputOptions(255.0 if data[0] & 2 else None, 0.0, resize=False)
    model = models()[data[0] >> 2 & 1]
    with reading(data[1:], "input.npz" if data[0] & 1 else "input.npy") as path:
        read = inputs.read_arrays(model, [str(path)], how)
        assert [a.shape[1:] for a in read] == list(model.input_shapes)


@functools.cache
def models() -> list[Any]:
    return [bnn.Model.from_bytes(data) for data in seeds.two_models()]


@functools.cache
def nir_files() -> tuple[bytes, bytes]:
    return seeds.nir_file(), seeds.spiking_nir_file()


def nir(data: bytes) -> None:
    """Edits of a file that was emitted: what verify_nir finds before an importer, of which none is here, gets it.  Or
    edits of a network of spiking neurons, which the rules of one simulator are asked to import."""
    from fuzz.hdf5_edits import NIR_TEXTS, edited

    emitted, spiking = nir_files()
    recipe = Recipe(data)
    simulator = recipe.pick([None, *SIMULATORS])
    file = edited(emitted if simulator is None else spiking, recipe, NIR_TEXTS)
    with reading(file, "input.nir") as path:
        if simulator is not None:
            network_from_nir(read_nir(path), simulator, dt=1e-4)
            return
        report = verify_nir(path, models()[0], np.zeros((1, *models()[0].input_shapes[0]), np.float32))
        assert not report.ok


@functools.cache
def keras_files() -> list[tuple[str, bytes]]:
    return list(sources.keras_files())


@functools.cache
def configurations() -> list[dict[str, Any]]:
    return [_configuration(ending, file) for ending, file in keras_files()]


def _configuration(ending: str, file: bytes) -> dict[str, Any]:
    """What a file says about its model and the Keras that wrote it."""
    if ending == ".keras":
        with zipfile.ZipFile(io.BytesIO(file)) as archive:
            return {name: json.loads(archive.read(name)) for name in ("config.json", "metadata.json")}
    import h5py

    with h5py.File(io.BytesIO(file), "r") as opened:
        return {
            "model_config": json.loads(opened.attrs["model_config"]),
            "keras_version": opened.attrs["keras_version"],
        }


def _configured(ending: str, file: bytes, said: dict[str, Any], recipe: Recipe) -> bytes:
    """The file with another configuration; of a .keras file, now and then, with bytes changed."""
    image = io.BytesIO()
    if ending == ".keras":
        with zipfile.ZipFile(io.BytesIO(file)) as archive, zipfile.ZipFile(image, "w") as made:
            made.writestr("model.weights.h5", archive.read("model.weights.h5"))
            for name, value in said.items():
                made.writestr(name, json_edits.dumped(value, recipe))
        return damaged(image.getvalue(), recipe) if recipe.number(16) == 15 else image.getvalue()
    import h5py

    image.write(file)
    with h5py.File(image, "r+") as opened:
        for name in ("model_config", "keras_version"):
            del opened.attrs[name]
        for name, value in said.items():
            plain = isinstance(value, (str, int, float))
            opened.attrs[name] = value if plain else json_edits.dumped(value, recipe).decode(errors="replace")
    return image.getvalue()


def keras(data: bytes) -> None:
    """Edits of the configuration of a model, and what Keras makes of it, up to the graph."""
    recipe = Recipe(data)
    number = recipe.number(len(keras_files()))
    ending, file = keras_files()[number]
    said = json_edits.edited(configurations()[number], recipe, configurations())
    try:
        file = _configured(ending, file, said, recipe)
    except (AttributeError, OSError, RecursionError, TypeError, ValueError):
        return  # nobody can write that
    _graph(file, f"input{ending}")


@functools.cache
def single_layers() -> list[tuple[str, bytes]]:
    return list(sources.keras_files(single=True))


def hdf5(data: bytes) -> None:
    """Edits of the objects of an .h5 file, or of the weights in a .keras file.  The networks have one layer: Keras
    takes most of the time, and more layers have more of the same objects."""
    from fuzz.hdf5_edits import KERAS_TEXTS, edited

    recipe = Recipe(data)
    ending, file = recipe.pick(single_layers())
    if ending == ".h5":
        _graph(edited(file, recipe, KERAS_TEXTS), "input.h5")
        return
    image = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file)) as archive, zipfile.ZipFile(image, "w") as made:
        for name in archive.namelist():
            read = archive.read(name)
            made.writestr(name, edited(read, recipe, KERAS_TEXTS) if name.endswith(".h5") else read)
    _graph(image.getvalue(), "input.keras")


def _graph(file: bytes, name: str, compiled: bool = False) -> None:
    """The importers are what is fuzzed; now and then, the passes get what they read."""
    with reading(file, name) as path:
        bnn.compile(path) if compiled else open_source(path).graph()


@functools.cache
def saved_models() -> Any:
    """(folders, editor of their graphs)."""
    from bnn.importers.tensorflow.allowed import PURE
    from bnn.importers.tensorflow.load import tensorflow
    from fuzz import proto_edits

    tensorflow()
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    folders = sources.saved_models(FOLDER)
    graphs = [SavedModel.FromString((folder / "saved_model.pb").read_bytes()) for folder in folders]
    hostile = (
        "WriteFile",
        "ReadFile",
        "PyFunc",
        "PrintV2",
        "While",
        "If",
        "MatchingFiles",
        "EagerPyFunc",
        "Placeholder",
    )
    return folders, proto_edits.Editor(graphs, {"op": [*sorted(PURE), *hostile]}, _is_dull)


def _is_dull(message: Any) -> bool:
    """Parts of a SavedModel that no reader looks at: those that say how to save it, and how Python called it."""
    name = message.DESCRIPTOR.name
    saves = name == "FunctionDef" and "traced_" in message.signature.name
    return saves or name in ("MetaInfoDef", "SaverDef", "FunctionSpec", "StructuredValue", "CollectionDef")


def savedmodel(data: bytes) -> None:
    """Edits of the protocol buffer of a SavedModel."""
    recipe = Recipe(data)
    folders, editor = saved_models()
    number = recipe.number(len(folders))
    with reading(editor.edited(number, recipe).SerializePartialToString(), f"{folders[number].name}/saved_model.pb"):
        open_source(folders[number]).graph()


@functools.cache
def onnx_editor() -> Any:
    import onnx.defs

    from bnn.importers.onnx.run import PURE
    from fuzz import proto_edits

    (FOLDER / "weights.bin").write_bytes(bytes(64))
    other = (
        "If",
        "Loop",
        "Scan",
        "RandomNormal",
        "StringNormalizer",
        "SequenceAt",
        "SplitToSequence",
        "BipolarQuant",
        "Quant",
    )
    keys = sorted({name for schema in onnx.defs.get_all_schemas() for name in schema.attributes})
    return proto_edits.Editor(sources.onnx_models(), {"op_type": [*sorted(PURE), *other], "key": (
        "location", "offset", "length", "checksum"), "domain": ("", "ai.onnx", "own", "qonnx.custom_op.general"),
        "name": (*keys, "w", "x", "t1", "once", "twice")})  # fmt: skip


def onnx(data: bytes) -> None:
    """Edits of an .onnx file."""
    recipe = Recipe(data)
    model = onnx_editor().edited(recipe.number(len(onnx_editor().messages)), recipe)
    _graph(model.SerializePartialToString(), "input.onnx", compiled=recipe.number(8) == 7)


@functools.cache
def tflite_networks() -> list[Any]:
    return sources.tflite_networks()


def tflite(data: bytes) -> None:
    """Edits of a .tflite file."""
    from fuzz.tflite_edits import edited

    recipe = Recipe(data)
    file = edited(recipe.pick(tflite_networks()), recipe)
    _graph(file, "input.tflite", compiled=recipe.number(8) == 7)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "recordings": recordings, "arrays": arrays, "nir": nir, "keras": keras, "hdf5": hdf5, "savedmodel": savedmodel,
    "onnx": onnx, "tflite": tflite,
}  # fmt: skip


def prepare(target: str) -> None:
    """Import the framework, and run what it does once in a process."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for module in [m for name, m in sys.modules.items() if name.startswith("bnn.")]:
        for name, value in LOWERED.items():
            if getattr(module, name, None) == getattr(limits, name) and module is not limits:
                setattr(module, name, value)
    for name, value in LOWERED.items():
        setattr(limits, name, value)
    for _, data in seeds.SEEDS[target]():
        TARGETS[target](data)
    gc.collect()


def once(target: str, begun: int, data: bytes) -> None:
    try:
        TARGETS[target](data)
    except Exception:
        traceback.print_exc()
        os.abort()  # as if it were native: an end in order takes long with a framework
    if memory("VmRSS") > begun + GROWN:
        os.kill(os.getpid(), signal.SIGUSR1)  # libFuzzer ends, in order; run.py starts it again


def main() -> None:
    global watch
    target = sys.argv.pop(1)
    prepare(target)
    watch = Watch(
        FOLDER, copies=target == "recordings"
    )  # expelliarmus reads files alone, some of them with a header added
    atheris.Setup(sys.argv, functools.partial(once, target, memory("VmRSS")))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
