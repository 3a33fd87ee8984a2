# SPDX-License-Identifier: Apache-2.0
"""Random ONNX networks whose every number is exact in float32, so that two engines must give equal bits.

Weights are signs, thirds of levels or small multiples of 1/8; batch norms have powers of two as deviations; inputs are
multiples of 1/8.  Sums stay far below 2^24 of the smallest unit, so their order does not matter.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bnn._types import Array

Rng = np.random.Generator


class Network:
    """A graph under construction; ``shape``: of the last tensor, without the batch."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.count = 0
        self.opset = int(rng.choice([13, 15, 17, 19]))
        rank = int(rng.choice([1, 2, 3, 3, 3]))
        sizes = rng.integers(4, 9, 2).tolist()
        self.shape: tuple[int, ...] = (int(rng.integers(2, 6)), *sizes[: rank - 1])
        self.input_shape = self.shape
        self.last = "x"
        self.depth = 0

    def constant(self, array: Array) -> str:
        self.count += 1
        name = f"w{self.count}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def floats(self, array: Array) -> str:
        return self.constant(np.asarray(array, np.float32))

    def numbers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def add(self, op: str, *inputs: str, outputs: int = 1, **attrs: object) -> str:
        self.count += 1
        names = [f"t{self.count}" if outputs == 1 else f"t{self.count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"{op}_{self.count}", **attrs))
        return names[0]

    def push(self, op: str, *others: str, shape: tuple[int, ...] | None = None, **attrs: object) -> None:
        """An op on the last tensor."""
        self.last = self.add(op, self.last, *others, **attrs)
        self.shape = self.shape if shape is None else shape

    def choose(self, *options: Callable[[], object]) -> None:
        options[int(self.rng.integers(len(options)))]()

    # -- quantizers

    def quantize(self) -> None:
        if self.rng.random() < 0.3:
            self.estimate()
        else:
            self.choose(self._sign, self._where, self._zero_to_one, self._levels, self._bipolar, self._counted)

    def _sign(self) -> None:
        self.push("Sign")

    def _where(self) -> None:
        relation = str(self.rng.choice(["GreaterOrEqual", "Greater", "Less", "LessOrEqual"]))
        condition = self.add(relation, self.last, self.floats(np.float32(self.rng.integers(-2, 3) / 4)))
        high, low = self.rng.choice([-1.0, 1.0]), 0.0
        low = -high
        self.last = self.add("Where", condition, self.floats(np.float32(high)), self.floats(np.float32(low)))

    def _zero_to_one(self) -> None:
        """bitorch's sign: +1 at 0."""
        sign = self.add("Sign", self.last)
        zero = self.add("Equal", sign, self.floats(np.float32(0)))
        self.last = self.add("Where", zero, self.floats(np.float32(self.rng.choice([-1, 1]))), sign)

    def _levels(self) -> None:
        """DoReFa's: round(clip(x, 0, 1) * n) / n for a power of two n."""
        steps = float(self.rng.choice([1, 2, 4]))
        self.push("Clip", self.floats(np.float32(0)), self.floats(np.float32(1)))
        self.push("Mul", self.floats(np.float32(steps)))
        self.push("Round")
        self.push("Div", self.floats(np.float32(steps)))

    def _bipolar(self) -> None:
        """2 * (x > 0) - 1"""
        bits = self.add("Cast", self.add("Greater", self.last, self.floats(np.float32(0))), to=TensorProto.FLOAT)
        self.last = self.add("Sub", self.add("Mul", bits, self.floats(np.float32(2))), self.floats(np.float32(1)))

    def _counted(self) -> None:
        """QuantizeLinear and DequantizeLinear with a scale of a power of two."""
        kind = self.rng.choice([np.uint8, np.int8])
        scale, zero = np.float32(2.0 ** self.rng.integers(-1, 2)), np.array(self.rng.integers(0, 3), kind)
        self.push("Clip", self.floats(np.float32(-2)), self.floats(np.float32(2)))
        self.push("QuantizeLinear", self.floats(scale), self.constant(zero))
        self.push("DequantizeLinear", self.floats(scale), self.constant(zero))

    def estimate(self) -> None:
        """(sign(x) - clip(x)) + clip(x), as a straight-through estimator is exported."""
        sign = self.add("Sign", self.last)
        clip = self.add("Clip", self.last, self.floats(np.float32(-1)), self.floats(np.float32(1)))
        difference = self.add("Sub", sign, clip)
        self.last = self.add("Add", *self.rng.permutation([difference, clip]).tolist())

    # -- layers

    def signs(self, shape: tuple[int, ...]) -> str:
        """Weights: signs, signs with zeros, scaled signs, or their computation."""
        w = self.rng.choice([-1.0, 1.0], shape)
        kind = self.rng.random()
        if kind < 0.15:
            w *= self.rng.random(shape) < 0.7
        elif kind < 0.35:
            w *= 2.0 ** self.rng.integers(-2, 2, (shape[0], *[1] * (len(shape) - 1)))
        elif kind < 0.6:
            return self.add("Sign", self.floats(w * self.rng.random(shape) + 0.01))
        return self.floats(w)

    def layer(self) -> None:
        if len(self.shape) == 1:
            self.dense()
        else:
            self._conv()

    def dense(self) -> None:
        units = int(self.rng.integers(3, 9))
        if self.rng.random() < 0.5:
            turned = bool(self.rng.random() < 0.5)
            w = self.signs((units, self.shape[0]) if turned else (self.shape[0], units))
            bias = [self.floats(self.eighths(units))] if self.rng.random() < 0.5 else []
            self.push("Gemm", w, *bias, shape=(units,), transB=int(turned))
        else:
            self.push("MatMul", self.signs((self.shape[0], units)), shape=(units,))

    def _conv(self) -> None:
        rank, channels = len(self.shape) - 1, self.shape[0]
        filters = int(self.rng.integers(2, 9))
        groups = channels if self.rng.random() < 0.1 else 1
        filters = channels * int(self.rng.integers(1, 3)) if groups > 1 else filters
        kernel = [int(self.rng.integers(1, min(4, size + 1))) for size in self.shape[1:]]
        strides = self.rng.integers(1, 3, rank).tolist()
        pads = [int(self.rng.integers(0, k)) for k in kernel * 2]
        bias = [self.floats(self.eighths(filters))] if self.rng.random() < 0.3 else []
        sizes = [(s + pads[i] + pads[rank + i] - kernel[i]) // strides[i] + 1 for i, s in enumerate(self.shape[1:])]
        self.push(
            "Conv", self.signs((filters, channels // groups, *kernel)), *bias, shape=(filters, *sizes),
            kernel_shape=kernel, strides=strides, pads=pads, group=groups,
        )  # fmt: skip

    def eighths(self, *shape: int) -> Array:
        return self.rng.integers(-16, 17, shape).astype(np.float32) / 8

    def norm(self) -> None:
        channels = self.shape[0]
        variance = 4.0 ** self.rng.integers(-1, 3, channels)
        gamma = self.rng.choice([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0], channels)
        parameters = [gamma, self.eighths(channels), self.eighths(channels), variance]
        self.push("BatchNormalization", *map(self.floats, parameters), epsilon=0.0)

    def activation(self) -> None:
        channel = (self.shape[0], *[1] * (len(self.shape) - 1))
        self.choose(
            lambda: self.push("Relu"),
            lambda: self.push("LeakyRelu", alpha=0.25),
            lambda: self.push("PRelu", self.floats(self.rng.choice([0.25, 0.5], channel))),
            lambda: self.push("Clip", self.floats(np.float32(-1)), self.floats(np.float32(1))),
            lambda: self.push("Add", self.floats(self.eighths(*channel))),
            lambda: self.push("Mul", self.floats(self.rng.choice([0.5, -1.0, 2.0], channel))),
            lambda: self.push("Abs"),
            lambda: self.push("Neg"),
        )

    def residual(self) -> None:
        """The last tensor plus something made of it."""
        start, shape = self.last, self.shape
        self.quantize()
        if len(shape) == 1:
            self.push("MatMul", self.signs((shape[0], shape[0])))
        else:
            ones = [3] * (len(shape) - 1)
            self.push("Conv", self.signs((shape[0], shape[0], *ones)), kernel_shape=ones, pads=[1] * 2 * len(ones))
        self.norm()
        self.last = self.add("Add", *self.rng.permutation([self.last, start]).tolist())

    def pool(self) -> None:
        if len(self.shape) == 1:
            return
        rank = len(self.shape) - 1
        kernel = [int(self.rng.integers(1, min(3, size) + 1)) for size in self.shape[1:]]
        pads = [int(self.rng.integers(0, k)) for k in kernel * 2] if self.rng.random() < 0.4 else [0] * 2 * rank
        strides = self.rng.integers(1, 3, rank).tolist()
        sizes = [(s + pads[i] + pads[rank + i] - kernel[i]) // strides[i] + 1 for i, s in enumerate(self.shape[1:])]
        shape = (self.shape[0], *sizes)
        if self.rng.random() < 0.7 or np.log2(np.prod(kernel)) % 1:
            self.push("MaxPool", shape=shape, kernel_shape=kernel, strides=strides, pads=pads)
        else:
            self.push("AveragePool", shape=shape, kernel_shape=kernel, strides=strides, pads=pads, count_include_pad=1)

    def move(self) -> None:
        rank = len(self.shape)
        if rank == 3:
            self.choose(self._shuffle, self._shift, self._padded, self._halves, self._transposed)
        else:
            self.choose(self._halves, self._shift)

    def _shuffle(self) -> None:
        """Channel shuffle: (N, G, C / G, H, W) with the middle two swapped."""
        c, h, w = self.shape
        groups = next((g for g in (3, 2) if c % g == 0), 1)
        self.push("Reshape", self.numbers(0, groups, c // groups, h, w))
        self.push("Transpose", perm=[0, 2, 1, 3, 4])
        self.push("Reshape", self.numbers(0, c, h, w))

    def _shift(self) -> None:
        axis = int(self.rng.integers(1, len(self.shape) + 1))
        size = self.shape[axis - 1]
        if size < 2:
            return
        shape = list(self.shape)
        shape[axis - 1] = size - 1
        ends = self.numbers(1), self.numbers(size), self.numbers(axis)
        self.push("Slice", *ends, shape=tuple(shape))

    def _padded(self) -> None:
        value = self.floats(np.float32(self.rng.choice([-1.0, 0.0, 1.0])))
        _, h, w = self.shape
        a, b, c, d = self.rng.integers(0, 2, 4).tolist()
        self.push("Pad", self.numbers(0, 0, a, b, 0, 0, c, d), value, shape=(self.shape[0], h + a + c, w + b + d))

    def _halves(self) -> None:
        """The channels in two parts, joined in the other order."""
        c = self.shape[0]
        if c < 2:
            return
        first = int(self.rng.integers(1, c))
        left = self.add("Split", self.last, self.numbers(first, c - first), outputs=2, axis=1)
        parts = [left.removesuffix("_0") + "_1", left]
        self.last = self.add("Concat", *parts, axis=1)

    def _transposed(self) -> None:
        c, h, w = self.shape
        self.push("Transpose", perm=[0, 1, 3, 2], shape=(c, w, h))

    def join(self) -> None:
        """The last tensor beside a quantized copy."""
        start, channels = self.last, self.shape[0]
        self.quantize()
        self.last = self.add("Concat", start, self.last, axis=1)
        self.shape = (2 * channels, *self.shape[1:])

    def flatten(self) -> None:
        size = int(np.prod(self.shape))
        if self.rng.random() < 0.5:
            self.push("Flatten", shape=(size,), axis=1)
        else:
            self.push("Reshape", self.numbers(0, -1), shape=(size,))

    def model(self) -> onnx.ModelProto:
        batch: int | str = "N" if self.rng.random() < 0.7 else int(self.rng.choice([1, 3]))
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *self.input_shape])
        y = helper.make_tensor_value_info(self.last, TensorProto.FLOAT, [None] * (len(self.shape) + 1))
        graph = helper.make_graph(self.nodes, "random", [x], [y], self.weights)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def random_model(rng: Rng) -> onnx.ModelProto:
    """One to four blocks of a quantizer, a layer, and what may stand around them; perhaps a dense layer at the end."""
    n = Network(rng)
    for _ in range(int(rng.integers(1, 5))):
        if rng.random() < 0.85:
            n.quantize()
        for part, chance in ((n.move, 0.25), (n.layer, 0.95), (n.pool, 0.25), (n.norm, 0.6), (n.activation, 0.35)):
            if rng.random() < chance:
                part()
        if rng.random() < 0.2:
            n.choose(n.residual, n.join)
    if rng.random() < 0.6:
        if rng.random() < 0.7:
            n.quantize()
        if len(n.shape) > 1:
            n.flatten()
        if rng.random() < 0.3:
            n.quantize()
        n.dense()
    if rng.random() < 0.2:
        n.quantize()
    return n.model()
