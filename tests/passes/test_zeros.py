# SPDX-License-Identifier: Apache-2.0
"""A sign that is 0 at 0 is a step where no sum before it leads to zero, and only there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import Graph, Node
from bnn.ir.ops import ClampAttrs, ConvAttrs, PoolAttrs, constant, input_node, make
from bnn.passes import lower
from bnn.runtime import Model

RNG = np.random.default_rng(0)
X = input_node("x", (5, 5, 4))
IMAGES = RNG.integers(-1, 2, (6, 5, 5, 4)).astype(np.float32)


def conv(x: Node, filters: int, scale: object = 1.0, pads: int = 0) -> Node:
    weights = RNG.choice([-1.0, 1.0], (filters, 2, 2, x.type.shape[-1])) * scale
    return make("conv2d", x, constant(weights), attrs=ConvAttrs(pads=(pads,) * 4), name="conv")


def step(x: Node) -> Node:
    """+1 at 0."""
    return make("sign", make("add", make("sign", x), constant([0.5])))


def affine(x: Node, factors: object, offsets: object) -> Node:
    scaled = make("mul", x, constant(np.broadcast_to(np.float32(factors), x.type.shape[-1:])))
    return make("add", scaled, constant(np.broadcast_to(np.float32(offsets), x.type.shape[-1:])))


def planes(y: Node) -> int:
    """Bits per value that the layer after the sign of y reads; it gives the bits of the oracle either way."""
    graph = Graph((X,), (conv(make("sign", y), 3),), ("y",))
    lowered = lower(graph)
    model = Model.from_bytes(encode(lowered))
    assert np.array_equal(model(IMAGES), interpret.outputs(graph, [IMAGES])[0])
    last = [n for n in lowered.schedule if n.op == "bconv2d"][-1]
    return int(last.inputs[0].type.shape[-1] // y.type.shape[-1])


@pytest.mark.parametrize(
    ("factors", "offsets", "expected"),
    [
        (1.0, 0.0, 2),
        (1.0, 0.5, 1),
        (-3.0, 1.0, 1),
        (-3.0, 6.0, 2),  # zero at a sum of 2
        (1.0, 17.0, 1),  # 16 products
        (1.0, 16.0, 2),
        ([1, 1, 1, 1, 1, 1, 1, 1], [0.5] * 7 + [4], 2),  # one filter is enough
        (0.0, 0.0, 2),
        (0.0, -1.0, 1),
    ],
)
def test_all_sums_are_evaluated(factors: object, offsets: object, expected: int) -> None:
    assert planes(affine(conv(step(X), 8, pads=1), factors, offsets)) == expected


def test_pools_and_limits_are_passed_through() -> None:
    y = make("max_pool", affine(conv(step(X), 8), 1.0, 0.5), attrs=PoolAttrs((2, 2)))
    assert planes(y) == 1
    assert planes(make("clamp", y, attrs=ClampAttrs(-1.0, 1.0))) == 1


def test_signs_with_zeros_and_ternary_weights_have_whole_sums() -> None:
    y = conv(make("sign", X), 8, RNG.integers(0, 2, (8, 2, 2, 4)))
    assert planes(affine(y, 1.0, 0.25)) == 1
    assert planes(affine(y, 1.0, 3.0)) == 2


def test_a_scale_that_rounds_needs_room_around_zero() -> None:
    """Sums of +-0.3 are within rounding of multiples; an offset of half of it is not near any, one of it is."""
    y = conv(step(X), 8, 0.3)
    assert planes(affine(y, 1.0, 0.15)) == 1
    assert planes(affine(y, 1.0, 0.3)) == 2
    assert planes(affine(y, 1.0, np.float32(0.3) * (1 + 2**-22))) == 2


def test_a_layer_is_what_its_filters_are(rng: np.random.Generator) -> None:
    """Two bits where one filter alone takes two, whatever the scales of the others and wherever it stands; more
    filters than are evaluated at once."""
    kinds = np.array([[0.5, 0.5], [1, 0.5], [0.3, 0.5], [1, 1 + 2**-22], [0.3, 1 + 2**-22], [0.7, 1], [1, 1]])

    def layer(*number: int) -> Node:
        scale, offset = np.float32(kinds[[*number]]).T
        slope = rng.choice([-1.0, 1.0, 2.0], len(scale))
        return affine(conv(step(X), len(scale), scale[:, None, None, None]), slope, slope * offset * scale)

    alone = [planes(layer(i)) for i in range(len(kinds))]
    assert alone == [1, 1, 1, 1, 2, 2, 2]
    for one, other in itertools.product(range(4), range(4, 7)):
        assert planes(layer(*rng.permutation([one, other]))) == 2
    assert planes(layer(*rng.permutation([*range(4)] * 20))) == 1
    assert planes(layer(*rng.permutation([*[*range(4)] * 20, 4]))) == 2


def test_other_data_lead_anywhere() -> None:
    y = affine(conv(step(X), 4), 1.0, 0.5)
    assert planes(make("add", y, make("max_pool", X, attrs=PoolAttrs((2, 2))))) == 2
    assert planes(affine(conv(X, 8), 1.0, 0.5)) == 2
