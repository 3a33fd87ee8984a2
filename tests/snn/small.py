# SPDX-License-Identifier: Apache-2.0
"""A small network by hand, for tests of runs, reports, pictures and commands."""

from __future__ import annotations

import numpy as np

from bnn.snn.network import Network, Population, Projection
from bnn.snn.rules import RULES, Dynamics, Emits, Reset

SIDE, CLASSES = 8, 4


def population(
    name: str, shape: tuple[int, ...], rule: str, reset: Reset, emits: Emits = Emits.SPIKES, output: bool = False,
    **given: float,
) -> Population:  # fmt: skip
    """Parameters that are not given: threshold 1, reset and initial 0."""
    record = RULES[rule]
    usual = {"threshold": 1.0, "reset": 0.0, "initial": 0.0}
    parameters = {p: np.array([{**usual, **given}[p]], np.float32) for p in (*usual, *record.parameters)}
    return Population(name, shape, Dynamics(record, reset, emits), parameters, output=output)


def small_network(
    dt: float = 1e-3, emits: Emits = Emits.SPIKES, channels: int = 2, channels_first: bool = True, seed: int = 3
) -> Network:
    """A camera's input, a convolution, a pool of real values, a dense output that inhibits itself."""
    rng = np.random.default_rng(seed)
    w1 = (np.round(rng.normal(0.2, 0.4, (channels, 3, 3, 4)) * 16) / 16).astype(np.float32)
    return Network(
        [
            Population("input", (SIDE, SIDE, channels), input_emits=emits),
            population("conv", (SIDE, SIDE, 4), "decay", Reset.LATE_SUBTRACT, beta=0.875),
            population("pool", (4, 4, 4), "relay", Reset.NONE, Emits.VALUES),
            population("output", (CLASSES,), "decay", Reset.SUBTRACT, output=True, beta=0.9375),
        ],
        [
            Projection(0, 1, "conv", w1, padding=(1, 1), name="w1"),
            Projection(1, 2, "conv", np.full((4, 2, 2, 1), 0.25, np.float32), stride=(2, 2), groups=4, name="mean"),
            Projection(
                2,
                3,
                "dense",
                (np.round(rng.normal(0, 0.5, (64, CLASSES)) * 16) / 16).astype(np.float32),
                name="dense",
            ),
            Projection(3, 3, "dense", -np.eye(CLASSES, dtype=np.float32) / 4, delay=1, name="own"),
        ],
        dt=dt,
        simulator="snntorch",
        channels_first=channels_first,
    )
