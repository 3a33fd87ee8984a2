# SPDX-License-Identifier: Apache-2.0
"""Random networks of Larq's operators and of floats between them, in which every operation has one right result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bnn._types import Array
from seed import SEED, numbers

from .build import NONE, RELU, RELU6, SAME, VALID, Net, in_larq, packed
from .test_larq import CONV, IMAGES, compiled, signs, size

COUNT = 24


class Random:
    """A network that grows by one random piece after the other; ``bits``: whether the last value is packed."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.net = rng, Net()
        self.shape = (int(rng.integers(4, 9)), int(rng.integers(4, 9)), int(rng.integers(1, 70)))
        self.value, self.bits = self.net.input(*self.shape), False

    def numbers(self, *shape: int) -> Array:
        """Multiples of 1/8 of either sign, and zero."""
        return (self.rng.integers(-16, 17, shape) / 8).astype(np.float32)

    def add(self, op: str, inputs: list[int], table: str = "", **options: int) -> None:
        self.value = self.net.op(op, inputs, 1, *self.shape, table=table, **options)

    def packed_as(self, op: str, inputs: list[int], **options: int) -> None:
        h, w, c = self.shape
        self.value, self.bits = self.net.larq(op, inputs, 1, h, w, -(-c // 32), **options), True

    def as_floats(self) -> None:
        if self.bits:
            self.value = self.net.larq("LceDequantize", [self.value], 1, *self.shape, dtype="FLOAT32")
            self.bits = False

    def as_bits(self) -> None:
        if not self.bits:
            self.packed_as("LceQuantize", [self.value])

    def elementwise(self) -> None:
        self.as_floats()
        rng, channels = self.rng, self.shape[-1]
        op = str(rng.choice(["ADD", "MUL", "SUB", "PRELU", "RELU", "RELU6"]))
        if op in ("RELU", "RELU6"):
            self.add(op, [self.value])
        elif op == "PRELU":
            self.add(op, [self.value, self.net.constant(self.numbers(1, 1, channels))])
        else:
            other = self.net.constant(self.numbers(channels)) if rng.random() < 0.8 else self.value
            table = {"ADD": "AddOptions", "MUL": "MulOptions", "SUB": "SubOptions"}[op]
            self.add(op, [self.value, other], table, FusedActivationFunction=int(rng.choice([NONE, RELU, RELU6])))

    def pool(self) -> None:
        h, w, c = self.shape
        kernel, stride, padding = (int(n) for n in self.rng.integers((1, 1, 0), (4, 3, 2)))
        if padding == VALID and kernel > min(h, w):
            return
        self.shape = (*(size(n, kernel, stride, 1, padding)[0] for n in (h, w)), c)
        if self.bits:
            self.packed_as("LceBMaxPool2d", [self.value], filter_height=kernel, filter_width=kernel,
                           stride_height=stride, stride_width=stride, padding=padding)  # fmt: skip
        else:
            self.add("MAX_POOL_2D", [self.value], "Pool2DOptions", FilterHeight=kernel, FilterWidth=kernel,
                     StrideH=stride, StrideW=stride, Padding=padding)  # fmt: skip

    def convolution(self) -> None:
        self.as_bits()
        rng, (h, w, c), before = self.rng, self.shape, (self.value, self.shape)
        kernel, stride, dilation = int(rng.integers(1, 4)), int(rng.integers(1, 3)), int(rng.integers(1, 3))
        padding, filters = int(rng.choice([SAME, VALID])), int(rng.choice([c, rng.integers(1, 70)]))
        if padding == VALID and (kernel - 1) * dilation + 1 > min(h, w):
            return
        options = CONV | {
            "channels_in": c, "padding": padding, "stride_height": stride, "stride_width": stride,
            "dilation_height_factor": dilation, "dilation_width_factor": dilation,
            "fused_activation_function": int(rng.choice([NONE, RELU])),
        }  # fmt: skip
        weights = self.net.constant(packed(signs(rng, filters, kernel, kernel, c)))
        self.shape = (*(size(n, kernel, stride, dilation, padding)[0] for n in (h, w)), filters)
        reach = kernel * kernel * c
        if rng.random() < 0.4:
            thresholds = self.net.constant(rng.integers(-1, reach + 1, filters).astype(np.int32))
            self.packed_as("LceBconv2d", [self.value, weights, -1, -1, thresholds], **options)
            return
        multiplier, bias = (self.net.constant(rng.normal(size=filters)) for _ in range(2))
        if rng.random() < 0.5:  # sums that are equal to a threshold afterwards
            multiplier, bias = self.net.constant(np.ones(filters)), self.net.constant(rng.integers(-3, 4, filters))
            self.net.tensors[bias].update(dtype="FLOAT32", value=self.net.tensors[bias]["value"].astype(np.float32))
        operands = [self.value, weights, multiplier, bias, -1]
        self.value = self.net.larq("LceBconv2d", operands, 1, *self.shape, dtype="FLOAT32", **options)
        self.bits = False
        if before[1] == self.shape and rng.random() < 0.7:
            shortcut = self.net.larq("LceDequantize", [before[0]], 1, *self.shape, dtype="FLOAT32")
            self.add("ADD", [self.value, shortcut], "AddOptions")

    def to_bytes(self) -> bytes:
        pieces = [self.elementwise, self.pool, self.convolution, self.convolution]
        for _ in range(int(self.rng.integers(3, 9))):
            pieces[int(self.rng.integers(len(pieces)))]()
        self.as_floats()
        if not self.net.operators:
            self.add("RELU", [self.value])
        return self.net.to_bytes(self.value)


@pytest.mark.drawn
@pytest.mark.parametrize("number", numbers(COUNT))
def test_random_networks(number: int, tmp_path: Path) -> None:
    """All numbers equal those of the file's evaluation and, where it is installed, Larq Compute Engine's."""
    print(f"repeat with BNN_TEST_SEED={SEED}")
    made = Random(np.random.default_rng([SEED, number]))
    images = made.numbers(IMAGES, *made.shape)
    data = made.to_bytes()
    found = compiled(data, tmp_path, images)
    try:
        (expected,) = in_larq(data, [images])
    except pytest.skip.Exception:
        return
    assert np.array_equal(found, expected)
