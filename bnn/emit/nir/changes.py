# SPDX-License-Identifier: Apache-2.0
"""Differences between a NIR file, as nir reads it, and the emitted network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def other_structure(graph: Any, nodes: Mapping[str, Any], edges: Sequence[tuple[str, str]]) -> list[str]:
    """Where a file's nodes, their types and its edges differ from the emitted ones."""
    found = []
    theirs, ours = dict.fromkeys(graph.nodes), dict.fromkeys(nodes)
    for what, a, b in (("node", theirs, ours), ("edge", dict.fromkeys(graph.edges), dict.fromkeys(edges))):
        found += [f"{what} {_shown(x)} is missing" for x in b if x not in a]
        found += [f"{what} {_shown(x)} is not the model's" for x in a if x not in b]
    for name, expected in nodes.items():
        node = graph.nodes.get(name, expected)
        if type(node) is not type(expected):
            found.append(f"node '{name}' is {type(node).__name__}, expected {type(expected).__name__}")
    return found


def _shown(name: str | tuple[str, str]) -> str:
    return f"'{name}'" if isinstance(name, str) else " -> ".join(f"'{end}'" for end in name)


def other_numbers(graph: Any, nodes: Mapping[str, Any]) -> list[str]:
    """Where numbers in nodes of the right types differ from the emitted ones, whatever the data."""
    found = []
    for name, expected in nodes.items():
        theirs, ours = graph.nodes[name].to_dict(), expected.to_dict()
        for key in sorted(set(ours) - {"metadata", "type"}):
            a, b = np.asarray(theirs.get(key)), np.asarray(ours[key])
            if a.shape != b.shape:
                found.append(f"node '{name}': {key} has shape {a.shape}, expected {b.shape}")
            elif not np.array_equal(a, b):
                found.append(f"node '{name}': {np.count_nonzero(a != b):,} of {b.size:,} values of {key} are others")
    return found
