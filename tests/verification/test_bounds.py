# SPDX-License-Identifier: Apache-2.0
"""The bounds of what rounding explains, against values computed by hand: none may grow unnoticed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bnn.ir import ops
from bnn.ir.graph import DType
from bnn.ir.ops.rounding import FUNCTION, NOTHING, TINY, UNIT, gamma, moved
from bnn.verification.results import ROUNDING
from bnn.verification.rounding import bound
from bounds import U, binary, dense, g, limit, of_dense, pair, rounded, unary, vector

F = 16 * U
T = 2.0**-126
INF = math.inf


def test_constants() -> None:
    assert (UNIT, FUNCTION, TINY, ROUNDING) == (U, F, T, 1e-5)
    assert gamma(1) == U / (1 - U) and gamma(300) == 300 * U / (1 - 300 * U)


# -- every op has a bound ---------------------------------------------------------------------------------------------


def test_an_op_without_a_bound_is_refused() -> None:
    """As whoever adds one meets it: where its module is imported."""
    for name, record in ops.OPS.items():
        if record.opcode is None:
            assert record.bound is None, name
        else:
            words = rf"{name} has no bound of its rounding error: .* \(bound=\)"
            with pytest.raises(NotImplementedError, match=words):
                replace(record, bound=None)


def test_what_moves_values_has_that_bound() -> None:
    moving = {name for name, record in ops.OPS.items() if record.bound is moved}
    assert moving == {"unpack"} | {op.name for op in ops.OPS.values() if op.moves} - {"max_pool"}


# -- what each says ---------------------------------------------------------------------------------------------------


def curve(function: Callable[[float], float], x: float, e: float, size: float) -> float:
    passed = max(abs(function(x + e) - function(x)), abs(function(x - e) - function(x)))
    return passed + F * max(abs(function(x)) + passed, size) + T


POW = ops.PowAttrs(2.0)

VALUES: dict[str, tuple[float, float]] = {  # what is found, and what is expected
    "add": (pair("add", 3, -4, 0.5, 0.25), rounded(0.75, 7)),
    "sub": (pair("sub", 3, -4, 0.5, 0.25), rounded(0.75, 7)),
    "mul": (pair("mul", 3, -4, 0.5, 0.25), rounded(3 * 0.25 + 4 * 0.5 + 0.125, 12)),
    "div": (pair("div", 3, -4, 0.5, 0.25), rounded((3 * 0.25 + 4 * 0.5) / (4 * 3.75), 0.75)),
    "div by what may be zero": (pair("div", 3, 0.25, 0.5, 0.25), INF),
    "maximum": (pair("maximum", 3, -4, 0.5, 0.25), 0.5),
    "minimum": (pair("minimum", 3, -4, 0.25, 0.5), 0.5),
    "clamp": (unary("clamp", 3, 0.5, ops.ClampAttrs(0, 6)), 0.5),
    "clamp, all of it": (unary("clamp", 3, 0.5, ops.ClampAttrs(0, 0.25)), 0.25),
    "prelu": (limit(vector("prelu", None, ([3.0],)), [[[2]], [3]], [0.5, None])[0], rounded(1.5, 6)),
    "prelu, less steep": (limit(vector("prelu", None, ([0.5],)), [[[2]], [0.5]], [0.5, None])[0], rounded(0.5, 2)),
    "sign": (unary("sign", 0.1, 0.5), 2.5),
    "round": (unary("round", 0.1, 0.5), 1.5),
    "batch_size": (unary("batch_size", 0.1, 0.5, ops.BatchSizeAttrs(1)), 0),
    "sigmoid": (unary("sigmoid", 1, 0.5), 0.125 + F),
    "tanh": (unary("tanh", 1, 0.5), 0.5 + F),
    "elu, above": (unary("elu", 1, 0.5), 0.5),
    "elu, below": (unary("elu", 0.25, 0.5), 0.5 + F),
    "exp": (unary("exp", 1, 0.5), curve(math.exp, 1, 0.5, 0)),
    "exp, own": (unary("exp", 1, 0), F * math.e + T),
    "exp, own, small": (unary("exp", -2, 0), F * math.exp(-2) + T),
    "erf, own, small": (unary("erf", 0.125, 0), F * math.erf(0.125) + T),
    "sqrt, own, small": (unary("sqrt", 0.0625, 0), F * 0.25 + T),
    "rsqrt, own, small": (unary("rsqrt", 16, 0), F * 0.25 + T),
    "pow, own, small": (unary("pow", 0.25, 0, POW), F * 0.0625 + T),
    "erfc, own, small": (unary("erfc", 3, 0), F + T),
    "log1p": (unary("log1p", 1, 0.5), curve(math.log1p, 1, 0.5, 1)),
    "log1p, own": (unary("log1p", 1, 0), F + T),
    "erf": (unary("erf", 0.5, 0.25), curve(math.erf, 0.5, 0.25, 0)),
    "erfc": (unary("erfc", 0.5, 0.25), curve(math.erfc, 0.5, 0.25, 1)),
    "sqrt": (unary("sqrt", 4, 1), curve(math.sqrt, 4, 1, 0)),
    "rsqrt": (unary("rsqrt", 4, 1), curve(lambda x: 1 / math.sqrt(x), 4, 1, 0)),
    "rsqrt, at its pole": (unary("rsqrt", 4, 4), INF),
    "pow": (unary("pow", 3, 0.5, POW), curve(lambda x: x * x, 3, 0.5, 0)),
    "pow, at its pole": (unary("pow", 1, 2, ops.PowAttrs(-1.0)), INF),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_elementwise(name: str) -> None:
    found, expected = VALUES[name]
    assert found == pytest.approx(expected, rel=1e-6, abs=0)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "maximum", "minimum"])
def test_one_operation_of_equal_operands_is_equal(op: str) -> None:
    assert pair(op, 0.1, 0.3, 0, 0) == 0


def test_affine() -> None:
    node = vector("affine", ops.ClampAttrs(-100, 100), ([2.0], [-3.0], [0.5]))
    one = rounded(0.5, 1 + 2)
    two = rounded(one * 3, 9)
    expected = rounded(two, 9.5)
    operands = [[[1.0]], [2.0], [-3.0], [0.5]]
    assert limit(node, operands, [0.5, None, None, None]) == pytest.approx([expected], rel=1e-9, abs=0)
    clamped = vector("affine", ops.ClampAttrs(0, 1), ([2.0], [-3.0], [0.5]))
    assert limit(clamped, operands, [0.5, None, None, None]) == [1.0]


IMAGE = np.array([[[[0.1], [0.2]], [[0.3], [-0.7]]]])  # one of 2 x 2


@pytest.mark.parametrize("op", ["avg_pool", "sum_pool"])
def test_pools(op: str) -> None:
    node = ops.make(op, ops.input_node("x", (2, 2, 1)), attrs=ops.PoolAttrs((2, 2), (2, 2), (0,) * 4))
    parts = 4 if op == "avg_pool" else 1
    own, passed = 1.3 / parts, 4 * 0.5 / parts
    assert limit(node, [IMAGE], [None]) == pytest.approx([(1 + 2 * g(5)) * 2 * g(5) * own], rel=1e-6, abs=0)
    expected = (1 + 2 * g(5)) * (2 * g(5) * own + (1 + g(5)) * passed)
    assert limit(node, [IMAGE], [0.5]) == pytest.approx([expected], rel=1e-6, abs=0)


def test_max_pool() -> None:
    node = ops.make("max_pool", ops.input_node("x", (2, 2, 1)), attrs=ops.PoolAttrs((2, 2), (2, 2), (0,) * 4))
    assert limit(node, [IMAGE], [[[[[0.5], [0.25]], [[0], [0.125]]]]]) == [0.5]


def test_what_moves_takes_its_error_along() -> None:
    x, y = ops.input_node("x", (2,)), ops.input_node("y", (1,))
    data, errors = [[1.0, 2.0]], [[0.5, 0.25]]
    assert limit(ops.make("copy", x), [data], [errors]) == [0.5, 0.25]
    assert limit(ops.make("reshape", x, attrs=ops.ReshapeAttrs((2, 1))), [data], [errors]) == [0.5, 0.25]
    assert limit(ops.make("slice", x, attrs=ops.SliceAttrs(1, 2)), [data], [errors]) == [0.25]
    assert limit(ops.make("concat", x, y), [data, [[3.0]]], [errors, 0.125]) == [0.5, 0.25, 0.125]
    assert limit(ops.make("pad_channels", x, attrs=ops.PadChannelsAttrs(1, 1, 9.0)), [data], [errors]) == [
        0,
        0.5,
        0.25,
        0,
    ]
    order = ops.constant([1, 1, 0], DType.i32)
    assert limit(ops.make("gather", x, order), [data, [1, 1, 0]], [errors, None]) == [0.25, 0.25, 0.5]
    image = ops.input_node("x", (1, 1, 1))
    padded = ops.make("pad", image, attrs=ops.PadAttrs((0, 1, 1, 0), 9.0))
    assert limit(padded, [[[[[1.0]]]]], [0.5]) == [0, 0.5, 0, 0]
    bits = ops.make("unpack", ops.input_node("x", (2,), DType.b1))
    assert limit(bits, [[[1, -1]]], [[[2, 0]]]) == [2, 0]


def test_resize() -> None:
    node = ops.make("resize_bilinear", ops.input_node("x", (1, 1, 1)), attrs=ops.ResizeAttrs((2, 1), half_pixels=1))
    expected = (1 + 8 * U) * 0.5 + 16 * U * (3 + 0.5)
    assert limit(node, [[[[[-3.0]]]]], [0.5]) == pytest.approx([expected] * 2, rel=1e-9, abs=0)
    assert limit(node, [[[[[-3.0]]]]], [None]) == [0]


def test_batch_sum() -> None:
    node = ops.make("batch_sum", ops.input_node("x", (1,)))
    x, size = [[0.1], [-0.2], [0.3]], 0.6
    assert limit(node, [x], [None]) == pytest.approx([2 * g(3) * size] * 3, rel=1e-6, abs=0)
    expected = 2 * g(3) * size + (1 + 2 * g(3)) * 1.5
    assert limit(node, [x], [0.5]) == pytest.approx([expected] * 3, rel=1e-6, abs=0)


@pytest.mark.parametrize(("first", "exact"), [(2.0**24 - 2, True), (2.0**24 - 1, False), (2.0**24, False)])
def test_batch_sums_are_exact_below_2_to_24(first: float, exact: bool) -> None:
    node = ops.make("batch_sum", ops.input_node("x", (1,)))
    found = limit(node, [[[first], [-1.0]]], [None])
    assert found == ([0, 0] if exact else pytest.approx([2 * g(2) * (first + 1)] * 2, rel=1e-9, abs=0))


def test_softmax() -> None:
    x, e = [0.0, 1.0], 0.5
    shares = [math.exp(v - 1) / (1 + math.exp(-1)) for v in x]
    own = 2 * (g(2) + U * 1 + F)
    node = vector("softmax", size=2)
    expected = [share * own + T for share in shares]
    assert limit(node, [[x]], [None]) == pytest.approx(expected, rel=1e-9, abs=0)
    expected = [min(share * (math.expm1(2 * e) + own * math.exp(2 * e)) + T, 1) for share in shares]
    assert limit(node, [[x]], [e]) == pytest.approx(expected, rel=1e-9, abs=0)
    far = 2 * (g(2) + 104 * U + F)
    assert limit(node, [[[0.0, 1000.0]]], [None])[1] == pytest.approx(far + T, rel=1e-9, abs=0)


def test_convolutions() -> None:
    node, x, size = dense([0.3, -0.7]), [0.1, 0.2], 0.1 * 0.3 + 0.2 * 0.7
    size *= 1 + 2 * g(2)
    assert of_dense(node, x) == pytest.approx(2 * g(2) * size + 2 * T, rel=1e-6, abs=0)
    passed = (1 + 2 * g(2)) ** 2 * 0.5  # 0.5 from each product
    assert of_dense(node, x, 0.5) == pytest.approx(2 * g(2) * size + 2 * T + passed, rel=1e-6, abs=0)
    assert of_dense(node, [0.0, 0.0]) == 0
    assert of_dense(dense([1.0, -1.0]), [2.0, 3.0]) == 0
    assert of_dense(dense([1.0, -1.0]), [2.0, 3.0], 0.5) == pytest.approx(
        2 * g(2) * 5 * (1 + 2 * g(2)) + 2 * T + (1 + 2 * g(2)) ** 2, rel=1e-9, abs=0
    )  # in another order of what differs already, nothing is exact


@pytest.mark.parametrize(
    ("first", "exact"), [(2.0**24 - 6, True), (2.0**24 - 4, False), (2.0**24 - 1, False), (2.0**25 - 2, False)]
)
def test_sums_are_exact_below_2_to_24(first: float, exact: bool) -> None:
    """Less 2 gamma(2) of it, by which the sum of the magnitudes is off itself."""
    for scale in (1.0, 2.0**-10):
        found = of_dense(dense([1.0, -1.0]), [first * scale, scale])
        if exact:
            assert found == 0
        else:
            size = (1 + 2 * g(2)) * (first + 1) * scale
            assert found == pytest.approx(2 * g(2) * size + 2 * T, rel=1e-6, abs=0)


def test_fused_work() -> None:
    """Each operation rounds, and clamps bound what is left."""
    slots = ("pre_mul", "pre_add", "clamp0", "sub", "mul", "add", "clamp1")
    node = dense([1.0, -1.0], slots, (3.0, -2.0, 1.0, -4.0, 0.5), clamp0=(0.0, 6.0), clamp1=(-100.0, 100.0))
    size = (1 + 2 * g(2)) * 5
    error = 2 * g(2) * size + 2 * T + (1 + 2 * g(2)) ** 2 * 1.0
    size += (1 + 2 * g(2)) ** 2 * 1.0
    size, error = size * 3, rounded(error * 3, size * 3)
    size, error = size + 2, rounded(error, size + 2)
    size, error = min(size, 6), min(error, 6)
    size, error = size + 1, rounded(error, size + 1)
    size, error = size * 4, rounded(error * 4, size * 4)
    size, error = size + 0.5, rounded(error, size + 0.5)
    assert of_dense(node, [2.0, 3.0], 0.5) == pytest.approx(error, rel=1e-9, abs=0)
    narrow = dense([1.0, -1.0], ("clamp1",), clamp1=(0.0, 0.25))
    assert of_dense(narrow, [2.0, 3.0], 0.5) == 0.25


def test_scaled_binary_sums() -> None:
    node = binary(("pre_mul",), (ops.constant([0.25]),))
    operands = [[[1, 1, 1]], node.inputs[1].value, [0.25]]
    found = limit(node, operands, [None] * 3, own=0.5)
    assert found == pytest.approx([rounded(0.5 * 0.25, 3 * 0.25)], rel=1e-9, abs=0)
    assert limit(node, operands, [None] * 3) == [0.0] or bound(node, lambda: [], [NOTHING] * 3) is NOTHING
