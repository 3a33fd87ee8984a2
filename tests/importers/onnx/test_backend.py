# SPDX-License-Identifier: Apache-2.0
"""ONNX's own tests of single operators, those that are read: each is computed as ONNX says, or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the package onnx is not installed: pip install -e '.[onnx]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install -e '.[onnx]'")

import onnx
from onnx import numpy_helper

import bnn
from bnn._types import Array
from bnn.errors import BnnError
from bnn.importers.onnx.ops import ALIASES, MOVES, READERS

pytestmark = pytest.mark.slow
# ONNX writes some results with four digits; halves are computed in float32 here.
TOLERANCES = {"float16": 1e-3, "bfloat16": 1e-2}
RANKED = frozenset({"axis", "axes", "perm", "shape", "split"})  # attributes that count dimensions


def array(value: Any) -> Array:
    return np.asarray(numpy_helper.to_array(value) if hasattr(value, "raw_data") else value)


def cases() -> Iterator[tuple[str, Any, list[Array], list[Array]]]:
    """The name of a test, its model, inputs and results; all of its operators are among those that are read."""
    from onnx.backend.test.case.node import collect_testcases

    for case in collect_testcases(None):
        ops = {node.op_type for node in case.model.graph.node} if case.model is not None else {""}
        inputs, results = case.data_sets[0] if case.data_sets else ([], [])
        arrays = all(isinstance(v, np.ndarray | np.generic) or hasattr(v, "raw_data") for v in (*inputs, *results))
        if ops <= {*READERS, *MOVES, *ALIASES} and inputs and arrays:
            yield case.name, case.model, [array(v) for v in inputs], [array(v) for v in results]


def with_constants(proto: Any, inputs: list[Array], data: int) -> tuple[Any, list[Array]]:
    """The model with all inputs but the first ``data`` as constants, and the data; a batch of one image where all are
    vectors of one shape."""
    changed = type(proto)()
    changed.CopyFrom(proto)
    attributes = {a.name for node in proto.graph.node for a in node.attribute}
    if not attributes & RANKED and {v.shape for v in inputs} == {(inputs[0].size,)}:
        inputs = [v[None] for v in inputs]
        for named in changed.graph.input:
            named.type.tensor_type.shape.dim.insert(0, onnx.TensorShapeProto.Dimension(dim_value=1))
        del changed.graph.output[0].type.tensor_type.shape.dim[:]
    given = list(zip(changed.graph.input, inputs, strict=True))[data:]
    changed.graph.initializer.extend(numpy_helper.from_array(value, named.name) for named, value in given)
    del changed.graph.input[data:]
    return changed, [v.astype(np.float32) if v.dtype.kind == "f" else v for v in inputs[:data]]


def near(found: Array, expected: Array) -> bool:
    most = TOLERANCES.get(expected.dtype.name, 1e-4)
    own = expected.astype(np.float64)
    return found.size == own.size and np.allclose(found.reshape(own.shape), own, most, most, equal_nan=True)


def test_each_is_computed_or_refused() -> None:
    """Any other error than a refusal ends the test."""
    counts, wrong = Counter[str](), []
    for name, proto, inputs, expected in cases():
        for data in {1, len(inputs)}:
            try:
                given, x = with_constants(proto, inputs, data)
                found = bnn.compile(given)(x if data > 1 else x[0])
            except BnnError:
                counts["refused"] += 1
                continue
            results = found if isinstance(found, list) else [found]
            counts.update(["computed", *{node.op_type for node in proto.graph.node}])
            if not all(near(f, e) for f, e in zip(results, expected, strict=True)):
                wrong.append((name, data))
    assert not wrong
    assert counts["computed"] > 250 and len(counts) > 50, counts
