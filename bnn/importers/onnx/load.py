# SPDX-License-Identifier: Apache-2.0
"""Open ONNX models: files, models in memory, and PyTorch modules."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import BnnError, CompileError
from ...ir.graph import Graph
from ..common.inputs import InputDType, check_single, checked_shape, fitted
from ..common.kinds import check_there
from ..common.source import SourceModel
from .external import load_weights
from .functions import check_nodes
from .protos import FRAMEWORK, OnnxGraph, from_model
from .read import ReadGraph, read
from .run import OnnxRunner, execute, packages
from .values import Laid, in_node
from .wire import check_counts

_MOST_FILE = 2**31


class OnnxModel(SourceModel):
    """An ONNX graph as a source model."""

    framework = FRAMEWORK

    def __init__(self, onnx: OnnxGraph, zero: int = 0, input_shape: Sequence[int] | None = None) -> None:
        shape = checked_shape(input_shape)
        check_single(shape, len(onnx.inputs))
        sized = [replace(i, shape=(i.shape[0], *fitted(i.name, i.shape[1:], shape))) for i in onnx.inputs]
        onnx = replace(onnx, inputs=sized)
        self._onnx, self._zero = onnx, zero
        self._runner = OnnxRunner(onnx)
        self._reading: ReadGraph | None = None
        self.input_names: Sequence[str] = [i.name for i in onnx.inputs]
        # An output's dimensions may be in another order than those of the node with its values.
        self._named = {f"output {name}": name for name in onnx.outputs}
        self.outputs: Sequence[str] = list(self._named)
        self.metadata = onnx.metadata
        if onnx.replaced:
            self.said = [f"the model's {' and '.join(onnx.replaced)} numbers are computed in float32 here"]

    def graph(self, input_dtype: InputDType = None) -> Graph:
        self._reading = read(self._onnx, self._runner, input_dtype, self._zero)
        return self._reading.graph

    def hints(self) -> Mapping[str, Sequence[str]]:
        return {} if self._reading is None else self._reading.hints

    def evaluate(self, inputs: Sequence[Array], wanted: Sequence[str]) -> dict[str, Array]:
        """Node by node, by ONNX Runtime without optimizations.  Tensors that were read as the sign that they are up to
        rounding have its value here, too, and so have weights; a model with a fixed batch size runs in such batches."""
        if self._reading is None:
            self.graph()
        assert self._reading is not None
        count, tensors = len(inputs[0]), {name: self._named.get(name, name) for name in wanted}
        step = self._onnx.images or count
        parts = []
        for begin in range(0, count, step):
            chunk = [self._fed(i, array[begin : begin + step], step) for i, array in enumerate(inputs)]
            parts.append(super().evaluate(chunk, [*tensors.values()]))
        return {
            name: self._placed(name, np.concatenate([part[tensor] for part in parts])[:count])
            for name, tensor in tensors.items()
        }

    def _placed(self, name: str, array: Array) -> Array:
        """A tensor's values, as an output of the IR, or as they are in its node."""
        assert self._reading is not None
        if name in self._named:
            last = self._reading.channels_last or array.ndim < 3
            placed: Array | None = array if last else np.moveaxis(array, 1, -1)
        else:
            value = self._reading.values.get(name)
            placed = None if value is None else in_node(value, array)
        return array if placed is None else np.ascontiguousarray(placed, np.float32)

    def _fed(self, i: int, array: Array, images: int) -> Array:
        """Images of the IR as the model takes them; the last one is repeated to fill a batch."""
        assert self._reading is not None
        given = self._onnx.inputs[i]
        value = self._reading.values[given.name]
        assert isinstance(value, Laid)
        array = array.transpose(0, *(1 + o for o in value.order)).astype(given.dtype)
        if len(array) < images:
            array = np.concatenate([array, np.repeat(array[-1:], images - len(array), axis=0)])
        return array

    def _tensors(self, inputs: Sequence[Array], wanted: Collection[str]) -> Iterator[Mapping[str, Any]]:
        assert self._reading is not None
        reading = self._reading
        signs, snapped = reading.signs, reading.snapped
        needed, known = set(signs.values()), dict[str, Array]()
        yield {i.name: array for i, array in zip(self._onnx.inputs, inputs, strict=True)}
        constants = {name: snapped.get(name, value) for name, value in self._onnx.constants.items()}
        for node, results in execute(replace(self._onnx, constants=constants), self._runner, inputs):
            for name, value in results.items():
                if self._zero and node.op == "Sign" and name in reading.values:
                    results[name] = np.where(value == 0, np.float32(self._zero), value)
                if name in signs:
                    results[name] = known[signs[name]]
                if name in snapped:
                    results[name] = snapped[name]
                if name in needed:
                    known[name] = results[name]
            yield results


def is_onnx(model: Any) -> bool:
    """Whether it is an ONNX model in memory (also as ``torch.onnx.export`` gives it), or the path of one."""
    if isinstance(model, (str, os.PathLike)):
        return os.fsdecode(model).lower().endswith(".onnx")
    kind = type(model)
    package = kind.__module__.partition(".")[0]
    return (kind.__name__, package) in (("ModelProto", "onnx"), ("ONNXProgram", "torch"))


def open_onnx(model: Any, zero: int = 0, input_shape: Sequence[int] | None = None) -> OnnxModel:
    """Open a path or an ``onnx.ModelProto``; ``input_shape``: of an image, where the model leaves it free."""
    onnx, _ = packages()
    if not isinstance(model, (str, os.PathLike)):
        return OnnxModel(from_model(getattr(model, "model_proto", model)), zero, input_shape)
    path = Path(model)
    check_there(path, "an .onnx file")
    try:
        return OnnxModel(from_model(_load(onnx, path)), zero, input_shape)
    except CompileError as error:
        raise type(error)(f"{path}: {error}") from error


def _load(onnx: Any, path: Path) -> Any:
    if path.stat().st_size > _MOST_FILE:
        raise CompileError(f"{path.stat().st_size:,} bytes; at most {_MOST_FILE:,} are read")
    try:
        data = path.read_bytes()
        check_counts(data, onnx.ModelProto.DESCRIPTOR)
        model = onnx.load_model_from_string(data)
        check_nodes(model)
        load_weights(onnx, model, path.parent)
    except BnnError:
        raise
    except Exception as error:  # protobuf and onnx raise many kinds
        raise CompileError(f"cannot be read as an ONNX model: {error}") from error
    if not model.graph.node or not model.opset_import:
        raise CompileError("not an ONNX model: it lists no nodes, or not the version of its operators")
    return model
