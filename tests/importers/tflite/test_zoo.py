# SPDX-License-Identifier: Apache-2.0
"""Networks of larq_zoo, converted by Larq Compute Engine, against its interpreter: as a whole and operator by operator.

Runs where larq-compute-engine and larq-zoo are installed: their other dependencies are old, so
pip install --no-deps larq-compute-engine larq-zoo zookeeper, and then tensorflow-datasets, typeguard and tqdm.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.importers import open_source
from bnn.importers.tflite.evaluate import evaluated
from bnn.importers.tflite.larq import unpacked
from bnn.importers.tflite.model import TfliteModel
from bnn.importers.tflite.step import Step

from .build import in_larq

pytestmark = pytest.mark.slow
IMAGES = 4
# Networks, and how many of their layers are binary.
NETWORKS = {
    "BiRealNet": 16, "BinaryAlexNet": 7, "BinaryDenseNet28": 23, "MeliusNet22": 34, "QuickNet": 16,
    "RealToBinaryNet": 16,
}  # fmt: skip
# Operators whose results are not rounded, or rounded once for each of their operations in one order.
EXACT = {"ADD", "CONCATENATION", "LceBconv2d", "LceQuantize", "MAX_POOL_2D", "MUL", "PAD", "PRELU", "RESHAPE", "SPLIT"}


def converted(name: str, rng: np.random.Generator) -> bytes:
    """A network with random weights and statistics."""
    lce = pytest.importorskip("larq_compute_engine", reason="needs larq-compute-engine: pip install --no-deps")
    zoo = pytest.importorskip("larq_zoo", reason="needs larq-zoo: pip install --no-deps")
    import tensorflow as tf

    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(int(rng.integers(2**31)))
    model = getattr(zoo.sota, name, None) or getattr(zoo.literature, name)
    model = model(weights=None)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.set_weights([_statistics(rng, v.name, tuple(v.shape)) for v in layer.weights])
    return bytes(lce.convert_keras_model(model))


def _statistics(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
    if "variance" in name:
        return rng.uniform(0.5, 2, shape)
    if "gamma" in name:
        return rng.choice([-1, 1], shape) * rng.uniform(0.5, 1.5, shape)
    return rng.normal(0, 1 if "mean" in name else 0.5, shape)


def with_outputs(data: bytes, numbers: list[int]) -> bytes:
    """The same network with other tensors as its outputs."""
    from larq_compute_engine.mlir.python import tflite_schema as schema

    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    model.subgraphs[0].outputs, model.signatureDefs = numbers, None
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.tflite"
    path.write_bytes(converted(name, rng))
    model = bnn.compile(path)
    assert sum(op.op == "bconv2d" for op in model.ops) == NETWORKS[name]
    images = rng.uniform(-1, 1, (IMAGES, *model.input_shapes[0])).astype(np.float32)
    source = open_source(path)
    assert isinstance(source, TfliteModel)
    theirs = _every_tensor(source, path.read_bytes(), images)
    _operators(source, theirs)
    same = _bits(model, source, theirs, images)
    assert bnn.verify(path, model, images[:1]).ok
    (expected,) = in_larq(path.read_bytes(), [images])
    assert np.array_equal(expected, theirs[source.network.outputs[0]])
    found, expected = model(images)[same], expected[same]
    difference = np.abs(found - expected).max(initial=0)
    print(f"{name}: {len(found)} of {IMAGES} images have equal bits; largest difference of outputs {difference:.3g}")
    assert np.array_equal(found.argmax(axis=1), expected.argmax(axis=1)) and difference < 3e-4


def _every_tensor(source: TfliteModel, data: bytes, images: Array) -> Mapping[int, Array]:
    """The tensors that depend on the data, computed by Larq Compute Engine; bits unpacked."""
    network = source.network
    numbers = [i for operator in source.dependent() for i in operator.outputs]
    found = {
        network.inputs[0]: images,
        **dict(zip(numbers, in_larq(with_outputs(data, numbers), [images]), strict=True)),
    }
    for operator in source.dependent():
        number = operator.outputs[0]
        if found[number].dtype == np.int32:
            channels = network.tensors[operator.inputs[0] or 0].shape[-1]
            if operator.op == "LceBconv2d":
                channels = len(source.constants[operator.inputs[1] or 0])
            found[number] = unpacked(found[number], channels)
    return found


def _operators(source: TfliteModel, theirs: Mapping[int, Array]) -> None:
    """Each operator on Larq's own operands.  Larq corrects rounded sums for padding with zeros, so it rounds twice more
    near the borders of such images."""
    for operator in source.dependent():
        step = Step(source.network, operator, source.constants)
        numbers = [i for i in operator.inputs if i is not None]
        operands = [source.constants[i] if i in source.constants else theirs[i] for i in numbers]
        results = evaluated(step, operands, IMAGES)
        for number, ours in zip(operator.outputs, results, strict=True):
            expected, what = theirs[number], f"{operator.op} {source.network.tensors[number].name}"
            if operator.op == "LceBconv2d" and not step.option("pad_values"):
                inside = (slice(None), *np.ix_(*_inside(step)))
                assert np.array_equal(ours[inside], expected[inside]), what
            elif operator.op in EXACT:
                assert np.array_equal(ours, expected), what
            assert np.abs(ours - expected).max() <= 2e-5 * np.abs(expected).max(), what


def _bits(model: bnn.Model, source: TfliteModel, theirs: Mapping[int, Array], images: Array) -> Array:
    """The images in which the compiled network's bits equal Larq's; in others the first that differ are within
    rounding of their threshold."""
    makers = {source.network.tensors[o.outputs[0]].name: o for o in source.dependent() if o.op == "LceQuantize"}
    stepper, same = model.stepper(len(images)), np.ones(len(images), bool)
    stepper.poke(next(t.index for t in model.tensors if t.storage == "input"), images)
    seen = set()
    for op in model.ops:
        bits, name = stepper.step(op.index, len(images)), model.tensors[op.output].origin
        if name not in makers or model.tensors[op.output].dtype != "b1":
            continue
        seen.add(name)
        x, expected = theirs[makers[name].inputs[0] or 0], theirs[makers[name].outputs[0]]
        different = bits.reshape(expected.shape) != expected
        assert np.abs(x[same][different[same]]).max(initial=0) < 1e-5 * x.std(), name
        same &= ~different.reshape(len(images), -1).any(axis=1)
    assert len(seen) > len(makers) / 2  # the others are pooled before they become bits
    return same


def _inside(step: Step) -> list[Array]:
    """The rows and columns of the result whose filters lie inside the image."""
    _, height, width, _ = step.input(1).shape
    w = step.window((height, width))
    found = []
    for axis, before in enumerate(w.pads[:2]):
        first = np.arange(step.output().shape[1 + axis]) * w.stride[axis] - before
        last = first + (w.kernel[axis] - 1) * w.dilation[axis]
        found.append(np.flatnonzero((first >= 0) & (last < step.input(0).shape[1 + axis])))
    return found
