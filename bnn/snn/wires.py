# SPDX-License-Identifier: Apache-2.0
"""NIR's linear nodes: what reaches a population on the way from another.

A wire is what a node sends.  NIR's arrays have the channels first and number elements in that order, also after a
Flatten; populations have the channels last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .._types import Array, Floats
from .network import Kind, Shape
from .rules import Emits
from .simulators import Found


@dataclass(frozen=True, eq=False)
class Wire:
    """What a node sends: what population ``source`` sends, through one linear operation at most.

    ``shape``: NIR's.  ``layout``: NIR's before any Flatten, which says how elements are numbered.  ``kind`` "dense":
    ``weights`` (outputs, inputs), both in NIR's order; "conv", "window": as a projection's; "diagonal": none, no
    operation, or one per element, in NIR's order, and so is the bias.
    ``bias``: per output, or per channel of a convolution.  ``node``: whose operation it is.
    """

    source: int
    shape: Shape
    layout: Shape
    kind: Kind = "diagonal"
    weights: Array | None = None
    bias: Floats | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    window: tuple[int, int] = (0, 0)
    node: str = ""


# The simulators' exporters write the shapes of the sample that they are given.
_NO_BATCH = "export the network again with a sample that has no dimensions of batch and time"


def places(layout: Shape) -> Array:
    """Where each element, in NIR's order, lies in a population, whose channels are last."""
    last = np.arange(math.prod(layout)).reshape((*layout[1:], layout[0]))
    return np.moveaxis(last, -1, 0).reshape(-1)


def linear(found: Found, wire: Wire, emits: Emits) -> Wire:
    """A linear node after a wire without an operation; ``emits``: what its population sends."""
    if found.node.kind in ("Affine", "Linear"):
        return _dense(found, wire)
    if found.node.kind in ("Conv1d", "Conv2d"):
        return _conv(found, wire)
    if found.node.kind == "Scale":  # of a torch module: NIR's is refused by all simulators
        return replace(wire, weights=found["scale"], bias=found["bias"], node=found.name)
    return _pool(found, wire, emits)


def flatten(found: Found, wire: Wire, batch: bool) -> Wire:
    """``batch``: the node counts the batch as a dimension, if there is one."""
    rank, start, end = len(wire.shape), int(found["start_dim"]), int(found["end_dim"])
    whole = [(0, -1), (0, rank - 1), (-rank, -1), (-rank, rank - 1), *([(1, -1), (1, rank)] if batch else [])]
    if (start, end) not in whole:
        raise found.error(
            f"start_dim = {start} and end_dim = {end} for the shape {wire.shape}",
            f"{found.title} so flattens some dimensions and leaves others",
            f"expected 0{' or 1 (with the batch)' if batch else ''} and -1",
        )
    return replace(wire, shape=(math.prod(wire.shape),))


def _dense(found: Found, wire: Wire) -> Wire:
    weights = found["weight"].astype(np.float32)
    outputs, inputs = weights.shape
    if wire.shape != (inputs,):
        remedy = _NO_BATCH if wire.shape[-1] == inputs else "add a Flatten, or correct the weight"
        raise found.error(f"an input of the shape {wire.shape}", f"its weight takes ({inputs},)", remedy)
    bias = found["bias"].astype(np.float32) if found.node.kind == "Affine" else None
    return Wire(wire.source, (outputs,), (outputs,), "dense", weights, bias, node=found.name)


def _conv(found: Found, wire: Wire) -> Wire:
    weights = found["weight"].astype(np.float32)
    if found.node.kind == "Conv1d":
        weights = weights[:, :, None]
    outputs, width = weights.shape[:2]
    kernel = weights.shape[2:]
    groups = int(found["groups"])
    flat = found.node.kind == "Conv1d"
    _check_grid(found, wire, 2 if flat else 3, width * groups)
    stride, dilation = _pair(found["stride"], flat, 1), _pair(found["dilation"], flat, 1)
    padding = found["padding"]
    if isinstance(padding, str):
        if padding == "same" and stride != (1, 1):
            raise found.error(
                f"the padding 'same' with a stride of {stride}", "PyTorch allows it for a stride of 1 alone"
            )
        total = tuple(d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True))
        before, after = (total[0] // 2, total[1] // 2), (total[0] - total[0] // 2, total[1] - total[1] // 2)
    else:
        before = after = _pair(padding, flat, 0)
    grid = _output_grid(found, wire, kernel, stride, before, after, dilation)
    if outputs % groups:
        raise found.error(f"{outputs} output channels in {groups} groups", "these must divide them")
    by_source = np.empty((width * groups, *kernel, outputs // groups), np.float32)
    for group in range(groups):
        part = weights[group * (outputs // groups) : (group + 1) * (outputs // groups)]
        by_source[group * width : (group + 1) * width] = part.transpose(1, 2, 3, 0)
    shape = (outputs, *grid)
    bias = found["bias"].astype(np.float32)
    return Wire(wire.source, shape, shape, "conv", by_source, bias, stride, before, dilation, groups, node=found.name)


def _pool(found: Found, wire: Wire, emits: Emits) -> Wire:
    """Sums of windows, or means: sums of shares; of torch modules highest values, too, but of spikes sums."""
    _check_grid(found, wire, 3, None)
    kernel, stride = _pair(found["kernel_size"], False, 1), _pair(found["stride"], False, 1)
    mean = found.node.kind == "AvgPool2d"
    maximum = found.node.kind == "MaxPool2d"
    if found["padding"].any() and not maximum:
        because = "takes the padding into the mean, which NIR does not say" if mean else "ignores it"
        raise found.error(f"padding = {found['padding'].tolist()}", f"{found.title} {because}",
                          "pad in the convolution, or choose another simulator")  # fmt: skip
    count, dilation, pad = math.prod(kernel), (1, 1), _pair(found["padding"], False, 0)
    if maximum:
        dilation = _pair(found["dilation"], False, 1)
    else:
        _check_window(found, count, mean, emits)
    grid = _output_grid(found, wire, kernel, stride, pad, pad, dilation)
    share = np.float32(1) / np.float32(count) if mean else np.float32(1)
    weights = np.full((wire.shape[0], *kernel, 1), share, np.float32)
    shape = (wire.shape[0], *grid)
    if maximum and emits != Emits.SPIKES:
        if dilation != (1, 1):
            raise found.error(
                f"dilation = {dilation}", f"of {emits.name.lower()} windows without gaps are read", "use 1"
            )
        return Wire(wire.source, shape, shape, "window", None, None, stride, pad, window=kernel, node=found.name)
    return Wire(wire.source, shape, shape, "conv", weights, None, stride, pad, dilation, wire.shape[0], node=found.name)


def _check_window(found: Found, count: int, mean: bool, emits: Emits) -> None:
    """PyTorch divides a window's sum by its size, and a sum pool multiplies the mean again.  Added shares, or the sum
    alone, are the same numbers for windows of a power of two, and for spikes in some others."""
    if count & (count - 1) == 0:
        return
    sums = np.arange(count + 1, dtype=np.float32)
    divided = sums / np.float32(count)
    if mean:
        share = np.full(count, np.float32(1) / np.float32(count))
        added = np.concatenate([[np.float32(0)], np.cumsum(share, dtype=np.float32)])
        same = emits == Emits.SPIKES and np.array_equal(added, divided)
    else:
        # (s / n) * n == s for whole s if n is a sum of two powers of two
        same = (
            emits != Emits.VALUES and np.array_equal(divided * np.float32(count), sums) and bin(count).count("1") <= 2
        )
    if not same:
        what = {Emits.SPIKES: "spikes", Emits.COUNTS: "counts", Emits.VALUES: "real values"}[emits]
        raise found.error(f"a window of {count} elements over {what}", f"{found.title} rounds its sum twice",
                          "choose a window of a power of two")  # fmt: skip


def _pair(value: Array, flat: bool, default: int) -> tuple[int, int]:
    """(rows, columns); a line has one row."""
    numbers = [int(n) for n in np.asarray(value).reshape(-1)]
    return (default, numbers[0]) if flat else (numbers[0], numbers[-1])


def _check_grid(found: Found, wire: Wire, rank: int, channels: int | None) -> None:
    if len(wire.shape) != rank or wire.shape != wire.layout or channels not in (None, wire.shape[0]):
        expected = ("channels" if channels is None else str(channels), *("height", "width")[3 - rank :])
        raise found.error(
            f"an input of the shape {wire.shape}", f"expected ({', '.join(expected)})", "correct the edges"
        )


def _output_grid(
    found: Found, wire: Wire, kernel: Sequence[int], stride: Sequence[int], before: Sequence[int], after: Sequence[int],
    dilation: Sequence[int],
) -> Shape:  # fmt: skip
    size = (1, 1, *wire.shape[1:])[-2:]
    grid = tuple(
        (n + b + a - d * (k - 1) - 1) // s + 1
        for n, k, s, b, a, d in zip(size, kernel, stride, before, after, dilation, strict=True)
    )
    if min(grid) < 1:
        raise found.error(f"an input of the shape {wire.shape}", f"a window of {tuple(kernel)} does not fit in it",
                          "correct the node")  # fmt: skip
    return grid[3 - len(wire.shape) :]
