# SPDX-License-Identifier: Apache-2.0
"""Emitted networks on every target: the host's bytes, and what they cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bnn
import op_graphs
from bnn.file.write import encode
from bnn.runtime import Model
from targets import TARGETS

from .firmware import code_size, emitted, run_on

Rng = np.random.Generator
DIGITS = Path(__file__).parents[2] / "events" / "digits.bnn"
FLAGS = ["-std=c99", "-Os"]


def own_target(name: str) -> str:
    """The emitter's name of a target."""
    known = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m55", "riscv32", "riscv64", "wasm32")
    return next((k for k in known if name.startswith(k)), "generic")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TARGETS if name != "microbit"])
def test_every_op(name: str, rng: Rng, tmp_path: Path) -> None:
    graph = op_graphs.every_op(whole_batch=False)
    inputs = [op_graphs.values_of(rng, 2, x) for x in graph.inputs]
    emitted(Model.from_bytes(encode(graph)), tmp_path, inputs, target=own_target(name))
    run_on(TARGETS[name], tmp_path, FLAGS)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TARGETS))
def test_digits(name: str, rng: Rng, tmp_path: Path) -> None:
    model = bnn.load(DIGITS)
    images = rng.integers(0, 17, (3, *model.input_shapes[0])).astype(model.input_dtypes[0])
    emitted(model, tmp_path, [images], target=own_target(name))
    run_on(TARGETS[name], tmp_path, FLAGS)


def test_a_cortex_m0_with_16_kilobytes(rng: Rng, tmp_path: Path) -> None:
    model = bnn.load(DIGITS)
    images = rng.integers(0, 17, (1, *model.input_shapes[0])).astype(model.input_dtypes[0])
    emitted(model, tmp_path, [images], target="cortex-m0")
    run_on(TARGETS["microbit"], tmp_path, FLAGS)


@pytest.mark.slow
def test_instructions_do_not_depend_on_the_data(rng: Rng, tmp_path: Path) -> None:
    """One number over 100 random images, on a Cortex-M4, whose floats take as long as each other."""
    model = bnn.load(DIGITS)
    images = rng.integers(0, 256, (100, *model.input_shapes[0])).astype(model.input_dtypes[0])
    emitted(model, tmp_path, [images], target="cortex-m4")
    measured = run_on(TARGETS["cortex-m4"], tmp_path, FLAGS)
    assert len(measured.instructions) == 100 and len(set(measured.instructions)) == 1
    assert max(measured.stack) < 1024


@pytest.mark.slow
def test_code_is_small(tmp_path: Path) -> None:
    """On a Cortex-M4 with -Os: code and what it needs of libgcc, without the network's tables."""
    model = bnn.load(DIGITS)
    summary = emitted(
        model, tmp_path, [np.zeros((1, *model.input_shapes[0]), model.input_dtypes[0])], target="cortex-m4"
    )
    size = code_size(TARGETS["cortex-m4"], tmp_path, FLAGS)
    print(size, summary.flash)
    assert sum(size.values()) - summary.flash < 6000
