# SPDX-License-Identifier: Apache-2.0
"""Levels that a layer reads as bytes are made as bytes: by their thresholds, without the arithmetic of the source."""

from __future__ import annotations

import numpy as np

from .._types import Array
from ..ir.graph import DType, Graph, Node
from ..ir.ops import QuantizeAttrs, constant, make
from ..ir.ops.bits import MOST_OFF, off_halves, quantize
from ..ir.rewrite import rebuild, remade


def byte_levels(graph: Graph) -> Graph:
    """Precondition and postcondition: BINARY.  Where quantize reads dequantize(binarize_levels(x)), gives the levels'
    numbers, and nothing else reads the bits, it is quantize(x, thresholds); other readers of the levels get them from
    the bytes, by a table.  The graph computes the same.

    The thresholds are those of the source's float32 arithmetic, found by evaluation, so that no rounding is left out.
    """
    uses = graph.use_counts()
    read = {n.inputs[0] for n in graph.nodes() if _gives_numbers(n) and uses[n.inputs[0].inputs[0]] == 1}
    made: dict[Node, Node] = {}

    def change(old: Node, new: Node) -> Node:
        if old.op == "quantize" and old.inputs[0] in made:
            return made[old.inputs[0]]
        attrs = _guess(old.inputs[0].inputs[1].value) if old in read else None
        if attrs is None:
            return new
        x, thresholds = new.inputs[0].inputs
        made[old] = make("quantize", x, thresholds, attrs=attrs, name=old.name, origin=old.origin)
        return remade(old, "cast", made[old], constant(_table(new.inputs[1].value), DType.f32, old.name))

    return rebuild(graph, change)


def _gives_numbers(node: Node) -> bool:
    if node.op != "quantize" or node.inputs[0].op != "dequantize" or node.inputs[0].inputs[0].op != "binarize_levels":
        return False
    values = node.inputs[0].inputs[1].value
    assert isinstance(node.attrs, QuantizeAttrs)
    return np.array_equal(quantize(values, a=node.attrs), np.arange(len(values)))


def _guess(thresholds: Array) -> QuantizeAttrs | None:
    """What makes of almost every float its number; None if the thresholds are not evenly spaced."""
    wide, halves = thresholds.astype(np.float64), np.arange(len(thresholds)) + 0.5
    with np.errstate(all="ignore"):  # of infinite and of equal thresholds: the numbers that come of them are refused
        scale = np.float32((len(wide) - 1) / (wide[-1] - wide[0]))
        attrs = QuantizeAttrs(float(scale), float(np.float32((halves - wide * scale).mean())), 0)
    finite = np.isfinite([attrs.scale, attrs.offset]).all()
    return attrs if finite and off_halves(thresholds, attrs) <= MOST_OFF else None


def _table(values: Array) -> Array:
    return np.concatenate([values, np.repeat(values[-1:], 256 - len(values))])
