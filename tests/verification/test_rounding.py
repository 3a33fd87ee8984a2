# SPDX-License-Identifier: Apache-2.0
"""The bounds of what rounding explains: never too small, and zero where results must be equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bnn._types import Array
from bnn.ir import interpret, ops
from bnn.ir.graph import DType, Node
from bnn.ir.ops.rounding import NOTHING, TINY, gamma, spacing
from bnn.verification.rounding import bound

Rng = np.random.Generator
COUNT = 3
SHAPE = (5, 4, 6)

Make = Callable[[Rng, Node], Node]


def channels(rng: Rng) -> Node:
    return ops.constant(rng.normal(0, 1, SHAPE[-1]))


def conv(rng: Rng, x: Node, **options: Any) -> Node:
    w = ops.constant(rng.normal(0, 1, (7, 3, 2, SHAPE[-1])))
    slots = {"pre_mul": 1, "pre_add": 1, "sub": 1, "mul": 1, "add": 1}
    operands = [ops.constant(rng.normal(0, 1, 7)) for _ in slots] if options.get("slots") else []
    attrs = ops.ConvAttrs(pads=(1, 0, 1, 1), stride=(2, 1), **options)
    return ops.make("conv2d", x, w, *operands, attrs=attrs)


def fused(rng: Rng, x: Node) -> Node:
    return conv(rng, x, slots=("pre_mul", "pre_add", "clamp0", "sub", "mul", "add", "clamp1"), clamp0=(-3.0, 5.0),
                clamp1=(0.0, 6.0))  # fmt: skip


def depthwise(rng: Rng, x: Node) -> Node:
    w = ops.constant(rng.normal(0, 1, (2 * SHAPE[-1], 3, 3, 1)))
    return ops.make("conv2d", x, w, attrs=ops.ConvAttrs(groups=SHAPE[-1]))


def pool(op: str) -> Make:
    return lambda rng, x: ops.make(op, x, attrs=ops.PoolAttrs((3, 2), (1, 2), (1, 1, 1, 0)))


def plain(op: str) -> Make:
    return lambda rng, x: ops.make(op, x)


def power(exponent: float) -> Make:
    return lambda rng, x: ops.make("pow", x, attrs=ops.PowAttrs(exponent))


def by_channel(op: str) -> Make:
    return lambda rng, x: ops.make(op, x, channels(rng))


def with_itself(op: str) -> Make:
    return lambda rng, x: ops.make(op, x, x)


MAKERS: dict[str, Make] = {
    "conv": conv, "fused": fused, "depthwise": depthwise,
    "bits": lambda rng, x: conv(rng, x, out=DType.b1),
    "batch_sum": plain("batch_sum"),
    "resize_bilinear": lambda rng, x: ops.make("resize_bilinear", x, attrs=ops.ResizeAttrs((7, 3), half_pixels=1)),
    "batch_size": lambda rng, x: ops.make("batch_size", x, attrs=ops.BatchSizeAttrs(20)),
    "max_pool": pool("max_pool"), "avg_pool": pool("avg_pool"), "sum_pool": pool("sum_pool"),
    **{op.name: plain(op.name) for op in ops.OPS.values() if op.library and op.attrs is ops.NoAttrs},
    **{op: plain(op) for op in ("sign", "round", "binarize", "copy")},
    **{f"pow {p}": power(p) for p in (-1.5, -1.0, 0.5, 2.0, 3.0)},
    **{op: by_channel(op) for op in ("add", "sub", "mul", "div", "maximum", "minimum", "prelu")},
    **{f"{op} itself": with_itself(op) for op in ("add", "mul", "maximum", "concat")},
    "clamp": lambda rng, x: ops.make("clamp", x, attrs=ops.ClampAttrs(-0.5, 1.0)),
    "affine": lambda rng, x: ops.make("affine", x, *(channels(rng) for _ in range(3)), attrs=ops.ClampAttrs(-2, 2)),
    "pad": lambda rng, x: ops.make("pad", x, attrs=ops.PadAttrs((1, 0, 2, 1), 3.0)),
    "pad_channels": lambda rng, x: ops.make("pad_channels", x, attrs=ops.PadChannelsAttrs(1, 2, 5.0)),
    "reshape": lambda rng, x: ops.make("reshape", x, attrs=ops.ReshapeAttrs((120,))),
    "slice": lambda rng, x: ops.make("slice", x, attrs=ops.SliceAttrs(1, 4)),
    "gather": lambda rng, x: ops.make("gather", x, ops.constant(rng.integers(0, 120, (2, 3)), DType.i32)),
}  # fmt: skip
# What rounds on both sides, against the op in float64 too.
ROUNDING = {"conv", "fused", "depthwise", *(op.name for op in ops.OPS.values() if op.library or op.sums)}
POSITIVE = {op.name for op in ops.OPS.values() if op.truth and op.truth.domain[0] > -1}  # their operands
LARGEST = {"exp": 80.0}
EXACT = {"copy", "add", "sub", "mul", "div", "maximum", "minimum", "clamp", "affine", "prelu", "sign", "round", "pad",
         "batch_size", "resize_bilinear"}  # fmt: skip


def operands(node: Node, x: Array) -> list[Array]:
    return [i.value if i.is_constant else x for i in node.inputs]


def exactly(node: Node, values: list[Array]) -> Array:
    """The op in float64, but for the sums that the oracle has in float32."""
    if truth := ops.OPS[node.op].truth:
        return truth(values[0], node.attrs)
    return np.asarray(ops.OPS[node.op].reference(*(v.astype(np.float64) for v in values), a=node.attrs), np.float64)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("size", [0.0, 1e-6, 1e-2, 1.0])
def test_covers_every_difference(name: str, size: float, rng: Rng) -> None:
    """Operands up to ``size`` apart, and sums in another order."""
    node = MAKERS[name](rng, ops.input_node("x", SHAPE))
    x = (rng.normal(0, 1, (COUNT, *SHAPE)) * 10.0 ** rng.integers(-3, 3, SHAPE[-1])).astype(np.float32)
    sign = np.abs if name.split()[0] in POSITIVE else np.array
    x = np.minimum(sign(x), LARGEST.get(name, np.inf)).astype(np.float32)
    errors = (size * rng.random(x.shape) * (rng.random(x.shape) < 0.5)).astype(np.float32)
    limits = [NOTHING if i.is_constant else errors for i in node.inputs]
    limit = bound(node, lambda: operands(node, x), limits)
    ours = interpret.evaluate(node, operands(node, x)).astype(np.float64)
    for _ in range(5):
        moved = (x + errors * rng.choice([-1.0, 1.0, 0.3], x.shape)).astype(np.float32)
        moved = sign(np.where(np.abs(moved.astype(np.float64) - x) <= errors, moved, x))
        theirs = interpret.evaluate(node, operands(node, moved)).astype(np.float64)
        assert (np.abs(ours - theirs) <= limit + TINY).all()
        if name.split()[0] in ROUNDING:
            assert (np.abs(exactly(node, operands(node, moved)) - ours) <= limit).all()
    if size == 0 and name.split()[0] in EXACT:
        assert not limit.any()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("own", [0.5, np.inf])
def test_own_rounding_of_equal_operands(name: str, own: float, rng: Rng) -> None:
    node = MAKERS[name](rng, ops.input_node("x", SHAPE))
    x = rng.normal(0, 1, (COUNT, *SHAPE)).astype(np.float32)
    limit = bound(node, lambda: operands(node, x), [NOTHING] * len(node.inputs), own)
    assert limit.shape == (COUNT, *node.type.shape) and (limit >= 0).all()
    assert limit.any() or node.op == "conv2d"  # its sums round by themselves


def test_sums_in_every_order(rng: Rng) -> None:
    x = rng.normal(0, 1, (1, 300)).astype(np.float32)
    w = rng.normal(0, 1, (4, 1, 1, 300)).astype(np.float32)
    node = ops.make("conv2d", ops.input_node("x", (300,)), ops.constant(w), attrs=ops.ConvAttrs())
    limit = bound(node, lambda: [x, w], [NOTHING, NOTHING])
    sums = []
    for _ in range(50):
        order = rng.permutation(300)
        sums.append([np.cumsum(x[0, order] * f[0, 0, order], dtype=np.float32)[-1] for f in w])
    apart = np.ptp(np.array(sums, np.float64), axis=0)
    assert (apart > 0).all() and (apart <= limit).all()
    assert (limit < 1e-4 * np.abs(x) @ np.abs(w[:, 0, 0]).T).all()


def test_exact_sums(rng: Rng) -> None:
    """Multiples of 1/256 by signs, and one image in the batch that is none."""
    x = (rng.integers(0, 256, (2, 300)) / 256).astype(np.float32)
    x[1, 0] = 0.1
    w = rng.choice([-1, 1], (4, 1, 1, 300)).astype(np.float32)
    node = ops.make("conv2d", ops.input_node("x", (300,)), ops.constant(w), attrs=ops.ConvAttrs())
    limit = bound(node, lambda: [x, w], [NOTHING, NOTHING])
    assert not limit[0].any() and limit[1].all()


def test_infinity_is_the_same_everywhere() -> None:
    x = np.float32([[np.inf, 1, 0.1], [1, 0.2, np.nan], [0, 3e38, 3e38]])
    w = np.float32([[1, 1, 0.3], [0, 1, 0.7]]).reshape(2, 1, 1, 3)
    node = ops.make("conv2d", ops.input_node("x", (3,)), ops.constant(w), attrs=ops.ConvAttrs())
    limit = bound(node, lambda: [x, w], [NOTHING, NOTHING])
    assert np.isfinite(limit[:2]).all() and np.isinf(limit[2]).any()  # which order overflows is not known


def test_scaled_sums(rng: Rng) -> None:
    """Keras adds up products of a scale, where the compiled network multiplies an integer."""
    signs, x = rng.choice([-1, 1], (4, 1, 1, 300)), rng.choice([-1, 1], (5, 300)).astype(np.int8)
    scale = rng.uniform(0.01, 1, 4).astype(np.float32)
    attrs = ops.ConvAttrs(slots=("pre_mul",))
    node = ops.make("bconv2d", ops.input_node("x", (300,), DType.b1), ops.constant(signs, DType.b1),
                    ops.constant(scale), attrs=attrs)  # fmt: skip
    values = [x, *(i.value for i in node.inputs[1:])]
    assert bound(node, lambda: values, [NOTHING] * 3) is NOTHING
    limit = bound(node, lambda: values, [NOTHING] * 3, 2 * gamma(300) * 300)
    products = x[:, None, :] * (signs[:, 0, 0] * scale[:, None]).astype(np.float32)
    theirs = np.cumsum(products, axis=2, dtype=np.float32)[..., -1]
    ours = interpret.evaluate(node, values)
    assert (ours != theirs).any() and (np.abs(ours.astype(np.float64) - theirs) <= limit).all()
    assert limit.max() < 0.02 * scale.max()  # one sign that differs changes a sum by 2


def test_spacing() -> None:
    least = np.float32(2.0**-149)
    x = np.float32([[0, 0.75, -2], [3, 1e-3, 0], [0, 0, 0], [np.inf, 8, -24], [6 * least, 4 * least, 1]])
    lowest = spacing(x)
    assert lowest[0] == 0.25 and lowest[1] < 1e-9 and np.isinf(lowest[2]) and lowest[3] == 8 and lowest[4] == 2 * least
