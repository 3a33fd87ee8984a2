# SPDX-License-Identifier: Apache-2.0
"""Read a TensorFlow checkpoint (a tensor bundle) as data.

TensorFlow's own reader ends the process on sizes that it does not expect.  ``<prefix>.index`` is a table in the format
of LevelDB: blocks of keys in rising order, each written as how much it shares with the one before, and the rest.  The
empty key has the header, every other a tensor: its type, its shape, and where its bytes are in
``<prefix>.data-00000-of-00001``.  Every number is checked, and what is made grows with the files.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import CompileError
from ..common.limits import check_bytes
from .frozen import MOST_RANK, NUMBERS

_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_FOOTER, _TRAILER = 48, 5  # bytes after the table; after each block: a kind of compression, and a checksum
_MOST_INDEX, _MOST_TENSORS, _MOST_NAMES = 2**26, 2**17, 2**24  # bytes; tensors; bytes of all names together
_MOST_SHARDS = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor: ``file`` has its bytes from ``begin`` to ``end``."""

    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int
    end: int
    checksum: int


class Checkpoint:
    """The tensors of a checkpoint by name.

    Raises:
        CompileError: damaged, or larger than what is read; says what was found.
    """

    def __init__(self, tf: Any, prefix: Path) -> None:
        from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto

        self.tf, self.prefix = tf, prefix
        path = prefix.with_suffix(".index")
        check_bytes("its checkpoint", path.name, max(path.stat().st_size - _MOST_INDEX, 0) << 5)
        entries = dict(_entries(path.read_bytes()))
        header = BundleHeaderProto.FromString(entries.pop(b"", b""))
        self.shards = header.num_shards
        if not 0 < self.shards <= _MOST_SHARDS or header.endianness != BundleHeaderProto.LITTLE:
            raise _damaged(f"{self.shards} files of data, or the other order of bytes")
        self.entries = {
            name.decode(errors="replace"): self._entry(name, BundleEntryProto.FromString(text))
            for name, text in entries.items()
        }
        check_bytes("its checkpoint", "what it declares", sum(e.end - e.begin for e in self.entries.values()))

    def _entry(self, name: bytes, found: Any) -> Entry:
        shape = tuple(d.size for d in found.shape.dim)
        label = name[:100].decode(errors="replace")
        if found.slices or not 0 <= found.shard_id < self.shards:
            raise _damaged(f"'{label}' is stored in parts, or in file {found.shard_id} of {self.shards}")
        try:
            dtype = self.tf.dtypes.as_dtype(found.dtype)
        except TypeError:
            raise _damaged(f"'{label}' is of type {found.dtype}") from None
        end, elements = found.offset + found.size, math.prod(shape)
        bad = len(shape) > MOST_RANK or min(shape, default=0) < 0 or found.offset < 0 or found.size < 0
        if bad or dtype.name in NUMBERS and found.size != elements * dtype.size:
            raise _damaged(f"'{label}' is {dtype.name} {shape[:20]} of {found.size:,} bytes at {found.offset:,}")
        file = self.prefix.with_name(f"{self.prefix.name}.data-{found.shard_id:05}-of-{self.shards:05}")
        return Entry(dtype.name, shape, file, found.offset, end, found.crc32c)

    def array(self, name: str) -> Array:
        """A tensor of numbers."""
        entry = self._known(name)
        if entry.dtype not in NUMBERS:
            raise _damaged(f"'{name}' is {entry.dtype}; expected numbers")
        data = _read(entry)
        if _masked(_checksum(data)) != entry.checksum:
            raise _damaged(f"the bytes of '{name}' are others than those that were saved")
        kind = self.tf.dtypes.as_dtype(entry.dtype).as_numpy_dtype
        return np.frombuffer(data, kind).reshape(entry.shape)

    def text(self, name: str) -> bytes:
        """A single text: its length, four bytes that check it, and the text."""
        entry = self._known(name)
        if entry.dtype != "string" or entry.shape:
            raise _damaged(f"'{name}' is {entry.dtype} {entry.shape}; expected one text")
        data = _read(entry)
        length, at = _varint(data, 0)
        if at + 4 + length != len(data):
            raise _damaged(f"'{name}' has {len(data):,} bytes for a text of {length:,}")
        return data[at + 4 :]

    def _known(self, name: str) -> Entry:
        if name not in self.entries:
            raise _damaged(f"it has no '{name[:100]}'")
        return self.entries[name]


def _damaged(what: str) -> CompileError:
    return CompileError(f"the SavedModel is damaged: its checkpoint: {what}")


def _read(entry: Entry) -> bytes:
    try:
        with open(entry.file, "rb") as file:
            file.seek(entry.begin)
            data = file.read(entry.end - entry.begin)
    except OSError as error:
        raise _damaged(f"'{entry.file.name}' cannot be read ({error.strerror})") from None
    if len(data) != entry.end - entry.begin:
        raise _damaged(f"'{entry.file.name}' has no bytes {entry.begin:,} to {entry.end:,}")
    return data


# -- the table --------------------------------------------------------------------------------------------------------


def _entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a table, in rising order of the keys."""
    if len(data) < _FOOTER or data[-8:] != _MAGIC:
        raise _damaged("its index is no table")
    at = len(data) - _FOOTER
    for _ in range(2):  # skip the place of the block of additions
        _, at = _varint(data, at)
    count = characters = 0
    before: bytes | None = None
    for _, place in _block(data, *_place(data, at)):
        for key, value in _block(data, *_place(place, 0)):
            count, characters = count + 1, characters + len(key)
            if before is not None and key <= before or count > _MOST_TENSORS or characters > _MOST_NAMES:
                raise _damaged(
                    f"its index is not in order, or has more than {_MOST_TENSORS:,} tensors, or {_MOST_NAMES:,} bytes "
                    "of names"
                )
            yield key, value
            before = key


def _place(data: bytes, at: int) -> tuple[int, int]:
    """Where a block begins and ends."""
    begin, at = _varint(data, at)
    size, _ = _varint(data, at)
    return begin, begin + size


def _block(data: bytes, begin: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    if end + _TRAILER > len(data) or end - begin < 4 or data[end]:
        raise _damaged("a block of its index is compressed, or not in the file")
    restarts = int.from_bytes(data[end - 4 : end], "little")
    stop, key = end - 4 - 4 * restarts, b""
    while begin < stop:
        shared, begin = _varint(data, begin)
        more, begin = _varint(data, begin)
        size, begin = _varint(data, begin)
        if shared > len(key) or begin + more + size > stop or shared + more > _MOST_NAMES:
            raise _damaged("a key of its index leads nowhere")
        key = key[:shared] + data[begin : begin + more]
        begin += more + size
        yield key, data[begin - size : begin]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits per byte, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if not 0 <= at < len(data):
            break
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise _damaged("a number of its index has no end")


# -- the checksum, CRC-32C --------------------------------------------------------------------------------------------

_POLYNOMIAL = 0x82F63B78  # its bits in reverse
_LANE, _LONG = 64, 1024  # bytes of a lane: all lanes are computed at a time; long ones where there are many


def _masked(crc: int) -> int:
    """The checksum as a checkpoint stores it."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def _table() -> Array:
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, crc >> 1 ^ np.uint32(_POLYNOMIAL), crc >> 1)
    return crc


def _through(crc: Array, columns: Array) -> Array:
    """Checksums after bytes, one column after the other."""
    table = _table()
    for column in columns:
        crc = table[(crc ^ column) & 255] ^ crc >> 8
    return crc


@functools.cache
def _matrix(count: int) -> Array:
    """What ``count`` zero bytes (a power of two) make of each bit of a checksum: uint32 (32,)."""
    if count > _LANE:
        half = _matrix(count // 2)
        return _times(half, half)
    return _through(np.uint32(1) << np.arange(32, dtype=np.uint32), np.zeros((count, 1), np.uint8))


def _times(matrix: Array, crc: Array) -> Array:
    bits = crc[..., None] >> np.arange(32, dtype=np.uint32) & 1
    found: Array = np.bitwise_xor.reduce(np.where(bits, matrix, np.uint32(0)), axis=-1)
    return found


def _checksum(data: bytes) -> int:
    """CRC-32C.  It is linear, so lanes are computed side by side, and joined in pairs."""
    octets = np.frombuffer(data, np.uint8)
    width = _LANE if len(octets) < _LANE * _LONG else _LONG  # bytes that each number stands for
    lanes = len(octets) // width
    first, rest = octets[: lanes * width], octets[lanes * width :]
    start = np.full(1, 0xFFFFFFFF, np.uint32)  # as if the first bytes had been inverted
    for bit in range(lanes.bit_length()):
        if lanes >> bit & 1:
            start = _times(_matrix(width << bit), start)
    crc = _through(np.zeros(lanes, np.uint32), np.ascontiguousarray(first.reshape(lanes, width).T))
    # Zeros before the first lane change nothing.
    crc = np.concatenate([np.zeros(-lanes % (1 << max(lanes - 1, 0).bit_length()), np.uint32), crc])
    while len(crc) > 1:
        crc = _times(_matrix(width), crc[0::2]) ^ crc[1::2]
        width *= 2
    total = crc[:1] if lanes else np.zeros(1, np.uint32)
    return int(_through(total ^ start, rest[:, None])[0]) ^ 0xFFFFFFFF
