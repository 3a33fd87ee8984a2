# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks measure, as they hand it to those who print, draw and document it."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.timing import Timing


@dataclass(frozen=True)
class KernelRow:
    """One measurement.

    ``products``: multiply-accumulates of one image, those with padding counted (of memory: bytes).  ``bytes``: what one
    image makes the layer read and write at least.  ``ns``: median nanoseconds of processor time for one image;
    ``spread``: half the distance of its quartiles.  ``share``: of the highest register-loop rate for such products.
    """

    kind: str
    family: str
    shape: str
    output: str
    products: float
    bytes: float
    ns: float
    spread: float
    share: float = 0.0

    @property
    def rate(self) -> float:
        """GMAC/s."""
        return self.products / self.ns


@dataclass(frozen=True)
class Row:
    """One contestant on one network.  ``times_bnn``: its median over that of bnn's one thread on as many images."""

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
    """What was found on one network; ``register_loop_us``: of the multiply-accumulates at the
    register-loop rate, 0 where it could not be measured; ``share``: of it in bnn's time."""

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


@dataclass(frozen=True)
class LayerRow:
    """One layer: bnn's time, OpenVINO's, and how many times bnn's that is."""

    shape: str
    us: Timing
    openvino_us: Timing
    times_bnn: float
