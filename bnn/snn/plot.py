# SPDX-License-Identifier: Apache-2.0
"""Pictures of runs over time, drawn with matplotlib."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from .._types import Array, Floats
from ..runtime.summary import quantity
from ..streams.plot import DOWN, INPUT, UP, Chart, Counts, Operations, Raster, save, short
from .runs import RecordingStepRun, StepRun

_MOST_ROWS = 24
_MOST_STEPS = 2000  # of a raster; a longer run shows numbers of spikes


def save_run(run: StepRun, path: str | os.PathLike[str], class_names: Sequence[str] | None = None) -> None:
    """Draw a run over time: the spikes of each population (each of them, if the run kept them and is short; otherwise
    their number in every step), the output's sums with the first right moment and the final one, and operations against
    the dense count.

    Raises InputError if the file name has no ending of a picture; SetupError without matplotlib.
    """
    times, time_label = _times(run)
    layers = run.report.layers
    left_out = [short(layer.name) for layer in layers if layer.kind == "values"]
    still = run.image is not None  # the same in every step
    shown = [k for k, x in enumerate(layers) if x.kind != "values" and not (still and x.kind == "input")]
    rows = [_row(run, k, times) for k in shown[:_MOST_ROWS]]
    notes = list(run.report.notes)
    if left_out:
        notes.append(
            f"not drawn: {', '.join(left_out[:8])}{' ...' if len(left_out) > 8 else ''}, which "
            f"send{'s' * (len(left_out) == 1)} real values"
        )
    if len(shown) > _MOST_ROWS:
        notes.append(f"the first {_MOST_ROWS} of {len(shown)} populations are drawn")
    rasters = any(isinstance(row, Raster) for row in rows)
    legend = "a dot is a spike; neurons by row, then column, then channel" if rasters else "neurons that sent something"
    colours = [] if still else [(INPUT, "input")]
    colours.append((UP, "neurons"))
    if rasters and any(x.kind == "changes" for x in layers):
        colours.append((DOWN, "take spikes back"))
    chart = Chart(
        run,
        f"{_title(run)}: {run.answered(class_names)}; {quantity(run.report.spikes, 'spike')}",
        "; ".join(notes),
        times,
        time_label,
        rows,
        _operations(run),
        (legend, colours),
        class_names,
        _image(run),
        "output\nso far",
        whole=not _milliseconds(run),
    )
    save(chart, path)


def _title(run: StepRun) -> str:
    if isinstance(run, RecordingStepRun):
        return f"{run.events:,} camera events in {quantity(run.moments, 'step')}"
    return run.what


def _milliseconds(run: StepRun) -> float:
    """The duration of a step; 0 if nobody said it."""
    return 1000 * (run.step_seconds if isinstance(run, RecordingStepRun) else run.dt)


def _times(run: StepRun) -> tuple[Array, str]:
    """The times of all moments, the first and the last included, and the axis label."""
    moments, step = np.arange(len(run.outputs)), _milliseconds(run)
    if not step:
        return moments, "steps"
    since = "milliseconds since the first event" if isinstance(run, RecordingStepRun) else "milliseconds"
    return moments * float(f"{step:.9g}"), f"{since} (a step is {step:.4g} ms)"


def _row(run: StepRun, k: int, times: Array) -> Raster | Counts:
    layer = run.report.layers[k]
    colour = INPUT if layer.kind == "input" else UP
    spikes = None if run.spikes is None else run.spikes[run.spikes["population"] == k]
    if spikes is None or run.moments > _MOST_STEPS or (run.sent[:, k].any() and not len(spikes)):  # real values
        return Counts(layer.name, "sent" if layer.kind == "input" else "spikes", run.sent[:, k], colour=colour)
    signs = spikes["sign"] if layer.kind == "changes" else None
    return Raster(layer.name, layer.neurons, times[spikes["step"]], spikes["neuron"], signs, colour)


def _image(run: StepRun) -> tuple[Floats, float, float] | None:
    if run.image is None:
        return None
    image = run.image.reshape((1, 1, 1, *run.image.shape)[-3:])
    if image.shape[0] == 1 and image.shape[1] == 1:
        image = image.reshape(1, -1, 1)
    return image, min(float(image.min()), 0.0), float(image.max())


def _operations(run: StepRun) -> Operations:
    report = run.report
    title = (
        f"SynOps: {report.synops:,}\nof {report.dense:,} dense, {quantity(report.steps, 'step')} ({report.share:.0%})\n"
        f"updates of neurons: {report.updates:,}"
    )
    return Operations(title, [(x.name, x.synops, x.dense) for x in report.layers if x.dense], "by spikes")
