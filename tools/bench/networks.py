# SPDX-License-Identifier: Apache-2.0
"""The networks that bench_models.py times: larq_zoo's, the demo's, a mobile one, and chains of equal layers."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

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
FLOAT = "MobileNetV3Small"  # no binary layer: what one would use instead
SHAPE = (224, 224, 3)  # of the images of all networks except the demo's
LAYERS = tuple(layers.BUILDERS)
NAMES = (*NETWORKS, FLOAT, *LAYERS)
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
    elif name == FLOAT:
        model = keras.applications.MobileNetV3Small(input_shape=SHAPE, weights=None, include_preprocessing=False)
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
