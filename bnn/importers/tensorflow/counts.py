# SPDX-License-Identifier: Apache-2.0
"""Numbers that depend on the number of images in a batch: what is known about them for every batch.

A graph is read by executing it on a few images, but values that TensorFlow computes from the data's shape differ for
other batches.  So everything that does not depend on the data itself is computed again for batches of other sizes.  A
number that lies on one line in all of them, slope * images + offset, is known by its slope.  Any other is unknown and
must not be used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import CompileError
from ..common.limits import MOST_BYTES, PERMISSION, Made, most_made
from .frozen import ALIASES, SHAPE_OPS, Frozen, Tensor, TfNode
from .sizes import check_extent

Shapes = Mapping[Tensor, tuple[int, ...]]
Slopes = dict[Tensor, Array]
# Images added to the batch that a graph is executed on: odd and even batches, so that rounding to whole pairs shows,
# and one so large that an upper limit in the graph shows.  For that one, only tensors of few elements are computed.
_FEWER, _MORE, _MANY = -2, 7, 1009
_FEW = 64


def slopes(frozen: Frozen, values: Mapping[Tensor, Array], shapes: Shapes, fewer: Shapes) -> Slopes:
    """How much each number of a tensor grows with every image of a batch: float64 of the tensor's shape, NaN where
    unknown.  Tensors in which no number grows are left out.

    ``values``: tensors that do not depend on the data.  ``shapes``: of all tensors; ``fewer``: for one image less.
    """
    found: Slopes = {}
    for more in (_FEWER, _MORE, _MANY):
        for tensor, now in computed(frozen, values, shapes, fewer, more).items():
            if now is None and more == _MANY:
                continue
            slope = next_slope(values[tensor], now, more, found.get(tensor))
            if np.any(slope != 0):  # nan is not 0
                found[tensor] = slope
    return found


def next_slope(value: Array, now: Array | None, more: int, slope: Array | None) -> Array:
    """A tensor's slope, from the one known so far (or None), after one more batch, in which the tensor is ``now``."""
    unknown = np.full(value.shape, np.nan)
    if now is None:
        return unknown
    if now.shape != value.shape:  # another size is known only if all elements are equal
        alike = now.shape[1:] == value.shape[1:] and len(value) > 0
        same = slope is None and alike and bool((now == value[:1]).all() and (value == value[:1]).all())
        return np.zeros(value.shape) if same else unknown
    if more == _FEWER and value.dtype.kind in "iuf":
        slope = np.subtract(now, value, dtype=np.float64) / more
    elif slope is None:
        slope = np.zeros(value.shape)
    line = value if not slope.any() else np.nan_to_num(value + more * slope).astype(value.dtype)
    return np.where(now == line, slope, np.nan)


def computed(
    frozen: Frozen, values: Mapping[Tensor, Array], shapes: Shapes, fewer: Shapes, more: int
) -> dict[Tensor, Array | None]:
    """The tensors that depend only on the shape of the data, for a batch of another size; None: cannot be computed."""
    found: dict[Tensor, Array | None] = {}
    made = Made(most_made(frozen.stored), PERMISSION, "that depend only on the shape of the data")
    for node in frozen.nodes:
        inputs = [frozen.resolve(t) for t in node.inputs]
        depends = node.op in SHAPE_OPS or any(t in found for t in inputs)
        if (node.name, 0) not in values or node.op in ALIASES or not depends:
            continue
        results: list[Array] = []
        if more == _MANY and values[node.name, 0].size > _FEW:
            pass
        elif node.op in SHAPE_OPS:
            then = [np.add(shapes[t], more * np.subtract(shapes[t], fewer[t])) for t in inputs]
            known = [found.get(t) for t in inputs]
            then = [np.array(k.shape) if k is not None else shape for k, shape in zip(known, then, strict=True)]
            results = _of_shapes(node, then, values[node.name, 0].dtype)
        else:
            operands = [found.get(t, values[t]) for t in inputs]
            with contextlib.suppress(CompileError):
                if not any(operand is None for operand in operands):
                    results = [np.asarray(r) for r in frozen.run_op(node, operands)]
        made.add(sum(result.nbytes for result in results), node.name)
        i = 0
        while (node.name, i) in values:
            found[node.name, i] = results[i] if results else None
            i += 1
    return found


def _of_shapes(node: TfNode, shapes: Sequence[Array], dtype: np.dtype[Any]) -> list[Array]:
    """The results of an op on shapes."""
    if node.op in ("Shape", "ShapeN"):
        return [shape.astype(dtype) for shape in shapes]
    if node.op in ("Size", "Rank"):
        return [np.array(np.prod(shapes[0]) if node.op == "Size" else len(shapes[0]), dtype)]
    shape = tuple(map(int, shapes[0]))
    check_extent(node, "a result", shape, dtype.itemsize, MOST_BYTES)
    return [np.full(shape, node.op == "OnesLike", dtype)]


def multiple(value: Array, slope: Array, images: int) -> int:
    """n if the number is n times the number of images in every batch; otherwise 0."""
    if slope.ndim or not float(slope).is_integer():
        return 0
    return max(int(slope), 0) if float(value) == float(slope) * images else 0


def keeps_its_place(op: str, slope: Array) -> bool:
    """Whether a moving op may take numbers with this slope as positions or sizes: those of the batch dimension."""
    if op in ("BroadcastTo", "Reshape"):
        return not np.isnan(slope).any()
    return op in ("Slice", "StridedSlice") and slope.ndim == 1 and not np.isnan(slope).any() and not slope[1:].any()
