# SPDX-License-Identifier: Apache-2.0
"""Read a .tflite file: tensors and operators as plain values, every number of the file checked.

The only module that imports the packages tflite and flatbuffers, and only when called.  A file is data: nothing of it
runs, and what is read of it grows with its size, however often its parts are referred to.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from ..._distribution import install
from ..._types import Array
from ...errors import CompileError, SetupError
from ..common.kinds import check_there
from ..common.limits import MOST_NODES, check_bytes

MAGIC, VERSION = b"TFL3", 3
# The types of constants that have a value; operators say which of these they take.
_NUMPY = {
    "FLOAT16": "<f2", "FLOAT32": "<f4", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "u1",
}  # fmt: skip
_RANGES = {"INT8": (-128, 127), "UINT8": (0, 255)}  # types whose scales and zero points are read
_MOST_DIMENSIONS = 8
_MOST_NAMES = 2**24  # bytes of all names together
_MOST_OPTIONS = 2**12  # bytes of the options of one of Larq's operators

# Operators that are read: the table of their options, and which of these, by Larq's names for them.
_CLAMP = {"fused_activation_function": "FusedActivationFunction"}
_WINDOW = {"padding": "Padding", "stride_height": "StrideH", "stride_width": "StrideW", **_CLAMP}
_DILATED = {"dilation_height_factor": "DilationHFactor", "dilation_width_factor": "DilationWFactor", **_WINDOW}
_POOL = {"filter_height": "FilterHeight", "filter_width": "FilterWidth", **_WINDOW}
_MASKS = {"offset": "Offset"} | {
    f"{name}_mask": f"{name.title().replace('_', '')}Mask"
    for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
}
_PLAIN = (
    "ABS", "DEQUANTIZE", "HARD_SWISH", "LOGISTIC", "MAXIMUM", "MINIMUM", "PAD", "PADV2", "PRELU", "QUANTIZE", "RELU",
    "RELU6", "RELU_N1_TO_1", "RESHAPE", "TANH", "TRANSPOSE",
)  # fmt: skip
_OPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    **dict.fromkeys(_PLAIN, ("", {})),
    "ADD": ("AddOptions", _CLAMP),
    "AVERAGE_POOL_2D": ("Pool2DOptions", _POOL),
    "CONCATENATION": ("ConcatenationOptions", {"axis": "Axis", **_CLAMP}),
    "CONV_2D": ("Conv2DOptions", _DILATED),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", _DILATED),
    "DIV": ("DivOptions", _CLAMP),
    "FULLY_CONNECTED": ("FullyConnectedOptions", {"weights_format": "WeightsFormat", **_CLAMP}),
    "LEAKY_RELU": ("LeakyReluOptions", {"alpha": "Alpha"}),
    "MAX_POOL_2D": ("Pool2DOptions", _POOL),
    "MEAN": ("ReducerOptions", {}),
    "MUL": ("MulOptions", _CLAMP),
    "SOFTMAX": ("SoftmaxOptions", {"beta": "Beta"}),
    "SPLIT": ("SplitOptions", {}),
    "STRIDED_SLICE": ("StridedSliceOptions", _MASKS),
    "SUB": ("SubOptions", _CLAMP),
}
# Larq's operators, with their options; those that may be missing, with their values then.
_LARQ = {
    "LceQuantize": (),
    "LceDequantize": (),
    "LceBconv2d": (
        "channels_in", "dilation_height_factor", "dilation_width_factor", "padding", "stride_height", "stride_width",
        "fused_activation_function", "pad_values",
    ),
    "LceBMaxPool2d": ("filter_height", "filter_width", "padding", "stride_height", "stride_width"),
}  # fmt: skip
_OMITTED = {"fused_activation_function": 0, "pad_values": 0}
OPERATORS = _OPTIONS.keys() | _LARQ.keys()
"""Operators whose options are read."""


@dataclass(frozen=True, eq=False)
class Quantization:
    """Of a tensor of whole numbers: q stands for scale * (q - zero point), with one of both, or one per channel.

    ``scales`` (n,), float32, finite and above 0.  ``zero_points`` (n,), int64, numbers of the tensor's type.  ``axis``:
    the dimension that has n channels, where n is not 1.
    """

    scales: Array
    zero_points: Array
    axis: int

    @property
    def scale(self) -> np.float32:
        return np.float32(self.scales[0])

    @property
    def zero_point(self) -> int:
        return int(self.zero_points[0])


@dataclass(frozen=True)
class Tensor:
    """``name``: unique in the file.  ``shape``: with the batch.  ``value``: of a constant.  ``quantization``: of 8-bit
    tensors that have one."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # as in the schema: "FLOAT32"
    value: Array | None
    quantization: Quantization | None = None


@dataclass(frozen=True)
class Operator:
    """``op``: the schema's name, or that of a custom operator; tensors by their numbers, None: left out.

    ``options``: those that are read, by the names that Larq's own operators have for them.
    """

    op: str
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class TfliteNetwork:
    """``labels``: names of inputs and outputs in the file's signature, by tensor."""

    where: str  # the file, for messages
    tensors: Sequence[Tensor]
    operators: Sequence[Operator]  # in the order of execution
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    labels: Mapping[int, str]


def read_file(path: str | os.PathLike[str], *, unsafe: bool = False) -> TfliteNetwork:
    """Read a .tflite file.  ``unsafe``: of any size.

    Raises:
        CompileError: no such file, not a .tflite file, damaged, too large, or with several subgraphs; says what was
            found.
        SetupError: the package tflite is not installed.
    """
    where = os.fspath(path)
    check_there(where, "a .tflite file")
    if not unsafe:
        check_bytes(where, "the file", os.path.getsize(where))
    with open(where, "rb") as file:
        data = file.read()
    if data[4:8] != MAGIC:
        raise CompileError(
            f"{where}: not a .tflite file: found {data[4:8]!r} at byte 4, expected {MAGIC!r}; give the file that "
            "TensorFlow Lite's or Larq Compute Engine's converter wrote"
        )
    schema = _schema()
    try:
        return _Reader(schema, data, where, unsafe).network()
    except CompileError:
        raise
    except Exception as error:  # the packages raise anything on offsets that lead nowhere
        raise CompileError(
            f"{where}: damaged: an offset or a size in it leads nowhere ({error}); copy or convert it again"
        ) from error


def _schema() -> Any:
    try:
        import tflite
    except ImportError as error:
        raise SetupError(
            f"compiling a .tflite file needs the package tflite, which cannot be imported ({error}); "
            f"{install('tflite')}"
        ) from None
    return tflite


def _names(enumeration: Any) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if not name.startswith("_")}


class _Reader:
    def __init__(self, schema: Any, data: bytes, where: str, unsafe: bool) -> None:
        self.schema, self.data, self.where, self.unsafe = schema, data, where, unsafe
        self.model = schema.Model.GetRootAsModel(data, 0)
        self.types, self.builtins = _names(schema.TensorType), _names(schema.BuiltinOperator)
        self.names = 0  # bytes of names read so far
        self.numbers = 0  # elements of vectors read so far

    def network(self) -> TfliteNetwork:
        if self.model.Version() != VERSION:
            raise self._wrong(f"version {self.model.Version()} of the format; expected {VERSION}")
        if self.model.SubgraphsLength() != 1:
            raise self._wrong(
                f"{self.model.SubgraphsLength()} subgraphs; expected one: conditions and loops are not supported"
            )
        graph = self.model.Subgraphs(0)
        tensors = self._unique([self._tensor(graph.Tensors(i)) for i in self._count(graph.TensorsLength(), "tensors")])
        known = range(len(tensors))
        ends = [
            tuple(self._index(i, known, f"a tensor of the network's {name.lower()}") for i in self._vector(graph, name))
            for name in ("Inputs", "Outputs")
        ]
        operators = [
            self._operator(graph.Operators(i), i, known) for i in self._count(graph.OperatorsLength(), "operators")
        ]
        return TfliteNetwork(self.where, tensors, operators, ends[0], ends[1], self._labels())

    def _wrong(self, what: str) -> CompileError:
        return CompileError(f"{self.where}: {what}")

    def _count(self, length: int, what: str) -> range:
        """The indices of a vector of tables, each of which takes four bytes of the file at least."""
        most = min(MOST_NODES, len(self.data) // 4)
        if length > most:
            raise self._wrong(f"{length:,} {what}; at most {most:,} are read")
        return range(length)

    def _vector(self, table: Any, name: str) -> list[int]:
        """One of a table's vectors of whole numbers."""
        length = getattr(table, f"{name}Length")()
        self.numbers += length
        if self.numbers > MOST_NODES:
            raise self._wrong(f"more than {MOST_NODES:,} numbers in shapes and lists of tensors")
        return [int(n) for n in getattr(table, f"{name}AsNumpy")()] if length else []

    def _name(self, text: bytes | None) -> str:
        found = text or b""
        self.names += len(found)
        if self.names > _MOST_NAMES:
            raise self._wrong(f"names of more than {_MOST_NAMES:,} bytes")
        return found.decode(errors="replace")

    def _index(self, i: int, known: range, what: str) -> int:
        if i not in known:
            raise self._wrong(f"{what} has the number {i}; there are {len(known)}")
        return i

    def _tensor(self, tensor: Any) -> Tensor:
        name = self._name(tensor.Name())
        dtype = self.types.get(tensor.Type(), f"type {tensor.Type()}")
        if tensor.ShapeLength() > _MOST_DIMENSIONS:
            raise self._wrong(
                f"tensor '{name}' has {tensor.ShapeLength()} dimensions; at most {_MOST_DIMENSIONS} are read"
            )
        shape, signature = self._vector(tensor, "Shape"), self._vector(tensor, "ShapeSignature")
        if any(d < 0 for d in (*shape, *signature[1:])):
            raise self._wrong(
                f"tensor '{name}' has a dynamic shape, {signature or shape}; only the batch may be dynamic: convert "
                "the model with fixed sizes"
            )
        if tensor.Sparsity() is not None:
            raise self._wrong(f"tensor '{name}' is sparse, which is not supported")
        quantization = self._quantization(tensor, name, dtype, shape) if dtype in _RANGES else None
        return Tensor(name, tuple(shape), dtype, self._value(tensor, name, dtype, shape), quantization)

    def _quantization(self, tensor: Any, name: str, dtype: str, shape: list[int]) -> Quantization | None:
        """The scales and zero points of an 8-bit tensor; None: it has none."""
        found = tensor.Quantization()
        if found is None or not found.ScaleLength():
            return None
        counts, axis = (found.ScaleLength(), found.ZeroPointLength()), found.QuantizedDimension()
        channels = shape[axis] if 0 <= axis < len(shape) else None
        if counts not in ((1, 1), (channels, channels)):
            raise self._wrong(
                f"tensor '{name}' of shape {shape} has {counts[0]:,} scales and {counts[1]:,} zero points along "
                f"dimension {axis}; expected one of each, or one of each per channel"
            )
        self.numbers += counts[0]  # the zero points
        zero_points = np.array(self._vector(found, "ZeroPoint"))
        scales = np.array(found.ScaleAsNumpy(), np.float32)
        low, high = _RANGES[dtype]
        if not (np.isfinite(scales) & (scales > 0)).all():
            bad = scales[~(np.isfinite(scales) & (scales > 0))][0]
            raise self._wrong(f"tensor '{name}' has a scale of {bad:g}; expected finite scales above 0")
        if zero_points.min() < low or zero_points.max() > high:
            bad = zero_points[(zero_points < low) | (zero_points > high)][0]
            raise self._wrong(f"tensor '{name}' has a zero point of {bad:,}; expected {low} to {high} for {dtype}")
        return Quantization(scales, zero_points, axis)

    def _value(self, tensor: Any, name: str, dtype: str, shape: list[int]) -> Array | None:
        """A constant's array, which is a part of the file; None: it has none, or is of another type."""
        elements = math.prod(shape)
        if not self.unsafe:
            check_bytes(self.where, f"tensor '{name}' of shape {shape}", elements * 4)
        buffers = range(self.model.BuffersLength())
        buffer = self.model.Buffers(self._index(tensor.Buffer(), buffers, f"the buffer of tensor '{name}'"))
        if getattr(buffer, "Offset", int)() > 1:
            raise self._wrong(f"the data of tensor '{name}' are outside the flatbuffer, which is not supported")
        size = buffer.DataLength()
        if not size or dtype not in _NUMPY:
            return None
        kind = np.dtype(_NUMPY[dtype])
        if size != elements * kind.itemsize:
            raise self._wrong(
                f"tensor '{name}', {dtype} {shape}, has {size:,} bytes; expected {elements * kind.itemsize:,}"
            )
        value: Array = np.frombuffer(buffer.DataAsNumpy().data, kind).reshape(shape)
        return value

    @staticmethod
    def _unique(tensors: list[Tensor]) -> list[Tensor]:
        """The tensors; names that are empty, or that several have, with the tensor's number."""
        count = Counter(t.name for t in tensors)
        taken, unique = {*count}, list[Tensor]()
        for i, tensor in enumerate(tensors):
            name = tensor.name
            if not name or count[name] > 1:
                name = f"{name}:{i}"
                while name in taken:
                    name += "'"
                taken.add(name)
            unique.append(replace(tensor, name=name))
        return unique

    def _operator(self, operator: Any, i: int, known: range) -> Operator:
        codes = range(self.model.OperatorCodesLength())
        code = self.model.OperatorCodes(self._index(operator.OpcodeIndex(), codes, f"the code of operator {i}"))
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        op = self.builtins.get(number, f"builtin operator {number}")
        if op == "CUSTOM":
            op = self._name(code.CustomCode())
        what = f"a tensor of operator {i} ({op})"
        inputs = tuple(None if k == -1 else self._index(k, known, what) for k in self._vector(operator, "Inputs"))
        outputs = tuple(self._index(k, known, what) for k in self._vector(operator, "Outputs"))
        if not outputs:
            raise self._wrong(f"operator {i} ({op}) has no output")
        options = dict(self._larq(operator, op, i) if op in _LARQ else self._builtin(operator, op, i))
        return Operator(op, inputs, outputs, options)

    def _builtin(self, operator: Any, op: str, i: int) -> Iterator[tuple[str, Any]]:
        table, names = _OPTIONS.get(op, ("", {}))
        if not table:
            return
        kind, found = getattr(self.schema.BuiltinOptions, table), operator.BuiltinOptions()
        if operator.BuiltinOptionsType() != kind or found is None:
            raise self._wrong(f"operator {i} ({op}) has options of type {operator.BuiltinOptionsType()}, not {table}")
        options = getattr(self.schema, table)()
        options.Init(found.Bytes, found.Pos)
        for name, accessor in names.items():
            yield name, getattr(options, accessor)()

    def _larq(self, operator: Any, op: str, i: int) -> Iterator[tuple[str, int]]:
        """Larq's options are a flexbuffer: a map of whole numbers by name."""
        wanted = _LARQ[op]
        if not wanted:
            return
        size = operator.CustomOptionsLength()
        if not 0 < size <= _MOST_OPTIONS:
            raise self._wrong(f"operator {i} ({op}) has {size:,} bytes of options; expected 1 to {_MOST_OPTIONS:,}")
        from flatbuffers import flexbuffers

        root = flexbuffers.GetRoot(operator.CustomOptionsAsNumpy().tobytes())
        if not root.IsMap:
            raise self._wrong(f"the options of operator {i} ({op}) are not a map")
        options = root.AsMap
        if len(options) > _MOST_OPTIONS:
            raise self._wrong(f"operator {i} ({op}) has {len(options):,} options")
        values = {str(k.AsKey): v for k, v in zip(_elements(options.Keys), _elements(options.Values), strict=True)}
        for name in wanted:
            if name in values and not values[name].IsInt:
                raise self._wrong(f"option {name} of operator {i} ({op}) is not a whole number")
            if name not in values and name not in _OMITTED:
                raise self._wrong(
                    f"operator {i} ({op}) has no option {name}: an old version of Larq Compute Engine may have written "
                    "the file; convert the model again with a newer one"
                )
            yield name, int(values[name].AsInt) if name in values else _OMITTED[name]

    def _labels(self) -> dict[int, str]:
        """The names of the first signature, without what TensorFlow adds to make them tensors' names."""
        if not self._count(self.model.SignatureDefsLength(), "signatures"):
            return {}
        signature = self.model.SignatureDefs(0)
        maps = chain(
            (signature.Inputs(i) for i in self._count(signature.InputsLength(), "inputs of a signature")),
            (signature.Outputs(i) for i in self._count(signature.OutputsLength(), "outputs of a signature")),
        )
        return {m.TensorIndex(): re.sub(r":\d+$", "", self._name(m.Name())) for m in maps}


def _elements(vector: Any) -> Iterator[Any]:
    return (vector[i] for i in range(len(vector)))
