# SPDX-License-Identifier: Apache-2.0
"""The engine in C equals the oracle bit for bit: everything sent, every current and membrane."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from bnn.runtime.handles import available_kernels
from bnn.snn import SpikingModel
from bnn.snn.file import decode, encode
from bnn.snn.handle import OpenedNetwork
from bnn.snn.network import Network
from bnn.snn.oracle import Oracle, Record
from bnn.verification.over_time import run_engine as run
from snn.networks import draw_inputs, draw_network

SEED = int(os.environ.get("BNN_TEST_SEED", "14"))


def opened(data: bytes, kernels: str | None = None) -> OpenedNetwork:
    return SpikingModel.from_bytes(data, kernels=kernels)._opened


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
