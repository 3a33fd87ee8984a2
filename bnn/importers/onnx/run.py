# SPDX-License-Identifier: Apache-2.0
"""Execute single nodes of an ONNX graph: ONNX's own by ONNX Runtime without optimizations, QONNX's by NumPy.

A node alone cannot be fused with another one, so every operation rounds by itself.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..._distribution import install
from ..._types import Array
from ...errors import CompileError, SetupError, UnsupportedOpError
from ..common.limits import MOST_HELD
from ..common.remedies import CUT
from ..common.runner import Values, executed
from .call import Call, Spec, of
from .protos import FRAMEWORK, OnnxGraph, OnnxNode
from .sizes import RULES, check_size, extent, results

_MOST_SESSIONS = 2**10  # 100 KB each
SHAPES = frozenset({"Shape", "Size"})  # their results depend on shapes alone
VIEWS = frozenset({"Expand"})  # their results take no memory of their own

PURE = frozenset(RULES)
"""Operators that only compute.  Random numbers, and control flow, are not among them."""


def bipolar_quant(x: Array, scale: Array) -> Array:
    """QONNX's BipolarQuant: +scale where x >= 0, else -scale."""
    return np.asarray(np.where(x >= 0, np.float32(1), np.float32(-1)) * scale, np.float32)


def integer_range(width: float, signed: bool, narrow: bool) -> tuple[float, float]:
    """The least and the largest number of QONNX's Quant."""
    low = -(2.0 ** (width - 1)) + narrow if signed else 0.0
    return low, 2.0 ** (width - 1) - 1 if signed else 2.0**width - 1 - narrow


def quant(x: Array, scale: Array, zero: Array, width: float, signed: bool, narrow: bool) -> Array:
    """QONNX's Quant, rounding halves to even, in its order of operations: x / scale + zero, clipped, rounded.  A signed
    number of one bit is +1 or -1."""
    low, high = integer_range(width, signed, narrow)
    number = np.asarray(x / scale + zero, np.float32)
    if signed and width == 1:
        number = np.where(number >= 0, np.float32(1), np.float32(-1))
    else:
        number = np.rint(np.clip(number, np.float32(low), np.float32(high)))
    return np.asarray((number - zero) * scale, np.float32)


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
            _check_custom(node, operands)
            shapes = [o.shape for o in operands[:3] if o is not None]
            try:
                spec = Spec(np.broadcast_shapes(*shapes), np.dtype(np.float32))
            except ValueError:
                raise CompileError(f"{node.where}: shapes {', '.join(map(str, shapes))} do not fit") from None
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
            found = self._custom(node, given) if node.custom else self._run(node, given)
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

    def _custom(self, node: OnnxNode, operands: Sequence[Array | None]) -> list[Array]:
        attrs, x = node.attrs, [o for o in operands if o is not None]
        if node.op == "BipolarQuant":
            return [bipolar_quant(*x)]
        data, scale, zero, bits = x
        return [quant(data, scale, zero, float(bits.reshape(())), bool(attrs["signed"]), bool(attrs["narrow"]))]

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


def is_read(op: str, attrs: Mapping[str, Any]) -> bool:
    """Whether an operator of QONNX with these attributes is read."""
    rounding = str(attrs.get("rounding_mode", "ROUND")).upper()
    return op == "BipolarQuant" or op in ("Quant", "IntQuant") and rounding in ("ROUND", "HALF_EVEN")


def _check_custom(node: OnnxNode, operands: Sequence[Spec | None]) -> None:
    """Refuse an operator of QONNX that is not read, and one without what it must have."""
    where, quant = node.where, node.op in ("Quant", "IntQuant")
    if not is_read(node.op, node.attrs):
        raise UnsupportedOpError(
            f"{where} is not supported; of QONNX, BipolarQuant and Quant that rounds to the nearest are; {CUT}"
        )
    given, count = [o for o in operands if o is not None], 4 if quant else 2
    if len(given) != count or len(operands) != count:
        raise CompileError(f"{where} has {len(given)} operands; expected {count}")
    if quant and not {"signed", "narrow"} <= node.attrs.keys():
        raise CompileError(f"{where} does not say whether its numbers are signed and narrow")
    if quant and math.prod(given[3].shape) != 1:
        raise UnsupportedOpError(f"{where} has widths of shape {given[3].shape}; one for all is supported; {CUT}")


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
