# SPDX-License-Identifier: Apache-2.0
"""Functions, comparisons and choices of elements, made from the IR's elementwise ops.

True is 1 and false is 0; logic operations give only these two.
"""

from __future__ import annotations

from ...ir.graph import Node
from ...ir.ops import INF, ClampAttrs, constant
from .layer import SourceOp


def absolute(s: SourceOp, x: Node, final: bool = True) -> Node:
    """|x|; only the ``final`` one is +0 for -0."""
    larger = s.make("maximum", x, s.make("mul", x, constant([-1.0]), final=False), final=False)
    return s.make("add", larger, constant([0.0])) if final else larger


def _above(s: SourceOp, x: Node) -> Node:
    return s.make("clamp", x, attrs=ClampAttrs(0.0, INF), final=False)


def selu(s: SourceOp, x: Node) -> Node:
    """scale * x where x >= 0, else scale * alpha * (exp(x) - 1)."""
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    below = s.make("elu", s.make("clamp", x, attrs=ClampAttrs(-INF, 0.0), final=False), final=False)
    parts = [
        s.make("mul", part, constant([factor]), final=False)
        for part, factor in ((_above(s, x), scale), (below, scale * alpha))
    ]
    return s.make("add", *parts)


def softsign(s: SourceOp, x: Node) -> Node:
    """x / (|x| + 1)"""
    return s.make("div", x, s.make("add", absolute(s, x, final=False), constant([1.0]), final=False))


def softplus(s: SourceOp, x: Node) -> Node:
    """log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    falling = s.make("mul", absolute(s, x, final=False), constant([-1.0]), final=False)
    rest = s.make("log1p", s.make("exp", falling, final=False), final=False)
    return s.make("add", _above(s, x), rest)


def step(s: SourceOp, x: Node, strict: bool = False, final: bool = True) -> Node:
    """+1 where x >= 0 (``strict``: > 0), else -1, as the source's comparisons see x.

    sign(sign(x) + 0.5) is a form that is recognized as a quantizer.
    """
    three = s.sign(x, final=False)
    return s.make("sign", s.make("add", three, constant([-0.5 if strict else 0.5]), final=False), final=final)


def compare(s: SourceOp, relation: str, a: Node, b: Node) -> Node:
    """``a relation b``, which is one of >=, >, <=, <, == and !=; exact for equal floats, too."""
    difference = s.make("sub", a, b, final=False)
    if relation in ("==", "!="):
        three = s.sign(difference, final=False)
        different = s.make("mul", three, three, final=relation == "!=")
        return different if relation == "!=" else opposite(s, different)
    two = step(s, difference, strict=relation in (">", "<="), final=False)
    half = s.make("mul", two, constant([0.5 if relation in (">=", ">") else -0.5]), final=False)
    return s.make("add", half, constant([0.5]))


def opposite(s: SourceOp, truth: Node, final: bool = True) -> Node:
    return s.make("add", s.make("mul", truth, constant([-1.0]), final=False), constant([1.0]), final=final)


def select(s: SourceOp, condition: Node, a: Node, b: Node) -> Node:
    """condition * a + (1 - condition) * b: for finite values, exactly the chosen one."""
    otherwise = opposite(s, condition, final=False)
    chosen = s.make("mul", condition, a, final=False)
    return s.make("add", chosen, s.make("mul", otherwise, b, final=False))
