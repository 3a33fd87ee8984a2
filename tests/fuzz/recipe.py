# SPDX-License-Identifier: Apache-2.0
"""A fuzzer's bytes as decisions: which edit, where, with what.  Any bytes are a recipe."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
MOST_EDITS = 6  # of one input
WORDS = (0, 1, 2, 3, 4, 7, 8, 12, 16, 64, 255, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 4)


class Recipe:
    """Numbers of the fuzzer's bytes, zeros after the last."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def number(self, below: int) -> int:
        """Of one byte, or of two where one is not enough."""
        count = 1 if below <= 256 else 2
        self.at += count
        return int.from_bytes(self.data[self.at - count : self.at], "big") % below

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.number(len(choices))]


def damaged(file: bytes, recipe: Recipe) -> bytes:
    """The file after changes of a few words and bytes."""
    data = bytearray(file)
    for _ in range(MOST_EDITS):
        if not recipe:
            break
        at, kind = recipe.number(len(data)), recipe.number(5)
        word = at - at % 4
        if kind == 0:
            data[at] ^= 1 << recipe.number(8)
        elif kind == 1:
            data[at] = recipe.number(256)
        elif kind == 2 and word + 4 <= len(data):
            struct.pack_into("<I", data, word, recipe.pick(WORDS))
        elif kind == 3 and word + 4 <= len(data):  # offsets are relative
            old = struct.unpack_from("<I", data, word)[0]
            struct.pack_into("<I", data, word, (old + 4 * (recipe.number(9) - 4)) % 2**32)
        elif kind == 4 and recipe.number(4) == 0:
            del data[at:]
            break
    return bytes(data)
