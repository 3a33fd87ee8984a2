# SPDX-License-Identifier: Apache-2.0
"""What an operator is applied to, checked against its definition: operands, types and attributes.

ONNX Runtime trusts some of these, and ends the process when they are wrong.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import BnnError, CompileError
from .protos import OnnxNode

Shape = tuple[int, ...]
# The types that ONNX Runtime gives to NumPy, and takes from it.  Text is not among them: its size is not that of its
# elements.
DTYPES = frozenset(map(np.dtype, "?bhiqBHIQefd"))
_MOST_NUMBER = 2**31  # in an attribute
_MOST_RANK = 16
_MOST_NUMBERS = 2**16  # elements of an operand that says where elements go, or how many there are


@dataclass(eq=False)
class Spec:
    """A tensor before it is computed; ``value``: None where it is not known yet."""

    shape: Shape
    dtype: np.dtype[Any]
    value: Array | None = None

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def of(value: Array) -> Spec:
    return Spec(value.shape, value.dtype, value)


@dataclass(frozen=True)
class Definition:
    """An operator in a version of ONNX, as far as it is needed here."""

    inputs: Sequence[Any]
    outputs: Sequence[Any]
    least: int
    most: int
    least_outputs: int
    most_outputs: int
    attributes: dict[str, tuple[int, bool]]  # name: type, and whether it must be there


@functools.cache
def definition(op: str, opset: int) -> Definition | None:
    """None if this version has no such operator."""
    import onnx

    try:
        found: Any = onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        return None
    if found.deprecated:
        return None
    attributes = {
        name: (int(getattr(a.type, "value", a.type)), bool(a.required)) for name, a in found.attributes.items()
    }
    return Definition(
        tuple(found.inputs),
        tuple(found.outputs),
        found.min_input,
        found.max_input,
        found.min_output,
        found.max_output,
        attributes,
    )


class Call:
    """An operator with its operands: what the rules of :mod:`.sizes` see.  Its errors name the node.

    Raises:
        CompileError: an operand, a type or an attribute that the operator's definition does not allow.
    """

    def __init__(self, node: OnnxNode, operands: Sequence[Spec | None], opset: int) -> None:
        self.node, self.operands, self.opset = node, operands, opset
        self.op, self.attrs = node.op, node.attrs
        found = definition(node.op, opset)
        if found is None:
            raise self.error(f"version {opset} of ONNX's operators does not have it")
        self.definition = found
        self._check_operands()
        self.types = self._bound()
        self._check_attributes()

    def error(self, why: str) -> BnnError:
        return CompileError(f"{self.node.where} cannot be executed: {why}")

    def check(self, holds: bool, why: str) -> None:
        if not holds:
            raise self.error(why)

    # -- against the definition

    def _check_operands(self) -> None:
        known, count = self.definition, len(self.operands)
        self.check(known.least <= count <= known.most, f"it has {count} operands; expected {known.least} or more")
        named, least = [bool(name) for name in self.node.outputs], max(known.least_outputs, 1)
        fits = least <= len(named) <= known.most_outputs and all(named[:least])
        self.check(fits, f"it has {sum(named)} results; expected {least} or more, at most {known.most_outputs}")
        for k in (k for k, name in enumerate(named) if not name):  # ONNX Runtime crashes where one is not optional
            formal = known.outputs[min(k, len(known.outputs) - 1)]
            self.check(formal.option.name == "Optional", f"result {k} has no name")
        for i, operand in enumerate(self.operands):
            if operand is None:
                self.check(self._formal(i).option.name == "Optional", f"operand {i} is left out")
                continue
            self.check(operand.dtype in DTYPES, f"operand {i} has numbers of type {operand.dtype}, which are not read")
            self.check(len(operand.shape) <= _MOST_RANK, f"operand {i} has {len(operand.shape)} dimensions")

    def _formal(self, i: int) -> Any:
        return self.definition.inputs[min(i, len(self.definition.inputs) - 1)]

    def _bound(self) -> dict[str, np.dtype[Any]]:
        """The type that each name for a type stands for."""
        bound: dict[str, np.dtype[Any]] = {}
        for i, operand in enumerate(self.operands):
            if operand is None:
                continue
            formal = self._formal(i)
            self.check(_tensor(operand.dtype) in formal.types, f"operand {i} has numbers of type {operand.dtype}")
            other = bound.setdefault(formal.type_str, operand.dtype)
            self.check(other == operand.dtype, f"its operands have numbers of types {other} and {operand.dtype}")
        return bound

    def _check_attributes(self) -> None:
        known, proto = self.definition.attributes, self.node.proto
        names = [a.name for a in proto.attribute]
        self.check(len(set(names)) == len(names), "an attribute is given twice")
        for a in proto.attribute:
            self.check(a.name in known, f"it has no attribute '{a.name[:50]}'")
            self.check(a.type == known[a.name][0] and not a.ref_attr_name, f"the attribute '{a.name}' has another type")
            self.check(not a.t.data_location, f"the attribute '{a.name}' is in another file")
            numbers = [a.i] if a.type == 2 else a.ints
            self.check(
                all(-_MOST_NUMBER <= v < _MOST_NUMBER for v in numbers), f"the attribute '{a.name}' is out of range"
            )
        for name, (_, required) in known.items():
            self.check(not required or name in self.attrs, f"its attribute '{name}' is missing")

    # -- operands

    def has(self, i: int) -> bool:
        return i < len(self.operands) and self.operands[i] is not None

    def spec(self, i: int) -> Spec:
        found = self.operands[i] if i < len(self.operands) else None
        if found is None:
            raise self.error(f"operand {i} is left out")
        return found

    def shape(self, i: int) -> Shape:
        return self.spec(i).shape

    def rank(self, i: int) -> int:
        return len(self.spec(i).shape)

    def value(self, i: int) -> Array:
        """The numbers of an operand on which the size of a result depends."""
        found = self.spec(i)
        self.check(math.prod(found.shape) <= _MOST_NUMBERS, f"operand {i} has shape {found.shape}, which is too large")
        if found.value is None:
            raise self.error(
                f"the size of its result depends on operand {i}, which must be a constant, or follow from shapes"
            )
        return found.value

    def numbers(self, i: int) -> list[int]:
        """The whole numbers of an operand of one dimension."""
        self.check(self.rank(i) == 1, f"operand {i} has shape {self.shape(i)}; expected one dimension")
        return [int(v) for v in self.value(i)]

    def either(self, i: int, name: str) -> list[int]:
        """The numbers of an operand or, in older versions of an operator, of an attribute; none if neither is given."""
        return self.numbers(i) if self.has(i) else [int(v) for v in self.attrs.get(name) or ()]

    def number(self, i: int) -> Any:
        """The only element of an operand."""
        self.check(math.prod(self.shape(i)) == 1, f"operand {i} has shape {self.shape(i)}; expected one number")
        return self.value(i).reshape(()).item()

    # -- attributes

    def whole(self, name: str, default: int) -> int:
        return int(self.attrs.get(name, default))

    def flag(self, name: str, default: int = 0) -> bool:
        found = self.whole(name, default)
        self.check(found in (0, 1), f"{name}: found {found}, expected 0 or 1")
        return bool(found)

    def choice(self, name: str, *options: str) -> str:
        """A text, one of a few; the first is the default."""
        found = str(self.attrs.get(name) or options[0])
        self.check(found in options, f"{name}: found '{found[:50]}', expected one of {', '.join(options)}")
        return found

    def ints(self, name: str, count: int, default: int, least: int, most: int = 2**20) -> list[int]:
        """A number for each of ``count`` dimensions."""
        found = [int(v) for v in self.attrs.get(name) or [default] * count]
        text = f"{name}: found {found[:10]}, expected {count} numbers from {least} to {most}"
        self.check(len(found) == count and all(least <= v <= most for v in found), text)
        return found

    def axis(self, number: int, rank: int) -> int:
        """A dimension, counted from the front."""
        self.check(-rank <= number < rank, f"axis {number} of {rank} dimensions")
        return number % rank if rank else 0

    def axes(self, numbers: Sequence[int], rank: int) -> list[int]:
        """Different dimensions, counted from the front."""
        found = [self.axis(int(n), rank) for n in numbers]
        self.check(len(set(found)) == len(found), f"axes {list(numbers)[:10]}: one is given twice")
        return found

    # -- results

    def result_type(self, k: int, other: np.dtype[Any] | None) -> np.dtype[Any]:
        """The type of a result: as its definition says, or as a rule found it."""
        formal = self.definition.outputs[min(k, len(self.definition.outputs) - 1)]
        found = other or self.types.get(formal.type_str)
        if found is None and len(formal.types) == 1:
            found = _numpy().get(next(iter(formal.types)))
        if found is None or _tensor(found) not in formal.types:
            raise self.error(f"result {k} has no type that is read")
        return found

    def element(self, code: int) -> np.dtype[Any]:
        """A type by its number in ONNX."""
        found = {
            1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
            10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
        }.get(code)  # fmt: skip
        if found is None:
            raise self.error(f"the number {code} stands for a type that is not read")
        return np.dtype(found)


@functools.cache
def _numpy() -> dict[str, np.dtype[Any]]:
    """Types by ONNX's names for tensors of them."""
    return {_tensor(dtype): dtype for dtype in DTYPES}


@functools.cache
def _tensor(dtype: np.dtype[Any]) -> str:
    name = {"float32": "float", "float64": "double"}.get(dtype.name, dtype.name)
    return f"tensor({name})"
