# SPDX-License-Identifier: Apache-2.0
"""Batch norm before a quantizer of floats, as one comparison a channel."""

from __future__ import annotations

import numpy as np
import pytest

from bnn.ir import interpret
from bnn.ir.graph import Node
from bnn.ir.monotone import LARGEST
from bnn.ir.ops import INF, ClampAttrs, input_node, make
from bnn.passes.threshold_floats import float_thresholds, threshold_floats

from .build import channel, graph

MEANS = [0.0, 1.5, -3.0, 0.0, 0.0, 1e30, 0.0]
GAMMAS = [1.0, -2.0, 0.25, 1e-30, 0.0, -1.0, -1e-30]
BETAS = [0.0, 0.5, -0.0, -1.0, -1.0, 0.0, 1.0]
X = input_node("x", (len(MEANS),))
LINE = np.float32([-LARGEST, -1e30, -3, -1, -1e-38, -0.0, 0, 1e-38, 1, 1.25, 1.75, 3, 1e30, LARGEST])


def normed(x: Node) -> Node:
    for op, values in (("sub", MEANS), ("mul", GAMMAS), ("add", BETAS)):
        x = make(op, x, channel(values))
    return x


CHAINS = {
    "batch norm": normed(X),
    "a clip before it, so that a channel of gamma 0 is a number for infinities": normed(
        make("clamp", X, attrs=ClampAttrs(-9.0, 9.0))
    ),
    "a clip from 0 on": make("clamp", normed(X), attrs=ClampAttrs(0.0, INF)),
    "a clip below 0": make("clamp", normed(X), attrs=ClampAttrs(-INF, -1.0)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_bits_are_those_of_the_chain(name: str) -> None:
    """At the largest floats too, and at infinities where the chain gives a number."""
    before = graph(make("binarize", CHAINS[name]))
    after = threshold_floats(before)
    assert [n.op for n in after.nodes() if n.op not in ("input", "constant")] == ["binarize"]
    data = np.repeat(LINE[:, None], len(MEANS), axis=1)
    steps = after.outputs[0].inputs[1].value
    ends = np.where(np.isnan(steps), 0, np.float32([[-np.inf], [np.inf]]))
    near = np.nextafter(np.where(np.isfinite(steps), steps, 0), np.float32([[-np.inf], [0], [np.inf]]))
    data = np.concatenate([data, near.astype(np.float32), ends.astype(np.float32)])
    assert np.array_equal(*(interpret.outputs(g, [data])[0] for g in (before, after)))


def test_what_only_one_infinity_makes_no_number_has_no_threshold() -> None:
    clipped = make("clamp", X, attrs=ClampAttrs(-INF, 6.0))
    assert float_thresholds(make("binarize", make("mul", clipped, channel([0.0] * len(MEANS)))), X) is None


def test_every_chain_but_an_empty_one_is_a_threshold() -> None:
    """Of one operation too; what something else reads ends it."""
    one = make("mul", X, channel(GAMMAS))
    two = make("add", one, channel(BETAS))
    for value, other, read in ((X, None, X), (one, None, X), (two, None, X), (two, two, two), (two, one, one)):
        source = graph(*(make("binarize", value), *(() if other is None else (other,))))
        (bits, *_) = threshold_floats(source).outputs
        assert bits.inputs[0] is read and len(bits.inputs) == (1 if value is read else 3)


@pytest.mark.parametrize("end", [-INF, INF])
def test_what_a_finite_number_makes_no_number_has_no_threshold(end: float) -> None:
    """At one end alone: what overflows there, times zero."""
    limits = ClampAttrs(-9.0, INF) if end > 0 else ClampAttrs(-INF, 9.0)
    large = make("clamp", make("mul", X, channel([3.0] * len(MEANS))), attrs=limits)
    source = graph(make("binarize", make("mul", large, channel([0.0] * len(MEANS)))))
    assert threshold_floats(source) is source
