# SPDX-License-Identifier: Apache-2.0
"""Every reason for which a .snn file is refused: the error names the population or projection, and says what is wrong.

The checksum of each damaged file is right, so that the check that is meant finds it.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest

from bnn._types import Floats
from bnn.errors import ModelFormatError
from bnn.runtime.handles import Memory, problem_field, select_kernels
from bnn.runtime.native import ffi, lib
from bnn.snn import SpikingModel
from bnn.snn.file import FORMAT, POPULATION, PROJECTION, encode
from bnn.snn.learning import Learning
from bnn.snn.network import Network, Population, Projection
from bnn.snn.rules import RULES, Dynamics, Emits, Reset
from raw_model import with_checksum


def f(*values: float) -> Floats:
    return np.array(values, np.float32)


def neurons(name: str, shape: tuple[int, ...], dynamics: Dynamics, **more: float) -> Population:
    values = {"threshold": 1.0, "reset": 0.0, "initial": 0.0} | dict.fromkeys(dynamics.rule.parameters, 0.5) | more
    return Population(name, shape, dynamics, {k: f(v) for k, v in values.items()}, f(0.25))


def network() -> Network:
    """Populations 0 to 6 and projections 0 to 6, of all kinds."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> Floats:
        return rng.normal(size=shape).astype(np.float32)

    spikes = Dynamics(RULES["decay"], Reset.VALUE)
    populations = [
        Population("input", (4, 4, 2)),
        neurons("conv", (4, 4, 2), spikes),
        neurons("pool", (2, 2, 2), Dynamics(RULES["relay"], emits=Emits.VALUES)),
        neurons("counts", (8,), Dynamics(RULES["integrate"], emits=Emits.COUNTS, floored=True)),
        neurons("adaptive", (6,), Dynamics(RULES["adaptive"], Reset.VALUE)),
        neurons("levels", (5,), Dynamics(RULES["take_back"], emits=Emits.CHANGES), most=3.0, offset=0.0),
        neurons("out", (6,), spikes),
    ]
    populations[-1].output = True
    learning = Learning(nu_pre=0.01, nu_post=0.01, decay_pre=0.9, decay_post=0.9, low=0.0, high=1.0, norm=10.0)
    return Network(
        populations,
        [
            Projection(0, 1, "conv", weights(2, 3, 3, 2), padding=(1, 1), name="first"),
            Projection(1, 2, "conv", np.ones((2, 2, 2, 1), np.float32), stride=(2, 2), groups=2, name="second"),
            Projection(2, 3, "dense", weights(8, 8), name="third"),
            Projection(1, 4, "dense", np.abs(weights(32, 6)), delay=1, learning=learning, name="fourth"),
            Projection(4, 5, "dense", np.ones((6, 5), np.int8), name="fifth"),
            Projection(4, 6, "diagonal", f(2.0), name="sixth"),
            Projection(3, 6, "dense", weights(8, 6), name="seventh"),
        ],
    )


DATA = encode(network())
POPULATIONS, PROJECTIONS = FORMAT.header.unpack_from(DATA)[8:10]


def place(table: str, number: int, offset: int) -> int:
    size, start = (POPULATION.size, POPULATIONS) if table == "population" else (PROJECTION.size, PROJECTIONS)
    return start + size * number + offset


def changed(*edits: tuple[int, str, float]) -> bytes:
    """(offset, struct format, value): the checksum is made right."""
    data = bytearray(DATA)
    for offset, form, value in edits:
        struct.pack_into("<" + form, data, offset, value)
    return with_checksum(data)


def refused(data: bytes) -> str:
    with pytest.raises(ModelFormatError) as raised:
        SpikingModel.from_bytes(data)
    return str(raised.value)


def in_data(record: int) -> int:
    """Where the array begins whose line stands at this offset of the file."""
    (line,) = struct.unpack_from("<I", DATA, record)
    return int(FORMAT.header.unpack_from(DATA)[12]) + 64 * line


HEADERS: list[tuple[int, str, float, str]] = [
    (8, "I", 2, "version"),
    (16, "Q", 5, "file size"),
    (24, "I", 0, "number of populations"),
    (24, "I", 5000, "number of populations"),
    (28, "I", 20000, "number of projections"),
    (40, "Q", 64, "offset of the populations"),
    (40, "Q", 130, "offset of the populations"),
    (48, "Q", 64, "offset of the projections"),
    (28, "I", 1000, "size of the projections"),
    (24, "I", 4000, "size of the populations"),
    (56, "Q", 64, "offset of the string section"),
    (56, "Q", 2**40, "offset of the string section"),
    (64, "Q", 2**40, "size of the string section"),
    (72, "Q", 64, "offset of the data section"),
    (80, "Q", 0, "end of the data section"),
    (80, "Q", 2**40, "size of the data section"),
    (32, "I", 2, "whether the source has channels first (1: yes)"),
    (88, "I", 10**6, "end of the simulator"),
    (96, "I", 1, "reserved bytes"),
    (127, "B", 1, "reserved bytes"),
]


@pytest.mark.parametrize(("offset", "form", "value", "text"), HEADERS)
def test_headers(offset: int, form: str, value: float, text: str) -> None:
    assert f"header: {text}: found" in refused(changed((offset, form, value)))


@pytest.mark.parametrize("data", [b"\x88", *(changed((k, "B", DATA[k] ^ 0x20)) for k in range(8))])
def test_the_signature(data: bytes) -> None:
    text = "not a .snn file: the first eight bytes are not its signature; make one with bnn snn compile"
    assert text in refused(data)
    problem, bytes_ = ffi.new("bnn_problem *"), ffi.new("size_t *")
    memory = Memory(len(data))
    ffi.memmove(memory.pointer, data, len(data))
    status = lib.bnn_snn_size(memory.pointer, len(data), select_kernels(None), bytes_, problem)
    assert status == lib.BNN_ERROR_MAGIC and problem_field(problem) == "header: first wrong byte of the signature"
    assert (problem.found, problem.expected) == next((a, b) for a, b in zip(data, DATA, strict=False) if a != b)


POPULATION_EDITS: list[tuple[int, list[tuple[int, str, float]], str]] = [
    (1, [(0, "B", 200)], "rule (below)"),
    (1, [(1, "B", 8)], "reset (below)"),
    (1, [(2, "B", 4)], "what it sends (at most)"),
    (1, [(2, "B", 3)], "what a rule sends that takes back, and no other"),
    (1, [(2, "B", 1)], "reset, comparison or winner without single spikes"),
    (0, [(3, "B", 2)], "reset, comparison or winner of an input"),
    (4, [(1, "B", 0), (2, "B", 1)], "what refractory neurons send"),
    (2, [(3, "B", 4)], "floor of a rule that keeps no membrane"),
    (4, [(1, "B", 3)], "late reset of a rule that has none"),
    (2, [(1, "B", 3), (2, "B", 0)], "late reset of a rule that has none"),
    (1, [(3, "B", 16)], "flags (below)"),
    (1, [(4, "B", 4)], "rank (1 to 3, with sizes of 1 before)"),
    (1, [(4, "B", 0)], "rank (1 to 3, with sizes of 1 before)"),
    (1, [(4, "B", 2)], "rank (1 to 3, with sizes of 1 before)"),
    (3, [(4, "B", 1), (12, "I", 2)], "rank (1 to 3, with sizes of 1 before)"),
    (1, [(16, "I", 0)], "neurons"),
    (1, [(8, "I", 2**25)], "neurons"),
    (1, [(8, "I", 2**32 - 1), (12, "I", 2**32 - 1), (16, "I", 2**32 - 1)], "neurons"),
    (1, [(24, "I", 2**31)], "end of a name"),
    (1, [(116, "I", 1)], "levels of no event population"),
    (1, [(112, "I", 1)], "levels of no event population"),
    (1, [(36, "I", 3)], "elements of a parameter or bias (1, channels, or neurons)"),
    (1, [(32, "I", 2**31)], "bytes of data after an offset"),
]


@pytest.mark.parametrize(("number", "edits", "text"), POPULATION_EDITS)
def test_populations(number: int, edits: list[tuple[int, str, float]], text: str) -> None:
    data = changed(*((place("population", number, offset), form, value) for offset, form, value in edits))
    assert f"population {number}: {text}: found" in refused(data)


@pytest.mark.parametrize(
    ("number", "offset", "element", "value", "text"),
    [
        (1, 32, 0, np.nan, "parameter or bias that is not finite, or not repeated: element"),
        (1, 32, 5, 9.0, "parameter or bias that is not finite, or not repeated: element"),
        (3, 40, slice(None), -1.0, "threshold of numbers of spikes that is not above 0: element"),
        (5, 40 + 8 * 4, slice(None), 0.5, "element that is no number of levels"),
        (4, 104, 0, np.inf, "parameter or bias that is not finite, or not repeated: element"),
    ],
)
def test_values(number: int, offset: int, element: int | slice, value: float, text: str) -> None:
    """Arrays of one element, which 31 copies follow.  Equal ones are stored once, so others may be named first."""
    start = in_data(place("population", number, offset))
    places = range(32) if isinstance(element, slice) else [element]
    assert f": {text}: found" in refused(changed(*((start + 4 * k, "f", value) for k in places)))


(ONE,) = struct.unpack_from("<I", DATA, place("population", 1, 40))  # line of a parameter of one element
LAST = FORMAT.header.unpack_from(DATA)[13] // 64 - 1  # line of the data, too few for any weights
PROJECTION_EDITS: list[tuple[int, list[tuple[int, str, float]], str]] = [
    (0, [(0, "B", 5)], "kind (at most)"),
    (0, [(0, "B", 3), (60, "I", 0), (52, "I", 1)], "windows on counts or values, without int8, mask and bias (1: yes)"),
    (0, [(0, "B", 4)], "number of wires"),
    (0, [(1, "B", 2)], "type of the weights (at most)"),
    (0, [(2, "B", 16)], "flags (below)"),
    (0, [(2, "B", 8)], "flags (below)"),
    (0, [(4, "I", 7)], "source (below)"),
    (0, [(8, "I", 7)], "target (below)"),
    (0, [(8, "I", 0)], "rule of its target, an input"),
    (0, [(12, "I", 65537)], "delay (1 or more from a population that settles later)"),
    (2, [(4, "I", 3)], "delay (1 or more from a population that settles later)"),
    (2, [(1, "B", 1)], "type of the weights of real values"),
    (2, [(60, "I", 8)], "elements of a row"),
    (5, [(4, "I", 3)], "neurons on both sides"),
    (5, [(60, "I", 5)], "weights (1, channels, or neurons)"),
    (0, [(20, "I", 0)], "kernel (1 to)"),
    (0, [(24, "I", 4097)], "kernel (1 to)"),
    (0, [(28, "I", 0)], "stride (1 to)"),
    (0, [(32, "I", 4097)], "stride (1 to)"),
    (0, [(44, "I", 0)], "dilation (1 to)"),
    (0, [(44, "I", 5000)], "dilation (1 to)"),
    (0, [(36, "I", 5000)], "padding (at most)"),
    (0, [(52, "I", 0)], "groups (a divisor of the channels of both sides)"),
    (0, [(52, "I", 3)], "groups (a divisor of the channels of both sides)"),
    (0, [(8, "I", 5), (52, "I", 2)], "groups (a divisor of the channels of both sides)"),
    (0, [(60, "I", 1)], "elements of a row of a convolution"),
    (0, [(56, "I", 2**31)], "bytes of data after an offset"),
    (0, [(56, "I", LAST)], "bytes of data after an offset"),
    (0, [(2, "B", 1), (64, "I", 2**31)], "bytes of data after an offset"),
    (0, [(2, "B", 2), (72, "I", 2**31), (76, "I", 1)], "bytes of data after an offset"),
    (0, [(80, "I", 2**31)], "end of a name"),
    (0, [(100, "B", 1)], "byte without a meaning"),
    (0, [(124, "B", 1)], "byte without a meaning"),
    (4, [(120, "I", ONE), (124, "I", 2)], "elements of a parameter or bias (1, channels, or neurons)"),
    (4, [(2, "B", 4)], "learning of dense float32 weights of all sources (1: yes)"),
    (5, [(2, "B", 4)], "learning of dense float32 weights of all sources (1: yes)"),
    (3, [(2, "B", 5)], "learning of dense float32 weights of all sources (1: yes)"),
    (2, [(2, "B", 4)], "learning between neurons that send single spikes (1: yes)"),
    (3, [(8, "I", 5)], "learning between neurons that send single spikes (1: yes)"),
    (3, [(88, "f", np.inf)], "finite learning rates (1: yes)"),
    (3, [(92, "f", np.nan)], "finite learning rates (1: yes)"),
    (3, [(96, "f", -0.5)], "decays of traces from 0 to 1 (1: yes)"),
    (3, [(96, "f", 1.5)], "decays of traces from 0 to 1 (1: yes)"),
    (3, [(100, "f", -0.5)], "decays of traces from 0 to 1 (1: yes)"),
    (3, [(104, "f", 2.0)], "bounds of weights in their order (1: yes)"),
    (3, [(112, "f", -1.0)], "norm of weights, 0 or a finite sum (1: yes)"),
    (3, [(112, "f", np.inf)], "norm of weights, 0 or a finite sum (1: yes)"),
    (6, [(8, "I", 5)], "target (not before that of the projection before)"),
]


@pytest.mark.parametrize(("number", "edits", "text"), PROJECTION_EDITS)
def test_projections(number: int, edits: list[tuple[int, str, float]], text: str) -> None:
    data = changed(*((place("projection", number, offset), form, value) for offset, form, value in edits))
    assert f"projection {number}: {text}: found" in refused(data)


def windows() -> bytes:
    """The highest count of each window."""
    pool = neurons("pool", (1, 1, 2), Dynamics(RULES["relay"], emits=Emits.VALUES))
    pool.output, pool.bias = True, f(0.0)
    highest = Projection(0, 1, "window", np.zeros(0, np.float32), stride=(2, 2), window=(2, 2), name="highest")
    return encode(Network([Population("counts", (2, 2, 2), input_emits=Emits.COUNTS), pool], [highest]))


ONLY = "projection 0: windows on counts or values, without int8, mask and bias (1: yes)"
WINDOW_EDITS: list[tuple[str, list[tuple[str, int, str, float]], str]] = [
    ("bits", [("population", 2, "B", Emits.SPIKES)], ONLY),
    ("changes", [("population", 2, "B", Emits.CHANGES)], ONLY),
    ("int8", [("projection", 1, "B", 1)], ONLY),
    ("a mask", [("projection", 2, "B", 1)], ONLY),
    ("a bias", [("projection", 2, "B", 2), ("projection", 76, "I", 1)], ONLY),
    ("wires", [("projection", 0, "B", 4)], "event populations on both sides (1: yes)"),
]


@pytest.mark.parametrize(("what", "edits", "text"), WINDOW_EDITS)
def test_windows(what: str, edits: list[tuple[str, int, str, float]], text: str) -> None:
    """Each reason alone; arrays are a line of zeros."""
    data = bytearray(windows())
    header = FORMAT.header.unpack_from(data)
    zeros = next(line for line in range(len(data) // 64) if not any(data[header[12] + 64 * line :][:64]))
    places = {"population": header[8], "projection": header[9]}
    for offset in (56, 64, 72):
        struct.pack_into("<I", data, places["projection"] + offset, zeros)
    for table, offset, form, value in edits:
        struct.pack_into("<" + form, data, places[table] + offset, value)
    assert text in refused(with_checksum(data))


@pytest.mark.parametrize(("flags", "below"), [(16, 8), (8, 8), (28, 24)])
def test_flags_are_those_of_this_version(flags: int, below: int) -> None:
    """That of how a spike leaves its trace is one only of what learns."""
    said = refused(changed((place("projection", 0, 2), "B", flags)))
    assert f"projection 0: flags (below): found {flags}, expected {below}" in said


def test_no_output() -> None:
    assert "header: number of outputs: found 0" in refused(changed((place("population", 6, 3), "B", 0)))


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 100, 127, 128, 1000])
def test_parts_of_a_file(cut: int) -> None:
    with pytest.raises(ModelFormatError):
        SpikingModel.from_bytes(DATA[:cut])


def test_any_bit_that_turns_is_noticed() -> None:
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(DATA), 300):
        data = bytearray(DATA)
        data[place] ^= 1 << int(rng.integers(8))
        refused(bytes(data))


def test_arguments_of_c() -> None:
    """What Python never passes."""
    memory = Memory(len(DATA) + 64)
    ffi.memmove(memory.pointer, DATA, len(DATA))
    kernels, problem = select_kernels(None), ffi.new("bnn_problem *")
    bytes_, net = ffi.new("size_t *"), ffi.new("bnn_snn **")
    size, file, null = len(DATA), memory.pointer, ffi.NULL

    def said(status: int, expected: int, *texts: str) -> None:
        assert status == expected and problem_field(problem) in texts, (status, problem_field(problem))

    said(lib.bnn_snn_size(file, size, kernels, null, problem), lib.BNN_ERROR_ARGUMENT, "bytes: given (1: yes)")
    said(lib.bnn_snn_size(null, size, kernels, bytes_, problem), lib.BNN_ERROR_ARGUMENT, "file: given (1: yes)")
    said(lib.bnn_snn_size(file, size, null, bytes_, problem), lib.BNN_ERROR_KERNELS, "kernels: given (1: yes)")
    said(
        lib.bnn_snn_size(file + 1, size, kernels, bytes_, problem), lib.BNN_ERROR_MEMORY,
        "file: bytes past an aligned address",
    )  # fmt: skip
    assert lib.bnn_snn_size(file, size, kernels, bytes_, problem) == lib.BNN_OK
    room = Memory(bytes_[0] + 64)
    said(
        lib.bnn_snn_open(file, size, kernels, room.pointer, bytes_[0], null, problem), lib.BNN_ERROR_ARGUMENT,
        "net: given (1: yes)",
    )  # fmt: skip
    said(
        lib.bnn_snn_open(file, size, kernels, null, bytes_[0], net, problem), lib.BNN_ERROR_ARGUMENT,
        "memory: given (1: yes)",
    )  # fmt: skip
    said(
        lib.bnn_snn_open(file, size, kernels, room.pointer, bytes_[0] - 1, net, problem), lib.BNN_ERROR_MEMORY,
        "memory: bytes (at least)",
    )  # fmt: skip
    said(
        lib.bnn_snn_open(file, size, kernels, room.pointer + 1, bytes_[0], net, problem), lib.BNN_ERROR_MEMORY,
        "memory: bytes past an aligned address",
    )  # fmt: skip
    assert lib.bnn_snn_open(file, size, kernels, room.pointer, bytes_[0], net, problem) == lib.BNN_OK
    for first, second, length, answer in ((0x89, 0x53 + 1, size, (0x54, 0x53)), (0x88, 0, 1, (0x88, 0x89))):
        file[0], file[1] = first, second
        said(
            lib.bnn_snn_size(file, length, kernels, bytes_, problem), lib.BNN_ERROR_MAGIC,
            "header: first wrong byte of the signature",
        )  # fmt: skip
        assert (problem.found, problem.expected) == answer
    file[0], file[1], file[8] = 0x89, 0x53, 9
    opened = lib.bnn_snn_open(file, size, kernels, room.pointer, bytes_[0], net, problem)
    said(opened, lib.BNN_ERROR_VERSION, "header: version")
    assert net[0] == null
    assert lib.bnn_snn_size(file, size, kernels, bytes_, null) == lib.BNN_ERROR_VERSION


def test_what_an_opened_network_does_not_have() -> None:
    model = SpikingModel.from_bytes(DATA)
    net, null = model._opened.pointer, ffi.NULL
    for get, count, kind in (
        (lib.bnn_snn_get_population, len(model.populations), "bnn_snn_population_info *"),
        (lib.bnn_snn_get_projection, len(model.projections), "bnn_snn_projection_info *"),
    ):
        info = ffi.new(kind)
        assert get(net, count - 1, info) == lib.BNN_OK
        before = bytes(ffi.buffer(info))
        for arguments in ((null, 0, info), (net, count, info), (net, 0, null)):
            assert get(*arguments) == lib.BNN_ERROR_ARGUMENT
        assert bytes(ffi.buffer(info)) == before
    length = ffi.new("size_t *", 9)
    assert lib.bnn_snn_simulator(net, null) == lib.bnn_snn_simulator(net, length) and length[0] == 0
