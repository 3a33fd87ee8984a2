"""Random Larq models whose every sum is exact, so that any differing bit is an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from . import blocks, layers
from .quantizers import Array, Rng, Value

BATCH = 3
_IMAGE = {
    layers.conv: 30, layers.depthwise: 5, layers.separable: 4, layers.transposed: 4, layers.local: 2, layers.dense: 4,
    blocks.batch_norm: 22, blocks.relu: 5, blocks.prelu: 3, blocks.max_pool: 8, blocks.average_pool: 3,
    blocks.global_pool: 1, blocks.quantizer: 3, blocks.bias: 2, blocks.move: 3, blocks.gate: 2, blocks.curve: 2,
}  # fmt: skip
_SEQUENCE = {k: v for k, v in _IMAGE.items() if k not in (layers.depthwise, layers.transposed)}
_VECTOR = {
    layers.dense: 10, blocks.batch_norm: 6, blocks.relu: 2, blocks.prelu: 1, blocks.quantizer: 1, blocks.bias: 1,
    blocks.gate: 1,
}  # fmt: skip
Block = Callable[[Rng, Value], Value]
# What is done to bytes, and the largest value that comes of it.
_RESCALINGS = ((1 / 128, -1.0, 1.0), (1 / 256, 0.0, 1.0), (1 / 64, -1.0, 3.0), (-1 / 128, 1.0, 1.0))
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
        shapes = [self._shape() for _ in range(int(rng.choice([1, 1, 1, 2])))]
        inputs, arrays, values = map(list, zip(*(self._input(shape) for shape in shapes), strict=True))
        ends = list(values)
        for _ in range(int(rng.integers(3, 9))):
            i = int(rng.integers(len(ends)))
            made = self._grow(ends[i], values)
            values.append(made)
            if rng.random() < 0.1:
                ends.append(made)
            else:
                ends[i] = made
        outputs = [e for e in dict.fromkeys(ends) if e not in values[: len(inputs)]][:4]
        outputs = outputs or [self._apply(layers.dense, ends[0])]
        if rng.random() < 0.1 and len(outputs[0].shape) == 1:
            softmax = tf.keras.layers.Softmax()(outputs[0].tensor)
            outputs[0] = Value(softmax, 0.0, 1.0, False)
        keras = tf.keras.Model(inputs, [o.tensor for o in outputs], name=f"seed_{self.seed}")
        return Model(self.seed, keras, arrays, [o.sure for o in outputs], tuple(self.used))

    def _shape(self) -> tuple[int, ...]:
        rng = self.rng
        channels = int(rng.choice([1, 2, 3, 7, 16, 31, 32, 33, 40]))
        size = [int(n) for n in (rng.integers(1, 7, 2) if rng.random() < 0.7 else rng.integers(1, 17, 2))]
        return [(*size, channels), (size[0], channels), (channels * size[0],)][rng.choice(3, p=[0.7, 0.15, 0.15])]

    def _input(self, shape: tuple[int, ...]) -> tuple[Any, Array, Value]:
        """(input, array, value): floats, or bytes that are rescaled."""
        rng = self.rng
        if rng.random() < 0.7:
            entry = tf.keras.Input(shape)
            return entry, self._array(shape), Value(entry, 0.125, 1.0)
        self.used.append("bytes")
        entry = tf.keras.Input(shape, dtype="uint8")
        scale, offset, bound = _RESCALINGS[rng.integers(len(_RESCALINGS))]
        tensor = tf.keras.layers.Rescaling(scale, offset)(entry)
        return entry, rng.integers(0, 256, (BATCH, *shape), np.uint8), Value(tensor, abs(scale), bound)

    def _array(self, shape: tuple[int, ...]) -> Array:
        """Eighths from -1 to 1, zeros of both signs among them."""
        x = self.rng.integers(-8, 9, (BATCH, *shape)) / 8
        return np.where((x == 0) & (self.rng.random(x.shape) < 0.5), -0.0, x).astype(np.float32)

    def _grow(self, x: Value, values: list[Value]) -> Value:
        rng = self.rng
        draw = rng.random()
        partners = [v for v in values if v.shape == x.shape and v is not x]
        beside = [v for v in values if v.shape[:-1] == x.shape[:-1]]
        if draw < 0.15 and partners and x.sure:
            return self._residual(x, partners[rng.integers(len(partners))])
        if draw < 0.22 and beside:
            return self._concat(x, beside[rng.integers(len(beside))])
        if draw < 0.27:
            return self._nested(x, partners)
        if draw < 0.45 and len(x.shape) == 3:
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

    def _residual(self, x: Value, other: Value) -> Value:
        self.used.append("residual")
        cls = [tf.keras.layers.Add, tf.keras.layers.Add, tf.keras.layers.Subtract, tf.keras.layers.Maximum]
        tensor = cls[self.rng.integers(4)]()([x.tensor, other.tensor])
        step = min(x.step, other.step)
        return Value(tensor, step, x.bound + other.bound, x.sure and other.sure)

    def _concat(self, x: Value, other: Value) -> Value:
        self.used.append("concat")
        tensor = tf.keras.layers.Concatenate()([x.tensor, other.tensor])
        sure = x.sure and other.sure
        step = min(x.step, other.step) if sure else 0.0
        apart = (x.sure or x.apart) and (other.sure or other.apart)
        return Value(tensor, step, max(x.bound, other.bound), sure, apart)

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
        return self._residual(out, again) if value.sure else self._concat(out, again)


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
