# SPDX-License-Identifier: Apache-2.0
"""The most that a file may ask for, and one more; and how long the text of a problem may be.

Files are built for it: a table of changed fields is test_corruptions.py.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from op_cases import CONV
from raw_model import (
    ARENA,
    B1,
    CONSTANT,
    F32,
    INPUT,
    OUTPUT,
    PASSED,
    Answer,
    Net,
    Op,
    Tensor,
    changed,
    measured,
    memory_of,
    opened,
)

OK = Answer("OK")


def refused(what: str, found: int, expected: int) -> Answer:
    return Answer("FORMAT", what, found, expected)


def too_much(what: str, found: int, expected: int) -> Answer:
    return Answer("LIMIT", what, found, expected)


def with_extra(*extra: Tensor) -> bytes:
    """0 x -> copy -> 1 y, and tensors that no op knows."""
    x, y = Tensor(F32, (2, 2, 5), INPUT, name="x"), Tensor(F32, (2, 2, 5), OUTPUT, name="y")
    return Net([Op("copy", [x], y)], extra).bytes()


def test_the_most_tensors() -> None:
    assert opened(with_extra(*(Tensor(F32, (1,), CONSTANT) for _ in range(65534)))) == OK
    # One more than the header may say, and the table is there.
    assert opened(with_extra(*(Tensor(F32, (1,), CONSTANT) for _ in range(65535)))) == too_much(
        "header: number of tensors", 65537, 65536
    )


def test_the_most_ops() -> None:
    def of(count: int) -> Answer:
        tensors = [Tensor(F32, (1,), INPUT), *(Tensor(F32, (1,)) for _ in range(count - 1)), Tensor(F32, (1,), OUTPUT)]
        return opened(Net([Op("copy", [a], b) for a, b in zip(tensors, tensors[1:], strict=False)]).bytes())

    assert of(16384) == OK
    assert of(16385) == too_much("header: number of ops", 16385, 16384)


@pytest.mark.parametrize("right", [2**14 - 2, 2**14 - 1, 2**14])
def test_the_largest_halo_above_and_below(right: int) -> None:
    """It belongs to a row, which cannot be cut: with the row's own work less than, equal to and above the limit."""
    x, bit = Tensor(F32, (1, 1, 1), INPUT), Tensor(B1, (1, 1, 1), halo=(2**14, 2**14, 2**14, right))
    copied, y = Tensor(B1, (1, 1, 1)), Tensor(F32, (1, 1, 1), OUTPUT)
    said = opened(
        Net([Op("binarize", [x], bit), Op("copy", [bit], copied), Op("unpack", [copied], y)]).bytes(), max_bytes=2**40
    )
    piece = 2**15 * (2**14 + 1 + right) + 1
    most = 2**30
    assert said == (OK if piece <= most else too_much("op 0: work of a part that cannot be cut (at most)", piece, most))


def test_the_most_tensors_alive() -> None:
    """So many copies of an input, and all of them read after the last."""

    def of(count: int) -> Answer:
        x = Tensor(F32, (1,), INPUT)
        copied = [Tensor(F32, (1,), name=str(i)) for i in range(count)]
        readers = [copied[i : i + 32] for i in range(0, count, 32)]
        ops = [Op("copy", [x], t) for t in copied]
        return opened(Net([*ops, *(Op("concat", r, Tensor(F32, (len(r),), OUTPUT)) for r in readers)]).bytes())

    assert of(4096) == OK
    assert of(4097) == too_much("tensor 4097 (4096): tensors alive at once (at most)", 4097, 4096)


def test_the_most_rows_and_columns() -> None:
    """Of all outputs together 2^24: 255 of 65536 x 1, and a last one."""

    def of(last: int) -> Answer:
        x, y = Tensor(F32, (65536, 1, 1), INPUT), Tensor(F32, (last, 1, 1), INPUT)
        ops = [Op("copy", [x], Tensor(F32, (65536, 1, 1), OUTPUT)) for _ in range(255)]
        return opened(Net([*ops, Op("copy", [y], Tensor(F32, (last, 1, 1), OUTPUT), layer="last")]).bytes())

    rest = 2**24 - 255 * 65537 - 1
    assert of(rest) == OK
    found = 2**24 + 1
    assert of(rest + 1) == too_much(
        "op 255 (last): rows and columns of all outputs up to its own (at most)", found, 2**24
    )


def test_the_most_bytes_of_constants() -> None:
    """Filters of one row each, which take 64 bytes of the file."""

    def of(second: int) -> tuple[bytes, Answer]:
        row = struct.pack("<f", 1)
        sizes = {"first": 2**24, "second": second}
        data = with_extra(*(Tensor(F32, (o, 1, 1, 1), CONSTANT, encoding=1, raw=row, name=n) for n, o in sizes.items()))
        return data, opened(data)

    data, _ = of(1)
    most = 2**26 + 64 * len(data)
    assert of(most // 4 - 2**24)[1] == OK
    assert of(most // 4 - 2**24 + 1)[1] == too_much(
        "tensor 3 (second): bytes of all constants up to it (max_bytes)", most + 4, most
    )


@pytest.mark.parametrize("inputs", [32, 33])
def test_the_most_inputs_of_an_op(inputs: int) -> None:
    x = Tensor(F32, (1,), INPUT)
    data = Net([Op("concat", [x] * inputs, Tensor(F32, (inputs,), OUTPUT))]).bytes()
    assert opened(data) == (OK if inputs == 32 else too_much("op 0: number of inputs (at most)", 33, 32))


def test_neighbours_in_the_arena() -> None:
    """A tensor between two others that are needed: it may touch both, and neither may reach into it."""
    x = Tensor(F32, (16,), INPUT)
    low, high = Tensor(F32, (16,), name="low"), Tensor(F32, (16,), name="high")
    middle = Tensor(F32, (32,), name="middle")
    out = Tensor(F32, (64,), OUTPUT)
    ops = [Op("copy", [x], low), Op("copy", [x], high), Op("concat", [x, x], middle)]
    data = Net([*ops, Op("concat", [low, middle, high], out)]).bytes()
    places = {"tensor 1.offset": 0, "tensor 2.offset": 192, "header.arena": 512}
    error = "tensor 3 (middle): offset in the memory of a tensor still needed"
    for offset, expected in (
        (64, OK),
        (0, refused(error, 0, 64)),
        (128, refused(error, 128, 256)),
        (192, refused(error, 192, 256)),
        (256, OK),
    ):
        assert opened(changed(data, {**places, "tensor 3.offset": offset})) == expected, offset


def test_a_tensor_read_twice_by_its_last_reader() -> None:
    """It is forgotten once: what stands beside it is still needed."""
    x = Tensor(F32, (16,), INPUT)
    a, b, late = (Tensor(F32, (16,), name=name) for name in ("a", "b", "late"))
    ops = [Op("copy", [x], a), Op("copy", [x], b), Op("add", [a, a], Tensor(F32, (16,), OUTPUT))]
    ops += [Op("copy", [x], late), Op("add", [b, late], Tensor(F32, (16,), OUTPUT))]
    data = Net(ops).bytes()
    assert opened(changed(data, {"tensor 4.offset": 0})) == OK
    error = refused("tensor 4 (late): offset in the memory of a tensor still needed", 64, 128)
    assert opened(changed(data, {"tensor 4.offset": 64})) == error


def test_a_tensor_that_no_op_reads() -> None:
    """Its memory is free as soon as it is written, but not before."""
    x = Tensor(F32, (16,), INPUT)
    needed, unread, late = (Tensor(F32, (16,), name=name) for name in ("needed", "unread", "late"))
    ops = [Op("copy", [x], t) for t in (needed, unread, late)]
    data = Net([*ops, Op("add", [needed, late], Tensor(F32, (16,), OUTPUT))]).bytes()
    assert opened(changed(data, {"tensor 3.offset": 64})) == OK
    error = refused("tensor 2 (unread): offset in the memory of a tensor still needed", 0, 64)
    assert opened(changed(data, {"tensor 2.offset": 0})) == error


class TestSumsOverResiduals:
    """0 x -> 1 res (copy), 2 other (copy); conv2d(x) + res -> 4 sum -> copy -> 5 out."""

    @staticmethod
    def of(offset: int, *, late: bool = False, twice: bool = False, slots: int = 1 << 7, halo: int = 0) -> Answer:
        """The answer to a file whose sum is at an offset; res is at 128, other at 256, and each has 128 bytes.

        late: an op reads res after the convolution; twice: it is the convolution's data, too; halo: rows above the sum.
        """
        x = Tensor(F32, (2, 4, 4), INPUT)
        res, other = (Tensor(F32, (2, 4, 4), name=name) for name in ("res", "other"))
        filters, total = Tensor(F32, (4, 1, 1, 4), CONSTANT), Tensor(F32, (2, 4, 4), name="sum", halo=(halo, 0, 0, 0))
        operands = [res] if slots else []
        ops = [Op("copy", [x], res), Op("copy", [x], other)]
        ops.append(Op("conv2d", [res if twice else x, filters, *operands], total, {**CONV, "slots": slots}))
        reads = [total, other, *([] if slots and not late else [res])]
        ops += [Op("copy", [read], Tensor(F32, (2, 4, 4), OUTPUT)) for read in reads]
        places = {"tensor 1.offset": 128, "tensor 2.offset": 256, "header.arena": 640}
        return opened(changed(Net(ops).bytes(), {**places, "tensor 4.offset": offset}))

    @staticmethod
    def error(offset: int, end: int = 256) -> Answer:
        return refused("tensor 4 (sum): offset in the memory of a tensor still needed", offset, end)

    def test_where_it_may_be(self) -> None:
        """Just over what it is added to, if nothing else reads that, also the convolution; or where nothing is."""
        for offset, options in (
            (0, {}), (128, {}), (384, {}), (0, {"late": True}), (0, {"twice": True}), (0, {"slots": 0}),
        ):  # fmt: skip
            assert self.of(offset, **options) == OK, (offset, options)  # type: ignore[arg-type]
        for offset, end, options in (
            (64, 256, {}), (192, 256, {}), (256, 384, {}), (128, 256, {"late": True}), (128, 256, {"twice": True}),
            (128, 256, {"halo": 1}), (128, 256, {"slots": 0}),
        ):  # fmt: skip
            assert self.of(offset, **options) == self.error(offset, end), (offset, options)  # type: ignore[arg-type]


class TestInPlace:
    """0 x -> copy -> 1 a -> affine -> 3 b -> copy -> 4 out; with `late`, copy reads a once more.  Other ops than affine
    have the data named by `data`, and b is 2."""

    @staticmethod
    def of(offset: int, *, late: bool = False, op: str = "affine", halo: int = 0, data: str = "a") -> Answer:
        """The answer to a file whose b is at an offset; a is at 128 and has 128 bytes."""
        x, a, b = (Tensor(F32, (2, 4, 4), storage, name="xab"[i]) for i, storage in enumerate((INPUT, ARENA, ARENA)))
        b.halo = (0, halo, 0, 0)
        operands = [Tensor(F32, (4,), CONSTANT)] * 3 if op == "affine" else []
        ops = [
            Op("copy", [x], a),
            Op(op, [*(x if d == "x" else a for d in data), *operands], b, {"lo": -1.0, "hi": 1.0}),
        ]
        ops += [Op("copy", [read], Tensor(F32, (2, 4, 4), OUTPUT)) for read in ([b, a] if late else [b])]
        number = 3 if operands else 2
        return opened(
            changed(Net(ops).bytes(), {"tensor 1.offset": 128, "header.arena": 640, f"tensor {number}.offset": offset})
        )

    @staticmethod
    def error(offset: int, number: int = 3) -> Answer:
        return refused(f"tensor {number} (b): offset in the memory of a tensor still needed", offset, 256)

    def test_where_it_may_be(self) -> None:
        """Just over its data, if nothing else reads that, of the same layout; a sum's over either operand, but not over
        one that it reads twice."""
        for offset, options in (
            (128, {}), (256, {"late": True}), (128, {"op": "add", "data": "ax"}), (128, {"op": "add", "data": "xa"}),
        ):  # fmt: skip
            assert self.of(offset, **options) == OK, (offset, options)  # type: ignore[arg-type]
        for offset, number, options in (
            (64, 3, {}), (192, 3, {}), (128, 3, {"late": True}), (128, 3, {"halo": 1}), (128, 2, {"op": "softmax"}),
            (128, 2, {"op": "sub", "data": "ax"}), (64, 2, {"op": "add", "data": "ax"}),
            (128, 2, {"op": "add", "data": "aa"}), (128, 2, {"op": "add", "data": "xa", "late": True}),
        ):  # fmt: skip
            assert self.of(offset, **options) == self.error(offset, number), (offset, options)  # type: ignore[arg-type]


class TestPassed:
    """0 x -> copy -> 1 a -> conv2d -> 3 p (passed) -> max_pool -> 4 b -> copy -> 5 y."""

    @staticmethod
    def net(
        height: int = 6, *, between: bool = False, later: bool = False, pool: bool = True, copied: bool = False,
        **attrs: int,
    ) -> Net:  # fmt: skip
        """between: an op stands between the two; later: another op reads p after the pool; pool: there is one;
        copied: p is not a convolution's."""
        x, a, p = (
            Tensor(F32, (height, 4, 4), storage, name="xap"[i]) for i, storage in enumerate((INPUT, ARENA, PASSED))
        )
        rows = (height - attrs.get("kernel_h", 2)) // attrs.get("stride_h", 2) + 1
        b, y = (Tensor(F32, (rows, 4, 4), storage, name=name) for storage, name in ((ARENA, "b"), (OUTPUT, "y")))
        windows = {"kernel_h": 2, "kernel_w": 1, "stride_h": 2, "stride_w": 1, **attrs}
        ops = [Op("copy", [x], a)]
        filters = Tensor(F32, (4, 1, 1, 4), CONSTANT)
        ops.append(Op("copy", [a], p) if copied else Op("conv2d", [a, filters], p, CONV, "conv"))
        if between:
            ops.append(Op("copy", [x], Tensor(F32, (height, 4, 4), OUTPUT)))
        if pool:
            ops.append(Op("max_pool", [p], b, windows, "pool"))
            ops.append(Op("copy", [b], y))
        if later or not pool:
            ops.append(Op("copy", [p], Tensor(F32, (height, 4, 4), OUTPUT)))
        return Net(ops)

    def of(self, **options: Any) -> Answer:
        return opened(self.net(**options).bytes())

    ALONE = refused("op 1 (conv): op after it that takes rows, and no other, that reads its passed output", 0, 1)

    def test_to_the_pool_after_it_and_to_nothing_else(self) -> None:
        for options, answer in (
            ({}, OK), ({"stride_h": 3}, OK), ({"between": True}, self.ALONE), ({"later": True}, self.ALONE),
            ({"pool": False}, self.ALONE), ({"copied": True}, refused("op 1: storage of its output", PASSED, ARENA)),
            ({"kernel_h": 3}, refused("op 2 (pool): stride of windows on a passed input (at least)", 2, 3)),
        ):  # fmt: skip
            assert self.of(**options) == answer, options  # type: ignore[arg-type]

    def test_not_by_the_last_op(self) -> None:
        """Nor without a reader."""
        x, p = Tensor(F32, (2, 4, 4), INPUT), Tensor(F32, (2, 4, 4), PASSED)
        ops = [Op("copy", [x], Tensor(F32, (2, 4, 4), OUTPUT))]
        ops.append(Op("conv2d", [x, Tensor(F32, (4, 1, 1, 4), CONSTANT)], p, CONV, "conv"))
        assert opened(Net(ops).bytes()) == self.ALONE

    def test_not_to_the_pool_of_another_value(self) -> None:
        x, p, b = Tensor(F32, (2, 4, 4), INPUT), Tensor(F32, (2, 4, 4), PASSED), Tensor(F32, (1, 4, 4), OUTPUT)
        windows = {"kernel_h": 2, "kernel_w": 1, "stride_h": 2, "stride_w": 1}
        ops = [Op("copy", [x], Tensor(F32, (2, 4, 4), OUTPUT))]
        ops.append(Op("conv2d", [x, Tensor(F32, (4, 1, 1, 4), CONSTANT)], p, CONV, "conv"))
        ops.append(Op("max_pool", [x], b, windows))
        assert opened(Net(ops).bytes()) == self.ALONE

    def test_what_cannot_be_passed(self) -> None:
        data = self.net().bytes()
        what = {"tensor 3.offset": 64}
        assert opened(changed(data, what)) == refused("tensor 3 (p): offset of a passed tensor", 64, 0)
        assert opened(changed(data, {"tensor 3.top": 1})) == refused(
            "tensor 3 (p): halo of a tensor outside the arena", 1, 0
        )

    def test_what_it_is_made_of_lasts_until_the_pool_has_run(self) -> None:
        """a has 384 bytes; b, of 192, may not be written over it, but what comes after the pool may."""
        data = self.net().bytes()
        places = {"tensor 1.offset": 0, "header.arena": 640}
        for offset in (0, 192, 320):
            answer = opened(changed(data, {**places, "tensor 4.offset": offset}))
            assert answer == refused("tensor 4 (b): offset in the memory of a tensor still needed", offset, 384)
        assert opened(changed(data, {**places, "tensor 4.offset": 384})) == OK
        ops = self.net().ops
        ops[-1].output.storage = ARENA
        ops.append(Op("copy", [ops[-1].output], Tensor(F32, ops[-1].output.shape, OUTPUT)))
        after = {"tensor 1.offset": 0, "tensor 4.offset": 384, "tensor 5.offset": 0, "header.arena": 640}
        assert opened(changed(Net(ops).bytes(), after)) == OK

    def test_the_most_work_of_what_is_passed_at_once(self) -> None:
        """No interruption comes before the rows of a window are there."""

        def of(height: int) -> Answer:
            size = 4096
            x, p = Tensor(F32, (height, size, 2), INPUT), Tensor(F32, (height, size, 1024), PASSED)
            filters, b = Tensor(F32, (1024, 1, 1, 2), CONSTANT), Tensor(F32, (1, size, 1024), OUTPUT)
            windows = {"kernel_h": height, "kernel_w": 1, "stride_h": height, "stride_w": 1}
            ops = [Op("conv2d", [x, filters], p, CONV, "conv"), Op("max_pool", [p], b, windows, "pool")]
            return opened(Net(ops).bytes(), max_bytes=2**50)

        row = 2**22 * 5 // 4  # elements, and two products of each
        most = 2**30 // row
        assert of(most) == OK
        what = "op 0 (conv): work of the rows that it passes at once (at most)"
        assert of(most + 1) == too_much(what, (most + 1) * row, 2**30)


class TestTexts:
    """Of problems: 95 bytes, of which a name takes what the rest leaves."""

    @staticmethod
    def of(name: str) -> str:
        x = Tensor(F32, (1,), INPUT, name=name)
        return opened(changed(Net([Op("copy", [x], Tensor(F32, (1,), OUTPUT))]).bytes(), {"tensor 0.rank": 0})).what

    def test_names(self) -> None:
        """The rest has 28 bytes; letters of several are not cut, and what would upset a terminal shows as question
        marks."""
        for length in (1, 66, 67, 68, 69, 5000):
            assert self.of("n" * length) == f"tensor 0 ({'n' * min(length, 67)}): rank (at least)"
        for lead in range(4):
            kept = "n" * lead + "\N{GRINNING FACE}" * ((67 - lead) // 4)  # four bytes each
            assert self.of("n" * lead + "\N{GRINNING FACE}" * 20) == f"tensor 0 ({kept}): rank (at least)"
        assert self.of("a\x1b[31m\n\x7f\x1f ~") == "tensor 0 (a?[31m??? ~): rank (at least)"

    def test_nothing_but_continuation_bytes(self) -> None:
        x = Tensor(F32, (1,), INPUT, name="n" * 100)
        data = Net([Op("copy", [x], Tensor(F32, (1,), OUTPUT))]).bytes()
        data = changed(data.replace(b"n" * 100, b"\x80" * 100), {"tensor 0.rank": 0})
        assert opened(data).what == "tensor 0 (): rank (at least)"

    @pytest.mark.parametrize("number", [0, 9, 10, 4096, 16383])
    def test_numbers(self, number: int) -> None:
        x = Tensor(F32, (1,), INPUT)
        data = Net([Op("copy", [x], Tensor(F32, (1,), OUTPUT)) for _ in range(number + 1)]).bytes()
        assert (
            opened(changed(data, {f"op {number}.opcode": 0})).what == f"op {number}: opcode (1 to the last one known)"
        )


def copies() -> bytes:
    """x of 4 floats -> copy -> copy -> y."""
    x, y = Tensor(F32, (4,), INPUT, name="x"), Tensor(F32, (4,), OUTPUT, name="y")
    middle = Tensor(F32, (4,), name="middle")
    return Net([Op("copy", [x], middle, layer="first"), Op("copy", [middle], y, layer="last")]).bytes()


def test_memory_that_the_caller_grants() -> None:
    """max_bytes: of the opened model, and then of what is left for a context."""
    data = copies()
    model, context = memory_of(data)
    assert opened(data, max_bytes=model + context) == OK
    assert opened(data, max_bytes=model + context - 1) == too_much(
        "header: bytes to run one image (max_bytes)", context, context - 1
    )
    assert opened(data, max_bytes=model - 1) == too_much(
        "op 0 (first): bytes of the opened model up to it (max_bytes)", model, model - 1
    )


def test_work_that_the_caller_grants() -> None:
    """The dearest op is named, of equals the first."""
    assert opened(copies(), max_work=8) == OK
    assert opened(copies(), max_work=7) == too_much("op 0 (first): most of the work of all ops (max_work)", 8, 7)


def test_constants_that_several_ops_read() -> None:
    """They count once for each op that reads them, though they are there once."""
    x = Tensor(F32, (1,), INPUT)
    row = struct.pack("<f", 1)

    def of(filters: int) -> tuple[int, Answer]:
        shared = Tensor(F32, (filters, 1, 1, 1), CONSTANT, encoding=1, raw=row, name="shared")
        outputs = [Tensor(F32, (filters,), OUTPUT), Tensor(F32, (filters,), OUTPUT)]
        data = Net([Op("conv2d", [x, shared], y, CONV) for y in outputs]).bytes()
        return len(data), opened(data)

    size, _ = of(1)
    most = 2**26 + 64 * size
    assert of(most // 8 + 1)[1] == too_much(
        "op 1: bytes of constants read up to it (max_bytes)", 8 * (most // 8 + 1), most
    )


def test_work_of_a_part_that_cannot_be_cut() -> None:
    """A row of an op that is not a convolution."""

    def of(channels: int) -> Answer:
        x, y = Tensor(F32, (channels,), INPUT), Tensor(F32, (channels,), OUTPUT)
        return opened(Net([Op("tanh", [x], y, layer="t")]).bytes())

    assert of(2**25) == OK
    assert of(2**25 + 1) == too_much("op 0 (t): work of a part that cannot be cut (at most)", 2**30 + 32, 2**30)


def test_rows_around_an_image_are_part_of_the_work_that_cannot_be_cut() -> None:
    def of(above: int, below: int) -> Answer:
        x, y = Tensor(F32, (1, 1, 2**15), INPUT), Tensor(F32, (1, 1, 2**15), OUTPUT)
        framed = Tensor(F32, (1, 1, 2**15), halo=(above, 0, below, 0))
        ops = [Op("copy", [x], framed, layer="framed"), Op("copy", [framed], y)]
        return opened(Net(ops).bytes(), max_bytes=2**40)

    for above, below in ((2**15, 0), (0, 2**15), (2**14, 2**14)):
        found = 2**30 + 2**15
        assert of(above, below) == too_much("op 0 (framed): work of a part that cannot be cut (at most)", found, 2**30)
        assert of(max(above - 1, 0), below - (above == 0)) == OK


def test_memory_that_overflows() -> None:
    """Filters of 2^51 bytes, from one row of a megabyte: 2048 layers lay out a quarter of what can be counted."""
    row = struct.pack("<f", 1) * 2**18
    x, w = Tensor(F32, (2**18,), INPUT), Tensor(F32, (2**31 - 64, 1, 1, 2**18), CONSTANT, encoding=1, raw=row)

    def of(layers: int) -> Answer:
        ops = [Op("conv2d", [x, w], Tensor(F32, (2**31 - 64,), OUTPUT), CONV) for _ in range(layers)]
        return measured(Net(ops).bytes(), max_bytes=2**64 - 1)

    assert of(2048) == OK
    assert of(2049) == too_much("op 2048: bytes it needs in memory overflow (1: yes)", 1, 0)


@pytest.mark.parametrize(
    ("groups", "channels", "filters", "allowed"),
    [
        # A group's channels at a pixel: of 32 products each, which with the value itself are 5 units.
        (2, 64, 2 * (2**30 // 5), True),
        (2, 64, 2 * (2**30 // 5 + 1), False),
        # Depthwise, all channels at a pixel: of one product, of which 8 are a unit.
        (954437177, 954437177, 954437177, True),
        (954437178, 954437178, 954437178, False),
        # A block of them, where there are no groups.
        (1, 4096, 2**21, True),
    ],
)
def test_work_of_a_pixel_that_cannot_be_cut(groups: int, channels: int, filters: int, allowed: bool) -> None:
    """In an image of 2 x 3 pixels; the file has one filter for all, and nothing is laid out yet."""
    row = struct.pack("<f", 1) * (channels // groups)
    w = Tensor(F32, (filters, 1, 1, channels // groups), CONSTANT, encoding=1, raw=row)
    x, y = Tensor(F32, (2, 3, channels), INPUT), Tensor(F32, (2, 3, filters), OUTPUT)
    found = measured(Net([Op("conv2d", [x, w], y, {**CONV, "groups": groups})]).bytes(), max_bytes=2**62)
    if allowed:
        assert found == OK
    else:
        what = "op 0: work of a part that cannot be cut (at most)"
        assert (found.status, found.what, found.expected) == ("LIMIT", what, 2**30) and 0 < found.found - 2**30 <= 5


@pytest.mark.parametrize("place", ["name", "origin", "layer", "note"])
def test_the_most_bytes_of_text(place: str) -> None:
    """16 MiB more than the file, counted each time that a text is used: one of a MiB 17 times, and a part of it."""
    long = "n" * 2**20

    def of(length: int) -> tuple[int, Answer]:
        part = {place: long[:length]}
        x, y = Tensor(F32, (1,), INPUT, name=long), Tensor(F32, (1,), OUTPUT, origin=long)
        last = Tensor(F32, (1,), CONSTANT, **(part if place in ("name", "origin") else {}))  # type: ignore[arg-type]
        extra = [Tensor(F32, (1,), CONSTANT, name=long) for _ in range(15)]
        op = Op("copy", [x], y, **(part if place in ("layer", "note") else {}))  # type: ignore[arg-type]
        data = Net([op], [*extra, last]).bytes()
        return len(data), opened(data)

    size, _ = of(1)
    left = 2**24 + size - 17 * 2**20
    assert of(left)[1] == OK
    _, answer = of(left + 1)
    assert (answer.status, answer.found, answer.expected) == ("LIMIT", 2**24 + size + 1, 2**24 + size)
    text = "bytes of names up to it (at most)"
    if place in ("layer", "note"):
        text = "bytes of names and notes up to it (at most)"
    assert answer.what.endswith(f": {text}")
    assert ("nnn" in answer.what) == (place in ("name", "layer"))


@pytest.mark.parametrize("channels", [1, 15, 16, 17, 31, 32, 33, 48, 63, 64])
def test_the_last_bit_of_a_pixel(channels: int) -> None:
    """Of constants of bits: those past their channels are zero."""
    word, bit = divmod(channels, 32)
    for pixel in range(6):

        def of(index: int, bits: int, pixel: int = pixel) -> Answer:
            value = np.zeros((6, -(-channels // 32)), np.uint32)
            value[pixel, index] = bits
            return opened(with_extra(Tensor(B1, (1, 2, 3, channels), CONSTANT, value=value, name="bits")))

        assert of((channels - 1) // 32, 1 << (channels - 1) % 32) == OK
        assert not bit or of(word, 1 << bit) == refused(
            "tensor 2 (bits): bits past its channels are zero (1: yes)", 0, 1
        )
        assert not bit or of(word, 1 << 31) == refused(
            "tensor 2 (bits): bits past its channels are zero (1: yes)", 0, 1
        )
