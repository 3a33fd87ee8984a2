# SPDX-License-Identifier: Apache-2.0
"""The counts of the event engine: spikes and synaptic operations per layer, and energy from stated constants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..runtime.summary import table
from ..streams.energy import ACCUMULATE, MULTIPLY_ACCUMULATE, SOURCE, SYNOP, Energy

#: Kinds of layers whose neurons are drawn.
SPIKING = ("encoder", "synapses", "pool", "counter")


@dataclass(frozen=True)
class LayerCounts:
    """One layer since the last reset.

    ``kind``: encoder (real values to bits or levels), synapses (bconv2d), pool, relay (wires), readout (bconv2d to real
    values), sums (bconv2d whose sums counters look at) or counter (their neurons).  ``spikes_up`` and ``spikes_down``
    left it, ``events`` arrived, ``synops`` additions followed.  A synchronous run takes ``dense`` operations; the layer
    ran that way ``synchronous`` times: whenever more than ``limit`` events arrived at once (None: never).
    ``multiplies``: its operations are multiply-accumulates of real numbers (an encoder that is a convolution of
    floats); otherwise they are additions.  ``levels`` of a neuron: 2 if it gives bits; 0 if none fires.
    """

    name: str
    kind: str
    op: int
    tensor: int
    neurons: int
    dense: int
    events: int
    synops: int
    spikes_up: int
    spikes_down: int
    synchronous: int
    limit: int | None
    multiplies: bool = False
    levels: int = 2

    @property
    def spikes(self) -> int:
        """Up and down."""
        return self.spikes_up + self.spikes_down


@dataclass(frozen=True)
class EventReport:
    """Counts of all layers for ``inferences`` inputs; printing it gives a table, then energy with its constants.

    ``encoder`` says how real inputs became bits: "incremental" (for the pixels that changed), "synchronous", or
    incremental with the number of synchronous times.  ``notes``: what a reader must know about the run.
    """

    layers: tuple[LayerCounts, ...]
    inferences: int
    encoder: str
    notes: tuple[str, ...] = field(default=())

    @property
    def spikes(self) -> int:
        """Up and down."""
        return sum(layer.spikes for layer in self.layers)

    @property
    def synops(self) -> int:
        """Operations, including those of the encoder and of synchronous runs."""
        return sum(layer.synops for layer in self.layers)

    @property
    def dense(self) -> int:
        """The operations of the synchronous engine for the same number of inferences."""
        return self.inferences * sum(layer.dense for layer in self.layers)

    @property
    def share(self) -> float:
        """synops / dense"""
        return _share(self.synops, self.dense)

    @property
    def encoder_synops(self) -> int:
        """The encoder's part of ``synops``: real numbers, no spikes."""
        return sum(layer.synops for layer in self.layers if layer.kind == "encoder")

    @property
    def encoder_dense(self) -> int:
        """The operations of the encoder as a synchronous layer."""
        return self.inferences * sum(layer.dense for layer in self.layers if layer.kind == "encoder")

    @property
    def share_without_encoder(self) -> float:
        """synops / dense, both without the encoder's."""
        return _share(self.synops - self.encoder_synops, self.dense - self.encoder_dense)

    def energy(self) -> list[Energy]:
        """Estimates by constants (``streams/energy.py``).  They count arithmetic on a chip, not memory or leakage."""
        add = (ACCUMULATE, ACCUMULATE)
        events, dense = self.synops - self.encoder_synops, self.dense - self.encoder_dense
        encoder = [layer for layer in self.layers if layer.kind == "encoder"]
        by_events = _encoder((layer.multiplies, layer.synops) for layer in encoder)
        by_frames = _encoder((layer.multiplies, layer.dense * self.inferences) for layer in encoder)
        floats = _encoder([(True, self.encoder_dense)])
        rows = [
            Energy("45 nm, events: an accumulate each", events, add, by_events),
            Energy("45 nm, dense: an accumulate each", dense, add, by_frames),
            Energy("45 nm, dense float network: a multiply-accumulate each", dense, (MULTIPLY_ACCUMULATE,) * 2, floats),
        ]
        return rows + [Energy(f"{chip}, events: a synaptic operation each", events, j) for chip, j in SYNOP.items()]

    def as_dict(self) -> dict[str, object]:
        """The counts as types of JSON."""
        return {
            "inferences": self.inferences,
            "encoder": self.encoder,
            "spikes": self.spikes,
            "synops": self.synops,
            "dense": self.dense,
            "share": self.share,
            "encoder_synops": self.encoder_synops,
            "encoder_dense": self.encoder_dense,
            "share_without_encoder": self.share_without_encoder,
            "notes": list(self.notes),
            "layers": [vars(layer) | {"spikes": layer.spikes} for layer in self.layers],
            "energy": [e.as_dict() for e in self.energy()],
        }

    def rows(self) -> list[tuple[str, ...]]:
        """A table: its header, a row per layer, and the totals, with and without the encoder."""
        head = ("layer", "kind", "neurons", "spikes +", "spikes -", "events in", "SynOps", "dense", "share", "switched")
        rows = [head, *map(self._row, self.layers)]
        up, down = (sum(getattr(x, k) for x in self.layers) for k in ("spikes_up", "spikes_down"))
        sums = (f"{self.synops:,}", f"{self.dense:,}", f"{self.share:.1%}")
        rows.append(("total", "", "", f"{up:,}", f"{down:,}", "", *sums, ""))
        if self.encoder_synops or self.encoder_dense:
            events, dense = self.synops - self.encoder_synops, self.dense - self.encoder_dense
            share = f"{self.share_without_encoder:.1%}" if dense else ""
            rows.append(("without encoder", "", "", "", "", "", f"{events:,}", f"{dense:,}", share, ""))
        return rows

    def __str__(self) -> str:
        head, *rows = self.rows()
        lines = [table(head, rows, ("layer", "kind"))]
        lines.append(f"{self.inferences} input{'s' if self.inferences != 1 else ''}; encoder: {self.encoder}")
        lines += list(self.notes)
        lines.append(f"energy by constants, arithmetic alone ({SOURCE}; chips without the encoder):")
        lines += [f"  {e}" for e in self.energy()]
        return "\n".join(lines)

    def _row(self, layer: LayerCounts) -> tuple[str, ...]:
        dense = layer.dense * self.inferences
        return (
            layer.name,
            layer.kind,
            f"{layer.neurons:,}",
            f"{layer.spikes_up:,}",
            f"{layer.spikes_down:,}",
            f"{layer.events:,}",
            f"{layer.synops:,}",
            f"{dense:,}" if dense else "",
            f"{layer.synops / dense:.1%}" if dense else "",
            f"{layer.synchronous:,} times" if layer.synchronous else "",
        )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _encoder(operations: Iterable[tuple[bool, int]]) -> tuple[tuple[int, float], ...]:
    """(operations, joules each), from pairs (whether they multiply, how many)."""
    counts = {MULTIPLY_ACCUMULATE: 0, ACCUMULATE: 0}
    for multiplies, count in operations:
        counts[MULTIPLY_ACCUMULATE if multiplies else ACCUMULATE] += count
    return tuple((count, each) for each, count in counts.items() if count)
