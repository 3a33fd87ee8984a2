# SPDX-License-Identifier: Apache-2.0
"""Which rows of its operands an op reads."""

from __future__ import annotations

from collections.abc import Iterator

from ..graph import Node
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


def rows_read(node: Node) -> Iterator[tuple[Node, int, int, int]]:
    """For row r of an op's value: of each operand, that its rows from ``stride * r - above`` to ``stride * r + below``
    are read, as (operand, stride, below, above).  A stride of 0: always its only row."""
    window = None
    if node.op in CONVOLUTIONS:
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
