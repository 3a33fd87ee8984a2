# SPDX-License-Identifier: Apache-2.0
"""Time layers of bytes by int8 weights against the machine's rate, ONNX Runtime and OpenVINO.

    pip install onnx onnxruntime openvino
    python tools/benchmark.py int8

ResNet-50's 3x3 and 1x1 convolutions, as chains of four, so that calls cost little: all engines get one ONNX model with
uint8 inputs and outputs, QuantizeLinear and DequantizeLinear around each layer, and weights per channel, and have one
thread.  bnn's is calibrated with integers only, and takes images with channels last; its outputs are float32.  Before
anything is timed, outputs are compared: a sum near the middle of two bytes may be rounded to either, and change later
layers a little.  The rate is that of a loop of products of bytes that never leaves the registers, of the same run.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

import bnn
from bench import document, limits
from bench.document import multiple, number
from bench.runner import Bench, Found, case
from bnn.file.read import decode
from bnn.file.write import encode
from bnn.runtime import Model, summary

Bytes = NDArray[np.uint8]

_IMAGES = 8  # to calibrate with
_PEAK_ROUNDS = 100_000
_ZERO = 128  # of all data
_MOST_APART = 0.5  # steps, on average: a wrong chain is tens of steps away
HEADER = ["layers", "bnn, us", "share of the rate", "ONNX Runtime, us", "times bnn's", "OpenVINO, us", "times bnn's"]


class Chain(NamedTuple):
    """Four convolutions: from and to ``channels``, and ``between`` as many in between them."""

    name: str
    side: int
    kernel: int
    channels: int
    between: int

    @property
    def widths(self) -> tuple[int, ...]:
        return self.channels, self.between, self.channels, self.between, self.channels

    @property
    def products(self) -> int:
        pairs = sum(a * b for a, b in zip(self.widths, self.widths[1:], strict=False))
        return self.side**2 * self.kernel**2 * pairs


CHAINS = tuple(
    Chain(f"{side}x{side} {kernel}x{kernel}, {channels} and {between}", side, kernel, channels, between)
    for side, channels in ((56, 64), (28, 128), (14, 256), (7, 512))
    for kernel, between in ((3, channels), (1, 4 * channels))
)


def onnx_chain(chain: Chain, rng: np.random.Generator) -> bytes:
    """The chain as ONNX has quantized layers, (1, C, H, W); scales keep data spread over the bytes."""
    from onnx import TensorProto, helper, numpy_helper

    constants: dict[str, Any] = {"zero": np.uint8(_ZERO), "one": np.float32(1)}
    nodes = [helper.make_node("DequantizeLinear", ["x", "one", "zero"], ["x0"])]
    for i, (inputs, filters) in enumerate(zip(chain.widths, chain.widths[1:], strict=False)):
        shape = (filters, inputs, chain.kernel, chain.kernel)
        # Data have a deviation of about 74 steps: so have sums divided by the root of their length, by these weights.
        scales = rng.uniform(0.5, 1.5, filters) / 74 / np.sqrt(np.prod(shape[1:]))
        constants |= {
            f"w{i}": rng.integers(-127, 128, shape).astype(np.int8), f"s{i}": scales.astype(np.float32),
            f"z{i}": np.zeros(filters, np.int8),
        }  # fmt: skip
        data = "y" if i == len(chain.widths) - 2 else f"b{i}"
        nodes += [
            helper.make_node("DequantizeLinear", [f"w{i}", f"s{i}", f"z{i}"], [f"v{i}"], axis=0),
            helper.make_node("Conv", [f"x{i}", f"v{i}"], [f"c{i}"], pads=[chain.kernel // 2] * 4),
            helper.make_node("QuantizeLinear", [f"c{i}", "one", "zero"], [data]),
        ]
        if data != "y":
            nodes.append(helper.make_node("DequantizeLinear", [data, "one", "zero"], [f"x{i + 1}"]))
    shape = (1, chain.channels, chain.side, chain.side)
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in "xy"]
    graph = helper.make_graph(
        nodes, "chain", ends[:1], ends[1:], [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(made.SerializeToString())


def ours(path: Path, images: Bytes) -> Model:
    """Calibrated, with channels last: a call does not move them."""
    made = bnn.calibrate(bnn.compile(str(path)), images, integer_only=True).model
    return Model.from_bytes(encode(dataclasses.replace(decode(made.to_bytes()), channels_first=False)))


def onnx_runtime(path: Path, image: Bytes) -> Callable[[], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": image})[0]


def openvino(path: Path, image: Bytes) -> Callable[[], Any]:
    import openvino as ov

    hints = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    core = ov.Core()
    request = core.compile_model(core.read_model(str(path)), "CPU", hints).create_infer_request()
    return lambda: next(iter(request.infer({0: image}, share_inputs=True).values()))


def measured(bench: Bench, chain: Chain, peaks: Sequence[limits.Peak], folder: Path) -> dict[str, Any]:
    """A chain: microseconds of each engine, per chain, and bnn's share of the rate."""
    rng = np.random.default_rng([bench.seed, chain.side, chain.kernel])
    path = folder / "chain.onnx"
    path.write_bytes(onnx_chain(chain, rng))
    images = rng.integers(0, 256, (_IMAGES, chain.channels, chain.side, chain.side)).astype(np.uint8)
    model, last = ours(path, images), np.ascontiguousarray(np.moveaxis(images[:1], 1, 3))
    peers = {"onnx_runtime_us": onnx_runtime(path, images[:1]), "openvino_us": openvino(path, images[:1])}
    runs: dict[str, Callable[[], object]] = {"us": partial(model, last), **peers}
    found = {name: run() for name, run in peers.items()}
    expected = np.moveaxis(model(last), 3, 1)
    for name, y in found.items():
        if (apart := np.abs(y - expected).mean()) > _MOST_APART:
            raise click.ClickException(f"{chain.name}, {name}: {apart:.1f} steps from bnn's, on average")
    timings = bench.measure([*runs.values(), *(partial(peak.run, _PEAK_ROUNDS) for peak in peaks)])
    times = dict(zip(runs, timings, strict=False))
    rates = [p.run(_PEAK_ROUNDS) / t.median for p, t in zip(peaks, timings[len(runs) :], strict=True)]
    share = chain.products / times["us"].median / max(rates) if rates else 0.0
    return {"layers": chain.name, **times, "share": share, "rate": max(rates, default=0.0) / 1e3}


def cells(row: dict[str, Any]) -> list[str]:
    us = row["us"].median
    peers = [row[name].median for name in ("onnx_runtime_us", "openvino_us")]
    share = f"{row['share']:.0%}" if row["share"] else ""
    return [row["layers"], number(us), share, *(text for t in peers for text in (number(t), multiple(t / us)))]


@case(rounds=31, slice_ms=10.0, clock="cpu", seed=0, cc="cc", docs=None)
def int8(bench: Bench) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        peaks = [peak for peak in limits.load(Path(folder), bench.cc) if peak.kind == "u8"]
        try:
            rows = [measured(bench, chain, peaks, Path(folder)) for chain in CHAINS]
        except ImportError as error:
            raise click.ClickException(f"{error}; run: pip install onnx onnxruntime openvino") from None
    lines = [cells(row) for row in rows]
    bench.say(summary.table(HEADER, lines, HEADER[:1]))
    return Found({"rows": rows}, {"int8": document.table(HEADER, lines)})
