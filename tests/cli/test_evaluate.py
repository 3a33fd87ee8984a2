# SPDX-License-Identifier: Apache-2.0
"""bnn evaluate and Model.evaluate: scikit-learn counts, and Keras is as often right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bnn
from bnn._types import Array
from bnn.file.read import decode
from bnn.file.write import encode
from bnn.runtime.use import Preprocessing, Use

metrics = pytest.importorskip("sklearn.metrics")
DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits.bnn"
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
COUNT = 360


def digits() -> tuple[Array, Array]:
    """(images (N, 8, 8, 1) of 0 to 16, classes)"""
    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    return bunch.images[..., None].astype(np.float32), bunch.target


def saying(use: Use) -> bnn.Model:
    """The network of the examples, in a file that says more."""
    return bnn.Model.from_bytes(encode(replace(decode(DIGITS.read_bytes()), use=use.text())))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """360 digits as pictures, 0 to 16 as 0 to 240, in a folder for each class."""
    where = tmp_path_factory.mktemp("digits")
    for i, (image, target) in enumerate(zip(*(part[-COUNT:] for part in digits()), strict=True)):
        (where / NAMES[target]).mkdir(exist_ok=True)
        Image.fromarray((image[..., 0] * 15).astype(np.uint8)).save(where / NAMES[target] / f"{i:03}.png")
    return where


@pytest.fixture
def net(tmp_path: Path) -> Path:
    saying(Use(tuple(NAMES), Preprocessing(240.0, fit="stretch"))).save(tmp_path / "net.bnn")
    return tmp_path / "net.bnn"


def test_folders_need_no_options(call: Any, net: Path, folder: Path) -> None:
    images, targets = (part[-COUNT:] for part in digits())
    scores = bnn.load(net)(images / 16)
    record = call("evaluate", net, folder, "--json", "--top", 2, "--plot", net.with_suffix(".png")).json
    again = call("evaluate", net, folder, "--plot", net.with_suffix(".svg"))  # and by the suffix
    assert again.out.endswith(".svg\n") and net.with_suffix(".svg").read_text().startswith("<?xml")
    assert record["accuracy"] == metrics.accuracy_score(targets, scores.argmax(1)) > 0.9
    assert record["folders"] == {str(folder / name): i for i, name in enumerate(NAMES)}
    assert not record["classes_by_order"]
    assert record["confusion"] == metrics.confusion_matrix(targets, scores.argmax(1)).tolist()
    assert record["top_accuracy"] == metrics.top_k_accuracy_score(targets, scores, k=2)
    assert record["images"] == COUNT and record["labels"] == NAMES and Image.open(net.with_suffix(".png")).size[0] > 400
    wrong = [(str(folder / NAMES[t] / f"{i:03}.png"), s.argmax(), s.max()) for i, (s, t) in enumerate(
        zip(scores, targets, strict=True)) if s.argmax() != t]  # fmt: skip
    assert 0 < len(wrong) <= 10
    listed = [(w["file"], w["answer"], np.float32(w["score"])) for w in record["worst"]]
    assert sorted(listed) == sorted(wrong) and listed == sorted(listed, key=lambda row: -row[2])
    text = call("evaluate", net, folder).out
    assert f"accuracy: {record['accuracy']:.2%} ({record['correct']} of 360 images)" in text and wrong[0][0] in text
    assert "among the best 5: 100.00%" in text and "Right classes in rows" in text


def test_arrays(call: Any, net: Path, tmp_path: Path) -> None:
    images, targets = (part[-COUNT:] for part in digits())
    np.save(tmp_path / "floats.npy", images.astype(np.float64) / 16)
    np.save(tmp_path / "pixels.npy", (images * 15).astype(np.uint8))
    np.save(tmp_path / "targets.npy", targets)
    np.save(tmp_path / "rows.npy", np.eye(10)[targets])
    found = [
        call("evaluate", net, tmp_path / f"{x}.npy", "--targets", tmp_path / f"{y}.npy", "--json").json["confusion"]
        for x in ("floats", "pixels") for y in ("targets", "rows")
    ]  # fmt: skip
    expected = metrics.confusion_matrix(targets, bnn.load(net)(images / 16).argmax(1)).tolist()
    assert all(matrix == expected for matrix in found)
    np.save(tmp_path / "short.npy", targets[:9])
    np.save(tmp_path / "large.npy", targets + 1)
    for options, words in (
        ([], "found no right classes; give --targets"), (["--targets", "y.txt"], "expected a .npy file"),
        (["--targets", tmp_path / "short.npy"], "--targets: found shape (9,), expected (360,)"),
        (["--targets", tmp_path / "large.npy"], "--targets: found 10, expected whole numbers from 0 to 9"),
        (["--targets", tmp_path / "pixels.npy"], "--targets: found shape (360, 8, 8, 1)"),
    ):  # fmt: skip
        done = call("evaluate", net, tmp_path / "floats.npy", *options)
        assert done.status == 2 and words in done.err, done.err


def test_names_of_folders(call: Any, net: Path, folder: Path, tmp_path: Path) -> None:
    """Some of the labels are enough; without labels their order counts, where it is certain."""
    some = tmp_path / "some"
    for name in ("two", "nine"):
        (some / name).mkdir(parents=True)
        for file in sorted((folder / name).iterdir())[:5]:
            (some / name / file.name).write_bytes(file.read_bytes())
    record = call("evaluate", net, some, "--json").json
    assert [sum(row) for row in record["confusion"]] == [0, 0, 5, 0, 0, 0, 0, 0, 0, 5] and record["accuracy"] > 0.6
    (some / "ten").mkdir()
    done = call("evaluate", net, some)
    assert done.status == 2 and "'ten' is not a label, expected one of zero, one, two, three, four, ..." in done.err
    (some / "ten").rmdir()
    saying(Use()).save(tmp_path / "plain.bnn")
    plain = ["evaluate", tmp_path / "plain.bnn", some, "--scale", 240]
    assert "found 2 folders, and the model has 10 classes without names; give --labels" in call(*plain).err
    for i, name in enumerate(NAMES):
        (some / name).rename(some / str(i)) if (some / name).exists() else (some / str(i)).mkdir()
        Image.new("L", (8, 8)).save(some / str(i) / "empty.png")
    done = call(*plain, "--json")
    assert done.json["labels"] == [str(i) for i in range(10)] and done.json["classes_by_order"]
    assert done.json["folders"] == {str(some / str(i)): i for i in range(10)}
    assert "plain.bnn names no classes: 0 is 0, 1 is 1, 2 is 2," in done.err and "give --labels FILE" in done.err
    (some / "3").rename(some / "13")
    assert "numbers in another order" in call(*plain).err
    assert "found no folder in it" in call("evaluate", net, folder / "two").err
    assert call("evaluate", net, folder, "--targets", "y.npy").status == 2


def test_damaged_pictures(call: Any, net: Path, folder: Path, tmp_path: Path) -> None:
    files = [file for name in NAMES[:2] for file in sorted((folder / name).iterdir())[:3]]
    copies = [tmp_path / "photos" / file.parent.name / file.name for file in files]
    for file, copy in zip(files, copies, strict=True):
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes()[: -40 if file is files[0] else None])
    done = call("evaluate", net, tmp_path / "photos", "--json")
    assert done.status == 2 and done.json["images"] == 5 and "1 picture of 6 skipped" in done.err
    assert [s["file"] for s in done.json["skipped"]] == [str(copies[0])]


def test_events_of_a_network_with_labels() -> None:
    """The engine's own form of a network is a file that says the same."""
    model = saying(Use(tuple(NAMES), Preprocessing(240.0)))
    image = digits()[0][:1] / 16
    assert np.allclose(bnn.events.EventEngine(model).run_image(image[0]).outputs[-1], model(image)[0], atol=1e-6)


def test_many_classes() -> None:
    from bnn.runtime.evaluation import Counter

    rng = np.random.default_rng(0)
    counter, targets = Counter(30, 3, None), rng.integers(0, 30, 500)
    scores = rng.integers(0, 5, (500, 30)).astype(np.float32)  # with equal ones
    scores[7, 4] = np.nan
    assert counter.add(scores[:200], targets[:200])[7] == -1
    counter.add(scores[200:], targets[200:])
    result = counter.result()
    keep = np.arange(500) != 7
    assert np.array_equal(
        result.confusion, metrics.confusion_matrix(targets[keep], scores[keep].argmax(1), labels=range(30))
    )
    best = np.argsort(-scores[keep], axis=1, kind="stable")[:, :3]
    assert result.in_top == (best == targets[keep, None]).any(axis=1).sum() and result.images == 500
    text = str(result)
    assert "What was confused most often" in text and "not numbers: 1 image" in text and len(text.splitlines()) == 18


@pytest.mark.parametrize("kind", ["tensorflow", "torch", "generator"])
def test_what_gives_batches(kind: str) -> None:
    images, targets = (part[:100] for part in digits())
    model, x = saying(Use()), images / 16
    expected = model.evaluate(x, targets)
    assert expected.accuracy == metrics.accuracy_score(targets, model(x).argmax(1))
    given: Any = ((x[i : i + 9], np.eye(10)[targets[i : i + 9]]) for i in range(0, 100, 9))
    if kind == "tensorflow":
        given = pytest.importorskip("tensorflow").data.Dataset.from_tensor_slices((x, targets)).batch(32)
    elif kind == "torch":
        torch = pytest.importorskip("torch")
        tensors = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(targets))
        given = torch.utils.data.DataLoader(tensors, batch_size=7)
    found = model.evaluate(given)
    assert np.array_equal(found.confusion, expected.confusion) and found.in_top == expected.in_top


def test_batches_that_are_none() -> None:
    images, targets = (part[:100] for part in digits())
    model, x = saying(Use()), images / 16
    endless = ((x[:5], targets[:5]) for _ in iter(int, 1))
    assert model.evaluate(endless, steps=3).images == 15
    for given, words in (
        (iter([x]), "batch: found ndarray"), (iter([(x, targets, 1)]), "batch: found 3 parts"),
        (iter([]), "found no image"), (x, "y: found None, expected the right classes"),
        (iter([(x, targets + 0.5)]), "y: found 0.5"),
    ):  # fmt: skip
        with pytest.raises(bnn.InputError, match=words):
            model.evaluate(given)


def test_keras_is_as_often_right(call: Any, folder: Path, tmp_path: Path) -> None:
    keras, lq = pytest.importorskip("tf_keras"), pytest.importorskip("larq")
    images, targets = digits()
    keras.utils.set_random_seed(1)
    quantized = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip", "use_bias": False}
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            lq.layers.QuantConv2D(16, 3, **quantized),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            lq.layers.QuantDense(10, input_quantizer="ste_sign", **quantized),
            keras.layers.BatchNormalization(),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    model.fit(images[:-COUNT] / 16, targets[:-COUNT], epochs=4, verbose=0)
    bnn.compile(model, labels=NAMES, preprocess={"scale": 240}).save(tmp_path / "net.bnn")
    record = call("evaluate", tmp_path / "net.bnn", folder, "--json").json
    _, accuracy = model.evaluate(images[-COUNT:] / 16, targets[-COUNT:], verbose=0)
    assert record["accuracy"] == pytest.approx(accuracy, abs=1e-6) and 0.5 < accuracy < 1
