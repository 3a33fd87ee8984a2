# SPDX-License-Identifier: Apache-2.0
"""Sums, means and extremes over some dimensions of an image: pools whose window has their size."""

from __future__ import annotations

import numpy as np

from ...ir.graph import Node
from ...ir.ops import PoolAttrs, ReshapeAttrs, constant
from .ops import READERS, Reader
from .source import Source


def _global(op: str, sign: float = 1.0) -> Reader:
    def read(s: Source) -> Node:
        dims = s.shape(0)[1:]
        axes = sorted(int(a) % (len(dims) + 1) for a in np.reshape(s.constant(1), -1))
        if 0 in axes:
            raise s.unsupported("it reduces over the batch; of such reductions a sum and a mean are supported")
        if not axes or axes != list(range(axes[0], axes[-1] + 1)) or not s.output_shape:
            raise s.unsupported(
                f"reduction over axes {axes} of {len(dims) + 1}; supported: axes that follow each other, of which one "
                "is left (keepdims=True leaves all)"
            )
        shape, window = _window(dims, axes)
        x = s.value(0)
        if sign < 0:
            x = s.make("mul", x, constant([sign]), final=False)
        if x.type.shape != shape:
            x = s.make("reshape", x, attrs=ReshapeAttrs(shape), final=False)
        pooled = s.make(op, x, attrs=PoolAttrs(kernel=window), final=False)
        if pooled.type.shape != s.output_shape:
            pooled = s.make("reshape", pooled, attrs=ReshapeAttrs(s.output_shape), final=False)
        return s.make("mul", pooled, constant([sign])) if sign < 0 else s.result(pooled)

    return read


def _window(dims: tuple[int, ...], axes: list[int]) -> tuple[tuple[int, ...], tuple[int, int]]:
    """The image in which a window covers these axes, and the window; rows and columns stay where they are both left."""
    if axes == list(range(1, len(dims))) and len(dims) in (2, 3):
        h, w, c = (1, *dims)[-3:]
        return (h, w, c), (h, w)
    sizes = (dims[: axes[0] - 1], dims[axes[0] - 1 : axes[-1]], dims[axes[-1] :])
    before, inside, after = (int(np.prod(part)) for part in sizes)
    return (before, inside, after), (1, inside)


READERS["Sum"] = _global("sum_pool")
READERS["Mean"] = _global("avg_pool")
READERS["Max"] = _global("max_pool")
READERS["Min"] = _global("max_pool", -1.0)
