# SPDX-License-Identifier: Apache-2.0
"""Execute single nodes of an ONNX graph: ONNX's own by ONNX Runtime without optimizations, QONNX's by NumPy.

A node alone cannot be fused with another one, so every operation rounds by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..._distribution import install
from ..._types import Array
from ...errors import CompileError, SetupError
from ..common.limits import MOST_HELD
from ..common.runner import Values, executed
from . import qonnx
from .call import Call, Spec, of
from .protos import FRAMEWORK, OnnxGraph, OnnxNode
from .sizes import RULES, check_size, extent, results

_MOST_SESSIONS = 2**10  # 100 KB each
SHAPES = frozenset({"Shape", "Size"})  # their results depend on shapes alone
VIEWS = frozenset({"Expand"})  # their results take no memory of their own

PURE = frozenset(RULES)
"""Operators that only compute.  Random numbers, and control flow, are not among them."""


class OnnxRunner:
    """Runs single nodes; their sessions are kept, and serve all nodes that are alike."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.onnx, self.runtime = packages()
        self.opset = graph.opset
        self.sessions: dict[tuple[Any, ...], Any] = {}  # the oldest first
        options = self.runtime.SessionOptions()
        options.graph_optimization_level = self.runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        options.enable_cpu_mem_arena = False  # every session would keep memory for its largest result
        options.enable_mem_pattern = False
        self.options = options

    def plan(self, node: OnnxNode, operands: Sequence[Spec | None]) -> list[Spec]:
        """The named results of a node, not computed.  Raises as :func:`.sizes.results`."""
        if node.custom:
            spec = Spec(qonnx.shape(node, operands), np.dtype(np.float32))
            check_size(node, spec.bytes)
            return [spec]
        if node.op not in PURE:
            raise node.without_reader(FRAMEWORK)
        return results(node, operands, self.opset)

    def __call__(self, node: OnnxNode, operands: Sequence[Array | None]) -> list[Array]:
        """The named results of a node, in order; an operand that is left out is None."""
        return self.computed(node, [None if o is None else of(np.asarray(o)) for o in operands])

    def computed(self, node: OnnxNode, operands: Sequence[Spec | None]) -> list[Array]:
        """The same with operands of which only those that matter need a value."""
        expected = self.plan(node, operands)
        if node.op in SHAPES and not node.custom:
            return [extent(Call(node, operands, self.opset))]
        data = operands[0] if node.op in VIEWS else None
        if data is not None and data.value is not None:
            return [np.broadcast_to(data.value, expected[0].shape)]
        given = [None if o is None else o.value if o.value is not None else np.zeros(1, o.dtype) for o in operands]
        try:
            found = [qonnx.computed(node, given)] if node.custom else self._run(node, given)
        except CompileError:
            raise
        except Exception as error:  # ONNX Runtime may raise anything; the caller wants one kind
            text = str(error).strip().splitlines() or [type(error).__name__]
            raise CompileError(f"{node.where} cannot be executed: {text[0][:300]}") from error
        for value, spec in zip(found, expected, strict=True):
            if (value.shape, value.dtype) != (spec.shape, spec.dtype):
                raise CompileError(
                    f"{node.where} gives {value.dtype} {value.shape}; expected {spec.dtype} {spec.shape}"
                )
        return found

    def _run(self, node: OnnxNode, given: Sequence[Array | None]) -> list[Array]:
        session = self._session(node, given)
        feeds = {f"i{k}": np.asarray(o, order="C") for k, o in enumerate(given) if o is not None}
        return [np.asarray(value) for value in session.run(None, feeds)]

    def _model(self, node: OnnxNode, given: Sequence[Array | None], inputs: Sequence[Any]) -> Any:
        helper = self.onnx.helper
        names = ["" if g is None else f"i{k}" for k, g in enumerate(given)]
        outputs = [f"o{k}" if name else "" for k, name in enumerate(node.outputs)]
        proto = self.onnx.NodeProto(op_type=node.op, input=names, output=outputs, attribute=node.proto.attribute)
        ends = [helper.make_empty_tensor_value_info(name) for name in outputs if name]
        opsets = [helper.make_opsetid("", self.opset)]
        version = helper.find_min_ir_version_for(opsets, ignore_unknown=True)
        return helper.make_model(helper.make_graph([proto], "node", inputs, ends), opset_imports=opsets,
                                 ir_version=version)  # fmt: skip

    def _session(self, node: OnnxNode, given: Sequence[Array | None]) -> Any:
        # Resize wants to know how many sizes it is given.
        shapes = [
            None if g is None else g.shape if g.dtype == np.int64 and g.ndim == 1 else [None] * g.ndim for g in given
        ]
        attributes = sorted(a.SerializeToString(deterministic=True) for a in node.proto.attribute)
        operands = [None if g is None else (g.dtype.str, str(s)) for g, s in zip(given, shapes, strict=True)]
        key = (node.op, *attributes, *operands, *map(bool, node.outputs))
        if key not in self.sessions:
            helper = self.onnx.helper
            inputs = [
                helper.make_tensor_value_info(f"i{k}", helper.np_dtype_to_tensor_dtype(g.dtype), shape)
                for k, (g, shape) in enumerate(zip(given, shapes, strict=True))
                if g is not None
            ]
            data = self._model(node, given, inputs).SerializeToString()
            providers = ["CPUExecutionProvider"]
            if len(self.sessions) >= _MOST_SESSIONS:
                del self.sessions[next(iter(self.sessions))]
            self.sessions[key] = self.runtime.InferenceSession(
                data, self.options, providers=providers, enable_fallback=0
            )
        return self.sessions[key]


def without_telemetry() -> None:
    """ONNX Runtime's import writes an identifier and a database below the user's home, and looks for a host to send
    what it is used for, unless the environment says that it must not."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def packages() -> tuple[Any, Any]:
    """The packages onnx and onnxruntime.  Raises :class:`SetupError` if one is not installed."""
    without_telemetry()
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise SetupError(f"reading an ONNX model needs onnx and onnxruntime ({error}); {install('onnx')}") from None
    onnxruntime.disable_telemetry_events()  # where the program had imported it: from here on, nothing more
    return onnx, onnxruntime


def execute(graph: OnnxGraph, runner: OnnxRunner, inputs: Sequence[Array]) -> Iterator[tuple[OnnxNode, Values]]:
    """Every node with its named results, in order."""

    def run(node: OnnxNode, operands: list[Array | None]) -> Values:
        while operands and operands[-1] is None:
            operands.pop()
        return dict(zip(filter(None, node.outputs), runner(node, operands), strict=True))

    given = graph.constants | dict(zip((i.name for i in graph.inputs), inputs, strict=True))
    return executed(graph.nodes, given, run, named=lambda node: node, most=MOST_HELD)
