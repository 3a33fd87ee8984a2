"""What the event engine counted: spikes and synaptic operations per layer, and energy by stated constants."""

from __future__ import annotations

from dataclasses import dataclass, field

from ._report import table

# Joules per operation.  45 nm, 0.9 V: M. Horowitz, "Computing's energy problem", ISSCC 2014: a 32-bit float addition
# takes 0.9 pJ, a multiplication 3.7 pJ.  Chips: energy per synaptic operation as their makers and users published it.
ACCUMULATE = 0.9e-12
MULTIPLY_ACCUMULATE = 4.6e-12
SYNOP = {"Loihi": (23.6e-12, 23.6e-12), "SpiNNaker2": (10e-12, 10e-12), "TrueNorth": (2.5e-12, 26e-12)}


@dataclass(frozen=True)
class LayerCounts:
    """One layer since the last reset.

    ``kind``: encoder (real values to bits), synapses (bconv2d), pool, relay (wires) or readout (bconv2d to real
    values).  ``spikes_up`` and ``spikes_down`` left it, ``events`` arrived, ``synops`` additions followed;
    ``dense`` operations a synchronous run takes, and it ran ``synchronous`` times that way; it does so when more than
    ``limit`` events arrive at once (None: never).
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

    @property
    def spikes(self) -> int:
        return self.spikes_up + self.spikes_down


@dataclass(frozen=True)
class Energy:
    """An estimate: so many operations times so many joules each (a range where sources differ)."""

    what: str
    operations: int
    joules_each: tuple[float, float]

    @property
    def joules(self) -> tuple[float, float]:
        return self.operations * self.joules_each[0], self.operations * self.joules_each[1]


@dataclass(frozen=True)
class Report:
    """Counts of all layers for ``inferences`` inputs; printing it gives a table, then energy with its constants.

    ``encoder`` says how real inputs became bits: "incremental" (for the pixels that changed) or "synchronous".
    """

    layers: tuple[LayerCounts, ...]
    inferences: int
    encoder: str
    notes: tuple[str, ...] = field(default=())

    @property
    def spikes(self) -> int:
        return sum(layer.spikes for layer in self.layers)

    @property
    def synops(self) -> int:
        """Synaptic operations, those of synchronous runs included."""
        return sum(layer.synops for layer in self.layers)

    @property
    def dense(self) -> int:
        """What the synchronous engine does for as many inferences."""
        return self.inferences * sum(layer.dense for layer in self.layers)

    @property
    def share(self) -> float:
        """synops / dense"""
        return self.synops / self.dense if self.dense else 0.0

    def energy(self) -> list[Energy]:
        """Estimates, by the constants of this module.  They count arithmetic on a chip, not memory or leakage."""
        one = (ACCUMULATE, ACCUMULATE)
        rows = [
            Energy("45 nm, events: an accumulate each", self.synops, one),
            Energy("45 nm, dense: an accumulate each", self.dense, one),
            Energy("45 nm, dense float network: a multiply-accumulate each", self.dense, (MULTIPLY_ACCUMULATE,) * 2),
        ]
        chips = [Energy(f"{chip}, events: a synaptic operation each", self.synops, j) for chip, j in SYNOP.items()]
        return rows + chips

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "inferences": self.inferences,
            "encoder": self.encoder,
            "spikes": self.spikes,
            "synops": self.synops,
            "dense": self.dense,
            "share": self.share,
            "notes": list(self.notes),
            "layers": [vars(layer) | {"spikes": layer.spikes} for layer in self.layers],
            "energy": [
                {"what": e.what, "operations": e.operations, "joules_each": e.joules_each, "joules": e.joules}
                for e in self.energy()
            ],
        }

    def __str__(self) -> str:
        head = ("layer", "kind", "neurons", "spikes +", "spikes -", "events in", "SynOps", "dense", "share", "switched")
        rows = [self._row(layer) for layer in self.layers]
        up, down = (sum(getattr(x, k) for x in self.layers) for k in ("spikes_up", "spikes_down"))
        sums = (f"{self.synops:,}", f"{self.dense:,}", f"{self.share:.1%}")
        rows.append(("total", "", "", f"{up:,}", f"{down:,}", "", *sums, ""))
        lines = [table(head, rows, ("layer", "kind"))]
        lines.append(f"{self.inferences} input{'s' if self.inferences != 1 else ''}; encoder: {self.encoder}")
        lines += list(self.notes)
        lines.append("energy by constants (arithmetic alone):")
        for e in self.energy():
            each, whole = (" to ".join(dict.fromkeys(_joules(j) for j in pair)) for pair in (e.joules_each, e.joules))
            lines.append(f"  {e.what}: {e.operations:,} x {each} = {whole}")
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


def _joules(joules: float) -> str:
    for unit, scale in (("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6), ("nJ", 1e-9)):
        if joules >= scale:
            return f"{joules / scale:.3g} {unit}"
    return f"{joules / 1e-12:.3g} pJ"
