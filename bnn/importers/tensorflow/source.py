# SPDX-License-Identifier: Apache-2.0
"""One TensorFlow node as the op readers see it: its operands, and the nodes made for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._types import Array
from ...ir.graph import Node
from ..common.layer import SourceOp
from .counts import Slopes
from .frozen import Frozen, Tensor, TfNode

FRAMEWORK = "Keras"
PROBE_BATCH = 3  # images in the batch that finds shapes


class TfReading(ABC):
    """What is known about a graph while it is read."""

    foreign: set[str]  # ops whose value leaves their layer
    batches: tuple[int, ...]  # sizes of the batches in which moves are traced

    def __init__(self, frozen: Frozen) -> None:
        self.frozen = frozen
        self.dependent: set[str] = set(frozen.inputs)  # ops whose values depend on the data
        self.shapes: dict[Tensor, tuple[int, ...]] = {}
        self.constants: dict[Tensor, Array] = {}
        self.slopes: Slopes = {}  # numbers that grow with the batch, so they are not constants
        self.growing: set[Tensor] = set()  # constants that have more elements in a larger batch

    @abstractmethod
    def node(self, tensor: Tensor) -> Node:
        """What a tensor was read as; a constant if it does not depend on the data."""


class TfSource(SourceOp):
    """One TensorFlow node as its reader sees it; ``bases``: values that stand for some of its operands."""

    framework = FRAMEWORK

    def __init__(self, reading: TfReading, node: TfNode, bases: Sequence[Node | None] = ()) -> None:
        self.reading = reading
        self.tf = node
        self._bases = dict(enumerate(bases))
        super().__init__(reading.frozen.layer(node.name), node.op, node.name)
        self.multiplier = reading.frozen.multiplier

    def is_constant(self, i: int) -> bool:
        return self._bases.get(i) is None and self.tf.inputs[i][0] not in self.reading.dependent

    def constant(self, i: int) -> Array:
        """The array of a constant operand."""
        if not self.is_constant(i):
            raise self.unsupported(f"operand {i} depends on the data; it must be a constant")
        tensor = self._tensor(i)
        if tensor in self.reading.slopes or tensor in self.reading.growing:
            raise self.unsupported(f"operand {i} depends on the number of images in the batch; it must be a constant")
        return self.reading.constants[tensor]

    def constant_of_batch(self, i: int) -> Array:
        """A constant operand that may grow with the batch, as it is for ``PROBE_BATCH`` images."""
        tensor = self._tensor(i)
        return self.reading.constants[tensor] if tensor in self.reading.growing else self.constant(i)

    def same_for_all(self, i: int) -> Array:
        """A constant operand with a batch dimension, for one image: (1, ...)."""
        tensor = self._tensor(i)
        grows = tensor in self.reading.growing and tensor not in self.reading.slopes
        value = self.reading.constants[tensor] if grows else self.constant(i)
        per_image = len(value) == 1 or grows and len(value) == PROBE_BATCH
        if not per_image or not np.array_equal(value, np.broadcast_to(value[:1], value.shape)):
            raise self.unsupported(f"a constant of shape {value.shape} that differs over the batch")
        one: Array = value[:1]
        return one if np.ptp(one) else one.reshape(-1)[:1].reshape([1] * one.ndim)

    def _tensor(self, i: int) -> Tensor:
        return self.reading.frozen.resolve(self.tf.inputs[i])

    def value(self, i: int) -> Node:
        """An operand that depends on the data."""
        base = self._bases.get(i)
        return self.reading.node(self.tf.inputs[i]) if base is None else base

    def shape(self, i: int) -> tuple[int, ...]:
        """Shape of operand i, batch included."""
        base = self._bases.get(i)
        return self.reading.shapes[self.tf.inputs[i]] if base is None else (PROBE_BATCH, *base.type.shape)

    def producer(self, i: int, through: tuple[str, ...] = ()) -> TfSource | None:
        """The TensorFlow node that makes operand i, seen through ops of some types."""
        frozen = self.reading.frozen
        node = frozen.by_name[frozen.resolve(self.tf.inputs[i])[0]]
        while node.op in through:
            node = frozen.by_name[frozen.resolve(node.inputs[0])[0]]
        return TfSource(self.reading, node) if node.inputs else None

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the result without the batch."""
        return self.reading.shapes[self.name, 0][1:]

    def attr(self, name: str) -> Any:
        """The attribute from the file, or TensorFlow's default; None if the op has no such attribute."""
        return self.tf.attrs.get(name)

    def texts(self, output: int) -> tuple[str, str]:
        tap = f"{self.layer}/{'input' if self.op == 'Sign' else self.name.rsplit('/', 1)[-1]}"
        return f"{self.name}:{output}", "" if self.name in self.reading.foreign else tap
