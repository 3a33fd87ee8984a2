# SPDX-License-Identifier: Apache-2.0
"""The binarized networks that the tools train, one function per network.

Every network keeps to the same rules, so that all of it but the last softmax can be compiled to
integer arithmetic on bits:

- the first layer has binary weights on the input as it is (non-negative multiples of a power of
  two, see datasets.py), so its sums are exact;
- every other convolution and dense layer has binary inputs and binary weights;
- no layer has a bias, batch norm follows each, and max pooling stands between the two;
- the last layer is binary too, and its batch norm scales the sums to logits for the softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from training import UserError, _tf

Shape = tuple[int, int, int]

# A short memory: binary weights flip all through training, and old statistics mislead.
_BATCH_NORM_MOMENTUM = 0.9
_BINARY_WEIGHTS: dict[str, Any] = {
    "kernel_quantizer": "ste_sign",
    "kernel_constraint": "weight_clip",
    "use_bias": False,
}
_BINARY: dict[str, Any] = {"input_quantizer": "ste_sign", **_BINARY_WEIGHTS}


class NetworkError(UserError):
    """A network is unknown or does not fit the data."""


def build(name: str, input_shape: Shape, classes: int) -> Any:
    """Build the named network as an untrained Keras 2 model: float32 (N, *input_shape) to class
    probabilities (N, classes). Initial weights come from TensorFlow's global seed.

    Raises NetworkError for an unknown name or images too small for the network's pooling.
    """
    try:
        make = NETWORKS[name]
    except KeyError:
        names = ", ".join(NETWORKS)
        raise NetworkError(f"no network named {name!r}; choose from: {names}") from None
    try:
        return make(input_shape, classes)
    except ValueError as error:
        raise NetworkError(f"network {name!r} does not fit images of shape {input_shape}: {error}") from error


class _Stack:
    """A network under construction, layer upon layer; one method per kind of block."""

    def __init__(self, name: str, input_shape: Shape) -> None:
        _, self._keras, self._larq = _tf.load()
        self._name = name
        self._image = self._keras.Input(shape=input_shape, name="image")
        self._top = self._image
        self._weighted = False

    def _add(self, layer: Any) -> None:
        self._top = layer(self._top)

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        """The first layer with weights takes its inputs as they are; all others binarize them."""
        kind = _BINARY if self._weighted else _BINARY_WEIGHTS
        self._weighted = True
        return {**kind, **options}

    def _batch_norm(self, name: str) -> None:
        layers = self._keras.layers
        self._add(layers.BatchNormalization(momentum=_BATCH_NORM_MOMENTUM, name=f"{name}_norm"))

    def conv(self, name: str, channels: int, pool: bool = False, shortcut: bool = False, **options: Any) -> None:
        """A binary 3 x 3 convolution, max pooling by two if asked for, batch norm.

        With `shortcut` the block's real-valued input is added to its output, so that not all of it
        is lost in the signs; needs as many channels as come in, and no pooling. Options go to
        QuantConv2D; padding is "same", with zeros unless pad_values says otherwise.
        """
        below = self._top
        options = {"kernel_size": 3, "padding": "same", **self._options(options)}
        self._add(self._larq.layers.QuantConv2D(channels, name=name, **options))
        if pool:
            self._add(self._keras.layers.MaxPooling2D(2, name=f"{name}_pool"))
        self._batch_norm(name)
        if shortcut:
            self._top = self._keras.layers.Add(name=f"{name}_add")([below, self._top])

    def flatten(self) -> None:
        """From images to vectors, in the order row, column, channel."""
        self._add(self._keras.layers.Flatten(name="flatten"))

    def dense(self, name: str, units: int) -> None:
        """A binary dense layer and its batch norm."""
        self._add(self._larq.layers.QuantDense(units, name=name, **self._options({})))
        self._batch_norm(name)

    def softmax(self) -> Any:
        """The finished model, its outputs made probabilities."""
        self._add(self._keras.layers.Activation("softmax", name="probabilities"))
        return self._keras.Model(self._image, self._top, name=self._name)


def digits(input_shape: Shape, classes: int) -> Any:
    """Three convolutions for 8 x 8 images: trains in seconds."""
    net = _Stack("digits", input_shape)
    net.conv("conv1", 32)
    net.conv("conv2", 64, pool=True, pad_values=1.0)
    net.conv("conv3", 64, pool=True)
    net.flatten()
    net.dense("logits", classes)
    return net.softmax()


def fashion(input_shape: Shape, classes: int) -> Any:
    """Five convolutions for 28 x 28 images, two of them with a shortcut.

    The shortcuts are worth their additions: in short trials, plain networks of like size were about
    a point less accurate on the validation images.
    """
    net = _Stack("fashion", input_shape)
    net.conv("conv1", 64, pool=True)
    net.conv("conv2", 64, shortcut=True, pad_values=1.0)
    net.conv("conv3", 128, pool=True)
    net.conv("conv4", 128, shortcut=True, pad_values=1.0)
    net.conv("conv5", 128, pool=True)
    net.flatten()
    net.dense("logits", classes)
    return net.softmax()


def plain(input_shape: Shape, classes: int) -> Any:
    """Four convolutions for 28 x 28 images, no shortcuts: its hidden values are bits, so it has a spiking twin."""
    net = _Stack("plain", input_shape)
    net.conv("conv1", 64, pool=True)
    net.conv("conv2", 64, pool=True)
    net.conv("conv3", 128, pad_values=1.0)
    net.conv("conv4", 128, pool=True)
    net.flatten()
    net.dense("logits", classes)
    return net.softmax()


def mlp(input_shape: Shape, classes: int) -> Any:
    """Two hidden dense layers, for images of any size."""
    net = _Stack("mlp", input_shape)
    net.flatten()
    net.dense("dense1", 256)
    net.dense("dense2", 256)
    net.dense("logits", classes)
    return net.softmax()


NETWORKS: dict[str, Callable[[Shape, int], Any]] = {
    "digits": digits,
    "fashion": fashion,
    "mlp": mlp,
    "plain": plain,
}
