# SPDX-License-Identifier: Apache-2.0
"""From files of Keras and ONNX to counters: every neuron equals Keras with the quantized network's whole numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn._types import Array
from bnn.errors import InputError, UnsupportedOpError
from bnn.snn.convert import ORDERS, convert, spiking

tf = pytest.importorskip("tensorflow")
pytest.importorskip("larq")

from bench.quantized import keras_values  # noqa: E402
from training import _tf  # noqa: E402

IMAGES = np.random.default_rng(3).integers(0, 256, (24, 12, 12, 2))


def network() -> Any:
    """Untrained: ReLUs, batch norm, both pools, a shortcut, a ReLU with a limit, two dense layers."""
    _, keras, _ = _tf.load()
    keras.utils.set_random_seed(7)
    layers = keras.layers

    def conv(x: Any, filters: int, **options: Any) -> Any:
        x = layers.Conv2D(filters, 3, padding="same", **options)(x)
        return layers.BatchNormalization(gamma_initializer="random_normal", beta_initializer="random_normal")(x)

    image = keras.Input(shape=(12, 12, 2))
    x = layers.ReLU()(layers.MaxPooling2D(2)(conv(image, 6)))
    x = layers.ReLU(6.0)(layers.Add()([conv(x, 6), x]))
    x = layers.AveragePooling2D(2)(x)
    x = layers.MaxPooling2D(2, 1)(layers.ReLU()(conv(x, 8, groups=2)))
    x = layers.Dense(9, "relu")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(4, "softmax")(x))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: Any) -> Path:
    path = tmp_path_factory.mktemp("keras") / "net.keras"
    network().save(path)
    return Path(path)


@pytest.mark.parametrize("levels", [3, 15, 255])
def test_every_neuron_equals_keras(saved: Path, levels: int) -> None:
    conversion = convert(str(saved), IMAGES, levels=levels, scale=255)
    quantized = conversion.quantized
    expected, oracle = keras_values(quantized, IMAGES), quantized.run(IMAGES)
    for name, values in oracle.items():
        assert (values == expected[name]).all(), name
    for scheme, orders in (("take-back", ORDERS), ("staged", ORDERS[:1])):
        made = spiking(quantized, scheme)  # type: ignore[arg-type]
        model = made.build()
        for order in orders:
            for k in range(4):
                run = model.run(made.present(IMAGES[k], order), record=made.populations.values())
                for layer, name in made.populations.items():
                    sent = run.recorded[name].sum(axis=0, dtype=np.float64)
                    assert (sent.reshape(-1) == expected[layer][k].reshape(-1)).all(), (scheme, order, layer)


def agreement(a: Array, b: Array) -> float:
    return float((a == b).mean())


def test_with_many_levels_classes_stay(saved: Path) -> None:
    conversion = convert(str(saved), IMAGES, levels=255, weights_bits=12, scale=255)
    _, keras, _ = _tf.load()
    wanted = keras.models.load_model(saved)(IMAGES.astype(np.float32) / 255).numpy().argmax(axis=1)
    assert agreement(conversion.quantized.classes(IMAGES), wanted) > 0.95
    assert conversion.quantized.agreement > 0.95


@pytest.mark.slow
def test_the_command(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    pytest.importorskip("click")
    import json

    from bnn.cli import main
    from bnn.snn import load

    data, target = tmp_path / "x.npy", tmp_path / "net.snn"
    np.save(data, IMAGES.astype(np.uint8))
    given = ["snn", "convert", str(saved), "--data", str(data), "-o", str(target), "--scale", "255", "--levels", "7"]
    assert main([*given, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["steps"] == 1 and record["images"] == 24 and record["bytes"] == target.stat().st_size
    conversion = convert(str(saved), IMAGES, levels=7, scale=255)
    assert load(target).to_bytes() == conversion.build().to_bytes()
    run = ["snn", "run", str(target), "--data", str(data)]
    images = [*run, "--coding", "once", "--steps"]
    assert main([*images, "1", "--scale", "1", "--json"]) == 0
    first = capsys.readouterr().out
    assert main([*images, "1", "--json"]) == 0 and capsys.readouterr().out == first
    assert main(run) == 2
    assert "found 24 steps that add up to" in (error := capsys.readouterr().err) and "--scale 1 --coding once" in error
    assert main([*given, "--scheme", "staged"]) == 0
    steps, said = spiking(conversion.quantized, "staged").steps, capsys.readouterr().out
    assert f"needs {steps} steps" in said and f"--data IMAGES.npy --scale 1 --coding once --steps {steps}\n" in said
    assert main([*images, str(steps - 1)]) == 0 and f"(--steps {steps})" in capsys.readouterr().out
    assert main([*images, str(steps)]) == 0 and "not complete" not in capsys.readouterr().out
    np.save(data, IMAGES / np.float32(255))
    assert main(given) == 2
    assert f"{data}: found 0." in (error := capsys.readouterr().err) and "multiply by 255" in error
    for option, value in (("--scale", "0"), ("--scale", "nan"), ("--scale", "1e-50"), ("--offset", "nan")):
        assert main([*given, option, value]) == 2
        assert f"Invalid value for {option}: found {float(value)}, expected" in capsys.readouterr().err


def test_an_activation_that_is_no_relu_is_refused_by_its_layer(tmp_path: Path) -> None:
    _, keras, _ = _tf.load()
    model = keras.Sequential(
        [keras.Input(shape=(12, 12, 2)), keras.layers.Conv2D(2, 3, activation="tanh", name="curved")]
    )
    with pytest.raises(UnsupportedOpError, match="layer 'curved': found the op tanh"):
        convert(model, IMAGES)


def test_onnx_with_channels_first(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(3, 2, 3, 3)).astype(np.float32)
    dense = rng.normal(size=(3 * 5 * 5, 4)).astype(np.float32)
    h = onnx.helper
    graph = h.make_graph(
        [
            h.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3]),
            h.make_node("Relu", ["y"], ["z"]),
            h.make_node("MaxPool", ["z"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            h.make_node("Flatten", ["p"], ["f"]),
            h.make_node("MatMul", ["f", "d"], ["out"]),
        ],
        "net",
        [h.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 2, 12, 12])],
        [h.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n", 4])],
        [onnx.numpy_helper.from_array(weights, "w"), onnx.numpy_helper.from_array(dense, "d")],
    )
    path = tmp_path / "net.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)
    images = np.moveaxis(IMAGES, -1, 1)
    with pytest.raises(
        InputError, match=r"found shape \(.*, 12, 12, 2\), expected \(N, 2, 12, 12\); np.moveaxis\(x, -1, 1\)"
    ):
        convert(str(path), IMAGES, scale=255)
    conversion = convert(str(path), images, scale=255)
    model = conversion.build()
    assert model.input_shapes[next(iter(model.input_shapes))] == (2, 12, 12)
    expected = keras_values(conversion.quantized, IMAGES)[conversion.quantized.output.name]
    for k in range(4):
        assert (model.run(conversion.present(images[k])).scores == expected[k].reshape(-1)).all()
