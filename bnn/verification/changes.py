# SPDX-License-Identifier: Apache-2.0
"""Whether a comparison says anything: a layer whose bits are the same whatever the image is equal to any that is so."""

from __future__ import annotations

from .._types import Array

# What to do where nothing changed.
ACCEPT = "Give other images, or accept it: allow_silent=True, --allow-silent"


class Changes:
    """Whether any bit of a layer changed.

    With several images, a bit changes if it is not the same in all of them.  With one image, in which nothing can
    change, a layer counts as changing unless all of its bits are equal, and there are several.
    """

    def __init__(self) -> None:
        self._images = 0
        self._first: dict[int, Array] = {}
        self._changed = False
        self._values: set[float] = set()
        self._bits = 0

    def add(self, part: int, values: Array) -> None:
        """Count images (N, ...) of ``part``, one of the layer's tensors."""
        if part not in self._first:
            first = self._first[part] = values[0].copy()
            self._values |= {float(first.min()), float(first.max())} if first.size else set()
            self._bits += first.size
        self._images += len(values)
        self._changed = self._changed or bool((values != self._first[part]).any())

    @property
    def none(self) -> bool:
        """No bit of the layer changed."""
        if self._images > len(self._first):
            return self._bits > 0 and not self._changed
        return self._bits > 1 and len(self._values) == 1
