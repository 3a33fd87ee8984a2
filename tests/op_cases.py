# SPDX-License-Identifier: Apache-2.0
"""Every op in a small file of its own: in test_op_checks.py one thing of it is changed at a time.

The op stands between others that make its inputs and read its output, so that nothing else is wrong with the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnn.ir.ops import OPS
from bnn.ir.ops.elementwise import broadcast_type, same_type
from raw_model import ARENA, B1, CONSTANT, F32, I8, I16, I32, INPUT, OUTPUT, SLOTS, U8, Net, Op, Tensor

MAKERS = {F32: ("copy", F32), B1: ("binarize", F32), U8: ("copy", U8)}
READERS = {F32: "copy", B1: "unpack", U8: "cast"}
REQUANTIZATION = ("bias", "multiplier", "shift", "range")


@dataclass
class Case:
    """An op with its inputs, its output and its attributes."""

    op: str
    inputs: list[Tensor]
    output: Tensor
    attrs: dict[str, Any] = field(default_factory=dict)

    def change(self, name: str, value: Any) -> None:
        """`in 0.dtype`, `out.shape`, `inputs` (how many: the last one again and again), or an attribute's name."""
        port, _, key = name.partition(".")
        if name == "inputs":
            self.inputs = [self.inputs[min(i, len(self.inputs) - 1)] for i in range(value)]
        elif key:
            setattr(self.output if port == "out" else self.inputs[int(port.removeprefix("in "))], key, value)
        else:
            self.attrs[name] = value

    def file(self) -> tuple[int, bytes]:
        """(the op's number, the file)"""
        ops: list[Op] = []
        for t in {id(t): t for t in self.inputs}.values():
            if t.storage == ARENA and t.dtype in MAKERS:
                maker, dtype = MAKERS[t.dtype]
                ops.append(Op(maker, [Tensor(dtype, t.shape, INPUT)], t))
            elif t.storage == ARENA and t.dtype == I16:
                ops.append(raised(t))
            elif t.storage == ARENA:
                t.storage, t.halo = INPUT, (0, 0, 0, 0)  # of a type that no op makes
        number = len(ops)
        ops.append(Op(self.op, self.inputs, self.output, self.attrs, "it"))
        result = self.output
        if result.dtype == I16:
            result = Tensor(U8, result.shape)
            ops.append(Op("requantize16", [self.output, *requantization(result.shape[-1])], result))
        ops.append(Op(READERS[result.dtype], [result], Tensor(F32, result.shape, OUTPUT)))
        if not any(t.storage == INPUT for op in ops for t in op.inputs):
            ops.append(Op("copy", [Tensor(F32, (1,), INPUT)], Tensor(F32, (1,), OUTPUT)))
        return number, Net(ops).bytes()


def data(dtype: int, *shape: int, halo: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Tensor:
    return Tensor(dtype, shape, halo=halo)


def const(dtype: int, *shape: int, value: Any = 0) -> Tensor:
    return Tensor(dtype, shape, CONSTANT, value=np.asarray(value))


def requantization(channels: int, zero: int = 128, low: int = 0, high: int = 255) -> list[Tensor]:
    numbers = const(I32, channels), const(I32, channels, value=2**30), const(I32, channels, value=-8)
    return [*numbers, const(I32, 4, value=[zero, low, high, 0])]


def raised(t: Tensor) -> Op:
    """int16 of bytes."""
    c = t.shape[-1]
    operands = [const(I8, c, 1, 1, 1, value=1), const(F32, c), *requantization(c, 0, -9, 9)]
    slots = sum(SLOTS[slot] for slot in ("zeros", *REQUANTIZATION))
    return Op("qconv2d", [Tensor(U8, t.shape, INPUT), *operands], t, {**CONV, "groups": c, "slots": slots})


CONV = {"stride_h": 1, "stride_w": 1, "dilation_h": 1, "dilation_w": 1, "groups": 1, "planes": 1}
SLOTTED = ("pre_mul", "pre_add", "sub", "mul", "add", "residual")
POOL = {"kernel_h": 2, "kernel_w": 2, "stride_h": 2, "stride_w": 2}
SHAPE = (2, 3, 5)


def conv(op: str, x: int, channels: int, filters: Tensor, out: int, *operands: Tensor, **attrs: Any) -> Case:
    """Of filters of 2 x 3 on an image of 4 x 5, with padding: (4, 5, outputs)."""
    image = data(x, 4, 5, channels, halo=(1, 1, 0, 1))
    pads = {"pad_top": 1, "pad_left": 1, "pad_right": 1}
    return Case(op, [image, filters, *operands], data(out, 4, 5, filters.shape[0]), {**CONV, **pads, **attrs})


def slotted() -> Case:
    """With every operand that takes floats."""
    operands = [data(F32, 4, 5, 4) if slot == "residual" else const(F32, 4) for slot in SLOTTED]
    return conv("conv2d", F32, 3, const(F32, 4, 2, 3, 3), F32, *operands, slots=sum(SLOTS[slot] for slot in SLOTTED))


def thresholds(op: str, x: int, filters: Tensor, *operands: Tensor, **attrs: Any) -> Case:
    return conv(op, x, 3, filters, B1, *operands, **attrs)


def big(op: str, x: int, kernel: tuple[int, int], channels: int, planes: int = 1) -> Case:
    """One filter as large as its image, of which the length of the sums is right: the output's height is not."""
    filters = const(F32 if x == F32 else B1, 1, *kernel, channels)
    if x == F32:
        filters.encoding, filters.raw = 3, bytes(8 + -(-kernel[0] * kernel[1] * channels // 8))
    zeros = [const(F32, channels)] if x == U8 else []
    attrs = {**CONV, "planes": planes, "slots": len(zeros)}
    return Case(op, [data(x, *kernel, planes * channels), filters, *zeros], data(F32, 2, 1, 1), attrs)


def unary(op: str, x: int = F32, out: int = F32, **attrs: Any) -> Callable[[], Case]:
    return lambda: Case(op, [data(x, *SHAPE)], data(out, *SHAPE), dict(attrs))


def pool(op: str, dtype: int = F32) -> Callable[[], Case]:
    return lambda: Case(op, [data(dtype, 4, 6, 3)], data(dtype, 2, 3, 3), dict(POOL))


def pair(op: str) -> Callable[[], Case]:
    attrs = {"multiplier": 2**30, "shift": -3, "zero": 128, "high": 255}
    tables = (9, -9)
    return lambda: Case(
        op,
        [data(U8, *SHAPE), data(U8, *SHAPE), *(const(I32, 256, value=v) for v in tables)],
        data(U8, *SHAPE),
        dict(attrs),
    )


def mean(height: int, width: int, dtype: int = U8) -> Case:
    """Of all numbers of an image."""
    window = {"kernel_h": height, "kernel_w": width, "stride_h": 1, "stride_w": 1}
    return Case("avg_pool", [data(dtype, height, width, 1)], data(dtype, 1, 1, 1), window)


def two(op: str) -> Callable[[], Case]:
    return lambda: Case(op, [data(F32, *SHAPE), data(F32, *SHAPE)], data(F32, *SHAPE))


def one(op: str, out: tuple[int, ...], *operands: Tensor, **attrs: Any) -> Case:
    """Of floats, to floats."""
    return Case(op, [data(F32, *SHAPE), *operands], data(F32, *out), attrs)


def requantized(op: str, out: int, numbers: tuple[int, int, int]) -> Callable[[], Case]:
    """To bytes or int16."""
    x, filters = (U8, I8) if op == "qconv2d" else (B1, B1)
    slots = ("zeros", *REQUANTIZATION) if op == "qconv2d" else REQUANTIZATION

    def case() -> Case:
        zeros = [const(F32, 3, value=[0, 7, 255])] if op == "qconv2d" else []
        operands = (*zeros, *requantization(4, *numbers))
        return conv(op, x, 3, const(filters, 4, 2, 3, 3), out, *operands, slots=sum(SLOTS[slot] for slot in slots))

    return case


# What integers become: the name, the type, and zero, low and high.
WHOLE = (("bytes", U8, (128, 0, 255)), ("int16", I16, (0, -(2**15), 2**15 - 1)))
CASES: dict[str, Callable[[], Case]] = {
    **{op.name: unary(op.name) for op in OPS.values() if op.infer is same_type},
    **{op.name: two(op.name) for op in OPS.values() if op.infer is broadcast_type},
    **{op: unary(op) for op in ("copy", "round", "reshape")},
    **{op: pool(op) for op in ("max_pool", "avg_pool", "sum_pool")},
    "copy of bytes": unary("copy", U8, U8),
    "clamp": unary("clamp", lo=-1, hi=1),
    "binarize": unary("binarize", F32, B1),
    "unpack": unary("unpack", B1),
    "unpack_bytes": unary("unpack_bytes", B1, U8),
    "cast": unary("cast", U8),
    "excess_128": unary("excess_128", I8, U8),
    "cast by a table": lambda: Case("cast", [data(U8, *SHAPE), const(F32, 256)], data(F32, *SHAPE)),
    "binarize at thresholds": lambda: Case(
        "binarize", [data(F32, *SHAPE), const(F32, 5), const(B1, 5)], data(B1, *SHAPE)
    ),
    "conv2d": lambda: conv("conv2d", F32, 3, const(F32, 4, 2, 3, 3), F32),
    "bconv2d": lambda: conv("bconv2d", B1, 3, const(B1, 4, 2, 3, 3), F32),
    "iconv2d": lambda: conv("iconv2d", U8, 3, const(B1, 4, 2, 3, 6), F32, const(F32, 3), slots=SLOTS["zeros"]),
    "qconv2d": lambda: conv(
        "qconv2d", U8, 3, const(I8, 4, 2, 3, 3), F32, const(F32, 3, value=[0, 7, 255]), slots=SLOTS["zeros"]
    ),
    **{f"qconv2d to {name}": requantized("qconv2d", out, numbers) for name, out, numbers in WHOLE},
    **{f"bconv2d to {name}": requantized("bconv2d", out, numbers) for name, out, numbers in WHOLE},
    "add16": lambda: Case(
        "add16", [data(I16, *SHAPE), data(I16, *SHAPE)], data(I16, *SHAPE), {"low": -(2**15), "high": 2**15 - 1}
    ),
    "binarize16": lambda: Case("binarize16", [data(I16, *SHAPE), const(I16, 5), const(B1, 5)], data(B1, *SHAPE)),
    **{
        f"requantize16 to {name}": lambda out=out, numbers=numbers: Case(
            "requantize16", [data(I16, *SHAPE), *requantization(5, *numbers)], data(out, *SHAPE)
        )
        for name, out, numbers in WHOLE
    },
    "max_pool of int16": pool("max_pool", I16),
    "lookup": lambda: Case("lookup", [data(U8, *SHAPE), const(U8, 256)], data(U8, *SHAPE)),
    **{op: pair(op) for op in ("qadd", "qmul")},
    "qsoftmax": lambda: Case("qsoftmax", [data(U8, *SHAPE), const(I32, 256, value=2**11)], data(U8, *SHAPE)),
    "max_pool of bytes": pool("max_pool", U8),
    "avg_pool of bytes": pool("avg_pool", U8),
    "avg_pool of int16": pool("avg_pool", I16),
    "concat of int16": lambda: Case("concat", [data(I16, *SHAPE), data(I16, 2, 3, 1)], data(I16, 2, 3, 6)),
    "concat of bytes": lambda: Case("concat", [data(U8, *SHAPE), data(U8, 2, 3, 1)], data(U8, 2, 3, 6)),
    "slice of bytes": lambda: Case("slice", [data(U8, *SHAPE)], data(U8, 2, 3, 2), {"begin": 1, "end": 3}),
    "pad of bytes": lambda: Case("pad", [data(U8, *SHAPE)], data(U8, 3, 3, 5), {"pad_bottom": 1, "value": 255.0}),
    "pad_channels of bytes": lambda: Case("pad_channels", [data(U8, *SHAPE)], data(U8, 2, 3, 6), {"before": 1}),
    "quantize": unary("quantize", F32, U8, scale=2.0, zero=255),
    "quantize at thresholds": lambda: Case(
        "quantize",
        [data(F32, *SHAPE), const(F32, 3, value=[0, 2, 4])],
        data(U8, *SHAPE),
        {"scale": 0.5, "offset": 0.5},
    ),
    "dense": lambda: Case("conv2d", [data(F32, 3), const(F32, 4, 1, 1, 3)], data(F32, 4), dict(CONV)),
    "groups": lambda: conv("bconv2d", B1, 64, const(B1, 4, 2, 3, 32), F32, groups=2),
    "planes": lambda: conv("bconv2d", B1, 64, const(B1, 4, 2, 3, 3), F32, planes=2),
    "slots": slotted,
    "threshold": lambda: thresholds(
        "bconv2d", B1, const(B1, 4, 2, 3, 3), const(I32, 4), const(B1, 4), slots=SLOTS["threshold"] | SLOTS["negated"]
    ),
    "threshold on floats": lambda: thresholds("conv2d", F32, const(F32, 4, 2, 3, 3), const(I32, 4), slots=0),
    "one input": unary("concat"),
    "concat": lambda: one("concat", (2, 3, 7), data(F32, 2, 3, 2)),
    "pad": lambda: one("pad", (3, 6, 5), pad_top=1, pad_left=1, pad_right=2),
    "pad of bits": lambda: Case("pad", [data(B1, *SHAPE)], data(B1, 3, 3, 5), {"pad_bottom": 1, "value": 1.0}),
    "slice": lambda: one("slice", (2, 3, 2), begin=1, end=3),
    "gather": lambda: one("gather", (4, 2), const(I32, 4, 2, value=29)),
    "prelu": lambda: one("prelu", SHAPE, const(F32, 5)),
    "affine": lambda: one("affine", SHAPE, *(const(F32, 5) for _ in range(3)), lo=-1, hi=1),
    "pad_channels": lambda: one("pad_channels", (2, 3, 8), before=1, after=2),
    "resize_bilinear": lambda: one("resize_bilinear", (4, 1, 5), size_h=4, size_w=1),
    "batch_sum": lambda: one("batch_sum", (5,)),
    "batch_size": lambda: one("batch_size", (1,), per_image=1),
    "masked max_pool": lambda: Case("max_pool", [data(B1, 4, 6, 3), const(B1, 3)], data(B1, 2, 3, 3), dict(POOL)),
    "binarize_levels": lambda: Case(
        "binarize_levels", [data(F32, *SHAPE), const(F32, 3, value=[0, 1, 1])], data(B1, 2, 3, 64)
    ),
    "dequantize": lambda: Case("dequantize", [data(B1, 2, 3, 6), const(F32, 4)], data(F32, 2, 3, 2)),
    "dequantize numbers": lambda: Case(
        "dequantize", [data(B1, 2, 3, 64), const(F32, 4)], data(F32, *SHAPE), {"channels": 5}
    ),
}
# Wrong ones.  Sums of 2^24 - 1 products, and of one more; of bytes, and of eight planes, of 32896, and more.
LONG: dict[str, Callable[[], Case]] = {
    "longest": lambda: big("conv2d", F32, (4095, 4097), 1),
    "longer": lambda: big("conv2d", F32, (4096, 4096), 1),
    "longer by channels": lambda: big("conv2d", F32, (2048, 4096), 2),
    "longest of bits": lambda: big("bconv2d", B1, (273, 241), 255),
    "longer of bits": lambda: big("bconv2d", B1, (512, 512), 64),
    "longest of bytes": lambda: big("iconv2d", U8, (257, 64), 2),
    "longer of bytes": lambda: big("iconv2d", U8, (67, 491), 1),
    "longest mean": lambda: mean(4096, 2048),
    "longer mean": lambda: mean(4096, 2049),
    "longest mean of int16": lambda: mean(256, 128, I16),
    "longer mean of int16": lambda: mean(256, 129, I16),
    "longest of planes": lambda: big("bconv2d", B1, (257, 4), 32, planes=8),
    "longer of planes": lambda: big("bconv2d", B1, (3, 343), 32, planes=8),
}
