# SPDX-License-Identifier: Apache-2.0
"""What a note on a layer says: why it is not binary, and warnings of what its author probably did not mean.

In a .bnn file it is one text: the reason, if there is one, and then each warning on a line of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

WARNING = "warning: "


def warning(layer: str, text: str) -> str:
    """The line of a warning about a layer."""
    return f"{WARNING}'{layer}': {text}"


def joined(note: str, reason: str, warnings: Iterable[str]) -> str:
    """A note with another reason and these lines of warnings after its own."""
    own, lines = parted(note)
    reasons = "; ".join(filter(None, [own, reason]))
    return "\n".join([*filter(None, [reasons]), *dict.fromkeys([*lines, *warnings])])


def parted(note: str) -> tuple[str, tuple[str, ...]]:
    """The reason, and the lines of the warnings."""
    lines = note.split("\n")
    reason = "\n".join(line for line in lines if not line.startswith(WARNING))
    return reason, tuple(line for line in lines if line.startswith(WARNING))
