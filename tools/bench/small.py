# SPDX-License-Identifier: Apache-2.0
"""The small times that users feel: to import the package, to open a file, and a call's overhead over the C code."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import bnn
from bench.timing import measure
from bnn._native import lib
from bnn.runtime import Model
from bnn.runtime.handles import Context

_IMPORT = "import time; t = time.perf_counter(); import bnn; print(time.perf_counter() - t)"


def import_ms(repeats: int) -> float:
    """The median over fresh interpreters, including NumPy and cffi."""
    run = [sys.executable, "-c", _IMPORT]
    times = [float(subprocess.run(run, capture_output=True, text=True, check=True).stdout) for _ in range(repeats)]
    return statistics.median(times) * 1e3


def open_ms(model: Model, repeats: int) -> float:
    """The median time to map, check and prepare a file that is in the page cache."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.bnn"
        model.save(path)
        (timing,) = measure([lambda: bnn.load(path).close()], repeats, 0.01, "wall")
    return timing.median / 1e3


def call_us(model: Model, rounds: int, slice_ms: float) -> tuple[float, float]:
    """(a call of the model, its C code only): medians for one image, measured in turns."""
    x = np.random.default_rng(0).random((1, *model.input_shapes[0]), np.float32)
    out = np.empty((1, *model.output_shapes[0]), np.float32)
    context = Context(model._open(), 1, 1)
    context.run([x], [out], 0, 1)  # leaves the arrays' addresses in the context's lists
    addresses = (context.pointer, context.inputs, context.outputs)
    called, direct = measure([lambda: model(x), lambda: lib.bnn_run(*addresses, 1)], rounds, slice_ms, "wall")
    return called.median, direct.median
