# SPDX-License-Identifier: Apache-2.0
"""Training for spikes: the layers, how they are sharpened, and that what is exported is what was trained."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn

if not importlib.util.find_spec("larq"):
    pytest.skip("training needs TensorFlow and Larq", allow_module_level=True)
TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

from seed import half  # noqa: E402
from training import _tf, activations, datasets, networks  # noqa: E402
from training.fit import Settings, train  # noqa: E402
from training.networks import Variant  # noqa: E402

tf, keras, _ = _tf.load()
SEED = 11


def numbers(count: int = 20_000) -> Any:
    """Floats around all steps of a staircase of 1/2 to 2, printed seed."""
    print(f"seed {SEED}")
    return np.random.default_rng(SEED).normal(1, 1.5, (count, 1)).astype(np.float32)


def qcfs(levels: int, of: float) -> Any:
    layer = activations.QCFS(levels)
    layer.build((None, 1))
    layer.range.assign(of)
    return layer


@pytest.mark.parametrize("of", [0.001, 0.77, 2.0, 3.1])
@pytest.mark.parametrize("levels", [2, 3, 4, 16, 255, 256])
def test_qcfs_has_exact_levels(levels: int, of: float) -> None:
    """Every level is a multiple of a step of four significant bits, and no other value occurs."""
    layer = qcfs(levels, of)
    step = float(layer.step)
    mantissa, _ = np.frexp(step)
    assert mantissa * 16 == np.round(mantissa * 16)
    assert step == pytest.approx(of / (levels - 1), rel=1 / 16)
    x = numbers() * np.float32(of)
    y = layer(x).numpy()
    number = y.astype(np.float64) / step
    assert np.array_equal(number, np.round(number))
    assert sorted(set(number.ravel())) == list(range(levels))
    expected = np.clip(np.floor(x.astype(np.float64) / step + 0.5), 0, levels - 1)
    away = np.abs(x / step + 0.5 - np.round(x / step + 0.5)) > 1e-3  # where rounding to float32 does not matter
    assert away.mean() > 0.9
    np.testing.assert_array_equal(number[away], expected[away])


def test_the_gradients_of_qcfs_are_straight_through() -> None:
    layer = qcfs(4, 3.0)  # a step of 1
    x = tf.constant([[-0.7], [0.2], [0.8], [2.4], [2.9], [9.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    assert y.numpy().ravel().tolist() == [0, 0, 1, 2, 3, 3]
    by_x, by_range = tape.gradient(y, [x, layer.range])
    # Above the range, the value is the range itself; below, what is lost by rounding, in steps.
    assert by_x.numpy().ravel().tolist() == [0, 1, 1, 1, 1, 0]
    each = [0, -0.2, 0.2, -0.4, 0.1, 3]
    assert float(by_range) == pytest.approx(sum(each) / 3, abs=1e-6)


def test_a_range_stays_positive() -> None:
    layer = qcfs(4, 0.01)
    model = keras.Sequential([layer])
    model.compile(keras.optimizers.SGD(1e3), "mse")
    model.fit(np.full((64, 1), 5, np.float32), np.zeros((64, 1)), verbose=0)  # pulls the range down
    assert 0 < float(layer.range) < 0.01


@pytest.mark.parametrize("sharpness", [0.0, 0.5, 0.9])
def test_a_bounded_relu_steepens_around_one_half(sharpness: float) -> None:
    layer = activations.SpikingBReLU()
    layer.build((None, 1))
    layer.sharpness.assign(sharpness)
    x = numbers()
    np.testing.assert_allclose(
        layer(x, training=True).numpy(), np.clip((x - 0.5) / (1 - sharpness) + 0.5, 0, 1), rtol=0, atol=1e-5
    )
    np.testing.assert_array_equal(layer(x).numpy(), x >= 0.5)


def test_a_sharp_bounded_relu_is_a_step_without_gradient() -> None:
    layer = activations.SpikingBReLU()
    layer.build((None, 1))
    layer.sharpness.assign(1)
    x = tf.constant(numbers())
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    np.testing.assert_array_equal(y.numpy(), x.numpy() >= 0.5)
    assert not tape.gradient(y, x).numpy().any()


def test_layers_are_sharpened_from_the_input_on() -> None:
    model = networks.build("digits", (8, 8, 1), 10, variant=Variant("whetstone"))
    model.compile("adam", "sparse_categorical_crossentropy")
    seen: list[list[float]] = []
    layers = [layer for layer in model.layers if isinstance(layer, activations.SpikingBReLU)]
    assert [layer.name for layer in layers] == ["conv2_input", "conv3_input", "logits_input"]
    record = keras.callbacks.LambdaCallback(
        on_batch_end=lambda batch, logs: seen.append([float(layer.sharpness) for layer in layers])
    )
    images = np.random.default_rng(SEED).random((100, 8, 8, 1), np.float32)
    model.fit(images, np.arange(100) % 10, 2, 1, 0, callbacks=[activations.Sharpener(50), record])
    steps = np.array(seen)
    assert steps.shape == (50, 3)
    assert (np.diff(steps, axis=0) >= 0).all() and (np.diff(steps, axis=1) <= 0).all()
    assert not steps[:10].any() and (steps[46:] == 1).all()
    one_at_a_time = ((steps > 0) & (steps < 1)).sum(axis=1)
    assert one_at_a_time.max() == 1 and len(np.unique(steps)) > 20


VARIANTS = {
    "4": Variant("qcfs", 4),
    "5": Variant("qcfs", 5, "float"),
    "256": Variant("qcfs", 256),
    "whetstone": Variant("whetstone"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", half(VARIANTS))
def test_a_run(name: str, tmp_path: Path) -> None:
    """What is exported is what was tested; it has the levels that it should have, compiles, and is verified."""
    variant = VARIANTS[name]
    settings = Settings(
        "digits", "digits", tmp_path, epochs=5,
        activation=variant.activation, levels=variant.levels, weights=variant.weights,
    )  # fmt: skip
    result = train(settings)
    assert result.test_accuracy > 0.9
    data = datasets.load("digits")
    images = datasets.to_input(data.test.images, data.scale)
    for file in ("model.keras", "model.h5"):
        model = keras.models.load_model(tmp_path / file)
        found = np.mean(model.predict(images, verbose=0).argmax(1) == data.test.labels)
        assert found == pytest.approx(result.test_accuracy, abs=1e-7)
    levels = variant.levels or 2
    inputs = [node.input for node in model.layers if node.name in ("conv2", "conv3", "logits")]
    for values in keras.Model(model.input, inputs).predict(images, verbose=0):
        step = np.diff(np.unique(values)).min()
        assert len(np.unique(values)) <= levels and np.array_equal(values / step, np.round(values / step))
    compiled = bnn.compile(tmp_path / "model.keras")
    expected = "float" if variant.weights == "float" else "binary" if levels == 2 else "multi-bit"
    lines = [line.split() for line in compiled.summary().splitlines() if "conv2d " in line]
    kinds = {layer: kind for layer, _, kind, *_ in lines}
    assert kinds == {"conv1": "float", "conv2": expected, "conv3": expected, "logits": expected}
    assert bnn.verify(tmp_path / "model.keras", compiled, images[:64]).ok


def test_what_is_exported_is_exactly_what_was_trained() -> None:
    """The layer and its staircase, on all floats near a step."""
    x = keras.Input((1,))
    for levels, of in ((2, 1.0), (4, 2.7), (16, 0.3), (256, 5.0)):
        layer = qcfs(levels, of)
        model = keras.Model(x, activations.staircase(x, layer, "y"))
        steps = (np.arange(levels) + 0.5).astype(np.float32) * layer.step.numpy()
        near = steps + np.arange(-40, 40)[:, None].astype(np.float32) * np.spacing(steps)
        values = np.concatenate([near.ravel(), numbers().ravel()]).astype(np.float32)[:, None]
        np.testing.assert_array_equal(model(values).numpy(), layer(values).numpy())
    brelu = activations.SpikingBReLU()
    brelu.build((None, 1))
    model = keras.Model(x, activations.staircase(x, brelu, "y"))
    np.testing.assert_array_equal(model(values).numpy(), brelu(values).numpy())
