# SPDX-License-Identifier: Apache-2.0
"""Numbers one more or one less than what still goes: sums that just fit, a worker's last rows, huge batches."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from bnn import errors
from bnn._native import ffi, lib
from bnn._types import Array
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import DType, Node
from bnn.ir.ops import ConvAttrs, PoolAttrs, constant, input_node, make
from bnn.runtime import Model, available_kernels
from op_graphs import plan, signs
from opened import context_of
from raw_model import with_checksum


def agree(inputs: list[Node], output: Node, *arrays: Array) -> None:
    """Every kernel family with the oracle."""
    graph = plan(inputs, [output])
    expected = interpret.outputs(graph, list(arrays))[0]
    for kernels in available_kernels():
        model = Model.from_bytes(encode(graph), kernels=kernels)
        np.testing.assert_array_equal(model(list(arrays)), expected, err_msg=kernels)


def test_a_batch_whose_bytes_overflow_is_refused() -> None:
    x = input_node("x", (5,))
    model = Model.from_bytes(encode(plan([x], [make("tanh", x)])))
    context = context_of(model, 1, 1)
    array = np.zeros((1, 5), np.float32)
    context.inputs[0] = context.outputs[0] = ffi.from_buffer("float[]", array)
    most = (2**64 - 1) // 2 // 20
    for batch in (most + 1, 2**63, 2**64 - 1):
        assert lib.bnn_run(context.pointer, context.inputs, context.outputs, batch) == lib.BNN_ERROR_LIMIT
    counts, nobody = context_of(model, 1, 2), []

    @ffi.callback("bnn_parallel_for")  # type: ignore[untyped-decorator]
    def none(pool: Any, task: Any, argument: Any, count: int) -> None:
        nobody.append(count)

    lib.bnn_context_set_threads(counts.pointer, none, ffi.NULL)
    assert lib.bnn_run(counts.pointer, context.inputs, context.outputs, most) == lib.BNN_OK and nobody == [most]


@pytest.mark.parametrize("row", [0, 63])
def test_not_a_number_in_any_workers_rows(row: int) -> None:
    """One image whose rows go to two workers, in turn."""
    x = input_node("x", (64, 64, 32))
    y = make("bconv2d", make("binarize", x), signs(np.random.default_rng(1), (8, 3, 3, 32)))
    model = Model.from_bytes(encode(plan([x], [y])))
    context = context_of(model, 1, 2)
    jobs = []

    @ffi.callback("bnn_parallel_for")  # type: ignore[untyped-decorator]
    def in_turn(pool: Any, task: Any, argument: Any, count: int) -> None:
        jobs.append(count)
        for index in range(count):
            task(argument, index, index * 2 // count)

    lib.bnn_context_set_threads(context.pointer, in_turn, ffi.NULL)
    image, out = np.ones((1, 64, 64, 32), np.float32), np.empty((1, 62, 62, 8), np.float32)
    context.run([image], [out], 0, 1)
    assert not np.isnan(out).any() and len(jobs) == 2
    image[0, row, 5, 7] = np.nan
    context.run([image], [out], 0, 1)
    assert np.isnan(out).all()


@pytest.mark.parametrize(
    ("groups", "outputs"), [(3, 11), (3, 10), (5, 13), (2, 33), (4, 31), (2, 16), (4, 8), (2, 48), (4, 24)]
)
def test_groups_whose_bits_share_words(groups: int, outputs: int, rng: np.random.Generator) -> None:
    """The third group of 11 begins at bit 22 and ends with the first bit of the next word; two of 16 end with one."""
    x = input_node("x", (3, 3, 32 * groups))
    thresholds = constant(rng.integers(-9, 10, groups * outputs), DType.i32)
    attrs = ConvAttrs(groups=groups, slots=("threshold",), out=DType.b1)
    bits = make("bconv2d", make("binarize", x), signs(rng, (groups * outputs, 1, 1, 32)), thresholds, attrs=attrs)
    agree([x], make("unpack", bits), rng.normal(size=(5, 3, 3, 32 * groups)).astype(np.float32))


@pytest.mark.parametrize("planes", [2, 8])
def test_thresholds_of_sums_in_the_millions(planes: int, rng: np.random.Generator) -> None:
    """Numbers of several bits whose sums come near 2^24 / 2: at every threshold, next to it, and out of reach."""
    most = 2**planes - 1
    channels = (2**24 - 1) // (2 * most) // 32 * 32 if planes == 8 else 1 << 18
    x = input_node("x", (1, 1, channels))
    numbers = make("binarize_levels", x, constant(np.arange(1.0, most + 1)))
    filters = np.ones((24, 1, 1, channels), np.int8)
    for o in range(24):
        filters[o, ..., rng.integers(0, channels, o * channels // 40)] = -1
    image = rng.integers(most // 2, most + 1, (2, 1, 1, channels)).astype(np.float32)
    sums = np.einsum("oi,i->o", filters[:, 0, 0].astype(np.int64), image[0, 0, 0].astype(np.int64))
    assert sums.max() > 2 ** (21 if planes == 8 else 18)
    far = [2**24 - 1, -(2**24) + 1, 2**31 - 1, -(2**31)]
    thresholds = np.concatenate([far, sums[4:10], sums[10:17] + 1, sums[17:] - 1])
    attrs = ConvAttrs(planes=planes, slots=("threshold",), out=DType.b1)
    weights = constant(filters, DType.b1)
    bits = make("bconv2d", numbers, weights, constant(thresholds, DType.i32), attrs=attrs)
    agree([x], make("unpack", bits), image)


@pytest.mark.parametrize("channels", [127, 128, 129, 130, 255, 256, 257, 258, 260, 513, 1100])
def test_the_greatest_bytes_by_the_greatest_weights(channels: int) -> None:
    """Sums of 16 bits are added up before they overflow."""
    x = input_node("x", (1, 2, channels), DType.u8)
    filters = np.ones((3, 1, 1, channels), np.int8)
    filters[1] = -1
    y = make("iconv2d", x, constant(filters, DType.b1), constant(np.zeros(channels)), attrs=ConvAttrs(slots=("zeros",)))
    agree([x], y, np.full((1, 1, 2, channels), 255, np.uint8))


@pytest.mark.parametrize("kind", ["max_pool", "avg_pool", "sum_pool"])
@pytest.mark.parametrize("pad", range(4))
def test_padding_as_large_as_the_window(kind: str, pad: int) -> None:
    """Then a window may have no tap inside the image."""
    x = input_node("x", (6, 7, 2))
    data = bytearray(encode(plan([x], [make(kind, x, attrs=PoolAttrs((2, 3), (2, 3)))])))
    (ops,) = struct.unpack_from("<Q", data, 48)
    window = (2, 3)[pad % 2]
    struct.pack_into("<i", data, ops + 32 + 4 + 16 + 4 * pad, window)
    with pytest.raises(
        errors.ModelFormatError, match=rf"padding \(less than the window\): found {window}, expected {window}"
    ):
        Model.from_bytes(with_checksum(data))


@pytest.mark.parametrize("values", [(0, 2, 1), (1, 0, 2), (0, np.nan, 1), (0, 1, np.nan), (np.nan, 0, 1)])
def test_thresholds_must_rise(values: tuple[float, ...]) -> None:
    x = input_node("x", (4,))
    levels = make("binarize_levels", x, constant(np.arange(3.0)))
    data = encode(plan([x], [make("unpack", levels)]))
    rising, other = struct.pack("<3f", 0, 1, 2), struct.pack("<3f", *values)
    assert data.count(rising) == 1
    with pytest.raises(errors.ModelFormatError, match="thresholds that are numbers and rise, from the first on"):
        Model.from_bytes(with_checksum(bytearray(data.replace(rising, other))))
    equal = struct.pack("<3f", 0, 1, 1)
    assert Model.from_bytes(with_checksum(bytearray(data.replace(rising, equal))))(np.ones((1, 4), np.float32)).size
