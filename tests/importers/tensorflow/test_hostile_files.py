# SPDX-License-Identifier: Apache-2.0
"""Files that name other files, or that are far larger than they seem: refused before anything is loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras as keras3
import numpy as np
import pytest
import tensorflow as tf

from bnn.importers.common import limits
from bnn.importers.tensorflow import keras_files
from pace import loop_seconds

from .hostile import refused
from .models import import_model, needs_keras3

keras = tf.keras
pytestmark = pytest.mark.timeout(method="thread")
Change = Callable[[Path], object]
HUGE = 2**31


def repack(path: Path, change: Callable[[str, bytes], bytes] = lambda name, data: data, **more: bytes) -> None:
    """Write a .keras file again, with other members."""
    with zipfile.ZipFile(path) as old:
        members = {name: change(name, old.read(name)) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in (*members.items(), *more.items()):
            new.writestr(name, data)


def kernel(file: h5py.File) -> str:
    """The path of the only matrix."""
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if getattr(item, "ndim", 0) == 2 else None)
    (name,) = found
    return name


def external(file: h5py.File, name: str, secret: Path) -> None:
    file.create_dataset(name, (4, 3), "f4", external=[(str(secret), 0, 48)])


def unstored(file: h5py.File, name: str, secret: Path) -> None:
    file.create_dataset(name, (2**15, 2**15), "f4")


# Others are in test_saved_parts.py.
HDF5 = {"is stored in other files": external, "declares 4,294,967,296 bytes but stores 0": unstored}


def spoil(path: Path, change: Callable[[h5py.File, str, Path], None], secret: Path) -> None:
    with h5py.File(path, "a") as file:
        name = kernel(file)
        del file[name]
        change(file, name, secret)


@pytest.mark.parametrize("message", HDF5)
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_weights(message: str, suffix: str, folder: Path) -> None:
    path = folder / f"net{suffix}"
    import_model(path)
    if suffix == ".h5":
        spoil(path, HDF5[message], folder / "secret")
    else:
        weights = folder / "weights"

        def change(name: str, data: bytes) -> bytes:
            if not name.endswith(".h5"):
                return data
            weights.write_bytes(data)
            spoil(weights, HDF5[message], folder / "secret")
            return weights.read_bytes()

        repack(path, change)
    refused(path, message, "unsafe=True")


def test_a_group_in_itself(folder: Path) -> None:
    """It ends, and is read once."""
    with h5py.File(folder / "net.h5", "a") as file:
        file["again"] = file["/"]
    import_model(folder / "net.h5")


@pytest.mark.parametrize("count", [256, 257])
def test_objects_of_many_attributes(count: int, folder: Path) -> None:
    """HDF5 looks for each from the first on: 20,000 of them, in 2 MB, would take minutes."""
    with h5py.File(folder / "net.h5", "a") as file:
        group = file.create_group("more")
        for number in range(count):
            group.attrs[f"a{number}"] = 1
    if count == 256:
        import_model(folder / "net.h5")
    else:
        refused(folder / "net.h5", "'/more' has 257 attributes; expected at most 256; ")


@pytest.mark.parametrize("depth", [64, 65])
def test_groups_that_are_deep(depth: int, folder: Path) -> None:
    """The names of all would take memory that grows with the square of their number."""
    with h5py.File(folder / "net.h5", "a") as file:
        file.create_group("g/" * depth)
    if depth == 64:
        import_model(folder / "net.h5")
    else:
        refused(folder / "net.h5", "has groups 65 deep within each other; expected at most 64; ")


NAMES = [
    "../it ran", "/tmp/it ran", "assets/vocabulary.txt", "assets/../../it ran", "a.py", "model.weights.npz", "a.json",
    "a.h5", "deep/config.json", "deep/model.weights.h5",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_members_of_other_names(name: str, folder: Path) -> None:
    repack(folder / "net.keras", **{name: b"x"})
    refused(folder / "net.keras", f"contains a file '{name}'", "unsafe=True")
    assert not (folder.parent / "it ran").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_members_of_one_name(name: str, folder: Path) -> None:
    with zipfile.ZipFile(folder / "net.keras", "a") as archive:
        archive.writestr(name, archive.read(name))
    refused(folder / "net.keras", f"contains '{name}' twice")


@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
def test_members_that_are_large_unpacked(name: str, folder: Path) -> None:
    """As they say themselves: nothing is unpacked to know it."""
    path = folder / "net.keras"
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo(name).file_size
    found = path.read_bytes()
    old, new = (n.to_bytes(4, "little") for n in (size, HUGE))
    at = found.index(b"PK\x01\x02")  # the directory
    while found[at + 46 : at + 46 + len(name)] != name.encode():
        at = found.index(b"PK\x01\x02", at + 1)
    assert found[at + 24 : at + 28] == old
    path.write_bytes(found[: at + 24] + new + found[at + 28 :])
    refused(path, "is 2,147,48", "bytes; at most")


def test_weights_under_their_older_name(folder: Path) -> None:
    with h5py.File(folder / "weights", "w") as file:
        file["a"] = h5py.ExternalLink(str(folder / "secret"), "/secret")
    repack(folder / "net.keras", **{"variables.h5": (folder / "weights").read_bytes()})
    refused(folder / "net.keras", "'variables.h5': '/a' is a link to another file", "unsafe=True")


def sizes_unpacked(path: Path) -> dict[str, int]:
    with zipfile.ZipFile(path) as archive:
        return {member.filename: member.file_size for member in archive.infolist()}


def test_members_as_large_as_may_be(folder: Path, at_most: Any) -> None:
    """Texts, all members together, and what is compressed: Keras stores weights plainly, and whoever compresses them
    may do so for small networks."""
    path = folder / "net.keras"
    sizes = sizes_unpacked(path)
    size, whole = sizes["config.json"], sum(sizes.values())
    message = f"'config.json' is {size:,} bytes; at most {size - 1:,} are read"
    at_most(keras_files, "_MOST_TEXT", size, message, lambda: import_model(path))
    message = f"its unpacked content is {whole:,} bytes; at most {whole - 1:,} are read.*unsafe=True"
    at_most(limits, "MOST_BYTES", whole, message, lambda: import_model(path))
    repack(path)
    size = sizes_unpacked(path)["model.weights.h5"]
    message = f"'model.weights.h5': what is compressed is {size:,} bytes; at most {size - 1:,}"
    at_most(keras_files, "_MOST_UNPACKED", size, message, lambda: import_model(path))


def with_parts(path: Path, count: int) -> None:
    """A file whose configuration holds a list of many empty dicts."""
    many = b"[" + b",".join([b"{}"] * count) + b"]"

    def change(name: str, data: bytes) -> bytes:
        return (
            data.replace(b'"trainable": true', b'"trainable": true, "many": ' + many, 1) if "config" in name else data
        )

    if path.suffix == ".keras":
        repack(path, change)
    else:
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = change("config", file.attrs["model_config"].encode()).decode()


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_configurations_of_many_parts(suffix: str, folder: Path) -> None:
    with_parts(folder / f"net{suffix}", 100_000)
    refused(folder / f"net{suffix}", "its configuration has 200,", "parts; at most 200,000 are read", "unsafe=True")


def test_configurations_that_are_deep(folder: Path) -> None:
    repack(folder / "net.keras", lambda name, data: b"[" * 100_000 if name == "config.json" else data)
    refused(folder / "net.keras", "cannot be read (maximum recursion depth exceeded")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\xff", b"{"])
@pytest.mark.parametrize("name", ["metadata.json", "config.json"])
def test_configurations_that_are_none(name: str, data: bytes, folder: Path) -> None:
    repack(folder / "net.keras", lambda member, old: data if member == name else old)
    if (name, data) != ("metadata.json", b"{}"):  # Keras 2 then
        refused(folder / "net.keras", "net.keras: ")


def layers_of(config: Any) -> Any:
    return config["config"]["layers"]


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("layer", ["Dense", "Embedding"])
@pytest.mark.parametrize("version", ["2", "3"])
def test_layers_that_are_large(version: str, layer: str, suffix: str, folder: Path) -> None:
    of = keras3 if version == "3" else keras
    if version == "3" and not keras3.__version__.startswith("3"):
        pytest.skip("the package keras is Keras 2")
    made = of.layers.Dense(3, name="a") if layer == "Dense" else of.layers.Embedding(3, 3, name="a")
    model = of.Sequential([of.layers.Input((4,)), made])
    path = folder / f"large{suffix}"
    model.save(path)
    large = {"units": 2**28} if layer == "Dense" else {"input_dim": 2**14, "output_dim": 2**16}

    def change(name: str, data: bytes) -> bytes:
        config = json.loads(data)
        if name == "config.json":
            layers_of(config)[1]["config"] |= large
        return json.dumps(config).encode()

    if suffix == ".h5":
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = change("config.json", file.attrs["model_config"].encode()).decode()
    else:
        repack(path, lambda name, data: change(name, data) if name.endswith(".json") else data)
    start = time.process_time()
    refused(path, "what its layers have as weights is 4,294,967,", "at most 67,1", "unsafe=True")
    assert time.process_time() - start < 1000 * loop_seconds()  # filling four gigabytes would take longer


def zeros(path: Path) -> None:
    """Weights that are compressed to a thousandth."""
    with h5py.File(path.with_suffix(".weights"), "w") as file:
        file["w"] = np.zeros(2**26, np.float32)
    data = path.with_suffix(".weights").read_bytes()
    repack(path, lambda name, old: data if name.endswith(".h5") else old)


def units(path: Path) -> None:
    """A layer whose weights the file does not store."""
    repack(path, lambda name, old: old.replace(b'"units": 3', b'"units": 50000000'))


def names_again(path: Path) -> None:
    with h5py.File(path, "a") as file:
        group = file["model_weights"].create_group("a")
        group.create_dataset("w", data=np.zeros(2**21, np.float32))
        group.attrs["weight_names"] = np.array([b"w", *[b"./w"] * 200])


LARGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "parts": (".keras", lambda path: with_parts(path, 100_000)),
    "parts that are read": (".keras", lambda path: with_parts(path, 99_000)),
    "deep": (".keras", lambda path: repack(path, lambda n, d: b"[" * 2**23 if n == "config.json" else d)),
    "long": (".keras", lambda path: repack(path, lambda n, d: b'"' + b"a" * 2**26 if n == "config.json" else d)),
    "compressed": (".keras", zeros),
    "units": (".keras", units),
    "named again": (".h5", names_again),
}
# The memory of a process that has imported TensorFlow, and 256 MiB more.
_CHILD = """
import resource, sys, time
import bnn
from bnn.importers.tensorflow.load import tensorflow
tensorflow().constant(1.0) + 1.0
import h5py, keras
data = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (data + 2**28, data + 2**28))
for path in sys.argv[1:]:
    begin = time.process_time()
    try:
        bnn.compile(path)
    except bnn.BnnError as error:
        print(f"{time.process_time() - begin:.2f} s: {str(error)[:200]}")
    else:
        print(f"{path} was compiled")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_refused_files_take_little(folder: Path) -> None:
    paths = {}
    for i, (name, (suffix, change)) in enumerate(LARGE.items()):
        paths[name] = Path(shutil.copy(folder / f"net{suffix}", folder / f"large{i}{suffix}"))
        change(paths[name])
    command = [sys.executable, "-c", _CHILD, *map(str, paths.values())]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stderr[-2000:]
    lines = ended.stdout.splitlines()
    assert len(lines) == len(paths)
    assert "what its datasets declare is 1," in lines[[*paths].index("named again")]
    for line in lines:
        assert float(line.split()[0]) < 700 * loop_seconds(), line  # ten seconds
        assert "memory" not in line.lower() and "cannot be read (MemoryError" not in line, line


def test_elements_of_any_length(folder: Path) -> None:
    """One that stands once in the file can be all of them."""
    with h5py.File(folder / "net.h5", "a") as file:
        file["model_weights"].create_dataset("a", (3,), h5py.vlen_dtype(np.float64))
    refused(folder / "net.h5", "elements of variable length", "unsafe=True")


@needs_keras3
@pytest.mark.parametrize("op", ["Map", "Scan", "WhileLoop", "Cond", "Switch", "ForiLoop"])
def test_operations_that_call_functions(op: str, folder: Path) -> None:
    model = keras3.Sequential([keras3.layers.Input((4,)), keras3.layers.ReLU(name="a")])
    model.save(folder / "net.keras")

    def change(name: str, data: bytes) -> bytes:
        if name != "config.json":
            return data
        config = json.loads(data)
        layers_of(config)[1] |= {"module": "keras.src.ops.core", "class_name": op}
        return json.dumps(config).encode()

    repack(folder / "net.keras", change)
    refused(
        folder / "net.keras",
        f"the class '{op}' of module 'keras.src.ops.core', which is not on the list",
        "unsafe=True",
    )
