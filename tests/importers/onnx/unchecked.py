# SPDX-License-Identifier: Apache-2.0
"""What tests/single_ops.py must find: a worker with a case per kind of finding, and one that is well."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from bnn.errors import CompileError


def prepare() -> None:
    from bnn.importers.onnx.run import packages

    packages()


def case(number: int) -> str:
    if number == 0:
        gather()
    if number == 1:
        raise CompileError(f"too late: {np.ones(2**27)[:: 2**26].sum()}")
    if number == 2:
        raise KeyError("nobody's")
    if number == 3:
        raise CompileError("std::bad_alloc")
    return "ran"


def gather() -> None:
    """GatherND that reads outside its operands."""
    from bnn.importers.onnx.protos import OnnxGraph, _node
    from bnn.importers.onnx.run import OnnxRunner

    runner = OnnxRunner(OnnxGraph([], {}, [], [], 17))
    proto = helper.make_node("GatherND", ["a", "b"], ["c"], batch_dims=-(2**40))
    runner._run(_node(onnx, proto), [np.ones((5, 3), np.float32), np.zeros(2, np.int64)])
