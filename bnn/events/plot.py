# SPDX-License-Identifier: Apache-2.0
"""Pictures of event-driven runs, drawn with matplotlib."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._distribution import install
from .._types import Array
from ..errors import InputError, SetupError
from ..runtime.files import replacing
from .report import SPIKING, LayerCounts, Report
from .runs import ImageRun, RecordingRun, StreamRun, class_name

Run = ImageRun | StreamRun | RecordingRun

_UP, _DOWN = "#1f6f8b", "#d1495b"  # a spike, and a spike taken back
_FIRST, _FINAL, _DENSE = "#2e8b57", "#444444", "#b8c4cc"
_MOST_DOTS = 40_000
# Some classes have their own colours; the others are grey.
_COLOURS = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf", "#000000",
)  # fmt: skip


def save_run(run: Run, path: str | os.PathLike[str], class_names: Sequence[str] | None = None) -> None:
    """Draw a run over time: each layer's spikes, the class scores with the first right moment and the final one, and
    operations against the dense count.  An image that kept its spikes (``trace=True``) shows each of them; a stream or
    a recording shows their number.

    Raises InputError if the run has no spikes or the file name has no ending of a picture; SetupError without
    matplotlib.
    """
    if isinstance(run, ImageRun) and run.spikes is None:
        raise InputError("plot: the run has no spikes; use run_image(..., trace=True)")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SetupError(f"pictures need matplotlib ({error}): {install('events')}") from None
    layers = [(k, layer) for k, layer in enumerate(run.report.layers) if layer.kind in SPIKING]
    above = 0 if isinstance(run, ImageRun) else 1  # a row for the input
    rows = above + len(layers)
    figure: Any = Figure(figsize=(12, 2.8 + 1.2 * rows + 2.8), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows + 1, 2, width_ratios=(1, 2.9), height_ratios=[1] * rows + [2.4])
    panels = [figure.add_subplot(grid[0, 1])]
    panels += [figure.add_subplot(grid[row, 1], sharex=panels[0]) for row in range(1, rows + 1)]
    if not isinstance(run, ImageRun):
        _steps(panels[0], run, run.changed, "#8a7f6a")
        _label(panels[0], "input\nchanges")
    for axes, (k, layer) in zip(panels[above:-1], layers, strict=True):
        if isinstance(run, ImageRun):
            _raster(axes, run, layer)
        else:
            _counts(axes, run, k, layer)
    _scores(panels[-1], run, class_names)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, labelbottom=axes is panels[-1])
        if isinstance(run, StreamRun):
            axes.xaxis.get_major_locator().set_params(integer=True)
        _moments(axes, run, text=axes is panels[-1])
    _legend(panels[0], isinstance(run, ImageRun))
    half = max((rows + 1) // 2, 1) if isinstance(run, ImageRun) else 0
    if isinstance(run, ImageRun):
        _image(figure.add_subplot(grid[:half, 0]), run)
    _operations(figure.add_subplot(grid[half:, 0]), run.report)
    figure.suptitle(_title(run, class_names), fontsize=12)
    notes = "; ".join((f"encoder: {run.report.encoder}", *run.report.notes))
    figure.supxlabel("\n".join(textwrap.wrap(notes, 170)), fontsize=8, color=_FINAL)
    name = os.fspath(path)
    try:
        with replacing(name) as file:
            canvas.print_figure(file, dpi=120, format=os.path.splitext(name)[1][1:] or "png")
    except ValueError as error:
        raise InputError(f"--plot {path}: {error}") from None


def _title(run: Run, names: Sequence[str] | None) -> str:
    if isinstance(run, ImageRun):
        what = f"{run.events} {run.unit}s arrive, {run.order} order"
    elif isinstance(run, StreamRun):
        what = f"{len(run.outputs) - 1} frames after the first"
    else:
        what = f"{run.events:,} camera events"
    return f"{what}: {run.answered(names)};  {run.report.spikes:,} spikes"


def _times(run: Run) -> tuple[Array, str]:
    """The times of all moments, the first and the last included, and the axis label."""
    moments = np.arange(len(run.outputs))
    if isinstance(run, ImageRun):
        return moments, f"events ({run.unit}s that have arrived)"
    if isinstance(run, StreamRun):
        return moments, "frames"
    return moments * (run.rule.step / 1000), "milliseconds since the first event"


# -- over time --------------------------------------------------------------------------------------------------------


def _raster(axes: Any, run: ImageRun, layer: LayerCounts) -> None:
    assert run.spikes is not None
    spikes = run.spikes[run.spikes["tensor"] == layer.tensor]
    if len(spikes) > _MOST_DOTS:
        axes.set_title(f"{_MOST_DOTS:,} of {len(spikes):,} spikes drawn", loc="right", fontsize=7, pad=2, color=_FINAL)
        spikes = spikes[np.linspace(0, len(spikes) - 1, _MOST_DOTS).astype(int)]
    size = float(np.clip(6000 / max(len(spikes), 1), 0.15, 6))
    spikes = np.random.default_rng(0).permutation(spikes)  # so that neither colour hides the other
    colours = np.where(spikes["sign"] > 0, _UP, _DOWN)
    axes.scatter(spikes["time"], spikes["neuron"], s=size, c=colours, linewidths=0, rasterized=True)
    axes.set_ylim(-0.02 * layer.neurons, 1.02 * layer.neurons)
    axes.set_yticks([0, layer.neurons - 1] if layer.neurons > 1 else [0])
    _label(axes, f"{layer.name}\nneuron")


def _counts(axes: Any, run: StreamRun | RecordingRun, k: int, layer: LayerCounts) -> None:
    for values, colour in ((run.up[:, k], _UP), (-run.down[:, k], _DOWN)):
        _steps(axes, run, values, colour)
    axes.axhline(0, color=_FINAL, lw=0.5)
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    _label(axes, f"{layer.name}\nspikes")


def _steps(axes: Any, run: Run, values: Array, colour: str) -> None:
    """Counts at each moment except the first, as an area."""
    times, _ = _times(run)
    width = times[1] - times[0] if len(times) > 1 else 1
    axes.stairs(values, np.append(times[1:], times[-1] + width) - width / 2, fill=True, color=colour, linewidth=0)


def _scores(axes: Any, run: Run, names: Sequence[str] | None) -> None:
    times, label = _times(run)
    width = times[1] - times[0] if len(times) > 1 else 1
    times = np.append(times, times[-1] + width)  # the last score is a step like the others
    scores = np.concatenate([run.scores, run.scores[-1:]])
    shown = _shown(run)
    for k in range(scores.shape[1]):
        if k not in shown:
            axes.plot(times, scores[:, k], lw=0.8, alpha=0.3, color="grey", drawstyle="steps-post")
    for rank, k in enumerate(shown):
        axes.plot(
            times, scores[:, k], lw=2.4 if k == run.answer else 1.3, color=_COLOURS[rank], drawstyle="steps-post",
            label=class_name(k, names),
        )  # fmt: skip
    finite = scores[np.isfinite(scores)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    room = max(high - low, 1e-6)
    axes.set_ylim(low - 0.05 * room, high + 0.4 * room)  # room above for the moments' names
    axes.set_xlim(-width / 2, times[-1])
    _label(axes, "scores")
    axes.set_xlabel(label, fontsize=9)
    longest = max((len(class_name(k, names)) for k in shown), default=1)
    others = f", {scores.shape[1] - len(shown)} others grey" if len(shown) < scores.shape[1] else ""
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=8, frameon=False,
        ncols=max(min(len(shown), 6, 60 // longest), 1),
        title=f"class{others}", title_fontsize=8,
    )  # fmt: skip


def _shown(run: Run) -> list[int]:
    """The answer, the right one, and the most frequent answers, as many as there are colours; sorted."""
    answered = np.bincount(run.answers, minlength=run.scores.shape[1])
    wanted = [run.answer, *([] if run.label is None else [run.label])]
    wanted += [int(k) for k in np.argsort(-answered, kind="stable") if answered[k]]
    return sorted(list(dict.fromkeys(wanted))[: len(_COLOURS)])


def _moments(axes: Any, run: Run, text: bool) -> None:
    moments = [(run.final, _FINAL, "final", 0.98)]
    if run.first_correct is not None:
        moments.append((run.first_correct, _FIRST, "first right", 0.88))
    times, _ = _times(run)
    for moment, colour, word, height in moments:
        axes.axvline(times[moment], color=colour, lw=1.2, ls="--" if word == "final" else "-", alpha=0.8, zorder=0)
        if text:
            right = times[moment] > 0.6 * times[-1]
            axes.annotate(
                f"{word} {run.when(moment)}", (times[moment], height), xycoords=("data", "axes fraction"),
                xytext=(-4 if right else 4, 0), textcoords="offset points", ha="right" if right else "left",
                va="top", color=colour, fontsize=9, bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1},
            )  # fmt: skip
    if run.moments < len(times) - 1:
        axes.axvspan(times[run.moments], times[-1] + times[1], color=_DENSE, alpha=0.3, lw=0, zorder=0)
        if text:
            after = (times[-1], 0.78)
            axes.annotate("the window empties", after, xycoords=("data", "axes fraction"), ha="right", fontsize=8)


def _label(axes: Any, text: str) -> None:
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=8)
    axes.yaxis.set_label_coords(-0.07, 0.5)


def _legend(axes: Any, raster: bool) -> None:
    for colour, text in ((_UP, "fires"), (_DOWN, "takes its spike back")):
        axes.scatter([], [], s=25, c=colour, label=text)
    order = "a dot is a spike; neurons by row, then column, then channel" if raster else "spikes at each moment"
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.06), ncols=2, fontsize=8, frameon=False, title=order,
        title_fontsize=8, alignment="left",
    )  # fmt: skip


# -- beside the time axis ---------------------------------------------------------------------------------------------


def _image(axes: Any, run: ImageRun) -> None:
    image = run.image if run.image.ndim == 3 else run.image.reshape(1, -1, 1)
    low, high = min(float(image.min()), run.blank), max(float(image.max()), run.blank)
    span = f"{low:g} to {high:g}"
    if image.shape[2] == 3:
        axes.imshow((image - low) / max(high - low, 1e-30), interpolation="nearest")
        axes.set_title(f"the image, RGB, {span}", fontsize=9)
    else:
        axes.imshow(image.mean(axis=2), cmap="gray_r", vmin=low, vmax=high, interpolation="nearest")
        mean = f"mean of {image.shape[2]} channels, " if image.shape[2] > 1 else ""
        axes.set_title(f"the image, {mean}{span}:\nthe darker, the more", fontsize=9)
    axes.set(xticks=[], yticks=[])


def _operations(axes: Any, report: Report) -> None:
    counted = [layer for layer in report.layers if layer.dense]
    at = np.arange(len(counted))[::-1]
    dense = [layer.dense * report.inferences for layer in counted]
    axes.barh(at + 0.19, [max(n, 1) for n in dense], 0.36, color=_DENSE, label="dense")
    axes.barh(at - 0.19, [max(layer.synops, 1) for layer in counted], 0.36, color=_UP, label="by events")
    for place, layer, n in zip(at, counted, dense, strict=True):
        texts = ((0.19, _short(n)), (-0.19, f"{_short(layer.synops)} ({layer.synops / n:.0%})"))
        for up, text in texts:
            axes.annotate(
                text, (1, place + up), xycoords="data", xytext=(3, 0), textcoords="offset points", fontsize=7,
                va="center", color="black", bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.5},
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(left=1)
    axes.set_yticks(at, [layer.name for layer in counted], fontsize=8)
    inputs = f"{report.inferences} inputs" if report.inferences > 1 else "one input"
    title = f"operations: {report.synops:,}\nof {report.dense:,} dense, {inputs} ({report.share:.0%})"
    if report.encoder_dense:
        title += f"\nwithout the encoder {report.share_without_encoder:.0%}"
    axes.set_title(title, fontsize=9)
    axes.tick_params(axis="x", labelsize=7)
    axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2)
    axes.spines[["top", "right"]].set_visible(False)


def _short(count: int) -> str:
    """1.23M"""
    for unit, scale in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= scale:
            return f"{count / scale:.3g}{unit}"
    return str(count)
