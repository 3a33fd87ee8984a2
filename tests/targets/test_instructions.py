# SPDX-License-Identifier: Apache-2.0
"""Kernels take as many instructions as instructions.json says, or 1% more; `instructions.py --update` rewrites it."""

from __future__ import annotations

import pytest

from bnn.emit.c.costs import COSTS
from bnn.emit.c.interface import TARGETS as EMITTED
from bnn.file.read import decode
from targets import emitted, instructions, networks


@pytest.mark.slow
@pytest.mark.parametrize("processor", instructions.PROCESSORS)
def test_kernels_take_no_more_instructions(processor: str) -> None:
    found, before = instructions.count(processor), instructions.baseline()[processor]
    print("\n".join(f"{key} {value}" for key, value in found["instructions"].items()))
    if found["compiler"] != before["compiler"]:
        pytest.skip(f"the baseline is of {before['compiler']}, not of {found['compiler']}")
    assert not instructions.grown(found["instructions"], before["instructions"])


def test_growth_is_found() -> None:
    before = {"a": 1000, "b": 1000, "c": 1000, "d": 1}
    assert instructions.grown({"a": 1011, "b": 1010, "c": 1, "e": 1}, before) == [
        "d: in only one of them",
        "e: in only one of them",
        "a: 1000 -> 1011",
    ]


def test_the_baseline_is_of_all_processors() -> None:
    assert instructions.baseline().keys() == instructions.PROCESSORS.keys()


@pytest.mark.slow
def test_what_emitted_readmes_say() -> None:
    """Their numbers are those of the baseline, and close to it for whole networks."""
    every = instructions.baseline()
    counts = {emitted.own_name(name): every[name]["instructions"] for name in every if not name.endswith("zbb")}
    assert {name: instructions.fitted(counts[name], EMITTED[name].quads) for name in counts} == COSTS
    for name in COSTS:
        for key, (model, fast) in networks.emitted().items():
            estimate = instructions.estimated(decode(model.to_bytes()), name, fast)
            assert abs(estimate / counts[name][key] - 1) < 0.15, (name, key)
