# SPDX-License-Identifier: Apache-2.0
"""Runs of several samples: weights are in common, and each thread has neurons of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .._types import Array
from .handle import Counts, Samples, State

_TURNS = 8  # how often a thread takes samples from those that are left: the last of them end together


def run_samples(
    states: Sequence[State], together: Sequence[Array] | None, given: Callable[[int], list[Array]], count: int,
    steps: int, records: Sequence[tuple[int, str, Array]], until_spike: bool,
) -> tuple[Counts, Array]:  # fmt: skip
    """Run ``count`` samples from the first step on, with a thread for each of ``states``.

    ``together``: the frames of each input, (N, T, ...); None: ``given`` makes those of a sample, (T, ...).  ``records``
    and ``until_spike``: see :class:`~bnn.snn.handle.Samples`.
    Returns the counts of all together, and the steps of each, int64 (N,).
    Raises the error of the first sample that has one.
    """
    turn = 1 if together is None else max(count // (_TURNS * len(states)), 1)
    numbers = iter(range(0, count, turn))  # next() gives each number to one thread, in order
    errors: dict[int, BaseException] = {}
    taken = np.zeros(count, np.int64)
    found = [Samples(state, steps, records, taken, until_spike) for state in states]

    def work(samples: Samples) -> None:
        if together is not None:
            samples.give(together, True)
        for first in numbers:
            samples.next = first
            while samples.next < min(first + turn, count):
                if errors and min(errors) < samples.next:
                    return
                try:
                    if together is None:
                        samples.give(given(first), False)
                    samples.run(min(first + turn, count))
                except BaseException as error:  # noqa: BLE001 - also that of a signal handler
                    errors[samples.next] = error
                    return

    with ThreadPoolExecutor(max(len(states) - 1, 1)) as pool:
        others = [pool.submit(work, samples) for samples in found[1:]]
        work(found[0])  # here, where signal handlers run
        for other in others:
            other.result()
    if errors:
        raise errors[min(errors)]
    counts = [sum(each) for each in zip(*(samples.counts for samples in found), strict=True)]
    populations = len(states[0].opened.populations)
    return (counts[:populations], counts[populations:]), taken
