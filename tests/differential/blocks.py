# SPDX-License-Identifier: Apache-2.0
"""Random layers that do not multiply by weights: norms, pools, activations, quantizers alone, moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf

from .inputs import BATCH
from .quantizers import Array, Rng, Value, input_quantizer, of_the_batch

L = tf.keras.layers
EPSILON = 2.0**-10


def _with_dyadic_roots(power: Array) -> tuple[Array, bool]:
    """4^power, or a number next to it: what TensorFlow's inverse root gives 2^-power for, and whether it does.  On some
    processors its vectors of channels do not give that for 4^power."""
    root = (2.0**-power).astype(np.float32)
    found = wanted = (4.0**power).astype(np.float32)
    for other in (np.nextafter(wanted, np.float32(0)), np.nextafter(wanted, np.float32(9))):
        found = np.where(tf.math.rsqrt(found).numpy() == root, found, other)
    return found, bool((tf.math.rsqrt(found).numpy() == root).all())


def batch_norm(rng: Rng, x: Value) -> Value:
    """Gammas of each sign and zero, and means that lie on values the data take: ties with the quantizer after it.

    Values that are not sure get thresholds half a step from any of theirs.
    """
    channels = x.shape[-1]
    lattice = x.step > 0
    scale, center = bool(rng.random() < 0.7), bool(rng.random() < 0.8)
    layer = L.BatchNormalization(epsilon=EPSILON, scale=scale, center=center)
    tensor = layer(x.tensor)
    steps = max(1, min(int(x.bound / x.step / 4) if lattice else 8, 20))
    whole = rng.integers(-steps, steps + 1, channels)
    dyadic = lattice and x.sure and rng.random() < 0.4
    if dyadic:
        gamma = rng.choice([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0], channels, p=[0.1, 0.15, 0.1, 0.05, 0.2, 0.25, 0.15])
        beta = rng.integers(-4, 5, channels) * x.step / 2 * (rng.random() < 0.5)
        sums, dyadic = _with_dyadic_roots(rng.integers(-1, 2, channels))
        variance = sums - EPSILON
    else:
        gamma = rng.normal(size=channels) * rng.choice([1, 1, 1, 0], channels)
        beta = rng.normal(size=channels) * (rng.random() < 0.5)
        variance = rng.uniform(0.1, 4, channels)
    mean = whole * x.step if lattice else rng.normal(size=channels) * x.bound / 4
    apart = False
    if not x.sure and lattice:
        mean, beta, apart = (whole + 0.5) * x.step, np.zeros(channels), True
    layer.set_weights([*([gamma] if scale else []), *([beta] if center else []), mean, variance])
    if dyadic:
        bound = 4 * (x.bound + np.abs(mean).max()) + np.abs(beta).max()
        return Value(tensor, x.step / 8, bound, True)
    return Value(tensor, 0.0, max(x.bound * 8, 8.0), x.sure, apart)


def nothing(rng: Rng, x: Value) -> Value:
    """Where no other block would be exact."""
    return x


def relu(rng: Rng, x: Value) -> Value:
    layers = [
        L.ReLU(), L.ReLU(max_value=6.0), L.Activation("hard_tanh"), L.LeakyReLU(0.25), L.Activation("relu"),
        L.Activation("leaky_tanh"),
    ]  # fmt: skip
    i = int(rng.integers(6))
    step = {3: x.step / 4, 5: 0.0}.get(i, x.step)
    return Value(layers[i](x.tensor), step, max(x.bound, 6.0), x.sure, x.apart)


def prelu(rng: Rng, x: Value) -> Value:
    shared = list(range(1, len(x.shape))) if rng.random() < 0.7 else None
    layer = L.PReLU(shared_axes=shared)
    tensor = layer(x.tensor)
    shape = layer.get_weights()[0].shape
    layer.set_weights([rng.choice([-0.5, 0.0, 0.25, 0.5, 1.0], shape)])
    return Value(tensor, x.step / 4, x.bound, x.sure)


def max_pool(rng: Rng, x: Value) -> Value:
    return replace(x, tensor=_pool(rng, x, (L.MaxPool1D, L.MaxPool2D)))


def _pool(rng: Rng, x: Value, classes: tuple[Any, Any]) -> Any:
    space = x.shape[:-1]
    same = bool(rng.random() < 0.5)
    size = tuple(int(rng.integers(1, (3 if same else min(3, n)) + 1)) for n in space)
    strides = None if rng.random() < 0.5 else tuple(int(s) for s in rng.integers(1, 3, len(space)))
    if len(space) == 1:
        size, strides = size[0], strides and strides[0]  # type: ignore[assignment]
    return classes[len(space) - 1](size, strides=strides, padding="same" if same else "valid")(x.tensor)


def average_pool(rng: Rng, x: Value) -> Value:
    return Value(_pool(rng, x, (L.AveragePooling1D, L.AveragePooling2D)), 0.0, x.bound, x.sure)


def global_pool(rng: Rng, x: Value) -> Value:
    one, keep = len(x.shape) == 2, bool(rng.random() < 0.3)
    if rng.random() < 0.6:
        return _reduced(rng, x)
    if rng.random() < 0.5:
        cls = L.GlobalMaxPool1D if one else L.GlobalMaxPool2D
        return replace(x, tensor=cls(keepdims=keep)(x.tensor))
    cls = L.GlobalAveragePooling1D if one else L.GlobalAveragePooling2D
    return Value(cls(keepdims=keep)(x.tensor), 0.0, x.bound, x.sure)


def _reduced(rng: Rng, x: Value) -> Value:
    """A mean, a sum or an extreme over axes that follow each other; or the values less it."""
    first = int(rng.integers(1, len(x.shape) + 1))
    axes = list(range(first, int(rng.integers(first, len(x.shape) + 1)) + 1))
    count = int(np.prod(x.shape[axes[0] - 1 : axes[-1]]))
    exact = x.summable and count * x.bound / x.step < 2**16  # else the order of a sum shows
    kinds = ["mean", "max", "min", "sum"] if exact else ["max", "min"]
    kind = str(rng.choice(kinds))
    function = {"mean": tf.reduce_mean, "max": tf.reduce_max, "min": tf.reduce_min, "sum": tf.reduce_sum}[kind]
    x = replace(x, bound=count * x.bound) if kind == "sum" else x
    if rng.random() < 0.5:
        tensor = L.Lambda(lambda v: v - function(v, axes, keepdims=True))(x.tensor)
        return Value(tensor, 0.0 if kind == "mean" else x.step, 2 * x.bound, x.sure)
    out = replace(x, tensor=L.Lambda(lambda v: function(v, axes, keepdims=True))(x.tensor))
    return replace(out, step=0.0) if kind == "mean" else out


def quantizer(rng: Rng, x: Value) -> Value:
    """A quantizer of its own, as an activation layer."""
    if of_the_batch(x, BATCH) and rng.random() < 0.2:
        kind = ["magnitude_aware_sign", lq.quantizers.MagnitudeAwareSign(clip_value=None)][rng.integers(2)]
        made = lq.quantizers.get(kind)
        return Value((made if isinstance(made, L.Layer) else L.Activation(made))(x.tensor), 0.0, x.bound, True, True)
    while True:
        q = input_quantizer(rng)
        if x.sure or q.at_zero and x.apart:
            break
    made = lq.quantizers.get(q.quantizer)
    layer = made if isinstance(made, L.Layer) else L.Activation(made)
    return Value(layer(x.tensor), q.step, q.bound)


def bias(rng: Rng, x: Value) -> Value:
    """A scale and an offset by scalars."""
    step = x.step or 0.25
    factor, offset = float(rng.choice([-1, 0.5, 1, 2])), float(rng.integers(-3, 4)) * step
    tensor = L.Rescaling(factor, offset)(x.tensor)
    return Value(tensor, min(step, step * abs(factor)) if x.step else 0.0, x.bound * 2 + 3 * step, x.sure)


def move(rng: Rng, x: Value) -> Value:
    """Layers that move values."""
    if len(x.shape) == 1:
        return x
    one = len(x.shape) == 2
    h, c = x.shape[0], x.shape[-1]
    if one:
        layers = [L.ZeroPadding1D(1), L.Permute((2, 1)), L.UpSampling1D(2)]
        layers += [L.Cropping1D((1, 0))] if h > 1 else []
    else:
        layers = [L.ZeroPadding2D(((1, 0), (0, 2))), L.Permute((2, 1, 3)), L.UpSampling2D((1, 2))]
        layers += [L.Cropping2D(((1, 0), (0, 0)))] if h > 1 else []
        layers += [L.Lambda(lambda v: tf.nn.depth_to_space(v, 2))] if c % 4 == 0 else []
        layers += [L.Lambda(lambda v: v[:, :, ::-1])]
    layers += [L.Lambda(lambda v: v[..., c // 2 :])]
    if not one and x.sure and rng.random() < 0.2:
        size = tuple(int(n) for n in rng.integers(1, 9, 2))
        layer = L.UpSampling2D(2, interpolation="bilinear") if rng.random() < 0.5 else L.Resizing(*size)
        return replace(x, tensor=layer(x.tensor), step=0.0)
    return replace(x, tensor=layers[rng.integers(len(layers))](x.tensor))


def curve(rng: Rng, x: Value) -> Value:
    """Curves that are 0 at 0 and keep the sign, whatever their last bit."""
    kind = str(rng.choice(["tanh", "elu", "selu", "softsign"]))
    known = x.sure and x.step > 2.0**-16 or x.apart
    return Value(L.Activation(kind)(x.tensor), 0.0, 2 * max(x.bound, 2.0), False, known)


def gate(rng: Rng, x: Value) -> Value:
    """Squeeze and excite: the values times something from 0 to 1 that is known of the whole image; the last bit of a
    sigmoid is anybody's guess."""
    pool = L.GlobalMaxPool1D if len(x.shape) == 2 else L.GlobalMaxPool2D
    squeezed = pool(keepdims=True)(x.tensor) if len(x.shape) > 1 else x.tensor
    kind = str(rng.choice(["sigmoid", "hard_sigmoid", "clip"])) if x.sure else "sigmoid"
    if kind == "clip":
        gates = L.Lambda(lambda v: tf.clip_by_value(v * 0.25 + 0.5, 0.0, 1.0))(squeezed)
        return Value(L.Multiply()([x.tensor, gates]), x.step * min(x.step / 4, 0.5), x.bound)
    if kind == "hard_sigmoid":
        return Value(L.Multiply()([x.tensor, L.Activation("hard_sigmoid")(squeezed)]), 0.0, x.bound)
    gates = L.Activation("sigmoid")(L.Rescaling(0.25, 0.5)(squeezed))
    return Value(L.Multiply()([x.tensor, gates]), 0.0, x.bound, False, x.sure or x.apart)
