# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, and other signals, while the event engine does what would take long; what it may ask of memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._native import ffi, lib
from bnn.events import EventEngine
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import DType, Node
from bnn.ir.ops import ConvAttrs
from bnn.runtime.handles import Memory
from op_graphs import plan, signs
from opened import again
from pace import loop_seconds, process_seconds
from seed import some

from .spiking import opened_populations

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(1)
# The parent interrupts once the call runs; the child says how much processor time it had used when it answered.
CHILD = """
import sys, threading, time
import numpy as np, bnn
from bnn.events import EventEngine
small, path, call = sys.argv[1:]
def prepared(path):
    model = bnn.load(path, max_bytes=1 << 40)
    image = np.ones((1, *model.input_shapes[0]), np.float32)
    if call in ("create", "calibrate"):
        return None, lambda: EventEngine(model, switch="auto" if call == "calibrate" else "never")
    engine = EventEngine(model)
    if call == "run":
        engine.push(image)
    return engine, {
        "reset": lambda: engine.reset(image),
        "run": lambda: engine.run(),
        "output": lambda: engine.output(),
        "time_frames": lambda: engine.time_frames(image),
    }[call]
prepared(small)[1]()  # what a call imports is imported
engine, call = prepared(path)
threading.Timer(0.1, lambda: print("running", flush=True)).start()
try:
    call()
except KeyboardInterrupt:
    print(time.process_time(), flush=True)
    if engine:
        try:
            engine.run()
        except bnn.BnnError as error:
            print(error)
"""


def silent(x: Node) -> Node:
    """Bits that are -1 where ``x`` is 0, and +1 where it is 1."""
    halves, straight = (np.full(x.type.shape[-1], value) for value in (0.5, -1.0))
    return ops.make("binarize", x, ops.constant(halves), ops.constant(straight, DType.b1))


def layers(bits: Node, count: int, size: int) -> Node:
    """Convolutions whose neurons fire where most of their inputs do."""
    channels = bits.type.shape[-1]
    filters = ops.constant(np.ones((channels, size, size, channels)), DType.b1)
    pads = (size // 2,) * 4
    attrs = ConvAttrs(pads=pads, pad_value=-1, slots=("threshold",), out=DType.b1)
    for _ in range(count):
        bits = ops.make("bconv2d", bits, filters, ops.constant(np.zeros(channels), DType.i32), attrs=attrs)
    return bits


def files(folder: Path, side: int) -> dict[str, Path]:
    x = ops.input_node("image", (side, side, 128))
    last = signs(RNG, (4, 3, 3, 128))
    graphs = {
        "silent": plan([x], [ops.make("bconv2d", layers(silent(x), 4, 5), last, attrs=ConvAttrs())]),  # at zeros
        "loud": plan([x], [ops.make("bconv2d", layers(ops.make("binarize", x), 4, 5), last, attrs=ConvAttrs())]),
    }
    y = ops.make("bconv2d", silent(x), signs(RNG, (64, 1, 1, 128)), attrs=ConvAttrs())
    for _ in range(500):  # a second where 100 took a fifth of one
        y = ops.make("tanh", y)
    graphs["real"] = plan([x], [y])
    for name, graph in graphs.items():
        (folder / name).write_bytes(encode(graph))
    return {name: folder / name for name in graphs}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], dict[str, Path]]:
    return files(tmp_path_factory.mktemp("short"), 3), files(tmp_path_factory.mktemp("long"), 80)


@pytest.mark.drawn
@pytest.mark.parametrize(
    ("model", "call"),
    some(
        [
            ("loud", "create"),
            ("silent", "calibrate"),
            ("silent", "reset"),
            ("silent", "run"),
            ("silent", "time_frames"),
            ("real", "output"),
        ]
    ),
)
def test_ctrl_c_answers_at_once(paths: tuple[dict[str, Path], dict[str, Path]], model: str, call: str) -> None:
    command = [sys.executable, "-c", CHILD, *(str(files[model]) for files in paths), call]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "BNN_KERNELS": "scalar"}  # the slowest
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        before = process_seconds(child.pid)
        child.send_signal(signal.SIGINT)
        answered = child.stdout.readline()
        assert answered, "the child ended before it was interrupted"
        assert float(answered) - before < 70 * loop_seconds()  # a second where this was written
        rest = child.stdout.read()
        assert (call in ("create", "calibrate")) == (rest == "")
        assert rest == "" or "interrupted" in rest and "call reset()" in rest
        assert child.wait() == 0


class Stop(Exception):
    pass


@pytest.fixture
def model() -> bnn.Model:
    """A second or more from silence to an image of ones."""
    return network(4)


def network(count: int) -> bnn.Model:
    """``count`` layers whose neurons all fire for an image of ones."""
    x = ops.input_node("image", (64, 64, 64))
    mixed = ops.make("bconv2d", layers(silent(x), count, 5), signs(RNG, (5, 3, 3, 64)), attrs=ConvAttrs())
    return bnn.Model.from_bytes(encode(plan([x], [mixed])), kernels="scalar", max_bytes=2**40)


@pytest.fixture
def alarm() -> Iterator[Any]:
    """Sets the handler of an alarm, and the alarm, in seconds of processor time: what follows has begun."""
    before = signal.getsignal(signal.SIGPROF)

    def start(handler: Any, seconds: float) -> None:
        signal.signal(signal.SIGPROF, handler)
        signal.setitimer(signal.ITIMER_PROF, seconds)

    yield start
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def raising(error: Exception) -> Any:
    def handler(number: int, frame: Any) -> None:
        raise error

    return handler


def test_a_handlers_exception_comes_out_of_the_run(alarm: Any) -> None:
    """Unchanged; then the engine wants a reset, and is right again."""
    image = np.ones((1, 64, 64, 64), np.float32)
    some = (np.arange(64) % 7 == 0).astype(np.float32)[:, None, None] * image
    model = network(16)  # the run must outlast several polls, 50 ms apart
    engine = EventEngine(model)
    engine.push(image)
    error = Stop("enough")
    with pytest.raises(Stop) as caught:
        alarm(raising(error), 0.06)
        engine.run()
    assert caught.value is error
    for refused in (engine.run, engine.output, lambda: engine.step(image), lambda: engine.state(0)):
        with pytest.raises(bnn.BnnError, match=r"interrupted and its state is undefined; call reset\(\) first"):
            refused()
    engine.reset()
    assert np.array_equal(engine.output(), model(0 * image)[0])
    assert np.array_equal(engine.step(some), model(some)[0])
    assert sum(layer.spikes_up for layer in engine.layers) > 0


def test_a_run_that_starts_with_a_reset_needs_none(model: bnn.Model, alarm: Any) -> None:
    """And what was traced until the interruption is not part of it."""
    image = np.zeros((64, 64, 64), np.float32)
    image[:3, :3, :40] = 1
    engine = EventEngine(model)
    want = engine.run_image(image, trace=True)
    with pytest.raises(Stop):
        alarm(raising(Stop()), 0.02)
        while True:
            engine.run_image(image, trace=True)
    found = engine.run_image(image, trace=True)
    assert np.array_equal(found.outputs, want.outputs)
    assert found.spikes is not None
    assert np.array_equal(found.spikes, want.spikes)


def test_a_handler_that_raises_nothing_stops_nothing(model: bnn.Model, alarm: Any) -> None:
    image = np.ones((1, 64, 64, 64), np.float32)
    engine = EventEngine(model)
    engine.push(image)
    seen: list[int] = []
    alarm(lambda number, frame: seen.append(number), 0.05)
    engine.run()
    assert np.array_equal(engine.output(), model(image)[0])
    assert seen == [signal.SIGPROF]


def test_creating_is_asked_about_from_the_start() -> None:
    """Tables of weights, membranes, pools: wherever it is stopped there is no engine, and nobody is asked again."""
    x = ops.input_node("image", (128, 128, 8))
    stem = ops.make("conv2d", x, ops.constant(RNG.integers(-3, 4, (128, 9, 9, 8)).astype(np.float32)),
                    attrs=ConvAttrs(pads=(4, 4, 4, 4), out=DType.b1))  # fmt: skip
    bits = ops.make("bconv2d", stem, signs(RNG, (256, 9, 9, 128)), ops.constant(np.zeros(256), DType.i32),
                    attrs=ConvAttrs(pads=(4, 4, 4, 4), slots=("threshold",), out=DType.b1))  # fmt: skip
    pool = ops.make("max_pool", bits, attrs=ops.PoolAttrs((2, 2), (1, 1), (1, 1, 0, 0)))
    last = ops.make("bconv2d", pool, signs(RNG, (2, 1, 1, 256)), attrs=ConvAttrs())
    data = encode(plan([x], [last]))
    opened, network = again(bnn.Model.from_bytes(data, max_bytes=2**40)), opened_populations(data)
    size, engine, left = ffi.new("size_t *"), ffi.new("bnn_events **"), [0]
    assert lib.bnn_events_size(opened.pointer, network.pointer, size) == lib.BNN_OK
    memory = Memory(size[0])

    @ffi.callback("int(void *)")
    def poll(argument: Any) -> int:
        left[0] -= 1
        return left[0] == -1

    for k in (0, 1, 2, 5, 11, 19):
        left[0] = k
        both = (opened.pointer, network.pointer, memory.pointer, size[0], poll, ffi.NULL)
        status = lib.bnn_events_create(*both, engine, ffi.NULL)
        assert (status, engine[0], left[0]) == (lib.BNN_ERROR_STOPPED, ffi.NULL, -1)


def pads(count: int, side: int) -> bytes:
    """A file in which one pixel is padded to ``count`` images of ``side``, and a corner of each is summed."""
    x = ops.input_node("image", (1, 1, 32))
    bits, filters = ops.make("binarize", x), ops.constant(np.ones((4, 1, 1, 32)), DType.b1)
    images = [ops.make("pad", bits, attrs=ops.PadAttrs((k, 0, side - 1 - k, side - 1), 1.0)) for k in range(count)]
    attrs = ConvAttrs(stride=(side, side))
    return encode(plan([x], [ops.make("bconv2d", image, filters, attrs=attrs) for image in images]))


def test_memory_is_limited() -> None:
    """A small file asks for many neurons; nothing is allocated for more than there may be."""
    file = pads(6, 700)
    assert len(file) < 2**14
    most = 320 * 2**20 + 64 * len(file) + 256 * 4 * (32 + 6 * 4)  # and what goes in and comes out
    with pytest.raises(bnn.InputError, match=rf"needs \d+ bytes, expected at most {most}; .* larger max_bytes="):
        EventEngine(bnn.Model.from_bytes(file))
    image, file = np.ones((1, 1, 1, 32), np.float32), pads(2, 64)
    needed = EventEngine(bnn.Model.from_bytes(file)).handle.bytes
    assert needed > 2 * 64 * 64 * 32 * 8  # of the wires alone
    with pytest.raises(bnn.InputError, match=f"needs {needed} bytes, expected at most {needed - 1};"):
        EventEngine(bnn.Model.from_bytes(file, max_bytes=needed - 1))
    model = bnn.Model.from_bytes(file, max_bytes=needed)
    assert np.array_equal(EventEngine(model).step(image), model(image)[0][0])
