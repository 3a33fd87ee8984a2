# SPDX-License-Identifier: Apache-2.0
"""Run a compiled network event by event: a network of binary activations as the equivalent spiking network.

    engine = bnn.events.EventEngine(bnn.load("net.bnn"))
    run = engine.run_image(x, order="brightest", label=3)   # pixels arrive one by one
    print(run)                                              # when the answer was first right, and when final
    print(run.report)                                       # spikes and SynOps per layer, energy

Whenever no spike is pending, every layer equals what ``model(x)`` computes, bit for bit; see docs/spikes/events.md.
"""

from ..streams.energy import Energy
from .counts import EventReport, LayerCounts
from .engine import EventEngine
from .rules import ORDERS, RULES, Rule, pixel_order
from .runs import ImageRun, RecordingRun, StreamRun

__all__ = [
    "ORDERS", "RULES", "Energy", "EventEngine", "EventReport", "ImageRun", "LayerCounts", "RecordingRun", "Rule",
    "StreamRun", "pixel_order",
]  # fmt: skip
