# SPDX-License-Identifier: Apache-2.0
"""Pools and moves of bytes, and where bytes come from and end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..ir.graph import Node
from ..ir.ops import MOST_BYTE_PRODUCTS, ConvAttrs, PoolAttrs, make
from ..ir.quantization import Bytes, convolution, lookup, mean, taken
from .channels import Scales
from .translation import Channels, Made, Translation, unsupported, why
from .units import is_mean, line


def from_floats(of: Translation, node: Node, core: Node) -> Made:
    q = of.ranges[node]
    return make("quantize", node, attrs=q.attrs, name=node.name), q


def cast(of: Translation, node: Node, core: Node) -> Made:
    x, q = of.raw[core.inputs[0]], line(core)
    if q is not None:
        return x, q
    values = core.inputs[1].value if len(core.inputs) > 1 else np.arange(256)
    return lookup(x, of.ranges[node].of(values), node.name), of.ranges[node]


def unpack(of: Translation, node: Node, core: Node) -> Made | Node:
    """Floats for the network's output, bytes for others."""
    bits, read = of.raw[core.inputs[0]], any(node in reader.data for reader in of.units.order)
    if node not in of.outputs:
        return make("unpack_bytes", bits, name=node.name), Bytes(1.0, 1)
    if read:
        raise unsupported(node, why(node))
    return make("unpack", bits, name=node.name, origin=node.origin)


def pool(of: Translation, node: Node, core: Node) -> Made | Channels | Node:
    attrs = core.attrs
    assert isinstance(attrs, PoolAttrs)
    if core.op == "avg_pool" and not is_mean(core):
        return move(of, node, core)
    data = of.channels(core.inputs[0])
    x, _, scales = data
    channels = x.type.shape[-1]
    ones = np.ones((channels, *attrs.kernel, 1), np.int8)
    if math.prod(attrs.kernel) > MOST_BYTE_PRODUCTS:
        raise unsupported(core, f"a sum of {math.prod(attrs.kernel):,} pixels; at most {MOST_BYTE_PRODUCTS:,}")
    count = math.prod(attrs.kernel) if core.op == "avg_pool" else 1
    each = {scale: mean(scale, of.ranges[node].scale, count) for scale in np.unique(scales).tolist()}
    numbers = (np.rint(count * (data.more / scales)), *np.array([each[scale] for scale in scales.tolist()], np.int64).T)
    window = ConvAttrs(attrs.stride, pads=attrs.pads, groups=channels)
    y = convolution(x, ones, data.bytes_of_zero, numbers, (*of.range_of(node), 1), window, node.name)
    return y, of.ranges[node]


def move(of: Translation, node: Node, core: Node) -> Made | Channels | Node:
    if node in of.steps:
        x = core.inputs[0]
        if x in of.own:  # as its bytes
            of.own[node] = of.own[x]
        else:
            of.ranges[node] = of.ranges[x]
        return make(core.op, of.shorts[x], attrs=core.attrs, name=node.name)
    moved = _like(of, core, lambda x: make(core.op, x, attrs=core.attrs, name=node.name))
    if isinstance(moved, Channels) and core.op == "slice":
        attrs: Any = core.attrs
        return Channels(moved.node, *(n[attrs.begin : attrs.end] for n in moved[1:]))
    return moved


def _like(of: Translation, core: Node, move: Callable[[Node], Node]) -> Made | Channels:
    """What is made of the operand's bytes, which stand for the same."""
    before = core.inputs[0]
    if before in of.mixed:
        return of.mixed[before]._replace(node=move(of.mixed[before].node))
    x, q = of.bytes_of[before]
    return move(x), q


def copy(of: Translation, node: Node, core: Node) -> Made | Channels:
    return _like(of, core, lambda x: x)


def pad(of: Translation, node: Node, core: Node) -> Made:
    x, q = of.bytes_of[core.inputs[0]]
    attrs: Any = core.attrs
    if attrs.value != 0:
        x, q = _rescaled(x, q, of.ranges[node], node), of.ranges[node]
    return make(core.op, x, attrs=replace(attrs, value=float(q.of(attrs.value))), name=node.name), q


def gather(of: Translation, node: Node, core: Node) -> Made | Channels:
    """Rows and columns at even distances, as of cropping; all channels, which then are in their order."""
    x, index = core.inputs[0], core.inputs[1].value
    if len(x.type.shape) != 3 or index.ndim != 3 or index.shape[2] != x.type.shape[2]:
        raise unsupported(core, "it moves numbers as no op of bytes does")
    places = np.unravel_index(index, x.type.shape)
    cuts = []
    for axis, place in enumerate(places):
        line = np.moveaxis(place, axis, 0)[:, 0, 0]
        step = int(line[1] - line[0]) if len(line) > 1 else 1
        cuts.append((int(line[0]), step, len(line)))
    even = np.meshgrid(*(first + step * np.arange(count) for first, step, count in cuts), indexing="ij")
    if min(step for _, step, _ in cuts) < 1 or any((a != b).any() for a, b in zip(places, even, strict=True)):
        raise unsupported(core, "it moves numbers as no op of bytes does")
    return _like(of, core, lambda x: taken(x, cuts[0], cuts[1], node.name))


def concat(of: Translation, node: Node, core: Node) -> Made | Channels | Node:
    if node in of.steps:
        if all(x in of.own for x in core.inputs):  # as their bytes
            of.own[node] = Scales(*(np.concatenate(n) for n in zip(*(of.own[x] for x in core.inputs), strict=True)))
        return make("concat", *(of.shorts[x] for x in core.inputs), name=node.name)
    if node in of.separable:
        own = [of.channels(x) for x in core.inputs]
        y = make("concat", *(part.node for part in own), name=node.name)
        return Channels(y, *(np.concatenate(n) for n in list(zip(*own, strict=True))[1:]))
    q = of.ranges[node]
    parts = [_rescaled(*of.bytes_of[x], q, node) for x in core.inputs]
    return make("concat", *parts, name=node.name), q


def _rescaled(x: Node, before: Bytes, after: Bytes, node: Node) -> Node:
    return x if before == after else lookup(x, after.of(before.values), node.name)
