# SPDX-License-Identifier: Apache-2.0
"""Pictures by matplotlib: what all of them share, and those of training runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bnn.runtime.files import replacing

_TRAIN, _VALIDATION = "#4878a8", "#d1662c"
INK, SOFT, RULE = "#1d2733", "#6b7785", "#dfe4ea"


@contextmanager
def figure(path: Path, **options: Any) -> Iterator[Any]:
    """A Figure with these options; at the end of the block it is written as a PNG, which appears whole."""
    from matplotlib.figure import Figure  # not pyplot: works without a screen, and changes no global state

    made = Figure(**options)
    yield made
    with replacing(str(path)) as file:
        made.savefig(file, format="png")


def curve(run: dict[str, Any], path: Path) -> None:
    """Write a PNG of a run (the content of history.json): loss and accuracy over the epochs, the best one marked."""
    from matplotlib.ticker import MaxNLocator

    history, settings = run["history"], run["settings"]
    best = history[run["best_epoch"] - 1]
    epochs = [epoch["epoch"] for epoch in history]
    # One epoch is a point, not a line.
    marker = "o" if len(history) == 1 else None
    with figure(path, figsize=(10.0, 4.2), dpi=130, layout="constrained") as made:
        made.suptitle(
            f"{settings['network']} on {settings['dataset']}: {run['test_accuracy']:.2%} of the test "
            f"images right after epoch {run['best_epoch']} ({run['seconds'] / 60:.1f} minutes in all)"
        )
        panels = (("loss", "cross-entropy", 1.0), ("accuracy", "accuracy (%)", 100.0))
        for axes, (key, label, unit) in zip(made.subplots(1, 2), panels, strict=True):
            for name, prefix, color in (("training", "", _TRAIN), ("validation", "validation_", _VALIDATION)):
                values = [unit * epoch[prefix + key] for epoch in history]
                axes.plot(epochs, values, color=color, marker=marker, label=name)
            height = unit * best[f"validation_{key}"]
            axes.axvline(best["epoch"], color="0.6", linestyle=":", linewidth=1.0)
            text = f"{height:.2f} %" if key == "accuracy" else f"{height:.3f}"
            axes.plot(
                best["epoch"], height, "o", color=_VALIDATION, markeredgecolor="black", markersize=7,
                linestyle="none", label=f"best epoch {best['epoch']}: {text}",
            )  # fmt: skip
            axes.set_xlabel("epoch")
            axes.set_ylabel(label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False)


def fields(run: dict[str, Any], weights: Any, names: Sequence[str], shape: tuple[int, int], path: Path) -> None:
    """Write a PNG of a run of clustering (the content of its history.json): the weights (pixels, neurons) of each
    neuron as an image of this shape under its class's name, sorted by class; and accuracy over images."""
    labels, settings, neurons = np.array(run["labels"]), run["settings"], weights.shape[1]
    columns = math.ceil(math.sqrt(neurons * 1.6))
    rows = math.ceil(neurons / columns)
    order = np.argsort(labels, kind="stable")
    with figure(path, figsize=(14.0, 2.4 + 0.68 * max(rows, 5)), dpi=110, facecolor="white") as made:
        made.suptitle(
            f"{settings['dataset']}: {neurons} neurons after {settings['images']:,} images without labels, "
            f"{run['accuracy']:.1%} of {run['tested']:,} test images right", fontsize=14, color=INK,
        )  # fmt: skip
        grid = made.add_gridspec(
            rows, columns, left=0.02, right=0.68, top=0.9 - 0.02 * (rows < 5), bottom=0.03, hspace=0.42, wspace=0.1
        )
        for place, neuron in enumerate(order):
            axes = made.add_subplot(grid[place // columns, place % columns])
            axes.imshow(weights[:, neuron].reshape(shape), cmap="magma", vmin=0)
            axes.set_title(names[labels[neuron]], fontsize=6, pad=2, color=SOFT)
            axes.axis("off")
        curve = made.add_axes((0.735, 0.12, 0.245, 0.74))
        known = [x for x in run["history"] if x["accuracy"] is not None]
        curve.plot(
            [x["images"] for x in known], [100 * x["accuracy"] for x in known], color=_TRAIN,
            marker="o" if len(known) == 1 else None, label="training images, named by the previous interval",
        )  # fmt: skip
        curve.plot(settings["images"], 100 * run["accuracy"], "o", color=_VALIDATION, label="test images, learning off")
        curve.set_title(
            "While it learns, neurons change after they were named;\nfor the test they are named again, and stay.",
            fontsize=8, color=SOFT, loc="left",
        )  # fmt: skip
        curve.set_xlabel("images")
        curve.set_ylabel("accuracy (%)")
        curve.set_xlim(left=0)
        curve.set_ylim(0, 100)
        curve.grid(alpha=0.25)
        curve.spines[["top", "right"]].set_visible(False)
        curve.legend(frameon=False, loc="lower right", fontsize=8)
