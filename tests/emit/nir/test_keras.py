# SPDX-License-Identifier: Apache-2.0
"""From Keras and Larq models to spikes: every promised geometry, by the proof, in the engine, in an importer."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn._distribution import install
from bnn._types import Array
from seed import some

pytest.importorskip("tensorflow", reason=f"TensorFlow is not installed: {install('tensorflow')}")
import larq as lq
import tensorflow as tf

import bnn
from bnn.emit.nir.proof import prove
from bnn.emit.nir.write import layers_for
from bnn.events import EventEngine
from bnn.file.read import decode
from bnn.ir.graph import DType
from bnn.snn.simulators import IMPORTERS
from bnn.verification.nir import verify_nir

layers = tf.keras.layers

SIGNS = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign"}
GEOMETRIES: dict[str, dict[str, Any]] = {
    "zero padding": {"padding": "same"},
    "one padding": {"padding": "same", "pad_values": 1.0},
    "minus one padding": {"padding": "same", "pad_values": -1.0},
    "no padding": {},
    "stride": {"padding": "same", "strides": 2},
    "dilation": {"padding": "same", "dilation_rate": 2},
    "groups": {"padding": "same", "groups": 2},
    "groups of one-padding": {"padding": "same", "groups": 4, "pad_values": 1.0, "strides": 2},
    "groups of whole words": {"padding": "same", "groups": 2, "filters": 64},
    "ternary weights": {"padding": "same", "kernel_quantizer": "ste_tern"},
    "weights of two bits": {"padding": "same", "kernel_quantizer": lq.quantizers.DoReFa(2, mode="weights")},
    "two bits by weights of two bits": {
        "padding": "same", "input_quantizer": lq.quantizers.DoReFa(2), "groups": 2,
        "kernel_quantizer": lq.quantizers.DoReFa(2, mode="weights"),
    },
    "three levels": {"padding": "same", "input_quantizer": lq.quantizers.SteTern()},
    "two bits": {"padding": "same", "input_quantizer": lq.quantizers.DoReFa(2)},
    "two bits in groups": {"padding": "same", "input_quantizer": lq.quantizers.DoReFa(2), "groups": 2},
    "two bits in groups of whole words": {
        "padding": "same", "input_quantizer": lq.quantizers.DoReFa(2), "groups": 2, "filters": 64,
        "kernel_quantizer": "ste_tern",
    },
    "three levels in groups": {"padding": "same", "input_quantizer": lq.quantizers.SteTern(), "groups": 2},
}  # fmt: skip


def keras_model(rng: np.random.Generator, geometry: dict[str, Any], between: str) -> Any:
    """A float layer, one of 8 filters (or as many as given), the one that is tested, a dense one."""
    options = {**SIGNS, "use_bias": False, **geometry}
    filters = options.pop("filters", 8)
    stack = [
        layers.Input((8, 8, 2)),
        lq.layers.QuantConv2D(filters, 3, padding="same", kernel_quantizer="ste_sign", name="first"),
        layers.BatchNormalization(),
        lq.layers.QuantConv2D(filters, 3, name="tested", **options),
        *([layers.MaxPooling2D(2)] if between == "pool" else []),
        *([layers.ReLU()] if between == "relu" else []),
        layers.BatchNormalization(),
        lq.layers.QuantConv2D(6, 2, name="last", **{**options, "groups": 1, "padding": "valid", "strides": 1}),
        layers.BatchNormalization(),
        layers.Flatten(),
        lq.layers.QuantDense(5, use_bias=False, name="dense", **SIGNS),
    ]
    model = tf.keras.Sequential(stack)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if "variance" in weight.name:
            value: Array = rng.uniform(1, 30, shape)
        elif "gamma" in weight.name:
            value = rng.choice([-1.5, 0.0, 0.75, 1.25], shape, p=[0.3, 0.1, 0.3, 0.3])
        else:
            value = rng.normal(0, 0.7, shape)
        weight.assign(value.astype(np.float32))
    return model


@pytest.mark.drawn
@pytest.mark.parametrize(("geometry", "between"), some([*itertools.product(GEOMETRIES, ["", "pool", "relu"])]))
def test_keras_models_become_spikes(rng: np.random.Generator, geometry: str, between: str, tmp_path: Path) -> None:
    model = bnn.compile(keras_model(rng, GEOMETRIES[geometry], between))
    graph = decode(model.to_bytes())
    x = (rng.integers(-16, 17, (6, 8, 8, 2)) / 16).astype(np.float32)
    if "bits" not in geometry and "levels" not in geometry:  # thresholds, and bits side by side
        for node in graph.schedule:
            assert node.op != "concat" or node.type.dtype is DType.b1
            assert node.op != "bconv2d" or node.name == "dense" or node.type.dtype is DType.b1, node.name
    for profile in ("lif", "flat") if "words" not in geometry else ("lif",):
        prove(layers_for(graph, profile), [x])
    engine = EventEngine(model)
    for image, expected in zip(x, model(x), strict=True):
        assert np.array_equal(engine.step(image[None]), expected)
    if importlib.util.find_spec("nir") is None or importlib.util.find_spec("torch") is None:
        return  # the proof has compared every spike already
    bnn.emit_nir(model, tmp_path / "net.nir", profile="lif")
    importer = next((i.name for i in IMPORTERS.values() if i.version() is not None and "lif" in i.profiles), None)
    if importer is not None:
        report = verify_nir(tmp_path / "net.nir", model, x, importer)
        assert report.ok, str(report)
