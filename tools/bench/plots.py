# SPDX-License-Identifier: Apache-2.0
"""The pictures of docs/performance.md: times of whole networks, and where the time goes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.document import number
from bench.results import Result

_INK, _SOFT, _RULE = "#1d2733", "#6b7785", "#dfe4ea"
_COLOURS = {
    "bnn": "#1f6feb",
    "bnn, AVX2": "#54aeff",
    "bnn, cold caches": "#54aeff",
    "register loop": "#9ec1f7",
    "Larq Compute Engine": "#e39a2d",
    "ONNX Runtime": "#8250df",
    "OpenVINO": "#1a7f37",
    "TensorFlow": "#b9c0c9",
}
_OPS = ("bconv2d", "conv2d", "binarize", "max_pool", "concat", "add", "mul", "affine", "prelu")
_OP_COLOURS = (
    "#1f6feb", "#e39a2d", "#54aeff", "#1a7f37", "#8250df", "#cf222e", "#bf8700", "#57606a", "#d63384", "#c9d1d9",
)  # fmt: skip


def _figure(height: float) -> tuple[Any, Any]:
    # The object interface with the Agg canvas: works without a screen, and changes no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, height), dpi=100, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_RULE)
    axes.tick_params(colors=_INK, length=0)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    """The file appears whole."""
    temporary = path.with_name(f"{path.name}.tmp")
    figure.savefig(temporary, format="png")
    os.replace(temporary, path)


def _bars(result: Result) -> list[tuple[str, str, float, float]]:
    """(label, engine, microseconds, half the distance of the quartiles), one image and one thread, fastest first."""
    rows = [
        (
            row.engine if row.engine.startswith("bnn") else f"{row.engine}, {row.setting}",
            row.engine,
            row.us.median,
            row.us.spread * row.us.median,
        )
        for row in result.rows
        if row.images == 1 and row.threads == 1
    ]
    if result.register_loop_us:
        rows.append(("register-loop rate", "register loop", result.register_loop_us, 0.0))
    return sorted(rows, key=lambda row: row[2])


def times(results: Sequence[Result], path: Path) -> None:
    """A logarithmic bar per contestant, the multiple of bnn's time beside it."""
    count = sum(len(_bars(result)) + 1.5 for result in results)
    figure, axes = _figure(0.28 * count + 0.9)
    y, ticks, labels = 0.0, [], []
    for result in results:
        bars = _bars(result)
        ours = next(us for _, engine, us, _ in bars if engine == "bnn")
        axes.text(0, y, result.network, transform=axes.get_yaxis_transform(), weight="bold", va="center", color=_INK)
        for label, engine, us, spread in bars:
            y += 1
            axes.barh(y, us, xerr=spread or None, color=_COLOURS[engine], height=0.72, error_kw={"ecolor": _SOFT})
            axes.text(us * 1.12, y, f"{number(us)} us   {us / ours:.2f} x", va="center", fontsize=8.5, color=_INK)
            ticks.append(y)
            labels.append(label)
        y += 1.5
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 6)
    axes.set_yticks(ticks, labels, fontsize=8.5)
    axes.set_ylim(y - 0.5, -1)
    axes.set_xlabel("microseconds of one image on one thread (logarithmic)", color=_SOFT)
    axes.set_title("Whole networks, medians; the multiple of bnn's time", loc="left", color=_INK, weight="bold")
    _save(figure, path)


def profiles(results: Sequence[Result], path: Path) -> None:
    """A bar of 100% per network, cut by type of op."""
    shown = [result for result in results if result.profile]
    figure, axes = _figure(0.42 * len(shown) + 1.6)
    left = [0.0] * len(shown)
    for op, colour in zip((*_OPS, "others"), _OP_COLOURS, strict=True):
        shares = [
            sum(part.share for part in result.profile if part.op == op or (op == "others" and part.op not in _OPS))
            for result in shown
        ]
        if any(shares):
            axes.barh(range(len(shown)), shares, left=left, color=colour, height=0.7, label=op)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    for i, result in enumerate(shown):
        total = number(sum(part.us for part in result.profile))
        axes.text(1.01, i, f"{total} us", va="center", fontsize=9, color=_INK)
    axes.set_yticks(range(len(shown)), [result.network for result in shown])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12)
    axes.set_xticks([i / 4 for i in range(5)], [f"{i * 25}%" for i in range(5)])
    axes.legend(ncols=5, loc="upper left", bbox_to_anchor=(0, -0.5 / max(len(shown), 1) - 0.02), frameon=False)
    axes.set_title("Where the time goes, by type of op", loc="left", color=_INK, weight="bold")
    _save(figure, path)
