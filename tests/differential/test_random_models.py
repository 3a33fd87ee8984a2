# SPDX-License-Identifier: Apache-2.0
"""Random Larq models: Keras called eagerly, and the compiled model, bit for bit, end to end and layer by layer; and as
spikes, in the event engine and as layers of neurons.

Inputs and parameters are such that every float sum is exact, so the order of summation does not matter and any
difference is an error.  Thousands:

    BNN_TEST_SEED=1000 BNN_TEST_COUNT=5000 python -m pytest -n 2 tests/differential -m "not slow"
"""

from __future__ import annotations

from collections import Counter

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

import bnn
from bnn.importers.tensorflow.load import freeze
from bnn.verification.synchronous import verify
from seed import seeds

from .claims import broken_claims, layers_of
from .generator import BATCH, Model, random_model
from .spikes import check_events, check_neurons

SEEDS = seeds(80)
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
    broken = broken_claims(model.keras, compiled, model.inputs)
    assert not broken, f"{where}: not as bits: {'; '.join(broken)}"
    try:
        check_events(compiled, model.inputs)
        for profile in ("if", "flat"):
            check_neurons(compiled, model.inputs, model.exact, profile)
    except Exception as error:
        raise AssertionError(f"{where}: as spikes") from error
    return compiled


def check_all(first: int, count: int) -> None:
    for seed in range(first, first + count):
        check(random_model(seed))
        tf.keras.backend.clear_session()


@pytest.mark.drawn
@pytest.mark.parametrize("first", SEEDS[::GROUP])
def test_random_models(first: int) -> None:
    check_all(first, min(GROUP, SEEDS.stop - first))


def seen(model: Model) -> set[str]:
    """What of the things that models are to be made of is in one."""
    found = set(model.layers)
    for layer in layers_of(model.keras):
        for name in ("input", "kernel", "depthwise", "pointwise"):
            quantizer = getattr(layer, f"{name}_quantizer", None)
            if quantizer is not None:
                kind = getattr(quantizer, "__name__", type(quantizer).__name__)
                found.add(f"{name} {kind}{getattr(quantizer, 'precision', '') if kind == 'DoReFa' else ''}")
            if name == "input" and getattr(quantizer, "ternary_weight_networks", False):
                found.add("input of the batch")
        if isinstance(layer, lq.quantizers.MagnitudeAwareSign) and layer.inbound_nodes:  # no layer's own
            found.add("magnitudes")
        if hasattr(layer, "pad_values"):
            of = "thirds" if getattr(layer.input_quantizer, "precision", 1) > 2 else "bits"
            found.add(f"{type(layer).__name__} padded with {layer.pad_values:g}, {of}")
        groups, channels = getattr(layer, "groups", 1), layer.input_shape[-1] if layer.inbound_nodes else None
        found |= {f"groups {groups}"} if groups > 1 else set()
        found |= {"groups of words"} if groups > 1 and channels // groups % 32 == 0 else set()
        found |= {"groups of one"} if groups > 1 and channels == groups else set()
        if getattr(layer, "output_padding", None):
            found.add("output padding")
        if "Separable" in type(layer).__name__:
            found |= {"separable dilated"} if max(layer.dilation_rate) > 1 else set()
            found.add(f"separable {layer.padding}")
        if isinstance(layer, tf.keras.layers.BatchNormalization) and layer.scale:
            signs = np.sign(layer.gamma.numpy())
            found |= {f"gamma {word}" for word, sign in (("< 0", -1), ("0", 0), ("> 0", 1)) if sign in signs}
    return found


# How many of 200 models have each at least.
WANTED = {
    20: (
        "conv", "dense", "batch_norm", "max_pool", "relu", "concat", "bytes", "gamma < 0", "gamma 0", "gamma > 0",
        "input SteSign", "kernel SteSign", "kernel MagnitudeAwareSign", "kernel SteTern",
    ),
    5: (
        "depthwise", "separable", "transposed", "local", "average_pool", "prelu", "gate", "curve", "quantizer",
        "nested", "move", "Add", "Subtract", "Maximum", "Minimum", "Multiply", "Average", "three", "broadcast",
        "concat elsewhere", "bytes by channel", "signed bytes", "quantized output", "output twice", "input ApproxSign",
        "input SwishSign", "input SteTern", "input SteHeaviside", "input DoReFa2", "kernel ApproxSign",
        "kernel SwishSign", "kernel SteHeaviside", "kernel DoReFa1", "kernel DoReFa2", "kernel NoOp", "kernel integers",
        "QuantConv2D padded with 1, bits", "QuantConv2D padded with -1, bits",
    ),
    1: (
        "input of the batch", "magnitudes", "input DoReFa1", "input DoReFa3", "input DoReFa4", "input DoReFa8",
        "input DoReFa9", "input sign", "kernel DoReFa3", "QuantConv2D padded with 1, thirds",
        "QuantConv1D padded with 1, bits", "QuantDepthwiseConv2D padded with 1, bits",
        "QuantSeparableConv2D padded with 1, bits", "groups 2", "groups 3", "groups 4", "groups of words",
        "groups of one", "output padding", "separable dilated", "separable causal", "global_pool",
    ),
}  # fmt: skip


@pytest.mark.slow
def test_random_models_are_worth_it() -> None:
    """The generator makes what the compiler is about, and mostly what is exact."""
    counts: Counter[str] = Counter()
    exact: list[bool] = []
    for seed in range(200):
        model = random_model(seed)
        counts.update(seen(model))
        exact += model.exact
        counts.update(["inputs"] * (len(model.inputs) > 1) + ["outputs"] * (len(model.exact) > 1))
        tf.keras.backend.clear_session()
    rare = {name: counts[name] for least, names in WANTED.items() for name in names if counts[name] < least}
    assert not rare, f"{rare} of {sorted(counts.items())}"
    assert sum(exact) > 0.7 * len(exact) and counts["inputs"] > 20 and counts["outputs"] > 40
