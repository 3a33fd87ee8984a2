# SPDX-License-Identifier: Apache-2.0
"""Files made to ask for much: small ones, that open into much memory or take long to open, run or look at."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn import errors
from bnn._native import ffi, lib
from bnn.file.write import encode
from bnn.ir.graph import DType, Node
from bnn.ir.ops import (
    BatchSizeAttrs,
    ClampAttrs,
    ConvAttrs,
    DequantizeAttrs,
    PadAttrs,
    PadChannelsAttrs,
    PoolAttrs,
    ReshapeAttrs,
    constant,
    input_node,
    make,
)
from bnn.runtime import Macs, Model
from bnn.runtime.handles import select_kernels
from op_graphs import plan, signs
from opened import again
from pace import loop_seconds
from raw_model import with_checksum

RNG = np.random.default_rng(1)
MOST_FILE = 64 << 10
TENSOR, HEADER = 64, 128  # bytes of a record, and of the header


def edited(data: bytes, *changes: tuple[int, str, int]) -> bytes:
    """A file with other numbers in it: (offset, struct format, value)."""
    changed = bytearray(data)
    for offset, kind, value in changes:
        struct.pack_into(f"<{kind}", changed, offset, value)
    return with_checksum(changed)


def file_of(inputs: list[Node], *outputs: Node) -> bytes:
    return encode(plan(inputs, outputs))


def summed(values: list[Node]) -> Node:
    """One value of many: files need few outputs."""
    total = values[0]
    for value in values[1:]:
        total = make("add", total, value)
    return total


def shared_equal_filters() -> bytes:
    """One row stands for 2048 filters, and many layers share it."""
    x = input_node("x", (1024,))
    filters = constant(np.ones((2048, 1, 1, 1024), np.float32))
    return file_of([x], summed([make("conv2d", make("clamp", x, attrs=ClampAttrs(-i, i)), filters) for i in range(12)]))


def one_row_for_many() -> bytes:
    """The same filter a million times."""
    x = input_node("x", (1024,))
    data = file_of([x], make("conv2d", x, constant(np.ones((8, 1, 1, 1024), np.float32))))
    return edited(data, (HEADER + TENSOR + 4, "I", 1 << 20), (HEADER + 2 * TENSOR + 16, "I", 1 << 20))


def border_tables(kind: str, layers: int) -> bytes:
    """A large filter of one channel, whose every border position has numbers of its own; shared."""
    x = input_node("x", (300, 300, 1), DType.u8 if kind == "iconv2d" else DType.f32)
    data = make("binarize", x) if kind == "bconv2d" else make("copy", x)
    filters = signs(RNG, (1, 91, 91, 1))
    zeros = (constant([3.0]),) if kind == "iconv2d" else ()
    attrs = ConvAttrs(pads=(90, 90, 90, 90), slots=("zeros",) if zeros else ())
    pooled = [
        make("max_pool", make(kind, data, filters, *zeros, attrs=attrs), attrs=PoolAttrs((100, 100), (390, 390)))
        for _ in range(layers)
    ]
    return file_of([x], summed(pooled))


def levels_of_many_channels() -> bytes:
    x = input_node("x", (1 << 23,))
    levels = make("binarize_levels", x, constant(np.arange(15.0)))
    return file_of([x], make("dequantize", levels, constant(np.arange(16.0)), attrs=DequantizeAttrs(1 << 23)))


def stated_arena() -> bytes:
    x = input_node("x", (4, 4, 1))
    data = file_of([x], make("tanh", make("tanh", x)))
    return edited(data, (96, "Q", 1 << 34))


def wide_channels() -> bytes:
    x = input_node("x", (1,))
    wide = make("pad_channels", x, attrs=PadChannelsAttrs(0, (1 << 28) - 1))
    image = make("reshape", wide, attrs=ReshapeAttrs((1 << 14, 1 << 14, 1)))
    return file_of([x], make("max_pool", image, attrs=PoolAttrs((1 << 14, 1 << 14))))


def padded_image() -> bytes:
    x = input_node("x", (1, 1, 1))
    pad = make("pad", x, attrs=PadAttrs((0, 0, (1 << 14) - 1, (1 << 14) - 1)))
    return file_of([x], make("avg_pool", pad, attrs=PoolAttrs((1 << 10, 1 << 10), (1 << 10, 1 << 10))))


def shared_names() -> bytes:
    """Every tensor is called by all of the file's strings."""
    x = input_node("x", (1,))
    y = x
    for i in range(280):
        y = make("tanh", y, name=32000 * "x" if i == 0 else "")
    data = bytearray(file_of([x], y))
    (tensors,) = struct.unpack_from("<I", data, 24)
    (strings,) = struct.unpack_from("<Q", data, 72)
    for i in range(tensors):
        struct.pack_into("<IIII", data, HEADER + TENSOR * i + 48, 0, strings, 0, strings)
    return with_checksum(data)


def shared_indices() -> bytes:
    x = input_node("x", (60, 100))
    index = constant(RNG.integers(0, 6000, (60, 100)), DType.i32)
    y = x
    for _ in range(250):
        y = make("gather", y, index)
    return file_of([x], y)


def tall_images() -> bytes:
    """Rows without number, each with its border class."""
    x = input_node("x", (65000, 1, 1))
    y = make("binarize", x)
    filters = signs(RNG, (1, 1, 1, 1))
    values = [make("bconv2d", y, filters, attrs=ConvAttrs(pads=(0, 0, 0, 0))) for _ in range(220)]
    return file_of([x], summed(values))


HOSTILE: dict[str, Callable[[], bytes]] = {
    "shared equal filters": shared_equal_filters,
    "one row for many": one_row_for_many,
    "border tables of bits": lambda: border_tables("bconv2d", 50),
    "border tables of bytes": lambda: border_tables("iconv2d", 50),
    "as many as may be, of bits": lambda: border_tables("bconv2d", 4),
    "as many as may be, of bytes": lambda: border_tables("iconv2d", 7),
    "levels of many channels": levels_of_many_channels,
    "a stated arena": stated_arena,
    "wide channels": wide_channels,
    "a padded image": padded_image,
    "shared names": shared_names,
    "shared indices": shared_indices,
    "tall images": tall_images,
}
# Opens the files named, under a limit on its memory, and says how each went.
CHILD = """
import json, resource, sys, time
import numpy as np, bnn

def bytes_now():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

resource.setrlimit(resource.RLIMIT_AS, (bytes_now() + (192 << 20),) * 2)
for path in sys.argv[1:]:
    start = time.process_time()
    try:
        model = bnn.load(path)
        said = "opened"
    except bnn.ModelFormatError as error:
        said = str(error)
    print(json.dumps([said, time.process_time() - start]))
    model = None
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("hostile")
    paths = {}
    for name, build in HOSTILE.items():
        paths[name] = folder / f"{name}.bnn"
        paths[name].write_bytes(build())
        assert paths[name].stat().st_size <= MOST_FILE, name
    return paths


def test_opening_small_files_takes_little_memory_and_time(hostile: dict[str, Path]) -> None:
    root = str(Path(bnn.__file__).resolve().parents[1])
    command = [sys.executable, "-c", CHILD, *map(str, hostile.values())]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = {n: json.loads(line) for n, line in zip(hostile, done.stdout.splitlines(), strict=True)}
    opened = {name for name, (text, _) in said.items() if text == "opened"}
    fine = {"shared indices", "as many as may be, of bits", "as many as may be, of bytes"}
    if ffi.string(lib.bnn_kernels_name(select_kernels(None))) == b"flash":  # which has no border tables
        fine |= {"border tables of bits", "border tables of bytes"}
    assert opened == fine, said
    for name, (text, seconds) in said.items():
        assert seconds < 200 * loop_seconds(), (name, seconds)  # a tenth of it or less
        if name not in opened:
            other = {"shared names": "bytes of names", "tall images": "rows and columns of all outputs"}.get(name)
            assert "exceeds a limit of this runtime" in text and (other or "(max_bytes): found ") in text, (name, text)
            assert other or "larger max_bytes=" in text


def sizes(data: bytes, max_bytes: int = 0) -> tuple[int, str]:
    """(status, what is wrong) of opening, by bnn_model_size."""
    memory = ffi.new("char[]", len(data) + 64)
    start = memory + -int(ffi.cast("uintptr_t", memory)) % 64
    ffi.memmove(start, data, len(data))
    needed, problem, limits = ffi.new("size_t *"), ffi.new("bnn_problem *"), ffi.new("bnn_limits *", (max_bytes, 0))
    kernels = select_kernels(None)
    status = lib.bnn_model_size_within(start, len(data), kernels, limits, needed, problem)
    return (status, ffi.string(problem.what).decode()) if status else (status, str(needed[0]))


def test_the_limit_is_exact() -> None:
    """The opened model's bytes are enough, one less is not; so are those and a context's."""
    x = input_node("x", (8, 8, 32))
    data = file_of(
        [x], make("bconv2d", make("binarize", x), signs(RNG, (64, 3, 3, 32)), attrs=ConvAttrs(pads=(1,) * 4))
    )
    status, needed = sizes(data)
    if int(needed) < 64 * 3 * 3 * 4:
        pytest.skip("with these kernels the filters stay in the file, and they are larger than the opened model")
    assert status == lib.BNN_OK and sizes(data, int(needed))[0] == lib.BNN_OK
    status, what = sizes(data, int(needed) - 1)
    assert status == lib.BNN_ERROR_LIMIT and what == "op 1: bytes of the opened model up to it (max_bytes)"
    model = Model.from_bytes(data)
    context = ffi.new("size_t *")
    assert lib.bnn_context_size(again(model).pointer, 1, 1, context) == lib.BNN_OK
    most = int(needed) + context[0]
    assert Model.from_bytes(data, max_bytes=most).nbytes == len(data)
    with pytest.raises(errors.ModelFormatError, match=rf"run one image \(max_bytes\): found {context[0]}.*max_bytes="):
        Model.from_bytes(data, max_bytes=most - 1)


def test_large_images_are_not_refused() -> None:
    """64 channels of floats, twice, for an image of 2048 x 2048: gigabytes, which the caller's array asks for."""
    x = input_node("x", (2048, 2048, 3))
    y = make("tanh", make("conv2d", x, constant(RNG.normal(size=(64, 3, 3, 3))), attrs=ConvAttrs(pads=(1, 1, 1, 1))))
    model = Model.from_bytes(file_of([x], make("avg_pool", make("tanh", y), attrs=PoolAttrs((2048, 2048)))))
    assert model.arena_bytes >= 2 << 30


def test_max_bytes_opens_what_the_default_refuses(hostile: dict[str, Path], tmp_path: Path) -> None:
    path = hostile["shared equal filters"]
    model = bnn.load(path, max_bytes=1 << 30)
    x = np.ones((1, 1024), np.float32)
    assert model(x)[0, 0] == 1024 * 11  # the first clamp lets nothing through
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied(x), model(x))
    with pytest.raises(errors.ModelFormatError, match=r"bytes of the opened model up to it \(max_bytes\)"):
        bnn.load(path, max_bytes=1 << 26)


@pytest.mark.parametrize("argument", ["max_bytes", "max_work"])
def test_limits_are_whole_numbers(small: Any, argument: str) -> None:
    for wrong, error in (
        (0, errors.InputError),
        (-1, errors.InputError),
        (2**63, errors.InputError),
        (1.5, errors.InputTypeError),
    ):
        with pytest.raises(error, match=argument):
            Model.from_bytes(small.data, **{argument: wrong})
    Model.from_bytes(small.data, **{argument: 2**63 - 1})  # type: ignore[arg-type]


def test_work_is_counted_and_bounded(small: Any) -> None:
    model = Model.from_bytes(small.data)
    assert model.work == sum(op.work for op in model.ops) > 0
    assert model.macs == Macs(
        *(sum(getattr(op, f"{kind}_macs") for op in model.ops) for kind in ("binary", "byte", "float"))
    )
    assert model.macs.total == model.macs.binary + model.macs.float
    assert Model.from_bytes(small.data, max_work=model.work).work == model.work
    dearest = max(model.ops, key=lambda op: op.work)
    with pytest.raises(
        errors.ModelFormatError, match=rf"op {dearest.index} \({dearest.layer}\).*\(max_work\).*max_work="
    ):
        Model.from_bytes(small.data, max_work=model.work - 1)


def test_what_ops_cost() -> None:
    """In the units of bnn.h."""
    x, z = input_node("x", (8, 8, 32)), input_node("z", (8, 8, 32), DType.u8)
    bits = make("binarize", x)
    of = {
        "tanh": (make("tanh", x), 2048 * 32),
        "add": (make("add", x, constant([1.0])), 2048),
        "conv2d": (make("conv2d", x, constant(RNG.normal(size=(16, 1, 1, 32)))), 64 * 16 * (1 + 32 // 8)),
        "bconv2d": (make("bconv2d", bits, signs(RNG, (16, 4, 4, 32))), 25 * 16 * (1 + 512 // 128)),
        "iconv2d": (make("iconv2d", z, signs(RNG, (16, 1, 1, 32)), constant(np.zeros(32)),
                         attrs=ConvAttrs(slots=("zeros",))), 64 * 16 * (1 + 32 // 16)),
        "avg_pool": (make("avg_pool", x, attrs=PoolAttrs((8, 8))), 64 * (32 + 4)),
        "max_pool": (make("max_pool", x, attrs=PoolAttrs((4, 2), (4, 2))), 2 * 4 * 4 * 2 * 32),
        "gather": (make("gather", x, constant(np.zeros((5, 7), np.int64), DType.i32)), 35 * 32),
        "softmax": (make("softmax", x), 2048 * 40),
        "batch_sum": (make("batch_sum", x), 2048 * 2),
        "batch_size": (make("batch_size", x, attrs=BatchSizeAttrs(1)), 1),
    }  # fmt: skip
    numbers = make("binarize_levels", x, constant([1.0, 2.0, 3.0, 4.0]))  # three planes of bits
    planes = make("bconv2d", numbers, signs(RNG, (16, 4, 4, 32)), attrs=ConvAttrs(planes=3))
    assert [op.work for op in Model.from_bytes(file_of([x], planes)).ops][-1] == 25 * 16 * (1 + 3 * 512 // 128)
    model = Model.from_bytes(file_of([x, z], *(node for node, _ in of.values())))
    found = {op.op: op.work for op in model.ops}
    assert {name: found[name] for name in of} == {name: work for name, (_, work) in of.items()}


def test_a_row_that_cannot_be_cut_is_bounded() -> None:
    """A billion units in one row of a pool are too many, whatever the caller grants; in two rows they are not."""
    x = input_node("x", (1 << 14, 1 << 14, 1))
    data = file_of([x], make("sum_pool", x, attrs=PoolAttrs((1 << 14, 1 << 14))))
    with pytest.raises(errors.ModelFormatError, match=r"op 0: work of a part that cannot be cut .*found 1342177280"):
        Model.from_bytes(data, max_bytes=1 << 40)
    halves = make("sum_pool", x, attrs=PoolAttrs((1 << 13, 1 << 14), (1 << 13, 1)))
    assert Model.from_bytes(file_of([x], halves)).work == 1342177280
