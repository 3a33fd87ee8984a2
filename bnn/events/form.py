# SPDX-License-Identifier: Apache-2.0
"""The network that the event engine runs in place of one whose bits stand behind real numbers; or why there is none."""

from __future__ import annotations

import numpy as np

from ..file.read import decode
from ..file.write import encode
from ..ir import spec
from ..ir.graph import DType, Graph, Node
from ..ir.neurons import neuron_form, of_the_batch
from ..ir.ops import OPS, ConvAttrs, Level, PoolAttrs
from ..passes.choose_layout import choose_layout
from ..passes.plan_arena import plan_arena
from ..passes.schedule import schedule
from ..runtime import Model


def network_of_neurons(model: Model) -> tuple[Model, dict[int, int], bool] | None:
    """(the same network with a neuron for each threshold of its activations; by op: what of it a synchronous run of
    ``model`` computes; whether an activation is several neurons).  None where it has no such activations."""
    before = decode(model.to_bytes())
    form = neuron_form(before)
    if not form.changed:
        return None
    graph = form.graph
    for step in (choose_layout, schedule, plan_arena):
        graph = step(graph)
        spec.verify(graph, Level.RUNTIME, step.__name__)
    own, wanted = _operations(graph), _operations(before)
    totals = {key: sum(n for k, n in own.values() if k == key) for key, _ in own.values()}
    targets = {key: sum(n for k, n in wanted.values() if k == key) for key, _ in wanted.values()}
    # What makes a layer larger is the same for all ops that it became.
    dense, done = dict[int, int](), dict.fromkeys(totals, 0)
    for i, (key, n) in own.items():  # rounded so that a layer's parts add up to what it takes
        whole = targets.get(key, totals[key])
        start, done[key] = done[key], done[key] + n
        dense[i] = done[key] * whole // totals[key] - start * whole // totals[key]
    return Model.from_bytes(encode(graph)), dense, max(form.copies.values(), default=1) > 1


def _operations(graph: Graph) -> dict[int, tuple[tuple[str, str], int]]:
    """By op of bits: the op and layer that it is of, and its products or taps."""
    found = {}
    for i, node in enumerate(graph.schedule):
        a, size = node.attrs, int(np.prod(node.type.shape))
        if isinstance(a, ConvAttrs) and node.op == "bconv2d":
            found[i] = ((node.op, node.name), size * int(np.prod(node.inputs[1].type.shape[1:])) * a.planes)
        elif isinstance(a, PoolAttrs) and node.op == "max_pool":
            found[i] = ((node.op, node.name), size * a.kernel[0] * a.kernel[1])
    return found


def why_refused(model: Model) -> str | None:
    """The first layer whose bits real numbers decide that spikes made, or other images; why, and what to do.  None: no
    layer."""
    made_by_spikes: set[Node] = set()
    graph = decode(model.to_bytes())
    shared = of_the_batch(graph)
    if shared is not None:
        return shared
    for node in graph.schedule:
        operands = [i for i in node.inputs if not i.is_constant]
        real = [i for i in operands if i.type.dtype is not DType.b1]
        if node.type.dtype is not DType.b1:
            if any(i in made_by_spikes or i.type.dtype is DType.b1 for i in operands):
                made_by_spikes.add(node)
        elif "residual" in getattr(node.attrs, "slots", ()):
            return _sentence(node, node, *_SHORTCUT)
        elif any(i in made_by_spikes for i in real):
            for x in _between(node, made_by_spikes):
                reason = _reason(x)
                if reason is not None:
                    return _sentence(node, x, *reason)
    return None


_SHORTCUT = ("a shortcut of real numbers is added", "quantize both sides and concatenate them, or leave it out")


def _sentence(node: Node, x: Node, why: str, instead: str) -> str:
    where = f" (layer '{x.name}')" if x.name != node.name else ""
    return (
        f"layer '{node.name}': its spikes would depend on real numbers, not on spikes alone: {why}{where}; {instead}, "
        "or run the network with model(x)"
    )


def _between(node: Node, made_by_spikes: set[Node]) -> list[Node]:
    """The real values between spikes and the bits ``node``, the nearest to it first."""
    found: dict[Node, None] = {}
    waiting = [node]
    while waiting:
        for i in waiting.pop(0).inputs:
            if i in made_by_spikes and i not in found:
                found[i] = None
                waiting.append(i)
    return list(found)


def _reason(x: Node) -> tuple[str, str] | None:
    """Why a value is no threshold on spikes, and what may stand there; None: it is not to blame."""
    operands = [i for i in x.inputs if not i.is_constant]
    joins = OPS[x.op].elementwise and len(operands) > 1
    if x.op == "prelu" or joins and all(i.name == x.name for i in operands):
        return "an activation of two slopes (PReLU)", "use a quantizer of bits right after batch norm"
    if x.op in ("mul", "div") and joins:
        return "two real numbers are multiplied (a gate)", "leave the gate out"
    if joins or "residual" in getattr(x.attrs, "slots", ()):
        return _SHORTCUT
    if x.op == "avg_pool":
        return "average pooling", "use max-pooling"
    if x.op == "conv2d":
        return f"a layer of floats{f', because {x.note}' if x.note else ''}", "give it an input and a kernel quantizer"
    if x.op in ("dequantize", "binarize_levels"):
        return "numbers of several bits are computed with", "use activations of bits"
    if OPS[x.op].library:
        return f"'{x.op}', which is not rounded alike everywhere", "use a quantizer of bits right after batch norm"
    return None
