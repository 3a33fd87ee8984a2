# SPDX-License-Identifier: Apache-2.0
"""Activations of two slopes as a chain on one value: the same floats, also zeros of either sign, infinities and NaN."""

from __future__ import annotations

import numpy as np
import pytest

from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import Node
from bnn.ir.ops import input_node, make
from bnn.passes import lower
from bnn.runtime import Model, available_kernels

from .build import channel, graph

ENDS = np.array([0.0, -0.0, 1e-3, -1e-3, 2.5, -2.5, 3e38, -3e38, np.inf, -np.inf, np.nan, -1], np.float32)


def slopes(name: str, first: list[float], second: list[float]) -> Node:
    x = make("sub", input_node("x", (3, 4, 3)), channel([0.0, 0.0, 1.0]))
    return make(name, *(make("mul", x, channel(k), name="slopes") for k in (first, second)), name="slopes")


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("maximum", [1.5, 2.0, 0.5], [0.25, 0.5, 0.125]),
        ("maximum", [1.5, 2.0, 0.5], [0.25, -0.5, 0.125]),  # falls and rises
        ("minimum", [0.25, 2.0, 0.5], [1.5, 3.0, 0.75]),
        ("maximum", [0.25, 0.5, 0.125], [1.5, 2.0, 0.5]),
    ],
)
def test_in_one_chain(name: str, first: list[float], second: list[float]) -> None:
    source = graph(slopes(name, first, second))
    lowered = lower(source)
    assert [n.op for n in lowered.schedule] == ["sub", "mul", "prelu", "mul", "prelu"]
    data = np.repeat(ENDS, 3).reshape(1, 3, 4, 3)
    (expected,) = interpret.outputs(source, [data])
    for family in available_kernels():
        found = Model.from_bytes(encode(lowered), kernels=family)(data)
        np.testing.assert_array_equal(found, expected, err_msg=family)
        numbers = ~np.isnan(expected)
        assert np.array_equal(np.signbit(found[numbers]), np.signbit(expected[numbers])), family


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("maximum", [-0.25, 0.5, 0.5], [1.5, 2.0, 1.0]),  # zeros have the sign of the first
        ("minimum", [0.5, 0.5, 0.5], [1.5, -2.0, 1.0]),  # the slope of positive numbers is negative
        ("maximum", [1.0, np.inf, 1.0], [0.5, 0.5, 0.5]),
    ],
)
def test_others_stay(name: str, first: list[float], second: list[float]) -> None:
    assert "prelu" not in [n.op for n in lower(graph(slopes(name, first, second))).schedule]
