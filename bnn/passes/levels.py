"""Data of a few levels as planes of bits: how they are coded, and what that means for sums and padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir import DType, Node
from ..ops import MOST_PLANES, DequantizeAttrs, constant, make

Array = np.ndarray[Any, Any]
MOST_STEPS = 2**MOST_PLANES - 1  # of a quantizer that is kept as bits
_MOST_COUNTED = 7  # steps coded as counted planes


@dataclass(frozen=True)
class Levels:
    """Data as bits, and the values they stand for.

    Counted planes (``channels`` 0): bit i says whether the value is at least threshold i; m + 1 values take m planes.
    In binary: plane p is bit p of the level's number, which takes log2(m + 1) planes.
    """

    bits: Node
    values: Array
    channels: int = 0  # of numbers in binary

    def __str__(self) -> str:
        """The values, or where there are many the first and the last."""
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
    def shape(self) -> tuple[int, ...]:
        """Of the values."""
        return (*self.bits.type.shape[:-1], self.channels or self.bits.type.shape[-1] // self.planes)

    @property
    def even(self) -> bool:
        ideal = np.linspace(float(self.values[0]), float(self.values[-1]), len(self.values))
        return bool(np.allclose(self.values, ideal, rtol=0, atol=1e-6 * float(np.ptp(self.values))))

    @property
    def centred(self) -> bool:
        """Whether a weighted sum of signs is the value, but for a factor."""
        return bool(self.values[0] == -self.values[-1]) and self.top == self.steps

    def pads(self, value: float, least: int) -> bool:
        """Whether data can be padded with a value, where the ``least`` lowest levels are never reached."""
        at = np.flatnonzero(self.values == np.float32(value))
        return len(at) > 0 and bool(at[0] >= least if self.channels else at[0] in (0, self.steps))

    @property
    def zero(self) -> int | None:
        """What to pad every plane with where the data are padded with zero; None where no plane can be."""
        if self.centred:
            return 0
        return -1 if self.values[0] == 0 else 1 if self.values[-1] == 0 and self.top == self.steps else None


def levels(x: Node) -> Levels | None:
    """The bits behind a value, where there are any."""
    if x.op == "unpack":
        return Levels(x.inputs[0], np.array([-1, 1], np.float32))
    if isinstance(x.attrs, DequantizeAttrs):
        return Levels(x.inputs[0], x.inputs[1].value, x.attrs.channels)
    return None


def scaled_by_batch(x: Node) -> bool:
    """Whether they are levels times a mean over the batch, as magnitude_aware_sign gives them."""
    while x.op in ("reshape", "pad"):
        x = x.inputs[0]
    if x.op != "mul" or all(levels(i) is None for i in x.inputs):
        return False
    scale = next((i for i in x.inputs if levels(i) is None), x)
    while scale.op in ("reshape", "div"):
        scale = scale.inputs[0]
    return scale.op == "batch_sum"


def codes(values: Array, channels: int) -> Iterator[int]:
    """How data of these values may be coded (0: counted planes; channels: in binary), the best first.

    In binary, but where counting takes no more planes (two or three levels), and where zero is the level in the middle
    of a few: padding with it is exact in counted planes, as many of which are then set as clear, and no binary number.
    """
    steps = len(values) - 1
    middle = steps % 2 == 0 and bool(values[0] == -values[-1])
    if steps > 2 and not (middle and steps <= _MOST_COUNTED):
        yield channels
    if steps <= _MOST_COUNTED:
        yield 0


def coded(x: Node, values: Array, thresholds: Array, code: int, name: str) -> Levels:
    """The bits of a quantizer of x with these values and thresholds, coded so."""
    steps = len(thresholds)
    if code:
        bits = make("binarize_levels", x, constant(thresholds), name=name)
        return Levels(bits, values, code)
    channels = x.type.shape[-1]
    never = constant(np.full(channels, -1), DType.b1)
    planes = [make("binarize", x, constant(np.full(channels, t, np.float32)), never, name=name) for t in thresholds]
    return Levels(planes[0] if steps == 1 else make("concat", *planes, name=name), values)
