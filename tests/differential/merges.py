# SPDX-License-Identifier: Apache-2.0
"""Random merges of several values: elementwise, of equal shapes or broadcast, and concatenations over any axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from .quantizers import Rng, Value

L = tf.keras.layers
_TWO = ("Add", "Add", "Add", "Subtract", "Maximum", "Minimum", "Multiply", "Average")
_THREE = ("Add", "Maximum", "Minimum", "Multiply", "Average")


def elementwise(rng: Rng, x: Value, others: Sequence[Value]) -> tuple[str, Value]:
    """The name of a Keras layer, and the merge by it of two values or three, each of which is sure."""
    values = [x, *others]
    kind = str(rng.choice(_TWO if len(values) == 2 else _THREE))
    tensor = getattr(L, kind)()([v.tensor for v in values])
    step, bound = min(v.step for v in values), sum(v.bound for v in values)
    if kind == "Multiply":
        step, bound = float(np.prod([v.step for v in values])), float(np.prod([v.bound for v in values]))
    if kind == "Average":  # a division by three rounds, here as in Keras
        step = step / 2 if len(values) == 2 else 0.0
    return kind, Value(tensor, step, max(bound, 1.0), all(v.sure for v in values))


def wider(rng: Rng, x: Value) -> Value:
    """A value's maxima over some of its axes, which broadcast to it."""
    axes = [i for i in range(1, len(x.shape)) if rng.random() < 0.6] or [1]
    size = [x.shape[i - 1] if i in axes else 1 for i in range(1, len(x.shape))]
    pool = L.MaxPool2D(size) if len(size) == 2 else L.MaxPool1D(size[0])
    return replace(x, tensor=pool(x.tensor))


def joinable(x: Value, other: Value) -> list[int]:
    """The axes (from 1) over which two values can be concatenated."""
    if len(x.shape) != len(other.shape):
        return []
    different = [i + 1 for i, (a, b) in enumerate(zip(x.shape, other.shape, strict=True)) if a != b]
    return different if len(different) == 1 else [] if different else list(range(1, len(x.shape) + 1))


def concat(x: Value, others: Sequence[Value], axis: int) -> Value:
    values = [x, *others]
    tensor: Any = L.Concatenate(axis=axis)([v.tensor for v in values])
    sure = all(v.sure for v in values)
    step = min(v.step for v in values) if sure else 0.0
    return Value(tensor, step, max(v.bound for v in values), sure, all(v.sure or v.apart for v in values))
