# SPDX-License-Identifier: Apache-2.0
"""A self-contained page that shows an image being recognized, event by event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..streams.page import class_names, layer, page
from .counts import SPIKING, LayerCounts
from .runs import ImageRun

if TYPE_CHECKING:
    from .engine import EventEngine

_INTRO = (
    "A network with binary activations is a spiking network. One {unit} arrives after another; every neuron that "
    "crosses its threshold fires, or takes its spike back, and only those spikes cost anything. When the last {unit} "
    "is in, every layer equals the network run at once, bit for bit."
)


def image_page(engine: EventEngine, run: ImageRun, names: Sequence[str] | None = None) -> str:
    """The page's text, for a run of this engine that kept its spikes (``trace=True``); ``names``: of the classes.
    Resets the engine.

    It needs no network: data, drawing and style are in the one file.  ``page.html#event=12`` opens it at an event.
    Raises InputError if the run has no spikes.
    """
    if run.spikes is None:
        raise InputError("html: the run has no spikes; use run_image(..., trace=True)")
    shape = run.image.shape if run.image.ndim == 3 else (1, run.image.size, 1)
    what = "An image" if run.label is None else f"An image of “{class_names(run, names)[run.label]}”"
    values = run.image.reshape(-1)[run.index]
    engine.reset()
    return page(
        run,
        f"{what} in {run.events} events, {run.order} order",
        names,
        {
            "before": "before any event",
            "moment": "event",
            "moments": "events",
            "score": "score",
            "meaning": f"{run.blank:.4g} before anything arrives",
        },
        {
            "intro": _INTRO.format(unit=run.unit),
            "arrivedTitle": "what has arrived",
            "layersTitle": "who fires (share of a place's channels), and who just changed",
            "moment": "event",
            "per": "event",
            "tableTitle": "all events together, against one dense pass",
        },
        pulses=False,
        still=False,
        input=None,
        seconds=0,
        digits=2,
        height=shape[0],
        width=shape[1],
        channels=shape[2],
        index=run.index.tolist(),
        values=values.tolist(),
        blank=run.blank,
        low=float(values.min(initial=run.blank)),
        high=float(values.max(initial=run.blank)),
        notes=[f"encoder: {run.report.encoder}", *run.report.notes],
        layers=[_layer(engine, run, x) for x in run.report.layers if x.kind in SPIKING],
        table=run.report.rows(),
    )


def _layer(engine: EventEngine, run: ImageRun, counts: LayerCounts) -> object:
    assert run.spikes is not None
    state = engine.levels(counts)
    spikes = run.spikes[run.spikes["tensor"] == counts.tensor]
    signs = np.asarray(spikes["sign"])
    return layer(counts.name, state.shape, state, spikes["time"], spikes["neuron"], signs, counts.levels)
