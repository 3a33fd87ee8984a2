# SPDX-License-Identifier: Apache-2.0
"""bnn compile and bnn verify, on a Larq network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn

tf = pytest.importorskip("tensorflow")
lq = pytest.importorskip("larq")


@pytest.fixture(scope="module")
def network() -> Any:
    """(8, 8, 2) -> 5, with negative and zero gammas."""
    keras = tf.keras
    quantized = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip", "use_bias": False}
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 2), name="image"),
            lq.layers.QuantConv2D(16, 3, padding="same", name="stem", **quantized),
            keras.layers.BatchNormalization(name="norm_1"),
            lq.layers.QuantConv2D(24, 3, input_quantizer="ste_sign", name="conv", **quantized),
            keras.layers.BatchNormalization(name="norm_2"),
            keras.layers.Flatten(name="flatten"),
            lq.layers.QuantDense(5, input_quantizer="ste_sign", name="classes", **quantized),
            keras.layers.Softmax(name="softmax"),
        ]
    )
    rng = np.random.default_rng(7)
    kinds = {"gamma": [-1.5, -0.5, 0.0, 0.75], "variance": [0.5, 2.0]}
    model.set_weights(
        [
            rng.choice(next((v for k, v in kinds.items() if k in w.name), [-0.6, -0.2, 0.3, 0.9]), w.shape)
            for w in model.weights
        ]
    )
    return model


@pytest.fixture(scope="module")
def saved(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "network.keras"
    network.save(path)
    return path


class TestCompile:
    def test_says_what_became_of_each_layer(self, call: Any, saved: Path, network: Any, tmp_path: Path) -> None:
        done = call("compile", saved, "-o", tmp_path / "net.bnn")
        assert done.status == 0, done.err
        assert "float: 'stem'" in done.out and "binary" in done.out and "wrote" in done.out
        x = (np.random.default_rng(0).integers(0, 257, (6, 8, 8, 2)) / 256).astype(np.float32)
        np.testing.assert_allclose(bnn.load(tmp_path / "net.bnn")(x), network(x).numpy(), rtol=1e-5, atol=1e-6)

    def test_writes_event_populations(self, call: Any, saved: Path, tmp_path: Path) -> None:
        """Those of the network that it writes otherwise."""
        for name in ("net.bnn", "net.snn"):
            done = call("compile", saved, "-o", tmp_path / name)
            assert done.status == 0 and f"{name}: {(tmp_path / name).stat().st_size:,} bytes" in done.out
        made = bnn.events.populations(bnn.load(tmp_path / "net.bnn"))
        assert (tmp_path / "net.snn").read_bytes() == made.to_bytes()

    def test_default_output_and_json(self, call: Any, saved: Path, tmp_path: Path, monkeypatch: Any) -> None:
        monkeypatch.chdir(tmp_path)
        record = call("compile", saved, "--json").json
        assert record["output"] == "network.bnn" and record["bytes"] == (tmp_path / "network.bnn").stat().st_size
        kinds = {layer["layer"]: layer["kind"] for layer in record["layers"]}
        assert kinds["stem"] == "float" and kinds["conv"] == "binary"
        assert all(layer["why_float"] for layer in record["layers"] if layer["float_macs"])

    def test_what_the_file_is_used_for(self, call: Any, saved: Path, tmp_path: Path) -> None:
        (tmp_path / "labels.txt").write_text("a\nb\nc\nd\né\n", encoding="utf-8")
        (tmp_path / "how.json").write_text('{"scale": 255, "mean": 0.5}')
        use = (
            "--labels",
            tmp_path / "labels.txt",
            "--preprocess",
            tmp_path / "how.json",
            "--meta",
            "k=v=w",
            "--meta",
            "l=",
        )
        done = call("compile", saved, "-o", tmp_path / "net.bnn", *use)
        assert done.status == 0 and "5 labels: a, b, c, ...\npreprocessing: scale 255" in done.out
        model = bnn.load(tmp_path / "net.bnn")
        assert model.labels == ["a", "b", "c", "d", "é"] and model.metadata == {"k": "v=w", "l": ""}
        assert model.preprocessing == bnn.Preprocessing(scale=255.0, mean=(0.5, 0.5))
        assert call("inspect", tmp_path / "net.bnn", "--json").json["preprocessing"] == {
            "mean": [0.5, 0.5],
            "scale": 255,
        }
        assert "k: 'v=w'" in call("inspect", tmp_path / "net.bnn").out
        (tmp_path / "how.json").write_text("{")
        (tmp_path / "more.txt").write_text("a\nb\n")
        for option, value, words in (
            ("--labels", tmp_path / "more.txt", "labels: found 2, expected one for each of 5 classes"),
            ("--labels", tmp_path / "no.txt", "no.txt: cannot be opened"),
            ("--preprocess", tmp_path / "how.json", "not JSON"),
            ("--preprocess", "resnet", "expected imagenet, torchvision"), ("--meta", "k", "expected KEY=TEXT"),
            ("--preprocess", "caffe", "mean: found 3 numbers, expected one for each of 2 channels"),
        ):  # fmt: skip
            done = call("compile", saved, "-o", tmp_path / "bad.bnn", option, value)
            assert done.status == 2 and words in done.err and not (tmp_path / "bad.bnn").exists(), done.err

    def test_a_name_that_scales_pixels_for_bytes(self) -> None:
        """Refused, unless the network scales them itself."""
        x = tf.keras.Input((4, 4, 3))
        plain = tf.keras.Model(x, tf.keras.layers.Flatten()(x))
        scaled = tf.keras.Model(x, tf.keras.layers.Rescaling(1 / 255)(x))
        with pytest.raises(
            bnn.InputError, match="found 'tf', which scales pixels, but the network reads bytes as they"
        ):
            bnn.compile(plain, preprocess="tf", input_dtype="uint8")
        assert bnn.compile(scaled, preprocess="tf", input_dtype="uint8").preprocessing == bnn.Preprocessing(
            fit="stretch"
        )

    def test_dump_after(self, call: Any, saved: Path, tmp_path: Path) -> None:
        out = tmp_path / "net.bnn"
        done = call("compile", saved, "-o", out, "--dump-after", "binarize")
        assert "; after binarize" in done.out and "bconv2d" in done.out
        assert call("compile", saved, "-o", out, "--dump-after", "binarize", "--json").json["output"] == str(out)
        done = call("compile", saved, "-o", out, "--dump-after", "nothing")
        assert done.status == 2 and "expected one of import" in done.err

    def test_require_binary(self, call: Any, saved: Path, tmp_path: Path) -> None:
        """A layer that reads the image may be float, others may not."""
        assert call("compile", saved, "-o", tmp_path / "net.bnn", "--require-binary").status == 0
        keras = tf.keras
        layers = [keras.layers.Input((8, 8, 2)), keras.layers.Conv2D(4, 3), keras.layers.Conv2D(4, 3, name="second")]
        keras.Sequential(layers).save(tmp_path / "float.keras")
        done = call("compile", tmp_path / "float.keras", "-o", tmp_path / "float.bnn", "--require-binary")
        assert done.status == 2 and "'second'" in done.err and not (tmp_path / "float.bnn").exists()

    def test_bytes(self, call: Any, saved: Path, network: Any, tmp_path: Path) -> None:
        """Bytes go in as they are read, and nothing may scale them again."""
        net = tmp_path / "net.bnn"
        done = call("compile", saved, "-o", net, "--input-dtype", "uint8", "--json")
        assert done.json["inputs"][0]["dtype"] == "uint8"
        x = np.random.default_rng(1).integers(0, 256, (9, 8, 8, 2), np.uint8)
        np.save(tmp_path / "x.npy", x)
        np.save(tmp_path / "floats.npy", x.astype(np.float32))
        assert call("run", net, tmp_path / "x.npy", "--output", tmp_path / "y.npy").status == 0
        np.testing.assert_allclose(np.load(tmp_path / "y.npy"), network(x.astype(np.float32)), atol=1e-6)
        done = call("run", net, tmp_path / "floats.npy")
        assert done.status == 2 and "contains float32 but the model reads uint8" in done.err
        assert "leave out --scale" in call("run", net, tmp_path / "x.npy", "--scale", 256).err
        assert "uint8 (N, 8, 8, 2)" in call("inspect", net).out
        for command in (("verify", saved, net, "--random", 9), ("verify", saved, net, "--data", tmp_path / "x.npy")):
            done = call(*command)
            assert done.status == 0 and "EQUAL: all bits, and all floats" in done.out, done.out + done.err
        assert call("bench", net, "--repeats", 3).status == 0

    def test_bad_models(self, call: Any, saved: Path, net: Path, tmp_path: Path) -> None:
        cut = tmp_path / "cut.keras"
        cut.write_bytes(saved.read_bytes()[:1000])
        (tmp_path / "folder").mkdir()
        for path in (tmp_path / "absent.keras", cut, net, tmp_path / "folder"):
            done = call("compile", path, "-o", tmp_path / "out.bnn")
            assert done.status == 2 and done.err, path
        done = call("compile", saved, "-o", tmp_path / "absent" / "net.bnn")
        assert done.status == 2 and "cannot be written" in done.err
        assert call("compile", saved, "--input-shape", "8,x").status == 2
