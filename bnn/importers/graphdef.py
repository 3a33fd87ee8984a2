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

    The graph is executed once on zeros, so every shape is known and whatever does not depend on the data (weights and
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
        self.values: dict[Tensor, Node] = {}
        self.foreign: set[str] = self._read_by_others()
        self._probe()

    def _check_supported(self) -> None:
        for node in self.frozen.nodes:
            if node.name in self.dependent and node.name not in self.frozen.inputs:
                if node.op not in READERS and node.op not in ALIASES:
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
                raise UnsupportedOpError(f"input '{name}' is {node.attrs.get('dtype')}; only float32 inputs are supported")
            zeros.append(np.zeros([_PROBE_BATCH, *shape[1:]], np.float32))

        def visit(node: TfNode, outputs: list[Any]) -> None:
            for i, value in enumerate(outputs):
                self.shapes[node.name, i] = tuple(int(d) for d in value.shape)
                if node.name not in self.dependent:
                    self.constants[node.name, i] = np.asarray(value)

        frozen.execute(zeros, visit)

    def graph(self) -> Graph:
        frozen = self.frozen
        inputs = []
        for name, label in zip(frozen.inputs, frozen.input_names, strict=True):
            node = input_node(label, self.shapes[name, 0][1:])
            inputs.append(node)
            self.values[name, 0] = node
        for node in frozen.nodes:
            if node.name not in self.dependent or node.name in frozen.inputs:
                continue
            if node.op in ALIASES:
                continue
            self.values[node.name, 0] = self._read(node)
        outputs = tuple(self.node(t) for t in frozen.outputs)
        return Graph(tuple(inputs), outputs, tuple(frozen.output_names))

    def _read(self, node: TfNode) -> Node:
        shape = self.shapes[node.name, 0]
        if not shape or shape[0] != _PROBE_BATCH:
            raise UnsupportedOpError(
                f"layer '{self.frozen.layer(node.name)}' ({node.op} '{node.name}') does not keep the batch as its first "
                f"dimension: {shape} for a batch of {_PROBE_BATCH}"
            )
        result = READERS[node.op](Source(self, node))
        if result.type.shape != shape[1:]:
            raise CompileError(f"layer '{self.frozen.layer(node.name)}': {node.op} gives {shape[1:]}, read as {result.type}")
        return result

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
        return self._reader.constants[self.tf.inputs[i]]

    def value(self, i: int) -> Node:
        """An operand that depends on the data."""
        return self._reader.node(self.tf.inputs[i])

    def shape(self, i: int) -> tuple[int, ...]:
        """Shape of operand i, batch included."""
        return self._reader.shapes[self.tf.inputs[i]]

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the result without the batch."""
        return self._reader.shapes[self.tf.name, 0][1:]

    def attr(self, name: str, default: Any = None) -> Any:
        return self.tf.attrs.get(name, default)

    def make(self, op: str, *inputs: Node, attrs: Any = None, final: bool = True) -> Node:
        """A node of this layer; ``final``: its value is the TensorFlow tensor's."""
        origin = f"{self.tf.name}:0" if final else ""
        tap = ""
        if final and self.tf.name not in self._reader.foreign:
            tap = f"{self.layer}/{'input' if self.tf.op == 'Sign' else self.tf.name.rsplit('/', 1)[-1]}"
        return make(op, *inputs, attrs=attrs, name=self.layer, origin=origin, tap=tap)

    def unsupported(self, why: str) -> UnsupportedOpError:
        return UnsupportedOpError(f"layer '{self.layer}': {self.tf.op} ('{self.tf.name}'): {why}")
