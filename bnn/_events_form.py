"""The network that the event engine runs in place of one whose bits stand behind real numbers."""

from __future__ import annotations

from . import spec
from .emit.model import encode
from .importers.bnn_file import decode
from .neurons import neuron_form
from .ops import Level
from .passes.choose_layout import choose_layout
from .passes.plan_arena import plan_arena
from .passes.schedule import schedule
from .runtime import Model


def network_of_neurons(model: Model) -> tuple[Model, dict[int, int]] | None:
    """(the same network with a neuron for each threshold of its activations, by op: how many neurons stand for one
    accumulator of ``model``); None where it has no such activations."""
    form = neuron_form(decode(model.to_bytes()))
    if not form.changed:
        return None
    graph = form.graph
    for step in (choose_layout, schedule, plan_arena):
        graph = step(graph)
        spec.verify(graph, Level.RUNTIME, step.__name__)
    copies = {i: form.copies[node] for i, node in enumerate(graph.schedule) if node in form.copies}
    return Model.from_bytes(encode(graph)), copies
