# SPDX-License-Identifier: Apache-2.0
"""Random ops in a process of their own: no signal, no error of another kind; and sizes."""

from __future__ import annotations

import pytest

from seed import seeds
from single_ops import watch

from .size_cases import NAMES

pytestmark = pytest.mark.timeout(3600)
SEEDS = seeds(600)


@pytest.mark.drawn
def test_random_ops() -> None:
    tally = watch("importers.tensorflow.random_ops", SEEDS.start, len(SEEDS))
    assert not tally.findings, str(tally)
    assert tally.counts.total() == len(SEEDS) and tally.counts["refused"] < 0.9 * len(SEEDS), str(tally)


def test_sizes() -> None:
    """Files of a few kilobytes that ask for gigabytes are refused, in 256 MiB and ten seconds."""
    tally = watch("importers.tensorflow.size_cases", 0, len(NAMES))
    assert not tally.findings and tally.counts == {"refused": len(NAMES)}, str(tally)
