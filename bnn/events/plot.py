# SPDX-License-Identifier: Apache-2.0
"""Pictures of event-driven runs, drawn with matplotlib."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from .._types import Array, Floats
from ..errors import InputError
from ..runtime.summary import quantity
from ..streams.plot import DOWN, INPUT, UP, Chart, Counts, Operations, Raster, save
from .counts import SPIKING, EventReport, LayerCounts
from .runs import ImageRun, RecordingRun, StreamRun

Run = ImageRun | StreamRun | RecordingRun


def save_run(run: Run, path: str | os.PathLike[str], class_names: Sequence[str] | None = None) -> None:
    """Draw a run over time: each layer's spikes, the class scores with the first right moment and the final one, and
    operations against the dense count.  An image that kept its spikes (``trace=True``) shows each of them; a stream or
    a recording shows their number.

    Raises InputError if the run has no spikes or the file name has no ending of a picture; SetupError without
    matplotlib.
    """
    rows: list[Raster | Counts] = []
    if not isinstance(run, ImageRun):
        rows.append(Counts("input", "changes", run.changed, colour=INPUT))
    for k, layer in enumerate(run.report.layers):
        if layer.kind in SPIKING:
            rows.append(_raster(run, layer) if isinstance(run, ImageRun) else _counts(run, k, layer))
    times, time_label = _times(run)
    raster = "a dot is a spike; neurons by row, then column, then channel"
    chart = Chart(
        run,
        _title(run, class_names),
        "; ".join((f"encoder: {run.report.encoder}", *run.report.notes)),
        times,
        time_label,
        rows,
        _operations(run.report),
        (
            raster if isinstance(run, ImageRun) else "spikes at each moment",
            ((UP, "fires"), (DOWN, "takes its spike back")),
        ),
        class_names,
        _image(run) if isinstance(run, ImageRun) else None,
        whole=isinstance(run, StreamRun),
        after="the window empties",
    )
    save(chart, path)


def _title(run: Run, names: Sequence[str] | None) -> str:
    if isinstance(run, ImageRun):
        what = f"{run.events} {run.unit}s arrive, {run.order} order"
    elif isinstance(run, StreamRun):
        what = f"{len(run.outputs) - 1} frames after the first"
    else:
        what = f"{run.events:,} camera events"
    return f"{what}: {run.answered(names)}; {quantity(run.report.spikes, 'spike')}"


def _times(run: Run) -> tuple[Array, str]:
    """The times of all moments, the first and the last included, and the axis label."""
    moments = np.arange(len(run.outputs))
    if isinstance(run, ImageRun):
        return moments, f"events ({run.unit}s that have arrived)"
    if isinstance(run, StreamRun):
        return moments, "frames"
    return moments * (run.rule.step / 1000), "milliseconds since the first event"


def _raster(run: ImageRun, layer: LayerCounts) -> Raster:
    if run.spikes is None:
        raise InputError("plot: the run has no spikes; use run_image(..., trace=True)")
    spikes = run.spikes[run.spikes["tensor"] == layer.tensor]
    return Raster(layer.name, layer.neurons, spikes["time"], spikes["neuron"], spikes["sign"])


def _counts(run: StreamRun | RecordingRun, k: int, layer: LayerCounts) -> Counts:
    return Counts(layer.name, "spikes", run.up[:, k], run.down[:, k])


def _image(run: ImageRun) -> tuple[Floats, float, float]:
    image = run.image if run.image.ndim == 3 else run.image.reshape(1, -1, 1)
    return image, min(float(image.min()), run.blank), max(float(image.max()), run.blank)


def _operations(report: EventReport) -> Operations:
    inputs = f"{report.inferences} inputs" if report.inferences > 1 else "one input"
    title = f"operations: {report.synops:,}\nof {report.dense:,} dense, {inputs} ({report.share:.0%})"
    if report.encoder_dense:
        title += f"\nwithout the encoder {report.share_without_encoder:.0%}"
    layers = [(x.name, x.synops, x.dense * report.inferences) for x in report.layers if x.dense]
    return Operations(title, layers, "by events")
