# SPDX-License-Identifier: Apache-2.0
"""Small runtime graphs for tests of the C runtime: random ops, random halos, real files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bnn._types import Array
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Halo, Node, Storage
from bnn.ir.ops import (
    CONVOLUTIONS,
    MOST_PLANES,
    OPS,
    REQUANTIZATION,
    SLOTS,
    BatchSizeAttrs,
    ClampAttrs,
    ConvAttrs,
    DequantizeAttrs,
    LimitsAttrs,
    PadAttrs,
    PadChannelsAttrs,
    PoolAttrs,
    PowAttrs,
    QuantizeAttrs,
    RequantizeAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    RoundAttrs,
    SliceAttrs,
    WidthAttrs,
    constant,
    input_node,
    make,
)
from bnn.ir.ops.conv import random_attrs, random_requantization
from bnn.ir.ops.record import Maker, Op
from bnn.ir.ops.requantize import INT16
from bnn.ir.ops.sources import integers, signs
from bnn.passes.choose_layout import choose_layout
from bnn.passes.plan_arena import arrange, passable
from bnn.passes.schedule import schedule

Rng = np.random.Generator


def plan(inputs: Sequence[Node], outputs: Sequence[Node], rng: Rng | None = None) -> Graph:
    """The RUNTIME graph of these nodes.  Every value that can be passed to a pool is; with ``rng``, half of them are,
    and arena tensors get halos larger than anything asks for."""
    graph = choose_layout(Graph(tuple(inputs), tuple(outputs)))
    if rng is not None:
        placements = dict(graph.placements)
        for node, place in placements.items():
            if place.storage is Storage.ARENA and len(node.type.shape) == 3 and rng.random() < 0.5:
                halo = place.halo | Halo(*(int(v) for v in rng.integers(0, 3, 4)))
                placements[node] = replace(place, halo=halo)
        graph = replace(graph, placements=placements)
    graph = schedule(graph)
    return arrange(graph, [n for n in passable(graph) if rng is None or rng.random() < 0.5])[0]


def write_case(folder: Path, graph: Graph, inputs: Sequence[Array], expected: Sequence[Array] | None = None) -> None:
    """A case of driver.c: the model, its inputs, and its outputs (the oracle's unless ``expected`` is given)."""
    folder.mkdir(parents=True)
    (folder / "model.bnn").write_bytes(encode(graph))
    outputs = interpret.outputs(graph, inputs) if expected is None else expected
    for kind, arrays in (("in", inputs), ("out", outputs)):
        for i, array in enumerate(arrays):
            (folder / f"{kind}{i}.f32").write_bytes(np.ascontiguousarray(array, np.float32).tobytes())


def values_of(rng: Rng, count: int, x: Node) -> Array:
    """What an input takes: every byte or int16, or small whole numbers."""
    shape = (count, *x.type.shape)
    if x.type.dtype is DType.f32:
        return integers(rng, shape)
    if x.type.dtype is DType.i16:
        return rng.integers(*INT16, shape, np.int16, endpoint=True)
    return rng.integers(0, 256, shape, np.uint8).view(x.type.dtype.numpy)


def random_shape(rng: Rng) -> tuple[int, int, int]:
    h, w = (int(v) for v in rng.integers(1, 8, 2))
    return h, w, int(rng.choice([1, 3, 16, 31, 32, 33, 40, 64, 70]))


def coded_filters(rng: Rng) -> Graph:
    """Float convolutions whose filters are coded: with groups or without; with exponents far apart, equal, or of few
    values."""
    groups = int(rng.choice([1, 1, 2, 12]))
    x = input_node("x", (int(rng.integers(3, 8)), int(rng.integers(3, 8)), 12))
    kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    outputs = groups * int(rng.integers(1, 40)) if groups < 12 else 12
    attrs = replace(random_attrs(rng, x.type.shape, kernel, [0]), groups=groups)
    shape = (outputs, *kernel, 12 // groups)
    filters = rng.integers(-9999, 10000, shape).astype(np.float32)
    few = rng.choice(rng.integers(-99, 100, int(rng.choice([2, 4, 16, 150]))), shape)
    far = rng.choice([*[0] * 40, -60, 60], (outputs, 1, 1, 1))
    filters *= np.float32(2) ** far.astype(np.float32)
    equal = np.broadcast_to(filters[:1], filters.shape)
    return plan([x], [make("conv2d", x, constant(w), attrs=attrs) for w in (filters, equal, few)])


def _makers(dtype: DType, kind: str = "whole") -> dict[str, Maker]:
    """The makers of the ops that take such data, by what they make of whole numbers."""

    def kind_of(op: Op) -> str:
        mean = op.attrs is PoolAttrs and op.sums and dtype is DType.f32
        return "function" if op.library else "mean" if mean else "whole"

    return {
        op.name: op.maker for op in OPS.values() if op.maker is not None and dtype in op.takes and kind == kind_of(op)
    }


# Small whole numbers give exact results, except for the means of ROUNDED_OPS.  Those of FUNCTION_OPS are not whole: a
# sum of them depends on the order.
FLOAT_OPS, BIT_OPS, BYTE_OPS, SHORT_OPS = (_makers(dtype) for dtype in (DType.f32, DType.b1, DType.u8, DType.i16))
OPS_OF = {DType.f32: FLOAT_OPS, DType.b1: BIT_OPS, DType.u8: BYTE_OPS, DType.i16: SHORT_OPS}
FUNCTION_OPS, ROUNDED_OPS = (_makers(DType.f32, kind) for kind in ("function", "mean"))


def one_op(rng: Rng, name: str, table: dict[str, Maker]) -> Graph:
    """A graph around one random op: copies stand before and after it, so that both of its sides have halos."""
    integers_of = DType.u8 if rng.random() < 0.5 else DType.i8
    dtype = integers_of if table in (BYTE_OPS, SHORT_OPS) else DType.f32
    x = input_node("x", random_shape(rng), dtype)
    first = "binarize" if table is BIT_OPS else "excess_128" if dtype is DType.i8 else "copy"
    before = make(first, x)
    after = table[name](rng, shorts(rng, before) if table is SHORT_OPS else before)
    return plan([x], [floats(after)], rng)


def network(rng: Rng, length: int, *, tall: bool = False) -> Graph:
    """A chain of random ops on one image, with halos that reused memory has dirtied; two outputs.  tall: an image of
    many rows."""
    shape = random_shape(rng)
    x = input_node("x", (int(rng.integers(12, 30)), *shape[1:]) if tall else shape)
    value: Node = x
    for _ in range(length):
        table = OPS_OF[value.type.dtype]
        left_out = ("reshape", "div", "resize_bilinear", "binarize_levels")  # the last: whose planes few ops may read
        names = [n for n in table if n not in left_out and not OPS[n].whole_batch]
        made = table[names[int(rng.integers(len(names)))]](rng, value)
        if table is BYTE_OPS and made.type.dtype is DType.f32:  # any floats, or large ones
            made = make("round", make("clamp", made, attrs=ClampAttrs(-100.0, 100.0)), attrs=RoundAttrs(0))
        small = len(made.type.shape) == 3 and int(np.prod(made.type.shape)) < (16000 if tall else 4000)
        finite = made.op != "pad" or made.type.dtype is DType.b1 or np.isfinite(made.attrs.value)  # type: ignore[attr-defined]
        value = made if small and finite else value
    if value.type.dtype in (DType.u8, DType.i16):
        value = floats(value)
    if value.type.dtype is DType.f32:
        value = make("clamp", value, attrs=ClampAttrs(-100.0, 100.0))
    bits = value if value.type.dtype is DType.b1 else make("binarize", value)
    return plan([x], [value, make("unpack", bits)], rng)


def _geometry(rng: Rng) -> tuple[tuple[int, int], tuple[int, int], ConvAttrs]:
    """Sizes of image and kernel, stride, dilation and pads: the kernel may be larger than the image, and pads than the
    kernel."""
    while True:
        size, kernel = rng.integers(1, 12, 2), rng.integers(1, 5, 2)
        stride, dilation = rng.integers(1, 4, 2), rng.integers(1, 3, 2)
        pads = rng.integers(0, 4, 4) if rng.random() < 0.7 else np.zeros(4, int)
        if (size + pads[:2] + pads[2:] >= (kernel - 1) * dilation + 1).all():
            size, kernel, stride, dilation, pads = (tuple(v.tolist()) for v in (size, kernel, stride, dilation, pads))
            return size, kernel, ConvAttrs(stride, dilation, pads)


def _channels(rng: Rng, binary: bool) -> tuple[int, int, int]:
    """(channels of a group, filters, groups)"""
    kind, groups = rng.integers(0, 4), int(rng.integers(2, 5))
    if kind == 0:  # groups
        channels = 32 * int(rng.integers(1, 3)) if binary else int(rng.integers(1, 9))
        return channels, groups * int(rng.integers(1, 40)), groups
    if kind == 1 and not binary:  # depthwise
        groups = int(rng.integers(2, 140))
        return 1, groups * int(rng.integers(1, 3)), groups
    return int(rng.integers(1, 140)), int(rng.integers(1, 200)), 1


def _slots(rng: Rng, binary: bool, out: DType) -> tuple[str, ...]:
    if binary and out is DType.b1 and rng.random() < 0.6:
        return ("threshold", "negated") if rng.random() < 0.5 else ("threshold",)
    left_out = ("zeros", "threshold", "negated", *REQUANTIZATION)
    return tuple(s for s in SLOTS if s not in left_out and rng.random() < 0.4)


def convolution(rng: Rng, binary: bool) -> tuple[Graph, Node]:
    """A graph around one bconv2d, of bits or numbers, or conv2d, with any slots, and that node.

    Most residuals are in the arena, where the sum replaces them.  Sums are exact; operands of slots are any floats."""
    dense = rng.random() < 0.15
    planes = int(rng.integers(2, MOST_PLANES + 1)) if binary and rng.random() < 0.4 else 1
    in_group, filters, groups = _channels(rng, binary)
    size, kernel, attrs = _geometry(rng)
    if dense:
        kernel, attrs = (1, 1), ConvAttrs()
    out = DType.b1 if rng.random() < 0.5 else DType.f32
    slots = _slots(rng, binary, out)
    bounds = [float(v) for v in np.sort(rng.normal(0, 20, 4).astype(np.float32))]
    attrs = replace(
        attrs, pad_value=int(rng.integers(-1, 2)) if binary else 0, groups=groups, slots=slots,
        layer_slots=tuple(s for s in slots if s not in ("residual", "threshold", "negated") and rng.random() < 0.5),
        clamp0=(bounds[0], bounds[2]), clamp1=(bounds[1], bounds[3]), out=out, planes=planes,
    )  # fmt: skip
    channels = in_group * groups
    x = input_node("x", (channels,) if dense else (*size, channels))
    inputs = [x]
    data = make("binarize", x, name="sign") if binary else x
    if planes > 1:
        steps = int(rng.integers(2 ** (planes - 1), 2**planes))
        data = make("binarize_levels", x, constant(np.sort(rng.integers(-8, 9, steps))), name="levels")
    shape = (filters, *kernel, in_group)
    op, weights = ("bconv2d", signs(rng, shape)) if binary else ("conv2d", constant(integers(rng, shape)))
    bare = make(op, data, weights, attrs=replace(attrs, slots=(), out=DType.f32))
    operands: list[Node] = []
    for slot in slots:
        if slot == "residual":
            inputs.append(input_node("residual", bare.type.shape))
            clamped = make("clamp", inputs[-1], attrs=ClampAttrs(-7.0, 7.0))
            operands.append(clamped if rng.random() < 0.9 else inputs[-1])
        elif slot == "threshold":
            products = in_group * kernel[0] * kernel[1] * (2**planes - 1)
            thresholds = rng.integers(-products // 3 - 2, products // 3 + 3, filters)
            extreme = [-(2**31), 2**31 - 1, products, -products, products + 1]
            thresholds = np.where(rng.random(filters) < 0.2, rng.choice(extreme, filters), thresholds)
            operands.append(constant(thresholds, DType.i32))
        elif slot == "negated":
            operands.append(signs(rng, (filters,)))
        elif SLOTS[slot]:
            operands.append(constant(rng.normal(0, 3, filters)))
    conv = make(op, data, weights, *operands, attrs=attrs, name="conv")
    clamps = any(node.op == "clamp" for node in operands)
    return plan(inputs, [make("clamp", conv) if out is DType.f32 and clamps else conv]), conv


def rounding(rng: Rng, graph: Graph) -> Graph:
    """With other float constants, so that sums of floats depend on their order.  Sums of bytes remain exact."""
    new: dict[Node, Node] = {}
    kept = {node.inputs[2] for node in graph.nodes() if node.op == "qconv2d"}  # bytes
    kept |= {i for node in graph.nodes() if node.op == "quantize" for i in node.inputs[1:]}  # at equal distances
    halves = {node.inputs[2] for node in graph.nodes() if node.op == "iconv2d"}
    for node in graph.nodes():
        if node.op == "constant" and node.type.dtype is DType.f32 and node not in kept:
            value = node.value * np.float32(rng.uniform(0.5, 1.5))
            new[node] = constant(np.rint(2 * value) / 2 if node in halves else value)
        else:
            new[node] = make(node.op, *(new[i] for i in node.inputs), attrs=node.attrs, name=node.name)
    return plan([new[x] for x in graph.inputs], [new[y] for y in graph.outputs], rng)


def arithmetic(rng: Rng) -> Graph:
    """A chain of arithmetic on floats, with operands of every kind on either side; some values have several readers."""
    shape = random_shape(rng)
    h, w, c = shape
    x, y = inputs = [input_node(name, shape) for name in "xy"]
    values: list[Node] = [make("copy", x), make("copy", y)]
    value, whole = values[0], PoolAttrs((h, w), (1, 1))
    small = [
        make("sum_pool", x, attrs=whole),
        make("slice", y, attrs=SliceAttrs(0, 1)),
        make("max_pool", y, attrs=whole),
    ]
    for _ in range(int(rng.integers(2, 16))):
        name = str(rng.choice(["add", "add", "sub", "mul", "div", "maximum", "minimum", "affine", "prelu", "clamp"]))
        sizes = [(c,), (c,), (1,), (1, w, c), shape]
        number = constant(rng.uniform(0.5, 1.5, sizes[int(rng.integers(len(sizes)))]) * rng.choice([-1, 1]))
        if name == "clamp":
            value = make(name, value, attrs=ClampAttrs(*np.sort(rng.integers(-99, 99, 2)).astype(float).tolist()))
        elif name in ("affine", "prelu"):
            per_channel = [constant(rng.normal(size=c)) for _ in range(3 if name == "affine" else 1)]
            value = make(name, value, *per_channel)
        else:
            own = [value, number if name == "div" else [number, *values, *small][int(rng.integers(6))]]
            if own[1] in small and rng.random() < 0.5:
                own[1] = make("prelu", own[1], constant(rng.normal(size=own[1].type.shape[2])))
            value = make(name, *(own if name == "div" or rng.random() < 0.7 else reversed(own)))
        if rng.random() < 0.2:
            values[int(rng.integers(2))] = value
    value = make("clamp", value, attrs=ClampAttrs(-1e6, 1e6))
    return plan(inputs, [value, make("copy", values[0]), make("copy", values[1])], rng)


def passed(rng: Rng) -> Graph:
    """A random convolution whose value is passed to an op that takes rows."""
    while True:
        name = str(rng.choice(CONVOLUTIONS))
        x = input_node("x", random_shape(rng), DType.u8 if name in ("iconv2d", "qconv2d") else DType.f32)
        data = make("copy" if name != "bconv2d" or rng.random() < 0.3 else "binarize", x)
        maker = OPS[name].maker
        assert maker is not None
        conv = maker(rng, data)
        if len(conv.type.shape) != 3:
            continue
        return plan([x], [floats(taker(rng, conv))])


def floats(x: Node) -> Node:
    """Its numbers, which can be an output; of int16, both bytes: x / 256 rounded down, and the rest."""
    if x.type.dtype is DType.i16:
        c = x.type.shape[-1]
        numbers = [[-64 * 128] * c, [2**17] * c, [0] * c], [[0] * c, [2**7] * c, [18] * c]
        halves = (
            make(
                "requantize16", x, *(constant(v, DType.i32) for v in (*n, [128, 0, 255, 0])), attrs=WidthAttrs(DType.u8)
            )
            for n in numbers
        )
        return make("concat", *map(floats, halves))
    return make({DType.b1: "unpack", DType.u8: "cast"}.get(x.type.dtype, "copy"), x)


def shorts(rng: Rng, x: Node) -> Node:
    """int16 of bytes: a factor per channel."""
    c = x.type.shape[-1]
    factors = rng.integers(1, 128, c) * rng.choice([-1, 1], c)
    out, numbers = random_requantization(rng, abs(factors) * 128.0, DType.i16)
    operands = constant(factors.reshape(c, 1, 1, 1), DType.i8), constant(rng.integers(0, 256, c)), *numbers
    return make("qconv2d", x, *operands, attrs=ConvAttrs(groups=c, slots=("zeros", *REQUANTIZATION), out=out))


def taker(rng: Rng, conv: Node) -> Node:
    """A max-pool whose windows share no rows, with or without a mask; or of floats, their bytes or levels."""
    if conv.type.dtype is DType.f32 and rng.random() < 0.5:
        maker = OPS[str(rng.choice(["quantize", "binarize_levels"]))].maker
        assert maker is not None
        return maker(rng, conv)
    height, width = (int(rng.integers(1, min(4, size) + 1)) for size in conv.type.shape[:2])
    top, left, bottom, right = (int(rng.integers(0, size)) for size in (height, width, height, width))
    stride = (height + int(rng.integers(0, 2)), int(rng.integers(1, 4)))
    masked = conv.type.dtype is DType.b1 and rng.random() < 0.5
    operands = [signs(rng, conv.type.shape[2:])] if masked else []
    attrs = PoolAttrs((height, width), stride, (top, left, bottom, right))
    return make("max_pool", conv, *operands, attrs=attrs)


def means(rng: Rng) -> Graph:
    """Means over an image of bytes, which a convolution without padding makes of a larger one."""
    height, width, channels = (int(v) for v in rng.integers((8, 2, 2), (20, 6, 40)))
    x = input_node("x", (height, width, channels), DType.u8)
    value = make("lookup", x, constant(rng.integers(0, 256, 256), DType.u8))
    if rng.random() < 0.5:
        value = make("max_pool", value, attrs=PoolAttrs((3, 2), (2, 1)))
    rows, columns = value.type.shape[0], int(rng.integers(1, value.type.shape[1] + 1))
    weights = np.broadcast_to(rng.integers(-128, 128, (channels, 1, columns, 1)), (channels, rows, columns, 1))
    attrs = ConvAttrs(groups=channels, slots=("zeros", *REQUANTIZATION), out=DType.u8)
    bias, multiplier = rng.integers(-9999, 10000, channels), rng.integers(2**30, 2**31, channels)
    numbers = (bias, multiplier, rng.integers(-12, -5, channels), [int(rng.integers(256)), 0, 255, 1])
    zeros = constant(rng.integers(0, 256, channels))
    y = make(
        "qconv2d", value, constant(weights, DType.i8), zeros, *(constant(v, DType.i32) for v in numbers), attrs=attrs
    )  # fmt: skip
    return plan([x], [make("cast", y, constant(np.arange(256) - 128))], rng)


def depthwise_bits(rng: Rng, *, wide: bool = False) -> Graph:
    """A depthwise layer of bits, as bytes, with random thresholds; half of its filters are negated.  Another op, the
    layer itself, or both pad the image.  ``wide``: sums of many taps."""
    channels, window = int(rng.integers(2, 70)), rng.integers(4, 6, 2) if wide else rng.integers(1, 4, 2)
    x = input_node("x", (*rng.integers(9, 12, 2).tolist(), channels))
    bits, pads, pad_value = make("binarize", x), tuple(rng.integers(0, 3, 4).tolist()), rng.integers(-1, 2)
    if pad_value:
        bits = make("pad", bits, attrs=PadAttrs(pads, float(pad_value)))
        pads = (1, 0, 0, 1) if rng.random() < 0.3 else (0,) * 4
    filters = rng.integers(1, 128, (channels, 1, 1, 1)) * rng.choice([-1, 1], (channels, *window, 1))
    reach = 128 * (int(window.prod()) + 1)
    thresholds, some = rng.integers(-reach, reach, channels), rng.random(channels) < 0.1
    thresholds[some] = rng.choice([-(2**31), 2**31 - 1], some.sum())
    operands = [np.ones(channels), thresholds, rng.choice([-1, 1], channels)]
    stride, dilation = (tuple(rng.integers(1, 3, 2).tolist()) for _ in range(2))
    attrs = ConvAttrs(
        stride, dilation, pads, groups=channels, slots=("zeros", "threshold", "negated"), layer_slots=("zeros",),
        out=DType.b1,
    )  # fmt: skip
    numbers = map(constant, operands, (DType.f32, DType.i32, DType.b1))
    y = make("qconv2d", make("unpack_bytes", bits), constant(filters, DType.i8), *numbers, attrs=attrs)
    return plan([x], [make("unpack", y)])


def of_bytes(rng: Rng) -> Graph:
    """A small network of all ops from bytes to bytes; its output is the numbers of the last, by a table."""
    x = input_node("x", (6, 6, 4), DType.u8)
    value: Node = x
    for name in ("qconv2d", "max_pool", "qadd", "pad", "avg_pool", "slice", "qmul", "pad_channels", "concat", "lookup"):
        made, most = value, max(1000, 4 * np.prod(value.type.shape))  # what always becomes larger comes to an end
        while made is value or made.type.dtype is not DType.u8 or np.prod(made.type.shape) > most:
            made = BYTE_OPS[name](rng, value)
        value = made
    c = value.type.shape[2]
    attrs = ConvAttrs(groups=c, slots=("zeros", *REQUANTIZATION), out=DType.u8)
    whole = (np.zeros(c), np.full(c, 2**30 + 5), np.full(c, -6), [128, 1, 254, 1])
    weights = constant(rng.integers(-128, 128, (c, 1, 1, 1)), DType.i8)
    value = make(
        "qconv2d", value, weights, constant(np.full(c, 128)), *(constant(v, DType.i32) for v in whole), attrs=attrs
    )
    return plan([x], [make("cast", value, constant(np.arange(256) - 128))])


def every_op(*, whole_batch: bool = True) -> Graph:
    """A small graph with every op of the runtime and every encoding of filters in it: inputs of floats and of bytes.

    Without ``whole_batch``, an image's outputs depend on that image alone."""
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
    logits = make("round", logits)
    for function in (op for op in OPS.values() if op.library and op.elementwise):
        logits = make(function.name, logits, attrs=PowAttrs(-1.5) if function.attrs is PowAttrs else None)
    logits = make("slice", logits, attrs=SliceAttrs(1, 6))
    levels = make("dequantize", make("concat", bits, bits), constant([0.0, 0.5, 1.0]))
    levels = make("gather", levels, constant(rng.integers(0, 4 * 5 * 6, (3, 2, 7)), DType.i32))
    z = input_node("z", (3, 3, 2), DType.u8)
    counted = make("iconv2d", z, signs(rng, (34, 2, 2, 4)), constant([9, -3]),
                   constant(rng.integers(-99, 99, 34), DType.i32),
                   attrs=ConvAttrs(pads=(0, 1, 1, 0), slots=("zeros", "threshold"), out=DType.b1))  # fmt: skip
    eight = make("qconv2d", make("quantize", d, attrs=QuantizeAttrs(16.0, 0.5, 100)),
                 constant(rng.integers(-128, 128, (5, 2, 1, 8)), DType.i8), constant(np.full(8, 100)),
                 attrs=ConvAttrs(pads=(1, 0, 0, 0), slots=("zeros",)))  # fmt: skip
    whole = make("qconv2d", z, constant(rng.integers(-128, 128, (4, 2, 2, 2)), DType.i8), constant([128, 3]),
                 *(constant(v, DType.i32) for v in ([9, -9, 0, 99], [2**30] * 4, [-9, -6, 0, 2], [128, 0, 255, 0])),
                 attrs=ConvAttrs(slots=("zeros", *REQUANTIZATION), out=DType.u8))  # fmt: skip
    whole = make("lookup", whole, constant(np.arange(256)[::-1], DType.u8))
    tables = [constant(np.arange(256) - zero, DType.i32) for zero in (128, 100)]
    for pair in ("qadd", "qmul"):
        whole = make(pair, whole, whole, *tables, attrs=RequantizeAttrs(2**30 + 1, -3, 120, 1, 254))
    whole = make("qsoftmax", whole, constant(2**31 - 1 >> np.arange(256).clip(0, 31), DType.i32))
    few = make("bconv2d", c, signs(rng, (3, 1, 1, 33)), signs(rng, (3,)),
               *(constant(v, DType.i32) for v in ([99, 0, -9], [2**30] * 3, [-6, -4, -5], [128, 0, 255, 0])),
               attrs=ConvAttrs(slots=("negated", *REQUANTIZATION), out=DType.u8))  # fmt: skip
    ends = np.array([-2000, 0, 3000])
    wide = [constant(v, DType.i32) for v in ([99, 0, -9], [2**30] * 3, [-2, 0, 1], [0, -(2**15), 2**15 - 1, 0])]
    sixteen = make("bconv2d", c, signs(rng, (3, 1, 1, 33)), *wide,
                   attrs=ConvAttrs(slots=REQUANTIZATION, out=DType.i16))  # fmt: skip
    sixteen = make("add16", make("requantize16", sixteen, *wide), sixteen, attrs=LimitsAttrs(-3000, 4000))
    sixteen = make("max_pool", sixteen, attrs=PoolAttrs((2, 1), (1, 1), (1, 0, 0, 0)))
    bits16 = make("binarize16", sixteen, constant(ends, DType.i16), signs(rng, (3,)))
    sixteen = make("concat", make("avg_pool", sixteen, attrs=PoolAttrs((2, 1), (1, 1), (1, 0, 0, 0))), sixteen)
    parts = (eight, make("cast", whole), make("cast", few), floats(sixteen), make("unpack", bits16))
    both = [make("reshape", v, attrs=ReshapeAttrs((int(np.prod(v.type.shape)),))) for v in parts]
    eight = make("concat", *both)
    signed = input_node("signed", (3, 3, 2), DType.i8)
    scaled = make("concat", make("cast", make("copy", z), constant(np.arange(256) / 4)), make("unpack", counted),
                  make("cast", make("excess_128", signed)), make("cast", make("unpack_bytes", counted)))  # fmt: skip
    numbers = make("binarize_levels", y, constant(np.arange(-3.0, 4.0)))
    few = make("dequantize", numbers, constant(np.arange(8.0)), attrs=DequantizeAttrs(40))
    sums = make("bconv2d", numbers, signs(rng, (33, 1, 1, 40)), attrs=ConvAttrs(planes=3), name="numbers")
    if whole_batch:
        sums = make("add", sums, make("batch_size", make("batch_sum", a), attrs=BatchSizeAttrs(20)))
    return plan([x, y, z, signed], [make("softmax", logits), make("copy", flat), d, levels, scaled, few, sums, eight])
