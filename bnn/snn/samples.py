# SPDX-License-Identifier: Apache-2.0
"""Runs of several samples: weights are in common, and each thread has neurons of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .._types import Array
from .handle import Counts, State

#: What a population does (SENT, CURRENT, MEMBRANE), and where it is written, (N, T, ...).
Record = tuple[int, str, Array]


def run_samples(
    states: Sequence[State], given: Callable[[int], list[Array]], count: int, steps: int, records: Sequence[Record],
    until_spike: bool,
) -> tuple[Counts, Array]:  # fmt: skip
    """Run ``count`` samples from the first step on, with a thread for each of ``states``; ``given``: the frames of a
    sample, (T, ...) of each input; ``until_spike``: each ends with its first output spike.

    Returns the counts of all together, and the steps of each, int64 (N,).
    Raises the error of the first sample that has one.
    """
    numbers = iter(range(count))  # next() gives each number to one thread, in order
    found: list[Counts] = []
    errors: dict[int, BaseException] = {}
    taken = np.zeros(count, np.int64)

    def work(state: State) -> None:
        for i in numbers:
            if errors and min(errors) < i:
                return
            try:
                found.append(_run(state, given(i), steps, records, i, until_spike))
                taken[i] = state.steps
            except BaseException as error:  # noqa: BLE001 - also that of a signal handler
                errors[i] = error

    with ThreadPoolExecutor(max(len(states) - 1, 1)) as pool:
        others = [pool.submit(work, state) for state in states[1:]]
        work(states[0])  # here, where signal handlers run
        for other in others:
            other.result()
    if errors:
        raise errors[min(errors)]
    return (_sums(counts[0] for counts in found), _sums(counts[1] for counts in found)), taken


def _run(
    state: State, given: Sequence[Array], steps: int, records: Sequence[Record], i: int, until_spike: bool
) -> Counts:
    state.reset()
    for population, what, rows in records:
        state.record(population, what, rows[i])
    try:
        state.run(given, steps, until_spike)
    finally:
        state.forget()
    return state.counts()


def _sums(counts: Iterator[list[int]]) -> list[int]:
    return [sum(each) for each in zip(*counts, strict=True)]
