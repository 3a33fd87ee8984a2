# SPDX-License-Identifier: Apache-2.0
"""The networks of larq_zoo, one of each design: compiled, as binary as their authors meant, and equal to TensorFlow."""

from __future__ import annotations

import os

import numpy as np
import pytest

import bnn
from conftest import Limit

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

pytest.importorskip("larq_zoo", reason="larq-zoo is not installed")

import zoo  # noqa: E402
from bench import networks  # noqa: E402

# In MB: what Larq Compute Engine 0.16 makes of them, which is the most that their files may have; it cannot convert
# DoReFaNet.  The others of larq_zoo have the same ops, more or wider; XNORNet reads no smaller images.
LARGEST = {
    "QuickNetSmall": 4.2, "BiRealNet": 4.2, "BinaryResNetE18": 4.2, "RealToBinaryNet": 5.4, "BinaryDenseNet28": 4.2,
    "BinaryDenseNet37Dilated": 5.3, "MeliusNet22": 4.0, "BinaryAlexNet": 4.4, "DoReFaNet": 21.5,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["QuickNetSmall", "BiRealNet", "BinaryDenseNet28", "MeliusNet22"])
def test_without_floats(name: str, limit: Limit) -> None:
    """No op of floats; each layer near its sums of floats, and the portable kernels' bytes, with int16 too."""
    limit("bench.networks.SHAPE", (64, 64, 3))
    model = bnn.compile(networks.like_trained(name, seed=0))
    images = np.random.default_rng(0).normal(size=(16, *model.input_shapes[0])).astype(np.float32)
    found = bnn.calibrate(model, images, integer_only=True, int16=[])
    print(name, f"{min(layer.snr for layer in found.layers):.0f} dB", found)
    assert min(layer.snr for layer in found.layers) > 25, found
    wide = bnn.calibrate(model, images, integer_only=True, int16=[shortcut.layer for shortcut in found.shortcuts])
    assert all(shortcut.scale for shortcut in wide.shortcuts)
    for made in (found, wide):
        assert made.float_ops == 0 and sum(layer.binary for layer in made.layers) >= 15
        scalar = bnn.Model.from_bytes(made.model.to_bytes(), kernels="scalar")
        np.testing.assert_array_equal(made.model(images[:1]), scalar(images[:1]))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", LARGEST)
def test_network(name: str, limit: Limit) -> None:
    limit("bench.networks.SHAPE", (128, 128, 3))
    # Random weights, always the same: with others, a bit may differ by rounding, and then outputs by more than asked.
    found = zoo.run(name, count=2, rounds=0, peer_names=(), seed=0)
    print(found)
    assert not found.missing, f"not as bits: {found.missing}"
    # Scores of untrained networks are nearly equal: a class may turn by a rounding that `ok` judges.
    assert found.ok and found.values_different == 0 and found.beyond_rounding == 0
    # DoReFaNet's layers carry a scale in their activations: only floats can be compared
    assert found.values_checked > 0 or found.scaled_layers > 0 or name == "DoReFaNet"
    assert found.largest_output_difference < 5e-3 and found.largest_output < 0.9999
    assert found.bytes < LARGEST[name] * 1e6
