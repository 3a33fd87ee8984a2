# SPDX-License-Identifier: Apache-2.0
"""What a run counted: spikes and synaptic operations per population, and energy by stated constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..runtime.summary import quantity
from ..streams.energy import MULTIPLY_ACCUMULATE, Energy
from ..streams.report import CountReport, Operations, cells


@dataclass(frozen=True)
class PopulationCounts:
    """What a population did in a run.

    ``spikes`` that it sent (of counts and values: those that are not 0); ``synops``: additions of a weight to its
    currents, of which ``multiplied`` were of real values, so multiply-accumulates; one for a count of several spikes.
    ``dense``: additions if all sources had sent something in every step, of which ``dense_multiplied`` likewise.
    ``kind``: input, spikes, counts, values or changes.
    """

    name: str
    rule: str
    neurons: int
    spikes: int
    synops: int
    kind: str = "spikes"
    multiplied: int = 0
    dense: int = 0
    dense_multiplied: int = 0

    def __add__(self, other: PopulationCounts) -> PopulationCounts:
        """The counts of both."""
        counts = ("spikes", "synops", "multiplied", "dense", "dense_multiplied")
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in counts})

    def as_dict(self) -> dict[str, object]:
        """The counts as types of JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class ActivityReport(CountReport):
    """Counts of all populations in ``steps`` steps for ``samples`` samples (all together); printing it gives a table,
    then energy with its constants.  ``dt``: seconds of a step, 0 if nobody said.  ``notes``: what a reader must know.
    """

    layers: tuple[PopulationCounts, ...]
    steps: int
    samples: int = 1
    dt: float = 0.0
    notes: tuple[str, ...] = ()
    _real = "real values"

    def __add__(self, other: ActivityReport) -> ActivityReport:
        """The report of both runs' samples together."""
        layers = tuple(a + b for a, b in zip(self.layers, other.layers, strict=True))
        notes = tuple(dict.fromkeys((*self.notes, *other.notes)))
        return ActivityReport(layers, self.steps + other.steps, self.samples + other.samples, self.dt, notes)

    @property
    def multiplied(self) -> int:
        """The part of ``synops`` that multiplies real values."""
        return sum(layer.multiplied for layer in self.layers)

    @property
    def dense_multiplied(self) -> int:
        """The part of ``dense`` that multiplies real values."""
        return sum(layer.dense_multiplied for layer in self.layers)

    @property
    def updates(self) -> int:
        """Updates of a neuron: every neuron in every step."""
        return self.steps * sum(layer.neurons for layer in self.layers if layer.kind != "input")

    def _apart(self) -> tuple[Operations, Operations, Energy]:
        what, each = "45 nm, one pass of floats: a multiply-accumulate each", (MULTIPLY_ACCUMULATE,) * 2
        floats = Energy(what, self.dense * self.samples // max(self.steps, 1), each)
        return _multiplied(self.multiplied), _multiplied(self.dense_multiplied), floats

    def as_dict(self) -> dict[str, object]:
        """The counts as types of JSON."""
        return {
            "samples": self.samples,
            "steps": self.steps,
            "dt": self.dt or None,
            "multiplied": self.multiplied,
            "updates": self.updates,
            **super().as_dict(),
        }

    def rows(self) -> list[tuple[str, ...]]:
        """A table: its header, a row per population, and the totals."""
        rows: list[tuple[str, ...]] = [
            ("population", "rule", "neurons", "spikes", "a step", "SynOps", "dense", "share")
        ]
        for x in self.layers:
            spikes = ("", "") if x.kind == "values" else self._spikes(x.spikes)
            rows.append((x.name, x.rule, f"{x.neurons:,}", *spikes, *cells(x.synops, x.dense)))
        return [*rows, ("all neurons", "", "", *self._spikes(self.spikes), *cells(self.synops, self.dense))]

    def _spikes(self, count: int) -> tuple[str, str]:
        return f"{count:,}", f"{count / max(self.steps, 1):,.1f}"

    def facts(self) -> list[str]:
        """For how much, what counts apart, and the notes."""
        dt = f" of {seconds(self.dt)}" if self.dt else ""
        text = f"{quantity(self.samples, 'sample')}, {quantity(self.steps, 'step')}{dt}; "
        lines = [f"{text}{quantity(self.updates, 'update')} of neurons"]
        if self.multiplied:
            lines.append(f"{self.multiplied:,} SynOps multiply real values")
        if any(layer.kind in ("counts", "changes") for layer in self.layers):
            lines.append("several spikes of a neuron in one step are counted once")
        return [*lines, *self.notes]

    def figures(self) -> str:
        """The operations in a few words, and the updates of neurons."""
        dense = f"of {self.dense:,} dense, {quantity(self.steps, 'step')} ({self.share:.0%})"
        return f"SynOps: {self.synops:,}\n{dense}\nupdates of neurons: {self.updates:,}"


class Counted(NamedTuple):
    """What the engine counted in ``steps`` steps of ``samples`` samples.  :meth:`report` is made when somebody asks:
    making it takes longer than a short run.

    ``layers``: per population its counts in one step in which all sources send, and the numbers of the projections that
    bring it spikes, and real values.  ``sent``: per population; ``synops``: per projection.
    """

    layers: tuple[tuple[PopulationCounts, list[int], list[int]], ...]
    sent: list[int]
    synops: list[int]
    steps: int
    samples: int
    dt: float
    notes: tuple[str, ...]

    def report(self) -> ActivityReport:
        """The counts by population."""
        found = []
        for spikes, (layer, by_spikes, others) in zip(self.sent, self.layers, strict=True):
            multiplied = sum(self.synops[i] for i in others)
            counted = replace(
                layer, spikes=spikes, synops=sum(self.synops[i] for i in by_spikes) + multiplied,
                multiplied=multiplied, dense=layer.dense * self.steps,
                dense_multiplied=layer.dense_multiplied * self.steps,
            )  # fmt: skip
            found.append(counted)
        return ActivityReport(tuple(found), self.steps, self.samples, self.dt, self.notes)


def seconds(value: float) -> str:
    """1.5 ms"""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.4g} {unit}"
    return f"{value / 1e-9:.4g} ns"


def total(reports: Sequence[ActivityReport]) -> ActivityReport:
    """That of all samples together; at least one."""
    first, *others = reports
    for other in others:
        first = first + other
    return first


def _multiplied(operations: int) -> Operations:
    return ((operations, MULTIPLY_ACCUMULATE),) if operations else ()
