# SPDX-License-Identifier: Apache-2.0
"""What .bnn and .snn files have in common, a header, sections and a checksum: see docs/reference/container.md."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import ModelFormatError

ALIGNMENT = 64


def aligned(size: int, alignment: int = ALIGNMENT) -> int:
    """``size`` rounded up."""
    return -(-size // alignment) * alignment


def bad(what: str) -> NoReturn:
    """Raise for a file that contradicts itself."""
    raise ModelFormatError(f"{what}; compile the model again")


class Section:
    """A section of a file that holds each text or array once, at multiples of ``alignment`` bytes."""

    def __init__(self, alignment: int = 1) -> None:
        self.bytes = bytearray()
        self._alignment = alignment
        self._known = {b"": 0}

    def add(self, raw: bytes) -> tuple[int, int]:
        """(offset, bytes)"""
        size = aligned(len(raw), self._alignment)
        if raw not in self._known:
            self._known[raw] = len(self.bytes)
            self.bytes += raw.ljust(size, b"\0")
        return self._known[raw], size


@dataclass(frozen=True)
class Parts:
    """A file's parts: what its header counts and says, and its sections."""

    counts: tuple[Any, ...]
    rest: tuple[Any, ...]
    tables: tuple[memoryview, memoryview]
    strings: memoryview
    data: memoryview

    def text(self, offset: int, length: int, *, errors: str = "strict") -> str:
        """A string, by its field; raises ModelFormatError, or replaces what is not UTF-8."""
        if offset + length > len(self.strings):
            bad(f"string: found {length} bytes at {offset}, expected them inside {len(self.strings)}")
        try:
            return str(self.strings[offset : offset + length], "utf-8", errors)
        except UnicodeDecodeError:
            bad(f"string at {offset}: not UTF-8")


@dataclass(frozen=True)
class Format:
    """A kind of file.

    ``counts`` and ``rest``: struct's codes of its header before and after the places of the sections.  ``tables``: its
    first two sections by name, with the bytes of each record that the first two counts count; 0: the header says how
    many bytes the section has.
    """

    suffix: str
    signature: bytes
    version: int
    counts: str
    tables: tuple[tuple[str, int], tuple[str, int]]
    rest: str

    @property
    def sections(self) -> tuple[tuple[str, int], ...]:
        """A file has ``tables``, then strings, then data."""
        return *self.tables, ("string section", 0), ("data section", 0)

    @property
    def header(self) -> struct.Struct:
        places = "".join("Q" if record else "QQ" for _, record in self.sections)
        return struct.Struct(f"<8sIIQ{self.counts}{places}{self.rest}")

    def encode(self, counts: Iterable[Any], sections: Iterable[bytes | bytearray], rest: Iterable[Any]) -> bytes:
        """A file's bytes."""
        out, places = bytearray(self.header.size), []
        for (_, record), section in zip(self.sections, sections, strict=True):
            out += bytes(-len(out) % ALIGNMENT)
            places += [len(out)] if record else [len(out), len(section)]
            out += section
        self.header.pack_into(out, 0, self.signature, self.version, 0, len(out), *counts, *places, *rest)
        struct.pack_into("<I", out, 12, _checksum(out))
        return bytes(out)

    def decode(self, data: bytes) -> Parts:
        """A file's parts, in place.

        Raises :class:`ModelFormatError` where the file is damaged, truncated, of another kind or version.
        """
        data, size, header = bytes(data), len(data), self.header
        if size < header.size:
            raise ModelFormatError(f"found {size} bytes, expected a {self.suffix} file's header of {header.size}")
        signature, version, stated, whole, *fields = header.unpack_from(data)
        if signature != self.signature:
            wanted = f"expected {self.signature!r}: this is not a {self.suffix} file"
            raise ModelFormatError(f"signature: found {signature!r}, {wanted}")
        if version != self.version:
            bad(f"version: found {version}, expected {self.version}")
        if whole != size:
            raise ModelFormatError(f"file size: found {size} bytes, expected {whole}; copy the file again")
        checksum = _checksum(data)
        if checksum != stated:
            raise ModelFormatError(f"checksum: found {checksum:08x}, expected {stated:08x}; copy the file again")
        counts, places = fields[: len(self.counts)], iter(fields[len(self.counts) :])
        found = []
        for i, (name, record) in enumerate(self.sections):
            start = next(places)
            length = counts[i] * record if record else next(places)
            if start + length > size:
                bad(f"{name}: found {length} bytes at {start}, expected them inside the file's {size}")
            found.append(memoryview(data)[start : start + length])
        return Parts(tuple(counts), tuple(places), (found[0], found[1]), *found[2:])


def _checksum(data: bytes | bytearray) -> int:
    return zlib.crc32(data[16:], zlib.crc32(data[:12]))
