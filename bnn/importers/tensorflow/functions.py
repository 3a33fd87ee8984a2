# SPDX-License-Identifier: Apache-2.0
"""Functions of one float."""

from __future__ import annotations

import numpy as np

from ...ir.graph import Node
from ...ir.ops import INF, OPS, ClampAttrs, NoAttrs, PowAttrs, constant
from .ops import READERS, Reader, reader
from .source import Source


def _function(op: str) -> Reader:
    return lambda s: s.make(op, s.value(0))


# TensorFlow calls them as we do, capitalized; powers and softmax have readers of their own.
READERS.update(
    (op.name.capitalize(), _function(op.name))
    for op in OPS.values()
    if op.library and op.elementwise and op.attrs is NoAttrs
)


def size(s: Source, x: Node) -> Node:
    """|x|"""
    return s.make("maximum", x, s.make("mul", x, constant([-1.0]), final=False), final=False)


def above(s: Source, x: Node) -> Node:
    return s.make("clamp", x, attrs=ClampAttrs(0.0, INF), final=False)


@reader("Abs")
def _abs(s: Source) -> Node:
    return s.result(size(s, s.value(0)))


@reader("Selu")
def _selu(s: Source) -> Node:
    """scale * x where x >= 0, else scale * alpha * (exp(x) - 1)."""
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    below = s.make("elu", s.make("clamp", s.value(0), attrs=ClampAttrs(-INF, 0.0), final=False), final=False)
    parts = [
        s.make("mul", part, constant([factor]), final=False)
        for part, factor in ((above(s, s.value(0)), scale), (below, scale * alpha))
    ]
    return s.make("add", *parts)


@reader("Softsign")
def _softsign(s: Source) -> Node:
    x = s.value(0)
    return s.make("div", x, s.make("add", size(s, x), constant([1.0]), final=False))


@reader("Softplus")
def _softplus(s: Source) -> Node:
    """log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    x = s.value(0)
    falling = s.make("exp", s.make("mul", size(s, x), constant([-1.0]), final=False), final=False)
    return s.make("add", above(s, x), s.make("log1p", falling, final=False))


@reader("Pow")
def _pow(s: Source) -> Node:
    if not s.is_constant(1) or np.size(s.constant(1)) != 1:
        raise s.unsupported("an exponent that is not one constant number")
    return s.make("pow", s.value(0), attrs=PowAttrs(float(np.reshape(s.constant(1), ()))))
