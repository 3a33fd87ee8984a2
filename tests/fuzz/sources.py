# SPDX-License-Identifier: Apache-2.0
"""Small valid models of each framework, which the edits begin with."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def keras_files(single: bool = False) -> Iterator[tuple[str, bytes]]:
    """(ending, file) of models of a few layers, or of a single one: Keras 2, Larq, Keras 3, in both formats."""
    with tempfile.TemporaryDirectory() as folder:
        for model in _single_layers() if single else _keras_models():
            for ending in (".keras", ".h5"):
                path = Path(folder, f"net{ending}")
                model.save(path)
                yield ending, path.read_bytes()


def _frameworks() -> tuple[Any, Any, Any]:
    """TensorFlow, Larq and Keras 3; None with TensorFlow 2.15, where Keras is Keras 2."""
    from bnn.importers.tensorflow.load import tensorflow

    tf = tensorflow()  # before Keras 3, so that tf.keras is Keras 2
    import keras
    import larq

    return tf, larq, None if keras.__version__.startswith("2") else keras


def _single_layers() -> Iterator[Any]:
    tf, larq, keras3 = _frameworks()
    layers = tf.keras.layers
    yield tf.keras.Sequential([layers.Input((3,)), layers.Dense(2)])
    yield tf.keras.Sequential([layers.Input((3,)), larq.layers.QuantDense(2, kernel_quantizer="ste_sign")])
    if keras3:
        yield keras3.Sequential([keras3.layers.Input((3,)), keras3.layers.Dense(2)])


def _keras_models() -> Iterator[Any]:
    tf, larq, keras3 = _frameworks()
    keras = tf.keras
    yield _plain(keras)
    yield keras.Sequential([
        keras.layers.Input((4, 4, 2)),
        larq.layers.QuantConv2D(2, 3, kernel_quantizer="ste_sign", kernel_constraint="weight_clip", use_bias=False),
        keras.layers.Flatten(),
    ])  # fmt: skip
    yield keras.Sequential([
        keras.layers.Input((5,)),
        larq.layers.QuantDense(3, input_quantizer="ste_sign", kernel_quantizer=larq.quantizers.SteSign(0.5)),
    ])  # fmt: skip
    x = keras.layers.Input((3,))
    y = keras.layers.Activation(keras.activations.relu)(tf.math.abs(x)[:, 1:] + 0.5)  # calls become layers
    yield keras.Model(x, keras.layers.Concatenate()([x, y]))
    if keras3 is None:
        return
    yield _plain(keras3)
    x = keras3.layers.Input((3,))
    yield keras3.Model(x, keras3.layers.Add()([keras3.ops.abs(x), x[:, :1]]))


def _plain(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential([
        layers.Input((4, 4, 2)),
        layers.Conv2D(2, 3, activation="relu", kernel_initializer="he_normal", kernel_regularizer="l2"),
        layers.BatchNormalization(),
        layers.Flatten(),
        layers.Dense(2),
    ])  # fmt: skip


def saved_models(folder: Path) -> list[Path]:
    """Folders with a SavedModel each: functions, constants that are computed, and a Keras model."""
    import tensorflow as tf

    class Function(tf.Module):  # type: ignore[misc]
        def __init__(self, compute: Any, shape: tuple[int, ...]) -> None:
            super().__init__()
            self.weight = tf.Variable(np.linspace(-1, 1, 3), dtype=tf.float32)
            spec = tf.TensorSpec([None, *shape], tf.float32)
            self.run = tf.function(lambda x: compute(x, self.weight), input_signature=[spec], autograph=False)

    computed = {f"constants-{i}": (_constants(i), (3,)) for i in range(4)}
    functions = {"plain": (lambda x, w: tf.sign(x) * w, (3,)), "moved": (_moved, (4, 3)), **computed}
    for name, (compute, shape) in functions.items():
        module = Function(compute, shape)
        tf.saved_model.save(module, str(folder / name), signatures=module.run)
    model = tf.keras.Sequential(
        [tf.keras.layers.Input((4,)), tf.keras.layers.Dense(2), tf.keras.layers.BatchNormalization()]
    )
    with contextlib.redirect_stdout(io.StringIO()):
        model.export(str(folder / "keras"))
    return [folder / name for name in (*functions, "keras")]


def _moved(x: Any, w: Any) -> Any:
    """Ops that move elements, and those that depend on shapes."""
    import tensorflow as tf

    y = tf.transpose(tf.reshape(x, [-1, 3, 4]), [0, 2, 1]) + w
    y = tf.concat([y, tf.gather(y, [2, 0], axis=1)], axis=1)
    y = tf.pad(y, [[0, 0], [1, 1], [0, 0]])[:, 1:-1:2]
    return tf.tile(y, [1, 2, 1]) * tf.ones([tf.shape(x)[0], 1, 1])


def _constants(number: int) -> Any:
    """A function with some of the ops whose result is of a size that a number says."""

    def compute(x: Any, w: Any) -> Any:
        import tensorflow as tf

        raw, one = tf.raw_ops, tf.constant(1.0)
        parts = (
            lambda: [tf.fill([3], one), tf.cast(tf.range(3), tf.float32), tf.linspace(0.0, one, 3)],
            lambda: [tf.reduce_max(tf.one_hot([0, 1, 2], 3), axis=0), tf.tile([one], [3]), tf.broadcast_to(one, [3])],
            lambda: [
                raw.UnsortedSegmentSum(data=[1.0, 2.0, 3.0], segment_ids=[0, 1, 2], num_segments=3),
                raw.SegmentSum(data=[1.0, 2.0, 3.0], segment_ids=[0, 1, 2]),
                raw.GatherNd(params=[1.0, 2.0], indices=[[0], [1], [0]]),
            ],
            lambda: [
                tf.scatter_nd([[0], [2]], [1.0, 2.0], [3]),
                tf.linalg.diag_part(tf.linalg.diag([1.0, 2.0, 3.0])),
                raw.StridedSlice(input=[1.0, 2.0, 3.0, 4.0], begin=[0], end=[3], strides=[1]),
            ],
        )  # fmt: skip
        return x * tf.add_n(parts[number]()) + w

    return compute


def onnx_models() -> list[Any]:
    """Random networks, one in which sizes, functions and data elsewhere are described, and one of old operators."""
    from importers.onnx.generator import random_model

    own = _onnx_constants(), _onnx_functions(), _onnx_old()
    return [*(random_model(np.random.default_rng([1, i])) for i in range(8)), *own]


def _onnx_constants() -> Any:
    from onnx import TensorProto, helper

    from importers.onnx.small import model, node

    whole = {"three": [3], "shape": [1, 3], "one": [1], "zero": [0], "begin": [0, 0], "pads": [0, 0, 0, 1],
             "at": [[0, 1]], "depth": 3, "limit": 3, "delta": 1, "start": 0, "two": [2]}  # fmt: skip
    constants = {name: np.array(value, np.int64) for name, value in whole.items()}
    constants |= {
        "f": np.ones((1, 3), np.float32),
        "pair": np.array([0, 1], np.float32),
        "m": np.ones((3, 3), np.float32),
    }
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [2.0])
    sizes = {"image": np.ones((1, 1, 3, 3), np.float32), "scales": np.array([1, 1, 1, 1], np.float32)}
    nodes = [
        node("ConstantOfShape", "shape", "a", value=value), node("Expand", "f shape", "b"),
        node("Tile", "f shape", "c"), node("Range", "start limit delta", "d"), node("Cast", "d", "e", to=1),
        node("OneHot", "at depth pair", "g", axis=1),
        node("Gather", "m zero", "h", axis=0), node("GatherND", "m at", "i", batch_dims=0), node("Pad", "f pads", "j"),
        node("Slice", "m zero three zero", "k"), node("Gemm", "f m f", "l", alpha=0.5, transB=1),
        node("Max", "f m", "n"), node("Pow", "f f", "o"), node("Concat", "f m", "p", axis=0),
        node("MatMul", "f m", "q"),
        node("Resize", "image _ scales", "r", mode="nearest"), node("TopK", "f two", "s1 s2", axis=-1),
        node("Conv", "image image", "t", pads=[0, 0, 0, 0]), node("ConvTranspose", "image image", "u", strides=[2, 2]),
        node("MaxPool", "image", "v", kernel_shape=[2, 2], strides=[1, 1]), node("CumSum", "m limit", "w"),
        node("ScatterND", "f at pair", "z"), node("NonZero", "m", "aa"), node("ArgMax", "m", "ab", axis=0),
        node("Split", "m", "ac ad ae", axis=0), node("Unsqueeze", "f zero", "af"), node("EyeLike", "m", "ag"),
        node("Sum", "a b e h l", "all"), node("Mul", "x all", "scaled"), node("Transpose", "scaled", "ah", perm=[0, 1]),
        node("Sign", "ah", "ai"), node("MatMul", "ai m", "y"),
    ]  # fmt: skip
    return model(nodes, constants | sizes, ("N", 3), rank=2)


def _onnx_old() -> Any:
    """Operators as they were before version 11, which the package onnx converts."""
    from importers.onnx.small import model, node

    nodes = [
        node("Clip", "x", "a", min=-1.0, max=0.5), node("Pad", "a", "b", pads=[0, 0, 1, 0, 0, 0, 0, 1]),
        node("Slice", "b", "c", starts=[0, 1], ends=[9, 5], axes=[2, 3]), node("Upsample", "c scales", "d"),
        node("Dropout", "d", "e", ratio=0.5), node("BipolarQuant", "e one", "f", domain="onnx.brevitas"),
        node("Split", "f", "g h", axis=1, split=[2, 2]), node("Add", "g h", "i"), node("Flatten", "i", "j"),
        node("Squeeze", "s", "k", axes=[0]), node("Mul", "j k", "y"),
    ]  # fmt: skip
    constants = {"scales": np.float32([1, 1, 2, 1]), "one": np.float32(1), "s": np.float32([2])}
    return model(nodes, constants, opset=9, rank=2)


def _onnx_functions() -> Any:
    """Functions of the model's own that call each other, and a constant in a file beside it."""
    from onnx import TensorProto, helper

    from importers.onnx.small import model, node

    made = model([helper.make_node("twice", ["x"], ["t"], domain="own"), node("Mul", "t w", "y")], {}, ("N", 3), rank=2,
                 domains=("own",))  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    once = helper.make_function("own", "once", ["a"], ["b"], [node("Add", "a a", "b")], opsets)
    calls = [helper.make_node("once", ["a"], ["b"], domain="own"), helper.make_node("once", ["b"], ["c"], domain="own")]
    made.functions.extend([once, helper.make_function("own", "twice", ["a"], ["c"], calls, opsets)])
    outside = made.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    outside.dims.extend([1, 3])
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "12")):
        outside.external_data.add(key=key, value=value)
    return made


def tflite_networks() -> list[Any]:
    """Networks as the tests describe them, of Larq's operators, of int8 ones and of others, with their outputs set."""
    from importers.tflite.build import Net
    from importers.tflite.test_int8 import Drawn
    from importers.tflite.test_random import Random

    found = []
    for i in range(6):
        made = Random(np.random.default_rng([2, i]))
        made.to_bytes()
        found.append(made.net)
    for i, pieces in enumerate((("filters", "dense"), ("pairs", "pools"), ("unary", "moves"), ("quantizers",))):
        drawn = Drawn(np.random.default_rng([3, i]))
        for piece in pieces:
            getattr(drawn, piece)()
        drawn.net.to_bytes(*drawn.outputs.values())
        found.append(drawn.net)
    net = Net()
    x = net.input(4, 4, 3)
    y = net.op("CONV_2D", [x, net.constant(np.ones((2, 2, 2, 3))), net.constant(np.zeros(2))], 1, 2, 2, 2,
               table="Conv2DOptions",
               StrideH=2, StrideW=2, DilationHFactor=1, DilationWFactor=1)  # fmt: skip
    y = net.op("PAD", [y, net.constant(np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))], 1, 4, 4, 2)
    y = net.op(
        "AVERAGE_POOL_2D", [y], 1, 2, 2, 2, table="Pool2DOptions", FilterHeight=2, FilterWidth=2, StrideH=2, StrideW=2
    )
    y = net.op("RESHAPE", [y, net.constant(np.array([1, 8], np.int32))], 1, 8)
    y = net.op(
        "FULLY_CONNECTED",
        [y, net.constant(np.ones((3, 8))), net.constant(np.zeros(3))],
        1,
        3,
        table="FullyConnectedOptions",
    )
    y = net.op("CONCATENATION", [y, y], 1, 6, table="ConcatenationOptions", Axis=-1)
    net.to_bytes(net.op("SOFTMAX", [y], 1, 6, table="SoftmaxOptions", Beta=1.0))
    return [*found, net]
