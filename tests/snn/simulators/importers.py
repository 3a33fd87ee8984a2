# SPDX-License-Identifier: Apache-2.0
"""What every node of a file sends, in the simulators and in the oracle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from bnn._types import Floats
from bnn.snn.calling import quiet, run_module, why_not
from bnn.snn.network import Network
from bnn.snn.oracle import Oracle
from bnn.snn.simulators import SIMULATORS
from bnn.verification.modules import import_file as imported

__all__ = ["differences", "imported", "oracle", "quiet", "run", "why_not"]


def run(name: str, module: Any, x: Floats, populations: Iterable[str]) -> dict[str, Floats]:
    """(T, n) by the name of each population that a node of the file is, in NIR's order; ``x``: (T, ...), one sample."""
    nodes = [p for p in populations if not p.endswith(".sum")]
    _, sent = run_module(name, module, x, SIMULATORS[name].imported, nodes)
    assert sorted(sent) == sorted(nodes)
    return {p: values for p, (_, values) in sent.items()}


def oracle(network: Network, x: Floats) -> dict[str, Floats]:
    """(T, n) by the name of each population, in NIR's order: channels first."""
    shape = network.populations[network.inputs[0]].shape
    moved = np.moveaxis(x, 1, -1) if x.ndim > 2 else x
    assert moved.shape[1:] == shape
    record = Oracle(network).run([moved.reshape(len(x), -1)])
    return {
        p.name: np.moveaxis(record.sent[i].reshape(len(x), *p.shape), -1, 1).reshape(len(x), -1)
        for i, p in enumerate(network.populations)
        if p.dynamics is not None
    }


def differences(ours: dict[str, Floats], theirs: dict[str, Floats]) -> dict[str, int]:
    """The number of values that differ, by population."""
    found = {}
    for name, other in theirs.items():
        assert other.shape == ours[name].shape, name
        found[name] = int(np.count_nonzero(other != ours[name]))
    return found
