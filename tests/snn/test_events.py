# SPDX-License-Identifier: Apache-2.0
"""Event populations: random ones against the definition in NumPy, files that are refused, and lowered networks."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._native import ffi, lib
from bnn._types import Array, Floats
from bnn.errors import CompileError, InputError, ModelFormatError
from bnn.runtime.handles import SNN, Contents, select_kernels
from bnn.snn import SpikingModel, build
from bnn.snn.file import FORMAT, POPULATION, PROJECTION, decode, encode
from bnn.snn.handle import OpenedNetwork, State
from bnn.snn.network import Network, Population, Projection
from bnn.snn.oracle import Oracle
from bnn.snn.rules import EVENT_RULES, RULES, Dynamics, Emits
from raw_model import with_checksum

from .event_networks import NONE, Rng, changes, draw, event, f, given


@pytest.mark.parametrize("family", bnn.runtime.available_kernels())
def test_random_event_populations_equal_the_oracle(rng: Rng, family: str) -> None:
    """What is sent in every step, membranes and levels at the end, and counts; one by one, and all in one call."""
    for _ in range(12):
        net = draw(rng)
        inputs = [changes(rng, net.populations[i], 7) for i in net.inputs]
        oracle = Oracle(net)
        want = oracle.run(inputs)
        opened = OpenedNetwork(Contents.of_bytes(encode(net), SNN), select_kernels(family))
        for single in (False, True):
            state = State(opened, 2**40)
            sent = {i: np.zeros((7, p.size), np.float32) for i, p in enumerate(net.populations)}
            for i, rows in sent.items():
                state.record(i, "sent", rows)
            if single:
                for t in range(7):
                    for i, x in zip(net.inputs, inputs, strict=True):
                        for neuron in rng.permutation(np.flatnonzero(x[t])):
                            state.send(i, int(neuron), float(x[t][neuron]))
                    state.run([None] * len(inputs), 1)
            else:
                state.run(inputs, 7)
            for i, p in enumerate(net.populations):
                if p.emits != Emits.VALUES or p.dynamics is not None:
                    assert np.array_equal(sent[i], want.sent[i]), (p.name, p.rule)
                if p.dynamics is None:
                    continue
                if "level" in p.dynamics.rule.states:
                    assert np.array_equal(state.get(i, "level"), oracle.states[i]["level"])
                    assert state.sent(i) == np.abs(want.sent[i]).sum()
                if p.rule == "sum":
                    assert np.array_equal(state.get(i, "v"), oracle.states[i]["v"])


def test_a_file_of_them_is_read_as_it_was_written(rng: Rng) -> None:
    for _ in range(5):
        data = encode(draw(rng))
        assert encode(decode(data)) == data


def test_traces(rng: Rng) -> None:
    """Every change, one by one, in the steps in which they were sent; and no more than there is room for."""
    net = draw(rng)
    inputs = [changes(rng, net.populations[i], 5) for i in net.inputs]
    opened = OpenedNetwork(Contents.of_bytes(encode(net), SNN), select_kernels(None))
    state, want = State(opened, 2**40), Oracle(net).run(inputs)
    trace = ffi.new("bnn_snn_change[]", 10**6)
    lib.bnn_snn_set_trace(state.pointer, trace, 10**6)
    state.run(inputs, 5)
    count = lib.bnn_snn_traced(state.pointer)
    found = {i: np.zeros((5, p.size), np.float32) for i, p in enumerate(net.populations)}
    for k in range(count):
        one = trace[k]
        assert one.change in (1, -1)
        found[one.population][one.step - 1, one.neuron] += one.change
    for i, p in enumerate(net.populations):
        if p.emits != Emits.VALUES:
            assert np.array_equal(found[i], want.sent[i])
    state.reset()
    last = ffi.new("bnn_snn_change[]", count)
    lib.bnn_snn_set_trace(state.pointer, last, count - 1)
    state.run(inputs, 5)
    assert lib.bnn_snn_traced(state.pointer) == count
    assert (last[count - 1].step, last[count - 2].step) == (0, trace[count - 2].step)


def opened(net: Network) -> State:
    return State(OpenedNetwork(Contents.of_bytes(encode(net), SNN), select_kernels(None)), 2**40)


def test_levels_stay_in_their_range() -> None:
    net = Network([given("in", (3,), 2), event("sum", "sum", (2,))],
                  [Projection(0, 1, "conv", np.ones((3, 1, 1, 2), np.float32))])  # fmt: skip
    net.populations[1].output = True
    state = opened(net)
    state.send(0, 1, 2.0)
    for neuron, value in ((1, 1.0), (1, -3.0), (0, 0.5), (0, np.nan)):
        with pytest.raises(InputError, match=f"neuron {neuron}: found"):
            state.send(0, neuron, value)
    state.run([None], 1)
    assert state.get(1, "v").tolist() == [2, 2]
    with pytest.raises(bnn.BnnError):
        state.run([f(0, 1, 0)[None]], 1)
    with pytest.raises(bnn.BnnError):
        state.run([None], 1)
    state.reset()
    state.run([f(1, 1, 0)[None]], 1)
    assert state.get(1, "v").tolist() == [2, 2]


def test_what_is_taken_back_before_the_step_was_never_sent() -> None:
    """Also where something else is sent, and beside a population that is no event population."""
    state = opened(network())
    for population, neuron in ((0, 3), (2, 5)):
        for value in (1.0, 0.0, -1.0):
            state.send(population, neuron, value)
    with pytest.raises(InputError):
        state.send(1, 0, np.nan)
    state.run([None] * 3, 1)
    assert state.synops(0) == state.synops(2) == state.synops(4) == 0
    assert state.sent(0) == state.sent(2) == 2  # up and down
    assert not state.get(5, "v").any() and not state.get(7, "level").any()


def test_bits_of_many_channels(rng: Rng) -> None:
    """They are compared 2,048 at a time, and 32 where they look at sums."""
    weights = rng.integers(-2, 3, (3, 1, 1, 2100)).astype(np.float32)
    net = Network([given("in", (1, 2, 3), emits=Emits.VALUES)], [])
    for name in ("own", "looks"):
        cuts = rng.integers(-4, 5, 2100).astype(np.float32)
        net.populations.append(event(name, "counter", (1, 2, 2100), cuts=cuts))
        net.populations[-1].output = True
    net.populations.insert(2, event("sums", "sum", (1, 2, 2100)))
    net.projections += [Projection(0, k, "conv", weights) for k in (1, 2)]
    net.projections.append(Projection(2, 3, "window", NONE, window=(1, 2), padding=(0, 1), stride=(1, 1)))
    state, oracle, x = opened(net), Oracle(net), changes(rng, net.populations[0], 4)
    oracle.run([x])
    state.run([x], 4)
    for k in (1, 3):
        assert np.array_equal(state.get(k, "level"), oracle.states[k]["level"])


def test_what_cannot_be_asked() -> None:
    state, values = opened(network()), ffi.new("float[]", 64)
    v, level, s = lib.BNN_SNN_V, lib.BNN_SNN_LEVEL, state.pointer
    for population, variable in ((3, v), (7, v), (5, level), (1, level), (6, v), (3, lib.BNN_SNN_I), (10, v)):
        assert lib.bnn_snn_get(s, population, variable, values) == lib.BNN_ERROR_ARGUMENT
    assert lib.bnn_snn_get(ffi.NULL, 5, v, values) == lib.bnn_snn_get(s, 5, v, ffi.NULL) == lib.BNN_ERROR_ARGUMENT
    for population, variable in ((5, v), (3, level)):
        assert lib.bnn_snn_get(s, population, variable, values) == lib.BNN_OK
        assert lib.bnn_snn_set(s, population, variable, values) == lib.BNN_ERROR_ARGUMENT
        assert lib.bnn_snn_settle(s, population, values, 1) == lib.BNN_ERROR_ARGUMENT
    assert lib.bnn_snn_sent(s, 10) == 0


def test_stopped_wherever_it_asks(rng: Rng) -> None:
    """Then the state wants a reset, and is right again."""
    ones = np.ones((64, 3, 3, 64))
    grid = (24, 24, 64)
    populations = [
        given("bits", grid), given("levels", grid, 3),
        event("lanes", "counter", grid, cuts=[0] * 64), event("many", "counter", grid, 2, cuts=[1, 9] * 64),
        event("sum", "sum", grid), event("any", "any", grid), event("moved", "wire", grid),
    ]  # fmt: skip
    populations[-1].output = True
    projections = [
        Projection(0, 2, "conv", ones.astype(np.int8), 2.0, padding=(1, 1)),
        Projection(1, 3, "conv", ones.astype(np.float32), padding=(1, 1)),
        Projection(1, 4, "conv", ones.astype(np.float32), padding=(1, 1)),
        Projection(0, 4, "conv", ones.astype(np.float32), padding=(1, 1)),
        Projection(2, 5, "window", NONE, window=(3, 3), padding=(1, 1)),
        Projection(5, 6, "wires", np.arange(24 * 24 * 64, dtype=np.int32)),
    ]
    state, left, asked = opened(Network(populations, projections)), [0], 0
    x = [np.ones((1, 24 * 24 * 64), np.float32) for _ in range(2)]

    @ffi.callback("int(void *)")
    def poll(argument: Any) -> int:
        left[0] -= 1
        return left[0] == -1

    lib.bnn_snn_set_poll(state.pointer, poll, ffi.NULL)
    inputs = ffi.new("void *[]", [ffi.from_buffer(a) for a in x])
    while True:
        left[0] = asked
        status = lib.bnn_snn_run(state.pointer, inputs, 1)
        if status == lib.BNN_OK:
            break
        assert (status, left[0]) == (lib.BNN_ERROR_STOPPED, -1)
        assert lib.bnn_snn_run(state.pointer, inputs, 1) == lib.BNN_ERROR_STOPPED
        state.reset()
        asked += 1
    assert asked > 20
    lib.bnn_snn_set_poll(state.pointer, ffi.NULL, ffi.NULL)
    assert state.get(4, "v").max() == 2 * 9 * 64


# -- files ------------------------------------------------------------------------------------------------------------


def network() -> Network:
    """0: bits, 1: values, 2: levels; 3: lanes, 4: an encoder, 5: a sum, 6: a counter that looks, 7: any, 8: wires."""
    one = np.ones((4, 1, 1, 4), np.float32)
    populations = [
        given("bits", (2, 2, 4)),
        given("values", (2, 2, 4), emits=Emits.VALUES),
        given("levels", (2, 2, 4), 5),
        event("lanes", "counter", (2, 2, 4), cuts=[1.0, 2, 3, 4]),
        event("encoder", "counter", (2, 2, 4), 2, cuts=[1, 2] * 4),
        event("sum", "sum", (2, 2, 4)),
        event("looks", "counter", (1, 1, 4), cuts=[0.5] * 4, sign=f(-1)),
        event("any", "any", (2, 2, 4), every=f(1)),
        event("wires", "wire", (3,)),
        Population("relay", (3,), Dynamics(RULES["relay"]), {k: f(0.5) for k in ("threshold", "reset", "initial")}),
    ]
    populations[5].output = True
    projections = [
        Projection(0, 3, "conv", np.ones((4, 1, 1, 4), np.int8), 2.0),
        Projection(1, 4, "conv", one * 0.5),
        Projection(2, 5, "conv", one * 2),
        Projection(5, 6, "window", NONE, window=(2, 2)),
        Projection(0, 7, "window", NONE, window=(1, 1)),
        Projection(0, 8, "wires", np.array([3, -1, 3], np.int32)),
    ]
    return Network(populations, projections)


DATA = encode(network())
STARTS = dict(zip(("population", "projection"), FORMAT.header.unpack_from(DATA)[8:10], strict=True))
SIZES = {"population": POPULATION.size, "projection": PROJECTION.size}


def data_at(table: str, number: int, offset: int) -> int:
    (line,) = struct.unpack_from("<I", DATA, STARTS[table] + SIZES[table] * number + offset)
    return int(FORMAT.header.unpack_from(DATA)[12]) + 64 * line


def refused(*edits: tuple[int, str, float]) -> str:
    data = bytearray(DATA)
    for place, form, value in edits:
        struct.pack_into("<" + form, data, place, value)
    with pytest.raises(ModelFormatError) as raised:
        SpikingModel.from_bytes(with_checksum(data))
    return str(raised.value)


RECORDS: list[tuple[str, int, list[tuple[int, str, float]], str]] = [
    ("population", 0, [(2, "B", 0)], "what an event input sends"),
    ("population", 0, [(116, "I", 256)], "levels above 0 (1 to)"),
    ("population", 1, [(116, "I", 2)], "levels above 0 (1 to)"),
    ("population", 3, [(116, "I", 0)], "levels above 0 (1 to)"),
    ("population", 5, [(116, "I", 2)], "levels above 0 (1 to)"),
    ("population", 7, [(116, "I", 2)], "levels of windows of bits (1)"),
    ("population", 5, [(2, "B", 3)], "what a rule sends that takes back, and no other"),
    ("population", 5, [(2, "B", 1)], "what a sum sends"),
    ("population", 3, [(2, "B", 2)], "what a rule sends that takes back, and no other"),
    ("population", 4, [(120, "I", 2**31)], "bytes of data after an offset"),
    ("population", 0, [(116, "I", 0), (112, "I", 1)], "levels of no event population"),
    ("projection", 0, [(12, "I", 1)], "delay, mask or bias between event populations"),
    ("projection", 0, [(2, "B", 1)], "delay, mask or bias between event populations"),
    ("projection", 0, [(16, "f", 1.0)], "int8 weights from bits, -1 to 1 with a scale of 2 (1: yes)"),
    ("projection", 0, [(4, "I", 2)], "int8 weights from bits, -1 to 1 with a scale of 2 (1: yes)"),
    ("projection", 2, [(8, "I", 7)], "one window, of bits or of sums (1: yes)"),
    ("projection", 2, [(8, "I", 8)], "wires from as many levels (1: yes)"),
    ("projection", 2, [(0, "B", 3)], "one window, of bits or of sums (1: yes)"),
    ("projection", 4, [(28, "I", 4)], "windows with a source (1: yes)"),
    ("projection", 5, [(8, "I", 9)], "event populations on both sides (1: yes)"),
    ("projection", 3, [(4, "I", 0)], "one window, of bits or of sums (1: yes)"),
    ("projection", 4, [(4, "I", 2)], "one window, of bits or of sums (1: yes)"),
    ("projection", 4, [(4, "I", 5)], "one window, of bits or of sums (1: yes)"),
    ("projection", 4, [(8, "I", 6)], "one window, of bits or of sums (1: yes)"),
    ("projection", 4, [(8, "I", 8)], "channels on both sides of windows"),
    ("projection", 4, [(36, "I", 2)], "windows with a source (1: yes)"),
    ("projection", 3, [(28, "I", 4), (36, "I", 3), (20, "I", 2)], "windows with a source (1: yes)"),
    ("projection", 4, [(44, "I", 2)], "dilation or groups of windows"),
    ("projection", 4, [(48, "I", 2)], "dilation or groups of windows"),
    ("projection", 4, [(52, "I", 2)], "dilation or groups of windows"),
    ("projection", 4, [(0, "B", 1)], "one window, of bits or of sums (1: yes)"),
    ("projection", 5, [(4, "I", 2)], "wires from as many levels (1: yes)"),
    ("projection", 5, [(4, "I", 5)], "wires from as many levels (1: yes)"),
    ("projection", 5, [(60, "I", 5)], "number of wires"),
    ("projection", 5, [(56, "I", 2**31)], "bytes of data after an offset"),
    ("projection", 5, [(0, "B", 5)], "kind (at most)"),
]


@pytest.mark.parametrize(("table", "number", "edits", "text"), RECORDS)
def test_records(table: str, number: int, edits: list[tuple[int, str, float]], text: str) -> None:
    start = STARTS[table] + SIZES[table] * number
    assert f"{table} {number}: {text}: found" in refused(*((start + at, form, value) for at, form, value in edits))


ARRAYS: list[tuple[str, int, int, int, str, float, str]] = [
    ("population", 3, 120, 0, "f", 1.5, "cut of sums of int8 that is no whole number: element"),
    ("population", 4, 120, 4, "f", 0.5, "cut that is not a number, or is below the one before: element"),
    ("population", 4, 120, 0, "f", np.nan, "cut that is not a number, or is below the one before: element"),
    ("projection", 0, 56, 3, "b", 2, "int8 weights from bits, -1 to 1 with a scale of 2 (1: yes)"),
    ("projection", 0, 56, 3, "b", -2, "int8 weights from bits, -1 to 1 with a scale of 2 (1: yes)"),
    ("projection", 5, 56, 0, "I", 1, "number of wires"),
    ("projection", 5, 56, 4, "I", 3, "first wire after that of the source before: source"),
    ("projection", 5, 56, 4 * 17, "I", 3, "target of a wire (below)"),
]


@pytest.mark.parametrize(("table", "number", "offset", "at", "form", "value", "text"), ARRAYS)
def test_arrays(table: str, number: int, offset: int, at: int, form: str, value: float, text: str) -> None:
    assert f": {text}: found" in refused((data_at(table, number, offset) + at, form, value))


PARAMETERS: list[tuple[int, str, Floats, str]] = [
    (3, "initial", f(0.5), "initial sum of int8 that is no whole number: element"),
    (3, "sign", f(-1), "sign of sums of int8 (1): element"),
    (6, "sign", f(0.5), "sign that is not 1 or -1: element"),
    (4, "sign", f(*[1] * 16), "signs or sides of a counter (1, or channels)"),
    (4, "lowest", f(*[1] * 16), "signs or sides of a counter (1, or channels)"),
    (7, "every", f(*[1] * 16), "parameters of windows (1, or channels)"),
    (8, "bias", f(1), "bias of an event population"),
    (3, "bias", f(*[0] * 4), "bias of an event population"),
]


@pytest.mark.parametrize(("number", "name", "value", "text"), PARAMETERS)
def test_parameters(number: int, name: str, value: Floats, text: str) -> None:
    net = network()
    if name == "bias":
        net.populations[number].bias = value
    else:
        net.populations[number].parameters[name] = value
    with pytest.raises(ModelFormatError, match=": found") as raised:
        SpikingModel.from_bytes(encode(net))
    assert f": {text}: found" in str(raised.value)


def test_what_only_several_projections_or_none_break() -> None:
    def changed(edit: Any) -> str:
        net = network()
        edit(net)
        with pytest.raises(ModelFormatError) as raised:
            SpikingModel.from_bytes(encode(net))
        return str(raised.value)

    again = Projection(0, 3, "conv", np.ones((4, 1, 1, 4), np.float32))
    assert "type of the weights of all projections into it" in changed(lambda n: n.projections.append(again))
    both = Projection(5, 6, "window", NONE, window=(1, 1))
    assert "one window, of bits or of sums" in changed(lambda n: n.projections.append(both))
    look = Projection(0, 6, "conv", np.ones((4, 1, 1, 4), np.float32))
    kind = "convolutions of what changes (1: yes)"
    assert kind in changed(lambda n: n.projections.append(look))
    dense = Projection(0, 5, "dense", np.ones((16, 16), np.float32))
    assert kind in changed(lambda n: n.projections.append(dense))
    sums = Projection(5, 6, "conv", np.ones((4, 1, 1, 4), np.float32))
    assert kind in changed(lambda n: n.projections.__setitem__(3, sums))
    assert "windows of a population that looks (1)" in changed(lambda n: n.projections.pop(4))
    biased = Projection(0, 3, "conv", np.ones((4, 1, 1, 4), np.int8), 2.0, bias=f(0))
    assert "delay, mask or bias" in changed(lambda n: n.projections.__setitem__(0, biased))
    several = Projection(0, 4, "conv", np.ones((4, 1, 1, 4), np.int8), 2.0)
    assert "levels of sums of int8" in changed(lambda n: n.projections.__setitem__(1, several))


def test_what_python_refuses_to_write() -> None:
    def refusal(edit: Any) -> str:
        net = network()
        edit(net)
        with pytest.raises(CompileError) as raised:
            net.check()
        return str(raised.value)

    def steps(n: Network) -> None:
        n.populations[2].steps = 256

    def cuts(n: Network) -> None:
        n.populations[4].cuts = f(2, 1, *[1] * 6)

    def wires(n: Network) -> None:
        n.projections[5].weights = np.array([16, 0, 0], np.int32)

    def window(n: Network) -> None:
        n.projections[4].window = (0, 2)

    assert "levels: found 256 levels above 0, expected 1 to 255" in refusal(steps)
    assert "encoder: found 8 cuts, expected 4 times 2 that rise" in refusal(cuts)
    assert "found wires of int32, shape (3,), expected the numbers of 16 sources" in refusal(wires)
    assert "found a window (0, 2), stride (1, 1)" in refusal(window)
    other = Population("spikes", (16,))
    assert "found one event population, expected both sides or none" in refusal(
        lambda n: n.populations.__setitem__(0, other)
    )

    def no_events(n: Network) -> None:
        n.populations[0], n.projections = other, [n.projections[5]]
        n.projections[0].target = 9

    assert "found wires from spikes of spikes, expected event populations, or a window" in refusal(no_events)


# -- lowered networks -------------------------------------------------------------------------------------------------

DIGITS = Path(__file__).parents[2] / "examples/digits.bnn"


def test_the_populations_of_a_model_give_its_bits(rng: Rng, tmp_path: Path) -> None:
    """Written, read, and given an image in random parts; the sums are those of the last layer."""
    model = bnn.load(DIGITS)
    bnn.events.populations(model).save(tmp_path / "net.snn")
    network = bnn.snn.load(tmp_path / "net.snn")
    x = (rng.integers(0, 17, (8, 8, 1)) / 16).astype(np.float32)
    part = rng.integers(0, 5, x.shape)
    run = network.run(np.stack([np.where(part == k, x, 0) for k in range(5)]))
    engine = bnn.events.EventEngine(model)
    engine.step(x[None])
    for p in network.populations:
        if p.opcode == EVENT_RULES["sum"].opcode:
            op, stepper = model.ops[p.origin - 1], model.stepper(1)
            stepper.poke(op.inputs[0], engine.state(op.inputs[0])[None])
            assert np.array_equal(run.output[-1].reshape(-1), stepper.step_raw(op.index, 1).reshape(-1))
        elif p.opcode:
            want = engine.state(model.ops[p.origin - 1].output).reshape(-1) > 0
            assert np.array_equal(network.state(p.name, "level").reshape(-1) > 0, want)
    assert "SynOps" in str(run)
    # Its scores are the sums, as they are now: nothing is to be added up.
    assert np.array_equal(run.scores, run.output[-1].reshape(-1))
    watched = network.run_stream(np.stack([x, np.zeros_like(x), np.zeros_like(x)]))
    assert np.array_equal(watched.outputs[1:], np.stack([run.scores] * 3))
    # Real values are counted and recorded when they are sent, not as they are from then on.
    assert watched.sent[:, 0].tolist() == [np.count_nonzero(x), 0, 0]
    assert run.layers[0].spikes == watched.report.layers[0].spikes == np.count_nonzero(x)


def test_arrays_of_a_lowered_network_are_those_of_the_model() -> None:
    """Shared filters are stored once; weights are bytes."""
    model = bnn.load(DIGITS)
    network: Array | Any = bnn.events.populations(model)
    assert network.nbytes < 8 * model.nbytes + 20_000
    assert build(decode(network.to_bytes())).to_bytes() == network.to_bytes()
