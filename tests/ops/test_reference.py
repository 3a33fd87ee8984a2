# SPDX-License-Identifier: Apache-2.0
"""The oracle itself against loops that spell out every tap, in exact integers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from bnn._types import Array
from bnn.file.bits import pack, unpack, words
from bnn.ir.graph import DType
from bnn.ir.interpret import evaluate
from bnn.ir.ops import (
    ClampAttrs,
    ConvAttrs,
    PadAttrs,
    PoolAttrs,
    ResizeAttrs,
    batch,
    constant,
    conv,
    conv_output,
    elementwise,
    functions,
    input_node,
    make,
    pool,
)
from bnn.ir.ops.bits import binarize, binarize_levels, dequantize
from bnn.ir.ops.requantize import multiply, requantize
from seed import numbers

SPECIAL = np.array([-np.inf, -1.5, -1.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, np.inf, np.nan], np.float32)


def naive_convolution(x: Array, w: Array, a: ConvAttrs) -> Array:
    """Every tap of every output, outside ones as ``pad_value``."""
    n, h, width, _ = x.shape
    filters, kh, kw, per_group = w.shape
    top, left, bottom, right = a.pads
    oh = conv_output(h, kh, a.stride[0], a.dilation[0], top, bottom)
    ow = conv_output(width, kw, a.stride[1], a.dilation[1], left, right)
    y = np.zeros((n, oh, ow, filters))
    for i, j, o, ky, kx, c in itertools.product(*map(range, (oh, ow, filters, kh, kw, per_group))):
        row = i * a.stride[0] + ky * a.dilation[0] - top
        col = j * a.stride[1] + kx * a.dilation[1] - left
        channel = o // (filters // a.groups) * per_group + c
        inside = 0 <= row < h and 0 <= col < width
        y[:, i, j, o] += (x[:, row, col, channel] if inside else a.pad_value) * float(w[o, ky, kx, c])
    return y


def random_case(rng: np.random.Generator) -> tuple[Array, Array, ConvAttrs]:
    groups, per_group = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    filters = groups * int(rng.integers(1, 4))
    kh, kw = rng.integers(1, 4, 2)
    h, w = rng.integers(1, 7, 2)
    dilation = tuple(int(d) for d in rng.integers(1, 4, 2))
    pads = [int(p) for p in rng.integers(0, 4, 4)]
    pads[2] = max(pads[2], int((kh - 1) * dilation[0] + 1 - h) - pads[0])
    pads[3] = max(pads[3], int((kw - 1) * dilation[1] + 1 - w) - pads[1])
    attrs = ConvAttrs(
        stride=tuple(int(s) for s in rng.integers(1, 4, 2)),  # type: ignore[arg-type]
        dilation=dilation,  # type: ignore[arg-type]
        pads=tuple(pads),  # type: ignore[arg-type]
        pad_value=int(rng.integers(-1, 2)),
        groups=groups,
    )
    x = rng.integers(-4, 5, (2, h, w, groups * per_group))
    return x.astype(np.float32), rng.integers(-4, 5, (filters, kh, kw, per_group)).astype(np.float32), attrs


@pytest.mark.drawn
def test_numbers_in_binary(rng: np.random.Generator) -> None:
    """Levels, their planes, the sums of products with them, and back."""
    for _ in numbers(40):
        steps, channels = int(rng.integers(2, 256)), int(rng.integers(1, 70))
        thresholds = np.sort(rng.integers(-9, 10, steps)).astype(np.float32)
        x = rng.integers(-10, 11, (2, 3, 4, channels)).astype(np.float32)
        levels = np.array([sum(v >= t for t in thresholds) for v in x.reshape(-1)]).reshape(x.shape)
        bits = binarize_levels(x, thresholds)
        planes, room = steps.bit_length(), 32 * words(channels)
        assert bits.shape == (2, 3, 4, planes * room) and bits.dtype == np.int8
        for p, c in itertools.product(range(planes), range(room)):
            expected = np.where(levels[..., c] & 1 << p, 1, -1) if c < channels else -1
            assert (bits[..., p * room + c] == expected).all()
        table = rng.normal(size=steps + 1).astype(np.float32)
        assert np.array_equal(dequantize(bits, table, channels), table[levels])
        w = rng.choice([-1, 1], (3, 2, 2, channels)).astype(np.int8)
        for value in (-1, 0, 1):
            attrs = ConvAttrs(pads=(1, 0, 1, 2), pad_value=value, planes=planes)
            top = 2**planes - 1
            plain = ConvAttrs(pads=(1, 0, 1, 2), pad_value=value * top)
            expected = naive_convolution(2 * levels - top, w, plain)
            assert np.array_equal(conv.conv_accumulate(bits, w, attrs), expected)


def test_convolutions(rng: np.random.Generator) -> None:
    for _ in range(60):
        x, w, attrs = random_case(rng)
        assert np.array_equal(conv.conv_accumulate(x, w, attrs), naive_convolution(x, w, attrs)), attrs


def test_depthwise_convolutions(rng: np.random.Generator) -> None:
    for multiplier in (1, 2, 3):
        x = rng.integers(-4, 5, (2, 5, 4, 3)).astype(np.float32)
        w = rng.integers(-4, 5, (3 * multiplier, 2, 3, 1)).astype(np.float32)
        attrs = ConvAttrs(groups=3, pads=(1, 0, 0, 2))
        assert np.array_equal(conv.conv_accumulate(x, w, attrs), naive_convolution(x, w, attrs))


def test_dense_layers(rng: np.random.Generator) -> None:
    x, w = rng.integers(-4, 5, (3, 7)).astype(np.float32), rng.integers(-4, 5, (5, 1, 1, 7)).astype(np.float32)
    assert np.array_equal(conv.conv_accumulate(x, w, ConvAttrs()), x @ w[:, 0, 0].T)


def test_accumulators_of_bits_are_popcounts(rng: np.random.Generator) -> None:
    """dot(a, w) = K - 2 popcount(a ^ w), the packed tail being zero in both."""
    for channels in (1, 31, 32, 33, 70):
        a = rng.choice([-1, 1], (4, channels)).astype(np.int8)
        w = rng.choice([-1, 1], (5, 1, 1, channels)).astype(np.int8)
        different = pack(a)[:, None] ^ pack(w[:, 0, 0])[None]
        bits = np.unpackbits(np.ascontiguousarray(different).view(np.uint8), axis=-1).sum(axis=-1, dtype=np.int64)
        assert np.array_equal(conv.conv_accumulate(a, w, ConvAttrs()), channels - 2 * bits)


def test_bit_convention(rng: np.random.Generator) -> None:
    assert [words(c) for c in (1, 32, 33, 64, 65)] == [1, 1, 2, 2, 3]
    one = -np.ones((1, 70))
    one[0, [0, 33, 69]] = 1
    assert pack(one).tolist() == [[1, 2, 32]], "channel c is bit c % 32 of word c // 32; the tail is zero"
    for channels in (1, 5, 32, 63, 64, 100):
        x = rng.choice([-1, 1], (2, 3, channels)).astype(np.int8)
        packed = pack(x)
        assert packed.dtype == np.dtype("<u4") and np.array_equal(unpack(packed, channels), x)


def test_epilogue_order() -> None:
    """Each slot is one float32 operation, in the slots' own order."""
    acc = np.array([[3.0]], np.float32)
    slots = ("pre_mul", "pre_add", "clamp0", "sub", "mul", "add", "residual", "clamp1")
    attrs = ConvAttrs(slots=slots, clamp0=(-1, 7), clamp1=(-2, 2))
    operands = tuple(np.array([v], np.float32) for v in (2.0, 5.0, 1.0, -1.0, 2.0)) + (np.array([[0.5]], np.float32),)
    # 3 * 2 + 5 = 11, clamped to 7; (7 - 1) * -1 + 2 = -4; -4 + 0.5 = -3.5, clamped to -2
    assert conv.epilogue(acc, attrs, operands).tolist() == [[-2.0]]
    big = np.array([[2.0**24]], np.float32)
    plus = ConvAttrs(slots=("pre_add", "sub"))
    one = (np.float32([1.0]), np.float32([2.0**24]))
    assert conv.epilogue(big, plus, one).tolist() == [[0.0]], "rounded after each"


def test_step() -> None:
    assert binarize(SPECIAL).tolist() == [-1, -1, -1, 1, 1, 1, 1, 1, 1, -1]
    assert binarize(np.float32([-1.2e-38, -1.1e-38])).tolist() == [-1, 1], "denormals are zero"
    threshold, flip = np.float32([1.0, 1.0]), np.int8([-1, 1])
    x = np.float32([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    assert binarize(x, threshold, flip).tolist() == [[-1, 1], [1, -1], [1, -1]]


NORMAL = np.finfo(np.float32).tiny
DENORMAL = np.nextafter(NORMAL, np.float32(0))


@pytest.mark.parametrize(
    ("function", "values"),
    [
        # What they are at the least normal float and at the greatest that counts as zero, of both signs.
        (binarize, {-NORMAL: -1, -DENORMAL: 1, -0.0: 1, np.nan: -1}),
        (elementwise.sign, {-NORMAL: -1, -DENORMAL: 0, DENORMAL: 0, NORMAL: 1}),
        (lambda x: elementwise.round(x, -1), {-NORMAL: -1, -DENORMAL: 0, DENORMAL: 0, NORMAL: 0}),
        (lambda x: elementwise.round(x, 1), {-NORMAL: 0, -DENORMAL: 0, DENORMAL: 0, NORMAL: 1}),
        (lambda x: elementwise.round(x, 0), {-1.5: -2, -0.5: 0, 0.5: 0, 1.5: 2, 2.5: 2}),
        (elementwise.sqrt, {DENORMAL: 0, NORMAL: 2.0**-63, 0.0: 0, 4.0: 2}),
        (elementwise.rsqrt, {DENORMAL: np.inf, NORMAL: 2.0**63, 0.0: np.inf, 4.0: 0.5}),
        (lambda x: functions.pow(x, -1.0), {DENORMAL: np.inf, -DENORMAL: -np.inf, NORMAL: 2.0**126}),
        # And at what else they turn.
        (lambda x: elementwise.prelu(x, np.float32([3])), {-2.0: -6, 0.0: 0, 2.0: 2}),
        (lambda x: elementwise.prelu(x, np.float32([np.inf])), {0.0: 0, 1.0: 1}),
        (elementwise.elu, {-np.inf: -1, -0.0: 0, 2.0: 2}),
        (lambda x: elementwise.clamp(x, -1.0, 6.0), {-1.5: -1, -1.0: -1, 6.0: 6, 7.0: 6}),
        (lambda x: binarize(x, np.float32([1]), np.int8([-1])), {0.75: -1, 1.0: 1, np.nan: -1}),
        (lambda x: binarize(x, np.float32([1]), np.int8([1])), {0.75: 1, 1.0: -1, np.nan: 1}),
    ],
)
def test_where_functions_turn(function: Any, values: dict[float, float]) -> None:
    x = np.float32(list(values))[:, None]
    with np.errstate(invalid="ignore"):
        assert function(x).ravel().tolist() == list(values.values())


def test_negative_zero_stays_one() -> None:
    prelu, up = (lambda x: elementwise.prelu(x, x)), (lambda x: elementwise.round(x, 1))
    for function in (elementwise.elu, elementwise.sqrt, prelu, up):
        assert np.signbit(function(np.float32([-0.0])))[0]
    assert np.signbit(elementwise.round(np.float32([-DENORMAL, -0.5]), 1)).all()


def test_where_levels_turn() -> None:
    """A float at a threshold is past it; numbers past a table have its last value."""
    x = np.float32([[-1], [0.5], [0.75], [1], [3], [np.inf], [np.nan]])
    numbers = binarize_levels(x, np.float32([0.5, 1, 1]))
    assert numbers.shape == (7, 64) and (numbers[:, 1:32] == -1).all() and (numbers[:, 33:] == -1).all()
    assert ((numbers[:, 0] > 0) + 2 * (numbers[:, 32] > 0)).tolist() == [0, 1, 1, 3, 3, 3, 0]
    assert dequantize(numbers, np.float32([5, 6, 7]), 1).ravel().tolist() == [5, 6, 6, 7, 7, 7, 5]
    acc, limits = np.float32([[-2, -1, 0, 1, 2]]).T, (np.int32([0]),)
    assert conv.epilogue(acc, ConvAttrs(slots=("threshold",)), limits).ravel().tolist() == [-1, -1, 1, 1, 1]


def test_masked_pools_at_the_border() -> None:
    """Padding is neither in an OR nor in an AND."""
    for bit in (-1, 1):
        x, attrs = np.full((1, 1, 1, 2), bit, np.int8), PoolAttrs((2, 2), (1, 1), (1, 1, 1, 1))
        assert (pool.max_pool(x, attrs, np.int8([1, -1])) == bit).all()


def test_sign() -> None:
    found = elementwise.sign(SPECIAL)
    assert found[:-1].tolist() == [-1, -1, -1, 0, 0, 0, 0, 1, 1] and np.isnan(found[-1])


def test_clamp_keeps_not_a_number() -> None:
    found = elementwise.clamp(SPECIAL, -1.0, 0.5)
    assert found[[0, 1, 7, 8]].tolist() == [-1.0, -1.0, 0.5, 0.5] and np.isnan(found[-1])


def naive_pool(x: Array, a: PoolAttrs) -> tuple[Array, Array, Array]:
    """(max, min, mean) over the taps inside the image."""
    n, h, w, c = x.shape
    oh = conv_output(h, a.kernel[0], a.stride[0], 1, a.pads[0], a.pads[2])
    ow = conv_output(w, a.kernel[1], a.stride[1], 1, a.pads[1], a.pads[3])
    results = np.zeros((3, n, oh, ow, c), np.float32)
    for i, j in itertools.product(range(oh), range(ow)):
        top, left = i * a.stride[0] - a.pads[0], j * a.stride[1] - a.pads[1]
        rows = [r for r in range(top, top + a.kernel[0]) if 0 <= r < h]
        cols = [k for k in range(left, left + a.kernel[1]) if 0 <= k < w]
        taps = x[:, rows][:, :, cols].reshape(n, -1, c)
        results[:, :, i, j] = taps.max(axis=1), taps.min(axis=1), taps.sum(axis=1) / np.float32(taps.shape[1])
    return results[0], results[1], results[2]


def test_pools(rng: np.random.Generator) -> None:
    for _ in range(60):
        kh, kw = (int(k) for k in rng.integers(1, 4, 2))
        pads = tuple(int(rng.integers(0, k)) for k in (kh, kw, kh, kw))
        attrs = PoolAttrs((kh, kw), (int(rng.integers(1, 4)), int(rng.integers(1, 4))), pads)  # type: ignore[arg-type]
        shape = (2, int(rng.integers(kh, 8)), int(rng.integers(kw, 8)), 3)
        x = rng.integers(-9, 1, shape).astype(np.float32)
        high, _, mean = naive_pool(x, attrs)
        assert np.array_equal(pool.max_pool(x, attrs), high) and np.array_equal(pool.avg_pool(x, attrs), mean)
        b = rng.choice([-1, 1], shape).astype(np.int8)
        high, low, _ = naive_pool(b.astype(np.float32), attrs)
        mask = np.int8([1, -1, 1])
        assert np.array_equal(pool.max_pool(b, attrs), high)
        assert np.array_equal(pool.max_pool(b, attrs, mask), np.where(mask > 0, low, high))


def test_max_pool_skips_not_a_number() -> None:
    x = np.float32([[[[np.nan], [1.0]], [[-np.inf], [np.nan]]]])
    attrs = PoolAttrs((2, 2))
    assert pool.max_pool(x, attrs).tolist() == [[[[1.0]]]]
    assert pool.max_pool(x * np.float32(np.nan), attrs)[0, 0, 0, 0] == np.finfo(np.float32).min


def test_resized_images() -> None:
    """By hand: twice as wide with pixels' middles, corners that stay, and as TensorFlow once did it."""
    x = np.float32([0, 4, 8]).reshape(1, 1, 3, 1)
    for attrs, expected in (
        (ResizeAttrs((1, 6), half_pixels=1), [0, 1, 3, 5, 7, 8]),
        (ResizeAttrs((1, 5), align_corners=1), [0, 2, 4, 6, 8]),
        (ResizeAttrs((2, 6)), [0, 2, 4, 6, 8, 8]),
        (ResizeAttrs((1, 1), half_pixels=1), [4]),
        (ResizeAttrs((1, 1), align_corners=1), [0]),
        (ResizeAttrs((1, 2), align_corners=1), [0, 8]),
    ):
        found = pool.resize_bilinear(x, attrs)
        assert found.dtype == np.float32 and found.shape == (1, *attrs.size, 1)
        assert all(row.ravel().tolist() == expected for row in found[0])


def test_sums_over_the_batch(rng: np.random.Generator) -> None:
    """Every image gets the same: the sum over all pixels of all, and the number of images."""
    for shape in ((5, 3, 4, 7), (6, 9), (4, 5, 1)):
        x = rng.integers(-99, 100, shape).astype(np.float32)
        found = batch.batch_sum(x)
        assert found.dtype == np.float32 and found.shape == (len(x), shape[-1])
        assert np.array_equal(found, np.tile(x.reshape(-1, shape[-1]).sum(axis=0), (len(x), 1)))
        assert np.array_equal(batch.batch_size(x, 10), np.full((len(x), 1), 10 * len(x), np.float32))
    small = np.array([[2.0**24], [1.0], [1.0]], np.float32)
    assert batch.batch_sum(small).tolist() == [[2.0**24 + 2]] * 3, "rounded once"


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "maximum", "minimum"])
def test_two_operands_broadcast(op: str, rng: np.random.Generator) -> None:
    """A constant stands without the batch; activations bring theirs."""
    function = {"div": np.divide, "sub": np.subtract, "mul": np.multiply}.get(op) or getattr(np, op)
    x = input_node("x", (3, 1, 4))
    for shape in ((), (1,), (4,), (2, 4), (3, 2, 4), (1, 2, 1)):
        c = constant(rng.integers(1, 5, shape))
        node = make(op, x, c)
        value = rng.integers(-4, 5, (2, 3, 1, 4)).astype(np.float32)
        found = evaluate(node, [value, c.value])
        assert found.shape == (2, *node.type.shape) and found.dtype == np.float32
        assert np.array_equal(found, function(value, c.value))


def test_moving_values(rng: np.random.Generator) -> None:
    x = rng.choice([-1, 1], (2, 2, 3, 4)).astype(np.int8)
    node = input_node("b", (2, 3, 4), DType.b1)
    padded = evaluate(make("pad", node, attrs=PadAttrs((1, 0, 2, 1), 1.0)), [x])
    assert padded.dtype == np.int8 and padded.shape == (2, 5, 4, 4)
    assert np.array_equal(padded[:, 1:3, :3], x) and (padded[:, 0] == 1).all() and (padded[:, :, 3] == 1).all()
    joined = evaluate(make("concat", node, node), [x, -x])
    assert np.array_equal(joined[..., :4], x) and np.array_equal(joined[..., 4:], -x)
    turned = np.arange(24).reshape(2, 3, 4)[:, ::-1, 1:3]
    gathered = evaluate(make("gather", node, constant(turned, DType.i32)), [x, turned])
    assert gathered.dtype == np.int8 and np.array_equal(gathered, x[:, :, ::-1, 1:3])
    assert evaluate(make("unpack", node), [x]).dtype == np.float32
    clamped = evaluate(make("clamp", input_node("f", (4,)), attrs=ClampAttrs(0, 6)), [np.float32([[-1, 0, 5, 7]])])
    assert clamped.tolist() == [[0, 0, 5, 6]]


def requantized(v: int, multiplier: int, shift: int) -> int:
    """As gemmlowp's fixed-point functions define it: a quotient rounded towards zero after a nudge, and a remainder
    that is compared with a half; in Python's integers."""
    v = (v << max(shift, 0)) % 2**32
    product = (v - 2**32 * (v >= 2**31)) * multiplier
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)
    unit = 2 ** max(-shift, 0)
    return high // unit + (high % unit > (unit - 1) // 2 + (high < 0))


def test_requantization(rng: np.random.Generator) -> None:
    """Everywhere, and at ties of both roundings."""
    for _ in range(3000):
        v = int(rng.integers(-(2**31), 2**31)) >> int(rng.integers(0, 32))
        multiplier = int(rng.choice([0, 1, 2**30, 2**31 - 1, rng.integers(0, 2**31)]))
        shift = int(rng.integers(-31, 31))
        expected = requantized(v, multiplier, shift)
        assert multiply(np.array(v), multiplier, shift) == expected
        found = requantize(np.array(v), multiplier, shift, 100, 3, 250)
        assert found == min(max(expected + 100, 3), 250)
        shifted = int(np.int32(np.uint32((v << max(shift, 0)) % 2**32)))
        once = (2 * shifted * multiplier + 2 ** (bits := 31 + max(-shift, 0))) // 2 ** (bits + 1)
        assert multiply(np.array(v), multiplier, shift, once=1) == once
