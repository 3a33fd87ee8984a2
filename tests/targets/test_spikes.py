# SPDX-License-Identifier: Apache-2.0
"""Spikes over time without an operating system: on every target the host's spikes, membranes and learned weights."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn._types import Array, Floats
from bnn.runtime.build import INCLUDE_FLAGS, sources
from bnn.snn.file import encode
from bnn.snn.handle import SENT, State, frames
from bnn.snn.model import SpikingModel
from bnn.snn.network import Network, Population, Projection
from bnn.snn.rules import RULES, Dynamics, Emits, Reset
from snn.networks import draw_inputs, draw_network, draw_plastic_network
from targets import HERE, TARGETS, Target, run

SOURCES = [HERE / "spikes.c", *sources("core", "kernels")]
FLAGS = ["-std=c11", "-Os", "-ffp-contract=off", *INCLUDE_FLAGS]
MOST = 1 << 14  # floats of a population's state, of weights that learn, and of a step
# Each compiler, instruction set and size of words; all but the first are compiled for test_interpreter.py, too.
OTHERS = ["host-clang", "aarch64", "cortex-m0", "cortex-m4", "riscv32-bare", "wasm32-simd"]


@dataclass(frozen=True)
class Case:
    """A network with one input, and what that sends, (T, n)."""

    network: Network
    inputs: Floats
    learns: bool = False

    @cached_property
    def data(self) -> bytes:
        return encode(self.network)

    @cached_property
    def frames(self) -> Array:
        return frames(self.inputs, self.network.populations[0].emits)

    def expected(self) -> list[tuple[str, int]]:
        """What the program prints of it, by the host's runtime."""
        opened = SpikingModel.from_bytes(self.data)._opened
        state, steps, sent = State(opened), len(self.inputs), []
        for p in opened.populations:
            sent.append(np.zeros((steps, p.frame // 4), np.uint32 if p.emits == Emits.SPIKES else np.float32))
            state.record(p.index, SENT, sent[-1])
        state.set_learning(self.learns)
        state.run([self.frames], steps)
        found = []
        for index, population in enumerate(self.network.populations):
            found.append(("sent", checksum(sent[index])))
            if population.dynamics and "v" in population.dynamics.rule.states:
                found.append(("v", checksum(state.get(index, "v"))))
        found += [("weights", checksum(state.weights(p))) for p in opened.projections if p.learns]
        state.set_learning(False)
        state.reset()
        return [*found, ("until_spike", state.run([self.frames], steps, until_spike=True))]


def checksum(values: Array) -> int:
    """Of floats, 0 and -0 count as the same, and so do all NaNs."""
    if values.dtype == np.float32:
        values = np.where(np.isnan(values), np.float32(np.nan), values + np.float32(0))
    return zlib.crc32(values.tobytes())


def run_cases(target: Target, cases: Sequence[Case], folder: Path) -> list[dict[str, int]]:
    """Build spikes.c with these networks; what it measures of each."""
    parts, rows = [], []
    for i, case in enumerate(cases):
        for name, data in (("file", case.data), ("frames", case.frames.tobytes())):
            text = ",".join(map(str, data))
            parts.append(f"static const _Alignas(64) unsigned char {name}{i}[] = {{{text}}};\n")
        steps, width = len(case.inputs), case.frames[0].nbytes
        rows.append(f"{{file{i}, sizeof file{i}, frames{i}, {width}, {steps}, {int(case.learns)}}}")
    parts.append(f"static const struct network networks[] = {{{', '.join(rows)}}};\n")
    parts.append(f"enum {{ MEMORY = {1 << 20}, MOST = {MOST} }};\n")
    (folder / "model.inc").write_text("".join(parts), encoding="utf-8")
    lines = [line.split() for line in run(target, SOURCES, [*FLAGS, f"-I{folder}"], folder=folder).splitlines()]
    found: list[dict[str, int]] = []
    printed: list[list[tuple[str, int]]] = []
    for name, value in lines:
        if name == "open_bytes":
            found.append({})
            printed.append([])
        if name in ("sent", "v", "weights", "until_spike"):
            printed[-1].append((name, int(value)))
        else:
            found[-1][name] = int(value)
    assert len(found) == len(cases)
    for i, case in enumerate(cases):
        assert printed[i] == case.expected(), f"network {i}"
    return found


def drawn(rng: Any, count: int, most: int) -> list[Case]:
    """Random networks of at most ``most`` bytes; every second one learns."""
    cases: list[Case] = []
    while len(cases) < count:
        learns = len(cases) % 2 == 1
        network = draw_plastic_network(rng) if learns else draw_network(rng)
        case = Case(network, draw_inputs(rng, network, 12)[0], learns)
        sizes = [p.size for p in network.populations]
        if sum(sizes) <= MOST // 2 and len(case.data) <= most:
            cases.append(case)
    return cases


def mlp() -> Case:
    """784-400-10 with weights of 8 bits; 5% of its inputs send a spike in each step."""
    rng = np.random.default_rng(1)
    values = {"threshold": 1.0, "reset": 0.0, "initial": 0.0, "beta": 15 / 16}
    sizes, populations, projections = (784, 400, 10), [Population("input", (784,))], []
    for i, (n, m) in enumerate(zip(sizes, sizes[1:], strict=False)):
        parameters = {name: np.array([value], np.float32) for name, value in values.items()}
        leaky = Dynamics(RULES["decay"], Reset.VALUE)
        populations.append(Population(f"leaky{i}", (m,), leaky, parameters, output=m == 10))
        w = rng.normal(0, 3 / np.sqrt(n), (n, m)) * 32
        projections.append(Projection(i, i + 1, "dense", w.round().clip(-127, 127).astype(np.int8), 1 / 32))
    return Case(Network(populations, projections), (rng.random((20, 784)) < 0.05).astype(np.float32))


@pytest.mark.slow
def test_a_microcontroller(rng: np.random.Generator, tmp_path: Path) -> None:
    """Random networks, and the figures of docs/howto/embedded.md."""
    figures = mlp()
    found = run_cases(TARGETS["cortex-m4"], [*drawn(rng, 8, 8_000), figures], tmp_path)[-1]
    print(f"file {len(figures.data)}, {found}, per step {found['run_instructions'] // len(figures.inputs)}")
    assert found["open_bytes"] + found["state_bytes"] <= 18_448
    assert found["run_stack"] <= 1_320 and found["run_instructions"] <= 20 * 101_400


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_random_networks(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    run_cases(TARGETS[name], drawn(rng, 8, 20_000), tmp_path)
