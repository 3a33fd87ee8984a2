# SPDX-License-Identifier: Apache-2.0
"""Time several contestants fairly: they take turns, and medians are compared."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

CLOCKS: dict[str, Callable[[], int]] = {"wall": time.perf_counter_ns, "cpu": time.process_time_ns}


_MORE_THAN_CACHES = 2**28  # bytes


@dataclass(frozen=True)
class Contestant:
    """``run`` does the work once, for ``images`` images; ``engine`` and ``setting`` name the contestant."""

    engine: str
    setting: str
    images: int
    threads: int
    run: Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Microseconds of one call: the median of the turns, their quartiles and the best."""

    median: float
    first_quartile: float
    third_quartile: float
    best: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Timing:
        first, median, third = (float(q) for q in np.percentile(samples, (25, 50, 75)))
        return cls(median, first, third, float(min(samples)))

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median."""
        return (self.third_quartile - self.first_quartile) / 2 / self.median if self.median else 0.0


def cold(run: Callable[[], object], rounds: int, clock: str) -> tuple[Timing, Timing]:
    """(a call after the caches were overwritten, the third call after it), taking turns."""
    now = CLOCKS[clock]
    other = np.zeros(_MORE_THAN_CACHES, np.uint8)
    samples: tuple[list[float], list[float]] = ([], [])
    run()
    for _ in range(rounds):
        other += 1
        for calls, mine in zip((1, 2), samples, strict=True):
            for _ in range(calls):
                begin = now()
                run()
                took = (now() - begin) / 1e3
            mine.append(took)
    return Timing.of(samples[0]), Timing.of(samples[1])


def measure(
    runs: Sequence[Callable[[], object]],
    rounds: int,
    slice_ms: float,
    clock: str,
    advance: Callable[[int], None] = lambda steps: None,
    warm: bool = False,
) -> list[Timing]:
    """One :class:`Timing` per contestant.

    In every round each contestant runs for at least ``slice_ms`` without a pause, so that after its first call it has
    the caches to itself; the order rotates by one each round.  A machine that slows down slows all of them.
    ``warm``: a turn begins with a call that is not timed, for contestants whose single call fills a turn.
    """
    now = CLOCKS[clock]

    def timed(run: Callable[[], object], repeats: int) -> float:
        begin = now()
        for _ in range(repeats):
            run()
        return (now() - begin) / repeats / 1e3

    repeats = []
    for run in runs:
        run()
        once = min(timed(run, 1) for _ in range(3))
        repeats.append(max(1, math.ceil(slice_ms * 1e3 / max(once, 0.1))))
    samples: list[list[float]] = [[] for _ in runs]
    for turn in range(rounds):
        for i in range(len(runs)):
            k = (i + turn) % len(runs)
            if warm:
                runs[k]()
            samples[k].append(timed(runs[k], repeats[k]))
        advance(1)
    return [Timing.of(s) for s in samples]
