"""Find the activation quantizers: by structure, proven by evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import Graph, Node
from ..ops import DequantizeAttrs, constant
from ..reference import SMALLEST_NORMAL
from ..rewrite import remade, with_inputs
from .levels import MOST_STEPS, coded
from .steps import Array, function, regions, rising, staircase

_JUST_BELOW_ZERO = np.nextafter(np.float32(-SMALLEST_NORMAL), np.float32(0))  # denormals count as zero


def recognize_quantizers(graph: Graph) -> Graph:
    """Subgraphs that are staircases of a float become bits and the values they stand for.

    Precondition: SOURCE.  Postcondition: the step (+1 where x >= 0, else -1) is unpack(binarize(x)); a staircase of m
    steps, up to 255, is dequantize(bits, values) of planes of bits (see levels.py); the graph computes the same.

    A candidate is made of elementwise ops that never fall, with scalar constants, and ends in a sign, a rounding, or a
    clip after one: Larq's sign is sign(sign(x) + 0.1), its ternary quantizer a sign of a sum of two signs, DoReFa's
    rounds a clip.
    Such a composition never falls either, so bisection over the floats in their order finds every step of it, and
    nothing can hide between two of them.  What only looks like a sign does not pass: a bare sign is 0 at 0.
    """
    new: dict[Node, Node] = {}
    for node in graph.nodes():
        found = _recognize(node) if _may_end(node) else None
        if found is not None:  # what lay between has no user left, unless it has others
            x, values, thresholds = found
            new[node] = _quantizer(node, new[x], values, thresholds)
        else:
            new[node] = with_inputs(node, tuple(new[i] for i in node.inputs))
    if all(old is made for old, made in new.items()):
        return graph
    return replace(graph, inputs=tuple(new[n] for n in graph.inputs), outputs=tuple(new[n] for n in graph.outputs))


def _may_end(node: Node) -> bool:
    if node.op in ("clamp", "minimum", "maximum"):
        x = node
        while x.op not in ("round", "sign") and rising(x):
            x = x.inputs[0]
        return x.op == "round"
    return node.op in ("sign", "round")


def _recognize(node: Node) -> tuple[Node, Array, Array] | None:
    """The farthest node of which this one is a staircase, with the values and thresholds."""
    best = None
    for x in regions(node):
        if x.is_constant or x.type != node.type:
            continue
        steps = staircase(function(node, x), MOST_STEPS)
        if steps is not None:
            best = (x, *steps)
        elif best is not None:  # further up it is none any more
            break
    return best


def _quantizer(node: Node, x: Node, values: Array, thresholds: Array) -> Node:
    if values.tolist() == [-1.0, 1.0] and thresholds[0] == _JUST_BELOW_ZERO:
        return remade(node, "unpack", remade(node, "binarize", x))
    found = coded(x, values, thresholds, node.name)  # an odd step: some other threshold, or other values
    if values.tolist() == [-1.0, 1.0]:
        return remade(node, "unpack", remade(node, "binarize", *found.bits.inputs))
    return remade(node, "dequantize", found.bits, constant(values), attrs=DequantizeAttrs(found.channels))
