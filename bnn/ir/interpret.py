# SPDX-License-Identifier: Apache-2.0
"""The oracle: runs any graph, at any level, in NumPy with the reference functions of the op table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .._types import Array
from ..errors import InputError
from .graph import Graph, Node
from .ops import OPS


def evaluate(node: Node, operands: Sequence[Array]) -> Array:
    """The value of one node from its operands' values (activations with the batch first)."""
    with np.errstate(invalid="ignore", over="ignore"):
        result = OPS[node.op].reference(*operands, a=node.attrs)
    return np.asarray(result, dtype=node.type.dtype.numpy)


def run(graph: Graph, inputs: Sequence[Array]) -> dict[Node, Array]:
    """Every node's value.

    ``inputs``: one array (N, ...) per graph input, of its type.  Raises :class:`InputError` on a wrong shape.
    """
    if len(inputs) != len(graph.inputs):
        raise InputError(f"the graph has {len(graph.inputs)} inputs, found {len(inputs)} arrays")
    values: dict[Node, Array] = {}
    for node, array in zip(graph.inputs, inputs, strict=True):
        array = np.asarray(array, dtype=node.type.dtype.numpy)
        if array.shape[1:] != node.type.shape:
            raise InputError(f"input '{node.name}' expects (N, {node.type.shape}), found {array.shape}")
        values[node] = array
    for node in graph.nodes():
        if node not in values:
            values[node] = evaluate(node, [values[i] for i in node.inputs])
    return values


def outputs(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """The graph outputs' values."""
    values: Mapping[Node, Array] = run(graph, inputs)
    return [values[n] for n in graph.outputs]
