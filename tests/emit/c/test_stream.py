# SPDX-License-Identifier: Apache-2.0
"""Streams: every call gives, to the bit, what the whole network gives for the last rows."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.cli import main
from bnn.errors import CompileError, InputError, UnsupportedOpError
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import DType, Graph, Node
from bnn.passes import lower
from bnn.runtime import Model
from conftest import Builder
from sanitized import call
from seed import SEED, numbers
from targets import TARGETS, emitted, missing, networks

from .shortcuts import shortcuts

Rng = np.random.Generator
OK, NAN, MORE = 0, 2, 3


class Stream:
    """An emitted network in this process."""

    def __init__(self, model: Model, folder: Path, **options: object) -> None:
        self.model, self.folder = model, folder
        self.summary = bnn.emit_c(model, folder, name="net", stream=True, **options)  # type: ignore[arg-type]
        header = (folder / "net.h").read_text("utf-8")
        self.window, self.calls = (
            int(re.findall(rf"NET_STREAM_{what} (\d+)", header)[0]) for what in ("WINDOW", "CALLS")
        )
        library = folder / "net.so"
        sources = [str(folder / name) for name in ("net.c", "net_kernels.c")]
        call("gcc", "-std=c99", "-O1", "-shared", "-fPIC", *sources, "-lm", "-o", str(library))
        self.library = ctypes.CDLL(str(library))
        self.arena = np.full(self.summary.arena // 8, 0x7FF8_DEAD_7FC0_BEEF, np.uint64)  # NaN, and large integers
        self.found = np.empty(model.output_shapes[0], np.float32)
        self.reset()

    def reset(self) -> None:
        self.library.net_reset(ctypes.c_void_p(self.arena.ctypes.data))

    def push(self, rows: Array) -> int:
        new = np.ascontiguousarray(rows)
        places = [ctypes.c_void_p(x.ctypes.data) for x in (new, self.found)]
        arena = ctypes.c_void_p(self.arena.ctypes.data)
        return int(self.library.net_push(arena, ctypes.c_size_t(self.arena.nbytes), *places))

    def check(self, rows: Array, told: object = "") -> None:
        """Every call of a stream that begins."""
        new = self.summary.rows
        assert len(rows) // new >= self.calls, told
        portable = self.model.with_kernels("portable")
        for number in range(1, len(rows) // new + 1):
            status = self.push(rows[(number - 1) * new : number * new])
            assert status == (MORE if number < self.calls else OK), (number, told)
            if status == OK:
                window = rows[number * new - self.window : number * new]
                np.testing.assert_array_equal(
                    self.found, portable.predict(window[None])[0], err_msg=f"{number}\n{told}"
                )


def random_network(rng: Rng) -> Graph:
    """Convolutions and pools over time, then what reads the whole window."""
    build = Builder(int(rng.integers(2**31)))
    flat = rng.random() < 0.4
    width = 1 if flat else int(rng.integers(2, 10))
    kind = DType.u8 if rng.random() < 0.4 else DType.f32
    height, channels = int(rng.integers(16, 40)), int(rng.integers(1, 7))
    x = ops.input_node("x", (height, channels) if flat else (height, width, channels), kind)
    h = ops.make("cast", x) if kind is DType.u8 else x
    if flat:
        h = ops.make("reshape", h, attrs=ops.ReshapeAttrs((1, height, channels)))
    beside: list[Node] = []  # read by the whole window, and by the next layer's
    for number in range(int(rng.integers(1, 5))):
        rows = h.type.shape[1 if flat else 0]
        if number and rows >= 4 and rng.random() < 0.3:
            h = pool(rng, h, 2, flat)
            continue
        kernel, stride, dilation = int(rng.integers(1, 6)), int(rng.integers(1, 3)), int(rng.integers(1, 3))
        if (kernel - 1) * dilation + 1 > rows:
            continue
        y = build.sign(h, f"sign{number}") if number and rng.random() < 0.6 else h
        y = conv(build, y, int(rng.choice([3, 8, 33])), (kernel, stride, dilation), flat, f"conv{number}")
        same = kernel == stride == 1 and rng.random() < 0.7
        h = build.norm(y, f"norm{number}")
        if same:
            other = conv(build, build.sign(h, f"short{number}"), h.type.shape[2], (1, 1, 1), flat, f"more{number}")
            h = ops.make("add", other, h, name=f"add{number}")
        elif rng.random() < 0.3:
            h = ops.make("clamp", h, attrs=ops.ClampAttrs(0.0, ops.INF), name=f"relu{number}")
        beside += [h] * (rng.random() < 0.3)
    if beside or rng.random() < 0.4:
        h = whole(h, str(rng.choice(["max_pool", "avg_pool"])))
    if beside:
        h = ops.make("concat", h, *map(whole, beside))
    h = build.dense(build.sign(h, "bits") if rng.random() < 0.5 else h, 4, "dense")
    return Graph((x,), (h,), ("logits",))


def conv(build: Builder, x: Node, filters: int, over_time: tuple[int, int, int], flat: bool, name: str) -> Node:
    """Kernel, stride and dilation over time; padded over the other axis."""
    kernel, stride, dilation = ([n, 1][:: -1 if flat else 1] for n in over_time)
    if not flat and x.type.shape[1] > 2:
        kernel[1] = 3
    signs = build.rng.choice([-1.0, 1.0], (filters, *kernel, x.type.shape[2]))
    pads = (0, 0, 0, 0) if flat else (0, kernel[1] // 2) * 2
    attrs = ops.ConvAttrs((stride[0], stride[1]), (dilation[0], dilation[1]), pads)
    return ops.make("conv2d", x, ops.constant(signs), attrs=attrs, name=name)


def pool(rng: Rng, x: Node, size: int, flat: bool) -> Node:
    """Layers of one dimension pool columns, or rows with reshapes around them."""
    op, shape = str(rng.choice(["max_pool", "avg_pool"])), x.type.shape
    if not flat:
        return ops.make(op, x, attrs=ops.PoolAttrs((size, 1), (size, 1)))
    if rng.random() < 0.5:
        return ops.make(op, x, attrs=ops.PoolAttrs((1, size), (1, size)))
    rows = ops.make("reshape", x, attrs=ops.ReshapeAttrs((shape[1], 1, shape[2])))
    h = ops.make(op, rows, attrs=ops.PoolAttrs((size, 1), (size, 1)))
    return ops.make("reshape", h, attrs=ops.ReshapeAttrs((1, h.type.shape[0], shape[2])))


def rows_of(rng: Rng, model: Model, count: int) -> Array:
    values = rng.integers(0, 256, (count, *model.input_shapes[0][1:]))
    return values.astype(np.uint8) if model.input_dtypes[0] == np.uint8 else (values / 256).astype(np.float32)


@pytest.mark.drawn
@pytest.mark.parametrize("number", numbers(80))
def test_every_window_of_a_stream(number: int, tmp_path: Path) -> None:
    print(f"repeat with BNN_TEST_SEED={SEED}")
    rng = np.random.default_rng([SEED, number])
    kind = number % 4
    graph = shortcuts(rng, over_time=True) if kind == 3 else lower(random_network(rng))
    model = Model.from_bytes(encode(graph))
    if kind in (1, 2):
        images = np.stack([rows_of(rng, model, model.input_shapes[0][0]) for _ in range(20)])
        model = bnn.calibrate(model, images, integer_only=kind == 2).model
    stream = Stream(model, tmp_path, fast=bool(number // 8 % 2), target=["generic", "cortex-m55"][number // 4 % 2])
    assert stream.window == model.input_shapes[0][0]
    for _ in range(2):  # and the stream before is forgotten
        count = stream.calls * stream.summary.rows + int(rng.integers(1, 3 * stream.window))
        stream.check(rows_of(rng, model, count), model)
        stream.reset()
    program = str(tmp_path / "net")
    files = [str(tmp_path / name) for name in ("main.c", "net.c", "net_kernels.c")]
    call("gcc", "-std=c99", "-O0", "-Wall", "-Wextra", "-Wpedantic", "-Wcast-qual", "-Werror", "-fsanitize=address",
         *files, "-lm", "-o", program)  # fmt: skip
    assert "0 of 4 wrong" in subprocess.run([program], capture_output=True, text=True, check=True).stdout


def small(
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    stride: int = 1,
    last: Callable[[Builder, Node], Node] | None = None,
    width: int = 4,
) -> Model:
    build = Builder(1)
    x = ops.input_node("x", (12, width, 2))
    filters = ops.constant(build.rng.normal(size=(8, 3, 3, 2)))
    h = ops.make("conv2d", x, filters, attrs=ops.ConvAttrs((stride, 1), pads=pads), name="first")
    h = build.norm(h, "norm")
    h = last(build, h) if last else build.dense(build.sign(h, "sign"), 4, "dense")
    return Model.from_bytes(encode(lower(Graph((x,), (h,), ("logits",)))))


def whole(x: Node, op: str = "max_pool") -> Node:
    return ops.make(op, x, attrs=ops.PoolAttrs(x.type.shape[:2], (1, 1)))


def test_rows_that_are_summed(rng: Rng, tmp_path: Path) -> None:
    """A depthwise convolution of the whole window, with the same weights in each row, keeps the sums of rows, two of
    which are new in a call; its stride has nowhere to go."""

    def last(build: Builder, h: Node) -> Node:
        relu = ops.make("clamp", h, attrs=ops.ClampAttrs(0.0, ops.INF), name="relu")
        weights = np.broadcast_to(build.rng.normal(size=(8, 1, 6, 1)), (8, 10, 6, 1))
        attrs = ops.ConvAttrs((7, 1), groups=8)
        sums = ops.make("conv2d", relu, ops.constant(weights), attrs=attrs, name="sums")
        halved = ops.make("max_pool", relu, attrs=ops.PoolAttrs((2, 1), (2, 1)))
        return build.dense(ops.make("concat", sums, whole(halved)), 4, "dense")

    model = small(last=last, width=8)
    model = bnn.calibrate(model, rng.random((20, 12, 8, 2), np.float32), integer_only=True).model
    stream = Stream(model, tmp_path)
    layers = [(layer.op, layer.type) for layer in stream.summary.layers]
    assert ("qconv2d", "i32[2, 1, 8]") in layers and ("qconv2d", "u8[1, 1, 8]") in layers, layers
    stream.check(rows_of(rng, model, 40))


def test_a_class(rng: Rng, tmp_path: Path) -> None:
    model = small()
    stream = Stream(model, tmp_path, output="class")
    rows = rows_of(rng, model, 20)
    label = np.zeros(1, np.uint16)
    stream.found = label.view()
    for number, row in enumerate(rows, 1):
        assert stream.push(row) == (OK if number >= 12 else MORE)
    assert label[0] == model.predict(rows[None, -12:])[0].argmax()


def test_after_nan_the_window_fills_anew(rng: Rng, tmp_path: Path) -> None:
    model = small()
    stream = Stream(model, tmp_path)
    rows = rows_of(rng, model, 60)
    rows[20] = np.nan
    found = [stream.push(row) for row in rows]
    assert found == [MORE] * 11 + [OK] * 9 + [NAN] + [MORE] * 11 + [OK] * 28
    np.testing.assert_array_equal(stream.found, model.with_kernels("portable").predict(rows[None, -12:])[0])


def test_rows_may_lie_where_the_header_says(rng: Rng, tmp_path: Path) -> None:
    model = small()
    stream = Stream(model, tmp_path)
    place = stream.library.net_input
    place.restype = ctypes.c_void_p
    at = place(ctypes.c_void_p(stream.arena.ctypes.data)) - stream.arena.ctypes.data
    rows = rows_of(rng, model, 30)
    for row in rows:
        stream.arena.view(np.uint8)[at : at + row.nbytes] = row.view(np.uint8).reshape(-1)
        there = stream.arena.view(np.uint8)[at : at + row.nbytes]
        assert np.shares_memory(np.ascontiguousarray(there), there)
        status = stream.push(there)
    assert status == OK
    np.testing.assert_array_equal(stream.found, model.with_kernels("portable").predict(rows[None, -12:])[0])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (small(pads=(1, 0, 1, 0)), r"layer 'first' \(conv2d\) .* 1 rows before it and 1 behind it, .* 'valid'"),
        (small(pads=(2, 0, 0, 0)), r"layer 'first' \(conv2d\) .* it pads .* 2 rows before it and 0 behind it"),
        (small(pads=(1, 0, 1, 0), stride=14), r"layer 'first' \(conv2d\) .* it pads the window with 1 rows"),
        (small(last=lambda build, h: h), r"it is an output of 10 rows over time; flatten it"),
        (
            small(last=lambda build, h: build.dense(ops.make("mul", h, whole(h), name="gate"), 4, "dense")),
            r"layer 'gate' \(mul\) .*: it reads in every row what is made of the whole window",
        ),
    ],
    ids=["same", "causal", "same in one row", "output", "gate"],
)  # fmt: skip
def test_what_is_no_stream_is_named(model: Model, words: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOpError, match=words):
        bnn.emit_c(model, tmp_path / "net", stream=True)
    assert not (tmp_path / "net").exists()


def test_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="trace: found True, expected False with stream=True"):
        bnn.emit_c(small(), tmp_path, stream=True, trace=True)
    with pytest.raises(InputError, match="stream: found 1"):
        bnn.emit_c(small(), tmp_path, stream=1)  # type: ignore[arg-type]
    with pytest.raises(CompileError, match="max_instructions: found .* instructions for a call, expected at most 9"):
        bnn.emit_c(small(), tmp_path, stream=True, target="cortex-m4", max_instructions=9)
    small().save(tmp_path / "net.bnn")
    command = ["emit", "c", str(tmp_path / "net.bnn"), "-o", str(tmp_path / "c"), "--stream", "--target", "cortex-m4"]
    assert main(command) == 0
    assert re.search(r"for a call, of 1 new row, about [\d,]+ instructions", capsys.readouterr().out)
    assert "`net_reset(arena)`" in (tmp_path / "c" / "README.md").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cortex-m0", "cortex-m4"])
def test_on_a_microcontroller(name: str, tmp_path: Path) -> None:
    """The keyword network: right bytes, as many instructions as said, and a tenth of those of a whole window."""
    target = TARGETS[name]
    if text := missing(target):
        pytest.skip(text)
    model = networks.keywords(valid=True)
    images = emitted.random_images(model, 1, np.random.default_rng(0))
    counts, rams = [], []
    for stream in (False, True):
        folder = tmp_path / str(stream)
        summary = emitted.emitted(model, folder, images, target=name, fast=True, stream=stream)
        counts.append(emitted.run_on(target, folder, ["-std=c99", "-O2"]).instructions[-1])
        rams.append(summary.arena)
        said = sum(layer.instructions or 0 for layer in summary.layers)
        print(
            f"{name} {'call' if stream else 'window'}: {counts[-1]:,} instructions, {said:,} said, {rams[-1]:,} bytes"
        )
        assert abs(said / counts[-1] - 1) < 0.15
    assert counts[1] < counts[0] / 10
