# SPDX-License-Identifier: Apache-2.0
"""PokeBNN, written as its authors wrote it: compiled, binary where they meant it, and equal to Keras."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

pytest.importorskip("larq", reason="Larq is not installed")

import tf_keras as keras  # noqa: E402

import bnn  # noqa: E402

from .poke import STAGES, pokebnn  # noqa: E402


def check(model: Any, blocks: int, most: float) -> None:
    """``most``: bytes of the file per weight of the model."""
    side = model.input_shape[1]
    compiled = bnn.compile(model)
    kinds = {op.layer: op.kind for op in compiled.ops if op.op in ("bconv2d", "conv2d")}
    assert list(kinds.values()).count("binary") == 3 * blocks
    assert "gather" not in [op.op for op in compiled.ops]
    assert compiled.macs.binary > 0.95 * compiled.macs.total
    assert compiled.nbytes < most * model.count_params()
    x = np.random.default_rng(1).normal(size=(2, side, side, 3)).astype(np.float32)
    report = bnn.verify(model, compiled, x, allow_silent=True)
    assert report.ok, str(report)
    # Alone, a bit may turn: sums of floats before it round in another order, one in ten million times at a threshold.
    assert sum(layer.different for layer in report.layers if layer.kind != "floats") == 0, str(report)


def test_a_block_of_each_stage() -> None:
    keras.utils.set_random_seed(1)
    stages = tuple((features, 1, stride) for features, _, stride in STAGES[:2])
    check(pokebnn(1.0, 32, 10, stages), 2, 1.2)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_network() -> None:
    """Of every stage the block that makes an image smaller and one that does not."""
    keras.utils.set_random_seed(1)
    check(pokebnn(0.5, 96, 100, tuple((features, 2, stride) for features, _, stride in STAGES)), 8, 0.9)
