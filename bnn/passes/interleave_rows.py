# SPDX-License-Identifier: Apache-2.0
"""Memory of firmware: rows of several ops in turn, so that what they pass on is never whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial

from ..file.bits import words
from ..file.container import aligned
from ..ir.graph import Graph, Node, Storage, Turn
from ..ir.ops import CONVOLUTIONS, OPS, rows_read, sums_rows
from .plan_arena import physical_bytes, placed

ALIGNMENT = 8  # of the values, in bytes
SUM = 4  # bytes
Span = tuple[int, int]  # of the schedule: the first op, and the one behind the last
Chain = Mapping[Node, Turn]


def interleave_rows(graph: Graph, chains: Sequence[Span] | None = None) -> Graph:
    """Precondition: scheduled.  Postcondition: every arena value has an offset, those needed together do not overlap,
    and ``arena_bytes`` is the space they need.  The ops of a chain compute their rows in turn, each as soon as there
    are the rows that it reads; of a value that none but they read, there are as many rows as its readers need at once.
    Ops are in chains where that saves memory, or in those of ``chains``.  A plan that the graph has is replaced.
    """
    places = {
        n: replace(p, storage=Storage.ARENA if p.storage is Storage.PASSED else p.storage)
        for n, p in graph.placements.items()
    }
    places = {n: replace(p, bytes=physical_bytes(n, p, ALIGNMENT)) for n, p in places.items()}
    graph = replace(graph, placements=places, chains=())
    chain = cache(partial(_chain, graph))
    return _planned(graph, map(chain, _least_memory(graph, chain) if chains is None else chains))


def whole_above(graph: Graph) -> Graph:
    """A plan of :func:`interleave_rows` in which values that chains compute whole, row by row, lie above all others,
    with room in between for what a convolution works in: an input that is read in the meantime may lie over them.
    """
    turns = {node: turn for chain in graph.chains for node, turn in chain.items()}
    whole = {n for n, t in turns.items() if graph.placements[n].storage is Storage.ARENA and not t.kept}
    return placed(graph, whole, max((_work(node) for node in turns if node.op in CONVOLUTIONS), default=0))


def _work(conv: Node) -> int:
    """Bytes of a row of sums, and of a window of bits, or two of bytes."""
    *kernel, channels = conv.inputs[1].type.shape[1:]
    window = math.prod(kernel) * (SUM * words(channels) if conv.op == "bconv2d" else 2 * channels)
    return aligned(SUM * math.prod(conv.type.shape[1:]), ALIGNMENT) + aligned(window, 16)


def _least_memory(graph: Graph, chain: Callable[[Span], Chain | None]) -> list[Span]:
    """Greedily: two chains instead of one where that takes less, and then the fewest and shortest that take no more."""
    spans = longest_chains(graph)

    def size(number: int, *instead: Span) -> float:
        """The bytes with one span replaced, if that can be."""
        found = [chain(span) for span in (*spans[:number], *instead, *spans[number + 1 :])]
        return math.inf if None in found else _planned(graph, found).arena_bytes

    best, number = size(len(spans)), 0
    while number < len(spans):
        begin, end = spans[number]
        splits = [((begin, at), (at, end)) for at in range(begin + 2, end - 1)]
        least, split = min(((size(number, *split), split) for split in splits), default=(best, ()))
        if least < best:
            best, spans[number : number + 1] = least, split
        else:
            number += 1
    for number, (begin, _) in enumerate(spans):
        if size(number, (begin, begin)) <= best:
            spans[number] = (begin, begin)
        for first, last in ((0, 1), (1, 0)):  # without its last ops, and without its first ones
            while (span := spans[number])[0] < span[1]:
                shorter = (span[0] + first, span[1] - last)
                if (least := size(number, shorter)) > best:
                    break
                best, spans[number] = least, shorter
    return spans if best < _planned(graph, ()).arena_bytes else []


def longest_chains(graph: Graph) -> list[Span]:
    """Spans of the schedule whose ops can compute their rows in turn, none of which can be longer."""
    spans, begin = [], 0
    while begin < len(graph.schedule):
        end = begin
        found: dict[Node, Turn] = {}
        while end < len(graph.schedule) and (turn := _turn(graph.schedule[end], found)):
            found[graph.schedule[end]] = turn
            end += 1
        if end > begin + 1:
            spans.append((begin, end))
        begin = max(end, begin + 1)
    return spans


def _turn(node: Node, before: Mapping[Node, Turn]) -> Turn | None:
    """When an op computes its rows, if the ops before it in the chain do so then; None: not row by row."""
    if len(node.type.shape) != 3 or not (OPS[node.op].by_rows or OPS[node.op].elementwise):
        return None
    turns = []
    for operand, stride, below, _ in rows_read(node):
        if operand in before:
            if stride == 0 or sums_rows(operand):  # which is there at last
                return None
            turn = before[operand]
            turns.append((turn.every * stride, turn.first + turn.every * below))
    if len({every for every, _ in turns}) > 1:
        return None
    return Turn(max((first for _, first in turns), default=0), max((every for every, _ in turns), default=1))


def _chain(graph: Graph, span: Span) -> Chain | None:
    """The turns of these ops, with the rows that are kept of what only they read; None: they cannot take turns."""
    chain: dict[Node, Turn] = {}
    readers: dict[Node, list[tuple[Node, int]]] = {}
    for node in graph.schedule[slice(*span)]:
        turn = _turn(node, chain)
        if turn is None:
            return None
        chain[node] = turn
        for operand, _, _, above in rows_read(node):
            readers.setdefault(operand, []).append((node, above))
    elsewhere = {*graph.outputs, *(operand for node in graph.schedule[span[1] :] for operand in node.inputs)}
    for node, turn in chain.items():
        place = graph.placements[node]
        if place.storage is Storage.ARENA and node in readers and node not in elsewhere:
            rows = [turn.newer(chain[reader]) + above + 1 for reader, above in readers[node]]
            at_once = max(rows) == 1 and not place.halo and all(chain[r].first == turn.first for r, _ in readers[node])
            chain[node] = replace(turn, kept=max(rows), at_once=at_once)
    return chain


def _planned(graph: Graph, chains: Iterable[Chain | None]) -> Graph:
    """The plan with these chains, those of a single op left out."""
    places = dict(graph.placements)
    longer = tuple(chain for chain in chains if chain and len(chain) > 1)
    for node, turn in (item for chain in longer for item in chain.items()):
        if turn.kept:
            place = places[node]
            height = place.halo.top + node.type.shape[0] + place.halo.bottom
            size = physical_bytes(node, place, 1) // height * turn.kept
            places[node] = replace(place, bytes=aligned(size, ALIGNMENT))
        elif sums_rows(node):  # as int32, behind the bytes that they become
            size = places[node].bytes + SUM * math.prod(node.type.shape)
            places[node] = replace(places[node], bytes=aligned(size, ALIGNMENT))
    return placed(replace(graph, placements=places, chains=longer))
