# SPDX-License-Identifier: Apache-2.0
"""The networks of the benchmarks: larq_zoo's, the demo's, mobile ones, and chains of equal layers."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import MissingError, layers
from training import _tf, networks

ZOO: dict[str, str] = {
    "QuickNetSmall": "sota",
    "QuickNet": "sota",
    "QuickNetLarge": "sota",
    "BiRealNet": "literature",
    "BinaryResNetE18": "literature",
    "RealToBinaryNet": "literature",
    "BinaryDenseNet28": "literature",
    "BinaryDenseNet37": "literature",
    "BinaryDenseNet37Dilated": "literature",
    "BinaryDenseNet45": "literature",
    "MeliusNet22": "literature",
    "BinaryAlexNet": "literature",
    "XNORNet": "literature",
    "DoReFaNet": "literature",
}
DEMO: dict[str, tuple[int, int, int]] = {"digits": (8, 8, 1), "fashion": (28, 28, 1)}
NETWORKS = (*DEMO, *ZOO)
# Without a binary layer, what one would use instead: of keras.applications, with these options.
FLOAT: dict[str, tuple[str, dict[str, Any]]] = {
    "MobileNetV3Small": ("MobileNetV3Small", {"include_preprocessing": False}),
    "MobileNetV3SmallMinimalistic": ("MobileNetV3Small", {"include_preprocessing": False, "minimalistic": True}),
    "MobileNetV2-0.5": ("MobileNetV2", {"alpha": 0.5}),
}
SHAPE = (224, 224, 3)  # of the images of all networks except the demo's
LAYERS = tuple(layers.BUILDERS)
NAMES = (*NETWORKS, *FLOAT, *LAYERS)
Floats = NDArray[np.float32]
_CALIBRATION = 8  # images
_INSTALL_ZOO = "pip install tensorflow-datasets && pip install --no-deps larq-zoo zookeeper"


def zoo_network(name: str) -> Any:
    """One of larq_zoo's networks, with weights drawn at random."""
    try:
        module = importlib.import_module(f"larq_zoo.{ZOO[name]}")
    except ImportError as error:
        raise MissingError(f"larq_zoo cannot be imported ({error}); run: {_INSTALL_ZOO}") from None
    return getattr(module, name)(weights=None, input_shape=SHAPE)


def build(name: str, seed: int) -> Any:
    """A Keras model with random weights: time depends only on shapes.

    Batch norms get statistics and factors as after training, some factors negative, so that no step can be left out.
    """
    tf, keras, larq = _tf.load()
    keras.backend.clear_session()
    tf.random.set_seed(seed)
    if name in DEMO:
        model = networks.build(name, DEMO[name], 10)
    elif name in FLOAT:
        kind, options = FLOAT[name]
        model = getattr(keras.applications, kind)(input_shape=SHAPE, weights=None, **options)
    elif name in LAYERS:
        model = layers.BUILDERS[name](keras, larq)
    else:
        model = zoo_network(name)
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([_statistics(variable.name, variable.shape, rng) for variable in layer.weights])
    return model


def _statistics(name: str, shape: Any, rng: np.random.Generator) -> Any:
    if "gamma" in name:
        return rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1, 1, 1], shape)
    if "variance" in name:
        return rng.uniform(0.5, 2, shape)
    return rng.normal(0, 0.5, shape)


def images(count: int, seed: int) -> Floats:
    """Pictures with structure at every scale: sums of noise from coarse to fine, about -2 to 2."""
    rng = np.random.default_rng(seed)
    x = np.zeros((count, *SHAPE), np.float32)
    height, width, channels = SHAPE
    for pixels in (56, 16, 4, 1):
        cells = rng.normal(0, 0.5, (count, -(-height // pixels), -(-width // pixels), channels))
        x += np.repeat(np.repeat(cells, pixels, axis=1), pixels, axis=2)[:, :height, :width].astype(np.float32)
    return x


def like_trained(name: str, seed: int = 0) -> Any:
    """The network with the initializers' weights, and random biases, gammas and betas, a quarter of the gammas
    negative.

    Batch norms get the statistics of random images at their inputs, changed a little, so that activations are neither
    constant nor centred, as after training.  Logits are scaled down until no probability is near 1.
    """
    tf, keras, _ = _tf.load()
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = zoo_network(name)
    rng = np.random.default_rng(seed)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for variable in model.trainable_variables:
        kind = variable.name.rsplit("/", 1)[-1].split(":")[0]
        if kind == "gamma":
            variable.assign(rng.uniform(0.5, 1.5, variable.shape) * rng.choice([-1, 1, 1, 1], variable.shape))
        elif kind in ("beta", "bias"):
            variable.assign(rng.normal(0, 0.2, variable.shape))
        elif kind == "alpha":
            variable.assign(rng.uniform(0, 0.5, variable.shape))
    for norm in norms:
        norm.momentum = 0.0
    model(images(_CALIBRATION, seed + 1), training=True)
    for norm in norms:
        spread = np.sqrt(norm.moving_variance.numpy())
        norm.moving_mean.assign_add(rng.normal(0, 0.2, spread.shape) * spread)
        norm.moving_variance.assign(norm.moving_variance * rng.uniform(0.7, 1.4, spread.shape))
    last = [layer for layer in model.layers if layer.weights][-1]
    for _ in range(20):
        if model(images(_CALIBRATION, seed + 1), training=False).numpy().max() < 0.5:
            break
        halve(last)
    return model


def halve(layer: Any) -> None:
    """Halve the results of a dense layer or a batch norm."""
    for variable in layer.weights:
        name = variable.name.rsplit("/", 1)[-1]
        if "moving_variance" in name:
            variable.assign(variable * 4.0)
        elif "moving_mean" not in name and "gamma" not in name:  # kernel, bias, beta
            variable.assign(variable * 0.5)
