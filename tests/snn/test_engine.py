# SPDX-License-Identifier: Apache-2.0
"""The engine in C equals the oracle bit for bit: everything sent, every current and membrane."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from bnn._types import Array, Floats
from bnn.runtime.handles import Memory, available_kernels, select_kernels
from bnn.runtime.native import ffi
from bnn.snn.file import decode, encode
from bnn.snn.handle import CURRENT, MEMBRANE, SENT, OpenedNetwork, State, frames, unpacked
from bnn.snn.network import Network
from bnn.snn.oracle import Oracle, Record
from snn.networks import draw_inputs, draw_network

SEED = int(os.environ.get("BNN_TEST_SEED", "14"))


def opened(data: bytes, kernels: str | None = None) -> OpenedNetwork:
    memory = Memory(len(data))
    ffi.memmove(memory.pointer, data, len(data))
    return OpenedNetwork(memory.pointer, len(data), memory, select_kernels(kernels), "network")


def run(net: OpenedNetwork, inputs: list[Floats], state: State | None = None) -> Record:
    """As Oracle.run."""
    steps = len(inputs[0])
    state, record = state or State(net), Record()
    raw: dict[int, Array] = {}
    for p in net.populations:
        words = -(-p.size // 32)
        raw[p.index] = np.zeros((steps, words), np.uint32) if p.emits == 0 else np.zeros((steps, p.size), np.float32)
        state.record(p.index, SENT, raw[p.index])
        if p.opcode:
            record.currents[p.index] = np.zeros((steps, p.size), np.float32)
            state.record(p.index, CURRENT, record.currents[p.index])
        if p.opcode > 1:
            record.membranes[p.index] = np.zeros((steps, p.size), np.float32)
            state.record(p.index, MEMBRANE, record.membranes[p.index])
    given = [p for p in net.populations if not p.opcode]
    state.run([frames(x, p.emits) for x, p in zip(inputs, given, strict=True)], steps)
    record.sent = {i: unpacked(x, net.populations[i].size, net.populations[i].emits) for i, x in raw.items()}
    return record


def compare(network: Network, expected: Record, found: Record, what: Any) -> int:
    """The number of spikes and values that were sent."""
    count = 0
    for i, p in enumerate(network.populations):
        for name in ("currents", "sent", "membranes"):
            want, have = getattr(expected, name).get(i), getattr(found, name).get(i)
            assert (want is None) == (have is None)
            if want is not None:
                differ = ~((want == have) | np.isnan(want) & np.isnan(have))
                places = np.argwhere(differ)[:3].tolist()
                assert not places, f"{what}: {p.name}: {name}: first differences at (step, neuron) {places}"
        count += int((expected.sent[i] != 0).sum())
    return count


@pytest.mark.parametrize("kernels", available_kernels())
@pytest.mark.parametrize("weights", ["float", "dyadic", "int8", None])
def test_random_networks_equal_the_oracle(weights: str | None, kernels: str) -> None:
    print(f"seed {SEED}")
    sent = 0
    for number in range(int(os.environ.get("BNN_TEST_COUNT", "40"))):
        rng = np.random.default_rng([SEED, number])
        network = draw_network(rng, weights)
        inputs = draw_inputs(rng, network, 25)
        expected = Oracle(network).run(inputs)
        sent += compare(network, expected, run(opened(encode(network), kernels), inputs), (SEED, number))
    assert sent > 1000


def test_a_file_is_read_as_it_was_written() -> None:
    print(f"seed {SEED}")
    for number in range(60):
        data = encode(draw_network(np.random.default_rng([SEED, number])))
        assert encode(decode(data)) == data
