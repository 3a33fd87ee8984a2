# SPDX-License-Identifier: Apache-2.0
"""Single ops of TensorFlow, each attribute away from its default, on images that are not square; graphs without Keras.

What is read gives TensorFlow's own values; what is not is refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bnn.errors import UnsupportedOpError
from bnn.ir import interpret

from .models import Array, close, compare_values, frozen, images, import_model

raw, nn = tf.raw_ops, tf.nn
Function = Callable[[Any], Any]
Shape = tuple[int, ...]


def numbers(*shape: int) -> Array:
    """Eighths."""
    return (np.random.default_rng(shape).integers(-12, 13, shape) / 8).astype(np.float32)


def positive(*shape: int) -> Array:
    return np.abs(numbers(*shape)) + np.float32(0.5)


def same(function: Function, shape: Shape) -> None:
    """All outputs, and all values on the way that name a tensor."""
    nodes = frozen(function, shape)
    graph = import_model(nodes)
    (x,) = images(graph)
    compare_values(graph, nodes, [x])
    expected = tf.nest.flatten(function(tf.constant(x)))
    found = interpret.outputs(graph, [x])
    for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        close(ours, theirs.numpy(), f"output {i}")


def conv(x: Any, *kernel: int, **options: Any) -> Any:
    return nn.conv2d(x, numbers(*kernel), **{"strides": 1, "padding": "VALID", **options})


def depthwise(x: Any, **options: Any) -> Any:
    plain = {"strides": [1, 1, 1, 1], "padding": "VALID"}
    return raw.DepthwiseConv2dNative(input=x, filter=numbers(3, 2, 4, 3), **{**plain, **options})


def transposed(x: Any, size: Shape, *kernel: int, strides: Any = 1, padding: Any = "VALID") -> Any:
    return nn.conv2d_transpose(x, numbers(*kernel), tf.stack([tf.shape(x)[0], *size]), strides, padding)


EXPLICIT = [[0, 0], [1, 2], [3, 0], [0, 0]]
WINDOWS: dict[str, Function] = {
    "conv": lambda x: [
        conv(x, 3, 2, 4, 5), conv(x, 4, 2, 4, 5, padding="SAME"), conv(x, 3, 4, 4, 5, padding="SAME", strides=(3, 2)),
        conv(x, 3, 2, 4, 5, padding="SAME", dilations=(2, 3)), conv(x, 9, 11, 4, 5, padding="SAME"),
        conv(x, 2, 3, 2, 6), conv(x, 3, 2, 4, 5, strides=(1, 2), padding=EXPLICIT),
        conv(x, 5, 5, 4, 5, padding="SAME", strides=(4, 1)), conv(x, 5, 5, 4, 5, padding="SAME", strides=(1, 4)),
    ],
    "depthwise": lambda x: [
        depthwise(x), depthwise(x, padding="SAME", strides=[1, 2, 2, 1]),
        depthwise(x, padding="EXPLICIT", explicit_paddings=sum(EXPLICIT, [])),
    ],
    "max pool": lambda x: [
        nn.max_pool2d(x, (3, 2), (1, 2), "SAME"), nn.max_pool2d(x, (2, 4), (3, 1), "VALID"),
        nn.max_pool2d(x, (3, 4), (2, 1), EXPLICIT), nn.max_pool2d(x, (5, 5), (1, 5), "SAME"),
    ],
    "average pool": lambda x: [nn.avg_pool2d(x, (3, 2), (1, 2), "SAME"), nn.avg_pool2d(x, (5, 5), (4, 1), "SAME")],
    "transposed": lambda x: [
        transposed(x, (17, 14, 5), 3, 2, 5, 4, strides=(3, 2), padding="SAME"),
        transposed(x, (17, 17, 5), 2, 5, 5, 4, strides=(3, 2)), transposed(x, (18, 18, 5), 2, 5, 5, 4, strides=(3, 2)),
        transposed(x, (6, 7, 5), 4, 3, 5, 4, padding="SAME"), transposed(x, (9, 9, 5), 4, 3, 5, 4),
        transposed(x, (12, 13, 5), 5, 4, 5, 4, strides=2, padding=EXPLICIT),
        transposed(x, (10, 12, 5), 3, 3, 5, 4, strides=2, padding=[[0, 0], [1, 2], [1, 2], [0, 0]]),
        transposed(x[:, :, :4], (6, 3, 5), 1, 5, 5, 4, strides=(1, 2), padding=[[0, 0], [0, 0], [4, 4], [0, 0]]),
        transposed(x[:, :4], (3, 7, 5), 5, 1, 5, 4, strides=(2, 1), padding=[[0, 0], [4, 4], [0, 0], [0, 0]]),
        transposed(x, (6, 14, 5), 1, 2, 5, 4, strides=(1, 2)), transposed(x, (6, 7, 5), 1, 1, 5, 4, padding="SAME"),
    ],
    "reduced": lambda x: [
        kind(x, axis, keepdims=keep)
        for kind in (tf.reduce_sum, tf.reduce_mean, tf.reduce_max, tf.reduce_min)
        for axis in (1, 2, 3, [1, 2], [2, 3], [-1], [-2, -3]) for keep in (False, True)
    ],
    "dilated": lambda x: [
        nn.atrous_conv2d(x, numbers(2, 3, 4, 5), 2, "SAME"), nn.atrous_conv2d(x, numbers(2, 3, 4, 5), 2, "VALID"),
        dilated(x, 2, 3, 4, 5, block=[2, 3], pads=[[1, 3], [2, 6]], crops=[[0, 2], [0, 4]]),
        dilated(x, 2, 3, 4, 5, block=[2, 3], pads=[[0, 0], [1, 1]], crops=[[0, 0], [0, 1]]),
        nn.depthwise_conv2d(x, numbers(3, 2, 4, 3), [1] * 4, "SAME", dilations=[2, 3]),
        nn.atrous_conv2d_transpose(x, numbers(2, 3, 5, 4), tf.stack([tf.shape(x)[0], 6, 7, 5]), 2, "SAME"),
        nn.atrous_conv2d_transpose(x, numbers(2, 3, 5, 4), tf.stack([tf.shape(x)[0], 8, 11, 5]), 2, "VALID"),
    ],
}  # fmt: skip


def dilated(x: Any, *kernel: int, block: Any, pads: Any, crops: Any, **options: Any) -> Any:
    """A convolution as TensorFlow writes a dilated one."""
    space = raw.SpaceToBatchND(input=x, block_shape=block, paddings=pads)
    return raw.BatchToSpaceND(input=conv(space, *kernel, **options), block_shape=block, crops=crops)


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name: str) -> None:
    same(WINDOWS[name], (6, 7, 4))


def normal(x: Any, **options: Any) -> Any:
    parts = {"scale": numbers(4), "offset": numbers(2, 4)[1], "mean": numbers(3, 4)[1], "variance": positive(4)}
    return raw.FusedBatchNormV3(x=x, **{**parts, "is_training": False, **options})[0]


def sparse(x: Any, shape: Shape, **options: Any) -> Any:
    """One of its elements is named twice: they are added."""
    index = [[0, 1], [3, 2], [0, 1], [2, 0]]
    return raw.SparseTensorDenseMatMul(
        a_indices=index, a_values=numbers(4), a_shape=shape, b=x, **{"adjoint_b": True, **options}
    )


def layer_norm(x: Any, **options: Any) -> Any:
    """As Keras 2 writes it, for rows of the last dimension."""
    rows = tf.reshape(x, [1, -1, x.shape[-1], 1])
    ones = tf.ones([tf.shape(rows)[1]])
    plain = {
        "scale": ones,
        "offset": 0.0 * ones,
        "mean": [],
        "variance": [],
        "data_format": "NCHW",
        "is_training": True,
    }
    return tf.reshape(raw.FusedBatchNormV3(x=rows, **{**plain, **options})[0], tf.shape(x))


OPS: dict[str, tuple[Shape, Function]] = {
    "constants of any rank": ((4, 5, 3), lambda x: [
        numbers(3) - x, x * numbers(1, 3), x / positive(5, 3), x - numbers(1, 5, 3), x + numbers(1, 4, 5, 3), 2.5 - x,
        x * numbers(1, 1, 1, 1), numbers(4, 1, 1) - x, tf.maximum(x, numbers(1, 1, 5, 1)), tf.minimum(x, numbers(5, 1)),
    ]),
    "constants of vectors": ((6,), lambda x: [numbers(6) - x, numbers(1, 6) / (x * x + 1.0), x * numbers(1, 1)]),
    "elementwise": ((4, 3), lambda x: [
        tf.add_n([x, x * x, 2.0 * x]), nn.relu6(x * 9.0), tf.round(x * 4.0), tf.floor(x * 4.0), tf.math.ceil(x * 4.0),
        tf.maximum(x, 0.25 - x), tf.minimum(x, 0.25 - x), x - 2.0 * tf.square(x), nn.softplus(x * 50.0), tf.pow(x, 3.0),
        tf.pow(x * x + 0.5, [[-1.5]]),
    ]),
    "compared": ((4, 3), lambda x: [
        tf.where(test(x, numbers(3)), x, 0.25) + tf.where(test(numbers(4, 3), x), numbers(3), x)
        for test in (tf.less, tf.less_equal, tf.greater, tf.greater_equal, tf.equal, tf.not_equal)
    ]),
    "matrices of positions": ((3, 4), lambda x: [
        tf.reshape(tf.reshape(x, (-1, 4)) @ numbers(4, 5), (-1, 3, 5)),
        tf.reshape(tf.matmul(tf.reshape(x, (-1, 4)), numbers(5, 4), transpose_b=True), (-1, 3, 5)),
        tf.transpose(tf.transpose(x, (1, 0, 2)) @ numbers(3, 4, 5), (1, 0, 2)),
    ]),
    "sparse matrices": ((4,), lambda x: [
        tf.transpose(sparse(x, (5, 4))), tf.transpose(sparse(x, (4, 5), adjoint_a=True)), tf.transpose(sparse(x, (4,
        4))),
    ]),
    "layer norm": ((3, 4), lambda x: [layer_norm(x), layer_norm(x, epsilon=0.25), layer_norm(x[:, ::-1])]),
    "padded": ((3, 5, 4), lambda x: [
        *(tf.pad(x, np.eye(8, dtype=int)[side].reshape(4, 2)) for side in range(2, 8)), tf.pad(x, [[0, 0], [0, 0], [0,
        0], [1, 2]], constant_values=2.5),
        tf.pad(x, [[0, 0], [1, 0], [2, 0], [0, 3]], constant_values=-1.5), tf.pad(x, [[0, 0]] * 4),
    ]),
    "padded rows": ((5, 4), lambda x: [
        tf.pad(x, [[0, 0], [1, 2], [0, 0]], constant_values=2.5), tf.pad(x, [[0, 0], [1, 2], [0, 3]]),
        tf.pad(x, [[0, 0], [0, 0], [2, 1]]),
    ]),
    "padded vectors": ((4,), lambda x: [tf.pad(x, [[0, 0], [1, 2]], constant_values=0.5)]),
    "mirrored": ((3, 5, 4), lambda x: [
        tf.pad(x, [[0, 0], [1, 2], [0, 3], [0, 0]], mode) for mode in ("REFLECT", "SYMMETRIC")
    ]),
    "joined": ((3, 5, 4), lambda x: [
        tf.concat([x, 2.0 * x], axis) for axis in (1, 2, 3, -1, -2)] + [tf.stack([x[:, 0], x[:, 1]], -1),
    ]),
    "split": ((3, 6, 4), lambda x: [
        *tf.split(x, 2, 3), *tf.split(x, [1, 0, 3], -1)[::2], tf.concat(tf.split(x, [1, 0, 3], -1)[::-1], -1),
        *tf.split(x, 3, 2), *tf.split(x, [1, 5], -2),
        *tf.unstack(x, axis=1),
    ]),
    "moved": ((3, 6, 4), lambda x: [
        tf.reverse(x, [1]), tf.reverse(x, [2, -1]), tf.roll(x, [1, -2], [1, 2]), tf.gather(x, [2, 0, 0, 1], axis=-1),
        x[:, ::2, -2::-2, 1:3], x[..., 1], x[:, tf.newaxis, 1, 2:, :], tf.transpose(x, [0, 2, 3, 1]), tf.tile(x, [1,
        2, 1, 3]),
        tf.squeeze(x[:, :1], 1), tf.expand_dims(x[..., 0], 2), tf.slice(x, [0, 1, 2, 0], [-1, 1, 3, -1]),
        nn.depth_to_space(x, 2), nn.space_to_depth(x[:, :2], 2), tf.broadcast_to(x[:, :1], tf.stack([tf.shape(x)[0],
        5, 6, 4])),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", OPS)
def test_ops(name: str) -> None:
    shape, function = OPS[name]
    same(function, shape)


REFUSED: dict[str, tuple[Shape, Function, str]] = {
    "another type": ((4,), lambda x: tf.cast(tf.cast(x, tf.int32), tf.float32), "from float32 to int32; only"),
    "exponents": ((2,), lambda x: tf.pow(x, [2.0, 3.0]), "an exponent that is not one constant number"),
    "limits that fall": (
        (2,), lambda x: tf.quantization.fake_quant_with_min_max_vars(x, 1.0, -1.0), "limits of 1 and -1; expected two",
    ),
    "axes apart": ((3, 5, 4), lambda x: tf.reduce_sum(x, [1, 3]), r"axes \[1, 3\] of 4"),
    "no axes": ((3, 5, 4), lambda x: tf.reduce_max(x, tf.zeros([0], tf.int32)), r"axes \[\] of 4"),
    "all axes": ((5, 4), lambda x: tf.reduce_max(x, [1, 2]), r"axes \[1, 2\] of 3"),
    "the batch": ((5, 4), lambda x: tf.reduce_max(x, [0, 1]), "it reduces over the batch"),
    "padding of the batch": ((5, 4), lambda x: tf.pad(x, [[0, 1], [0, 0], [0, 0]])[:3], "only height, width and"),
    "padding of five dimensions": (
        (4, 4), lambda x: tf.reshape(tf.pad(tf.reshape(x, (-1, 2, 2, 2, 2)), [[0, 0], [1, 0]] + [[0, 0]] * 3), (-1,
        24)),
        "only height, width and channels can be padded",
    ),
    "a constant that is joined": ((3, 4), lambda x: tf.concat([x, numbers(3, 3, 4)], 1), "joins the data with a const"),
    "crops before": (
        (6, 7, 4), lambda x: dilated(x, 2, 3, 4, 5, block=[2, 3], pads=[[2, 2], [2, 6]], crops=[[1, 2], [0, 4]]),
        r"BatchToSpaceND.*blocks \[2, 3\] with crops \[\[1, 2\], \[0, 4\]\]",
    ),
    "crops beyond the padding": (
        (6, 7, 4), lambda x: dilated(x, 2, 3, 4, 5, block=[2, 3], pads=[[1, 3], [2, 3]], crops=[[0, 2], [0, 4]]),
        r"BatchToSpaceND.*blocks \[2, 3\] with crops",
    ),
    "a dilation with strides": (
        (6, 7, 4),
        lambda x: dilated(x, 2, 3, 4, 5, block=[2, 3], pads=[[1, 3], [2, 6]], crops=[[0, 0], [0, 0]], strides=(2, 1)),
        r"BatchToSpaceND.*or a stride",
    ),
    "layer norm with a scale": (
        (3, 4), lambda x: layer_norm(x, scale=2.0 * tf.ones([tf.shape(x)[0] * 3])), "what LayerNormalization makes",
    ),
    "layer norm with an offset": (
        (3, 4), lambda x: layer_norm(x, offset=tf.ones([tf.shape(x)[0] * 3])), "what LayerNormalization makes",
    ),
    "a norm of all": (
        (3, 4), lambda x: layer_norm(x, data_format="NHWC", scale=[1.0], offset=[0.0]), "what LayerNormalization makes",
    ),
    "a norm of several channels": (
        (3, 4), lambda x: tf.reshape(raw.FusedBatchNormV3(
            x=tf.reshape(x, (1, -1, 2, 2)), scale=tf.ones([tf.shape(x)[0] * 3]), offset=tf.zeros([tf.shape(x)[0] * 3]),
            mean=[], variance=[], data_format="NCHW", is_training=True,
        )[0], (-1, 3, 4)), "what LayerNormalization makes",
    ),
    "one matrix for positions": ((3, 4), lambda x: tf.transpose(x, (1, 0, 2)) @ numbers(4, 5), "of these matrices"),
    "a large sparse matrix": (
        (8192,), lambda x: tf.transpose(sparse(x, (8193, 8192))), "as a dense layer it has 8,193 x 8,192 weights",
    ),
    "an op that nobody reads": ((4,), tf.sin, "uses the TensorFlow op Sin .*, which is not supported; repl"),
    "a matrix of as many columns as images": (
        (3,), lambda x: tf.matmul(x, tf.ones_like(x), transpose_b=True), "operand 1 depends on the number of images",
    ),
    "a batch that is no longer first": ((4,), lambda x: x + numbers(1, 5, 1, 4), "keep the batch as its|broadcast"),
    "a product from the left": (
        (3, 4), lambda x: tf.matmul(tf.ones((2, tf.shape(x)[0] * 3)), tf.reshape(x, (-1, 4))), "product of these matri",
    ),
    "a product with itself": ((3,), lambda x: tf.matmul(x, x), "operand 1 depends on the data; it must be a constant"),
    "a value of all images that moves": (
        (4,), lambda x: x + tf.reshape(tf.reshape(tf.reduce_sum(x, 0), (2, 2)), (4,)), "value of the whole batch; for",
    ),
    "columns of all images": (
        (3, 4), lambda x: tf.reshape(x, (4, -1)) + tf.reverse(tf.reshape(x, (4, -1)), [1]), "keep the batch as its",
    ),
    "a value of all images with more dimensions": (
        (4,), lambda x: x + tf.reduce_sum(tf.reshape(x, (-1, 1, 1, 4)), 0), "does not keep the batch as its first",
    ),
    "a value of all images and rows": (
        (3, 4), lambda x: tf.reshape(x, (-1, 4)) * tf.reduce_sum(x, [0, 1]), "does not keep the batch as its first",
    ),
    "a second result": (
        (3, 5, 4), lambda x: raw.FusedBatchNormV3(x=x, scale=numbers(4), offset=numbers(4), mean=numbers(4),
        variance=positive(4), is_training=False)[1], "output 1 of '.*' is not supported",
    ),
    "blocks without a convolution": (
        (6, 6, 4), lambda x: raw.BatchToSpaceND(
            input=nn.relu(raw.SpaceToBatchND(input=x, block_shape=[2, 3], paddings=[[0, 0], [0, 0]])),
            block_shape=[2, 3], crops=[[0, 0], [0, 0]],
        ), "BatchToSpaceND.*it does not follow a convolution|SpaceToBatchND.*does not belong",
    ),
    "images as blocks": (
        (6, 7, 4), lambda x: raw.BatchToSpaceND(input=conv(x, 2, 3, 4, 5), block_shape=[3, 1], crops=[[0, 0], [0, 0]]),
        "its convolution does not follow SpaceToBatchND",
    ),
    "crops of a transposed one": (
        (6, 6, 4), lambda x: raw.BatchToSpaceND(
            input=transposed(raw.SpaceToBatchND(input=x, block_shape=[2, 2], paddings=[[0, 0], [0, 0]]), (4, 5, 5), 2,
            3, 5, 4),
            block_shape=[2, 2], crops=[[3, 0], [0, 0]],
        ), r"BatchToSpaceND.*blocks \[2, 2\] with crops \[\[3, 0\], \[0, 0\]\]",
    ),
    "blocks": (
        (6, 6, 4), lambda x: raw.SpaceToBatchND(input=x, block_shape=[2, 3], paddings=[[0, 0], [0, 0]]),
        "SpaceToBatchND.*does not belong to a dilated convolution",
    ),
    "products": ((3, 3), lambda x: x @ x, "a product of two values that both depend on the data"),
    "a product with other weights for each image": ((3, 4), lambda x: x @ numbers(3, 4, 5), "these matrices"),
    "a condition of weights": ((3,), lambda x: raw.Select(condition=[[True] * 3] * 3, x=x, y=-x), "a condition that"),
    "constants of images": ((3,), lambda x: x + numbers(3, 3), r"constant of shape \(3, 3\) that differs over the"),
    "nothing": ((3, 4), lambda x: tf.split(x, [0, 4], 2)[0], "does not keep the batch as its first"),
    "other ranks": ((3, 4), lambda x: x + x[:, 0], "operands of different rank"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    shape, function, message = REFUSED[name]
    with pytest.raises(UnsupportedOpError, match=message):
        import_model(frozen(function, shape))
