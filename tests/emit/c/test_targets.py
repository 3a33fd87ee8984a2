# SPDX-License-Identifier: Apache-2.0
"""Emitted networks on every target: the host's bytes, and what they cost."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import bnn
import op_graphs
from bnn.file.write import encode
from bnn.runtime import Model
from sanitized import call
from targets import TARGETS, networks
from targets.emitted import code_size, emitted, own_name, random_images, run_on

Rng = np.random.Generator
FLAGS = ["-std=c99", "-Os"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TARGETS if name != "microbit"])
def test_every_op(name: str, rng: Rng, tmp_path: Path) -> None:
    graph = op_graphs.every_op(whole_batch=False)
    inputs = [op_graphs.values_of(rng, 2, x) for x in graph.inputs]
    emitted(Model.from_bytes(encode(graph)), tmp_path, inputs, target=own_name(name))
    run_on(TARGETS[name], tmp_path, FLAGS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m55", "riscv32-bare", "s390x", "wasm32-simd"])
def test_digits(name: str, rng: Rng, tmp_path: Path) -> None:
    model = networks.digits()
    images = random_images(model, 3, rng)
    emitted(model, tmp_path, images, target=own_name(name))
    run_on(TARGETS[name], tmp_path, FLAGS)


def test_a_cortex_m0_with_16_kilobytes(rng: Rng, tmp_path: Path) -> None:
    model = networks.digits()
    images = random_images(model, 1, rng)
    emitted(model, tmp_path, images, target="cortex-m0")
    run_on(TARGETS["microbit"], tmp_path, FLAGS)


@pytest.mark.parametrize("network", ["bytes", "floats", "bits", "int16"])
def test_integers_need_no_floats(network: str, rng: Rng, tmp_path: Path) -> None:
    """A network of bytes on a Cortex-M0, which has no unit for floats: the host's bytes, and no function that emulates
    an operation on floats."""
    if network == "int16":
        model = networks.shortcuts()
    elif network != "bytes":
        floats = networks.residual() if network == "floats" else networks.residual_bits(8)
        model = bnn.calibrate(floats, random_images(floats, 20, rng), integer_only=True).model
    else:
        model = Model.from_bytes(encode(op_graphs.of_bytes(rng)))
    emitted(model, tmp_path, random_images(model, 2, rng), target="cortex-m0")
    run_on(TARGETS["cortex-m0"], tmp_path, FLAGS)  # a random network may need more than the 16 KB of an M0's board
    code = [str(tmp_path / name) for name in ("net.c", "net_kernels.c")]
    cortex_m0 = ("arm-none-eabi-gcc", "-mthumb", "-mcpu=cortex-m0", *FLAGS)
    call(*cortex_m0, "-r", "-nostdlib", *code, "-o", str(tmp_path / "net.o"))
    wanted = call("arm-none-eabi-nm", "--undefined-only", str(tmp_path / "net.o")).split()
    assert "memcpy" in wanted or "memset" in wanted  # names are found at all
    assert not [name for name in wanted if re.match(r"__aeabi_(f|d|[a-z]+2[fd])|__\w+[sd]f\w*$", name)]


@pytest.mark.slow
def test_what_a_binary_network_saves_without_floats(tmp_path: Path) -> None:
    """On a Cortex-M0, of images of 32 x 32 pixels; prints a table of bytes, and of instructions for one image."""
    rng, floats = np.random.default_rng(1), networks.residual_bits(32)
    whole = bnn.calibrate(floats, random_images(floats, 20, rng), integer_only=True).model
    instructions, ram = {}, {}
    print("| | code | tables | RAM | stack | instructions |")
    fast = ["-std=c99", "-O3"]
    for name, model, flags in (("floats", floats, FLAGS), ("integers", whole, FLAGS), ("integers, fast", whole, fast)):
        folder, target = tmp_path / name, TARGETS["cortex-m0"]
        summary = emitted(model, folder, random_images(model, 1, rng), target="cortex-m0", fast=flags is fast)
        cost = run_on(target, folder, flags)
        code = code_size(target, folder, flags) - summary.flash
        instructions[name], ram[name] = cost.instructions[0], summary.arena
        numbers = (code, summary.flash, summary.arena, cost.stack[0], cost.instructions[0])
        print(f"| {name} | {' | '.join(f'{n:,}' for n in numbers)} |")
    assert instructions["integers"] < 0.25 * instructions["floats"] and ram["integers"] < 0.5 * ram["floats"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cortex-m0", "cortex-m4"])
def test_what_int16_cost(name: str, tmp_path: Path) -> None:
    """In shortcuts, against bytes: prints a table of bytes, and of instructions for one image."""
    instructions, ram = [], []
    print("| | tables | RAM | stack | instructions |")
    for what, model in (("bytes", networks.shortcuts(bytes_alone=True)), ("int16", networks.shortcuts())):
        images = random_images(model, 1, np.random.default_rng(1))
        summary = emitted(model, tmp_path / what, images, target=name, fast=True)
        cost = run_on(TARGETS[name], tmp_path / what, ["-std=c99", "-O2"])
        print(f"| {what} | {summary.flash:,} | {summary.arena:,} | {cost.stack[0]:,} | {cost.instructions[0]:,} |")
        instructions.append(cost.instructions[0])
        ram.append(summary.arena)
    assert instructions[1] < 1.05 * instructions[0] and ram[1] < 1.7 * ram[0]


@pytest.mark.slow
def test_instructions_do_not_depend_on_the_data(rng: Rng, tmp_path: Path) -> None:
    """One number over 100 random images, on a Cortex-M4, whose floats take as long as each other."""
    model = networks.digits()
    images = random_images(model, 100, rng)
    emitted(model, tmp_path, images, target="cortex-m4")
    measured = run_on(TARGETS["cortex-m4"], tmp_path, FLAGS)
    assert len(measured.instructions) == 100 and len(set(measured.instructions)) == 1
    assert max(measured.stack) < 1024


@pytest.mark.slow
def test_plain_is_small_and_fast(rng: Rng, tmp_path: Path) -> None:
    """On a Cortex-M4: code (without tables, with what the compiler adds), RAM, stack and instructions."""
    model = networks.plain()
    small = emitted(model, tmp_path / "small", random_images(model, 1, rng), target="cortex-m4")
    code = code_size(TARGETS["cortex-m4"], tmp_path / "small", FLAGS) - small.flash
    assert code <= 6000 and small.arena <= 3700
    assert run_on(TARGETS["cortex-m4"], tmp_path / "small", FLAGS).stack[0] <= 1024
    emitted(model, tmp_path / "fast", random_images(model, 1, rng), target="cortex-m4", fast=True)
    assert run_on(TARGETS["cortex-m4"], tmp_path / "fast", ["-std=c99", "-O2"]).instructions[0] <= 8_000_000
