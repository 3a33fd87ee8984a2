# SPDX-License-Identifier: Apache-2.0
"""Draw a run over time with matplotlib: spikes, scores with the first right moment and the final one, operations."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._distribution import install
from .._text import printable
from .._types import Array, Floats
from ..errors import InputError, SetupError
from ..runtime.files import path_text, replacing
from ..runtime.summary import quantity
from .answers import Answering, Display, Sent, class_name, short

UP, DOWN, INPUT = "#1f6f8b", "#d1495b", "#8a7f6a"  # a spike, a spike taken back, what arrives
_FIRST, _FINAL, _DENSE = "#2e8b57", "#444444", "#b8c4cc"
_MOST_DOTS = 40_000
_MOST_ROWS, _MOST_MOMENTS = 48, 2000  # a longer run shows numbers of spikes, if it counted them
_WIDEST = 170  # characters of a line of the whole picture
# Some classes have their own colours; the others are grey.
_COLOURS = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf", "#000000",
)  # fmt: skip


def save_run(run: Answering, path: str | os.PathLike[str], class_names: Sequence[str] | None = None) -> None:
    """Draw a run over time: each layer's spikes (each of them, if the run kept them and is not long; otherwise their
    number at each moment), the scores with the first right moment and the final one, and operations against the dense
    count.

    Raises InputError if the run has no spikes or the file name has no ending of a picture; SetupError without
    matplotlib.
    """
    name = path_text(path)
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise SetupError(f"pictures need matplotlib ({error}): {install('events')}") from None
    with rc_context({"text.parse_math": False}):  # the $ of a name is one
        canvas = _canvas(run, class_names)
        try:
            with replacing(name) as file:
                canvas.print_figure(file, dpi=120, format=os.path.splitext(name)[1][1:] or "png")
        except ValueError as error:
            raise InputError(f"--plot {name}: {error}") from None


def _canvas(run: Answering, names: Sequence[str] | None) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    view, notes = run.view(), run.remarks
    shown = view.layers[:_MOST_ROWS]
    if not view.traced and all(x.up is None for x in shown):
        raise InputError("plot: the run kept no spikes; use trace=True")
    if len(view.layers) > _MOST_ROWS:
        notes.append(f"the first {_MOST_ROWS} of {len(view.layers)} layers are drawn")
    rows, time = max(len(shown), 1), _Time(run, view)
    figure: Any = Figure(figsize=(12, 2.8 + 1.2 * rows + 2.8), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows + 1, 2, width_ratios=(1, 2.9), height_ratios=[1] * rows + [2.4])
    panels = [figure.add_subplot(grid[0, 1])]
    panels += [figure.add_subplot(grid[row, 1], sharex=panels[0]) for row in range(1, rows + 1)]
    rasters = [_row(axes, time, x) for axes, x in zip(panels, shown, strict=False)]
    done = {name: (ours, dense) for name, ours, dense in run.report.bars()}
    for axes, x in zip(panels, shown, strict=False):
        if x.name in done:
            _work(axes, *done[x.name])
    _scores(panels[-1], time, names)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, labelbottom=axes is panels[-1])
        if time.width == 1:
            axes.xaxis.get_major_locator().set_params(integer=True)
        _moments(axes, time, text=axes is panels[-1])
    _legend(panels[0], run, shown, any(rasters))
    half = max((rows + 1) // 2, 1) if view.image is not None else 0
    if view.image is not None:
        _image(figure.add_subplot(grid[:half, 0]), view.image, view.blank)
    _operations(figure.add_subplot(grid[half:, 0]), run)
    title = f"{view.heading}: {run.answered(names)}; {quantity(run.report.spikes, 'spike')}"
    figure.suptitle(short(title, _WIDEST), fontsize=12)
    figure.supxlabel("\n".join(textwrap.wrap(printable("; ".join(notes)), _WIDEST)), fontsize=8, color=_FINAL)
    return canvas


class _Time:
    """The time axis of a run: ``times`` of all moments, the first and the last included."""

    def __init__(self, run: Answering, view: Display) -> None:
        self.run, self.label, self.width = run, view.axis, view.width
        self.times = np.arange(len(run.outputs)) * self.width
        self.ends = np.append(self.times, self.times[-1] + self.width)


# -- over time --------------------------------------------------------------------------------------------------------


def _row(axes: Any, time: _Time, row: Sent) -> bool:
    """Whether it shows every spike."""
    colour = INPUT if row.arrives else UP
    if row.spikes is None or (time.run.moments > _MOST_MOMENTS and row.up is not None):
        assert row.up is not None
        _steps(axes, time, row.up, colour)
        if row.down is not None:
            _steps(axes, time, -row.down, DOWN)
            axes.axhline(0, color=_FINAL, lw=0.5)
        _logarithmic(axes, row.up, row.down)
        _label(axes, f"{short(row.name)}\n{row.what}")
        return False
    moments, neurons, signs = row.spikes
    order, most = np.arange(len(moments)), int(np.prod(row.shape))
    if len(order) > _MOST_DOTS:
        axes.set_title(f"{_MOST_DOTS:,} of {len(order):,} spikes drawn", loc="right", fontsize=7, pad=2, color=_FINAL)
        order = np.linspace(0, len(order) - 1, _MOST_DOTS).astype(int)
    size = float(np.clip(6000 / max(len(order), 1), 0.15, 6))
    order = np.random.default_rng(0).permutation(order)  # so that neither colour hides the other
    colours: Any = np.where(signs[order] > 0, UP, DOWN) if row.signed else colour
    axes.scatter(time.times[moments[order]], neurons[order], s=size, c=colours, linewidths=0, rasterized=True)
    axes.set_ylim(-0.02 * most, 1.02 * most)
    axes.set_yticks([0, most - 1] if most > 1 else [0])
    _label(axes, f"{short(row.name)}\nneuron")
    return True


def _steps(axes: Any, time: _Time, values: Array, colour: str) -> None:
    """Counts at each moment except the first, as an area."""
    axes.stairs(values, time.ends[1:] - time.width / 2, fill=True, color=colour, linewidth=0)


def _logarithmic(axes: Any, up: Array, down: Array | None) -> None:
    """An axis of counts on which a burst hides no single spike: 0, 1, and the power of ten below the greatest."""
    tops = [int(counts.max(initial=0)) for counts in (up, down) if counts is not None]
    axes.set_yscale("symlog", linthresh=1)
    ticks = [(-1) ** i * n for i, top in enumerate(tops) for n in {1, 10 ** (len(str(top)) - 1)} if top]
    axes.set_yticks([0, *ticks], minor=False)
    axes.set_yticks([], minor=True)
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")


def _work(axes: Any, done: int, dense: int) -> None:
    """A layer's operations, beside its spikes."""
    axes.annotate(
        f"{_short(done)} SynOps\n{done / dense:.1%} of dense", (1, 0.5), xycoords="axes fraction", xytext=(6, 0),
        textcoords="offset points", fontsize=7, va="center", ha="left", color=_FINAL,
    )  # fmt: skip


def _scores(axes: Any, time: _Time, names: Sequence[str] | None) -> None:
    run, times = time.run, time.ends  # the last score is a step like the others
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
    axes.set_xlim(-time.width / 2, times[-1])
    _label(axes, "output\nso far" if run.pulses else "scores")
    axes.set_xlabel(time.label, fontsize=9)
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


def _moments(axes: Any, time: _Time, text: bool) -> None:
    run, times = time.run, time.times
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
            axes.annotate("the window empties", after, xycoords=("data", "axes fraction"), ha="right", fontsize=8)


def _label(axes: Any, text: str) -> None:
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=8)
    axes.yaxis.set_label_coords(-0.07, 0.5)


def _legend(axes: Any, run: Answering, shown: Sequence[Sent], rasters: bool) -> None:
    title = "neurons that sent something" if run.pulses else "spikes at each moment"
    if rasters:
        title = "a dot is a spike; neurons by row, then column, then channel"
    colours = [(INPUT, "arrives")] if any(x.arrives for x in shown) else []
    colours.append((UP, "fires"))
    if any(x.signed and (x.down is not None or x.spikes is not None) for x in shown if not x.arrives):
        colours.append((DOWN, "takes its spike back"))
    for colour, text in colours:
        axes.scatter([], [], s=25, c=colour, label=text)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.06), ncols=len(colours), fontsize=8, frameon=False, title=title,
        title_fontsize=8, alignment="left",
    )  # fmt: skip


# -- beside the time axis ---------------------------------------------------------------------------------------------


def _image(axes: Any, image: Floats, blank: float) -> None:
    low, high = min(float(image.min()), blank), max(float(image.max()), blank)
    span = f"{low:g} to {high:g}"
    if image.shape[2] == 3:
        axes.imshow((image - low) / max(high - low, 1e-30), interpolation="nearest")
        axes.set_title(f"the image, RGB, {span}", fontsize=9)
    else:
        axes.imshow(image.mean(axis=2), cmap="gray_r", vmin=low, vmax=high, interpolation="nearest")
        mean = f"mean of {image.shape[2]} channels, " if image.shape[2] > 1 else ""
        axes.set_title(f"the image, {mean}{span}:\ndarker is more", fontsize=9)
    axes.set(xticks=[], yticks=[])


def _operations(axes: Any, run: Answering) -> None:
    bars = run.report.bars()
    at = np.arange(len(bars))[::-1]
    axes.barh(at + 0.19, [dense for *_, dense in bars], 0.36, color=_DENSE, label="dense")
    axes.barh(at - 0.19, [done for _, done, _ in bars], 0.36, color=UP, label="by spikes")
    axes.set_xscale("symlog", linthresh=1)  # logarithmic, and 0 has a place
    for place, (_, done, dense) in zip(at, bars, strict=True):
        texts = ((0.19, _short(dense)), (-0.19, f"{_short(done)} ({done / dense:.0%})"))
        for up, text in texts:
            axes.annotate(
                text, (0, place + up), xycoords="data", xytext=(3, 0), textcoords="offset points", fontsize=7,
                va="center", color="black", bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.5},
            )  # fmt: skip
    greatest = len(str(max((dense for *_, dense in bars), default=1))) - 1
    axes.set_xticks([0, *(10**n for n in range(0, greatest + 1, max(greatest // 3, 1)))])
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter(lambda value, _: _short(round(value)))
    axes.set_yticks(at, [short(name) for name, *_ in bars], fontsize=8)
    axes.set_title(run.report.figures(), fontsize=9)
    axes.tick_params(axis="x", labelsize=7)
    axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2)
    axes.spines[["top", "right"]].set_visible(False)


def _short(count: int) -> str:
    """1.23M"""
    for unit, scale in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= scale:
            return f"{count / scale:.3g}{unit}"
    return str(count)
