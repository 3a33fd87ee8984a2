# SPDX-License-Identifier: Apache-2.0
"""Filters of floats as whole numbers."""

from __future__ import annotations

import numpy as np

from .._types import Array

_MOST = 127


def whole_filters(w: Array, least: Array | float = 0.0) -> tuple[Array, Array]:
    """Numbers from -127 to 127, int8, at most half a step from the weights (O, ...), and the step of each filter (O),
    float64: the smallest, but not below ``least`` (O); 1 where both are 0."""
    largest = np.abs(w).reshape(len(w), -1).max(axis=1)
    steps = np.maximum((largest / w.dtype.type(_MOST)).astype(np.float64), least)
    steps = np.where(steps > 0, steps, 1.0)
    return np.rint(w / steps.reshape(-1, *[1] * (w.ndim - 1))).astype(np.int8), steps
