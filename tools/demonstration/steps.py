# SPDX-License-Identifier: Apache-2.0
"""What the demo does, step by step, free of any command line: train, compile, check against Keras, time."""

from __future__ import annotations

import math
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bnn
from bench import peers
from bench.timing import measure
from bnn.importers.tensorflow.load import load_keras
from bnn.verification.synchronous import VerifyReport, verify
from training import _tf, datasets, fit

Floats = NDArray[np.float32]

BATCH = 256
"""Images of the batch that is timed."""
_KERAS_BATCH = 500
_TURNS, _SLICE_MS = 50, 1.0  # of each contestant; short, so that few are interrupted

PLANS = {"digits": ("digits", 30), "fashion-mnist": ("fashion", 3)}
"""The network for a data set and its epochs: so few that the whole demo takes less than three minutes on two cores."""


@dataclass(frozen=True)
class LayerBits:
    """What was compared at one binary layer over all test images.

    ``bits``: the layer's input bits when the compiled network runs alone. ``sums``: its integer accumulators when it
    is fed Keras' own bits. ``*_different`` count those that are not Keras'.
    """

    layer: str
    bits: int
    bits_different: int
    sums: int
    sums_different: int


@dataclass(frozen=True)
class Check:
    """The compiled network beside Keras on all test images."""

    keras: Floats
    """Keras' probabilities (N, classes)."""
    compiled: Floats
    """The compiled network's."""
    layers: tuple[LayerBits, ...]
    ok: bool
    """Not a single class, bit or sum differs."""

    @property
    def classes_different(self) -> int:
        return int(np.count_nonzero(self.keras.argmax(axis=1) != self.compiled.argmax(axis=1)))

    @property
    def compared(self) -> int:
        """Bits and sums together."""
        return sum(layer.bits + layer.sums for layer in self.layers)

    @property
    def different(self) -> int:
        return sum(layer.bits_different + layer.sums_different for layer in self.layers)


@dataclass(frozen=True)
class Latency:
    """Median seconds for `images` images. Keras may use every core, the runtime runs on one."""

    images: int
    eager: float
    function: float
    runtime: float


@dataclass(frozen=True)
class LayerTime:
    """Median seconds of a layer's ops in C for one image, of those on bits and of those on floats."""

    layer: str
    bits: float
    floats: float

    @property
    def seconds(self) -> float:
        return self.bits + self.floats


@dataclass(frozen=True)
class Sizes:
    """Bytes."""

    float32: int
    """All variables of the Keras model, as the float32 they are."""
    keras_file: int
    bnn_file: int


@dataclass(frozen=True)
class Result:
    """All that the table, the picture and the JSON show."""

    data: datasets.Dataset
    check: Check
    sizes: Sizes
    latencies: tuple[Latency, ...]
    times: tuple[LayerTime, ...]
    kernels: str

    def accuracy(self, probabilities: Floats) -> float:
        """The share of test images whose class is right, 0 to 1."""
        return float(np.mean(probabilities.argmax(axis=1) == self.data.test.labels))

    def to_json(self) -> dict[str, Any]:
        check = self.check
        return {
            "ok": check.ok,
            "dataset": self.data.name,
            "test_images": len(self.data.test),
            "accuracy": {"keras": self.accuracy(check.keras), "bnn": self.accuracy(check.compiled)},
            "classes_different": check.classes_different,
            "layers": [asdict(layer) for layer in check.layers],
            "bytes": asdict(self.sizes),
            "latencies": [asdict(latency) for latency in self.latencies],
            "times": [asdict(record) for record in self.times],
            "kernels": self.kernels,
        }


def load(path: Path, data: datasets.Dataset) -> Any:
    """The Keras model in a file.

    Raises CompileError where it cannot be read, TrainingError where it does not fit the data set.
    """
    _tf.load()
    network = load_keras(path)
    shapes = (tuple(network.input_shape[1:]), tuple(network.output_shape[1:]))
    expected = (data.input_shape, (len(data.class_names),))
    if shapes != expected:
        found, wanted = (f"{x} -> {y}" for x, y in (shapes, expected))
        raise fit.TrainingError(f"{path}: a network {found}, but {data.name} needs {wanted}")
    return network


def test_input(data: datasets.Dataset) -> Floats:
    """The test images as the network takes them."""
    return datasets.to_input(data.test.images, data.scale)


def check(model: bnn.Model, keras_file: Path, bnn_file: Path, data: datasets.Dataset, folder: Path | None) -> Check:
    """Run the compiled network on all test images, and compare it with Keras in a process of its own."""
    compiled = model.predict(test_input(data))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        keras, report = pool.submit(_ask_keras, keras_file, bnn_file, data.name, folder).result()
    layers = layer_bits(report)
    different = sum(layer.bits_different + layer.sums_different for layer in layers)
    same_classes = bool(np.array_equal(keras.argmax(axis=1), compiled.argmax(axis=1)))
    return Check(keras, compiled, layers, report.ok and same_classes and not different)


def _ask_keras(keras_file: Path, bnn_file: Path, dataset: str, folder: Path | None) -> tuple[Floats, VerifyReport]:
    """Keras' probabilities, and what ``bnn.verify`` finds; runs in a fresh process."""
    # oneDNN trains faster, but its batch norm orders the operations differently (half of all values differ in the last
    # bit from what the formula in float32 gives), and what it does depends on the processor.  Without it, Keras gives
    # the same bits everywhere.  It is chosen when TensorFlow is imported: hence a process in which it is off.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    data = datasets.load(dataset, folder)
    network = load(keras_file, data)
    x = test_input(data)
    parts = [network(x[i : i + _KERAS_BATCH], training=False).numpy() for i in range(0, len(x), _KERAS_BATCH)]
    with bnn.load(bnn_file) as model:
        return np.concatenate(parts), verify(network, model, x)


def layer_bits(report: VerifyReport) -> tuple[LayerBits, ...]:
    """One record per binary layer: its input bits end to end, its sums when fed Keras' bits."""
    bits = {c.layer.removesuffix("/input"): c for c in report.end_to_end.layers if c.kind == "bits"}
    # A convolution whose sums nothing was fused with gives them as they are: floats that are whole numbers.
    sums = {c.layer: c for c in report.layers if c.op == "bconv2d" and c.kind in ("sums", "floats")}
    return tuple(
        LayerBits(name, b.compared, b.different, s.compared, s.different)
        for name, b in bits.items()
        if (s := sums.get(name))
    )


def sizes(network: Any, keras_file: Path, bnn_file: Path) -> Sizes:
    variables = sum(int(np.prod(v.shape)) for v in network.variables)
    return Sizes(4 * variables, keras_file.stat().st_size, bnn_file.stat().st_size)


def latencies(network: Any, model: bnn.Model, x: Floats) -> tuple[Latency, ...]:
    """Time one image and a batch: Keras called eagerly, as a tf.function, and the runtime."""
    result = []
    for images in (1, min(BATCH, len(x))):
        part = np.ascontiguousarray(x[:images])
        contestants = [*peers.tensorflow(network, part), peers.compiled(model, part, 1)]
        timings = measure([contestant.run for contestant in contestants], _TURNS, _SLICE_MS, "wall")
        function, eager, runtime = (timing.median / 1e6 for timing in timings)
        result.append(Latency(images, eager, function, runtime))
    return tuple(result)


def layer_times(model: bnn.Model, x: Floats) -> tuple[LayerTime, ...]:
    """Where one image's time goes, in the order of execution."""
    sums: dict[str, dict[str, float]] = {}
    for record in model.profile(np.ascontiguousarray(x[:1]), repeats=500):
        layer = sums.setdefault(record.layer, {"binary": 0.0, "float": 0.0})
        layer[record.kind] += record.nanoseconds / 1e9
    return tuple(LayerTime(name, layer["binary"], layer["float"]) for name, layer in sums.items())


def duration(seconds: float) -> str:
    """Three digits in the unit that fits."""
    unit, scale = next(((u, s) for u, s in (("us", 1e6), ("ms", 1e3)) if seconds * s < 999.5), ("s", 1.0))
    value = seconds * scale
    digits = 2 - math.floor(math.log10(max(value, 1.0)))
    return f"{value:.{max(digits, 0)}f} {unit}"


def ratio(value: float) -> str:
    """Two digits: 1.3, 74, 1,100."""
    rounded = float(f"{value:.1e}")
    return f"{rounded:.1f}" if rounded < 10 else f"{rounded:,.0f}"
