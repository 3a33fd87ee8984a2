# SPDX-License-Identifier: Apache-2.0
"""Edits of a NIR file: HDF5 objects are removed, renamed, given other types, shapes and numbers."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import h5py
import numpy as np

DTYPES = ("<f4", "<f8", "<i4", "u1", "<c8", "S5", "<f2", "?")
TEXTS = ("", "Affine", "Conv2d", "IF", "LIF", "CubaLIF", "NIRGraph", "Input", "Output", "Flatten", "bnn", "flat", "7")
NUMBERS = (0.0, 1.0, -1.0, np.nan, np.inf, 1e38, 0.5, 2.0**24)


class Recipe:
    """Numbers of the fuzzer's bytes, zeros after the last."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def number(self, below: int) -> int:
        self.at += 1
        return self.data[self.at - 1] % below if self.at <= len(self.data) else 0

    def pick(self, choices: Any) -> Any:
        return choices[self.number(len(choices))]


def edited(file: bytes, data: bytes) -> bytes:
    """The file after the edits that ``data`` describes, at most eight."""
    recipe = Recipe(data)
    image = io.BytesIO(file)
    with h5py.File(image, "r+") as opened:
        for _ in range(8):
            names: list[str] = []
            opened.visit(names.append)
            if not recipe or not names:
                break
            with contextlib.suppress(KeyError, OSError, RuntimeError, TypeError, ValueError):  # h5py refuses the edit
                _edit(opened, recipe.pick(sorted(names)), recipe)
    return image.getvalue()


def _edit(opened: Any, name: str, recipe: Recipe) -> None:
    kind = recipe.number(6)
    if kind == 0:
        del opened[name]
    elif kind == 1:
        _replace(opened, name, recipe.pick(TEXTS))
    elif kind == 2:
        if recipe.pick(TEXTS) and f"{name}x" not in opened:
            opened.move(name, f"{name}x")
    elif kind == 3:
        shape = tuple(recipe.number(5) for _ in range(recipe.number(5)))
        _replace(opened, name, np.full(shape, recipe.pick(NUMBERS)).astype("<f4").astype(recipe.pick(DTYPES)))
    elif isinstance(opened[name], h5py.Dataset) and opened[name].dtype.kind in "fiu":
        values = np.array(opened[name])
        if values.size:
            with np.errstate(all="ignore"):
                values.flat[recipe.number(256) % values.size] = np.nan_to_num(recipe.pick(NUMBERS), posinf=9.0)
        _replace(opened, name, values)
    else:
        _replace(opened, name, recipe.pick(NUMBERS))


def _replace(opened: Any, name: str, value: Any) -> None:
    del opened[name]
    opened[name] = value
