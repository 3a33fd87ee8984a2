# SPDX-License-Identifier: Apache-2.0
"""The event populations of a compiled network, and the network that they stand for; or why there are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .errors import UnsupportedOpError
from .file.read import decode
from .file.write import encode
from .ir import spec
from .ir.graph import DType, Graph, Node
from .ir.no_spike import not_counted, of_the_batch, refusal, to_blame
from .ir.ops import ConvAttrs, Level, PoolAttrs, conv_attrs
from .runtime import Model
from .snn.file import encode as write
from .snn.lowered import NOTHING, lowered
from .snn.network import Network

_NEURON = 4  # bytes at least
# What a counter sees the sums of a layer through, as bnn/snn/lowered.py has it.
_SEEN_THROUGH = ("bconv2d", "max_pool", "affine", "add", "sub", "mul", "clamp", "copy", "reshape")


@dataclass(frozen=True)
class EventForm:
    """``network`` as event populations, the bytes of a .snn ``file``.  It is the model itself, or, if that has real
    numbers before its bits, the same with integer thresholds; then ``dense`` has, per op, the part that a synchronous
    run of the model computes.  ``several``: an activation is several neurons, one per threshold."""

    network: Model
    file: bytes
    dense: dict[int, int]
    several: bool


def event_populations(model: Model) -> bytes:
    """The .snn file of a model's own event populations or, where it has none, of another network's that equals it.

    Raises UnsupportedOpError as :func:`network_of_events` does, and where nothing spikes.
    """
    try:
        made = lowered(decode(model.to_bytes()))
    except UnsupportedOpError:
        return network_of_events(model, lambda needed: None).file
    if [p.name for p in made.populations] == [NOTHING]:
        raise UnsupportedOpError(
            "no layer of this network gives bits or levels, so nothing in it spikes; train it with quantizers, or turn "
            "its ReLUs into counters: bnn snn convert"
        )
    return write(made)


def network_of_events(model: Model, check: Callable[[int], None]) -> EventForm:
    """``check`` is given the bytes that the weights need at least, and raises an error if they are too many.

    Raises UnsupportedOpError: names the layer that cannot run event by event, and why.
    """
    made, refusal = None, ""
    try:
        made = _lowered(decode(model.to_bytes()), check)
    except UnsupportedOpError as error:
        refusal = str(error)
    if made is not None and not _looks_for_bits(model, made):
        return EventForm(model, write(made), {}, False)
    for counters in (True, False)[: 1 if made else 2]:
        try:
            form = network_of_neurons(model, counters)
            if form is None:
                continue
            network, dense, several = form
            return EventForm(network, write(_lowered(decode(network.to_bytes()), check)), dense, several)
        except UnsupportedOpError as error:
            refusal = refusal or str(error)
    if made is None:
        raise UnsupportedOpError(why_refused(model) or refusal)
    return EventForm(model, write(made), {}, False)


def _lowered(graph: Graph, check: Callable[[int], None]) -> Network:
    """Each bit of weights becomes a byte, or four, and a neuron takes several."""
    rows = {n.inputs[1]: 4 if conv_attrs(n).planes > 1 else 1 for n in graph.schedule if n.op == "bconv2d"}
    neurons = sum(int(np.prod(n.type.shape)) for n in graph.schedule if n.type.dtype is DType.b1)
    check(sum(int(np.prod(w.type.shape)) * size for w, size in rows.items()) + _NEURON * neurons)
    return lowered(graph)


def _looks_for_bits(model: Model, network: Network) -> bool:
    """Whether bits look at real sums, or several bits are of one float: integer thresholds do that faster."""
    binarized = [op.inputs[0] for op in model.ops if op.op == "binarize"]
    looking = {q.target for q in network.projections if q.kind == "window"}
    counters = [p for i, p in enumerate(network.populations) if i in looking and p.steps == 1 and p.cuts.size]
    return bool(counters) or len(set(binarized)) < len(binarized)


def network_of_neurons(model: Model, counters: bool) -> tuple[Model, dict[int, int], bool] | None:
    """(the same network with integer thresholds for its activations; per op, the part that a synchronous run of
    ``model`` computes; whether an activation is several neurons, one per threshold).  None if it is no other network.

    ``counters``: an activation of several levels is one neuron.
    """
    from .ir.neurons import neuron_form  # with the passes, a third of the time of a first engine that needs none
    from .passes.choose_layout import choose_layout
    from .passes.plan_arena import plan_arena
    from .passes.schedule import schedule

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
