# SPDX-License-Identifier: Apache-2.0
"""Calibration to whole numbers alone: the scales of all values from their values on the images, and the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .._types import Array, Floats
from ..errors import InputError, UnsupportedOpError, VerifierError
from ..file.write import encode
from ..ir.graph import DType, Graph, Node
from ..ir.ops import CONVOLUTIONS, conv_attrs
from ..ir.ops.bits import level_sums
from ..runtime import Model
from ..runtime.arrays import Inputs
from ..runtime.handles import NO_LIMIT
from .channels import channel_ranges
from .integers import Integers, float_ops
from .layers import COMPARED, decibels, noted, planned, ratio
from .near import exact_ranges, with_signs
from .report import CalibratedLayer, Shortcut
from .separable import makes_channels, separable
from .shortcuts import additions, steps_of
from .unfused import unfused
from .units import Units, units
from .values import Values, batches, find_ranges
from .written import written_for_bytes

_MADE = ("bconv2d", "qconv2d")
_TRIED = 96  # images on which bytes and int16 are compared, at most
_NEARER = 3.0  # dB, half the noise: what int16 must gain at the outputs to be worth twice the memory of bytes
_HEARD = 3.0  # dB that the outputs must have then: where they are noise either way, a gain is by chance


class _Made(NamedTuple):
    """A network in whole numbers, planned; and how near its outputs and sums are to the floats, in dB."""

    graph: Graph
    integers: Integers
    outputs: float = math.inf
    sums: Mapping[Node, float] = {}


class Whole(NamedTuple):
    """A planned graph in whole numbers, and what the report says of it; ``tried``: how near its outputs are to the
    floats with bytes alone and with int16, in dB, where both were tried."""

    graph: Graph
    layers: tuple[CalibratedLayer, ...]
    shortcuts: tuple[Shortcut, ...]
    tried: tuple[float, float] | None


def as_integers(graph: Graph, arrays: list[Inputs], method: str, int16: Sequence[str] | None) -> Whole:
    """A graph in whole numbers.  The shortcuts that ``int16`` names are int16, or, with None, all if that halves the
    noise of the outputs.

    Raises:
        InputError: ``int16`` names a layer that is no sum of two values.
        UnsupportedOpError: an op has no form in whole numbers.
    """
    split = planned(written_for_bytes(unfused(graph)))
    model = Model.from_bytes(encode(split), max_bytes=NO_LIMIT)
    found = units(split)
    apart = separable(found, split.outputs)
    own = {node for node in apart if makes_channels(found, node)}
    sums = additions(found)
    _check_sums(sums, int16)
    ranges, ends = find_ranges(model, split, set(found.measured()), arrays, method, _unclipped(split, found))
    for node, rounding in found.rounded.items():
        ranges[node] = ranges[found.base[node]] = rounding.bytes
    ranges |= found.numbered
    channels = channel_ranges(model, split, own, arrays, method)
    near = exact_ranges(found, *with_signs(found, ranges, channels, apart))
    largest = {node: max(-low, high) for node, (low, high) in ends.items()}

    def made_with(chosen: Collection[Node]) -> _Made:
        """The network whose sums are int16 where they are chosen."""
        steps = steps_of(found, chosen, largest)
        made = Integers(found, *near, apart, steps)
        whole = planned(made.graph(split))
        if left := float_ops(whole):
            raise VerifierError(f"after calibration: {left[0].op} of layer '{left[0].name}' computes with floats")
        return _Made(whole, made)

    if not sums or int16 is not None:
        made = [made_with([node for node in sums if node.name in (int16 or ())])]
    else:
        made = [made_with(()), *_if_possible(made_with, sums)]
    if sums:
        made = _measured(model, split, made, sums, arrays)
    taken = made[-1] if made[-1].outputs > max(made[0].outputs + _NEARER, _HEARD) else made[0]
    layers, snr = _compared(model, split, taken.graph, taken.integers, arrays)
    named = {x.name: x for x in sums}
    shortcuts = tuple(Shortcut(name, taken.integers.steps.get(x), taken.sums[x]) for name, x in named.items())
    tried = (made[0].outputs, made[1].outputs) if len(made) > 1 else None
    return Whole(noted(taken.graph, snr), layers, shortcuts, tried)


def _if_possible(made_with: Callable[[Collection[Node]], _Made], sums: Collection[Node]) -> list[_Made]:
    try:
        return [made_with(sums)]
    except UnsupportedOpError:  # 32 bits do not hold some sum in steps of int16
        return []


def _check_sums(sums: Collection[Node], int16: Sequence[str] | None) -> None:
    names = {node.name for node in sums}
    if unknown := [name for name in int16 or () if name not in names]:
        known = ", ".join(sorted(names)) or "none"
        raise InputError(f"int16: found {unknown[0]!r}, expected layers that add two values: {known}")


def _measured(
    model: Model, graph: Graph, made: Sequence[_Made], sums: Collection[Node], arrays: list[Inputs]
) -> list[_Made]:
    """Each of these networks on some of the images, from end to end."""
    some = [a[:: -(-len(a) // _TRIED)] for a in arrays]
    theirs, wanted = Values(model, graph, COMPARED), {*sums, *graph.outputs}
    places = [_places(one, graph, sums) for one in made]
    ours = [Values(Model.from_bytes(encode(one.graph), max_bytes=NO_LIMIT), one.graph, COMPARED) for one in made]
    totals = [{x: np.zeros(2) for x in (*place, *graph.outputs)} for place in places]  # signal and noise
    for part in batches(some, COMPARED):
        expected = theirs.run(part, wanted)
        for values, place, total in zip(ours, places, totals, strict=True):
            found = values.run(part, {y for y, _, _ in place.values()})
            for x, (y, zeros, scales) in place.items():
                signal = expected[x].astype(float)
                total[x] += (signal**2).sum(), ((signal - (found[y] - zeros) * scales) ** 2).sum()
    near = [{x: ratio(*total[x]) for x in total} for total in totals]
    return [
        one._replace(outputs=min(db[x] for x in graph.outputs), sums=db) for one, db in zip(made, near, strict=True)
    ]


def _places(made: _Made, graph: Graph, sums: Collection[Node]) -> dict[Node, tuple[Node, Array, Array]]:
    """Outputs, and each layer's last sum: what was made of it, and the zeros and scales (C)."""
    one = np.ones(1)
    found = {x: (y, 0 * one, one) for x, y in zip(graph.outputs, made.graph.outputs, strict=True)}
    now = {(n.op, n.name): n for n in made.graph.schedule}
    for x in {x.name: x for x in sums if x not in found}.values():
        y, zeros, scales = _result(made.integers, x)
        found[x] = now[y.op, y.name], zeros, scales
    return found


def _result(made: Integers, x: Node) -> tuple[Node, Array, Array]:
    """What was made of a value, and the zeros and scales (C) of its numbers."""
    if x in made.shorts:
        return made.shorts[x], np.zeros(1), np.full(1, made.steps[x])
    return (made.raw[x], np.zeros(1), np.ones(1)) if x in made.raw else made.channels(x)


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
        result, zeros, scales = _result(made, node)
        layer = now[result.inputs[-1]]
        results = (ours.result(layer, data).astype(float) - zeros) * scales
        expected = values[node].astype(float)
        if node in units.rounded and node.type.dtype is DType.f32:  # what is beyond them is not read
            expected = np.clip(expected, *units.limits(node))
        snr[layer] = decibels(conv.name, expected, results)
        first = (float(x.scales[0]), int(x.bytes_of_zero[0])) if x else (1.0, 0)
        found.append(CalibratedLayer(conv.name, "", *first, snr[layer], binary, node in made.shorts))
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
