# SPDX-License-Identifier: Apache-2.0
"""Binary convolutions that are computed in bfloat16 while they are trained, and in float32 afterwards.

Signs are exact in bfloat16.  Sums and gradients are rounded to its 8 bits, which training does not mind.  Weights,
batch norms and shortcuts remain float32.

Imports TensorFlow, so this module is imported where it is needed.
"""

from __future__ import annotations

from typing import Any

from training import _tf

tf, _, larq = _tf.load()


class Bfloat16Conv2D(larq.layers.QuantConv2D):  # type: ignore[misc, name-defined]
    """Larq's, with inputs and kernel of signs."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        self._training = training
        return super().call(inputs)

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        if not self._training:
            return super().convolution_op(inputs, kernel)
        sums = super().convolution_op(tf.cast(inputs, tf.bfloat16), tf.cast(kernel, tf.bfloat16))
        return tf.cast(sums, inputs.dtype)
