# SPDX-License-Identifier: Apache-2.0
"""Random layers that compute: convolutions of every kind and dense ones, with weights whose sums are exact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf

from .inputs import BATCH
from .quantizers import (
    TERN_OF_THE_BATCH,
    InputQuantizer,
    Kernel,
    Rng,
    Value,
    fake_weights,
    input_quantizer,
    kernel,
    of_the_batch,
)

FILTERS = (1, 2, 3, 5, 8, 16, 31, 32, 33, 64)
MOST_PRODUCTS = 2**14


def quantized(rng: Rng, x: Value) -> tuple[InputQuantizer | None, Value]:
    """An input quantizer that suits the value (None where it may stay as it is), and what comes out of it."""
    if x.summable and x.bound / x.step <= 2**7 and rng.random() < 0.12:
        return (InputQuantizer(lq.quantizers.NoOp(precision=8), 0, 0) if rng.random() < 0.3 else None), x
    while True:
        ternary = of_the_batch(x, BATCH) and rng.random() < 0.04
        q = TERN_OF_THE_BATCH if ternary else input_quantizer(rng)
        if x.sure or q.at_zero and x.apart:
            return q, replace(x, step=q.step, bound=q.bound, sure=True, apart=False)


def summed(x: Value, w: Kernel, products: int) -> tuple[float, float, bool]:
    """(step, bound, sure) of sums of so many products."""
    return x.step * w.step, x.bound * w.bound * products, w.sure and x.summable


def _exact(x: Value, w: Kernel, products: int) -> bool:
    step, bound, _ = summed(x, w, products)
    return bound / step < 2**23


def bias(rng: Rng, layer: Any, step: float, bound: float) -> float:
    """Set a layer's bias to whole steps; gives the largest."""
    weights = layer.get_weights()
    largest = max(1, min(int(bound / step), 12))
    values = rng.integers(-largest, largest + 1, weights[-1].shape)
    layer.set_weights([*weights[:-1], values * step])
    return largest * step


def finish(rng: Rng, layer: Any, tensor: Any, x: Value, w: list[Kernel], products: int) -> Value:
    """Random weights of these kinds for a layer that has been built, and what is known of its output."""
    weights = layer.get_weights()
    layer.set_weights([*(k.latent(rng, a.shape) for k, a in zip(w, weights, strict=False)), *weights[len(w) :]])
    step, bound, sure = x.step, x.bound, x.summable
    for k in w:
        step, bound, sure = step * k.step, bound * k.bound, sure and k.sure
    bound *= products
    if len(weights) > len(w):
        bound += bias(rng, layer, step, bound)
    out = Value(tensor, step, bound, sure, False)
    return replace(out, bound=max(bound, 1.0))


def suited(rng: Rng, x: Value, products: int) -> Kernel:
    """Weights whose sums are exact; data of several bits mostly have such weights."""
    several = x.step > 0 and x.bound / x.step > 6
    while True:
        w = fake_weights(rng) if several and rng.random() < 0.6 else kernel(rng)
        if _exact(x, w, products):
            return w


def _sizes(rng: Rng, limits: tuple[int, ...], valid: bool) -> tuple[int, ...]:
    most = [min(5, n) if valid else 5 for n in limits]
    return tuple(int(rng.integers(1, m + 1)) for m in most)


def _geometry(rng: Rng, x: Value, conv: bool = True) -> dict[str, Any]:
    """Kernel size, strides, padding, dilation of a convolution over the value's spatial axes."""
    space = x.shape[:-1]
    valid = bool(rng.random() < 0.4)
    kernel_size = _sizes(rng, space, valid)
    options: dict[str, Any] = {"kernel_size": kernel_size, "padding": "valid" if valid else "same"}
    if conv and rng.random() < 0.25:
        dilation = tuple(int(d) for d in rng.integers(1, 4, len(space)))
        if not valid or all((k - 1) * d < n for k, d, n in zip(kernel_size, dilation, space, strict=True)):
            return {**options, "dilation_rate": dilation}
    stride = int(rng.choice([1, 1, 2, 3]))
    uneven = conv and rng.random() < 0.1
    return {**options, "strides": tuple(rng.integers(1, 4, len(space)).tolist()) if uneven else (stride,) * len(space)}


def _pad_values(rng: Rng, x: Value, options: dict[str, Any]) -> dict[str, Any]:
    """What is around the image: a multiple of the step like the values in it, thirds and so on up to rounding."""
    whole = x.step > 0 and abs(round(1 / x.step) * x.step - 1) < 1e-6
    return {"pad_values": float(rng.choice([0, 0, 1, 1, -1]))} if options["padding"] == "same" and whole else {}


def _groups(rng: Rng, channels: int) -> int:
    """Few groups, groups of whole words, or one a channel."""
    fitting = [g for g in (2, 3, 4, channels // 32 if channels % 32 == 0 else 0) if g and channels % g == 0]
    groups = [*fitting, *fitting, channels]
    often = 0.5 if channels % 64 == 0 else 0.12
    return int(groups[rng.integers(len(groups))]) if rng.random() < often else 1


def _padded(x: Value, options: dict[str, Any]) -> Value:
    """Padding is a value like others: a multiple of the step, and maybe the largest."""
    return replace(x, bound=max(x.bound, 1.0)) if options.get("pad_values") else x


def conv(rng: Rng, x: Value) -> Value:
    """QuantConv1D or 2D."""
    one = len(x.shape) == 2
    q, data = quantized(rng, x)
    options = _geometry(rng, x)
    if one and rng.random() < 0.3 and options["padding"] == "same":
        options["padding"] = "causal"
    options.update(_pad_values(rng, data, options))
    data = _padded(data, options)
    channels, filters = x.shape[-1], int(rng.choice(FILTERS))
    groups = _groups(rng, channels)
    if groups > 1:
        options["groups"], filters = groups, groups * (filters if groups <= 4 else 1 + filters % 2)
    products = int(np.prod(options["kernel_size"])) * channels
    w = suited(rng, data, products)
    cls = lq.layers.QuantConv1D if one else lq.layers.QuantConv2D
    layer = cls(
        filters, input_quantizer=q and q.quantizer, kernel_quantizer=w.quantizer, use_bias=bool(rng.random() < 0.3),
        **options,
    )  # fmt: skip
    return finish(rng, layer, layer(x.tensor), data, [w], products)


def depthwise(rng: Rng, x: Value) -> Value:
    q, data = quantized(rng, x)
    options = _geometry(rng, x, conv=False)
    if set(options["strides"]) == {1} and rng.random() < 0.3:
        dilation = int(rng.integers(2, 4))
        if options["padding"] == "same" or all(
            (k - 1) * dilation < n for k, n in zip(options["kernel_size"], x.shape, strict=False)
        ):
            options["dilation_rate"] = (dilation, dilation)
    options.update(_pad_values(rng, data, options))
    data = _padded(data, options)
    products = int(np.prod(options["kernel_size"]))
    w = suited(rng, data, products)
    layer = lq.layers.QuantDepthwiseConv2D(
        input_quantizer=q and q.quantizer, depthwise_quantizer=w.quantizer, use_bias=bool(rng.random() < 0.3),
        depth_multiplier=int(rng.choice([1, 1, 2])), **options,
    )  # fmt: skip
    return finish(rng, layer, layer(x.tensor), data, [w], products)


def separable(rng: Rng, x: Value) -> Value:
    one = len(x.shape) == 2
    q, data = quantized(rng, x)
    options = _geometry(rng, x, conv=False)
    if set(options["strides"]) == {1} and options["padding"] == "same" and rng.random() < 0.3:
        options["dilation_rate"] = (int(rng.integers(2, 4)),) * len(options["strides"])
    if one and rng.random() < 0.6 and options["padding"] == "same":
        options["padding"] = "causal"
    options.update(_pad_values(rng, data, options))
    data = _padded(data, options)
    multiplier = int(rng.choice([1, 1, 2]))
    taps, channels = int(np.prod(options["kernel_size"])), x.shape[-1] * multiplier
    while True:
        a, b = kernel(rng), kernel(rng)
        both = replace(b, step=a.step * b.step, bound=a.bound * b.bound)
        if a.sure and b.sure and data.summable and _exact(data, both, taps * channels):
            break
        if not data.summable:
            q, data = quantized(rng, x)
            options.pop("pad_values", None)
    cls = lq.layers.QuantSeparableConv1D if one else lq.layers.QuantSeparableConv2D
    layer = cls(
        int(rng.choice(FILTERS)), input_quantizer=q and q.quantizer, depthwise_quantizer=a.quantizer,
        pointwise_quantizer=b.quantizer, use_bias=bool(rng.random() < 0.3), depth_multiplier=multiplier, **options,
    )  # fmt: skip
    return finish(rng, layer, layer(x.tensor), data, [a, b], taps * channels)


def transposed(rng: Rng, x: Value) -> Value:
    q, data = quantized(rng, x)
    strides = tuple(int(s) for s in rng.choice([1, 2, 2, 3], 2))
    size = tuple(int(k) for k in rng.integers(1, 5, 2))
    products = int(np.prod(size)) * x.shape[-1]
    w = suited(rng, data, products)
    dilation = int(rng.integers(2, 4)) if rng.random() < 0.25 else 1
    strides = strides if dilation == 1 else (1, 1)
    padding = str(rng.choice(["same", "valid"]))
    more = tuple(int(rng.integers(s)) for s in strides)
    whole = all(0 < k % 2 + m <= s for s, k, m in zip(strides, size, more, strict=True))
    fits = dilation == 1 and (padding == "valid" or whole)  # TensorFlow has no other outputs of "same"
    layer = lq.layers.QuantConv2DTranspose(
        int(rng.choice(FILTERS[:8])), size, strides=strides, padding=padding,
        dilation_rate=dilation, output_padding=more if fits and rng.random() < 0.5 else None,
        input_quantizer=q and q.quantizer, kernel_quantizer=w.quantizer, use_bias=bool(rng.random() < 0.3),
    )  # fmt: skip
    return finish(rng, layer, layer(x.tensor), data, [w], products)


def local(rng: Rng, x: Value) -> Value:
    """A locally connected layer."""
    q, data = quantized(rng, x)
    implementation = int(rng.integers(1, 4))
    space = x.shape[:-1]
    size = _sizes(rng, space, True)
    strides = tuple(int(s) for s in rng.integers(1, 3, len(space)))
    products = int(np.prod(size)) * x.shape[-1]
    w = suited(rng, data, int(np.prod(x.shape)))
    cls = lq.layers.QuantLocallyConnected1D if len(space) == 1 else lq.layers.QuantLocallyConnected2D
    layer = cls(
        int(rng.choice(FILTERS[:5])), size, strides=strides, input_quantizer=q and q.quantizer,
        kernel_quantizer=w.quantizer, use_bias=bool(rng.random() < 0.3), implementation=implementation,
    )  # fmt: skip
    return finish(rng, layer, layer(x.tensor), data, [w], products)


def dense(rng: Rng, x: Value) -> Value:
    """Of all elements, or of every position alone."""
    if len(x.shape) > 1 and (rng.random() < 0.7 or np.prod(x.shape) < 200):
        x = replace(x, tensor=tf.keras.layers.Flatten()(x.tensor))
    q, data = quantized(rng, x)
    w = suited(rng, data, x.shape[-1])
    layer = lq.layers.QuantDense(
        int(rng.choice([*FILTERS, 10, 64])), input_quantizer=q and q.quantizer, kernel_quantizer=w.quantizer,
        use_bias=bool(rng.random() < 0.3),
    )  # fmt: skip
    return finish(rng, layer, layer(x.tensor), data, [w], x.shape[-1])
