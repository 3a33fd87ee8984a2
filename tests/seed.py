# SPDX-License-Identifier: Apache-2.0
"""The number with which random tests begin, and how many cases they draw.

The number comes from the commit: CI and a developer draw the same, and every commit draws anew.  ``BNN_TEST_SEED`` in
the environment is another one; failing tests print what to set to repeat them alone.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_DIGITS = 7  # of the commit's hash, so that a signed number of 32 bits has room for it and for what is added to it


def _of_commit() -> int:
    """The first digits of its hash; 0 outside a git repository."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(done.stdout[:_DIGITS], 16)


SEED = int(os.environ.get("BNN_TEST_SEED") or _of_commit())
LONG = bool(os.environ.get("BNN_TEST_LONG"))  # make test-all


def numbers(count: int) -> range:
    """The numbers of random cases: the first quarter of ``count`` in ``make test``, the second in ``make test-all``, as
    each commit draws others; ``BNN_TEST_COUNT`` in the environment is another count, from the first on.  A test that
    draws so is marked ``drawn``."""
    if own := os.environ.get("BNN_TEST_COUNT"):
        return range(int(own))
    quarter = _quarter(count)
    return range(quarter, min(2 * quarter, count)) if LONG else range(quarter)


def seeds(count: int) -> range:
    """The same from SEED on."""
    drawn = numbers(count)
    return range(SEED + drawn.start, SEED + drawn.stop)


def some(values: Sequence[T]) -> list[T]:
    """Parameters of a test that takes long for each: in ``make test`` a quarter of them, chosen by the commit, and in
    ``make test-all`` the others."""
    drawn, own, quarter = _shuffled(values), os.environ.get("BNN_TEST_COUNT"), _quarter(len(values))
    return drawn[: int(own)] if own else drawn[quarter:] if LONG else drawn[:quarter]


def half(values: Iterable[T]) -> list[T]:
    """Parameters of a slow test that differ in little that is ours: half of them, chosen by the commit."""
    drawn = _shuffled(list(values))
    return drawn[: -(-len(drawn) // 2)]


def _shuffled(values: Sequence[T]) -> list[T]:
    return random.Random(SEED).sample(values, len(values))


def _quarter(count: int) -> int:
    return -(-count // 4)
