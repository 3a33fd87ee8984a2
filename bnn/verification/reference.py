# SPDX-License-Identifier: Apache-2.0
"""What ``verify`` reads from the source model's graph: where its values are, and whether the file has other weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .._types import Array
from ..importers.common.source import SourceModel
from ..ir.graph import Graph, Node
from ..ir.interpret import evaluate
from ..ir.ops import OPS
from ..ir.ops.rounding import spacing
from ..ir.rewrite import sources
from ..passes import lower
from ..passes.levels import levels, shifted_signs

_MOST_NAMES = 3


class PreActivation:
    """The value that a quantizer compares with its threshold: a tensor of the source, or a value computed from tensors
    (``origins``)."""

    def __init__(self, quantizer: Node) -> None:
        self.x, *given = quantizer.inputs  # a threshold and flips, or neither
        self.threshold = given[0].value if given else 0
        self.known = sources(self.x, lambda n: not n.origin and bool(n.inputs))
        self.origins = {n.origin for n in self.known}

    def margins(self, values: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
        """Its values minus the threshold, in the bits' ``shape`` (N, ...)."""
        found = {n: values[n.origin].reshape(shape[0], *n.type.shape).astype(np.float32) for n in self.known}

        def value(node: Node) -> Array:
            if node not in found:
                found[node] = evaluate(node, [i.value if i.is_constant else value(i) for i in node.inputs])
            return found[node]

        return value(self.x).reshape(shape).astype(np.float64) - self.threshold


def pre_activations(graph: Graph) -> dict[str, PreActivation]:
    """{origin of a quantizer's output: its input}, in a graph whose quantizers are recognized.

    The output may be the bits, or two values that stand for them: a choice between two numbers."""
    steps = {n: n for n in graph.nodes() if n.op == "binarize"}
    steps |= {n: n.inputs[0] for n in graph.nodes() if n.op in ("unpack", "dequantize") and n.inputs[0] in steps}
    found = {n.origin: PreActivation(step) for n, step in steps.items() if n.origin}
    return {origin: x for origin, x in found.items() if "" not in x.origins}


@dataclass
class Accumulators:
    """For a graph with binary convolutions: ``origins`` {layer: origin of its integer accumulators}, for layers with
    one convolution each; ``steps``, the multiplication and addition that turn accumulators over bytes into the source's
    sums; ``offset``, layers in which something is added to accumulators."""

    origins: dict[str, str] = field(default_factory=dict)
    steps: dict[str, list[Node]] = field(default_factory=dict)
    offset: set[str] = field(default_factory=set)


def accumulators(graph: Graph) -> Accumulators:
    found: dict[str, list[str]] = {}
    result = Accumulators()
    for node in graph.nodes():
        below = node.inputs[0] if node.inputs else node
        if node.op in ("bconv2d", "iconv2d"):
            found.setdefault(node.name, []).append(node.origin)
            result.steps[node.name] = [node] if node.op == "iconv2d" else []
        elif node.op in ("mul", "add") and below in result.steps.get(below.name, []) and not below.origin:
            result.steps[below.name].append(node)
            found[below.name][-1] = node.origin
        if node.op == "add":
            result.offset.add(node.name)
    result.origins = {layer: origins[0] for layer, origins in found.items() if len(origins) == 1 and origins[0]}
    result.steps = {layer: steps[1:] for layer, steps in result.steps.items()}
    return result


def by_functions(graph: Graph) -> set[str]:
    """Origins of values from library functions, and of values that elementwise operations and moves derive from them:
    the compiler's tables and thresholds contain its own rounding of them, which differs from the source's."""
    found: set[Node] = set()
    for node in graph.nodes():
        op = OPS[node.op]
        if op.library or (op.elementwise or op.moves) and any(i in found for i in node.inputs):
            found.add(node)
    return {node.origin for node in found if node.origin}


def exact_layers(graph: Graph) -> set[str]:
    """Layers whose sums of levels by weights are exact in float32 in any order, of a graph whose quantizers are
    recognized: multiples of one power of two, less than 2^24 times it."""
    found: dict[str, bool] = {}
    for node in graph.nodes():
        if node.op != "conv2d":
            continue
        x, w = _levels(node.inputs[0]), node.inputs[1].value
        exact = False
        if x is not None:
            largest = float(np.abs(x).max()) * np.abs(w.astype(np.float64)).reshape(len(w), -1).sum(axis=1)
            exact = bool((largest < 2**24 * spacing(x[None]) * spacing(w)).all())
        found[node.name] = found.get(node.name, True) and exact
    return {layer for layer, exact in found.items() if exact}


def shifts(graph: Graph) -> dict[str, float]:
    """By layer whose weights are shifted signs: how many times larger its products are, at most, than those of signs by
    its scale.  The graph's quantizers are recognized."""
    found: dict[str, float] = {}
    for node in graph.nodes():
        x = _levels(node.inputs[0]) if node.op == "conv2d" else None
        w = shifted_signs(node.inputs[1].value) if x is not None and np.ptp(x) > 0 else None
        if x is None or w is None:
            continue
        data = np.abs(x).max() / (np.ptp(x) / 2)
        largest = np.abs(node.inputs[1].value).reshape(len(w.scale), -1).max(axis=1)
        ratio = (largest[w.scale > 0] / w.scale[w.scale > 0]).max(initial=1.0)
        found[node.name] = max(found.get(node.name, 1.0), float(data * ratio))
    return found


def _levels(x: Node) -> Array | None:
    """All values of data that are levels, perhaps moved, zero-padded or computed with scalars; None: any values."""
    known, data = levels(x), [i for i in x.inputs if not i.is_constant]
    if known is not None or len(data) != 1:
        return None if known is None else known.values
    if OPS[x.op].moves and not getattr(x.attrs, "value", 0.0):
        return _levels(data[0])
    values = _levels(data[0]) if OPS[x.op].elementwise and all(i.value.size == 1 for i in x.inputs[1:]) else None
    return None if values is None else evaluate(x, [values, *(i.value.reshape(-1) for i in x.inputs[1:])])


def likely_cause(original: SourceModel, source: Graph, file: Sequence[Node]) -> str:
    """The most likely cause of a difference: other weights, the framework's rounding, or a bug.

    The model is compiled again, and the constants compared with those in the file.
    """
    expected, found = _constants(lower(source).schedule), _constants(file)
    layers = [name for name in dict.fromkeys((*found, *expected)) if found.get(name) != expected.get(name)]
    if layers:
        names = ", ".join(f"'{name}'" for name in layers[:_MOST_NAMES])
        more = f" and {len(layers) - _MOST_NAMES} more layers" if len(layers) > _MOST_NAMES else ""
        return (
            f"compiled now, this model has other weights or thresholds than the file in {names}{more}: was the file "
            "compiled from this model, with these weights and options? Compile it again, or give the model it came from"
        )
    return original.rounding_hint() or (
        f"the file is what this model compiles to: unless {original.framework} computes on another device than the "
        "CPU, this is a bug of bnn; please report it"
    )


def _constants(nodes: Sequence[Node]) -> dict[str, list[tuple[tuple[int, ...], bytes]]]:
    """Every layer's constants, op by op."""
    constants: dict[str, list[tuple[tuple[int, ...], bytes]]] = {}
    for node in nodes:
        own = [(i.value.shape, i.value.tobytes()) for i in node.inputs if i.is_constant]
        if own:
            constants.setdefault(node.name, []).extend(own)
    return constants
