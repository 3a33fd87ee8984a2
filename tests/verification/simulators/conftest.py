# SPDX-License-Identifier: Apache-2.0
"""What the spiking tests share; without nir and torch they are skipped, with the reason.

The networks are like those that people train, with random weights: convolutions with pooling and padding, an MLP, and
concatenations.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphs
from bnn import Model
from bnn._distribution import install
from bnn.file.write import encode
from bnn.ir.graph import Graph, Node
from bnn.ir.ops import ConvAttrs, PoolAttrs, constant, input_node, make
from bnn.passes import lower
from bnn.snn.simulators import IMPORTERS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in ("nir", "h5py", "torch") if importlib.util.find_spec(name) is None]
    if missing:
        reason = f"not installed: {', '.join(missing)}; {install('spiking')}"
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(params=list(IMPORTERS))
def importer(request: pytest.FixtureRequest) -> str:
    """Each importer that is installed."""
    if IMPORTERS[request.param].version() is None:
        pytest.skip(f"{request.param} is not installed; {install('spiking')}")
    return str(request.param)


@pytest.fixture(scope="session")
def model(small: Any) -> Model:
    """A network with stride, padding, 33 channels and a dense layer."""
    return Model.from_bytes(small.data)


def pooled(builder: Callable[[int], Any]) -> Model:
    """(16, 16, 1) -> (10): conv, pool, norm blocks; one-padding, asymmetric zero padding, OR and AND pooling."""
    build = builder(7)
    x = input_node("image", (16, 16, 1))
    h = build.norm(_pool(build.conv(x, 24, "conv_a"), "pool_a"), "norm_a")
    h = build.conv(build.sign(h, "sign_b"), 40, "conv_b")
    h = build.norm(_pool(h, "pool_b"), "norm_b")
    w = build.rng.choice([-1.0, 1.0], (33, 3, 3, 40))
    attrs = ConvAttrs(stride=(2, 2), pads=(0, 0, 1, 1))
    h = build.norm(make("conv2d", build.sign(h, "sign_c"), constant(w), attrs=attrs, name="conv_c"), "norm_c")
    h = build.norm(build.dense(build.sign(h, "sign_d"), 10, "dense"), "norm_d")
    return _compiled(x, make("softmax", h, name="softmax"))


def _pool(x: Node, name: str) -> Node:
    return make("max_pool", x, attrs=PoolAttrs((2, 2), (2, 2)), name=name)


def mlp(builder: Callable[[int], Any]) -> Model:
    """(8, 8, 1) -> (10)"""
    build = builder(8)
    x = input_node("image", (8, 8, 1))
    h = build.norm(build.dense(x, 70, "dense_a"), "norm_a")
    h = build.norm(build.dense(build.sign(h, "sign_b"), 50, "dense_b"), "norm_b")
    h = build.norm(build.dense(build.sign(h, "sign_c"), 10, "dense_c"), "norm_c")
    return _compiled(x, h)


def dense_block(builder: Callable[[int], Any]) -> Model:
    """(6, 6, 2) -> (4): concatenations of bits of several layers, which are relayed."""
    build = builder(9)
    x = input_node("image", (6, 6, 2))
    bits = [build.sign(build.norm(build.conv(x, 8, "conv_a"), "norm_a"), "sign_a")]
    for name in ("b", "c"):
        joined = bits[0] if len(bits) == 1 else make("concat", *bits, name=f"concat_{name}")
        h = build.norm(build.conv(joined, 8, f"conv_{name}"), f"norm_{name}")
        bits.append(build.sign(h, f"sign_{name}"))
    h = build.dense(make("concat", *bits, name="concat_d"), 4, "dense")
    return _compiled(x, build.norm(h, "norm_d"))


def _compiled(x: Node, output: Node) -> Model:
    return Model.from_bytes(encode(lower(Graph((x,), (output,), ("classes",)))))


def two_bits(builder: Callable[[int], Any]) -> Model:
    """(8, 7, 2) -> (5): activations of four levels, which are three neurons each."""
    return _levels("dorefa2", "signs")


def ternary(builder: Callable[[int], Any]) -> Model:
    """(8, 7, 2) -> (5): activations and weights of three values."""
    return _levels("tern", "ternary")


def _levels(quantizer: str, kernel: str) -> Model:
    return Model.from_bytes(encode(lower(graphs.levels_graph(np.random.default_rng(3), quantizer, kernel))))


def grouped(builder: Callable[[int], Any]) -> Model:
    """(8, 8, 1) -> (4): groups of a few channels, one layer of them after the other, pooled."""
    build = builder(10)
    x = input_node("image", (8, 8, 1))
    h = build.norm(build.conv(x, 12, "conv_a"), "norm_a")
    for name, groups, stride in (("b", 4, 1), ("c", 2, 2)):
        w = build.rng.choice([-1.0, 1.0], (12, 3, 3, 12 // groups))
        attrs = ConvAttrs(stride=(stride, stride), pads=(1, 1, 1, 1), groups=groups)
        h = make("conv2d", build.sign(h, f"sign_{name}"), constant(w), attrs=attrs, name=f"conv_{name}")
        h = build.norm(_pool(h, f"pool_{name}"), f"norm_{name}")
    return _compiled(x, build.norm(build.dense(build.sign(h, "sign_d"), 4, "dense"), "norm_d"))


NETWORKS = (pooled, mlp, dense_block, two_bits, ternary, grouped)


@pytest.fixture(params=NETWORKS, ids=lambda function: function.__name__)
def network(request: pytest.FixtureRequest, builder: Callable[[int], Any]) -> Model:
    """Each of them."""
    model: Model = request.param(builder)
    return model


@pytest.fixture
def another(builder: Callable[[int], Any]) -> Model:
    """A model that is not ``model``."""
    return mlp(builder)
