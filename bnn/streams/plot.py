# SPDX-License-Identifier: Apache-2.0
"""Draw a run over time with matplotlib: spikes, scores with the first right moment and the final one, operations."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._distribution import install
from .._text import printable
from .._types import Array, Floats
from ..errors import InputError, SetupError
from ..runtime.files import path_text, replacing
from ..runtime.summary import quantity
from .answers import Answering, class_name

UP, DOWN, INPUT = "#1f6f8b", "#d1495b", "#8a7f6a"  # a spike, a spike taken back, what arrives
_FIRST, _FINAL, _DENSE = "#2e8b57", "#444444", "#b8c4cc"
_MOST_DOTS = 40_000
_LONGEST, _WIDEST = 40, 170  # characters of a name, and of a line of the whole picture
# Some classes have their own colours; the others are grey.
_COLOURS = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf", "#000000",
)  # fmt: skip


@dataclass(frozen=True)
class Raster:
    """Every spike of the ``size`` neurons of a layer: ``times``, ``neurons``, and ``signs`` (None: all fire)."""

    name: str
    size: int
    times: Array
    neurons: Array
    signs: Array | None = None
    colour: str = UP


@dataclass(frozen=True)
class Counts:
    """Numbers of what at each moment except the first, of a layer if it has a ``name``; ``down`` is drawn below."""

    name: str
    what: str
    up: Array
    down: Array | None = None
    colour: str = UP


@dataclass(frozen=True)
class Operations:
    """Per layer (name, operations, those of a dense run)."""

    title: str
    layers: Sequence[tuple[str, int, int]]
    label: str


@dataclass(frozen=True)
class Chart:
    """What a picture shows.

    ``times`` of all moments, the first and the last included, in the unit of ``time_label``; ``whole``: ticks are at
    whole numbers.  ``rows`` are panels above the scores.  ``legend``: (title, its (colour, text) pairs).  ``image``:
    (H, W, C) with the values of its colours' ends.  ``after``: what happens after the run's last moment.
    """

    run: Answering
    title: str
    notes: str
    times: Array
    time_label: str
    rows: Sequence[Raster | Counts]
    operations: Operations
    legend: tuple[str, Sequence[tuple[str, str]]]
    names: Sequence[str] | None = None
    image: tuple[Floats, float, float] | None = None
    scores_label: str = "scores"
    whole: bool = False
    after: str = ""

    @property
    def width(self) -> float:
        """How wide a moment is drawn."""
        return self.times[1] - self.times[0] if len(self.times) > 1 else 1


def save(chart: Chart, path: str | os.PathLike[str]) -> None:
    """Write a picture.

    Raises InputError if the file name has no ending of a picture; SetupError without matplotlib.
    """
    name = path_text(path)
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise SetupError(f"pictures need matplotlib ({error}): {install('events')}") from None
    try:
        with rc_context({"text.parse_math": False}), replacing(name) as file:  # the $ of a name is one
            _drawn(chart).print_figure(file, dpi=120, format=os.path.splitext(name)[1][1:] or "png")
    except ValueError as error:
        raise InputError(f"--plot {name}: {error}") from None


def _drawn(chart: Chart) -> Any:
    """Its canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = len(chart.rows)
    figure: Any = Figure(figsize=(12, 2.8 + 1.2 * rows + 2.8), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows + 1, 2, width_ratios=(1, 2.9), height_ratios=[1] * rows + [2.4])
    panels = [figure.add_subplot(grid[0, 1])]
    panels += [figure.add_subplot(grid[row, 1], sharex=panels[0]) for row in range(1, rows + 1)]
    for axes, row in zip(panels, chart.rows, strict=False):
        if isinstance(row, Raster):
            _raster(axes, row)
        else:
            _counts(axes, chart, row)
    _scores(panels[-1], chart)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, labelbottom=axes is panels[-1])
        if chart.whole:
            axes.xaxis.get_major_locator().set_params(integer=True)
        _moments(axes, chart, text=axes is panels[-1])
    _legend(panels[0], chart)
    half = max((rows + 1) // 2, 1) if chart.image is not None else 0
    if chart.image is not None:
        _image(figure.add_subplot(grid[:half, 0]), *chart.image)
    _operations(figure.add_subplot(grid[half:, 0]), chart.operations)
    figure.suptitle(short(chart.title, _WIDEST), fontsize=12)
    figure.supxlabel("\n".join(textwrap.wrap(printable(chart.notes), _WIDEST)), fontsize=8, color=_FINAL)
    return canvas


def short(text: str, longest: int = _LONGEST) -> str:
    """A name, or a text with names, on one line that has room: of what does not print, fonts have no glyph, and SVG
    files no character."""
    shown = printable(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


# -- over time --------------------------------------------------------------------------------------------------------


def _raster(axes: Any, row: Raster) -> None:
    order = np.arange(len(row.times))
    if len(order) > _MOST_DOTS:
        axes.set_title(f"{_MOST_DOTS:,} of {len(order):,} spikes drawn", loc="right", fontsize=7, pad=2, color=_FINAL)
        order = np.linspace(0, len(order) - 1, _MOST_DOTS).astype(int)
    size = float(np.clip(6000 / max(len(order), 1), 0.15, 6))
    order = np.random.default_rng(0).permutation(order)  # so that neither colour hides the other
    colours: Any = row.colour if row.signs is None else np.where(row.signs[order] > 0, UP, DOWN)
    axes.scatter(row.times[order], row.neurons[order], s=size, c=colours, linewidths=0, rasterized=True)
    axes.set_ylim(-0.02 * row.size, 1.02 * row.size)
    axes.set_yticks([0, row.size - 1] if row.size > 1 else [0])
    _label(axes, f"{short(row.name)}\nneuron")


def _counts(axes: Any, chart: Chart, row: Counts) -> None:
    _steps(axes, chart, row.up, row.colour)
    if row.down is not None:
        _steps(axes, chart, -row.down, DOWN)
        axes.axhline(0, color=_FINAL, lw=0.5)
        axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    _label(axes, f"{short(row.name)}\n{row.what}")


def _steps(axes: Any, chart: Chart, values: Array, colour: str) -> None:
    """Counts at each moment except the first, as an area."""
    times, width = chart.times, chart.width
    axes.stairs(values, np.append(times[1:], times[-1] + width) - width / 2, fill=True, color=colour, linewidth=0)


def _scores(axes: Any, chart: Chart) -> None:
    run, names, width = chart.run, chart.names, chart.width
    times = np.append(chart.times, chart.times[-1] + width)  # the last score is a step like the others
    scores = np.concatenate([run.scores, run.scores[-1:]])
    shown = _shown(run)
    for k in range(scores.shape[1]):
        if k not in shown:
            axes.plot(times, scores[:, k], lw=0.8, alpha=0.3, color="grey", drawstyle="steps-post")
    for rank, k in enumerate(shown):
        axes.plot(
            times, scores[:, k], lw=2.4 if k == run.answer else 1.3, color=_COLOURS[rank], drawstyle="steps-post",
            label=short(class_name(k, names)),
        )  # fmt: skip
    finite = scores[np.isfinite(scores)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    room = high - low or 1.0  # all are equal
    axes.set_ylim(low - 0.05 * room, low + 1.4 * room)  # room above for the moments' names
    if high == low:
        axes.set_yticks([low])
    axes.set_xlim(-width / 2, times[-1])
    _label(axes, chart.scores_label)
    axes.set_xlabel(chart.time_label, fontsize=9)
    longest = max((len(short(class_name(k, names))) for k in shown), default=1)
    left = scores.shape[1] - len(shown)
    others = f" ({quantity(left, 'other')} in grey)" if left else ""
    if shown:
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=8, frameon=False,
            ncols=max(min(len(shown), 6, 60 // longest), 1),
            title=f"class{others}", title_fontsize=8,
        )  # fmt: skip


def _shown(run: Answering) -> list[int]:
    """The answer, the right one, and the most frequent answers, as many as there are colours; sorted."""
    answers = run.answers[run.answers >= 0]
    answered = np.bincount(answers, minlength=run.scores.shape[1])
    wanted = [*([run.answer] if run.answer >= 0 else []), *([] if run.label is None else [run.label])]
    wanted += [int(k) for k in np.argsort(-answered, kind="stable") if answered[k]]
    return sorted(list(dict.fromkeys(wanted))[: len(_COLOURS)])


def _moments(axes: Any, chart: Chart, text: bool) -> None:
    run, times = chart.run, chart.times
    moments = [(run.final, _FINAL, "final", 0.98)] if run.answer >= 0 else []
    if run.first_correct is not None:
        moments.append((run.first_correct, _FIRST, "first right", 0.88))
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
            axes.annotate(chart.after, after, xycoords=("data", "axes fraction"), ha="right", fontsize=8)


def _label(axes: Any, text: str) -> None:
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=8)
    axes.yaxis.set_label_coords(-0.07, 0.5)


def _legend(axes: Any, chart: Chart) -> None:
    title, colours = chart.legend
    for colour, text in colours:
        axes.scatter([], [], s=25, c=colour, label=text)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.06), ncols=len(colours), fontsize=8, frameon=False, title=title,
        title_fontsize=8, alignment="left",
    )  # fmt: skip


# -- beside the time axis ---------------------------------------------------------------------------------------------


def _image(axes: Any, image: Floats, low: float, high: float) -> None:
    span = f"{low:g} to {high:g}"
    if image.shape[2] == 3:
        axes.imshow((image - low) / max(high - low, 1e-30), interpolation="nearest")
        axes.set_title(f"the image, RGB, {span}", fontsize=9)
    else:
        axes.imshow(image.mean(axis=2), cmap="gray_r", vmin=low, vmax=high, interpolation="nearest")
        mean = f"mean of {image.shape[2]} channels, " if image.shape[2] > 1 else ""
        axes.set_title(f"the image, {mean}{span}:\nthe darker, the more", fontsize=9)
    axes.set(xticks=[], yticks=[])


def _operations(axes: Any, operations: Operations) -> None:
    at = np.arange(len(operations.layers))[::-1]
    axes.barh(at + 0.19, [dense for *_, dense in operations.layers], 0.36, color=_DENSE, label="dense")
    axes.barh(at - 0.19, [done for _, done, _ in operations.layers], 0.36, color=UP, label=operations.label)
    for place, (_, done, dense) in zip(at, operations.layers, strict=True):
        texts = ((0.19, _short(dense)), (-0.19, f"{_short(done)} ({done / dense:.0%})"))
        for up, text in texts:
            axes.annotate(
                text, (0, place + up), xycoords="data", xytext=(3, 0), textcoords="offset points", fontsize=7,
                va="center", color="black", bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.5},
            )  # fmt: skip
    axes.xaxis.get_major_locator().set_params(nbins=3)
    axes.xaxis.set_major_formatter(lambda value, _: _short(int(value)))
    axes.set_yticks(at, [short(name) for name, *_ in operations.layers], fontsize=8)
    axes.set_title(operations.title, fontsize=9)
    axes.tick_params(axis="x", labelsize=7)
    axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2)
    axes.spines[["top", "right"]].set_visible(False)


def _short(count: int) -> str:
    """1.23M"""
    for unit, scale in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= scale:
            return f"{count / scale:.3g}{unit}"
    return str(count)
