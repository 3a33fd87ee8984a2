# SPDX-License-Identifier: Apache-2.0
"""Ops of bytes whose forms the runtime recognizes, over all bytes: every kernel family against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from bnn._types import Array
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import DType, Node
from bnn.ir.ops import ConvAttrs, RequantizeAttrs, constant, input_node, make
from bnn.ir.ops.requantize import random_multiplier
from bnn.runtime import Model, available_kernels
from op_graphs import plan

Random = np.random.Generator
BYTES = np.arange(256, dtype=np.uint8)


def check(inputs: list[Node], y: Node, images: list[Array]) -> None:
    graph = plan(inputs, [y])
    (expected,) = interpret.outputs(graph, images)
    assert len(np.unique(expected)) > 1
    for family in available_kernels():
        model = Model.from_bytes(encode(graph), kernels=family)
        np.testing.assert_array_equal(model(images), expected, err_msg=family)
        np.testing.assert_array_equal(model.predict(images, threads=3), expected, err_msg=family)


@pytest.mark.parametrize("channels", [32, 40, 71])
def test_signs_of_bytes(channels: int, rng: Random) -> None:
    """Depthwise, of one pixel, by +-1: thresholds from below all numbers to above them."""
    x = input_node("x", (4, 64, channels), DType.u8)
    operands = [constant(rng.integers(0, 256, channels)), constant(rng.integers(-300, 300, channels), DType.i32)]
    weights = constant(rng.choice([-1, 1], (channels, 1, 1, 1)), DType.i8)
    attrs = ConvAttrs(groups=channels, slots=("zeros", "threshold"), layer_slots=("zeros",), out=DType.b1)
    bits = make("qconv2d", x, weights, *operands, attrs=attrs)
    image = np.broadcast_to(BYTES.reshape(1, 4, 64, 1), (1, *x.type.shape))
    check([x], make("unpack", bits), [np.ascontiguousarray(image)])


@pytest.mark.parametrize("changed", [False, True], ids=["lines", "one number beside its line"])
def test_sums_of_bytes(changed: bool, rng: Random) -> None:
    """Of every byte and every other."""
    x, y = (input_node(name, (256, 256, 1), DType.u8) for name in "xy")
    steps = rng.choice([-(2**15), 2**15 - 1, *rng.integers(-5000, 5000, 4)], 2)
    tables = [(np.arange(256) - int(rng.integers(0, 256))) * step for step in steps]
    multiplier, shift = random_multiplier(rng, 2 * float(max(abs(t).max() for t in tables)))
    if changed:
        tables[int(rng.integers(2))][int(rng.integers(256))] += 2**24
    numbers = (constant(table, DType.i32) for table in tables)
    attrs = RequantizeAttrs(multiplier, shift, int(rng.integers(0, 256)), 0, 255)
    pairs = [np.broadcast_to(b, (1, 256, 256, 1)) for b in (BYTES.reshape(1, 256, 1, 1), BYTES.reshape(1, 1, 256, 1))]
    sums = make("cast", make("qadd", x, y, *numbers, attrs=attrs), constant(BYTES))
    check([x, y], sums, [np.ascontiguousarray(pair) for pair in pairs])


def test_products_of_bytes(rng: Random) -> None:
    """Of every byte and every other, and of pixels by a pixel, looked up again."""
    x, y, gate = (
        input_node(n, shape, DType.u8) for n, shape in (("x", (4, 64, 71)), ("y", (4, 64, 71)), ("z", (1, 1, 71)))
    )
    numbers = [constant(np.arange(256) - zero, DType.i32) for zero in rng.integers(0, 256, 3)]
    attrs = RequantizeAttrs(*random_multiplier(rng, 2.0**16), int(rng.integers(0, 256)), 0, 255)
    both = make("qmul", x, y, *numbers[:2], attrs=attrs)
    gated = make("qmul", both, gate, numbers[0], numbers[2], attrs=attrs)
    table = constant(rng.integers(0, 256, 256), DType.u8)
    out = make("cast", make("lookup", gated, table), constant(BYTES))
    check([x, y, gate], out, [rng.integers(0, 256, (1, *n.type.shape)).astype(np.uint8) for n in (x, y, gate)])
