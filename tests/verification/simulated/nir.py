# SPDX-License-Identifier: Apache-2.0
"""As much of the package nir as is called: nodes with their values, in HDF5 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from snn import nir_graphs


class Node:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "type": type(self).__name__}


class Input(Node):
    def __init__(self, input_type: Any = None, shape: Any = None) -> None:
        super().__init__(shape=np.asarray(input_type["input"] if shape is None else shape))


class Output(Node):
    def __init__(self, output_type: Any = None, shape: Any = None) -> None:
        super().__init__(shape=np.asarray(output_type["output"] if shape is None else shape))


class Affine(Node):
    pass


class IF(Node):
    pass


class LIF(Node):
    pass


class Linear(Node):
    pass


class NIRGraph(Node):
    pass


KINDS = {kind.__name__: kind for kind in (Input, Output, Affine, IF, LIF, Linear, NIRGraph)}


def write(path: str | Path, graph: Any) -> None:
    nodes = {name: node.to_dict() for name, node in graph.nodes.items()}
    nir_graphs.write(Path(path), {**nir_graphs.graph(nodes, graph.edges), "metadata": graph.metadata})


def read(path: str | Path, type_check: bool = True) -> Any:
    def value(found: Any) -> Any:
        got = found.asstr()[()] if h5py.check_string_dtype(found.dtype) else found[()]
        return [tuple(pair) for pair in got] if found.name.endswith("edges") else got

    def made(group: Any) -> Any:
        kind = KINDS[group["type"].asstr()[()]]
        return kind(**{key: value(group[key]) for key in group if key not in ("type", "metadata")})

    with h5py.File(path, "r") as file:
        root = file["node"]
        nodes = {name: made(group) for name, group in root["nodes"].items()}
        metadata = {key: value(found) for key, found in root.get("metadata", {}).items()}
        return NIRGraph(nodes=nodes, edges=value(root["edges"]), metadata=metadata)
