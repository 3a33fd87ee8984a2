# SPDX-License-Identifier: Apache-2.0
"""Random ops and random SavedModels in a process of their own: no signal, no error of another kind; and sizes.

``BNN_RANDOM_OPS`` is the number of random ops, ``BNN_RANDOM_FILES`` that of SavedModels.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from single_ops import watch

from .size_cases import NAMES

pytestmark = pytest.mark.timeout(3600)
OPS, FILES = int(os.environ.get("BNN_RANDOM_OPS") or 300), int(os.environ.get("BNN_RANDOM_FILES") or 40)


@pytest.mark.parametrize(("worker", "count"), [("random_ops", OPS), ("random_saved_models", FILES)])
def test_random_cases(worker: str, count: int, rng: np.random.Generator) -> None:
    first = int(rng.integers(10**9))
    tally = watch(f"importers.tensorflow.{worker}", first, count)
    assert not tally.findings, str(tally)
    assert tally.counts.total() == count and tally.counts["refused"] < 0.9 * count, str(tally)


def test_sizes() -> None:
    """Files of a few kilobytes that ask for gigabytes are refused, in 256 MiB and ten seconds."""
    tally = watch("importers.tensorflow.size_cases", 0, len(NAMES))
    assert not tally.findings and tally.counts == {"refused": len(NAMES)}, str(tally)
