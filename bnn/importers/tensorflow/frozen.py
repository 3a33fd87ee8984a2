# SPDX-License-Identifier: Apache-2.0
"""A frozen TensorFlow graph as plain data that the reader can use without TensorFlow, with every call expanded."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..._types import Array
from ...errors import CompileError, UnsupportedOpError
from ..common.limits import MOST_NODES
from .allowed import CALLS

Tensor = tuple[str, int]  # op name, output number
Functions = Mapping[str, Any]  # FunctionDefs

ALIASES = frozenset({"Identity", "IdentityN", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot"})
# Ops that depend only on the shape of the data.
SHAPE_OPS = frozenset({"OnesLike", "Rank", "Shape", "ShapeN", "Size", "ZerosLike"})
# Ops that only move elements.
MOVES = frozenset({
    "BroadcastTo", "ConcatV2", "DepthToSpace", "ExpandDims", "GatherV2", "MirrorPad", "Pack", "Reshape",
    "ResizeNearestNeighbor", "ReverseV2", "Roll", "Slice", "SpaceToDepth", "Split", "SplitV", "Squeeze", "StridedSlice",
    "Tile", "Transpose", "Unpack",
})  # fmt: skip
PRODUCTS = frozenset({"MatMul", "SparseMatMul", "BatchMatMulV2"})
SPARSE_PRODUCT = "SparseTensorDenseMatMul"
# Ops on every element, or every vector of channels, separately: independent of the dimensions before the channels.
POINTWISE = frozenset({
    "Abs", "Add", "AddN", "AddV2", "BiasAdd", "Cast", "Ceil", "ClipByValue", "Div", "Elu", "Equal", "Erf", "Erfc",
    "Exp", "Floor", "FloorDiv", "Greater", "GreaterEqual", "LeakyRelu", "Less", "LessEqual", "Log1p", "LogicalAnd",
    "LogicalNot", "LogicalOr", "Maximum", "Minimum", "Mul", "Neg", "NotEqual", "Pow", "RealDiv", "Relu", "Relu6",
    "Round", "Rsqrt", "Select", "SelectV2", "Selu", "Sigmoid", "Sign", "Softmax", "Softplus", "Softsign", "Sqrt",
    "Square", "SquaredDifference", "Sub", "Tanh",
})  # fmt: skip


@dataclass(frozen=True)
class TfNode:
    """One node of the graph; ``attrs`` are plain Python values, dtypes are names."""

    op: str
    name: str
    inputs: tuple[Tensor, ...]
    attrs: dict[str, Any]


@dataclass
class Frozen:
    """The graph, frozen to constants.

    ``run_op(node, operands)`` executes one node eagerly, like a Keras model in eager mode, and returns all its outputs.
    ``multiplier(variance, epsilon, gamma)``: batch norm's rsqrt(variance + epsilon) * gamma in TensorFlow's arithmetic.
    ``layers``: names of the model's layers, where known; ``scopes_twice``: each layer's name scope is opened once to
    build the layer and again to call it, as in Keras 3.
    """

    nodes: list[TfNode]
    inputs: list[str]  # placeholder op names, in the model's order
    input_names: list[str]
    outputs: list[Tensor]
    output_names: list[str]
    run_op: Callable[[TfNode, Sequence[Any]], list[Any]]
    multiplier: Callable[[Array, float, Array], Array]
    layers: frozenset[str] = frozenset()
    scopes_twice: bool = False
    by_name: dict[str, TfNode] = field(init=False)
    resolved: dict[Tensor, Tensor] = field(init=False, default_factory=dict)  # what ``resolve`` has found
    scopes: dict[str, str] = field(init=False)  # the layer behind a name scope

    def __post_init__(self) -> None:
        self.by_name = {n.name: n for n in self.nodes}
        found = {part for n in self.nodes for part in n.name.split("/")}
        self.scopes = _scopes(self.layers, found, self.scopes_twice)

    def resolve(self, tensor: Tensor) -> Tensor:
        """The tensor behind identities."""
        return behind(self.by_name, ALIASES, self.resolved, tensor)

    def execute(self, inputs: Sequence[Array], visit: Callable[[TfNode, list[Any]], object]) -> None:
        """Run every node in order; ``visit`` sees each node with its outputs, which are freed after their last use."""
        remaining: dict[str, int] = {}
        for node in self.nodes:
            for operand, _ in node.inputs:
                remaining[operand] = remaining.get(operand, 0) + 1
        values: dict[str, list[Any]] = {}
        fed = dict(zip(self.inputs, inputs, strict=True))
        for node in self.nodes:
            if node.op == "NoOp":
                continue
            if node.name in fed:
                values[node.name] = [fed[node.name]]
            else:
                try:
                    values[node.name] = self.run_op(node, [values[name][i] for name, i in node.inputs])
                except CompileError as error:
                    images = f" (in a batch of {len(inputs[0])})" if inputs else ""
                    raise type(error)(f"layer '{self.layer(node.name)}': {error}{images}") from error
            visit(node, values[node.name])
            for operand, _ in node.inputs:
                remaining[operand] -= 1
                if remaining[operand] == 0:
                    del values[operand]

    def layer(self, op_name: str) -> str:
        """The source layer of an op: the deepest part of its path that names a layer of the model."""
        parts = [p for p in op_name.split("/") if not re.fullmatch(r"(Stateful)?PartitionedCall(_\d+)?", p)]
        for part in (*reversed(parts[:-1]), *parts[-1:]):  # an op may have another layer's name
            if part in self.scopes:
                return self.scopes[part]
        return parts[1] if len(parts) > 2 else parts[0] if parts else op_name


def behind(nodes: Mapping[str, TfNode], ops: Collection[str], resolved: dict[Tensor, Tensor], tensor: Tensor) -> Tensor:
    """The tensor behind nodes that pass on their operands; ``resolved`` keeps earlier results, so that no long chain is
    followed twice.

    Raises :class:`CompileError` if a node passes on its own result.
    """
    passed: dict[Tensor, None] = {}
    while tensor not in resolved and nodes[tensor[0]].op in ops:
        if tensor in passed:
            raise CompileError(f"the node '{tensor[0]}' passes on its own result")
        passed[tensor] = None
        tensor = nodes[tensor[0]].inputs[tensor[1]]
    found = resolved.get(tensor, tensor)
    resolved.update(dict.fromkeys(passed, found))
    return found


def _scopes(layers: frozenset[str], found: set[str], twice: bool) -> dict[str, str]:
    """{name scope: layer}.  If scopes are opened ``twice``, TensorFlow numbers the second: layer_1, or layer_2 if
    another layer is called layer_1.  Then all of them are numbered, so some scope has a name that no layer has."""
    plain = {layer: layer for layer in layers}
    numbers = [(f"{layer}_{i}", layer) for i in (1, 2) for layer in sorted(layers) if f"{layer}_{i}" in found]
    if not twice or all(scope in layers for scope, _ in numbers):
        return plain
    last = {layer: scope for scope, layer in numbers}  # layer_2 before layer_1
    return plain | {scope: layer for layer, scope in last.items()}


# -- from TensorFlow's protocol buffers -------------------------------------------------------------------------------


def from_graph(tf: Any, graph_def: Any) -> list[TfNode]:
    """All nodes of a GraphDef."""
    functions = {f.signature.name: f for f in graph_def.library.function}
    nodes = []
    for node in graph_def.node:
        inputs = tuple(_tensor(text) for text in node.input if not text.startswith("^"))
        nodes += _expanded(tf, node, node.name, inputs, functions)
    return nodes


def from_function(
    tf: Any, function: Any, functions: Functions, arguments: Sequence[Tensor] | None = None, prefix: str = ""
) -> tuple[list[TfNode], tuple[Tensor, ...]]:
    """(all nodes of a FunctionDef, its results); ``arguments``: None if the nodes for them are made elsewhere."""
    given = function.signature.input_arg
    nodes = [
        TfNode("Identity", f"{prefix}{argument.name}", (tensor,), {})
        for argument, tensor in zip(given, arguments or (), strict=arguments is not None)
    ]
    known: dict[str, Tensor] = {argument.name: (f"{prefix}{argument.name}", 0) for argument in given}
    for node in function.node_def:
        known |= _results(node, f"{prefix}{node.name}")
    try:
        for node in function.node_def:
            inputs = tuple(known[text] for text in node.input if not text.startswith("^"))
            nodes += _expanded(tf, node, f"{prefix}{node.name}", inputs, functions)
        return nodes, tuple(known[function.ret[result.name]] for result in function.signature.output_arg)
    except KeyError as error:
        raise CompileError(f"the function '{function.signature.name}' names {error}, which it does not have") from error


def _results(node: Any, name: str) -> dict[str, Tensor]:
    """A node's results by their names in functions, "node:argument:number", since an argument can be a list."""
    found: dict[str, Tensor] = {}
    for argument, count in result_counts(node, name):
        for i in range(count):
            found[f"{node.name}:{argument}:{i}"] = name, len(found)
    return found


def result_counts(node: Any, name: str) -> list[tuple[str, int]]:
    """The results of a node in a function: the name of each result argument and its number of tensors."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(node.op)
    if definition is None:
        raise UnsupportedOpError(f"op {node.op} ('{name}') is not known to this TensorFlow")
    found = []
    for argument in definition.output_arg:
        count = 1
        if argument.number_attr:
            count = node.attr[argument.number_attr].i
        elif argument.type_list_attr:
            count = len(node.attr[argument.type_list_attr].list.type)
        if count > MOST_NODES:
            raise UnsupportedOpError(f"op {node.op} ('{name}') has {count:,} results; at most {MOST_NODES:,} are read")
        found.append((argument.name, count))
    return found


def _expanded(tf: Any, node: Any, name: str, inputs: tuple[Tensor, ...], functions: Functions) -> list[TfNode]:
    if node.op not in CALLS:
        return [TfNode(node.op, name, inputs, _attributes(tf, node))]
    function = functions[node.attr["f"].func.name]
    nodes, results = from_function(tf, function, functions, inputs, f"{name}/")
    return [*nodes, TfNode("IdentityN", name, results, {})]


def _attributes(tf: Any, node: Any) -> dict[str, Any]:
    """A node's attributes by name; those that a file omits have the op's defaults."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(node.op)
    declared = () if definition is None else definition.attr
    defaults = {a.name: attribute(tf, a.default_value) for a in declared if a.HasField("default_value")}
    return defaults | {name: attribute(tf, value) for name, value in node.attr.items()}


def _tensor(text: str) -> Tensor:
    name, _, index = text.partition(":")
    return name, int(index or 0)


def attribute(tf: Any, value: Any) -> Any:
    """A node's attribute as a plain value."""
    kind = value.WhichOneof("value")
    if kind == "tensor":
        return tf.make_ndarray(value.tensor)
    if kind == "type":
        return tf.dtypes.as_dtype(value.type).name
    if kind == "s":
        return value.s.decode(errors="replace")
    if kind == "shape":
        return [d.size for d in value.shape.dim]
    if kind == "list":
        lists = value.list
        types = [tf.dtypes.as_dtype(t).name for t in lists.type]
        return [s.decode(errors="replace") for s in lists.s] or list(lists.i) or list(lists.f) or types or list(lists.b)
    return getattr(value, kind) if kind else None
