# SPDX-License-Identifier: Apache-2.0
"""The source of bits that are only moved: joined, cut, flattened, permuted, cropped, repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..._types import Array
from ...ir.graph import DType, Node
from ...ir.ops import OPS, SliceAttrs


@dataclass(frozen=True, eq=False)
class Piece:
    """The channels ``at`` of a view are the channels ``take`` of a source, pixel by pixel; if ``flat`` (the view is
    one pixel), the elements ``take``."""

    source: Node
    take: Array
    at: Array
    flat: bool = False

    @property
    def width(self) -> int:
        """Channels (or elements) of the whole source."""
        h, w, c = spatial(self.source.type.shape)
        return h * w * c if self.flat else c

    def of_source(self, weight: Array) -> Array:
        """Weights (..., channels of the view) as weights of the source, (..., width)."""
        part = np.zeros((*weight.shape[:-1], self.width), weight.dtype)
        for at, take in zip(self.at, self.take, strict=True):  # a channel may appear several times in the view
            part[..., take] += weight[..., at]
        return part


@dataclass(frozen=True, eq=False)
class Places:
    """Where the elements of a view (h, w, c) come from: ``element`` of ``sources[which]``."""

    sources: tuple[Node, ...]
    which: Array
    element: Array

    def mapped(self, move: Callable[[Array], Array]) -> Places:
        return Places(self.sources, move(self.which), move(self.element))


def spatial(shape: Sequence[int]) -> tuple[int, int, int]:
    """(h, w, c); vectors are one pixel."""
    h, w, c = (1, 1, *shape)[-3:]
    return int(h), int(w), int(c)


class Views:
    """The views of a graph, whose nodes come operands first; ``after_bits``: bits, and all values computed from
    them."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.after_bits: set[Node] = set()
        self._places: dict[Node, Places] = {}
        self._near: dict[Node, Places] = {}  # where views that move bits from pixel to pixel count as sources
        self._pieces: dict[Node, list[Piece]] = {}
        for node in nodes:
            view = self.is_view(node)
            if is_bits(node) or any(i in self.after_bits for i in node.inputs):
                self.after_bits.add(node)
            if view:
                self._places[node] = _each_once(_place(node, self.places))
                self._split(node)

    def _split(self, x: Node) -> None:
        """Find the pieces of a view that leaves pixels in place."""
        near = _place(x, lambda i: self._near.get(i) or _alone(i))
        choices = {"reshape": [self._places[x]], "gather": [self._places[x], near]}.get(x.op, [near])
        for places in choices:
            pieces = _by_channels(places)
            if pieces is not None:
                self._pieces[x], self._near[x] = pieces, places
                return

    def pieces(self, x: Node, one_pixel: bool = False) -> list[Piece]:
        """The origins of a bit tensor's channels; a layer's own bits, and bits that a view moves from pixel to pixel,
        are their own origin.  ``one_pixel``: the reader takes any elements if ``x`` is one pixel."""
        if one_pixel and x in self._places and spatial(x.type.shape)[:2] == (1, 1):
            return _by_elements(self._places[x])
        return self._pieces.get(x) or _own(x)

    def is_view(self, x: Node) -> bool:
        """Whether a tensor only moves elements, some of them after bits."""
        return OPS[x.op].rearranges and any(i in self.after_bits for i in x.inputs)

    def places(self, x: Node) -> Places:
        """Where every element of a tensor of bits comes from, through all views."""
        return self._places.get(x) or _alone(x)


def is_bits(node: Node) -> bool:
    return node.type.dtype is DType.b1 and not node.is_constant


def _own(x: Node) -> list[Piece]:
    every = np.arange(spatial(x.type.shape)[2])
    return [Piece(x, every, every)]


def _alone(x: Node) -> Places:
    shape = spatial(x.type.shape)
    return Places((x,), np.zeros(shape, np.int16), np.arange(np.prod(shape)).reshape(shape))


def _place(x: Node, of: Callable[[Node], Places]) -> Places:
    """Where the elements of a view come from, given where those ``of`` its operands come from."""
    if x.op == "concat":
        return _without_dead(_side_by_side([of(i) for i in x.inputs]))
    found, shape = of(x.inputs[0]), spatial(x.type.shape)
    if isinstance(x.attrs, SliceAttrs):
        begin, end = x.attrs.begin, x.attrs.end
        return _without_dead(found.mapped(lambda places: places[..., begin:end]))
    if x.op == "gather":
        index = x.inputs[1].value.reshape(shape)
        return _without_dead(found.mapped(lambda places: places.reshape(-1)[index]))
    return found.mapped(lambda places: places.reshape(shape))


def _side_by_side(parts: Sequence[Places]) -> Places:
    firsts = np.cumsum([0] + [len(p.sources) for p in parts], dtype=np.int16)
    which = [p.which + first for p, first in zip(parts, firsts, strict=False)]
    sources = tuple(source for p in parts for source in p.sources)
    return Places(sources, np.concatenate(which, axis=-1), np.concatenate([p.element for p in parts], axis=-1))


def _each_once(places: Places) -> Places:
    """The same with every source once."""
    sources = tuple(dict.fromkeys(places.sources))
    number = np.array([sources.index(source) for source in places.sources], np.int16)
    return Places(sources, number[places.which], places.element)


def _without_dead(places: Places) -> Places:
    """The view without the sources that give no element any more."""
    alive = np.unique(places.which)
    number = np.zeros(len(places.sources), np.int16)
    number[alive] = np.arange(len(alive))
    return Places(tuple(places.sources[k] for k in alive), number[places.which], places.element)


def _by_channels(places: Places) -> list[Piece] | None:
    """The pieces of a view that leaves every pixel in place, or None."""
    h, w, _ = places.which.shape
    pixels = np.arange(h * w).reshape(h, w, 1)
    if not (places.which == places.which[0, 0]).all():
        return None
    pieces = []
    for k, source in enumerate(places.sources):
        at = np.flatnonzero(places.which[0, 0] == k)
        height, width, channels = spatial(source.type.shape)
        take = places.element[0, 0, at]
        if (height, width) != (h, w) or not (places.element[:, :, at] == pixels * channels + take).all():
            return None
        pieces.append(Piece(source, take, at))
    return pieces


def _by_elements(places: Places) -> list[Piece]:
    """The pieces of a view of one pixel."""
    which, element = places.which[0, 0], places.element[0, 0]
    found = [(source, np.flatnonzero(which == k)) for k, source in enumerate(places.sources)]
    return [Piece(source, element[at], at, True) for source, at in found]
