# SPDX-License-Identifier: Apache-2.0
"""A network over time, as what is computed of it for each new piece of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .graph import Graph, Node


@dataclass(frozen=True)
class Band:
    """Where the last ``kept`` rows of a value are, ``row`` bytes each.  Every call adds ``new`` rows at the end."""

    offset: int
    row: int
    kept: int
    new: int


@dataclass(frozen=True)
class Stream:
    """What a call computes.

    ``graph``: its ops, for ``rows`` new rows of the input.  An op that reads rows of earlier calls has an operand
    "band", a node without operands, which lies where these rows are.  A "qconv2d" that sums rows (:func:`sums_rows`)
    can be two: the first gives the sums of each row as int32, the second, with the same constants, makes bytes of them.
    ``bands``: by the ops that add rows to them.  ``window``: the rows of the whole network's input.  ``first``: the
    number of the first call that an op computes in, as all rows that it reads exist by then; in call ``calls`` every
    op does.  ``bytes``: the bytes of the arena that calls keep for the next ones.
    """

    graph: Graph
    rows: int
    window: int
    first: Mapping[Node, int]
    calls: int
    bands: Mapping[Node, Band]
    bytes: int
