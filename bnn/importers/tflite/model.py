# SPDX-License-Identifier: Apache-2.0
"""A .tflite file as a source model: its graph, and its values operator by operator."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import CompileError, UnsupportedOpError
from ...ir.graph import Graph, Node
from ...ir.ops import constant, input_node, make
from ...ir.ops.bits import excess_128
from ..common.inputs import InputDType, as_floats, input_dtypes
from ..common.limits import PERMISSION, Made, most_made
from ..common.remedies import OUTSIDE
from ..common.runner import executed
from ..common.source import SourceModel
from .evaluate import SUM, evaluated, folded, from_sums, sums
from .file import Operator, TfliteNetwork, read_file
from .larq import words
from .ops import READERS
from .ops_int8 import BYTE_READERS, as_bytes
from .step import FRAMEWORK, Step, layer_of
from .types import FLOATS, check_types, unsupported_type

SUPPORTED = READERS.keys() | BYTE_READERS.keys()
_INPUTS = {"FLOAT32": "float32", "INT8": "int8", "UINT8": "uint8"}
NUMBER = "{} (number)"
"""The name of an output's int8 numbers as floats, from that of the output, which names bytes in excess 128."""


class TfliteModel(SourceModel):
    """A file as a source model; the names of tensors are the file's.

    ``constants``: the tensors that do not depend on the data, by their numbers.
    """

    framework = FRAMEWORK

    def __init__(
        self, path: str | os.PathLike[str], *, unsafe: bool = False, input_shape: Sequence[int] | None = None
    ) -> None:
        self.network = network = read_file(path, unsafe=unsafe)
        self._limited = not unsafe
        self._steps = _needed(network)
        self._check_inputs(input_shape)
        check_types(network, self._steps)
        self.constants = self._known_values(unsafe)
        self._check_operators()
        self.metadata = _meanings(network)
        self._fits = False  # whether all operators were read, so that their operands fit
        self.input_names: Sequence[str] = _labels(network, network.inputs)
        self.outputs: Sequence[str] = [
            (NUMBER if t.dtype == "INT8" else "{}").format(t.name)
            for t in (network.tensors[i] for i in network.outputs)
        ]

    def graph(self, input_dtype: InputDType = None) -> Graph:
        network = self.network
        nodes: dict[int, Node] = {}
        inputs = []
        own = [_INPUTS[network.tensors[i].dtype] for i in network.inputs]
        types = input_dtypes(self.input_names, own, input_dtype)
        for number, label, kind, dtype in zip(network.inputs, self.input_names, own, types, strict=True):
            if kind != "float32" and dtype.numpy != np.dtype(kind):
                raise CompileError(
                    f"input '{label}' is {kind} in the file, which computes with it; leave out its input_dtype"
                )
            inputs.append(input_node(label, network.tensors[number].shape[1:], dtype))
            nodes[number] = as_floats(inputs[-1]) if kind == "float32" else as_bytes(inputs[-1])
        for operator in self.dependent():
            source = Step(network, operator, self.constants, nodes)
            nodes.update(zip(operator.outputs, _read(source), strict=True))
        outputs = tuple(self._output(i, nodes[i]) for i in network.outputs)
        self._fits = True
        return Graph(tuple(inputs), outputs, tuple(_labels(network, network.outputs)))

    def _output(self, number: int, x: Node) -> Node:
        """The floats of the same value as an output's numbers."""
        tensor, layer = self.network.tensors[number], layer_of(self.network, number)
        if tensor.dtype == "INT8":
            numbers = constant(np.arange(-128, 128), name=layer)
            return make("cast", x, numbers, name=layer, origin=NUMBER.format(tensor.name))
        return make("cast", x, name=layer, origin=tensor.name) if tensor.dtype == "UINT8" else x

    def _tensors(self, inputs: Sequence[Array], wanted: Collection[str]) -> Iterator[Mapping[str, Any]]:
        if not self._fits:
            self.graph()
        network, images = self.network, len(inputs[0])
        given = {
            i: x.astype(_INPUTS[network.tensors[i].dtype], copy=False)
            for i, x in zip(network.inputs, inputs, strict=True)
        }

        def named(values: Mapping[Any, Array]) -> dict[str, Array]:
            found = {key if isinstance(key, str) else network.tensors[key].name: x for key, x in values.items()}
            for name, x in [*found.items()]:
                if x.dtype == np.int8:
                    found |= {name: excess_128(x), NUMBER.format(name): x.astype(np.float32)}
            return found

        def run(operator: Operator, operands: list[Array | None]) -> dict[Any, Array]:
            step, there = self._step(operator), [x for x in operands if x is not None]
            if self._limited:
                step.check_results(images)
            if (name := SUM.format(step.name)) in wanted and step.op == "LceBconv2d":
                y = sums(step, there[0])
                return {operator.outputs[0]: from_sums(step, y), name: y}
            return dict(zip(operator.outputs, evaluated(step, there, images), strict=True))

        yield named(given)
        for _, results in executed(self.dependent(), self.constants | given, run, named=self._step):
            yield named(results)

    def _step(self, operator: Operator) -> Step:
        return Step(self.network, operator, self.constants)

    def dependent(self) -> list[Operator]:
        """The operators whose results depend on the data."""
        return [o for o in self._steps if o.outputs[0] not in self.constants]

    def _check_inputs(self, wanted: Sequence[int] | None) -> None:
        """Check that the inputs are floats of one batch, and of the sizes that the user gave, if any."""
        network = self.network
        for number in network.inputs:
            tensor = network.tensors[number]
            if tensor.dtype not in _INPUTS:
                raise self._unsupported(number, f"an input that {unsupported_type(tensor.dtype, [*_INPUTS])}")
            if len(tensor.shape) < 2 or min(tensor.shape) < 1:
                raise self._unsupported(
                    number, f"an input of shape {tensor.shape}; expected the batch, and more", OUTSIDE
                )
            if tensor.shape[0] != network.tensors[network.inputs[0]].shape[0]:
                raise self._unsupported(
                    number, f"an input of shape {tensor.shape}, a batch of another size than the first", OUTSIDE
                )
            if wanted is not None and tuple(wanted) != tensor.shape[1:]:
                raise CompileError(
                    f"input_shape: found {tuple(wanted)}, but the file's input '{tensor.name}' is {tensor.shape[1:]}; "
                    "leave out input_shape"
                )

    def _known_values(self, unsafe: bool) -> dict[int, Array]:
        """The values that do not depend on the data: the file's constants, and what is computed from them alone."""
        network, made = self.network, Made(None if unsafe else most_made(None), PERMISSION)
        known = {i: t.value for i, t in enumerate(network.tensors) if t.value is not None and i not in network.inputs}
        for operator in self._steps:
            numbers = [i for i in operator.inputs if i is not None]
            if not numbers or not all(i in known for i in numbers):
                continue
            step = Step(network, operator, known)
            made.add(sum(4 * math.prod(network.tensors[i].shape) for i in operator.outputs), step.name)
            results = folded(step, [known[i] for i in numbers])
            known.update(zip(operator.outputs, results, strict=True))
        return known

    def _check_operators(self) -> None:
        images = self.network.tensors[self.network.inputs[0]].shape[0]
        for operator in self.dependent():
            for shape in (self.network.tensors[i].shape for i in operator.outputs):
                if len(shape) < 2 or shape[0] != images or min(shape) < 1:
                    raise self._step(operator).unsupported(
                        f"a result of shape {shape}; expected the batch of {images} as its first dimension, and more"
                    )
            if operator.op not in SUPPORTED:
                raise self._step(operator).without_reader(FRAMEWORK)
        for number in self.network.outputs:
            if number in self.constants:
                raise self._unsupported(number, "an output that does not depend on the data", OUTSIDE)
            if self.network.tensors[number].dtype not in _INPUTS:
                raise self._unsupported(number, "an output of packed bits; expected floats")

    def _unsupported(self, number: int, why: str, remedy: str = FLOATS) -> UnsupportedOpError:
        return UnsupportedOpError(f"{self.network.where}: '{self.network.tensors[number].name}': {why}; {remedy}")


def _needed(network: TfliteNetwork) -> list[Operator]:
    """The operators that the outputs need, in the order of the file; each reads only what came before it."""
    made = Counter(i for operator in network.operators for i in operator.outputs)
    for number, count in made.items():
        tensor = network.tensors[number]
        if count > 1 or number in network.inputs or tensor.value is not None:
            raise CompileError(f"{network.where}: tensor '{tensor.name}' has several sources")
    known = {*network.inputs, *(i for i, t in enumerate(network.tensors) if t.value is not None)}
    for operator in network.operators:
        missing = [i for i in operator.inputs if i is not None and i not in known]
        if missing:
            raise CompileError(
                f"{network.where}: {operator.op} ('{network.tensors[operator.outputs[0]].name}') reads tensor "
                f"'{network.tensors[missing[0]].name}', which nothing before it makes"
            )
        known.update(operator.outputs)
    for ends in (network.inputs, network.outputs):
        if len({*ends}) < len(ends):
            raise CompileError(f"{network.where}: an input or an output of the network is named twice")
    if not network.inputs or not network.outputs or not known >= {*network.outputs}:
        raise CompileError(f"{network.where}: the network has no input, or no output that something makes")
    wanted, needed = {*network.outputs}, []
    for operator in reversed(network.operators):
        if wanted & {*operator.outputs}:
            if operator.op == "RESHAPE":  # by the shape of its result; the file may compute that from the batch's size
                operator = replace(operator, inputs=operator.inputs[:1])
            wanted.update(i for i in operator.inputs if i is not None)
            needed.append(operator)
    return needed[::-1]


def _read(source: Step) -> list[Node]:
    """An operator's results as nodes; those that its reader made have the tensors' names as their origins."""
    readers = BYTE_READERS if source.integer else READERS
    read = readers[source.op](source)
    results = read if isinstance(read, list) else [read]
    given = [source.value(i) for i in range(len(source.operator.inputs)) if source.has(i) and not source.is_constant(i)]
    found = []
    for i, node in enumerate(results):
        tensor = source.output(i)
        shape = node.type.shape
        if tensor.dtype == "INT32":
            shape = (*shape[:-1], words(shape[-1]))
        if tensor.shape[1:] != shape:
            raise source.misread(tensor.shape[1:], shape)
        found.append(node if node in given else replace(node, origin=tensor.name))
    return found


def _labels(network: TfliteNetwork, numbers: Sequence[int]) -> list[str]:
    """Names of inputs or outputs: the signature's, or, if it has none, the tensors'."""
    names = [network.labels.get(i, network.tensors[i].name) for i in numbers]
    return names if len({*names}) == len(names) else [network.tensors[i].name for i in numbers]


def _meanings(network: TfliteNetwork) -> dict[str, str]:
    """{input or output: the scale and the zero point of its 8-bit numbers}, where all of them have one."""
    found = dict[str, str]()
    for ends in (network.inputs, network.outputs):
        for name, meaning in zip(_labels(network, ends), (network.tensors[i].quantization for i in ends), strict=True):
            if meaning is not None and len(meaning.scales) == 1:
                found |= {f"{name}.scale": str(meaning.scale), f"{name}.zero_point": str(meaning.zero_point)}
    return found
