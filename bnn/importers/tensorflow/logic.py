# SPDX-License-Identifier: Apache-2.0
"""Comparisons and choices, as the float operations that never leave {0, 1}: truth is 1, its opposite 0."""

from __future__ import annotations

from ...ir.graph import Node
from ...ir.ops import constant
from .ops import READERS, Reader, operand, reader
from .source import Source


def _difference(s: Source) -> Node:
    """sign(a - b)."""
    rank = max(len(s.shape(0)), len(s.shape(1)))
    return s.make("sign", s.make("sub", operand(s, 0, rank), operand(s, 1, rank), final=False), final=False)


def _opposite(s: Source, truth: Node, final: bool) -> Node:
    return s.make("add", s.make("mul", truth, constant([-1.0]), final=False), constant([1.0]), final=final)


def _compare(nudge: float, turned: bool) -> Reader:
    """sign(sign(a - b) + nudge) is +1 or -1, equal floats included: as Larq writes its own sign, and recognized so."""

    def read(s: Source) -> Node:
        two = s.make("sign", s.make("add", _difference(s), constant([nudge]), final=False), final=False)
        half = s.make("mul", two, constant([-0.5 if turned else 0.5]), final=False)
        return s.make("add", half, constant([0.5]))

    return read


READERS["GreaterEqual"] = _compare(0.5, False)
READERS["Greater"] = _compare(-0.5, False)
READERS["Less"] = _compare(0.5, True)
READERS["LessEqual"] = _compare(-0.5, True)


@reader("LogicalNot")
def _not(s: Source) -> Node:
    return _opposite(s, s.value(0), final=True)


@reader("NotEqual", "Equal")
def _equal(s: Source) -> Node:
    three = _difference(s)
    if s.tf.op == "NotEqual":
        return s.make("mul", three, three)
    return _opposite(s, s.make("mul", three, three, final=False), final=True)


@reader("Select", "SelectV2")
def _select(s: Source) -> Node:
    """condition * a + (1 - condition) * b: of finite values exactly the chosen one."""
    rank = max(len(s.shape(i)) for i in range(3))
    if s.is_constant(0):
        raise s.unsupported("a condition that does not depend on the data")
    condition, a, b = s.value(0), operand(s, 1, rank), operand(s, 2, rank)
    opposite = _opposite(s, condition, final=False)
    chosen = s.make("mul", condition, a, final=False)
    return s.make("add", chosen, s.make("mul", opposite, b, final=False))
