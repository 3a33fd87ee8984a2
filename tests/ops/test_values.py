# SPDX-License-Identifier: Apache-2.0
"""The runtime against the oracle, bit for bit, at the values of values.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import DType
from bnn.ir.ops import constant, input_node, make
from bnn.runtime import Model, available_kernels
from op_graphs import plan

from .values import KINDS, Cases, Rng


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_runtime_equals_the_oracle(kind: Callable[[Rng], Cases], rng: Rng) -> None:
    """With every family of kernels; what stands behind the outputs in the caller's memory stays."""
    for x, y, data in kind(rng):
        graph = plan([x], [y])
        with np.errstate(all="ignore"):
            expected = interpret.outputs(graph, [data])[0]
        memory = np.full(expected.size + 64, 7, np.float32)
        out = memory[: expected.size].reshape(expected.shape)
        for family in available_kernels():
            Model.from_bytes(encode(graph), kernels=family)(data, out=out)
            np.testing.assert_array_equal(out, expected, err_msg=f"{family}\n{graph}")
            assert (memory[expected.size :] == 7).all()


@pytest.mark.parametrize("infinite", [-np.inf, np.inf])
def test_thresholds_that_are_none(infinite: float) -> None:
    """A channel whose scale is zero has the bit of its flip; infinity makes its image no number."""
    x = input_node("x", (3,))
    flips = constant([1, -1, -1], DType.b1)
    y = make("unpack", make("binarize", x, constant(np.float32([np.nan, np.nan, 1])), flips))
    data = np.float32([[-1, 5, infinite], [infinite, 0, 0], [0, infinite, 2], [0, 0, 1]])
    expected = np.float32([[1, -1, np.sign(infinite)], [np.nan] * 3, [np.nan] * 3, [1, -1, 1]])
    for family in available_kernels():
        np.testing.assert_array_equal(Model.from_bytes(encode(plan([x], [y])), kernels=family)(data), expected)
