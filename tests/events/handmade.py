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
    operands = [x, op_graphs.signs(rng, (filters, *kernel, x.type.shape[-1] // a.groups))]
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
    residual = epilogue(rng, b, 8, (), DType.f32)
    late = epilogue(rng, b, 8, (), DType.b1, residual)
    found["a residual of bits"] = op_graphs.plan([x], [conv(rng, late, 3)])
    total = ops.make("sub", x, ops.make("batch_sum", x))
    found["the batch"] = op_graphs.plan([x], [conv(rng, ops.make("binarize", total), 3)])
    numbers = ops.make("binarize_levels", x, ops.constant(np.arange(3.0)))
    planes = ops.make("bconv2d", numbers, op_graphs.signs(rng, (3, 1, 1, 8)), attrs=ConvAttrs(planes=2))
    found["numbers"] = op_graphs.plan([x], [planes])
    wide, plain = bits((1, 1, 64))
    planes = ops.make("bconv2d", plain, op_graphs.signs(rng, (3, 1, 1, 32)), attrs=ConvAttrs(planes=2), name="planes")
    found["bits read as numbers"] = op_graphs.plan([wide], [planes])
    return found


def files(graphs: dict[str, Graph]) -> dict[str, bytes]:
    return {name: encode(graph) for name, graph in graphs.items()}
