# SPDX-License-Identifier: Apache-2.0
"""The counts of the event engine: spikes and synaptic operations per layer, and energy from stated constants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..runtime.summary import quantity
from ..streams.energy import ACCUMULATE, MULTIPLY_ACCUMULATE, Energy
from ..streams.report import CountReport, Operations, cells, share

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

    def as_dict(self) -> dict[str, object]:
        """The counts as types of JSON."""
        return vars(self) | {"spikes": self.spikes}


@dataclass(frozen=True)
class EventReport(CountReport):
    """Counts of all layers for ``inferences`` inputs; printing it gives a table, then energy with its constants.

    ``encoder`` says how real inputs became bits: "incremental" (for the pixels that changed), "synchronous", or
    incremental with the number of synchronous times.  ``notes``: what a reader must know about the run.
    """

    layers: tuple[LayerCounts, ...]
    inferences: int
    encoder: str
    notes: tuple[str, ...] = field(default=())
    _real = "encoder"

    @property
    def _times(self) -> int:
        return self.inferences

    @property
    def _encoders(self) -> list[LayerCounts]:
        return [layer for layer in self.layers if layer.kind == "encoder"]

    @property
    def encoder_synops(self) -> int:
        """The encoder's part of ``synops``: real numbers, no spikes."""
        return sum(layer.synops for layer in self._encoders)

    @property
    def encoder_dense(self) -> int:
        """The operations of the encoder as a synchronous layer."""
        return self.inferences * sum(layer.dense for layer in self._encoders)

    @property
    def share_without_encoder(self) -> float:
        """synops / dense, both without the encoder's."""
        return share(self.synops - self.encoder_synops, self.dense - self.encoder_dense)

    def _apart(self) -> tuple[Operations, Operations, Energy]:
        done = _encoder((layer.multiplies, layer.synops) for layer in self._encoders)
        dense = _encoder((layer.multiplies, layer.dense * self.inferences) for layer in self._encoders)
        what, each = "45 nm, dense float network: a multiply-accumulate each", (MULTIPLY_ACCUMULATE,) * 2
        floats = _encoder([(True, self.encoder_dense)])
        return done, dense, Energy(what, self.dense - self.encoder_dense, each, floats)

    def as_dict(self) -> dict[str, object]:
        """The counts as types of JSON."""
        return {
            "inferences": self.inferences,
            "encoder": self.encoder,
            "encoder_synops": self.encoder_synops,
            "encoder_dense": self.encoder_dense,
            "share_without_encoder": self.share_without_encoder,
            **super().as_dict(),
        }

    def rows(self) -> list[tuple[str, ...]]:
        """A table: its header, a row per layer, and the totals, with and without the encoder."""
        head = ("layer", "kind", "neurons", "spikes +", "spikes -", "events in", "SynOps", "dense", "share", "switched")
        rows = [head, *map(self._row, self.layers)]
        up, down = (sum(getattr(x, k) for x in self.layers) for k in ("spikes_up", "spikes_down"))
        rows.append(("total", "", "", f"{up:,}", f"{down:,}", "", *cells(self.synops, self.dense), ""))
        if self.encoder_synops or self.encoder_dense:
            without = cells(self.synops - self.encoder_synops, self.dense - self.encoder_dense)
            rows.append(("without encoder", "", "", "", "", "", *without, ""))
        return rows

    def _row(self, x: LayerCounts) -> tuple[str, ...]:
        counts = (f"{n:,}" for n in (x.neurons, x.spikes_up, x.spikes_down, x.events))
        switched = f"{x.synchronous:,} times" if x.synchronous else ""
        return (x.name, x.kind, *counts, *cells(x.synops, x.dense * self.inferences), switched)

    def facts(self) -> list[str]:
        """For how much, how the encoder ran, and the notes."""
        return [f"{quantity(self.inferences, 'input')}; encoder: {self.encoder}", *self.notes]

    def figures(self) -> str:
        """The operations in a few words, with and without the encoder."""
        inputs = quantity(self.inferences, "input")
        text = f"operations: {self.synops:,}\nof {self.dense:,} dense, {inputs} ({self.share:.0%})"
        return text + (f"\nwithout the encoder {self.share_without_encoder:.0%}" if self.encoder_dense else "")


def _encoder(operations: Iterable[tuple[bool, int]]) -> Operations:
    """From pairs (whether they multiply, how many)."""
    counts = {MULTIPLY_ACCUMULATE: 0, ACCUMULATE: 0}
    for multiplies, count in operations:
        counts[MULTIPLY_ACCUMULATE if multiplies else ACCUMULATE] += count
    return tuple((count, each) for each, count in counts.items() if count)
