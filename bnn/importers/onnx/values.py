# SPDX-License-Identifier: Apache-2.0
"""What an ONNX tensor is in the IR: a node with its dimensions in another order, or elements of a node.

ONNX keeps the channels first, (N, C, H, W); the IR keeps them last, (H, W, C), without the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..._types import Array
from ...ir.graph import Node
from ..common.moves import Layout, Moved, numbers

Order = tuple[int, ...]


def channels_last(rank: int) -> Order:
    """The order of an image's dimensions, channels first, in a node that has them last."""
    return (rank - 1, *range(rank - 1)) if rank else ()


@dataclass(frozen=True)
class Laid:
    """A tensor (N, ...): dimension i of an image is dimension ``order[i]`` of the node."""

    node: Node
    order: Order

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that an image has in ONNX."""
        return tuple(self.node.type.shape[i] for i in self.order)

    def elements(self) -> Array:
        """The number in the node of each element of an image."""
        return numbers(*self.node.type.shape).transpose(self.order)

    def moved(self, batches: tuple[int, ...]) -> Moved:
        """The same as elements, in batches of these sizes."""
        size, own = int(np.prod(self.node.type.shape)), self.elements()
        layouts = []
        for n in batches:
            first = np.arange(n, dtype=np.int32).reshape(-1, *[1] * own.ndim) * np.int32(size)
            layouts.append(Layout(first + own[None], n))
        return Moved(self.node, tuple(layouts))


Value = Laid | Moved


def inverse(order: Order) -> Order:
    """The dimension of an image that is each dimension of the node."""
    return tuple(int(i) for i in np.argsort(order))


def permutation(value: Moved) -> Array | None:
    """The elements of an image, if it has every element of the node once; otherwise None."""
    own = value.per_image()
    if own is None or own.size != value.size:
        return None
    seen = np.zeros(value.size, bool)
    seen[own.reshape(-1)] = True
    return own if seen.all() else None


def in_node(value: Value, array: Array) -> Array | None:
    """Values of a tensor (N, ...), as they are in its node; None if it has not all of the node's elements."""
    if isinstance(value, Laid):
        return array.transpose(0, *(1 + i for i in inverse(value.order)))
    own = permutation(value)
    if own is None or len(array) * value.size != array.size:
        return None
    result = np.empty((len(array), value.size), array.dtype)
    result[:, own.reshape(-1)] = array.reshape(len(array), -1)
    return result.reshape(len(array), *value.base.type.shape)
