# SPDX-License-Identifier: Apache-2.0
"""The extension as it is built: what its ELF file asks of the loader, and what the compiler was told."""

from __future__ import annotations

import importlib.util
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnn.runtime.build import FLAGS, HARDENING, NO_DEBUG

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the linker's flags are those of Linux")

LOAD, DYNAMIC, STACK, RELRO = 1, 2, 0x6474E551, 0x6474E552
WRITABLE, EXECUTABLE = 2, 1
TEXTREL, FLAGS_TAG, FLAGS_1, STRINGS, STRINGS_SIZE = 22, 30, 0x6FFFFFFB, 5, 10
BIND_NOW, NOW = 8, 1


class Elf:
    """Program headers and dynamic section of a 64-bit little-endian file."""

    def __init__(self, path: str) -> None:
        self.data = Path(path).read_bytes()
        assert self.data[:6] == b"\x7fELF\x02\x01", "not 64-bit little-endian"
        (start,) = struct.unpack_from("<Q", self.data, 32)
        size, count = struct.unpack_from("<HH", self.data, 54)
        #: (type, flags, offset, address, bytes in the file)
        self.segments = [self._segment(start + i * size) for i in range(count)]

    def _segment(self, at: int) -> tuple[int, int, int, int, int]:
        kind, flags, offset, address, _, size = struct.unpack_from("<IIQQQQ", self.data, at)
        return kind, flags, offset, address, size

    def dynamic(self) -> Iterator[tuple[int, int]]:
        _, _, offset, _, size = next(s for s in self.segments if s[0] == DYNAMIC)
        for tag, value in struct.iter_unpack("<qQ", self.data[offset : offset + size]):
            if tag == 0:
                return
            yield tag, value

    def names(self) -> set[bytes]:
        """The strings of the dynamic section: symbols needed and offered, libraries."""
        entries = dict(self.dynamic())
        address = entries[STRINGS]
        offset = next(
            o + address - a for kind, _, o, a, size in self.segments if kind == LOAD and a <= address < a + size
        )
        return set(self.data[offset : offset + entries[STRINGS_SIZE]].split(b"\0"))


@pytest.fixture(scope="module")
def elf() -> Elf:
    found = importlib.util.find_spec("bnn._native")
    assert found is not None and found.origin is not None
    return Elf(found.origin)


def test_addresses_are_bound_at_once_and_read_only(elf: Elf) -> None:
    """Full RELRO: the table of addresses that calls go through is written before any code runs, and never again."""
    entries = dict(elf.dynamic())
    assert any(kind == RELRO for kind, *_ in elf.segments)
    assert entries.get(FLAGS_TAG, 0) & BIND_NOW or entries.get(FLAGS_1, 0) & NOW


def test_nothing_is_both_writable_and_code(elf: Elf) -> None:
    stacks = [flags for kind, flags, *_ in elf.segments if kind == STACK]
    assert stacks and not any(flags & EXECUTABLE for flags in stacks)
    assert not [s for s in elf.segments if s[0] == LOAD and s[1] & WRITABLE and s[1] & EXECUTABLE]
    assert TEXTREL not in dict(elf.dynamic()), "code that is written while it is loaded"


def test_stacks_are_guarded(elf: Elf) -> None:
    assert b"__stack_chk_fail" in elf.names()


def test_library_calls_are_checked() -> None:
    """The extension has no symbol to show for it: every length that a compiler can know is proven when it is built."""
    command = [os.environ.get("CC", "cc"), *FLAGS, *HARDENING, "-Wall", "-Werror", "-E", "-dM", "-x", "c", "-"]
    done = subprocess.run(command, input="#include <string.h>\n", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "#define __USE_FORTIFY_LEVEL 2\n" in done.stdout or "__GLIBC__" not in done.stdout


@pytest.mark.skipif(not NO_DEBUG, reason="CFLAGS ask for debug information")
def test_no_debug_information(elf: Elf) -> None:
    """It would be five sixths of a wheel; the library is at most 1.0 MB."""
    assert b".debug_info" not in elf.data and b".symtab" not in elf.data
    assert len(elf.data) <= 1_000_000 or b"__llvm_prf" in elf.data  # instrumented
