# SPDX-License-Identifier: Apache-2.0
"""Quantization after training: convolutions and dense layers of floats become those of bytes by int8 weights.

Data of a layer x become bytes u = round(x / s) + z, with one scale s and zero z for the tensor, found on images;
weights become q = round(w / t) from -127 to 127, with a scale t for each filter (Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018).  The layer's sums of (u - z) q are
whole numbers, and s t times them replaces its float sums; what follows them (bias, batch norm, residual, activation,
quantizers) is computed as before.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ._arguments import check_choice, shown
from ._text import printable
from ._types import Array, Floats
from .errors import InputError, InputTypeError
from .file.read import decode
from .file.write import encode
from .ir import spec
from .ir.graph import DType, Graph, Node
from .ir.monotone import between
from .ir.ops import MOST_BYTE_PRODUCTS, Level, QuantizeAttrs, constant, conv_attrs, make
from .ir.rewrite import rebuild, remade, replanned
from .passes.choose_layout import choose_layout
from .passes.plan_arena import plan_arena
from .passes.schedule import schedule
from .runtime import Model
from .runtime.arrays import Inputs
from .runtime.handles import NO_LIMIT
from .runtime.model import opened_model
from .runtime.stepper import Stepper
from .runtime.summary import quantity

METHODS = ("mse", "minmax", "percentile")

_BINS = 2048
_TAIL = 1e-4  # the share of values that the method "percentile" clips on each side
_CLIPS = np.linspace(1.0, 0.3, 36)  # of the range, which the method "mse" tries
_LEVELS, _MOST_WEIGHT = 255, 127
# A layer with fewer products for a number of its data would not gain what it takes to quantize them.
_LEAST_PRODUCTS = 16
_COMPARED = 8  # images on which layers are compared


@dataclass(frozen=True)
class CalibratedLayer:
    """A layer of floats: what became of it.

    ``scale`` and ``zero``: of its data (a byte u stands for (u - zero) * scale); ``snr``: of its sums on some of the
    images, in dB, signal over the error that quantizing its own data and weights makes.  A layer that stays float has
    none, and says ``why``.
    """

    layer: str
    why: str = ""
    scale: float = 1.0
    zero: int = 0
    snr: float = math.inf

    def __str__(self) -> str:
        name = printable(self.layer)
        if self.why:
            return f"'{name}': float: {self.why}"
        return f"'{name}': int8, scale {self.scale:.4g}, zero {self.zero}, {self.snr:.1f} dB"


@dataclass(frozen=True)
class Calibration:
    """A calibrated network, its layers, and how often it gives the class of the float network: ``same`` of ``images``;
    None if its outputs are not classes.  ``accuracy``: that of the float network and its own, if classes were given."""

    model: Model
    layers: tuple[CalibratedLayer, ...]
    images: int
    same: int | None
    accuracy: tuple[float, float] | None = None

    def __str__(self) -> str:
        made = sum(not layer.why for layer in self.layers)
        head = f"{made} of {quantity(len(self.layers), 'float layer')} became int8"
        if not self.layers:
            head = "there is no convolution or dense layer of floats: nothing changes"
        if self.same is not None:
            head += f"; {self.same:,} of {self.images:,} images have the class of the float network"
        if self.accuracy is not None:
            before, after = self.accuracy
            head += f"; accuracy {after:.2%} (before: {before:.2%})"
        return "\n".join([head, *(f"  {layer}" for layer in self.layers)])


def calibrate(
    model: Model | str | os.PathLike[str],
    images: object,
    y: object = None,
    *,
    method: str = "mse",
    keep_float: Sequence[str] = (),
) -> Calibration:
    """Turn a compiled network's float convolutions and dense layers into int8.

    Binary layers do not change.  Depthwise layers, groups and small layers, which would not gain, stay float.

    Args:
        model: a compiled model, or the path of a .bnn file.
        images: (N, ...) like the model's input, as it is given to ``model(x)``: a hundred or more, of all classes.
        y: the right classes, as for ``model.evaluate``: the accuracy before and after is then in the result.
        method: how a tensor's range is chosen from its values: "mse", the range with the least squared error;
            "minmax", from the least to the greatest; "percentile", without the 0.01% at either end.
        keep_float: names of layers that stay float.

    Raises:
        InputError: wrong images or classes, or a method or layer that does not exist.
    """
    check_choice(method, "method", METHODS)
    opened = opened_model(model)
    arrays = opened.check_inputs(images, least=1, convert=True)
    before = None if y is None else opened.evaluate(images, y).accuracy
    graph = decode(opened.to_bytes())
    layers = [node for node in graph.schedule if node.op == "conv2d"]
    named = isinstance(keep_float, list | tuple)
    if not named or not all(isinstance(name, str) for name in keep_float):
        wrong = next(name for name in keep_float if not isinstance(name, str)) if named else keep_float
        raise InputTypeError(f"keep_float: found {shown(wrong)}, expected a list of layers' names")
    names = {node.name for node in layers}
    if unknown := [name for name in keep_float if name not in names]:
        known = ", ".join(sorted(names)) or "none"
        raise InputError(f"keep_float: found {unknown[0]!r}, expected float layers of this network: {known}")
    why = {node: "asked for" if node.name in keep_float else _why_float(node) for node in layers}
    ranges = _find_ranges(opened, graph, {_data_of(node) for node in layers if not why[node]}, arrays, method)
    quantized, made = _quantized(graph, {node for node in layers if not why[node]}, ranges)
    result = Model.from_bytes(encode(quantized), max_bytes=NO_LIMIT)
    snr = _compare(opened, graph, result, quantized, made, arrays)
    notes = {made[node]: f"int8 after training, {snr[node]:.1f} dB" for node in made}
    noted = replanned(quantized, lambda old, node: replace(node, note=notes.get(old, node.note)))
    result = Model.from_bytes(encode(noted), max_bytes=NO_LIMIT)
    found = tuple(
        CalibratedLayer(node.name, why[node])
        if why[node]
        else CalibratedLayer(node.name, "", ranges[_data_of(node)].scale, ranges[_data_of(node)].zero, snr[node])
        for node in layers
    )
    accuracy = None if before is None else (before, result.evaluate(images, y).accuracy)
    return Calibration(result, found, len(arrays[0]), _same_classes(opened, result, images), accuracy)


@dataclass(frozen=True)
class _Range:
    """The bytes of a tensor: u stands for (u - zero) * scale."""

    scale: float
    zero: int

    @property
    def attrs(self) -> QuantizeAttrs:
        return QuantizeAttrs(float(np.float32(1) / np.float32(self.scale)), 0.0, self.zero)


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


class _Values:
    """The values of a network's nodes on images, op by op."""

    def __init__(self, model: Model, graph: Graph, images: int) -> None:
        self.model, self.graph = model, graph
        self.stepper: Stepper = model.stepper(images)
        self.outputs = {node: model.ops[i].output for i, node in enumerate(graph.schedule)}
        self.inputs = [t.index for t in model.tensors if t.storage == "input"]

    def run(self, arrays: list[Inputs], wanted: set[Node]) -> dict[Node, Floats]:
        """The values of these nodes."""
        count = len(arrays[0])
        found: dict[Node, Floats] = {}
        for node, tensor, array in zip(self.graph.inputs, self.inputs, arrays, strict=True):
            self.stepper.poke(tensor, array)
            if node in wanted:
                found[node] = array.astype(np.float32)
        for number, node in enumerate(self.graph.schedule):
            values = self.stepper.step(number, count)
            if node in wanted:
                found[node] = values
        return found

    def sums(self, conv: Node, x: Node, array: Floats) -> Array:
        """A layer's accumulators, with its own bias, where x has these values."""
        place = self.outputs[x] if x in self.outputs else self.inputs[self.graph.inputs.index(x)]
        self.stepper.poke(place, array)
        for node in between(conv.inputs[0], x):
            self.stepper.step(self.graph.schedule.index(node), len(array))
        return self.stepper.step_raw(self.graph.schedule.index(conv), len(array)).astype(np.float64)


def _batches(arrays: list[Inputs], size: int) -> list[list[Inputs]]:
    return [[a[i : i + size] for a in arrays] for i in range(0, len(arrays[0]), size)]


def _find_ranges(
    model: Model, graph: Graph, wanted: set[Node], arrays: list[Inputs], method: str
) -> dict[Node, _Range]:
    """The bytes of these values, from their values on the images: first the ends, then how often each is between."""
    values = _Values(model, graph, min(len(arrays[0]), 16))
    parts = _batches(arrays, values.stepper.images)
    ends = dict.fromkeys(wanted, (0.0, 0.0))  # a zero is always a byte: what is outside an image is 0
    for part in parts:
        for node, array in values.run(part, wanted).items():
            if not np.isfinite(array).all():
                raise InputError(
                    f"images: layer '{node.name}' gives infinity or NaN on them; give images it was trained for"
                )
            low, high = ends[node]
            ends[node] = min(low, float(array.min())), max(high, float(array.max()))
    if method == "minmax":
        return {node: _range_of(*ends[node]) for node in wanted}
    counts = {node: np.zeros(_BINS) for node in wanted}
    for part in parts:
        for node, array in values.run(part, wanted).items():
            counts[node] += np.histogram(array, _BINS, _widened(*ends[node]))[0]
    choose = _of_least_error if method == "mse" else _without_tails
    return {node: choose(counts[node], *_widened(*ends[node])) for node in wanted}


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (0.0, 1.0)


def _range_of(low: float, high: float) -> _Range:
    """255 steps from ``low`` to ``high``, moved so that zero is a byte."""
    low, high = _widened(low, high)
    scale = float(np.float32((high - low) / _LEVELS))
    return _Range(scale, int(np.clip(np.rint(-low / scale), 0, _LEVELS)))


def _without_tails(counts: Array, low: float, high: float) -> _Range:
    share = np.cumsum(counts) / counts.sum()
    step = (high - low) / _BINS
    first, last = (int(np.searchsorted(share, part)) for part in (_TAIL, 1 - _TAIL))
    return _range_of(min(0.0, low + first * step), max(0.0, low + (last + 1) * step))


def _of_least_error(counts: Array, low: float, high: float) -> _Range:
    """Of ranges whose ends are shares of the values' own."""
    centers = low + (np.arange(_BINS) + 0.5) * (high - low) / _BINS

    def error(found: _Range) -> float:
        """The squared error of all values, each as the middle of its bin."""
        levels = np.clip(np.rint(centers / found.scale) + found.zero, 0, _LEVELS) - found.zero
        return float((counts * (levels * found.scale - centers) ** 2).sum())

    tried = [_range_of(low * a, high * b) for a, b in _ends_to_try(low, high)]
    return min(tried, key=error)


def _ends_to_try(low: float, high: float) -> list[tuple[float, float]]:
    if low == 0 or high == 0:
        return [(a, a) for a in _CLIPS]
    return [(a, b) for a in _CLIPS[::3] for b in _CLIPS[::3]]


def _int8(w: Array) -> tuple[Array, Array]:
    """Whole numbers from -127 to 127, at most half a step from the weights, and each filter's scale (O)."""
    largest = np.abs(w).reshape(len(w), -1).max(axis=1)
    scale = np.where(largest > 0, largest / np.float32(_MOST_WEIGHT), np.float32(1)).astype(np.float64)
    return np.rint(w / scale[:, None, None, None]).astype(np.int8), scale


def _quantized(graph: Graph, layers: set[Node], ranges: dict[Node, _Range]) -> tuple[Graph, dict[Node, Node]]:
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

    graph = rebuild(replace(graph, schedule=(), placements={}, arena_bytes=0), visit)
    graph = plan_arena(schedule(choose_layout(graph)))
    spec.verify(graph, Level.RUNTIME, "calibration")
    # choose_layout makes layers anew behind its copies; their filters stay the same nodes.
    now = {n.inputs[1]: n for n in graph.schedule if n.op == "qconv2d"}
    return graph, {old: now[n.inputs[1]] for old, n in made.items()}


def _int8_layer(conv: Node, data: Node, found: _Range) -> Node:
    attrs, filters = conv_attrs(conv), conv.inputs[1]
    weights, scale = _int8(filters.value)
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
    model: Model, graph: Graph, result: Model, quantized: Graph, made: dict[Node, Node], arrays: list[Inputs]
) -> dict[Node, float]:
    """The signal-to-noise ratio of each layer's sums, in dB: its data are those of the float network."""
    count = min(len(arrays[0]), _COMPARED)
    data = {_data_of(old): _data_of(new).inputs[0] for old, new in made.items()}
    values = _Values(model, graph, count).run([a[:count] for a in arrays], set(data))
    theirs, ours = _Values(model, graph, count), _Values(result, quantized, count)
    found = {}
    for old, new in made.items():
        x = values[_data_of(old)]
        sums = theirs.sums(old, _data_of(old), x), ours.sums(new, _data_of(new).inputs[0], x)
        if not np.isfinite(sums[0]).all():
            raise InputError(
                f"images: the sums of layer '{old.name}' are infinite on them; give images it was trained for"
            )
        noise, signal = ((sums[0] - sums[1]) ** 2).sum(), (sums[0] ** 2).sum()
        found[old] = 10 * math.log10(signal / noise) if noise and signal else math.inf
    return found


def _same_classes(model: Model, result: Model, images: object) -> int | None:
    if len(model.output_shapes) != 1 or len(model.output_shapes[0]) != 1:
        return None
    first, second = (net.predict(images).argmax(axis=-1) for net in (model, result))
    return int((first == second).sum())
