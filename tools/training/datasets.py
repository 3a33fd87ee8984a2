# SPDX-License-Identifier: Apache-2.0
"""The data sets that the tools train on, as fixed train / validation / test splits of uint8 images.

    digits         8 x 8 handwritten digits that come with scikit-learn (values 0..16)
    fashion-mnist  28 x 28 clothes, read from the four IDX files of the original publication

A model's input is image / scale, and `scale` is a power of two. So every input is a multiple of
1 / scale, and a sum of up to 2**24 / scale inputs weighted by +-1 is exact in float32 whatever the
order of summation: the first binary layer has one right answer, on every machine.
"""

from __future__ import annotations

import gzip
import importlib
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import UserError

Images = NDArray[np.uint8]
Labels = NDArray[np.int32]

# Where Debian's package dataset-fashion-mnist and Keras' own loader put the files.
FASHION_MNIST_FOLDERS = (
    Path("/usr/share/datasets/fashion-mnist"),
    Path("~/.keras/datasets/fashion-mnist"),
)
FASHION_MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_IDX_UBYTE = 0x08


class DatasetError(UserError):
    """A data set is unknown, missing, truncated or not what it should be."""


@dataclass(frozen=True)
class Split:
    """images: uint8 (N, H, W, C); labels: int32 (N,) in 0..classes-1; both read-only."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """A data set in its fixed splits; `scale` is the power of two that inputs are divided by."""

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    scale: int

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        height, width, channels = self.train.images.shape[1:]
        return int(height), int(width), int(channels)


def to_input(images: Images, scale: int) -> NDArray[np.float32]:
    """The model's input: images / scale as float32, exact because scale is a power of two."""
    return images.astype(np.float32) * np.float32(1.0 / scale)


def load(name: str, folder: str | Path | None = None) -> Dataset:
    """Load a data set by name; `folder`, when given, is the only place searched for its files.

    Raises DatasetError for an unknown name and for missing, damaged or contradictory files.
    """
    if name not in DATASETS:
        raise DatasetError(f"no data set named {name!r}; choose from: {', '.join(DATASETS)}")
    return DATASETS[name](None if folder is None else Path(folder))


def _every_nth(labels: Labels, n: int) -> NDArray[np.bool_]:
    """A mask of every n-th example of each class: stratified, and free of any random generator,
    so that the split is the same under every version of NumPy."""
    mask = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        mask[np.flatnonzero(labels == label)[n - 1 :: n]] = True
    return mask


def _split(images: Images, labels: Labels) -> Split:
    images, labels = np.ascontiguousarray(images), np.ascontiguousarray(labels)
    images.setflags(write=False)
    labels.setflags(write=False)
    return Split(images, labels)


def _digits(folder: Path | None) -> Dataset:
    if folder is not None:
        raise DatasetError("the digits data set comes with scikit-learn; it takes no data folder")
    try:
        sklearn_datasets: Any = importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise DatasetError(
            f"the digits data set comes with scikit-learn ({error}): pip install scikit-learn"
        ) from error
    bunch = sklearn_datasets.load_digits()
    images: Images = bunch.images.astype(np.uint8)[..., np.newaxis]
    labels: Labels = bunch.target.astype(np.int32)
    # A fifth for the test, then an eighth of what is left for validation: 70 / 10 / 20 per cent.
    test = _every_nth(labels, 5)
    rest_images, rest_labels = images[~test], labels[~test]
    validation = _every_nth(rest_labels, 8)
    return Dataset(
        name="digits",
        train=_split(rest_images[~validation], rest_labels[~validation]),
        validation=_split(rest_images[validation], rest_labels[validation]),
        test=_split(images[test], labels[test]),
        class_names=tuple(str(digit) for digit in range(10)),
        scale=16,
    )


def _fashion_mnist(folder: Path | None) -> Dataset:
    files = _find_fashion_mnist(folder)
    halves: list[tuple[Images, Labels]] = []
    for images_file, labels_file in (files[:2], files[2:]):
        images, raw_labels = read_idx(images_file, 3), read_idx(labels_file, 1)
        labels: Labels = raw_labels.astype(np.int32)
        if images.shape[1:] != (28, 28):
            height, width = images.shape[1:]
            raise DatasetError(f"{images_file}: images are {height} x {width}, expected 28 x 28")
        if len(images) != len(labels):
            raise DatasetError(f"{images_file} has {len(images)} images but {labels_file} has {len(labels)} labels")
        if len(labels) == 0 or int(labels.max()) > 9:
            found = f"a label {int(labels.max())}" if len(labels) else "no labels"
            raise DatasetError(f"{labels_file}: {found}, expected labels 0 to 9")
        halves.append((images[..., np.newaxis], labels))
    (images, labels), test = halves
    # Every twelfth of a class: 5,000 of the 60,000 training images, 500 of each class.
    validation = _every_nth(labels, 12)
    return Dataset(
        name="fashion-mnist",
        train=_split(images[~validation], labels[~validation]),
        validation=_split(images[validation], labels[validation]),
        test=_split(*test),
        class_names=_FASHION_MNIST_CLASSES,
        scale=256,
    )


def _find_fashion_mnist(folder: Path | None) -> list[Path]:
    """The four files, from the first folder that holds any of them; each .gz or unpacked."""
    folders = [folder] if folder is not None else [p.expanduser() for p in FASHION_MNIST_FOLDERS]
    for place in folders:
        found: dict[str, Path] = {}
        for name in FASHION_MNIST_FILES:
            for candidate in (place / name, place / f"{name}.gz"):
                if candidate.is_file():
                    found.setdefault(name, candidate)
        missing = [name for name in FASHION_MNIST_FILES if name not in found]
        if not missing:
            return [found[name] for name in FASHION_MNIST_FILES]
        if found:
            raise DatasetError(f"{place}: Fashion-MNIST is incomplete, missing {', '.join(missing)} (or .gz)")
    searched = ", ".join(str(place) for place in folders)
    raise DatasetError(
        f"Fashion-MNIST not found; searched: {searched}. Name the folder with the four IDX files "
        "with --data, or install them: apt install dataset-fashion-mnist, or python -c "
        '"import tensorflow as tf; tf.keras.datasets.fashion_mnist.load_data()"'
    )


def read_idx(path: Path, rank: int) -> Images:
    """Read an IDX file of unsigned bytes, plain or gzipped (told by its first bytes).

    The format: two zero bytes, the element type (8 = unsigned byte), the rank, then one big-endian
    32-bit size per dimension, then the elements. Raises DatasetError naming the file and the fault.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except EOFError:
        raise DatasetError(f"{path}: the gzip stream is truncated; fetch the file again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DatasetError(f"{path}: damaged gzip file ({error}); fetch it again") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror or error}") from None
    header = 4 + 4 * rank
    expected = bytes((0, 0, _IDX_UBYTE, rank))
    if len(data) < 4 or data[:4] != expected:
        raise DatasetError(
            f"{path}: not the IDX file expected: first bytes {data[:4].hex(' ') or '(none)'}, "
            f"expected {expected.hex(' ')} (unsigned bytes of rank {rank})"
        )
    if len(data) < header:
        raise DatasetError(f"{path}: {len(data)} bytes, but the header alone has {header}")
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank))
    if len(data) - header != math.prod(shape):
        sizes = " x ".join(str(size) for size in shape)
        raise DatasetError(
            f"{path}: {len(data) - header} bytes of data, but its header says {sizes} = {math.prod(shape)}"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)


DATASETS: dict[str, Callable[[Path | None], Dataset]] = {
    "digits": _digits,
    "fashion-mnist": _fashion_mnist,
}
