# SPDX-License-Identifier: Apache-2.0
"""Execute single nodes of an ONNX graph: ONNX's own by ONNX Runtime without optimizations, QONNX's by NumPy.

A node alone cannot be fused with another one, so every operation rounds by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..._distribution import install
from ..._types import Array
from ...errors import CompileError, SetupError, UnsupportedOpError
from ..common.limits import MOST_BYTES
from .protos import OnnxGraph, OnnxNode

# Operators that only compute.  Random numbers, and control flow, are not among them.
_PURE = """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
    Cast CastLike Ceil Celu Clip Concat ConstantOfShape Conv ConvTranspose CumSum DepthToSpace DequantizeLinear Div
    Dropout Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm
    GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual HardSigmoid HardSwish Hardmax Identity
    InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max
    MaxPool Mean Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear Range Reciprocal ReduceL1
    ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round
    ScatterElements ScatterND Selu Shape Sigmoid Sign Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt
    Squeeze Sub Sum Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
PURE = frozenset(_PURE.split())
# A few numbers can ask these for a result of any size.
_GROWING = frozenset({"ConstantOfShape", "ConvTranspose", "Conv", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile"})
_PAIRS = frozenset({"Add", "Div", "Equal", "Greater", "Less", "MatMul", "Mul", "Sub", "Where"})


def bipolar_quant(x: Array, scale: Array) -> Array:
    """QONNX's BipolarQuant: +scale where x >= 0, else -scale."""
    return np.asarray(np.where(x >= 0, np.float32(1), np.float32(-1)) * scale, np.float32)


def integer_range(bits: Array, signed: int, narrow: int) -> tuple[float, float]:
    """The least and the largest number of QONNX's Quant."""
    width = float(np.reshape(bits, -1)[0])
    low = -(2.0 ** (width - 1)) + narrow if signed else 0.0
    return low, 2.0 ** (width - 1) - 1 if signed else 2.0**width - 1 - narrow


def quant(x: Array, scale: Array, zero: Array, bits: Array, signed: int, narrow: int) -> Array:
    """QONNX's Quant, rounding halves to even, in its order of operations: x / scale + zero, clipped, rounded."""
    low, high = integer_range(bits, signed, narrow)
    number = np.rint(np.clip(np.asarray(x / scale + zero, np.float32), np.float32(low), np.float32(high)))
    return np.asarray((number - zero) * scale, np.float32)


class Runner:
    """Runs single nodes; sessions are kept for the next run."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.onnx, self.runtime = packages()
        self.opsets = [o for o in graph.imports if o.domain in ("", "ai.onnx")]
        self.sessions: dict[tuple[Any, ...], Any] = {}
        options = self.runtime.SessionOptions()
        options.graph_optimization_level = self.runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self.options = options

    def __call__(self, node: OnnxNode, operands: Sequence[Array | None]) -> list[Array]:
        """The results of a node, in order; an operand that is left out is None."""
        if node.custom:
            return [self._custom(node, [o for o in operands if o is not None])]
        if node.op not in PURE:
            raise UnsupportedOpError(f"layer '{node.layer}' uses the ONNX operator {node.op} ('{node.name}'), which is "
                                     "not supported; replace it, or cut the model before it")  # fmt: skip
        given = [None if o is None else np.asarray(o) for o in operands]
        try:
            self._check_size(node, given)
            session = self._session(node, given)
            feeds = {f"i{k}": np.asarray(o, order="C") for k, o in enumerate(given) if o is not None}
            return [np.asarray(value) for value in session.run(None, feeds)]
        except CompileError:
            raise
        except Exception as error:  # ONNX Runtime may raise anything; the caller wants one kind
            text = str(error).strip().splitlines() or [type(error).__name__]
            raise CompileError(
                f"layer '{node.layer}': {node.op} ('{node.name}') cannot be executed: {text[0][:300]}"
            ) from error

    def _custom(self, node: OnnxNode, x: Sequence[Array]) -> Array:
        attrs = node.attrs
        if node.op == "BipolarQuant":
            return bipolar_quant(*x)
        if node.op in ("Quant", "IntQuant") and str(attrs.get("rounding_mode", "ROUND")).upper() == "ROUND":
            data, scale, zero, bits = x
            return quant(data, scale, zero, bits, int(attrs.get("signed", 1)), int(attrs.get("narrow", 0)))
        raise UnsupportedOpError(
            f"layer '{node.layer}': {node.op} ('{node.name}') is not supported; of QONNX, BipolarQuant and Quant that "
            "rounds to the nearest are"
        )

    def _check_size(self, node: OnnxNode, given: Sequence[Array | None]) -> None:
        if node.op in _GROWING or node.op in _PAIRS and len({g.shape for g in given if g is not None}) > 1:
            size = self._size(node, given)
            if size > MOST_BYTES:
                raise UnsupportedOpError(
                    f"layer '{node.layer}': {node.op} ('{node.name}') makes {size:,} bytes; at most {MOST_BYTES:,} are "
                    "made of one value"
                )

    def _size(self, node: OnnxNode, given: Sequence[Array | None]) -> int:
        """Bytes of the results, by ONNX's own inference of shapes: few numbers are given as constants."""
        helper = self.onnx.helper
        small = [g is not None and g.ndim <= 1 and g.size <= 64 for g in given]
        constants = [
            self.onnx.numpy_helper.from_array(g, f"i{k}") for k, g in enumerate(given) if g is not None and small[k]
        ]
        inputs = [
            helper.make_tensor_value_info(f"i{k}", helper.np_dtype_to_tensor_dtype(g.dtype), g.shape)
            for k, g in enumerate(given)
            if g is not None and not small[k]
        ]
        model = self._model(node, given, inputs, constants)
        inferred = self.onnx.shape_inference.infer_shapes(model, data_prop=True)
        total = 0
        for output in inferred.graph.output:
            dims = [d.dim_value for d in output.type.tensor_type.shape.dim]
            total += math.prod(dims) * 8
        return total

    def _model(
        self, node: OnnxNode, given: Sequence[Array | None], inputs: Sequence[Any], constants: Sequence[Any]
    ) -> Any:
        helper = self.onnx.helper
        proto = self.onnx.NodeProto()
        proto.CopyFrom(node.proto)
        del proto.input[:], proto.output[:], proto.metadata_props[:]
        proto.input.extend("" if g is None else f"i{k}" for k, g in enumerate(given))
        proto.output.extend(f"o{k}" if name else "" for k, name in enumerate(node.outputs))
        outputs = [helper.make_empty_tensor_value_info(f"o{k}") for k, name in enumerate(node.outputs) if name]
        graph = helper.make_graph([proto], "node", inputs, outputs, list(constants))
        version = helper.find_min_ir_version_for(self.opsets, ignore_unknown=True)
        return helper.make_model(graph, opset_imports=self.opsets, ir_version=version)

    def _session(self, node: OnnxNode, given: Sequence[Array | None]) -> Any:
        # Resize wants to know how many sizes it is given.
        shapes = [
            None if g is None else g.shape if g.dtype == np.int64 and g.ndim == 1 else [None] * g.ndim for g in given
        ]
        key = (id(node), *(None if g is None else (g.dtype.str, str(s)) for g, s in zip(given, shapes, strict=True)))
        if key not in self.sessions:
            helper = self.onnx.helper
            inputs = [
                helper.make_tensor_value_info(f"i{k}", helper.np_dtype_to_tensor_dtype(g.dtype), shape)
                for k, (g, shape) in enumerate(zip(given, shapes, strict=True))
                if g is not None
            ]
            data = self._model(node, given, inputs, []).SerializeToString()
            providers = ["CPUExecutionProvider"]
            self.sessions[key] = self.runtime.InferenceSession(
                data, self.options, providers=providers, enable_fallback=0
            )
        return self.sessions[key]


def packages() -> tuple[Any, Any]:
    """The packages onnx and onnxruntime.  Raises :class:`SetupError` if one is not installed."""
    try:
        import onnx
        import onnx.shape_inference
        import onnxruntime
    except ImportError as error:
        raise SetupError(f"reading an ONNX model needs onnx and onnxruntime ({error}); {install('onnx')}") from None
    return onnx, onnxruntime


Visit = Callable[[OnnxNode, list[Array]], object]


def execute(graph: OnnxGraph, runner: Runner, inputs: Sequence[Array], visit: Visit) -> None:
    """Run every node in order; ``visit`` sees each node with its results, which are freed after their last use."""
    left: dict[str, int] = {}
    for node in graph.nodes:
        for name in node.inputs:
            left[name] = left.get(name, 0) + 1
    values = dict(graph.constants) | dict(zip((i.name for i in graph.inputs), inputs, strict=True))
    for node in graph.nodes:
        operands = [values[name] if name else None for name in node.inputs]
        while operands and operands[-1] is None:
            operands.pop()
        results = runner(node, operands)
        visit(node, results)
        values.update(zip((o for o in node.outputs if o), results, strict=False))
        for name in node.inputs:
            left[name] -= 1
            if left[name] == 0 and name not in graph.constants:
                values.pop(name, None)
