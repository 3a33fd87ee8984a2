# SPDX-License-Identifier: Apache-2.0
"""The results of ``verify``: counts per layer and for the network alone, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .._text import printable
from .._types import Array
from ..ir.ops.rounding import TINY
from ..runtime.summary import quantity, table
from .changes import ACCEPT

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
    with np.errstate(invalid="ignore"):
        amount = np.abs(ours.astype(np.float64) - theirs)
    amount[(ours == theirs) | np.isnan(ours) & np.isnan(theirs)] = 0
    amount[np.isnan(amount)] = np.inf  # only one of the two is NaN
    return Comparison(amount > 0, amount > limit + TINY, amount)


def compare_bits(ours: Array, theirs: Array, limit: Array, distances: Callable[[], Array]) -> Comparison:
    """``limit``: 0 if rounding cannot change a bit; if it can, the distance from the threshold decides."""
    different = ours != theirs
    if not different.any():
        return Comparison(different, different, np.zeros(different.shape))
    amount = np.where(different, distances(), 0)
    return Comparison(different, different & ~((amount <= ROUNDING) & (limit > 0)), amount)


def distances(values: Array) -> Array:
    """How far pre-activations (images first) are from zero, in standard deviations; NaN is infinitely far.

    The deviation is that of the image or of all images, whichever is larger, so that an image with larger values than
    the others, or one that is nearly blank, is measured by its own rounding.
    """
    rows = values.reshape(len(values), -1).astype(np.float64)
    common = _deviation(rows)
    spread = np.array([max(_deviation(row), common) or 1.0 for row in rows])
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
class LayerCheck:
    """One layer's comparison, summed over the images.

    ``compared`` and ``different`` count bits (kind "bits"), accumulators (kind "sums": exact integers) or floats
    (kind "floats": different means not bit-equal); ``beyond`` counts the different ones that rounding does not
    explain.  ``exact`` is False where weights carry a scale: the source's sums of scaled products round, so a bit may
    differ within rounding of its threshold.
    """

    layer: str
    op: str
    kind: str
    binary: bool
    exact: bool = True
    compared: int = 0
    different: int = 0
    beyond: int = 0
    largest: float = 0.0  # floats: difference; bits: distance of a differing one from its threshold

    def add(self, found: Comparison) -> None:
        """Count one chunk."""
        self.compared += found.different.size
        self.different += int(np.count_nonzero(found.different))
        self.beyond += int(np.count_nonzero(found.beyond))
        self.largest = max(self.largest, float(found.amount.max(initial=0)))

    @property
    def failed(self) -> bool:
        """Something differs that rounding does not explain."""
        return self.beyond > 0


@dataclass
class EndToEnd:
    """The model alone: bits and floats per layer, and their effect on the outputs.

    The bits of all images are compared, and an image's first different bits are judged; floats only up to these.
    """

    layers: list[LayerCheck] = field(default_factory=list)
    images_with_different_bits: int = 0
    first_differences: int = 0
    beyond_rounding: int = 0  # the ones not within rounding of their threshold
    largest_distance: float = 0.0
    images_judged: int = 0  # by their outputs: images without a different bit
    outputs_beyond_rounding: int = 0  # the judged ones with an output that differs by more than rounding
    classes_different: int = 0  # of all images
    classes_beyond_rounding: int = 0  # of the judged ones whose outputs differ by more than rounding
    largest_output_difference: float = 0.0


@dataclass
class VerifyReport:
    """The result of ``verify``; ``ok`` is False if anything differs that rounding does not explain, or if a comparison
    says nothing because no bit of a layer changed, unless ``allow_silent`` accepts that.

    ``images_with_nan``, of ``images``, were not compared: NaN reaches a quantizer in them, so all outputs of the
    compiled network are NaN, and the source's may not be.  ``hint``: the likely cause of a difference.  ``framework``:
    the name of the source model's framework.  ``unchanged``: the layers of which no bit changed, whatever the image.
    """

    images: int
    layers: list[LayerCheck]
    end_to_end: EndToEnd
    images_with_nan: int = 0
    hint: str = ""
    framework: str = "the source model"
    unchanged: list[str] = field(default_factory=list)
    allow_silent: bool = False

    @property
    def ok(self) -> bool:
        return not self.differs and (self.allow_silent or not self.unchanged)

    @property
    def differs(self) -> bool:
        """Something differs that rounding does not explain."""
        end = self.end_to_end
        failed = any(check.failed for check in (*self.layers, *end.layers))
        return bool(failed or end.beyond_rounding or end.outputs_beyond_rounding or end.classes_beyond_rounding)

    @property
    def different_bits(self) -> int:
        """Bits and accumulators that should not differ when fed the source's own input, but do."""
        return sum(check.beyond for check in self.layers if check.kind != "floats")

    @property
    def different_floats(self) -> int:
        """Floats that differ by more than rounding when fed the source's own input."""
        return sum(check.beyond for check in self.layers if check.kind == "floats")

    def __str__(self) -> str:
        """The tables of layers, the comparison of outputs, and the verdict, as `bnn verify` prints them."""
        return _text(self)


def _table(checks: list[LayerCheck]) -> str:
    header = ["layer", "kind", "compared as", "values", "different", "beyond rounding", "largest difference"]
    count = Counter((c.layer, c.kind) for c in checks)  # a layer may be several ops
    rows = [
        [
            f"{c.layer} ({c.op})" if count[c.layer, c.kind] > 1 else c.layer,
            "binary" if c.binary else "float",
            c.kind,
            *(f"{n:,}" for n in (c.compared, c.different, c.beyond)),
            f"{c.largest:.2g}",
        ]
        for c in checks
    ]
    return table(header, rows, header[:3])


def _unchanged(report: VerifyReport) -> str:
    """That a comparison says nothing, and what to do."""
    first, *others = report.unchanged
    images = report.images - report.images_with_nan
    same = "in the one image, all of them are equal" if images == 1 else f"all {images:,} images have the same"
    more = f", nor of {quantity(len(others), 'other layer')}" if others else ""
    text = f"no bit of '{first}' changed{more}: {same}, so the comparison says nothing about what makes them"
    if report.allow_silent:
        return text
    return f"{text}\n{ACCEPT}"


def _text(report: VerifyReport) -> str:
    end = report.end_to_end
    framework = printable(report.framework)
    own = f"{framework}' own" if framework.endswith("s") else f"{framework}'s own"
    first = f"{quantity(end.first_differences, 'bit')} differ where nothing differed before"
    lines = [
        f"Each layer fed {own} input, {quantity(report.images - report.images_with_nan, 'image')}\n",
        _table(report.layers),
        "\nThe network alone: bits of all images, floats of images without a different bit\n",
        _table(end.layers),
        "",
        f"images with a different bit: {end.images_with_different_bits:,}",
        f"{first}; {end.beyond_rounding:,} of them not within rounding of the threshold"
        f" (largest distance {end.largest_distance:.2g} standard deviations)",
        f"images without a different bit: {end.images_judged:,}; "
        f"in {end.outputs_beyond_rounding:,} of them outputs differ by more than rounding",
        f"images whose class differs: {end.classes_different:,}; {end.classes_beyond_rounding:,} of them without a "
        "different bit and by more than rounding",
        f"largest difference of an output: {end.largest_output_difference:.3g}",
    ]
    if report.images_with_nan:
        lines.append(f"images in which NaN reaches a quantizer, not compared: {report.images_with_nan:,}")
    lines.append("")
    if report.unchanged:
        lines.append(_unchanged(report))
    wrong = list(dict.fromkeys(check.layer for check in report.layers if check.failed))
    if wrong:
        more = f" and {quantity(len(wrong) - 1, 'layer')} after it" if len(wrong) > 1 else ""
        lines.append(f"With {own} input, the first layer that differs is '{printable(wrong[0])}'{more}.")
    if report.hint:
        lines.append(printable(report.hint))
    return "\n".join([*lines, _verdict(report)])


def _verdict(report: VerifyReport) -> str:
    """The last line."""
    bits, floats = quantity(report.different_bits, "bit"), quantity(report.different_floats, "float")
    if report.different_bits or report.different_floats:
        return f"DIFFERENT: {bits} and {floats}, by more than rounding"
    if report.differs:
        return "DIFFERENT: each layer alone is equal, the whole network is not"
    if not report.ok:
        return "SILENT: nothing differs, and a layer was not tested"
    turned = sum(c.different for c in report.layers if c.kind != "floats") + report.end_to_end.first_differences
    all_bits = "all bits but those within rounding of their thresholds" if turned else "all bits"
    return f"EQUAL: {all_bits}, and all floats up to rounding"
