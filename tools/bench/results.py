# SPDX-License-Identifier: Apache-2.0
"""The benchmarks' measurements, in the form that the printing, drawing and documenting code takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.timing import Timing


@dataclass(frozen=True)
class KernelRow:
    """One measurement.

    ``products``: multiply-accumulates of one image, including those with padding (for memory: bytes).  ``bytes``: the
    least that the layer reads and writes per image.  ``ns``: median nanoseconds of processor time for one image;
    ``spread``: half the distance of its quartiles.  ``share``: of the highest register-loop rate for these products.
    """

    kind: str
    family: str
    shape: str
    output: str
    products: float
    bytes: float
    ns: float = 0.0
    spread: float = 0.0
    share: float = 0.0

    @property
    def rate(self) -> float:
        """GMAC/s."""
        return self.products / self.ns


@dataclass(frozen=True)
class Row:
    """One contestant on one network.  ``times_bnn``: its median over bnn's on one thread for as many images."""

    engine: str
    setting: str
    images: int
    threads: int
    us: Timing
    times_bnn: float


@dataclass(frozen=True)
class OpTime:
    """All ops of one type in a network."""

    op: str
    kind: str
    count: int
    us: float
    share: float


@dataclass
class Result:
    """The results for one network; ``register_loop_us``: the time of its multiply-accumulates at the register-loop
    rate, 0 if that could not be measured; ``share``: the share of this time in bnn's time."""

    network: str
    binary_macs: int
    float_macs: int
    file_bytes: int
    arena_bytes: int
    ops: int
    register_loop_us: float = 0.0
    share: float = 0.0
    rows: list[Row] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    profile: list[OpTime] = field(default_factory=list)
