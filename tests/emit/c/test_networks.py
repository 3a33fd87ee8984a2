# SPDX-License-Identifier: Apache-2.0
"""Networks of every kind as C: the bytes of the oracle, and of the runtime's portable kernels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

import graphs
import op_graphs
from bnn.emit.c.program import number
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.ops import OPS, ConvAttrs, PoolAttrs, RequantizeAttrs, constant, conv_attrs, input_node, make
from bnn.ir.ops.conv import byte_accumulate
from bnn.ir.ops.record import replaced
from bnn.passes import lower
from bnn.passes.plan_arena import arrange, passable
from bnn.runtime import Model, available_kernels
from filters import few_values, hostile_filters
from ops.test_every_op import TABLES
from ops.test_functions import OWN_NAN
from ops.test_functions import data as hard_floats
from ops.values import KINDS

from .batch import Case, check
from .shortcuts import shortcuts

Rng = np.random.Generator
FUSING = {"avx2", "avx512bw", "avx512vnni", "avx512", "neon"}  # families whose products and sums are rounded once
T = TypeVar("T")


def case(rng: Rng, graph: Graph, *, exact: bool = True) -> Case:
    inputs = [op_graphs.values_of(rng, 2, x) for x in graph.inputs]
    return graph, inputs, interpret.outputs(graph, inputs) if exact else None


def single_ops(rng: Rng) -> Iterator[Case]:
    """Functions at floats of every kind."""
    for kind, table in TABLES.items():
        for name in table:
            if kind != "functions":
                if not OPS[name].whole_batch:
                    yield case(rng, op_graphs.one_op(rng, name, table), exact=kind != "rounded")
                continue
            x, values = input_node("x", (4, 61, 1)), rng.choice(hard_floats(rng), (1, 4, 61, 1))
            values = np.where(values > 0, values, np.float32(0)) if name in OWN_NAN else values  # no NaN, either
            graph = op_graphs.plan([x], [make(name, x)])
            yield graph, [values], interpret.outputs(graph, [values])


def edges(rng: Rng) -> Iterator[Case]:
    """All of a kind in one network."""
    for kind in KINDS:
        drawn = [(x, y, data) for x, y, data in kind(rng) if not OPS[y.op].whole_batch]
        data = {x: data for x, _, data in drawn}
        if drawn:
            graph = op_graphs.plan([*data], [y for _, y, _ in drawn])
            with np.errstate(all="ignore"):
                yield graph, [*data.values()], interpret.outputs(graph, [*data.values()])


def convolutions(rng: Rng) -> Iterator[Case]:
    """With any slots, whose operands have all their bits: of many, a few with most pairs of features."""
    drawn = [op_graphs.convolution(rng, i % 4 > 0) for i in range(150)]
    left = {i: pairs(*both) for i, both in enumerate(drawn) if largest(both[0]) < 10_000}
    for _ in range(14):
        best = max(left, key=lambda i: len(left[i]))
        seen = left.pop(best)
        left = {i: found - seen for i, found in left.items()}
        yield case(rng, drawn[best][0])


def pairs(graph: Graph, conv: Node) -> set[tuple[str, str]]:
    conv = next(node for node in graph.schedule if node.op == conv.op)
    a, places = conv_attrs(conv), graph.placements
    whole = conv.type.shape[-1] // a.groups % 32 == 0
    features = {conv.op, a.out.name, f"pad {a.pad_value}", *a.slots, "whole words" if whole else "parts of words"}
    features |= {name for name in ("groups", "planes") if getattr(a, name) > 1}
    features |= {name for name in ("stride", "dilation") if max(getattr(a, name)) > 1}
    features |= {"padded"} if any(a.pads) else {"image"} if len(conv.type.shape) > 1 else {"dense"}
    features |= {"in place"} if any(places[conv] == places[o] for o in replaced(conv)) else set()
    return {*itertools.combinations(sorted(features), 2)}


def limits(rng: Rng) -> Iterator[Case]:
    """Bits of sums that just reach their thresholds, or just do not: of bytes with zeros that have fractions, and of
    as many bits as 16-bit limits allow; and of sums of bytes by int8 weights that never do, or always."""
    x = input_node("x", (5, 4, 3), DType.u8)
    images = op_graphs.values_of(rng, 2, x)
    zeros, filters = constant(rng.integers(-400, 1400, 3) / 4), op_graphs.signs(rng, (24, 2, 2, 6))
    sums = byte_accumulate(images, filters.value, zeros.value, ConvAttrs()).reshape(-1, 24)
    thresholds = np.ceil(sums[rng.integers(len(sums), size=24), np.arange(24)])
    attrs = ConvAttrs(slots=("zeros", "threshold"), out=DType.b1)
    y = make("iconv2d", x, filters, zeros, constant(thresholds, DType.i32), attrs=attrs)
    graph = op_graphs.plan([x], [make("unpack", y)])
    yield graph, [images], interpret.outputs(graph, [images])
    extremes = np.resize([-(2**31), 2**31 - 1, -(2**30) - 1, 2**30 + 1], 8)  # and sums of zeros move them on
    weights = constant(np.where(np.arange(8) < 4, -100, 100)[:, None, None, None] * np.ones((1, 2, 2, 3)), DType.i8)
    operands = [constant(np.full(3, 200.0)), constant(extremes, DType.i32)]
    y = make("qconv2d", x, weights, *operands, attrs=replace(attrs, layer_slots=("zeros",)))
    graph = op_graphs.plan([x], [make("unpack", y)])
    yield graph, [images], interpret.outputs(graph, [images])
    most = 32766
    x = input_node("x", (most,))
    filters = op_graphs.signs(rng, (4, 1, 1, most))
    attrs = replace(attrs, slots=("threshold",))
    y = make("bconv2d", make("binarize", x), filters, constant([-most, most, most + 1, 0], DType.i32), attrs=attrs)
    graph, images = op_graphs.plan([x], [make("unpack", y)]), filters.value[:2, 0, 0] * np.float32([[-1], [1]])
    yield graph, [images], interpret.outputs(graph, [images])


def byte_signs(rng: Rng) -> Iterator[Case]:
    """Signs of bytes, by weights of both signs and 0, of an image with a rim and of one without."""
    for drawn in range(4):
        channels = int(rng.integers(2, 70))
        x = input_node("x", (4, 5, channels), DType.u8)
        value = make("lookup", x, constant(rng.permutation(256), DType.u8))
        weights, zeros = rng.integers(-128, 128, (channels, 1, 1, 1)), rng.integers(0, 256, channels)
        weights[: channels // 2] = np.sign(weights[: channels // 2])
        weights[rng.random(channels) < 0.1] = 0
        thresholds = rng.integers(-300, 300, channels) * np.abs(weights.reshape(-1)) + rng.integers(-2, 3, channels)
        thresholds[rng.random(channels) < 0.1] = rng.choice([-(2**31), 2**31 - 1, 0, 1])
        attrs = ConvAttrs(groups=channels, slots=("zeros", "threshold"), layer_slots=("zeros",), out=DType.b1)
        operands = [constant(weights, DType.i8), constant(zeros), constant(thresholds, DType.i32)]
        bits = make("qconv2d", value, *operands, attrs=attrs)
        outputs = [make("bconv2d", bits, op_graphs.signs(rng, (3, 3, 3, channels)), attrs=ConvAttrs(pads=(1,) * 4))]
        if drawn % 2:
            filters = constant(rng.integers(-9, 9, (2, 3, 3, channels)), DType.i8)
            attrs = ConvAttrs(pads=(1, 2, 0, 1), slots=("zeros",), layer_slots=("zeros",))
            outputs.append(make("qconv2d", value, filters, constant(zeros), attrs=attrs))
        yield case(rng, op_graphs.plan([x], outputs))


def bytes_by_bytes(rng: Rng) -> Iterator[Case]:
    """Means of two, three and four bytes; sums of bytes with all of another image, or with its first pixels again and
    again."""
    x, y = input_node("x", (4, 6, 40), DType.u8), input_node("y", (4, 6, 40), DType.u8)
    means = [make("avg_pool", x, attrs=PoolAttrs(kernel, (1, 2))) for kernel in ((1, 2), (1, 3), (2, 2))]
    first, second = (constant(rng.integers(-(2**15), 2**15, 256), DType.i32) for _ in range(2))
    usual = RequantizeAttrs(2**30 + 7777, -8, 128, 0, 255)
    others = [y, make("avg_pool", y, attrs=PoolAttrs((4, 6), (1, 1)))]
    sums = [make("qadd", x, other, first, second, attrs=usual) for other in others]
    yield case(rng, op_graphs.plan([x, y], [op_graphs.floats(v) for v in (*means, *sums)]))


def sought(draw: Callable[[], T], wanted: Callable[[T], bool]) -> T:
    return next(drawn for drawn in iter(draw, None) if wanted(drawn))


def largest(graph: Graph) -> int:
    return max(i.value.size for node in graph.schedule for i in node.inputs if i.is_constant)


def at_one_end(graph: Graph) -> bool:
    """Whether the windows of a pool have several rows, and other padding above than below."""
    pools = [node.attrs for node in graph.schedule if isinstance(node.attrs, PoolAttrs)]
    return any(a.kernel[0] > 1 and a.pads[0] != a.pads[2] for a in pools)


def passed(rng: Rng) -> Iterator[Case]:
    """A convolution computes the rows that the max-pool after it reads, whatever the file's plan says."""
    for i in range(12):
        graph = sought(partial(op_graphs.passed, rng), at_one_end)
        yield case(rng, arrange(graph, passable(graph) if i % 2 else ())[0])


def chains(rng: Rng) -> Iterator[Case]:
    """Values, rows and memory of ops in one arena, inputs in it too; sums that are rounded, too."""
    for _ in range(4):
        graph = op_graphs.network(rng, 12)
        yield case(rng, graph)
        yield case(rng, op_graphs.rounding(rng, graph), exact=False)
    for _ in range(8):
        yield case(rng, op_graphs.network(rng, 12, tall=True))
        yield case(rng, op_graphs.means(rng))
    for _ in range(12):
        yield case(rng, shortcuts(rng))
    for drawn in range(12):  # each with every option of emission
        yield case(rng, op_graphs.depthwise_bits(rng, wide=drawn % 2 > 0))


def fits(made: tuple[graphs.Sample, Graph]) -> bool:
    """Whether 16 bits hold the sums of bits, up to three times as large at borders."""
    filters = [node.inputs[1].type.shape for node in made[1].schedule if node.op == "bconv2d"]
    return all(np.prod(shape[1:]) < 2**15 / 3 for shape in filters)


def compiled(rng: Rng) -> Iterator[Case]:
    """What the passes make of source graphs, against these."""

    def draw() -> tuple[graphs.Sample, Graph]:
        sample = graphs.random_graph(int(rng.integers(2**31)))
        return sample, lower(sample.graph)

    for _ in range(10):
        sample, graph = sought(draw, fits)
        yield graph, sample.inputs, interpret.outputs(sample.graph, sample.inputs)


@pytest.mark.parametrize(
    ("kinds", "flags"),
    [
        ((single_ops, limits, byte_signs, bytes_by_bytes, passed, edges), ["-fsanitize=address"]),
        ((convolutions, chains, compiled), []),
    ],
    ids=["ops", "networks"],
)
def test_networks_of_every_kind(
    kinds: tuple[Callable[[Rng], Iterator[Case]], ...], flags: list[str], rng: Rng, tmp_path: Path
) -> None:
    check([drawn for kind in kinds for drawn in kind(rng)], tmp_path, *flags)


def test_portable_kernels_sum_in_one_order(rng: Rng) -> None:
    """However many threads there are; other kernels do not, or nothing was tested."""
    differ = False
    for _ in range(8):
        model = Model.from_bytes(encode(op_graphs.rounding(rng, op_graphs.convolution(rng, False)[0])))
        images = [rng.normal(size=(6, *shape)).astype(np.float32) for shape in model.input_shapes]
        portable = model.with_kernels("portable")
        expected = model.with_kernels("scalar").predict(images).tobytes()
        assert portable.predict(images).tobytes() == expected
        assert portable.predict(images, threads=3, batch_size=2).tobytes() == expected
        differ |= model.predict(images).tobytes() != expected
    if available_kernels()[0] not in FUSING:
        pytest.skip(f"the fastest kernels, {available_kernels()[0]}, are portable themselves")
    assert differ


def test_every_float_is_read_back(rng: Rng) -> None:
    x = np.concatenate([hostile_filters(rng, (100_000,), 0.5), few_values(rng, (1000,), 500)])
    x = np.where(np.isnan(x), np.float32(np.nan), x)
    names = {"NAN": "nan", "INFINITY": "inf", "-INFINITY": "-inf"}
    texts = [number(v) for v in x]
    assert all(text in names or text[-1] == "f" and {*text} & {*".e"} for text in texts)
    found = np.array([names.get(text, text[:-1]) if text in names else text[:-1] for text in texts]).astype(np.float32)
    np.testing.assert_array_equal(found.view(np.uint32), x.view(np.uint32))
