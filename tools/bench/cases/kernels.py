# SPDX-License-Identifier: Apache-2.0
"""Time every kernel family against the machine's register-loop rates.

They are measured in the same run, by loops that never leave the registers: xor + popcount + add for binary products,
FMA for float ones, dot products for those of bytes; and so is the rate at which memory is read.  The convolutions are
compiled and run as those of a network are (SAME, one image, one thread): ResNet's 3x3 layers, with packed bits
(thresholds) and with float32 (batch norm) as output; the same with strides, dilation, groups, channels that fill no
block and other kernel sizes; float layers; first layers of images, of floats and of bytes.
Shares are of nominal products, with those of the padding.  All measurements take turns; medians of processor time are
shown, with half the distance of the quartiles.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from bench import document, limits
from bench.document import KernelRow as Row
from bench.layers import sign
from bench.plots import rooflines
from bench.runner import Bench, Found, case
from bnn._distribution import install
from bnn._native import lib
from bnn.file.write import encode
from bnn.ir.graph import DType, Graph
from bnn.ir.ops import ConvAttrs, constant, input_node, make
from bnn.passes import lower
from bnn.runtime import Model, available_kernels, summary
from bnn.runtime.handles import PORTABLE
from bnn.runtime.stepper import Stepper

HEADLINE = ("56x56x64 3x3", "28x28x128 3x3", "14x14x256 3x3", "7x7x512 3x3")
_DATA = {"bconv2d": "bits", "conv2d": "f32", "iconv2d": "u8"}  # of each convolution
_ROUNDS = {"bits": 10_000, "f32": 10_000, "u8": 10_000, "bytes": 1}  # of a rate's loop in one call


class Layer(NamedTuple):
    """A convolution of ``data`` ("bits", "f32", or "u8") and the outputs it is measured with; ``weights``: what those
    of bits and bytes are drawn from."""

    name: str
    data: str
    side: int
    channels: int
    filters: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    outputs: tuple[str, ...] = ("bits", "f32")
    weights: tuple[float, ...] = (-1.0, 1.0)


_BITS, _FLOATS = ("bits",), ("f32",)

# ResNet's layers; then what else a convolution can be, around one of them; then floats; then first layers of images.
LAYERS = (
    Layer("56x56x64 3x3", "bits", 56, 64, 64, 3),
    Layer("28x28x128 3x3", "bits", 28, 128, 128, 3),
    Layer("14x14x256 3x3", "bits", 14, 256, 256, 3),
    Layer("7x7x512 3x3", "bits", 7, 512, 512, 3),
    Layer("28x28x128 3x3/2", "bits", 28, 128, 128, 3, stride=2, outputs=_BITS),
    Layer("28x28x128 3x3 dilated", "bits", 28, 128, 128, 3, dilation=2, outputs=_BITS),
    Layer("28x28x128 3x3 2 groups", "bits", 28, 128, 128, 3, groups=2, outputs=_BITS),
    Layer("28x28x128 3x3 4 groups", "bits", 28, 128, 128, 3, groups=4, outputs=_BITS),
    Layer("28x28x100 3x3", "bits", 28, 100, 100, 3),
    Layer("29x29x128 3x3", "bits", 29, 128, 128, 3, outputs=_BITS),
    Layer("28x28x128 1x1", "bits", 28, 128, 128, 1, outputs=_BITS),
    Layer("28x28x128 5x5", "bits", 28, 128, 128, 5, outputs=_BITS),
    Layer("28x28x128 7x7", "bits", 28, 128, 128, 7, outputs=_BITS),
    Layer("1x1x4096 dense", "bits", 1, 4096, 1024, 1, outputs=_BITS),
    Layer("224x224x3 3x3/2 f32", "f32", 224, 3, 32, 3, stride=2, outputs=_FLOATS),
    Layer("56x56x64 3x3/2 f32", "f32", 56, 64, 128, 3, stride=2, outputs=_FLOATS),
    Layer("28x28x128 1x1 f32", "f32", 28, 128, 256, 1, outputs=_FLOATS),
    Layer("14x14x256 1x1 f32", "f32", 14, 256, 512, 1, outputs=_FLOATS),
    Layer("28x28x128 3x3 dw f32", "f32", 28, 128, 128, 3, groups=128, outputs=_FLOATS),
    Layer("28x28x1 3x3 f32", "f32", 28, 1, 32, 3),
    Layer("28x28x1 3x3 u8", "u8", 28, 1, 32, 3),
    Layer("32x32x3 3x3 f32", "f32", 32, 3, 64, 3),
    Layer("32x32x3 3x3 u8", "u8", 32, 3, 64, 3),
    Layer("224x224x3 7x7/2 f32", "f32", 224, 3, 64, 7, stride=2),
    Layer("224x224x3 7x7/2 u8", "u8", 224, 3, 64, 7, stride=2),
    Layer("1x1x4096 dense u8", "u8", 1, 4096, 4096, 1, outputs=_FLOATS),
    Layer("1x1x4096 dense u8 ternary", "u8", 1, 4096, 4096, 1, outputs=_FLOATS, weights=(-1.0, 0.0, 1.0)),
)


def network(layer: Layer, output: str, rng: np.random.Generator) -> bytes:
    """The .bnn file of a layer with random weights, padded with zeros, a batch norm behind it, and a sign for bits."""
    image = input_node("image", (layer.side, layer.side, layer.channels), DType.u8 if layer.data == "u8" else DType.f32)
    x = image
    if layer.data == "bits":
        x = sign(x)
    elif layer.data == "u8":
        x = make("sub", make("cast", x), constant(128.0))
    shape = (layer.filters, layer.kernel, layer.kernel, layer.channels // layer.groups)
    weights = rng.normal(size=shape) if layer.data == "f32" else rng.choice(layer.weights, shape)
    stride, dilation, pad = layer.stride, layer.dilation, layer.kernel // 2 * layer.dilation
    attrs = ConvAttrs((stride, stride), (dilation, dilation), (pad, pad, pad, pad), groups=layer.groups)
    y = make("conv2d", x, constant(weights), attrs=attrs)
    for op in ("mul", "add"):
        y = make(op, y, constant(rng.normal(size=layer.filters)))
    if output == "bits":
        y = sign(y)
    return encode(lower(Graph((image,), (y,))))


def layers(families: Sequence[str]) -> Iterator[tuple[Row, Callable[[], object]]]:
    """Every layer by every family: its row without times, and a call that runs the convolution on random values."""
    rng = np.random.default_rng(0)
    files = [(layer, output, network(layer, output, rng)) for layer in LAYERS for output in layer.outputs]
    for family, (layer, output, file) in itertools.product(families, files):
        model = Model.from_bytes(file, kernels=family)
        (op,) = (op for op in model.ops if op.op in _DATA)
        data, result = model.tensors[op.inputs[0]], model.tensors[op.output]
        stepper = model.stepper(1)
        values = rng.integers(0, 256, (1, *data.shape)).astype(np.float32)
        stepper.poke(data.index, values if layer.data == "u8" else values / 128 - 1)
        products = op.binary_macs + op.byte_macs + op.float_macs
        moved = data.bytes + op.weight_bytes + result.bytes
        yield Row(op.op, family, layer.name, output, products, moved), partial(_step, stepper, op.index)


def _step(stepper: Stepper, op: int) -> None:
    """The op alone, without looking at its output as ``Stepper.step`` does."""
    lib.bnn_step(stepper._context.pointer, op, 1)


def rates(peaks: Sequence[limits.Peak]) -> Iterator[tuple[Row, Callable[[], object]]]:
    """The loops of the rates, in the same form."""
    for peak in peaks:
        run = partial(peak.run, _ROUNDS[peak.kind])
        yield Row("rate", peak.name, "", peak.kind, run(), 0), run


def measured(found: Sequence[tuple[Row, Callable[[], object]]], bench: Bench) -> list[Row]:
    """The rows with their times and shares; a share stays 0 where this machine has no measured rate."""
    timings = bench.measure([run for _, run in found])
    rows = [
        replace(row, ns=time.median * 1e3, spread=time.spread * time.median * 1e3)
        for (row, _), time in zip(found, timings, strict=True)
    ]
    highest = rates_of(rows)
    return [replace(row, share=row.rate / highest.get(_DATA.get(row.kind, row.output), math.inf)) for row in rows]


def rates_of(rows: Sequence[Row]) -> dict[str, float]:
    """The highest register-loop rates, in 10^9 a second; what this machine cannot measure is missing."""
    rates: dict[str, float] = {}
    for row in rows:
        if row.kind == "rate":
            rates[row.output] = max(rates.get(row.output, 0.0), row.rate)
    return rates


def table(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        rate = row.kind == "rate"
        times = ("", "") if rate else (f"{row.ns / 1000:.1f}", f"{row.spread / row.ns:.1%}")
        unit = "GB/s" if row.output == "bytes" else ""
        names = ("rate", row.family, unit) if rate else (row.family, row.shape, row.output)
        lines.append([*names, *times, f"{row.rate:.1f}", f"{row.share:.1%}" if row.share else ""])
    header = ["kernels", "layer", "output", "us", "+-", "GMAC/s", "share"]
    return summary.table(header, lines, header[:3])


@case(rounds=31, slice_ms=2.0, clock="cpu", cc="cc", docs=None)
@click.option("--family", "families", multiple=True, help="Only these kernels (repeat it); default: all but portable.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the rooflines as a PNG here.")
def kernels(bench: Bench, families: tuple[str, ...], plot: Path | None) -> Found:
    missing = [name for name in families if name not in available_kernels()]
    if missing:
        raise click.ClickException(f"no such kernels, or this processor cannot run them: {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as folder:
        loops = rates(limits.load(Path(folder), bench.cc))
    rows = measured([*loops, *layers(families or [name for name in available_kernels() if name != PORTABLE])], bench)
    if plot is not None:
        try:
            rooflines(rows, rates_of(rows), plot)
        except ImportError as error:
            raise click.ClickException(f"--plot: {error}; {install('tools')}") from None
    blocks = {"rates": "```text\n" + table([row for row in rows if row.kind == "rate"]) + "\n```"}
    blocks |= {"kernels": document.kernels(rows, HEADLINE), "others": document.other_layers(rows, HEADLINE)}
    bench.say(table(rows))
    return Found({"rows": rows}, blocks)
