# SPDX-License-Identifier: Apache-2.0
"""What `verify` makes of differences: which count, and that each alone decides the verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bnn.verification.report import Changes
from bnn.verification.results import EndToEnd, LayerCheck, VerifyReport, compare_bits, compare_floats, distances


def test_floats_differ_beyond_their_limit() -> None:
    ours, theirs = np.float32([1, 1, 1, np.nan, np.nan, np.inf]), np.float32([1, 1.5, 1.5, np.nan, 0, np.inf])
    found = compare_floats(ours, theirs, np.array([0, 0.5, 0.499, 0, 1e9, 0]))
    assert found.different.tolist() == [False, True, True, False, True, False]
    assert found.beyond.tolist() == [False, False, True, False, True, False]


def test_what_is_flushed_to_zero_is_equal() -> None:
    """Up to the smallest normal number, and not the next; floats are compared with more digits than they have."""
    tiny = np.float32(2.0**-126)
    theirs = np.float32([tiny, np.nextafter(tiny, np.float32(1)), 0.5 + 2.0**-24])
    found = compare_floats(np.float32([0, 0, 0.5]), theirs, np.float64([0, 0, 2.0**-24]))
    assert found.different.all() and found.beyond.tolist() == [False, True, False]
    huge = np.float32([3e38])
    assert not compare_floats(huge, -huge, np.array([6.1e38])).beyond.any()


def test_bits_differ_beyond_rounding() -> None:
    ours, theirs = np.float32([1, 1, 1, 1, 1]), np.float32([1, -1, -1, -1, -1])
    limits, far = np.array([0, 2, 2, 0, 2]), np.array([0, 1e-5, 1.001e-5, 0, np.inf])
    found = compare_bits(ours, theirs, limits, lambda: far)
    assert found.different.tolist() == [False, True, True, True, True]
    assert found.beyond.tolist() == [False, False, True, True, True]


def test_distances_are_in_deviations() -> None:
    values = np.array([[1.0, 2.0, 3.0, 5.0]])  # median 2.5, deviations 1.5 0.5 0.5 2.5, of which the median is 1
    assert distances(values) == pytest.approx(values / 1.4826)
    assert np.isinf(distances(np.array([[np.nan, 1.0]]))[0, 0])


def test_distances_are_in_the_larger_deviation() -> None:
    """An image of larger values is measured by its own, one that is nearly blank by that of all."""
    values = np.array([[1.0, 2.0, 3.0, 5.0], [1000.0, 2000.0, 3000.0, 5000.0]])  # all: median 502.5, of deviations 501
    spread = 1.4826 * np.array([[501.0], [1000.0]])
    assert distances(values) == pytest.approx(values / spread)


def test_distances_where_there_is_no_deviation() -> None:
    """All values are equal, or infinite but for some: those alone are spread."""
    assert distances(np.full((2, 3), 0.25)).tolist() == [[0.25] * 3] * 2
    values = np.array([[1.0, 2.0, 3.0, 5.0, np.inf, -np.inf, np.inf]])
    assert distances(values)[0, :4] == pytest.approx(values[0, :4] / 1.4826)
    assert np.isinf(distances(np.array([[np.nan, np.inf, -np.inf]]))).all()


def test_values_that_are_equal_are_no_deviation() -> None:
    values = np.array([[0.0, 0.0, 0.0, 0.0, 3.0, 5.0]])  # of those apart from the median, 4
    assert distances(values) == pytest.approx(values / 1.4826 / 4)


def check(kind: str, **counts: int) -> LayerCheck:
    return LayerCheck("layer", "op", kind, True, compared=10, **counts)


FINE = [check(kind, different=3) for kind in ("bits", "sums", "floats")]


def report(layers: list[LayerCheck] = FINE, alone: list[LayerCheck] = FINE, **end: int) -> VerifyReport:
    """Nothing that rounding does not explain, but for what is given."""
    found = EndToEnd(alone, images_judged=5, classes_different=2, first_differences=3, **end)
    return VerifyReport(9, layers, found, images_with_nan=1)


def test_the_words() -> None:
    """Every number of the report, in its line."""
    end = EndToEnd([], 11, 12, 13, 0.14, 15, 16, 17, 18, 0.19)
    layers = [
        LayerCheck(name, "op", "bits", name == "b", True, 1234, 20, beyond, 0.5)
        for name, beyond in (("a", 0), ("b", 3), ("c", 4), ("a", 5))
    ]
    text = str(VerifyReport(30, layers, end, 1, "a hint", "Keras"))
    for line in (
        "Each layer fed Keras' own input, 29 images", "images with a different bit: 11",
        "bits that differ where nothing differed before: 12", "of these, not within rounding of their threshold: 13",
        "largest distance from it, in standard deviations: 0.14",
        "images without a different bit, whose outputs are judged: 15",
        "of these, with an output that differs by more than rounding: 16", "images whose class differs: 17",
        "of these, judged and different by more than rounding: 18", "largest difference of an output: 0.19",
        "images in which NaN reaches a quantizer, not compared: 1",
        "DIFFERENT: 12 bits and 0 floats, by more than rounding",
        "With Keras' own input, the first layer that differs is 'b' and 2 layers after it.", "a hint",
    ):  # fmt: skip
        assert line in text.splitlines()
    rows = [row.split() for row in text.splitlines() if " bits  " in row]
    assert rows[0] == ["a", "op", "bits", "no", "1,234", "20", "0", "0.5"]
    assert rows[1] == ["b", "op", "bits", "yes", "1,234", "20", "3", "0.5"]
    assert "that differs is 'b' and 1 layer after it." in str(VerifyReport(1, layers[:3], EndToEnd()))
    one = str(VerifyReport(1, layers[1:2], EndToEnd()))
    assert "With the source model's own input, the first layer that differs is 'b'." in one and "NaN" not in one
    assert "the first layer that differs" not in str(report()) and LayerCheck("a", "op", "sums", True).exact


def changes(*chunks: list[list[float]], part: int = 0, of: Changes | None = None) -> Changes:
    found = of or Changes()
    for chunk in chunks:
        found.add(part, np.float32(chunk))
    return found


@pytest.mark.parametrize(
    ("found", "none"),
    [
        (changes([[1, 1]]), True), (changes([[-1, -1]]), True), (changes([[1, -1]]), False), (changes([[1]]), False),
        (changes([[1, -1], [1, -1]]), True), (changes([[1, -1]], [[1, -1]]), True), (changes([[1], [1]]), True),
        (changes([[1, -1], [1, 1]]), False), (changes([[1, 1]], [[1, 1]], [[-1, 1]]), False),
        # Two planes of one quantizer, of which one never changes.
        (changes([[1, -1]], part=1, of=changes([[1, 1]])), False),
        (changes([[1, 1]], part=1, of=changes([[1, 1]])), True),
        (changes([[1], [-1]], part=1, of=changes([[1], [1]])), False),
        (changes([[1], [1]], part=1, of=changes([[1], [1]])), True),
    ],
)  # fmt: skip
def test_whether_a_bit_changed(found: Changes, none: bool) -> None:
    """From image to image; of one image, whether they are all equal."""
    assert found.none == none


def test_what_never_changes_is_not_ok() -> None:
    """Unless that is accepted; and a difference stays one."""
    for names, more in ((["a"], ""), (["a", "b"], ", nor of 1 other layer")):
        for images, same in ((9, "all 9 images have the same"), (1, "in the one image, all of them are equal")):
            silent = replace(report(), unchanged=names, images=images, images_with_nan=0)
            *_, text, advice, verdict = str(silent).splitlines()
            assert not silent.ok and not silent.differs and verdict.startswith("SILENT: nothing differs, and")
            assert text == f"no bit of 'a' changed{more}: {same}, so the comparison says nothing about what makes them"
            assert "--allow-silent" in advice
            accepted = replace(silent, allow_silent=True)
            assert accepted.ok and str(accepted).splitlines()[-2] == text
    wrong = replace(report([check("bits", beyond=1)]), unchanged=["a"], allow_silent=True)
    assert not wrong.ok and str(wrong).endswith("DIFFERENT: 1 bit and 0 floats, by more than rounding")


def test_the_last_line() -> None:
    alone, equal = "each layer alone is equal, the whole network is not", "all floats up to rounding"
    some = "EQUAL: all bits but those within rounding of their thresholds, and "
    for found, line in (
        (report([check("floats", different=3)], []), some + equal),
        (VerifyReport(1, [check("floats", different=3)], EndToEnd()), f"EQUAL: all bits, and {equal}"),
        (VerifyReport(1, FINE, EndToEnd()), some + equal),
        (report(outputs_beyond_rounding=1), f"DIFFERENT: {alone}"),
        (report(alone=[check("bits", beyond=1)]), f"DIFFERENT: {alone}"),
        (report([check("floats", beyond=2)]), "DIFFERENT: 0 bits and 2 floats, by more than rounding"),
    ):  # fmt: skip
        assert str(found).splitlines()[-1] == line


def test_sums_of_what_differs() -> None:
    several = report([check("bits", beyond=1), check("sums", beyond=2), check("floats", beyond=4)])
    assert (several.different_bits, several.different_floats) == (3, 4)


def test_checks_count() -> None:
    found = check("floats")
    found.add(compare_floats(np.float32([1, 1, 1]), np.float32([1, 2, 4]), np.array([0, 1, 1])))
    assert (found.compared, found.different, found.beyond, found.largest) == (13, 2, 1, 3.0) and found.failed
