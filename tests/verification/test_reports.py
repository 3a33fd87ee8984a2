# SPDX-License-Identifier: Apache-2.0
"""Each field of each report, disturbed alone: the report is not ``ok`` any more, or the field only informs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pytest

from bnn.verification import nir, over_time
from bnn.verification.results import EndToEnd, LayerCheck, VerifyReport


class Informs(str):
    """Why a field does not decide: its value may be any."""


@dataclass
class Poisoned:
    """``value``: what alone makes a report not ok; ``beside``: the other fields that it needs to matter."""

    value: Any
    beside: dict[str, Any] = field(default_factory=dict)


NAME, COUNT = Informs("a name"), Informs("how much was compared")
JUDGED = Informs("what rounding explains is no failure: another field counts what it does not")
TEXT = Informs("words for whoever reads the report")

CHECK = LayerCheck("a", "add", "floats", False, compared=10, different=3)
VERIFIED = VerifyReport(9, [CHECK], EndToEnd([CHECK], images_judged=5, classes_different=2, first_differences=3))
WRONG = replace(CHECK, beyond=1)
LAYER = nir.NirLayerCheck("a", "spikes", compared=5, fired=2)
RUN = nir.ImporterReport("norse", "1", "if", 5, [LAYER])
SPIKES = over_time.PopulationCheck("a", 3, 30, 4, fed=0, alone=0, trained=0)
TIMES = over_time.SpikeReport("norse", "1", 2, 5, 0, [SPIKES])
DEAD = [replace(SPIKES, spikes=0)]

# The fine thing, the report that it is a part of, and its fields.
CASES: list[tuple[Any, Callable[[Any], Any], dict[str, Informs | Poisoned]]] = [
    (CHECK, lambda x: replace(VERIFIED, layers=[CHECK, x]), {
        "layer": NAME, "op": NAME, "kind": NAME, "binary": NAME, "exact": JUDGED, "compared": COUNT,
        "different": JUDGED, "beyond": Poisoned(1), "largest": JUDGED,
    }),
    (VERIFIED.end_to_end, lambda x: replace(VERIFIED, end_to_end=x), {
        "layers": Poisoned([CHECK, WRONG]), "images_with_different_bits": JUDGED, "first_differences": JUDGED,
        "beyond_rounding": Poisoned(1), "largest_distance": JUDGED, "images_judged": COUNT,
        "outputs_beyond_rounding": Poisoned(1), "classes_different": JUDGED, "classes_beyond_rounding": Poisoned(1),
        "largest_output_difference": JUDGED,
    }),
    (VERIFIED, lambda x: x, {
        "images": COUNT, "layers": Poisoned([CHECK, WRONG]), "end_to_end": Poisoned(EndToEnd(beyond_rounding=1)),
        "images_with_nan": COUNT, "hint": TEXT, "framework": NAME, "unchanged": Poisoned(["a"]), "quantized": COUNT,
        "allow_silent": Poisoned(False, {"unchanged": ["a"]}),
    }),
    (LAYER, lambda x: nir.NirReport([RUN, replace(RUN, layers=[LAYER, x])]), {
        "layer": NAME, "kind": Poisoned("spikes", {"fired": 0}), "compared": Poisoned(0), "mismatched": Poisoned(1),
        "outside": Poisoned(1), "first": TEXT, "fired": Poisoned(0), "unchanged": Poisoned(True),
    }),
    (RUN, lambda x: nir.NirReport([x]), {
        "importer": NAME, "version": NAME, "profile": NAME, "images": COUNT, "layers": Poisoned([]),
        "classes_different": Poisoned(1), "seconds": TEXT, "error": Poisoned("odd"), "skipped": Poisoned("odd"),
    }),
    (nir.NirReport([RUN]), lambda x: x, {
        "runs": Poisoned([RUN, replace(RUN, error="odd")]), "changes": Poisoned(["node 'a'"]),
        "allow_silent": Poisoned(False, {"runs": [replace(RUN, layers=[replace(LAYER, fired=0)])]}),
    }),
    (SPIKES, lambda x: replace(TIMES, layers=[SPIKES, x]), {
        "name": NAME, "neurons": COUNT, "decisions": COUNT, "spikes": Poisoned(0), "fed": Poisoned(1),
        "alone": Informs("may follow from a decision at risk: the report's first difference decides"),
        "trained": Informs("may follow from a decision at risk: the report's first difference decides"),
        "why": Informs("sums that round are excused, and `proven` says that they do"), "at_risk": JUDGED,
    }),
    (TIMES, lambda x: x, {
        "simulator": NAME, "version": NAME, "samples": COUNT, "steps": COUNT, "oracle": Poisoned(1),
        "layers": Poisoned([SPIKES, replace(SPIKES, fed=1)]), "first": Poisoned((0, 0, "a", 0)),
        "excused": Poisoned(False, {"first": (0, 0, "a", 0)}), "first_trained": Poisoned((0, 0, "a", 0)),
        "excused_trained": Poisoned(False, {"first_trained": (0, 0, "a", 0)}), "rounded": NAME, "module": NAME,
        "allow_silent": Poisoned(False, {"layers": DEAD}), "missing": Poisoned(["a"]),
    }),
]  # fmt: skip
UNLIKE: dict[type, Any] = {str: "x", int: 10**9, bool: True, float: 1e9, type(None): 10**9}


@pytest.mark.parametrize(("fine", "whole", "cases"), CASES, ids=[type(fine).__name__ for fine, _, _ in CASES])
def test_each_field_alone(fine: Any, whole: Callable[[Any], Any], cases: dict[str, Any]) -> None:
    """A new field needs a case: how it turns the verdict, or why it does not."""
    assert whole(fine).ok and cases.keys() == {f.name for f in fields(fine)}
    for name, case in cases.items():
        if isinstance(case, Informs):
            value = getattr(fine, name)
            found = whole(replace(fine, **{name: not value if isinstance(value, bool) else UNLIKE[type(value)]}))
            assert case and found.ok, name
            continue
        before = getattr(fine, name)
        spared = {"allow_silent": True, "excused": True, "excused_trained": True, "kind": "sums"}.get(name, before)
        right = whole(replace(fine, **{**case.beside, name: spared}))
        wrong = whole(replace(fine, **{**case.beside, name: case.value}))
        assert right.ok and not wrong.ok, name
        assert str(right) != str(wrong), name


def test_a_wrong_part_counts_in_each_place() -> None:
    """Whichever layer or run it is; and silence that is accepted excuses no difference."""
    for layers in ([WRONG, CHECK], [CHECK, WRONG]):
        for report in (replace(VERIFIED, layers=layers), replace(VERIFIED, end_to_end=EndToEnd(layers))):
            for more in ({}, {"unchanged": ["a"], "allow_silent": True}):
                assert not replace(report, **more).ok and "DIFFERENT" in str(replace(report, **more))
    skipped = replace(RUN, layers=[], skipped="not installed")
    wrong = replace(RUN, layers=[replace(LAYER, mismatched=1, fired=0)])
    sums = replace(RUN, layers=[replace(LAYER, kind="sums", fired=0)])
    for runs, ok in (([RUN, skipped], True), ([skipped] * 2, False), ([], False), ([wrong, RUN], False),
                     ([RUN, wrong], False), ([sums], True)):  # fmt: skip
        for allowed in (False, True):
            assert nir.NirReport(runs, allow_silent=allowed).ok == ok
    for layers in ([replace(SPIKES, fed=1, spikes=0), SPIKES], [SPIKES, replace(SPIKES, fed=1, alone=None)]):
        assert replace(TIMES, layers=layers, allow_silent=True).verdict == "DIFFERENT"
    assert replace(TIMES, layers=[SPIKES, replace(SPIKES, name="b", spikes=0)]).verdict.endswith("nothing fired in b")
    assert replace(TIMES, missing=["b"]).verdict == "NOT COMPARED: the simulator has no b"
