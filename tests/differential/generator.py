# SPDX-License-Identifier: Apache-2.0
"""Random Larq models whose every sum is exact, so that any differing bit is an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from . import blocks, inputs, layers, merges
from .inputs import BATCH
from .quantizers import Array, Rng, Value

__all__ = ["BATCH", "Model", "random_model"]

_IMAGE = {
    layers.conv: 30, layers.depthwise: 5, layers.separable: 4, layers.transposed: 6, layers.local: 2, layers.dense: 4,
    blocks.batch_norm: 22, blocks.relu: 5, blocks.prelu: 3, blocks.max_pool: 8, blocks.average_pool: 3,
    blocks.global_pool: 3, blocks.quantizer: 3, blocks.bias: 2, blocks.move: 3, blocks.gate: 2, blocks.curve: 2,
}  # fmt: skip
_SEQUENCE = {k: v for k, v in _IMAGE.items() if k not in (layers.depthwise, layers.transposed)}
_SEQUENCE |= {layers.separable: 20}
_VECTOR = {
    layers.dense: 10, blocks.batch_norm: 6, blocks.relu: 2, blocks.prelu: 1, blocks.quantizer: 1, blocks.bias: 1,
    blocks.gate: 1,
}  # fmt: skip
Block = Callable[[Rng, Value], Value]
# What authors write again and again, and passes rewrite: pools and activations on either side of a batch norm.
_IDIOMS: tuple[tuple[Block, ...], ...] = (
    (layers.conv, blocks.max_pool, blocks.batch_norm, layers.conv),
    (layers.conv, blocks.batch_norm, blocks.max_pool, layers.conv),
    (layers.conv, blocks.relu, blocks.max_pool, blocks.batch_norm, layers.conv),
    (layers.conv, blocks.relu, blocks.batch_norm, layers.conv),
    (layers.conv, blocks.batch_norm, blocks.prelu, layers.conv),
    (layers.conv, blocks.batch_norm, layers.depthwise),
)


@dataclass(frozen=True)
class Model:
    """A Keras model, arrays (BATCH, ...) for its inputs, and which outputs must be equal bit for bit."""

    seed: int
    keras: Any
    inputs: list[Array]
    exact: list[bool]
    layers: tuple[str, ...]


def random_model(seed: int) -> Model:
    """One to three inputs, a handful of blocks, one to four outputs."""
    return _Generator(seed).model()


class _Generator:
    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, np.random.default_rng(seed)
        self.used: list[str] = []

    def model(self) -> Model:
        rng = self.rng
        tf.keras.utils.set_random_seed(self.seed)
        drawn = [inputs.entry(rng, inputs.shape(rng)) for _ in range(int(rng.choice([1, 1, 1, 2])))]
        kinds, entries, arrays, values = map(list, zip(*drawn, strict=True))
        self.used += kinds
        ends = list(values)
        for _ in range(int(rng.integers(3, 9))):
            i = int(rng.integers(len(ends)))
            made = self._grow(ends[i], values)
            values.append(made)
            if rng.random() < 0.1:
                ends.append(made)
            else:
                ends[i] = made
        outputs = [e for e in dict.fromkeys(ends) if e not in values[: len(entries)]][:4]
        outputs = self._more(outputs or [self._apply(layers.dense, ends[0])])
        keras = tf.keras.Model(entries, [o.tensor for o in outputs], name=f"seed_{self.seed}")
        return Model(self.seed, keras, arrays, [o.sure for o in outputs], tuple(self.used))

    def _more(self, outputs: list[Value]) -> list[Value]:
        """Classes, quantized values, or one output twice."""
        first, draw = outputs[0], self.rng.random()
        if draw < 0.1 and len(first.shape) == 1:
            return [Value(tf.keras.layers.Softmax()(first.tensor), 0.0, 1.0, False), *outputs[1:]]
        if draw < 0.2 and _fits(blocks.quantizer, first):
            self.used.append("quantized output")
            return [*outputs, self._apply(blocks.quantizer, first)]
        if draw < 0.3:
            self.used.append("output twice")
            return [*outputs, first]
        return outputs

    def _grow(self, x: Value, values: list[Value]) -> Value:
        rng = self.rng
        draw = rng.random()
        alike = [v for v in values if v.shape == x.shape and v is not x]
        beside = [(v, axis) for v in values for axis in merges.joinable(x, v)]
        beside = [(v, axis) for v, axis in beside if axis == len(x.shape) or rng.random() < 0.3]
        if draw < 0.15 and any(v.sure for v in alike) and x.sure:
            return self._merge(x, [v for v in alike if v.sure])
        if 0.15 <= draw < 0.19 and x.sure and len(x.shape) > 1:
            self.used.append("broadcast")
            return self._merge(x, [merges.wider(rng, x)])
        if draw < 0.25 and beside:
            return self._concat(x, *beside[rng.integers(len(beside))])
        if draw < 0.29:
            return self._nested(x, alike)
        if draw < 0.46 and len(x.shape) == 3:
            for block in _IDIOMS[rng.integers(len(_IDIOMS))]:
                x = self._apply(block, x) if _fits(block, x) else x
            return x
        return self._apply(self._choose(x), x)

    def _choose(self, x: Value) -> Block:
        table = {1: _VECTOR, 2: _SEQUENCE, 3: _IMAGE}[len(x.shape)]
        fitting = [(block, weight) for block, weight in table.items() if _fits(block, x)] or [(blocks.nothing, 1)]
        weights = np.array([w for _, w in fitting], float)
        return fitting[self.rng.choice(len(fitting), p=weights / weights.sum())][0]

    def _apply(self, block: Block, x: Value) -> Value:
        self.used.append(block.__name__)
        return block(self.rng, x)

    def _merge(self, x: Value, others: list[Value]) -> Value:
        """With one of the others, or two."""
        count = 2 if self.rng.random() < 0.2 else 1
        kind, value = merges.elementwise(self.rng, x, [others[i] for i in self.rng.integers(len(others), size=count)])
        self.used += [kind, "three"] if count == 2 else [kind]
        return value

    def _concat(self, x: Value, other: Value, axis: int) -> Value:
        channels = axis == len(x.shape)
        self.used.append("concat" if channels else "concat elsewhere")
        others = [other, x] if self.rng.random() < 0.15 else [other]
        return merges.concat(x, others, -1 if channels and self.rng.random() < 0.5 else axis)

    def _nested(self, x: Value, partners: list[Value]) -> Value:
        """Blocks as a model of their own, shared by two values where another has the same shape."""
        self.used.append("nested")
        suitable = [v for v in partners if v.sure and v.step > 0]
        shared = x.sure and x.step > 0 and suitable
        other = suitable[self.rng.integers(len(suitable))] if shared else x
        entry = tf.keras.Input(x.shape)
        common = replace(x, tensor=entry, step=min(x.step, other.step), bound=max(x.bound, other.bound))
        value = common
        for _ in range(int(self.rng.integers(1, 3))):
            value = self._apply(self._choose(value), value)
        inner = tf.keras.Model(entry, value.tensor)
        out = replace(value, tensor=inner(x.tensor))
        if not shared:
            return out
        again = replace(value, tensor=inner(other.tensor))
        return self._merge(out, [again]) if value.sure else self._concat(out, again, len(out.shape))


def _fits(block: Block, x: Value) -> bool:
    """Whether what is known of the value lets the block be exact."""
    if block in (blocks.average_pool, blocks.global_pool):
        return x.summable
    if block in (blocks.prelu, blocks.relu, blocks.bias):
        return x.sure
    if block in (blocks.gate, blocks.curve):
        return x.sure or x.apart
    if block is blocks.batch_norm:
        return x.sure or x.step > 0
    if block in (blocks.max_pool, blocks.move):
        return len(x.shape) > 1
    if block is blocks.quantizer:
        return x.sure or x.apart
    return (x.sure or x.apart) and int(np.prod(x.shape)) <= layers.MOST_PRODUCTS
