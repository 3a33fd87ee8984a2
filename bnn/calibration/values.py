# SPDX-License-Identifier: Apache-2.0
"""The values of a network on images, and the range of bytes that they say for each."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from .._types import Array, Floats
from ..errors import InputError
from ..ir.graph import Graph, Node
from ..ir.monotone import between
from ..ir.quantization import Bytes
from ..runtime import Model
from ..runtime.arrays import Inputs
from ..runtime.stepper import Stepper

Ends = tuple[float, float]
METHODS = ("mse", "minmax", "percentile")

_BINS = 2048
TAIL = 1e-4  # the share of values that the method "percentile" clips on each side
_CLIPS = np.linspace(1.0, 0.3, 36)  # of the range, which the method "mse" tries


class Values:
    """The values of a network's nodes on images, op by op."""

    def __init__(self, model: Model, graph: Graph, images: int) -> None:
        self.model, self.graph = model, graph
        self.stepper: Stepper = model.stepper(images)
        self.outputs = {node: model.ops[i].output for i, node in enumerate(graph.schedule)}
        self.inputs = [t.index for t in model.tensors if t.storage == "input"]

    def run(self, arrays: list[Inputs], wanted: set[Node]) -> dict[Node, Floats]:
        """The values of these nodes."""
        count = len(arrays[0])
        found: dict[Node, Floats] = {}
        for node, tensor, array in zip(self.graph.inputs, self.inputs, arrays, strict=True):
            self.stepper.poke(tensor, array)
            if node in wanted:
                found[node] = array.astype(np.float32)
        for number, node in enumerate(self.graph.schedule):
            values = self.stepper.step(number, count)
            if node in wanted:
                found[node] = values
        return found

    def result(self, conv: Node, array: Floats) -> Floats:
        """What a layer gives, where its data have these values."""
        x = conv.inputs[0].inputs[0] if conv.inputs[0].op == "copy" else conv.inputs[0]
        self._set(conv, x, array)
        return self.stepper.step(self.graph.schedule.index(conv), len(array))

    def sums(self, conv: Node, x: Node, array: Floats) -> Array:
        """A layer's accumulators, with its own bias, where x has these values."""
        self._set(conv, x, array)
        return self.stepper.step_raw(self.graph.schedule.index(conv), len(array)).astype(np.float64)

    def _set(self, conv: Node, x: Node, array: Floats) -> None:
        place = self.outputs[x] if x in self.outputs else self.inputs[self.graph.inputs.index(x)]
        self.stepper.poke(place, array)
        for node in between(conv.inputs[0], x):
            self.stepper.step(self.graph.schedule.index(node), len(array))


def batches(arrays: list[Inputs], size: int) -> list[list[Inputs]]:
    return [[a[i : i + size] for a in arrays] for i in range(0, len(arrays[0]), size)]


def find_ranges(
    model: Model, graph: Graph, wanted: set[Node], arrays: list[Inputs], method: str, whole: Collection[Node] = ()
) -> tuple[dict[Node, Bytes], dict[Node, Ends]]:
    """The bytes of these values, from their values on the images: first the ends, then how often each is between; and
    the ends.  No value of the ``whole`` is clipped."""
    values = Values(model, graph, min(len(arrays[0]), 16))
    parts = batches(arrays, values.stepper.images)
    ends = dict.fromkeys(wanted, (0.0, 0.0))  # a zero is always a byte: what is outside an image is 0
    for part in parts:
        for node, array in values.run(part, wanted).items():
            if not np.isfinite(array).all():
                raise InputError(
                    f"images: layer '{node.name}' gives infinity or NaN on them; give images it was trained for"
                )
            low, high = ends[node]
            ends[node] = min(low, float(array.min())), max(high, float(array.max()))
    if method == "minmax":
        return {node: Bytes.between(*ends[node]) for node in wanted}, ends
    counts = {node: np.zeros(_BINS) for node in wanted}
    for part in parts:
        for node, array in values.run(part, wanted).items():
            counts[node] += np.histogram(array, _BINS, _widened(*ends[node]))[0]
    choose = _of_least_error if method == "mse" else _without_tails
    return {
        node: Bytes.between(*ends[node]) if node in whole else choose(counts[node], *_widened(*ends[node]))
        for node in wanted
    }, ends


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (0.0, 1.0)


def _without_tails(counts: Array, low: float, high: float) -> Bytes:
    share = np.cumsum(counts) / counts.sum()
    step = (high - low) / _BINS
    first, last = (int(np.searchsorted(share, part)) for part in (TAIL, 1 - TAIL))
    return Bytes.between(min(0.0, low + first * step), max(0.0, low + (last + 1) * step))


def _of_least_error(counts: Array, low: float, high: float) -> Bytes:
    """Of ranges whose ends are shares of the values' own."""
    centers = low + (np.arange(_BINS) + 0.5) * (high - low) / _BINS

    def error(found: Bytes) -> float:
        """The squared error of all values, each as the middle of its bin."""
        levels = np.clip(np.rint(centers / found.scale) + found.zero, 0, 255) - found.zero
        return float((counts * (levels * found.scale - centers) ** 2).sum())

    tried = [Bytes.between(low * a, high * b) for a, b in ends_to_try(low, high)]
    return min(tried, key=error)


def ends_to_try(low: float, high: float) -> list[tuple[float, float]]:
    if low == 0 or high == 0:
        return [(a, a) for a in _CLIPS]
    return [(a, b) for a in _CLIPS[::3] for b in _CLIPS[::3]]
