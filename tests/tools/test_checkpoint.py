# SPDX-License-Identifier: Apache-2.0
"""The checkpoint file: whole after a failed save, refused with a reason when damaged."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from training import checkpoint


def test_state_comes_back_as_it_was(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=(2, 3)).astype(np.float32) for _ in range(12)]
    optimizer: list[checkpoint.Array] = [np.array(7, dtype=np.int64), *weights[::-1]]
    state = checkpoint.Checkpoint({"seed": 3, "data": None}, [{"epoch": 1}], weights, optimizer, [])
    checkpoint.save(tmp_path, state)
    loaded = checkpoint.load(tmp_path)
    assert (loaded.settings, loaded.history) == (state.settings, state.history)
    for group in ("weights", "optimizer", "best"):
        found, expected = getattr(loaded, group), getattr(state, group)
        assert [array.dtype for array in found] == [array.dtype for array in expected]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_interrupted_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = [np.arange(3, dtype=np.float32)]
    state = checkpoint.Checkpoint({"seed": 1}, [], arrays, arrays, arrays)
    checkpoint.save(tmp_path, state)

    def dies(file: Any, **arrays: Any) -> None:
        file.write(b"PK\x03\x04 half a file")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", dies)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path, dataclasses.replace(state, settings={"seed": 2}))
    loaded = checkpoint.load(tmp_path)
    assert loaded.settings == {"seed": 1}
    np.testing.assert_array_equal(loaded.weights[0], arrays[0])


@pytest.mark.parametrize("keep", [0, 10, -100])
def test_damaged_checkpoint(tmp_path: Path, keep: int) -> None:
    arrays = [np.zeros(1000, dtype=np.float32)]
    checkpoint.save(tmp_path, checkpoint.Checkpoint({}, [], arrays, arrays, arrays))
    path = tmp_path / checkpoint.FILE_NAME
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(checkpoint.CheckpointError, match=r"damaged.*--overwrite"):
        checkpoint.load(tmp_path)
