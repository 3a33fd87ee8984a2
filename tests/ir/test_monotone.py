# SPDX-License-Identifier: Apache-2.0
"""Monotone functions of one float, found by bisection of the floats in their order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnn._types import Array
from bnn.ir.graph import Node
from bnn.ir.monotone import floats, integer_thresholds, order, regions, rising, staircase
from bnn.ir.ops import constant, input_node, make

LINE = np.float32([-np.inf, -3.4028235e38, -1, -1e-45, -0.0, 0.0, 1e-45, 1.1754944e-38, 1, 3.4028235e38, np.inf])


def test_floats_as_numbers_in_their_order() -> None:
    numbers = order(LINE)
    assert (np.diff(numbers) > 0).all(), "-0 stands below 0"
    assert order(np.float32(0)) - order(np.float32(-0.0)) == 1 == order(np.float32(1e-45)) - order(np.float32(0))
    assert floats(numbers).tobytes() == LINE.tobytes()


@pytest.mark.parametrize("steps", [1, 7, 8])
def test_no_more_steps_than_asked_for(steps: int) -> None:
    found = staircase(lambda x: np.clip(np.ceil(x), 0, steps).astype(np.float32), 7)
    assert (found is None) == (steps > 7)
    if found is not None:
        values, thresholds = found
        assert values.tolist() == list(range(steps + 1))
        assert thresholds.tolist() == [np.nextafter(np.float32(i), np.float32(9)) for i in range(steps)]


@pytest.mark.parametrize("at", [0.0, 5.0, np.inf, -np.inf])
def test_what_is_no_number_somewhere_is_no_staircase(at: float) -> None:
    """At 0, where the floats are bisected first, at an end, or where nobody looks: there it is none of the steps."""

    def sign(x: Array) -> Array:
        return np.where(x == np.float32(at), np.nan, np.sign(x)).astype(np.float32)

    found = staircase(sign, 255)
    assert (found is None) == (at != 5.0)


def test_a_constant_has_no_steps() -> None:
    assert staircase(np.ones_like, 255) is None


X, Y, BY_CHANNEL = input_node("x", (3,)), input_node("y", (3,)), np.float32([1, 2, 3])
BOTH = ("add", "maximum", "minimum")  # what rises in two values at once


@pytest.mark.parametrize(
    ("op", "operands", "rises"),
    [
        *((op, (X, c), True) for op in ("add", "sub", "mul", "div", "maximum", "minimum") for c in (0.5, 1e-45)),
        *((op, (X, c), op not in ("mul", "div")) for op in ("add", "sub", "mul", "div", "maximum") for c in (0, -2)),
        *(
            (op, (c, X), op in ("add", "maximum", "minimum"))
            for op in ("add", "sub", "div", "minimum")
            for c in (-2, 2)
        ),
        *(("mul", (c, X), c > 0) for c in (-2, 0, 2)),
        *(
            (op, (X, Y), op in ("add", "maximum", "minimum"))
            for op in ("add", "sub", "mul", "div", "maximum", "minimum")
        ),
        *((op, (X, BY_CHANNEL), False) for op in ("add", "mul", "maximum")),
        *((op, (X,), op == "sign") for op in ("sign", "tanh", "sigmoid")),
    ],
)
def test_what_never_falls(op: str, operands: tuple[Any, ...], rises: bool) -> None:
    """By a scalar; what a constant for each channel makes of them nobody looks at."""
    nodes = [x if isinstance(x, Node) else constant(np.float32(x)) for x in operands]
    assert rising(make(op, *nodes)) == rises


def test_how_far_up_a_quantizer_is_looked_for() -> None:
    y: Node = X
    for _ in range(30):
        y = make("add", y, constant(1.0))
    assert len(list(regions(y))) == 24


@pytest.mark.parametrize("reach", [3, 2**15 + 1], ids=["evaluated", "bisected"])
def test_thresholds_of_whole_numbers(reach: int) -> None:
    """Of more channels than are evaluated at once: rising, falling, always and never."""
    at = np.resize([1 - reach, -1, 0, 2, reach, -reach, reach + 1, 1], 150)
    falls = (np.arange(150) % 3 == 0) & (np.abs(at) < reach)

    def bits(numbers: Array, part: slice) -> Array:
        return np.where(falls[part], -numbers, numbers) >= at[part]

    found = integer_thresholds(bits, 150, reach, monotone=True)
    assert found is not None
    assert np.array_equal(found[0], at) and np.array_equal(found[1], falls)


def test_bits_that_change_twice_or_are_not_known_have_no_threshold() -> None:
    assert integer_thresholds(lambda numbers, part: np.abs(numbers) > 1, 2, 5, monotone=True) is None
    for reach in (5, 2**15 + 1):
        assert integer_thresholds(lambda numbers, part: None, 2, reach, monotone=True) is None
