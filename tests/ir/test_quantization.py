# SPDX-License-Identifier: Apache-2.0
"""Whole numbers that scales become."""

from __future__ import annotations

import numpy as np
import pytest

from bnn.ir.quantization import Bytes, sum_lines


@pytest.mark.parametrize("half", [(False, True), (True, True), (True, False)])
def test_tables_of_sums_are_lines(half: tuple[bool, bool], rng: np.random.Generator) -> None:
    """Also of bytes that stand for half a step more: no number is more than a half from its place."""
    for _ in range(20):
        operands = [Bytes(float(np.exp(rng.normal())), int(rng.integers(0, 256)), h) for h in half]
        tables, unit = sum_lines(operands[0], operands[1])
        steps = [int(table[1] - table[0]) for table in tables]
        for q, table, step in zip(operands, tables, steps, strict=True):
            assert table.dtype == np.int64 and set(np.diff(table)) == {step} and step == np.int16(step)
            assert np.abs(table - q.numbers * step).max() <= 0.5
        assert steps[0] * operands[1].scale == pytest.approx(steps[1] * operands[0].scale, rel=1e-3)
        assert max(steps) * unit == pytest.approx(max(q.scale for q in operands))
