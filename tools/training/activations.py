# SPDX-License-Identifier: Apache-2.0
"""ReLUs that become spikes without loss, as they are trained, and the same functions in standard layers.

    QCFS          quantization clip-floor-shift: y = s clip(floor(x / s + 1/2), 0, L), of L + 1 levels, with a learned
                  range s L (Bu et al., Optimal ANN-SNN conversion, ICLR 2022)
    SpikingBReLU  a bounded ReLU that is sharpened to a step during training (Severa et al., Training deep neural
                  networks for binary communication with the Whetstone method, Nature Machine Intelligence 2019)

The step s has four significant bits.  So a level, up to 255 s, has twelve, and a sum of up to 4,096 levels weighted by
+-1 is exact in float32 whatever the order of summation, as are those of the inputs (see datasets.py).

Imports TensorFlow, so this module is imported where it is needed.
"""

from __future__ import annotations

from typing import Any

from training import _tf

tf, keras, _ = _tf.load()

# Upper ends of a range.  Batch norm comes before, so few values are above the first.
_FIRST_RANGE, _LEAST_RANGE = 2.0, 2.0**-10
_DROPPED = 20  # of the 23 stored bits of a float32's significand
# Layers are sharpened between these shares of the training.
SHARPENED_FROM, SHARPENED_TO = 0.2, 0.9


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _floor(x: Any) -> Any:
    """floor, with the gradient of the identity (straight through)."""
    return tf.floor(x), lambda gradient: gradient


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _rounded(x: Any) -> Any:
    """A positive float32 to four significant bits; straight through, too."""
    half, kept = 1 << (_DROPPED - 1), -(1 << _DROPPED)
    return tf.bitcast((tf.bitcast(x, tf.int32) + half) & kept, tf.float32), lambda gradient: gradient


def _positive(value: Any) -> Any:
    return tf.maximum(value, _LEAST_RANGE)


class QCFS(keras.layers.Layer):  # type: ignore[misc, name-defined]
    """A clipped and quantized ReLU, float32 to float32: ``levels`` values from 0 to the learned ``range``."""

    def __init__(self, levels: int, **options: Any) -> None:
        super().__init__(**options)
        self.levels = levels

    def build(self, shape: Any) -> None:
        super().build(shape)
        first = keras.initializers.Constant(_FIRST_RANGE)
        self.range = self.add_weight("range", (), initializer=first, constraint=_positive)

    @property
    def step(self) -> Any:
        """The distance from one level to the next."""
        return _rounded(self.range / (self.levels - 1))

    def call(self, x: Any) -> Any:
        step = self.step
        # The operations of `staircase`, in its order.
        return tf.clip_by_value(_floor(x * (1.0 / step) + 0.5), 0.0, self.levels - 1.0) * step


class SpikingBReLU(keras.layers.Layer):  # type: ignore[misc, name-defined]
    """A bounded ReLU, float32 to float32: from 0 to 1 within 1 - ``sharpness`` around 1/2.

    With a sharpness of 1 it is a step, which has no gradient.  It is validated and tested as that from the beginning.
    """

    def build(self, shape: Any) -> None:
        super().build(shape)
        self.sharpness = self.add_weight("sharpness", (), initializer="zeros", trainable=False)

    def call(self, x: Any, training: Any = None) -> Any:
        step = tf.clip_by_value(tf.floor(x + 0.5), 0.0, 1.0)
        if not training:
            return step
        sharp = self.sharpness >= 1
        width = tf.where(sharp, 1.0, 1 - self.sharpness)
        return tf.where(sharp, step, tf.clip_by_value((x - 0.5) / width + 0.5, 0.0, 1.0))


class Sharpener(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
    """Sharpens a model's layers one after the other, from the input on: what a layer learns from is sharp before the
    layer is.  ``steps``: batches of the whole training.

    The sharpness follows from the number of the batch, so a resumed run goes on.  In the end, only what comes after the
    last of the layers still learns.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        done = int(self.model.optimizer.iterations) / self.steps
        layers = [layer for layer in self.model.layers if isinstance(layer, SpikingBReLU)]
        turn = (done - SHARPENED_FROM) / (SHARPENED_TO - SHARPENED_FROM) * len(layers)
        for i, layer in enumerate(layers):
            layer.sharpness.assign(min(1.0, max(0.0, turn - i)))


def staircase(x: Any, trained: QCFS | SpikingBReLU, name: str) -> Any:
    """What a trained layer computes, in layers that Keras and the compiler load without this module."""
    step, steps = (trained.step.numpy(), trained.levels - 1) if isinstance(trained, QCFS) else (1, 1)
    x = keras.layers.Rescaling(float(tf.constant(1.0) / step), 0.5, name=f"{name}_shift")(x)
    x = keras.layers.ReLU(float(steps), name=f"{name}_clip")(tf.floor(x, name=f"{name}_floor"))
    return keras.layers.Rescaling(float(step), name=name)(x) if step != 1 else x
