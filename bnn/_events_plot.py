"""Pictures of event-driven runs, by matplotlib."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._events_report import LayerCounts
from ._events_runs import ImageRun
from .errors import InputError, SetupError

_UP, _DOWN = "#1f6f8b", "#d1495b"  # a spike, and one taken back
_FIRST, _FINAL = "#2e8b57", "#444444"
_MOST_DOTS = 40_000


def save_image_run(run: ImageRun, path: str | os.PathLike[str], class_names: Sequence[str] | None = None) -> None:
    """Draw an image run that kept its spikes (``trace=True``): the image, a spike raster per layer over time, class
    scores with the first right and the final moment, SynOps against the dense count.

    Raises InputError where the run has no spikes or the file's ending is no picture's; SetupError without matplotlib.
    """
    if run.spikes is None:
        raise InputError("plot: the run has no spikes; use run_image(..., trace=True)")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SetupError(f"pictures need matplotlib ({error}): pip install 'bnn[events]'") from None
    layers = [layer for layer in run.report.layers if layer.kind in ("encoder", "synapses", "pool")]
    figure: Any = Figure(figsize=(12, 2.6 + 1.15 * len(layers) + 2.4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(layers) + 2, 2, width_ratios=(1, 3.4), height_ratios=[1] * len(layers) + [1.9, 0.1])
    time = np.arange(run.events + 1)
    first = None
    for row, layer in enumerate(layers):
        axes = figure.add_subplot(grid[row, 1], sharex=first)
        first = first or axes
        _raster(axes, run, layer)
        axes.tick_params(labelbottom=False)
    scores = figure.add_subplot(grid[len(layers), 1], sharex=first)
    _scores(scores, run, time, class_names)
    scores.set_xlim(-0.5, run.events + 0.5)
    for axes in figure.axes:
        _moments(axes, run, text=axes is scores)
    half = max((len(layers) + 1) // 2, 1)
    _image(figure.add_subplot(grid[:half, 0]), run)
    _synops(figure.add_subplot(grid[half : len(layers) + 1, 0]), run.report.layers)
    figure.suptitle(_title(run, class_names), fontsize=12)
    try:
        canvas.print_figure(os.fspath(path), dpi=120)
    except ValueError as error:
        raise InputError(f"--plot {path}: {error}") from None


def _name(answer: int, names: Sequence[str] | None) -> str:
    return names[answer] if names is not None else str(answer)


def _title(run: ImageRun, names: Sequence[str] | None) -> str:
    text = f"{run.events} pixels arrive, {run.order} order: answer “{_name(run.answer, names)}”"
    if run.label is not None and run.answer != run.label:
        text += f" (wrong: it is “{_name(run.label, names)}”)"
    return text + f";  {run.report.spikes:,} spikes, {run.report.synops:,} synaptic operations"


def _raster(axes: Any, run: ImageRun, layer: LayerCounts) -> None:
    assert run.spikes is not None
    spikes = run.spikes[run.spikes["tensor"] == layer.tensor]
    if len(spikes) > _MOST_DOTS:
        spikes = spikes[np.linspace(0, len(spikes) - 1, _MOST_DOTS).astype(int)]
    size = float(np.clip(6000 / max(len(spikes), 1), 0.15, 6))
    spikes = np.random.default_rng(0).permutation(spikes)  # so that neither colour hides the other
    colours = np.where(spikes["sign"] > 0, _UP, _DOWN)
    axes.scatter(spikes["time"], spikes["neuron"], s=size, c=colours, linewidths=0, rasterized=True)
    axes.set_ylim(-0.02 * layer.neurons, 1.02 * layer.neurons)
    axes.set_yticks([0, layer.neurons])
    _label(axes, layer.name)
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if axes.get_subplotspec().is_first_row():
        for colour, text in ((_UP, "fires"), (_DOWN, "takes its spike back")):
            axes.scatter([], [], s=25, c=colour, label=text)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1.0), ncols=2, fontsize=8, frameon=False)


def _scores(axes: Any, run: ImageRun, time: Any, names: Sequence[str] | None) -> None:
    shown = set(np.unique(run.answers)) | ({run.label} if run.label is not None else set())
    for k in range(run.outputs.shape[1]):
        strong = k in shown
        axes.plot(
            time, run.outputs[:, k], lw=2.2 if k == run.answer else 1.2, alpha=1 if strong else 0.25,
            color=f"C{k % 10}" if strong else "grey", label=_name(k, names) if strong else None, drawstyle="steps-post",
        )  # fmt: skip
    _label(axes, "scores")
    axes.set_xlabel("events (pixels that have arrived)")
    axes.tick_params(labelsize=8)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), fontsize=8, frameon=False, ncols=min(len(shown), 6))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _label(axes: Any, text: str) -> None:
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9)
    axes.yaxis.set_label_coords(-0.055, 0.5)


def _moments(axes: Any, run: ImageRun, text: bool) -> None:
    moments = [(run.final, _FINAL, "final", -1)]
    if run.first_correct is not None:
        moments.append((run.first_correct, _FIRST, "first right", 1))
    for at, colour, word, line in moments:
        axes.axvline(at, color=colour, lw=1.2, ls="--" if word == "final" else "-", alpha=0.8)
        if text:
            share = run.share(at) or 0.0
            up = 0.62 if line < 0 else 0.5
            right = at > 0.75 * run.events
            axes.annotate(
                f"{word}: {at} ({share:.0%})", (at, up), xycoords=("data", "axes fraction"),
                xytext=(-4 if right else 4, 0), textcoords="offset points", ha="right" if right else "left",
                va="top", color=colour, fontsize=9, bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1},
            )  # fmt: skip


def _image(axes: Any, run: ImageRun) -> None:
    image = run.image if run.image.ndim == 3 else run.image.reshape(1, -1, 1)
    axes.imshow(image.mean(axis=2), cmap="gray_r", interpolation="nearest")
    axes.set_title("the image", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def _synops(axes: Any, layers: tuple[LayerCounts, ...]) -> None:
    counted = [layer for layer in layers if layer.dense]
    at = np.arange(len(counted))[::-1]
    axes.barh(at + 0.19, [max(layer.dense, 1) for layer in counted], 0.36, color="#b8c4cc", label="dense, once")
    axes.barh(at - 0.19, [max(layer.synops, 1) for layer in counted], 0.36, color=_UP, label="events, all of them")
    axes.set_xscale("log")
    axes.set_yticks(at, [layer.name for layer in counted], fontsize=8)
    axes.set_title("operations per layer", fontsize=9)
    axes.tick_params(axis="x", labelsize=7)
    axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
