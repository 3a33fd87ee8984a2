# SPDX-License-Identifier: Apache-2.0
"""Run a compiled network event by event: a network of binary activations as the equivalent spiking network.

    engine = bnn.events.EventEngine(bnn.load("net.bnn"))
    run = engine.run_image(x, order="brightest", label=3)   # pixels arrive one by one
    print(run)                                              # when the answer was first right, and when final
    print(run.report)                                       # spikes and SynOps per layer, energy

Whenever no spike is pending, every layer equals what ``model(x)`` computes, bit for bit; see docs/spikes/events.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._arguments import check_kind
from ..runtime import Model
from ..streams.energy import Energy
from .counts import EventReport, LayerCounts
from .engine import EventEngine
from .rules import ORDERS, RULES, Rule, pixel_order
from .runs import ImageRun, RecordingRun, StreamRun

if TYPE_CHECKING:
    from ..snn.model import SpikingModel


def populations(model: Model) -> SpikingModel:
    """The event populations of a compiled model, as a network of spiking neurons; ``save`` writes the .snn file, which
    bnn_snn.h and, with the model beside it, bnn_events.h open.

    Its inputs are the changes of the encoder's bits or levels, or, where the encoder is one convolution or quantizer on
    real inputs, changes of these.

    Raises :class:`bnn.UnsupportedOpError` as :class:`EventEngine` does, and where nothing spikes.
    """
    from ..lowering import event_populations  # the compiler's part: imported only if needed
    from ..snn.model import SpikingModel

    check_kind(model, "model", Model, "a compiled model: bnn.load(path)")
    return SpikingModel.from_bytes(event_populations(model), kernels=model.kernels)


__all__ = [
    "ORDERS", "RULES", "Energy", "EventEngine", "EventReport", "ImageRun", "LayerCounts", "RecordingRun", "Rule",
    "StreamRun", "pixel_order", "populations",
]  # fmt: skip
