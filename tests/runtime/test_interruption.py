# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, and other signals, while a model runs that would take hours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn._native import lib
from bnn.file.write import encode
from bnn.ir.graph import DType, Node
from bnn.ir.ops import ClampAttrs, ConvAttrs, PoolAttrs, constant, input_node, make
from bnn.runtime import Model
from op_graphs import plan, signs
from pace import loop_seconds, process_seconds
from seed import some

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(1)


def elementwise() -> tuple[Node, Node]:
    """Minutes of them, as all that follow."""
    x = y = input_node("x", (1024, 1024, 8))
    for i in range(600):
        y = make("tanh", y) if i % 2 else make("clamp", y, attrs=ClampAttrs(-1.0, 1.0 + i))
    return x, make("sum_pool", y, attrs=PoolAttrs((1024, 1024)))


def floats() -> tuple[Node, Node]:
    x = y = input_node("x", (384, 384, 64))
    filters = constant(RNG.integers(-3, 4, (64, 9, 9, 64)).astype(np.float32))
    for _ in range(40):
        y = make("conv2d", y, filters, attrs=ConvAttrs(pads=(4, 4, 4, 4)))
    return x, make("sum_pool", y, attrs=PoolAttrs((384, 384)))


def one_row_of_bits() -> tuple[Node, Node]:
    """Nothing to cut but columns and channels."""
    x = input_node("x", (1, 20000, 512))
    filters = constant(np.resize(RNG.choice([-1, 1], 2**16 + 1), (512, 1, 301, 512)), DType.b1)
    y = make("bconv2d", make("binarize", x), filters, attrs=ConvAttrs(pads=(0, 150, 0, 150)))
    return x, make("sum_pool", y, attrs=PoolAttrs((1, 20000)))


def dense() -> tuple[Node, Node]:
    x = y = input_node("x", (1024,))
    filters = constant(RNG.integers(-3, 4, (1024, 1, 1, 1024)).astype(np.float32))
    for i in range(300):
        y = make("clamp", make("conv2d", y, filters), attrs=ClampAttrs(-1.0, 1.0 + i))
    return x, y


MODELS: dict[str, Callable[[], tuple[Node, Node]]] = {
    "elementwise": elementwise,
    "floats": floats,
    "one row of bits": one_row_of_bits,
    "dense": dense,
}
# The parent interrupts once the model runs; the child says how much processor time it had used when it answered.
CHILD = """
import sys, threading, time
import numpy as np, bnn
path, call, images, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
model = bnn.load(path, max_bytes=1 << 40)
x = np.zeros((images, *model.input_shapes[0]), np.float32)
calls = {
    "predict": lambda: model.predict(x, threads=threads),
    "call": lambda: model(x),
    "profile": lambda: model.profile(x),
    "activations": lambda: model.activations(x),
    "stepper": lambda: [stepper.step(op.index, images) for op in model.ops],
}
if call == "stepper":
    stepper = model.stepper(images)
threading.Timer(0.5, lambda: print("running", flush=True)).start()
try:
    calls[call]()
except KeyboardInterrupt:
    print(time.process_time(), flush=True)
"""


@pytest.mark.drawn
@pytest.mark.parametrize(
    ("model", "call", "images", "threads"),
    some(
        [
            ("elementwise", "predict", 1, 1),
            ("elementwise", "predict", 1, 2),
            ("elementwise", "predict", 4, 2),
            ("elementwise", "call", 2, 1),
            ("elementwise", "profile", 1, 1),
            ("elementwise", "stepper", 1, 1),
            ("floats", "predict", 1, 1),
            ("floats", "predict", 2, 2),
            ("floats", "activations", 1, 1),
            ("one row of bits", "predict", 1, 2),
            ("dense", "predict", 9000, 1),
            ("dense", "predict", 9000, 2),
        ]
    ),
)
def test_ctrl_c_answers_at_once(tmp_path: Path, model: str, call: str, images: int, threads: int) -> None:
    x, y = MODELS[model]()
    path = tmp_path / "endless.bnn"
    path.write_bytes(encode(plan([x], [y])))
    command = [sys.executable, "-c", CHILD, str(path), call, str(images), str(threads)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "BNN_KERNELS": "scalar"}  # the slowest
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        before = process_seconds(child.pid)
        child.send_signal(signal.SIGINT)
        answered = child.stdout.readline()
        assert answered, "the child ended before it was interrupted"
        assert float(answered) - before < threads * 70 * loop_seconds()  # a second where this was written
        assert child.wait() == 0


class Stop(Exception):
    pass


@pytest.fixture
def model() -> Model:
    x = y = input_node("x", (64, 64, 32))
    for i in range(400):
        y = make("tanh", y) if i % 2 else make("clamp", y, attrs=ClampAttrs(-1.0, 1.0 + i))
    return Model.from_bytes(encode(plan([x], [y])))


def test_a_handlers_exception_comes_out_of_the_call(model: Model) -> None:
    """Unchanged, and the model runs again."""
    x = RNG.normal(size=(1, 64, 64, 32)).astype(np.float32)
    expected = model(x)
    error = Stop("enough")

    def handler(number: int, frame: Any) -> None:
        raise error

    before = signal.signal(signal.SIGPROF, handler)
    try:
        for threads in (1, 2):
            with pytest.raises(Stop) as caught:
                signal.setitimer(signal.ITIMER_PROF, 0.1)  # of processor time: the call has begun by then
                model.predict(np.repeat(x, 200, 0), threads=threads)
            assert caught.value is error
            np.testing.assert_array_equal(model.predict(x, threads=threads), expected)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def test_a_handler_that_raises_nothing_stops_nothing(model: Model) -> None:
    """It runs while the model does, and may run a model itself."""
    x = RNG.normal(size=(1, 64, 64, 32)).astype(np.float32)
    expected = model(x)
    seen = []
    before = signal.signal(signal.SIGPROF, lambda number, frame: seen.append(model(x)))
    try:
        signal.setitimer(signal.ITIMER_PROF, 0.02)
        found = model.predict(np.repeat(x, 8, 0))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    np.testing.assert_array_equal(found, np.repeat(expected, 8, 0))
    assert seen
    np.testing.assert_array_equal(seen[0], expected)


def test_other_threads_are_not_interrupted(model: Model) -> None:
    x = RNG.normal(size=(3, 64, 64, 32)).astype(np.float32)
    expected, found = model(x), []
    thread = threading.Thread(target=lambda: found.append(model.predict(x, threads=2)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(found[0], expected)


@pytest.mark.drawn
@pytest.mark.parametrize(("threads", "batch"), some([(1, 1), (1, 5), (2, 1), (2, 2), (2, 12), (3, 10)]))
def test_being_asked_changes_nothing(threads: int, batch: int) -> None:
    """Work that is cut gives what whole ops give: convolutions of every kind, one image or many."""
    x, z = input_node("x", (24, 40, 64)), input_node("z", (40, 24, 16), DType.u8)
    attrs = ConvAttrs(pads=(2, 2, 2, 2))
    bits = make("bconv2d", make("binarize", x), signs(RNG, (96, 5, 5, 64)), attrs=attrs)
    real = make("conv2d", x, constant(RNG.integers(-3, 4, (24, 5, 5, 64)).astype(np.float32)), attrs=attrs)
    whole = make("conv2d", real, constant(RNG.integers(-3, 4, (300, 24, 40, 24)).astype(np.float32)))
    count = make("iconv2d", z, signs(RNG, (200, 5, 5, 16)), constant(np.zeros(16)),
                 attrs=ConvAttrs(pads=(2, 2, 2, 2), slots=("zeros",)))  # fmt: skip
    model = Model.from_bytes(encode(plan([x, z], [bits, whole, count])), max_bytes=1 << 32)
    assert model.work > 2 * lib.BNN_POLL_WORK
    images = [RNG.integers(-3, 4, (batch, 24, 40, 64)).astype(np.float32),
              RNG.integers(0, 256, (batch, 40, 24, 16), np.uint8)]  # fmt: skip
    found: list[Any] = []
    asked = model.predict(images, threads=threads)
    thread = threading.Thread(target=lambda: found.append(model.predict(images, threads=threads)))  # not asked there
    thread.start()
    thread.join()
    for one, other in zip(asked, found[0], strict=True):
        np.testing.assert_array_equal(one, other)
