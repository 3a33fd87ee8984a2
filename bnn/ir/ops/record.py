# SPDX-License-Identifier: Apache-2.0
"""The record of an op, the table of all records, and the making of nodes from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import Field, dataclass, field
from enum import Flag, auto
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import CompileError
from ..graph import Attrs, DType, Node, TensorType

Types = tuple[TensorType, ...]
Infer = Callable[[Types, Any], TensorType]
Reference = Callable[..., Any]
Operands = Sequence[Array]
Bound = Callable[..., Array]  # (node, operands, their errors); see rounding.py
Rng = np.random.Generator
Maker = Callable[[Rng, Node], Node]  # see sources.py
# Whether the op never falls in any of its data, from its operands: a constant's number, or None for data.
Rises = Callable[[Sequence["float | None"]], bool]
# The operands over which an op may write its result: it reads each number of theirs before it writes that place.
InPlace = Callable[[Node], Sequence[Node]]
# A lower bound of all results, from the attributes and the lower bounds of the operands.
Least = Callable[[Any, Iterator[float]], float]

INF = float("inf")
# TensorFlow runs with denormals flushed to zero, so its comparisons treat a negative denormal as zero: the step is just
# above the negative normal float that is nearest to zero.
SMALLEST_NORMAL = np.finfo(np.float32).tiny


def stored(default: Any, *words: str) -> Any:
    """An attribute stored in the file: a 32-bit word per name, float32 if the default is a float, otherwise an integer.
    Attributes without this declaration are not written."""
    first = default[0] if isinstance(default, tuple) and default else default
    kind = "float" if isinstance(first, float) else "int32_t"
    return field(default=default, metadata={"words": tuple((kind, word) for word in words)})


def stored_words(attribute: Field[Any]) -> tuple[tuple[str, str], ...]:
    """(C type, name) of each word of an attribute in the file."""
    found: tuple[tuple[str, str], ...] = attribute.metadata.get("words", ())
    return found


class Level(Flag):
    """Where an op is legal."""

    SOURCE = auto()  # what importers make: float32
    BINARY = auto()  # packed semantics; spikes branch off here
    RUNTIME = auto()  # what the C core executes
    ALL = SOURCE | BINARY | RUNTIME


@dataclass(frozen=True)
class NoAttrs(Attrs):
    pass


@dataclass(frozen=True)
class Truth:
    """What mathematics has for a function that no standard rounds, by which the tests judge every computation of it.

    ``value`` gives it for float64 operands, and the attributes; it is made of NumPy's functions and the C library's.
    Results are at most ``ulps`` floats away: of the distance of floats around the true value, or around ``size`` where
    that is larger.  On ``domain`` it has finite values for moderate numbers.
    """

    value: Callable[[Array, Any], Any]
    ulps: float = 1.0
    size: float = 0.0
    domain: tuple[float, float] = (-INF, INF)

    def __call__(self, x: Array, attrs: Attrs) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(self.value(x.astype(np.float64), attrs))


@dataclass(frozen=True)
class Op:
    """Everything that Python knows about an op.

    ``infer`` gives the result's type from the operands' types and the attributes, and raises :class:`CompileError` on a
    contradiction.  ``reference`` gives the result from the operands' arrays and the attributes (``a``).

    Raises:
        NotImplementedError: an op of the file without a bound, a maker, the truth of a function or, if it is
            elementwise, its C; says what to add.
    """

    name: str
    opcode: int | None  # its number in the file; None: never written
    attrs: type[Attrs]
    infer: Infer
    reference: Reference
    levels: Level = Level.ALL  # where it is legal
    elementwise: bool = False  # treats every float separately, so by rows; its operands broadcast
    library: bool = False  # no standard fixes its last bits: the source's library has its own
    moves: bool = False  # gives its operands' values in other places, and padding
    rearranges: bool = False  # moves, and neither pads nor chooses
    scales: bool = False  # scales, shifts, clamps or averages its data
    sums: bool = False  # sums floats, in any order
    whole_batch: bool = False  # an image's result depends on the other images
    commutative: bool = False  # its two operands may change places, where the signs of zeros do not matter
    first_of_zeros: bool = False  # of two zeros, whose signs may differ, it gives the first
    gives_bytes: bool = False  # its result may be u8
    by_rows: bool = False  # a row of its result is made of a window's rows, or of the same row of its operands
    in_place: InPlace | None = None  # the operands whose memory its result may take
    rises: Rises | None = None  # where it is monotone; None: unknown
    least: Least | None = None  # a bound of its values; None: none is known
    bound: Bound | None = None  # how far rounding lets two results differ
    truth: Truth | None = None  # of a function that libraries round as they like
    maker: Maker | None = None  # draws random instances for the tests
    # Elementwise ops and softmax as C, with their attributes in braces: an expression of the floats x, y, z and w, or
    # the call of a function of csrc/mcu, whose first arguments are "out, in, n".
    c: str = ""
    takes: tuple[DType, ...] = (DType.f32,)  # the types of data that the maker draws from; no other op reads u8

    @property
    def swaps(self) -> bool:
        """Whether its two operands may change places, and no bit of the result differs."""
        return self.commutative and not self.first_of_zeros

    def __post_init__(self) -> None:
        if self.opcode is not None and self.bound is None:
            raise NotImplementedError(
                f"the record of {self.name} has no bound of its rounding error: verify would accept what no rounding "
                "explains; give it one (bound=), and library=True or sums=True if equal operands may give results "
                "that differ"
            )
        if self.opcode is not None and self.library and self.truth is None:
            raise NotImplementedError(
                f"the record of {self.name} does not say what is true: no test would notice that all computations of "
                "it are wrong; give it its value in float64 (truth=)"
            )
        if self.opcode is not None and self.maker is None:
            raise NotImplementedError(
                f"the record of {self.name} has no maker of random instances: no test would compare the runtime with "
                "its reference; give it one (maker=), and the types of data it takes (takes=)"
            )
        if self.opcode is not None and self.elementwise and not self.c:
            raise NotImplementedError(f"the record of {self.name} does not say how it is emitted as C; give it c=")


# Filled by the package, family by family.
OPS: dict[str, Op] = {}


def make(
    op: str,
    *inputs: Node,
    attrs: Attrs | None = None,
    name: str = "",
    origin: str = "",
    tap: str = "",
    note: str = "",
) -> Node:
    """Make a node; its type is inferred here, so an ill-typed node cannot exist.

    Raises:
        CompileError: the operands' types or the attributes contradict each other; names the layer.
    """
    record = OPS[op]
    if attrs is None:
        attrs = record.attrs()
    if type(attrs) is not record.attrs:
        raise CompileError(f"{op} takes {record.attrs.__name__}, found {type(attrs).__name__}")
    try:
        inferred = record.infer(tuple(i.type for i in inputs), attrs)
    except CompileError as error:
        raise CompileError(f"layer '{name}' ({op}): {error}") from None
    return Node(op, inputs, attrs, inferred, name, origin, tap, note)


def replaced(node: Node) -> tuple[Node, ...]:
    """The operands that the node's value may be written over, if nothing else needs them: of its type, read once."""
    rule = OPS[node.op].in_place
    operands = rule(node) if rule is not None else ()
    return tuple(o for o in operands if not o.is_constant and o.type == node.type and node.inputs.count(o) == 1)


def plain(function: Callable[..., Any]) -> Reference:
    """A reference without attributes; NaN and infinity are ordinary results."""

    def reference(*operands: Any, a: Attrs) -> Any:
        with np.errstate(all="ignore"):
            return function(*operands)

    return reference


def want(condition: bool, message: str) -> None:
    """Raise :class:`CompileError` unless the condition holds."""
    if not condition:
        raise CompileError(message)


def least_of_data(attrs: Any, operands: Iterator[float]) -> float:
    """No result is below the least value of the data."""
    return next(operands)


def not_negative(attrs: Any, operands: Iterator[float]) -> float:
    return 0.0


def not_negative_like_it(attrs: Any, operands: Iterator[float]) -> float:
    """If no operand is negative, no result is."""
    return 0.0 if all(least >= 0 for least in operands) else -INF
