# SPDX-License-Identifier: Apache-2.0
"""The intermediate representation: typed, immutable, one node per value.

Every op has exactly one output, so a :class:`Node` *is* the value it computes.  Shapes are logical and omit the
batch dimension: an activation of type ``f32[28, 28, 32]`` is an array (N, 28, 28, 32) at run time; a constant
of that type is an array (28, 28, 32).  Packing, halos and addresses are physical and are stored in :class:`Placement`.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, field, fields
from typing import TypeVar

import numpy as np

from .._text import printable
from .._types import Array
from ..errors import CompileError

Item = TypeVar("Item")


class DType(enum.Enum):
    """Element types; the value is the code in the file format."""

    f32 = 0
    b1 = 1  # +1 or -1; a set bit is +1
    i32 = 2
    u8 = 3
    i8 = 4  # network inputs only
    i16 = 5

    @property
    def numpy(self) -> type:
        """How the oracle holds it: bits are int8 arrays of +1 and -1."""
        return _HELD[self]

    @property
    def element(self) -> int:
        """Bytes of an element in memory; an element of packed bits is a 32-bit word."""
        return {DType.u8: 1, DType.i8: 1, DType.i16: 2}.get(self, 4)


_HELD: dict[DType, type] = {
    DType.f32: np.float32, DType.b1: np.int8, DType.i32: np.int32, DType.u8: np.uint8, DType.i8: np.int8,
    DType.i16: np.int16,
}  # fmt: skip


@dataclass(frozen=True)
class TensorType:
    """A logical shape (without the batch) and an element type."""

    shape: tuple[int, ...]
    dtype: DType

    def __str__(self) -> str:
        return f"{self.dtype.name}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Attrs:
    """Base of every op's attributes: frozen, every default declared."""

    def __str__(self) -> str:
        parts = []
        for f in fields(self):
            value = getattr(self, f.name)
            if f.repr and value != f.default:
                text = value.name if isinstance(value, DType) else value
                parts.append(printable(f"{f.name}={text}"))
        return ", ".join(parts)


class Value:
    """A constant's array, read-only, hashed by content so that attributes stay comparable."""

    def __init__(self, array: Array) -> None:
        content = array.tobytes()  # which the array reads in place: weights are in memory once
        self.array: Array = np.frombuffer(content, array.dtype).reshape(array.shape)
        self._key = (array.shape, array.dtype.str, content)
        self._hash = hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and self._hash == other._hash and self._key == other._key

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        flat = self.array.reshape(-1)
        if flat.size <= 4:
            return "[" + ", ".join(f"{v:g}" for v in flat) + "]"
        return f"<{self.array.dtype} {list(self.array.shape)}>"


@dataclass(frozen=True, eq=False)
class Node:
    """One value.

    ``name`` is the source layer that does the work, for messages.  ``tap`` is the name of the value if it is not the
    layer's own output (for example a convolution fused with later ops).  ``origin`` is the tensor of the source graph
    with exactly this value, up to a reshape, or "" if there is none (a moved computation); verification compares the
    two.
    """

    op: str
    inputs: tuple[Node, ...]
    attrs: Attrs
    type: TensorType
    name: str = ""
    origin: str = ""
    tap: str = ""
    note: str = ""  # why a layer was not made binary, and warnings: see _notes.py; for people

    @property
    def value(self) -> Array:
        """The array of a constant."""
        if self.op != "constant":
            raise CompileError(f"'{self.op}' of layer '{self.name}' is not a constant")
        return self.attrs.value.array  # type: ignore[attr-defined]

    @property
    def is_constant(self) -> bool:
        return self.op == "constant"

    @property
    def data(self) -> tuple[Node, ...]:
        """Its operands except constants."""
        return tuple(i for i in self.inputs if not i.is_constant)


@dataclass(frozen=True)
class Halo:
    """Pixels of padding kept around each image of a tensor in memory."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    def __or__(self, other: Halo) -> Halo:
        return Halo(*map(max, astuple(self), astuple(other)))

    def __bool__(self) -> bool:
        return self != Halo()


class Storage(enum.Enum):
    """Where a value lives; the value is the code in the file format."""

    INPUT = 0
    OUTPUT = 1
    ARENA = 2
    CONSTANT = 3
    PASSED = 4  # nowhere as a whole: the next op reads it a few rows at a time


@dataclass(frozen=True)
class Placement:
    """Where a value lives: its halo, and its byte offset per image in the arena (or the input's/output's index)."""

    storage: Storage
    halo: Halo = Halo()
    offset: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Turn:
    """When an op of a chain computes its rows: row r in tick ``first + every * r``.

    ``kept``: the rows of its value that there are at once, the last of which is the newest, those of the halo included;
    0: the value is whole in memory.  In every tick in which a row would be due, before the image's first and behind its
    last one too, the rows move up by one.  ``at_once``: the one row that is kept is read in the tick that computes it,
    and not needed after it.
    """

    first: int
    every: int
    kept: int = 0
    at_once: bool = False

    def newer(self, reader: Turn) -> int:
        """When the reader computes a row, the rows that there are by then behind the first one of its own rows, which
        is row ``reader.every / self.every * r`` for its row r."""
        return (reader.first - self.first) // self.every


@dataclass(frozen=True)
class Graph:
    """Inputs and outputs; everything else follows from them.

    ``channels_first``: the source's own images are (C, H, W).  ``use``: what a file says of its use, as text.

    ``schedule`` and ``placements`` are empty until the passes that make them have run (level RUNTIME).  ``chains``, of
    firmware alone: ops that follow each other in the schedule and compute their rows in turn.
    """

    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    output_names: tuple[str, ...] = ()
    schedule: tuple[Node, ...] = ()
    placements: Mapping[Node, Placement] = field(default_factory=dict)
    arena_bytes: int = 0
    channels_first: bool = False
    use: str = ""
    chains: tuple[Mapping[Node, Turn], ...] = ()

    def nodes(self) -> list[Node]:
        """Every node that an output or an input needs, operands before users."""
        return topological(self.inputs + self.outputs)

    def users(self) -> dict[Node, list[Node]]:
        """Who reads each node; a graph output does not count as a user."""
        users: dict[Node, list[Node]] = {}
        for node in self.nodes():
            users[node] = []
            for operand in dict.fromkeys(node.inputs):
                users[operand].append(node)
        return users

    def use_counts(self) -> Counter[Node]:
        """Number of uses, graph outputs included."""
        return Counter([*self.outputs, *(i for node in self.nodes() for i in node.inputs)])

    def lives(self) -> dict[Node, tuple[int, int]]:
        """For each value the numbers of the first and of the last op in the schedule while it is needed.  What a passed
        value is made of is read until the next op has run; what the ops of a chain read or make is needed until all of
        them have; the network's outputs are needed until its end."""
        number = {node: i for i, node in enumerate(self.schedule)}
        first = dict(number)
        until = {node: i + (self.placements[node].storage is Storage.PASSED) for node, i in number.items()}
        for chain in self.chains:
            first |= dict.fromkeys(chain, min(number[node] for node in chain))
            until |= dict.fromkeys(chain, max(number[node] for node in chain))
        last: dict[Node, int] = {}
        for node in self.schedule:
            last |= dict.fromkeys((node, *node.inputs), until[node])
        last |= dict.fromkeys(self.outputs, len(self.schedule))
        lives = {node: (first.get(node, 0), end) for node, end in last.items()}
        for chain in self.chains:
            for reader in chain:
                at_once = [i for i in reader.inputs if i in chain and chain[i].at_once]
                lives |= {operand: (number[operand], number[reader]) for operand in at_once}
        return lives

    def mapped(self, new: Mapping[Node, Node]) -> Graph:
        """The graph with its nodes replaced, without a schedule or a memory plan."""
        ends = tuple(new[n] for n in self.inputs), tuple(new[n] for n in self.outputs)
        return Graph(*ends, self.output_names, channels_first=self.channels_first, use=self.use)

    def __str__(self) -> str:
        """Stable text, one node per line; constants print inside their users."""
        names: dict[Node, str] = {}
        lines = []
        order = self.schedule or tuple(self.nodes())
        inputs = tuple(n for n in self.inputs if n not in order)
        for node in inputs + order:
            if node.is_constant:
                continue
            names[node] = f"%{len(names)}"
            operands = [_operand(i, names) for i in node.inputs]
            text = ", ".join(filter(None, [", ".join(operands), str(node.attrs)]))
            line = f"{names[node]} = {node.op}({text}) : {node.type}"
            place = self.placements.get(node)
            if place is not None:
                line += f" @{place.storage.name.lower()}+{place.offset}"
                if place.halo:
                    line += f" halo {place.halo.top},{place.halo.left},{place.halo.bottom},{place.halo.right}"
            if node.name:
                line += f'  "{printable(node.name)}"'
            lines.append(line)
        lines.append("return " + ", ".join(_operand(n, names) for n in self.outputs))
        return "\n".join(lines)


def reached(roots: Iterable[Item], following: Callable[[Item], Iterable[Item]]) -> set[Item]:
    """The roots, what follows them, what follows that, and so on."""
    found = set(roots)
    waiting = list(found)
    while waiting:
        new = set(following(waiting.pop())) - found
        found |= new
        waiting += new
    return found


def topological(
    roots: Iterable[Node], operands_of: Callable[[Node], Iterable[Node]] = lambda node: node.inputs
) -> list[Node]:
    """Operands before users, in a stable order, without recursion (graphs are deep).  ``operands_of``: a node's
    operands in the order in which they are wanted."""
    order: dict[Node, None] = {}
    for root in roots:
        stack = [(root, iter(operands_of(root)))]
        while stack:
            node, operands = stack[-1]
            for operand in operands:
                if operand not in order:
                    stack.append((operand, iter(operands_of(operand))))
                    break
            else:
                order[node] = None
                stack.pop()
    return list(order)


def _operand(node: Node, names: dict[Node, str]) -> str:
    if node.is_constant:
        return f"const {node.attrs.value}"  # type: ignore[attr-defined]
    return names[node]
