"""The network that the event engine runs in place of one whose bits stand behind real numbers."""

from __future__ import annotations

import numpy as np

from . import spec
from .emit.model import encode
from .importers.bnn_file import decode
from .ir import Graph
from .neurons import neuron_form
from .ops import ConvAttrs, Level, PoolAttrs
from .passes.choose_layout import choose_layout
from .passes.plan_arena import plan_arena
from .passes.schedule import schedule
from .runtime import Model


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
    dense = {i: n * targets.get(key, n) // totals[key] for i, (key, n) in own.items()}
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
