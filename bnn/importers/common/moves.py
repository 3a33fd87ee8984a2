# SPDX-License-Identifier: Apache-2.0
"""Ops that only move elements: their tensors are traced by moving the elements' indices through the source itself.

So any chain of them can be read, whatever the tensors look like in between.  A value may lose its batch dimension (a
dense layer over positions, a locally connected one) as long as it regains it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import CompileError
from ...ir.graph import DType, Node
from ...ir.ops import ConvAttrs, ReshapeAttrs, SliceAttrs, constant
from .layer import SourceOp

OF_THE_NUMBER = "where its elements go depends on the number of images in the batch"


@dataclass(frozen=True)
class Layout:
    """A tensor for ``images`` images; ``index`` says where its elements are in a value: image * size + element."""

    index: Array
    images: int

    def per_image(self, size: int) -> Array | None:
        """The elements of one image (without the batch), if all images are treated equally; None if the batch is not
        first."""
        if self.index.ndim < 2:
            return None
        own = self.index[:1]
        images = np.arange(self.images).reshape(-1, *[1] * (own.ndim - 1))
        inside = own.size and own.min() >= 0 and own.max() < size
        return own[0] if inside and np.array_equal(self.index, own + images * size) else None


@dataclass(frozen=True)
class Moved:
    """A tensor with the elements of another value, in batches of two sizes: with a single size, images could seem to be
    treated equally only because there are as many images as channels."""

    base: Node
    layouts: tuple[Layout, ...]

    @property
    def index(self) -> Array:
        return self.layouts[0].index

    @property
    def size(self) -> int:
        return int(np.prod(self.base.type.shape))

    def per_image(self) -> Array | None:
        """The elements of one image, if all images are treated equally in every batch; otherwise None."""
        first, *others = (layout.per_image(self.size) for layout in self.layouts)
        alike = first is not None and all(o is not None and np.array_equal(o, first) for o in others)
        return first if alike else None

    def mapped(self, function: Callable[[Layout], Array]) -> Moved:
        """The elements rearranged: ``function`` returns the new index of a layout."""
        return replace(self, layouts=tuple(replace(layout, index=function(layout)) for layout in self.layouts))

    def like(self, other: Moved) -> bool:
        """Whether both hold all elements of values of the same shape, in their order, and the channels are still the
        last dimension: (images * positions, channels) from (images, positions, channels)."""
        shape = self.base.type.shape
        return shape == other.base.type.shape and all(
            a.index.shape == b.index.shape
            and a.index.shape[-1:] == shape[-1:]
            and np.array_equal(a.index.reshape(-1), np.arange(a.images * self.size))
            and np.array_equal(a.index, b.index)
            for a, b in zip(self.layouts, other.layouts, strict=True)
        )


def numbers(*shape: int) -> Array:
    """0, 1, ... in an array of this shape."""
    return np.arange(np.prod(shape), dtype=np.int32).reshape(shape)


def start(base: Node, batches: Sequence[int]) -> Moved:
    """A value that keeps the batch first."""
    return Moved(base, tuple(Layout(numbers(n, *base.type.shape), n) for n in batches))


def move(
    s: SourceOp, operands: Sequence[Moved | tuple[Array, ...]], run: Callable[[list[Array]], Sequence[Any]]
) -> list[Moved]:
    """The results of a moving op, which ``run`` executes; constants are given for every batch."""
    data = [o for o in operands if isinstance(o, Moved)]
    bases = list(dict.fromkeys(o.base for o in data))
    joined = bases[0] if len(bases) == 1 else s.concat([s.flat(b) for b in bases], final=False)
    sizes = [int(np.prod(b.type.shape)) for b in bases]
    starts = dict(zip(bases, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
    results: list[list[Layout]] = []
    for k in range(len(data[0].layouts)):
        values: list[Array] = []
        for operand in operands:
            if isinstance(operand, Moved):
                image, element = np.divmod(operand.layouts[k].index, operand.size)
                values.append((image * sum(sizes) + starts[operand.base] + element).astype(np.int32))
            else:
                values.append(operand[k])
        try:
            moved = run(values)
        except CompileError:
            if k == 0:
                raise
            raise s.unsupported(OF_THE_NUMBER) from None
        results.append([Layout(np.asarray(r), data[0].layouts[k].images) for r in moved])
    return [Moved(joined, layouts) for layouts in zip(*results, strict=True)]


def in_order(s: SourceOp, x: Moved) -> Moved | None:
    """The same tensor, moved from rows (positions, channels) per image, in order; None where rows mix images."""
    width = x.index.shape[-1]
    if any(a.index.size % a.images or a.index.shape[-1] != width for a in x.layouts):
        return None
    rows = x.mapped(lambda a: a.index.reshape(a.images, -1)).per_image()
    if rows is None or rows.size % width:
        return None
    base = s.inner(arrange(s, x.base, rows.reshape(-1, width)))
    return replace(x, base=base).mapped(lambda a: numbers(*a.index.shape))


def arrange(s: SourceOp, base: Node, elements: Array, output: int = 0) -> Node:
    """A node with these elements of a value (without the batch), as result number ``output``."""
    shape, every = elements.shape, numbers(*base.type.shape)
    if np.array_equal(elements.reshape(-1), every.reshape(-1)):
        return s.make("reshape", base, attrs=ReshapeAttrs(shape), output=output)
    begin = int(elements.reshape(-1)[0])
    if np.array_equal(elements, every[..., begin : begin + shape[-1]]):
        return s.make("slice", base, attrs=SliceAttrs(begin, begin + shape[-1]), output=output)
    flat = elements.reshape(-1) if elements.ndim > 3 else elements
    gathered = s.make("gather", base, constant(flat, DType.i32, s.layer), final=flat is elements, output=output)
    return gathered if flat is elements else s.make("reshape", gathered, attrs=ReshapeAttrs(shape), output=output)


def product(s: SourceOp, moved: Moved, weights: Array) -> Moved:
    """A matrix product over positions: rows (images * positions, channels) by one matrix, or, with three dimensions of
    weights, batches (positions, images, channels) by one matrix per position."""
    own = weights.ndim == 3

    def by_image(a: Layout) -> Array:
        return np.ascontiguousarray(a.index.swapaxes(0, 1) if own else a.index.reshape(a.images, -1, a.index.shape[-1]))

    whole = own or all(a.index.size % (a.images * a.index.shape[-1]) == 0 for a in moved.layouts)
    rows = moved.mapped(by_image).per_image() if whole else None
    if rows is None:
        raise s.unsupported("rows that mix images")
    positions, channels = rows.shape
    if own:
        filters = weights.transpose(0, 2, 1).reshape(-1, 1, 1, channels)
        data, groups = arrange(s, moved.base, rows.reshape(1, 1, -1)), positions
    else:
        filters = weights.T[:, None, None, :]
        data, groups = arrange(s, moved.base, rows[None]), 1
    attrs = ConvAttrs(groups=groups)
    base = s.make("conv2d", s.inner(data), constant(filters, name=s.layer), attrs=attrs, final=not own)
    count = weights.shape[-1]

    def result(a: Layout) -> Array:
        index = numbers(a.images, positions, count)
        return index.swapaxes(0, 1) if own else index.reshape(-1, count)

    return replace(moved, base=base).mapped(result)
