# SPDX-License-Identifier: Apache-2.0
"""What a run counted: spikes and synaptic operations per population, and energy by stated constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..runtime.summary import quantity, table
from ..streams.energy import ACCUMULATE, MULTIPLY_ACCUMULATE, SOURCE, SYNOP, Energy

_REAL = "real values"


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
class ActivityReport:
    """Counts of all populations in ``steps`` steps for ``samples`` samples (all together); printing it gives a table,
    then energy with its constants.  ``dt``: seconds of a step, 0 if nobody said.  ``notes``: what a reader must know.
    """

    layers: tuple[PopulationCounts, ...]
    steps: int
    samples: int = 1
    dt: float = 0.0
    notes: tuple[str, ...] = ()

    def __add__(self, other: ActivityReport) -> ActivityReport:
        """The report of both runs' samples together."""
        layers = tuple(a + b for a, b in zip(self.layers, other.layers, strict=True))
        notes = tuple(dict.fromkeys((*self.notes, *other.notes)))
        return ActivityReport(layers, self.steps + other.steps, self.samples + other.samples, self.dt, notes)

    @property
    def spikes(self) -> int:
        """Spikes that neurons sent; those of the input, and values, do not count."""
        return sum(layer.spikes for layer in self.layers if layer.kind not in ("input", "values"))

    @property
    def synops(self) -> int:
        """Operations of all populations."""
        return sum(layer.synops for layer in self.layers)

    @property
    def multiplied(self) -> int:
        """The part of ``synops`` that multiplies real values."""
        return sum(layer.multiplied for layer in self.layers)

    @property
    def dense(self) -> int:
        """The operations of an engine that visits every weight in every step."""
        return sum(layer.dense for layer in self.layers)

    @property
    def dense_multiplied(self) -> int:
        """The part of ``dense`` that multiplies real values."""
        return sum(layer.dense_multiplied for layer in self.layers)

    @property
    def share(self) -> float:
        """synops / dense"""
        return _share(self.synops, self.dense)

    @property
    def updates(self) -> int:
        """Updates of a neuron: every neuron in every step."""
        return self.steps * sum(layer.neurons for layer in self.layers if layer.kind != "input")

    def energy(self) -> list[Energy]:
        """Estimates by constants (``streams/energy.py``) of synaptic operations.  They count arithmetic on a chip, not
        memory, leakage, or the updates of the neurons."""
        add, multiply = (ACCUMULATE,) * 2, (MULTIPLY_ACCUMULATE,) * 2
        rows = [
            Energy("45 nm, by spikes: an accumulate each", self.synops - self.multiplied, add,
                   _apart(self.multiplied), _REAL),
            Energy("45 nm, dense: an accumulate each", self.dense - self.dense_multiplied, add,
                   _apart(self.dense_multiplied), _REAL),
            Energy("45 nm, one pass of floats: a multiply-accumulate each",
                   self.dense * self.samples // max(self.steps, 1), multiply),
        ]  # fmt: skip
        spikes = self.synops - self.multiplied
        return rows + [Energy(f"{chip}, by spikes: a synaptic operation each", spikes, j) for chip, j in SYNOP.items()]

    def as_dict(self) -> dict[str, object]:
        """The counts as types of JSON."""
        return {
            "samples": self.samples,
            "steps": self.steps,
            "dt": self.dt or None,
            "spikes": self.spikes,
            "synops": self.synops,
            "multiplied": self.multiplied,
            "dense": self.dense,
            "share": self.share,
            "updates": self.updates,
            "notes": list(self.notes),
            "layers": [layer.as_dict() for layer in self.layers],
            "energy": [e.as_dict() for e in self.energy()],
        }

    def rows(self) -> list[tuple[str, ...]]:
        """A table: its header, a row per population, and the totals."""
        steps = max(self.steps, 1)
        rows: list[tuple[str, ...]] = [
            ("population", "rule", "neurons", "spikes", "a step", "SynOps", "dense", "share")
        ]
        for x in self.layers:
            operations = (f"{x.synops:,}", f"{x.dense:,}", f"{_share(x.synops, x.dense):.1%}") if x.dense else ("",) * 3
            spikes = ("", "") if x.kind == "values" else (f"{x.spikes:,}", f"{x.spikes / steps:,.1f}")
            rows.append((x.name, x.rule, f"{x.neurons:,}", *spikes, *operations))
        sums = (f"{self.synops:,}", f"{self.dense:,}", f"{self.share:.1%}")
        rows.append(("neurons", "", "", f"{self.spikes:,}", f"{self.spikes / steps:,.1f}", *sums))
        return rows

    def __str__(self) -> str:
        head, *rows = self.rows()
        lines = [table(head, rows, ("population", "rule"))]
        dt = f" of {seconds(self.dt)}" if self.dt else ""
        text = f"{quantity(self.samples, 'sample')}, {quantity(self.steps, 'step')}{dt}; "
        lines.append(f"{text}{quantity(self.updates, 'update')} of neurons")
        if self.multiplied:
            lines.append(f"{self.multiplied:,} SynOps multiply real values")
        if any(layer.kind in ("counts", "changes") for layer in self.layers):
            lines.append("several spikes of a neuron in one step are counted once")
        lines += list(self.notes)
        lines.append(
            f"energy of the SynOps by constants, arithmetic alone ({SOURCE}; chips: real-valued SynOps not counted):"
        )
        lines += [f"  {e}" for e in self.energy()]
        return "\n".join(lines)


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


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _apart(operations: int) -> tuple[tuple[int, float], ...]:
    return ((operations, MULTIPLY_ACCUMULATE),) if operations else ()
