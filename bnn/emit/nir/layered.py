# SPDX-License-Identifier: Apache-2.0
"""From integer sums to layers of neurons: a chain of one convolution (or matrix) and one kind of neuron each.

If a later layer needs something from an earlier one, the layers between relay it spike by spike.  A clock channel of
ones goes through all layers and provides every constant.  With data x = 2s - 1 inside the image, v outside, and the
clock c = 1 inside, 0 outside (zero padding), a tap with weights w adds

    w.x  =  2 w.s - (1 + v) sum(w) c + v sum(w),

so sums over padded borders are exact with ordinary zero padding.  A neuron receives u = sum - threshold + 1/2, an odd
multiple of 1/2, as v = (u + T) / T with T a power of two above |u|: v > 1 is a spike (with > as with >=), v < 2 fires
once, v > 0 reaches no floor, and every number is exact in float32 (checked: partial sums stay below 2^24 units).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..._types import Array
from ...errors import UnsupportedOpError
from ...ir.graph import Node
from .network import SpikeNetwork, SpikeOp, Term
from .views import spatial

Shape = tuple[int, int, int]

EXACT = 2**24  # whole numbers below it, and sums of them, are exact in float32
LARGEST_MATRIX = 2**26  # elements of one weight array, 256 MB
CLOCK = 1.5  # the membrane of the neuron that always fires


@dataclass(frozen=True, eq=False)
class Field:
    """Channels of a layer's output: ``kind`` is "layer", "relay", "readout" or "clock".  ``shape`` is (h, w, c);
    ``start`` is the first channel, or in a flat layer the first element (order: channel, row, column)."""

    kind: str
    node: Node | None
    name: str
    start: int
    shape: Shape
    T: tuple[int, ...] = ()  # neurons: the power of two of each channel

    @property
    def margin(self) -> float:
        """The least distance of the membrane from the threshold."""
        return 0.5 / max(self.T) if self.T else 0.0


@dataclass(frozen=True, eq=False)
class NirLayer:
    """``weight`` float32: (O, I, K, K) with its ``stride`` and ``padding``, or a matrix (out, in) where ``flat``.
    ``shape``: (C, H, W), or (n,), clock included; the last layer of a network with readouts has no ``neurons``."""

    name: str
    weight: Array
    stride: tuple[int, int]
    padding: tuple[int, int]
    shape: tuple[int, ...]
    fields: tuple[Field, ...]
    neurons: bool
    flat: bool

    @property
    def neuron_name(self) -> str:
        return f"{self.name}_spikes"


@dataclass(frozen=True, eq=False)
class LayeredNetwork:
    """A chain of layers; ``inputs`` are the fields of the input, ``input_shape`` its shape, clock included."""

    network: SpikeNetwork
    inputs: tuple[Field, ...]
    input_shape: tuple[int, ...]
    layers: tuple[NirLayer, ...]
    flat: bool


def layered(network: SpikeNetwork, flat: bool) -> LayeredNetwork:
    """Arrange a network as a chain; ``flat``: as matrices, for importers that support only vectors.

    Raises :class:`UnsupportedOpError` if that is impossible: images of different sizes in parallel (not ``flat``), sums
    that float32 cannot hold exactly, matrices too large; names the layer and the remedy.
    """
    levels = _levels(network)
    inputs = _fields([("layer", s, s.name) for s in levels[0].alive], flat)
    layers: list[NirLayer] = []
    names: set[str] = {"input", "output"}
    before = inputs
    for level in levels[1:]:
        build = _matrix if flat else _convolution
        layer = build(level, before, unique_name(level.ops[0].name if level.ops else "readout", names), level.readout)
        layers.append(layer)
        before = layer.fields
    return LayeredNetwork(network, inputs, _shape(inputs, flat), tuple(layers), flat)


@dataclass
class _Level:
    """The ops of one step, and the values that are still needed after it."""

    ops: list[SpikeOp]
    alive: list[Node]
    readout: bool = False


def _levels(network: SpikeNetwork) -> list[_Level]:
    """Every op comes as early as possible; a value is alive until its last reader."""
    depth: dict[Node, int] = dict.fromkeys(network.sources, 0)
    for op in network.ops:
        depth[op.node] = 1 + max(depth[t.source] for t in op.terms)
    last = max(depth.values())
    if network.readouts:
        last += 1
    until = dict(depth)
    for op in network.ops:
        for t in op.terms:
            until[t.source] = max(until[t.source], depth[op.node] - 1)
    for op in network.readouts:
        for t in op.terms:
            until[t.source] = last - 1
    for node in network.spikes_out:
        until[node] = last
    levels = [_Level([], list(network.sources))]
    for i in range(1, last + 1):
        ops = [op for op in network.ops if depth[op.node] == i]
        if i == last:
            ops += network.readouts
        alive = [n for n in depth if depth[n] <= i <= until[n] and n not in {op.node for op in ops}]
        levels.append(_Level(ops, alive, i == last and bool(network.readouts)))
    return levels


def _relay(node: Node, readout: bool) -> SpikeOp:
    """The op that repeats a node's spikes, or reads them out as +1 and -1."""
    h, w, c = spatial(node.type.shape)
    one = np.eye(c, dtype=np.int64).reshape(c, 1, 1, c)
    term = Term(node, one, (1, 1), (0, 0, 0, 0), np.full(c, -1))
    return SpikeOp(node, (term,), None if readout else np.zeros(c, np.int64), (h, w, c))


def _fields(entries: Sequence[tuple[str, Node, str]], flat: bool, T: Sequence[Array] = ()) -> tuple[Field, ...]:
    fields, at = [], 0
    for i, (kind, node, name) in enumerate(entries):
        h, w, c = spatial(node.type.shape)
        scale = tuple(int(t) for t in T[i]) if T else ()
        fields.append(Field(kind, node, name, at, (h, w, c), scale))
        at += h * w * c if flat else c
    if not entries or entries[0][0] != "readout":
        grid = (1, 1) if flat or not entries else spatial(entries[0][1].type.shape)[:2]
        fields.append(Field("clock", None, "clock", at, (*grid, 1), (2,)))
    return tuple(fields)


def _shape(fields: Sequence[Field], flat: bool) -> tuple[int, ...]:
    last = fields[-1]
    h, w, c = last.shape
    return (last.start + h * w * c,) if flat else (last.start + c, h, w)


def unique_name(name: str, names: set[str]) -> str:
    """A name that torch modules and HDF5 groups can carry."""
    plain = "".join(ch if ch.isalnum() and ch.isascii() else "_" for ch in name).strip("_") or "layer"
    if plain[0].isdigit():
        plain = f"layer_{plain}"
    base, i = plain, 2
    while {plain, f"{plain}_spikes"} & names:
        plain, i = f"{base}_{i}", i + 1
    names |= {plain, f"{plain}_spikes"}
    return plain


@dataclass(frozen=True)
class _Scaled:
    """An op's constants: ``offset`` in the sum's units, ``T`` per filter (1 for a readout)."""

    op: SpikeOp
    kind: str
    offset: Array
    T: Array


def scaled(op: SpikeOp, kind: str) -> _Scaled:
    """The neurons of an op, with powers of two as thresholds.  Raises UnsupportedOpError where float32 is not exact."""
    reach = op.reach.astype(np.int64)
    taps = sum((t.weight.reshape(len(t.weight), -1).sum(axis=1) * t.outside for t in op.terms), np.zeros_like(reach))
    if op.threshold is None:
        T = np.ones_like(reach)
        offset = taps.astype(np.float64)
    else:
        limit = np.clip(op.threshold, -reach, reach + 1)  # beyond these the neuron fires always or never
        largest = np.maximum(np.abs(reach - limit + 0.5), np.abs(-reach - limit + 0.5))
        T = 2 ** (np.floor(np.log2(largest)).astype(np.int64) + 1)
        offset = taps - limit + 0.5 + T
    units = 2 * (4 * reach + np.abs(offset).astype(np.int64) + 1)
    if units.max() >= EXACT:
        raise UnsupportedOpError(
            f"layer '{op.name}': its sums reach {int(reach.max()):,}, which float32 membranes cannot hold exactly; "
            "make the layer smaller"
        )
    return _Scaled(op, kind, offset, T)


def _members(level: _Level) -> list[_Scaled]:
    kinds = [(op, "layer" if op.threshold is not None else "readout") for op in level.ops]
    relays = [(_relay(n, level.readout), "readout" if level.readout else "relay") for n in level.alive]
    return [scaled(op, kind) for op, kind in kinds + relays]


# -- convolutions -----------------------------------------------------------------------------------------------------


def _convolution(level: _Level, before: Sequence[Field], name: str, readout: bool) -> NirLayer:
    members = _members(replace(level, ops=[as_convolutions(op) for op in level.ops]))
    at = {f.node: f for f in before}
    grid, out = before[0].shape[:2], members[0].op.shape[:2]
    for m in members:
        if m.op.shape[:2] != out:
            raise _sizes(m.op.name, m.op.shape[:2], members[0].op.name, out)
    for f in before:
        if f.shape[:2] != grid:
            raise _sizes(f.name, f.shape[:2], before[0].name, grid)
    terms = [t for m in members for t in m.op.terms]
    axes = [axis_geometry(terms, axis, grid[axis], out[axis], name) for axis in (0, 1)]
    size, stride, padding = _square(axes, name)
    fields = _fields([(m.kind, m.op.node, m.op.name) for m in members], False, [m.T for m in members])
    shape = _shape(fields, False)
    weight = np.zeros((shape[0], _shape(before, False)[0], size, size))
    constants = [constant_taps(grid[i], out[i], stride[i], padding[i], size) for i in (0, 1)]
    assert constants[0] is not None and constants[1] is not None
    for m, f in zip(members, fields, strict=False):
        rows = slice(f.start, f.start + f.shape[2])
        for t in m.op.terms:
            y, x = padding[0] - t.pads[0], padding[1] - t.pads[1]
            ky, kx = slice(y, y + t.weight.shape[1]), slice(x, x + t.weight.shape[2])
            source = at[t.source]
            columns = slice(source.start, source.start + source.shape[2])
            weight[rows, columns, ky, kx] += 2 * t.weight.transpose(0, 3, 1, 2)
            weight[rows, -1, ky, kx] -= (1 + t.outside)[:, None, None] * t.weight.sum(axis=3)
        _add_constant(weight[rows, -1], m.offset, constants[0], constants[1])
        weight[rows] /= m.T[:, None, None, None]
    if not readout:
        _add_constant(weight[-1:, -1], np.array([CLOCK]), constants[0], constants[1])
    return NirLayer(name, weight.astype(np.float32), stride, padding, shape, fields, not readout, False)


def _sizes(name: str, size: tuple[int, ...], other: str, other_size: tuple[int, ...]) -> UnsupportedOpError:
    return UnsupportedOpError(
        f"layer '{name}': its image of {size[0]}x{size[1]} would have to pass through beside '{other}', which is "
        f"{other_size[0]}x{other_size[1]}; a chain of convolutions cannot carry both: use the profile 'flat'"
    )


def _add_constant(taps: Array, value: Array, rows: Sequence[int], columns: Sequence[int]) -> None:
    """Add ``value`` (O) to the clock's taps (O, K, K) where exactly one of them lies inside the image."""
    for y in rows:
        for x in columns:
            taps[:, y, x] += value


def constant_taps(size: int, out: int, stride: int, padding: int, kernel: int) -> list[int] | None:
    """Kernel offsets such that exactly one lies inside the image at every output: one offset that always does,
    otherwise offsets ``size`` apart; None if the kernel has no such offsets."""
    if padding < kernel and (out - 1) * stride < size:
        return [padding]
    for first in range(min(size, kernel)):
        taps = range(first, kernel, size)
        inside = [[k for k in taps if 0 <= o * stride - padding + k < size] for o in range(out)]
        if all(inside):  # taps that are the image's size apart are never both inside
            return sorted({found[0] for found in inside})
    return None


def axis_geometry(terms: Sequence[Term], axis: int, size: int, out: int, name: str) -> dict[int, tuple[int, int]]:
    """One axis of a layer's geometry: (stride, padding) for each kernel size that contains every term's kernel.

    A term that pads ``before`` starts at the kernel's offset padding - before.  If the output is one pixel, the stride
    is free, and 2 allows kernels of the other parity.
    """
    strides = sorted({t.stride[axis] for t in terms}) if out > 1 else [1]
    if len(strides) > 1:
        raise UnsupportedOpError(
            f"layer '{name}': strides {strides} in parallel; a chain of convolutions cannot do both: use the profile "
            "'flat'"
        )
    befores = [(t.pads[axis], t.weight.shape[1 + axis]) for t in terms]
    least = max(0, max(b for b, _ in befores))
    found: dict[int, tuple[int, int]] = {}
    for stride in strides if out > 1 else (1, 2):
        for padding in range(least, least + size + max(k for _, k in befores) + 1):
            needed = max(padding - b + k for b, k in befores)
            for kernel in range(needed, size + 2 * padding + 1):
                count = (size + 2 * padding - kernel) // stride + 1
                if count < out:
                    break
                if count == out and constant_taps(size, out, stride, padding, kernel) is not None:
                    found.setdefault(kernel, (stride, padding))
    return found


def _square(axes: Sequence[dict[int, tuple[int, int]]], name: str) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """(kernel size, stride, padding).  nir's type inference takes a kernel's height for its width too, so kernels are
    square, with zero taps where necessary."""
    sizes = sorted(set(axes[0]) & set(axes[1]))
    if not sizes:
        raise UnsupportedOpError(
            f"layer '{name}': no square kernel with symmetric padding is equal, and nir's type check allows no "
            "others; use the profile 'flat'"
        )
    (sy, py), (sx, px) = (axis[sizes[0]] for axis in axes)
    return sizes[0], (sy, sx), (py, px)


def as_convolutions(op: SpikeOp) -> SpikeOp:
    """The same layer, with its moves as convolutions."""
    terms = tuple(t if t.index is None else _as_convolution(t, t.index, op.name) for t in op.terms)
    return replace(op, terms=terms)


def _as_convolution(t: Term, index: Array, name: str) -> Term:
    """A move that takes every pixel of a channel from the same relative place: a crop, every second pixel, pixels as
    channels, elements as one pixel."""
    height, width, channels = spatial(t.source.type.shape)
    h, w, c = index.shape
    mine = np.flatnonzero(index[0, 0] >= 0)
    pixel, channel = np.divmod(index[:, :, mine], channels)
    y, x = np.divmod(pixel, width)
    tops, lefts = y[0, 0], x[0, 0]
    down = int(y[1, 0, 0] - tops[0]) if h > 1 and len(mine) else 1
    right = int(x[0, 1, 0] - lefts[0]) if w > 1 and len(mine) else 1
    alike = (
        len(mine) > 0
        and ((index >= 0) == (index[0, 0] >= 0)).all()
        and down > 0 < right
        and (channel == channel[0, 0]).all()
        and (y == tops + down * np.arange(h)[:, None, None]).all()
        and (x == lefts + right * np.arange(w)[:, None]).all()
    )
    if not alike:
        raise UnsupportedOpError(
            f"layer '{name}': it moves bits as no convolution does (flipped, transposed, repeated or rearranged "
            "pixels); use the profile 'flat', or leave the layer out"
        )
    top, left = int(tops.min()), int(lefts.min())
    weight = np.zeros((c, int(tops.max()) - top + 1, int(lefts.max()) - left + 1, channels), np.int64)
    weight[mine, tops - top, lefts - left, channel[0, 0]] = 1
    return Term(t.source, weight, (down, right), (-top, -left, 0, 0), np.full(c, -1))


# -- matrices ---------------------------------------------------------------------------------------------------------


def _matrix(level: _Level, before: Sequence[Field], name: str, readout: bool) -> NirLayer:
    members = _members(level)
    at = {f.node: f for f in before}
    fields = _fields([(m.kind, m.op.node, m.op.name) for m in members], True, [m.T for m in members])
    rows, columns = _shape(fields, True)[0], _shape(before, True)[0]
    if rows * columns > LARGEST_MATRIX:
        raise UnsupportedOpError(
            f"layer '{name}': as a matrix it has {rows:,} x {columns:,} weights, more than {LARGEST_MATRIX:,}; use the "
            "profile 'if' or 'lif', whose layers are convolutions"
        )
    weight = np.zeros((rows, columns), np.float32)
    for m, f in zip(members, fields, strict=False):
        h, w, c = f.shape
        constant = np.repeat(m.offset[:, None], h * w, axis=1).reshape(c, h, w)
        part = slice(f.start, f.start + h * w * c)
        for t in m.op.terms:
            source = at[t.source]
            block = weight[part, source.start : source.start + int(np.prod(source.shape))]
            constant -= _unroll(t, (c, h, w), source.shape, block)
        weight[part, -1] = constant.reshape(-1)
        weight[part] /= np.repeat(m.T, h * w)[:, None]
    if not readout:
        weight[-1, -1] = CLOCK
    return NirLayer(name, weight, (1, 1), (0, 0), (rows,), fields, not readout, True)


def _unroll(t: Term, out: tuple[int, int, int], source: Shape, block: Array) -> Array:
    """Add twice the term's weights to a matrix block (out, in); returns (c, h, w), which the clock must subtract."""
    c, h, w = out
    height, width, inner = source
    if t.index is not None:
        mine = t.index.transpose(2, 0, 1)
        rows = np.flatnonzero(mine >= 0)
        pixel, channel = np.divmod(mine.reshape(-1)[rows], inner)
        block[rows, channel * height * width + pixel] += 2
        return np.asarray(mine >= 0, np.float64)
    wide = np.zeros((c, h, w, inner, height, width), np.float32)
    clock = np.zeros(out)
    sums = t.weight.sum(axis=3) * (1 + t.outside)[:, None, None]
    for ky in range(t.weight.shape[1]):
        for kx in range(t.weight.shape[2]):
            for oy in range(h):
                y = oy * t.stride[0] + ky - t.pads[0]
                if not 0 <= y < height:
                    continue
                xs = np.arange(w) * t.stride[1] + kx - t.pads[1]
                ox = np.flatnonzero((xs >= 0) & (xs < width))
                wide[:, oy, ox, :, y, xs[ox]] += 2 * t.weight[:, ky, kx][None]
                clock[:, oy, ox] += sums[:, ky, kx][:, None]
    block += wide.reshape(c * h * w, -1)
    return clock
