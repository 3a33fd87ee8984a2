# SPDX-License-Identifier: Apache-2.0
"""One operator as its reader sees it: its operands as nodes, and the nodes made for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._types import Array
from ...ir.graph import Node
from ...ir.ops import make
from ..common.layer import SourceOp
from .file import Operator, TfliteNetwork
from .step import FRAMEWORK, Step


class TfliteSource(Step, SourceOp):
    """``nodes``: what the tensors were read as that depend on the data; bits as floats +1 and -1.

    The reader's result gets the tensor's name as its origin afterwards, whatever nodes were final.
    """

    framework = FRAMEWORK

    def __init__(
        self, network: TfliteNetwork, operator: Operator, constants: Mapping[int, Array], nodes: Mapping[int, Node]
    ) -> None:
        super().__init__(network, operator, constants)
        self._nodes = nodes

    def value(self, i: int) -> Node:
        """An operand that depends on the data."""
        if self.number(i) not in self._nodes:
            raise self.unsupported(f"operand {i}, '{self.input(i).name}', is a constant; it must depend on the data")
        return self._nodes[self.number(i)]

    def make(self, op: str, *inputs: Node, attrs: Any = None, final: bool = True, output: int = 0) -> Node:
        return make(op, *inputs, attrs=attrs, name=self.layer)
