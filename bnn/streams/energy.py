# SPDX-License-Identifier: Apache-2.0
"""Energy: counts of operations times stated constants."""

from __future__ import annotations

from dataclasses import dataclass

# Joules per operation.  45 nm, 0.9 V: M. Horowitz, "Computing's energy problem", ISSCC 2014: a 32-bit float addition
# takes 0.9 pJ, a multiplication 3.7 pJ.  Chips: energy per synaptic operation as their makers and users published it.
SOURCE = "45 nm: 0.9 pJ is a 32-bit float addition, 4.6 pJ an addition and a multiplication"
ACCUMULATE = 0.9e-12
MULTIPLY_ACCUMULATE = 4.6e-12
SYNOP = {"Loihi": (23.6e-12, 23.6e-12), "SpiNNaker2": (10e-12, 10e-12), "TrueNorth": (2.5e-12, 26e-12)}


@dataclass(frozen=True)
class Energy:
    """An estimate: a number of operations times the joules of each (a range if sources differ).  Operations of another
    kind, those of the ``encoder``, are counted separately; there are none if the chip does not run it.
    ``encoder_name``: what they are called where they are shown."""

    what: str
    operations: int
    joules_each: tuple[float, float]
    encoder: tuple[tuple[int, float], ...] = ()
    encoder_name: str = "encoder"

    @property
    def joules(self) -> tuple[float, float]:
        """The energy of the operations, without the encoder's."""
        return self.operations * self.joules_each[0], self.operations * self.joules_each[1]

    @property
    def encoder_joules(self) -> float:
        """The encoder's part."""
        return sum(operations * each for operations, each in self.encoder)

    @property
    def total(self) -> tuple[float, float]:
        """The energy of the operations and of the encoder."""
        return self.joules[0] + self.encoder_joules, self.joules[1] + self.encoder_joules

    def as_dict(self) -> dict[str, object]:
        """The energy as types of JSON."""
        return {
            "what": self.what,
            "operations": self.operations,
            "joules_each": self.joules_each,
            "joules": self.joules,
            f"{self.encoder_name.replace(' ', '_')}_joules": self.encoder_joules,
            "total_joules": self.total,
        }

    def __str__(self) -> str:
        each, own = _range(self.joules_each), _range(self.joules)
        text = f"{self.what}: {self.operations:,} x {each} = {own}"
        for operations, joules in self.encoder:
            text += f"; {self.encoder_name} {operations:,} x {_joules(joules)} = {_joules(operations * joules)}"
        return text + (f"; together {_range(self.total)}" if self.encoder else "")


def _range(joules: tuple[float, float]) -> str:
    return " to ".join(dict.fromkeys(_joules(j) for j in joules))


def _joules(joules: float) -> str:
    for unit, scale in (("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6), ("nJ", 1e-9)):
        if joules >= 0.9995 * scale:  # three digits of less are not 1000 of the smaller unit
            return f"{joules / scale:.3g} {unit}"
    return f"{joules / 1e-12:.3g} pJ"
