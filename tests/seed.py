# SPDX-License-Identifier: Apache-2.0
"""The number with which random tests begin, and how many cases they draw.

The number comes from the commit: CI and a developer draw the same, and every commit draws anew.  ``BNN_TEST_SEED`` in
the environment is another one; failing tests print what to set to repeat them alone.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

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


def cases(count: int) -> range:
    """The seeds of random cases: a quarter of ``count`` of them in ``make test``, the others in ``make test-all``;
    ``BNN_TEST_COUNT`` in the environment is another number.  A test that draws so is marked ``drawn``."""
    if own := os.environ.get("BNN_TEST_COUNT"):
        return range(SEED, SEED + int(own))
    quarter = -(-count // 4)
    return range(SEED + quarter, SEED + count) if LONG else range(SEED, SEED + quarter)
