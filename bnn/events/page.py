# SPDX-License-Identifier: Apache-2.0
"""A self-contained page that shows an image being recognized, event by event."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING

from .._types import Array
from ..errors import InputError
from .report import SPIKING, LayerCounts
from .runs import ImageRun

if TYPE_CHECKING:
    from .engine import EventEngine


def image_page(engine: EventEngine, run: ImageRun, class_names: Sequence[str] | None = None) -> str:
    """The page's text, for a run of this engine that kept its spikes (``trace=True``).  Resets the engine.

    It needs no network: data, drawing and style are in the one file.  ``page.html#event=12`` opens it at an event.
    Raises InputError if the run has no spikes.
    """
    if run.spikes is None:
        raise InputError("html: the run has no spikes; use run_image(..., trace=True)")
    names = list(class_names) if class_names is not None else [str(k) for k in range(run.outputs.shape[1])]
    shape = run.image.shape if run.image.ndim == 3 else (1, run.image.size, 1)
    title = "An image" if run.label is None else f"An image of “{names[run.label]}”"
    values = run.image.reshape(-1)[run.index]
    engine.reset()
    data = {
        "title": f"{title} in {run.events} events, {run.order} order",
        "height": shape[0],
        "width": shape[1],
        "channels": shape[2],
        "index": run.index.tolist(),
        "values": values.tolist(),
        "blank": run.blank,
        "low": float(values.min(initial=run.blank)),
        "high": float(values.max(initial=run.blank)),
        "unit": run.unit,
        "notes": [f"encoder: {run.report.encoder}", *run.report.notes],
        "label": run.label,
        "answers": run.answers.tolist(),
        "final": run.final,
        "firstRight": run.first_correct,
        "classes": names,
        "outputs": _text(run.outputs.astype("<f4")),
        "layers": [_layer(engine, run, x) for x in run.report.layers if x.kind in SPIKING],
        "table": run.report.rows(),
    }
    # "</" would end the script.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    template = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("/*DATA*/null", text)


def _text(array: Array) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def _layer(engine: EventEngine, run: ImageRun, layer: LayerCounts) -> dict[str, object]:
    assert run.spikes is not None
    state = engine.levels(layer)
    height, width = state.shape[:2] if state.ndim == 3 else (1, 1)
    if height * width == 1:  # draw a vector as a picture that is nearly square
        width = math.ceil(math.sqrt(state.size))
        while state.size % width:
            width += 1
        height = state.size // width
    spikes = run.spikes[run.spikes["tensor"] == layer.tensor]
    return {
        "name": layer.name,
        "height": height,
        "width": width,
        "levels": layer.levels,
        "start": _text(state.reshape(-1)),
        "times": _text(spikes["time"].astype("<u4")),
        "neurons": _text((spikes["neuron"].astype("<u4") << 1 | (spikes["sign"] > 0)).astype("<u4")),
    }
