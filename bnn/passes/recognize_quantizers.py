# SPDX-License-Identifier: Apache-2.0
"""Find the activation quantizers: by structure, proven by evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from ..ir.graph import Graph, Node
from ..ir.interpret import evaluate
from ..ir.monotone import function, regions, rising, staircase
from ..ir.ops import OPS, ConvAttrs, PadAttrs
from ..ir.rewrite import with_inputs
from .levels import MOST_STEPS, Levels, Staircase, codes, quantized
from .zeros import without_zero

Users = Mapping[Node, list[Node]]


def recognize_quantizers(graph: Graph) -> Graph:
    """Subgraphs that are staircases of a float become bits and the values they stand for.

    Precondition: SOURCE.  Postcondition: the step (+1 where x >= 0, else -1) is unpack(binarize(x)); a staircase of m
    steps, up to 255, is dequantize(bits, values) of planes of bits (see levels.py); the graph computes the same.

    A candidate consists of elementwise ops that never decrease, with scalar constants, and ends in a sign, a rounding,
    or a clip after one: Larq's sign is sign(sign(x) + 0.1), its ternary quantizer a sign of a sum of two signs,
    DoReFa's rounds a clip.  Such a composition never decreases either, so bisection over the ordered floats finds all
    its steps.  A function that only resembles a sign is not one: a bare sign is 0 at 0.
    """
    new: dict[Node, Node] = {}
    users = graph.users()
    for node in graph.nodes():
        found = list(_recognize(node)) if _may_end(node) else []
        if found and not _stays(node, found, users):  # nodes between disappear unless others use them
            stair, code = _best(node, [without_zero(stair, new) for stair in found], users)
            new[node] = quantized(node, replace(stair, x=new[stair.x]), code, (stair.x, node))
        else:
            new[node] = with_inputs(node, tuple(new[i] for i in node.inputs))
    return graph if all(old is made for old, made in new.items()) else graph.mapped(new)


def _may_end(node: Node) -> bool:
    if node.op in ("clamp", "minimum", "maximum"):
        x = node
        while x.op not in ("round", "sign") and rising(x):
            x = x.inputs[0]
        return x.op == "round"
    return node.op in ("sign", "round")


def _recognize(node: Node) -> Iterator[Staircase]:
    """The nodes x such that this node is a staircase of x, nearest first."""
    found = False
    for x in regions(node):
        if x.is_constant or x.type != node.type:
            continue
        stair = staircase(function(node, x), MOST_STEPS)
        if stair is not None:
            found = True
            yield Staircase(x, *stair)
        elif found:  # it is not a staircase of anything further up
            return


def _stays(node: Node, found: list[Staircase], users: Users) -> bool:
    """Whether it is just a sign, used only as a float: planes would be recombined at once (ste_tern with a threshold
    that depends on the data adds two)."""
    if node.op != "sign" or found[-1].x is not node.inputs[0]:
        return False
    others = [set(user.data) - {node} for user in users[node]]
    return bool(others) and all(OPS[u.op].elementwise and o for u, o in zip(users[node], others, strict=True))


def _best(node: Node, found: list[Staircase], users: Users) -> tuple[Staircase, int]:
    """The staircase of the farthest node and how to code its levels; or, if a layer cannot read them, the first that it
    can.  (Without the levels that never occur, after a ReLU or another quantizer, the rest may not be evenly spaced or
    symmetric around zero.)"""
    whole, last = found[0].values, found[-1]
    choices = [last]
    unreached = len(whole) - len(last.values)
    if unreached and np.array_equal(whole[unreached:], last.values):
        always = np.full(unreached, -np.inf, np.float32)
        choices.append(Staircase(last.x, whole, np.concatenate([always, last.thresholds]), unreached))
    elif unreached:
        choices += [stair for stair in reversed(found) if len(stair.values) == len(whole)][:1]
    tries = [(stair, code) for stair in choices for code in codes(stair.values, node.type.shape[-1])]
    return next((t for t in tries if _suits(node, *t, users)), tries[0])


def _suits(node: Node, stair: Staircase, code: int, users: Users) -> bool:
    """Whether layers can read levels in this code as bits: evenly spaced, and padded with a value that they allow."""
    todo, seen = [(node, stair.values)], {node}
    while todo:
        x, values = todo.pop()
        level = Levels(x, values, code)
        for user in users[x]:
            attrs = user.attrs
            if isinstance(attrs, PadAttrs) and not level.pads(attrs.value, stair.unreached):
                return False
            if isinstance(attrs, ConvAttrs) and (not level.even or any(attrs.pads) and level.zero is None):
                return False
            scalars = all(i is x or i.is_constant and i.value.size == 1 for i in user.inputs)
            if user in seen or not (OPS[user.op].moves or OPS[user.op].elementwise and scalars):
                continue
            seen.add(user)
            after = values
            if not OPS[user.op].moves:
                after = evaluate(user, [i.value.reshape(-1) if i.is_constant else values for i in user.inputs])
            todo.append((user, after))
    return True
