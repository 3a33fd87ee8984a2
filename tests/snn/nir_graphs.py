# SPDX-License-Identifier: Apache-2.0
"""NIR files for tests, written with h5py alone: the package nir refuses some that people have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Nodes = Mapping[str, Mapping[str, Any]]
Edges = Sequence[tuple[str, str]]


def node(kind: str, **values: Any) -> dict[str, Any]:
    """Floats become float32, unless they are arrays; whole numbers int64."""
    return {"type": kind, **{key: _array(value) for key, value in values.items()}}


def _array(value: Any) -> Any:
    if isinstance(value, str | np.ndarray):
        return value
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def graph(nodes: Nodes, edges: Edges) -> dict[str, Any]:
    """A graph, as a node."""
    return {"type": "NIRGraph", "nodes": nodes, "edges": edges}


def chain(**nodes: Mapping[str, Any]) -> dict[str, Any]:
    """A graph whose nodes follow each other."""
    names = list(nodes)
    return graph(nodes, list(zip(names[:-1], names[1:], strict=True)))


def small() -> dict[str, Any]:
    """A network with most kinds of nodes, which Norse runs."""
    return chain(
        input=node("Input", shape=[2, 5, 6]),
        conv=node("Conv2d", weight=np.ones((3, 2, 2, 2), np.float32), bias=[0.0, 1.0, 2.0], stride=[1, 2],
                  padding=[1, 0], dilation=[1, 1], groups=1, input_shape=[5, 6]),
        lif=node("LIF", tau=[0.1], r=[1.0], v_leak=[0.0], v_threshold=[1.0]),
        flat=node("Flatten", start_dim=0, end_dim=-1),
        fc=node("Affine", weight=np.ones((4, 54), np.float64), bias=[0.0] * 4),
        cuba=node("CubaLIF", tau_syn=[1.0] * 4, tau_mem=[1.0] * 4, r=[1.0] * 4, v_leak=[0.0] * 4,
                  v_threshold=[1.0] * 4),
        output=node("Output", shape=[4]),
    )  # fmt: skip


def write(path: Path, root: Mapping[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("version", data="1.0.8", dtype=h5py.string_dtype())
        _write(file.create_group("node"), root)
    return path


def _write(group: h5py.Group, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key == "edges":
            group.create_dataset(key, data=np.array(value, dtype=object).reshape(-1, 2), dtype=h5py.string_dtype())
        elif isinstance(value, Mapping):
            _write(group.create_group(key), value)
        elif isinstance(value, str):
            group.create_dataset(key, data=value, dtype=h5py.string_dtype())
        elif isinstance(value, np.ndarray) and value.ndim:
            group.create_dataset(key, data=value, compression="gzip")  # as nir.write does
        else:
            group.create_dataset(key, data=value)


def shared(*parts: str) -> Path | None:
    """A file of the data that lies beside the repository, or in it; None where there is none."""
    for folder in Path(__file__).resolve().parents:
        found = folder / "shared" / Path(*parts)
        if found.is_file():
            return found
    return None
