# SPDX-License-Identifier: Apache-2.0
"""Data of a few levels as bit planes: how they are coded, and the effect on sums and padding; weights as signs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .._types import Array
from ..file.bits import WORD
from ..ir.counting import concatenated
from ..ir.graph import DType, Node
from ..ir.interpret import evaluate
from ..ir.monotone import function, regions, staircase
from ..ir.ops import MOST_PLANES, SMALLEST_NORMAL, DequantizeAttrs, constant, make
from ..ir.rewrite import remade

JUST_BELOW_ZERO = np.nextafter(np.float32(-SMALLEST_NORMAL), np.float32(0))  # denormals count as zero
MOST_STEPS = 2**MOST_PLANES - 1  # steps of a quantizer that is kept as bits
_MOST_COUNTED = 7  # steps coded as counted planes
_MOST_JOINED = 15  # counted planes with thresholds of each channel, which binary numbers cannot have
FEW_STEPS = 15  # steps of levels that kernels make and read fast, as bits
MOST_SIGNS = 7  # planes of one weight: eight values, or three bits
_MOST_WEIGHT_PLANES = 5  # 32 values: quantizers of four bits have up to 17
_EVEN = 1e-6  # share of the largest weight: the rounding of thirds and sevenths in float32


@dataclass(frozen=True)
class Levels:
    """Data as bits, and the values that they represent.

    Counted planes (``channels`` 0): bit i says whether the value is at least threshold i; m + 1 values take m planes.
    In binary: plane p is bit p of the level's number; m + 1 values take log2(m + 1) planes.
    """

    bits: Node
    values: Array
    channels: int = 0  # channels of binary numbers

    def __str__(self) -> str:
        """The values, or, if there are many, the first and the last."""
        values = self.values.tolist()
        return str(values) if len(values) <= 8 else f"{values[0]} to {values[-1]} ({len(values)} of them)"

    @property
    def steps(self) -> int:
        return len(self.values) - 1

    @property
    def planes(self) -> int:
        return self.steps.bit_length() if self.channels else self.steps

    @property
    def top(self) -> int:
        """The sum of the planes' weights: a number n is the weighted sum of signs (2 n - top)."""
        return 2**self.planes - 1 if self.channels else self.steps

    @property
    def even(self) -> bool:
        return even(self.values)

    @property
    def centred(self) -> bool:
        """Whether a weighted sum of signs is the value, up to a factor."""
        return bool(self.values[0] == -self.values[-1]) and self.top == self.steps

    def pads(self, value: float, least: int) -> bool:
        """Whether data can be padded with a value, where the ``least`` lowest levels are never reached."""
        at = np.flatnonzero(self.values == np.float32(value))
        return len(at) > 0 and bool(at[0] >= least if self.channels else at[0] in (0, self.steps))

    @property
    def zero(self) -> int | None:
        """The padding of every plane if the data are padded with zero; None if there is none."""
        if self.centred:
            return 0
        return -1 if self.values[0] == 0 else 1 if self.values[-1] == 0 and self.top == self.steps else None


def even(values: Array) -> bool:
    """Whether values are evenly spaced, up to the rounding of float32."""
    ideal = np.linspace(float(values[0]), float(values[-1]), len(values))
    return bool(np.allclose(values, ideal, rtol=0, atol=1e-6 * float(np.ptp(values))))


def levels(x: Node) -> Levels | None:
    """The bits behind a value, if there are any."""
    if x.op == "unpack":
        return Levels(x.inputs[0], np.array([-1, 1], np.float32))
    if isinstance(x.attrs, DequantizeAttrs):
        return Levels(x.inputs[0], x.inputs[1].value, x.attrs.channels)
    return None


def scaled_by_batch(x: Node) -> bool:
    """Whether x is levels times a mean over the batch, as from magnitude_aware_sign."""
    while x.op in ("reshape", "pad"):
        x = x.inputs[0]
    if x.op != "mul" or all(levels(i) is None for i in x.inputs):
        return False
    scale = next((i for i in x.inputs if levels(i) is None), x)
    while scale.op in ("reshape", "div"):
        scale = scale.inputs[0]
    return scale.op == "batch_sum"


def codes(values: Array, channels: int) -> Iterator[int]:
    """How data of these values can be coded (0: counted planes; channels: in binary), the best first.

    In binary, unless counting takes no more planes (two or three levels), or zero is in the middle of a few levels:
    counted planes can pad with it exactly (half of the planes are set), binary numbers cannot.
    """
    steps = len(values) - 1
    middle = steps % 2 == 0 and bool(values[0] == -values[-1])
    if steps > 2 and not (middle and steps <= _MOST_COUNTED):
        yield channels
    if steps <= _MOST_COUNTED:
        yield 0


def quantized(node: Node, stair: Staircase, code: int, made_of: tuple[Node, Node] | None = None) -> Node:
    """What replaces a node: bits of a float that say which value the node has, and a table of the values; ``made_of``:
    the float and the node in the source."""
    x, values, name = stair.x, stair.values, node.name
    signs = values.tolist() == [-1.0, 1.0]
    if signs and stair.thresholds[0] == JUST_BELOW_ZERO:
        return remade(node, "unpack", remade(node, "binarize", x))
    if code:
        bits = make("binarize_levels", x, constant(stair.thresholds), name=name)
    else:
        channels = x.type.shape[-1]
        never = constant(np.full(channels, -1), DType.b1)
        limits = [constant(np.full(channels, t, np.float32)) for t in stair.thresholds]
        if signs:
            return remade(node, "unpack", remade(node, "binarize", x, *limits, never))
        bits = concatenated([make("binarize", x, limit, never, name=name) for limit in limits], name)
    return remade(node, "dequantize", bits, constant(values), attrs=DequantizeAttrs(code, made_of))


def thresholds_of(bits: Node) -> tuple[Node, Array] | None:
    """The inverse of :func:`quantized`: the float whose steps bits are, and the thresholds, equal in all channels."""
    if bits.op == "binarize_levels":
        return bits.inputs[0], bits.inputs[1].value
    planes = bits.inputs if bits.op == "concat" else (bits,)
    if any(p.op != "binarize" or p.inputs[0] is not planes[0].inputs[0] for p in planes):
        return None
    values = [np.unique(p.inputs[1].value) if p.inputs[1:] else np.array([JUST_BELOW_ZERO]) for p in planes]
    if any(len(v) != 1 for v in values) or any((p.inputs[2].value > 0).any() for p in planes if p.inputs[2:]):
        return None
    thresholds = np.concatenate(values)
    return (planes[0].inputs[0], thresholds) if (thresholds[1:] >= thresholds[:-1]).all() else None


@dataclass(frozen=True)
class Staircase:
    """A step function of a float x: the first value below all thresholds, the next value from each threshold on; the
    ``unreached`` lowest values never occur."""

    x: Node
    values: Array
    thresholds: Array
    unreached: int = 0

    def at(self, x: Array) -> Array:
        return np.asarray(self.values[np.searchsorted(self.thresholds, x, side="right")])


def _staircase(known: Levels | None) -> Staircase | None:
    """Levels as a function of the first float in their chain of quantizers."""
    found = thresholds_of(known.bits) if known is not None else None
    if known is None or found is None:
        return None
    own = Staircase(found[0], known.values, found[1])
    below = _staircase(levels(own.x))  # its operand is levels, too
    return own if below is None else Staircase(below.x, own.at(below.values), below.thresholds)


def _pulled(stair: Staircase, y: Node) -> Staircase | None:
    """The staircase as a function of y, if its float is a function of y that never decreases (through a ReLU, for
    example)."""
    if stair.x is y:
        return stair
    if y.type != stair.x.type or all(r is not y for r in regions(stair.x)):
        return None
    f = function(stair.x, y)

    def number(v: Array) -> Array:
        x = f(v)
        return np.where(np.isnan(x), x, np.searchsorted(stair.thresholds, x, side="right")).astype(np.float32)

    first, last = number(np.array([-np.inf, np.inf], np.float32))
    if first == last:
        return Staircase(y, stair.values[int(first)].reshape(1), stair.thresholds[:0])
    found = staircase(number, MOST_STEPS)
    return None if found is None else Staircase(y, stair.values[found[0].astype(int)], found[1])


def _of_one(stairs: list[Staircase]) -> list[Staircase]:
    """All as staircases of one float; empty if there is no such float."""
    xs = dict.fromkeys(s.x for s in stairs)
    for y in (*xs, *(regions(stairs[0].x) if len(xs) > 1 else ())):
        pulled = [p for s in stairs if (p := _pulled(s, y)) is not None]
        if len(pulled) == len(stairs):
            return pulled
    return []


def joined(node: Node, found: list[Levels]) -> Node | None:
    """An elementwise op on several staircases of one float: one staircase with all their steps."""
    stairs = [s for known in found if (s := _staircase(known)) is not None]
    stairs = _of_one(stairs) if len(stairs) == len(found) else []
    if not stairs:
        return _side_by_side(node, *found) if node.op == "add" and len(found) == 2 else None
    x, every = stairs[0].x, np.unique(np.concatenate([s.thresholds for s in stairs]))
    data = iter(stairs)
    operands = []
    for i in node.inputs:
        if i.is_constant:
            operands.append(i.value.reshape(-1))
        else:
            stair = next(data)
            operands.append(np.concatenate([stair.values[:1], stair.at(every)]))
    values = evaluate(node, operands)
    rises = values[1:] != values[:-1]
    values, every = np.concatenate([values[:1], values[1:][rises]]), every[rises]
    if not len(every):  # a constant, such as x > 0 and x < 0: layers read it as bits, too
        values, every = values.repeat(2), np.array([JUST_BELOW_ZERO])
    if len(every) > MOST_STEPS:
        return None
    return quantized(node, Staircase(x, values, every), next(codes(values, x.type.shape[-1])))


def _side_by_side(node: Node, a: Levels, b: Levels) -> Node | None:
    """The sum of levels of one float with thresholds of each channel, all of b above those of a: the planes of both."""
    planes = [
        plane for known in (a, b) for plane in (known.bits.inputs if known.bits.op == "concat" else (known.bits,))
    ]
    steps = [step for plane in planes if (step := _step(plane)) is not None]
    one = len(steps) == len(planes) == a.planes + b.planes and all((x, at) == steps[0][::2] for x, _, at in steps)
    if not one or steps[0][0].type != node.type or len(planes) > _MOST_JOINED or a.channels or b.channels:
        return None
    limits = np.stack([limit for _, limit, _ in steps])
    if not (limits[1:] >= limits[:-1]).all():
        return None
    below = np.concatenate([a.values, a.values[-1:].repeat(b.steps)])
    above = np.concatenate([b.values[:1].repeat(a.steps), b.values])
    table = constant(evaluate(node, [below, above]))
    return remade(node, "dequantize", concatenated(planes, node.name), table, attrs=DequantizeAttrs())


def _step(bits: Node) -> tuple[Node, Array, float] | None:
    """(x, t, c) for the bits of x - t >= c, where t is one number per channel."""
    found, channels = thresholds_of(bits), bits.type.shape[-1]
    if found is None or found[0].op != "sub" or len(found[1]) > 1:
        return None
    x, limit = found[0].inputs
    if not limit.is_constant or limit.value.size != limit.value.shape[-1]:
        return None
    return x, np.broadcast_to(limit.value.reshape(-1), channels), float(found[1][0])


def sign_planes(w: Array, most: int = 2) -> tuple[Array, list[Array]] | None:
    """(alpha per filter, planes of +-1) of OHWI weights, which are alpha times the mean of the planes.

    Weights +-alpha take one plane; with zero, two planes.  n evenly spaced values from -alpha to alpha, the same in all
    filters, take n - 1, if ``most`` allows it.  None for any other weights.
    """
    if most < 3 and len(np.unique(w[:1])) > 3:
        return None  # as most floats are, before all are looked at
    magnitude = np.abs(w.reshape(w.shape[0], -1))
    alpha = magnitude.max(axis=1)
    if not np.all(np.isfinite(alpha)):
        return None
    if np.all(magnitude == alpha[:, None]):
        return alpha, [_signs(w > 0)]
    if np.all((magnitude == alpha[:, None]) | (magnitude == 0)):
        return alpha, [_signs(w >= 0), _signs(w > 0)]
    largest = alpha.max()
    for steps in range(3, most + 1):
        number = (w.astype(np.float64) / largest + 1) / 2 * steps
        if np.allclose(number, np.round(number), rtol=0, atol=_EVEN * steps):
            return np.full_like(alpha, largest), [_signs(number > i + 0.5) for i in range(steps)]
    return None


def _signs(positive: Array) -> Array:
    return np.where(positive, np.int8(1), np.int8(-1))


@dataclass(frozen=True)
class ShiftedSigns:
    """Weights offset + scale (t_0 + 2 t_1 + 4 t_2 + ...) with signs t; ``offset`` and ``scale`` are per filter."""

    offset: Array
    scale: Array
    planes: list[Array]

    @property
    def repeats(self) -> int:
        """The largest sum of signs."""
        return 2 ** len(self.planes) - 1


def shifted_signs(w: Array) -> ShiftedSigns | None:
    """OHWI weights of two to 32 evenly spaced values, others in each filter; None for any other weights, and for
    filters so short that random numbers could look so."""
    rows = w.reshape(len(w), -1)
    if rows.shape[1] < WORD or len(np.unique(rows[:1])) > 2**_MOST_WEIGHT_PLANES or not np.isfinite(rows).all():
        return None
    rows = rows.astype(np.float64)
    steps, low = np.ones(len(rows)), rows.min(axis=1)
    span = rows.max(axis=1) - low
    for i, row in enumerate(rows):
        values = np.unique(row)
        if len(values) > 2**_MOST_WEIGHT_PLANES:
            return None
        steps[i] = np.round(span[i] / np.diff(values).min()) if len(values) > 1 else 1
    if steps.max() >= 2**_MOST_WEIGHT_PLANES:
        return None
    step = span / steps
    number = (rows - low[:, None]) / np.where(step > 0, step, 1)[:, None]
    whole = np.round(number)
    if not np.allclose(number, whole, rtol=0, atol=_EVEN * steps.max()):
        return None
    count = int(steps.max()).bit_length()
    offset = low + step * (2**count - 1) / 2
    offset[np.abs(offset) < _EVEN * step] = 0
    numbers = whole.astype(np.int64).reshape(w.shape)
    return ShiftedSigns(offset, step / 2, [_signs(numbers >> p & 1 > 0) for p in range(count)])


def no_signs(w: Array) -> str:
    """Why weights are not signs."""
    values = np.unique(w)
    if len(values) > MOST_SIGNS + 1:
        return f"its weights take {len(values):,} values"
    return f"its weights are {', '.join(f'{v:g}' for v in values)}: not evenly spaced around 0"
