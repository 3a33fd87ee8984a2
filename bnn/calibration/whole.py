# SPDX-License-Identifier: Apache-2.0
"""Calibration to whole numbers alone: the scales of all values from their values on the images, and the report."""

from __future__ import annotations

import numpy as np

from .._types import Floats
from ..errors import VerifierError
from ..file.write import encode
from ..ir.graph import DType, Graph, Node
from ..ir.ops import CONVOLUTIONS, conv_attrs
from ..ir.ops.bits import level_sums
from ..runtime import Model
from ..runtime.arrays import Inputs
from ..runtime.handles import NO_LIMIT
from .channels import channel_ranges
from .integers import Integers, float_ops
from .layers import COMPARED, decibels, noted, planned
from .near import exact_ranges, with_signs
from .report import CalibratedLayer
from .separable import makes_channels, separable
from .unfused import unfused
from .units import Units, units
from .values import Values, find_ranges
from .written import written_for_bytes

_MADE = ("bconv2d", "qconv2d")


def as_integers(graph: Graph, arrays: list[Inputs], method: str) -> tuple[Graph, tuple[CalibratedLayer, ...]]:
    """The planned graph in whole numbers, and its layers.

    Raises:
        UnsupportedOpError: an op has no form in whole numbers.
    """
    split = planned(written_for_bytes(unfused(graph)))
    model = Model.from_bytes(encode(split), max_bytes=NO_LIMIT)
    found = units(split)
    apart = separable(found, split.outputs)
    own = {node for node in apart if makes_channels(found, node)}
    ranges = find_ranges(model, split, set(found.measured()), arrays, method, _unclipped(split, found))
    for node, rounding in found.rounded.items():
        ranges[node] = ranges[found.base[node]] = rounding.bytes
    near = with_signs(found, ranges, channel_ranges(model, split, own, arrays, method), apart)
    made = Integers(found, *exact_ranges(found, *near), apart)
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
    layers = {node: conv for node, conv in layers.items() if node not in made.raw or made.raw[node].op == "qconv2d"}
    wanted = {*layers, *(conv.inputs[0] for conv in layers.values())}
    values = Values(model, graph, count).run([a[:count] for a in arrays], wanted)
    ours = Values(Model.from_bytes(encode(whole), max_bytes=NO_LIMIT), whole, count)
    # choose_layout makes layers anew behind its copies; their operands stay the same nodes, and the last is no other's.
    now = {n.inputs[-1]: n for n in whole.schedule if n.op in _MADE}
    found, snr = [], dict[Node, float]()
    for node, conv in layers.items():
        data, binary = _data(made, conv, values[conv.inputs[0]]), conv.op == "bconv2d"
        x = made.channels(conv.inputs[0]) if conv.op == "conv2d" else None
        result, zeros, scales = made.raw.get(node), np.zeros(1), np.ones(1)
        if node not in made.raw:
            result, zeros, scales = made.channels(node)
        assert result is not None
        layer = now[result.inputs[-1]]
        results = (ours.result(layer, data).astype(float) - zeros) * scales
        snr[layer] = decibels(conv.name, values[node].astype(float), results)
        first = (float(x.scales[0]), int(x.bytes_of_zero[0])) if x else (1.0, 0)
        found.append(CalibratedLayer(conv.name, "", *first, snr[layer], binary))
    return tuple(found), snr


def _data(made: Integers, conv: Node, x: Floats) -> Floats:
    """What a layer of bytes or bits reads, where the data of the layer of floats are these."""
    if conv.op == "conv2d":
        _, zeros, scales = made.channels(conv.inputs[0])
        return np.clip(np.rint(x / scales + zeros), 0, 255).astype(np.float32)
    attrs = conv_attrs(conv)
    if conv.op == "bconv2d" and attrs.planes > 1:
        top = 2**attrs.planes - 1
        levels = (level_sums(x, attrs.planes, conv.inputs[1].type.shape[3] * attrs.groups) + top) / 2
        return levels if attrs.pad_value else 2 * levels
    return x
