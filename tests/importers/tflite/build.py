# SPDX-License-Identifier: Apache-2.0
"""Put .tflite files together, operator by operator; run them in TensorFlow Lite, or in Larq Compute Engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite
from flatbuffers import flexbuffers

from bnn._types import Array

SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6 = range(4)
ACTIVATIONS = {NONE: (-np.inf, np.inf), RELU: (0, np.inf), RELU_N1_TO_1: (-1, 1), RELU6: (0, 6)}
TYPES = {
    np.dtype(np.float32): "FLOAT32", np.dtype(np.int32): "INT32", np.dtype(np.int64): "INT64",
    np.dtype(np.int8): "INT8",
}  # fmt: skip
Scale = tuple[Any, Any]  # a scale and a zero point, or as many as there are channels; then the dimension of these


class Net:
    """A file; tensors are numbers.  ``tables`` that tests change: what the file says of each tensor and operator."""

    def __init__(self) -> None:
        self.tensors: list[dict[str, Any]] = []
        self.operators: list[dict[str, Any]] = []
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self.signature: tuple[Mapping[str, int], Mapping[str, int]] | None = None
        self.version, self.subgraphs, self.magic = 3, 1, b"TFL3"

    def tensor(self, *shape: int, dtype: str = "FLOAT32", value: Array | None = None, **more: Any) -> int:
        name = more.pop("name", f"net/t{len(self.tensors)}/x")
        self.tensors.append({"shape": shape, "dtype": dtype, "value": value, "name": name, **more})
        return len(self.tensors) - 1

    def constant(self, value: Any, **more: Any) -> int:
        array = np.asarray(value)
        array = array if array.dtype in TYPES else array.astype(np.float32)
        return self.tensor(*array.shape, dtype=TYPES[array.dtype], value=array, **more)

    def input(self, *shape: int, **more: Any) -> int:
        self.inputs.append(self.tensor(1, *shape, **more))
        return self.inputs[-1]

    def op(self, op: str, inputs: Sequence[int], *shape: int, table: str = "", **options: Any) -> int:
        """An operator of TensorFlow Lite with one output of this shape, the batch included; returns the output.
        ``scale``: with that, and of int8 numbers unless ``dtype`` says otherwise."""
        scale, outputs = options.pop("scale", None), options.pop("outputs", 1)
        dtype = options.pop("dtype", "FLOAT32" if scale is None else "INT8")
        made = [self.tensor(*shape, dtype=dtype, scale=scale) for _ in range(outputs)]
        self.operators.append({"op": op, "inputs": inputs, "outputs": made, "table": table, "options": options})
        return made[0]

    def larq(self, op: str, inputs: Sequence[int], *shape: int, dtype: str = "INT32", **options: int) -> int:
        made = self.tensor(*shape, dtype=dtype)
        packed = bytes(flexbuffers.Dumps(options)) if options else b""
        self.operators.append({"op": op, "inputs": inputs, "outputs": [made], "custom": packed})
        return made

    def to_bytes(self, *outputs: int) -> bytes:
        """The file; ``outputs``: those of the network, or, if none are given, the last tensor."""
        builder = flatbuffers.Builder(1024)
        self.outputs = list(outputs or self.outputs or [len(self.tensors) - 1])
        buffers = [_table(builder, "Buffer", {})]
        tensors = []
        for tensor in self.tensors:
            value = tensor["value"]
            if value is not None:
                data = builder.CreateNumpyVector(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
                buffers.append(_table(builder, "Buffer", {"Data": data}))
            if "outside" in tensor:
                buffers.append(_table(builder, "Buffer", {"Offset": tensor["outside"]}))
            fields = {
                "Name": builder.CreateString(tensor["name"]),
                "Shape": _vector(builder, tensor["shape"]),
                "Type": getattr(tflite.TensorType, tensor["dtype"]),
                "Buffer": tensor.get("buffer", 0 if value is None and "outside" not in tensor else len(buffers) - 1),
            }
            if "signature" in tensor:
                fields["ShapeSignature"] = _vector(builder, tensor["signature"])
            if tensor.get("scale") is not None:
                fields["Quantization"] = _quantization(builder, *tensor["scale"])
            if tensor.get("sparse"):
                fields["Sparsity"] = _table(builder, "SparsityParameters", {})
            tensors.append(_table(builder, "Tensor", fields))
        codes = list(dict.fromkeys(o["op"] for o in self.operators))
        operators = [self._operator(builder, o, codes.index(o["op"])) for o in self.operators]
        graph = {
            "Tensors": _offsets(builder, tensors), "Operators": _offsets(builder, operators),
            "Inputs": _vector(builder, self.inputs), "Outputs": _vector(builder, self.outputs),
        }  # fmt: skip
        subgraph = _table(builder, "SubGraph", graph)
        fields = {
            "Version": self.version,
            "Subgraphs": _offsets(builder, [subgraph] * self.subgraphs),
            "OperatorCodes": _offsets(builder, [_code(builder, op) for op in codes]),
            "Buffers": _offsets(builder, buffers),
        }
        if self.signature is not None:
            maps = [
                _offsets(builder, [_map(builder, name, number) for name, number in names.items()])
                for names in self.signature
            ]
            signature = _table(builder, "SignatureDef", {"Inputs": maps[0], "Outputs": maps[1]})
            fields["SignatureDefs"] = _offsets(builder, [signature])
        builder.Finish(_table(builder, "Model", fields), self.magic)
        return bytes(builder.Output())

    @staticmethod
    def _operator(builder: Any, operator: Mapping[str, Any], code: int) -> int:
        fields = {
            "OpcodeIndex": operator.get("code", code),
            "Inputs": _vector(builder, operator["inputs"]),
            "Outputs": _vector(builder, operator["outputs"]),
        }
        if operator.get("custom"):
            fields["CustomOptions"] = builder.CreateByteVector(operator["custom"])
        if operator.get("table"):
            fields["BuiltinOptions"] = _table(builder, operator["table"], operator["options"])
            fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, operator["table"])
        return _table(builder, "Operator", fields)


def _table(builder: Any, name: str, fields: Mapping[str, Any]) -> int:
    getattr(tflite, f"{name}Start")(builder)
    for field, value in fields.items():
        getattr(tflite, f"{name}Add{field}")(builder, value)
    return int(getattr(tflite, f"{name}End")(builder))


def _quantization(builder: Any, scales: Any, zero_points: Any, axis: int = 0) -> int:
    numbers = np.atleast_1d(np.asarray(scales, np.float32)), np.atleast_1d(np.asarray(zero_points, np.int64))
    scale, zero_point = (builder.CreateNumpyVector(n) for n in numbers)
    fields = {"Scale": scale, "ZeroPoint": zero_point, "QuantizedDimension": axis}
    return _table(builder, "QuantizationParameters", fields)


def _vector(builder: Any, numbers: Sequence[int]) -> int:
    return int(builder.CreateNumpyVector(np.asarray(numbers, np.int32)))


def _offsets(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _code(builder: Any, op: str) -> int:
    number = getattr(tflite.BuiltinOperator, op, tflite.BuiltinOperator.CUSTOM)
    fields = {"BuiltinCode": number, "DeprecatedBuiltinCode": min(number, 127), "Version": 1}
    if number == tflite.BuiltinOperator.CUSTOM:
        fields["CustomCode"] = builder.CreateString(op)
    return _table(builder, "OperatorCode", fields)


def _map(builder: Any, name: str, number: int) -> int:
    return _table(builder, "TensorMap", {"Name": builder.CreateString(name), "TensorIndex": number})


def packed(bits: Array) -> Array:
    """+1 and -1 (..., channels) as Larq packs them: INT32 words (..., words), a set bit is -1."""
    fill = [(0, 0)] * (bits.ndim - 1) + [(0, -bits.shape[-1] % 32)]
    octets = np.packbits(np.pad(bits, fill, constant_values=1) < 0, axis=-1, bitorder="little")
    return octets.view(np.int32)


def in_tensorflow_lite(
    data: bytes, inputs: Sequence[Array], numbers: Sequence[int], kernels: str = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
) -> list[Array]:
    """These tensors, computed by TensorFlow Lite's own kernels for one image after the other; of int8 numbers,
    ``kernels`` BUILTIN_REF define the result."""
    tf = pytest.importorskip("tensorflow")
    interpreter = tf.lite.Interpreter(
        model_content=data,
        experimental_op_resolver_type=getattr(tf.lite.experimental.OpResolverType, kernels),
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    found: list[list[Array]] = []
    for image in zip(*inputs, strict=True):
        for place, x in zip(interpreter.get_input_details(), image, strict=True):
            interpreter.set_tensor(place["index"], x[None])
        interpreter.invoke()
        found.append([interpreter.get_tensor(n) for n in numbers])
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def in_larq(data: bytes, inputs: Sequence[Array], **kernels: bool) -> list[Array]:
    """The outputs, computed by Larq Compute Engine; skips the test where it is not installed."""
    pytest.importorskip("larq_compute_engine", reason="needs larq-compute-engine: pip install --no-deps")
    from larq_compute_engine.tflite.python.interpreter import Interpreter

    found = Interpreter(data, **kernels).predict(list(inputs))
    return found if isinstance(found, list) else [found]
