# SPDX-License-Identifier: Apache-2.0
"""Training: what is exported, how a broken-off run goes on, what the user is told."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Limit

if not importlib.util.find_spec("larq"):
    pytest.skip("training needs TensorFlow and Larq", allow_module_level=True)
TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

import bnn  # noqa: E402
import train as cli  # noqa: E402
from training import _tf, datasets, fit, networks  # noqa: E402
from training.fit import Epoch, Settings, train  # noqa: E402
from training.workers import Workers  # noqa: E402

FLOAT32 = 1e-7  # Keras counts accuracies in float32; one image more would be 3e-3


def settings(out: Path, **changes: Any) -> Settings:
    return Settings(**{"dataset": "digits", "network": "digits", "out": out, "epochs": 4, **changes})


class BreakOff(fit.Progress):
    """Presses Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def batch(self, epoch: int, share: float, loss: float, accuracy: float) -> None:
        if epoch == self._epoch and share > 0.5:
            raise KeyboardInterrupt


class Recorder(fit.Progress):
    def __init__(self) -> None:
        self.before = -1
        self.epochs: list[int] = []

    def started(self, settings: Settings, parameters: int, done: int) -> None:
        self.before = done

    def epoch(self, epoch: Epoch, best_epoch: int) -> None:
        self.epochs.append(epoch.epoch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> fit.TrainResult:
    """Four uninterrupted epochs on the digits."""
    return train(settings(tmp_path_factory.mktemp("whole")))


def load_model(path: Path) -> Any:
    _, keras, _ = _tf.load()
    return keras.models.load_model(path)


def accuracy(model: Any, split: datasets.Split, scale: int = 16) -> float:
    probabilities = model.predict(split.images.astype(np.float32) / scale, verbose=0)
    return float(np.mean(np.argmax(probabilities, axis=1) == split.labels))


def without_seconds(history: Any) -> list[dict[str, Any]]:
    return [{**dataclasses.asdict(epoch), "seconds": 0} for epoch in history]


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command line, expect exit code 2 and one line on stderr; return the line."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("train: error: ")
    return captured.err


# What a run leaves behind


@pytest.mark.slow
def test_learns_the_digits(whole: fit.TrainResult) -> None:
    assert [epoch.epoch for epoch in whole.history] == [1, 2, 3, 4]
    assert whole.test_accuracy > 0.9
    assert whole.history[-1].loss < whole.history[0].loss
    assert not whole.stopped_early


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_exports_are_the_tested_model(whole: fit.TrainResult, name: str) -> None:
    data = datasets.load("digits")
    model = load_model(whole.settings.out / name)
    assert accuracy(model, data.test) == pytest.approx(whole.test_accuracy, abs=FLOAT32)
    assert accuracy(model, data.validation) == pytest.approx(whole.validation_accuracy, abs=FLOAT32)


@pytest.mark.slow
def test_trained_in_bfloat16(tmp_path: Path) -> None:
    """What is exported needs none of this repository's modules, and is as good as the tested model."""
    result = train(settings(tmp_path / "run", bfloat16=True))
    assert result.test_accuracy > 0.9
    model = load_model(tmp_path / "run" / "model.keras")
    assert accuracy(model, datasets.load("digits").test) == pytest.approx(result.test_accuracy, abs=FLOAT32)


@pytest.mark.slow
def test_a_model_of_bytes(whole: fit.TrainResult, tmp_path: Path) -> None:
    """A finished run exports it, too; it gives what the model of floats gives."""
    out = tmp_path / "run"
    shutil.copytree(whole.settings.out, out)
    result = train(settings(out, byte_input=True), resume=True)
    assert result.test_accuracy == whole.test_accuracy
    data = datasets.load("digits")
    model = load_model(out / "model.keras")
    assert model.input.dtype.name == "uint8"
    np.testing.assert_array_equal(
        model.predict(data.test.images, verbose=0),
        whole.model.predict(datasets.to_input(data.test.images, data.scale), verbose=0),
    )


@pytest.mark.slow
def test_history_file_tells_all(whole: fit.TrainResult) -> None:
    written = json.loads((whole.settings.out / "history.json").read_text())
    assert written["test_accuracy"] == whole.test_accuracy
    assert written["settings"]["epochs"] == 4
    assert written["settings"]["seed"] == whole.settings.seed
    assert len(written["history"]) == 4
    assert written["seconds"] == pytest.approx(sum(e["seconds"] for e in written["history"]))
    best = written["history"][written["best_epoch"] - 1]
    accuracies = [epoch["validation_accuracy"] for epoch in written["history"]]
    assert best["validation_accuracy"] == written["validation_accuracy"] == max(accuracies)
    assert all((whole.settings.out / name).is_file() for name in written["files"])
    assert not [path.name for path in whole.settings.out.iterdir() if "tmp" in path.name]
    assert not list(whole.settings.out.glob("unfinished*"))


@pytest.mark.slow
def test_curve_is_an_image(whole: fit.TrainResult) -> None:
    from matplotlib.image import imread

    image = imread(whole.settings.out / "curve.png")
    assert image.shape[0] > 400
    assert image.shape[1] > 800
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 20  # not a blank sheet


WITH_BYTES = {name for name, n in networks.NETWORKS.items() if any(conv.depthwise for conv in n.convolutions)}
FOR_INT8 = networks.Variant("qcfs", 256, "int8")


@pytest.mark.parametrize("name", sorted(networks.NETWORKS.keys() - WITH_BYTES - {"bireal"}))
def test_networks_keep_the_rules(name: str) -> None:
    _, keras, larq = _tf.load()
    model = networks.build(name, (8, 8, 1) if name == "digits" else (28, 28, 1), 10)
    assert model.input.dtype.name == "float32"
    binary = [layer for layer in model.layers if isinstance(layer, larq.layers.QuantConv2D | larq.layers.QuantDense)]
    assert not [
        layer
        for layer in model.layers
        if layer.weights and layer not in binary and not isinstance(layer, keras.layers.BatchNormalization)
    ]
    for index, layer in enumerate(binary):
        config = layer.get_config()
        assert not config["use_bias"]
        assert "ste_sign" in json.dumps(config["kernel_quantizer"], default=str)
        assert isinstance(layer.kernel_constraint, larq.constraints.WeightClip)
        if index == 0:
            assert config["input_quantizer"] is None
        else:
            assert networks.NETWORKS[name].signs in json.dumps(config["input_quantizer"], default=str)
    if name != "mlp":
        pads = [layer.pad_values for layer in binary if hasattr(layer, "pad_values")]
        assert 0.0 in pads
        assert 1.0 in pads
    assert isinstance(binary[-1], larq.layers.QuantDense)
    assert model.layers[-1].get_config()["activation"] == "softmax"


def test_bireal_is_binary_between_its_ends() -> None:
    model = networks.build("bireal", (28, 28, 1), 10)
    computed = {op.layer: op.op for op in bnn.compile(networks.exported(model, None, networks.Variant())).ops}
    layers = [f"conv{i}" for i in range(1, 7)]
    assert [computed[layer] for layer in [*layers, "logits"]] == ["conv2d", *["bconv2d"] * 5, "conv2d"]
    assert sum(model.get_layer(layer).kernel.shape.num_elements() for layer in [*layers, "logits"]) == 454_464


def test_the_separable_network_has_integers_alone(rng: np.random.Generator) -> None:
    """Quantized after training, from bytes to the numbers of its classes."""
    variant = networks.Variant("relu", weights="float")
    model = networks.exported(networks.build("separable", (28, 28, 1), 10, variant=variant), 255, variant)
    images = rng.integers(0, 256, (20, 28, 28, 1), dtype=np.uint8)
    found = bnn.compile(model, calibrate=images, integer_only=True)
    assert [op.op for op in found.ops].count("qconv2d") == 6
    assert {t.dtype for t in found.tensors if t.storage == "arena"} == {"u8"}
    assert found.predict(images).shape == (20, 10)


def disturbed(model: Any, rng: np.random.Generator) -> Any:
    """As after training: batch norms that do something."""
    for layer in model.layers:
        if "norm" in layer.name:
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([rng.uniform(0.5, 1.5, gamma.shape), rng.normal(0, 0.3, beta.shape), mean, variance])
    return model


@pytest.mark.parametrize("name", ["separable8", "mixed8"])
def test_trained_for_int8(name: str, rng: np.random.Generator) -> None:
    """The weights are whole numbers in training, and stay so; no image says what a value between layers has."""
    model = disturbed(networks.build(name, (28, 28, 1), 10, variant=FOR_INT8), rng)
    images = rng.integers(0, 256, (20, 28, 28, 1), dtype=np.uint8)
    made = networks.exported(model, 256, FOR_INT8)
    np.testing.assert_array_equal(made(images), model(images.astype(np.float32) / 256))
    for layer in made.layers:
        if layer.name.startswith("conv") and layer.weights and "norm" not in layer.name and name == "separable8":
            kernel = layer.get_weights()[0]
            largest = np.abs(kernel).max(axis=tuple({0, 1, 2, 3} - {2 if kernel.shape[-1] == 1 else 3}), keepdims=True)
            whole = kernel / largest * 127
            assert np.abs(whole - np.rint(whole)).max() < 1e-4 and len(np.unique(np.rint(whole))) > 20, layer.name
    found = bnn.calibrate(bnn.compile(made), images, integer_only=True)
    ops = [op.op for op in found.model.ops]
    assert "lookup" not in ops and ops.count("qconv2d") + ops.count("bconv2d") >= 6 and found.float_ops == 0, ops
    assert all(layer.snr > 35 for layer in found.layers), found
    assert ("bconv2d" in ops) == (name == "mixed8")


def test_bfloat16_is_of_training_alone(rng: np.random.Generator) -> None:
    tf, _, larq = _tf.load()
    model = networks.build("bireal", (28, 28, 1), 10, bfloat16=True)
    layer = model.get_layer("conv5")
    layer.set_weights([np.where(rng.random((3, 3, 128, 128)) < 0.9, 1, -1).astype(np.float32)])
    inputs = np.where(rng.random((4, 7, 7, 128)) < 0.9, 1, -1).astype(np.float32)
    exact, rounded = layer(inputs).numpy(), layer(inputs, training=True).numpy()
    plain = larq.layers.QuantConv2D.from_config(layer.get_config())
    plain.build(inputs.shape)
    plain.set_weights(layer.get_weights())
    np.testing.assert_array_equal(exact, plain(inputs))
    np.testing.assert_array_equal(rounded, tf.cast(tf.cast(exact, tf.bfloat16), tf.float32))
    assert not np.array_equal(rounded, exact)
    made = networks.exported(model, None, networks.Variant())
    assert type(made.get_layer("conv5")) is larq.layers.QuantConv2D


@pytest.mark.parametrize(
    ("name", "variant", "convolutions"),
    [
        ("bireal", networks.Variant(), 5),
        ("mixed16x2", FOR_INT8, 2),
        ("separable", FOR_INT8, 0),
        ("digits", networks.Variant("relu", weights="float"), 0),
        ("mlp", networks.Variant(), 0),
    ],
)
def test_what_bfloat16_is_for(name: str, variant: networks.Variant, convolutions: int) -> None:
    from training.bfloat16 import Bfloat16Conv2D

    shape = (8, 8, 1) if name == "digits" else (28, 28, 1)
    model = networks.build(name, shape, 10, variant=variant, bfloat16=True)
    assert sum(isinstance(layer, Bfloat16Conv2D) for layer in model.layers) == convolutions
    assert networks.binary_convolutions(name, variant) == convolutions


def test_images_too_small_for_a_network() -> None:
    with pytest.raises(networks.NetworkError, match=r"'fashion' does not fit .*\(4, 4, 1\)"):
        networks.build("fashion", (4, 4, 1), 10)


# Going on


@pytest.mark.slow
def test_resumed_run_equals_the_uninterrupted(whole: fit.TrainResult, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(settings(tmp_path), BreakOff(epoch=3))
    assert len(fit.read_history(tmp_path)) == 2
    assert not (tmp_path / "model.keras").exists()
    recorder = Recorder()
    result = train(settings(tmp_path), recorder, resume=True)
    assert recorder.before == 2
    assert recorder.epochs == [3, 4]
    for mine, other in zip(without_seconds(result.history), without_seconds(whole.history), strict=True):
        assert mine == pytest.approx(other, rel=1e-4)
    assert result.best_epoch == whole.best_epoch
    assert result.test_accuracy == pytest.approx(whole.test_accuracy, abs=0.006)


@pytest.mark.slow
def test_a_run_depends_on_its_seed_alone(tmp_path: Path) -> None:
    # Keras draws initial weights from a generator of its own once set_random_seed was called.
    _, keras, _ = _tf.load()
    runs = []
    for index, name in enumerate("ab"):
        keras.utils.set_random_seed(100 + index)
        runs.append(train(settings(tmp_path / name, epochs=1, network="mlp")))
    first, second = (without_seconds(run.history)[0] for run in runs)
    assert first == pytest.approx(second, rel=1e-4)


@pytest.mark.slow
def test_best_weights_survive_the_interruption(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(settings(tmp_path, network="mlp"), BreakOff(epoch=3))
    # Let the first epoch be one that no later epoch can beat, with weights of its own.
    header, first, second = (tmp_path / "history.csv").read_text().splitlines()
    values = dict(zip(header.split(","), first.split(","), strict=True))
    unbeaten = ",".join({**values, "val_accuracy": "2.0", "score": "2.0"}.values())
    (tmp_path / "history.csv").write_text("\n".join([header, unbeaten, second, ""]))
    model = networks.build("mlp", (8, 8, 1), 10)
    best = [np.full_like(array, index + 0.5) for index, array in enumerate(model.get_weights())]
    model.set_weights(best)
    model.save_weights(tmp_path / "checkpoint" / "best-1.h5")
    result = train(settings(tmp_path, network="mlp"), resume=True)
    assert result.best_epoch == 1
    for found, expected in zip(result.model.get_weights(), best, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert [path.name for path in (tmp_path / "checkpoint").glob("best*")] == ["best-1.h5"]


@pytest.mark.slow
def test_killed_between_figures_and_checkpoint_repeats_the_epoch(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(settings(tmp_path, epochs=3, network="mlp"), BreakOff(epoch=3))
    table = tmp_path / "history.csv"
    table.write_text(table.read_text() + table.read_text().splitlines()[-1].replace("1,", "2,", 1) + "\n")
    assert len(fit.read_history(tmp_path)) == 3
    recorder = Recorder()
    train(settings(tmp_path, epochs=3, network="mlp"), recorder, resume=True)
    assert (recorder.before, recorder.epochs) == (2, [3])
    assert [epoch.epoch for epoch in fit.read_history(tmp_path)] == [1, 2, 3]


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended in the second epoch."""
    out = tmp_path_factory.mktemp("broken_off")
    with pytest.raises(KeyboardInterrupt):
        train(settings(out, network="mlp"), BreakOff(epoch=2))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["weights", "figures", "settings", "another network"])
def test_damaged_checkpoint(capsys: pytest.CaptureFixture[str], tmp_path: Path, broken_off: Path, damage: str) -> None:
    shutil.copytree(broken_off, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "checkpoint"
    if damage == "weights":
        (data,) = (folder / "chief").glob("*.data-*")
        data.write_bytes(data.read_bytes()[:-100])
    elif damage == "figures":
        (tmp_path / "history.csv").unlink()
    elif damage == "settings":
        (folder / "settings.json").write_text("{")
    else:
        text = (folder / "settings.json").read_text()
        (folder / "settings.json").write_text(text.replace('"mlp"', '"digits"'))
    line = error_of(capsys, "--out", str(tmp_path), "--resume")
    assert "damaged" in line and "--overwrite" in line and str(folder) in line


@pytest.mark.slow
def test_interrupted_in_the_first_epoch_goes_on_from_the_beginning(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(settings(tmp_path, epochs=1), BreakOff(epoch=1))
    assert len(train(settings(tmp_path, epochs=1), resume=True).history) == 1


@pytest.mark.slow
def test_finished_run_can_be_prolonged(tmp_path: Path) -> None:
    train(settings(tmp_path, epochs=1, network="mlp", schedule="constant"))
    longer = settings(tmp_path, epochs=2, network="mlp", schedule="constant")
    assert [epoch.epoch for epoch in train(longer, resume=True).history] == [1, 2]


@pytest.mark.slow
def test_killed_process_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, str(TOOLS / "train.py"), "--out", str(tmp_path)]
    begin = [*command, "--dataset", "digits", "--network", "mlp", "--epochs", "100000"]
    done = 0
    with subprocess.Popen(begin, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            done += line.startswith("epoch ")
            if done == 2:
                process.kill()
                break
        process.stderr.read()
    assert process.returncode == -signal.SIGKILL
    assert len(fit.read_history(tmp_path)) >= 2
    # Only the folder and the new end are given: the rest comes from the checkpoint.
    last = len(fit.read_history(tmp_path)) + 2
    again = subprocess.run(
        [*command, "--resume", "--epochs", str(last), "--json"], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    lines = again.stderr.splitlines()
    begun = int(lines[0].rpartition("from epoch ")[2])
    # The earlier one where it was killed before the checkpoint of the epoch was written.
    assert begun in (last - 2, last - 1)
    assert [line.split()[1] for line in lines[1:]] == [f"{epoch}/{last}" for epoch in range(begun, last + 1)]
    summary = json.loads(again.stdout)
    assert summary["epochs"] == last
    assert summary["settings"]["network"] == "mlp"
    history = json.loads((tmp_path / "history.json").read_text())["history"]
    assert [epoch["epoch"] for epoch in history] == list(range(1, last + 1))


@pytest.mark.slow
def test_control_c_tells_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "a folder"
    command = [
        sys.executable, str(TOOLS / "train.py"), "--dataset", "digits", "--network", "mlp",
        "--epochs", "100000", "--out", str(out),
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 1/"):
                os.kill(process.pid, signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert f"--out '{out}' --resume" in rest.splitlines()[-1]
    assert fit.read_history(out)


# When to stop, and how fast to learn


def test_equal_accuracies_are_told_apart_by_loss() -> None:
    losses = (0.9, 1.0, 0.8, 0.9)
    epochs = [Epoch(i + 1, 1.0, 0.5, loss, 0.7 if i else 0.5, 0.01, 1.0) for i, loss in enumerate(losses)]
    assert fit.best_epoch(epochs) == 3


@pytest.mark.slow
def test_early_stop_exports_the_best_weights(tmp_path: Path) -> None:
    # A rate far too high: the accuracy soon jumps up and down.
    result = train(
        settings(tmp_path, epochs=60, network="mlp", learning_rate=0.5, patience=2,
                 schedule="constant")
    )  # fmt: skip
    assert result.stopped_early
    assert len(result.history) == result.best_epoch + 2
    assert result.history[-1].validation_accuracy <= result.validation_accuracy
    found = accuracy(load_model(tmp_path / "model.keras"), datasets.load("digits").validation)
    assert found == pytest.approx(result.validation_accuracy, abs=FLOAT32)


@pytest.mark.slow
def test_cosine_falls_from_the_full_rate_to_zero(whole: fit.TrainResult) -> None:
    rates = [epoch.learning_rate for epoch in whole.history]
    assert rates[0] > 0.8 * whole.settings.learning_rate and rates[1] == pytest.approx(0.005, rel=0.2)
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.001


@pytest.mark.slow
def test_plateau_lowers_the_rate_and_a_resumed_run_keeps_it(limit: Limit, tmp_path: Path) -> None:
    # A rate far too high: the loss soon jumps up and down.
    limit("training.fit.PLATEAU_EPOCHS", 1)
    plan = settings(tmp_path, epochs=10, network="mlp", schedule="plateau", learning_rate=0.5)
    rates = [epoch.learning_rate for epoch in train(plan).history]
    assert rates[0] == 0.5 and rates[-1] < 0.5
    assert all(after in (rate, pytest.approx(0.3 * rate)) for rate, after in zip(rates, rates[1:], strict=False))
    more = train(dataclasses.replace(plan, epochs=11), resume=True).history
    assert more[-1].learning_rate in (rates[-1], pytest.approx(0.3 * rates[-1]))


def test_a_loss_that_is_not_finite_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fit, "augment", lambda tf, images, *rest: tf.cast(images, tf.float32) * float("nan"))
    with pytest.raises(fit.TrainingError, match="no longer finite in epoch 1"):
        train(settings(tmp_path, epochs=1, network="mlp"))


def test_augmented_images_are_shifted_or_mirrored_originals() -> None:
    """Every result is one of the 2 x 3 x 3 images that a definition by loops gives."""
    tf, _, _ = _tf.load()
    generator = np.random.default_rng(5)
    images = generator.integers(1, 255, (200, 6, 4, 2), dtype=np.uint8)
    results = fit.augment(tf, images, 1, True, (1, 2)).numpy()
    np.testing.assert_array_equal(results, fit.augment(tf, images, 1, True, (1, 2)).numpy())
    seen = set()
    for image, result in zip(images, results, strict=True):
        matches = []
        for flip in (False, True):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    moved = np.zeros_like(image)
                    for y in range(6):
                        for x in range(4):
                            if 0 <= y + dy < 6 and 0 <= x + dx < 4:
                                moved[y, x] = image[y + dy, x + dx]
                    if flip:
                        moved = moved[:, ::-1]
                    if np.array_equal(moved, result):
                        matches.append((flip, dy, dx))
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) == 18


def test_no_augmentation_is_the_identity() -> None:
    tf, _, _ = _tf.load()
    images = np.arange(2 * 64, dtype=np.uint8).reshape(2, 8, 8, 1)
    np.testing.assert_array_equal(fit.augment(tf, images, 0, False, (0, 0)), images)


def test_warped_images_are_bent_by_about_so_many_pixels() -> None:
    """Of an image whose values say where they are: rows in the first channel, columns in the second."""
    tf, _, _ = _tf.load()
    size, scale = 20, 12
    rows, columns = np.meshgrid(*2 * [np.arange(1, size + 1)], indexing="ij")
    image = np.stack([rows, columns], -1).astype(np.uint8) * scale
    images = np.repeat(image[None], 300, 0)
    for pixels in (0.5, 2.0):
        results = fit.warp(tf, images, pixels, (1, 2)).numpy()
        assert results.dtype == np.uint8
        np.testing.assert_array_equal(results, fit.warp(tf, images, pixels, (1, 2)).numpy())
        assert (results != fit.warp(tf, images, pixels, (1, 3)).numpy()).mean() > 0.5
        # Where nothing comes in from outside, even by a move of 4 standard deviations of both grids.
        far = math.ceil(4 * 2**0.5 * pixels)
        inside = slice(far, size - far) if size > 2 * far else slice(size // 2 - 1, size // 2 + 1)
        moves = (results[:, inside, inside].astype(float) - image[inside, inside]) / scale
        # Between the points of the grids, moves are means of theirs, and smaller.
        assert np.all(abs(moves.mean((0, 1, 2))) < 0.15 * pixels)
        assert np.all((0.5 * pixels < moves.std((0, 1, 2))) & (moves.std((0, 1, 2)) < 1.5 * pixels))
        assert abs(np.corrcoef(moves[..., 0].ravel(), moves[..., 1].ravel())[0, 1]) < 0.2
    np.testing.assert_array_equal(fit.warp(tf, images, 0.0, (1, 2)), images)


def test_where_a_warp_reads_outside_there_are_zeros() -> None:
    tf, _, _ = _tf.load()
    results = fit.warp(tf, np.full((100, 8, 8, 1), 200, np.uint8), 3.0, (3, 4)).numpy()
    assert results.max() == 200 and np.mean(results == 0) > 0.05


@pytest.mark.parametrize("epoch", [1, 2])
def test_every_image_is_in_an_epoch_once(tmp_path: Path, epoch: int) -> None:
    """In an order of its own, whatever the epoch that the run was begun with."""
    tf, _, _ = _tf.load()
    data = datasets.load("digits")
    batches = [*fit._batches(settings(tmp_path), data, tf, epoch - 1, 10, Workers()).take(10)]
    assert {len(labels) for _, labels in batches} == {126, 127}
    found = np.concatenate([images.numpy() for images, _ in batches])
    later = [*fit._batches(settings(tmp_path), data, tf, 0, 10, Workers()).skip(10 * (epoch - 1)).take(10)]
    np.testing.assert_array_equal(found, np.concatenate([images.numpy() for images, _ in later]))
    expected = datasets.to_input(data.train.images, data.scale)
    assert sorted(x.tobytes() for x in found) == sorted(x.tobytes() for x in expected)
    assert not np.array_equal(found, expected)


# What the user is told


def test_bad_data_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    line = error_of(
        capsys, "--dataset", "fashion-mnist", "--network", "fashion",
        "--data", str(nowhere), "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert str(nowhere) in line
    assert "Fashion-MNIST not found" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "mlp"], "--dataset"),
        (["--dataset", "digits"], "--network"),
        (["--dataset", "cats", "--network", "mlp"], "'cats' is not one of 'digits'"),
        (["--dataset", "digits", "--network", "mlp", "--epochs", "0"], "epochs is 0"),
        (["--dataset", "digits", "--network", "mlp", "--batch-size", "1"], "batch_size is 1"),
        (["--dataset", "digits", "--network", "mlp", "--learning-rate", "nan"], "learning_rate"),
        (["--dataset", "digits", "--network", "mlp", "--seed", "-1"], "seed is -1"),
        (["--dataset", "fashion-mnist", "--network", "separable"], "give --activation relu --weights float"),
        (
            ["--dataset", "fashion-mnist", "--network", "mixed8", "--weights", "int8"],
            "or --activation qcfs --levels 256 --weights int8",
        ),
        (["--dataset", "digits", "--network", "mlp", "--activation", "qcfs"], "levels is 0, expected 2 to 256"),
        (["--dataset", "digits", "--network", "mlp", "--activation", "qcfs", "--levels", "257"], "levels is 257"),
        (
            ["--dataset", "digits", "--network", "mlp", "--levels", "4"],
            "levels is 4, expected none with the activation 'sign'",
        ),
        (["--dataset", "digits", "--network", "mlp", "--bfloat16"], "network 'mlp' would have none"),
        (["--resume"], "nothing to resume"),
        (["--resume", "--overwrite"], "exclude each other"),
    ],
)
def test_wrong_use(capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in error_of(capsys, "--out", str(tmp_path / "out"), *arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_run_is_not_overwritten_or_mixed(capsys: pytest.CaptureFixture[str], whole: fit.TrainResult) -> None:
    before = (whole.settings.out / "history.csv").read_bytes()
    same = ("--dataset", "digits", "--network", "digits", "--out", str(whole.settings.out))
    assert "--resume" in error_of(capsys, *same)
    line = error_of(capsys, "--out", str(whole.settings.out), "--resume", "--batch-size", "64")
    assert "batch_size 128, not 64" in line
    assert (whole.settings.out / "history.csv").read_bytes() == before


@pytest.mark.slow
def test_tensorflow_imported_with_keras_3_is_explained() -> None:
    tf, _, _ = _tf.load()
    if tuple(int(part) for part in tf.__version__.split(".")[:2]) < (2, 16):
        pytest.skip("this TensorFlow carries Keras 2")
    program = "import tensorflow; from training import _tf; _tf.load()"
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=False, cwd=TOOLS, env=environment,
    )  # fmt: skip
    assert run.returncode != 0
    assert "was imported with Keras 3" in run.stderr
    assert "TF_USE_LEGACY_KERAS=1" in run.stderr
