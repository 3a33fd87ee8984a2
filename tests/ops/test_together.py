# SPDX-License-Identifier: Apache-2.0
"""Arithmetic that runs in one pass: the results are those of one op after another, wherever its values lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.ops import constant, input_node, make
from bnn.runtime import Model, available_kernels
from op_graphs import arithmetic, plan, values_of
from raw_model import ARENA, CONSTANT, F32, INPUT, OUTPUT, Net, Op, Tensor, changed
from seed import SEED, numbers


def together(model: Model) -> list[bool]:
    """Of each op whether it runs in the call of another: it has no time of its own."""
    batch = [np.zeros((1, *shape), np.float32) for shape in model.input_shapes]
    return [record.nanoseconds == 0 for record in model.profile(batch, repeats=3)]


@pytest.mark.drawn
def test_random_graphs() -> None:
    """With every kernel family; on all threads and batches; and one op after another."""
    joined = 0
    for case in numbers(80):
        rng = np.random.default_rng([SEED, case])
        graph = arithmetic(rng)
        print(f"BNN_TEST_SEED={SEED} case {case}\n{graph}")
        count = int(rng.integers(1, 8))
        arrays = [values_of(rng, count, x) for x in graph.inputs]
        arrays[0].flat[rng.integers(arrays[0].size)] = rng.choice([np.nan, np.inf, -np.inf, -0.0])
        values, file = interpret.run(graph, arrays), encode(graph)
        for family in available_kernels():
            model = Model.from_bytes(file, kernels=family)
            for threads in (1, 2, 5):
                found = model.predict(arrays, threads=threads)
                for array, output in zip(found, graph.outputs, strict=True):
                    np.testing.assert_array_equal(array, values[output], err_msg=family)
            stepper = model.stepper(count)
            for tensor, array in zip(model.tensors, arrays, strict=False):
                stepper.poke(tensor.index, array)
            for number, node in enumerate(graph.schedule):
                np.testing.assert_array_equal(stepper.step(number, count), values[node], err_msg=family)
        joined += sum(together(model))
    assert joined > 0


@pytest.mark.parametrize("name", ["maximum", "minimum", "add", "mul"])
def test_zeros_either_way_round(name: str) -> None:
    """Of two zeros, the larger and the smaller are the first, also where the second is what the pass takes up."""
    ends = np.array([0.0, -0.0, 1.0, -1.0], np.float32)
    x, y = (input_node(label, (4, 4, 1)) for label in "xy")
    made = make("mul", make("copy", x), constant(np.ones(1, np.float32)))
    graph = plan([x, y], [make("copy", make(name, y, made))])
    arrays = [a.reshape(1, 4, 4, 1) for a in np.meshgrid(ends, ends)]
    (expected,) = interpret.outputs(graph, arrays)
    for family in available_kernels():
        found = Model.from_bytes(encode(graph), kernels=family)(arrays)
        assert np.array_equal(found.view(np.int32), expected.view(np.int32)), family


SHAPE, BYTES = (8, 8, 8), 2048
C = np.array([2, 3, -5, 7, 1, -1, 4, 6], np.float32)
NUMPY: dict[str, Any] = {"add": np.add, "mul": np.multiply, "sub": np.subtract}


class TestWhereItIsSafe:
    """x -> copy -> 1 a -> add C -> 3 b -> mul C -> 4 d -> sub C -> 5 e -> copy -> y.  Once b is there, nothing needs a,
    and e may be in its place or in a part of it; but in one pass a is read while e is written."""

    @staticmethod
    def of(
        a: int, e: int, *, turned: bool = False, squared: bool = False, again: str = "", halo: int = 0
    ) -> list[bool]:
        """Which of the three ops run in another's call, with a and e at these offsets; the result must be right.

        ``turned``: C is the first operand.  ``squared``: mul b by itself.  ``again``: a value that a last copy reads.
        ``halo``: of e.
        """
        x, y = Tensor(F32, SHAPE, INPUT, name="x"), Tensor(F32, SHAPE, OUTPUT, name="y")
        c = Tensor(F32, SHAPE[2:], CONSTANT, value=C)
        values = {name: Tensor(F32, SHAPE, ARENA, name=name) for name in "abde"}
        values["e"].halo = (halo,) * 4
        ops = [Op("copy", [x], values["a"])]
        images = np.random.default_rng(SEED).integers(-99, 99, (3, *SHAPE)).astype(np.float32)
        arrays = {"a": images}
        for name, before, after in (("add", "a", "b"), ("mul", "b", "d"), ("sub", "d", "e")):
            two = squared and name == "mul"
            pair = [values[before], values[before] if two else c]
            operands = [arrays[before], arrays[before] if two else C]
            arrays[after] = NUMPY[name](*operands[:: -1 if turned else 1])
            ops.append(Op(name, pair[:: -1 if turned else 1], values[after]))
        ops.append(Op("copy", [values["e"]], y))
        if again:
            ops.append(Op("copy", [values[again]], Tensor(F32, SHAPE, OUTPUT, name="z")))
        places = {"tensor 1.offset": a, "tensor 3.offset": 8192, "tensor 4.offset": 16384, "tensor 5.offset": e}
        data = changed(Net(ops).bytes(), {**places, "header.arena": 32768})
        for family in available_kernels():
            model = Model.from_bytes(data, kernels=family)
            found = model(images)
            for array, name in zip(found if again else [found], ["e", again], strict=False):
                np.testing.assert_array_equal(array, arrays[name], err_msg=family)
        return together(model)[1:4]

    ALL, NOT_THE_LAST = [False, True, True], [False, True, False]

    def test_by_its_place(self) -> None:
        for a, e in ((0, 24576), (24576, 0), (0, BYTES), (BYTES, 0), (0, 0), (64, 64), (0, 8192)):
            assert self.of(a, e) == self.ALL, (a, e)
        for a, e in ((0, 64), (64, 0), (0, BYTES - 64), (BYTES - 64, 0)):
            assert self.of(a, e) == self.NOT_THE_LAST, (a, e)
        assert self.of(0, 0, halo=1) == self.NOT_THE_LAST  # its pixels are not in the places of a's
        assert self.of(0, 24576, halo=1) == self.ALL

    def test_by_its_readers(self) -> None:
        assert self.of(0, 24576, again="b") == [False, False, True]
        assert self.of(0, 24576, again="d") == self.NOT_THE_LAST
        assert self.of(0, 24576, squared=True) == [False, False, True]

    def test_by_the_operand_that_it_is(self) -> None:
        """Of a sum or a product either, of a difference the first."""
        assert self.of(0, 24576, turned=True) == self.NOT_THE_LAST
