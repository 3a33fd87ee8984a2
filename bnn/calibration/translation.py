# SPDX-License-Identifier: Apache-2.0
"""What is made of each value of a network, and what its bytes stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .._types import Array
from ..errors import UnsupportedOpError
from ..ir.graph import DType, Node
from ..ir.ops.requantize import INT16
from ..ir.quantization import Bytes
from .channels import Scales
from .units import Units

_REMEDY = "calibrate without integer_only (--integer-only), or take the layer out of the network"


Made = tuple[Node, Bytes]


class Channels(NamedTuple):
    """Bytes and what they stand for, channel by channel: u for (u - zeros) * scales (C).  A zero may be half a byte."""

    node: Node
    zeros: Array
    scales: Array

    @property
    def bytes_of_zero(self) -> Array:
        """The zeros (C), the halves rounded up."""
        return np.ceil(self.zeros).astype(np.int64)

    @property
    def more(self) -> Array:
        """What is added (C) where ``bytes_of_zero`` are the zeros."""
        return (self.bytes_of_zero - self.zeros) * self.scales


class Results(NamedTuple):
    """What results are: a number for (number - zero) * scale, from the lowest to the highest."""

    scale: float
    zero: int
    low: int
    high: int
    out: DType = DType.u8  # or i16

    @property
    def range_of(self) -> tuple[int, int, int]:
        return self.zero, self.low, self.high


class Translation:
    """What is made of a network in whole numbers, value by value.

    ``bytes_of``: what was made of each value of floats, and what its bytes stand for; ``mixed``: the same of values
    whose channels have scales of their own; ``raw``: what was made of values of bits and bytes; ``shorts``: the int16
    of values that ``steps`` has a scale for, whose bytes the others have, too."""

    def __init__(
        self, units: Units, ranges: Mapping[Node, Bytes], own: Mapping[Node, Scales], separable: frozenset[Node],
        steps: Mapping[Node, float],
    ) -> None:  # fmt: skip
        self.units, self.ranges, self.own, self.separable = units, dict(ranges), dict(own), separable
        self.steps = steps
        self.bytes_of: dict[Node, Made] = {}
        self.mixed: dict[Node, Channels] = {}
        self.raw: dict[Node, Node] = {}
        self.shorts: dict[Node, Node] = {}
        self.outputs: frozenset[Node] = frozenset()

    def channels(self, x: Node) -> Channels:
        """What was made of a value of floats, channel by channel."""
        if x in self.mixed:
            return self.mixed[x]
        node, q = self.bytes_of[x]
        count = node.type.shape[-1]
        return Channels(node, np.full(count, q.zero - q.half / 2), np.full(count, q.scale))

    def made(self, node: Node, y: Node) -> Made | Channels | Node:
        """``y`` as the int16 of a node, or as its bytes, in its range or those of its channels."""
        if y.type.dtype is DType.i16:
            return y
        return Channels(y, *self.own[node]) if node in self.own else (y, self.ranges[node])

    def range_of(self, node: Node) -> tuple[int, int, int]:
        """The byte of 0, the lowest and the highest that a value takes."""
        q, (low, high) = self.ranges[node], self.units.limits(node)
        return q.zero, int(q.of(low)), int(q.of(high))

    def target(self, node: Node) -> Results:
        """What results of a value are: bytes, or int16."""
        if node not in self.steps:
            return Results(self.ranges[node].scale, *self.range_of(node))
        scale = self.steps[node]
        low, high = (int(np.clip(np.rint(limit / scale), *INT16)) for limit in self.units.limits(node))
        return Results(scale, 0, low, high, DType.i16)


def unsupported(node: Node, why: str, remedy: str = _REMEDY) -> UnsupportedOpError:
    return UnsupportedOpError(f"layer '{node.name}' ({node.op}) would stay float: {why}; {remedy}")


def why(node: Node) -> str:
    if node.op == "bconv2d":
        return "its bits are no threshold of its sums"
    if any(i.type.dtype is DType.b1 for i in node.data) or node.type.dtype is DType.b1:
        return "no op turns bytes into planes of bits, or bits into bytes that are an output, too"
    if len(node.data) > 1:
        return "no op computes it of two tensors of bytes"
    return "no op computes it of bytes"
