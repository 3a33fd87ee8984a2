# SPDX-License-Identifier: Apache-2.0
"""One neuron per threshold: a graph whose bits are all thresholds on integers, where that is exact.

An activation of L levels is L - 1 thresholds on one sum, read as L - 1 bits with equal weights: so it is L - 1 neurons.
The compiled network has these bits, but computes them from real numbers: sums after batch norm, activation and
max-pool.  Here every such bit becomes a neuron with an integer threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .._types import Array
from .counting import counted
from .graph import DType, Graph, Node
from .interpret import evaluate
from .levels import numbered
from .monotone import between, integer_thresholds
from .ops import OPS, ReshapeAttrs, constant, conv_attrs, make
from .ops.conv import epilogue, with_threshold
from .rewrite import sources, with_inputs

# Ops allowed between a sum and its bit, besides elementwise ops: each makes an element from one element.  A list,
# not a trait: the walk below knows how each of them treats channels.
_BETWEEN = ("reshape", "unpack", "dequantize", "binarize", "concat")


@dataclass(frozen=True, eq=False)
class NeuronForm:
    """``graph``: the network ``original`` as neurons.  ``same``: nodes of ``graph`` with the value of a node
    in ``original``.  ``copies``: the number of neurons for one accumulator there (or one pooled element)."""

    original: Graph
    graph: Graph
    same: Mapping[Node, Node]
    copies: Mapping[Node, int]

    @property
    def changed(self) -> bool:
        return self.graph is not self.original


def neuron_form(graph: Graph, counters: bool = False) -> NeuronForm:
    """A BINARY or RUNTIME graph in which every bit that is a step of one binary layer's sum comes from a threshold on
    the sum.

    binarize(f(g(sum))) becomes bconv2d with a threshold, binarize(f(max_pool(g(sum)))) a max_pool of such bits, and a
    concatenation of several becomes one layer with all their filters.  The thresholds are found by evaluating f and g,
    operation by operation, at every reachable sum.  Bits for which this is not exact stay unchanged: f or g reads more
    than the one sum, a bit changes twice, or a number is not finite.

    With ``counters``, neurons may have several levels: numbers of several bits stay, and convolutions read counted bits
    as such numbers, so that each activation is one neuron.

    The result is at level BINARY: it has no schedule and no memory plan.

    Raises :class:`UnsupportedOpError` for numbers of several bits that cannot be counted; see counting.py.
    """
    bits, moved = numbered(graph) if counters else counted(graph)
    new: dict[Node, Node] = {}
    copies: dict[Node, int] = {}
    known: dict[Node, _Step | None] = {}
    for node in bits.nodes():
        steps = _steps(node, known)
        if steps is None:
            new[node] = with_inputs(node, tuple(new[i] for i in node.inputs))
        else:
            new[node] = _neurons(node, steps, new, copies)
    if not copies and bits is graph:
        return NeuronForm(graph, graph, {n: n for n in new}, {})
    form = bits.mapped(new)
    alive = set(form.nodes())
    same = {}  # another code of the same numbers is another value
    for old, made in moved.items():
        if new.get(made) in alive and old.type == new[made].type and old.op != "binarize_levels":
            same[new[made]] = old
    return NeuronForm(graph, form, same, {n: c for n, c in copies.items() if n in alive})


# -- the sum behind a bit ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Step:
    """A bit per element: ``conv``'s sum >= ``threshold`` (of the negated filter if ``falling``), then, if there is a
    ``pool``, any bit of its window (or all, if ``every``); ``shape`` of the bits."""

    bit: Node
    conv: Node
    pool: Node | None
    threshold: Array
    falling: Array
    every: Array

    @property
    def flattened(self) -> bool:
        return self.bit.type.shape != (self.pool or self.conv).type.shape


def _steps(node: Node, known: dict[Node, _Step | None]) -> list[_Step] | None:
    """The steps of a binarize, or of several side by side, all of one layer's sums."""
    if node.op == "binarize":
        known[node] = step = _step(node)
        return None if step is None else [step]
    if node.op != "concat" or not all(i.op == "binarize" for i in node.inputs):
        return None
    steps = [s for s in (known[i] for i in node.inputs) if s is not None]
    if len(steps) != len(node.inputs):
        return None
    first = steps[0]
    together = all(s.conv is first.conv and s.pool is first.pool and not s.flattened for s in steps)
    distinct = len(set(node.inputs)) == len(node.inputs)
    return steps if together and distinct and conv_attrs(first.conv).groups == 1 else None


def _step(bit: Node) -> _Step | None:
    region = _region(bit)
    if region is None:
        return None
    conv, pool = region
    channels = conv.type.shape[-1]
    every = np.zeros(channels, bool)

    def bits(sums: Array, part: slice) -> Array | None:
        known = _values(bit, conv, pool, sums, part)
        if known is None or known[bit].shape != sums.shape:
            return None
        found = known[bit] > 0
        if pool is not None:
            order = np.argsort(known[pool], axis=0, kind="stable")
            ordered, pooled = (np.take_along_axis(values, order, 0) for values in (found, known[pool]))
            change = np.diff(ordered.astype(np.int8), axis=0)
            every[part] = (change < 0).any(axis=0)
            # equal values have equal bits, unless a bit is not a function of the value
            split = (change != 0) & (pooled[1:] == pooled[:-1])
            if (every[part] & (change > 0).any(axis=0)).any() or split.any():
                return None
        return found

    found = integer_thresholds(bits, channels, int(np.prod(conv.inputs[1].type.shape[1:])), monotone=False)
    return None if found is None else _Step(bit, conv, pool, *found, every)


def _region(bit: Node) -> tuple[Node, Node | None] | None:
    """(The binary layer whose sum alone determines a bit, the max-pool between, if any); None if there is no such
    layer."""
    ends, pool = sources(bit, _by_element), None
    if [(n.op, n.type.dtype) for n in ends] == [("max_pool", DType.f32)]:
        (pool,) = ends
        ends = sources(pool.inputs[0], _by_element)
    if [(n.op, n.type.dtype) for n in ends] != [("bconv2d", DType.f32)]:
        return None
    (conv,) = ends
    if pool is not None and pool.inputs[0].type.shape[-1] != conv.type.shape[-1]:
        return None  # a reshape between them mixes channels
    a = conv_attrs(conv)
    return None if "residual" in a.slots or a.planes > 1 else (conv, pool)


def _by_element(node: Node) -> bool:
    return node.op in _BETWEEN or OPS[node.op].elementwise and not OPS[node.op].library


def _values(bit: Node, conv: Node, pool: Node | None, sums: Array, part: slice) -> dict[Node, Array] | None:
    """Each node's values for the sums (n, channels of the part); None if one reads other data, or is not finite."""
    channels, width = conv.type.shape[-1], part.stop - part.start
    known = {conv: epilogue(sums, conv_attrs(conv), tuple(i.value[part] for i in conv.inputs[2:]))}
    for node in between(bit, conv):
        if node is pool:
            known[node] = known[node.inputs[0]]
            continue
        values = []
        for i in node.inputs:
            value = _constant(i, channels, part, node) if i.is_constant else known.get(i)
            if value is None:
                return None
            values.append(value)
        if not all(np.isfinite(v).all() for v, i in zip(values, node.inputs, strict=True) if not i.is_constant):
            return None
        planes = values[1].size - 1 if node.op == "dequantize" else 1
        if node.op != "concat" and values[0].shape[-1] not in (1, planes * width):
            return None  # concatenated channels that are not levels
        known[node] = values[0] if node.op == "reshape" else evaluate(node, values)
    return known


def _constant(node: Node, channels: int, part: slice, user: Node) -> Array | None:
    """A constant operand's values for the channels ``part``: one number, or one per channel."""
    value = node.value
    if user.op == "dequantize" or value.size == 1:
        return value.reshape(-1)
    if user.op != "concat":  # a number per row or column is none per channel, though there may be as many
        value = np.broadcast_to(value, user.type.shape)
    if value.size % channels:
        return None
    rows = value.reshape(-1, channels)
    alike = np.array_equal(rows, np.broadcast_to(rows[0], rows.shape), equal_nan=True)  # a threshold may be NaN
    return rows[0, part] if alike else None


# -- neurons ----------------------------------------------------------------------------------------------------------


def _neurons(node: Node, steps: Sequence[_Step], new: Mapping[Node, Node], copies: dict[Node, int]) -> Node:
    """One layer whose filters are those of all steps, one after another, and the pool of its bits."""
    conv, pool = steps[0].conv, steps[0].pool
    limits, falling = np.concatenate([s.threshold for s in steps]), np.concatenate([s.falling for s in steps])
    names = {"tap": node.tap or node.name, "origin": node.origin}
    filters = constant(np.concatenate([conv.inputs[1].value] * len(steps)), DType.b1)
    own = {} if pool else names
    bits = with_threshold(conv, new[conv.inputs[0]], filters, limits, falling, **own)
    copies[bits] = len(steps)
    if pool is not None:
        shape = (*pool.inputs[0].type.shape[:-1], bits.type.shape[-1])
        if bits.type.shape != shape:
            bits = make("reshape", bits, attrs=ReshapeAttrs(shape), name=conv.name)
        every = np.concatenate([s.every for s in steps])
        mask = (constant(np.where(every, 1, -1), DType.b1),) if every.any() else ()
        bits = make("max_pool", bits, *mask, attrs=pool.attrs, name=pool.name, **names)
        copies[bits] = len(steps)
    if bits.type.shape == node.type.shape:
        return bits
    return make("reshape", bits, attrs=ReshapeAttrs(node.type.shape), name=node.name, **names)
