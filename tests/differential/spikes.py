# SPDX-License-Identifier: Apache-2.0
"""Compiled models as spikes: the event engine and layers of neurons give what ``model(x)`` gives, or refuse by name."""

from __future__ import annotations

from unittest import mock

import numpy as np

import bnn
from bnn.emit.nir.proof import prove
from bnn.emit.nir.write import layers_for
from bnn.events import EventEngine
from bnn.file.read import decode
from events.spiking import mismatches

from .quantizers import Array

SMALL = 2**21  # elements of a matrix of the profile "flat" that does not take long


def check_events(compiled: bnn.Model, inputs: list[Array]) -> bool:
    """All outputs and bits of every image; False where the engine refuses the model."""
    try:
        engine = EventEngine(compiled)
    except bnn.UnsupportedOpError as error:
        return _refused(error)
    outputs = _outputs(compiled, inputs)
    for k in range(len(inputs[0])):
        image = [x[k] for x in inputs]
        engine.step([x[None] for x in image] if len(image) > 1 else image[0][None])
        for i, output in enumerate(outputs):
            assert np.array_equal(engine.output(i), output[k], equal_nan=True), f"output {i} of image {k}"
        assert mismatches(engine, *image) == {}, f"image {k}"
    return True


def check_neurons(compiled: bnn.Model, inputs: list[Array], exact: list[bool], profile: str) -> bool:
    """Spikes and sums of the emitted layers against the oracle's, outputs against the runtime's; False where the model
    is refused."""
    with mock.patch("bnn.emit.nir.layered.LARGEST_MATRIX", SMALL):
        try:
            chain = layers_for(decode(compiled.to_bytes()), profile)
        except bnn.CompileError as error:
            return _refused(error)
    emitted = [value for key, value in prove(chain, inputs).items() if key.startswith("output/")]
    outputs = _outputs(compiled, inputs)
    if len(emitted) == len(outputs):  # two outputs may have one name
        for ours, theirs, same in zip(emitted, outputs, exact, strict=True):
            assert not same or np.array_equal(ours, theirs, equal_nan=True)
    return True


def _outputs(compiled: bnn.Model, inputs: list[Array]) -> list[Array]:
    found = compiled(inputs if len(inputs) > 1 else inputs[0])
    return [found] if isinstance(found, np.ndarray) else list(found.values() if isinstance(found, dict) else found)


def _refused(error: bnn.BnnError) -> bool:
    """By the name of a layer, or because nothing would spike."""
    text = str(error)
    named = "layer '" in text and "layer ''" not in text or text.startswith("op ")
    assert named or "no layer computes bits from bits" in text, text
    return False
