# SPDX-License-Identifier: Apache-2.0
"""Weights that are whole numbers from -127 to 127 times a scale, in training and after it.

The largest weight of each filter is 127 times its scale (Jacob et al., Quantization and training of neural networks
for efficient integer-arithmetic-only inference, CVPR 2018).  A batch norm behind the layer multiplies a filter's sums,
which then are whole numbers times another scale.

Imports TensorFlow, so this module is imported where it is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from training import _tf

tf, _, _ = _tf.load()

MOST = 127
_LEAST_SCALE = 2.0**-100  # of a filter of zeros


def per_filter(kernel: Any) -> Any:
    """float32 (..., filters) to the nearest of these numbers, with the gradient of the identity (straight through)."""
    return _quantized(tf.convert_to_tensor(kernel), range(len(kernel.shape) - 1))


def per_channel(kernel: Any) -> Any:
    """The same of a depthwise layer: float32 (rows, columns, channels, 1)."""
    return _quantized(tf.convert_to_tensor(kernel), (0, 1, 3))


def _quantized(kernel: Any, axes: Iterable[int]) -> Any:
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def rounded(latent: Any) -> Any:
        scale = tf.maximum(tf.reduce_max(tf.abs(latent), tuple(axes), keepdims=True) / MOST, _LEAST_SCALE)
        return tf.round(latent / scale) * scale, lambda gradient: gradient

    return rounded(kernel)
