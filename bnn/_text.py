# SPDX-License-Identifier: Apache-2.0
"""Text that strangers wrote (names in a file, of a file) where people read it: in a terminal, on a page.

Escape sequences steer a terminal, marks of direction reorder what stands beside them, a new line looks like a line of
this program's own, and a browser may take a name for markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TextIO

_LAYOUT = "\n\t"  # of this program's own texts
_LONG_NAME = re.compile(r"\S{400,}")  # a path may have some hundred characters


def printable(text: str) -> str:
    """A name on one line of a terminal: what does not print, or prints as space that is none, becomes ``\\x1b`` or
    ``\\u202e``, as in Python.  A backslash stays, so that a text may come here twice."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def clipped(text: str) -> str:
    """A text without the middle of names that nobody reads: a damaged file may have a megabyte of one."""
    return _LONG_NAME.sub(lambda name: f"{name[0][:120]}...{name[0][-40:]}", text)


def printable_lines(text: str) -> str:
    """The same for a text that has lines."""
    return text if text.isprintable() else "".join(c if c in _LAYOUT else printable(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def page_json(value: object) -> str:
    """JSON for a ``<script>`` of a page: ASCII without ``<``, ``>`` and ``&``, so that nothing in it ends the script or
    begins a comment; its texts are printable.

    Raises ValueError for a number that is not finite.
    """
    import json  # not imported when only running networks

    text = json.dumps(_printable(value), separators=(",", ":"), allow_nan=False)
    return text.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&"})


def ascii_json(value: object, indent: int = 2) -> str:
    """JSON with lines, in ASCII that prints; NaN and infinity, which JSON lacks, become null."""
    import json

    return json.dumps(_finite(value), indent=indent).replace("\x7f", "\\u007f")  # DEL is ASCII


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_printable(key): _printable(v) for key, v in value.items()}
    return [_printable(v) for v in value] if isinstance(value, (list, tuple)) else value


def _finite(value: Any) -> Any:
    import math

    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class Guarded:
    """A stream of text that lets through what a terminal may show, in the stream's encoding."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(printable_lines(text).encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError("bytes would pass unseen")
        return getattr(self._stream, name)


def unguarded(stream: TextIO) -> TextIO:
    """The stream itself, for control characters of one's own."""
    return stream._stream if isinstance(stream, Guarded) else stream
