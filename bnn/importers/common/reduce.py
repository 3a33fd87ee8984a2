# SPDX-License-Identifier: Apache-2.0
"""Sums, means and extremes: over some dimensions of an image, pools with a window of their size; over a whole batch,
values that its images share.

Quantizers of activations need the latter when they scale by, or compare with, a mean over all images of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..._notes import warning
from ...file.write import MOST_PIXELS
from ...ir.graph import Node
from ...ir.ops import BatchSizeAttrs, PoolAttrs, ReshapeAttrs, constant
from .layer import SourceOp


def reduction(
    s: SourceOp, op: str, x: Node, axes: Sequence[int], shape: tuple[int, ...], negated: bool = False
) -> Node:
    """A pool over ``axes``, which rise and count the batch as axis 0; ``shape``: of the result, without the batch.

    ``negated``: negate the values, and then the result: a minimum is a negated maximum.
    """
    axes, dims = list(axes), x.type.shape
    if 0 in axes:
        raise s.unsupported("it reduces over the batch; only sums and means over the batch are supported")
    if not axes or axes != list(range(axes[0], axes[-1] + 1)) or not shape:
        raise s.unsupported(
            f"reduction over axes {axes} of {len(dims) + 1}; supported: consecutive axes, if the result keeps a "
            "dimension besides the batch (keepdims=True keeps all)"
        )
    image, pool = _window(dims, axes)
    if negated:
        x = s.make("mul", x, constant([-1.0]), final=False)
    if x.type.shape != image:
        x = s.make("reshape", x, attrs=ReshapeAttrs(image), final=False)
    pooled = s.make(op, x, attrs=pool, final=False)
    if pooled.type.shape != shape:
        pooled = s.make("reshape", pooled, attrs=ReshapeAttrs(shape), final=False)
    return s.make("mul", pooled, constant([-1.0])) if negated else s.make(pooled.op, *pooled.inputs, attrs=pooled.attrs)


def _window(dims: tuple[int, ...], axes: list[int]) -> tuple[tuple[int, ...], PoolAttrs]:
    """The image in which windows cover these axes, and its pool; rows and columns stay if both are reduced."""
    if axes == list(range(1, len(dims))) and len(dims) in (2, 3):
        h, w, c = (1, *dims)[-3:]
        return (h, w, c), PoolAttrs(kernel=(h, w))
    before, inside, after = dims[: axes[0] - 1], math.prod(dims[axes[0] - 1 : axes[-1]]), math.prod(dims[axes[-1] :])
    # One window in each row, or several where there would be too many rows, or a row would be a single number.
    split = sorted(range(len(before) + 1), key=lambda k: (k == len(before) and after == 1, -k))
    images = [(math.prod(before[:k]), math.prod(before[k:]) * inside, after) for k in split]
    image = next((i for i in images if max(i[:2]) <= MOST_PIXELS), images[0])
    return image, PoolAttrs(kernel=(1, inside), stride=(1, inside if image[1] > inside else 1))


def layer_norm(s: SourceOp, x: Node, epsilon: float) -> Node:
    """(x - mean) * rsqrt(variance + epsilon) of every row of (vectors, size); the result is (vectors, size, 1)."""
    data = s.make("reshape", x, attrs=ReshapeAttrs((*x.type.shape, 1)), final=False)
    mean = PoolAttrs(kernel=(1, x.type.shape[-1]))
    centred = s.make("sub", data, s.make("avg_pool", data, attrs=mean, final=False), final=False)
    squares = s.make("mul", centred, centred, final=False)
    variance = s.make("avg_pool", squares, attrs=mean, final=False)
    safe = s.make("add", variance, constant([epsilon]), final=False)
    return s.make("mul", centred, s.make("rsqrt", safe, final=False), final=False)


@dataclass(frozen=True)
class Shared:
    """A tensor without the batch, of ``shape`` in the source; ``node`` holds the same value for every image."""

    node: Node
    shape: tuple[int, ...]

    def of_rank(self, s: SourceOp, rank: int) -> Node:
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


def over_batch(s: SourceOp, x: Node, axes: Sequence[int], shape: tuple[int, ...], mean: bool) -> Shared:
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


def noted(s: SourceOp, x: Node) -> Node:
    text = f"an image's result depends on the other images of its batch, as in {s.framework}"
    return replace(x, note=warning(x.name, text))


def batch_size(s: SourceOp, x: Node, per_image: int) -> Node:
    """The number of images times ``per_image``; ``x``: any value of the batch."""
    count = s.make("batch_size", x, attrs=BatchSizeAttrs(per_image), final=False)
    one = ReshapeAttrs((1,) * len(x.type.shape))
    return count if count.type.shape == one.shape else s.make("reshape", count, attrs=one, final=False)
