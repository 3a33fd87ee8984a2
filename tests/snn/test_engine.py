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
from bnn.snn.handle import OpenedNetwork, State
from bnn.snn.network import Network, Population, Projection
from bnn.snn.oracle import Oracle, Record
from bnn.snn.rules import Emits
from bnn.verification.over_time import run_engine as run
from snn.networks import draw_inputs, draw_network, draw_population, draw_weights

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


def draw_convolution(rng: Any, emits: Emits, masked: bool) -> Network:
    """A convolution with any kernel, stride, padding and size of the target, of 1 to 80 channels."""
    shape = (int(rng.integers(3, 12)), int(rng.integers(3, 12)), int(rng.integers(1, 6)))
    kernel = int(rng.integers(1, min(6, shape[0] + 1))), int(rng.integers(1, min(6, shape[1] + 1)))
    stride, padding = (int(rng.integers(1, 4)), int(rng.integers(1, 4))), (int(rng.integers(4)), int(rng.integers(4)))
    rows, columns = (int(rng.integers(1, n + 3)) for n in shape[:2])  # fewer or more than the windows that fit
    channels = int(rng.choice([1, 7, 16, 17, 40, 80]))
    target = draw_population(rng, "target", (rows, columns, channels), dyadic=False)
    target.output = True
    weights, _ = draw_weights(rng, (shape[2], *kernel, channels), "float")
    mask = np.ones(int(np.prod(shape)), np.bool_) if masked else None
    projection = Projection(0, 1, "conv", weights, stride=stride, padding=padding, mask=mask)
    return Network([Population("input", shape, input_emits=emits), target], [projection])


@pytest.mark.parametrize("kernels", available_kernels())
@pytest.mark.parametrize("emits", Emits)
def test_convolutions_of_many_spikes_equal_the_oracle(emits: Emits, kernels: str) -> None:
    """The same bits and SynOps whether targets gather, or sources scatter, as they do with a mask (of all of them)."""
    print(f"seed {SEED}")
    for number in range(30):
        networks = [draw_convolution(np.random.default_rng([SEED, number]), emits, masked) for masked in (False, True)]
        rng = np.random.default_rng([SEED, number, 1])
        sends = rng.random((6, networks[0].populations[0].size)) < rng.choice([0.4, 0.7, 0.95, 1])
        most = {Emits.SPIKES: 1, Emits.COUNTS: 5}.get(emits, 3)
        values = rng.integers(1, most + 1, sends.shape) * (rng.choice([-1, 1], sends.shape) if most == 3 else 1)
        inputs = [(sends * (values * 0.3 if emits == Emits.VALUES else values)).astype(np.float32)]
        expected = Oracle(networks[0]).run(inputs)
        synops = []
        for network in networks:
            engine = opened(encode(network), kernels)
            state = State(engine)
            compare(network, expected, run(engine, inputs, state), (SEED, number))
            synops.append(state.synops(0))
        assert synops[0] == synops[1], (SEED, number)
