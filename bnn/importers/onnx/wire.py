# SPDX-License-Identifier: Apache-2.0
"""How many parts a file of protocol buffers has, counted before it is parsed: two bytes may become 200 in memory."""

from __future__ import annotations

import functools
from typing import Any

from ...errors import CompileError

_MOST_MESSAGES = 2**20
_MOST_TEXTS = 2**22
_DEEPEST = 50


def check_counts(data: bytes, descriptor: Any) -> None:
    """Refuse a file of more messages or texts than any model has, and one that is damaged.

    Args:
        descriptor: of the message that the file is, ``Message.DESCRIPTOR`` in the package protobuf.
    """
    messages = texts = 0
    waiting = [(0, len(data), descriptor, 1)]
    while waiting:
        at, end, kind, depth = waiting.pop()
        nested, long = _fields(kind)
        while at < end:
            key, at = _number(data, at, end)
            field, wire = key >> 3, key & 7
            if wire != 2:
                at = _past(data, at, end, wire)
                continue
            size, at = _number(data, at, end)
            if size > end - at:
                raise _damaged()
            inner = nested.get(field)
            if inner is not None:
                messages += 1
                if depth > _DEEPEST:
                    raise CompileError(f"not an ONNX model: its parts are nested more than {_DEEPEST} deep")
                if size:
                    waiting.append((at, at + size, inner, depth + 1))
            elif field in long:
                texts += 1
            if messages > _MOST_MESSAGES or texts > _MOST_TEXTS:
                raise CompileError(
                    f"it has more than {_MOST_MESSAGES:,} parts (nodes, attributes, weights ...), or {_MOST_TEXTS:,} "
                    "names; no more are read"
                )
            at += size


@functools.cache
def _fields(descriptor: Any) -> tuple[dict[int, Any], frozenset[int]]:
    """The fields that are messages, and those that are texts, each of which takes memory of its own."""
    nested = {f.number: f.message_type for f in descriptor.fields if f.message_type is not None}
    texts = frozenset(f.number for f in descriptor.fields if f.type in (f.TYPE_STRING, f.TYPE_BYTES))
    return nested, texts


def _number(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of seven bits per byte, and where it ends."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise _damaged()


def _past(data: bytes, at: int, end: int, wire: int) -> int:
    """Where a field of numbers ends."""
    if wire == 0:
        return _number(data, at, end)[1]
    at += {1: 8, 5: 4}.get(wire, end + 1)  # groups are of another time
    if at > end:
        raise _damaged()
    return at


def _damaged() -> CompileError:
    return CompileError("cannot be read as an ONNX model: not a file of protocol buffers, or damaged; export it again")
