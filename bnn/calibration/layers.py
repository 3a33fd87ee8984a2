# SPDX-License-Identifier: Apache-2.0
"""Convolutions and dense layers of bytes by int8 weights, with everything else in floats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from .._types import Array
from ..errors import InputError
from ..file.write import encode
from ..ir import spec
from ..ir.graph import DType, Graph, Node
from ..ir.ops import MOST_BYTE_PRODUCTS, Level, constant, conv_attrs, make
from ..ir.quantization import Bytes
from ..ir.rewrite import rebuild, remade, replanned
from ..passes.choose_layout import choose_layout
from ..passes.plan_arena import plan_arena
from ..passes.schedule import schedule
from ..runtime import Model
from ..runtime.arrays import Inputs
from ..runtime.handles import NO_LIMIT
from .report import CalibratedLayer, in_decibels
from .values import Values, find_ranges
from .weights import whole_filters

# A layer with fewer products for a number of its data would not gain what it takes to quantize them.
_LEAST_PRODUCTS = 16
COMPARED = 8  # images on which layers are compared


def as_int8(
    model: Model, graph: Graph, layers: Sequence[Node], keep_float: Sequence[str], arrays: list[Inputs], method: str
) -> tuple[Graph, tuple[CalibratedLayer, ...]]:
    """The planned graph with these layers as int8, where they gain, and what became of each."""
    why = {node: "asked for" if node.name in keep_float else _why_float(node) for node in layers}
    taken = {node for node in layers if not why[node]}
    ranges, _ = find_ranges(model, graph, {_data_of(node) for node in taken}, arrays, method)
    quantized, made = _quantized(graph, taken, ranges)
    result = Model.from_bytes(encode(quantized), max_bytes=NO_LIMIT)
    snr = _compare(model, graph, result, quantized, made, arrays)
    found = tuple(
        CalibratedLayer(node.name, why[node])
        if why[node]
        else CalibratedLayer(node.name, "", ranges[_data_of(node)].scale, ranges[_data_of(node)].zero, snr[node])
        for node in layers
    )
    return noted(quantized, {made[node]: snr[node] for node in made}), found


def noted(graph: Graph, snr: Mapping[Node, float]) -> Graph:
    """The graph, whose layers say what they are."""
    notes = {x: f"{_width(x)} after training, {in_decibels(value)}" for x, value in snr.items()}
    return replanned(graph, lambda old, node: replace(node, note=notes.get(old, node.note)))


def _width(layer: Node) -> str:
    return "int16" if layer.type.dtype is DType.i16 else "int8"


def decibels(layer: str, expected: Array, found: Array) -> float:
    """Signal over noise; infinity without either.  Raises InputError where sums of the layer overflowed."""
    if not np.isfinite(expected).all():
        raise InputError(f"images: the sums of layer '{layer}' are infinite on them; give images it was trained for")
    return ratio((expected**2).sum(), ((expected - found) ** 2).sum())


def ratio(signal: float, noise: float) -> float:
    """In dB; infinity without either."""
    return 10 * math.log10(signal / noise) if noise and signal else math.inf


def _why_float(conv: Node) -> str:
    """Why a layer stays float, or ""."""
    attrs, w = conv_attrs(conv), conv.inputs[1].value
    products = math.prod(w.shape[1:])
    if attrs.groups > 1:
        return "depthwise" if w.shape[3] == 1 else f"{attrs.groups} groups"
    if products > MOST_BYTE_PRODUCTS:
        return f"{products:,} products a sum are more than {MOST_BYTE_PRODUCTS:,}"
    if not np.isfinite(w).all():
        return "its weights are not all finite"
    size, count = (math.prod(t.type.shape) for t in (conv, conv.inputs[0]))
    if size * products < _LEAST_PRODUCTS * count:
        return "too small to gain"
    return ""


def _data_of(conv: Node) -> Node:
    """What a layer reads, before the copy that gives it a rim."""
    x = conv.inputs[0]
    return x.inputs[0] if x.op == "copy" else x


def _quantized(graph: Graph, layers: set[Node], ranges: dict[Node, Bytes]) -> tuple[Graph, dict[Node, Node]]:
    """The planned graph with these layers as int8, and the node that each became."""
    bytes_of: dict[Node, Node] = {}
    made: dict[Node, Node] = {}

    def visit(old: Node, node: Node) -> Node:
        if old not in layers:
            return node
        x, data = _data_of(node), _data_of(old)
        if data not in bytes_of:
            bytes_of[data] = make("quantize", x, attrs=ranges[data].attrs, name=node.name)
        made[old] = _int8_layer(node, bytes_of[data], ranges[data])
        return made[old]

    graph = planned(rebuild(replace(graph, schedule=(), placements={}, arena_bytes=0), visit))
    # choose_layout makes layers anew behind its copies; their filters stay the same nodes.
    now = {n.inputs[1]: n for n in graph.schedule if n.op == "qconv2d"}
    return graph, {old: now[n.inputs[1]] for old, n in made.items()}


def planned(graph: Graph) -> Graph:
    """With a layout, a schedule and a plan of its memory."""
    graph = plan_arena(schedule(choose_layout(graph)))
    spec.verify(graph, Level.RUNTIME, "calibration")
    return graph


def _int8_layer(conv: Node, data: Node, found: Bytes) -> Node:
    attrs, filters = conv_attrs(conv), conv.inputs[1]
    weights, scale = whole_filters(filters.value)
    scale = scale * found.scale
    operands = list(conv.inputs[2:])
    slots = attrs.slots
    if "pre_mul" in slots:
        scale = scale * operands.pop(0).value
        slots = slots[1:]
    zeros = np.full(data.type.shape[-1], found.zero)
    attrs = replace(
        attrs,
        slots=("zeros", "pre_mul", *slots),
        layer_slots=("zeros", "pre_mul", *(s for s in attrs.layer_slots if s != "pre_mul")),
    )
    numbers = (constant(weights, DType.i8, filters.name), constant(zeros), constant(scale))
    return remade(conv, "qconv2d", data, *numbers, *operands, attrs=attrs)


def _compare(
    model: Model, graph: Graph, result: Model, made_graph: Graph, made: dict[Node, Node], arrays: list[Inputs]
) -> dict[Node, float]:
    """The signal-to-noise ratio of each layer's sums, in dB: its data are those of the float network."""
    count = min(len(arrays[0]), COMPARED)
    data = {_data_of(old): _data_of(new).inputs[0] for old, new in made.items()}
    values = Values(model, graph, count).run([a[:count] for a in arrays], set(data))
    theirs, ours = Values(model, graph, count), Values(result, made_graph, count)
    found = {}
    for old, new in made.items():
        x = values[_data_of(old)]
        found[old] = decibels(old.name, theirs.sums(old, _data_of(old), x), ours.sums(new, _data_of(new).inputs[0], x))
    return found
