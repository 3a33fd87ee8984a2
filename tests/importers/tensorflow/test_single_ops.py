# SPDX-License-Identifier: Apache-2.0
"""Random ops in a process of their own: no signal, no error of another kind; and sizes.

``BNN_RANDOM_OPS`` is the number of random ops.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from single_ops import watch

from .size_cases import NAMES

pytestmark = pytest.mark.timeout(3600)
COUNT = int(os.environ.get("BNN_RANDOM_OPS") or 300)


def test_random_ops(rng: np.random.Generator) -> None:
    tally = watch("importers.tensorflow.random_ops", int(rng.integers(10**9)), COUNT)
    assert not tally.findings, str(tally)
    assert tally.counts.total() == COUNT and tally.counts["refused"] < 0.9 * COUNT, str(tally)


def test_sizes() -> None:
    """Files of a few kilobytes that ask for gigabytes are refused, in 256 MiB and ten seconds."""
    tally = watch("importers.tensorflow.size_cases", 0, len(NAMES))
    assert not tally.findings and tally.counts == {"refused": len(NAMES)}, str(tally)
