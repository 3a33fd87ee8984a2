# SPDX-License-Identifier: Apache-2.0
"""Damaged .onnx files: an error that is ours, or a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seed import seeds

pytest.importorskip("onnx", reason="the package onnx is not installed: pip install -e '.[onnx]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install -e '.[onnx]'")

import bnn
from bnn.errors import BnnError

from .generator import random_model

SEEDS = seeds(120)


@pytest.mark.drawn
def test_damaged_files(tmp_path: Path) -> None:
    path, refused = tmp_path / "bad.onnx", 0
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        data = bytearray(random_model(np.random.default_rng(seed // 10)).SerializeToString())
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(len(data)))
            kind = rng.integers(3)
            if kind == 0:
                data[at] = int(rng.integers(256))
            elif kind == 1:
                data[at] ^= 1 << int(rng.integers(8))
            else:
                del data[at : at + int(rng.integers(1, 9))]
        path.write_bytes(data)
        print(f"BNN_TEST_SEED={seed} BNN_TEST_COUNT=1", flush=True)
        try:
            bnn.compile(str(path))
        except BnnError as error:
            assert len(str(error)) < 2000
            refused += 1
    assert refused > len(SEEDS) // 4 or len(SEEDS) == 1
