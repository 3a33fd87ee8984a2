# SPDX-License-Identifier: Apache-2.0
"""Read a NIR file: its nodes and edges as plain arrays, every group and dataset checked.

The package nir is not used: it refuses published files whose shapes it cannot infer, and reads whatever a file names.
h5py is imported when a file is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._distribution import install
from ..errors import BnnError, CompileError, ModelFileError, ModelFormatError, ModelNotFoundError, SetupError
from ..importers.common.hdf5 import check_stored, filters, own_objects
from ..importers.common.limits import check_bytes
from ..runtime.files import path_text, special

__all__ = ["KINDS", "NirGraph", "NirNode", "read_nir"]

MOST_OBJECTS = 2**18  # groups and datasets of a file
MOST_NODES = 2**14
MOST_EDGES = 2**16
MOST_NAMES = 2**24  # bytes of all names in edges
MOST_TEXT = 2**12  # bytes of one name
MOST_DEPTH = 16  # graphs within graphs
_AGAIN = "export the network again, or correct what wrote the file"
# Filters of the HDF5 library and of h5py itself; nir.write compresses with gzip.
_FILTERS = frozenset({"deflate", "shuffle", "fletcher32", "lzf"})

# What a node's dataset may hold: floats (the number is that of their dimensions) or whole numbers; a padding may be a
# text.
_ANY, _LINE, _MATRIX, _KERNEL1, _KERNEL2 = "floats", "floats 1", "floats 2", "floats 3", "floats 4"
_INT, _INTS, _SIZE, _PADDING = "int", "ints", "size", "padding"
_OPTIONAL = "?"
_WINDOW = {"kernel_size": _INTS, "stride": _INTS, "padding": _INTS}
_CONV = {"stride": _INTS, "padding": _PADDING, "dilation": _INTS, "groups": _INT, "bias": _LINE, "input_shape?": _INTS}
_FIRES = {"v_threshold": _ANY, "v_reset?": _ANY}

KINDS: dict[str, dict[str, str]] = {
    "Affine": {"weight": _MATRIX, "bias": _LINE},
    "AvgPool2d": _WINDOW,
    "Conv1d": {"weight": _KERNEL1, **_CONV},
    "Conv2d": {"weight": _KERNEL2, **_CONV},
    "CubaLI": {"tau_syn": _ANY, "tau_mem": _ANY, "r": _ANY, "v_leak": _ANY, "w_in?": _ANY},
    "CubaLIF": {"tau_syn": _ANY, "tau_mem": _ANY, "r": _ANY, "v_leak": _ANY, "w_in?": _ANY, **_FIRES},
    "Delay": {"delay": _ANY},
    "Flatten": {"start_dim": _INT, "end_dim": _INT, "input_type?": _INTS},
    "I": {"r": _ANY},
    "IF": {"r": _ANY, **_FIRES},
    "Input": {"shape": _SIZE},
    "LI": {"tau": _ANY, "r": _ANY, "v_leak": _ANY},
    "LIF": {"tau": _ANY, "r": _ANY, "v_leak": _ANY, **_FIRES},
    "Linear": {"weight": _MATRIX},
    "Output": {"shape": _SIZE},
    "Scale": {"scale": _ANY},
    "SumPool2d": _WINDOW,
    "Threshold": {"threshold": _ANY},
}
"""NIR's nodes and their datasets; a name that ends in ? may be missing."""


@dataclass(frozen=True, eq=False)
class NirNode:
    """``kind``: NIR's name for it.  ``values``: arrays of float32 or float64 as stored, whole numbers as int64, or a
    text (the padding "same" or "valid").  v_reset and w_in have NIR's values, 0 and 1, where a file leaves them out."""

    kind: str
    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


@dataclass(frozen=True, eq=False)
class NirGraph:
    """``nodes`` by name, in the order in which h5py lists them; ``edges`` in the file's, each once.  ``where``: the
    file, for messages."""

    nodes: Mapping[str, NirNode | NirGraph]
    edges: tuple[tuple[str, str], ...]
    where: str = "NIR graph"
    kind: str = field(default="NIRGraph", init=False)


def read_nir(path: str | os.PathLike[str]) -> NirGraph:
    """The graph of a NIR file.

    Raises:
        SetupError: h5py is not installed.
        InputTypeError: ``path`` is not a path.
        ModelNotFoundError, ModelFileError: there is no such file, or it cannot be opened.
        ModelFormatError: it is not a NIR file, or one that is damaged; the message names the node, what was found and
            what was expected.
        CompileError: it refers to other files, or declares more than is read.
    """
    where = path_text(path)
    if not os.path.exists(where):
        raise ModelNotFoundError(f"{where}: there is no such file; give the path of a NIR file")
    if os.path.isdir(where):
        raise ModelFileError(f"{where}: is a folder; expected a NIR file")
    if found := special(where):  # a pipe would be waited for
        raise ModelFileError(f"{where}: {found}; expected a NIR file")
    try:
        import h5py
    except ImportError as error:
        raise SetupError(f"reading NIR needs the package h5py ({error}): {install('nir')}") from None
    try:
        check_bytes(where, "the file", os.path.getsize(where))
        if not h5py.is_hdf5(where):
            with open(where, "rb") as other:  # a permission is a better reason
                head = other.read(4)
            if head in (b"\x89BNN", b"\x89SNN"):
                raise ModelFormatError(
                    f"{where}: is a compiled network; give the NIR file of a spiking network, usually .nir"
                )
            if head == b"PK\x03\x04":
                raise ModelFormatError(
                    f"{where}: is a zip file, probably a Keras model, and not a NIR file; convert it: bnn snn convert"
                )
            if where.endswith((".onnx", ".tflite")):
                raise ModelFormatError(f"{where}: is not a NIR file; a ReLU network can be converted: bnn snn convert")
            raise ModelFormatError(f"{where}: is not an HDF5 file, which NIR files are; copy or write it again")
        with h5py.File(where, "r") as file:
            return _Reader(where).file(file)
    except BnnError:
        raise
    except PermissionError as error:
        raise ModelFileError(f"{where}: {error.strerror}") from None
    except Exception as error:  # h5py raises many kinds
        text = (str(error).splitlines() or [""])[0][:300]
        raise ModelFormatError(f"{where}: cannot be read ({type(error).__name__}: {text}); {_AGAIN}") from None


class _Reader:
    def __init__(self, where: str) -> None:
        self.where = where
        self.nodes = self.edges = self.names = 0

    def wrong(self, at: str, text: str) -> ModelFormatError:
        return ModelFormatError(f"{self.where}: {at}: {text}; {_AGAIN}")

    def file(self, file: Any) -> NirGraph:
        import h5py

        total = 0
        for count, (at, found) in enumerate(own_objects(self.where, file, _AGAIN, named_once=True), 1):
            if count > MOST_OBJECTS:
                raise CompileError(f"{self.where}: holds more than {MOST_OBJECTS:,} groups and datasets")
            if isinstance(found, h5py.Dataset):
                total += self.size(f"'{at}'", found)
        check_bytes(self.where, "what its datasets declare", total)
        root = file.get("node")
        if not isinstance(root, h5py.Group):
            raise self.wrong("'/'", "found no group 'node', which NIR files have")
        kind = self.kind("'/node'", root)
        if kind != "NIRGraph":
            raise self.wrong("'/node'", f"found a single {kind}, expected a NIRGraph")
        return self.graph("", root, 0)

    def size(self, at: str, dataset: Any) -> int:
        """The declared bytes of a dataset; texts count when they are read."""
        import h5py

        if dataset.dtype.kind not in "biuf" and h5py.check_string_dtype(dataset.dtype) is None:
            raise self.wrong(at, f"found values of {dataset.dtype}, expected numbers or a text")
        encoded = filters(dataset)
        for name in encoded:
            if name not in _FILTERS:
                raise self.wrong(at, f"found the filter '{name}', expected {' or '.join(sorted(_FILTERS))}")
        if encoded and dataset.id.get_storage_size():
            return int(dataset.size or 0) * int(dataset.dtype.itemsize)
        return check_stored(f"{self.where}: {at}", dataset, _AGAIN)

    def graph(self, name: str, group: Any, depth: int) -> NirGraph:
        import h5py

        at = f"node '{name}'" if name else "the graph"
        if depth > MOST_DEPTH:
            raise self.wrong(at, f"found graphs within graphs more than {MOST_DEPTH} deep")
        self.only(at, group, {"type", "nodes", "edges"})
        nodes = group.get("nodes")
        if not isinstance(nodes, h5py.Group):
            raise self.wrong(at, "found no group 'nodes'")
        found: dict[str, NirNode | NirGraph] = {}
        for key in nodes:
            full = f"{name}.{key}" if name else key
            self.nodes += 1
            if self.nodes > MOST_NODES:
                raise CompileError(f"{self.where}: holds more than {MOST_NODES:,} nodes")
            if not key or len(full.encode()) > MOST_TEXT or not full.isprintable():
                raise self.wrong(at, f"found a node with the name {full[:80]!r}, expected printable text")
            child = nodes[key]
            if not isinstance(child, h5py.Group):
                raise self.wrong(f"node '{full}'", "found a dataset, expected a group")
            kind = self.kind(f"node '{full}'", child)
            found[key] = self.graph(full, child, depth + 1) if kind == "NIRGraph" else self.node(full, kind, child)
        return NirGraph(found, self.read_edges(at, group.get("edges"), found), self.where)

    def read_edges(self, at: str, dataset: Any, nodes: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        import h5py

        if not isinstance(dataset, h5py.Dataset):
            raise self.wrong(at, "found no dataset 'edges'")
        if dataset.shape is None or dataset.size == 0:  # no edges have no type either
            return ()
        if len(dataset.shape) != 2 or dataset.shape[1] != 2:
            raise self.wrong(at, f"edges: found the shape {dataset.shape}, expected (edges, 2)")
        self.edges += dataset.shape[0]
        if self.edges > MOST_EDGES:
            raise CompileError(f"{self.where}: holds more than {MOST_EDGES:,} edges")
        edges: dict[tuple[str, str], None] = {}
        for row in range(dataset.shape[0]):  # one by one: many could be the same long text
            ends = [self.text(f"{at}: edge {row}", value, dataset) for value in dataset[row]]
            for end in ends:
                if end not in nodes:
                    raise self.wrong(at, f"edge {row}: found the node '{end[:80]}', which is not in the graph")
            edges[ends[0], ends[1]] = None
        return tuple(edges)

    def kind(self, at: str, group: Any) -> str:
        import h5py

        dataset = group.get("type")
        if not isinstance(dataset, h5py.Dataset) or dataset.shape != ():
            raise self.wrong(at, "found no text 'type', which names the kind of node")
        kind = self.text(f"{at}: type", dataset[()], dataset)
        if kind != "NIRGraph" and kind not in KINDS:
            raise self.wrong(at, f"found the type '{kind[:80]}', expected one of {', '.join([*KINDS, 'NIRGraph'])}")
        return kind

    def text(self, at: str, value: Any, dataset: Any) -> str:
        import h5py

        if h5py.check_string_dtype(dataset.dtype) is None:
            raise self.wrong(at, f"found {dataset.dtype}, expected text")
        data = value if isinstance(value, bytes) else str(value).encode()
        self.names += len(data)
        if len(data) > MOST_TEXT or self.names > MOST_NAMES:
            raise CompileError(f"{self.where}: {at}: found {len(data):,} bytes of text, {self.names:,} in all, "
                               f"expected at most {MOST_TEXT:,} and {MOST_NAMES:,}")  # fmt: skip
        return data.decode()

    def only(self, at: str, group: Any, names: set[str]) -> None:
        """Refuse what could change the meaning of a node; metadata cannot."""
        other = sorted(set(group) - names - {"metadata"})
        if other:
            raise self.wrong(at, f"found '{other[0][:80]}', expected only {', '.join(sorted(names))}")

    def node(self, name: str, kind: str, group: Any) -> NirNode:
        import h5py

        at = f"node '{name}' ({kind})"
        expected = {key.rstrip(_OPTIONAL): form for key, form in KINDS[kind].items()}
        self.only(at, group, {"type", *expected})
        values: dict[str, Any] = {}
        for key, form in expected.items():
            dataset = group.get(key)
            if dataset is None and key + _OPTIONAL in KINDS[kind]:
                continue
            if not isinstance(dataset, h5py.Dataset):
                raise self.wrong(at, f"found no dataset '{key}'")
            values[key] = self.value(f"{at}: {key}", form, dataset)
        _check_shapes(self, at, kind, values)
        return NirNode(kind, values)

    def value(self, at: str, form: str, dataset: Any) -> Any:
        dtype, shape = dataset.dtype, dataset.shape
        if form == _PADDING and dtype.kind not in "iuf" and shape == ():
            text = self.text(at, dataset[()], dataset)
            if text not in ("same", "valid"):
                raise self.wrong(at, f"found '{text[:80]}', expected whole numbers, 'same' or 'valid'")
            return text
        floats = form.startswith("floats")
        right = dtype.kind == "f" and dtype.itemsize in (4, 8) if floats else dtype.kind in "iu"
        if not right or shape is None:
            raise self.wrong(at, f"found {dtype}, expected {'float32 or float64' if floats else 'whole numbers'}")
        if floats and form != _ANY and len(shape) != int(form[-1]):
            raise self.wrong(at, f"found the shape {shape}, expected {form[-1]} dimensions")
        if len(shape) > 4 or 0 in shape:
            raise self.wrong(at, f"found the shape {shape}, expected at most 4 dimensions and no empty one")
        if not floats and (len(shape) > (0 if form == _INT else 1) or dataset.size > 4):
            raise self.wrong(at, f"found the shape {shape}, expected {'one number' if form == _INT else 'few numbers'}")
        found = np.asarray(dataset[()])
        if floats:
            found = found.astype(found.dtype.newbyteorder("="))
            if not np.isfinite(found).all():
                raise self.wrong(at, "found a value that is not finite")
            return found
        if found.min() < -(2**24) or found.max() > 2**24:
            raise self.wrong(at, f"found {found.reshape(-1)[:4].tolist()}, expected numbers of at most {2**24:,}")
        return found.astype(np.int64)


def _check_shapes(reader: _Reader, at: str, kind: str, values: dict[str, Any]) -> None:
    """What the datasets of a node say of each other; adds the defaults."""
    if kind in ("Affine", "Conv1d", "Conv2d"):
        found, outputs = values["bias"].shape, values["weight"].shape[0]
        if found != (outputs,):
            raise reader.wrong(at, f"bias: found the shape {found}, expected ({outputs},), as the weight's first")
    elif kind in ("Input", "Output"):
        values["shape"] = values["shape"].reshape(-1)
        if values["shape"].min() < 1:
            raise reader.wrong(at, f"shape: found {values['shape'].tolist()}, expected at least 1 everywhere")
    for key in ("stride", "dilation", "groups", "kernel_size", "padding"):
        value, least = values.get(key), 0 if key == "padding" else 1
        if isinstance(value, np.ndarray):
            if value.min() < least:
                raise reader.wrong(at, f"{key}: found {value.tolist()}, expected at least {least}")
            most = 1 if kind == "Conv1d" else 2
            if value.size not in (1, most):
                raise reader.wrong(at, f"{key}: found {value.tolist()}, expected 1 or {most} numbers")
    floats = {
        k: v for k, v in values.items() if k in {n.rstrip(_OPTIONAL) for n, f in KINDS[kind].items() if f == _ANY}
    }
    if not floats:
        return
    shape = max((v.shape for v in floats.values()), key=lambda s: (int(np.prod(s)), len(s)))
    for key, value in floats.items():
        if value.shape != shape and not (key == "w_in" and value.size == 1):
            raise reader.wrong(at, f"{key}: found the shape {value.shape}, expected {shape}, as its other numbers")
    like = next(iter(floats.values()))
    if "v_threshold" in values and "v_reset" not in values:
        values["v_reset"] = np.zeros_like(values["v_threshold"])
    if "w_in?" in KINDS[kind]:
        values["w_in"] = np.ones(shape, like.dtype) * values.get("w_in", like.dtype.type(1))
