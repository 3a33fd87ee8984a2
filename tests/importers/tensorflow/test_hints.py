# SPDX-License-Identifier: Apache-2.0
"""Hints on real Larq layers: each row of the list, and networks that need none."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

import bnn
from bnn.passes.explain import HINTS

L = tf.keras.layers
Q = lq.layers


NUMBERS = itertools.count()


def conv(filters: int = 8, **options: Any) -> Any:
    binary = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "use_bias": False, "padding": "same"}
    return Q.QuantConv2D(filters, 3, **{**binary, **options})


def norm() -> Any:
    """A batch norm as trained; Keras' own names begin again where another test clears its session."""
    random = tf.keras.initializers.RandomUniform(-3.0, 3.0, seed=3)
    return L.BatchNormalization(beta_initializer=random, moving_mean_initializer=random, name=f"norm{next(NUMBERS)}")


def first() -> list[Any]:
    return [conv(33, input_quantizer=None), norm()]


def mostly_sign(w: Any) -> Any:
    """tf.sign of weights of which the first few are 0."""
    zeros = tf.concat([tf.zeros(7), tf.ones(tf.size(w) - 7)], axis=0)
    return tf.sign(w * tf.reshape(zeros, tf.shape(w)))


CASES: dict[str, tuple[str, list[Any]]] = {
    "float weights": ("a kernel quantizer would", [*first(), conv(kernel_quantizer=None), norm()]),
    "float weights, levels": (
        "a kernel quantizer would",
        [*first(), conv(input_quantizer=lq.quantizers.DoReFa(k_bit=3), kernel_quantizer=None)],
    ),
    "float input": ("an input quantizer would", [*first(), conv(input_quantizer=None), norm()]),
    "float input behind a pool": ("an input quantizer would", [*first(), L.MaxPool2D(2), conv(input_quantizer=None)]),
    "relu": ("all its bits are +1", [*first(), conv(), L.ReLU(), conv()]),
    "relu behind batch norm": ("all its bits are +1", [*first(), conv(), norm(), L.Activation("relu"), conv()]),
    "relu behind a float layer": ("all its bits are +1", [L.Conv2D(33, 3, activation="relu"), conv()]),
    "sigmoid": ("all its bits are +1", [L.Conv2D(33, 3), L.Activation("sigmoid"), conv()]),
    "average of a relu": ("all its bits are +1", [L.Conv2D(33, 3), L.ReLU(), L.AveragePooling2D(2), conv()]),
    "minus one": (
        "all its bits are -1",
        [*first(), conv(), L.BatchNormalization(beta_initializer=tf.keras.initializers.Constant(-500.0)), conv()],
    ),
    "no batch norm": ("as without a batch norm", [*first(), conv(), conv(), norm()]),
    "no batch norm but a pool": ("as without a batch norm", [*first(), conv(), L.MaxPool2D(2), conv()]),
    "bare sign": ("its input is a sign that is 0 at 0", [*first(), conv(input_quantizer=tf.sign), norm()]),
    "bare sign, ternary weights": (
        "its input is a sign that is 0 at 0",
        [*first(), conv(input_quantizer=tf.sign, kernel_quantizer=lq.quantizers.SteTern())],
    ),
    "separable": (
        "quantizes nothing between its halves",
        [*first(), Q.QuantSeparableConv2D(4, 3, depthwise_quantizer="ste_sign", pointwise_quantizer="ste_sign")],
    ),
    "separable, one dimension": (
        "quantizes nothing between its halves",
        [*first(), L.Reshape((81, 33)), Q.QuantSeparableConv1D(4, 3, pointwise_quantizer="ste_sign")],
    ),
    "some floats": (
        "an input quantizer would",
        [*first(), L.Lambda(lambda x: tf.concat([lq.math.sign(x), x], -1)), conv(input_quantizer=None)],
    ),
    "few zeros": ("few of its weights are 0", [*first(), conv(kernel_quantizer=mostly_sign), norm()]),
}
GOOD: dict[str, list[Any]] = {
    "larq": [*first(), conv(), norm(), conv(), L.MaxPool2D(2), norm(), conv(), norm()],
    "hard tanh": [*first(), conv(), norm(), L.Activation("hard_tanh"), conv(), norm()],
    "relu before batch norm": [*first(), conv(), L.ReLU(), norm(), conv(), norm()],
    "ternary": [*first(), conv(input_quantizer=lq.quantizers.SteTern(), kernel_quantizer=lq.quantizers.SteTern())],
    "zeros and ones by ternary weights": [
        *first(), conv(input_quantizer="ste_heaviside", kernel_quantizer=lq.quantizers.SteTern(), padding="valid"),
    ],
    "levels padded with none of them": [*first(), conv(input_quantizer="ste_heaviside", pad_values=-1.0), norm()],
    "levels, joined and turned": [
        *first(), lq.quantizers.SteTern(),
        L.Lambda(lambda x: tf.concat([x, x[:, ::-1]], -1)), L.MaxPool2D(2), conv(input_quantizer=None, padding="valid"),
    ],
    "dorefa": [*first(), conv(input_quantizer=lq.quantizers.DoReFa(k_bit=2)), norm()],
    "relu before dorefa": [*first(), L.ReLU(), conv(input_quantizer=lq.quantizers.DoReFa(k_bit=2)), norm()],
    "float layers": [L.Conv2D(8, 3), norm(), L.ReLU(), L.Conv2D(8, 3), L.GlobalAveragePooling2D(), L.Dense(3)],
    "float end": [*first(), conv(), norm(), lq.quantizers.SteSign(), L.GlobalAveragePooling2D(), L.Dense(3)],
}  # fmt: skip


def texts(*stack: Any) -> list[str]:
    """The warnings, which Python's own say as well; the summary has them after the layers with their notes."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", bnn.CompileWarning)
        model = bnn.compile(tf.keras.Sequential([L.Input((9, 9, 3)), *stack]))
    found, summary = model.warnings, model.summary()
    assert [f"warning: {w.message}" for w in said if w.category is bnn.CompileWarning] == found
    assert summary.splitlines()[-1 - len(found) :][1:] == found
    assert all(op.note in summary and "warning" not in op.note for op in model.ops)
    assert model.summary(warnings=False).splitlines() == summary.splitlines()[: len(summary.splitlines()) - len(found)]
    return found


@pytest.mark.parametrize("name", CASES)
def test_hint(name: str) -> None:
    text, stack = CASES[name]
    assert [text in line for line in texts(*stack)] == [True]


@pytest.mark.parametrize("name", ["relu", "relu behind batch norm", "relu behind a float layer", "sigmoid",
                                  "average of a relu", "minus one"])  # fmt: skip
def test_dead_bits_name_their_layer_and_the_cause(name: str) -> None:
    """The layer whose quantizer makes them, and not the one that it is fused with."""
    _, stack = CASES[name]
    (line,) = texts(*stack)
    assert line.startswith(f"warning: '{stack[-1].name}': all its bits are ")
    cause = stack[1] if name == "average of a relu" else stack[-2]
    expected = f"'{cause.name}' before its quantizer gives nothing below 0"
    assert (f"no sum of '{stack[2].name}' reaches" if name == "minus one" else expected) in line


@pytest.mark.parametrize("name", GOOD)
def test_no_hint(name: str) -> None:
    assert texts(*GOOD[name]) == []


PREPARED: dict[str, list[Any]] = {
    "as it is": [],
    "rescaled": [L.Rescaling(1 / 255)],
    "rescaled by channel": [L.Rescaling([0.1, 0.2, 0.3], [-1.0, -2.0, -3.0])],
    "normalized": [L.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0])],
    "batch norm": [norm()],
    "cut, padded, pooled, clipped": [
        L.Cropping2D(1), L.Lambda(lambda x: x[..., 1:]), L.ZeroPadding2D(1), L.MaxPool2D(2), L.ReLU(6.0),
    ],
    "joined with its square": [L.Lambda(lambda x: tf.concat([x, x * x], -1))],
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("name", PREPARED)
def test_a_layer_on_the_input_may_be_float(name: str, dtype: str) -> None:
    stack = [L.Input((9, 9, 3)), *PREPARED[name], L.Conv2D(33, 3), norm(), conv(), norm()]
    bnn.compile(tf.keras.Sequential(stack), input_dtype=dtype, require_binary=True)


def test_a_separable_layer_on_the_input_may_be_float() -> None:
    halves = {"depthwise_quantizer": "ste_sign", "pointwise_quantizer": "ste_sign"}
    model = tf.keras.Sequential([L.Input((9, 9, 3)), L.Rescaling(1 / 255), Q.QuantSeparableConv2D(4, 3, **halves)])
    bnn.compile(model, require_binary=True)


@pytest.mark.parametrize(
    "stack",
    [
        [*first(), L.Conv2D(4, 3, name="wrong")],
        [L.Conv2D(4, 3), L.Rescaling(0.5), L.MaxPool2D(2), conv(input_quantizer=None, name="wrong")],
        [conv(kernel_quantizer=None, name="wrong")],
        [conv(input_quantizer=lq.quantizers.DoReFa(k_bit=9), name="wrong")],
    ],
)
def test_others_may_not(stack: list[Any]) -> None:
    with pytest.raises(bnn.CompileError, match="1 layer is not binary: 'wrong'"):
        bnn.compile(tf.keras.Sequential([L.Input((9, 9, 3)), *stack]), require_binary=True)


def test_relu_of_a_shortcut() -> None:
    x = L.Input((9, 9, 3))
    y = L.ReLU()(L.Conv2D(33, 3, padding="same")(x))
    z = L.Add()([L.ReLU()(norm()(conv(33)(y))), y])
    model = bnn.compile(tf.keras.Model(x, conv()(z)))
    assert sum("all its bits are +1" in line for line in model.warnings) == 2


def test_every_hint_is_tested() -> None:
    assert all(any(text in hint.text for text, _ in CASES.values()) for hint in HINTS)


def test_hints_change_nothing(rng: np.random.Generator) -> None:
    keras = tf.keras.Sequential([L.Input((9, 9, 3)), *CASES["few zeros"][1]])
    x = (rng.integers(-8, 9, (2, 9, 9, 3)) / 8).astype(np.float32)
    np.testing.assert_allclose(bnn.compile(keras)(x), keras(x).numpy(), rtol=0, atol=1e-5)
