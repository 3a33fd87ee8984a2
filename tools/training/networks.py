# SPDX-License-Identifier: Apache-2.0
"""The networks that the tools train.

"separable" and its kin are of floats, which become int8; "mixed" ones have binary layers behind those.  "bireal" is
binary between a first and a last layer of floats.  The others are binarized, and keep to the same rules, so that all of
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
WEIGHTS = ("binary", "float", "int8")


class NetworkError(UserError):
    """A network is unknown or does not fit the data."""


@dataclass(frozen=True)
class Conv:
    """A convolution with ``size`` x ``size`` taps, binary if the variant's are, max pooling by two if asked for, batch
    norm.

    With ``shortcut`` the block's real-valued input is added to its output, so that not all of it is lost in the signs.
    It needs as many channels as come in, and no pooling.  With a stride of two it needs twice the channels, and adds
    the mean of 2 x 2 pixels twice, side by side.  Padding is "same", with ``pad_values``.  With ``depthwise`` each
    channel has a filter of its own, and ``channels`` are those that come in; never binary.  With ``binary`` it has
    signs for inputs, and binary weights, in every variant.
    """

    channels: int
    size: int = 3
    stride: int = 1
    depthwise: bool = False
    binary: bool = False
    pool: bool = False
    shortcut: bool = False
    pad_values: float = 0.0


@dataclass(frozen=True)
class Variant:
    """One network: what every layer with weights but the first does with its inputs, and what its weights are.

    "sign": +1 and -1; "relu": the baseline; for the others see activations.py.  ``levels``: of "qcfs".  All but signs
    are padded with 0, which is silence.  Weights "int8" are trained as what they become: whole numbers, times a scale
    per filter.
    """

    activation: str = "sign"
    levels: int = 0
    weights: str = "binary"


@dataclass(frozen=True)
class Network:
    """Convolutions, hidden dense layers with these units, and a dense layer for the classes.

    ``signs``: Larq's quantizer of inputs; all give the same signs, and each a gradient of its own.  ``float_ends``: the
    first and the last layer have real weights, and the last takes real values, in every variant.
    """

    convolutions: tuple[Conv, ...] = ()
    dense: tuple[int, ...] = ()
    signs: str = "ste_sign"
    float_ends: bool = False


def _plain(channels: int) -> Network:
    two = 2 * channels
    return Network(
        (Conv(channels, pool=True), Conv(channels, pool=True), Conv(two, pad_values=1.0), Conv(two, pool=True))
    )


def _residual(channels: int) -> Network:
    two = 2 * channels
    return Network(
        (
            Conv(channels, pool=True),
            Conv(channels, shortcut=True, pad_values=1.0),
            Conv(two, pool=True),
            Conv(two, shortcut=True, pad_values=1.0),
            Conv(two, pool=True),
        )
    )


def _bireal(channels: int) -> Network:
    """Shortcuts, signs whose gradient is a triangle, and floats at both ends (Liu et al., Bi-Real Net, ECCV 2018)."""
    two = 2 * channels
    return Network(
        (
            Conv(channels, pool=True),
            Conv(channels, shortcut=True, pad_values=1.0),
            Conv(channels, shortcut=True, pad_values=1.0),
            Conv(two, stride=2, shortcut=True, pad_values=1.0),
            Conv(two, shortcut=True, pad_values=1.0),
            Conv(two, pool=True),
        ),
        signs="approx_sign",
        float_ends=True,
    )


def _separable(channels: int, *more: Conv) -> Network:
    """A stem and two depthwise separable convolutions, and ``more`` layers."""
    two, four = 2 * channels, 4 * channels
    return Network(
        (
            Conv(channels, stride=2),
            Conv(channels, depthwise=True),
            Conv(two, size=1),
            Conv(two, depthwise=True, stride=2),
            Conv(four, size=1),
            *more,
        )
    )


def _mixed(channels: int, layers: int) -> Network:
    """A separable one, and binary layers with shortcuts around them."""
    return _separable(channels, *[Conv(4 * channels, binary=True, shortcut=True)] * layers)


NETWORKS = {
    # For 8 x 8 images: trains in seconds.
    "digits": Network((Conv(32), Conv(64, pool=True, pad_values=1.0), Conv(64, pool=True))),
    # For 28 x 28 images.  The shortcuts are worth their additions: in short trials, plain networks of like size were
    # about a point less accurate on the validation images.
    "fashion": _residual(64),
    "bireal": _bireal(64),
    "residual32": _residual(32),
    "residual16": _residual(16),
    # For images of any size.
    "mlp": Network(dense=(256, 256)),
    # For 28 x 28 images, without shortcuts: its hidden values are bits, so it has a spiking twin. Narrower ones follow.
    "plain": _plain(64),
    "plain32": _plain(32),
    "plain24": _plain(24),
    "plain16": _plain(16),
    "plain8": _plain(8),
    # For 28 x 28 images, floats that become int8: two points above "plain", a fifth of its instructions (Cortex-M4).
    "separable": _separable(16),
    "separable8": _separable(8),
    "separable24": _separable(24),
    "separable32": _separable(32),
    "deep": _separable(16, Conv(64, depthwise=True), Conv(64, size=1)),
    # And these with binary layers behind.
    "mixed8": _mixed(8, 1),
    "mixed16": _mixed(16, 1),
    "mixed16x2": _mixed(16, 2),
    "mixed24": _mixed(24, 1),
}


def build(
    name: str,
    input_shape: Shape,
    classes: int,
    scale: int | None = None,
    variant: Variant = Variant(),
    together: bool = False,
    bfloat16: bool = False,
) -> Any:
    """Build the named network as an untrained Keras 2 model: float32 (N, *input_shape) to class
    probabilities (N, classes). Initial weights come from TensorFlow's global seed. With ``scale`` it
    takes uint8, and divides by it. ``together``: batch norm's means are those of all workers' images.
    ``bfloat16``: binary convolutions are trained in it.

    Raises NetworkError for an unknown name or images too small for the network's pooling.
    """
    if name not in NETWORKS:
        raise NetworkError(f"no network named {name!r}; choose from: {', '.join(NETWORKS)}")
    check_variant(name, variant)
    try:
        return _build(name, input_shape, classes, scale, variant, together=together, bfloat16=bfloat16)
    except ValueError as error:
        raise NetworkError(f"network {name!r} does not fit images of shape {input_shape}: {error}") from error


def check_variant(name: str, variant: Variant) -> None:
    """Raises NetworkError if the named network cannot have this variant: depthwise layers are never binary."""
    convolutions = NETWORKS.get(name, Network()).convolutions
    if any(conv.depthwise for conv in convolutions) and (variant.weights == "binary" or variant.activation == "sign"):
        raise NetworkError(
            f"network {name!r} has depthwise layers; give --activation relu --weights float, "
            "or --activation qcfs --levels 256 --weights int8"
        )


def binary_convolutions(name: str, variant: Variant) -> int:
    """How many convolutions of the named network have signs for inputs, and binary weights."""
    behind = NETWORKS[name].convolutions[1:]
    all_are = variant.activation == "sign" and variant.weights == "binary"
    return sum(conv.binary or all_are for conv in behind)


def exported(model: Any, scale: int | None, variant: Variant) -> Any:
    """A trained model without optimizer, in layers that are loaded without these modules."""
    made = _build(model.name, model.input_shape[1:], model.output_shape[-1], scale, variant, model)
    for layer in made.layers:
        if layer.weights:
            trained = model.get_layer(layer.name)
            kernel, *others = trained.get_weights()
            if variant.weights == "int8" and (quantizer := _kernel_quantizer(trained)):
                kernel = quantizer(trained.weights[0]).numpy()
            layer.set_weights([kernel, *others])
    return made


def _kernel_quantizer(layer: Any) -> Any:
    """What int8 weights are trained by; None: it has no such weights."""
    from training import int8_weights

    found = (getattr(layer, name, None) for name in ("kernel_quantizer", "depthwise_quantizer"))
    return next((f for f in found if f in (int8_weights.per_filter, int8_weights.per_channel)), None)


class _Layers:
    """Makes the layers with weights of a variant, and says whether the activation stands before each.  ``final``: as
    they are exported.  ``bfloat16``: binary convolutions are trained in it."""

    def __init__(self, network: Network, variant: Variant, final: bool, bfloat16: bool) -> None:
        self._quantizer, self._float_ends, self._bfloat16 = network.signs, network.float_ends, bfloat16
        self._signs = variant.activation == "sign"
        self._weights = "float" if variant.weights == "int8" and final else variant.weights
        self._first = True  # the next one takes its inputs as they are

    def conv(self, conv: Conv, name: str) -> tuple[Any, bool]:
        shape: dict[str, Any] = {"kernel_size": conv.size, "strides": conv.stride, "padding": "same", "name": name}
        if conv.depthwise:
            return self._made("DepthwiseConv2D", False, shape)
        padding = {"pad_values": conv.pad_values} if conv.pad_values and (self._signs or conv.binary) else {}
        return self._made("Conv2D", conv.binary, {"filters": conv.channels, **shape, **padding})

    def dense(self, units: int, name: str, last: bool) -> tuple[Any, bool]:
        return self._made("Dense", False, {"units": units, "name": name}, last)

    def _made(self, kind: str, binary: bool, options: dict[str, Any], last: bool = False) -> tuple[Any, bool]:
        _, keras, larq = _tf.load()
        first, self._first = self._first, False
        signs, binary = (self._signs or binary) and not first, binary or self._weights == "binary"
        if self._float_ends and (first or last):
            signs = binary = False
        options = {"use_bias": False, **options, **(_BINARY if binary else {})}
        if self._weights == "int8" and not binary:
            from training import int8_weights

            depthwise = {"depthwise_quantizer": int8_weights.per_channel}
            options |= depthwise if kind == "DepthwiseConv2D" else {"kernel_quantizer": int8_weights.per_filter}
        if signs:
            options["input_quantizer"] = self._quantizer
        if self._bfloat16 and signs and binary and kind == "Conv2D":
            from training import bfloat16

            return bfloat16.Bfloat16Conv2D(**options), not first and not signs
        quantized = signs or binary or self._weights == "int8"
        made = getattr(larq.layers, f"Quant{kind}") if quantized else getattr(keras.layers, kind)
        return made(**options), not first and not signs and not self._signs


def _build(
    name: str, input_shape: Shape, classes: int, scale: int | None, variant: Variant, trained: Any = None,
    together: bool = False, bfloat16: bool = False,
) -> Any:  # fmt: skip
    """``trained``: the model whose activations are repeated in standard layers."""
    _, keras, _ = _tf.load()
    x = image = keras.Input(shape=input_shape, name="image", dtype="uint8" if scale else "float32")
    if scale:
        x = keras.layers.Rescaling(1 / scale, name="scaled")(image)
    layers = _Layers(NETWORKS[name], variant, trained is not None, bfloat16)

    def weighted(x: Any, layer: tuple[Any, bool]) -> Any:
        made, activated = layer
        return made(_activated(x, f"{made.name}_input", variant, trained) if activated else x)

    def normalized(x: Any, layer: str) -> Any:
        shared = {"synchronized": True} if together else {}
        return keras.layers.BatchNormalization(momentum=_BATCH_NORM_MOMENTUM, name=f"{layer}_norm", **shared)(x)

    for i, conv in enumerate(NETWORKS[name].convolutions, 1):
        below, layer = x, f"conv{i}"
        x = weighted(x, layers.conv(conv, layer))
        if conv.pool:
            x = keras.layers.MaxPooling2D(2, name=f"{layer}_pool")(x)
        x = normalized(x, layer)
        if conv.shortcut:
            if conv.stride > 1:
                below = keras.layers.AveragePooling2D(conv.stride, padding="same", name=f"{layer}_mean")(below)
                below = keras.layers.Concatenate(name=f"{layer}_twice")([below, below])
            x = keras.layers.Add(name=f"{layer}_add")([below, x])
    x = keras.layers.Flatten(name="flatten")(x)  # in the order row, column, channel
    hidden = {f"dense{i}": units for i, units in enumerate(NETWORKS[name].dense, 1)}
    for layer, units in {**hidden, "logits": classes}.items():
        x = normalized(weighted(x, layers.dense(units, layer, layer == "logits")), layer)
    probabilities = keras.layers.Activation("softmax", name="probabilities")(x)
    return keras.Model(image, probabilities, name=name)


def _activated(x: Any, name: str, variant: Variant, trained: Any) -> Any:
    _, keras, _ = _tf.load()
    if variant.activation == "relu":
        return keras.layers.ReLU(name=name)(x)
    from training import activations

    if trained is not None:
        return activations.staircase(x, trained.get_layer(name), name)
    if variant.activation == "qcfs":
        return activations.QCFS(variant.levels, name=name)(x)
    return activations.SpikingBReLU(name=name)(x)
