# SPDX-License-Identifier: Apache-2.0
"""Networks over time, one call for each new piece of a stream: only its own rows of every layer are computed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from ..errors import UnsupportedOpError
from ..file.container import aligned
from ..ir.graph import DType, Graph, Node, Placement, Storage, TensorType
from ..ir.ops import (
    CONVOLUTIONS,
    OPS,
    ConvAttrs,
    NoAttrs,
    PadAttrs,
    PoolAttrs,
    ReshapeAttrs,
    constant,
    conv_attrs,
    input_node,
    make,
    sums_rows,
)
from ..ir.rewrite import remade
from ..ir.stream import Band, Stream
from .interleave_rows import ALIGNMENT
from .plan_arena import physical_bytes, placed

HEADER = 8  # bytes at the arena's start: the number of calls, up to that whose window is full


def stream_rows(graph: Graph) -> Stream:
    """Precondition: scheduled, with time in rows.  Postcondition: every arena value has an offset, and none is where
    rows are kept.

    In call number n, from ``calls`` on, the graph's outputs are those of the whole network for the last ``window`` of
    the ``n * rows`` rows that there were.  The last row of a window is the last row of the stream, so the rows of each
    value are computed once, by the call that has the last of the rows that they are made of.

    Raises :class:`UnsupportedOpError` for an op whose rows are not those of the window before; names the layer.
    """
    return _Planner(graph).stream()


class _Planner:
    def __init__(self, graph: Graph) -> None:
        if len(graph.inputs) != 1 or rows_of(graph.inputs[0]) < 2:
            shapes = ", ".join(str(node.type) for node in graph.inputs)
            raise UnsupportedOpError(
                f"a stream needs a network with one input over time, (T, C) or (T, W, C); found {shapes}"
            )
        (self.source,) = graph.inputs
        self.graph = graph = _with_row_sums(graph)
        self.steps = {self.source: 1}  # rows of the input from a row of a value to the next
        for node in graph.schedule:
            self._check_padding(node)
            if rows_of(node) > 1:
                self.steps[node] = self._step(node)
        for node in graph.outputs:
            if node in self.steps:
                raise _refused(node, f"is an output of {rows_of(node)} rows over time; flatten it, or pool it")
        self.rows = math.lcm(*self.steps.values())
        self.new = {node: min(self.rows // step, rows_of(node)) for node, step in self.steps.items()}
        self.new[self.source] = self.rows
        self.kept = dict(self.new)
        whole = set(self.steps)  # whose readers need the new rows alone
        for node in graph.schedule:
            for operand, rows in self._needs(node):
                self.kept[operand] = max(self.kept[operand], rows)
                whole -= {operand} if rows != self.new[operand] else set()
        self.with_band = [node for node in self.steps if node not in whole]

    def _check_padding(self, node: Node) -> None:
        a = node.attrs
        if not isinstance(a, ConvAttrs | PoolAttrs | PadAttrs) or rows_of(node.inputs[0]) < 2:
            return
        if a.pads[0] or a.pads[2]:
            raise _refused(
                node,
                f"pads the window with {a.pads[0]} rows before it and {a.pads[2]} behind it, where a stream has rows "
                "of its own; use padding 'valid' over time",
            )

    def _step(self, node: Node) -> int:
        """For a value of several rows.  Raises :class:`UnsupportedOpError`."""
        a, record = node.attrs, OPS[node.op]
        by_rows = record.by_rows or record.elementwise
        if isinstance(a, ReshapeAttrs):
            by_rows = rows_of(node.inputs[0]) == rows_of(node)
        constants = [] if node.op in CONVOLUTIONS else [i for i in node.inputs if i.is_constant]
        if not by_rows or any(rows_of(i) > 1 for i in constants):
            raise _refused(node, "gives rows over time that are not made of rows of its input, all by one rule")
        if not all(operand in self.steps for operand in node.data):
            raise _refused(node, "reads in every row what is made of the whole window")
        steps = {self.steps[operand] * stride for operand, stride in _strides(node)}
        if len(steps) > 1:
            raise _refused(node, f"reads values that have a row for {' and '.join(map(str, sorted(steps)))} steps")
        return steps.pop()

    def _needs(self, node: Node) -> Iterator[tuple[Node, int]]:
        """For each operand over time, how many of its last rows are read to compute the new rows of a node's value."""
        for operand, stride in _strides(node):
            if operand in self.steps:
                earlier = rows_of(node) - self.new[node] if node in self.steps else 0
                yield operand, rows_of(operand) - earlier * stride

    def stream(self) -> Stream:
        last = input_node(self.source.name, (self.rows, *self.source.type.shape[1:]), self.source.type.dtype)
        self.made: dict[Node, Node] = {self.source: last}
        self.places: dict[Node, Placement] = {last: self.graph.placements[self.source]}
        self.views: dict[tuple[Node, int], Node] = {}
        self.bands: dict[Node, Band] = {}
        self.end = HEADER
        schedule, first = [], {self.source: 1}
        if self.source in self.with_band:
            self.made[self.source] = make("copy", last, name=self.source.name)
            schedule.append(self.made[self.source])
            self._place(self.source, Storage.ARENA)
        for node in self.graph.schedule:
            needs = iter(list(self._needs(node)))
            operands, begin = [], 1
            for operand in node.inputs:
                if operand in self.steps:
                    _, rows = next(needs)
                    begin = max(begin, first[operand] - 1 - (-rows // self.new[operand]))
                    operands.append(self._view(operand, rows))
                else:
                    begin = max(begin, first.get(operand, 1))
                    operands.append(self.made.get(operand, operand))
            first[node] = begin
            self.made[node] = self._made(node, operands)
            schedule.append(self.made[node])
            storage = self.graph.placements[node].storage
            self._place(node, Storage.ARENA if storage is Storage.PASSED else storage)
        planned = self._planned(last, schedule)
        calls = max(first[node] for node in self.graph.outputs)
        of_made = {self.made[node]: number for node, number in first.items()}
        return Stream(planned, self.rows, rows_of(self.source), of_made, calls, self.bands, self.end)

    def _made(self, node: Node, operands: list[Node]) -> Node:
        attrs = node.attrs
        if DType.i32 in (node.type.dtype, operands[0].type.dtype):  # sums of rows, which no record knows
            rows = self.new.get(node, 1)
            return replace(node, inputs=tuple(operands), type=TensorType((rows, *node.type.shape[1:]), node.type.dtype))
        if node in self.steps and isinstance(attrs, ReshapeAttrs):
            attrs = ReshapeAttrs((self.new[node], *attrs.shape[1:]))
        return remade(node, node.op, *operands, attrs=attrs)

    def _place(self, node: Node, storage: Storage) -> None:
        """The place of the new rows of a value; that of its band, if there is one."""
        made, halo = self.made[node], self.graph.placements[node].halo
        place = Placement(storage, halo)
        size = physical_bytes(made, place, 1)
        if node in self.with_band:
            new, kept = self.new[node], self.kept[node]
            self.bands[made] = band = Band(self.end, size // new, kept, new)
            self.end += aligned(kept * band.row, ALIGNMENT)
            place = replace(place, offset=band.offset + (kept - new) * band.row)
        self.places[made] = replace(place, bytes=aligned(size, ALIGNMENT) if storage is Storage.ARENA else size)

    def _view(self, node: Node, rows: int) -> Node:
        """The last rows of a value."""
        made = self.made[node]
        if rows == self.new[node]:
            return made
        if (node, rows) not in self.views:
            band, kind = self.bands[made], TensorType((rows, *made.type.shape[1:]), made.type.dtype)
            view = Node("band", (), NoAttrs(), kind, node.name)
            offset = band.offset + (band.kept - rows) * band.row
            self.places[view] = replace(self.places[made], offset=offset, bytes=rows * band.row)
            self.views[node, rows] = view
        return self.views[node, rows]

    def _planned(self, last: Node, schedule: list[Node]) -> Graph:
        """Places behind the bands for what is not kept."""
        bands = {n: p for n, p in self.places.items() if n in self.bands or n in self.views.values()}
        outside = {n: replace(p, storage=Storage.INPUT) for n, p in bands.items()}
        constants = {i: Placement(Storage.CONSTANT) for n in schedule for i in n.inputs if i.is_constant}
        graph = Graph(
            (last,), tuple(self.made[n] for n in self.graph.outputs), self.graph.output_names, tuple(schedule),
            {**self.places, **outside, **constants}, use=self.graph.use,
        )  # fmt: skip
        graph = placed(graph)
        places = {
            n: replace(p, offset=p.offset + self.end) if p.storage is Storage.ARENA else p
            for n, p in graph.placements.items()
        }
        return replace(graph, placements={**places, **bands}, arena_bytes=self.end + graph.arena_bytes)


def _with_row_sums(graph: Graph) -> Graph:
    """A mean over an image keeps the sums of its earlier rows in place of the rows, if they take less."""
    new = {node: node for node in graph.inputs}
    schedule: list[Node] = []
    places: dict[Node, Placement] = {}
    for node in graph.schedule:
        made = replace(node, inputs=tuple(new.get(operand, operand) for operand in node.inputs))
        if sums_rows(node) and node.type.shape[1] * DType.i32.element < node.inputs[0].type.shape[1]:
            a, (data, weights, *_) = conv_attrs(node), made.inputs
            operands = data, constant(weights.value[:, :1], weights.type.dtype)
            kind = TensorType((data.type.shape[0], *node.type.shape[1:]), DType.i32)
            sums = Node(node.op, operands, replace(a, stride=(1, a.stride[1])), kind, node.name)
            schedule.append(sums)
            places[sums] = Placement(Storage.ARENA)
            made = replace(made, inputs=(sums, *made.inputs[1:]))
        schedule.append(made)
        new[node] = made
    places |= {new.get(node, node): place for node, place in graph.placements.items()}
    return replace(graph.mapped(new), schedule=tuple(schedule), placements=places)


def rows_of(node: Node) -> int:
    """The rows of an image; 1 of other values."""
    return node.type.shape[0] if len(node.type.shape) == 3 else 1


def _strides(node: Node) -> Iterator[tuple[Node, int]]:
    """The operands that are not constants, and by how many of their rows a window moves from one row to the next."""
    for number, operand in enumerate(node.inputs):
        if not operand.is_constant:
            windows = number == 0 and isinstance(node.attrs, ConvAttrs | PoolAttrs)
            yield operand, node.attrs.stride[0] if windows else 1  # type: ignore[attr-defined]


def _refused(node: Node, what: str) -> UnsupportedOpError:
    layer = f"layer '{node.name}' ({node.op})" if node.name else f"op '{node.op}'"
    return UnsupportedOpError(f"{layer} cannot be computed as a stream: it {what}")
