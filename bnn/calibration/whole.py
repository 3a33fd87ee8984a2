# SPDX-License-Identifier: Apache-2.0
"""Calibration to whole numbers alone: the scales of all values from their values on the images, and the report."""

from __future__ import annotations

from ..errors import VerifierError
from ..file.write import encode
from ..ir.graph import DType, Graph, Node
from ..ir.ops import CONVOLUTIONS
from ..ir.quantization import Bytes
from ..runtime import Model
from ..runtime.arrays import Inputs
from ..runtime.handles import NO_LIMIT
from .apart import apart
from .integers import Integers, float_ops
from .layers import COMPARED, decibels, noted, planned
from .report import CalibratedLayer
from .units import Units, units
from .values import Values, find_ranges

_MADE = ("bconv2d", "qconv2d")


def as_integers(graph: Graph, arrays: list[Inputs], method: str) -> tuple[Graph, tuple[CalibratedLayer, ...]]:
    """The planned graph in whole numbers, and its layers.

    Raises:
        UnsupportedOpError: an op has no form in whole numbers.
    """
    split = planned(apart(graph))
    model = Model.from_bytes(encode(split), max_bytes=NO_LIMIT)
    found = units(split)
    ranges = find_ranges(model, split, set(found.measured()), arrays, method, _unclipped(split, found))
    made = Integers(found, ranges)
    whole = planned(made.graph(split))
    if left := float_ops(whole):
        raise VerifierError(f"after calibration: {left[0].op} of layer '{left[0].name}' computes with floats")
    layers, snr = _compared(model, split, whole, made, arrays)
    return noted(whole, snr), layers


def _unclipped(graph: Graph, found: Units) -> set[Node]:
    """The values that the outputs are moved from, or are the softmax of.  Their ranges hold all of their numbers: if
    the largest were left out, two classes could get the same byte."""
    known, ends = set(found.measured()), set[Node]()
    for node in graph.outputs:
        while node not in known and node.data and node.type.dtype is DType.f32:
            node = node.data[0]
        ends.add(node)
    return ends


def _compared(
    model: Model, graph: Graph, whole: Graph, made: Integers, arrays: list[Inputs]
) -> tuple[tuple[CalibratedLayer, ...], dict[Node, float]]:
    """Each layer that became one of bytes, whose data are those of the float network; and the ratios by the nodes of
    the whole graph."""
    units, count = made.units, min(len(arrays[0]), COMPARED)
    layers = {node: units.core(node) for node in units.order if units.core(node).op in CONVOLUTIONS}
    layers = {node: conv for node, conv in layers.items() if node in made.bytes_of or made.raw[node].op == "qconv2d"}
    wanted = {*layers, *(conv.inputs[0] for conv in layers.values())}
    values = Values(model, graph, count).run([a[:count] for a in arrays], wanted)
    ours = Values(Model.from_bytes(encode(whole), max_bytes=NO_LIMIT), whole, count)
    # choose_layout makes layers anew behind its copies; their operands stay the same nodes, and the last is no other's.
    now = {n.inputs[-1]: n for n in whole.schedule if n.op in _MADE}
    found, snr = [], dict[Node, float]()
    for node, conv in layers.items():
        x, binary = values[conv.inputs[0]], conv.op == "bconv2d"
        data = made.bytes_of[conv.inputs[0]][1] if conv.inputs[0] in made.bytes_of else Bytes(1.0, 0)
        result, q = made.bytes_of.get(node, (made.raw.get(node), Bytes(1.0, 0)))
        assert result is not None
        layer = now[result.inputs[-1]]
        results = ours.result(layer, x if binary else data.of(x).astype(x.dtype))
        snr[layer] = decibels(conv.name, values[node].astype(float), (results.astype(float) - q.zero) * q.scale)
        found.append(CalibratedLayer(conv.name, "", data.scale, data.zero, snr[layer], binary))
    return tuple(found), snr
