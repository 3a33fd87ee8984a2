# SPDX-License-Identifier: Apache-2.0
"""The bounds of what rounding explains: which bits may turn, and the edges of the bounds of floats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bnn.file.bits import WORD
from bnn.ir import ops
from bnn.ir.graph import DType, Node
from bnn.ir.ops.rounding import NOTHING
from bnn.verification.rounding import bound, rounded_up
from bounds import U, binary, dense, g, limit, of_dense, pair, rounded, unary

T = 2.0**-126
F = 16 * U
INF = math.inf


# -- bits -------------------------------------------------------------------------------------------------------------


def test_bits_turn_near_their_threshold() -> None:
    node = ops.make("binarize", ops.input_node("x", (4,)))
    x = [0.5, np.nextafter(np.float32(0.5), np.float32(1)), -0.5, 0.0]
    assert limit(node, [[x]], [0.5]) == [2, 0, 2, 2]
    flips = ops.constant([1.0, -1.0], DType.b1)
    node = ops.make("binarize", ops.input_node("x", (2,)), ops.constant([1.0, 1.0]), flips)
    constants = [[1.0, 1.0], [1.0, -1.0]]
    assert limit(node, [[[1.5, 1.75]], *constants], [0.5, None, None]) == [2, 0]
    assert limit(node, [[[1.0, 1.0]], *constants], [[[0.5, 0.0]], None, None]) == [2, 0]


def test_bits_of_convolutions() -> None:
    node = dense([1.0], out=DType.b1)
    error = of_dense(dense([1.0]), [1.0], 0.5)
    for x, turns in ((2 * error, True), (2 * error * (1 + 1e-3), False), (-2 * error, True)):
        wide = of_dense(dense([1.0]), [x], 0.5)
        assert of_dense(node, [x], 0.5) == (2 if abs(np.float32(x)) <= 2 * wide else 0) == (2 if turns else 0)


def test_bits_of_thresholds() -> None:
    """Keras' own threshold lies between two integers, of which the larger is the file's."""
    for threshold, turns in ((5, False), (4, True), (3, True), (2, True), (1, False)):
        constants = (ops.constant([threshold], DType.i32),)
        node = binary(("threshold",), constants, out=DType.b1)
        found = limit(node, [[[1, 1, 1]], node.inputs[1].value, [threshold]], [None] * 3, own=0.01)
        # sums of 3 less threshold plus a half: |3.5 - t| <= 1.5 + 2 * 0.01
        assert abs(3.5 - threshold) <= 1.5 + 0.02 or not turns
        assert found == [2 if abs(3.5 - threshold) <= 1.52 else 0]


def test_levels() -> None:
    table = ops.constant([0.0, 1.0, 2.0])
    node = ops.make("binarize_levels", ops.input_node("x", (2,)), table)
    found = limit(node, [[[1.25, 1.5]], [0.0, 1.0, 2.0]], [0.25, None])
    assert len(found) == 2 * WORD and found == ([2.0] + [0.0] * (WORD - 1)) * 2
    node = ops.make("dequantize", ops.input_node("x", (2 * WORD,), DType.b1), ops.constant([0.0, 1.0, 4.0, 2.0]),
                    attrs=ops.DequantizeAttrs(3))  # fmt: skip
    bits = np.ones((1, 2 * WORD))
    assert limit(node, [bits, [0.0, 1.0, 4.0, 2.0]], [2.0, None]) == [4.0] * 3
    assert bound(node, lambda: [], [NOTHING, NOTHING]) is NOTHING


def test_bits_turn_where_their_value_may() -> None:
    """Not where it is the same on both sides, though it lies on the threshold; what is flushed to zero is zero."""
    node = ops.make("binarize", ops.input_node("x", (4,)))
    assert limit(node, [[[T, 2 * T, 0, 0]]], [[[2.0**-149, 2.0**-149, 0, 1]]]) == [2, 0, 0, 2]
    table = [0.0, 1.0, 2.0]
    node = ops.make("binarize_levels", ops.input_node("x", (3,)), ops.constant(table))
    assert limit(node, [[[1.0, 1.0, 1.25]], table], [[[0, 0.25, 0.25]], None])[:4] == [0, 2, 2, 0]
    bits = ops.make("copy", ops.input_node("x", (2,), DType.b1))
    assert limit(bits, [[[1, -1]]], [[[2, 0]]]) == [2, 0]
    node = dense([0.3, -0.7], out=DType.b1)
    x, w = [[0.0, 0.0], [0.0, 0.0], [0.1, 0.2]], node.inputs[1].value
    assert limit(node, [x, w], [[[0, 0], [1, 1], [0, 0]], None]) == [0, 2, 0]


@pytest.mark.parametrize(("own", "turns"), [(0.49, [1, 1, 1, 0, 0]), (0.5, [1, 1, 1, 1, 0])])
def test_thresholds_within_twice_the_error(own: float, turns: list[int]) -> None:
    """Sums of 3, and thresholds from 4 down: half of each step apart, of which one and a half are always near."""
    found = []
    for threshold in (4, 3, 2, 1, 0):
        node = binary(("threshold",), (ops.constant([threshold], DType.i32),), out=DType.b1)
        found += limit(node, [[[1, 1, 1]], node.inputs[1].value, [threshold]], [None] * 3, own=own)
    assert found == [2 * t for t in turns]


# -- floats -----------------------------------------------------------------------------------------------------------


def test_rounding_up_gives_no_less() -> None:
    x = np.array([1.0, 1 + 2.0**-30, 1 - 2.0**-30, 0.0, INF])
    assert rounded_up(x).tolist() == [1, 1 + 2.0**-23, 1, 0, INF] and rounded_up(x).dtype == np.float32


def test_what_is_no_number_is_nothing_or_anything() -> None:
    """Of infinity by zero: nothing where both computations have it, anything where they may be infinitely far apart."""
    assert limit(dense([1.0, 1.0], ("mul",), (0.0,)), [[[3e38, 3e38]], [[[[1, 1]]]], [0]], [None] * 3) == [0]
    assert pair("mul", 0, 1, 0, INF) == INF == pair("mul", 1, 0, INF, 0)


EDGES: dict[str, tuple[list[float] | float, list[float] | float]] = {
    "pow of 0 has no pole": (unary("pow", 1, 2, ops.PowAttrs(0.0)), F + T),
    "no root, here": (unary("sqrt", -1, 0.5), T),
    "a root that may be none": (unary("sqrt", 0.25, 0.5), INF),
    "elu at its edge": (unary("elu", 0.5, 0.5), 0.5),
    "elu that differs not": (unary("elu", 0.0, 0.0), 0.0),
    "0 / 0 beside what differs": (
        limit(ops.make("div", *(ops.input_node(n, (2,)) for n in "xy")), [[[1, 1]], [[0, 1]]], [[[0.5, INF]], None]),
        [0, INF],
    ),
    "levels of one bit that turned": (
        limit(ops.make("dequantize", ops.input_node("x", (2,), DType.b1), ops.constant([0.0, 3.0])),
              [[[1, 1]], [0, 3]], [[[0, 2]], None]), [3, 3],
    ),
    "resized, of one pixel that differs": (
        limit(ops.make("resize_bilinear", ops.input_node("x", (1, 2, 1)), attrs=ops.ResizeAttrs((1, 2))),
              [[[[[1], [1]]]]], [[[[[0], [0.5]]]]]), [16 * U, 16 * U * 1.5 + (1 + 8 * U) * 0.5],
    ),
    "no product of another image's error": (
        limit(dense([0.3, -0.7]), [[[0, 0], [0, 0]], [[[[0.3, -0.7]]]]], [[[0, 0], [1, 1]], None]),
        [0, 2 * T + (1 + 2 * g(2)) ** 2],
    ),
    "sums in steps that are flushed": (of_dense(dense([2.0**-66]), [2.0**-60]), 2 * g(1) * T * (1 + 2 * g(1)) + T),
    "sums in steps that are not": (of_dense(dense([2.0**-65]), [2.0**-60]), 0.0),
    "a clamp's lower end is the larger": (
        of_dense(dense([1.0, -1.0], ("clamp0", "sub"), (1.0,), clamp0=(-6e6, 1.0)), [2e6, 3e6], 0.5),
        rounded(2 * g(2) * (1 + 2 * g(2)) * 5e6 + (1 + 2 * g(2)) ** 2, 5e6),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
def test_edges(name: str) -> None:
    found, expected = EDGES[name]
    assert found == pytest.approx(expected, rel=1e-6, abs=0)


def scaled(node: Node, x: Any, own: float = 0.5) -> list[float]:
    constants = [i.value for i in node.inputs[1:]]
    return limit(node, [[x], *constants], [None] * (1 + len(constants)), own)


@pytest.mark.parametrize(("planes", "top"), [(1, 1), (2, 3), (3, 7)])
def test_scaled_sums_of_planes(planes: int, top: int) -> None:
    node = binary(("pre_mul",), (ops.constant([0.25]),), planes)
    products = 3 if planes == 1 else 64
    expected = [rounded(0.5 * 0.25, products * top * 0.25)]
    assert scaled(node, [1] * node.inputs[0].type.shape[0]) == pytest.approx(expected, rel=1e-12, abs=0)


@pytest.mark.parametrize(("zero", "largest"), [(0.0, 255), (100.0, 255), (-45.0, 300), (300.0, 300), (255.0, 255)])
def test_scaled_sums_of_bytes(zero: float, largest: float) -> None:
    """Of bytes less what stands for zero."""
    x = ops.input_node("x", (3,), DType.u8)
    signs, constants = ops.constant(np.ones((1, 1, 1, 3)), DType.b1), (ops.constant([zero] * 3), ops.constant([0.25]))
    node = ops.make("iconv2d", x, signs, *constants, attrs=ops.ConvAttrs(slots=("zeros", "pre_mul")))
    assert scaled(node, [1, 2, 3]) == pytest.approx([rounded(0.5 * 0.25, 3 * largest * 0.25)], rel=1e-12, abs=0)


def test_padding_differs_not() -> None:
    """Of bits that turned, those inside the image alone."""
    x, signs = ops.input_node("x", (1, 1, 1), DType.b1), ops.constant(np.ones((1, 3, 3, 1)), DType.b1)
    node = ops.make("bconv2d", x, signs, attrs=ops.ConvAttrs(pads=(1, 1, 1, 1), pad_value=1))
    found = limit(node, [[[[[1]]]], signs.value], [[[[[2]]]], None])
    assert found == pytest.approx([2 * (1 + 2 * g(9)) ** 2], rel=1e-6, abs=0)
