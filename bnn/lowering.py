# SPDX-License-Identifier: Apache-2.0
"""The network that the event engine runs instead of one with real numbers before its bits; or why there is none."""

from __future__ import annotations

import numpy as np

from .file.read import decode
from .file.write import encode
from .ir import spec
from .ir.graph import DType, Graph, Node
from .ir.neurons import neuron_form
from .ir.no_spike import not_counted, of_the_batch, refusal, to_blame
from .ir.ops import ConvAttrs, Level, PoolAttrs
from .passes.choose_layout import choose_layout
from .passes.plan_arena import plan_arena
from .passes.schedule import schedule
from .runtime import Model

# What a counter sees the sums of a layer through, as csrc/events/counter_ops.c has it.
_SEEN_THROUGH = ("bconv2d", "max_pool", "affine", "add", "sub", "mul", "clamp", "copy", "reshape")


def network_of_neurons(model: Model, counters: bool) -> tuple[Model, dict[int, int], bool] | None:
    """(the same network with integer thresholds for its activations; per op, the part that a synchronous run of
    ``model`` computes; whether an activation is several neurons, one per threshold).  None if it is no other network.

    ``counters``: an activation of several levels is one neuron.
    """
    before = decode(model.to_bytes())
    form = neuron_form(before, counters)
    if not form.changed:
        return None
    graph = form.graph
    for step in (choose_layout, schedule, plan_arena):
        graph = step(graph)
        spec.verify(graph, Level.RUNTIME, step.__name__)
    own, wanted = _operations(graph), _operations(before)
    totals = {key: sum(n for k, n in own.values() if k == key) for key, _ in own.values()}
    targets = {key: sum(n for k, n in wanted.values() if k == key) for key, _ in wanted.values()}
    # A layer grows by the same factor in all ops that it became.
    dense, done = dict[int, int](), dict.fromkeys(totals, 0)
    for i, (key, n) in own.items():  # rounded so that a layer's parts add up to its total
        whole = targets.get(key, totals[key])
        start, done[key] = done[key], done[key] + n
        dense[i] = done[key] * whole // totals[key] - start * whole // totals[key]
    return Model.from_bytes(encode(graph)), dense, max(form.copies.values(), default=1) > 1


def _operations(graph: Graph) -> dict[int, tuple[tuple[str, str], int]]:
    """Per op on bits: (op name, layer), and the number of its products or taps."""
    found = {}
    for i, node in enumerate(graph.schedule):
        a, size = node.attrs, int(np.prod(node.type.shape))
        if isinstance(a, ConvAttrs) and node.op == "bconv2d":
            found[i] = ((node.op, node.name), size * int(np.prod(node.inputs[1].type.shape[1:])) * a.planes)
        elif isinstance(a, PoolAttrs) and node.op == "max_pool":
            found[i] = ((node.op, node.name), size * a.kernel[0] * a.kernel[1])
    return found


def why_refused(model: Model) -> str | None:
    """The first layer whose bits depend on real numbers computed from spikes, or on other images; why, and what to do.
    None: no layer."""
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
            return refusal(node, node)
        elif any(i in made_by_spikes for i in real):
            between = _between(node, made_by_spikes)
            blamed = next(filter(to_blame, between), None)
            if blamed is not None:
                return refusal(node, blamed)
            hidden = next((x for x in between if x.op not in _SEEN_THROUGH), None)
            if node.op == "binarize_levels" and hidden is not None:
                return not_counted(node, hidden)
    return None


def _between(node: Node, made_by_spikes: set[Node]) -> list[Node]:
    """The real values between spikes and the bits ``node``, nearest to ``node`` first."""
    found: dict[Node, None] = {}
    waiting = [node]
    while waiting:
        for i in waiting.pop(0).inputs:
            if i in made_by_spikes and i not in found:
                found[i] = None
                waiting.append(i)
    return list(found)
