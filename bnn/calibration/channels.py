# SPDX-License-Identifier: Apache-2.0
"""The range of each channel of a value whose readers treat every channel by numbers of its own."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from .._types import Array
from ..ir.graph import Graph, Node
from ..runtime import Model
from ..runtime.arrays import Inputs
from .values import TAIL, Values, batches, ends_to_try

_BINS = 256


class Scales(NamedTuple):
    """What the bytes of a tensor stand for, channel by channel: u for (u - zero) * scale."""

    zeros: Array  # (C)
    scales: Array  # (C), float64

    @classmethod
    def between(cls, low: Array, high: Array) -> Scales:
        """As :meth:`Bytes.between`."""
        high = np.where(high > low, high, low + 1.0)
        scales = ((high - low) / 255).astype(np.float32).astype(np.float64)
        return cls(np.clip(np.rint(-low / scales), 0, 255).astype(int), scales)


def channel_ranges(
    model: Model, graph: Graph, wanted: Collection[Node], arrays: list[Inputs], method: str
) -> dict[Node, Scales]:
    """The bytes of each channel of these values, from their values on the images; 0 is always a byte."""
    values = Values(model, graph, min(len(arrays[0]), 16))
    parts = batches(arrays, values.stepper.images)
    ends = {node: np.zeros((2, node.type.shape[-1])) for node in wanted}
    for part in parts:
        for node, array in values.run(part, set(wanted)).items():
            flat, (low, high) = array.reshape(-1, array.shape[-1]), ends[node]
            ends[node] = np.stack([np.minimum(low, flat.min(axis=0)), np.maximum(high, flat.max(axis=0))])
    if method == "minmax":
        return {node: Scales.between(*ends[node]) for node in wanted}
    counts = {node: np.zeros((node.type.shape[-1], _BINS)) for node in wanted}
    for part in parts:
        for node, array in values.run(part, set(wanted)).items():
            counts[node] += _histograms(array.reshape(-1, array.shape[-1]), *ends[node])
    choose = _of_least_error if method == "mse" else _without_tails
    return {node: choose(counts[node], *ends[node]) for node in wanted}


def _histograms(flat: Array, low: Array, high: Array) -> Array:
    """How many numbers of each channel (C, bins) are in each part of its range."""
    channels = flat.shape[1]
    places = np.clip((flat - low) / np.where(high > low, high - low, 1.0) * _BINS, 0, _BINS - 1).astype(int)
    found = np.bincount((places + np.arange(channels) * _BINS).ravel(), minlength=channels * _BINS)
    return found.reshape(channels, _BINS)


def _of_least_error(counts: Array, low: Array, high: Array) -> Scales:
    """Of ranges whose ends are shares of the channel's own."""
    centers = low[:, None] + (np.arange(_BINS) + 0.5) * ((high - low) / _BINS)[:, None]
    best, least = Scales.between(low, high), np.full(len(low), np.inf)
    for a, b in ends_to_try(float(low.min()), float(high.max())):
        tried = Scales.between(low * a, high * b)
        zeros, scales = (n[:, None] for n in tried)
        levels = np.clip(np.rint(centers / scales) + zeros, 0, 255) - zeros
        error = (counts * (levels * scales - centers) ** 2).sum(axis=1)
        better, least = error < least, np.minimum(error, least)
        best = Scales(*(np.where(better, new, old) for new, old in zip(tried, best, strict=True)))
    return best


def _without_tails(counts: Array, low: Array, high: Array) -> Scales:
    share = np.cumsum(counts, axis=1) / counts.sum(axis=1, keepdims=True)
    step = (high - low) / _BINS
    first, last = ((share < part).sum(axis=1) for part in (TAIL, 1 - TAIL))
    return Scales.between(np.minimum(0.0, low + first * step), np.maximum(0.0, low + (last + 1) * step))
