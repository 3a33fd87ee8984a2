# SPDX-License-Identifier: Apache-2.0
"""Small ONNX models for tests, and what ONNX Runtime computes with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from bnn._types import Array
from bnn.importers.onnx.load import open_onnx
from bnn.ir import interpret

Shape = Sequence[int | str | None]


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Array] | None = None,
    shape: Shape = ("N", 4, 5, 6),
    *,
    opset: int = 17,
    rank: int = 4,
    dtype: int = TensorProto.FLOAT,
    domains: Sequence[str] = (),
    inputs: Sequence[str] = ("x",),
) -> onnx.ModelProto:
    """From inputs "x" (or several of one shape) to the output "y" of ``rank`` dimensions."""
    given = [helper.make_tensor_value_info(name, dtype, shape) for name in inputs]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)
    weights = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    graph = helper.make_graph(nodes, "small", given, [y], weights)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def node(op: str, inputs: str, outputs: str = "y", **attrs: object) -> onnx.NodeProto:
    """Names separated by blanks; "_" for one that is left out."""
    names = [["" if n == "_" else n for n in given.split()] for given in (inputs, outputs)]
    return helper.make_node(op, *names, name=f"{op}_{outputs.split()[0]}", **attrs)


def session_of(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Without optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def newest_opset() -> int:
    """The newest that both packages know: on old Pythons ONNX Runtime is older."""
    for opset in range(onnx.defs.onnx_opset_version(), 0, -1):
        try:
            session_of(model([node("Identity", "x")], opset=opset))
            return opset
        except onnxruntime.capi.onnxruntime_pybind11_state.Fail:
            continue
    raise AssertionError("ONNX Runtime reads no model")


def as_read(proto: onnx.ModelProto, *x: Array) -> list[Array]:
    """What the graph that is read of a model gives, arranged as in the model."""
    graph = open_onnx(proto).graph()
    if not graph.channels_first:
        return interpret.outputs(graph, x)
    return [np.moveaxis(r, -1, 1) for r in interpret.outputs(graph, [np.moveaxis(a, 1, -1) for a in x])]


def by_onnx_runtime(proto: onnx.ModelProto, *x: Array) -> Array:
    """In batches as the model takes them."""
    session = session_of(proto)
    names = [i.name for i in session.get_inputs()]
    fixed = session.get_inputs()[0].shape[0]
    step = fixed if isinstance(fixed, int) else len(x[0])
    parts = [
        session.run(None, {n: a[i : i + step] for n, a in zip(names, x, strict=True)})[0]
        for i in range(0, len(x[0]), step)
    ]
    return np.concatenate(parts)
