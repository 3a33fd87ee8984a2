# SPDX-License-Identifier: Apache-2.0
"""From a trained ReLU network to counters that spike: two schemes, both equal to the quantized network.

take-back: every neuron keeps its level and sends its change.  Once all input has arrived, every level is that of the
quantized network, in whatever order it came.

staged: plain integrate-and-fire neurons.  A layer is inhibited until its input is complete; then each neuron fires
``level`` times in a window of ``most`` steps, and the layer is inhibited again.

A maximum is a sum of counters: max(a, b) = b + relu(a - b), and min(a, b) = a - relu(a - b).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .._arguments import check_choice
from .._types import Array
from ..errors import InputError, UnsupportedOpError
from ..importers import open_source
from ..passes import lower
from ..runtime.arrays import as_numbers, given_shape
from .model import SpikingModel, build
from .network import CONVERTED, Network, Population, Projection
from .quantize import CounterLayer, Edge, Grid, Pair, Quantized, check_whole, quantize, reach
from .rules import RULES, Dynamics, Emits, Reset

Scheme = Literal["take-back", "staged"]
SCHEMES: tuple[Scheme, ...] = ("take-back", "staged")
ORDERS = ("once", "pixels", "brightest", "bits")


@dataclass(frozen=True)
class Conversion:
    """A network of counters, and the quantized network that it equals.

    The answer is the sum over time of what the output sends.  ``steps``: after which all is at rest if the whole image
    arrives in the first step.  ``populations``: by the name of the layer of ``quantized`` that they are.  ``windows``:
    by the name of a staged population, the first step in which it may fire, and the first in which it may no more.
    """

    network: Network
    quantized: Quantized
    scheme: Scheme
    steps: int
    populations: dict[str, str]
    windows: dict[str, tuple[int, int]]

    def build(self) -> SpikingModel:
        """Ready to run."""
        return build(self.network)

    def present(self, image: Any, order: str = "once") -> Array:
        """What ``SpikingModel.run`` takes for an image (*shape), (T, *shape): whole numbers, whose sum is the image.

        ``order``: "once": in the first of ``steps`` steps; "pixels": one after the other, "brightest": the brightest
        first; "bits": the highest bit of each pixel, then the next.  Neurons that take back end up the same; staged
        ones need the first.  With take-back, the difference between two images can be presented, too.

        Raises InputError if the image has another shape than the input, or a value that is not whole or too large.
        """
        if order not in ORDERS or (order != "once" and self.scheme == "staged"):
            raise InputError(f"order: found {order!r}, expected 'once' or, with take-back, one of {ORDERS[1:]}")
        image = as_numbers(image, "image")
        shape, most = given_shape(self.quantized.shape, self.quantized.channels_first), self.quantized.layers[0].most
        if image.shape != shape:
            raise InputError(f"image: found shape {image.shape}, expected {shape}")
        check_whole(image, "image", 0 if self.scheme == "staged" else -most, most)
        flat = image.reshape(-1).astype(np.int64)
        if order == "bits":
            steps = max(int(most).bit_length(), 1)
            masks = 1 << np.arange(steps)[::-1, None]
            return np.asarray(np.sign(flat) * (np.abs(flat) & masks), np.float32).reshape(steps, *image.shape)
        if order == "once":
            frames = np.zeros((self.steps, flat.size), np.float32)
            frames[0] = flat
        else:
            first = np.arange(flat.size) if order == "pixels" else np.argsort(-flat, kind="stable")
            frames = np.zeros((max(np.count_nonzero(flat), 1), flat.size), np.float32)
            first = first[flat[first] != 0]
            frames[np.arange(len(first)), first] = flat[first]
        return frames.reshape(-1, *image.shape)


def convert(
    model: object,
    images: Any,
    *,
    levels: int = 15,
    scheme: Scheme = "take-back",
    weights_bits: int = 8,
    scale: float = 1.0,
    offset: float = 0.0,
    percentile: float = 100.0,
    example: object = None,
    input_shape: Sequence[int] | None = None,
    unsafe: bool = False,
) -> Conversion:
    """Convert a trained ReLU network to a network of counters that computes with whole numbers only.

    Args:
        model: as for ``bnn.compile``, of convolutions, dense layers, batch norm, ReLUs with or without a limit,
            quantizers with evenly spaced steps (whose levels are kept), average and max-pooling, sums of two layers.
        images: (N, *shape) in the model's layout, whole numbers from 0 to 255: the ranges of ReLUs are taken from them.
        levels: of a ReLU, beside 0: 1 to 255.
        scheme: "take-back" or "staged", see above.
        weights_bits: 2 to 16; above 8 they take four bytes each.
        scale, offset: the model's input is image / scale + offset.
        percentile: of a ReLU's values above 0 that its highest level stands for.

    Raises:
        UnsupportedOpError: a layer cannot be counters; names it, and why.
        InputError: images or a number are wrong.
    """
    check_choice(scheme, "scheme", SCHEMES)
    source = open_source(model, example=example, unsafe=unsafe, input_shape=input_shape)
    graph = lower(source.graph(), until="recognize_quantizers")
    quantized = quantize(
        graph, images, levels=levels, bits=weights_bits, scale=scale, offset=offset, percentile=percentile
    )
    return spiking(quantized, scheme)


def spiking(quantized: Quantized, scheme: Scheme) -> Conversion:
    """The network of counters of a scheme."""
    return _Builder(quantized, scheme).conversion


@dataclass(frozen=True, eq=False)
class _Read:
    """How a layer's levels are read from a population, channel by channel: the sum of ``kernel`` (h, w, c), whole
    numbers, over windows.  ``pads``: above and on the left; below 0 where the first window begins further inside.
    ``used``: the rows and the columns of the population that take part; None: all."""

    population: int
    kernel: Array
    stride: Pair = (1, 1)
    pads: Pair = (0, 0)
    used: tuple[frozenset[int] | None, frozenset[int] | None] = (None, None)


@dataclass(frozen=True, eq=False)
class _Feed:
    """A convolution over what ``reads`` give, an image of ``inner`` (h, w)."""

    reads: Sequence[_Read]
    inner: Pair
    edge: Edge


class _Builder:
    def __init__(self, quantized: Quantized, scheme: Scheme) -> None:
        self.layers, self.staged = quantized.layers, scheme == "staged"
        self.populations: list[Population] = []
        self.projections: list[Projection] = []
        self.ends: dict[int, int] = {}  # of each population: the step in which all that it sends has been sent
        self.reads: list[list[_Read]] = []  # of each layer
        self.windows: dict[str, tuple[int, int]] = {}
        self.made: dict[str, str] = {}  # populations by their layers
        self.taken = {layer.name for layer in quantized.layers}
        first = quantized.layers[0]
        one = np.ones(1, np.float32)
        clock = Dynamics(RULES["integrate"], Reset.SUBTRACT, at_least=True)  # one spike, in the first step
        self._add(Population("clock", (1,), clock, {"threshold": one, "reset": 0 * one, "initial": one}), 0)
        emits = Emits.COUNTS if self.staged else Emits.CHANGES
        image = self._add(Population(first.name, quantized.shape, input_emits=emits), 0)
        self.reads.append([_Read(image, np.ones((1, 1, first.grid[2])))])
        for layer in self.layers[1:]:
            self.reads.append(self._maximum(layer) if layer.kind == "max" else [self._layer(layer)])
        output = self.reads[-1][0].population
        if self.layers[-1].kind == "max":  # a sum of counters
            h, w, c = self.layers[-1].grid
            feed = _Feed(self.reads[-1], (h, w), Edge(0, np.ones((1, 1, 1, c)), groups=c))
            output = self._readout(self._free(f"{self.layers[-1].name}_sums"), (h, w, c), np.zeros((1, 1, 1)), [feed])
            self.made[self.layers[-1].name] = self.populations[output].name
        self.populations[output].output = True
        network = Network(
            self.populations, self.projections, simulator=CONVERTED, channels_first=quantized.channels_first
        )
        steps = max(max(self.ends.values()), 1)
        self.conversion = Conversion(network.check(), quantized, scheme, steps, self.made, self.windows)

    def _free(self, name: str) -> str:
        """A population's name that no layer has."""
        return self._free(f"{name}_") if name in self.taken else name

    def _add(self, population: Population, end: int) -> int:
        self.populations.append(population)
        self.ends[len(self.populations) - 1] = end
        return len(self.populations) - 1

    def _layer(self, layer: CounterLayer) -> _Read:
        feeds = [self._feed(edge) for edge in layer.edges]
        if layer.kind == "sums":
            at = self._readout(layer.name, layer.grid, layer.offset, feeds)
        else:
            closed = float(reach(layer, self.layers).max())
            at = self._counters(layer.name, layer.grid, layer.threshold, layer.offset, layer.most, closed, feeds)
        self.made[layer.name] = self.populations[at].name
        return _Read(at, np.ones((1, 1, layer.grid[2])))

    def _feed(self, edge: Edge) -> _Feed:
        h, w, c = self.layers[edge.source].grid
        reads, pool = self.reads[edge.source], edge.pool
        if pool is None:
            return _Feed(reads, (h, w), edge)
        out = ((h - pool.kernel[0]) // pool.stride[0] + 1, (w - pool.kernel[1]) // pool.stride[1] + 1)
        ones = np.ones((*pool.kernel, c))
        return _Feed([self._over(read, (h, w), ones, pool.stride, (0, 0), out) for read in reads], out, edge)

    # -- populations ------------------------------------------------------------------------------------------------

    def _counters(
        self, name: str, grid: Grid, threshold: Array, offset: Array, most: int, closed: float, feeds: list[_Feed]
    ) -> int:
        """``closed``: more than a membrane can reach without it."""
        zero = np.zeros(1, np.float32)
        first = offset.astype(np.float32).reshape(-1)
        parameters = {"threshold": threshold.astype(np.float32).reshape(-1), "reset": zero, "initial": zero}
        begin = max(self.ends[read.population] for feed in feeds for read in feed.reads)
        if self.staged:
            dynamics = Dynamics(RULES["integrate"], Reset.SUBTRACT, at_least=True)
            parameters["initial"] = first - np.float32(closed)
        else:
            dynamics = Dynamics(RULES["take_back"], emits=Emits.CHANGES)
            parameters |= {"offset": first, "most": np.full(1, most, np.float32)}
        at = self._add(Population(name, _shape(grid), dynamics, parameters), begin + most if self.staged else 0)
        self._connect(feeds, at, grid)
        if self.staged:
            self.windows[name] = begin, begin + most
            row = np.full((1, self.populations[at].size), closed, np.float32)
            self.projections += [
                Projection(0, at, "dense", row, delay=begin, name=f"{name} opens"),
                Projection(0, at, "dense", -row, delay=begin + most, name=f"{name} closes"),
            ]
        return at

    def _readout(self, name: str, grid: Grid, offset: Array, feeds: list[_Feed]) -> int:
        """Neurons that pass on the sum of what arrives in a step; the offset arrives in the first."""
        zero = np.zeros(1, np.float32)
        dynamics = Dynamics(RULES["relay"], emits=Emits.VALUES)
        end = max(self.ends[read.population] for feed in feeds for read in feed.reads)
        population = Population(name, _shape(grid), dynamics, dict.fromkeys(("threshold", "reset", "initial"), zero))
        at = self._add(population, end)
        row = np.broadcast_to(offset, grid).astype(np.float32).reshape(1, -1)
        self.projections.append(Projection(0, at, "dense", row, name=f"{name} begins"))
        self._connect(feeds, at, grid)
        return at

    def _connect(self, feeds: list[_Feed], at: int, grid: Grid) -> None:
        for feed in feeds:
            edge = feed.edge
            weights = _dilated(edge.weights, edge.dilation)
            for read in feed.reads:
                all_ = _composed(
                    read, self.populations[read.population], feed.inner, weights, edge.groups, edge.stride,
                    edge.pads[:2], grid[:2], self.populations[at].name,
                )  # fmt: skip
                self.projections.append(_projection(*all_, edge.groups, self.populations, read.population, at))

    def _over(self, read: _Read, inner: Pair, kernel: Array, stride: Pair, pads: Pair, out: Pair) -> _Read:
        """Windows over what a read gives, channel by channel."""
        population = self.populations[read.population]
        c = kernel.shape[2]
        big, strides, begin, used = _composed(
            read, population, inner, kernel[:, :, None], c, stride, pads, out, population.name
        )
        return _Read(read.population, big[:, :, 0], strides, begin, used)

    # -- maxima -----------------------------------------------------------------------------------------------------

    def _maximum(self, layer: CounterLayer) -> list[_Read]:
        """Along the rows, then along the columns: every further tap of a window adds what it has more than the maximum
        before it."""
        source, window, (oh, ow, c) = layer.edges[0].source, layer.window, layer.grid
        h, w, _ = self.layers[source].grid
        reads = self.reads[source]
        for axis, inner, size in ((1, (h, w), (h, ow)), (0, (h, ow), (oh, ow))):
            reads = self._reduced(layer, reads, inner, (*size, c), axis, window.kernel[axis])
        return reads

    def _reduced(
        self, layer: CounterLayer, reads: list[_Read], inner: Pair, grid: Grid, axis: int, taps: int
    ) -> list[_Read]:
        window, (h, w, c) = layer.window, grid
        sign = np.where(layer.falling, -1.0, 1.0)
        stride = (1, window.stride[1]) if axis else (window.stride[0], 1)
        one = np.ones((1, 1, c))

        def tap(k: int) -> list[_Read]:
            pads = (0, window.pads[1] - k) if axis else (window.pads[0] - k, 0)
            return [self._over(read, inner, one, stride, pads, (h, w)) for read in reads]

        running = tap(0)
        for k in range(1, taps):
            excess = _merged([*_times(tap(k), sign), *_times(running, -sign)])
            closed = 1 + layer.most * float(sum(np.abs(r.kernel).sum(axis=(0, 1)) for r in excess).max())
            feed = _Feed(excess, (h, w), Edge(0, np.ones((1, 1, 1, c)), groups=c))
            name = self._free(f"{layer.name}_{'across' if axis else 'down'}{k}")
            at = self._counters(name, grid, np.ones(1), np.zeros(1), layer.most, closed, [feed])
            running = _merged([*running, *_times([_Read(at, one)], sign)])
        return running


def _shape(grid: Grid) -> tuple[int, ...]:
    return grid[2:] if grid[:2] == (1, 1) else grid


def _times(reads: Sequence[_Read], factor: Array) -> list[_Read]:
    return [_Read(r.population, r.kernel * factor, r.stride, r.pads, r.used) for r in reads]


def _merged(reads: Sequence[_Read]) -> list[_Read]:
    """Reads of one population with one stride become one."""
    found: dict[Any, _Read] = {}
    for read in reads:
        key = (read.population, read.stride, read.used)
        other = found.get(key)
        if other is not None:
            pads = max(read.pads[0], other.pads[0]), max(read.pads[1], other.pads[1])
            both = [
                np.pad(r.kernel, ((pads[0] - r.pads[0], 0), (pads[1] - r.pads[1], 0), (0, 0))) for r in (read, other)
            ]
            size = [max(k.shape[i] for k in both) for i in (0, 1)]
            both = [np.pad(k, ((0, size[0] - k.shape[0]), (0, size[1] - k.shape[1]), (0, 0))) for k in both]
            read = _Read(read.population, both[0] + both[1], read.stride, pads, read.used)
        found[key] = read
    return list(found.values())


def _dilated(weights: Array, dilation: Pair) -> Array:
    kh, kw = ((k - 1) * d + 1 for k, d in zip(weights.shape[:2], dilation, strict=True))
    out = np.zeros((kh, kw, *weights.shape[2:]))
    out[:: dilation[0], :: dilation[1]] = weights
    return out


Used = tuple[frozenset[int] | None, frozenset[int] | None]


def _composed(
    read: _Read, population: Population, inner: Pair, weights: Array, groups: int, stride: Pair, pads: Pair, out: Pair,
    name: str,
) -> tuple[Array, Pair, Pair, Used]:  # fmt: skip
    """A convolution over what a read gives as one over the population: weights (h, w, channels of a group, filters),
    stride, pads, and which rows and columns take part."""
    kh, kw, width, filters = weights.shape
    channel = np.arange(filters) // (filters // groups) * width + np.arange(width)[:, None]
    (ih, iw), (sh, sw) = read.kernel.shape[:2], read.stride
    big = np.zeros(((kh - 1) * sh + ih, (kw - 1) * sw + iw, width, filters))
    for ky in range(kh):
        for kx in range(kw):
            part = weights[ky, kx] * read.kernel[:, :, channel]
            big[ky * sh : ky * sh + ih, kx * sw : kx * sw + iw] += part
    used: list[frozenset[int] | None] = []
    for axis in (0, 1):
        size, k, s, p = population.grid[axis], read.kernel.shape[axis], read.stride[axis], read.pads[axis]

        def rows(r: int, s: int = s, p: int = p, k: int = k, size: int = size) -> set[int]:
            return set(range(r * s - p, r * s - p + k)) & set(range(size))

        wanted = {o * stride[axis] + j - pads[axis] for o in range(out[axis]) for j in range(weights.shape[axis])}
        right = {row for r in range(inner[axis]) for row in rows(r)}
        wrong = {row for r in wanted if not 0 <= r < inner[axis] for row in rows(r)}
        before = read.used[axis]
        if wrong & right & (right if before is None else before):
            raise UnsupportedOpError(
                f"layer '{name}': found padding after pools whose windows overlap, expected no padding, or windows "
                "side by side"
            )
        used.append(frozenset(right if before is None else right & before) if wrong else before)
    total = (stride[0] * sh, stride[1] * sw), (pads[0] * sh + read.pads[0], pads[1] * sw + read.pads[1])
    return big, *total, (used[0], used[1])


def _projection(
    big: Array,
    stride: Pair,
    pads: Pair,
    used: Used,
    groups: int,
    populations: list[Population],
    source: int,
    target: int,
) -> Projection:
    """Dense where the target is one pixel; int8 where the weights are."""
    before, after = populations[source], populations[target]
    h, w, c = before.grid
    front = max(-pads[0], 0), max(-pads[1], 0)
    big = np.pad(big, ((front[0], 0), (front[1], 0), (0, 0), (0, 0)))
    pads = max(pads[0], 0), max(pads[1], 0)
    kind = np.int8 if np.abs(big).max(initial=0) <= 127 else np.float32
    name = f"{before.name}-{after.name}"
    mask = np.ones((h, w, c), np.bool_)
    for axis, some in enumerate(used):
        if some is not None:
            outside = [i for i in range((h, w)[axis]) if i not in some]
            mask[(slice(None),) * axis + (outside,)] = False
    if after.grid[:2] == (1, 1) and groups == 1:
        seen = np.zeros((h, w, *big.shape[2:]))
        part = big[pads[0] : pads[0] + h, pads[1] : pads[1] + w]
        seen[: part.shape[0], : part.shape[1]] = part
        rows = (seen * mask[..., None]).reshape(before.size, after.size)
        return Projection(source, target, "dense", rows.astype(kind), name=name)
    width = big.shape[3] // groups
    apart = big.reshape(*big.shape[:3], groups, width).transpose(3, 2, 0, 1, 4)
    weights = np.ascontiguousarray(apart.reshape(c, *big.shape[:2], width).astype(kind))
    return Projection(
        source, target, "conv", weights, stride=stride, padding=pads, groups=groups,
        mask=None if mask.all() else mask.reshape(-1), name=name,
    )  # fmt: skip
