# SPDX-License-Identifier: Apache-2.0
"""Files that name other files, or that are far larger than they seem: refused before anything is loaded."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import keras as keras3
import numpy as np
import pytest
import tensorflow as tf

from bnn.errors import CompileError
from bnn.importers import archives, graphdef, limits, saved_models, tf_inline, tf_run
from bnn.importers.tensorflow import import_model

from .hostile import edit, product, refused, save_plain
from .models import needs_keras3

keras = tf.keras
pytestmark = pytest.mark.timeout(60, method="thread")
Change = Callable[[Path], object]
HUGE = 2**31


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one network in every format, and a file that none of them may read."""
    folder = tmp_path_factory.mktemp("plain")
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, name="dense")])
    model.save(folder / "net.h5")
    model.save(folder / "net.keras")
    save_plain(folder / "net")
    with h5py.File(folder / "secret", "w") as file:
        file["secret"] = np.ones((4, 3), np.float32)
    return folder


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "files"))


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


def link(file: h5py.File, name: str, secret: Path) -> None:
    file[name] = h5py.ExternalLink(str(secret), "/secret")


def soft(file: h5py.File, name: str, secret: Path) -> None:
    file["elsewhere"] = np.ones((4, 3), np.float32)
    file[name] = h5py.SoftLink("/elsewhere")


def virtual(file: h5py.File, name: str, secret: Path) -> None:
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[:] = h5py.VirtualSource(secret, "secret", (4, 3))
    file.create_virtual_dataset(name, layout)


def packed(file: h5py.File, name: str, secret: Path) -> None:
    file.create_dataset(name, data=np.zeros((4, 3), np.float32), compression="gzip")


def unstored(file: h5py.File, name: str, secret: Path) -> None:
    file.create_dataset(name, (2**15, 2**15), "f4")


def unstored_chunks(file: h5py.File, name: str, secret: Path) -> None:
    file.create_dataset(name, (2**20, 2**20), "f4", chunks=(16, 16))


HDF5 = {
    "stands in other files": external,
    "is a link to another file": link,
    "is a symbolic link": soft,
    "is a virtual dataset, made of other files": virtual,
    "is packed (filter 'deflate')": packed,
    "declares 4,294,967,296 bytes and stores 0 of them": unstored,
    "declares 4,398,046,511,104 bytes and stores 0 of them": unstored_chunks,
}


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


NAMES = ["../it ran", "/tmp/it ran", "assets/vocabulary.txt", "assets/../../it ran", "a.py", "model.weights.npz"]


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


def sizes_unpacked(path: Path) -> dict[str, int]:
    with zipfile.ZipFile(path) as archive:
        return {member.filename: member.file_size for member in archive.infolist()}


def test_texts_as_large_as_may_be(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "net.keras"
    size = sizes_unpacked(path)["config.json"]
    monkeypatch.setattr(archives, "_MOST_TEXT", size)
    import_model(path)
    monkeypatch.setattr(archives, "_MOST_TEXT", size - 1)
    refused(path, f"'config.json' is {size:,} bytes; at most {size - 1:,} are read")


def test_members_as_large_as_may_be(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them together."""
    path = folder / "net.keras"
    size = sum(sizes_unpacked(path).values())
    monkeypatch.setattr(limits, "MOST_BYTES", size)
    import_model(path)
    monkeypatch.setattr(limits, "MOST_BYTES", size - 1)
    refused(path, f"what is packed in it is {size:,} bytes; at most {size - 1:,} are read", "unsafe=True")


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
    start = time.perf_counter()
    refused(path, "what its layers have as weights is 4,294,967,", "at most 1,073,741,824", "unsafe=True")
    assert time.perf_counter() - start < 20


def constant(shape: list[int], dtype: int = 1) -> Callable[[Any], None]:
    """A constant of one number, many times."""

    def change(saved: Any) -> None:
        node = product(saved).node_def.add(name="a", op="Const")
        node.attr["dtype"].type = dtype
        value = node.attr["value"].tensor
        value.dtype = dtype
        for size in shape:
            value.tensor_shape.dim.add(size=size)
        value.float_val.append(1.0)

    return change


def variable(saved: Any) -> None:
    nodes = saved.meta_graphs[0].object_graph_def.nodes
    (found,) = (n.variable for n in nodes if n.WhichOneof("kind") == "variable")
    found.shape.dim[0].size = HUGE


def call_itself(saved: Any) -> None:
    function = product(saved)
    function.node_def.add(name="a", op="PartitionedCall").attr["f"].func.name = function.signature.name


def many_calls(saved: Any) -> None:
    """2^40 nodes of 40 functions."""
    library = saved.meta_graphs[0].graph_def.library
    for i in range(40):
        body = library.function.add()
        body.signature.name = f"level_{i}"
        for name in ("a", "b"):
            body.node_def.add(name=name, op="PartitionedCall").attr["f"].func.name = f"level_{i + 1}"


def calls_in_a_row(saved: Any, first: int = 0, count: int = 1000) -> None:
    library = saved.meta_graphs[0].graph_def.library
    for i in range(first, first + count):
        body = library.function.add()
        body.signature.name = f"level_{i}"
        body.node_def.add(name="a", op="PartitionedCall").attr["f"].func.name = f"level_{i + 1}"


def test_as_many_calls_in_a_row_as_may_be(folder: Path) -> None:
    edit(folder / "net", partial(calls_in_a_row, count=limits.MOST_CALLS))
    import_model(folder / "net")
    edit(folder / "net", partial(calls_in_a_row, first=limits.MOST_CALLS, count=1))
    refused(folder / "net", "more than 100 functions call one another in a row", "unsafe=True")


def results(saved: Any) -> None:
    split = product(saved).node_def.add(name="a", op="Unpack")
    split.attr["num"].i = 2**31
    split.input.append("x")


def many_results(saved: Any) -> None:
    """Each node has no more than may be read."""
    for i in range(200):
        split = product(saved).node_def.add(name=f"a{i}", op="Unpack")
        split.attr["num"].i = 2**20
        split.input.append("x")


def constant_of_calls(saved: Any) -> None:
    """A constant within the limit, of a function that is called often."""
    constant([2**27])(saved)
    (node,) = (n for n in product(saved).node_def if n.name == "a")
    body = saved.meta_graphs[0].graph_def.library.function.add()
    body.signature.name = "called"
    body.node_def.add().CopyFrom(node)
    product(saved).node_def.remove(node)
    for i in range(40):
        product(saved).node_def.add(name=f"c{i}", op="PartitionedCall").attr["f"].func.name = "called"


def two_graphs(saved: Any) -> None:
    """TensorFlow reads such as one of its first version, and runs its initializer."""
    saved.meta_graphs.add().CopyFrom(saved.meta_graphs[0])


def asset(saved: Any) -> None:
    saved.meta_graphs[0].object_graph_def.nodes.add().asset.asset_file_def_index = 0


def registered(saved: Any) -> None:
    saved.meta_graphs[0].object_graph_def.nodes[0].registered_name = "Custom.Table"


def saver(saved: Any) -> None:
    saved.meta_graphs[0].object_graph_def.nodes[0].registered_saver = "Custom.Saver"


def methods_of_a_variable(saved: Any) -> None:
    nodes = saved.meta_graphs[0].object_graph_def.nodes
    (found,) = (n for n in nodes if n.WhichOneof("kind") == "variable")
    found.children.add(node_id=0, local_name="handle")


def hook(saved: Any) -> None:
    """An object whose name is that of a method by which TensorFlow restores: it could be called as one."""
    nodes = saved.meta_graphs[0].object_graph_def.nodes
    nodes.add().user_object.identifier = "_generic_user_object"
    nodes[0].children.add(node_id=len(nodes) - 1, local_name="_restore_from_tensors")


SAVED: dict[str, tuple[Callable[[Any], None], str]] = {
    "a constant": (constant([2**16, 2**16]), "what its constants declare is 17,179,869,"),
    "a constant of texts": (constant([2**26], 7), "what its constants declare is 2,147,48"),
    "a variable": (variable, "what its variables declare is 8,589,934,592"),
    "recursion": (call_itself, "calls itself"),
    "calls of calls": (many_calls, "'level_0' has 2,199,023,255,550 nodes"),
    "calls in a row": (calls_in_a_row, "more than 100 functions call one another in a row"),
    "results": (results, "has 2,147,483,648 results; at most 1,048,576 are read"),
    "many results": (many_results, "nodes and further results"),
    "a constant of calls": (constant_of_calls, "what its constants declare is 21,474,836,480"),
    "two graphs": (two_graphs, "or of several graphs"),
    "an asset": (asset, "another resource (asset)"),
    "a registered class": (registered, "another resource (Custom.Table)"),
    "a registered saver": (saver, "a table or another resource"),
    "methods of a variable": (methods_of_a_variable, "another resource (variable)"),
    "a hook": (hook, "contains an object called _restore_from_tensors, which may run while loading"),
}


@pytest.mark.parametrize("name", SAVED)
def test_saved_models(name: str, folder: Path) -> None:
    change, message = SAVED[name]
    edit(folder / "net", change)
    refused(folder / "net", message, *([] if name == "results" else ["unsafe=True"]))


@pytest.mark.parametrize("name", ["variables", "variables/variables.index", "saved_model.pb"])
def test_links_out_of_a_saved_model(name: str, folder: Path) -> None:
    path = folder / "net" / name
    path.rename(folder / "elsewhere")
    path.symlink_to(folder / "elsewhere")
    refused(folder / "net", f"'{name}' leads out of the folder")


def test_links_within_a_saved_model(folder: Path) -> None:
    path = folder / "net" / "variables" / "variables.index"
    path.rename(folder / "net" / "index")
    path.symlink_to("../index")
    import_model(folder / "net")


@pytest.mark.parametrize("name", ["net/variables/variables.index", "net/saved_model.pb", "net.keras", "net.h5"])
def test_pipes(name: str, folder: Path) -> None:
    """Whoever opens one waits for ever."""
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(folder / name.split("/")[0], "not a regular file")


def test_a_checkpoint_of_another_type(folder: Path) -> None:
    checkpoint = tf.train.Checkpoint(weight=tf.Variable(tf.zeros([3], tf.float64)))
    checkpoint.write(str(folder / "net" / "variables" / "variables"))
    refused(folder / "net", "'Variable' is float64 (3,) in the checkpoint, and float32 (3,) in the graph")


def test_a_node_of_itself(folder: Path) -> None:
    """Whoever looks for what stands behind it must not look for ever."""

    def change(saved: Any) -> None:
        for name, other in ("ab", "ba"):
            node = product(saved).node_def.add(name=name, op="Identity", input=[f"{other}:output:0"])
            node.attr["T"].type = 1
        next(n for n in product(saved).node_def if n.op == "Mul").input[1] = "a:output:0"

    edit(folder / "net", change)
    refused(folder / "net", "hands on its own result")


@pytest.mark.parametrize("shape", [(2,), (3, 4)])
def test_shapes_that_kernels_trust(shape: tuple[int, ...], folder: Path) -> None:
    """TensorFlow ends the whole process where it executes a convolution with them."""

    def change(saved: Any) -> None:
        function = product(saved)
        node = function.node_def.add(name="k", op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.ones(shape, np.float32)))
        node.attr["dtype"].type = 1
        node = function.node_def.add(name="w", op="Conv2D", input=["x", "k:output:0"])
        node.attr["T"].type = 1
        node.attr["strides"].list.i.extend([1, 1, 1, 1])
        node.attr["padding"].s = b"VALID"
        next(n for n in function.node_def if n.op == "Mul").input[1] = "w:output:0"

    edit(folder / "net", change)
    with pytest.raises(CompileError, match="Conv2D .* cannot be executed: Shape must be rank 4"):
        import_model(folder / "net")


def test_a_folder_with_the_name_of_the_checkpoint(folder: Path) -> None:
    """In it TensorFlow would find a list of checkpoints, which may lie anywhere."""
    expected = str(import_model(folder / "net"))
    other = tf.train.Checkpoint(weight=tf.Variable([41.0, 42.0, 43.0]))
    other.write(str(folder / "other"))
    listed = folder / "net" / "variables" / "variables"
    listed.mkdir()
    (listed / "checkpoint").write_text(f'model_checkpoint_path: "{folder}/other"\n')
    assert str(import_model(folder / "net")) == expected


def test_elements_of_any_length(folder: Path) -> None:
    """One that stands once in the file can be all of them."""
    with h5py.File(folder / "net.h5", "a") as file:
        file["model_weights"].create_dataset("a", (3,), h5py.vlen_dtype(np.float64))
    refused(folder / "net.h5", "elements of any length", "unsafe=True")


def test_weights_that_are_named_again(folder: Path) -> None:
    with h5py.File(folder / "net.h5", "a") as file:
        group = file["model_weights"].create_group("a")
        group.create_dataset("w", data=np.zeros(2**21, np.float32))
        group.attrs["weight_names"] = np.array([b"w", *[b"./w"] * 200])
    refused(folder / "net.h5", "what its datasets declare is 1,", "at most 1,073,741,824")


@pytest.mark.parametrize("name", ["weight", "other"])
def test_other_checkpoints(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tf.train.Checkpoint(**{name: tf.Variable(tf.zeros([2**17]))})
    checkpoint.write(str(folder / "net" / "variables" / "variables"))
    message = (
        "'Variable' is float32 (131072,) in the checkpoint, and float32 (3,)" if name == "weight" else "is damaged"
    )
    refused(folder / "net", message)
    monkeypatch.setattr(limits, "MOST_BYTES", 2**18)
    refused(folder / "net", "variables.data-00000-of-00001' is 524,", "at most 262,144")
    monkeypatch.setattr(saved_models, "check_bytes", lambda *anything: None)
    refused(folder / "net", "its checkpoint: what it declares is 524,", "at most 262,144")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (limits, "MOST_BYTES"), (saved_models, "MOST_NODES"), (tf_inline, "MOST_NODES"), (tf_run, "MOST_BYTES"),
        (graphdef, "MOST_BYTES"), (graphdef, "MOST_CONSTANTS"),
    ],
)  # fmt: skip
def test_as_much_as_each_limit_allows(module: Any, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing allowed on, to what is refused each time: then all of it is, and one less is not."""
    most = 0
    for _ in range(20):
        monkeypatch.setattr(module, name, most)
        try:
            import_model(folder / "net")
        except CompileError as error:
            found = re.search(r" (?:has|is|are|makes) ([\d,]+) (?:nodes|results|bytes)", str(error))
            assert found and f"at most {most:,} are" in str(error), str(error)
            assert int(found[1].replace(",", "")) > most
            most = int(found[1].replace(",", ""))
        else:
            break
    assert most > 0
    monkeypatch.setattr(module, name, most - 1)
    with pytest.raises(CompileError, match=rf" {most:,} .*at most {most - 1:,} are"):
        import_model(folder / "net")


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
    refused(folder / "net.keras", f"a layer {op}", "unsafe=True")
