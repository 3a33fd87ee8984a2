"""Find the activation quantizers: by structure, proven by evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import DType, Graph, Node
from ..ops import constant, make
from ..reference import SMALLEST_NORMAL
from ..rewrite import remade, with_inputs
from .steps import Array, function, regions, staircase

MOST_STEPS = 7  # of a quantizer that is kept as bits: eight levels, three bits
_JUST_BELOW_ZERO = np.nextafter(np.float32(-SMALLEST_NORMAL), np.float32(0))  # denormals count as zero


def recognize_quantizers(graph: Graph) -> Graph:
    """Subgraphs that are staircases of a float become bits and the values they stand for.

    Precondition: SOURCE.  Postcondition: the step (+1 where x >= 0, else -1) is unpack(binarize(x)); a staircase of m
    steps, up to seven, is dequantize(bits, values) of m planes of bits, bit i saying x >= threshold i; the graph
    computes the same.

    A candidate is made of elementwise ops that never fall, with scalar constants, and ends in a sign or a rounding:
    Larq's sign is sign(sign(x) + 0.1), its ternary quantizer a sign of a sum of two signs, DoReFa's rounds a clip.
    Such a composition never falls either, so bisection over the floats in their order finds every step of it, and
    nothing can hide between two of them.  What only looks like a sign does not pass: a bare sign is 0 at 0.
    """
    new: dict[Node, Node] = {}
    for node in graph.nodes():
        found = _recognize(node) if node.op in ("sign", "round") else None
        if found is not None:  # what lay between has no user left, unless it has others
            x, values, thresholds = found
            new[node] = _quantizer(node, new[x], values, thresholds)
        else:
            new[node] = with_inputs(node, tuple(new[i] for i in node.inputs))
    if all(old is made for old, made in new.items()):
        return graph
    return replace(graph, inputs=tuple(new[n] for n in graph.inputs), outputs=tuple(new[n] for n in graph.outputs))


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
    channels = x.type.shape[-1]  # an odd step: some other threshold, or other values
    never = constant(np.full(channels, -1), DType.b1)
    planes = [
        make("binarize", x, constant(np.full(channels, t, np.float32)), never, name=node.name) for t in thresholds
    ]
    if values.tolist() == [-1.0, 1.0]:
        return remade(node, "unpack", remade(node, "binarize", *planes[0].inputs))
    bits = planes[0] if len(planes) == 1 else make("concat", *planes, name=node.name)
    return remade(node, "dequantize", bits, constant(values))
