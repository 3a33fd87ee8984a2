# SPDX-License-Identifier: Apache-2.0
"""Gathers that are slices, concatenations and means: the same numbers, and no table of indices."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import DType, Node
from bnn.ir.ops import PoolAttrs, ReshapeAttrs, constant, input_node, make
from graphs import Sample
from seed import SEED, numbers

from .build import graph, quantizer
from .test_random_graphs import check_sample

Moved = Callable[[Array], Array]
COUNT = itertools.count()  # each value has an origin of its own


def gathered(x: Node, move: Moved) -> Node:
    """What NumPy does to an image of these elements."""
    index = move(np.arange(np.prod(x.type.shape), dtype=np.int32).reshape(x.type.shape))
    return make("gather", x, constant(np.ascontiguousarray(index), DType.i32), name="move", origin=f"{next(COUNT)}:0")


def check(*outputs: Node) -> list[str]:
    before = graph(*outputs)
    rng = np.random.default_rng(SEED)
    inputs = [(rng.integers(-64, 65, (3, *n.type.shape)) / 16).astype(np.float32) for n in before.inputs]
    lowered = check_sample(Sample(SEED, before, inputs))
    results = bnn.Model.from_bytes(encode(lowered))(*inputs)
    expected = interpret.outputs(before, inputs)
    for result, value in zip([results] if len(outputs) == 1 else results, expected, strict=True):
        np.testing.assert_array_equal(result, value)
    return [n.op for n in lowered.schedule if n.op != "copy"]


@pytest.mark.parametrize("case", numbers(8))
def test_every_sth_channel(case: int) -> None:
    rng = np.random.default_rng(case)
    lead, step, channels = (
        rng.integers(1, 6, rng.integers(0, 3)).tolist(),
        int(rng.integers(2, 6)),
        int(rng.integers(2, 9)),
    )
    x = input_node("x", (*lead, step * channels))
    parts = [gathered(x, lambda a, o=o: a[..., o::step]) for o in range(step)]  # type: ignore[misc]
    total = parts[0]
    for part in parts[1:]:
        total = make("add", total, part, name="sum")
    found = check(total)
    assert found == ["reshape", "slice", *["slice", "add"] * (step - 1), "reshape"]


@pytest.mark.parametrize(("first", "last"), [(0, 3), (2, 5), (4, 5)])
def test_neighbouring_channels_in_another_shape(first: int, last: int) -> None:
    x = input_node("x", (3, 4, 5))
    assert (
        check(gathered(x, lambda a: a[..., first:last].reshape(4, -1)))
        == ["slice", "reshape"][first == 0 and last == 5 :]
    )


@pytest.mark.parametrize("times", [2, 5, 32, 33])
def test_repeated_channels(times: int) -> None:
    x = input_node("x", (3, 2, 5))
    assert check(gathered(x, lambda a: np.tile(a, times))) == (["concat"] if times <= 32 else ["gather"])


@pytest.mark.parametrize(("size", "channels"), [(4, 24), (2, 6), (3, 9), (8, 8)])
def test_a_mean_of_channels_as_keras_makes_it(size: int, channels: int) -> None:
    """AveragePooling1D with the channels first is a pool between transpositions."""
    x = input_node("x", (4, 5, channels))
    rows = gathered(x, lambda a: a.reshape(20, channels).T.reshape(channels, 1, 20))
    pool = make("avg_pool", rows, attrs=PoolAttrs((size, 1), (size, 1)), name="pool")
    mean = gathered(pool, lambda a: a.reshape(-1, 20).T.reshape(4, 5, -1))
    assert check(mean) == ["reshape", "avg_pool", "reshape"][: 3 if size < channels else 2]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("op", ["avg_pool", "sum_pool"])
def test_a_mean_of_channels_whose_pixels_are_rows(op: str, size: int) -> None:
    """In rows of the image; a mean of one number is that number."""
    x = input_node("x", (4, 5, 12))
    rows = make("reshape", x, attrs=ReshapeAttrs((20, 12, 1)), name="rows", origin=f"{next(COUNT)}:0")
    pool = make(op, rows, attrs=PoolAttrs((1, size), (1, size)), name="pool", origin=f"{next(COUNT)}:0")
    mean = make("reshape", pool, attrs=ReshapeAttrs((4, 5, 12 // size)), name="mean", origin=f"{next(COUNT)}:0")
    before = check(mean)
    assert before == (["reshape", op, "reshape"] if size > 1 else [])


IRREGULAR: dict[str, Moved] = {
    "the last are missing": lambda a: a[..., :-2:2],
    "backwards": lambda a: a[..., ::-1],
    "of the columns": lambda a: a[:, ::2],
    "another step at the end": lambda a: np.concatenate([a[..., 0:4:2], a[..., 5:6]], axis=-1),
    "repeated one by one": lambda a: a.repeat(2, axis=-1),
    "one image repeated": lambda a: np.concatenate([a, a], axis=0),
}


@pytest.mark.parametrize("name", IRREGULAR)
def test_other_gathers_stay(name: str) -> None:
    assert "gather" in check(gathered(input_node("x", (4, 4, 6)), IRREGULAR[name]))


def test_means_that_leave_out_the_end_of_rows_stay() -> None:
    """Whose windows would be others in the image's own, longer rows."""
    rows = make("reshape", input_node("x", (2, 7, 16)), attrs=ReshapeAttrs((28, 8, 1)), name="rows", origin="r:0")
    pool = make("avg_pool", rows, attrs=PoolAttrs((1, 7), (1, 7)), name="pool", origin="p:0")
    assert check(make("reshape", pool, attrs=ReshapeAttrs((28,)), name="out", origin="o:0")).count("avg_pool") == 1


def test_a_transposed_value_that_others_read_stays() -> None:
    rows = gathered(input_node("x", (4, 5, 8)), lambda a: a.reshape(20, 8).T.reshape(8, 1, 20))
    pool = make("avg_pool", rows, attrs=PoolAttrs((2, 1), (2, 1)), name="pool")
    mean = gathered(pool, lambda a: a.reshape(4, 20).T.reshape(4, 5, 4))
    assert check(mean, rows).count("gather") == check(mean, pool).count("gather") == 2


def test_bits_stay() -> None:
    x = input_node("x", (4, 4, 64))
    assert "gather" in check(gathered(quantizer(x), lambda a: a[..., ::2]))
