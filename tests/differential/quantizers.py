# SPDX-License-Identifier: Apache-2.0
"""What random models quantize with, and what is then known of the values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf

from bnn._types import Array

Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Value:
    """A Keras tensor, and what the generator knows of it.

    Every value is a multiple of ``step`` (0: any float) and at most ``bound`` in magnitude.  ``sure``: computed without
    any rounding that depends on the order of a sum, so a compiled model must have the very same float.  ``apart``: if
    not, at least no value is near zero by chance, so its sign is sure.
    """

    tensor: Any
    step: float
    bound: float
    sure: bool = True
    apart: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(d) for d in self.tensor.shape[1:])

    @property
    def summable(self) -> bool:
        """Whether sums of a few of them are exact."""
        return self.sure and self.step > 0 and np.frexp(self.step)[0] == 0.5 and self.bound / self.step < 2**16


@dataclass(frozen=True)
class InputQuantizer:
    quantizer: Any
    step: float
    bound: float
    at_zero: bool = False  # its only step is at zero
    levels: int = 2

    @property
    def dyadic(self) -> bool:
        return bool(np.frexp(self.step)[0] == 0.5)


def _signs() -> list[Any]:
    q = lq.quantizers
    return [
        "ste_sign", "approx_sign", "swish_sign", q.SteSign(clip_value=None), q.SteSign(clip_value=1.25),
        q.SwishSign(beta=3.0), q.ste_sign,
    ]  # fmt: skip


def _quarters(x: Any) -> Any:
    return tf.round(tf.clip_by_value(x, 0.0, 1.0) * 4.0) / 4.0


def _halves(x: Any) -> Any:
    return tf.clip_by_value(tf.round(x * 2.0), -2.0, 2.0) * 0.5


def _bytes(x: Any) -> Any:
    return tf.clip_by_value(tf.round(x * 64.0), -128.0, 127.0) / 64.0


def _nibbles(x: Any) -> Any:
    return tf.round(tf.clip_by_value(x, 0.0, 1.875) * 8.0) / 8.0


def _floored(x: Any) -> Any:
    return tf.clip_by_value(tf.floor(x * 4.0), 0.0, 3.0) / 4.0


def _ceiled(x: Any) -> Any:
    return tf.math.ceil(tf.clip_by_value(x, -0.5, 1.0) * 2.0) - 0.5


def _stepped(x: Any) -> Any:
    return 0.25 * tf.clip_by_value(x // 0.25, -2.0, 1.0)


def _either(x: Any) -> Any:
    return tf.where((x > 0.25) | tf.logical_not(x < 0.5), 1.0, -1.0)


def _both(x: Any) -> Any:
    return tf.cast((x > 0.25) & (x >= -1.0), tf.float32)


def _above(x: Any) -> Any:
    return tf.where(x > 0.25, 1.0, -1.0)


def _not_below(x: Any) -> Any:
    return tf.where(tf.greater_equal(x, 0.0), tf.ones_like(x), -tf.ones_like(x))


def _cast(x: Any) -> Any:
    return tf.cast(x > 0.0, tf.float32)


def _scaled(x: Any) -> Any:
    return 0.5 * lq.quantizers.ste_sign(x)


def _fake(rng: Rng, bits: int, low: Array, step: Array) -> Callable[[Any], Any]:
    """Fake quantization to steps that are powers of two, from ``low`` steps on: of all channels alike, or of each."""
    narrow = bool(rng.random() < 0.3)
    first, last = low * step, (low + 2**bits - 1 - narrow) * step
    if len(step) > 1:
        return lambda x: tf.quantization.fake_quant_with_min_max_vars_per_channel(x, first, last, bits, narrow)
    if rng.random() < 0.5:
        return lambda x: tf.quantization.fake_quant_with_min_max_vars(x, first[0], last[0], bits, narrow)
    return lambda x: tf.quantization.fake_quant_with_min_max_args(x, float(first[0]), float(last[0]), bits, narrow)


def _fake_data(rng: Rng) -> InputQuantizer:
    """Bytes and fewer bits, with zero at the lowest level, in the middle, or anywhere."""
    bits = int(rng.choice([2, 3, 4, 4, 6, 8, 8, 8]))
    step, levels = 2.0 ** -int(rng.integers(0, bits)), 2**bits
    low = -float(rng.choice([0, levels // 2, rng.integers(levels - 1)]))
    made = _fake(rng, bits, np.float32([low]), np.float32([step]))
    return InputQuantizer(made, step, max(-low, levels - 1 + low) * step, levels=levels)


def input_quantizer(rng: Rng) -> InputQuantizer:
    """One of Larq's, a user's, or fake quantization."""
    kind = rng.choice(["sign", "heaviside", "tern", "dorefa", "fake", "own"], p=[0.42, 0.08, 0.1, 0.1, 0.18, 0.12])
    if kind == "fake":
        return _fake_data(rng)
    if kind == "sign":
        return InputQuantizer(_signs()[rng.integers(7)], 1.0, 1.0, at_zero=True)
    if kind == "heaviside":
        own = [
            "ste_heaviside", lq.quantizers.SteHeaviside(clip_value=None), lq.quantizers.DoReFa(k_bit=1),
        ]  # fmt: skip
        i = int(rng.integers(3))
        return InputQuantizer(own[i], 1.0, 1.0, at_zero=i < 2)
    if kind == "tern":
        threshold = float(rng.choice([0.05, 0.5, 1.0]))
        return InputQuantizer(lq.quantizers.SteTern(threshold_value=threshold), 1.0, 1.0, levels=3)
    if kind == "dorefa":
        k = int(rng.choice([2, 2, 3, 4, 5, 6, 7, 8, 9]))
        return InputQuantizer(lq.quantizers.DoReFa(k_bit=k), 1 / (2**k - 1), 1.0, levels=2**k)
    own = [
        InputQuantizer(_quarters, 0.25, 1.0, levels=5),
        InputQuantizer(_halves, 0.5, 1.0, levels=5),
        InputQuantizer(_bytes, 2.0**-6, 2.0, levels=256),
        InputQuantizer(_nibbles, 0.125, 1.875, levels=16),
        InputQuantizer(_floored, 0.25, 0.75, levels=4),
        InputQuantizer(_ceiled, 0.5, 1.5, levels=4),
        InputQuantizer(_stepped, 0.25, 0.5, levels=4),
        InputQuantizer(_either, 1.0, 1.0),
        InputQuantizer(_both, 1.0, 1.0),
        InputQuantizer(_above, 1.0, 1.0),
        InputQuantizer(_not_below, 1.0, 1.0, at_zero=True),
        InputQuantizer(_cast, 1.0, 1.0, at_zero=True),
        InputQuantizer(_scaled, 0.5, 0.5, at_zero=True),
        InputQuantizer(tf.sign, 1.0, 1.0, at_zero=False, levels=3),
    ]
    return own[rng.integers(len(own))]


def of_the_batch(x: Value, images: int) -> bool:
    """Whether sums of magnitudes over a whole batch are exact."""
    return x.summable and images * int(np.prod(x.shape)) * x.bound / x.step < 2**24


TERN_OF_THE_BATCH = InputQuantizer(lq.quantizers.SteTern(ternary_weight_networks=True), 1.0, 1.0, levels=3)


@dataclass(frozen=True)
class Kernel:
    """A kernel quantizer, the latent weights that suit it, and the step and bound of the quantized ones."""

    quantizer: Any
    latent: Callable[[Rng, tuple[int, ...]], Array]
    step: float
    bound: float
    sure: bool = True


def _normal(rng: Rng, shape: tuple[int, ...]) -> Array:
    w = rng.normal(0, 0.5, shape)
    return np.where(rng.random(shape) < 0.1, rng.choice([0.0, -0.0, 0.05, -0.05, 0.5, -0.5], shape), w)


def _uniform(rng: Rng, shape: tuple[int, ...]) -> Array:
    return rng.uniform(-1, 1, shape)


def _two(rng: Rng, shape: tuple[int, ...]) -> Array:
    """+-alpha, alpha a power of two for every channel of the last axis."""
    return rng.choice([-1, 1], shape) * rng.choice([0.25, 0.5, 1.0, 2.0], shape[-1])


def _quarter(rng: Rng, shape: tuple[int, ...]) -> Array:
    return rng.integers(-4, 5, shape) / 4


def _thirds(rng: Rng, shape: tuple[int, ...]) -> Array:
    return rng.choice([-0.5, 0.0, 0.5], shape)


def fake_weights(rng: Rng) -> Kernel:
    """Integers of two to eight bits, symmetric and not; the filters of a layer are the last axis of its weights."""
    bits = int(rng.choice([2, 3, 4, 8, 8, 8]))
    step = 2.0 ** -int(rng.integers(0, bits))
    low = -float(rng.choice([2 ** (bits - 1), 2 ** (bits - 1) - 1, rng.integers(2**bits - 1)]))
    made: dict[int, Any] = {}
    each = rng.random() < 0.5

    def integers(w: Any) -> Any:
        filters = int(w.shape[-1])
        if filters not in made:
            steps = step * 2.0 ** np.random.default_rng(filters).integers(0, 2, filters if each else 1)
            made[filters] = _fake(np.random.default_rng(bits), bits, np.float32(low), np.float32(steps))
        return made[filters](w)

    return Kernel(integers, lambda rng, shape: rng.normal(0, 2**bits * step / 3, shape), step, 2 * 2**bits * step)


def kernel(rng: Rng) -> Kernel:
    q = lq.quantizers
    kind = rng.choice(["sign", "magnitude", "tern", "heaviside", "dorefa", "noop", "none", "fake", "own"],
                      p=[0.38, 0.1, 0.1, 0.04, 0.08, 0.06, 0.07, 0.09, 0.08])  # fmt: skip
    if kind == "fake":
        return fake_weights(rng)
    if kind == "sign":
        return Kernel(_signs()[rng.integers(7)], _normal, 1.0, 1.0)
    if kind == "magnitude":
        return Kernel(["magnitude_aware_sign", q.MagnitudeAwareSign(clip_value=None)][rng.integers(2)], _two, 0.25, 2.0)
    if kind == "tern":
        tern = [q.SteTern(), q.SteTern(threshold_value=0.5), q.SteTern(ternary_weight_networks=True)]
        return Kernel(tern[rng.integers(3)], _normal, 1.0, 1.0)
    if kind == "heaviside":
        return Kernel("ste_heaviside", _normal, 1.0, 1.0)
    if kind == "dorefa":
        k = int(rng.integers(1, 4))
        return Kernel(q.DoReFa(k_bit=k, mode="weights"), _uniform, 1 / (2**k - 1), 1.0, k == 1)
    if kind == "noop":
        return Kernel(q.NoOp(precision=1), _two, 0.25, 2.0)
    if kind == "none":
        return Kernel(None, [_quarter, _two, _thirds][rng.integers(3)], 0.25, 2.0)
    own = [
        lambda w: tf.sign(w) * 0.5,
        lambda w: tf.where(w > 0.25, 1.0, -0.5),
        lambda w: tf.clip_by_value(tf.round(w), -1.0, 1.0),
    ]
    return Kernel(own[rng.integers(3)], _normal, 0.5, 1.0)
