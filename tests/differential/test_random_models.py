"""Random Larq models: Keras called eagerly, and the compiled model, bit for bit, end to end and layer by layer.

Inputs and parameters are such that every float sum is exact, so the order of summation does not matter and any
difference is an error.  BNN_TEST_SEED and BNN_TEST_COUNT say which models, and how many.
"""

from __future__ import annotations

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


@pytest.mark.parametrize("first", SEEDS[::GROUP])
def test_random_models(first: int) -> None:
    for seed in range(first, min(first + GROUP, SEEDS.stop)):
        check(random_model(seed))
        tf.keras.backend.clear_session()
