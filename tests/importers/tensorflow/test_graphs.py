# SPDX-License-Identifier: Apache-2.0
"""Whole models: functional, nested, shared and subclassed ones, Keras 2 and 3."""

from __future__ import annotations

from typing import Any

import keras as keras3
import larq as lq
import numpy as np
import pytest
import tensorflow as tf

import bnn
from bnn.errors import CompileError
from bnn.file.write import encode
from bnn.passes import lower
from seed import some

from .models import check, import_model, needs_keras3, ops, scramble

keras = tf.keras
layers = tf.keras.layers
BINARY = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}


def quant(filters: int, size: int = 3, **options: Any) -> Any:
    return lq.layers.QuantConv2D(filters, size, padding="same", use_bias=False, **BINARY, **options)


def test_residual_and_concat() -> None:
    x = layers.Input((8, 8, 32))
    y = layers.Add()([layers.BatchNormalization()(quant(32)(x)), x])
    z = layers.BatchNormalization()(quant(16, strides=2)(y))
    z = layers.Concatenate()([z, layers.MaxPool2D(2)(y)])
    graph = check(scramble(keras.Model(x, quant(8)(z))))
    assert any("residual" in n.attrs.slots for n in graph.schedule if n.op == "bconv2d")


def test_activations_of_layers_that_were_split(rng: np.random.Generator) -> None:
    """What follows a concatenation runs in its parts; a part is not given as a layer's output."""
    x = layers.Input((8, 8, 32))
    y = layers.Concatenate()([layers.BatchNormalization()(quant(32)(x)), layers.BatchNormalization()(quant(16)(x))])
    y = layers.MaxPool2D(2, name="pool")(layers.ReLU(name="relu")(y))
    model = scramble(keras.Model(x, quant(8)(layers.AveragePooling2D()(y))))
    array = rng.normal(size=(3, 8, 8, 32)).astype(np.float32)
    found = bnn.compile(model).activations(array)
    assert "pool/0" in found
    for name in {layer.name for layer in model.layers} & set(found):
        expected = keras.Model(x, model.get_layer(name).output)(array, training=False).numpy()
        assert found[name].size == expected.size, name


@pytest.mark.drawn
@pytest.mark.parametrize("layer", some([layers.SimpleRNN, layers.GRU, layers.LSTM]), ids=lambda layer: layer.__name__)
def test_unrolled_recurrent_layers(layer: Any) -> None:
    """Their first state is zeros, as many as there are images."""
    x = layers.Input((4, 5))
    y = layers.Bidirectional(layer(6, unroll=True, return_sequences=True))(x)
    check(scramble(keras.Model(x, layers.Dense(3)(layer(4, unroll=True)(y)))))


def test_unrolled_gru_of_the_first_kind() -> None:
    """One of its splits is empty."""
    x = layers.Input((4, 5))
    check(scramble(keras.Model(x, layers.GRU(6, unroll=True, reset_after=False)(x))))


def test_parallel_branches_share_one_quantizer() -> None:
    x = layers.Input((8, 8, 5))
    y = layers.BatchNormalization()(layers.Conv2D(32, 1)(x))
    graph = check(scramble(keras.Model(x, [quant(8)(y), quant(8, 1)(y)])))
    assert "binarize" not in ops(graph), "the first convolution puts out the bits itself"


def test_several_inputs_and_outputs() -> None:
    a, b = layers.Input((6, 6, 3), name="zebra"), layers.Input((6, 6, 3), name="ant")
    y = layers.Subtract(name="difference")([a, b])
    z = layers.GlobalMaxPool2D(name="largest")(y)
    model = keras.Model([a, b], [z, y, y])
    check(model)
    graph = import_model(model)
    assert [n.attrs.label for n in graph.inputs] == ["zebra", "ant"]
    assert graph.output_names[:2] == ("largest", "difference")


def test_outputs_by_name_keep_their_names() -> None:
    x = layers.Input((4, 4, 3))
    y = layers.Conv2D(2, 1)(x)
    model = keras.Model(x, {"zebra": y, "ant": layers.Flatten()(y)})
    check(model)
    graph = import_model(model)
    assert dict(zip(graph.output_names, (n.type.shape for n in graph.outputs), strict=True)) == {
        "ant": (32,),
        "zebra": (4, 4, 2),
    }


@pytest.mark.parametrize("of", [keras, keras3], ids=["keras 2", "keras 3"])
def test_outputs_of_one_layer_have_names_of_their_own(of: Any) -> None:
    x = of.layers.Input((4,))
    y = of.layers.Dense(2, name="last")(x)
    model = of.Model(x, [y, of.layers.ReLU(name="last_1")(y), y, y])
    check(model)
    names = import_model(model).output_names
    assert names[:2] == ("last", "last_1") and len(set(names)) == 4
    shared = of.layers.Dense(2, name="shared")
    a, b = of.layers.Input((4,)), of.layers.Input((4,))
    assert import_model(of.Model([a, b], [shared(a), shared(b)])).output_names == ("shared", "shared_1")


def test_inputs_by_name() -> None:
    a, b = layers.Input((4,), name="zebra"), layers.Input((4,), name="ant")
    check(keras.Model({"zebra": a, "ant": b}, layers.Subtract()([a, b])))


def test_input_is_output() -> None:
    x = layers.Input((4, 4, 3))
    check(keras.Model(x, x))
    check(keras.Model(x, [layers.Conv2D(2, 3, padding="same")(x), x]))


def test_shared_layer() -> None:
    shared = quant(32, name="shared")
    x = layers.Input((8, 8, 32))
    y = layers.BatchNormalization(name="norm")(shared(x))
    graph = check(scramble(keras.Model(x, layers.Add()([shared(y), y]))))
    assert [n.name for n in graph.schedule if n.op == "bconv2d"] == ["shared", "shared"]


def test_nested_models() -> None:
    stack = [layers.Input((8, 8, 6)), quant(8, name="inside"), layers.BatchNormalization()]
    inner = keras.Sequential(stack, name="inner")
    graph = check(scramble(keras.Sequential([layers.Input((8, 8, 6)), inner, quant(4, name="outside")])))
    assert [n.name for n in graph.schedule if n.op == "bconv2d"] == ["inside", "outside"]


class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = quant(8), layers.BatchNormalization(), layers.Dense(4)

    def call(self, x: Any, training: bool = False) -> Any:
        y = self.norm(self.first(x), training=training)
        return self.last(tf.reshape(y, [tf.shape(y)[0], 8 * 6 * 6]))


def test_subclassed() -> None:
    model = Subclassed()
    with pytest.raises(CompileError, match=r"'subclassed' has never been called.*input_shape="):
        import_model(model)
    check(model, input_shape=(6, 6, 3))
    model = Subclassed()
    model(np.zeros((1, 6, 6, 3), np.float32))
    check(scramble(model))


def test_same_model_same_bytes() -> None:
    model = scramble(keras.Sequential([layers.Input((8, 8, 6)), quant(8), layers.BatchNormalization(), quant(40)]))
    assert encode(lower(import_model(model))) == encode(lower(import_model(model)))


def keras3_model() -> Any:
    of = keras3.layers
    return scramble(
        keras3.Sequential(
            [
                of.Input((9, 9, 4)),
                of.Conv2D(8, 3, padding="same", use_bias=False),
                of.BatchNormalization(),
                of.ReLU(),
                of.MaxPool2D(),
                of.DepthwiseConv2D(3, padding="same"),
                of.Conv2D(8, 3, groups=2, padding="same", dilation_rate=2),
                of.AveragePooling2D(2, 1, padding="same"),
                of.Flatten(),
                of.Dense(10, activation="softmax"),
            ]
        )
    )


def test_keras3_sequential() -> None:
    check(keras3_model())


def test_keras3_functional() -> None:
    of = keras3.layers
    a, b = of.Input((5, 5, 4), name="zebra"), of.Input((5, 5, 4), name="ant")
    y = of.Add()([of.Conv2D(4, 1)(a), b])
    model = keras3.Model([a, b], {"sum": y, "both": of.Concatenate()([y, b])})
    check(model)
    graph = import_model(model)
    assert [n.attrs.label for n in graph.inputs] == ["zebra", "ant"]
    assert graph.output_names == ("both", "sum")


class Subclassed3(keras3.Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = keras3.layers.Conv2D(3, 2), keras3.layers.Dense(4)

    def call(self, x: Any) -> Any:
        return self.last(keras3.ops.reshape(self.conv(x), (-1, 27)))


@needs_keras3
def test_keras3_subclassed() -> None:
    model = Subclassed3()
    with pytest.raises(CompileError, match="has never been called"):
        import_model(model)
    model(np.zeros((1, 4, 4, 1), np.float32))
    check(model)
