# SPDX-License-Identifier: Apache-2.0
"""All that is known of simulators, a file for each: what its importer makes of NIR's nodes, with the rules and the
float32 operations that compute their parameters; what it drops, ignores or gets wrong, which is refused; and how the
importer and the torch modules that it makes are called.  Commands, errors and the documentation name these and no
others."""

from __future__ import annotations

from .norse import NORSE
from .record import SPIKE_FNS, Found, Neuron, Simulator, SimulatorOptions
from .rockpool import ROCKPOOL
from .sinabs import SINABS
from .snntorch import SNNTORCH
from .spikingjelly import SPIKINGJELLY

__all__ = ["IMPORTERS", "SIMULATORS", "SPIKE_FNS", "Found", "Neuron", "SimulatorOptions", "Simulator"]

_ALL = (NORSE, SNNTORCH, SPIKINGJELLY, SINABS, ROCKPOOL)

#: Of networks over time; and of a network's images.
SIMULATORS: dict[str, Simulator] = {s.name: s for s in _ALL if s.neurons}
IMPORTERS: dict[str, Simulator] = {s.name: s for s in _ALL if s.profiles}
