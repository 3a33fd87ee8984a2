# SPDX-License-Identifier: Apache-2.0
"""Ops that depend on all images of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..._types import Array
from ..graph import Attrs, DType, Node, TensorType
from .moves import ReshapeAttrs
from .record import NoAttrs, Op, Operands, Rng, Types, make, plain, stored, want
from .rounding import gamma, magnitude, no_difference, spacing


@dataclass(frozen=True)
class BatchSizeAttrs(Attrs):
    per_image: int = stored(1, "per_image")


def batch_sum_type(types: Types, _: Attrs) -> TensorType:
    (x,) = types
    want(x.dtype is DType.f32, f"expected f32, found {x}")
    return TensorType(x.shape[-1:], DType.f32)


def batch_size_type(types: Types, a: BatchSizeAttrs) -> TensorType:
    (x,) = types
    want(x.dtype is DType.f32, f"expected f32, found {x}")
    want(1 <= a.per_image < 2**31, f"cannot count {a.per_image} an image")
    return TensorType((1,), DType.f32)


def batch_sum(x: Array) -> Array:
    """The sum of (N, ..., C) over all axes except the channels, the batch included, for every image: (N, C).

    Summed in float64, image by image and row by row, and rounded once.
    """
    total = np.cumsum(x.reshape(-1, x.shape[-1]), axis=0, dtype=np.float64)[-1].astype(np.float32)
    return np.repeat(total[None], len(x), axis=0)


def batch_size(x: Array, per_image: int) -> Array:
    """The number of images times ``per_image``, for every image: (N, 1)."""
    return np.full((len(x), 1), len(x) * per_image, np.float32)


def _batch_sum_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    x = operands[0].reshape(-1, operands[0].shape[-1])
    g, size = gamma(len(x)), magnitude(x).sum(axis=0)
    exact = size < 2**24 * spacing(x.T)
    passed = np.broadcast_to(errors[0], operands[0].shape).reshape(x.shape).sum(axis=0)
    return np.asarray(np.where(exact, 0, 2 * g * size) + (1 + 2 * g) * passed)


def _make_of_batch(rng: Rng, x: Node) -> Node:
    """The data minus their mean over the batch."""
    h, w, c = x.type.shape
    total = make("batch_sum", x)
    mean = make("div", total, make("batch_size", total, attrs=BatchSizeAttrs(h * w)))
    return make("sub", x, make("reshape", mean, attrs=ReshapeAttrs((1, 1, c))))


RECORDS = (
    Op(
        "batch_sum", 34, NoAttrs, batch_sum_type, plain(batch_sum), whole_batch=True, bound=_batch_sum_bound,
        maker=_make_of_batch, sums=True,
    ),
    Op(
        "batch_size", 35, BatchSizeAttrs, batch_size_type, lambda x, a: batch_size(x, a.per_image), whole_batch=True,
        bound=no_difference, maker=_make_of_batch,
    ),
)  # fmt: skip
