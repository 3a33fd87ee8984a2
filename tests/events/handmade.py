# SPDX-License-Identifier: Apache-2.0
"""Files that are legal and that no compiler writes: what the event engine must run exactly or refuse by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import op_graphs
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.ops import ConvAttrs, PoolAttrs

Rng = np.random.Generator
EPILOGUES = (
    ("pre_mul", "pre_add"),
    ("pre_add", "clamp0", "sub", "mul"),
    ("mul", "add", "clamp1"),
    ("clamp0", "clamp1"),
)


def bits(shape: tuple[int, ...], name: str = "image") -> tuple[Node, Node]:
    """(an input, its signs)"""
    x = ops.input_node(name, shape)
    return x, ops.make("binarize", x, name=f"{name}_sign")


def conv(rng: Rng, x: Node, filters: int, kernel: tuple[int, int] = (1, 1), **attrs: Any) -> Node:
    """A binary convolution whose bits or values go by a threshold (``out=b1``) or by nothing."""
    a = ConvAttrs(**attrs)
    channels = (x.inputs[0] if a.planes > 1 else x).type.shape[-1]
    operands = [x, op_graphs.signs(rng, (filters, *kernel, channels // a.groups))]
    if a.out is DType.b1:
        a = replace(a, slots=("threshold",))
        operands.append(ops.constant(rng.integers(-9, 10, filters), DType.i32))
    return ops.make("bconv2d", *operands, attrs=a, name="conv")


def counting(rng: Rng, x: Node, out: DType) -> Node:
    """A convolution of bytes."""
    while (made := op_graphs.BYTE_OPS["iconv2d"](rng, x)).type.dtype is not out:
        pass
    return made


def epilogue(rng: Rng, x: Node, filters: int, slots: tuple[str, ...], out: DType, *residual: Node) -> Node:
    """A binary convolution whose sums go through an epilogue before they are bits or values."""
    takes = [s for s in slots if ops.SLOTS[s] and s != "residual"]
    operands = [ops.constant(rng.choice([-2.0, -0.5, 0.0, 0.5, 1.0, 3.0], filters)) for _ in takes]
    a = ConvAttrs(pads=(1, 1, 0, 1), slots=(*slots, *(["residual"] if residual else [])), out=out,
                  clamp0=(-3.0, 4.0), clamp1=(-1.0, 2.5))  # fmt: skip
    order = tuple(s for s in ops.SLOTS if s in a.slots)
    names = dict(zip(takes, operands, strict=True)) | dict(zip(["residual"], residual, strict=False))
    filters_of = op_graphs.signs(rng, (filters, 2, 3, x.type.shape[-1]))
    return ops.make("bconv2d", x, filters_of, *(names[s] for s in order if s in names),
                    attrs=replace(a, slots=order), name="epilogue")  # fmt: skip


def accepted(rng: Rng) -> dict[str, Graph]:
    """Graphs that the engine runs."""
    found: dict[str, Graph] = {}

    def add(name: str, inputs: list[Node], *outputs: Node) -> None:
        found[name] = op_graphs.plan(inputs, outputs, rng)

    x, b = bits((33_000,))  # sums past 16 bits, those of equal weights
    alike = ops.constant(np.array([1, 1, 1, -1, -1, -1]).repeat(33_000).reshape(6, 1, 1, -1), DType.b1)
    limits = ops.constant([-32_999, 0, 32_999, -32_999, 0, 32_999], DType.i32)
    hidden = ops.make("bconv2d", b, alike, limits, attrs=ConvAttrs(slots=("threshold",), out=DType.b1), name="alike")
    add("wide", [x], conv(rng, hidden, 3), ops.make("bconv2d", b, alike, attrs=ConvAttrs()))
    x, b = bits((2, 2, 5))  # thresholds that all sums reach, or none
    limits = ops.constant([-(2**31), -6, -5, 5, 6, 2**31 - 1], DType.i32)
    hidden = ops.make("bconv2d", b, op_graphs.signs(rng, (6, 1, 1, 5)), limits,
                      attrs=ConvAttrs(slots=("threshold",), out=DType.b1), name="reach")  # fmt: skip
    add("thresholds out of reach", [x], conv(rng, hidden, 3), ops.make("unpack", hidden))
    x, b = bits((40, 35, 1))
    window = ops.make("max_pool", b, attrs=PoolAttrs((39, 34), (1, 1)), name="pool")
    both = ops.make("max_pool", b, ops.constant(np.ones(1), DType.b1), attrs=PoolAttrs((40, 35), (1, 1)), name="and")
    add("large windows", [x], conv(rng, window, 2), conv(rng, both, 3))
    x, b = bits((4, 5, 40))
    most = 2**31 - 1
    far = ops.make("max_pool", b, attrs=PoolAttrs((most, most), (2, most), (most - 1, most - 1, 0, 0)), name="far")
    some = ops.make("max_pool", b, attrs=PoolAttrs((9, 7), (2, 3), (8, 6, 3, 2)), name="some")
    add("windows larger than the image", [x], conv(rng, far, 3), conv(rng, some, 3))
    for k, slots in enumerate(EPILOGUES):
        x, b = bits((4, 5, 40))
        hidden = epilogue(rng, b, 70, slots, DType.b1)
        add(f"epilogue {k}", [x], epilogue(rng, hidden, 33, slots, DType.f32), conv(rng, hidden, 3))
        x, b = bits((4, 5, 3))
        shortcuts = [ops.constant(op_graphs.integers(rng, (4, 5, 3))), x, ops.make("sign", x)]
        add(f"residuals {k}", [x], *(epilogue(rng, b, 3, slots, DType.f32, r) for r in shortcuts))
    x = ops.input_node("image", (4, 5, 3))
    moved = x
    for op, constant in (
        ("add", [0.5, -1.0, 0.0]),
        ("mul", [2.0, -1.0, 1.0]),
        ("sub", [0.5, 1.0, 2.0]),
        ("div", [2.0]),
    ):
        moved = ops.make(op, moved, ops.constant(constant))
    moved = ops.make("binarize", moved, name="moved")
    add("arithmetic on an input", [x], conv(rng, moved, 3))
    x = ops.input_node("image", (1, 1, 3))
    spread = ops.make("add", x, ops.constant(op_graphs.integers(rng, (4, 5, 3))))
    add("an input that is broadcast", [x], conv(rng, ops.make("binarize", spread, name="spread"), 3))
    x, b = bits((3, 4, 34))
    pads = [ops.make("pad", b, attrs=ops.PadAttrs((1, 2, 3, 1), value), name="pad") for value in (-1.0, 1.0)]
    add("pads", [x], conv(rng, ops.make("concat", *pads), 3), *(ops.make("unpack", pad) for pad in pads))
    x, b = bits((4, 5, 9))
    first = conv(rng, b, 8, (2, 2), out=DType.b1)
    same = ops.make("concat", first, ops.make("copy", first), first, name="join")
    real = ops.make("unpack", same)
    add("real values after bits", [x], ops.make("add", real, ops.constant(2.0)),
        ops.make("softmax", ops.make("mul", real, ops.make("copy", real))), ops.make("unpack", b))  # fmt: skip
    x = ops.input_node("image", (5, 5, 2))
    sums = ops.make("conv2d", x, ops.constant(op_graphs.integers(rng, (33, 2, 2, 2))), attrs=ConvAttrs(), name="stem")
    halves = [ops.make("binarize", sums, ops.constant(rng.integers(-9, 9, 33) + 0.5),
                       op_graphs.signs(rng, (33,)), name="level") for _ in range(2)]  # fmt: skip
    add("two thresholds on one sum", [x], conv(rng, ops.make("concat", *halves), 4))
    y = ops.input_node("bytes", (4, 4, 3), DType.u8)
    z = ops.input_node("signed", (4, 4, 3), DType.i8)
    counted, sums = (counting(rng, ops.make("copy", y), out) for out in (DType.b1, DType.f32))
    cast = ops.make("binarize", ops.make("cast", ops.make("excess_128", z)))
    add("bytes", [y, z], *(conv(rng, b, 3) for b in (counted, ops.make("binarize", sums), cast)))
    x, y = ops.input_node("image", (3, 3, 4)), ops.input_node("other", (3, 3, 4))
    pair = ops.make("concat", ops.make("binarize", x), ops.make("binarize", y))
    dead = ops.make("unpack", ops.make("pad", pair, attrs=ops.PadAttrs((0, 0, 0, 0), 1.0)))
    add("two inputs", [x, y], conv(rng, pair, 5, (3, 3)), dead)
    x = ops.input_node("image", (3, 3, 4))
    fixed = ops.make("conv2d", ops.constant(op_graphs.integers(rng, (3, 3, 4))),
                     ops.constant(op_graphs.integers(rng, (5, 1, 1, 4))), attrs=ConvAttrs(out=DType.b1))  # fmt: skip
    beside = ops.make("concat", ops.make("binarize", x), fixed, name="join")
    add("bits of a float constant", [x], conv(rng, beside, 3))
    x = ops.input_node("image", (4, 3, 5))
    turned = ops.make("reshape", ops.make("copy", x), attrs=ops.ReshapeAttrs((5, 4, 3)))
    filters = ops.constant(op_graphs.integers(rng, (6, 2, 2, 3)))
    first = ops.make("conv2d", turned, filters, attrs=ConvAttrs(out=DType.b1))
    add("an encoder behind a reshape", [x], conv(rng, ops.make("concat", first, first), 3))
    x = ops.input_node("image", (3, 3, 4))
    add("no bits", [x], ops.make("softmax", x))
    x = ops.input_node("image", (3, 3, 4))
    sums = ops.make("conv2d", x, ops.constant(op_graphs.integers(rng, (4, 1, 1, 4))), x,
                    attrs=ConvAttrs(slots=("residual",), out=DType.b1))  # fmt: skip
    add("an encoder with a shortcut", [x], conv(rng, sums, 3))
    for name, graph in numbers(rng).items():
        add(name, list(graph.inputs), *graph.outputs)
    return found


def levels(rng: Rng, x: Node, steps: int) -> Node:
    limits = np.sort(rng.integers(-8, 9, steps) / 4)
    return ops.make("binarize_levels", x, ops.constant(limits), name="levels")


def read(rng: Rng, x: Node, filters: int, steps: int, *residual: Node, **attrs: Any) -> Node:
    """The sums of numbers of ``steps`` levels, or the bits of thresholds on them (``out=b1``)."""
    channels = x.inputs[0].type.shape[-1]
    slots = attrs.pop("slots", ("residual",) * len(residual))
    a = ConvAttrs(planes=steps.bit_length(), slots=slots, **attrs)
    operands = [x, op_graphs.signs(rng, (filters, 2, 2, channels // a.groups)), *residual]
    if a.out is DType.b1:
        a = replace(a, slots=("threshold",))
        operands.append(ops.constant(rng.integers(-9, 10, filters), DType.i32))
    return ops.make("bconv2d", *operands, attrs=a, name="read")


def per_channel(rng: Rng, op: str, x: Node) -> Node:
    operands = [ops.constant(rng.choice([-2.0, -0.5, 0.0, 0.5, 1.0, 3.0], x.type.shape[-1])) for _ in range(3)]
    if op == "affine":
        return ops.make(op, x, *operands, attrs=ops.ClampAttrs(-3.0, float(rng.choice([2.0, np.inf]))))
    if op == "clamp":
        return ops.make(op, x, attrs=ops.ClampAttrs(-2.0, float(rng.choice([2.0, -3.0]))))
    return ops.make(op, x, operands[0])


def numbers(rng: Rng) -> dict[str, Graph]:
    """Numbers of several bits in all places where neurons may have levels."""
    found: dict[str, Graph] = {}
    functions = ("add", "sub", "mul", "affine", "clamp")
    for steps in (2, 3, 100, 255):
        x = ops.input_node("image", (5, 6, 34))
        y = read(rng, levels(rng, x, steps), 70, steps, pads=(1, 0, 1, 0), pad_value=1, stride=(1, 2))
        for op in functions:
            y = per_channel(rng, op, y)
        y = ops.make("max_pool", y, attrs=PoolAttrs((2, 3), (3, 1), (1, 1, 0, 1)))
        y = per_channel(rng, str(rng.choice(functions)), y)
        again = levels(rng, y, steps)
        found[f"{steps} steps"] = Graph((x,), (read(rng, again, 3, steps), ops.make("copy", y)))
    x = ops.input_node("image", (4, 4, 64))
    groups = read(rng, levels(rng, x, 5), 70, 5, groups=2, out=DType.b1, dilation=(2, 1))
    found["bits of numbers in groups"] = Graph((x,), (conv(rng, groups, 3),))
    x = ops.input_node("image", (3, 4, 5))
    slots = ("pre_mul", "sub", "clamp1")
    data = levels(rng, x, 6)
    scales = [ops.constant(rng.choice([-1.0, 0.5, 2.0], 40)) for _ in range(2)]
    attrs = ConvAttrs(planes=3, slots=slots, out=DType.b1, clamp1=(-4.0, 3.0))
    own = ops.make("bconv2d", data, op_graphs.signs(rng, (40, 1, 2, 5)), *scales, attrs=attrs, name="own")
    table = ops.make("dequantize", data, ops.constant(rng.normal(size=7)), attrs=ops.DequantizeAttrs(5))
    found["bits of numbers by an epilogue"] = Graph((x,), (conv(rng, own, 2), table))
    x = ops.input_node("image", (4, 4, 6))
    sums = read(rng, levels(rng, x, 3), 4, 3)
    flat = ops.make("reshape", ops.make("copy", sums), attrs=ops.ReshapeAttrs((36,)))
    flat = ops.make("clamp", flat, attrs=ops.ClampAttrs(-9.0, 7.0))
    bits_of = ops.make("binarize", flat, name="flat")
    dense = ConvAttrs(planes=4)
    last = ops.make("bconv2d", levels(rng, flat, 9), op_graphs.signs(rng, (3, 1, 1, 36)), attrs=dense, name="dense")
    several = ops.make("bconv2d", levels(rng, flat, 15), op_graphs.signs(rng, (2, 1, 1, 36)), attrs=dense, name="dense")
    found["counters side by side"] = Graph((x,), (last, several, conv(rng, bits_of, 2), sums))
    z, b = bits((4, 4, 6), "other")
    constant = ops.constant(op_graphs.integers(rng, (3, 3, 4)))
    parts = read(rng, levels(rng, x, 3), 4, 3, constant)
    parts = read(rng, levels(rng, z, 4), 4, 4, parts)
    more = ops.make("bconv2d", b, op_graphs.signs(rng, (4, 2, 2, 6)), parts, attrs=ConvAttrs(slots=("residual",)))
    whole = read(rng, levels(rng, x, 200), 4, 200, more, slots=("residual", "clamp1"), clamp1=(-50.0, 60.0))
    pooled = ops.make(
        "max_pool", ops.make("mul", whole, ops.constant([-0.25, 0.25, 0.5, -0.5])), attrs=PoolAttrs((2, 2), (1, 1))
    )
    lasts = [read(rng, levels(rng, y, 12), 2, 12) for y in (whole, more)]
    pixel = ops.make("bconv2d", levels(rng, pooled, 12), op_graphs.signs(rng, (3, 1, 1, 4)), attrs=ConvAttrs(planes=4))
    found["sums of sums"] = Graph((x, z), (*lasts, pixel))
    x = ops.input_node("image", (6, 5, 6))
    few = ops.make("max_pool", read(rng, levels(rng, x, 5), 7, 5), attrs=PoolAttrs((1, 1), (2, 3)), name="few")
    nth = ops.make("binarize", few, name="nth")
    found["every nth sum"] = Graph((x,), (read(rng, levels(rng, few, 9), 3, 9), conv(rng, nth, 2)))
    x, b = bits((3, 3, 40))
    counters = levels(rng, ops.make("bconv2d", b, op_graphs.signs(rng, (33, 1, 1, 40)), attrs=ConvAttrs()), 17)
    found["numbers of bits"] = Graph((x,), (read(rng, counters, 3, 17),))
    y = ops.input_node("bytes", (3, 3, 4), DType.u8)
    found["numbers of bytes"] = Graph((y,), (read(rng, levels(rng, ops.make("cast", y), 30), 3, 30),))
    return found


def refused(rng: Rng) -> dict[str, Graph]:
    """Graphs that the engine does not run."""
    found: dict[str, Graph] = {}
    x, b = bits((4, 4, 8))
    constant = ops.constant(rng.choice([-1, 1], (4, 4, 8)), DType.b1)
    for out in (DType.b1, DType.f32):
        fixed = conv(rng, constant, 8, out=out)
        both = ops.make("concat", b, fixed) if out is DType.b1 else conv(rng, b, 8)
        outputs = (conv(rng, both, 3),) if out is DType.b1 else (both, fixed)
        found[f"a constant convolved to {out.name}"] = op_graphs.plan([x], outputs)
    infinite = ops.constant(np.array([np.inf, 1, 1, 1]))
    slots = ConvAttrs(slots=("pre_mul",), out=DType.b1)
    nan = ops.make("bconv2d", b, op_graphs.signs(rng, (4, 1, 1, 8)), infinite, attrs=slots, name="infinite")
    found["bits of what may be no number"] = op_graphs.plan([x], [conv(rng, nan, 3)])
    large, zero = (ops.constant(np.full(4, value)) for value in (3e38, 0.0))
    slots = ConvAttrs(slots=("pre_mul", "mul"), out=DType.b1)
    nan = ops.make("bconv2d", b, op_graphs.signs(rng, (4, 1, 1, 8)), large, zero, attrs=slots, name="large")
    found["bits of what overflows"] = op_graphs.plan([x], [conv(rng, nan, 3)])
    real = ops.make("binarize", ops.make("add", conv(rng, b, 8), x), name="joined")
    found["real values between"] = op_graphs.plan([x], [conv(rng, real, 3)])
    row = ops.make("reshape", conv(rng, b, 6), attrs=ops.ReshapeAttrs((1, 16, 6)))
    pooled = ops.make("max_pool", row, attrs=ops.PoolAttrs((1, 2), (1, 2)))
    found["windows of moved pixels"] = op_graphs.plan([x], [conv(rng, ops.make("binarize", pooled, name="row"), 3)])
    residual = epilogue(rng, b, 8, (), DType.f32)
    late = epilogue(rng, b, 8, (), DType.b1, residual)
    found["a residual of bits"] = op_graphs.plan([x], [conv(rng, late, 3)])
    total = ops.make("sub", x, ops.make("batch_sum", x))
    found["the batch"] = op_graphs.plan([x], [conv(rng, ops.make("binarize", total), 3)])
    wide, plain = bits((1, 1, 64))
    planes = ops.make("bconv2d", plain, op_graphs.signs(rng, (3, 1, 1, 32)), attrs=ConvAttrs(planes=2), name="planes")
    found["bits read as numbers"] = op_graphs.plan([wide], [planes])
    x = ops.input_node("image", (4, 4, 33))
    data = levels(rng, x, 3)
    other = ops.make("bconv2d", data, op_graphs.signs(rng, (3, 1, 1, 64)), attrs=ConvAttrs(planes=2), name="other")
    found["numbers of other channels"] = op_graphs.plan([x], [other])
    planes = conv(rng, ops.make("copy", data), 3)
    found["planes as bits"] = op_graphs.plan([x], [planes])
    for name, y in no_counters(rng, x, read(rng, data, 4, 3)).items():
        quantized = levels(rng, y, 4) if name != "a threshold for each pixel" else y
        found[name] = op_graphs.plan([x], [conv(rng, quantized, 3, planes=1 if quantized is y else 3)])
    large = ops.make(
        "mul", ops.make("mul", read(rng, data, 4, 3), ops.constant(np.full(4, 3e38))), ops.constant(np.zeros(4))
    )
    found["levels of what overflows"] = op_graphs.plan([x], [read(rng, levels(rng, large, 4), 3, 4)])
    pixels = np.zeros((3, 3, 4))
    pixels[1, 1, 1] = np.inf
    added = read(rng, data, 4, 3, ops.constant(pixels))
    found["levels of infinity"] = op_graphs.plan([x], [read(rng, levels(rng, added, 4), 3, 4)])
    y = ops.input_node("other", (3, 3, 4))
    straight = read(rng, data, 4, 3, y)
    found["a shortcut of an input"] = op_graphs.plan([data.inputs[0], y], [read(rng, levels(rng, straight, 4), 3, 4)])
    x = ops.input_node("image", (1, 1, 32_896))
    most = levels(rng, x, 255)
    total: tuple[Node, ...] = ()
    for _ in range(3):  # each below 2**24, all together not
        slots = ConvAttrs(planes=8, slots=("residual",) * len(total))
        total = (ops.make("bconv2d", most, op_graphs.signs(rng, (4, 1, 1, 32_896)), *total, attrs=slots),)
    found["sums past 2**24"] = op_graphs.plan([x], [conv(rng, levels(rng, total[0], 4), 3, planes=3)])
    return found


def no_counters(rng: Rng, x: Node, sums: Node) -> dict[str, Node]:
    """Values that no neuron sees in the sums (3, 3, 4) of one layer."""
    data = sums.inputs[0]
    pool = PoolAttrs((2, 2), (1, 1))
    twice = ops.make("max_pool", ops.make("max_pool", sums, attrs=pool), attrs=PoolAttrs((1, 1), (1, 1)))
    flat = ops.make("reshape", sums, attrs=ops.ReshapeAttrs((2, 2, 9)))
    limits = ops.constant(rng.integers(-3, 4, 9) + 0.5), op_graphs.signs(rng, (9,))
    long = sums
    for _ in range(16):
        long = read(rng, data, 4, 3, long)
    pixels = ops.constant(op_graphs.integers(rng, (3, 3, 4)))
    shortcut = ops.make("conv2d", x, ops.constant(op_graphs.integers(rng, (4, 2, 2, 33))), attrs=ConvAttrs())
    after = ops.make("affine", sums, *(ops.constant(np.ones(4)) for _ in range(3)), attrs=ops.ClampAttrs())
    many = sums
    for _ in range(65):
        many = ops.make("clamp", many, attrs=ops.ClampAttrs(-9.0, 9.0))
    scaled = ConvAttrs(planes=2, slots=("pre_mul", "residual"))
    scale = ops.constant(np.full(4, 0.5))
    return {
        "a constant for each pixel": ops.make("mul", sums, pixels),
        "one number": ops.make("mul", ops.make("clamp", sums), ops.constant([2.0])),
        "one channel made many": ops.make("add", read(rng, data, 1, 3), ops.constant(np.arange(4.0))),
        "a constant of an image": ops.make("add", sums, ops.constant(np.ones((3, 1, 4)))),
        "sums by each other": ops.make("mul", sums, sums),
        "channels mixed": ops.make(
            "affine", flat, *(ops.constant(np.ones(9)) for _ in range(3)), attrs=ops.ClampAttrs()
        ),
        "channels of two sizes": ops.make(
            "affine",
            ops.make("reshape", after, attrs=ops.ReshapeAttrs((2, 2, 9))),
            *(ops.constant(np.ones(9)) for _ in range(3)),
            attrs=ops.ClampAttrs(),
        ),
        "channels mixed by a pool": ops.make("max_pool", flat, attrs=pool),
        "a threshold for each pixel": ops.make("binarize", flat, *limits, name="flat"),
        "two pools": twice,
        "a softmax": ops.make("softmax", sums),
        "a shortcut of the image": read(rng, data, 4, 3, shortcut),
        "a shortcut after an op": read(rng, data, 4, 3, after),
        "seventeen sums": long,
        "sixty-five functions": many,
        "a scaled sum in a sum": read(rng, data, 4, 3, ops.make("bconv2d", *sums.inputs, scale, sums, attrs=scaled)),
        "a sum added to a scaled one": ops.make("bconv2d", *sums.inputs, scale, sums, attrs=scaled),
        "a scaled sum added": read(
            rng, data, 4, 3, ops.make("bconv2d", *sums.inputs, scale, attrs=replace(scaled, slots=("pre_mul",)))
        ),
    }


def files(graphs: dict[str, Graph]) -> dict[str, bytes]:
    return {name: encode(graph) for name, graph in graphs.items()}
