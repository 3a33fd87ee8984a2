# SPDX-License-Identifier: Apache-2.0
"""Say in one op, without a table of indices, what a gather of floats does regularly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .._types import Array
from ..file.write import MOST_PIXELS
from ..ir.counting import MOST_INPUTS
from ..ir.graph import DType, Graph, Node
from ..ir.ops import OPS, PoolAttrs, ReshapeAttrs, SliceAttrs, make
from ..ir.rewrite import Rewrite, remade, rewrite
from .canonicalize import before_reshape, drop_idle, merge_reshape
from .cse import cse


def regular_gathers(graph: Graph) -> Graph:
    """Precondition and postcondition: BINARY.  No gather of floats takes every s-th element or neighbouring channels,
    repeats the channels, or turns the channels into rows and back around a mean over them: these are slices,
    concatenations and pools.

    Gathers of bits stay: one bit per pixel does not fill a word.
    """
    return cse(rewrite(graph, RULES))  # slices of one value are parts of one reshape


def _strided(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """Elements o, o + s, o + 2s, ... -> slice o of reshape(x: ..., s)."""
    x, index = _floats(node)
    if index is None or index.size < 2:
        return None
    first, step = int(index[0]), int(index[1] - index[0])
    whole = index.size * step == np.prod(x.type.shape)
    if step < 2 or not whole or not np.array_equal(index, np.arange(index.size) * step + first):
        return None
    *lead, channels = node.type.shape
    rows = (*lead[:1], lead[1] * channels) if len(lead) == 2 else (*lead, channels)
    wide = make("reshape", x, attrs=ReshapeAttrs((*rows, step)), name=node.name)
    one = make("slice", wide, attrs=SliceAttrs(first, first + 1), name=node.name)
    return remade(node, "reshape", one, attrs=ReshapeAttrs(node.type.shape))


def _some_channels(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """Neighbouring channels of each pixel, in another shape -> reshape(slice(x))."""
    x, index = _floats(node)
    if index is None:
        return None
    channels = x.type.shape[-1]
    pixels = int(np.prod(x.type.shape)) // channels
    first, count = int(index[0]), len(index) // pixels
    if not 0 < count <= channels - first or count == channels:
        return None
    every = np.arange(pixels * channels).reshape(pixels, channels)[:, first : first + count]
    if not np.array_equal(index, every.reshape(-1)):
        return None
    some = make("slice", x, attrs=SliceAttrs(first, first + count), name=node.name)
    return remade(node, "reshape", some, attrs=ReshapeAttrs(node.type.shape))


def _repeated(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """All channels of each pixel, several times -> concat(x, x, ...)."""
    x, index = _floats(node)
    (*pixels, channels), (*own, width) = x.type.shape, node.type.shape
    times = width // channels
    if index is None or pixels != own or width % channels or not 2 <= times <= MOST_INPUTS:
        return None
    once = np.arange(np.prod(x.type.shape)).reshape(-1, 1, channels)
    if not np.array_equal(index.reshape(-1, times, channels), once.repeat(times, axis=1)):
        return None
    return remade(node, "concat", *[x] * times)


def _mean_of_channels(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """transpose(avg_pool(transpose(x: positions, channels))) over m channels -> avg_pool over m columns."""
    pool, (_, back) = node.inputs[0], _floats(node)
    if back is None or pool.inputs[0].op != "gather" or uses[pool] > 1 or uses[pool.inputs[0]] > 1:
        return None
    x, turned = _floats(pool.inputs[0])
    channels, one, positions = pool.inputs[0].type.shape
    size = pool.type.shape[0]
    window = PoolAttrs((channels // size, 1), (channels // size, 1))
    if turned is None or one != 1 or pool.attrs != window or channels % size or np.prod(x.type.shape) != turned.size:
        return None
    if not all(
        index.size == rows * positions and np.array_equal(index.reshape(shape), np.arange(index.size).reshape(order).T)
        for index, rows, shape, order in (
            (turned, channels, (channels, positions), (positions, channels)),
            (back, size, (positions, size), (size, positions)),
        )
    ):
        return None
    rows = make("reshape", x, attrs=ReshapeAttrs((positions, channels, 1)), name=pool.name)
    attrs = PoolAttrs(window.kernel[::-1], window.stride[::-1])
    return remade(
        node, "reshape", make("avg_pool", rows, attrs=attrs, name=pool.name), attrs=ReshapeAttrs(node.type.shape)
    )


def _of_one_number(node: Node, uses: Mapping[Node, int]) -> Node | None:
    return node.inputs[0] if node.attrs == PoolAttrs((1, 1), (1, 1)) else None


def _in_whole_rows(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """A mean over m channels, where each pixel had become a row: the image's own rows are fewer and longer."""
    flat, attrs = node.inputs[0], node.attrs
    x = flat.inputs[0]
    assert isinstance(attrs, PoolAttrs)
    height, width = x.type.shape[0], int(np.prod(x.type.shape[1:]))
    window = PoolAttrs((1, attrs.kernel[1]), (1, attrs.kernel[1]))
    rows = len(x.type.shape) == 3 and flat.type.shape[0] > height and flat.type.shape[2] == 1
    if (
        not rows
        or attrs != window
        or width > MOST_PIXELS
        or width % attrs.kernel[1]
        or flat.type.shape[1] % attrs.kernel[1]
    ):
        return None
    long = make("reshape", x, attrs=ReshapeAttrs((height, width, 1)), name=node.name)
    mean = make(node.op, long, attrs=attrs, name=node.name)
    return remade(node, "reshape", mean, attrs=ReshapeAttrs(node.type.shape))


def _floats(node: Node) -> tuple[Node, Array | None]:
    """The data of a gather, and its indices if the data are floats."""
    x, index = node.inputs
    return x, index.value.reshape(-1) if x.type.dtype is DType.f32 else None


RULES = (
    Rewrite(_mean_of_channels, ("gather",), of=("avg_pool",)),
    Rewrite(_of_one_number, ("avg_pool", "sum_pool")),
    Rewrite(_in_whole_rows, ("avg_pool", "sum_pool"), of=("reshape",)),
    Rewrite(_some_channels, ("gather",)),
    Rewrite(_strided, ("gather",)),
    Rewrite(_repeated, ("gather",)),
    Rewrite(merge_reshape, ("reshape",), of=("reshape",)),
    Rewrite(drop_idle, ("reshape",)),
    Rewrite(before_reshape, tuple(op.name for op in OPS.values() if op.elementwise), of=("reshape",)),
)
