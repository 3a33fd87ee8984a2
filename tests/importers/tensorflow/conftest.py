# SPDX-License-Identifier: Apache-2.0
"""Networks to make hostile files of, and what these must not touch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf

from bnn.errors import CompileError

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


@pytest.fixture
def at_most(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str, int, str, Callable[[], object]], None]:
    """Lowers a limit of the importer, a constant of one of its modules: real ones are gigabytes.

    ``at_most(module, name, size, message, use)``: ``use()`` succeeds with a limit of ``size``; with one less, it is
    refused with this message.
    """

    def check(module: Any, name: str, size: int, message: str, use: Callable[[], object]) -> None:
        for most in (size, size - 1):
            with monkeypatch.context() as patch:
                patch.setattr(module, name, most)
                if most == size:
                    use()
                else:
                    with pytest.raises(CompileError, match=message):
                        use()

    return check
