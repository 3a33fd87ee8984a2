# SPDX-License-Identifier: Apache-2.0
"""The networks that the tools train.

"separable" is one of floats, which become int8.  The others are binarized, and keep to the same rules, so that all of
them but the last softmax can be compiled to integer arithmetic on bits (a Variant may replace signs and weights):

- the first layer has binary weights on the input as it is (non-negative multiples of a power of
  two, see datasets.py), so its sums are exact;
- every other convolution and dense layer has binary inputs and binary weights;
- no layer has a bias, batch norm follows each, and max pooling stands between the two;
- the last layer is binary too, and its batch norm scales the sums to logits for the softmax.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training import UserError, _tf

Shape = tuple[int, int, int]

# A short memory: binary weights flip all through training, and old statistics mislead.
_BATCH_NORM_MOMENTUM = 0.9
_BINARY = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}
ACTIVATIONS = ("sign", "relu", "qcfs", "whetstone")
MOST_LEVELS = 256
WEIGHTS = ("binary", "float")


class NetworkError(UserError):
    """A network is unknown or does not fit the data."""


@dataclass(frozen=True)
class Conv:
    """A convolution with ``size`` x ``size`` taps, binary if the variant's are, max pooling by two if asked for, batch
    norm.

    With ``shortcut`` the block's real-valued input is added to its output, so that not all of it is lost in the signs;
    needs as many channels as come in, and no pooling.  Padding is "same", with ``pad_values``.  With ``depthwise`` each
    channel has a filter of its own, and ``channels`` are those that come in; never binary.
    """

    channels: int
    size: int = 3
    stride: int = 1
    depthwise: bool = False
    pool: bool = False
    shortcut: bool = False
    pad_values: float = 0.0


@dataclass(frozen=True)
class Variant:
    """One network: what every layer with weights but the first does with its inputs, and what its weights are.

    "sign": +1 and -1; "relu": the baseline; for the others see activations.py.  ``levels``: of "qcfs".  All but signs
    are padded with 0, which is silence.
    """

    activation: str = "sign"
    levels: int = 0
    weights: str = "binary"


@dataclass(frozen=True)
class Network:
    """Convolutions, hidden dense layers with these units, and a dense layer for the classes."""

    convolutions: tuple[Conv, ...] = ()
    dense: tuple[int, ...] = ()


def _plain(channels: int) -> Network:
    two = 2 * channels
    return Network(
        (Conv(channels, pool=True), Conv(channels, pool=True), Conv(two, pad_values=1.0), Conv(two, pool=True))
    )


NETWORKS = {
    # For 8 x 8 images: trains in seconds.
    "digits": Network((Conv(32), Conv(64, pool=True, pad_values=1.0), Conv(64, pool=True))),
    # For 28 x 28 images.  The shortcuts are worth their additions: in short trials, plain networks of like size were
    # about a point less accurate on the validation images.
    "fashion": Network(
        (
            Conv(64, pool=True),
            Conv(64, shortcut=True, pad_values=1.0),
            Conv(128, pool=True),
            Conv(128, shortcut=True, pad_values=1.0),
            Conv(128, pool=True),
        )
    ),
    # For images of any size.
    "mlp": Network(dense=(256, 256)),
    # For 28 x 28 images, without shortcuts: its hidden values are bits, so it has a spiking twin. Narrower ones follow.
    "plain": _plain(64),
    "plain32": _plain(32),
    "plain16": _plain(16),
    # For 28 x 28 images, floats that become int8: two points above "plain", a fifth of its instructions (Cortex-M4).
    "separable": Network(
        (
            Conv(16, stride=2),
            Conv(16, depthwise=True),
            Conv(32, size=1),
            Conv(32, depthwise=True, stride=2),
            Conv(64, size=1),
        )
    ),
}


def build(
    name: str,
    input_shape: Shape,
    classes: int,
    scale: int | None = None,
    variant: Variant = Variant(),
    together: bool = False,
) -> Any:
    """Build the named network as an untrained Keras 2 model: float32 (N, *input_shape) to class
    probabilities (N, classes). Initial weights come from TensorFlow's global seed. With ``scale`` it
    takes uint8, and divides by it. ``together``: batch norm's means are those of all workers' images.

    Raises NetworkError for an unknown name or images too small for the network's pooling.
    """
    if name not in NETWORKS:
        raise NetworkError(f"no network named {name!r}; choose from: {', '.join(NETWORKS)}")
    check_variant(name, variant)
    try:
        return _build(name, input_shape, classes, scale, variant, together=together)
    except ValueError as error:
        raise NetworkError(f"network {name!r} does not fit images of shape {input_shape}: {error}") from error


def check_variant(name: str, variant: Variant) -> None:
    """Raises NetworkError if the named network cannot have this variant: depthwise layers are never binary."""
    convolutions = NETWORKS.get(name, Network()).convolutions
    if any(conv.depthwise for conv in convolutions) and variant != Variant("relu", weights="float"):
        raise NetworkError(f"network {name!r} has depthwise layers; give --activation relu --weights float")


def exported(model: Any, scale: int | None, variant: Variant) -> Any:
    """A trained model without optimizer, in layers that are loaded without these modules."""
    made = _build(model.name, model.input_shape[1:], model.output_shape[-1], scale, variant, model)
    for layer in made.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return made


def _build(
    name: str, input_shape: Shape, classes: int, scale: int | None, variant: Variant, trained: Any = None,
    together: bool = False,
) -> Any:  # fmt: skip
    """``trained``: the model whose activations are repeated in standard layers."""
    _, keras, larq = _tf.load()
    x = image = keras.Input(shape=input_shape, name="image", dtype="uint8" if scale else "float32")
    if scale:
        x = keras.layers.Rescaling(1 / scale, name="scaled")(image)
    signs, binary = variant.activation == "sign", variant.weights == "binary"
    # The first layer with weights takes its inputs as they are.
    first: dict[str, Any] = {"use_bias": False, **(_BINARY if binary else {})}
    options, later = first, {**first, **({"input_quantizer": "ste_sign"} if signs else {})}
    conv2d, dense = keras.layers.Conv2D, keras.layers.Dense
    if signs or binary:
        conv2d, dense = larq.layers.QuantConv2D, larq.layers.QuantDense

    def activated(x: Any, layer: str) -> Any:
        return x if options is first else _activated(x, f"{layer}_input", variant, trained)

    def normalized(x: Any, layer: str) -> Any:
        shared = {"synchronized": True} if together else {}
        return keras.layers.BatchNormalization(momentum=_BATCH_NORM_MOMENTUM, name=f"{layer}_norm", **shared)(x)

    for i, conv in enumerate(NETWORKS[name].convolutions, 1):
        below, layer = x, f"conv{i}"
        padding = {"pad_values": conv.pad_values} if signs else {}
        shape = {"kernel_size": conv.size, "strides": conv.stride, "padding": "same", "name": layer}
        if conv.depthwise:
            x = keras.layers.DepthwiseConv2D(use_bias=False, **shape)(activated(x, layer))
        else:
            x = conv2d(conv.channels, **shape, **padding, **options)(activated(x, layer))
        if conv.pool:
            x = keras.layers.MaxPooling2D(2, name=f"{layer}_pool")(x)
        x = normalized(x, layer)
        if conv.shortcut:
            x = keras.layers.Add(name=f"{layer}_add")([below, x])
        options = later
    x = keras.layers.Flatten(name="flatten")(x)  # in the order row, column, channel
    hidden = {f"dense{i}": units for i, units in enumerate(NETWORKS[name].dense, 1)}
    for layer, units in {**hidden, "logits": classes}.items():
        x = normalized(dense(units, name=layer, **options)(activated(x, layer)), layer)
        options = later
    probabilities = keras.layers.Activation("softmax", name="probabilities")(x)
    return keras.Model(image, probabilities, name=name)


def _activated(x: Any, name: str, variant: Variant, trained: Any) -> Any:
    _, keras, _ = _tf.load()
    if variant.activation == "sign":  # part of a layer
        return x
    if variant.activation == "relu":
        return keras.layers.ReLU(name=name)(x)
    from training import activations

    if trained is not None:
        return activations.staircase(x, trained.get_layer(name), name)
    if variant.activation == "qcfs":
        return activations.QCFS(variant.levels, name=name)(x)
    return activations.SpikingBReLU(name=name)(x)
