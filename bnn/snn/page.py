# SPDX-License-Identifier: Apache-2.0
"""A self-contained page that shows a run step by step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from ..streams.page import class_names, layer, page
from .runs import RecordingStepRun, StepRun

#: The most steps and spikes of a page: a browser draws all of them.
MOST_STEPS, MOST_SPIKES = 20_000, 5_000_000

_INTRO = (
    "A network of spiking neurons lives in time. In every step a neuron adds what arrived to its membrane, which may "
    "leak; where the membrane crosses the threshold, the neuron sends a spike and is reset. Only what is sent costs "
    "anything on the way to the next layer. The answer is the class that the output sent most for so far."
)


def run_page(run: StepRun, names: Sequence[str] | None = None) -> str:
    """The page's text, for a run that kept its spikes (``trace=True``); ``names``: of the classes.

    It needs no network: data, drawing and style are in the one file.  ``page.html#event=12`` opens it after a step.
    Raises InputError if the run kept no spikes, or is longer than a browser can draw.
    """
    if run.spikes is None:
        raise InputError("html: the run kept no spikes; use trace=True")
    if run.moments > MOST_STEPS or len(run.spikes) > MOST_SPIKES:
        raise InputError(
            f"html: found {run.moments:,} steps and {len(run.spikes):,} spikes, expected at most {MOST_STEPS:,} and "
            f"{MOST_SPIKES:,}; show fewer steps, or draw a picture"
        )
    title = f"{run.events:,} events of a camera" if isinstance(run, RecordingStepRun) else run.what.capitalize()
    if run.label is not None:
        title = f"“{class_names(run, names)[run.label]}”: {title[0].lower()}{title[1:]}"
    kinds = [x.kind for x in run.report.layers]
    inputs = [k for k, kind in enumerate(kinds) if kind == "input"]
    drawn = [_layer(run, k) for k, kind in enumerate(kinds) if kind not in ("input", "values")]
    still = run.image is not None
    picture = np.zeros((1, 1, 1), np.float32) if run.image is None else run.image
    shape = picture.shape if picture.ndim == 3 else (1, picture.size, 1)
    values = picture.reshape(-1)
    meaning = "the darker, the more so far; in colour, in this step"
    if still:
        meaning = "the same in every step"
    elif run.sent[:, inputs[0]].any() and not (run.spikes["population"] == inputs[0]).any():
        meaning = "real values, which are not drawn"
    notes = list(run.report.notes)
    if "values" in kinds:
        notes.append("populations that send real values are not drawn")
    return page(
        run,
        title,
        names,
        {
            "before": "before the first step",
            "moment": "step",
            "moments": "steps",
            "score": "so far",
            "meaning": meaning,
        },
        {
            "intro": _INTRO,
            "arrivedTitle": "what arrives",
            "layersTitle": "who fired so far (the darkest most often), and who fires now",
            "moment": "step",
            "per": "step",
            "scoresTitle": "output so far",
            "tableTitle": "all steps together, against every weight in every step",
        },
        pulses=True,
        still=still,
        input=None if still else _layer(run, inputs[0]),
        seconds=run.step_seconds if isinstance(run, RecordingStepRun) else run.dt,
        digits=0 if np.array_equal(run.outputs, np.rint(run.outputs)) else 2,
        height=shape[0],
        width=shape[1],
        channels=shape[2],
        index=list(range(values.size)),
        values=values.tolist(),
        blank=0.0,
        low=float(values.min(initial=0)),
        high=float(values.max(initial=0)),
        notes=notes,
        layers=drawn,
        table=run.report.rows(),
    )


def _layer(run: StepRun, k: int) -> object:
    assert run.spikes is not None
    counts, spikes = run.report.layers[k], run.spikes[run.spikes["population"] == k]
    start = np.zeros(counts.neurons, bool)
    return layer(counts.name, run.shapes[k], start, spikes["step"], spikes["neuron"], np.asarray(spikes["sign"]))
