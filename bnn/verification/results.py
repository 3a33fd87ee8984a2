# SPDX-License-Identifier: Apache-2.0
"""The results of ``verify``: counts per layer and for the network alone, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .._types import Array
from ..ir.ops.rounding import TINY
from ..runtime.summary import quantity
from .report import ACCEPT, Report, Row, column, rows_table, shown

# A pre-activation this close to its threshold, in standard deviations of the layer's values, is within float32 rounding
# of a sum of a few thousand terms.
ROUNDING = 1e-5


class Comparison(NamedTuple):
    """Which values differ, which of them by more than rounding explains, and by how much (bits: their distance from
    the threshold)."""

    different: Array
    beyond: Array
    amount: Array

    def of(self, images: Array) -> Comparison:
        return Comparison(*(part[images] for part in self))


def compare_floats(ours: Array, theirs: Array, limit: Array) -> Comparison:
    """``limit``: the largest difference that rounding explains."""
    different = (ours != theirs) & ~(np.isnan(ours) & np.isnan(theirs))
    if not different.any():
        return Comparison(different, different, np.zeros(different.shape))
    with np.errstate(invalid="ignore"):
        amount = np.abs(ours.astype(np.float64) - theirs)
    amount[np.isnan(amount)] = np.inf  # only one of the two is NaN
    amount[~different] = 0
    return Comparison(different, amount > limit + TINY, amount)


def compare_bits(
    ours: Array, theirs: Array, limit: Array, distances: Callable[[], Array], most: float = ROUNDING
) -> Comparison:
    """``limit``: 0 if rounding cannot change a bit; if it can, the distance from the threshold decides."""
    different = ours != theirs
    if not different.any():
        return Comparison(different, different, np.zeros(different.shape))
    amount = np.where(different, distances(), 0)
    return Comparison(different, different & ~((amount <= most) & (limit > 0)), amount)


def distances(values: Array, among: Array | None = None) -> Array:
    """How far pre-activations (images first) are from zero, in standard deviations of them, or of those ``among`` which
    they are; NaN is infinitely far.

    The deviation is that of the image or of all images, whichever is larger, so that an image with larger values than
    the others, or one that is nearly blank, is measured by its own rounding.
    """
    rows = values.reshape(len(values), -1).astype(np.float64)
    whole = rows if among is None else among.reshape(len(among), -1).astype(np.float64)
    common = _deviation(whole)
    spread = np.array([max(_deviation(row), common) or 1.0 for row in whole])
    far = np.abs(rows) / spread[:, None]
    return np.where(np.isnan(far), np.inf, far).reshape(values.shape)


def _deviation(values: Array) -> float:
    """The standard deviation, estimated from the median deviation: a few huge or infinite values do not move it."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0
    apart = np.abs(finite - np.median(finite))
    apart = apart[apart > 0]  # more than half may be equal, in blank images or with channels that are off
    return 1.4826 * float(np.median(apart)) if apart.size else 0.0


@dataclass
class LayerCheck(Row):
    """One layer's comparison, summed over the images.

    ``compared`` and ``different`` count bits (kind "bits"), accumulators (kind "sums": exact integers), 8-bit numbers
    of a source that computes with them (kind "bytes": exact, too) or floats (kind "floats": different means not
    bit-equal); ``beyond`` counts the different ones that rounding does not explain.  ``exact`` is False where weights
    carry a scale: the source's sums of scaled products round, so a bit may differ within rounding of its threshold.
    """

    layer: str = column("layer")
    op: str = column("op")
    kind: str = column("compared as")
    binary: bool = column("binary")
    exact: bool = True
    compared: int = column("values", 0)
    different: int = column("different", 0)
    beyond: int = column("beyond rounding", 0, fails=True)
    # floats: difference; bits: distance of a differing one from its threshold
    largest: float = column("largest difference", 0.0)

    def add(self, found: Comparison) -> None:
        """Count one chunk."""
        self.compared += found.different.size
        self.different += int(np.count_nonzero(found.different))
        self.beyond += int(np.count_nonzero(found.beyond))
        self.largest = max(self.largest, float(found.amount.max(initial=0)))


@dataclass
class EndToEnd(Row):
    """The model alone: bits and floats per layer, and their effect on the outputs.

    The bits of all images are compared, and an image's first different bits are judged; floats only up to these.
    """

    layers: list[LayerCheck] = field(default_factory=list)
    images_with_different_bits: int = column("images with a different bit", 0)
    first_differences: int = column("bits that differ where nothing differed before", 0)
    beyond_rounding: int = column("of these, not within rounding of their threshold", 0, fails=True)
    largest_distance: float = column("largest distance from it, in standard deviations", 0.0)
    images_judged: int = column("images without a different bit, whose outputs are judged", 0)
    outputs_beyond_rounding: int = column("of these, with an output that differs by more than rounding", 0, fails=True)
    classes_different: int = column("images whose class differs", 0)
    classes_beyond_rounding: int = column("of these, judged and different by more than rounding", 0, fails=True)
    largest_output_difference: float = column("largest difference of an output", 0.0)


@dataclass
class VerifyReport(Report):
    """The result of ``verify``; ``ok`` is False if anything differs that rounding does not explain, or if a comparison
    says nothing because no bit of a layer changed, unless ``allow_silent`` accepts that.

    ``images_with_nan``, of ``images``, were not compared: NaN reaches a quantizer in them, so all outputs of the
    compiled network are NaN, and the source's may not be.  ``hint``: the likely cause of a difference.  ``framework``:
    the name of the source model's framework.  ``unchanged``: the layers of which no bit changed, whatever the image.
    ``quantized``: the number of layers that are int8 after training, or whose sums of bits became bytes: their data,
    weights and results may be half a step from the source's, which counts as rounding.
    """

    told = ("ok", "different_bits", "different_bytes", "different_floats", "verdict")
    images: int
    layers: list[LayerCheck]
    end_to_end: EndToEnd
    images_with_nan: int = 0
    hint: str = ""
    framework: str = "the source model"
    unchanged: list[str] = field(default_factory=list)
    quantized: int = 0

    @property
    def silent(self) -> list[str]:
        return self.unchanged

    @property
    def different_bits(self) -> int:
        """Bits and accumulators that should not differ when fed the source's own input, but do."""
        return sum(check.beyond for check in self.layers if check.kind in ("bits", "sums"))

    @property
    def different_bytes(self) -> int:
        """8-bit numbers that differ when fed the source's own input."""
        return sum(check.beyond for check in self.layers if check.kind == "bytes")

    @property
    def different_floats(self) -> int:
        """Floats that differ by more than rounding when fed the source's own input."""
        return sum(check.beyond for check in self.layers if check.kind == "floats")

    def lines(self) -> Iterator[str]:
        end, compared = self.end_to_end, self.images - self.images_with_nan
        own = f"{self.framework}' own" if self.framework.endswith("s") else f"{self.framework}'s own"
        yield from (f"Each layer fed {own} input, {quantity(compared, 'image')}", "", *rows_table(self.layers), "")
        yield from ("The network alone: bits of all images, floats of images without a different bit", "")
        yield from (*rows_table(end.layers), "")
        yield from (f"{what}: {shown(value)}" for what, value in end.cells().items())
        if self.quantized:
            yield f"{quantity(self.quantized, 'layer')} int8: half a step of their data and weights counts as rounding"
        if self.images_with_nan:
            yield f"images in which NaN reaches a quantizer, not compared: {self.images_with_nan:,}"
        yield ""
        if self.unchanged:
            first, *others = self.unchanged
            one = "in the one image, all of them are equal"
            same = one if compared == 1 else f"all {compared:,} images have the same"
            more = f", nor of {quantity(len(others), 'other layer')}" if others else ""
            yield f"no bit of '{first}' changed{more}: {same}, so the comparison says nothing about what makes them"
            yield from [ACCEPT] * (not self.allow_silent)
        wrong = list(dict.fromkeys(check.layer for check in self.layers if check.failed))
        if wrong:
            more = f" and {quantity(len(wrong) - 1, 'layer')} after it" if len(wrong) > 1 else ""
            yield f"With {own} input, the first layer that differs is '{wrong[0]}'{more}."
        yield from [self.hint] * bool(self.hint)

    @property
    def verdict(self) -> str:
        """The last line."""
        bits, floats = quantity(self.different_bits, "bit"), quantity(self.different_floats, "float")
        kinds = {check.kind for check in self.layers}
        if self.different_bits or self.different_bytes or self.different_floats:
            whole = f"{bits}, {quantity(self.different_bytes, 'byte')}" if "bytes" in kinds else bits
            return f"DIFFERENT: {whole} and {floats}, by more than rounding"
        if self.differs:
            return "DIFFERENT: each layer alone is equal, the whole network is not"
        if not self.ok:
            return "SILENT: nothing differs, and a layer was not tested"
        turned = sum(c.different for c in self.layers if c.kind in ("bits", "sums")) + self.end_to_end.first_differences
        all_bits = "all bits but those within rounding of their thresholds" if turned else "all bits"
        if "bytes" in kinds:
            all_bits = f"{all_bits}, all bytes" if kinds & {"bits", "sums"} else "all bytes"
        return f"EQUAL: {all_bits}, and all floats up to rounding"
