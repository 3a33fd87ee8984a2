# SPDX-License-Identifier: Apache-2.0
"""A network of whole numbers against the ReLU network that was quantized, layer by layer.

Each activation is computed by the original's own ops from the levels of the layers before it, and rounded to the
nearest level.  Sums may be off by half a unit (the rounding of a weight) for each level that they read, and by another
half for the offset: where that reaches a neighbour, it may be this one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bnn._types import Array
from bnn.ir import interpret
from bnn.ir.graph import Graph, Node
from bnn.ir.ops import ConvAttrs, constant, make
from bnn.ir.ops.sources import input_node
from bnn.passes.levels import levels as levels_of
from bnn.passes.levels import thresholds_of
from bnn.snn.quantize import LARGEST, CounterLayer, Quantized, reach


def check_layers(graph: Graph, quantized: Quantized, images: Array, offset: float, percentile: float) -> int:
    """``graph``: of images / 256 + offset, with a name for each activation.  Returns the number of certain levels."""
    layers, found = {x.name: x for x in quantized.layers}, quantized.run(images)
    first = quantized.layers[0]
    found[first.name] = images.reshape(-1, *first.grid).astype(np.float32)
    exact = interpret.run(graph, [given := (images / np.float32(256) + np.float32(offset)).astype(np.float32)])
    values: dict[Node, Array] = {graph.inputs[0]: given}
    low = {n: float(known.values[0]) if (known := levels_of(n)) else 0.0 for n in graph.nodes()}
    low[graph.inputs[0]] = offset
    (end,) = (n.inputs[0] if n.op == "softmax" else n for n in graph.outputs)
    certain = 0
    for node in graph.nodes():
        if node.op != "input":
            values[node] = value_of(node, values)
        known, before = levels_of(node), node.inputs[0] if node.inputs else node
        if node is end and quantized.output.kind == "sums":
            layer = quantized.output
            most = layer.step / 2 * fan(layer, quantized, found) + _slack(values[node])
            assert (np.abs(found[layer.name] * layer.step - values[node].reshape(most.shape)) <= most).all(), layer.name
        elif node.op == "max_pool" and f"{before.name}_max" in layers:
            layer = layers[f"{before.name}_max"]
            np.testing.assert_allclose(values[node], found[layer.name] * layer.step + low[before], 1e-5, 1e-5)
        elif node.name in layers and (known or node.op == "clamp"):
            layer = layers[node.name]
            start, thresholds = (before, None) if known is None else thresholds_of(known.bits)
            width = layer.step if thresholds is None else 1.0
            if thresholds is not None and len(thresholds) > 1:
                width = (thresholds[-1] - thresholds[0]) / (len(thresholds) - 1)
            _check_unit(layer, quantized)
            x, off = values[start], width / layer.threshold / 2 * fan(layer, quantized, found)
            if off.size != x.size:  # the original has its maximum before the activation
                layer = layers[f"{layer.name}_max"]
                pool = next(n for n in Graph((), (node,)).nodes()[::-1] if n.op == "max_pool")
                off = interpret.evaluate(pool, [off.astype(np.float32)])
            off = off.reshape(x.shape) + _slack(x)
            if thresholds is None:
                step = min(float(exact[node].max()), node.attrs.hi) / layer.most  # type: ignore[attr-defined]
                assert percentile < 100 or np.isclose(step, layer.step, 1e-6), layer.name
            rounded = _rounded(layer) if thresholds is None else _staired(node, start)
            values[node] = (found[layer.name].reshape(values[node].shape) * layer.step + low[node]).astype(np.float32)
            float32 = 1e-3 * abs(layer.step)
            below, above = rounded(x - off) - float32, rounded(x + off) + float32
            assert ((below <= values[node]) & (values[node] <= above)).all(), layer.name
            certain += int((above - below < 3 * float32).sum())
    return certain


def fan(layer: CounterLayer, quantized: Quantized, found: dict[str, Array]) -> Array:
    """The sum of all levels that each of a layer's sums reads, and one for its offset: (N, h, w, c)."""
    total = np.ones(1)
    for edge in layer.edges:
        source = quantized.layers[edge.source]
        image = input_node("x", source.grid)
        x = make("sum_pool", image, attrs=edge.pool) if edge.pool else image
        ones = constant(np.ones(edge.weights.transpose(3, 0, 1, 2).shape))
        attrs = ConvAttrs(edge.stride, edge.dilation, edge.pads, groups=edge.groups)
        y = make("conv2d", x, ones, attrs=attrs)
        total = total + interpret.outputs(Graph((image,), (y,)), [found[source.name]])[0]
    return total


def value_of(node: Node, values: dict[Node, Array]) -> Array:
    """Of its operands' values; those that are missing are computed, too."""
    if node not in values:
        if node.is_constant:
            return node.value
        return interpret.evaluate(node, [value_of(i, values) for i in node.inputs])
    return values[node]


def _slack(x: Array) -> float:
    """The rounding of float32 sums."""
    return 1e-5 * float(np.abs(x).max(initial=0))


def _check_unit(layer: CounterLayer, quantized: Quantized) -> None:
    """It is as small as the bits of the weights allow, or as float32 holds the sums, or it is a whole stair."""
    weights = np.max([np.abs(e.weights).max(axis=(0, 1, 2)) for e in layer.edges], axis=0)
    room = reach(layer, quantized.layers) + 3 * layer.threshold > 0.8 * LARGEST
    assert ((weights >= (2 ** (quantized.bits - 1) - 1) / 2) | room | (layer.threshold < 2)).all(), layer.name


def _rounded(layer: CounterLayer) -> Callable[[Array], Array]:
    return lambda x: np.clip(np.floor(x / layer.step + 0.5), 0, layer.most) * layer.step


def _staired(node: Node, start: Node) -> Callable[[Array], Array]:
    return lambda x: value_of(node, {start: x.astype(np.float32)})
