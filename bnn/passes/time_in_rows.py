# SPDX-License-Identifier: Apache-2.0
"""Networks over time, whose images have their steps of time as columns, with these as rows."""

from __future__ import annotations

from dataclasses import replace

from ..ir.graph import Attrs, Graph, Node
from ..ir.ops import (
    CONVOLUTIONS,
    ConvAttrs,
    PadAttrs,
    PoolAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    constant,
    input_node,
)
from ..ir.rewrite import remade
from .depthwise_bits import laid_out


def time_in_rows(graph: Graph) -> Graph:
    """Precondition: scheduled.  Postcondition: scheduled, without places in the arena if anything changed.

    Values (T, C) and (1, T, C) of an input over time become (T, 1, C): the same elements in the same order.  Layers of
    one dimension are compiled as convolutions and pools of one row or of one column, with reshapes in between, which
    go.  In an image (H, W, C) of several rows, time is the rows already.
    """
    new: dict[Node, Node] = {}
    turned: set[Node] = set()  # values whose columns became rows
    for node in graph.inputs:
        new[node] = node
        if len(node.type.shape) > 1 and _steps(node) > 1:
            turned.add(node)
            new[node] = input_node(node.name, _in_rows(node.type.shape), node.type.dtype)
    for node in graph.schedule:
        if node.op == "reshape" and len(new[node.inputs[0]].type.shape) == 3:
            new[node] = _reshape(node, new[node.inputs[0]], turned)
        elif turned.intersection(node.inputs) and node.op != "gather":
            turned.add(node)
            new[node] = _turned(node, new)
        else:
            new[node] = remade(node, node.op, *(new.get(i, i) for i in node.inputs), attrs=node.attrs)
    if not turned:
        return graph
    return laid_out(graph.mapped(new), graph)


def _steps(node: Node) -> int:
    """The columns of a value of one row; otherwise 0."""
    *rows, columns, _ = node.type.shape
    return columns if rows in ([], [1]) else 0


def _in_rows(shape: tuple[int, ...]) -> tuple[int, int, int]:
    *_, columns, channels = shape
    return columns, 1, channels


def _reshape(node: Node, x: Node, turned: set[Node]) -> Node:
    """Of an image of several rows: what has as many columns, and no other rows, has them over time, too."""
    shape = node.type.shape
    if len(shape) > 1 and _steps(node) == x.type.shape[0] > 1:
        turned.add(node)
        shape = _in_rows(shape)
    return x if shape == x.type.shape else remade(node, "reshape", x, attrs=ReshapeAttrs(shape))


def _turned(node: Node, new: dict[Node, Node]) -> Node:
    """An op whose columns become rows: its windows turn, and so do operands with a number for each column."""
    inputs = [new[i] if i in new else _constant(node, number, i) for number, i in enumerate(node.inputs)]
    return remade(node, node.op, *inputs, attrs=_attrs(node.attrs))


def _constant(node: Node, number: int, operand: Node) -> Node:
    shape, value = operand.type.shape, operand.value
    if node.op in CONVOLUTIONS:
        return constant(value.swapaxes(1, 2), operand.type.dtype) if number == 1 else operand
    if len(shape) < 2:
        return operand
    return constant(value.reshape((1, *shape)[-3:]).swapaxes(0, 1), operand.type.dtype)


def _attrs(attrs: Attrs) -> Attrs:
    if isinstance(attrs, ConvAttrs):
        return replace(attrs, stride=attrs.stride[::-1], dilation=attrs.dilation[::-1], pads=_pads(attrs.pads))
    if isinstance(attrs, PoolAttrs):
        return PoolAttrs(attrs.kernel[::-1], attrs.stride[::-1], _pads(attrs.pads))
    if isinstance(attrs, ResizeAttrs):
        return replace(attrs, size=attrs.size[::-1])
    return replace(attrs, pads=_pads(attrs.pads)) if isinstance(attrs, PadAttrs) else attrs


def _pads(pads: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    top, left, bottom, right = pads
    return left, top, right, bottom
