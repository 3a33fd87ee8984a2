"""Read a frozen TensorFlow graph into the SOURCE level of the IR: one reader per TensorFlow op type."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import CompileError, UnsupportedOpError
from ..ir import Graph, Node
from ..ops import constant, input_node, make
from .frozen import ALIASES, SHAPE_OPS, Array, Frozen, Tensor, TfNode
from .tf_ops import READERS

_PROBE_BATCH = 3


def read(frozen: Frozen) -> Graph:
    """The SOURCE graph.

    The graph is executed on zeros, so every shape is known and whatever does not depend on the data (weights and
    their quantizers, shape arithmetic) is a constant that TensorFlow itself has computed.

    Raises:
        UnsupportedOpError: an op that depends on the data and has no reader; names the op, the layer, what to do.
    """
    return _Reader(frozen).graph()


class _Reader:
    def __init__(self, frozen: Frozen) -> None:
        self.frozen = frozen
        self.dependent: set[str] = set(frozen.inputs)  # ops whose values depend on the data
        for node in frozen.nodes:
            if node.op not in SHAPE_OPS and any(name in self.dependent for name, _ in node.inputs):
                self.dependent.add(node.name)
        self._check_supported()
        self.shapes: dict[Tensor, tuple[int, ...]] = {}
        self.constants: dict[Tensor, Array] = {}
        self.varying: set[Tensor] = set()  # constants that are not: they depend on the batch's size
        self.values: dict[Tensor, Node] = {}
        self.foreign: set[str] = self._read_by_others()
        self.inside = self._dilated()
        self._probe()

    def _check_supported(self) -> None:
        for node in self.frozen.nodes:
            if node.name not in self.dependent or node.name in self.frozen.inputs:
                continue
            if node.op not in READERS and node.op not in ALIASES and node.op != "SpaceToBatchND":
                layer = self.frozen.layer(node.name)
                raise UnsupportedOpError(
                    f"layer '{layer}' uses the TensorFlow op {node.op} ('{node.name}'), which is not supported; "
                    f"replace the layer, or cut the model before it. Supported: {', '.join(sorted(READERS))}"
                )

    def _read_by_others(self) -> set[str]:
        """Ops whose value leaves their layer."""
        foreign = {self.frozen.resolve(t)[0] for t in self.frozen.outputs}
        for node in self.frozen.nodes:
            if node.op in ALIASES:
                continue
            for operand in node.inputs:
                source = self.frozen.resolve(operand)[0]
                if self.frozen.layer(source) != self.frozen.layer(node.name):
                    foreign.add(source)
        return foreign

    def _probe(self) -> None:
        frozen = self.frozen
        zeros = []
        for name in frozen.inputs:
            node = frozen.by_name[name]
            shape = node.attrs.get("shape") or []
            if len(shape) < 2 or any(d < 1 for d in shape[1:]):
                raise CompileError(f"input '{name}' has shape {shape}; only the batch may be open")
            if node.attrs.get("dtype") != "float32":
                dtype = node.attrs.get("dtype")
                raise UnsupportedOpError(f"input '{name}' is {dtype}; only float32 inputs are supported")
            zeros.append(np.zeros([_PROBE_BATCH, *shape[1:]], np.float32))

        def visit(node: TfNode, outputs: list[Any]) -> None:
            for i, value in enumerate(outputs):
                self.shapes[node.name, i] = tuple(int(d) for d in value.shape)
                if node.name not in self.dependent:
                    self.constants[node.name, i] = np.asarray(value)

        frozen.execute(zeros, visit)
        if not any(node.op in SHAPE_OPS for node in frozen.nodes):
            return

        def compare(node: TfNode, outputs: list[Any]) -> None:
            for i, value in enumerate(outputs):
                if node.name not in self.dependent and not np.array_equal(self.constants[node.name, i], value):
                    self.varying.add((node.name, i))

        frozen.execute([z[1:] for z in zeros], compare)

    def graph(self) -> Graph:
        frozen = self.frozen
        inputs = []
        for name, label in zip(frozen.inputs, frozen.input_names, strict=True):
            inputs.append(input_node(label, self.shapes[name, 0][1:]))
            self.values[name, 0] = inputs[-1]
        for node in frozen.nodes:
            if node.name not in self.dependent or node.name in frozen.inputs:
                continue
            if node.op in ALIASES or node.name in self.inside:
                continue
            for i, value in enumerate(self._read(node)):
                self.values[node.name, i] = value
        outputs = tuple(self.node(t) for t in frozen.outputs)
        return Graph(tuple(inputs), outputs, tuple(frozen.output_names))

    def _read(self, node: TfNode) -> tuple[Node, ...]:
        layer = self.frozen.layer(node.name)
        shape = self.shapes[node.name, 0]
        if shape[:1] != (_PROBE_BATCH,):
            raise UnsupportedOpError(
                f"layer '{layer}' ({node.op} '{node.name}') does not keep the batch as its first dimension: "
                f"{shape} for a batch of {_PROBE_BATCH}"
            )
        read = READERS[node.op](Source(self, node))
        results = read if isinstance(read, tuple) else (read,)
        for i, result in enumerate(results):
            shape = self.shapes[node.name, i]
            if result.type.shape != shape[1:]:
                raise CompileError(f"layer '{layer}': {node.op} gives {shape[1:]}, read as {result.type}")
        return results

    def _dilated(self) -> set[str]:
        """Ops inside dilated convolutions, which are read where those end."""
        inside = set()
        for node in self.frozen.nodes:
            if node.op == "BatchToSpaceND":
                conv = self.frozen.by_name[self.frozen.resolve(node.inputs[0])[0]]
                inside.add(conv.name)
                if conv.inputs:
                    inside.add(self.frozen.resolve(conv.inputs[0])[0])
        return inside

    def node(self, tensor: Tensor) -> Node:
        tensor = self.frozen.resolve(tensor)
        if tensor in self.values:
            return self.values[tensor]
        if tensor in self.constants:
            return constant(self.constants[tensor])
        raise UnsupportedOpError(f"output {tensor[1]} of '{tensor[0]}' is not supported")


class Source:
    """One TensorFlow node as its reader sees it."""

    def __init__(self, reader: _Reader, node: TfNode) -> None:
        self._reader = reader
        self.tf = node
        self.layer = reader.frozen.layer(node.name)
        self.multiplier = reader.frozen.multiplier

    @property
    def count(self) -> int:
        return len(self.tf.inputs)

    def is_constant(self, i: int) -> bool:
        return self.tf.inputs[i][0] not in self._reader.dependent

    def constant(self, i: int) -> Array:
        """The array of a constant operand."""
        if not self.is_constant(i):
            raise self.unsupported(f"operand {i} depends on the data; it must be a constant")
        if self.tf.inputs[i] in self._reader.varying:
            raise self.unsupported(f"operand {i} depends on the number of images in the batch; it must be a constant")
        return self._reader.constants[self.tf.inputs[i]]

    def value(self, i: int) -> Node:
        """An operand that depends on the data."""
        return self._reader.node(self.tf.inputs[i])

    def shape(self, i: int) -> tuple[int, ...]:
        """Shape of operand i, batch included."""
        return self._reader.shapes[self.tf.inputs[i]]

    def producer(self, i: int) -> Source | None:
        """The TensorFlow node that makes operand i."""
        name = self._reader.frozen.resolve(self.tf.inputs[i])[0]
        node = self._reader.frozen.by_name[name]
        return Source(self._reader, node) if node.inputs else None

    @property
    def outputs(self) -> int:
        """Number of results."""
        return sum(name == self.tf.name for name, _ in self._reader.shapes)

    def output_shape_of(self, i: int) -> tuple[int, ...]:
        """Shape of result i without the batch."""
        return self._reader.shapes[self.tf.name, i][1:]

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the result without the batch."""
        return self._reader.shapes[self.tf.name, 0][1:]

    def attr(self, name: str, default: Any = None) -> Any:
        return self.tf.attrs.get(name, default)

    def make(self, op: str, *inputs: Node, attrs: Any = None, final: bool = True, output: int = 0) -> Node:
        """A node of this layer; ``final``: its value is the TensorFlow tensor's of that output number."""
        origin = f"{self.tf.name}:{output}" if final else ""
        tap = ""
        if final and self.tf.name not in self._reader.foreign:
            tap = f"{self.layer}/{'input' if self.tf.op == 'Sign' else self.tf.name.rsplit('/', 1)[-1]}"
        return make(op, *inputs, attrs=attrs, name=self.layer, origin=origin, tap=tap)

    def unsupported(self, why: str) -> UnsupportedOpError:
        return UnsupportedOpError(f"layer '{self.layer}': {self.tf.op} ('{self.tf.name}'): {why}")
