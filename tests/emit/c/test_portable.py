# SPDX-License-Identifier: Apache-2.0
"""The kernels "portable": sums of floats with the bytes that emitted C has, whatever the processor."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

import bnn
import op_graphs
from bnn._types import Array
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import Graph, Node
from bnn.runtime import Model, available_kernels
from sanitized import call

Rng = np.random.Generator
NETWORKS = 8
IMAGES = 6
FUSING = {"avx2", "avx512", "neon"}  # families whose products and sums are rounded once


def _convolution(rng: Rng, x: Node) -> Node:
    filters, kernel = int(rng.integers(3, 80)), int(rng.integers(1, 4))
    weights = ops.constant(rng.normal(size=(filters, kernel, kernel, x.type.shape[-1])))
    numbers = [ops.constant(rng.normal(size=filters)) for _ in range(3)]
    attrs = ops.ConvAttrs(pads=(1, 1, 1, 1), slots=("sub", "mul", "add"))
    return ops.make("conv2d", x, weights, *numbers, attrs=attrs)


def _depthwise(rng: Rng, x: Node) -> Node:
    channels = x.type.shape[-1]
    weights = ops.constant(rng.normal(size=(channels, 3, 3, 1)))
    return ops.make("conv2d", x, weights, attrs=ops.ConvAttrs(pads=(1, 1, 1, 1), groups=channels))


def _binary(rng: Rng, x: Node) -> Node:
    filters = int(rng.integers(3, 40))
    signs = op_graphs.signs(rng, (filters, 3, 3, x.type.shape[-1]))
    sums = ops.make("bconv2d", ops.make("binarize", x), signs, attrs=ops.ConvAttrs(pads=(1, 1, 1, 1)))
    return ops.make("affine", sums, *(ops.constant(rng.normal(size=filters)) for _ in range(3)))


def _function(rng: Rng, x: Node) -> Node:
    return ops.make(str(rng.choice(["tanh", "sigmoid"])), x)


def network(rng: Rng) -> Graph:
    """Floats, and weights that are any floats, so that sums depend on how they are rounded."""
    x = value = ops.input_node("x", (int(rng.integers(4, 9)), int(rng.integers(4, 9)), int(rng.integers(1, 20))))
    for make in rng.choice([_convolution, _depthwise, _binary, _function], int(rng.integers(1, 4))):  # type: ignore[arg-type]
        value = make(rng, value)
    value = _convolution(rng, value)
    flat = ops.make("reshape", value, attrs=ops.ReshapeAttrs((int(np.prod(value.type.shape)),)))
    weights = ops.constant(rng.normal(size=(10, 1, 1, flat.type.shape[0])) / 20)
    logits = ops.make("conv2d", flat, weights, attrs=ops.ConvAttrs())
    return op_graphs.plan([x], [ops.make("softmax", logits), logits])


def _bytes(model: Model, x: Array, **options: int) -> list[bytes]:
    return [y.tobytes() for y in model.predict(x, **options)]


def test_emitted_c_and_portable_kernels_give_the_same_bytes(rng: Rng, tmp_path: Path) -> None:
    """The vectors of emitted C are those of portable kernels, whatever the model's own; the fast kernels differ, or
    this test could not fail."""
    differ = 0
    for number in range(NETWORKS):
        fast = Model.from_bytes(encode(network(rng)))
        x = rng.normal(size=(IMAGES, *fast.input_shapes[0])).astype(np.float32)
        portable, scalar = (fast.with_kernels(name) for name in ("portable", "scalar"))
        expected = _bytes(scalar, x)
        assert _bytes(portable, x) == expected
        assert _bytes(portable, x, threads=3, batch_size=2) == expected
        assert _bytes(Model.from_bytes(fast.to_bytes(), kernels="portable"), x[:1]) == _bytes(scalar, x[:1])
        differ += _bytes(fast, x) != expected
        folder = tmp_path / f"network_{number}"
        bnn.emit_c(fast, folder, name="net", vectors=x)
        files = [str(folder / name) for name in ("main.c", "net.c", "net_kernels.c")]
        call("gcc", "-std=c99", "-O1", *files, "-lm", "-o", str(folder / "net"))
        assert f"0 of {IMAGES} wrong" in call(str(folder / "net"))
    family = available_kernels()[0]
    if family not in FUSING:
        pytest.skip(f"{platform.machine()}: the fastest kernels, {family}, are portable themselves")
    assert differ > 0, "the fast kernels gave the portable bytes: nothing was tested"
