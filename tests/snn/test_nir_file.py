# SPDX-License-Identifier: Apache-2.0
"""Reading NIR files: what is found, and how files that are damaged or hostile are refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bnn.errors import BnnError, CompileError, ModelFileError, ModelFormatError, ModelNotFoundError
from bnn.snn import nir_file
from bnn.snn.from_nir import network_from_nir
from bnn.snn.nir_file import KINDS, NirGraph, NirNode, read_nir
from bnn.snn.simulators import SIMULATORS
from fuzz import hdf5_edits
from fuzz.recipe import Recipe

from . import nir_graphs
from .nir_graphs import graph, node, small


def test_what_is_read(tmp_path: Path) -> None:
    found = read_nir(nir_graphs.write(tmp_path / "a.nir", small()))
    assert set(found.nodes) == {"input", "conv", "lif", "flat", "fc", "cuba", "output"}
    assert found.edges[:2] == (("input", "conv"), ("conv", "lif"))
    conv = found.nodes["conv"]
    assert isinstance(conv, NirNode) and conv.kind == "Conv2d"
    assert conv["weight"].dtype == np.float32 and conv["stride"].tolist() == [1, 2] and int(conv["groups"]) == 1
    lif, fc, cuba = (found.nodes[name] for name in ("lif", "fc", "cuba"))
    assert isinstance(lif, NirNode) and isinstance(fc, NirNode) and isinstance(cuba, NirNode)
    assert lif["v_reset"].tolist() == [0]  # NIR's defaults
    assert cuba["w_in"].tolist() == [1] * 4 and cuba["w_in"].dtype == np.float32
    assert fc["weight"].dtype == np.float64  # as stored


def test_graphs_within_graphs_and_edges_that_are_named_twice(tmp_path: Path) -> None:
    inner = graph({"input": node("Input", shape=[1]), "a": node("I", r=[1.0]), "output": node("Output", shape=[1])},
                  [("input", "a"), ("a", "output"), ("input", "a")])  # fmt: skip
    root = graph({"input": node("Input", shape=[1]), "deep": inner, "output": node("Output", shape=[1])},
                 [("input", "deep"), ("deep", "output")])  # fmt: skip
    found = read_nir(nir_graphs.write(tmp_path / "a.nir", root)).nodes["deep"]
    assert isinstance(found, NirGraph)
    assert found.edges == (("input", "a"), ("a", "output"))


def test_big_endian_numbers_and_fixed_texts(tmp_path: Path) -> None:
    path = nir_graphs.write(tmp_path / "a.nir", small())
    with h5py.File(path, "r+") as file:
        fc = file["node/nodes/fc"]
        del fc["bias"], fc["type"]
        fc["bias"] = np.arange(4, dtype=">f4")
        fc["type"] = np.bytes_("Affine")
    found = read_nir(path).nodes["fc"]
    assert isinstance(found, NirNode)
    assert found["bias"].tolist() == [0, 1, 2, 3] and found["bias"].dtype == np.dtype("=f4")


@pytest.mark.parametrize("name", ["lif_norse.nir", "cnn_sinabs.nir"])
def test_published_files(name: str) -> None:
    path = nir_graphs.shared("data", "nir", name)
    if path is None:
        pytest.skip("the folder shared/data/nir is missing")
    kinds = [found.kind for found in read_nir(path).nodes.values()]
    assert kinds.count("Input") == kinds.count("Output") == 1 and set(kinds) <= KINDS.keys()


# Edits of the file `small` by h5py, and what is said of them.
def external(file: Any) -> None:
    del file["node/nodes/fc/bias"]
    file["node/nodes/fc"].create_dataset("bias", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "b", (4,))
    del file["node/nodes/fc/bias"]
    file["node/nodes/fc"].create_virtual_dataset("bias", layout)


def linked(link: Any) -> Callable[[Any], None]:
    def edit(file: Any) -> None:
        del file["node/nodes/fc/bias"]
        file["node/nodes/fc/bias"] = link

    return edit


def circle(file: Any) -> None:
    """A graph that contains itself by a hard link."""
    del file["node/nodes/fc"]
    file["node/nodes/fc"] = file["node"]


def twice(file: Any) -> None:
    """Values that are stored once would be read for each node that has them."""
    del file["node/nodes/fc/bias"]
    file["node/nodes/fc/bias"] = file["node/nodes/conv/bias"]


def replaced(name: str, value: Any, **options: Any) -> Callable[[Any], None]:
    def edit(file: Any) -> None:
        del file[f"node/{name}"]
        if value is not None:
            file.create_dataset(f"node/{name}", data=value, **options)

    return edit


def added(name: str, value: Any) -> Callable[[Any], None]:
    def edit(file: Any) -> None:
        file[f"node/{name}"] = value

    return edit


def sparse(file: Any) -> None:
    """A terabyte that is nowhere stored."""
    del file["node/nodes/fc/weight"]
    file["node/nodes/fc"].create_dataset("weight", (2**19, 2**19), "f4", chunks=(2**10, 2**10), compression="gzip")


def bomb(file: Any) -> None:
    """Two gigabytes of zeros, of which a little is stored."""
    del file["node/nodes/fc/weight"]
    weight = file["node/nodes/fc"].create_dataset("weight", (2**14, 2**15), "f4", chunks=(2**10, 2**10), compression=9)
    weight[0, 0] = 1


def long_text(file: Any) -> None:
    """Edges that all are the same long text, stored once."""
    text = "x" * 2**18
    del file["node/edges"]
    file["node"].create_dataset("edges", data=[[text, text]] * 50, dtype=h5py.string_dtype())


TEXT = h5py.string_dtype()
_REFERENCES = np.empty(2, h5py.ref_dtype)
HOSTILE: dict[str, tuple[Callable[[Any], None], str]] = {
    "external": (external, r"'/node/nodes/fc/bias' is stored in other files \('/etc/passwd'\)"),
    "virtual": (virtual, "'/node/nodes/fc/bias' is a virtual dataset"),
    "soft": (linked(h5py.SoftLink("/node/nodes/conv/bias")), "'/node/nodes/fc/bias' is a symbolic link"),
    "link": (linked(h5py.ExternalLink("/etc/x.h5", "/b")), "is a link to another file"),
    "circle": (circle, "'/node(/nodes/fc)?' is the same object as '/node(/nodes/fc)?'"),
    "two names": (twice, "'/node/nodes/conv/bias' is the same object as '/node/nodes/fc/bias'"),
    "reference": (added("metadata/to", _REFERENCES), "'/node/metadata/to': found values of object, expected numbers"),
    "sparse": (sparse, "declares .* bytes but stores 0"),
    "bomb": (bomb, "what its datasets declare is 2,"),
    "long text": (long_text, "found 262,144 bytes of text"),
    "no node": (lambda file: file.__delitem__("node"), "found no group 'node'"),
    "no nodes": (replaced("nodes", None), "the graph: found no group 'nodes'"),
    "no edges": (replaced("edges", None), "the graph: found no dataset 'edges'"),
    "edges": (replaced("edges", np.zeros((3, 2))), "edge 0: found float64, expected text"),
    "edge shape": (replaced("edges", ["a"] * 3, dtype=TEXT), r"edges: found the shape \(3,\), expected \(edges, 2\)"),
    "edge": (replaced("edges", [["input", "no"]], dtype=TEXT), "edge 0: found the node 'no', which is not in"),
    "kind": (replaced("nodes/fc/type", "Dense"), "node 'fc': found the type 'Dense', expected one of Affine"),
    "kinds": (replaced("nodes/fc/type", ["Affine"] * 2, dtype=TEXT), "node 'fc': found no text 'type'"),
    "no kind": (replaced("nodes/fc/type", None), "node 'fc': found no text 'type'"),
    "number": (replaced("nodes/fc/type", 3), "node 'fc': type: found int64, expected text"),
    "root": (replaced("type", "Affine"), "found a single Affine, expected a NIRGraph"),
    "dataset": (replaced("nodes/fc", 3), "node 'fc': found a dataset, expected a group"),
    "missing": (replaced("nodes/fc/bias", None), r"node 'fc' \(Affine\): found no dataset 'bias'"),
    "other": (added("nodes/fc/gain", 3), r"node 'fc' \(Affine\): found 'gain', expected only bias, type, weight"),
    "other in graph": (added("more", 3), "the graph: found 'more', expected only edges, nodes, type"),
    "type of numbers": (replaced("nodes/fc/bias", np.ones(4, "<f2")), "bias: found float16, expected float32 or"),
    "complex": (replaced("nodes/fc/bias", np.ones(4, "<c8")), "fc/bias': found values of complex64, expected numbers"),
    "whole": (replaced("nodes/fc/bias", np.ones(4, int)), "bias: found int64, expected float32 or float64"),
    "text": (replaced("nodes/fc/bias", "x"), "bias: found object, expected float32 or float64"),
    "dimensions": (replaced("nodes/fc/weight", np.ones((4, 54, 1))), r"weight: found the shape \(4, 54, 1\)"),
    "empty": (replaced("nodes/fc/weight", np.ones((4, 0))), r"weight: found the shape \(4, 0\)"),
    "null": (replaced("nodes/fc/bias", h5py.Empty("f4")), "bias: found float32, expected"),
    "bias": (replaced("nodes/fc/bias", np.ones(5, "f4")), r"bias: found the shape \(5,\), expected \(4,\)"),
    "infinite": (replaced("nodes/fc/bias", np.full(4, np.inf, "f4")), "bias: found a value that is not finite"),
    "nan": (replaced("nodes/lif/tau", np.array([np.nan], "f4")), "tau: found a value that is not finite"),
    "stride 0": (replaced("nodes/conv/stride", [0, 1]), r"stride: found \[0, 1\], expected at least 1"),
    "stride of three": (replaced("nodes/conv/stride", [1, 1, 1]), r"stride: found \[1, 1, 1\], expected 1 or 2"),
    "huge": (replaced("nodes/conv/stride", [2**40, 1]), "expected numbers of at most 16,777,216"),
    "fraction": (replaced("nodes/conv/stride", [1.5, 1]), "stride: found float64, expected whole numbers"),
    "padding": (replaced("nodes/conv/padding", "full"), "padding: found 'full', expected whole numbers, 'same' or"),
    "negative": (replaced("nodes/conv/padding", [-1, 0]), r"padding: found \[-1, 0\], expected at least 0"),
    "shape": (replaced("nodes/input/shape", [2, 0, 3]), r"shape: found \[2, 0, 3\], expected at least 1"),
    "many": (replaced("nodes/input/shape", np.ones((2, 3), int)), r"shape: found the shape \(2, 3\)"),
    "other shapes": (replaced("nodes/cuba/r", np.ones(3, "f4")), r"r: found the shape \(3,\), expected \(4,\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name: str, tmp_path: Path) -> None:
    edit, message = HOSTILE[name]
    path = nir_graphs.write(tmp_path / "a.nir", small())
    with h5py.File(path, "r+") as file:
        edit(file)
    with pytest.raises((ModelFormatError, CompileError), match=message) as raised:
        read_nir(path)
    assert str(raised.value).startswith(str(path))


def test_what_is_no_file_of_the_kind(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no such file"):
        read_nir(tmp_path / "no.nir")
    with pytest.raises(ModelFileError, match="is a folder"):
        read_nir(tmp_path)
    (tmp_path / "text.nir").write_text("no HDF5")
    with pytest.raises(ModelFormatError, match="is not an HDF5 file"):
        read_nir(tmp_path / "text.nir")
    (tmp_path / "net.bnn").write_bytes(b"\x89BNN" + bytes(200))
    with pytest.raises(ModelFormatError, match="is a compiled network; give the NIR file"):
        read_nir(tmp_path / "net.bnn")
    data = nir_graphs.write(tmp_path / "a.nir", small()).read_bytes()
    (tmp_path / "half.nir").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelFormatError, match="cannot be read"):
        read_nir(tmp_path / "half.nir")


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = nir_graphs.write(tmp_path / "a.nir", small())
    for limit, least, message in (
        ("MOST_OBJECTS", 40, "more than 40 groups"), ("MOST_NODES", 6, "more than 6 nodes"),
        ("MOST_EDGES", 5, "more than 5 edges"), ("MOST_NAMES", 20, "expected at most 4,096 and 20"),
    ):  # fmt: skip
        with monkeypatch.context() as patch, pytest.raises(CompileError, match=message):
            patch.setattr(nir_file, limit, least)
            read_nir(path)


def test_edited_files(tmp_path: Path, rng: np.random.Generator) -> None:
    """Whatever is edited, a file becomes a network or is refused with a message."""
    data = nir_graphs.write(tmp_path / "a.nir", small()).read_bytes()
    refused = 0
    for number in range(100):
        path = tmp_path / f"{number}.nir"
        path.write_bytes(hdf5_edits.edited(data, Recipe(rng.bytes(24)), hdf5_edits.NIR_TEXTS))
        try:
            graph_read = read_nir(path)
        except BnnError as error:
            refused += 1
            assert str(path) in str(error)
            continue
        for simulator in SIMULATORS:
            with contextlib.suppress(CompileError):
                network_from_nir(graph_read, simulator, dt=1e-4)
    assert refused > 50
