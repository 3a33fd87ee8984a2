# SPDX-License-Identifier: Apache-2.0
"""A recording on a network's own pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arguments import check_count
from .._types import Array, Floats
from ..errors import InputError
from ..runtime.arrays import as_array
from .recordings import structured_columns, whole_columns

#: The most steps in which a recording is read: one wrong time must not make a run endless.
MOST_STEPS = 1_000_000


def check_finite(values: Floats, name: str = "x") -> None:
    """Raise InputError, beginning with ``name``, if a value is not finite: it would have neither a place in the order
    nor a colour."""
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        at = tuple(wrong[0].tolist())
        raise InputError(f"{name}: found {values[at]} at {at}, expected finite numbers; {len(wrong):,} are not")


@dataclass(frozen=True)
class Recording:
    """Events on the network's own pixel grid, in order of time; ``dropped`` events lay outside it."""

    pixel: Array
    polarity: Array
    t: Array
    dropped: int


def place(events: Any, shape: tuple[int, ...], origin: tuple[int, int], shrink: int) -> Recording:
    """Check a structured array and move it onto a network's (H, W, C): ((y, x) - origin) // shrink.  Units (n,) are the
    pixels of one row.

    Raises:
        InputTypeError: not a structured array with x, y, p (or polarity) and t (or timestamp).
        InputError: there are neither one nor two input channels; a number is not whole or out of range; times fall;
            ``origin`` or ``shrink`` is not whole; no event is inside.
    """
    if len(shape) == 1:
        shape = (1, *shape, 1)
    if len(shape) != 3 or shape[2] not in (1, 2):
        raise InputError(f"a camera's events need an input (H, W, 1), (H, W, 2) or (units,), the network's is {shape}")
    shrink = check_count(shrink, "shrink")
    corner = as_array(origin, "origin")
    if corner.shape != (2,) or corner.dtype.kind not in "iu":
        raise InputError(f"origin: found {origin!r}, expected (y, x), two whole numbers")
    top, left = (int(v) for v in corner)
    x, y, p, t = whole_columns(*structured_columns(events, "events"))
    if len(t) and np.any(np.diff(t) < 0):
        where = int(np.flatnonzero(np.diff(t) < 0)[0]) + 1
        raise InputError(f"events: time decreases at event {where} ({t[where - 1]} to {t[where]}); sort them by t")
    height, width, channels = shape
    row, column = (y - top) // shrink, (x - left) // shrink
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    if len(t) and not inside.any():
        raise InputError(
            f"none of the {len(t):,} events lies on the network's {height} x {width} pixels: x is {x.min()} to "
            f"{x.max()}, y {y.min()} to {y.max()}; move them there with origin and shrink"
        )
    pixel = (row * width + column)[inside]
    rising = (p > 0)[inside]
    return Recording(pixel, rising.astype(np.int64), t[inside], int(np.count_nonzero(~inside)))


def check_steps(recording: Recording, steps: int, step: str) -> None:
    """Raise InputError if a recording takes too many steps; ``step``: a step in words."""
    if steps > MOST_STEPS:
        t = recording.t
        silence = np.diff(t, append=t[-1])
        gap = int(np.argmax(silence))
        raise InputError(
            f"the recording lasts from {t[0]:,} to {t[-1]:,} us: {steps:,} steps of {step}, expected at most "
            f"{MOST_STEPS:,}; use a longer step, or, if one time is wrong, drop it: event {gap} is followed by "
            f"{silence[gap]:,} us of silence, the longest"
        )
