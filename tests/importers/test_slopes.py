# SPDX-License-Identifier: Apache-2.0
"""Functions with one slope above zero and another below, chosen by a comparison: the bits that Keras and ONNX Runtime
compute, also for zeros of either sign, infinities and NaN, in few ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.importers import open_source
from bnn.passes import lower
from seed import SEED

SPECIAL = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-30, -1e-30])
# By the slopes above and below zero: the ops where the first slope is that of zero, and where the second is.
SLOPES: dict[str, tuple[Any, Any, str, str]] = {
    "prelu": (1.0, [0.25, 0.0, 3.0], "prelu", "prelu"),
    "prelu of a negative slope": ([1.0] * 3, [0.25, -0.5, 3.0], "prelu", "mul mul maximum mul"),
    "the larger": ([1.1, 0.7, 0.5], [0.1, -0.7, 0.3], "mul mul maximum", "mul mul maximum"),
    "the smaller": ([-1.1, 0.7, 0.5], [0.1, 0.9, 1.3], "mul mul minimum", "mul mul minimum"),
    "one is whole": (2.0, 1.0, "mul maximum", "mul maximum"),
    "some larger": ([1.1, -0.7, 0.5], [-0.1, 0.7, 2.3], "mul mul maximum mul", "mul mul maximum mul"),
}


def inputs() -> Array:
    rng = np.random.default_rng(SEED)
    drawn = np.concatenate([np.tile(SPECIAL, 12), rng.normal(size=12)]).astype(np.float32)
    return rng.permutation(drawn).reshape(2, 4, 5, 3)


def check(model: Any, x: Array, expected: Array, ops: str) -> None:
    graph = lower(open_source(model).graph(), until="canonicalize")
    found = [node.op for node in graph.nodes() if node.op not in ("input", "constant")]
    assert sorted(found) == sorted(ops.split())
    compiled = bnn.compile(model)
    report = bnn.verify(model, compiled, np.clip(np.nan_to_num(x), -9, 9))
    assert report.ok, report
    result = compiled(x)
    odd = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(result), odd)
    np.testing.assert_array_equal(result[~odd].view(np.uint32), expected[~odd].view(np.uint32))


@pytest.mark.parametrize("name", SLOPES)
def test_keras(name: str) -> None:
    tf, keras = pytest.importorskip("tensorflow"), pytest.importorskip("tf_keras")
    p, n = (np.float32(k) for k in SLOPES[name][:2])
    forms: list[tuple[Callable[[Any], Any], int]] = [
        (lambda x: tf.where(x >= 0, p, n) * x, 2),
        (lambda x: tf.where(x > 0, p * x, x * n), 3),
        (lambda x: x * tf.where(x < 0, n, p), 2),
        (lambda x: tf.where(x <= 0, n * x, x if (p == 1).all() else p * x), 3),
    ]
    for form, ops in forms:
        model = keras.Sequential([keras.layers.Input((4, 5, 3)), keras.layers.Lambda(form)])
        x = inputs()
        check(model, x, model(x).numpy(), SLOPES[name][ops])


@pytest.mark.parametrize("name", SLOPES)
@pytest.mark.parametrize("relation", ["GreaterOrEqual", "Greater"])
def test_onnx(name: str, relation: str) -> None:
    pytest.importorskip("onnxruntime")
    from .onnx.small import by_onnx_runtime, model, node

    p, n = (np.broadcast_to(np.float32(k), 3).reshape(3, 1, 1) for k in SLOPES[name][:2])
    nodes = [node(relation, "x zero", "c"), node("Where", "c p n", "slope"), node("Mul", "slope x")]
    proto = model(nodes, {"zero": np.float32(0), "p": p, "n": n}, ("N", 3, 4, 5))
    x = np.ascontiguousarray(np.moveaxis(inputs(), -1, 1))
    check(proto, x, by_onnx_runtime(proto, x), SLOPES[name][2 if relation == "GreaterOrEqual" else 3])


@pytest.mark.parametrize(("p", "n"), [(2.0, 0.0), (0.0, 1.5), (2.0, [1.0, 0.5, -0.0])])
def test_a_slope_of_zero_stays_a_choice(p: float, n: Any) -> None:
    """Zero times infinity is NaN, and would be the larger."""
    tf, keras = pytest.importorskip("tensorflow"), pytest.importorskip("tf_keras")
    slopes = np.float32(p), np.float32(n)
    model = keras.Sequential([
        keras.layers.Input((4, 5, 3)), keras.layers.Lambda(lambda x: tf.where(x >= 0, *slopes) * x),
    ])  # fmt: skip
    x = np.nan_to_num(inputs(), posinf=np.inf, neginf=-np.inf)  # an image with NaN has NaN wherever bits are used
    np.testing.assert_array_equal(bnn.compile(model)(x), model(x).numpy())


@pytest.mark.parametrize("limit", [0.5, -1e-30])
def test_another_limit_is_no_slope(limit: float) -> None:
    tf, keras = pytest.importorskip("tensorflow"), pytest.importorskip("tf_keras")
    model = keras.Sequential([
        keras.layers.Input((4, 5, 3)), keras.layers.Lambda(lambda x: tf.where(x >= limit, x, 2.0 * x)),
    ])  # fmt: skip
    x = np.clip(np.nan_to_num(inputs()), -1, 1)
    np.testing.assert_array_equal(bnn.compile(model)(x), model(x).numpy())
