# SPDX-License-Identifier: Apache-2.0
"""A self-contained page that shows a run moment by moment: page.html with its data."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from .._text import page_json
from .._types import Array
from ..errors import InputError
from ..runtime.summary import quantity
from .answers import Answering, Display, Sent, given_name

#: The most steps of a page, since a browser draws all of them; and its most characters.
MOST_STEPS, MOST_SIZE = 20_000, 2_000_000

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

    It needs no network: data, drawing and style are in the one file.  It opens at the first spike of a neuron, and
    ``page.html#event=12`` at another moment.

    Raises InputError if the run kept no spikes, has more steps than a browser can draw, or needs a page of more than
    2 MB.
    """
    view = run.view()
    if not view.traced:
        raise InputError("html: the run kept no spikes; use trace=True")
    if run.pulses and run.moments > MOST_STEPS:
        raise InputError(
            f"html: found {run.moments:,} steps, expected at most {MOST_STEPS:,}; show fewer steps, or draw a picture"
        )
    spikes = sum(len(x.spikes[0]) for x in view.layers if x.spikes is not None)
    if spikes > MOST_SIZE:  # each takes a character or more
        raise _too_large(spikes)
    classes = [str(k) if names is None else given_name(k, names) for k in range(run.scores.shape[1])]
    heading = view.heading if run.label is None else f"“{classes[run.label]}”: {view.heading}"
    record = {
        "title": heading[0].upper() + heading[1:],
        "classes": classes,
        "layers": [_layer(x) for x in view.layers if not x.arrives],
        "table": run.report.rows(),
        **_of_run(run),
        **_of_input(view),
    }
    template = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    page = template.replace("/*DATA*/null", page_json(record))
    if len(page) > MOST_SIZE:
        raise _too_large(spikes)
    return page


def _of_run(run: Answering) -> dict[str, Any]:
    """Its answers, and the words of the page."""
    intro, over_layers, over_table = _PULSES if run.pulses else _CHANGES
    moment = "step" if run.pulses else "event"
    return {
        "total": run.moments,
        "label": run.label,
        "answers": run.answers.tolist(),
        "final": run.final,
        "firstRight": run.first_correct,
        "outputs": _text(run.scores.astype("<f4")),
        "before": run.when(0),
        "unit": moment,
        "score": "so far" if run.pulses else "score",
        "places": {
            "intro": intro,
            "layersTitle": over_layers,
            "moment": moment,
            "per": moment,
            "scoresTitle": "output so far" if run.pulses else "scores",
            "tableTitle": over_table,
        },
        "pulses": run.pulses,
        "digits": 0 if np.array_equal(run.scores, np.rint(run.scores)) else 2,
        "notes": run.remarks,
    }


def _of_input(view: Display) -> dict[str, Any]:
    """The picture that arrives, whole or part by part, or the spikes in its place."""
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
    return {
        "meaning": meaning,
        "still": view.order is None,
        "input": None if view.image is not None or arrives is None else _layer(arrives),
        "seconds": view.seconds,
        "height": height,
        "width": width,
        "channels": channels,
        "index": _text(index.astype("<u4")),
        "values": _text(values.astype("<f4")),
        "blank": view.blank,
        "low": float(values.min(initial=view.blank)),
        "high": float(values.max(initial=view.blank)),
    }


def _too_large(spikes: int) -> InputError:
    return InputError(
        f"html: the page would have more than {MOST_SIZE / 1e6:g} MB, of {quantity(spikes, 'spike')}; show fewer "
        "steps, or draw a picture"
    )


def _text(array: Array) -> str:
    """An array's bytes as text."""
    return base64.b64encode(array.tobytes()).decode("ascii")


def _layer(x: Sent) -> object:
    """A layer of the page: its neurons' levels at the start (below ``levels``; of bits 0 and 1; "": all 0), and its
    spikes."""
    height, width = x.shape[:2] if len(x.shape) == 3 else (1, 1)
    size = int(np.prod(x.shape))
    if height * width == 1:  # draw a vector as a picture that is nearly square
        width = math.ceil(math.sqrt(size))
        while size % width:
            width += 1
        height = size // width
    return {
        "name": x.name,
        "height": height,
        "width": width,
        "levels": x.levels,
        "size": size,
        "start": "" if x.start is None or not x.start.any() else _text(x.start.reshape(-1).astype(np.uint8)),
        "spikes": "" if x.spikes is None else _text(_gaps(*x.spikes, size)),
    }


def _gaps(times: Array, neurons: Array, signs: Array, size: int) -> Array:
    """Spikes as one rising number each, (2 time + up) size + neuron, and each as its distance from the one before: in
    bytes of seven bits, the lowest first, with 128 added to all but the last (LEB128)."""
    numbers = (2 * times.astype(np.uint64) + (signs > 0)) * np.uint64(size) + neurons
    gaps = np.diff(np.sort(numbers), prepend=np.uint64(0))
    places = np.arange(9, dtype=np.uint64)
    length = 1 + (gaps[:, None] >> (7 * places[1:]) > 0).sum(axis=1)
    groups = (gaps[:, None] >> (7 * places) & np.uint64(127)).astype(np.uint8)
    groups[places < length[:, None] - 1] |= 128
    return groups[places < length[:, None]]
