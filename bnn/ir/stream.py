# SPDX-License-Identifier: Apache-2.0
"""A network over time, as what is computed of it for each new piece of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .graph import Graph, Node


@dataclass(frozen=True)
class Band:
    """The last ``kept`` rows of a value, of which every call computes the last ``new`` ones; ``row``: bytes."""

    offset: int
    row: int
    kept: int
    new: int


@dataclass(frozen=True)
class Stream:
    """What a call computes.

    ``graph``: its ops, for ``rows`` new rows of the input; an operand of which earlier calls computed rows is a node
    "band" without operands, in the arena, where these rows are.  ``bands``: by the ops that compute their last rows.
    ``window``: the rows of the whole network's input.  ``first``: for each op the call from which on it computes, since
    all rows that it reads are there by then; in call number ``calls`` all do.  ``bytes``: of the arena, that are kept
    between calls.
    """

    graph: Graph
    rows: int
    window: int
    first: Mapping[Node, int]
    calls: int
    bands: Mapping[Node, Band]
    bytes: int
