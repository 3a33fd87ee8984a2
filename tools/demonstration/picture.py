# SPDX-License-Identifier: Apache-2.0
"""The demo's picture: what the network sees and says, and what compiling it gains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demonstration.steps import Result, duration, ratio
from training.drawing import INK, RULE, SOFT, figure

Unit = Callable[[float], str]

_KERAS, _BNN, _FLOAT = "#b9c0c9", "#1f6feb", "#e39a2d"
_RIGHT, _WRONG = "#1a7f37", "#cf222e"
_NAMES = {"digits": "Handwritten digits", "fashion-mnist": "Fashion-MNIST"}
_LEFT = 0.76  # where the bars begin
_HEADS = 0.838  # height of the headings above pictures and bars
_HEIGHT = 0.72  # of a bar
_ROWS = 4  # of test images; one more for mistakes


def draw(result: Result, path: Path) -> None:
    """Write the PNG, which appears whole."""
    from matplotlib import rc_context

    with (
        rc_context({"text.color": INK, "axes.edgecolor": RULE, "font.size": 10}),
        figure(path, figsize=(15.0, 7.9), dpi=100, facecolor="white") as made,
    ):
        _title(made, result)
        _gallery(made, result)
        _bars(made, result)
        _layers(made, result)


def _title(figure: Any, result: Result) -> None:
    check = result.check
    right = result.accuracy(check.compiled)
    size = result.sizes.bnn_file / 1000
    figure.text(
        0.03, 0.937, f"{_NAMES[result.data.name]}: {right:.1%} right by a binary network of {size:.1f} kB",
        fontsize=21, weight="bold",
    )  # fmt: skip
    images = len(check.keras)
    if check.ok:
        text = f"Equal to Keras in all {images:,} classes and all {check.compared:,} bits and sums of its binary layers"
        color = _RIGHT
    else:
        text = f"DIFFERS from Keras in {check.classes_different:,} classes, {check.different:,} bits and sums"
        color = _WRONG
    figure.text(0.03, 0.893, text, fontsize=13, color=color)


def _heading(figure: Any, x: float, y: float, text: str) -> None:
    figure.text(x, y, text, fontsize=12, weight="bold")


# Images and what the compiled network says of them


def _gallery(figure: Any, result: Result) -> None:
    data, compiled = result.data, result.check.compiled
    labels, guesses = data.test.labels, compiled.argmax(axis=1)
    classes = len(data.class_names)
    grid = figure.add_gridspec(
        _ROWS + 2, classes, height_ratios=[1] * _ROWS + [0.05, 1],
        left=0.03, right=0.615, top=0.818, bottom=0.06, wspace=0.16, hspace=0.45,
    )  # fmt: skip
    _heading(figure, 0.03, _HEADS, "The first test images of each class, and what they are taken for")
    for column in range(classes):
        for row, index in enumerate(np.flatnonzero(labels == column)[:_ROWS]):
            _image(figure.add_subplot(grid[row, column]), result, int(index))
    wrong = np.flatnonzero(guesses != labels)
    surest = wrong[np.argsort(-compiled[wrong].max(axis=1), kind="stable")][:classes]
    top = grid[_ROWS + 1, 0].get_position(figure).y1
    some = f"Wrong and most certain ({len(wrong):,} of {len(labels):,} are wrong)"
    _heading(figure, 0.03, top + 0.012, some if len(wrong) else "No test image is wrong")
    for column, index in enumerate(surest):
        _image(figure.add_subplot(grid[_ROWS + 1, column]), result, int(index))


def _image(axes: Any, result: Result, index: int) -> None:
    data = result.data
    names, label = data.class_names, int(data.test.labels[index])
    probabilities = result.check.compiled[index]
    guess = int(probabilities.argmax())
    color = _RIGHT if guess == label else _WRONG
    axes.imshow(_picture(data.test.images[index], data.scale), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(color)
        spine.set_linewidth(1.6)
    percent = f"{probabilities[guess]:.0%}"
    short = len(names[guess]) <= 2
    text = f"{names[guess]}{'   ' if short else ' '}{percent}"
    if guess != label:
        text += f"\nis {names[label]}"
    style = {"ha": "center", "va": "top", "color": color, "fontsize": 9 if short else 7.5, "linespacing": 1.05}
    axes.text(0.5, -0.07, text, transform=axes.transAxes, **style)


def _picture(image: NDArray[np.uint8], scale: int) -> NDArray[np.float32]:
    """Ink as 0..1: (H, W), or (H, W, 3) for colours."""
    shown = image.astype(np.float32) / np.float32(scale)
    return shown[..., 0] if image.shape[-1] == 1 else shown


# Keras and bnn side by side


def _bars(figure: Any, result: Result) -> None:
    check, sizes = result.check, result.sizes
    keras, compiled = result.accuracy(check.keras), result.accuracy(check.compiled)
    groups: list[tuple[str, list[tuple[str, float]], Unit]] = [
        ("Test accuracy", [("Keras", keras), ("bnn", compiled)], _percent),
        ("Size", [("Keras, float32", sizes.float32), ("bnn file", sizes.bnn_file)], _kilobytes),
    ]
    for t in result.latencies:
        bars = [("Keras eager", t.eager), ("Keras tf.function", t.function), ("bnn", t.runtime)]
        groups.append(("1 image" if t.images == 1 else f"{t.images} images", bars, duration))
    heights = [len(bars) for _, bars, _ in groups]
    grid = figure.add_gridspec(
        len(groups), 1, left=_LEFT, right=0.93, top=0.80, bottom=0.45, hspace=0.6, height_ratios=heights
    )
    _heading(figure, 0.655, _HEADS, "Keras and bnn")
    note = f"Log scales, except for accuracy. Keras: every core; bnn: one thread, {result.kernels}."
    figure.text(0.655, 0.415, note, fontsize=8.5, color=SOFT)
    for i, (title, bars, unit) in enumerate(groups):
        axes = figure.add_subplot(grid[i])
        _horizontal(axes, bars, [_BNN if name.startswith("bnn") else _KERAS for name, _ in bars], unit)
        values = [value for _, value in bars]
        gains = [ratio(value / values[-1]) for value in reversed(values[:-1])]
        if unit is _percent:
            axes.set_xlim(0, 1)
        else:
            axes.set_xscale("log")
            axes.set_xticks([], minor=True)
            axes.set_xticks([])
            axes.set_xlim(min(values) / 4, max(values))
            change = f"{' to '.join(gains)} \u00d7 {'smaller' if unit is _kilobytes else 'faster'}"
            axes.set_title(change, loc="right", fontsize=9.5, color=_BNN, weight="bold", pad=3)
        axes.set_title(title, loc="left", fontsize=10, weight="bold", pad=3)


def _layers(figure: Any, result: Result) -> None:
    """Time per layer, in the order of execution."""
    axes = figure.add_axes((_LEFT, 0.03, 0.93 - _LEFT, 0.3))
    total = sum(layer.seconds for layer in result.times)
    _heading(figure, 0.655, 0.375, f"Time per layer: {duration(total)} in C for 1 image")
    rows = [(layer.layer, layer.seconds) for layer in result.times]
    _horizontal(axes, rows, [_FLOAT] * len(rows), duration, fontsize=8.5)
    axes.barh(range(len(rows)), [layer.bits for layer in result.times], color=_BNN, height=_HEIGHT)
    axes.set_xlim(0, max(seconds for _, seconds in rows))
    for x, color, text in ((_LEFT, _BNN, "computing on bits"), (_LEFT + 0.1, _FLOAT, "on floats")):
        figure.text(x, 0.345, "\u25a0", color=color, fontsize=11)
        figure.text(x + 0.011, 0.346, text, color=SOFT, fontsize=9)


def _horizontal(axes: Any, bars: list[tuple[str, float]], colors: list[str], unit: Unit, fontsize: float = 9.5) -> None:
    """Bars from the top down, each with its value beside it."""
    positions = range(len(bars))
    axes.barh(positions, [value for _, value in bars], color=colors, height=_HEIGHT)
    axes.set_yticks(positions, [name for name, _ in bars], fontsize=fontsize)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    for y, (_, value) in zip(positions, bars, strict=True):
        axes.annotate(
            unit(value), (value, y), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=fontsize, annotation_clip=False,
        )  # fmt: skip


def _percent(value: float) -> str:
    return f"{value:.2%}"


def _kilobytes(value: float) -> str:
    return f"{value / 1000:,.1f} kB" if value < 1e6 else f"{value / 1e6:,.2f} MB"
