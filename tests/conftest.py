# SPDX-License-Identifier: Apache-2.0
"""What tests of all folders share: seeded random numbers, and small networks that need no TensorFlow."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bnn._types import Array
from bnn.file.write import encode
from bnn.ir import interpret, ops
from bnn.ir.graph import Graph, Node
from bnn.passes import lower
from built import prune
from sanitized import EAGER, SANITIZE, Build, sanitizing_flags
from seed import LONG, SEED

# Before any test imports TensorFlow: Keras 2, which Larq needs, and without oneDNN, whose sums round otherwise.  One
# process imports TensorFlow once, so what one folder needs holds for all.
if importlib.util.find_spec("tf_keras"):  # else TensorFlow 2.15 carries Keras 2
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# Before any test imports ONNX Runtime: it would write below the home, and look for a host.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# A shell starts background jobs with Ctrl-C ignored, and their children would ignore it too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        prune()


def pytest_collection_finish() -> None:
    """What was imported stays, and is much with TensorFlow: whoever collects garbage need not look at it, and garbage
    is collected less often (a tenth of the time of tests that build Keras models)."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def pytest_report_header() -> str:
    return f"BNN_TEST_SEED={SEED}"


Limit = Callable[[str, object], None]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """Gives a limit or a size another value, which small inputs reach, by its dotted name."""
    return lambda name, value: monkeypatch.setattr(name, value)


@pytest.fixture
def rng() -> np.random.Generator:
    """New numbers with every commit, and others in `make test-all`; a failing test shows how to repeat it."""
    print(f"repeat with {'BNN_TEST_LONG=1 ' if LONG else ''}BNN_TEST_SEED={SEED}")
    return np.random.default_rng([SEED, LONG])


@pytest.fixture(scope="session")
def build_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run of the tests, which processes side by side share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def sanitized_build(build_root: Path) -> Build:
    """The runtime with AddressSanitizer and UndefinedBehaviorSanitizer."""
    return Build(build_root / "sanitized", sanitizing_flags(*SANITIZE, *EAGER), SANITIZE)


class Builder:
    """SOURCE graphs as an importer would make them, with random weights.

    First-layer inputs are multiples of 1/256 and all weights are signs, so that every sum is exact and the oracle, C
    and any order of summation agree bit for bit.
    """

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    def sign(self, x: Node, name: str) -> Node:
        """Larq's ste_sign: sign(sign(x) + 0.1)."""
        inner = ops.make("add", ops.make("sign", x, name=name), ops.constant(0.1), name=name)
        return ops.make("sign", inner, name=name)

    def conv(self, x: Node, filters: int, name: str, kernel: int = 3, stride: int = 1) -> Node:
        signs = self.rng.choice([-1.0, 1.0], (filters, kernel, kernel, x.type.shape[-1]))
        half = kernel // 2
        attrs = ops.ConvAttrs(stride=(stride, stride), pads=(half,) * 4)
        return ops.make("conv2d", x, ops.constant(signs), attrs=attrs, name=name)

    def dense(self, x: Node, units: int, name: str) -> Node:
        size = int(np.prod(x.type.shape))
        flat = ops.make("reshape", x, attrs=ops.ReshapeAttrs((size,)), name=f"{name}_flatten")
        signs = self.rng.choice([-1.0, 1.0], (units, 1, 1, size))
        return ops.make("conv2d", flat, ops.constant(signs), attrs=ops.ConvAttrs(), name=name)

    def norm(self, x: Node, name: str) -> Node:
        channels = x.type.shape[-1]
        for op in ("sub", "mul", "add"):
            x = ops.make(op, x, ops.constant(self.rng.normal(size=channels)), name=name)
        return x

    def inputs(self, batch: int, *shapes: tuple[int, ...]) -> list[Array]:
        return [(self.rng.integers(0, 256, (batch, *shape)) / 256).astype(np.float32) for shape in shapes]


def small_graph() -> Graph:
    """(12, 12, 1) -> (10): a float first convolution, two binary layers, softmax."""
    build = Builder()
    x = ops.input_node("image", (12, 12, 1))
    h = build.norm(build.conv(x, 32, "conv_a"), "norm_a")
    h = build.norm(build.conv(build.sign(h, "sign_b"), 33, "conv_b", stride=2), "norm_b")
    h = build.norm(build.dense(build.sign(h, "sign_c"), 10, "dense"), "norm_d")
    return Graph((x,), (ops.make("softmax", h, name="softmax"),), ("probabilities",))


def two_by_two_graph() -> Graph:
    """Two inputs of different shapes, two outputs."""
    build = Builder()
    left, right = ops.input_node("left", (5, 5, 8)), ops.input_node("right", (40,))
    a = build.norm(build.conv(build.sign(left, "sign_left"), 8, "conv"), "norm")
    b = build.dense(build.sign(right, "sign_right"), 6, "dense")
    return Graph((left, right), (a, b), ("picture", "vector"))


class Small:
    """A compiled small network, and what the oracle says of it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.data = encode(lower(graph))

    def inputs(self, batch: int, seed: int = 1) -> list[Array]:
        return Builder(seed).inputs(batch, *(n.type.shape for n in self.graph.inputs))

    def expected(self, inputs: list[Array]) -> list[Array]:
        return interpret.outputs(self.graph, inputs)


@pytest.fixture(scope="session")
def small() -> Small:
    return Small(small_graph())


@pytest.fixture(scope="session")
def two_by_two() -> Small:
    return Small(two_by_two_graph())


@pytest.fixture(scope="session")
def builder() -> Callable[[int], Builder]:
    return Builder
