# SPDX-License-Identifier: Apache-2.0
"""Networks of spiking neurons that live over many time steps: trained elsewhere, run in C spike for spike.

    model = bnn.snn.compile("net.nir", simulator="snntorch")
    model.save("net.snn")
    model = bnn.snn.load("net.snn")
    run = model.run(x)        # x: spikes (T, *shape)
    run.output                # spikes of the output, (T, n)
    print(run)                # spikes and SynOps per population
    print(bnn.verify_snn("net.nir", model))

Running needs only NumPy and cffi; see docs/spikes/snn.md.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .activity import ActivityReport, PopulationCounts
from .model import SpikingModel, build, load
from .runs import RecordingStepRun, Run, StepRun

if TYPE_CHECKING:
    from .compiler import compile
    from .nengo_compile import from_nengo
    from .torch_compile import from_torch

__all__ = [
    "PopulationCounts",
    "RecordingStepRun",
    "Run",
    "ActivityReport",
    "SpikingModel",
    "StepRun",
    "build",
    "compile",
    "from_nengo",
    "from_torch",
    "load",
]

# Imported when first used, so that loading and running a network stays light.
_LAZY = {"compile": "compiler", "from_nengo": "nengo_compile", "from_torch": "torch_compile"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'bnn.snn' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
