# SPDX-License-Identifier: Apache-2.0
"""One op of a source model: nodes are made in its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import CompileError, UnsupportedOpError
from ...ir.graph import Node
from ...ir.ops import ReshapeAttrs, make
from .remedies import CUT, KINDS

_MOST_PARTS = 32  # parts of one concatenation


class NamedOp:
    """An op of a source model, as messages name it; ``op``: its type."""

    layer: str  # the source's layer that it belongs to
    op: str
    name: str

    def __init__(self, layer: str, op: str, name: str) -> None:
        self.layer, self.op, self.name = layer, op, name

    @property
    def where(self) -> str:
        return f"layer '{self.layer}': {self.op} ('{self.name}')"

    def unsupported(self, why: str, remedy: str = CUT) -> UnsupportedOpError:
        """The error for an op that is read, but not like this: an operand, an attribute, its place in the model."""
        return UnsupportedOpError(f"{self.where}: {why}; {remedy}")

    def without_reader(self, framework: str) -> UnsupportedOpError:
        """The error for an op that is never read."""
        return UnsupportedOpError(
            f"layer '{self.layer}' uses the {framework} op {self.op} ('{self.name}'), which is not supported; {CUT}; "
            f"{KINDS}"
        )

    def misread(self, shape: tuple[int, ...], found: object) -> CompileError:
        """The error for a result whose shape is not that of the source."""
        return CompileError(f"{self.where} is read as {found}, but the model has {shape}")


def loop(op: str, name: str, remedy: str) -> UnsupportedOpError:
    """The error for control flow."""
    return UnsupportedOpError(f"op {op} ('{name}') is part of a loop or a branch, which is not supported; {remedy}")


class SourceOp(NamedOp, ABC):
    """One op of a source model, from which nodes are made."""

    framework: str  # its name in messages

    @abstractmethod
    def texts(self, output: int) -> tuple[str, str]:
        """The origin and the tap of a node that is the op's result number ``output``."""

    def make(self, op: str, *inputs: Node, attrs: Any = None, final: bool = True, output: int = 0) -> Node:
        """A node of this layer; ``final``: its value is result number ``output`` of the source op."""
        origin, tap = self.texts(output) if final else ("", "")
        return make(op, *inputs, attrs=attrs, name=self.layer, origin=origin, tap=tap)

    def sign(self, x: Node, final: bool = True) -> Node:
        """-1, 0 or +1, as the source's comparisons see x; here denormals count as zero."""
        return self.make("sign", x, final=final)

    def flat(self, x: Node) -> Node:
        """All elements of a value in one dimension."""
        shape = (int(np.prod(x.type.shape)),)
        return x if x.type.shape == shape else self.make("reshape", x, attrs=ReshapeAttrs(shape), final=False)

    def concat(self, parts: Sequence[Node], final: bool) -> Node:
        """Concatenate over the channels; many parts are joined a few at a time."""
        while len(parts) > _MOST_PARTS:
            chunks = [parts[i : i + _MOST_PARTS] for i in range(0, len(parts), _MOST_PARTS)]
            parts = [self.make("concat", *chunk, final=False) for chunk in chunks]
        return self.make("concat", *parts, final=final)

    def inner(self, x: Node) -> Node:
        """A node made for this layer that is not one of its results."""
        return replace(x, origin="", tap="") if x.name == self.layer else x
