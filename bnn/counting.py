"""Numbers in binary as counted bits: a plane for each threshold, and weights that are all the same.

A neuron says whether a sum is at least its threshold; bit p of a number is no such thing.  So an activation that the
compiled network holds as a number n in binary, which its convolutions weigh by 2^p, is counted here instead: n bits are
set, of as many as the largest number says.  The sum of 2^p s_p is the sum of t_i, for their signs s and t.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from .errors import UnsupportedOpError
from .ir import DType, Graph, Node
from .ops import ConvAttrs, DequantizeAttrs, constant, make
from .rewrite import remade, with_inputs

MOST_NEURONS = 15  # for one activation: four bits


def counted(graph: Graph) -> tuple[Graph, dict[Node, Node]]:
    """(the graph with every number in binary counted, each old node's new one).  The graph itself where it has none.

    Raises :class:`UnsupportedOpError` where an activation would be more than fifteen neurons, or a grouped convolution
    reads numbers; names the layer.
    """
    new: dict[Node, Node] = {}
    for node in graph.nodes():
        operands = tuple(new[i] for i in node.inputs)
        if node.op == "binarize_levels":
            new[node] = _planes(node, operands[0])
        elif isinstance(node.attrs, ConvAttrs) and node.attrs.planes > 1:
            new[node] = _convolution(node, operands)
        elif isinstance(node.attrs, DequantizeAttrs) and node.attrs.channels:
            table = node.inputs[1].value
            missing = 2 ** (len(table) - 1).bit_length() - len(table)
            table = np.concatenate([table, np.repeat(table[-1:], missing)])
            new[node] = remade(node, "dequantize", operands[0], constant(table), attrs=DequantizeAttrs())
        else:
            new[node] = _one_sum(with_inputs(node, operands))
    if all(old is made for old, made in new.items()):
        return graph, new
    ends = tuple(new[n] for n in graph.inputs), tuple(new[n] for n in graph.outputs)
    return replace(graph, inputs=ends[0], outputs=ends[1], schedule=(), placements={}, arena_bytes=0), new


def _planes(node: Node, x: Node) -> Node:
    """A bit for each threshold, and bits never set up to a whole number of binary digits."""
    thresholds = node.inputs[1].value
    count = 2 ** len(thresholds).bit_length() - 1
    if count > MOST_NEURONS:
        raise UnsupportedOpError(
            f"layer '{node.name}': its activations of {len(thresholds) + 1} levels would be {count} neurons each, at "
            f"most {MOST_NEURONS} are made; train it with four bits or fewer, or run it with the C runtime"
        )
    channels = x.type.shape[-1]
    never = constant(np.full(channels, -1), DType.b1)
    limits = [*thresholds, *[np.inf] * (count - len(thresholds))]
    bits = [make("binarize", x, constant(np.full(channels, t, np.float32)), never, name=node.name) for t in limits]
    return make("concat", *bits, name=node.name)


def _convolution(node: Node, operands: Sequence[Node]) -> Node:
    a = node.attrs
    assert isinstance(a, ConvAttrs)
    if a.groups > 1:
        raise UnsupportedOpError(
            f"layer '{node.name}': a grouped convolution of activations of several levels is not emitted as spikes; "
            "train it without groups, or run it with the C runtime"
        )
    weight = constant(np.concatenate([node.inputs[1].value] * (2**a.planes - 1), axis=3), DType.b1)
    return _one_sum(remade(node, node.op, operands[0], weight, *operands[2:], attrs=replace(a, planes=1)))


def _one_sum(node: Node) -> Node:
    """Two convolutions of the same bits, added (weights of three values), are one convolution of the bits twice."""
    a, parts = node.attrs, node.inputs
    slots: tuple[str, ...] = ()
    rest: tuple[Node, ...] = ()
    if node.op == "add":
        first, second = parts
    elif isinstance(a, ConvAttrs) and a.slots[:1] == ("residual",):
        first, second, slots, rest = node, parts[2], a.slots[1:], parts[3:]
    else:
        return node
    if not (_plain(first, ("residual",)) and _plain(second, ()) and _alike(first, second)):
        return node
    attrs = first.attrs
    assert isinstance(attrs, ConvAttrs)
    x = make("concat", first.inputs[0], first.inputs[0], name=node.name)
    weight = np.concatenate([first.inputs[1].value, second.inputs[1].value], axis=3)
    new = replace(attrs, slots=slots, layer_slots=())
    return remade(node, "bconv2d", x, constant(weight, DType.b1), *rest, attrs=new)


def _plain(node: Node, first: tuple[str, ...]) -> bool:
    """Whether it gives sums without a scale."""
    if node.op != "bconv2d" or node.type.dtype is not DType.f32:
        return False
    slots = node.attrs.slots  # type: ignore[attr-defined]
    return not slots or slots[:1] == first


def _alike(a: Node, b: Node) -> bool:
    """The same bits, seen by the same windows."""

    def geometry(attrs: object) -> tuple[object, ...]:
        assert isinstance(attrs, ConvAttrs)
        return attrs.stride, attrs.dilation, attrs.pads, attrs.pad_value, attrs.groups

    same = a.inputs[0] is b.inputs[0] and geometry(a.attrs) == geometry(b.attrs)
    return same and a.attrs.groups == 1 and a.inputs[1].type == b.inputs[1].type  # type: ignore[attr-defined]


def composed(first: Mapping[Node, Node], second: Mapping[Node, Node]) -> dict[Node, Node]:
    """Where each node came to by two rewrites."""
    return {old: second[made] for old, made in first.items() if made in second}
