# SPDX-License-Identifier: Apache-2.0
"""SavedModels of a few kilobytes that ask for gigabytes, or for hours: a worker of ``single_ops``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bnn._types import Array
from bnn.importers.tensorflow.frozen import TfNode

from . import random_ops

HUGE, LARGE = 2**31 - 1, 2**16
F, N = np.float32, np.int32
NUMBER = F(1)


def _vector(*values: int) -> Array:
    return np.array(values, np.int64 if max(values, default=0) > HUGE else np.int32)


def _empty(*shape: int) -> Array:
    return np.zeros(shape, F)


# {case: (op, operands, attributes)}: what is done with constants
OPS: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "Fill": ("Fill", [_vector(LARGE, LARGE), NUMBER], {}),
    "Fill of 64 bits": ("Fill", [_vector(2**40), NUMBER], {}),
    "Tile": ("Tile", [np.ones(8, F), _vector(HUGE)], {}),
    "BroadcastTo": ("BroadcastTo", [np.ones(1, F), _vector(LARGE, LARGE)], {}),
    "broadcast": ("AddV2", [np.ones((LARGE, 1), F), np.ones((1, LARGE), F)], {}),
    "Select": ("SelectV2", [np.ones((LARGE, 1), bool), np.ones((1, LARGE), F), NUMBER], {}),
    "Range": ("Range", [N(0), N(HUGE), N(1)], {}),
    "Range of floats": ("Range", [F(0), F(1e30), F(1e-3)], {}),
    "LinSpace": ("LinSpace", [F(0), F(1), N(HUGE)], {}),
    "OneHot": ("OneHot", [np.zeros(1000, N), N(HUGE), NUMBER, NUMBER], {}),
    "Pad": ("Pad", [np.ones(8, F), np.array([[HUGE, HUGE]], N)], {}),
    "PadV2": ("PadV2", [np.ones((8, 8), F), np.array([[LARGE, 0], [LARGE, 0]], N), NUMBER], {}),
    "ScatterNd": ("ScatterNd", [np.zeros((1, 1), np.int64), np.ones(1, F), _vector(2**40)], {}),
    "ResizeNearestNeighbor": ("ResizeNearestNeighbor", [np.ones((1, 2, 2, 1), F), _vector(LARGE, LARGE)], {}),
    "ResizeBilinear": ("ResizeBilinear", [np.ones((1, 2, 2, 1), F), _vector(LARGE, LARGE)], {}),
    "MatMul": ("MatMul", [np.ones((LARGE, 1), F), np.ones((1, LARGE), F)], {}),
    "BatchMatMulV2": ("BatchMatMulV2", [np.ones((LARGE, 1), F), np.ones((1, LARGE), F)], {}),
    "SparseTensorDenseMatMul": (
        "SparseTensorDenseMatMul", [np.zeros((1, 2), np.int64), np.ones(1, F), _vector(2**40, 1), np.ones((1, 1), F)],
        {},
    ),
    "MatrixDiagV3": ("MatrixDiagV3", [np.ones(2**17, F), N(0), N(-1), N(-1), NUMBER], {}),
    "Gather": ("GatherV2", [np.ones((1, LARGE), F), np.zeros(LARGE, N), N(0)], {}),
    "GatherNd": ("GatherNd", [np.ones((1, LARGE), F), np.zeros((LARGE, 1), N)], {}),
    "many at one time": ("ConcatV2", [*[np.ones((2**20, 1), F)] * 300, N(0)], {"N": 300}),
    "SpaceToBatchND": (
        "SpaceToBatchND", [np.ones((1, 1, 1, 1), F), _vector(1, 1), np.array([[0, HUGE - 1], [0, 0]])], {},
    ),
    "reduced over nothing": ("Sum", [_empty(2**29, 0), N(1)], {}),
    "a maximum over nothing": ("Max", [_empty(2**40, 0), N(1)], {}),
    "a norm of nothing": (
        "FusedBatchNormV3", [_empty(0, 1, 1, 2**30), *[_empty(0)] * 4], {"is_training": True, "U": "float32"},
    ),
    "an empty shape": ("Reshape", [_empty(0), _vector(2**40, 0)], {}),
    "Where": ("Where", [np.ones((2**25, 1, 1, 1, 1, 1, 1, 1), bool)], {}),
    "results": ("Split", [N(0), _empty(0)], {"num_split": HUGE}),
    "taps": (
        "Conv2DBackpropInput",
        [_vector(1, 2047, 2047, 1), np.ones((1024, 1024, 1, 1), F), np.ones((1, 1024, 1024, 1), F)],
        {"strides": [1, 1, 1, 1], "padding": "VALID"},
    ),
    "work": (
        "Conv2D", [np.ones((1, 2048, 2048, 1), F), np.ones((1024, 1024, 1, 1), F)],
        {"strides": [1, 1, 1, 1], "padding": "SAME"},
    ),
    "SegmentSum": ("SegmentSum", [np.ones(1, F), _vector(HUGE)], {"Tindices": "int32"}),
    "UnsortedSegmentSum": ("UnsortedSegmentSum", [np.ones(1, F), _vector(0), N(HUGE)], {"Tindices": "int32"}),
    "Bincount": ("Bincount", [_vector(1), N(HUGE), np.ones(0, F)], {}),
    "many dimensions": ("BroadcastTo", [np.ones(1, F), np.ones(2**22, N)], {}),
    "SparseToDense": ("SparseToDense", [_vector(0), _vector(HUGE), NUMBER, NUMBER], {"Tindices": "int32"}),
}  # fmt: skip


def _negative(saved: Any) -> None:
    _declared(saved, [-(2**20), -(2**20)])


def _declared(saved: Any, shape: list[int]) -> None:
    """A constant of one number."""
    node = random_ops.product(saved).node_def.add(name="a", op="Const")
    node.attr["dtype"].type = 1
    node.attr["value"].tensor.dtype = 1
    node.attr["value"].tensor.float_val.append(1.0)
    for size in shape:
        node.attr["value"].tensor.tensor_shape.dim.add(size=size)


def _calls(saved: Any, name: str = "c", more: int = 0) -> None:
    """Two calls of two calls ...: 2^16 nodes; ``more``: numbers in an attribute of each."""
    library = saved.meta_graphs[0].graph_def.library
    for i in range(17):
        body = library.function.add()
        body.signature.name = f"level_{i}"
        for k in range(2 if i < 16 else 1):
            node = body.node_def.add(name=f"{name}{k}", op="PartitionedCall" if i < 16 else "NoOp")
            if i < 16:
                node.attr["f"].func.name = f"level_{i + 1}"
                node.attr["Tin"].list.SetInParent()
                node.attr["Tout"].list.SetInParent()
            node.attr["_numbers"].list.i.extend([1] * more)
    call = random_ops.product(saved).node_def.add(name="call", op="PartitionedCall")
    call.CopyFrom(library.function[-17].node_def[0])


def _longer_calls(saved: Any) -> None:
    _calls(saved, "n" * 2000)


def _calls_that_share(saved: Any) -> None:
    """Refused only for the last node: until then, what calls share is there once."""
    _calls(saved, more=10000)
    _declared(saved, [-1])


FILES: dict[str, Callable[[Any], None]] = {
    "negative sizes": _negative, "one number": lambda saved: _declared(saved, [2**20, 2**20]),
    "beyond 64 bits": lambda saved: _declared(saved, [2**62, 2**62]), "names of calls": _longer_calls,
    "what calls share": _calls_that_share,
}  # fmt: skip
NAMES = [*OPS, *FILES]


def prepare() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    random_ops.load()
    random_ops.saved()


def case(number: int) -> str:
    import bnn

    name = NAMES[number]
    if name in FILES:
        folder = random_ops.written(FILES[name])
    else:
        op, operands, attrs = OPS[name]
        node = TfNode(op, name, (), attrs)
        folder = random_ops.written(
            lambda saved: random_ops.insert(saved, node, list(map(np.asarray, operands)), False)
        )
    assert sum(path.stat().st_size for path in Path(folder).rglob("*")) < 2**26
    bnn.compile(folder)
    return f"{name} was compiled"
