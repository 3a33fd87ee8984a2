# SPDX-License-Identifier: Apache-2.0
"""Checkpoints read as data: what TensorFlow wrote is what is read, and what nobody wrote is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto

from bnn.errors import CompileError
from bnn.importers.tensorflow import checkpoint
from bnn.importers.tensorflow.checkpoint import Checkpoint

KEY = "{}/.ATTRIBUTES/VARIABLE_VALUE"


def varint(number: int) -> bytes:
    low, high = number & 127, number >> 7
    return bytes([low | 128]) + varint(high) if high else bytes([low])


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(b"\0" + varint(len(k)) + varint(len(v)) + k + v for k, v in entries)
    return body + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def table(entries: list[tuple[bytes, bytes]], compression: int = 0) -> bytes:
    """A table of one block, without checksums."""
    data = block(entries)
    place = b"\0" + varint(len(data))
    index = block([(entries[-1][0] + b"z", place)])
    start = len(data) + 5
    footer = (place + varint(start) + varint(len(index))).ljust(40, b"\0") + 0xDB4775248B80FB57.to_bytes(8, "little")
    return data + bytes(5) + index + bytes([compression, 0, 0, 0, 0]) + footer


def written(folder: Path, header: dict[str, Any] | None = None, **entry: Any) -> Path:
    """A checkpoint of one tensor "w" of 64 zero bytes, with these fields."""
    entry = {"dtype": 1, "shape": {"dim": [{"size": 16}]}, "size": 64, "crc32c": 0} | entry
    made = BundleHeaderProto(**({"num_shards": 1} | (header or {}))).SerializeToString()
    index = table([(b"", made), (b"w", BundleEntryProto(**entry).SerializeToString())])
    (folder / "a.index").write_bytes(index)
    (folder / "a.data-00000-of-00001").write_bytes(bytes(64))
    return folder / "a"


def test_what_tensorflow_wrote(rng: np.random.Generator, tmp_path: Path) -> None:
    """Of every type, empty and single ones, and so many that the index has several blocks; of many sizes, since each
    has a checksum."""
    types = ["float32", "float64", "float16", "bfloat16", "int8", "uint8", "int32", "int64", "bool"]
    shapes = [(), (0, 3), (5,), (3, 4, 5), (400, 7)]
    values = {f"v{i}": tf.cast(rng.integers(0, 2, shapes[i % 5]), types[i % 9]) for i in range(90)}
    sizes = [1, 63, 64, 65, 128, 192, 7 * 64 + 3, 65535, 65536, 67 * 1024 + 5, 200001]
    values |= {f"bytes{n}": tf.constant(rng.integers(0, 256, n), tf.uint8) for n in sizes}
    tf.train.Checkpoint(**{name: tf.Variable(value) for name, value in values.items()}).write(str(tmp_path / "a"))
    read = Checkpoint(tf, tmp_path / "a")
    for name, value in values.items():
        found = read.array(KEY.format(name))
        assert found.dtype == value.dtype.as_numpy_dtype
        assert np.array_equal(found, np.asarray(value.numpy()))
    assert b"v89" in read.text("_CHECKPOINTABLE_OBJECT_GRAPH")


DAMAGES: dict[str, tuple[dict[str, Any], str]] = {
    "negative sizes": ({"shape": {"dim": [{"size": -4}, {"size": -4}]}}, r"float32 \(-4, -4\) of 64 bytes"),
    "too large": ({"shape": {"dim": [{"size": 2**40}, {"size": 2**40}]}}, "of 64 bytes"),
    "too large a size": ({"shape": {"dim": [{"size": 2**40}]}, "size": 2**42}, "what it declares is 4,398,046,511,104"),
    "many dimensions": ({"shape": {"dim": [{"size": 1}] * 300}}, "of 64 bytes"),
    "another size": ({"size": 60}, "float32 .16,. of 60 bytes"), "a negative size": ({"size": -64}, "of -64 bytes"),
    "a type that nobody knows": ({"dtype": 99}, "'w' is of type 99"), "no type": ({"dtype": 0}, "'w' is of type 0"),
    "a reference": ({"dtype": 101}, "'w' is float32_ref; expected numbers"),
    "texts": ({"dtype": 7}, "'w' is string; expected numbers"),
    "a file beyond the last": ({"shard_id": 9}, "in file 9 of 1"), "no file": ({"shard_id": -1}, "in file -1 of 1"),
    "parts": ({"slices": [{}]}, "is stored in parts"), "before the file": ({"offset": -5}, "at -5"),
    "beyond the file": ({"offset": 2**40}, "has no bytes 1,099,511,627,776 to"),
    "other bytes": ({"crc32c": 1}, "the bytes of 'w' are others than those that were saved"),
    "no files": ({"header": {"num_shards": 0}}, "0 files of data"),
    "many files": ({"header": {"num_shards": 2**30}}, "1073741824 files of data"),
    "the other order": ({"header": {"endianness": 1}}, "the other order of bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged(name: str, tmp_path: Path) -> None:
    fields, message = DAMAGES[name]
    prefix = written(tmp_path, **fields)
    with pytest.raises(CompileError, match=f"its checkpoint: .*{message}"):
        Checkpoint(tf, prefix).array("w")


def test_no_such_tensor(tmp_path: Path) -> None:
    read = Checkpoint(tf, written(tmp_path))
    for ask in (read.array, read.text):
        with pytest.raises(CompileError, match="it has no 'absent'"):
            ask("absent")
    with pytest.raises(CompileError, match=r"'w' is float32 \(16,\); expected one text"):
        read.text("w")
    (tmp_path / "a.data-00000-of-00001").unlink()
    with pytest.raises(CompileError, match=r"'a\.data-00000-of-00001' cannot be read"):
        read.array("w")


TABLES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda data: b"", "its index is no table"), "text": (lambda data: b"x" * 100, "its index is no table"),
    "a place beyond it": (lambda data: data[:-48] + b"\xff" * 39 + b"\x01" + data[-8:], "a number of its index"),
    "a block beyond it": (
        lambda data: data[:-48] + b"\0\0\xff\x7f\x01".ljust(40, b"\0") + data[-8:], "compressed, or not in the file",
    ),
    "a compressed block": (lambda data: table([(b"", b"")], 1), "compressed, or not in the file"),
    "an order": (lambda data: table([(b"b", b""), (b"a", b"")]), "its index is not in order"),
    "a key of nothing": (lambda data: data.replace(b"\0\x01", b"\x05\x01", 1), "a key of its index leads nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables(name: str, tmp_path: Path) -> None:
    change, message = TABLES[name]
    prefix = written(tmp_path)
    prefix.with_suffix(".index").write_bytes(change(prefix.with_suffix(".index").read_bytes()))
    with pytest.raises(CompileError, match=message):
        Checkpoint(tf, prefix)


def test_keys_that_share_what_they_have(tmp_path: Path, at_most: Any) -> None:
    """A key of a few bytes can be long, so all of them together are limited."""
    prefix = written(tmp_path)
    for name, most, message in (
        ("_MOST_NAMES", 2, "a key of its index leads nowhere"),
        ("_MOST_TENSORS", 2, "has more than 1 tensors"),
    ):
        at_most(checkpoint, name, most, message, lambda: Checkpoint(tf, prefix))
