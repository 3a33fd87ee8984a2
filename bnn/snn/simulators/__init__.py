# SPDX-License-Identifier: Apache-2.0
"""What the importers of simulators make of NIR's nodes: for each, the rules and the float32 operations that compute
their parameters, and what it drops, ignores or gets wrong, which is refused."""

from __future__ import annotations

from .norse import NORSE
from .record import SPIKE_FNS, Found, Neuron, Simulator, SimulatorOptions
from .sinabs import SINABS
from .snntorch import SNNTORCH
from .spikingjelly import SPIKINGJELLY

__all__ = ["SIMULATORS", "SPIKE_FNS", "Found", "Neuron", "SimulatorOptions", "Simulator"]

SIMULATORS: dict[str, Simulator] = {s.name: s for s in (NORSE, SNNTORCH, SPIKINGJELLY, SINABS)}
