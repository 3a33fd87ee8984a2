# SPDX-License-Identifier: Apache-2.0
"""How fast this processor is: limits of tests count work, so that they hold on one that is slow or busy."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path

_ADDITIONS = 1_000_000


@cache
def loop_seconds() -> float:
    """Processor time of a million additions in Python, the best of five: 14 ms where the tests were written."""
    samples = []
    for _ in range(5):
        begin = time.process_time()
        sum(range(_ADDITIONS))
        samples.append(time.process_time() - begin)
    return min(samples)


def process_seconds(pid: int) -> float:
    """Processor time that another process has used, to a hundredth of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
