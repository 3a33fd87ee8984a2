# SPDX-License-Identifier: Apache-2.0
"""Physical layout: which values need a halo, and where a copy is needed."""

from __future__ import annotations

from dataclasses import replace

from ..errors import CompileError, UnsupportedOpError
from ..ir.graph import DType, Graph, Halo, Node, Placement, Storage
from ..ir.ops import CONVOLUTIONS, conv_attrs, make
from ..ir.rewrite import rebuild, with_inputs


def choose_layout(graph: Graph) -> Graph:
    """Precondition: BINARY.  Postcondition: RUNTIME ops; every value has a :class:`Placement` with its halo: the
    largest padding among the convolutions that read it; graph inputs and outputs are dense, without a halo.

    Raises :class:`CompileError` for values that the runtime cannot hold, naming the layer.

    A halo lets a convolution read beyond the image's edge without a special case.  Graph inputs and outputs are in the
    caller's memory, so a copy separates them from values that need a halo; outputs that are bits are unpacked.
    """
    _check_supported(graph)
    graph = _separate_outputs(graph)
    graph = _copy_inputs(graph)
    halos = _halos(graph)
    placements: dict[Node, Placement] = {}
    for node in graph.nodes():
        if node.is_constant:
            storage = Storage.CONSTANT
        elif node in graph.inputs:
            storage = Storage.INPUT
        elif node in graph.outputs:
            storage = Storage.OUTPUT
        else:
            storage = Storage.ARENA
        placements[node] = Placement(storage, halos.get(node, Halo()) if storage is Storage.ARENA else Halo())
    return replace(graph, placements=placements)


def _check_supported(graph: Graph) -> None:
    for node in graph.nodes():
        if not node.is_constant and not 1 <= len(node.type.shape) <= 3:
            raise UnsupportedOpError(
                f"layer '{node.name}' ({node.op}) gives {node.type}: the runtime supports one to three dimensions "
                "besides the batch, (C), (W, C) or (H, W, C); reshape it, or cut the model before it"
            )
    names = graph.output_names or ("",) * len(graph.outputs)
    for name, node in zip(names, graph.outputs, strict=True):
        if node.is_constant:
            raise CompileError(f"output '{name}' does not depend on the input; leave it out of the model's outputs")


def _halos(graph: Graph) -> dict[Node, Halo]:
    halos: dict[Node, Halo] = {}
    for node in graph.nodes():
        if node.op in CONVOLUTIONS:
            x = node.inputs[0]
            halos[x] = halos.get(x, Halo()) | Halo(*conv_attrs(node).pads)
    return halos


def _separate_outputs(graph: Graph) -> Graph:
    """Every output is a float32 node of its own that no convolution reads with padding."""
    halos = _halos(graph)
    outputs: list[Node] = []
    for node in graph.outputs:
        if node.type.dtype is DType.b1:
            node = make("unpack", node, name=node.name, origin=node.origin)
        elif node.op in ("input", "constant") or node in outputs or halos.get(node):
            node = make("copy", node, name=node.name, origin=node.origin)
        outputs.append(node)
    return replace(graph, outputs=tuple(outputs))


def _copy_inputs(graph: Graph) -> Graph:
    halos = _halos(graph)
    copies = {n: make("copy", n, name=n.name) for n in graph.inputs if halos.get(n)}

    def visit(old: Node, node: Node) -> Node:
        if node.op not in CONVOLUTIONS or node.inputs[0] not in copies:
            return node
        return with_inputs(node, (copies[node.inputs[0]], *node.inputs[1:]))

    return rebuild(graph, visit) if copies else graph
