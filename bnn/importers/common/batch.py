# SPDX-License-Identifier: Apache-2.0
"""Values that a whole batch shares: sums and means over its images, and values computed from them.

Quantizers of activations need them when they scale by, or compare with, a mean over all images of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...ir.graph import Node
from ...ir.ops import BatchSizeAttrs, ReshapeAttrs
from .layer import Layer


@dataclass(frozen=True)
class Shared:
    """A tensor without the batch, of ``shape`` in the source; ``node`` holds the same value for every image."""

    node: Node
    shape: tuple[int, ...]

    def of_rank(self, s: Layer, rank: int) -> Node:
        """The value with ``rank`` dimensions; it broadcasts like the source's."""
        over = len(self.shape) - rank
        if set(self.shape[: max(over, 0)]) - {1}:
            raise s.unsupported(f"a value {self.shape} of the whole batch, and one of an image with {rank} dimensions")
        shape = (1,) * -over + self.shape[max(over, 0) :]
        if self.node.type.shape == shape:
            return self.node
        return s.make("reshape", self.node, attrs=ReshapeAttrs(shape), final=False)


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without its leading dimensions of 1."""
    return shape[next((i for i, d in enumerate(shape) if d != 1), len(shape)) :]


def reduction(s: Layer, x: Node, axes: Sequence[int], shape: tuple[int, ...], mean: bool) -> Shared:
    """A sum or mean over the batch (axis 0) and the dimensions that follow it; a mean is the sum, divided by the number
    of elements.  ``axes``: rising; ``shape``: of the result in the source."""
    axes, dims = list(axes), x.type.shape
    if axes != list(range(len(axes))):
        raise s.unsupported(f"reduction over the batch and axes {axes[1:]}; supported: those that follow the batch")
    inside, rest = int(np.prod(dims[: len(axes) - 1])), int(np.prod(dims[len(axes) - 1 :]))
    if x.type.shape[-1] != rest:
        x = s.make("reshape", x, attrs=ReshapeAttrs((inside, rest)), final=False)
    total = noted(s, s.make("batch_sum", x, final=False))
    if mean:
        total = s.make("div", total, batch_size(s, total, inside), final=False)
    return Shared(total, shape)


def noted(s: Layer, x: Node) -> Node:
    return replace(x, note=f"an image's result depends on the other images of its batch, as in {s.framework}")


def batch_size(s: Layer, x: Node, per_image: int) -> Node:
    """The number of images times ``per_image``; ``x``: any value of the batch."""
    count = s.make("batch_size", x, attrs=BatchSizeAttrs(per_image), final=False)
    one = ReshapeAttrs((1,) * len(x.type.shape))
    return count if count.type.shape == one.shape else s.make("reshape", count, attrs=one, final=False)
