# SPDX-License-Identifier: Apache-2.0
"""The data sets: fixed splits, exact scales, and errors that say what is wrong with which file."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from training import datasets

Array = NDArray[np.uint8]

IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = datasets.FASHION_MNIST_FILES


def idx(array: NDArray[Any]) -> bytes:
    """The IDX file of a uint8 array, written from the format's definition."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


def write_fashion(folder: Path, compress: bool = False) -> dict[str, Array]:
    """A small Fashion-MNIST: 24 training images and 2 test images of each class, shuffled."""
    generator = np.random.default_rng(0)
    arrays: dict[str, Array] = {}
    for images, labels, per_class in ((IMAGES, LABELS, 24), (TEST_IMAGES, TEST_LABELS, 2)):
        arrays[labels] = generator.permutation(np.repeat(np.arange(10, dtype=np.uint8), per_class))
        arrays[images] = generator.integers(0, 256, (10 * per_class, 28, 28), dtype=np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        if compress:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return arrays


def test_digits_are_all_there_once() -> None:
    data = datasets.load("digits")
    assert data.input_shape == (8, 8, 1)
    assert data.class_names == tuple("0123456789")
    splits = (data.train, data.validation, data.test)
    assert [len(split) for split in splits] == [1265, 177, 355]
    from sklearn.datasets import load_digits

    whole = load_digits()
    expected = sorted(
        (int(label), image.astype(np.uint8).tobytes()) for image, label in zip(whole.images, whole.target, strict=True)
    )
    found = sorted(
        (int(label), image.tobytes())
        for split in splits
        for image, label in zip(split.images, split.labels, strict=True)
    )
    assert found == expected


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_splits_are_stratified_and_read_only(split: str) -> None:
    part = getattr(datasets.load("digits"), split)
    counts = np.bincount(part.labels, minlength=10)
    # The classes of the whole have 174 to 183 images.
    assert counts.max() - counts.min() <= 0.1 * counts.max() + 1
    assert part.images.dtype == np.uint8
    assert part.labels.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        part.images[0, 0, 0, 0] = 1


def test_the_split_never_changes() -> None:
    """Accuracies of different runs can be compared only while this holds."""
    first, second = datasets.load("digits"), datasets.load("digits")
    np.testing.assert_array_equal(first.validation.images, second.validation.images)
    # Every fifth of a class is for the test: found here by counting, not by the tool's own code.
    from sklearn.datasets import load_digits

    whole = load_digits()
    zeros = np.flatnonzero(whole.target == 0)
    expected = whole.images[zeros[4::5]].astype(np.uint8)[..., np.newaxis]
    np.testing.assert_array_equal(first.test.images[first.test.labels == 0], expected)


def test_inputs_and_their_signed_sums_are_exact() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    x = datasets.to_input(images, 256)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x.astype(np.float64) * 256, images)
    generator = np.random.default_rng(3)
    numbers = generator.integers(0, 256, 4096, dtype=np.uint8)
    signs = generator.choice([-1, 1], 4096)
    terms = datasets.to_input(numbers, 256) * signs.astype(np.float32)
    exact = int(np.sum(numbers.astype(np.int64) * signs)) / 256
    for order in (np.arange(4096), generator.permutation(4096)):
        assert float(np.cumsum(terms[order], dtype=np.float32)[-1]) == exact


@pytest.mark.parametrize("name", list(datasets.DATASETS))
def test_scales_are_powers_of_two_that_bound_the_inputs(name: str, tmp_path: Path) -> None:
    folder = None
    if name == "fashion-mnist":
        folder = tmp_path
        write_fashion(folder)
    data = datasets.load(name, folder)
    assert data.scale & (data.scale - 1) == 0
    x = datasets.to_input(data.train.images, data.scale)
    assert float(x.min()) >= 0.0
    assert float(x.max()) <= 1.0


@pytest.mark.parametrize("compress", [False, True])
def test_fashion_mnist_from_a_folder(tmp_path: Path, compress: bool) -> None:
    arrays = write_fashion(tmp_path, compress)
    data = datasets.load("fashion-mnist", tmp_path)
    assert data.input_shape == (28, 28, 1)
    assert [len(data.train), len(data.validation), len(data.test)] == [220, 20, 20]
    assert np.bincount(data.validation.labels).tolist() == [2] * 10
    np.testing.assert_array_equal(data.test.images[..., 0], arrays[TEST_IMAGES])
    np.testing.assert_array_equal(data.test.labels, arrays[TEST_LABELS])
    # The images have kept their labels.
    pairs = {a.tobytes(): int(b) for a, b in zip(arrays[IMAGES], arrays[LABELS], strict=True)}
    for split in (data.train, data.validation):
        for image, label in zip(split.images, split.labels, strict=True):
            assert pairs[image.tobytes()] == label


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Where the data set usually is."""
    monkeypatch.setattr(datasets, "FASHION_MNIST_FOLDERS", (tmp_path / "first", tmp_path / "second"))
    return datasets.FASHION_MNIST_FOLDERS


def test_usual_places_are_searched_in_order(places: tuple[Path, Path]) -> None:
    write_fashion(places[1])
    assert len(datasets.load("fashion-mnist").test) == 20


def test_missing_files_name_every_place(places: tuple[Path, Path]) -> None:
    with pytest.raises(datasets.DatasetError) as error:
        datasets.load("fashion-mnist")
    for expected in (*places, "--data", "apt install dataset-fashion-mnist"):
        assert str(expected) in str(error.value)


def test_a_given_folder_is_not_replaced_by_another(tmp_path: Path, places: tuple[Path, Path]) -> None:
    write_fashion(places[0])
    with pytest.raises(datasets.DatasetError, match="nowhere"):
        datasets.load("fashion-mnist", tmp_path / "nowhere")


def _truncated_gzip(folder: Path) -> None:
    whole = (folder / f"{IMAGES}.gz").read_bytes()
    (folder / f"{IMAGES}.gz").write_bytes(whole[: len(whole) // 2])


def _flipped_gzip_byte(folder: Path) -> None:
    whole = bytearray((folder / f"{IMAGES}.gz").read_bytes())
    whole[-6] ^= 0xFF  # in the checksum
    (folder / f"{IMAGES}.gz").write_bytes(whole)


def _raw(folder: Path, name: str, content: bytes) -> None:
    (folder / f"{name}.gz").unlink()
    (folder / name).write_bytes(content)


DAMAGES = {
    "truncated gzip": (_truncated_gzip, IMAGES, "truncated"),
    "gzip checksum": (_flipped_gzip_byte, IMAGES, "damaged gzip"),
    "empty": (lambda f: _raw(f, IMAGES, b""), IMAGES, r"\(none\)"),
    "text": (lambda f: _raw(f, IMAGES, b"<html>404</html>"), IMAGES, "3c 68 74 6d"),
    "labels as images": (lambda f: _raw(f, IMAGES, idx(np.zeros(240))), IMAGES, "00 00 08 01, expected 00 00 08 03"),
    "header only": (lambda f: _raw(f, IMAGES, b"\0\0\x08\x03\0\0"), IMAGES, "header"),
    "too short": (
        lambda f: _raw(f, IMAGES, idx(np.zeros((240, 28, 28)))[:-1]),
        IMAGES,
        "188159 bytes of data, but its header says 240 x 28 x 28 = 188160",
    ),
    "too long": (lambda f: _raw(f, TEST_IMAGES, idx(np.zeros((20, 28, 28))) + b"x"), TEST_IMAGES, "15681 bytes"),
    "other size": (lambda f: _raw(f, IMAGES, idx(np.zeros((240, 27, 28)))), IMAGES, "27 x 28, expected 28 x 28"),
    "fewer labels": (lambda f: _raw(f, LABELS, idx(np.zeros(239))), LABELS, "240 images but .* 239 labels"),
    "label 10": (lambda f: _raw(f, LABELS, idx(np.full(240, 10))), LABELS, "label 10"),
    "one file missing": (lambda f: (f / f"{TEST_LABELS}.gz").unlink(), TEST_LABELS, "incomplete"),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damaged_files_are_named_with_their_fault(tmp_path: Path, damage: str) -> None:
    write_fashion(tmp_path, compress=True)
    harm, name, message = DAMAGES[damage]
    harm(tmp_path)
    with pytest.raises(datasets.DatasetError, match=message) as error:
        datasets.load("fashion-mnist", tmp_path)
    assert name in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_unknown_names_are_answered_with_the_known() -> None:
    with pytest.raises(datasets.DatasetError, match=r"'mnist'.*digits, fashion-mnist"):
        datasets.load("mnist")


def test_digits_take_no_folder(tmp_path: Path) -> None:
    with pytest.raises(datasets.DatasetError, match="no data folder"):
        datasets.load("digits", tmp_path)
