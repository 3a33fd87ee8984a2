# SPDX-License-Identifier: Apache-2.0
"""Messages of TensorFlow and Keras errors, in one line."""

from __future__ import annotations

import re

_STYLE = re.compile(r"\x1b\[\d*m")
# The place of the error, not the error: "Exception encountered when calling layer 'dense' (type Dense)."
_PLACE = re.compile(r"Exception encountered when calling|in user code:|Traceback|File \"")
_ERROR = re.compile(r"(?:\w+(?:Error|Exception)|Exception encountered): *(.*)")
# Additions: a configuration, a node's whole text.
_REST = re.compile(r" *(?:Full object config|config=).*|\{\{function_node [^}]*\}\} *| for '\{\{node .*| \[Op:\w+\].*")
_MOST = 300


def reason(error: Exception) -> str:
    """The line with the problem, without the place, stack and configuration that some messages include."""
    lines = [line for text in _STYLE.sub("", str(error)).splitlines() if (line := text.strip())]
    starts = [i for i, line in enumerate(lines) if _ERROR.match(line)]
    if starts:  # a stack, or another error's text, comes before the error itself
        start = starts[-1]
        lines = [_ERROR.sub(r"\1", lines[start]), *lines[start + 1 :]]
    said = [line for text in lines if not _PLACE.match(text) and (line := _REST.sub("", text))]
    line = said[0].rstrip(".") if said else type(error).__name__
    return line if len(line) <= _MOST else f"{line[:_MOST]}..."
