# SPDX-License-Identifier: Apache-2.0
"""One ONNX node as the op readers see it: its operands, and the nodes made for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._types import Array
from ...ir.graph import Node
from ...ir.ops import constant, unrepeated
from ..common.layer import SourceOp
from ..common.moves import Moved, arrange
from .call import Spec
from .protos import FRAMEWORK, OnnxGraph, OnnxNode
from .values import Laid, Order, Value, channels_last, inverse, permutation

# The smallest denormal times this is a normal number: ONNX's comparisons see denormals, the IR's take them for zero.
_NORMAL = 2.0**24
_NEAR = 64  # tensors that are looked at to find a quantizer


class OnnxReading:
    """What is known about a graph while it is read; ``zero``: what Sign gives for zero."""

    batches: tuple[int, ...]
    foreign: set[str]  # tensors that leave their layer
    tensors: list[dict[str, Spec]]  # every tensor, for every batch size

    def __init__(self, onnx: OnnxGraph, zero: int) -> None:
        self.onnx, self.zero = onnx, zero
        self.values: dict[str, Value] = {}  # of tensors that depend on the data
        self.signs: dict[str, str] = {}  # tensors that are the sign in another tensor, up to rounding
        self.snapped: dict[str, Array] = {}  # weights that were a few units in the last place from two values
        self.hints: dict[str, list[str]] = {}  # for people, by layer

    def value(self, tensor: str) -> Value | None:
        """What a tensor was read as; None if it does not depend on the data."""
        return self.values.get(tensor)

    def constants(self, tensor: str) -> tuple[Array, ...]:
        """A tensor that does not depend on the data, for every batch size."""
        found = [tensors[tensor].value for tensors in self.tensors]
        return tuple(value for value in found if value is not None)

    def reaches_quantizer(self, tensor: str) -> bool:
        """Whether a tensor is quantized next, perhaps after it was pooled or clipped."""
        waiting, seen = [tensor], set[str]()
        while waiting and len(seen) < _NEAR:
            tensor = waiting.pop()
            seen.add(tensor)
            for node in self.onnx.users.get(tensor, ()):
                if node.op in ("Sign", "GreaterOrEqual", "Greater", "Less", "LessOrEqual", "BipolarQuant"):
                    return True
                if node.op in ("Identity", "MaxPool", "Clip", "Cast", "CastLike", "Relu"):
                    waiting += set(node.outputs) - seen
        return False

    def shape(self, tensor: str) -> tuple[int, ...]:
        """The shape of a tensor in the first batch."""
        return self.tensors[0][tensor].shape

    def dtype(self, tensor: str) -> np.dtype[Any]:
        """The type of a tensor in ONNX; here all are floats."""
        return self.tensors[0][tensor].dtype


class OnnxSource(SourceOp):
    """One node as its reader sees it.

    ``framed`` brings operands into one frame, an order of the dimensions; then nodes that the reader makes of them are
    in this frame, too.
    """

    framework = FRAMEWORK

    def __init__(self, context: OnnxReading, node: OnnxNode) -> None:
        self.context = context
        self.onnx = node
        super().__init__(node.layer, node.op, node.name)
        self.frame: Order | Moved = ()

    # -- operands

    def has(self, i: int) -> bool:
        return i < len(self.onnx.inputs) and bool(self.onnx.inputs[i])

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute, or ONNX's default, which the reader knows."""
        return self.onnx.attrs.get(name, default)

    def is_constant(self, i: int) -> bool:
        return self.context.value(self.onnx.inputs[i]) is None

    def constant(self, i: int) -> Array:
        """The array of a constant operand that is the same for every batch."""
        if not self.is_constant(i):
            raise self.unsupported(f"operand {i} depends on the data; it must be a constant")
        first, *others = self.context.constants(self.onnx.inputs[i])
        if any(not np.array_equal(first, o, equal_nan=first.dtype.kind == "f") for o in others):
            raise self.unsupported(f"operand {i} depends on the number of images in the batch; it must be a constant")
        return first

    def of_image(self, i: int) -> Array:
        """A constant operand of an elementwise operation, without its batch, if it has one: equal for all images."""
        rank = len(self.context.shape(self.onnx.outputs[0]))
        found = []
        for array in self.context.constants(self.onnx.inputs[i]):
            if array.ndim == rank:
                if not np.array_equal(array, np.broadcast_to(array[:1], array.shape)):
                    raise self.unsupported(f"a constant of shape {array.shape} that differs over the batch")
                array = array[0]
            found.append(array)
        if any(not np.array_equal(found[0], o) for o in found):
            raise self.unsupported(f"operand {i} depends on the number of images in the batch; it must be a constant")
        return unrepeated(np.asarray(found[0], np.float32))

    def value(self, i: int) -> Value:
        value = self.context.value(self.onnx.inputs[i])
        if value is None:
            raise self.unsupported(f"operand {i} does not depend on the data", "fold it into the other operands")
        return value

    def shape(self, i: int) -> tuple[int, ...]:
        """Shape of operand i, batch included."""
        return self.context.shape(self.onnx.inputs[i])

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the result without the batch."""
        return self.context.shape(self.onnx.outputs[0])[1:]

    def laid(self, i: int) -> Node:
        """Operand i as a node with its channels last."""
        return self.arranged(self.value(i), channels_last(len(self.shape(i)) - 1), f"operand {i}")

    def arranged(self, value: Value, order: Order, what: str = "it") -> Node:
        if isinstance(value, Laid):
            if value.order == order:
                return value.node
            base, elements = value.node, value.elements()
        else:
            own = value.per_image()
            if own is None:
                raise self.unsupported(f"{what} does not keep the batch as its first dimension")
            base, elements = value.base, own
        if elements.ndim != len(order):
            raise self.unsupported(f"{what} has {elements.ndim + 1} dimensions; expected {len(order) + 1}")
        if not 1 <= elements.ndim <= 3:
            raise self.unsupported(f"{what} has {elements.ndim + 1} dimensions; two to four are supported")
        return self.inner(arrange(self, base, np.ascontiguousarray(elements.transpose(inverse(order)))))

    # -- elementwise operations

    def framed(self, *operands: int) -> list[Node]:
        """The operands of an elementwise operation as nodes, all in one frame, which becomes that of the result."""
        data = {i: self.value(i) for i in operands if not self.is_constant(i)}
        if not data:
            raise self.unsupported("none of its operands depends on the data")
        kept = self._kept(list(data.values()))
        if kept is not None:
            self.frame = kept
            return [self._moved_operand(i, kept) for i in operands]
        lead = max(data, key=lambda i: (isinstance(data[i], Laid), int(np.prod(self.shape(i)[1:]))))
        value, rank = data[lead], len(self.context.shape(self.onnx.outputs[0])) - 1
        order = value.order if isinstance(value, Laid) else channels_last(rank)
        if any(len(self.shape(i)) - 1 != rank for i in data) or len(order) != rank:
            shapes = " and ".join(str(self.shape(i)) for i in data)
            raise self.unsupported(f"operands of different numbers of dimensions: {shapes}")
        self.frame = order
        return [
            self.arranged(data[i], order, f"operand {i}") if i in data else self.in_order(self.of_image(i), order)
            for i in operands
        ]

    def _kept(self, data: Sequence[Value]) -> Moved | None:
        """The common arrangement of moved operands: the operation works on what was moved, before it was."""
        first = data[0]
        if not isinstance(first, Moved):
            return None
        for other in data[1:]:
            if not isinstance(other, Moved) or other.base.type.shape != first.base.type.shape:
                return None
            layouts = zip(first.layouts, other.layouts, strict=True)
            if not all(np.array_equal(a.index, b.index) for a, b in layouts):
                return None
        whole = permutation(first) is not None or first.per_image() is None
        return first if whole else None

    def _moved_operand(self, i: int, frame: Moved) -> Node:
        if not self.is_constant(i):
            value = self.value(i)
            assert isinstance(value, Moved)
            return value.base
        array = self.of_image(i)
        if array.size == 1:
            return constant(array.reshape(1), name=self.layer)
        own = permutation(frame)
        if own is not None:
            return self._scattered(array, own, frame)
        width = frame.base.type.shape[-1]
        last = all((layout.index % width == np.arange(layout.index.shape[-1])).all() for layout in frame.layouts)
        if array.size != array.shape[-1] or array.size != width or not last:
            raise self.unsupported("a constant that differs within values that have lost their batch dimension")
        return constant(array.reshape(-1), name=self.layer)

    def _scattered(self, array: Array, own: Array, frame: Moved) -> Node:
        """A constant for the elements of an image, where these are in the node."""
        result: Array = np.empty(frame.size, np.float32)
        result[own.reshape(-1)] = np.broadcast_to(array, own.shape).reshape(-1)
        value: Array = result.reshape(frame.base.type.shape)
        first = value.reshape(-1, value.shape[-1])[0]
        return constant(first if (value == first).all() else value, name=self.layer)

    def in_order(self, array: Array, order: Order) -> Node:
        """A constant that broadcasts to an image, for a node with its dimensions in this order."""
        value = array.reshape((1,) * (len(order) - array.ndim) + array.shape).transpose(inverse(order))
        while value.ndim > 1 and value.shape[0] == 1:
            value = value[0]
        return constant(value, name=self.layer)

    def image_constant(self, array: Array) -> Node:
        """A constant that broadcasts to an image, in the frame."""
        if array.size == 1:
            return constant(array.reshape(1), name=self.layer)
        if not isinstance(self.frame, Moved):
            return self.in_order(array, self.frame)
        own = permutation(self.frame)
        if own is None:
            raise self.unsupported("values that do not keep the batch as their first dimension")
        return self._scattered(array, own, self.frame)

    def result(self, node: Node) -> Value:
        """What an elementwise operation on framed operands gives."""
        if isinstance(self.frame, Moved):
            return Moved(node, self.frame.layouts)
        return Laid(node, self.frame)

    # -- signs

    def sign(self, x: Node, final: bool = True) -> Node:
        """-1, 0 or +1; denormals have their sign."""
        return self.make("sign", self.make("mul", x, constant([_NORMAL]), final=False), final=final)

    # -- nodes

    def texts(self, output: int) -> tuple[str, str]:
        name = self.onnx.outputs[output] if output < len(self.onnx.outputs) else ""
        return name, "" if name in self.context.foreign else f"{self.layer}/{self.op.lower()}"

    def hint(self, text: str) -> None:
        found = self.context.hints.setdefault(self.layer, [])
        if text not in found:
            found.append(text)
