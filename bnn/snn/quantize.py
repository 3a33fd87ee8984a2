# SPDX-License-Identifier: Apache-2.0
"""A ReLU network as counters: every activation a whole number of levels, every sum of weights a whole number.

A layer computes, with whole numbers only (n: levels of its sources, W: weights, per channel a threshold),

    level = clip(floor((sum W n + offset) / threshold), 0, most).

A level stands for ``step``, the width of a stair; a ReLU's are step * level, rounded to the nearest.  Batch norm and
bias are part of W and offset.  All sums stay below LARGEST, so that float32 computes them exactly in any order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._arguments import check_count, check_number
from .._text import printable
from .._types import Array, Floats
from ..errors import CompileError, InputError, UnsupportedOpError
from ..ir import interpret
from ..ir.graph import DType, Graph, Node
from ..ir.ops import ClampAttrs, ConvAttrs, PoolAttrs, ReshapeAttrs, constant, conv_attrs, make
from ..ir.ops.elementwise import RoundAttrs
from ..ir.ops.sources import input_node
from ..passes.levels import levels as levels_of
from ..passes.levels import thresholds_of
from ..runtime.arrays import as_numbers, given_shape, wrong_shape

Grid = tuple[int, int, int]
Pair = tuple[int, int]

#: Bound of |sum| + |offset| + threshold: a staged neuron's membrane reaches twice that.
LARGEST = 2**23 - 1
_EVEN = 1e-3  # of a stair: how far thresholds that are evenly spaced may be from it in float32
_BATCH = 50  # images that are evaluated together


@dataclass(frozen=True, eq=False)
class Edge:
    """A convolution from one layer into another.

    ``weights`` (kernel h, kernel w, channels of a group, filters): whole numbers.  ``pads``: top, left, bottom, right,
    of level 0.  ``pool``: windows of the source that are summed first.
    """

    source: int
    weights: Array
    stride: Pair = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    pool: PoolAttrs | None = None

    @property
    def taps(self) -> int:
        """How many values a window has."""
        return int(np.prod(self.pool.kernel)) if self.pool else 1


@dataclass(frozen=True, eq=False)
class CounterLayer:
    """``kind``: "input", "levels", "max" (of the levels of a window; the minimum in channels that are ``falling``) or
    "sums" (without a threshold: the readout).  ``grid``: (h, w, c).  ``threshold``: (c,); ``offset``: (1, 1, c) or
    (h, w, c).  ``step``: what one level, or one unit of a sum, stands for."""

    name: str
    kind: str
    grid: Grid
    most: int = 0
    step: float = 1.0
    edges: tuple[Edge, ...] = ()
    threshold: Array = field(default_factory=lambda: np.ones(1))
    offset: Array = field(default_factory=lambda: np.zeros((1, 1, 1)))
    window: PoolAttrs = PoolAttrs()
    falling: Array = field(default_factory=lambda: np.zeros(1, np.bool_))


@dataclass(frozen=True, eq=False)
class Quantized:
    """Layers, sources first; the last is the output.  ``shape``: of the input, channels last.  ``bits``: of weights.
    ``agreement``: the share of the images it was made with that get the class that the model gives them."""

    layers: tuple[CounterLayer, ...]
    shape: tuple[int, ...]
    channels_first: bool
    bits: int
    agreement: float = 0.0

    @property
    def output(self) -> CounterLayer:
        return self.layers[-1]

    def classes(self, images: Any) -> Array:
        """(N,): the place of the largest output; ``images`` as for :meth:`run`."""
        return np.asarray(self.run(images)[self.output.name].reshape(len(images), -1).argmax(axis=1))

    def __str__(self) -> str:
        rows = [("layer", "kind", "shape", "levels", "threshold", "weights", "sums below")]
        for x in self.layers:
            values = int(max((np.abs(e.weights).max() for e in x.edges), default=0))
            limits = f"{x.threshold.min():.0f}..{x.threshold.max():.0f}" if x.kind == "levels" else ""
            sums = f"{int(reach(x, self.layers).max()) + 1}" if x.kind in ("levels", "sums") else ""
            weights = f"-{values}..{values}" if sums else ""
            shape = "x".join(map(str, x.grid))
            rows.append((printable(x.name), x.kind, shape, f"{x.most}" if x.most else "", limits, weights, sums))
        widths = [max(len(row[i]) for row in rows) for i in range(7)]
        return "\n".join(
            "  ".join(t.ljust(n) if i < 3 else t.rjust(n) for i, (t, n) in enumerate(zip(row, widths, strict=True)))
            for row in rows
        )

    def graph(self) -> Graph:
        """The same in the IR, whose oracle computes it; its outputs are all layers but the input."""
        image = input_node(self.layers[0].name, self.shape)
        h, w, c = self.layers[0].grid
        first = image if image.type.shape == (h, w, c) else make("reshape", image, attrs=ReshapeAttrs((h, w, c)))
        values = [first]
        for layer in self.layers[1:]:
            values.append(_node(layer, values))
        return Graph((image,), tuple(values[1:]), tuple(x.name for x in self.layers[1:]))

    def run(self, images: Any) -> dict[str, Array]:
        """Every layer's levels, or sums, (N, h, w, c) float32 whole numbers, by name; in NumPy.

        ``images``: (N, *shape), whole numbers, channels last.
        """
        graph = self.graph()
        parts = [
            interpret.run(graph, [np.asarray(images[i : i + _BATCH], np.float32)])
            for i in range(0, len(images), _BATCH)
        ]
        return {
            name: np.concatenate([part[node] for part in parts])
            for name, node in zip(graph.output_names, graph.outputs, strict=True)
        }


def _node(layer: CounterLayer, values: Sequence[Node]) -> Node:
    """A layer as ops."""
    channels = layer.grid[2]
    if layer.kind == "max":
        (edge,) = layer.edges
        signs = constant(np.where(layer.falling, -1, 1))
        x = make("mul", values[edge.source], signs)
        return make("mul", make("max_pool", x, attrs=layer.window), signs, name=layer.name)
    total: Node | None = None
    for edge in layer.edges:
        x = values[edge.source]
        if edge.pool:
            x = make("sum_pool", x, attrs=edge.pool)
        attrs = ConvAttrs(edge.stride, edge.dilation, edge.pads, groups=edge.groups)
        x = make("conv2d", x, constant(edge.weights.transpose(3, 0, 1, 2)), attrs=attrs, name=layer.name)
        total = x if total is None else make("add", total, x, name=layer.name)
    assert total is not None
    total = make("add", total, constant(np.broadcast_to(layer.offset, (*layer.offset.shape[:2], channels))))
    if layer.kind == "sums":
        return dataclasses.replace(total, name=layer.name)
    total = make("div", total, constant(np.broadcast_to(layer.threshold, channels)))
    total = make("round", total, attrs=RoundAttrs(-1))
    return make("clamp", total, attrs=ClampAttrs(0.0, float(layer.most)), name=layer.name)


@dataclass(frozen=True, eq=False)
class _Part:
    """A share of a value: a convolution of a layer's levels by real weights; None: each level times ``scale`` (c,)."""

    layer: int
    scale: Array
    weights: Array | None = None
    stride: Pair = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    pool: PoolAttrs | None = None

    def times(self, factor: Array) -> _Part:
        """The part multiplied by ``factor``, one number per channel of the result."""
        if self.weights is None:
            return dataclasses.replace(self, scale=self.scale * factor)
        return dataclasses.replace(self, weights=self.weights * factor)

    @property
    def taps(self) -> Array:
        """(kernel h, kernel w, channels of a group, filters)"""
        return self.scale.reshape(1, 1, 1, -1) if self.weights is None else self.weights

    def edge(self, weights: Array) -> Edge:
        groups = len(self.scale) if self.weights is None else self.groups
        return Edge(self.layer, weights, self.stride, self.pads, self.dilation, groups, self.pool)


@dataclass(frozen=True, eq=False)
class _Value:
    """What a node computes: its parts and ``bias``, (1, 1, c) or (h, w, c).  ``window``: the maximum of these in each
    window, and only then ``* factor + shift`` (c,)."""

    grid: Grid
    parts: tuple[_Part, ...]
    bias: Array
    window: PoolAttrs | None = None
    factor: Array = field(default_factory=lambda: np.ones(1))
    shift: Array = field(default_factory=lambda: np.zeros(1))

    @property
    def plain(self) -> _Part | None:
        """Its only part, if that is the levels of a layer."""
        only = self.parts[0] if len(self.parts) == 1 and self.window is None else None
        return only if only and only.weights is None and only.pool is None else None

    def affine(self, factor: Array, shift: Array) -> _Value:
        if self.window is not None:
            if shift.shape[:2] != (1, 1):
                raise ValueError
            return dataclasses.replace(self, factor=self.factor * factor, shift=self.shift * factor + shift.reshape(-1))
        parts = tuple(p.times(factor) for p in self.parts)
        return dataclasses.replace(self, parts=parts, bias=self.bias * factor + shift)


def _refused(node: Node, why: str) -> UnsupportedOpError:
    return UnsupportedOpError(f"layer '{node.name or node.op}': {why}")


class _Reader:
    """Reads a graph node by node."""

    def __init__(self, graph: Graph, largest: Mapping[Node, float], most: int, bits: int) -> None:
        self.graph, self.largest, self.most, self.limit = graph, largest, most, 2 ** (bits - 1) - 1
        self.layers: list[CounterLayer] = []
        self.values: dict[Node, _Value] = {}
        self._names: set[str] = {"clock"}

    def add(self, layer: CounterLayer) -> int:
        name, i = layer.name, 2
        while name in self._names:
            name, i = f"{layer.name}_{i}", i + 1
        self._names.add(name)
        self.layers.append(dataclasses.replace(layer, name=name))
        return len(self.layers) - 1

    def input(self, node: Node, scale: float, offset: float, most: int) -> None:
        grid = _grid(node.type.shape)
        at = self.add(CounterLayer(node.name or "input", "input", grid, most, scale))
        bias = np.full((1, 1, grid[2]), float(offset))
        self.values[node] = _Value(grid, (_Part(at, np.full(grid[2], float(scale))),), bias)

    def read(self, node: Node) -> None:
        known = levels_of(node)
        if known is not None:
            self.values[node] = self._staircase(node, known.bits, np.asarray(known.values, np.float64))
            return
        method: Callable[[Node], _Value] | None = getattr(self, f"_{node.op}", None)
        if method is None:
            found = "padding that is no convolution's own" if node.op == "pad" else f"the op {node.op}"
            raise _refused(node, f"found {found}, expected convolutions, dense layers, ReLUs and pools")
        self.values[node] = method(node)

    def readout(self, node: Node) -> None:
        """The output: sums, unless it is a layer's levels."""
        value = self.values[node]
        if value.window is not None:
            raise _refused(node, "found max-pooling of the network's last sums, expected an activation before or after")
        plain = value.plain
        if plain is not None and plain.layer == len(self.layers) - 1 and plain.layer:
            return
        taps = [p.taps for p in value.parts]
        scale = max(float(np.abs(t).max()) for t in taps) / self.limit
        if scale == 0:
            raise _refused(node, "found weights that are all 0")
        total = self._reach(value) + np.abs(value.bias).max(axis=(0, 1))
        scale = max(scale, float(total.max()) / (0.9 * LARGEST))
        edges = tuple(p.edge(np.rint(t / scale)) for p, t in zip(value.parts, taps, strict=True))
        layer = CounterLayer(
            node.name or "sums", "sums", value.grid, 0, scale, edges, offset=np.rint(value.bias / scale)
        )
        self._check(node, layer)
        self.add(layer)

    # -- ops ------------------------------------------------------------------------------------------------------

    def _cast(self, node: Node) -> _Value:
        if len(node.inputs) > 1:
            raise _refused(node, "found a table of bytes, expected pixels as they are")
        return self.values[node.inputs[0]]

    def _reshape(self, node: Node) -> _Value:
        value, shape = self.values[node.inputs[0]], _grid(node.type.shape)
        grid = value.grid if value.window is None else _pooled_grid(value.grid, value.window)
        if grid == shape:
            return value
        raise _refused(node, "found a reshape that is not the flattening before a dense layer")

    def _softmax(self, node: Node) -> _Value:
        if node not in self.graph.outputs:
            raise _refused(node, "found a softmax inside the network, expected it at the end or not at all")
        return self.values[node.inputs[0]]  # the largest sum stays the largest

    def _conv2d(self, node: Node) -> _Value:
        x, filters = node.inputs
        a, value = conv_attrs(node), self.values[x]
        only = value.parts[0] if len(value.parts) == 1 else None
        if only is None or only.weights is not None or value.window is not None:
            raise _refused(
                node, f"found no activation between it and '{x.name or x.op}', expected a ReLU, or a quantizer"
            )
        if not filters.is_constant:
            raise _refused(node, "found weights that depend on the data")
        weights = filters.value.astype(np.float64).transpose(1, 2, 3, 0)
        grid = _grid(node.type.shape)
        bias = _convolved(value.bias, value.grid, weights, a, grid)
        inner, outer = weights.shape[2], weights.shape[3]
        channel = np.arange(outer) // (outer // a.groups) * inner + np.arange(inner)[:, None]
        part = dataclasses.replace(
            only, weights=weights * only.scale[channel], stride=a.stride, pads=a.pads, dilation=a.dilation,
            groups=a.groups,
        )  # fmt: skip
        return _Value(grid, (part,), bias)

    def _add(self, node: Node) -> _Value:
        (a, b), sign = node.inputs, -1.0 if node.op == "sub" else 1.0
        if b.is_constant:
            return self._affine(node, a, np.ones(1), _spread(sign * b.value))
        if a.is_constant:
            return self._affine(node, b, np.full(1, sign), _spread(a.value))
        one, other = self.values[a], self.values[b]
        if one.window is not None or other.window is not None or one.grid != other.grid:
            raise _refused(node, "found a sum of values that are max-pooled, or of different shapes")
        other = other.affine(np.full(1, sign), np.zeros((1, 1, 1)))
        return _Value(one.grid, one.parts + other.parts, one.bias + other.bias)

    _sub = _add

    def _mul(self, node: Node) -> _Value:
        a, b = node.inputs
        if not b.is_constant:
            raise _refused(node, "found a product of two values, expected one with a constant")
        return self._affine(node, a, b.value.astype(np.float64), np.zeros((1, 1, 1)))

    def _div(self, node: Node) -> _Value:
        a, b = node.inputs
        if not b.is_constant:
            raise _refused(node, "found a division by a value, expected one by a constant")
        return self._affine(node, a, 1 / b.value.astype(np.float64), np.zeros((1, 1, 1)))

    def _affine(self, node: Node, x: Node, factor: Array, shift: Array) -> _Value:
        value = self.values[x]
        if factor.size not in (1, value.grid[2]):
            raise _refused(node, f"found a factor of shape {factor.shape}, expected one per channel")
        try:
            return value.affine(factor.reshape(-1), shift)
        except ValueError:
            raise _refused(node, "found an addend that is not one per channel after max-pooling") from None

    def _clamp(self, node: Node) -> _Value:
        assert isinstance(node.attrs, ClampAttrs)
        (x,) = node.inputs
        lo, hi, value = node.attrs.lo, node.attrs.hi, self.values[x]
        if (lo, hi) == (-np.inf, np.inf):
            return value
        plain = value.plain
        if plain is not None and plain.layer and lo <= 0 and not value.bias.any():
            highest = plain.scale * self.layers[plain.layer].most
            if (highest >= 0).all() and (highest <= hi).all():
                return value  # levels are in the range already
        if lo != 0 or not hi > 0:
            raise _refused(
                node, f"found an activation from {lo:g} to {hi:g}, expected a ReLU: from 0 to a limit or not"
            )
        step = min(self.largest[node], hi) / self.most
        if step == 0:
            raise _refused(node, "found no value above 0 in the images, expected images like those of the training")
        return self._levels(node, value, step / 2, step, self.most, 0.0, step)

    def _staircase(self, node: Node, bits: Node, values: Array) -> _Value:
        found = thresholds_of(bits)
        if found is None or found[0] not in self.values:
            raise _refused(node, "found a quantizer with different thresholds per channel, expected the same")
        x, thresholds = found
        most = len(thresholds)
        width = float(thresholds[-1] - thresholds[0]) / (most - 1) if most > 1 else 1.0
        even = thresholds[0] + width * np.arange(most)
        step = float(values[-1] - values[0]) / most
        stairs = values[0] + step * np.arange(most + 1)
        if (
            width <= 0
            or np.abs(even - thresholds).max() > _EVEN * width
            or np.abs(stairs - values).max() > _EVEN * abs(step)
        ):
            raise _refused(node, "found a quantizer whose steps are not evenly spaced")
        return self._levels(node, self.values[x], float(thresholds[0]), width, most, float(values[0]), step)

    def _levels(
        self, node: Node, value: _Value, first: float, width: float, most: int, low: float, step: float
    ) -> _Value:
        """A layer of levels: 1 begins at ``first``, each is ``width`` wide; level n stands for low + step * n."""
        window, falling = value.window, np.zeros(1, np.bool_)
        if window is not None:
            falling = np.broadcast_to(value.factor < 0, value.grid[2])
            factor, shift = value.factor, value.shift.reshape(1, 1, -1)
            value = dataclasses.replace(value, window=None).affine(factor, shift)
        grid = value.grid
        taps = [p.taps for p in value.parts]
        channels = grid[2]
        largest = np.max([np.abs(t).max(axis=(0, 1, 2)) for t in taps], axis=0)
        bias = value.bias - first
        total = self._reach(value) + np.abs(bias).max(axis=(0, 1)) + 2 * width
        with np.errstate(divide="ignore"):
            threshold = np.minimum(self.limit * width / largest, 0.9 * LARGEST * width / total)
        threshold = np.maximum(np.floor(np.broadcast_to(threshold, channels)), 1)
        unit = width / threshold
        edges = tuple(p.edge(np.rint(t / unit)) for p, t in zip(value.parts, taps, strict=True))
        offset = np.rint(bias / unit) + threshold
        name = node.name or "levels"
        layer = CounterLayer(name, "levels", grid, most, step, edges, threshold, offset)
        self._check(node, layer)
        at = self.add(layer)
        scale, bias = np.full(channels, step), np.full((1, 1, channels), low)
        levels = _Value(grid, (_Part(at, scale),), bias)
        return levels if window is None else self._pooled(node, levels, window, falling)

    def _max_pool(self, node: Node) -> _Value:
        assert isinstance(node.attrs, PoolAttrs)
        value = self.values[node.inputs[0]]
        if value.plain is not None:
            return self._pooled(node, value, node.attrs, value.plain.scale < 0)
        if value.window is not None or any(p.pool for p in value.parts):
            raise _refused(node, "found two pools without an activation between them")
        return dataclasses.replace(value, window=node.attrs)  # after the activation, which never falls

    def _pooled(self, node: Node, value: _Value, window: PoolAttrs, falling: Array) -> _Value:
        """The maximum of levels."""
        part = value.plain
        assert part is not None
        if value.bias.shape[:2] != (1, 1):
            raise _refused(node, "found max-pooling of an input with an offset per pixel")
        if any(window.pads) and falling.any():
            raise _refused(node, "found padded max-pooling before a factor below 0, expected no padding")
        h, w, c = value.grid
        out = _pooled_grid((h, w, c), window)
        below = self.layers[part.layer]
        layer = CounterLayer(
            f"{below.name}_max", "max", out, below.most, below.step, (Edge(part.layer, np.ones((1, 1, 1, 1))),),
            window=window, falling=np.broadcast_to(falling, c),
        )  # fmt: skip
        return _Value(out, (dataclasses.replace(part, layer=self.add(layer)),), value.bias)

    def _avg_pool(self, node: Node) -> _Value:
        assert isinstance(node.attrs, PoolAttrs)
        value = self.values[node.inputs[0]]
        part = value.plain
        if part is None:
            raise _refused(node, "found average pooling of sums, expected it after an activation")
        if any(node.attrs.pads):
            raise _refused(node, "found padded average pooling, expected no padding")
        if value.bias.shape[:2] != (1, 1):
            raise _refused(node, "found average pooling of an input with an offset per pixel")
        size = float(np.prod(node.attrs.kernel))
        taps = size if node.op == "sum_pool" else 1.0  # what a window of ones gives
        pooled = dataclasses.replace(part, pool=node.attrs, scale=part.scale * (taps / size))
        return _Value(_grid(node.type.shape), (pooled,), value.bias * taps)

    _sum_pool = _avg_pool

    # -- whole numbers ----------------------------------------------------------------------------------------------

    def _reach(self, value: _Value) -> Array:
        """The largest magnitude of the parts' sum, per channel."""
        return np.asarray(
            sum(
                np.abs(p.taps).sum(axis=(0, 1, 2))
                * self.layers[p.layer].most
                * (np.prod(p.pool.kernel) if p.pool else 1)
                for p in value.parts
            )
        )

    def _check(self, node: Node, layer: CounterLayer) -> None:
        if reach(layer, self.layers).max() > LARGEST:
            raise _refused(
                node, f"found sums up to {int(reach(layer, self.layers).max()):,}, expected at most {LARGEST:,}; give "
                "fewer levels or bits of weights"
            )  # fmt: skip


def reach(layer: CounterLayer, layers: Sequence[CounterLayer]) -> Array:
    """|sum| + |offset| + threshold at most, per channel."""
    sums = sum(np.abs(e.weights).sum(axis=(0, 1, 2)) * e.taps * layers[e.source].most for e in layer.edges)
    return np.asarray(sums + np.abs(layer.offset).max(axis=(0, 1)) + layer.threshold)


def _grid(shape: tuple[int, ...]) -> Grid:
    if len(shape) not in (1, 3):
        raise CompileError(f"found a value of shape {shape}, expected an image (h, w, c) or a vector (c,)")
    h, w, c = (1, 1, *shape)[-3:]
    return h, w, c


def _spread(value: Array) -> Array:
    """A constant as (1, 1, c) or (h, w, c)."""
    return value.astype(np.float64).reshape((1, 1, 1, *value.shape)[-3:])


def _pooled_grid(grid: Grid, a: PoolAttrs) -> Grid:
    h, w = ((grid[i] + a.pads[i] + a.pads[i + 2] - a.kernel[i]) // a.stride[i] + 1 for i in (0, 1))
    return h, w, grid[2]


def _convolved(bias: Array, grid: Grid, weights: Array, a: ConvAttrs, out: Grid) -> Array:
    """The convolution of a bias, in float64; (1, 1, c) where it is the same everywhere."""
    if not bias.any():
        return np.zeros((1, 1, out[2]))
    full = np.broadcast_to(bias, grid)
    padded = np.pad(full, ((a.pads[0], a.pads[2]), (a.pads[1], a.pads[3]), (0, 0)))
    inner, width = weights.shape[2], weights.shape[3] // a.groups
    result = np.zeros(out)
    for ky in range(weights.shape[0]):
        for kx in range(weights.shape[1]):
            y, x = ky * a.dilation[0], kx * a.dilation[1]
            seen = padded[y : y + (out[0] - 1) * a.stride[0] + 1 : a.stride[0]]
            seen = seen[:, x : x + (out[1] - 1) * a.stride[1] + 1 : a.stride[1]]
            for g in range(a.groups):
                mine = slice(g * width, (g + 1) * width)
                result[:, :, mine] += seen[:, :, g * inner : (g + 1) * inner] @ weights[ky, kx, :, mine]
    return result[:1, :1] if (result == result[:1, :1]).all() else result


def quantize(
    graph: Graph, images: Any, *, levels: int = 15, bits: int = 8, scale: float = 1.0, offset: float = 0.0,
    percentile: float = 100.0, most_input: int = 255,
) -> Quantized:  # fmt: skip
    """Quantize a graph (as recognize_quantizers leaves it) whose input is ``pixel / scale + offset``.

    Args:
        images: (N, *shape) in the model's layout, whole numbers from 0 to ``most_input``: the ranges of ReLUs are taken
            from them.
        levels: of every ReLU, beside 0.
        bits: of weights, 2 to 16; above 8 they are stored as float32.
        percentile: of a layer's positive values that becomes its highest level; 100: the largest.

    Raises:
        UnsupportedOpError: a layer cannot be counters; names it, and why.
        InputError: images or a number are wrong.
    """
    images = as_numbers(images, "images")
    _check_arguments(graph, images, levels, bits, scale, offset, percentile, most_input)
    if graph.channels_first and images.ndim > 2:
        images = np.moveaxis(images, 1, -1)
    largest, classes = _ranges(graph, images, scale, offset, percentile)
    reader = _Reader(graph, largest, levels, bits)
    (image,) = graph.inputs
    reader.input(image, 1 / scale, offset, most_input)
    for node in graph.nodes():
        hidden = node.type.dtype is DType.b1 or node.op in ("input", "constant")
        if not hidden:
            reader.read(node)
    reader.readout(graph.outputs[0])
    made = Quantized(tuple(reader.layers), image.type.shape, graph.channels_first, bits)
    return dataclasses.replace(made, agreement=float((made.classes(images) == classes).mean()))


def _check_arguments(
    graph: Graph, images: Array, levels: int, bits: int, scale: float, offset: float, percentile: float, most: int
) -> None:
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise UnsupportedOpError(
            f"found {len(graph.inputs)} inputs and {len(graph.outputs)} outputs, expected a network with one of each"
        )
    check_count(levels, "levels", 255)
    check_count(bits, "bits of weights", 16, 2)
    if not 0 < check_number(percentile, "percentile") <= 100:
        raise InputError(f"percentile: found {percentile}, expected a number above 0, at most 100")
    with np.errstate(all="ignore"):  # in the type of the computation: a nonzero number may be 0 in float32
        divisor, added = np.float32(check_number(scale, "scale")), np.float32(check_number(offset, "offset"))
    if divisor == 0 or not np.isfinite(divisor):
        raise InputError(f"scale: found {scale}, expected a finite float32 that is not 0")
    if not np.isfinite(added):
        raise InputError(f"offset: found {offset}, expected a finite float32")
    shape = given_shape(graph.inputs[0].type.shape, graph.channels_first)
    if images.ndim and not len(images):
        raise InputError("images: found none, expected at least one, like those of the training")
    if images.shape[1:] != shape:
        raise wrong_shape("images", images.shape, shape)
    check_whole(images, "images", 0, most, f", and give --scale {most}")


def check_whole(x: Array, what: str, least: int, most: int, then: str = "") -> None:
    """Raise InputError unless these are whole numbers from ``least`` to ``most``; ``then``: the end of its remedy."""
    wrong = np.argwhere(~((x >= least) & (x <= most) & (x == np.floor(x))))
    if len(wrong):
        at = tuple(wrong[0].tolist())
        remedy = f"; multiply by {most} and round{then}" if 0 <= x.min() <= x.max() <= 1 else ""
        raise InputError(f"{what}: found {x[at]:g} at {at}, expected whole numbers from {least} to {most}{remedy}")


def _ranges(
    graph: Graph, images: Array, scale: float, offset: float, percentile: float
) -> tuple[dict[Node, float], Array]:
    """The largest value of every ReLU, or a percentile of those above 0, over all images; and their classes."""
    classes = []
    clamps = [n for n in graph.nodes() if n.op == "clamp"]
    found: dict[Node, list[Floats]] = {n: [] for n in clamps}
    for i in range(0, len(images), _BATCH):
        x = images[i : i + _BATCH]
        if graph.inputs[0].type.dtype is DType.f32:
            x = np.asarray(x / np.float32(scale) + np.float32(offset), np.float32)
        values = interpret.run(graph, [x])
        classes.append(values[graph.outputs[0]].reshape(len(x), -1).argmax(axis=1))
        for node in clamps:
            above = values[node][values[node] > 0]
            found[node].append(above if percentile < 100 else above.max(initial=0).reshape(1))
    joined = {n: np.concatenate(parts) for n, parts in found.items()}
    return {n: float(np.percentile(x, percentile)) if x.size else 0.0 for n, x in joined.items()}, np.concatenate(
        classes
    )
