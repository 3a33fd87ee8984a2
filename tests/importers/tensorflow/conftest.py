# SPDX-License-Identifier: Apache-2.0
"""Networks to make hostile files of, and what these must not touch."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf

from .hostile import save_plain

keras = tf.keras


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one network in every format, and a file that none of them may read."""
    folder = tmp_path_factory.mktemp("plain")
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, name="dense")])
    model.save(folder / "net.h5")
    model.save(folder / "net.keras")
    save_plain(folder / "net")
    with h5py.File(folder / "secret", "w") as file:
        file["secret"] = np.ones((4, 3), np.float32)
    return folder


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "files"))


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    """A file that nobody must write."""
    return tmp_path / "it ran"
