# SPDX-License-Identifier: Apache-2.0
"""Firmware: depthwise layers of bits, which hosts compute as bytes, as bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir.graph import DType, Graph, Node
from ..ir.ops import ConvAttrs, PadAttrs, constant, conv_attrs, make
from ..ir.rewrite import rebuild
from .choose_layout import choose_layout
from .schedule import schedule


def depthwise_bits(graph: Graph) -> Graph:
    """Precondition: scheduled.  Postcondition: scheduled, without places in the arena if anything changed.

    A depthwise qconv2d of the bytes 0 and 2, which stand for bits, whose weights differ only in sign and whose sums are
    compared with thresholds, becomes a bconv2d of the bits with one channel in each group.  Only emitted C has it:
    words of bits are counted side by side there, where kernels of hosts multiply bytes as fast.
    """
    changed = rebuild(graph, lambda old, node: _of_bits(node) or node)
    if changed is graph:
        return graph
    return laid_out(changed, graph)


def laid_out(changed: Graph, graph: Graph) -> Graph:
    """The changed graph with a schedule and places, but none in the arena; its outputs are stored where those of
    ``graph`` are, whatever the caller gets of them."""
    planned = schedule(choose_layout(replace(changed, schedule=(), placements={}, arena_bytes=0)))
    places = dict(planned.placements)
    for node, output in zip(planned.outputs, graph.outputs, strict=True):
        places[node] = replace(places[node], storage=graph.placements[output].storage)
    return replace(planned, placements=places)


def _of_bits(node: Node) -> Node | None:
    if node.op != "qconv2d" or node.inputs[0].op != "unpack_bytes" or node.type.dtype is not DType.b1:
        return None
    a, filters, bits = conv_attrs(node), node.inputs[1].value.astype(np.int64), node.inputs[0].inputs[0]
    size = np.abs(filters[:, :1, :1, :1])
    if "threshold" not in a.slots or not a.groups == len(filters) == bits.type.shape[-1] > 1:
        return None
    if (node.inputs[a.operand("zeros")].value != 1).any() or (size == 0).any() or (np.abs(filters) != size).any():
        return None
    pads, pad_value = a.pads, 0
    if isinstance(bits.attrs, PadAttrs) and not any(pads):
        pads, pad_value, bits = bits.attrs.pads, int(bits.attrs.value), bits.inputs[0]
    threshold = -(-node.inputs[a.operand("threshold")].value.astype(np.int64) // size.reshape(-1))
    operands = [constant(threshold, DType.i32), *node.inputs[1 + a.operand("threshold") :]]
    attrs = ConvAttrs(
        a.stride, a.dilation, pads, pad_value, a.groups, tuple(s for s in a.slots if s != "zeros"), out=DType.b1
    )
    signs = constant(np.sign(filters), DType.b1)
    return make("bconv2d", bits, signs, *operands, attrs=attrs, name=node.name, tap=node.tap, origin=node.origin)
