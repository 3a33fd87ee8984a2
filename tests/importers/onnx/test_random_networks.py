# SPDX-License-Identifier: Apache-2.0
"""Random ONNX networks against ONNX Runtime: equal bits, in every output."""

from __future__ import annotations

import numpy as np
import pytest

from seed import seeds

pytest.importorskip("onnx", reason="the package onnx is not installed: pip install -e '.[onnx]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install -e '.[onnx]'")

import onnx

import bnn

from .generator import random_model
from .small import by_onnx_runtime

SEEDS = seeds(40)


def check(seed: int) -> None:
    rng = np.random.default_rng(seed)
    proto = random_model(rng)
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim][1:]
    x = rng.integers(-16, 17, (6, *shape)).astype(np.float32) / 8
    expected = by_onnx_runtime(proto, x)
    compiled = bnn.compile(proto)
    found = compiled(x)
    text = f"repeat with BNN_TEST_SEED={seed} BNN_TEST_COUNT=1\n{onnx.printer.to_text(proto)}"
    assert found.shape == expected.shape, text
    assert np.array_equal(found, expected), text
    if seed % 4 == 0:
        report = bnn.verify(proto, compiled, x, allow_silent=True)  # random layers may be dead
        assert report.ok, f"{text}\n{report}"


@pytest.mark.drawn
@pytest.mark.parametrize("part", range(2))
def test_equal_bits(part: int) -> None:
    for seed in SEEDS[part::2]:
        check(seed)
