# SPDX-License-Identifier: Apache-2.0
"""What a run counted: spikes and synaptic operations of its layers, and energy by stated constants."""

from __future__ import annotations

from typing import Any

from ..runtime.summary import table
from .energy import ACCUMULATE, SOURCE, SYNOP, Energy

Operations = tuple[tuple[int, float], ...]  # (operations, joules each)


class CountReport:
    """Counts of all ``layers``; printing it gives a table, then energy with its constants.  ``notes``: what a reader
    must know about the run."""

    layers: tuple[Any, ...]
    notes: tuple[str, ...]
    _real = ""  # what computes with real numbers, and is counted apart

    @property
    def spikes(self) -> int:
        """Spikes that neurons sent; those of the input, and values, do not count."""
        return sum(layer.spikes for layer in self.layers if layer.kind not in ("input", "values"))

    @property
    def synops(self) -> int:
        """Operations of all layers, also those with real numbers and those of synchronous runs."""
        return sum(layer.synops for layer in self.layers)

    @property
    def dense(self) -> int:
        """The operations if every weight were visited each time."""
        return self._times * sum(layer.dense for layer in self.layers)

    @property
    def share(self) -> float:
        """synops / dense"""
        return share(self.synops, self.dense)

    @property
    def _times(self) -> int:
        return 1

    def _apart(self) -> tuple[Operations, Operations, Energy]:
        """Operations with real numbers, done and in a dense run; what the same network takes in floats."""
        raise NotImplementedError

    def energy(self) -> list[Energy]:
        """Estimates by constants (``streams/energy.py``) of the operations.  They count arithmetic on a chip, not
        memory, leakage, or the updates of neurons."""
        add, (done, dense, floats) = (ACCUMULATE,) * 2, self._apart()
        spikes, every = self.synops - sum(n for n, _ in done), self.dense - sum(n for n, _ in dense)
        rows = [
            Energy("45 nm, by spikes: an accumulate each", spikes, add, done, self._real),
            Energy("45 nm, dense: an accumulate each", every, add, dense, self._real),
            floats,
        ]
        return rows + [Energy(f"{chip}, by spikes: a synaptic operation each", spikes, j) for chip, j in SYNOP.items()]

    def as_dict(self) -> dict[str, object]:
        """The counts as types of JSON."""
        return {
            "spikes": self.spikes,
            "synops": self.synops,
            "dense": self.dense,
            "share": self.share,
            "notes": list(self.notes),
            "layers": [layer.as_dict() for layer in self.layers],
            "energy": [e.as_dict() for e in self.energy()],
        }

    def rows(self) -> list[tuple[str, ...]]:
        """A table: its header, a row per layer, and the totals."""
        raise NotImplementedError

    def facts(self) -> list[str]:
        """What is said below the table, a line each."""
        raise NotImplementedError

    def figures(self) -> str:
        """What is said above a picture of the operations."""
        raise NotImplementedError

    def bars(self) -> list[tuple[str, int, int]]:
        """What is drawn there: (layer, its operations, those of a dense run)."""
        return [(x.name, x.synops, x.dense * self._times) for x in self.layers if x.dense]

    def __str__(self) -> str:
        head, *rows = self.rows()
        energy = f"energy of the operations by constants, arithmetic alone ({SOURCE}; chips without the {self._real}):"
        return "\n".join([table(head, rows, head[:2]), *self.facts(), energy, *(f"  {e}" for e in self.energy())])


def cells(synops: int, dense: int) -> tuple[str, str, str]:
    """Operations in a table."""
    return (f"{synops:,}", f"{dense:,}", f"{synops / dense:.1%}") if dense else (f"{synops or ''}", "", "")


def share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
