"""Random Larq models: Keras called eagerly, and the compiled model, bit for bit, end to end and layer by layer.

Inputs and parameters are such that every float sum is exact, so the order of summation does not matter and any
difference is an error.  Thousands:

    BNN_TEST_SEED=1000 BNN_TEST_COUNT=5000 python -m pytest -n 2 tests/differential -m "not slow"
"""

from __future__ import annotations

import os
import secrets

import numpy as np
import pytest
import tensorflow as tf

import bnn
from bnn.importers.tensorflow import freeze
from bnn.verify import verify
from graphs import seeds

from .generator import BATCH, Model, random_model

SEEDS = seeds(150)
GROUP = 10
SLOW = 60  # models of each slow test


def check(model: Model) -> bnn.Model:
    where = f"repeat with BNN_TEST_SEED={model.seed} BNN_TEST_COUNT=1"
    frozen = freeze(model.keras)
    compiled = bnn.compile(frozen)
    expected = tf.nest.flatten(model.keras(model.inputs if len(model.inputs) > 1 else model.inputs[0], training=False))
    found = compiled(model.inputs if len(model.inputs) > 1 else model.inputs[0])
    found = [found] if isinstance(found, np.ndarray) else list(found.values() if isinstance(found, dict) else found)
    assert len(found) == len(expected)
    for i, (ours, tensor, exact) in enumerate(zip(found, expected, model.exact, strict=True)):
        theirs = tensor.numpy()
        if exact:
            wrong = int(np.count_nonzero(ours != theirs))
            assert wrong == 0, f"{where}: {wrong} of {ours.size} values of output {i} differ"
        else:
            scale = max(1.0, float(np.abs(theirs).max()))
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * scale, err_msg=f"{where}: output {i}")
    report = verify(frozen, compiled, model.inputs, batch_size=BATCH)
    for layer in report.layers:
        if layer.kind != "floats":
            assert layer.different == 0, f"{where}: {layer.different} of {layer.compared} {layer.kind} of {layer.layer}"
    assert report.end_to_end.images_with_different_bits == 0, where
    return compiled


def check_all(first: int, count: int) -> None:
    for seed in range(first, first + count):
        check(random_model(seed))
        tf.keras.backend.clear_session()


@pytest.mark.parametrize("first", SEEDS[::GROUP])
def test_random_models(first: int) -> None:
    check_all(first, min(GROUP, SEEDS.stop - first))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_other_random_models(part: int) -> None:
    """Other ones in every run."""
    first = int(os.environ.get("BNN_TEST_SEED") or secrets.randbits(31)) + part * SLOW
    print(f"BNN_TEST_SEED={first} BNN_TEST_COUNT={SLOW}")
    check_all(first, SLOW)


def test_random_models_are_worth_it() -> None:
    """The generator makes what the compiler is about, and mostly what is exact."""
    models = [random_model(seed) for seed in range(60)]
    used = {name for model in models for name in model.layers}
    wanted = {"conv", "depthwise", "separable", "transposed", "local", "dense", "batch_norm", "max_pool"}
    wanted |= {"average_pool", "prelu", "relu", "gate", "curve", "quantizer", "concat", "residual", "nested", "move"}
    wanted |= {"bytes"}
    assert used >= wanted, wanted - used
    exact = [e for model in models for e in model.exact]
    assert sum(exact) > 0.7 * len(exact)
    assert sum(len(model.inputs) > 1 for model in models) > 3 and sum(len(model.exact) > 1 for model in models) > 10
