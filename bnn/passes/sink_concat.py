# SPDX-License-Identifier: Apache-2.0
"""Concatenate bits instead of floats: move the ops after a concatenation of convolutions into its parts."""

from __future__ import annotations

from collections.abc import Mapping

from ..ir.graph import DType, Graph, Node
from ..ir.ops import SliceAttrs, constant, make
from ..ir.rewrite import is_elementwise, rebuild
from .sink_sign import from_convolution

Users = Mapping[Node, list[Node]]


def sink_concat(graph: Graph) -> Graph:
    """op(concat(a, b), c) -> concat(op(a, c's channels of a), op(b, c's channels of b)).

    Precondition: quantizers are recognized, and come before max-pools where possible.  Postcondition: the ops after a
    concatenation of convolutions have moved before it, if they treat every channel separately and the concatenation has
    no other user; so they can join the convolution, and bits are concatenated.  A slice of one part reads that part.

    A convolution in groups that are not whole words is such a concatenation, and so are the branches of an Inception
    block.  The same operations as before compute every element.
    """
    while (moved := _sweep(graph)) is not graph:  # concatenations of concatenations
        graph = moved
    return graph


def _sweep(graph: Graph) -> Graph:
    uses, users = graph.use_counts(), graph.users()
    for node in graph.outputs:
        users[node].append(node)  # an output is not an op that could move
    # Concatenations that may sink, and ops that became one: by their old nodes.
    sinking = {n for n in uses if n.op == "concat" and any(from_convolution(i, uses) for i in n.inputs)}

    def visit(old: Node, node: Node) -> Node:
        if not node.inputs or node.inputs[0].op != "concat":
            return node
        x = old.inputs[0]
        if node.op == "slice" and all(user.op == "slice" for user in users[x]):
            return _slice_of_part(node) or node
        if x not in sinking or not _alone(x, users) or not _channelwise(node):
            return node
        sinking.add(old)
        return _sunk(node)

    return rebuild(graph, visit)


def _alone(x: Node, users: Users) -> bool:
    """Whether a concatenation becomes unnecessary once its user has moved: if there are several quantizers, all
    move."""
    return len(users[x]) == 1 or all(user.op == "binarize" for user in users[x])


def _channelwise(node: Node) -> bool:
    """Whether the op's first operand is its only data, and each of its channels gives one channel of the
    result."""
    x, *rest = node.inputs
    alone = node.op in ("max_pool", "binarize") or is_elementwise(node) and node.type == x.type
    if x.type.dtype is not DType.f32 or not alone:
        return False
    return all(i.is_constant and i.type.shape[-1:] in ((), (1,), x.type.shape[-1:]) for i in rest)


def _sunk(node: Node) -> Node:
    x, *rest = node.inputs
    parts, begin, value = [], 0, node.tap or node.name
    for number, part in enumerate(x.inputs):
        end = begin + part.type.shape[-1]
        operands = [_channels(i, begin, end, x.type.shape[-1]) for i in rest]
        tap = f"{value}/{number}"  # a part is not the layer's output
        parts.append(make(node.op, part, *operands, attrs=node.attrs, name=node.name, tap=tap))
        begin = end
    return make("concat", *parts, name=x.name, tap=value, origin=node.origin)


def _channels(operand: Node, begin: int, end: int, channels: int) -> Node:
    if operand.type.shape[-1:] != (channels,):
        return operand
    return constant(operand.value[..., begin:end], operand.type.dtype, operand.name)


def _slice_of_part(node: Node) -> Node | None:
    cut, begin = node.attrs, 0
    assert isinstance(cut, SliceAttrs)
    for part in node.inputs[0].inputs:
        end = begin + part.type.shape[-1]
        if (cut.begin, cut.end) == (begin, end):
            return part
        if begin <= cut.begin and cut.end <= end:
            return make("slice", part, attrs=SliceAttrs(cut.begin - begin, cut.end - begin), name=node.name)
        begin = end
    return None
