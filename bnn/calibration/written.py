# SPDX-License-Identifier: Apache-2.0
"""The network with as many values as possible of the kinds that bytes can be near to."""

from __future__ import annotations

from collections.abc import Mapping

from ..ir.graph import Graph, Node
from ..ir.ops import PadChannelsAttrs, make
from ..ir.rewrite import Rewrite, remade, rewrite


def written_for_bytes(graph: Graph) -> Graph:
    """A graph that computes the same numbers (a zero may change its sign).  Clamps come before max-pools, so that they
    can join what is before them; what is added to some parts of a concatenation is added before it."""
    rules = (Rewrite(_clamp_first, ("clamp",), of=("max_pool",)), Rewrite(_add_to_part, ("add",)))
    return rewrite(graph, rules)


def _clamp_first(node: Node, uses: Mapping[Node, int]) -> Node | None:
    pool = node.inputs[0]
    if uses[pool] > 1:
        return None
    return remade(node, "max_pool", make("clamp", pool.inputs[0], attrs=node.attrs, name=node.name), attrs=pool.attrs)


def _add_to_part(node: Node, uses: Mapping[Node, int]) -> Node | None:
    for whole, padded in (node.inputs, node.inputs[::-1]):
        attrs = padded.attrs
        if whole.op != "concat" or not isinstance(attrs, PadChannelsAttrs) or attrs.value != 0:
            continue
        parts, begin = list(whole.inputs), 0
        for i, part in enumerate(parts):
            if begin == attrs.before and part.type == padded.inputs[0].type:
                parts[i] = make("add", part, padded.inputs[0], name=node.name)
                return remade(node, "concat", *parts)
            begin += part.type.shape[-1]
    return None
