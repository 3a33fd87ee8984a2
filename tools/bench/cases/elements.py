# SPDX-License-Identifier: Apache-2.0
"""Time ops that compute little for each number, against a copy of as many bytes.

Each op is a network of its own: one image, one thread, 256 KB of floats in its largest tensor.  A share is the time in
which NumPy copies as many bytes (read and written; of two operands, both) by the op's time.  All measurements take
turns; medians are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import click
import numpy as np

from bench import document
from bench.runner import Bench, Found, case
from bnn._native import lib
from bnn._types import Floats
from bnn.file.write import encode
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.ops import ClampAttrs, DequantizeAttrs, PoolAttrs, RoundAttrs, constant, input_node, make
from bnn.passes.choose_layout import choose_layout
from bnn.passes.plan_arena import arrange
from bnn.passes.schedule import schedule
from bnn.runtime import Model, available_kernels, summary
from bnn.runtime.handles import PORTABLE

SHAPE = (32, 32, 64)


def _numbers(count: int = SHAPE[-1]) -> Node:
    return constant(np.linspace(0.5, 1.5, count, dtype=np.float32))


def _decoded(x: Node, planes: int) -> Node:
    levels = make("binarize_levels", x, _numbers(2**planes - 1))
    return make("dequantize", levels, _numbers(2**planes), attrs=DequantizeAttrs(SHAPE[-1]))


def _every(x: Node, step: int) -> Node:
    index = np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE)[..., ::step]
    return make("gather", x, constant(index, DType.i32))


OPS: dict[str, Callable[[Node, Node], Node]] = {
    "clamp": lambda x, y: make("clamp", x, attrs=ClampAttrs(0.0, 6.0)),
    "add": lambda x, y: make("add", x, y),
    "mul": lambda x, y: make("mul", x, y),
    "maximum": lambda x, y: make("maximum", x, y),
    "minimum": lambda x, y: make("minimum", x, y),
    "add, a number per channel": lambda x, y: make("add", x, _numbers()),
    "mul, a number per channel": lambda x, y: make("mul", x, _numbers()),
    "affine": lambda x, y: make("affine", x, *(_numbers() for _ in range(3)), attrs=ClampAttrs(-np.inf, np.inf)),
    "prelu": lambda x, y: make("prelu", x, _numbers()),
    "round to the nearest": lambda x, y: make("round", x, attrs=RoundAttrs(0)),
    "round down": lambda x, y: make("round", x, attrs=RoundAttrs(-1)),
    "binarize": lambda x, y: make("binarize", x),
    "dequantize, 2 bits": lambda x, y: _decoded(x, 2),
    "dequantize, 4 bits": lambda x, y: _decoded(x, 4),
    "dequantize, 8 bits": lambda x, y: _decoded(x, 8),
    "every second channel": lambda x, y: _every(x, 2),
    "every fourth channel": lambda x, y: _every(x, 4),
    "avg_pool 2x2/2": lambda x, y: make("avg_pool", x, attrs=PoolAttrs((2, 2), (2, 2))),
    "max_pool 2x2/2": lambda x, y: make("max_pool", x, attrs=PoolAttrs((2, 2), (2, 2))),
    "max_pool 3x3/2": lambda x, y: make("max_pool", x, attrs=PoolAttrs((3, 3), (2, 2), (1, 1, 1, 1))),
}  # fmt: skip


class Row(NamedTuple):
    """One op by one family: microseconds, and the share of a copy."""

    op: str
    family: str
    us: float
    share: float


def prepared(name: str, family: str) -> tuple[Callable[[], object], int]:
    """A call that runs the op alone, and the bytes that it reads and writes."""
    x, y = (input_node(text, SHAPE) for text in "xy")
    node = OPS[name](x, y)
    bits = [node] if node.type.dtype is DType.b1 else []
    output = make("unpack", node) if bits else node
    data = (x, y) if y in node.inputs else (x,)
    graph = arrange(schedule(choose_layout(Graph(data, (output,)))), [])[0]
    model = Model.from_bytes(encode(graph), kernels=family)
    (op,) = (op for op in model.ops if op.op == node.op)
    stepper = model.stepper(1)
    rng = np.random.default_rng(0)
    for tensor in model.tensors[: len(data)]:
        values: Floats = rng.uniform(0.0, 2.0, (1, *tensor.shape)).astype(np.float32)
        stepper.poke(tensor.index, values)
    run = partial(lib.bnn_step, stepper._context.pointer, op.index, 1)
    for before in range(op.index):
        lib.bnn_step(stepper._context.pointer, before, 1)
    return partial(_call, run, stepper), sum(model.tensors[i].bytes for i in (*op.inputs[: len(data)], op.output))


def _call(run: Callable[[], object], _: object) -> None:
    run()


def _copy(count: int) -> Callable[[], object]:
    source, target = np.ones(count, np.uint8), np.zeros(count, np.uint8)
    return partial(np.copyto, target, source)


def measured(names: Sequence[str], families: Sequence[str], bench: Bench) -> list[Row]:
    found = [(name, family, *prepared(name, family)) for name in names for family in families]
    sizes = sorted({size for *_, size in found})
    timings = bench.measure([*(_copy(size // 2) for size in sizes), *(run for _, _, run, _ in found)])
    copies = dict(zip(sizes, timings, strict=False))
    return [
        Row(name, family, time.median, copies[size].median / time.median)
        for (name, family, _, size), time in zip(found, timings[len(sizes) :], strict=True)
    ]


def table(rows: Sequence[Row], families: Sequence[str]) -> str:
    found = {(row.op, row.family): f"{row.us:.1f} ({row.share:.0%})" for row in rows}
    names = dict.fromkeys(row.op for row in rows)
    return document.table(["op", *families], [[name, *(found[name, family] for family in families)] for name in names])


@case(rounds=31, slice_ms=2.0, clock="cpu", docs=None)
@click.option("--op", "names", multiple=True, type=click.Choice(list(OPS)), help="Only these (repeat it).")
@click.option("--family", "families", multiple=True, help="Only these kernels (repeat it); default: all but portable.")
def elements(bench: Bench, names: tuple[str, ...], families: tuple[str, ...]) -> Found:
    chosen = families or tuple(name for name in available_kernels() if name not in (PORTABLE, "flash"))
    rows = measured(names or tuple(OPS), chosen, bench)
    lines = [[row.op, row.family, f"{row.us:.1f}", f"{row.share:.0%}"] for row in rows]
    header = ["op", "kernels", "us", "share of a copy"]
    bench.say(summary.table(header, lines, header[:2]))
    return Found({"rows": [row._asdict() for row in rows]}, {"elements": table(rows, chosen)})
