# SPDX-License-Identifier: Apache-2.0
"""Round many levels as floats where no layer reads their bits: arithmetic is faster than a search and a table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..ir.graph import Graph, Node
from ..ir.monotone import between, function
from ..ir.ops import DequantizeAttrs, make
from ..ir.rewrite import Rewrite, remade, rewrite
from .levels import FEW_STEPS


def round_levels(graph: Graph) -> Graph:
    """Precondition and postcondition: BINARY.  dequantize(binarize_levels(x)) of more than 15 steps is again what the
    source computes from x, if nothing else reads the bits; the graph computes the same."""
    return rewrite(graph, RULES)


def _round(node: Node, uses: Mapping[Node, int]) -> Node | None:
    bits, table = node.inputs
    assert isinstance(node.attrs, DequantizeAttrs)
    if node.attrs.made_of is None or uses[bits] > 1 or len(bits.inputs[1].value) <= FEW_STEPS:
        return None
    x, root = node.attrs.made_of
    body, thresholds = between(root, x), bits.inputs[1].value
    steps = np.concatenate([[-np.inf], thresholds]).astype(np.float32)
    if root not in body or not np.array_equal(function(root, x)(steps), table.value):
        return None
    new = {x: bits.inputs[0]}
    for step in body:  # where moves came before the quantizer, no value but the last is one of the source
        operands = [new.get(i, i) for i in step.inputs]
        new[step] = make(step.op, *operands, attrs=step.attrs, name=step.name)
    return remade(node, root.op, *new[root].inputs, attrs=root.attrs)


RULES = (Rewrite(_round, ("dequantize",), of=("binarize_levels",)),)
