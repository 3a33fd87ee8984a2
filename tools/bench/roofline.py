# SPDX-License-Identifier: Apache-2.0
"""The picture of bench_kernels.py: how close convolutions come to what this machine can do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.results import KernelRow as Row

_INK, _SOFT = "#1d2733", "#6b7785"
_COLOURS = ("#1f6feb", "#e39a2d", "#1a7f37", "#8250df", "#57606a")
_ROOFS = (("bits", "binary products", "-"), ("f32", "float products", "--"))


def draw(rows: Sequence[Row], rates: Mapping[str, float], path: Path) -> None:
    """Write a PNG: products a second over products a byte, on logarithmic axes, below the ``rates``
    ("bits", "f32": 10^9 products a second; "bytes": GB/s of memory)."""
    # The object interface with the Agg canvas: works without a screen, and changes no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 6.5), dpi=100, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    layers = [row for row in rows if row.kind != "rate"]
    intensities = [row.products / row.bytes for row in layers]
    left, right = min(intensities) / 3, max(intensities) * 3
    _roofs(axes, rates, left, right)
    families = list(dict.fromkeys(row.family for row in layers))
    for number, family in enumerate(families):
        for kind, marker in (("bconv2d", "o"), ("conv2d", "^")):
            own = [row for row in layers if row.family == family and row.kind == kind]
            axes.scatter(
                [row.products / row.bytes for row in own], [row.rate for row in own], s=34, marker=marker, alpha=0.85,
                color=_COLOURS[number % len(_COLOURS)], label=f"{family}, {'binary' if marker == 'o' else 'float'}",
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left, right)
    axes.set_xlabel("products per byte that a layer must read and write", color=_INK)
    axes.set_ylabel("GMAC/s, one thread", color=_INK)
    axes.grid(which="major", color="#dfe4ea", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    temporary = path.with_name(f"{path.name}.tmp")
    figure.savefig(temporary, format="png")
    os.replace(temporary, path)


def _roofs(axes: Any, rates: Mapping[str, float], left: float, right: float) -> None:
    memory = rates.get("bytes")
    for key, name, style in _ROOFS:
        if key not in rates:
            continue
        peak = rates[key]
        knee = min(max(peak / memory, left), right) if memory else left
        points = [(left, left * memory), (knee, peak)] if memory and knee > left else [(left, peak)]
        points.append((right, peak))
        axes.plot(*zip(*points, strict=True), style, color=_SOFT, linewidth=1.2)
        axes.annotate(f"{name}: {peak:,.0f} GMAC/s", (right, peak), (-4, 4), textcoords="offset points", ha="right",
                      color=_INK, fontsize=9)  # fmt: skip
    if memory:
        axes.annotate(f"memory: {memory:.0f} GB/s", (left, left * memory), (24, 2), textcoords="offset points",
                      color=_INK, fontsize=9)  # fmt: skip
