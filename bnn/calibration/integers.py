# SPDX-License-Identifier: Apache-2.0
"""A network of floats as one of bytes: every op becomes its form in whole numbers, and an error says which has none.

The forms are those of full-integer TensorFlow Lite, made by the same functions as its files are read with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .._types import Array
from ..errors import CompileError, UnsupportedOpError
from ..ir.graph import DType, Graph, Node
from ..ir.ops import constant, make
from ..ir.ops.conv import CONVOLUTIONS
from ..ir.quantization import BYTES, lookup
from ..ir.rewrite import with_inputs
from .arithmetic import affine, arithmetic, function_values, prelu, softmax
from .moves import cast, concat, copy, from_floats, gather, move, pad, pool, unpack
from .sums import (
    as_bytes,
    binary,
    bits_of,
    bits_of_shorts,
    convolved,
    is_whole,
    known_thresholds,
    level_bytes,
    reads_bytes,
    thresholds_of,
)
from .translation import Channels, Made, Translation, unsupported, why


class Integers(Translation):
    """The network in whole numbers."""

    def graph(self, graph: Graph) -> Graph:
        """The whole graph; its outputs are the numbers of bytes, by a table.

        Raises:
            UnsupportedOpError: an op that has no form in whole numbers; names its layer, the reason and the remedy.
        """
        self.outputs = frozenset(graph.outputs)
        self._share_ranges()
        for node in self.units.order:
            try:
                self._make(node)
            except UnsupportedOpError:
                raise
            except CompileError as error:
                raise unsupported(node, str(error)) from None
        inputs = tuple(self.raw.get(node, node) for node in graph.inputs)
        outputs = tuple(self._output(node) for node in graph.outputs)
        return replace(graph, inputs=inputs, outputs=outputs, schedule=(), placements={}, arena_bytes=0)

    def _share_ranges(self) -> None:
        """The parts of a concatenation whose channels share a scale have its range from the start: otherwise the first
        of a chain of them would be rounded again by each."""
        for node in reversed(self.units.order):
            if node.op == "concat" and node in self.ranges and node not in self.separable:
                free = [x for x in node.inputs if x in self.ranges and x not in self.units.rounded]
                self.ranges.update(dict.fromkeys(free, self.ranges[node]))

    def _output(self, node: Node) -> Node:
        if node not in self.bytes_of:
            return self.raw[node]
        x, q = self.bytes_of[node]
        return make("cast", x, constant(q.values, name=node.name), name=node.name, origin=node.origin, tap=node.tap)

    def _make(self, node: Node) -> None:
        if node.is_constant:
            return
        if node.type.dtype is not DType.f32:
            self.raw[node] = self._raw(node)
            return
        if node.op == "input":
            self.raw[node] = node
        if self.units.base[node] is not node:
            q = self.ranges[node]
            self.bytes_of[node] = self._by_table(node, q.of), q
            return
        core = self.units.core(node)
        if core.op not in FORMS:
            raise unsupported(core, why(core))
        made = FORMS[core.op](self, node, core)
        if node in self.steps:
            assert isinstance(made, Node)
            self.shorts[node] = made
            made = as_bytes(self, node)
        if isinstance(made, Node):
            self.raw[node] = made
        elif isinstance(made, Channels):
            self.mixed[node] = made
        else:
            self.bytes_of[node] = made

    def _by_table(self, node: Node, bytes_of: Callable[[Array], Array] = np.asarray) -> Node:
        """A function of one number, which may leave every byte that occurs as it is."""
        base = self.units.base[node]
        x, q = self.bytes_of[base]
        results = bytes_of(function_values(node, base, q))
        low, high = self.range_of(base)[1:] if base in self.ranges else (0, 255)
        occur = slice(low, high + 1)
        return x if np.array_equal(results[occur], BYTES[occur]) else lookup(x, results, node.name)

    def _raw(self, node: Node) -> Node:
        """Bits and bytes, which stay what they are, or are made of bytes that stand for floats."""
        base = self.units.base[node]
        if base is not node:
            return self._by_table(node)
        if node in self.units.rounded:
            core = self.units.core(node)
            made = FORMS[core.op](self, node, core)
            assert isinstance(made, tuple)
            return made[0]
        floats = [x for x in node.data if x.type.dtype is DType.f32]
        if node.op == "copy":
            return self.raw[node.inputs[0]]
        if node.op == "binarize" and floats:
            core = self.units.core(floats[0])
            exact = core.inputs[0] if core.op == "affine" else floats[0]  # not yet rounded by its batch norm
            if short := next((x for x in (exact, floats[0]) if x in self.shorts), None):
                return bits_of_shorts(self, node, short)
            return bits_of(node, self.channels(floats[0]))
        if node.op == "binarize_levels":
            return level_bytes(self, node)
        if node.op in CONVOLUTIONS and node.type.dtype is DType.b1 and reads_bytes(node):
            return known_thresholds(self, node) if is_whole(node) else thresholds_of(self, node)
        if floats or node.op == "bconv2d" and not is_whole(node):
            raise unsupported(node, why(node))
        return with_inputs(node, tuple(i if i.is_constant else self.raw[i] for i in node.inputs))


# Each gets the value and the op that computes it, which differ by a clamp that joined the op.
FORMS: dict[str, Callable[[Translation, Node, Node], Made | Channels | Node]] = {
    "input": from_floats,
    "cast": cast,
    "unpack": unpack,
    "conv2d": convolved,
    "bconv2d": binary,
    "iconv2d": convolved,
    "qconv2d": convolved,
    "affine": affine,
    "add": arithmetic,
    "sub": arithmetic,
    "mul": arithmetic,
    "div": arithmetic,
    "prelu": prelu,
    "avg_pool": pool,
    "sum_pool": pool,
    "max_pool": move,
    "reshape": move,
    "slice": move,
    "copy": copy,
    "pad": pad,
    "pad_channels": pad,
    "gather": gather,
    "concat": concat,
    "softmax": softmax,
}


def float_ops(graph: Graph) -> list[Node]:
    """The ops that compute with floats: convolutions with slots of floats, and all other ops that read or give floats.
    Two kinds do not count: what turns the network's input into bytes, and what looks up the network's output."""

    def computes(node: Node) -> bool:
        if node.op in CONVOLUTIONS and not is_whole(node):
            return True
        reads = any(i.type.dtype is DType.f32 for i in node.data)
        if node.op == "quantize" and node.inputs[0].op == "input" and len(node.inputs) == 1:
            return False
        gives = node.type.dtype is DType.f32 and not (node.op in ("cast", "unpack") and node in graph.outputs)
        return reads or gives

    return [node for node in graph.nodes() if node.op not in ("input", "constant") and computes(node)]
