# SPDX-License-Identifier: Apache-2.0
"""Random conv2d and bconv2d graphs: the runtime against the oracle, with every kernel family in turn."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bnn._native import ffi, lib
from bnn._types import Array
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Node, Storage
from bnn.ir.ops import REQUANTIZATION, SLOTS, ConvAttrs, PoolAttrs, constant, input_node, make, replaced
from bnn.ir.ops.conv import conv_accumulate, epilogue
from bnn.ir.ops.record import Level
from bnn.ir.spec import verify
from bnn.runtime import Model, available_kernels
from op_graphs import convolution, floats, plan, signs, taker
from seed import SEED, numbers

CASES = 60

Random = np.random.Generator


def raw_accumulators(values: dict[Node, Array], conv: Node) -> Array:
    """What step_raw must give: the accumulators, of the filters before negation, through the layer's own slots."""
    attrs: Any = conv.attrs
    acc = conv_accumulate(values[conv.inputs[0]], values[conv.inputs[1]], attrs)
    takers = [s for s in attrs.slots if SLOTS[s]]
    if "negated" in takers:
        acc = acc * -values[conv.inputs[attrs.operand("negated")]].astype(np.float32)
    operands = tuple(
        values[node] for slot, node in zip(takers, conv.inputs[2:], strict=True) if slot in attrs.layer_slots
    )
    own = tuple(s for s in attrs.slots if s in attrs.layer_slots)
    return epilogue(acc, replace(attrs, slots=own), operands)


def images(rng: Random, graph: Graph, batch: int) -> list[Array]:
    return [rng.integers(-8, 9, (batch, *x.type.shape)).astype(np.float32) for x in graph.inputs]


@pytest.mark.drawn
@pytest.mark.parametrize("binary", [True, False], ids=["bconv2d", "conv2d"])
def test_random_graphs(binary: bool) -> None:
    in_place = 0
    for case in range(numbers(CASES).start, 5 * CASES):
        if case >= numbers(CASES).stop and in_place:  # few take an operand's place
            break
        rng = np.random.default_rng([SEED, case, binary])
        graph, conv = convolution(rng, binary)
        print(f"BNN_TEST_SEED={SEED} case {case}\n{graph}")
        arrays = images(rng, graph, int(rng.integers(1, 20)))
        values, file = interpret.run(graph, arrays), encode(graph)
        expected = values[graph.outputs[0]].astype(np.float32)
        for family in available_kernels():
            model = Model.from_bytes(file, kernels=family)
            np.testing.assert_array_equal(model(arrays), expected, err_msg=family)
            np.testing.assert_array_equal(model.predict(arrays, threads=3), expected, err_msg=family)
            check_raw(model, graph, conv, arrays, values)
        scheduled = next(n for n in graph.schedule if n.op == conv.op)
        in_place += any(graph.placements[o] == graph.placements[scheduled] for o in replaced(scheduled))
    assert in_place > 0


@pytest.mark.drawn
@pytest.mark.parametrize("binary", [True, False], ids=["bconv2d", "conv2d"])
def test_passed_to_the_next_op(binary: bool) -> None:
    """A convolution and the op that takes its rows: together, on all threads and batches, and one after the other."""
    passed = 0
    for case in numbers(CASES):
        rng = np.random.default_rng([SEED, case, binary])
        around, conv = convolution(rng, binary)
        if len(conv.type.shape) != 3:
            continue
        graph = plan(around.inputs, [floats(taker(rng, conv))])
        verify(graph, Level.RUNTIME)
        print(f"BNN_TEST_SEED={SEED} case {case}\n{graph}")
        arrays = images(rng, graph, int(rng.integers(1, 8)))
        values, file = interpret.run(graph, arrays), encode(graph)
        for family in available_kernels():
            model = Model.from_bytes(file, kernels=family)
            for threads in (1, 2, 5):
                found = model.predict(arrays, threads=threads)
                np.testing.assert_array_equal(found, values[graph.outputs[0]].astype(np.float32), err_msg=family)
            stepper = model.stepper(len(arrays[0]))
            for tensor, array in zip(model.tensors, arrays, strict=False):
                stepper.poke(tensor.index, array)
            for number, node in enumerate(graph.schedule):
                found = stepper.step(number, len(arrays[0]))
                np.testing.assert_array_equal(found, values[node].astype(np.float32), err_msg=family)
        passed += Storage.PASSED in {place.storage for place in graph.placements.values()}
    assert passed > len(numbers(CASES)) // 4


def check_raw(model: Model, graph: Graph, conv: Node, arrays: list[Array], values: dict[Node, Array]) -> None:
    scheduled = next(n for n in graph.schedule if n.op == conv.op)
    stepper = model.stepper(len(arrays[0]))
    for tensor, array in zip(model.tensors, arrays, strict=False):  # the graph's inputs come first
        stepper.poke(tensor.index, array)
    for number, node in enumerate(graph.schedule):
        if node is scheduled:
            raw = stepper.step_raw(number, len(arrays[0]))
            np.testing.assert_array_equal(raw, raw_accumulators(values, scheduled))
        stepper.step(number, len(arrays[0]))


@pytest.mark.parametrize("slots", [("threshold", "negated"), ("negated", *REQUANTIZATION)])
def test_raw_sums_of_groups_with_negated_filters(slots: tuple[str, ...], rng: Random) -> None:
    """Groups that fill no lanes and no words."""
    x = input_node("x", (5, 4, 96))
    numbers_of = {
        "threshold": rng.integers(-9, 10, 15), "bias": rng.integers(-99, 100, 15), "multiplier": np.full(15, 2**30),
        "shift": -rng.integers(1, 6, 15), "range": np.array([128, 0, 255, 1]),
    }  # fmt: skip
    operands = [signs(rng, (15,)) if s == "negated" else constant(numbers_of[s], DType.i32) for s in slots]
    out = DType.b1 if "threshold" in slots else DType.u8
    attrs = ConvAttrs(pads=(1, 0, 1, 1), groups=3, slots=slots, out=out)
    conv = make("bconv2d", make("binarize", x), signs(rng, (15, 2, 2, 32)), *operands, attrs=attrs, name="conv")
    graph = plan([x], [floats(conv)])
    arrays = images(rng, graph, 3)
    values = interpret.run(graph, arrays)
    for family in available_kernels():
        model = Model.from_bytes(encode(graph), kernels=family)
        np.testing.assert_array_equal(model(arrays), values[graph.outputs[0]], err_msg=family)
        check_raw(model, graph, conv, arrays, values)


@pytest.mark.parametrize("family", available_kernels())
def test_not_a_number_marks_its_image_only(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A float that becomes a bit and is not a number makes its image's outputs NaN, and no other's."""
    monkeypatch.setenv("BNN_KERNELS", family)
    print(f"BNN_TEST_SEED={SEED}")
    rng = np.random.default_rng(SEED)
    x = input_node("x", (5, 5, 3))
    weights = constant(rng.integers(-4, 5, (40, 3, 3, 3)))
    conv = make("conv2d", x, weights, attrs=ConvAttrs(pads=(1, 1, 1, 1), out=DType.b1), name="conv")
    model = Model.from_bytes(encode(plan([x], [conv])))
    array = rng.integers(-8, 9, (6, 5, 5, 3)).astype(np.float32)
    expected = model(array)
    assert not np.isnan(expected).any()
    array[2, 4, 4, 1] = np.nan
    found = model(array)
    assert np.isnan(found[2]).all()
    others = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(found[others], expected[others])


def opened_bytes(data: bytes, family: str) -> int:
    # `from_buffer` keeps the file's alignment only by luck.
    file = ffi.new("char[]", len(data) + 64)
    start = file + (-int(ffi.cast("uintptr_t", file))) % 64
    ffi.memmove(start, data, len(data))
    size = ffi.new("size_t *")
    status = lib.bnn_model_size(start, len(data), lib.bnn_kernels_select(family.encode()), size, ffi.NULL)
    assert status == lib.BNN_OK
    return int(size[0])


@pytest.mark.parametrize("threshold", [False, True])
def test_weights_and_thresholds_of_bits_stay_in_the_file_with_flash(threshold: bool) -> None:
    """An opened model has as many bytes for 4 filters as for 100, and for a large image as for a small one."""
    rng = np.random.default_rng(SEED)
    sizes = {}
    for family, side, filters in itertools.product(("flash", "scalar"), (3, 6), (4, 100)):
        x = input_node("x", (side, side, 64))
        bits = make("binarize", x, name="bits")
        weights = constant(rng.choice([-1, 1], (filters, 3, 3, 64)), DType.b1)
        attrs = ConvAttrs(pads=(1, 1, 1, 1))
        operands = [bits, weights]
        if threshold:
            attrs = replace(attrs, slots=("threshold",), out=DType.b1)
            operands.append(constant(rng.integers(-9, 9, filters), DType.i32))
        conv = make("bconv2d", *operands, attrs=attrs, name="conv")
        if threshold:
            conv = make("unpack", conv)
        sizes[family, side, filters] = opened_bytes(encode(plan([x], [conv])), family)
    assert len({size for (family, *_), size in sizes.items() if family == "flash"}) == 1
    assert sizes["scalar", 6, 100] > sizes["scalar", 6, 4] > sizes["flash", 6, 4]


def test_only_flash_is_for_little_memory() -> None:
    """Families that have no tiles of bits, as portable, take those of the next one, with its packed filters."""
    rng = np.random.default_rng(SEED)
    x = input_node("x", (6, 6, 64))
    weights = constant(rng.choice([-1, 1], (100, 3, 3, 64)), DType.b1)
    file = encode(plan([x], [make("bconv2d", make("binarize", x), weights, attrs=ConvAttrs(), name="conv")]))
    sizes = {family: opened_bytes(file, family) for family in available_kernels()}
    flash = sizes.pop("flash")
    assert min(sizes.values()) > flash + weights.value.size // 8, (flash, sizes)


def test_signs_of_byte_filters_are_packed_with_flash() -> None:
    """One bit per weight: 27 take a word per filter, where the file has one per tap."""
    rng = np.random.default_rng(SEED)
    sizes = []
    for filters in (16, 64):
        x = input_node("x", (6, 6, 3), DType.u8)
        weights = constant(rng.choice([-1, 1], (filters, 3, 3, 3)), DType.b1)
        conv = make("iconv2d", x, weights, constant(np.zeros(3)), attrs=ConvAttrs(slots=("zeros",)), name="conv")
        sizes.append(opened_bytes(encode(plan([x], [conv])), "flash"))
    assert sizes[1] - sizes[0] == (64 - 16) * 4


@pytest.mark.parametrize("levels", [[-1, 1], [-1, 0, 1]], ids=["binary", "ternary"])
def test_large_dense_layers_of_bytes(levels: list[int]) -> None:
    """Every family, with one image and several; also at the largest sums.  Where weights stay packed, a layer takes a
    bit of memory for each plane of a weight, and not a byte."""
    print(f"BNN_TEST_SEED={SEED}")
    rng = np.random.default_rng(SEED)
    channels, filters = 1030 + int(rng.integers(0, 32)), 1021  # a megabyte; in most draws the last words overlap others
    w = rng.choice(levels, (filters, channels)).astype(np.int64)
    w[:2] = [[1], [-1]]
    planes = [w >= 0, w > 0] if 0 in levels else [w > 0]
    weights = constant(np.where(np.concatenate(planes, axis=1), 1, -1)[:, None, None], DType.b1)
    x = input_node("x", (channels,), DType.u8)
    zero = int(rng.integers(0, 256))
    attrs = ConvAttrs(slots=("zeros",))
    sums = make("iconv2d", x, weights, constant(np.full(channels, zero)), attrs=attrs, name="sums")
    thresholds = rng.integers(-9999, 9999, filters)
    attrs = ConvAttrs(slots=("zeros", "threshold"), out=DType.b1)
    operands = constant(np.full(channels, zero)), constant(thresholds, DType.i32)
    bits = make("unpack", make("iconv2d", x, weights, *operands, attrs=attrs, name="bits"))
    images = rng.integers(0, 256, (11, channels)).astype(np.uint8)
    images[:2] = [[255], [0]]
    expected = (images.astype(np.int64) - zero) @ w.T
    files = {"sums": encode(plan([x], [sums])), "bits": encode(plan([x], [bits]))}
    for family in available_kernels():
        for count in (1, 3, 11):
            found = {name: Model.from_bytes(file, kernels=family)(images[:count]) for name, file in files.items()}
            assert np.array_equal(found["sums"], expected[:count]), (family, count)
            assert np.array_equal(found["bits"], np.where(expected[:count] >= thresholds, 1, -1)), (family, count)
        if family.startswith("avx"):
            assert opened_bytes(files["sums"], family) < len(planes) * channels * filters / 8 + 2**17, family


@pytest.mark.parametrize("family", available_kernels())
def test_not_a_number_passed_to_a_pool(family: str) -> None:
    """It marks its image only, too."""
    print(f"BNN_TEST_SEED={SEED}")
    rng = np.random.default_rng(SEED)
    x = input_node("x", (6, 5, 3))
    conv = make("conv2d", x, constant(rng.integers(-4, 5, (40, 3, 3, 3))), attrs=ConvAttrs(out=DType.b1), name="conv")
    pool = make("max_pool", conv, attrs=PoolAttrs((2, 2), (2, 1)))
    model = Model.from_bytes(encode(plan([x], [pool])), kernels=family)
    assert [t.storage for t in model.tensors].count("passed") == 1
    array = rng.integers(-8, 9, (6, 6, 5, 3)).astype(np.float32)
    expected = model(array)
    array[2, 4, 4, 1] = np.nan
    for threads in (1, 3, 8):
        found = model.predict(array, threads=threads)
        assert np.isnan(found[2]).all()
        others = [0, 1, 3, 4, 5]
        np.testing.assert_array_equal(found[others], expected[others])


def test_weights_that_do_not_compress() -> None:
    """Floats of any exponent are stored as they are; each result is one product."""
    rng = np.random.default_rng(SEED)
    w = (rng.uniform(1, 2, (70, 1, 1, 1)) * 2.0 ** rng.integers(-90, 90, (70, 1, 1, 1))).astype(np.float32)
    x = input_node("x", (3, 2, 1))
    graph = plan([x], [make("conv2d", x, constant(w))])
    images = rng.normal(size=(2, 3, 2, 1)).astype(np.float32)
    for family in available_kernels():
        model = Model.from_bytes(encode(graph), kernels=family)
        assert np.array_equal(model(images), images * w.reshape(-1)), family
