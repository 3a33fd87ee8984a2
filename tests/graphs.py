# SPDX-License-Identifier: Apache-2.0
"""Random SOURCE graphs, seeded, for differential tests: of all ops, of bits alone, of activations of several levels.

Every number is a dyadic fraction of few bits, so that float32 sums are exact in any order: whatever differs by one bit
between two ways of computing such a graph is a bug.  Batch norms are centred on values that really occur, so
pre-activations of exactly 0 (ties of the quantizer) are common.

seed.py says which seeds a test run has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnn._types import Array
from bnn.ir import interpret
from bnn.ir.graph import Graph, Node
from bnn.ir.ops import (
    INF,
    ClampAttrs,
    ConvAttrs,
    PadAttrs,
    PoolAttrs,
    ReshapeAttrs,
    RoundAttrs,
    constant,
    input_node,
    make,
)
from moves import chain

BATCH = 2
Rng = np.random.Generator
QUANTIZERS = ("heaviside", "tern", "dorefa1", "dorefa2", "dorefa3", "dorefa4", "five")  # of levels_graph
KERNELS = ("signs", "ternary")
_EXACT = 2.0**23  # steps a float32 counts exactly, with a bit to spare
_CHANNELS = (1, 2, 3, 5, 7, 8, 16, 31, 32, 33, 40, 64, 65, 70)
_LARQ = 0.1
_AFTER = ("bn",) * 5 + ("max_pool",) * 3 + ("relu",) * 2 + ("avg_pool", "residual", "residual", "concat", "repeat")


@dataclass(frozen=True)
class Sample:
    """A graph and arrays (BATCH, ...) for its inputs."""

    seed: int
    graph: Graph
    inputs: list[Array]


@dataclass(frozen=True)
class Value:
    """A node, its array, and what is known of it: all multiples of ``step``, at most ``bound`` in magnitude.

    ``step`` 0: not exact (a mean of three, say); it may be quantized or put out, not summed.
    """

    node: Node
    array: Array = field(repr=False)
    step: float
    bound: float

    @property
    def shape(self) -> tuple[int, ...]:
        return self.node.type.shape

    @property
    def spatial(self) -> bool:
        return len(self.shape) == 3


def random_graph(seed: int, blocks: int = 4) -> Sample:
    """A graph of up to so many blocks; the same seed gives the same graph."""
    return Builder(np.random.default_rng(seed)).build(seed, blocks)


def spiking_graph(rng: Rng, binary_input: bool = False) -> Graph:
    """One image, and layers whose activations are all bits: what the event engine runs without a refusal."""
    return _Bits(rng).graph(binary_input)


def levels_graph(rng: Rng, quantizer: str, kernel: str) -> Graph:
    """(8, 7, 2) -> (5): a first layer, two convolutions with pooling or without, a dense layer; one kind of quantizer
    between them, as ``quantized`` makes it, and KERNELS of one kind."""
    return _Levels(rng, quantizer, kernel).graph()


def images(rng: Rng, graph: Graph, count: int) -> list[Array]:
    """Multiples of 1/16 from -1 to 1 for each input."""
    return [(rng.integers(-16, 17, (count, *n.type.shape)) / 16).astype(np.float32) for n in graph.inputs]


def quantized(x: Node, kind: str, name: str) -> Node:
    """As Larq's and DoReFa's quantizers look in a traced model; "round 17" and "floor 17": 17 levels from 0 to 1."""

    def step(op: str, x: Node, *more: Node, **attrs: Any) -> Node:
        return make(op, x, *more, name=name, **attrs)

    if kind == "heaviside":
        sign = step("sign", step("add", step("sign", x), constant(_LARQ)))
        return step("clamp", sign, attrs=ClampAttrs(0.0, 1.0))
    if kind == "tern":
        high, low = (step("sign", step("add", x, constant(c))) for c in (0.5, -0.5))
        return step("sign", step("add", high, low))
    how, _, count = kind.partition(" ")
    most = float(count) - 1 if count else 4.0 if kind == "five" else float(2 ** int(kind[-1]) - 1)
    clipped = step("clamp", x, attrs=ClampAttrs(0.0, 1.0))
    direction = RoundAttrs(-1 if how == "floor" else 0)
    whole = step("round", step("mul", clipped, constant(most)), attrs=direction)
    return step("div", whole, constant(most))


class Builder:
    """Builds a graph and evaluates it as it grows."""

    quantizers: tuple[str, ...] = ("sign",) * 18 + ("ternary", "levels", "levels")
    kernels: tuple[str, ...] = ("signs", "signs", "alpha", "alpha", "integers", "ternary", "ternary alpha")
    pad_values: tuple[float, ...] = (0.0, 1.0, -1.0, 1.0, -1.0, 0.5)
    imitations = 0.15  # how many of the signs are not Larq's
    words = False  # groups are whole words of bits

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.values: list[Value] = []  # candidates for a second user
        self.layers = 0

    # -- drawing --------------------------------------------------------------------------------------------------

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def whole(self, lo: int, hi: int) -> int:
        """lo to hi, both included."""
        return int(self.rng.integers(lo, hi + 1))

    # -- values ---------------------------------------------------------------------------------------------------

    def layer(self, kind: str) -> str:
        self.layers += 1
        return f"{kind}_{self.layers}"

    def made(self, name: str, op: str, *operands: Value | Node, step: float, bound: float, attrs: Any = None) -> Value:
        """Make a node with an origin of its own and evaluate it."""
        nodes = [o.node if isinstance(o, Value) else o for o in operands]
        arrays = [o.array if isinstance(o, Value) else o.value for o in operands]
        self.layers += 1
        node = make(op, *nodes, attrs=attrs, name=name, origin=f"{name}/{op}_{self.layers}:0")
        return Value(node, interpret.evaluate(node, arrays), step, bound)

    def of(self, x: Value, node: Node, step: float, bound: float) -> Value:
        """A node that is made of ``x`` and constants."""
        known = {x.node: x.array}

        def array(n: Node) -> Array:
            if n not in known:
                known[n] = n.value if n.is_constant else interpret.evaluate(n, [array(i) for i in n.inputs])
            return known[n]

        return Value(node, array(node), step, bound)

    def exact(self, step: float, bound: float) -> bool:
        return step > 0 and bound / step < _EXACT

    def input(self, index: int) -> Value:
        h, w = self.whole(1, 12), self.whole(1, 12)
        shape = (h, w, self.pick(_CHANNELS)) if self.chance(0.9) else (self.whole(1, 70),)
        return self.image(f"input_{index}", shape)

    def image(self, name: str, shape: tuple[int, ...]) -> Value:
        array = (self.rng.integers(-16, 17, (BATCH, *shape)) / 16).astype(np.float32)
        return Value(input_node(name, shape), array, 1 / 16, 1.0)

    # -- layers ---------------------------------------------------------------------------------------------------

    def quantize(self, x: Value, name: str) -> Value:
        """A sign mostly; else a ternary quantizer, or one of 3 to 256 levels as DoReFa's."""
        kind = self.pick(self.quantizers)
        if kind == "ternary":
            sides = []
            for half in (0.5, -0.5):
                moved = self.made(name, "add", x, constant([half]), step=0, bound=0)
                sides.append(self.made(name, "sign", moved, step=1.0, bound=1.0))
            return self.made(name, "sign", self.made(name, "add", *sides, step=0, bound=0), step=1.0, bound=1.0)
        if kind == "levels":
            scale, steps = float(self.pick((1, 2, 4, 16))), self.whole(2, self.pick((3, 7, 15, 255)))
            low = self.pick((0, 0, 0, -(steps // 2), -steps))
            x = self.made(name, "mul", x, constant([scale]), step=0, bound=0)
            x = self.made(name, "clamp", x, attrs=ClampAttrs(float(low), float(low + steps)), step=0, bound=0)
            x = self.made(name, "round", x, step=0, bound=0)
            return self.made(name, "div", x, constant([scale]), step=1 / scale, bound=steps / scale)
        return self.sign(x, name)

    def sign(self, x: Value, name: str) -> Value:
        """Larq's quantizer, or (rarely) what only looks like it."""
        c = self.pick((0.9, 1.0, 1.5, -0.1, 0.0)) if self.chance(self.imitations) else _LARQ
        inner = self.made(name, "sign", x, step=1.0, bound=1.0)
        if self.chance(self.imitations / 3):
            return inner  # bare: 0 stays 0
        shift = constant(np.full(self.pick(((), (1,), (1,) * len(x.shape))), c), name=name)
        pair = (inner, shift) if self.chance(0.8) else (shift, inner)
        return self.made(name, "sign", self.made(name, "add", *pair, step=0, bound=3), step=1.0, bound=1.0)

    def weights(self, shape: tuple[int, ...]) -> Array:
        """Signs, small integers, or ternary ones; also times alpha per filter, which may be 0."""
        signs = self.rng.choice([-1.0, 1.0], shape)
        kind = self.pick(self.kernels)
        if "ternary" in kind:
            signs = signs * self.rng.integers(0, 2, shape)
        if "alpha" in kind:
            alpha = self.rng.choice([0.25, 0.5, 1.0, 2.0, 0.0], shape[0], p=[0.25, 0.3, 0.2, 0.2, 0.05])
            return signs * alpha.reshape(-1, *(1,) * (len(shape) - 1))
        if kind == "integers":
            return self.rng.integers(-3, 4, shape).astype(float)
        return signs

    def conv(self, x: Value, name: str) -> Value:
        """A convolution or a dense layer, its input quantized first where sums would not be exact, or by chance."""
        if self.chance(0.85) or not self.exact(x.step, x.bound * 9 * 70 * 4):
            x = self.quantize(x, name)
        return self.convolved(x, name)

    def convolved(self, x: Value, name: str, padded: float = 0.2) -> Value:
        """Padded with a number of its own before, with this chance."""
        own = x.spatial and self.chance(padded)
        if own:
            top, left, bottom, right = (self.whole(0, 2) for _ in range(4))
            attrs = PadAttrs((top, left, bottom, right), self.pick(self.pad_values))
            x = self.made(name, "pad", x, attrs=attrs, step=min(x.step, 0.5), bound=max(x.bound, 1.0))
        y = self.sums(x, name, *self.spatial_conv(x, own)) if x.spatial else self.dense(x, name, self.filters())
        return self.bias(y, name) if self.chance(0.3) else y

    def dense(self, x: Value, name: str, units: int) -> Value:
        return self.sums(x, name, ConvAttrs(), (units, 1, 1, x.shape[-1]))

    def sums(self, x: Value, name: str, attrs: ConvAttrs, shape: tuple[int, ...]) -> Value:
        """A convolution with weights (filters, height, width, channels of a group)."""
        w = self.weights(shape).astype(np.float32)
        bound = x.bound * float(np.abs(w).reshape(shape[0], -1).sum(axis=1).max())
        return self.made(name, "conv2d", x, constant(w, name=name), attrs=attrs, step=x.step * 0.25, bound=bound)

    def filters(self) -> int:
        return int(self.pick(_CHANNELS))

    def spatial_conv(self, x: Value, padded: bool) -> tuple[ConvAttrs, tuple[int, ...]]:
        h, w, c = x.shape
        groups, per_group = 1, self.filters()
        if self.chance(0.2):
            groups = self.pick([g for g in range(1, c + 1) if c % (32 * g if self.words else g) == 0] or [1])
            if c % 32 == 0 and self.chance(0.7):
                groups = c // 32
            per_group = self.whole(1, max(1, 70 // groups))
        kernel = (self.whole(1, 4), self.whole(1, 4))
        dilation = (self.whole(1, 3), self.whole(1, 3)) if self.chance(0.3) else (1, 1)
        stride = (self.whole(1, 3), self.whole(1, 3)) if self.chance(0.4) else (1, 1)
        pads = []
        for size, k, d in zip((h, w), kernel, dilation, strict=True):
            span = (k - 1) * d  # pads reach past the kernel's own span, and kernels past the image
            before = self.whole(0, min(span, 3) if self.chance(0.8) else span + 2)
            after = self.whole(0, min(span, 3))
            if padded and self.chance(0.8):
                before = after = 0
            pads.append((before, max(after, span + 1 - size - before)))
        (top, bottom), (left, right) = pads
        attrs = ConvAttrs(stride=stride, dilation=dilation, pads=(top, left, bottom, right), groups=groups)
        return attrs, (groups * per_group, *kernel, c // groups)

    def bias(self, x: Value, name: str) -> Value:
        values = self.rng.integers(-3, 4, x.shape[-1]) * 0.5
        return self.per_channel(x, name, "add", values, min(x.step, 0.5), x.bound + 2)

    def per_channel(self, x: Value, name: str, op: str, values: Array, step: float, bound: float) -> Value:
        c = constant(values, name=name)
        pair = (c, x) if op != "sub" and self.chance(0.1) else (x, c)
        return self.made(name, op, *pair, step=step, bound=bound)

    def batch_norm(self, x: Value, name: str) -> Value:
        """(x - mean) * gamma + beta, or x * gamma + shift; where it can be, 0 for a value that occurs.

        Or of floats with all their bits, whose result is not exact."""
        channels = x.shape[-1]
        flat = x.array.reshape(-1, channels)
        mean = flat[self.rng.integers(len(flat)), np.arange(channels)]
        gamma = self.rng.choice([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0], channels)
        beta = self.rng.choice([0.0, 0.0, 0.0, -0.0, -1.0, 0.5, 2.0], channels)
        step, bound = min(x.step * 0.5, 0.5), 4 * x.bound + 2
        if self.chance(0.25):
            gamma, beta = gamma * self.rng.normal(1, 0.2, channels), beta + self.rng.normal(0, 1, channels)
            x, step = Value(x.node, x.array, 0.0, x.bound), 0.0
        if self.chance(0.3):
            x = self.per_channel(x, name, "mul", gamma, step, bound)
            return self.per_channel(x, name, "add", beta - mean * gamma, step, bound)
        if self.chance(0.9):
            x = self.per_channel(x, name, "sub", mean, min(x.step, 0.5), 2 * x.bound)
        x = self.per_channel(x, name, "mul", gamma, step, bound)
        return self.per_channel(x, name, "add", beta, step, bound) if self.chance(0.9) else x

    def relu(self, x: Value, name: str) -> Value:
        lo, hi = self.pick(((0.0, INF), (0.0, 6.0), (-1.0, 1.0)))
        if self.chance(0.15):  # as Keras writes some of them
            limit = constant(np.full(self.pick(((), (1,))), lo), name=name)
            return self.made(name, "maximum", x, limit, step=min(x.step, 1.0), bound=max(x.bound, 1.0))
        return self.made(name, "clamp", x, attrs=ClampAttrs(lo, hi), step=min(x.step, 1.0), bound=max(x.bound, 1.0))

    def pool(self, x: Value, name: str, op: str) -> Value:
        kernel = (self.whole(1, 3), self.whole(1, 3))
        stride = kernel if self.chance(0.6) else (self.whole(1, 3), self.whole(1, 3))
        pads = [0, 0, 0, 0]
        for axis in (0, 1):
            if self.chance(0.4):
                pads[axis], pads[axis + 2] = self.whole(0, kernel[axis] - 1), self.whole(0, kernel[axis] - 1)
            if x.shape[axis] + pads[axis] + pads[axis + 2] < kernel[axis]:
                pads[axis], pads[axis + 2] = (kernel[axis] - 1) // 2, kernel[axis] - 1
        attrs = PoolAttrs(kernel, stride, (pads[0], pads[1], pads[2], pads[3]))
        y = self.made(name, op, x, attrs=attrs, step=x.step, bound=x.bound)
        if op == "max_pool":
            return y
        exact = kernel in ((1, 1), (1, 2), (2, 1), (2, 2)) and not any(pads)
        return Value(y.node, y.array, x.step / 4 if exact else 0.0, x.bound)

    def residual(self, x: Value, name: str) -> Value:
        others = [v for v in self.values if v.shape == x.shape and v.node is not x.node]
        if not others:
            return x
        other = self.pick(others)
        pair = (x, other) if self.chance(0.5) else (other, x)
        step = min(x.step, other.step)
        return self.made(name, "add", *pair, step=step, bound=x.bound + other.bound)

    def concat(self, x: Value, name: str) -> Value:
        others = [v for v in self.values if v.shape[:-1] == x.shape[:-1]][-4:]
        if not others:
            return x
        pair = (x, self.pick(others))
        return self.made(name, "concat", *pair, step=min(v.step for v in pair), bound=max(v.bound for v in pair))

    def repeat(self, x: Value, name: str) -> Value:
        """The same computation once more, for common subexpressions."""
        twin = make(x.node.op, *x.node.inputs, attrs=x.node.attrs, name=name)
        return self.made(name, "add", x, Value(twin, x.array, x.step, x.bound), step=x.step, bound=2 * x.bound)

    def flatten(self, x: Value, name: str) -> Value:
        size = int(np.prod(x.shape))
        return self.made(name, "reshape", x, attrs=ReshapeAttrs((size,)), step=x.step, bound=x.bound)

    # -- the whole ------------------------------------------------------------------------------------------------

    def block(self, x: Value) -> Value:
        name = self.layer("conv" if x.spatial else "dense")
        if x.spatial and self.chance(0.25):
            x = self.flatten(x, self.layer("flatten"))
        x = self.conv(x, name)
        for _ in range(self.whole(0, 4)):
            kind = self.pick(_AFTER)
            name = self.layer(kind)
            if kind == "bn" and self.exact(x.step * 0.5, 4 * x.bound + 2):
                x = self.batch_norm(x, name)
            elif kind == "relu":
                x = self.relu(x, name)
            elif kind == "max_pool" and x.spatial:
                if self.chance(0.3):
                    x = self.sign(x, name)
                x = self.pool(x, name, kind)
            elif kind == "avg_pool" and x.spatial and self.exact(x.step / 4, x.bound * 9):
                x = self.pool(x, name, kind)
            elif kind == "residual":
                x = self.residual(x, name)
            elif kind == "concat" and x.shape[-1] <= 100:
                x = self.concat(x, name)
            elif kind == "repeat" and self.chance(0.3) and x.node.op not in ("input", "constant"):
                x = self.repeat(x, name)
            if self.chance(0.2):
                self.values.append(x)
        self.values.append(x)
        return x

    def build(self, seed: int, blocks: int) -> Sample:
        inputs = [self.input(i) for i in range(2 if self.chance(0.2) else 1)]
        self.values += inputs
        x = inputs[0]
        for _ in range(self.whole(1, blocks)):
            x = self.block(x if self.chance(0.8) else self.pick(self.values))
        if self.chance(0.3):
            x = self.sign(x, self.layer("sign"))
        elif self.chance(0.3):
            x = self.made(self.layer("softmax"), "softmax", x, step=0, bound=1)
        outputs = [x.node]
        while self.chance(0.3):
            outputs.append(self.pick(self.values).node)
        names = tuple(f"output_{i}" for i in range(len(outputs)))
        graph = Graph(tuple(v.node for v in inputs), tuple(outputs), names)
        return Sample(seed, graph, [v.array for v in inputs])


class _Bits(Builder):
    quantizers, kernels, pad_values, imitations, words = ("sign",), ("signs",), (1.0, -1.0), 0.0, True

    def bits(self, x: Value) -> Value:
        return self.sign(x, self.layer("sign"))

    def normed(self, x: Value) -> Value:
        return self.batch_norm(x, self.layer("bn"))

    def skip(self, x: Value) -> Value:
        """Spikes beside those of a layer that reads them."""
        more = self.bits(self.normed(self.dense(x, self.layer("pointwise"), 8)))
        return self.made(self.layer("concat"), "concat", x, more, x, step=1.0, bound=1.0)

    def graph(self, binary_input: bool) -> Graph:
        image = x = self.image("image", (self.whole(3, 8), self.whole(3, 8), self.whole(1, 3)))
        if binary_input:
            x = self.bits(self.normed(x) if self.chance(0.4) else x)
        if self.chance(0.15):  # a dense network
            for units in (self.filters(), 33):
                x = self.flatten(x, self.layer("flatten")) if x.spatial else x
                x = self.bits(self.normed(self.dense(x, self.layer("dense"), units)))
            return Graph((image.node,), (self.dense(x, "scores", 7).node,), ("scores",))
        x = self.normed(self.convolved(x, self.layer("conv"), padded=0.4 if binary_input else 0.0))
        for _ in range(self.whole(1, 3)):
            x = self.bits(x)
            x = self.skip(x) if self.chance(0.2) else x
            if self.chance(0.3):
                x = self.of(x, chain(self.rng, x.node, self.whole(1, 3)), 1.0, 1.0)
            x = self.convolved(x, self.layer("conv"), padded=0.4)
            x = self.normed(self.pool(x, self.layer("max_pool"), "max_pool") if self.chance(0.4) else x)
        x = self.bits(x)
        if self.chance(0.3):  # a readout with pixels
            return Graph((image.node,), (self.convolved(x, "scores").node,), ("scores",))
        x = self.dense(self.flatten(x, self.layer("flatten")), self.layer("dense"), self.filters())
        x = self.normed(self.dense(self.bits(self.normed(x)), "scores", 10))
        return Graph((image.node,), (make("softmax", x.node, name="softmax"),), ("scores",))


class _Levels(Builder):
    def __init__(self, rng: Rng, quantizer: str, kernel: str) -> None:
        super().__init__(rng)
        self.quantizer, self.kernels = quantizer, (kernel,)

    def quantize(self, x: Value, name: str) -> Value:
        return self.of(x, quantized(x.node, self.quantizer, name), 0.0, 1.0)

    def normed(self, x: Value, spread: float) -> Value:
        """Most sums lie among the levels; some channels fall, some are constant."""
        name, c = self.layer("norm"), x.shape[-1]
        gamma = self.rng.choice([-1.0, 0.0, 0.5, 1.0], c, p=[0.25, 0.05, 0.3, 0.4]) / spread
        x = self.per_channel(x, name, "sub", np.rint(self.rng.normal(0, 1, c)), 0, 0)
        x = self.per_channel(x, name, "mul", gamma, 0, 0)
        return self.per_channel(x, name, "add", self.rng.choice([0.0, 0.25, 0.5], c), 0, 0)

    def halved(self, x: Value) -> Value:
        pads = (0, 0, 1, 0) if self.chance(0.3) else (0, 0, 0, 0)
        return self.made(
            self.layer("pool"), "max_pool", x, attrs=PoolAttrs((2, 2), (2, 2), pads), step=0, bound=x.bound
        )

    def graph(self) -> Graph:
        image = self.image("image", (8, 7, 2))
        x = self.made(
            "conv_1", "conv2d", image, constant(self.rng.choice([-1.0, 1.0], (6, 3, 3, 2))),
            attrs=ConvAttrs(pads=(1, 1, 1, 1)), step=0, bound=0,
        )  # fmt: skip
        x = self.normed(x, 1.0)
        for _ in range(2):
            x = self.quantize(x, self.layer("quantizer"))
            attrs = ConvAttrs(pads=self.pick(((1, 1, 1, 1), (0, 0, 1, 1))))
            x = self.sums(x, self.layer("conv"), attrs, (self.whole(3, 8), 3, 3, x.shape[-1]))
            where = self.whole(0, 2)  # pooling before batch norm, after it, or none
            x = self.normed(self.halved(x) if where == 0 else x, 6.0)
            x = self.halved(x) if where == 1 else x
        x = self.flatten(self.quantize(x, self.layer("quantizer")), "flatten")
        x = self.normed(self.dense(x, "dense", 5), 1.0)
        return Graph((image.node,), (x.node,), ("scores",))
