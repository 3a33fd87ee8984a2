# SPDX-License-Identifier: Apache-2.0
"""The engine in C equals the oracle bit for bit: everything sent, every current and membrane.

And its other calls: spikes sent one by one, populations alone, state variables, polls that stop it, wrong arguments.
"""

from __future__ import annotations

import ctypes
import math
import mmap
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bnn._types import Array, Floats
from bnn.errors import InputError
from bnn.runtime.handles import Memory, available_kernels
from bnn.runtime.native import CData, ffi, lib
from bnn.snn import SpikingModel
from bnn.snn.compare import run_engine as run
from bnn.snn.file import decode, encode
from bnn.snn.handle import CURRENT, SENT, OpenedNetwork, State, frames, unpacked
from bnn.snn.learning import Learning
from bnn.snn.network import Network, Population, Projection
from bnn.snn.oracle import Oracle, Record
from bnn.snn.rules import RULES, Dynamics, Emits, Reset
from seed import SEED, numbers
from snn.networks import draw_inputs, draw_network, draw_population, draw_weights
from snn.small import population


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


@pytest.mark.drawn
@pytest.mark.parametrize("weights", ["float", "dyadic", "int8", None])
def test_random_networks_equal_the_oracle(weights: str | None) -> None:
    print(f"BNN_TEST_SEED={SEED}")
    sent = 0
    for number in numbers(40):
        rng = np.random.default_rng([SEED, number])
        network = draw_network(rng, weights)
        inputs = draw_inputs(rng, network, 25)
        expected, data = Oracle(network).run(inputs), encode(network)
        for kernels in available_kernels():
            sent += compare(network, expected, run(opened(data, kernels), inputs), (SEED, number, kernels))
    assert sent


@pytest.mark.drawn
def test_a_file_is_read_as_it_was_written() -> None:
    print(f"BNN_TEST_SEED={SEED}")
    for number in numbers(60):
        data = encode(draw_network(np.random.default_rng([SEED, number])))
        assert encode(decode(data)) == data


def test_values_that_stay_equal_the_oracle() -> None:
    """Currents of the first projections are kept while an input sends the same: with a delay and a bias, from two
    inputs, before a projection of spikes; also of neurons that skip steps, and in calls of any length."""
    rng = np.random.default_rng(SEED)
    for rule in ("decay", "integrate"):
        beta = {"beta": 0.875} if rule == "decay" else {}
        target = population("target", (12, 12, 40), rule, Reset.SUBTRACT, output=True, **beta)
        target.bias = np.zeros(1, np.float32) if rule == "integrate" else np.full(1, 0.25, np.float32)
        inputs = [Population(name, (12, 12, 3), input_emits=Emits.VALUES) for name in ("a", "b")]
        inputs.append(Population("spikes", (5760,)))
        biased = {"bias": np.full(40, 0.125, np.float32)} if rule == "decay" else {}
        scale = 512 if rule == "integrate" else 32  # few fire: others have nothing but these currents
        weights = [rng.integers(-8, 9, (3, 3, 3, 40)).astype(np.float32) / scale for _ in "ab"]
        projections = [
            Projection(0, 3, "conv", weights[0], padding=(1, 1)),
            Projection(1, 3, "conv", weights[1], padding=(1, 1), delay=2, **biased),
            Projection(2, 3, "diagonal", np.full(1, 0.5, np.float32)),
        ]
        network = Network([*inputs, target], projections, channels_first=False)
        frames_of = [np.round(rng.normal(size=(4, 432)) * 8) / 8 for _ in "ab"]
        order = np.array([0] * 9 + [1] + [2] * 5 + [1] * 6 + [3] * 9)
        x = [f[order].astype(np.float32) for f in frames_of]
        x[1][20:24] = x[1][3]
        x.append((rng.random((30, 5760)) < 0.0003).astype(np.float32))  # most blocks get nothing else
        expected = Oracle(network).run(x)
        for kernels in available_kernels():
            assert compare(network, expected, run(opened(encode(network), kernels), x), (SEED, rule, kernels))
        model, parts = SpikingModel.from_bytes(encode(network)), []
        whole = model.run([part.reshape(30, *p.shape) for part, p in zip(x, inputs, strict=True)])
        model.reset()
        for begin, end in ((0, 1), (1, 2), (2, 12), (12, 30)):
            given = [part[begin:end].reshape(-1, *p.shape) for part, p in zip(x, inputs, strict=True)]
            parts.append(model.run(given, reset=False))
        assert np.array_equal(np.concatenate([part.output for part in parts]), whole.output)
        assert sum(part.synops for part in parts) == whole.synops


def test_steps_that_share_weights_equal_the_oracle() -> None:
    """Where most sources of a dense projection spike, a kernel adds their rows for four steps at once: between steps of
    any activity, with biases and other projections, in calls of any length, and in samples of a batch; not where some
    of the sources are masked."""
    rng = np.random.default_rng(SEED)
    sizes = ((1, 1, 9, 2, 1), (70, 37, 40, 70, 1), (64, 150, 23, 3, 1), (64, 5, 16, 2, 0.8))
    for sources, targets, steps, samples, kept in sizes:
        mask = rng.random(sources) < kept if kept < 1 else None
        target = population("target", (targets,), "decay", Reset.SUBTRACT, output=True, beta=0.875)
        target.bias = rng.normal(size=targets).astype(np.float32)
        weights = [(rng.normal(size=(n, targets)) / np.sqrt(n)).astype(np.float32) for n in (sources, targets)]
        network = Network([Population("input", (sources,)), target], [
            Projection(0, 1, "dense", weights[0], mask=mask, bias=rng.normal(size=targets).astype(np.float32) / 8),
            Projection(1, 1, "dense", weights[1], delay=1),
        ])  # fmt: skip
        shares = np.repeat(rng.choice([0, 0.3, 0.6, 0.9, 1], (steps // 3 + 1, samples)), 3, axis=0)[:steps, :, None]
        x = (rng.random((steps, samples, sources)) < shares).astype(np.float32)
        data = encode(network)
        for kernels in available_kernels():
            model = SpikingModel.from_bytes(data, kernels=kernels)
            whole = model.run(x, currents=["target"], threads=2)
            synops = 0
            for i in range(samples):
                want = Oracle(network).run([x[:, i]]) if i < 3 else None
                alone = model.run(x[:, i], currents=["target"])
                assert want is None or np.array_equal(alone.currents["target"], want.currents[1]), (SEED, kernels, i)
                assert np.array_equal(alone.output, whole.output[:, i])
                assert np.array_equal(alone.currents["target"], whole.currents["target"][:, i])
                synops += alone.synops
            brought = int((x if mask is None else x * mask).sum()) + int(whole.output[:-1].sum())
            assert synops == whole.synops == brought * targets
            model.reset()
            cuts = [0, *sorted(rng.choice(np.arange(1, steps), 5, replace=False)), steps]
            parts = [model.run(x[a:b, 0], reset=False).output for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
            assert np.array_equal(np.concatenate(parts), whole.output[:, 0])
            taken = int(model.run(x[:, 0], until="first-spike").taken)  # what was ahead is of another input
            rest = model.run(x[taken:, 1], reset=False).output
            assert np.array_equal(rest, model.run(np.concatenate([x[:taken, 0], x[taken:, 1]])).output[taken:])


def test_shared_steps_end_with_the_input() -> None:
    """Frames that end before a page that cannot be read: doing it would end the process."""
    target = population("target", (20,), "decay", Reset.SUBTRACT, output=True, beta=0.5)
    weights = Projection(0, 1, "dense", np.ones((32, 20), np.float32))
    data, page = encode(Network([Population("input", (32,)), target], [weights])), mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    after = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + page
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(after), ctypes.c_size_t(page), 0) == 0
    words = np.frombuffer(memory, np.uint32, page // 4)
    words[:] = 2**32 - 1
    for kernels in available_kernels():
        for steps in range(1, 12):
            State(SpikingModel.from_bytes(data, kernels=kernels)._opened).run([words[-steps:, None]], steps)


def draw_convolution(rng: Any, emits: Emits, wide: bool, strided: bool) -> Network:
    """A convolution with any kernel, stride, padding and size of the target, of 1 to 80 channels; ``wide``: its windows
    are wider than the sources; ``strided``: a few spikes are several in each window, and ``wide`` means int8."""
    shape = (int(rng.integers(3, 12)), int(rng.integers(3, 12)), int(rng.integers(1, 6)))
    kernel = int(rng.integers(1, min(6, shape[0] + 1))), int(rng.integers(1, min(6, shape[1] + 1)))
    stride, padding = (int(rng.integers(1, 4)), int(rng.integers(1, 4))), (int(rng.integers(4)), int(rng.integers(4)))
    if strided:
        shape, kernel = (*shape[:2], int(rng.choice([10, 16]))), (3, 3)
        stride = (stride[0], int(rng.integers(2, 4)))
    elif wide:
        shape, kernel, padding = (shape[0], 2, shape[2]), (kernel[0], 3), (padding[0], 2)
    fit = [(shape[a] + padding[a] - kernel[a]) // stride[a] + 1 for a in (0, 1)]
    rows, columns = (int(rng.integers(1, rng.choice([fit[a], shape[a] + 2]) + 1)) for a in (0, 1))
    channels = int(rng.choice([16, 17, 40] if strided else [1, 7, 16, 17, 40, 80]))
    target = draw_population(rng, "target", (rows, columns, channels), dyadic=False)
    target.output = True
    weights, scale = draw_weights(rng, (shape[2], *kernel, channels), "int8" if strided and wide else "float")
    projection = Projection(0, 1, "conv", weights, scale, stride=stride, padding=padding)
    return Network([Population("input", shape, input_emits=emits), target], [projection])


@pytest.mark.drawn
@pytest.mark.parametrize(("emits", "strided"), [*((emits, False) for emits in Emits), (Emits.SPIKES, True)])
def test_convolutions_of_many_spikes_equal_the_oracle(emits: Emits, strided: bool) -> None:
    """The same bits and SynOps whether targets gather, or sources scatter, as they do with a mask (of all of them, or
    of some: then the others add nothing); where columns are strided, targets list what is in their windows."""
    print(f"BNN_TEST_SEED={SEED}")
    for number in numbers(20):
        rng = np.random.default_rng([SEED, emits, number, *[1] * strided])
        network = draw_convolution(rng, emits, number % 2 == 1 if strided else number % 8 == 7, strided)
        n = network.populations[0].size
        sends = rng.random((6, n)) < rng.choice([0.7, 0.95, 1] if number % 2 else [0.4, 1])
        if strided:
            sends = rng.random((6, n)) < np.array([1, 0.48, 0.3, 0.1, 0, 0.45])[:, None]
        most = {Emits.SPIKES: 1, Emits.COUNTS: 5}.get(emits, 3)
        values = rng.integers(1, most + 1, sends.shape) * (rng.choice([-1, 1], sends.shape) if most == 3 else 1)
        x = (sends * (values * 0.3 if emits == Emits.VALUES else values)).astype(np.float32)
        some = rng.random(n) < 0.7
        masked = replace(network, projections=[replace(network.projections[0], mask=some)])
        every = replace(network, projections=[replace(network.projections[0], mask=np.ones(n, np.bool_))])
        right = Oracle(network).run([x]), Oracle(masked).run([x])
        without = Oracle(network).run([x * some])
        assert np.array_equal(right[1].currents[1], without.currents[1])
        for kernels in available_kernels():
            synops = []
            for one, expected in ((network, right[0]), (every, right[0]), (masked, right[1])):
                state = State(opened(encode(one), kernels))
                compare(one, expected, run(state.opened, [x], state), (SEED, number, kernels))
                synops.append(state.synops(0))
            assert synops[0] == synops[1] >= synops[2], (SEED, number)


def draw_quiet_network(rng: Any) -> Network:
    """Neurons without a bias, mostly of rules that skip, in many blocks of 32: a convolution, a pool, one weight each,
    all to all; with delays.  Their thresholds are low for what arrives."""

    def neurons(name: str, shape: tuple[int, ...]) -> Population:
        while True:
            rules = [*["relay", "integrate", "take_back"] * 4, "decay", "approach_rest"]
            p = draw_population(rng, name, shape, dyadic=True, rule=str(rng.choice(rules)))
            if p.dynamics and not p.dynamics.floored and not p.dynamics.winner and p.dynamics.reset <= Reset.SUBTRACT:
                p.bias = np.zeros(1, np.float32)
                p.parameters["threshold"] = p.parameters["threshold"] / 4
                return p

    side, c = int(rng.integers(20, 30)), int(rng.choice([5, 8, 20]))
    emits = Emits(rng.choice([Emits.SPIKES, Emits.CHANGES]))
    half = (side - 2) // 2 + 1
    shapes = [(side, side, 2), (side, side, c), (half, half, c), (half, half, c), (70,)]
    populations = [Population("input", shapes[0], input_emits=emits)]
    populations += [neurons(f"p{k}", shape) for k, shape in enumerate(shapes[1:], 1)]
    populations[-1].output = True
    projections = []
    for k, (kind, full, options) in enumerate([
        ("conv", (2, 3, 3, c), {"padding": (1, 1)}),
        ("conv", (c, 2, 2, 1), {"stride": (2, 2), "groups": c}),
        ("diagonal", (c,), {}),
        ("dense", (populations[3].size, 70), {}),
    ]):  # fmt: skip
        weights, scale = draw_weights(rng, full, str(rng.choice(["dyadic", "int8"])))
        scale = 1 / 64 if weights.dtype == np.int8 else scale
        if k == 1 and populations[1].emits in (Emits.COUNTS, Emits.VALUES):
            kind, weights, scale, options = "window", np.zeros(0, np.float32), 1, {"stride": (2, 2), "window": (2, 2)}
        projections.append(Projection(k, k + 1, kind, weights, scale, delay=int(rng.integers(2)), **options))
        if projections[-1].whole and kind != "diagonal":  # a scale for each channel or neuron
            scales = 2.0 ** rng.integers(-7, -4, populations[k + 1].channels)
            projections[-1].scale, projections[-1].scales = 1, scales.astype(np.float32)
    if rng.random() < 0.3:
        k = int(rng.integers(1, 4))
        bias = np.full(1, 0.125, np.float32)
        projections.append(Projection(k, k, "diagonal", np.full(1, -0.5, np.float32), delay=1, bias=bias))
    return Network(populations, projections)


@pytest.mark.drawn
def test_quiet_networks_equal_the_oracle() -> None:
    """Few neurons send, in few steps: the runtime leaves out blocks of neurons, whose states it must find as they were.
    Frames, or what is sent one by one; membranes are set between two runs."""
    print(f"BNN_TEST_SEED={SEED}")
    sent = 0
    for number in numbers(40):
        rng = np.random.default_rng([SEED, number])
        network = draw_quiet_network(rng)
        n, oracle = network.populations[0].size, Oracle(network)
        x = np.zeros((40, n), np.float32)
        for t in rng.choice(40, 14, replace=False):
            x[t, rng.choice(n, int(rng.choice([1, 1, 2, 8])))] = 1
        aims = [k for k, p in enumerate(network.populations) if p.dynamics and p.dynamics.rule.states]
        others = {k: np.float32(rng.choice([0.0, 0.25, 3.0], network.populations[k].size)) for k in aims[-1:]}
        first = oracle.run([x[:20]])
        for k, value in others.items():
            oracle.states[k]["v"] = value.copy()
        second = oracle.run([x[20:]])
        for kernels in available_kernels():
            state = State(opened(encode(network), kernels))
            sent += compare(network, first, run(state.opened, [x[:20]], state), (SEED, number, kernels))
            for k, value in others.items():
                state.set(k, "v", value)
            one_by_one = number % 2 == 1
            recorded = {k: np.zeros((20, p.frame // 4), np.uint32) for k, p in enumerate(state.opened.populations)}
            for k, to in recorded.items():
                state.record(k, SENT, to)
            for row in x[20:]:
                for neuron in np.flatnonzero(row) if one_by_one else ():
                    state.send(0, int(neuron))
                state.run([None if one_by_one else frames(row[None], network.populations[0].emits)], 1)
            for k, p in enumerate(network.populations):
                words = recorded[k] if p.emits == Emits.SPIKES else recorded[k].view(np.float32)
                assert np.array_equal(unpacked(words, p.size, p.emits), second.sent[k]), (SEED, number, kernels, p.name)
    assert sent


def test_columns_that_reach_nothing() -> None:
    """A kernel of one column with a stride of two, and rows apart: every other column of sources has no target."""
    rng = np.random.default_rng(SEED)
    network = Network(
        [
            Population("input", (5, 4, 2)),
            population("out", (3, 2, 3), "integrate", Reset.SUBTRACT, output=True),
        ],
        [
            Projection(
                0, 1, "conv", rng.normal(size=(2, 2, 1, 3)).astype(np.float32), stride=(1, 2), dilation=(2, 1)
            )
        ],
    )  # fmt: skip
    inputs = [(rng.random((25, 40)) < 0.4).astype(np.float32)]
    state = State(opened(encode(network)))
    assert compare(network, Oracle(network).run(inputs), run(state.opened, inputs, state), SEED) > 20
    sources = inputs[0].reshape(-1, 5, 4, 2)[:, :, ::2].sum(axis=(0, 2, 3))
    assert state.synops(0) == 3 * (sources * [1, 1, 2, 1, 1]).sum()


@pytest.mark.parametrize(
    ("image", "kernel", "stride", "padding"),
    [((5, 4, 2), (3, 5), 1, 1), ((5, 4, 2), (3, 4), 2, 1), ((1, 2, 40), (1, 5), 1, 2)],
)
def test_windows_that_nowhere_lie_within_the_sources(
    image: tuple[int, int, int], kernel: tuple[int, int], stride: int, padding: int
) -> None:
    """A kernel wider than the image, one that always reaches beyond an edge, and one with more sources in a row than
    the image has; most sources send something."""
    rng = np.random.default_rng(SEED)
    weights = rng.normal(size=(image[2], *kernel, 16)).astype(np.float32)
    size = (image[0] - kernel[0] + 1, (image[1] + 2 * padding - kernel[1]) // stride + 1, 16)
    network = Network(
        [Population("input", image), population("out", size, "relay", Reset.NONE, Emits.VALUES, True)],
        [Projection(0, 1, "conv", weights, stride=(1, stride), padding=(0, padding))],
    )
    inputs = [(rng.random((9, math.prod(image))) < 0.8).astype(np.float32)]
    state = State(opened(encode(network)))
    assert compare(network, Oracle(network).run(inputs), run(state.opened, inputs, state), SEED) >= 288


@pytest.mark.parametrize("dilation", [(1, 2), (2, 1)])
def test_windows_with_gaps_along_one_axis(dilation: tuple[int, int]) -> None:
    """Most of whose sources sent something: they are added one by one."""
    rng = np.random.default_rng(SEED)
    network = Network(
        [Population("input", (5, 5, 2)), population("out", (3, 3, 16), "relay", Reset.NONE, Emits.VALUES, True)],
        [Projection(0, 1, "conv", rng.normal(size=(2, 2, 2, 16)).astype(np.float32), dilation=dilation)],
    )
    inputs = [(rng.random((9, 50)) < 0.8).astype(np.float32)]
    found = run(opened(encode(network)), inputs)
    assert compare(network, Oracle(network).run(inputs), found, SEED) > 300


def test_more_sources_than_are_added_between_two_polls() -> None:
    rng = np.random.default_rng(SEED)
    n = lib.BNN_POLL_WORK // 16 + 6
    weights = rng.integers(-128, 128, (n, 16)).astype(np.int8)
    network = Network(
        [Population("input", (n,)), population("out", (16,), "relay", Reset.NONE, Emits.VALUES, output=True)],
        [Projection(0, 1, "dense", weights, 0.5)],
    )
    state = State(opened(encode(network)))
    found = run(state.opened, [np.ones((1, n), np.float32)], state).sent[1]
    assert np.array_equal(found[0], weights.sum(axis=0, dtype=np.int32) * np.float32(0.5)) and state.synops(0) == 16 * n


# -- calls one by one -------------------------------------------------------------------------------------------------


def mixed() -> Network:
    """An input of each kind, neurons that fire, and learn from 40 spikes, and levels."""
    rng = np.random.default_rng(SEED)
    shapes = {Emits.SPIKES: (4, 10), Emits.COUNTS: (3,), Emits.VALUES: (3,), Emits.CHANGES: (1, 3, 1)}
    weights = rng.uniform(0, 0.5, (40, 5)).astype(np.float32)
    return Network(
        [
            *(Population(emits.name.lower(), shape, input_emits=emits) for emits, shape in shapes.items()),
            population("relay", (3,), "relay", Reset.NONE, Emits.VALUES),
            population("levels", (3,), "take_back", Reset.NONE, Emits.CHANGES, output=True, offset=0, most=9),
            population("firing", (5,), "synaptic", Reset.SUBTRACT, output=True, alpha=0.5, beta=0.875),
        ],
        [
            Projection(2, 4, "diagonal", np.ones(1, np.float32)),
            Projection(1, 5, "diagonal", np.ones(1, np.float32)),
            Projection(3, 5, "diagonal", np.ones(1, np.float32)),
            Projection(0, 6, "dense", weights, learning=Learning(0.01, 0.01, 0.5, 0.5), name="learns"),
        ],
    )


RELAY, LEVELS, FIRING = 4, 5, 6


def several(network: Network, steps: int) -> list[Floats]:
    """What about half of all neurons of its inputs send in each step."""
    rng = np.random.default_rng(SEED)
    found = []
    for p in (network.populations[i] for i in network.inputs):
        low, high = {Emits.SPIKES: (0, 1), Emits.COUNTS: (0, 3)}.get(p.emits, (-3, 3))
        found.append(rng.integers(low, high + 1, (steps, p.size)).astype(np.float32))
    return found


def test_shapes_are_those_of_the_network() -> None:
    network = mixed()
    infos = opened(encode(network)).populations
    assert [p.shape for p in infos] == [p.shape for p in network.populations]
    assert [p.size for p in infos] == [40, 3, 3, 3, 3, 3, 5] and [p.frame for p in infos] == [8, 12, 12, 12, 12, 12, 4]


def test_spikes_that_are_sent_one_by_one_are_a_frame() -> None:
    """In the next step, and in no other; what one neuron sends in several calls is added."""
    network, steps = mixed(), 12
    inputs = several(network, steps)
    for x in inputs:
        x[1::2] = 0
    expected = run(opened(encode(network)), inputs)
    assert all(x.any() for x in expected.sent.values())
    state = State(opened(encode(network)))
    sent = {}
    for p in state.opened.populations:
        sent[p.index] = np.zeros((steps, p.frame // 4), np.float32 if p.emits else np.uint32)
        state.record(p.index, SENT, sent[p.index])
    for t in range(0, steps, 2):
        for i, x in enumerate(inputs):
            for neuron in np.flatnonzero(x[t]).tolist():
                state.send(i, neuron, float(x[t, neuron]) - 1)
                state.send(i, neuron)
        if t % 4:
            state.run([None] * 4, 2)
        else:
            assert lib.bnn_snn_run(state.pointer, ffi.NULL, 2) == lib.BNN_OK
    assert state.steps == steps
    for p in state.opened.populations:
        assert np.array_equal(unpacked(sent[p.index], p.size, p.emits), expected.sent[p.index]), p.name


@pytest.mark.parametrize(
    ("number", "neuron", "value"),
    [
        (FIRING, 0, 1), (7, 0, 1), (0, 40, 1), (1, 3, 1), (1, 0, 0.5), (1, 0, -1), (1, 0, 2**24 + 2), (1, 0, np.nan),
        (2, 0, np.inf), (2, 0, np.nan), (3, 0, 0.5), (3, 0, -(2**24) - 2),
    ],
)  # fmt: skip
def test_what_cannot_be_sent(number: int, neuron: int, value: float) -> None:
    """By a neuron that is no input's, or as a number that its input does not send; nothing is sent instead."""
    state = State(opened(encode(mixed())))
    with pytest.raises(InputError, match=f"population {number}, neuron {neuron}: found"):
        state.send(number, neuron, value)
    state.run([None] * 4, 1)
    assert not any(state.sent(i) for i in range(7))


def test_what_becomes_of_what_was_sent() -> None:
    """A frame replaces it, a reset drops it; records go on after a reset.  A spike is one, whatever its value."""
    state = State(opened(encode(mixed())))
    sent, given = np.zeros((4, 2), np.uint32), np.array([[0, 1 << 7]], np.uint32)
    state.record(0, SENT, sent)
    state.send(0, 1, 0)
    state.send(0, 1, np.nan)
    state.run([None] * 4, 1)
    state.send(0, 2)
    state.run([given, None, None, None], 1)
    state.send(0, 3)
    state.reset()
    state.run([None] * 4, 1)
    assert state.steps == 1
    state.run([None] * 4, 2)
    assert sent.tolist() == [[1 << 1, 0], [0, 1 << 7], [0, 0], [0, 0]]


def test_counts_that_floats_cannot_hold() -> None:
    """2^24 and one more are 2^24 in float32: one would be lost."""
    state = State(opened(encode(mixed())))
    state.send(1, 0, 2**24)
    with pytest.raises(InputError, match="population 1, neuron 0: found"):
        state.send(1, 0, 1)


@pytest.mark.parametrize(
    ("number", "place", "value"),
    [
        (0, (1, 1), 1 << 8), (0, (0, 1), 1 << 31), (1, (1, 2), 0.5), (1, (0, 0), -1), (1, (0, 0), np.inf),
        (1, (0, 0), 2**24 + 2), (2, (1, 0), np.nan), (2, (0, 0), -np.inf), (3, (1, 2), 0.5), (3, (0, 0), -(2**24) - 2),
    ],
)  # fmt: skip
def test_frames_that_are_no_input(number: int, place: tuple[int, int], value: float) -> None:
    """Bits beyond the last neuron, and numbers that its input does not send; no step is run."""
    state = State(opened(encode(mixed())))
    given: list[Array | None] = [None] * 4
    wrong = given[number] = np.zeros((2, 2), np.uint32) if number == 0 else np.zeros((2, 3), np.float32)
    state.run(given, 2)
    wrong[place] = value
    with pytest.raises(InputError, match="run: found an input that is not finite, or no whole number within 2"):
        state.run(given, 2)
    assert state.steps == 2 and not state.sent(number)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_at_any_place(value: float) -> None:
    out = population("out", (1,), "relay", Reset.NONE, Emits.VALUES, output=True)
    ones = Projection(0, 1, "dense", np.ones((70, 1), np.float32))
    state = State(opened(encode(Network([Population("input", (70,), input_emits=Emits.VALUES), out], [ones]))))
    for place in range(70):
        x = np.ones((2, 70), np.float32)
        x[1, place] = value
        with pytest.raises(InputError, match="run: found an input that is not finite"):
            state.run([x], 2)


def test_populations_alone() -> None:
    """On given currents, with none of their own: as their rule says.  What was recorded before is over."""
    print(f"BNN_TEST_SEED={SEED}")
    for number, rule in enumerate(RULES):
        rng = np.random.default_rng([SEED, 3, number])
        network = draw_network(rng, rule=rule)
        for i, p in enumerate(network.populations):
            if p.dynamics and p.dynamics.rule.recurrent:  # currents of their own, which a run leaves behind
                network.projections.append(Projection(i, i, "diagonal", np.ones(1, np.float32), delay=1))
        state = State(opened(encode(network)))
        run(state.opened, draw_inputs(rng, network, 5), state)
        for i, p in enumerate(network.populations):
            if p.dynamics is None:
                continue
            state.reset()
            currents = rng.normal(0.3, 1, (9, p.size)).astype(np.float32)
            values, states = p.values(), p.dynamics.initial(p.values(), p.size)
            own = np.zeros(p.size, np.float32) if p.dynamics.rule.recurrent else None
            expected = [p.dynamics.settle(values, states, x, own) for x in currents]
            sent = np.zeros((9, state.opened.populations[i].frame // 4), np.float32 if p.emits else np.uint32)
            before = np.full_like(currents, 7)
            state.record(i, SENT, sent)
            state.record(i, CURRENT, before[:4])
            state.settle(i, currents)
            found = unpacked(sent, p.size, p.emits)
            assert np.array_equal(found, expected, equal_nan=True), (SEED, number, p.name)
            assert np.array_equal(before[:4], currents[:4]) and (before[4:] == 7).all() and state.steps == 0
            for name in p.dynamics.rule.states:
                assert np.array_equal(state.get(i, name), states[name], equal_nan=True), (SEED, number, p.name, name)
        assert network.populations[1].dynamics.rule.name == rule  # type: ignore[union-attr]


@pytest.mark.parametrize("floored", [False, True])
@pytest.mark.parametrize("reset", [Reset.NONE, Reset.VALUE, Reset.SUBTRACT])
def test_spikes_within_a_step(reset: Reset, floored: bool) -> None:
    """Also of currents and membranes at, just above and far from the threshold, where their quotient is anything."""
    rng, n = np.random.default_rng(SEED), 300
    rate = np.where(rng.random(n) < 0.3, rng.choice([1e-38, 1e-6, 0.5, 1], n), rng.uniform(0, 1, n) + 1e-9)
    drawn = {"threshold": rng.choice([1, 0.5, -0.25], n), "reset": rng.choice([0, -1, 2], n), "initial": rng.random(n),
             "rate": rate, "period": rng.choice([0, 1, 2.5, 1e7], n, p=[0.3, 0.3, 0.3, 0.1])}  # fmt: skip
    dynamics = Dynamics(RULES["refractory_lif"], reset, at_least=bool(rng.random() < 0.5), floored=floored)
    parameters = {name: value.astype(np.float32) for name, value in drawn.items()}
    lif = Population("lif", (n,), dynamics, parameters, output=True)
    network = Network([Population("x", (n,), input_emits=Emits.VALUES), lif],
                      [Projection(0, 1, "diagonal", np.ones(1, np.float32))])  # fmt: skip
    x = rng.uniform(-2, 9, (60, n)).astype(np.float32)
    at = np.nextafter(parameters["threshold"], rng.choice([-9, 9], n).astype(np.float32))
    x = np.where(rng.random(x.shape) < 0.4, rng.choice([parameters["threshold"], at], axis=0), x)
    x = np.where(rng.random(x.shape) < 0.02, np.float32(1e30), x)
    oracle = Oracle(network)
    expected = oracle.run([x])
    assert 0.02 < expected.sent[1].mean() < 0.98
    for kernels in available_kernels():
        state = State(opened(encode(network), kernels))
        compare(network, expected, run(state.opened, [x], state), (SEED, reset, kernels))
        assert np.array_equal(state.get(1, "refractory"), oracle.states[1]["refractory"], equal_nan=True), kernels


@pytest.mark.parametrize("reset", [Reset.NONE, Reset.LATE_DISCARD, Reset.LATE_ALL])
def test_two_currents_of_a_neuron(reset: Reset) -> None:
    """What a spike leaves of them, in all lanes and the last, partial block."""
    rng = np.random.default_rng(SEED)
    drawn = draw_population(rng, "alpha", (45,), dyadic=False, rule="alpha")
    assert drawn.dynamics is not None
    dynamics = Dynamics(drawn.dynamics.rule, reset)
    for name, value in (("threshold", 0.2), ("alpha", 0.9), ("beta", 0.3), ("gain", 2)):
        drawn.parameters[name] = np.full(1, value, np.float32)
    alpha = replace(drawn, dynamics=dynamics, output=True)
    network = Network([Population("x", (45,), input_emits=Emits.VALUES), alpha],
                      [Projection(0, 1, "diagonal", np.ones(1, np.float32))])  # fmt: skip
    x = rng.normal(0.3, 1, (30, 45)).astype(np.float32)
    oracle = Oracle(network)
    expected = oracle.run([x])
    assert 0.1 < expected.sent[1].mean() < 0.9
    for kernels in available_kernels():
        state = State(opened(encode(network), kernels))
        compare(network, expected, run(state.opened, [x], state), (SEED, reset, kernels))
        for name in ("i", "inhibition"):
            assert np.array_equal(state.get(1, name), oracle.states[1][name]), (SEED, name)


def test_state_variables_are_set() -> None:
    """And the network goes on from there."""
    network, rng = mixed(), np.random.default_rng(SEED)
    oracle, state = Oracle(network), State(opened(encode(network)))
    inputs = several(network, 6)
    for _ in range(2):
        for i, name in ((FIRING, "v"), (FIRING, "i"), (LEVELS, "v"), (LEVELS, "level")):
            values = rng.integers(0, 5, network.populations[i].size).astype(np.float32)
            state.set(i, name, values)
            assert np.array_equal(state.get(i, name), values)
            oracle.states[i][name] = values
        assert compare(network, oracle.run(inputs), run(state.opened, inputs, state), SEED) > 20
    with pytest.raises(InputError, match="relay: has no state variable v; it has none"):
        state.get(RELAY, "v")
    with pytest.raises(InputError, match="firing: has no state variable level; it has v, i"):
        state.set(FIRING, "level", np.zeros(5))


def test_wrong_arguments_of_c() -> None:
    """What Python never passes is refused, and changes nothing."""
    network = mixed()
    inputs, null, bad = several(network, 6), ffi.NULL, lib.BNN_ERROR_ARGUMENT
    state = State(opened(encode(network)))
    net, s, floats, size = state.opened.pointer, state.pointer, ffi.new("float[]", [0.5] * 200), ffi.new("size_t *", 9)
    assert lib.bnn_snn_state_size(null, size) == lib.bnn_snn_state_size(net, null) == bad and size[0] == 9
    memory, made = Memory(state.bytes + 1), ffi.new("bnn_snn_state **")
    create = lib.bnn_snn_state_create
    for arguments in ((null, memory.pointer, state.bytes, made), (net, null, state.bytes, made)):
        assert create(*arguments) == bad
    assert create(net, memory.pointer, state.bytes, null) == bad
    assert create(net, memory.pointer, state.bytes - 1, made) == lib.BNN_ERROR_MEMORY
    made[0] = s
    assert create(net, memory.pointer + 1, state.bytes, made) == lib.BNN_ERROR_MEMORY and made[0] == null

    assert lib.bnn_snn_reset(null) == lib.bnn_snn_run(null, null, 1) == lib.bnn_snn_normalize(null) == bad
    assert lib.bnn_snn_run_until_spike(null, null, 1) == bad
    assert lib.bnn_snn_send(null, 0, 0, 1) == bad
    lib.bnn_snn_set_poll(null, null, null)
    lib.bnn_snn_set_learning(null, 1)
    sent, current, membrane = lib.BNN_SNN_SENT, lib.BNN_SNN_CURRENT, lib.BNN_SNN_MEMBRANE
    for arguments in (
        (null, 0, sent), (s, 7, sent), (s, FIRING, membrane + 1), (s, 0, current), (s, 0, membrane),
        (s, RELAY, membrane),
    ):  # fmt: skip
        assert lib.bnn_snn_record(*arguments, floats, 1) == bad, arguments
    for arguments in ((null, FIRING, floats), (s, FIRING, null), (s, 7, floats), (s, 0, floats)):
        assert lib.bnn_snn_settle(*arguments, 1) == bad, arguments
    words = ffi.new("uint32_t[]", 9)
    for arguments in (
        (null, 0, floats, 5, 1, words), (net, 0, null, 5, 1, words), (net, 0, floats, 5, 1, null),
        (net, 7, floats, 5, 1, words), (net, LEVELS, floats, 5, 1, words), (net, 0, floats, 5, 1, words),
    ):  # fmt: skip
        assert lib.bnn_snn_pack(*arguments) == bad, arguments
    v, level = lib.BNN_SNN_V, lib.BNN_SNN_LEVEL
    for arguments in (
        (null, FIRING, v, floats), (s, 7, v, floats), (s, FIRING, level + 1, floats), (s, RELAY, v, floats),
        (s, FIRING, v, null), (s, FIRING, lib.BNN_SNN_B + 1, floats),
    ):  # fmt: skip
        assert lib.bnn_snn_get(*arguments) == lib.bnn_snn_set(*arguments) == bad, arguments
    assert lib.bnn_snn_set(s, LEVELS, level, floats) == bad  # halves
    for arguments in ((null, 3, floats), (s, 4, floats), (s, 0, floats), (s, 3, null)):
        assert lib.bnn_snn_get_weights(*arguments) == lib.bnn_snn_set_weights(*arguments) == bad, arguments
    assert list(floats) == [0.5] * 200
    floats[199] = np.inf
    assert lib.bnn_snn_set_weights(s, 3, floats) == bad
    zeros = ffi.new("uint64_t[8]")
    for shift in range(1, 8):  # floats need their alignment, words of bits none
        given = ffi.new("void *[4]", [ffi.cast("char *", zeros) + shift] * 2)
        assert lib.bnn_snn_run(s, given, 1) == (lib.BNN_OK if shift == 4 else bad)
        given[1] = null
        assert lib.bnn_snn_run(s, given, 1) == lib.BNN_OK
    assert lib.bnn_snn_reset(s) == lib.BNN_OK
    assert lib.bnn_snn_sent(s, 7) == lib.bnn_snn_synops(s, 4) == 0

    assert np.array_equal(state.weights(state.opened.projections[3]), network.projections[3].weights)
    assert compare(network, Oracle(network).run(inputs), run(state.opened, inputs, state), SEED) > 20


# -- polls ------------------------------------------------------------------------------------------------------------

BALLAST = 2**16


def ballast() -> Population:
    """A large one: alone, it does the work that leads to a poll."""
    return population("ballast", (BALLAST,), "relay", Reset.NONE, Emits.VALUES)


def stopping(state: State, when: int | None) -> list[int]:
    """A poll that stops the state when it is asked for that time; the number of times that it was asked."""
    asked = [0]

    @ffi.callback("int(void *)")  # type: ignore[untyped-decorator]
    def poll(_: CData) -> int:
        asked[0] += 1
        return asked[0] == when

    lib.bnn_snn_set_poll(state.pointer, poll, ffi.NULL)
    vars(state)["poll"] = poll  # as long as the state lives
    return asked


def stopping_after(state: State, work: int) -> list[int]:
    """The same, of the poll that is due after so much work, a multiple of 32.  ``state``: one with ballast, and with
    one population of 32 neurons beside the input."""
    before = lib.BNN_POLL_WORK - work
    for size in (BALLAST, 32):
        (number,) = (p.index for p in state.opened.populations if p.opcode and p.size == size)
        currents = np.zeros((before // size, size), np.float32)
        state.settle(number, currents)
        before -= currents.size
    return stopping(state, 1)


def run_frames(state: State, x: Floats) -> int:
    words = ffi.from_buffer(frames(x, Emits.SPIKES))
    return int(lib.bnn_snn_run(state.pointer, ffi.new("void *[]", [words]), len(x)))


@pytest.mark.parametrize(("columns", "piece"), [(3, 64), (4, 1024)])
def test_stopped_anywhere(columns: int, piece: int) -> None:
    """After any work; whatever is then called says so; a reset, and all is as if nothing had been.

    Kernels of four columns gather; ``piece``: what may be counted before the next question.
    """
    rng = np.random.default_rng(SEED)

    def weights(*shape: int) -> Floats:
        return rng.normal(0.1, 0.3, shape).astype(np.float32)

    network = Network(
        [
            Population("input", (4, 4, 2)),
            population("first", (4, 4, 4), "decay", Reset.VALUE, output=True, beta=0.875),
            population("second", (32,), "decay", Reset.VALUE, beta=0.875),
            ballast(),
        ],
        [
            Projection(0, 1, "conv", weights(2, 3, columns, 4), padding=(1, 1)),
            Projection(0, 1, "conv", weights(2, 3, 3, 2), padding=(1, 1), groups=2),
            Projection(0, 1, "conv", weights(2, 2, 2, 4), padding=(1, 1), dilation=(2, 2)),
            Projection(0, 2, "diagonal", np.abs(weights(32)) + 0.5),
        ],
    )
    x = rng.permuted(np.tile(np.arange(32) < 22, (3, 1)), axis=1).astype(np.float32)  # enough that they gather
    expected = run(opened(encode(network)), [x])
    assert expected.sent[1].any() and expected.sent[2].any()
    state = State(opened(encode(network)))
    nothing, synops = ffi.new("float[]", 64), []
    for work in range(32, 4096, 32):
        state.reset()
        asked = stopping_after(state, work)
        sent = np.full((3, 2), 7, np.uint32)
        state.record(1, SENT, sent)
        assert run_frames(state, x) == lib.BNN_ERROR_STOPPED and asked == [1] and state.steps == 1
        synops.append([state.synops(j) for j in range(4)])
        assert sum(synops[-1]) < work + piece
        assert (sent == 7).all() or np.array_equal(unpacked(sent[:1], 64, Emits.SPIKES), expected.sent[1][:1])
        assert (sent[1:] == 7).all()
        assert run_frames(state, x) == lib.bnn_snn_send(state.pointer, 0, 0, 1) == lib.BNN_ERROR_STOPPED
        assert lib.bnn_snn_settle(state.pointer, 1, nothing, 1) == lib.BNN_ERROR_STOPPED and asked == [1]
        state.forget()
    assert synops == sorted(synops) and len({sum(done) for done in synops}) > 15
    assert not any(synops[0][1:]) and all(synops[-1])
    state.reset()
    assert compare(network, expected, run(state.opened, [x], state), SEED) > 50


@pytest.mark.parametrize("lists", [False, True])
def test_stopped_within_a_window(lists: bool) -> None:
    """The highest of windows, or lists of what is in them: after any row of targets; a reset, and all is as if nothing
    had been."""
    rng = np.random.default_rng(SEED)
    emits, shape, pooled = (Emits.SPIKES, (4, 2, 8), (2, 1, 16)) if lists else (Emits.COUNTS, (8, 8, 2), (4, 4, 2))
    window = Projection(0, 1, "window", np.zeros(0, np.float32), stride=(2, 2), window=(2, 2))
    if lists:
        window = Projection(0, 1, "conv", rng.normal(size=(8, 2, 2, 16)).astype(np.float32), stride=(2, 2))
    pool = population("pool", pooled, "relay", Reset.NONE, Emits.VALUES, output=True)
    network = Network([Population("input", shape, input_emits=emits), pool, ballast()], [window])
    x = rng.permuted(np.tile(np.arange(64) < 30, (2, 1)), axis=1) if lists else rng.integers(0, 5, (2, 128))
    x = x.astype(np.float32)
    expected, state = run(opened(encode(network)), [x]), State(opened(encode(network)))
    held = ffi.from_buffer(frames(x, emits))
    given = ffi.new("void *[]", [held])
    synops = set()
    for work in range(32, 320, 32):
        state.reset()
        asked = stopping_after(state, work)
        assert lib.bnn_snn_run(state.pointer, given, len(x)) == lib.BNN_ERROR_STOPPED and asked == [1], (work, SEED)
        synops.add(state.synops(0))
    assert not lists or any(0 < some < 30 * 16 for some in synops), synops
    lib.bnn_snn_set_poll(state.pointer, ffi.NULL, ffi.NULL)
    state.reset()
    state.settle(2, np.zeros((lib.BNN_POLL_WORK // BALLAST + 1, BALLAST), np.float32))  # nobody is asked
    state.reset()
    assert np.array_equal(run(state.opened, [x], state).sent[1], expected.sent[1])


def test_stopped_by_any_question() -> None:
    """Dense weights ask while they are added, if they are many."""
    rng = np.random.default_rng(SEED)
    out = population("out", (8192,), "decay", Reset.SUBTRACT, output=True, beta=0.5)
    weights = rng.integers(-127, 128, (600, 8192)).astype(np.int8)
    network = Network([Population("input", (600,)), out], [Projection(0, 1, "dense", weights, 0.01)])
    x = (rng.random((3, 600)) < 0.95).astype(np.float32)  # more than BNN_POLL_WORK / 8192 in each step
    expected = Oracle(network).run([x])
    state = State(opened(encode(network)))
    free = stopping(state, None)
    assert run_frames(state, x) == lib.BNN_OK and free == [3]
    for when in range(1, free[0] + 1):
        state.reset()
        asked = stopping(state, when)
        assert run_frames(state, x) == lib.BNN_ERROR_STOPPED and asked == [when]
    state.reset()
    assert compare(network, expected, run(state.opened, [x], state), SEED) > 100
    out = population("out", (1024,), "decay", Reset.VALUE, output=True, beta=0.5)
    weights = np.ones((1024, 1024), np.float32)  # those of four steps lead to a question
    data = encode(Network([Population("input", (1024,)), out], [Projection(0, 1, "dense", weights)]))
    for kernels in available_kernels():
        state = State(opened(data, kernels))
        asked = stopping(state, 1)
        assert run_frames(state, np.ones((4, 1024), np.float32)) == lib.BNN_ERROR_STOPPED, kernels
        assert asked == [1] and state.steps in (1, 4), kernels  # 4: of a family whose steps share nothing


@pytest.mark.parametrize(("emits", "weight", "sent"), [(Emits.COUNTS, 127, 2.0**24), (Emits.SPIKES, -128, 1)])
def test_sums_of_bytes_have_32_bits(emits: Emits, weight: int, sent: float) -> None:
    """And wrap around, in every kernel family; docs/reference/snn-format.md says so.  600 times -128
    needs more than 16."""
    inputs = Population("in", (600,), input_emits=emits)
    sums = population("out", (590,), "relay", Reset.NONE, Emits.VALUES, output=True)
    network = Network([inputs, sums], [Projection(0, 1, "dense", np.full((600, 590), weight, np.int8), name="w")])
    x = np.full((1, 600), sent, np.float32)
    expected = (600 * weight * int(sent) + 2**31) % 2**32 - 2**31
    assert (Oracle(network).run([x]).sent[1] == expected).all()
    for family in available_kernels():
        assert (SpikingModel.from_bytes(encode(network), kernels=family).run(x).output == expected).all(), family


@pytest.mark.parametrize("at_least", [False, True])
@pytest.mark.parametrize("reset", [Reset.VALUE, Reset.SUBTRACT])
@pytest.mark.parametrize(
    "rule", ["integrate", "approach", "decay", "decay_scaled", "divide_all", "divide", "approach_rest", "leak_rest"]
)
def test_membranes_alone_equal_the_oracle(rule: str, reset: Reset, at_least: bool) -> None:
    """Neurons with the same parameters and nothing but a membrane: families keep it in registers, and multiply by the
    inverse of a power of two, which is exact.  Blocks of 32, and what is left of one; ties at the threshold."""
    rng = np.random.default_rng([SEED, at_least])
    x = np.append(rng.normal(0, 1, (20, 70)), rng.integers(-2, 5, (20, 70)) / 4, axis=0).astype(np.float32)
    tau = [0.5, 2, 3, 2.0**20, 2.0**126, 2.0**127] if rule.startswith("divide") else [0.9]
    for number in tau:
        given = {"tau": number, "rest": -0.1, "rate": 0.3, "leak": 0.1, "beta": 0.9, "gain": 0.4, "threshold": 0.75}
        out = population("out", (70,), rule, reset, output=True, **given)
        out.parameters["reset"] = np.full(1, -0.2, np.float32)
        out.dynamics = replace(out.dynamics, at_least=at_least)
        projections = [Projection(0, 1, "diagonal", np.ones(1, np.float32))]
        network = Network([Population("in", (70,), input_emits=Emits.VALUES), out], projections)
        expected = Oracle(network).run([x])
        for kernels in available_kernels():
            found = run(opened(encode(network), kernels), [x])
            assert compare(network, expected, found, (SEED, rule, number, kernels)) > 100
