# SPDX-License-Identifier: Apache-2.0
"""What layers put together: const tables, statements, the functions they call, and memory."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ..._types import Array
from ...errors import CompileError
from ...file.bits import words
from ...file.container import aligned
from ...ir.graph import DType, Graph, Halo, Node, Storage
from ...ir.ops import sums_rows
from ...ir.stream import Band, Stream
from .sources import all_names

C_TYPES = {
    DType.f32: "float", DType.b1: "uint32_t", DType.i32: "int32_t", DType.u8: "uint8_t", DType.i8: "int8_t",
    DType.i16: "int16_t",
}  # fmt: skip
_NUMBERS = {
    "float": np.float32, "uint32_t": np.uint32, "int32_t": np.int32, "int16_t": np.int16, "uint8_t": np.uint8,
    "uint16_t": np.uint16, "int8_t": np.int8,
}  # fmt: skip
WORD = 4  # bytes
_LONGEST = 60  # characters of a layer's, an input's or an output's name
ALIGNMENT = 8  # of the arena
MOVE_UP = "bnn_mcu_move_up"
# Words of C and C++, macros of compilers and of the headers that emitted code includes, and the names of its own
# variables.
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class
        co_await co_return co_yield compl concept const const_cast consteval constexpr constinit continue
        contract_assert decltype default delete do double dynamic_cast else enum explicit export extern false float for
        friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private
        protected public register reinterpret_cast requires restrict return short signed sizeof static static_assert
        static_cast struct switch template this thread_local throw true try typedef typeid typename typeof
        typeof_unqual union unsigned using virtual void volatile wchar_t while xor xor_eq
        errno far huge i386 interrupt linux math_errhandling mips near stderr stdin stdout unix
        int8_t uint8_t int16_t uint16_t int32_t uint32_t size_t memcpy memset memcmp sqrtf printf main
        arena size memory nan calls row tick column pixel i c x y z w label begin end status differs wrong""",
    )
)


@dataclass(frozen=True)
class View:
    """A tensor in memory; distances in elements: words of bits, floats, bytes."""

    dtype: DType
    height: int
    width: int
    channels: int
    halo: Halo
    words: int  # elements of a pixel
    row: int  # elements from a row to the next

    @property
    def interior(self) -> int:
        """The distance from the first element to the first pixel inside the halo."""
        return self.halo.top * self.row + self.halo.left * self.words

    @property
    def size(self) -> int:
        """Bytes, halo included."""
        return (self.halo.top + self.height + self.halo.bottom) * self.row * self.dtype.element

    @property
    def dense(self) -> bool:
        return not self.halo

    @property
    def count(self) -> int:
        """Elements of a dense tensor."""
        return self.height * self.width * self.words


@dataclass
class EmittedLayer:
    """``flash``: bytes of its tables.  ``macs``: products of one image."""

    name: str
    op: str
    type: str
    macs: int = 0
    kind: str = ""  # of its products: bits, bytes, int8 or floats
    flash: int = 0
    ram: int = 0  # bytes of its output in the arena
    pixels: int = 0  # of a convolution's output; otherwise elements that are read
    outputs: int = 1  # channels of a pixel
    window: int = 0  # of an output: words, bytes or floats
    way: str = "any"  # of a convolution: fixed (this window), planes, shared(_5), single (pixels), depthwise(_4)
    finished: int = 0  # values that pass an epilogue
    signs: int = 0  # floats that become bits
    compared: int = 0  # sums that become bits
    requantized: int = 0  # sums, or int16, that become bytes or int16
    added: int = 0  # sums of int16
    moved: int = 0  # bytes of rows that are kept and move up
    lines: list[str] = field(default_factory=list)
    row: tuple[str, ...] = ()  # of an op in a chain: statements that compute the row `row`, behind the lines


class Program:
    """Fills as layers are emitted."""

    def __init__(self, graph: Graph, name: str, *, fast: bool, quads: bool, stream: Stream | None = None) -> None:
        self.graph = graph
        self.stream = stream
        self.prefix = name
        self.fast = fast  # functions for one window's size, where there are some
        self.quads = quads  # weights of four filters interleaved
        self.tables: list[str] = []
        self.functions: set[str] = set()
        self.arena = graph.arena_bytes
        self.turns = {node: turn for chain in graph.chains for node, turn in chain.items()}
        self.layers: list[EmittedLayer] = []
        self.nan = False  # whether floats become bits
        self._names = {"run", "push", "reset", "input", "hook"} | all_names()
        self._known: dict[tuple[str, bytes], str] = {}
        self._parameters: dict[Node, str] = {}
        self._taken = self._places_of_values()
        self.reserved: list[tuple[Node, int, int]] = []  # for an op: an offset, and bytes

    # -- names ---------------------------------------------------------------------------------------------------------

    def name(self, text: str) -> str:
        """A C identifier like ``text`` that no file has yet: it begins with the network's name."""
        base = identifier(text)
        name, number = base, 1
        while name in self._names:
            number += 1
            name = f"{base}_{number}"
        self._names.add(name)
        return f"{self.prefix}_{name}"

    def parameter(self, node: Node, text: str) -> str:
        """The name of an input or output."""
        base = identifier(text)[:_LONGEST]
        name = f"{base}_array" if base.startswith(f"{self.prefix}_") else base
        taken = set(self._parameters.values())
        while name in taken:
            name = f"{base}_{len(taken) + 1}"
        self._parameters[node] = name
        return name

    # -- memory --------------------------------------------------------------------------------------------------------

    def view(self, node: Node) -> View:
        shape = (1,) * (3 - len(node.type.shape)) + node.type.shape
        height, width, channels = shape
        halo = self.graph.placements[node].halo
        elements = words(channels) if node.type.dtype is DType.b1 else channels
        row = (halo.left + width + halo.right) * elements
        return View(node.type.dtype, height, width, channels, halo, elements, row)

    def kept(self, node: Node) -> int:
        """Rows that there are at once of a value that is never whole; 0 of others."""
        return self.turns[node].kept if node in self.turns else 0

    def at(self, node: Node, offset: int = 0) -> str:
        """C: the element ``offset`` after a tensor's first one, its halo's; where rows are kept, that of a tensor which
        begins with the rows of the current op's window."""
        place = self.graph.placements[node]
        kind = C_TYPES[node.type.dtype]
        if place.storage is not Storage.ARENA:
            name = self._parameters[node]
            return f"{name} + {offset}" if offset else name
        at = place.offset + offset * node.type.dtype.element
        if kept := self.kept(node):
            turn = self.turns[node]
            first = kept - 1 - place.halo.top - turn.newer(self.turns[self.current])
            at += first * self.view(node).row * node.type.dtype.element
        constant = "" if self._is_written(node) else "const "
        return self.behind(f"{constant}{kind}", at)

    def row(self, node: Node, first: int = 0) -> str:
        """C: the element ``first`` of a tensor's row `row`, inside the halo."""
        step = "" if self.kept(node) else f" + row * {self.view(node).row}"
        return f"{self.inside(node)}{step}" + (f" + {first}" if first else "")

    def behind(self, kind: str, offset: int) -> str:
        """C: a place in the memory, as a pointer to this type."""
        return f"memory + {offset}" if "uint8_t" in kind else f"({kind} *)(void *)(memory + {offset})"

    def inside(self, node: Node) -> str:
        """C: the first pixel inside the halo."""
        return self.at(node, self.view(node).interior)

    def _is_written(self, node: Node) -> bool:
        return bool(self.layers) and node is self.current

    def bytes(self, node: Node) -> int:
        """What a value takes of the arena."""
        if self.graph.placements[node].storage is not Storage.ARENA:
            return 0
        if node in self.turns and sums_rows(node):
            return self.graph.placements[node].bytes
        view = self.view(node)
        return self.kept(node) * view.row * view.dtype.element or view.size

    def _places_of_values(self) -> list[list[tuple[int, int]]]:
        """For each op, where in the arena values lie while it runs, as pairs of first and end."""
        kept = [(0, self.stream.bytes)] if self.stream else []
        taken = [list(kept) for _ in self.graph.schedule]
        lives = self.graph.lives()
        for node in self.graph.schedule:
            if size := self.bytes(node):
                at = self.graph.placements[node].offset
                first, last = lives[node]
                for op in taken[first : last + 1]:
                    op.append((at, at + size))
        return taken

    def reserve(self, size: int) -> int:
        """The offset of memory of the arena that is free while the current op runs, which now is its own."""
        taken = self._taken[len(self.layers) - 1]
        at = lowest(taken, size)
        self.reserved.append((self.current, at, size))
        taken.append((at, at + size))
        self.arena = max(self.arena, at + size)
        return at

    # -- tables --------------------------------------------------------------------------------------------------------

    def table(self, kind: str, name: str, values: Array) -> str:
        """The name of a const array with these values; equal arrays are one."""
        flat = np.ascontiguousarray(values, _NUMBERS[kind]).reshape(-1)
        key = (kind, flat.tobytes())
        if key not in self._known:
            self._known[key] = self.name(f"{self.layer.name}_{name}")
            self.tables.append(array(kind, self._known[key], flat, f"{self.prefix.upper()}_TABLE "))
            self.layer.flash += flat.nbytes
        return self._known[key]

    def struct(self, kind: str, name: str, text: str, size: int) -> str:
        """The name of a const struct; ``size``: its bytes."""
        key = (kind, text.encode())
        if key not in self._known:
            self._known[key] = self.name(f"{self.layer.name}_{name}" if name else self.layer.name)
            self.tables.append(f"static const struct {kind} {self._known[key]} = {text};\n")
            self.layer.flash += size
        return self._known[key]

    # -- statements ----------------------------------------------------------------------------------------------------

    @property
    def layer(self) -> EmittedLayer:
        return self.layers[-1]

    def begin(self, node: Node) -> None:
        self.current = node
        name = identifier(node.name.rsplit("/", 1)[-1] or node.op)[:_LONGEST]
        layer = EmittedLayer(name, node.op, str(node.type))
        if kept := self.kept(node):
            self.functions |= {MOVE_UP} if kept > 1 else set()
            layer.moved = (kept - 1) * self.view(node).row * self.view(node).dtype.element * self.view(node).height
        if self.stream and (band := self.stream.bands.get(node)):
            self._keep(layer, band)
        self.layers.append(layer)

    def _keep(self, layer: EmittedLayer, band: Band) -> None:
        """The rows of earlier calls move up, and there is room for the new ones."""
        rows, size = band.kept - band.new, band.new * band.row
        layer.moved = rows * band.row
        whole, rest = divmod(rows, band.new)
        if whole:
            layer.lines.append(f"{self.call(MOVE_UP, f'memory + {band.offset}', size, whole)};")
        if rest:
            at = band.offset + whole * size
            layer.lines.append(f"memcpy(memory + {at}, memory + {at + size}, {rest * band.row});")

    def line(self, text: str) -> None:
        self.layer.lines.append(text)

    def call(self, function: str, *arguments: object) -> str:
        """C: a call of a function of the runtime."""
        self.functions.add(function)
        return f"{function}({', '.join(map(str, arguments))})"


def lowest(taken: Iterable[tuple[int, int]], size: int) -> int:
    """The lowest offset from which ``size`` bytes are free."""
    at = 0
    for begin, end in sorted(taken):
        if at + size <= begin:
            break
        at = max(at, aligned(end, ALIGNMENT))
    return at


def private(name: str, prefix: str) -> str:
    """A name of the runtime's sources as it is in the files of a network."""
    return f"{prefix.upper() if name.isupper() else prefix}_{name}"


def identifier(text: str) -> str:
    """A C identifier like ``text``."""
    base = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower() or "network"
    return f"n_{base}" if base[0].isdigit() or base in _KEYWORDS else base


def array(kind: str, name: str, values: Array, macro: str = "") -> str:
    """C: a const array; ``macro``: what stands before its name."""
    if kind == "float":
        texts = [_float(v) for v in values.astype(np.float32).tolist()]
    elif kind == "uint32_t":
        texts = [f"0x{v:x}" if v > 9 else f"{v}" for v in values.tolist()]
        texts = [text + "u" for text in texts]
    else:
        texts = [str(v) if v != -(2**31) else "(-2147483647 - 1)" for v in values.tolist()]
    lines = list(_wrapped(texts))
    return f"static const {kind} {macro}{name}[{len(texts)}] = {{\n" + "\n".join(lines) + "\n};\n"


def _wrapped(texts: Iterable[str]) -> Iterable[str]:
    line = "   "
    for text in texts:
        if len(line) + len(text) + 2 > 118:
            yield line
            line = "   "
        line += f" {text},"
    yield line


def number(value: float) -> str:
    """C: a float32, from whose text every compiler gets the same bits."""
    return _float(float(np.float32(value)))


def _float(value: float) -> str:
    if math.isfinite(value):
        text = f"{value:.9g}"
        return f"{text}f" if "." in text or "e" in text else f"{text}.0f"
    return "NAN" if value != value else "INFINITY" if value > 0 else "-INFINITY"


def refuse(node: Node, what: str) -> CompileError:
    layer = f"layer '{node.name}' ({node.op})" if node.name else f"op '{node.op}'"
    return CompileError(f"{layer}: emitted C cannot {what}; run the .bnn file with the C runtime (bnn.h) instead")
