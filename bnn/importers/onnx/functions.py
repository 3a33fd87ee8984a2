# SPDX-License-Identifier: Apache-2.0
"""Functions of an ONNX model, expanded: how much that makes is counted first, since functions that call functions
multiply."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...errors import CompileError
from ..common.layer import loop
from ..common.limits import MOST_ONNX_NODES

WITHOUT_LOOPS = "export the model without data-dependent control flow"
_DEEPEST = 64  # calls inside calls
_MOST_FUNCTIONS = 10_000  # the package onnx expands no more
_MOST_BYTES = 2**26

Key = tuple[str, str, str]


@dataclass(frozen=True)
class _Cost:
    """What a call makes: nodes and bytes, and how deep it goes."""

    nodes: int = 0
    bytes: int = 0
    depth: int = 0


def check_nodes(model: Any) -> None:
    """Refuse a model with more nodes or functions than are read, before anything looks at each."""
    if len(model.graph.node) > MOST_ONNX_NODES:
        raise CompileError(f"it has {len(model.graph.node):,} nodes; at most {MOST_ONNX_NODES:,} are read")
    if len(model.functions) > _MOST_FUNCTIONS:
        raise CompileError(f"it has {len(model.functions):,} functions; at most {_MOST_FUNCTIONS:,} are read")
    count = sum(len(f.node) for f in model.functions)
    if count > MOST_ONNX_NODES:
        raise CompileError(f"its functions have {count:,} nodes; at most {MOST_ONNX_NODES:,} are read")


def expanded(model: Any) -> list[Any]:
    """The nodes of the main graph with every call of a function replaced by the function's nodes.

    Raises:
        CompileError: functions that call each other in a circle, or make too many nodes.
        UnsupportedOpError: a loop or a branch.
    """
    if not model.functions:
        return list(model.graph.node)
    costs = _Costs(model)
    whole = costs.of_nodes(model.graph.node)
    if whole.nodes > MOST_ONNX_NODES:
        raise CompileError(f"its functions expand to {whole.nodes:,} nodes; at most {MOST_ONNX_NODES:,} are read")
    if whole.bytes > _MOST_BYTES + sum(n.ByteSize() for n in model.graph.node):
        raise CompileError(f"its functions expand to {whole.bytes:,} bytes of nodes; at most {_MOST_BYTES:,} are read")
    return list(_inlined(model, costs).graph.node)


def _inlined(model: Any, costs: _Costs) -> Any:
    """A copy without weights, whose names alone matter, and without functions that are never called."""
    import onnx
    from onnx import inliner

    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    bare.graph.name = "graph"
    bare.graph.node.extend(model.graph.node)
    bare.graph.input.extend(model.graph.input)
    bare.graph.output.extend(model.graph.output)
    bare.graph.initializer.extend(onnx.TensorProto(name=t.name, data_type=1, dims=[0]) for t in model.graph.initializer)
    bare.functions.extend(f for f in model.functions if _key(f.domain, f.name, f) in costs.known)
    return inliner.inline_local_functions(bare)


def _key(domain: str, name: str, of: Any) -> Key:
    return ("" if domain == "ai.onnx" else domain, name, str(getattr(of, "overload", "")))


class _Costs:
    def __init__(self, model: Any) -> None:
        self.functions = {_key(f.domain, f.name, f): f for f in model.functions}
        self.known: dict[Key, _Cost] = {}
        self.open: set[Key] = set()
        # A function's node may receive any attribute, and any name, of the calls.
        every = [*model.graph.node, *(n for f in model.functions for n in f.node)]
        calls = [n for n in every if self.function(n) is not None]
        self.attribute = max((a.ByteSize() for n in calls for a in n.attribute), default=0)
        self.name = max((len(name) for n in calls for name in (*n.input, *n.output)), default=0)

    def function(self, node: Any) -> Key | None:
        key = _key(node.domain, node.op_type, node)
        return key if key in self.functions else None

    def of_nodes(self, nodes: Iterable[Any]) -> _Cost:
        count = total = depth = 0
        for node in nodes:
            if any(a.type in (5, 10) or a.HasField("g") or a.graphs for a in node.attribute):
                raise loop(node.op_type, node.name, WITHOUT_LOOPS)
            key = self.function(node)
            if key is None:
                received = sum(bool(a.ref_attr_name) for a in node.attribute) * self.attribute
                count, total = count + 1, total + node.ByteSize() + received
                total += (len(node.input) + len(node.output)) * self.name
            else:
                cost = self._of_function(key)
                count, total, depth = count + cost.nodes, total + cost.bytes, max(depth, cost.depth)
        return _Cost(count, total, depth)

    def _of_function(self, key: Key) -> _Cost:
        if key in self.open:
            raise CompileError(f"its function '{key[1]}' calls itself")
        if key not in self.known:
            self.open.add(key)
            found = self.of_nodes(self.functions[key].node) if len(self.open) <= _DEEPEST else _Cost(depth=_DEEPEST)
            self.open.discard(key)
            self.known[key] = _Cost(found.nodes, found.bytes, found.depth + 1)
        if self.known[key].depth + len(self.open) > _DEEPEST:
            raise CompileError(f"its functions call each other more than {_DEEPEST} deep")
        return self.known[key]
