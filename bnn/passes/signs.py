# SPDX-License-Identifier: Apache-2.0
"""Weights of a few values as signs."""

from __future__ import annotations

import numpy as np

from .._types import Array

MOST_SIGNS = 7  # planes of one weight: eight values, or three bits
_EVEN = 1e-6  # share of the largest weight: the rounding of thirds and sevenths in float32


def sign_planes(w: Array, most: int = 2) -> tuple[Array, list[Array]] | None:
    """(alpha per filter, planes of +-1) of OHWI weights, which are alpha times the mean of the planes.

    Weights +-alpha take one plane; with zero, two planes.  n evenly spaced values from -alpha to alpha, the same in all
    filters, take n - 1, if ``most`` allows it.  None for any other weights.
    """
    magnitude = np.abs(w.reshape(w.shape[0], -1))
    alpha = magnitude.max(axis=1)
    if not np.all(np.isfinite(alpha)):
        return None
    if np.all(magnitude == alpha[:, None]):
        return alpha, [np.where(w > 0, 1, -1)]
    if np.all((magnitude == alpha[:, None]) | (magnitude == 0)):
        return alpha, [np.where(w >= 0, 1, -1), np.where(w > 0, 1, -1)]
    largest = alpha.max()
    for steps in range(3, most + 1):
        number = (w.astype(np.float64) / largest + 1) / 2 * steps
        if np.allclose(number, np.round(number), rtol=0, atol=_EVEN * steps):
            return np.full_like(alpha, largest), [np.where(number > i + 0.5, 1, -1) for i in range(steps)]
    return None


def no_signs(w: Array) -> str:
    """Why weights are not signs."""
    values = np.unique(w)
    if len(values) > MOST_SIGNS + 1:
        return f"its weights take {len(values):,} values"
    return f"its weights are {', '.join(f'{v:g}' for v in values)}: not evenly spaced around 0"
