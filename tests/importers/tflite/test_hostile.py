# SPDX-License-Identifier: Apache-2.0
"""Files that are not what they seem: truncated, with changed bytes, with numbers that lead nowhere or are too large."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite

import bnn
from bnn.errors import BnnError, CompileError, SetupError
from bnn.importers import open_source
from conftest import Limit

from ..refusals import FOLDER, unmet, without_remedy
from . import test_int8, test_larq, test_operators
from .build import RELU, SAME, VALID, Net
from .test_larq import CONV, network, signs


def small(rng: np.random.Generator, bits: bool = False) -> Net:
    """A file with a binary convolution, a convolution of floats, and what follows them."""
    net = network(rng, (4, 4, 6), signs(rng, 8, 3, 3, 6), bits, CONV | {"channels_in": 6})
    y = net.operators[-1]["outputs"][0]
    options = {"StrideH": 2, "StrideW": 2, "Padding": SAME, "DilationHFactor": 1, "DilationWFactor": 1}
    operands = [y, net.constant(rng.normal(size=(5, 2, 2, 8))), net.constant(rng.normal(size=5))]
    z = net.op("CONV_2D", operands, 1, 2, 2, 5, table="Conv2DOptions", FusedActivationFunction=RELU, **options)
    flat = net.op("RESHAPE", [z, net.constant(np.int32([1, 20]))], 1, 20)
    pads = net.constant(np.int32([[0, 0], [1, 2]]))
    net.op("SOFTMAX", [net.op("PAD", [flat, pads], 1, 23)], 1, 23, table="SoftmaxOptions", Beta=1.0)
    return net


def tried(path: Path, data: bytes) -> bool:
    """Whether the file compiles and runs; it may also be an error of ours, and nothing else."""
    path.write_bytes(data)
    try:
        compiled = bnn.compile(path)
        zeros = [np.zeros((2, *shape), np.float32) for shape in compiled.input_shapes]
        source = open_source(path)
        source.evaluate(zeros, source.outputs)
    except BnnError as error:
        assert str(error)
        return False
    return True


def test_truncated(rng: np.random.Generator, tmp_path: Path) -> None:
    data = small(rng).to_bytes()
    assert tried(tmp_path / "net.tflite", data)
    for size in (0, 1, 4, 7, 8, *range(9, len(data), 41)):
        (tmp_path / "net.tflite").write_bytes(data[:size])
        with pytest.raises(CompileError, match=r"net\.tflite: (not a \.tflite file|damaged|.*)"):
            open_source(tmp_path / "net.tflite")


@pytest.mark.parametrize("bits", [False, True])
def test_changed_bytes(bits: bool, rng: np.random.Generator, tmp_path: Path) -> None:
    """Any bytes; and offsets, sizes and indices of 32 bits at their limits."""
    data = small(rng, bits).to_bytes()
    numbers = [-(2**31), -1, 0, 1, 2, len(data), 2**16, 2**31 - 1]
    for _ in range(100):
        changed = bytearray(data)
        for at in rng.integers(8, len(data) - 4, rng.integers(1, 4)).tolist():
            if rng.random() < 0.5:
                changed[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))]))
            else:
                struct.pack_into("<i", changed, at // 4 * 4, int(rng.choice(numbers)))
        tried(tmp_path / "net.tflite", bytes(changed))


Change = Callable[[Net], object]


def each(**changes: Any) -> Change:
    """A change of the last operator's first data tensor."""
    return lambda net: net.tensors[net.operators[-1]["inputs"][0]].update(changes)


def operator(**changes: Any) -> Change:
    return lambda net: net.operators[-1].update(changes)


def whole(**changes: Any) -> Change:
    return lambda net: vars(net).update(changes)


NOWHERE: dict[str, tuple[Change, str]] = {
    "version": (whole(version=4), "version 4 of the format; expected 3"),
    "no subgraph": (whole(subgraphs=0), "0 subgraphs; expected one"),
    "two subgraphs": (whole(subgraphs=2), "2 subgraphs; expected one"),
    "magic": (whole(magic=b"TFL2"), "not a .tflite file: found b'TFL2' at byte 4, expected b'TFL3'"),
    "input": (whole(inputs=[99]), "a tensor of the network's inputs has the number 99; there are 14"),
    "negative input": (whole(inputs=[-1]), "inputs has the number -1"),
    "input twice": (whole(inputs=[0, 0]), "is named twice"),
    "no input": (whole(inputs=[]), "reads tensor"),
    "operand": (operator(inputs=[99]), r"a tensor of operator 5 \(SOFTMAX\) has the number 99; there are 14"),
    "no operand": (operator(inputs=[]), "SOFTMAX .*: 0 operands and 1 results; expected 1, and one"),
    "result": (operator(outputs=[-1]), r"operator 5 \(SOFTMAX\) has the number -1"),
    "no result": (operator(outputs=[]), "has no output"),
    "two results": (operator(outputs=[13, 13]), "has several sources"),
    "result of another": (operator(outputs=[1]), "has several sources"),
    "its own result": (operator(inputs=[13]), "reads tensor 'net/t13/x', which nothing before it makes"),
    "code": (operator(code=7), "the code of operator 5 has the number 7; there are 6"),
    "buffer": (each(buffer=1000), "the buffer of tensor 'net/t12/x' has the number 1000"),
    "negative size": (each(shape=(1, -23)), r"has a dynamic shape, \[1, -23\]"),
    "many dimensions": (each(shape=(1,) * 9), "has 9 dimensions; at most 8 are read"),
    "large": (each(shape=(1, 2**28 + 1)), r"tensor 'net/t12/x' of shape .* is 1,073,741,828 bytes"),
    "overflow": (each(shape=(2**31 - 1,) * 8), r"tensor 'net/t12/x' of shape .* bytes; at most 1,073,741,824"),
    "no size": (each(shape=(1, 0)), r"a result of shape \(1, 0\); expected the batch of 1"),
    "no dimension": (each(shape=()), r"a result of shape \(\); expected the batch of 1"),
    "another batch": (each(shape=(2, 23)), r"a result of shape \(2, 23\); expected the batch of 1"),
    "type": (each(dtype="STRING"), "'net/t12/x' is STRING; expected FLOAT32"),
    "bits": (each(dtype="INT32"), "'net/t12/x' is INT32; expected FLOAT32"),
    "size of a constant": (
        lambda net: net.tensors[2].update(shape=(8, 3, 3, 2)), "INT32 .8, 3, 3, 2., has 288 bytes; expected 576",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NOWHERE)
def test_numbers_that_lead_nowhere(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    change, message = NOWHERE[name]
    net, path = small(rng), tmp_path / "net.tflite"
    net.outputs = [13]
    change(net)
    path.write_bytes(net.to_bytes(13))
    with pytest.raises(CompileError, match=message):
        open_source(path).graph()


def file_of(size: int) -> Change:
    """With nothing after the first bytes, so that nothing is stored."""
    return lambda path: os.truncate(path, size) if path.write_bytes(b"\0\0\0\0TFL3") else None


def net_of(make: Callable[[Net], object]) -> Change:
    def write(path: Path) -> None:
        net = Net()
        make(net)
        path.write_bytes(net.to_bytes())

    return write


def packed_weights(net: Net) -> None:
    """A file has a bit for each; they are floats while it is read."""
    w = net.constant(np.zeros((2**21 + 1, 2, 2, 1), np.int32))
    q = net.larq("LceQuantize", [net.input(2, 2, 1)], 1, 2, 2, 1)
    factors = [net.constant(np.zeros(1, np.float32))] * 2
    options = CONV | {"channels_in": 1, "padding": VALID}
    net.larq("LceBconv2d", [q, w, *factors, -1], 1, 1, 1, 2**21 + 1, dtype="FLOAT32", **options)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "none": (lambda path: None, r"net\.tflite: no such file; expected a .tflite"),
    "folder": (Path.mkdir, "not a regular file"),
    "file": (file_of(2**30 + 1), "the file is 1,073,741,825 bytes; .* unsafe=True"),
    "weights": (net_of(packed_weights), "268,435,584 weights, which are more than are read"),
    "lists": (  # a list, or a name, can be part of many tensors: what they have together counts
        net_of(lambda net: net.op("CONCATENATION", [net.input(3)] * 2**20, 1, 3)),
        "more than 1,048,576 numbers in shapes and lists of tensors",
    ),
    "names": (
        net_of(lambda net: net.op("RELU", [net.input(3, name="n" * 2**24)], 1, 3)),
        "names of more than 16,777,216 bytes",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_files(name: str, tmp_path: Path) -> None:
    make, message = FILES[name]
    make(tmp_path / "net.tflite")
    with pytest.raises(CompileError, match=message):
        open_source(tmp_path / "net.tflite").graph()


def test_large_results(tmp_path: Path) -> None:
    """Of few images they are made."""
    net, path = Net(), tmp_path / "net.tflite"
    net.op("PAD", [net.input(1), net.constant(np.int32([[0, 0], [0, 2**20 - 1]]))], 1, 2**20)
    path.write_bytes(net.to_bytes())
    source, x = open_source(path), np.zeros((257, 1), np.float32)
    assert source.evaluate([x[:2]], source.outputs)[source.outputs[0]].shape == (2, 2**20)
    with pytest.raises(CompileError, match="a result of 1,077,936,128 bytes for 257 images; at most 1,073,741,824"):
        source.evaluate([x], source.outputs)
    net = Net()  # bits are floats meanwhile, 32 of each word
    q = net.larq("LceQuantize", [net.input(2**11, 2**11, 1)], 1, 2**11, 2**11, 1)
    net.larq("LceDequantize", [q], 1, 2**11, 2**11, 1, dtype="FLOAT32")
    path.write_bytes(net.to_bytes())
    with pytest.raises(CompileError, match="a result of 1,610,612,736 bytes for 3 images"):
        open_source(path).evaluate([np.zeros((3, 2**11, 2**11, 1), np.float32)], ["net/t2/x"])


def test_constants(tmp_path: Path, limit: Limit) -> None:
    """What is computed from a file's constants can be more than the file."""
    net, path = Net(), tmp_path / "net.tflite"
    x, y = net.input(8), net.constant(np.ones(8))
    for _ in range(3):
        y = net.op("ADD", [y, y], 8, table="AddOptions")
    net.op("ADD", [x, y], 1, 8, table="AddOptions")
    path.write_bytes(net.to_bytes())
    for most in (3 * 8 * 4, 3 * 8 * 4 - 1):
        limit("bnn.importers.common.limits.MOST_CONSTANTS", most)
        if most == 96:
            assert np.array_equal(bnn.compile(path)(np.zeros((2, 8), np.float32)), np.full((2, 8), 8))
        else:
            with pytest.raises(CompileError, match="do not depend on the data are 96 bytes at .*; at most 95 are made"):
                open_source(path)


def test_long_vectors(tmp_path: Path) -> None:
    """A file of a few bytes that declares millions of operators."""
    builder = flatbuffers.Builder(64)
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(builder.Offset())
    tables = builder.EndVector()
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, tables)
    graph = tflite.SubGraphEnd(builder)
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddSubgraphs(builder, graphs)
    builder.Finish(tflite.ModelEnd(builder), b"TFL3")
    data = bytearray(builder.Output())
    at = len(data) - 8  # the length of the first vector
    assert struct.unpack_from("<I", data, at) == (1,)
    struct.pack_into("<I", data, at, 2**30)
    path = tmp_path / "net.tflite"
    path.write_bytes(data)
    with pytest.raises(CompileError, match="1,073,741,824 tensors; at most"):
        open_source(path)


def test_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(b"\0\0\0\0TFL3")
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(SetupError, match=r"needs the package tflite, .*pip install 'tflite<"):
        open_source(path)


ELSEWHERE = {
    "tflite/file.py _count: ; at most": test_long_vectors,
    "tflite/file.py _schema: compiling a .tflite file needs the packa": test_no_package,
    "tflite/file.py read_file: : damaged: an offset or a size in it lea": test_truncated,
    "tflite/model.py _check_inputs: ; leave out input_shape": test_operators.test_input_shape,
    "tflite/model.py graph: in the file, which computes with it; lea": test_int8.test_types_of_inputs,
    "tflite/step.py check_results: use smaller batches, or, if you trust th": test_large_results,
}
"""Refusals that tests of their own meet."""


def test_every_refusal_has_a_model(rng: np.random.Generator, tmp_path: Path) -> None:
    """Each ``raise`` of the reader is reached by one of the tables' files."""
    nets: list[Net] = []
    for make, *_ in (*test_operators.REFUSED.values(), *test_int8.REFUSED.values()):
        nets.append(Net())
        make(nets[-1], rng)
    nets += [test_larq.broken(rng, **changes) for changes, *_ in test_larq.BROKEN.values()]
    for change, _ in NOWHERE.values():
        nets.append(small(rng))
        nets[-1].outputs = [13]
        change(nets[-1])
    writers = [lambda path, net=net: path.write_bytes(net.to_bytes(*net.outputs)) for net in nets]
    errors: list[BaseException] = []
    for i, write in enumerate([*writers, *(write for write, _ in FILES.values())]):
        write(tmp_path / f"{i}.tflite")
        with pytest.raises(CompileError) as caught:
            open_source(tmp_path / f"{i}.tflite").graph()
        errors.append(caught.value)
    files = (f"tflite/{p.name}" for p in sorted((FOLDER / "tflite").glob("*.py")))
    assert unmet(files, errors) == ELSEWHERE.keys()
    assert not without_remedy(errors)
