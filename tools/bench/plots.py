# SPDX-License-Identifier: Apache-2.0
"""The pictures of docs/explanation/performance.md: times of whole networks, where the time goes, and rooflines."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.document import KernelRow, Result, number
from training.drawing import INK, RULE, SOFT, figure

_FAMILY_COLOURS = ("#1f6feb", "#e39a2d", "#1a7f37", "#8250df", "#57606a")
_ROOFS = (("bits", "binary products", "-"), ("f32", "float products", "--"))
_OPS = ("bconv2d", "conv2d", "binarize", "max_pool", "concat", "add", "mul", "affine", "prelu")
_OP_COLOURS = (
    "#1f6feb", "#e39a2d", "#54aeff", "#1a7f37", "#8250df", "#cf222e", "#bf8700", "#57606a", "#d63384", "#c9d1d9",
)  # fmt: skip


def profiles(results: Sequence[Result], path: Path) -> None:
    """A bar of 100% per network, divided by type of op."""
    shown = [result for result in results if result.profile]
    size = 11.0, 0.42 * len(shown) + 1.6
    with figure(path, figsize=size, dpi=100, facecolor="white", layout="constrained") as made:
        axes = made.add_subplot()
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(RULE)
        axes.tick_params(colors=INK, length=0)
        axes.set_title("Where the time goes, by type of op", loc="left", color=INK, weight="bold")
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
            axes.text(1.01, i, f"{total} us", va="center", fontsize=9, color=INK)
        axes.set_yticks(range(len(shown)), [result.network for result in shown])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.12)
        axes.set_xticks([i / 4 for i in range(5)], [f"{i * 25}%" for i in range(5)])
        axes.legend(ncols=5, loc="upper left", bbox_to_anchor=(0, -0.5 / max(len(shown), 1) - 0.02), frameon=False)


def rooflines(rows: Sequence[KernelRow], rates: Mapping[str, float], path: Path) -> None:
    """Write a PNG: products per second over products per byte, on logarithmic axes, below the ``rates``
    ("bits", "f32": 10^9 products per second; "bytes": GB/s of memory)."""
    with figure(path, figsize=(11.0, 6.5), dpi=100, facecolor="white", layout="constrained") as made:
        axes = made.add_subplot()
        layers = [row for row in rows if row.kind != "rate"]
        intensities = [row.products / row.bytes for row in layers]
        left, right = min(intensities) / 3, max(intensities) * 3
        _roofs(axes, rates, left, right)
        families = list(dict.fromkeys(row.family for row in layers))
        for family, colour in zip(families, itertools.cycle(_FAMILY_COLOURS), strict=False):
            for kind, marker in (("bconv2d", "o"), ("conv2d", "^")):
                own = [row for row in layers if row.family == family and row.kind == kind]
                x, y = [row.products / row.bytes for row in own], [row.rate for row in own]
                label = f"{family}, {'binary' if marker == 'o' else 'float'}"
                axes.scatter(x, y, s=34, marker=marker, alpha=0.85, color=colour, label=label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(left, right)
        axes.set_xlabel("products per byte that a layer must read and write", color=INK)
        axes.set_ylabel("GMAC/s, one thread", color=INK)
        axes.grid(which="major", color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(loc="lower right", frameon=False, fontsize=8)


def _roofs(axes: Any, rates: Mapping[str, float], left: float, right: float) -> None:
    memory = rates.get("bytes")
    for key, name, style in _ROOFS:
        if key not in rates:
            continue
        peak = rates[key]
        knee = min(max(peak / memory, left), right) if memory else left
        points = [(left, left * memory), (knee, peak)] if memory and knee > left else [(left, peak)]
        points.append((right, peak))
        axes.plot(*zip(*points, strict=True), style, color=SOFT, linewidth=1.2)
        axes.annotate(f"{name}: {peak:,.0f} GMAC/s", (right, peak), (-4, 4), textcoords="offset points", ha="right",
                      color=INK, fontsize=9)  # fmt: skip
    if memory:
        axes.annotate(f"memory: {memory:.0f} GB/s", (left, left * memory), (24, 2), textcoords="offset points",
                      color=INK, fontsize=9)  # fmt: skip
