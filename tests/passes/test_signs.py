# SPDX-License-Identifier: Apache-2.0
"""Weights of a few values as signs: which they are, and which they nearly are."""

from __future__ import annotations

import numpy as np
import pytest

from bnn.passes.levels import MOST_SIGNS, sign_planes


@pytest.mark.parametrize("values", range(2, 10))
def test_evenly_spaced_weights(values: int) -> None:
    """As float32 has thirds and sevenths; the mean of the signs, times alpha, is the weight."""
    w = np.linspace(-0.3, 0.3, values, dtype=np.float32).reshape(1, 1, 1, -1)
    found = sign_planes(w, MOST_SIGNS)
    assert (found is None) == (values > 8), "those of three bits"
    if found is not None:
        alpha, planes = found
        assert len(planes) == values - 1
        np.testing.assert_allclose(alpha * np.mean(planes, axis=0), w, rtol=0, atol=1e-7)
    assert (sign_planes(w) is None) == (values > 3), "as many as two signs are, where no more are asked for"


@pytest.mark.parametrize(
    "values",
    [
        [-1, 1 + 1e-5],
        [-1, -1 / 3, 1 / 3 + 1e-5, 1],
        [-1, -0.5, 1e-5, 0.5, 1],
        [-1, 0, np.inf],
        [-np.inf, np.inf],
        [-1, np.nan, 1],
    ],
)
def test_weights_that_are_no_signs(values: list[float]) -> None:
    assert sign_planes(np.float32(values).reshape(1, 1, 1, -1), MOST_SIGNS) is None
