# SPDX-License-Identifier: Apache-2.0
"""Which rows of its operands an op reads."""

from __future__ import annotations

from collections.abc import Iterator

from ..graph import DType, Node
from .conv import CONVOLUTIONS, conv_attrs
from .moves import PadAttrs
from .pool import PoolAttrs

_ONE_BY_ONE = ("quantize", "binarize_levels")


def takes_rows(node: Node, data: Node) -> bool:
    """Whether an op can read what a convolution computes a few rows at a time: a max-pool if no row is in two windows,
    and what makes bytes or numbers of floats one by one.
    """
    image = data.op in CONVOLUTIONS and len(data.type.shape) == 3
    if not image or node.op not in ("max_pool", *_ONE_BY_ONE) or node.inputs[0] is not data:
        return False
    return not isinstance(node.attrs, PoolAttrs) or node.attrs.stride[0] >= node.attrs.kernel[0]


def rows_at_once(node: Node) -> int:
    """Rows that it reads for a row of its output."""
    return min(node.attrs.kernel[0], node.inputs[0].type.shape[0]) if isinstance(node.attrs, PoolAttrs) else 1


def sums_rows(node: Node) -> bool:
    """Whether the only row of a value is the sum of all rows of its data, each with the same weights, as bytes: a mean
    over an image, for example."""
    if node.op != "qconv2d" or node.type.dtype is not DType.u8 or len(node.type.shape) != 3:
        return False
    a, (filters, rows, _, channels), x = conv_attrs(node), node.inputs[1].type.shape, node.inputs[0].type.shape
    whole = node.type.shape[0] == 1 and rows == x[0] > 1 and not any(a.pads)
    depthwise = filters == a.groups > 1 and channels == 1
    weights = node.inputs[1].value
    return whole and depthwise and a.dilation[0] == 1 and bool((weights == weights[:, :1]).all())


def rows_computed(node: Node) -> int:
    """How often an op of a chain computes a row: of its value, or of its sums."""
    return node.inputs[0].type.shape[0] if sums_rows(node) else node.type.shape[0]


def rows_read(node: Node) -> Iterator[tuple[Node, int, int, int]]:
    """For row r of an op's value, or of its sums: of each operand, that its rows from ``stride * r - above`` to
    ``stride * r + below`` are read, as (operand, stride, below, above).  A stride of 0: always its only row."""
    window = None
    if sums_rows(node):
        window = 1, 0, 0
    elif node.op in CONVOLUTIONS:
        a = conv_attrs(node)
        window = a.stride[0], (node.inputs[1].type.shape[1] - 1) * a.dilation[0] - a.pads[0], a.pads[0]
    elif isinstance(node.attrs, PoolAttrs):
        window = node.attrs.stride[0], node.attrs.kernel[0] - 1 - node.attrs.pads[0], node.attrs.pads[0]
    elif isinstance(node.attrs, PadAttrs):
        window = 1, -node.attrs.pads[0], node.attrs.pads[0]
    for number, operand in enumerate(node.inputs):
        if operand.is_constant:
            continue
        if window is not None and number == 0:
            stride, below, above = window
            yield operand, stride, max(below, 0), above
        else:
            height = operand.type.shape[0] if len(operand.type.shape) == 3 else 1
            yield operand, int(height == node.type.shape[0]), 0, 0
