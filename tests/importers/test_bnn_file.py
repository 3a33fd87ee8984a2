"""Reading a .bnn file back into a graph."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphs
from bnn.emit.model import encode
from bnn.errors import ModelFormatError
from bnn.importers.bnn_file import decode
from bnn.interpret import outputs
from bnn.ops import Level
from bnn.passes import lower
from bnn.spec import verify

HEADER_FIELDS = (("<I", 24), ("<Q", 40), ("<Q", 64), ("<Q", 80))  # tensors, their table, the op section's end, the data


def sealed(data: bytearray) -> bytes:
    """With a checksum that fits."""
    struct.pack_into("<I", data, 12, zlib.crc32(data[16:], zlib.crc32(data[:12])))
    return bytes(data)


def test_the_same_bytes_come_back() -> None:
    """decode and encode are each other's inverse: types, attributes, constants, names, notes and the memory plan."""
    for seed in graphs.seeds(40):
        sample = graphs.random_graph(seed)
        data = encode(lower(sample.graph))
        graph = decode(data)
        assert encode(graph) == data, f"repeat with BNN_TEST_SEED={seed} BNN_TEST_COUNT=1"
        verify(graph, Level.RUNTIME, "decode")
        for ours, theirs in zip(outputs(graph, sample.inputs), outputs(sample.graph, sample.inputs), strict=True):
            np.testing.assert_array_equal(ours.reshape(theirs.shape), theirs)


def test_constants_are_plus_and_minus_one(small: Any) -> None:
    graph = decode(small.data)
    weights = [n.inputs[1].value for n in graph.schedule if n.op == "bconv2d"]
    assert weights and all(w.dtype == np.int8 and np.all(np.abs(w) == 1) for w in weights)
    assert [n.name for n in graph.inputs] == ["image"] and graph.arena_bytes > 0
    assert "conv_b" in {n.name for n in graph.schedule}


def test_damaged_files(small: Any) -> None:
    with pytest.raises(ModelFormatError, match="found 10 bytes, expected a .bnn file's header of 128"):
        decode(small.data[:10])
    with pytest.raises(ModelFormatError, match="signature: .*this is not a .bnn file"):
        decode(b"x" * 500)
    data = bytearray(small.data)
    data[8] = 9
    with pytest.raises(ModelFormatError, match="version: found 9, expected 2"):
        decode(sealed(data))
    data = bytearray(small.data)
    data[-1] ^= 1
    with pytest.raises(ModelFormatError, match="checksum: "):
        decode(bytes(data))
    with pytest.raises(ModelFormatError, match="file size: found .* bytes, expected"):
        decode(small.data + b"\0")


def test_every_truncation_is_an_error(small: Any) -> None:
    for size in range(0, len(small.data), 7):
        with pytest.raises(ModelFormatError):
            decode(small.data[:size])


def test_contradictory_fields_are_errors_or_harmless(small: Any, rng: np.random.Generator) -> None:
    """Every 32-bit field of the header, the tensors, the ops and the beginnings of coded filters set to strange values,
    with a checksum that fits: a ModelFormatError, or a graph that verifies; never anything else."""
    rejected = 0
    count, table, end, data_at = (struct.unpack_from(kind, small.data, at)[0] for kind, at in HEADER_FIELDS)
    records = range(table, table + 64 * count, 64)
    coded = [data_at + struct.unpack_from("<Q", small.data, at + 32)[0] for at in records if small.data[at + 3]]
    assert coded
    for at in (*range(16, end, 4), *(start + i for start in coded for i in range(0, 24, 4))):
        for value in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, int(rng.integers(2**32))):
            data = bytearray(small.data)
            struct.pack_into("<I", data, at, value)
            try:
                graph = decode(sealed(data))
            except ModelFormatError:
                rejected += 1
            else:
                assert graph.nodes()
    assert rejected > 100


def test_a_file_on_disk(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.bnn"
    path.write_bytes(small.data)
    assert encode(decode(path.read_bytes())) == small.data
