# SPDX-License-Identifier: Apache-2.0
"""Pictures by matplotlib: what all of them share, and the curve of a training run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
