# SPDX-License-Identifier: Apache-2.0
"""The sizes of models that are read, checked before anything is made of them."""

from __future__ import annotations

from pathlib import Path

from ...errors import CompileError

MOST_BYTES = 2**30
"""Bytes that a file may declare: unpacked parts, weights, constants of the graph, one value while it is read."""
MOST_CONSTANTS = 2**32
"""Total bytes of the values that a model computes without its data: weights, and values derived from them."""
LEAST_MADE, MADE = 2**27, 64
"""Bytes of values that a model may compute without its data: at least, and in addition for each byte that it stores."""
MOST_HELD = 2**33
"""Total bytes of the values that are held at once while a model is executed."""
MOST_NODES = 2**20
"""Ops of a model; those of called functions count once per call."""
MOST_ONNX_NODES = 2**17
"""Nodes of an ONNX model, those of its functions included; each is an object of Python several times over."""
PERMISSION = "if you trust the file, pass unsafe=True (--unsafe), or compile the model from memory"


def check_bytes(where: str | Path, what: str, count: int, most: int | None = None) -> None:
    """Refuse a declared size that is larger than anything that is compiled; ``most``: MOST_BYTES, or less."""
    most = MOST_BYTES if most is None else most
    if count > most:
        raise CompileError(f"{where}: {what} is {count:,} bytes; at most {most:,} are read; {PERMISSION}")


class Made:
    """Counts the bytes of values that a model computes without its data, or of its shape alone (``what``).

    ``most``: None for a model that the user trusts; ``remedy``: what to do about more, if there is anything.
    """

    def __init__(self, most: int | None, remedy: str = "", what: str = "that do not depend on the data") -> None:
        self.most, self.remedy, self.what, self.bytes = most, remedy, what, 0

    def add(self, count: int, name: str) -> None:
        """Count the results of an op.  Raises CompileError if they are too many."""
        self.bytes += count
        if self.most is not None and self.bytes > self.most:
            raise CompileError(
                f"the values {self.what} are {self.bytes:,} bytes at '{name}'; at most {self.most:,} are made of this "
                f"model{self.remedy and '; '}{self.remedy}"
            )


def most_made(stored: int | None) -> int:
    """Bytes of values that may be computed from a file of ``stored`` bytes; None: a model that the user trusts."""
    return MOST_CONSTANTS if stored is None else min(MOST_CONSTANTS, LEAST_MADE + MADE * stored)
