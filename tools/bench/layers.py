# SPDX-License-Identifier: Apache-2.0
"""Chains of equal layers: the cost of one layer in a network, measured the same way in every engine.

The time of a single layer would include an engine's cost of a call, and its input would be unlike any network's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bnn.ir.graph import Node
from bnn.ir.ops import constant, make

_LAYERS = 8
_STEM = 32
Size = tuple[int, int]  # pixels per side, channels
_SIZES: tuple[Size, ...] = ((56, 64), (28, 128), (14, 256), (7, 512))


def sign(x: Node) -> Node:
    """Larq's sign of a SOURCE graph's value: +1 for zero."""
    return make("sign", make("add", make("sign", x), constant(0.1)))


def _binary(keras: Any, larq: Any, x: Any, residual: bool) -> Any:
    y = larq.layers.QuantConv2D(
        x.shape[-1], 3, padding="same", pad_values=1.0, use_bias=False, input_quantizer="ste_sign",
        kernel_quantizer="ste_sign", kernel_constraint="weight_clip",
    )(x)  # fmt: skip
    y = keras.layers.BatchNormalization()(y)
    return keras.layers.add([x, y]) if residual else y


def _float(keras: Any, x: Any, filters: int, kernel: int, stride: int) -> Any:
    y = keras.layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False)(x)
    return keras.layers.ReLU()(keras.layers.BatchNormalization()(y))


def _chain(size: Size, layer: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any], Any]:
    side, channels = size

    def build(keras: Any, larq: Any) -> Any:
        x = image = keras.layers.Input((side, side, channels))
        for _ in range(_LAYERS):
            x = layer(keras, larq, x)
        return keras.Model(image, x)

    return build


def _strided(keras: Any, larq: Any) -> Any:
    x = image = keras.layers.Input((2 * _SIZES[0][0], 2 * _SIZES[0][0], _STEM))
    for _, channels in _SIZES:
        x = _float(keras, x, channels, 3, 2)
    return keras.Model(image, x)


def _builders() -> dict[str, Callable[[Any, Any], Any]]:
    found: dict[str, Callable[[Any, Any], Any]] = {}
    for size in _SIZES:
        text = f"{size[0]}x{size[0]}x{size[1]}"
        found[f"bits-{text}"] = _chain(size, lambda keras, larq, x: _binary(keras, larq, x, residual=False))
        found[f"residual-{text}"] = _chain(size, lambda keras, larq, x: _binary(keras, larq, x, residual=True))
        found[f"float-1x1-{text}"] = _chain(size, lambda keras, larq, x: _float(keras, x, x.shape[-1], 1, 1))
    found["float-3x3s2"] = _strided
    return found


BUILDERS = dict(sorted(_builders().items()))
"""Name -> a function of the modules keras and larq that makes the Keras model.

``bits-...``: eight 3x3 binary convolutions with batch norm, bits from one to the next.  ``residual-...``: the same with
a shortcut, so that floats are read and written.  ``float-1x1-...``: eight float 1x1 convolutions with batch norm and
ReLU.  ``float-3x3s2``: four float 3x3 convolutions of stride 2, from 112x112x32 to 7x7x512.
"""
