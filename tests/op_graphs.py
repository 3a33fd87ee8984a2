# SPDX-License-Identifier: Apache-2.0
"""Small runtime graphs for tests of the C runtime: random ops, random halos, real files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Halo, Node, Storage
from bnn.ir.ops import (
    BatchSizeAttrs,
    ClampAttrs,
    ConvAttrs,
    DequantizeAttrs,
    PadAttrs,
    PadChannelsAttrs,
    PoolAttrs,
    PowAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    RoundAttrs,
    SliceAttrs,
    constant,
    conv_output,
    input_node,
    make,
)
from bnn.passes.choose_layout import choose_layout
from bnn.passes.plan_arena import plan_arena
from bnn.passes.schedule import schedule

Array = np.ndarray[Any, Any]
Rng = np.random.Generator


def plan(inputs: Sequence[Node], outputs: Sequence[Node], rng: Rng | None = None) -> Graph:
    """The RUNTIME graph of these nodes; with ``rng``, arena tensors get halos larger than anything asks for."""
    graph = choose_layout(Graph(tuple(inputs), tuple(outputs)))
    if rng is not None:
        placements = dict(graph.placements)
        for node, place in placements.items():
            if place.storage is Storage.ARENA and len(node.type.shape) == 3 and rng.random() < 0.5:
                halo = place.halo | Halo(*(int(v) for v in rng.integers(0, 3, 4)))
                placements[node] = replace(place, halo=halo)
        graph = replace(graph, placements=placements)
    return plan_arena(schedule(graph))


def write_case(folder: Path, graph: Graph, inputs: Sequence[Array], expected: Sequence[Array] | None = None) -> None:
    """A case of driver.c: the model, its inputs, and its outputs (the oracle's unless ``expected`` is given)."""
    folder.mkdir(parents=True)
    (folder / "model.bnn").write_bytes(encode(graph))
    outputs = interpret.outputs(graph, inputs) if expected is None else expected
    for kind, arrays in (("in", inputs), ("out", outputs)):
        for i, array in enumerate(arrays):
            (folder / f"{kind}{i}.f32").write_bytes(np.ascontiguousarray(array, np.float32).tobytes())


def values_of(rng: Rng, count: int, x: Node) -> Array:
    """What an input takes: every byte, or small whole numbers."""
    shape = (count, *x.type.shape)
    if x.type.dtype is DType.f32:
        return integers(rng, shape)
    return rng.integers(0, 256, shape, np.uint8).view(x.type.dtype.numpy)


def integers(rng: Rng, shape: Sequence[int]) -> Array:
    """Small whole numbers as float32: sums and products of them are exact in any order."""
    return rng.integers(-4, 5, tuple(shape)).astype(np.float32)


def signs(rng: Rng, shape: Sequence[int]) -> Node:
    return constant(rng.choice([-1, 1], tuple(shape)), DType.b1)


def random_shape(rng: Rng) -> tuple[int, int, int]:
    h, w = (int(v) for v in rng.integers(1, 8, 2))
    return h, w, int(rng.choice([1, 3, 16, 31, 32, 33, 40, 64, 70]))


def _pool_attrs(rng: Rng, shape: tuple[int, int, int]) -> PoolAttrs:
    kernel = tuple(int(rng.integers(1, min(4, size) + 1)) for size in shape[:2])
    pads = tuple(int(rng.integers(0, kernel[i % 2])) for i in range(4))
    return PoolAttrs((kernel[0], kernel[1]), tuple(rng.integers(1, 4, 2).tolist()), pads)  # type: ignore[arg-type]


def _conv_attrs(rng: Rng, shape: tuple[int, int, int], kernel: tuple[int, int], pad_values: list[int]) -> ConvAttrs:
    """Strides, dilations and paddings with which the kernel fits."""
    while True:
        pads = tuple(rng.integers(0, 3, 4).tolist())
        stride, dilation = tuple(rng.integers(1, 3, 2).tolist()), tuple(rng.integers(1, 3, 2).tolist())
        out = [conv_output(shape[i], kernel[i], stride[i], dilation[i], pads[i], pads[i + 2]) for i in (0, 1)]
        if min(out) > 0:
            return ConvAttrs(stride, dilation, pads, int(rng.choice(pad_values)))


def _broadcast(name: str) -> Callable[[Rng, Node], Node]:
    def build(rng: Rng, x: Node) -> Node:
        if rng.random() < 0.3:
            return make(name, x, make("clamp", x, attrs=ClampAttrs(-1.0, 2.0)))
        shape = x.type.shape[int(rng.integers(0, 3)) :]
        other = constant(integers(rng, [d if rng.random() < 0.6 else 1 for d in shape]))
        return make(name, x, other) if rng.random() < 0.5 else make(name, other, x)

    return build


def _reshape(rng: Rng, x: Node) -> Node:
    h, w, c = x.type.shape
    shapes = [(h * w * c,), (w, h, c), (1, h * w, c), (c, h, w), (h, 1, w * c), (h * w, c)]
    return make("reshape", x, attrs=ReshapeAttrs(shapes[int(rng.integers(len(shapes)))]))


def _pad(rng: Rng, x: Node) -> Node:
    values = [-1.0, 1.0] if x.type.dtype is DType.b1 else [0.0, 2.5, -np.inf]
    return make("pad", x, attrs=PadAttrs(tuple(rng.integers(0, 3, 4).tolist()), float(rng.choice(values))))


def _max_pool(rng: Rng, x: Node) -> Node:
    masked = x.type.dtype is DType.b1 and rng.random() < 0.5
    operands = (x, signs(rng, x.type.shape[2:])) if masked else (x,)
    return make("max_pool", *operands, attrs=_pool_attrs(rng, x.type.shape))  # type: ignore[arg-type]


def _concat(rng: Rng, x: Node) -> Node:
    mirror = make("clamp", x, attrs=ClampAttrs(0.0, 1.0)) if x.type.dtype is DType.f32 else x
    wider = make("concat", x, mirror)
    return make("concat", x, wider, x) if rng.random() < 0.5 else wider


def _slice(rng: Rng, x: Node) -> Node:
    begin = int(rng.integers(0, x.type.shape[-1]))
    return make("slice", x, attrs=SliceAttrs(begin, int(rng.integers(begin, x.type.shape[-1])) + 1))


def _pad_channels(rng: Rng, x: Node) -> Node:
    before, after = rng.integers(0, 5, 2).tolist()
    return make("pad_channels", x, attrs=PadChannelsAttrs(before, after, 1.5))


def _gather(rng: Rng, x: Node) -> Node:
    """Any elements, in another shape."""
    shape = [int(n) for n in rng.integers(1, 6, 2)] + [int(rng.choice([1, 3, 31, 32, 33, 40]))]
    index = rng.integers(0, int(np.prod(x.type.shape)), shape)
    return make("gather", x, constant(index, DType.i32))


def _halves(rng: Rng, x: Node) -> Node:
    """Round numbers half-way between integers."""
    attrs = RoundAttrs(int(rng.integers(-1, 2)))
    return make("round", make("mul", x, constant(np.full(1, 0.5))), attrs=attrs)


def _conv2d(rng: Rng, x: Node) -> Node:
    kernel = tuple(rng.integers(1, 4, 2).tolist())
    attrs = _conv_attrs(rng, x.type.shape, kernel, [0])  # type: ignore[arg-type]
    filters = constant(integers(rng, (int(rng.integers(1, 40)), *kernel, x.type.shape[2])))
    return make("conv2d", x, filters, attrs=attrs)


def coded_filters(rng: Rng) -> Graph:
    """Float convolutions whose filters are coded: with groups or without; with exponents far apart, equal, or of few
    values."""
    groups = int(rng.choice([1, 1, 2, 12]))
    x = input_node("x", (int(rng.integers(3, 8)), int(rng.integers(3, 8)), 12))
    kernel = tuple(rng.integers(1, 4, 2).tolist())
    outputs = groups * int(rng.integers(1, 40)) if groups < 12 else 12
    attrs = replace(_conv_attrs(rng, x.type.shape, kernel, [0]), groups=groups)  # type: ignore[arg-type]
    shape = (outputs, *kernel, 12 // groups)
    filters = rng.integers(-9999, 10000, shape).astype(np.float32)
    few = rng.choice(rng.integers(-99, 100, int(rng.choice([2, 4, 16, 150]))), shape)
    far = rng.choice([*[0] * 40, -60, 60], (outputs, 1, 1, 1))
    filters *= np.float32(2) ** far.astype(np.float32)
    equal = np.broadcast_to(filters[:1], filters.shape)
    return plan([x], [make("conv2d", x, constant(w), attrs=attrs) for w in (filters, equal, few)])


def _resize(rng: Rng, x: Node) -> Node:
    aligned = int(rng.integers(0, 2))
    attrs = ResizeAttrs(tuple(rng.integers(1, 12, 2).tolist()), aligned, int(rng.integers(0, 2 - aligned)))
    return make("resize_bilinear", x, attrs=attrs)


def _of_batch(rng: Rng, x: Node) -> Node:
    """The data less their mean over the batch."""
    h, w, c = x.type.shape
    total = make("batch_sum", x)
    mean = make("div", total, make("batch_size", total, attrs=BatchSizeAttrs(h * w)))
    return make("sub", x, make("reshape", mean, attrs=ReshapeAttrs((1, 1, c))))


def _bconv2d(rng: Rng, x: Node) -> Node:
    kernel = tuple(rng.integers(1, 4, 2).tolist())
    attrs = _conv_attrs(rng, x.type.shape, kernel, [-1, 0, 1])  # type: ignore[arg-type]
    outputs = int(rng.integers(1, 70))
    operands: list[Node] = [x, signs(rng, (outputs, *kernel, x.type.shape[2]))]
    if rng.random() < 0.5:
        operands.append(constant(rng.integers(-9, 10, outputs), DType.i32))
        attrs = replace(attrs, slots=("threshold",), out=DType.b1)
    return make("bconv2d", *operands, attrs=attrs)


def _iconv2d(rng: Rng, x: Node) -> Node:
    kernel = tuple(rng.integers(1, 4, 2).tolist())
    attrs = _conv_attrs(rng, x.type.shape, kernel, [0])  # type: ignore[arg-type]
    outputs, planes, channels = int(rng.integers(1, 150)), int(rng.integers(1, 3)), x.type.shape[2]
    kind = rng.integers(0, 3)
    zeros = np.full(channels, rng.choice([0, 1, 128, 255])) if rng.random() < 0.5 else rng.integers(-300, 600, channels)
    zeros = zeros / (4 if kind and rng.random() < 0.5 else 1)
    operands: list[Node] = [x, signs(rng, (outputs, *kernel, planes * channels)), constant(zeros)]
    attrs = replace(attrs, slots=("zeros",))
    if kind == 0:
        most = int(rng.choice([2000, 600 * channels * kernel[0] * kernel[1]]))
        operands.append(constant(rng.integers(-most, most, outputs), DType.i32))
        attrs = replace(attrs, slots=("zeros", "threshold"), out=DType.b1)
    elif kind == 1:
        operands += [constant(2.0 ** rng.integers(-8, 2, outputs)), constant(integers(rng, [outputs]))]
        out = DType.b1 if rng.random() < 0.5 else DType.f32
        attrs = replace(attrs, slots=("zeros", "pre_mul", "pre_add"), out=out)
    return make("iconv2d", *operands, attrs=attrs)


def _thresholds(rng: Rng) -> Node:
    """Two to 255, rising, some of them equal."""
    steps = int(rng.integers(2, 16) if rng.random() < 0.7 else rng.integers(16, 256))
    return constant(np.sort(rng.integers(-40, 41, steps) / 4).astype(np.float32))


def _numbers(rng: Rng, x: Node) -> Node:
    """Numbers in binary, and what they stand for."""
    levels = make("binarize_levels", x, _thresholds(rng))
    table = constant(integers(rng, [levels.inputs[1].type.shape[0] + 1]))
    return make("dequantize", levels, table, attrs=DequantizeAttrs(x.type.shape[-1]))


def _planes_conv(rng: Rng, x: Node) -> Node:
    levels = make("binarize_levels", x, _thresholds(rng))
    planes = levels.inputs[1].type.shape[0].bit_length()
    kernel = tuple(rng.integers(1, 4, 2).tolist())
    attrs = replace(_conv_attrs(rng, x.type.shape, kernel, [-1, 0, 1]), planes=planes)  # type: ignore[arg-type]
    return make("bconv2d", levels, signs(rng, (int(rng.integers(1, 70)), *kernel, x.type.shape[2])), attrs=attrs)


def _affine(rng: Rng, x: Node) -> Node:
    limits = ClampAttrs(float(rng.choice([-5.0, -np.inf])), float(rng.choice([9.0, np.inf])))
    return make("affine", x, *(constant(integers(rng, x.type.shape[-1:])) for _ in range(3)), attrs=limits)


def _positive(x: Node, least: float = 0.0) -> Node:
    return make("clamp", x, attrs=ClampAttrs(least, 8.0))


def _cast(rng: Rng, x: Node) -> Node:
    table = constant(rng.normal(size=256))
    return make("cast", x, table) if rng.random() < 0.5 else make("cast", x)


FLOAT_OPS: dict[str, Callable[[Rng, Node], Node]] = {
    **{name: _broadcast(name) for name in ("add", "sub", "mul", "div", "maximum", "minimum")},
    "clamp": lambda rng, x: make("clamp", x, attrs=ClampAttrs(float(rng.integers(-3, 1)), float(rng.integers(1, 4)))),
    "sign": lambda rng, x: make("sign", x),
    "binarize": lambda rng, x: make("binarize", x),
    "copy": lambda rng, x: make("copy", x),
    "max_pool": _max_pool,
    "concat": _concat,
    "pad": _pad,
    "reshape": _reshape,
    "slice": _slice,
    "gather": _gather,
    "pad_channels": _pad_channels,
    "prelu": lambda rng, x: make("prelu", x, constant(integers(rng, x.type.shape[-1:]))),
    "round": _halves,
    "affine": _affine,
    "conv2d": _conv2d,
    "dequantize": _numbers,
    "binarize_levels": _planes_conv,
    "batch_sum": _of_batch,
    "resize_bilinear": _resize,
}
BIT_OPS: dict[str, Callable[[Rng, Node], Node]] = {
    "unpack": lambda rng, x: make("unpack", x),
    "copy": lambda rng, x: make("copy", x),
    "max_pool": _max_pool,
    "concat": _concat,
    "pad": _pad,
    "reshape": _reshape,
    "slice": _slice,
    "gather": _gather,
    "bconv2d": _bconv2d,
}
BYTE_OPS: dict[str, Callable[[Rng, Node], Node]] = {
    "cast": _cast,
    "copy": lambda rng, x: make("copy", x),
    "iconv2d": _iconv2d,
    "reshape": _reshape,
}
# Their sums are not in the oracle's order, or their exponentials not the oracle's: compared within rounding.
ROUNDED_OPS: dict[str, Callable[[Rng, Node], Node]] = {
    "avg_pool": lambda rng, x: make("avg_pool", x, attrs=_pool_attrs(rng, x.type.shape)),  # type: ignore[arg-type]
    "softmax": lambda rng, x: make("softmax", x),
    "sigmoid": lambda rng, x: make("sigmoid", x),
    "tanh": lambda rng, x: make("tanh", x),
    "elu": lambda rng, x: make("elu", x),
    "exp": lambda rng, x: make("exp", x),
    "erf": lambda rng, x: make("erf", x),
    "erfc": lambda rng, x: make("erfc", x),
    "log1p": lambda rng, x: make("log1p", _positive(x)),
    "sqrt": lambda rng, x: make("sqrt", _positive(x)),
    "rsqrt": lambda rng, x: make("rsqrt", _positive(x, 0.25)),
    "pow": lambda rng, x: make("pow", _positive(x, 0.25), attrs=PowAttrs(float(rng.choice([-1.5, 0.5, 2.0, 3.0])))),
    "sum_pool": lambda rng, x: make("sum_pool", x, attrs=_pool_attrs(rng, x.type.shape)),  # type: ignore[arg-type]
}


def one_op(rng: Rng, name: str, table: dict[str, Callable[[Rng, Node], Node]]) -> Graph:
    """A graph around one random op: copies stand before and after it, so that both of its sides have halos."""
    dtype = DType.f32 if table is not BYTE_OPS else DType.u8 if rng.random() < 0.5 else DType.i8
    x = input_node("x", random_shape(rng), dtype)
    first = "binarize" if table is BIT_OPS else "excess_128" if dtype is DType.i8 else "copy"
    before = make(first, x)
    after = table[name](rng, before)
    last = make({DType.b1: "unpack", DType.u8: "cast"}.get(after.type.dtype, "copy"), after)
    return plan([x], [last], rng)


def network(rng: Rng, length: int) -> Graph:
    """A chain of random ops on one image, with halos that reused memory has dirtied; two outputs."""
    x = input_node("x", random_shape(rng))
    value: Node = x
    for _ in range(length):
        table = FLOAT_OPS if value.type.dtype is DType.f32 else BIT_OPS
        names = [n for n in table if n not in ("reshape", "div", "batch_sum", "resize_bilinear")]
        made = table[names[int(rng.integers(len(names)))]](rng, value)
        small = len(made.type.shape) == 3 and int(np.prod(made.type.shape)) < 4000
        finite = made.op != "pad" or made.type.dtype is DType.b1 or np.isfinite(made.attrs.value)  # type: ignore[attr-defined]
        value = made if small and finite else value
    if value.type.dtype is DType.f32:
        value = make("clamp", value, attrs=ClampAttrs(-100.0, 100.0))
    bits = value if value.type.dtype is DType.b1 else make("binarize", value)
    return plan([x], [value, make("unpack", bits)], rng)


def every_op() -> Graph:
    """A small graph with every op of the runtime and every encoding of filters in it: inputs of floats and of bytes."""
    rng = np.random.default_rng(3)
    x, y = input_node("x", (4, 5, 3)), input_node("y", (40,))
    blur = constant(np.tile(integers(rng, (1, 3, 3, 1)), (6, 1, 1, 1)))
    weights = rng.integers(-9999, 10000, (5, 1, 1, 40)).astype(np.float32)
    weights[1:3, 0, 0, 5] *= np.float32(2.0**-40)
    same = ConvAttrs(pads=(1, 1, 1, 1))
    float_slots = replace(same, slots=("pre_add", "clamp0", "mul"), layer_slots=("pre_add",), clamp0=(-9.0, 9.0))
    a = make(
        "conv2d", x, constant(integers(rng, (6, 3, 3, 3))), constant(integers(rng, [6])), constant(integers(rng, [6])),
        attrs=float_slots, name="stem", note="its input is not binary", origin="stem/BiasAdd:0",
    )  # fmt: skip
    a = make("conv2d", a, blur, attrs=replace(same, groups=6))
    b = make("sub", make("add", a, constant(integers(rng, [6]))), constant(integers(rng, [1])))
    b = make("div", make("mul", b, a), constant(np.full(1, 2.0)))
    b = make("affine", b, *(constant(integers(rng, [6])) for _ in range(3)))
    b = make("minimum", make("maximum", b, constant(integers(rng, [6]))), make("clamp", a))
    bits = make("binarize", b, name="sign")
    wide = make("concat", bits, bits, bits, bits, bits, bits)
    thresholds = constant(rng.integers(-9, 9, 33), DType.i32)
    attrs = replace(same, pad_value=1, slots=("threshold",), out=DType.b1)
    c = make("bconv2d", wide, signs(rng, (33, 2, 2, 36)), thresholds, attrs=attrs, name="quant_conv")
    c = make("max_pool", c, signs(rng, (33,)), attrs=PoolAttrs((2, 2), (2, 2), (1, 0, 0, 1)))
    c = make("pad", c, attrs=PadAttrs((0, 1, 1, 0), -1.0))
    d = make("bconv2d", c, signs(rng, (8, 1, 1, 33)), constant(integers(rng, [8])), attrs=ConvAttrs(slots=("pre_mul",)))
    d = make("resize_bilinear", make("sign", d), attrs=ResizeAttrs((3, 4), half_pixels=1))
    d = make("avg_pool", d, attrs=PoolAttrs((3, 2), (2, 1), (1, 0, 1, 1)))
    d = make("sum_pool", d, attrs=PoolAttrs((2, 2), (1, 1), (1, 0, 0, 1)))
    flat = make("reshape", make("unpack", make("copy", c)), attrs=ReshapeAttrs((int(np.prod(c.type.shape)),)))
    logits = make("conv2d", y, constant(weights), name="dense")
    logits = make("prelu", make("pad_channels", logits, attrs=PadChannelsAttrs(1, 1)), constant(integers(rng, [7])))
    logits = make("sigmoid", make("elu", make("tanh", make("round", logits))))
    logits = make("pow", make("rsqrt", make("exp", logits)), attrs=PowAttrs(-1.5))
    logits = make("slice", make("sqrt", make("log1p", make("erf", make("erfc", logits)))), attrs=SliceAttrs(1, 6))
    levels = make("dequantize", make("concat", bits, bits), constant([0.0, 0.5, 1.0]))
    levels = make("gather", levels, constant(rng.integers(0, 4 * 5 * 6, (3, 2, 7)), DType.i32))
    z = input_node("z", (3, 3, 2), DType.u8)
    counted = make("iconv2d", z, signs(rng, (34, 2, 2, 4)), constant([9, -3]),
                   constant(rng.integers(-99, 99, 34), DType.i32),
                   attrs=ConvAttrs(pads=(0, 1, 1, 0), slots=("zeros", "threshold"), out=DType.b1))  # fmt: skip
    signed = input_node("signed", (3, 3, 2), DType.i8)
    scaled = make("concat", make("cast", make("copy", z), constant(np.arange(256) / 4)), make("unpack", counted),
                  make("cast", make("excess_128", signed)))  # fmt: skip
    numbers = make("binarize_levels", y, constant(np.arange(-3.0, 4.0)))
    few = make("dequantize", numbers, constant(np.arange(8.0)), attrs=DequantizeAttrs(40))
    sums = make("bconv2d", numbers, signs(rng, (33, 1, 1, 40)), attrs=ConvAttrs(planes=3), name="numbers")
    sums = make("add", sums, make("batch_size", make("batch_sum", a), attrs=BatchSizeAttrs(20)))
    return plan([x, y, z, signed], [make("softmax", logits), make("copy", flat), d, levels, scaled, few, sums])
