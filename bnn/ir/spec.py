# SPDX-License-Identifier: Apache-2.0
"""Which ops and types are legal at which level, and the verifier that runs after every pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import CompileError, VerifierError
from .graph import DType, Graph, Halo, Node, Storage
from .ops import CONVOLUTIONS, OPS, Level, conv_attrs, replaced, takes_rows
from .ops.conv import requantization
from .ops.requantize import MOST_ADDED, MOST_MULTIPLIED
from .ops.softmax import fits


@dataclass(frozen=True)
class Requirement:
    """A requirement on nodes: ``broken`` says whether a node violates it, at the levels where it applies."""

    text: str
    levels: Level
    broken: Callable[[Node], bool]


_BYTES = np.arange(256, dtype=np.float32)
_SOURCE_TYPES = (("constant", DType.i32), ("constant", DType.i8), ("input", DType.i8))

REQUIREMENTS = (
    Requirement(
        "source graphs hold only float32, bytes, and constants of integers",
        Level.SOURCE,
        lambda n: n.type.dtype not in (DType.f32, DType.u8) and (n.op, n.type.dtype) not in _SOURCE_TYPES,
    ),
    Requirement(
        "bytes come from ops that give them, and go to ops that take them",
        Level.ALL,
        lambda n: (
            n.type.dtype is DType.u8
            and not OPS[n.op].gives_bytes
            or DType.u8 not in OPS[n.op].takes
            and any(i.type.dtype is DType.u8 for i in n.inputs)
        ),
    ),
    Requirement(
        "signed bytes are inputs, and only excess_128 reads them; or constants",
        Level.ALL,
        lambda n: (
            n.type.dtype is DType.i8
            and n.op not in ("input", "constant")
            or n.op != "excess_128"
            and any(i.type.dtype is DType.i8 and not i.is_constant for i in n.inputs)
        ),
    ),
    Requirement(
        "int16 come from ops that give them, and go to ops that take them",
        Level.ALL,
        lambda n: (
            DType.i16 not in OPS[n.op].takes
            and n.op not in ("bconv2d", "qconv2d", "constant")
            and any(x.type.dtype is DType.i16 for x in (n, *n.inputs))
        ),
    ),
    Requirement(
        "the zeros of quantized data are bytes",
        Level.ALL,
        lambda n: n.op == "qconv2d" and not np.isin(n.inputs[2].value, _BYTES).all(),
    ),
    Requirement(
        "the numbers by which sums are requantized are inside their bounds",
        Level.ALL,
        lambda n: n.op in ("bconv2d", "qconv2d", "requantize16") and bool(requantization(n)),
    ),
    Requirement(
        "tables are constants, and what is looked up is inside its bounds", Level.ALL, lambda n: not _tables_fit(n)
    ),
    Requirement(
        "32-bit integers are constants only", Level.ALL, lambda n: n.type.dtype is DType.i32 and not n.is_constant
    ),
    Requirement(
        "filters and epilogue operands are constants (except for the residual)",
        Level.BINARY | Level.RUNTIME,
        lambda n: n.op in CONVOLUTIONS and not _operands_constant(n),
    ),
    Requirement(
        "the data of an elementwise operation have as many dimensions as its result (the batch comes before them)",
        Level.ALL,
        lambda n: OPS[n.op].elementwise and not _ranks_agree(n),
    ),
    Requirement(
        "activations have one to three dimensions",
        Level.RUNTIME,
        lambda n: not n.is_constant and not 1 <= len(n.type.shape) <= 3,
    ),
    Requirement(
        "indices are constants that count elements of the data",
        Level.ALL,
        lambda n: n.op == "gather" and not _indices_inside(n),
    ),
    Requirement(
        "inputs are float32 or bytes",
        Level.RUNTIME,
        lambda n: n.op == "input" and n.type.dtype not in (DType.f32, DType.u8, DType.i8),
    ),
    Requirement(
        "an operation has at least one operand that is not constant",
        Level.RUNTIME,
        lambda n: n.op not in ("input", "constant") and all(i.is_constant for i in n.inputs),
    ),
)


def _operands_constant(node: Node) -> bool:
    operands = zip(conv_attrs(node).operands, node.inputs[2:], strict=True)
    return node.inputs[1].is_constant and all(i.is_constant for slot, i in operands if slot != "residual")


def _tables_fit(node: Node) -> bool:
    most = {"lookup": 255, "qadd": MOST_ADDED, "qmul": MOST_MULTIPLIED}.get(node.op)
    tables = node.inputs[1:] if node.op == "lookup" else node.inputs[2:]
    if node.op == "qsoftmax":
        return node.inputs[1].is_constant and fits(node.inputs[1].value)
    return most is None or all(t.is_constant and np.abs(t.value.astype(np.int64)).max() <= most for t in tables)


def _indices_inside(node: Node) -> bool:
    x, index = node.inputs
    return index.is_constant and index.value.min() >= 0 and index.value.max() < math.prod(x.type.shape)


def _ranks_agree(node: Node) -> bool:
    return all(i.is_constant or len(i.type.shape) == len(node.type.shape) for i in node.inputs)


def verify(graph: Graph, level: Level, after: str = "", checked: set[Node] | None = None) -> None:
    """Check every node against the op table and the rules of the level.

    ``checked``: nodes that were checked at this level before, and do not change; the others come to them.

    Raises:
        VerifierError: names the pass, the node, its source layer and the requirement it breaks.
    """
    checked = set() if checked is None else checked
    for node in graph.nodes():
        problem = "" if node in checked else _problem(node, level)
        if node.op == "input" and node not in graph.inputs:
            problem = problem or "it is not among the graph's inputs"
        if problem:
            raise VerifierError(f"after {after}: {node.op} of layer '{node.name}' : {node.type}: {problem}")
        checked.add(node)
    if level is Level.RUNTIME and graph.placements:
        _verify_plan(graph, after)


def _problem(node: Node, level: Level) -> str:
    """What is wrong with a node by itself, or nothing."""
    record = OPS.get(node.op)
    if record is None:
        return "no such op"
    if level not in record.levels:
        return f"not legal at level {level.name}"
    try:
        inferred = record.infer(tuple(i.type for i in node.inputs), node.attrs)
    except CompileError as error:
        return str(error)
    if inferred != node.type:
        return f"its type should be {inferred}"
    return next((r.text for r in REQUIREMENTS if level in r.levels and r.broken(node)), "")


def _verify_plan(graph: Graph, after: str) -> None:
    """The plan: operands come before users, every value is placed, halos cover the padding, and values alive together
    do not overlap, except a value and the operand that it replaces; a passed value has one reader, the next op."""
    position = {node: i for i, node in enumerate(graph.schedule)}
    for node in graph.schedule:
        for operand in node.inputs:
            if operand.op not in ("input", "constant") and position.get(operand, position[node]) >= position[node]:
                raise VerifierError(f"after {after}: {node.op} of layer '{node.name}' runs before its operand")
    live, uses = [], graph.use_counts()
    for node in graph.schedule:
        place = graph.placements.get(node)
        if place is None:
            raise VerifierError(f"after {after}: {node.op} of layer '{node.name}' has no place in memory")
        if node.op in CONVOLUTIONS:
            halo = graph.placements[node.inputs[0]].halo
            if halo | Halo(*conv_attrs(node).pads) != halo:
                raise VerifierError(f"after {after}: layer '{node.name}' pads more than its input's halo {halo}")
        if place.storage is Storage.PASSED:
            takers = [n for n in graph.schedule[position[node] + 1 : position[node] + 2] if takes_rows(n, node)]
            if not takers or place.halo or uses[node] != 1:
                raise VerifierError(f"after {after}: '{node.name}' is passed, but no op after it takes its rows")
        if place.storage is Storage.ARENA:
            live.append((place.offset, place.offset + place.bytes, node))
    lives = graph.lives()
    for i, (start, end, node) in enumerate(live):
        (begin, until), place = lives[node], graph.placements[node]
        if end > graph.arena_bytes:
            raise VerifierError(f"after {after}: '{node.name}' ends past the arena's {graph.arena_bytes} bytes")
        for other_start, other_end, other in live[i + 1 :]:
            made, last = lives[other]
            over = position[other] == until and node in replaced(other) and graph.placements[other] == place
            if start < other_end and other_start < end and made <= until and begin <= last and not over:
                raise VerifierError(f"after {after}: '{node.name}' and '{other.name}' overlap in the arena")
