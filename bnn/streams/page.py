# SPDX-License-Identifier: Apache-2.0
"""A self-contained page that shows a run moment by moment: page.html with its data."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from importlib import resources

import numpy as np

from .._text import page_json
from .._types import Array
from ..errors import InputError
from .answers import Answering, Sent, given_name

#: The most moments and spikes of a page of steps: a browser draws all of them.
MOST_STEPS, MOST_SPIKES = 20_000, 5_000_000

_PULSES = (
    "A network of spiking neurons lives in time. In every step a neuron adds what arrived to its membrane, which may "
    "leak; where the membrane crosses the threshold, the neuron sends a spike and is reset. Only what is sent costs "
    "anything on the way to the next layer. The answer is the class that the output sent most for so far.",
    "who fired so far (the darkest most often), and who fires now",
    "all steps together, against every weight in every step",
)
_CHANGES = (
    "A network with binary activations is a spiking network. One element of the image arrives after another; every "
    "neuron that crosses its threshold fires, or takes its spike back, and only those spikes cost anything. When the "
    "last one is in, every layer equals the network run at once, bit for bit.",
    "who fires (share of a place's channels), and who just changed",
    "all events together, against one dense pass",
)


def run_page(run: Answering, names: Sequence[str] | None = None) -> str:
    """The page's text, for a run that kept its spikes (``trace=True``); ``names``: of the classes.

    It needs no network: data, drawing and style are in the one file.  ``page.html#event=12`` opens it at a moment.
    Raises InputError if the run kept no spikes, or has more steps than a browser can draw.
    """
    view = run.view()
    if not view.traced:
        raise InputError("html: the run kept no spikes; use trace=True")
    spikes = sum(len(x.spikes[0]) for x in view.layers if x.spikes is not None)
    if run.pulses and (run.moments > MOST_STEPS or spikes > MOST_SPIKES):
        raise InputError(
            f"html: found {run.moments:,} steps and {spikes:,} spikes, expected at most {MOST_STEPS:,} and "
            f"{MOST_SPIKES:,}; show fewer steps, or draw a picture"
        )
    classes = [str(k) if names is None else given_name(k, names) for k in range(run.scores.shape[1])]
    heading = view.heading if run.label is None else f"“{classes[run.label]}”: {view.heading}"
    arrives = next((x for x in view.layers if x.arrives), None)
    image = np.zeros((1, 1, 1), np.float32) if view.image is None else view.image
    height, width, channels = image.shape
    index = np.arange(image.size) if view.order is None else view.order
    values = image.reshape(-1)[index]
    meaning = "darker: more so far; in colour: in this step"
    if view.image is not None:
        meaning = "the same in every step" if view.order is None else f"{view.blank:.4g} before anything arrives"
    elif arrives is not None and arrives.spikes is None:
        meaning = "real values, which are not drawn"
    intro, over_layers, over_table = _PULSES if run.pulses else _CHANGES
    moment = "step" if run.pulses else "event"
    record = {
        "title": heading[0].upper() + heading[1:],
        "total": run.moments,
        "label": run.label,
        "answers": run.answers.tolist(),
        "final": run.final,
        "firstRight": run.first_correct,
        "classes": classes,
        "outputs": _text(run.scores.astype("<f4")),
        "before": run.when(0),
        "unit": moment,
        "score": "so far" if run.pulses else "score",
        "meaning": meaning,
        "places": {
            "intro": intro,
            "layersTitle": over_layers,
            "moment": moment,
            "per": moment,
            "scoresTitle": "output so far" if run.pulses else "scores",
            "tableTitle": over_table,
        },
        "pulses": run.pulses,
        "still": view.order is None,
        "input": None if view.image is not None or arrives is None else _layer(arrives),
        "seconds": view.seconds,
        "digits": 0 if np.array_equal(run.scores, np.rint(run.scores)) else 2,
        "height": height,
        "width": width,
        "channels": channels,
        "index": index.tolist(),
        "values": values.tolist(),
        "blank": view.blank,
        "low": float(values.min(initial=view.blank)),
        "high": float(values.max(initial=view.blank)),
        "notes": run.remarks,
        "layers": [_layer(x) for x in view.layers if not x.arrives],
        "table": run.report.rows(),
    }
    template = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("/*DATA*/null", page_json(record))


def _text(array: Array) -> str:
    """An array's bytes as text."""
    return base64.b64encode(array.tobytes()).decode("ascii")


def _layer(x: Sent) -> object:
    """A layer of the page: its neurons' levels at the start (below ``levels``; of bits 0 and 1), and its spikes."""
    height, width = x.shape[:2] if len(x.shape) == 3 else (1, 1)
    size = int(np.prod(x.shape))
    if height * width == 1:  # draw a vector as a picture that is nearly square
        width = math.ceil(math.sqrt(size))
        while size % width:
            width += 1
        height = size // width
    start = np.zeros(size, np.uint8) if x.start is None else x.start.reshape(-1).astype(np.uint8)
    times, neurons, signs = x.spikes or (np.zeros(0, np.uint32),) * 3
    return {
        "name": x.name,
        "height": height,
        "width": width,
        "levels": x.levels,
        "start": _text(start),
        "times": _text(times.astype("<u4")),
        "neurons": _text((neurons.astype("<u4") << 1 | (signs > 0)).astype("<u4")),
    }
