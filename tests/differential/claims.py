# SPDX-License-Identifier: Apache-2.0
"""Which Larq layers are to run as bits: those whose input quantizer gives a few levels and whose weights are +-alpha or
0, but for what the documents except."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf

import bnn

from .quantizers import Array

_GRID = np.concatenate([np.arange(-3, 3, 2.0**-12), [-1e9, -0.0, 3.0, 1e9]]).astype(np.float32)
_LAYERS = lq.layers
_DEPTHWISE = (_LAYERS.QuantDepthwiseConv2D, _LAYERS.QuantSeparableConv1D, _LAYERS.QuantSeparableConv2D)
_LOCAL = (_LAYERS.QuantLocallyConnected1D, _LAYERS.QuantLocallyConnected2D)
_COMPUTE = ("conv2d", "bconv2d", "iconv2d", "qconv2d")


def layers_of(model: Any) -> Iterator[Any]:
    """A Keras model's layers, those of models in it among them, each once."""
    for layer in dict.fromkeys(model._flatten_layers(include_self=False)):
        if not isinstance(layer, tf.keras.Model):
            yield layer


@dataclass(frozen=True)
class Facts:
    """What a document's rule looks at."""

    layer: Any

    @cached_property
    def levels(self) -> Array:
        """The values of the input quantizer."""
        return np.unique(self.layer.input_quantizer(tf.constant(_GRID)).numpy() + 0.0)

    @property
    def few_levels(self) -> bool:
        return len(self.levels) <= 256

    @property
    def even(self) -> bool:
        return np.allclose(np.diff(self.levels), np.ptp(self.levels) / (len(self.levels) - 1), rtol=1e-4)

    @property
    def signs(self) -> bool:
        """Whether the weights are +-alpha a filter, or 0."""
        quantizer, kernel = self.layer.kernel_quantizer, self.layer.get_weights()[0]
        w = kernel if quantizer is None else quantizer(tf.constant(kernel)).numpy()
        if isinstance(self.layer, _LOCAL) and self.layer.implementation == 3:  # (output, input) of each weight
            matrix = np.zeros(self.layer.kernel_shape, np.float32)
            matrix[tuple(np.transpose(self.layer.kernel_idxs))] = w
            w = matrix.T
        elif isinstance(self.layer, _LOCAL) and self.layer.implementation == 2:
            w = w.reshape(int(np.prod(w.shape[: w.ndim // 2])), -1)  # a filter a position of the output
        elif isinstance(self.layer, _LOCAL):
            w = w.swapaxes(0, 1).reshape(w.shape[1], -1)
        elif isinstance(self.layer, _LAYERS.QuantConv2DTranspose):
            w = w.swapaxes(-1, -2)  # its filters are not last
        size = np.abs(w.reshape(-1, w.shape[-1]))
        return bool(((size == 0) | (size == size.max(axis=0))).all())

    @property
    def padding_is_a_level(self) -> bool:
        """Zero also in the middle of levels, unless there are too many to be counted and not as many as numbers; of
        levels that are counted, only the lowest and the highest otherwise."""
        value, values = float(getattr(self.layer, "pad_values", 0.0)), self.levels
        count = len(values)
        around_zero = values[0] == -values[-1]
        if not value:
            return bool(values[0] == 0 or (around_zero and (count <= 8 or count & (count - 1) == 0)))
        counted = count <= 3 or (around_zero and count % 2 == 1 and count <= 7)
        return value in values[[0, -1]] if counted else bool(value in values)

    @property
    def group_width(self) -> int:
        """Channels of a group, where there are groups; of a locally connected layer, products."""
        if isinstance(self.layer, _LOCAL):
            return int(np.prod(self.layer.kernel_size)) * int(self.layer.input_shape[-1])
        return int(self.layer.get_weights()[0].shape[-2]) if getattr(self.layer, "groups", 1) > 1 else 0

    @property
    def many_odd_groups(self) -> bool:
        """Of locally connected layers a group is a position."""
        return isinstance(self.layer, _LOCAL) or self.layer.groups > 32 and self.group_width % 32 > 0


@dataclass(frozen=True)
class Exempt:
    """Layers that may stay float: their note says ``note``, and then ``true`` must be so."""

    note: str
    true: Callable[[Facts], bool]


# What docs/howto/quantizers.md says stays float.
EXEMPT = (
    Exempt("its weights ", lambda f: not f.signs),
    Exempt("integers: its data and weights", lambda f: not f.signs),
    Exempt("it is depthwise: one product a tap", lambda f: f.group_width == 1),
    Exempt("channels, which are not whole 32-bit words", lambda f: f.many_odd_groups),
    Exempt("are not evenly spaced", lambda f: not f.even or not f.few_levels),  # of many, a few that occur
    Exempt("its input takes more than 256 values", lambda f: not f.few_levels),
    Exempt("its input is bytes, but", lambda f: not f.few_levels),
    Exempt("zero padding is none of its input's levels", lambda f: not f.padding_is_a_level),
    Exempt("its bits are padded with", lambda f: not f.padding_is_a_level),
)


def unused(layer: Any, keras_model: Any, inputs: list[Array]) -> bool:
    """Whether nobody reads what a layer gives (a slice behind it took other channels): other weights change nothing."""
    weights, before = layer.get_weights(), tf.nest.flatten(keras_model(inputs, training=False))
    layer.set_weights([-w for w in weights])
    after = tf.nest.flatten(keras_model(inputs, training=False))
    layer.set_weights(weights)
    return all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def broken_claims(keras_model: Any, compiled: bnn.Model, inputs: list[Array]) -> list[str]:
    """Layers that are to run as bits, and do not; each with its note."""
    found = []
    for layer in layers_of(keras_model):
        quantizer = getattr(layer, "input_quantizer", None)
        if quantizer is None or isinstance(quantizer, lq.quantizers.NoOp) or isinstance(layer, _DEPTHWISE):
            continue
        facts = Facts(layer)
        own = [op for op in compiled.ops if op.layer == layer.name and op.op in _COMPUTE]
        if not own and not unused(layer, keras_model, inputs):
            found.append(f"{layer.name}: no operation")
        for op in own:
            excused = any(e.note in op.note and e.true(facts) for e in EXEMPT)
            if op.op in ("conv2d", "qconv2d") and not excused:
                found.append(f"{layer.name}: {op.note or 'float, and no reason'} (levels {facts.levels[:9].tolist()})")
    return found
