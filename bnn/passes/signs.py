"""Weights of two or three values as signs."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def sign_planes(w: Array) -> tuple[Array, list[Array]] | None:
    """(alpha per filter, one or two planes of +-1) of OHWI weights +-alpha or zero; None where they are not."""
    magnitude = np.abs(w.reshape(w.shape[0], -1))
    alpha = magnitude.max(axis=1)
    if not np.all(np.isfinite(alpha)) or not np.all((magnitude == alpha[:, None]) | (magnitude == 0)):
        return None
    if np.all(magnitude == alpha[:, None]):
        return alpha, [np.where(w > 0, 1, -1)]
    return alpha, [np.where(w >= 0, 1, -1), np.where(w > 0, 1, -1)]
