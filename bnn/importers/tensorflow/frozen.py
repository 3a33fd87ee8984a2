# SPDX-License-Identifier: Apache-2.0
"""A frozen TensorFlow graph as plain data that the reader can use without TensorFlow, with every call expanded."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import CompileError, UnsupportedOpError
from ...ir.ops import CURVES
from ..common.layer import NamedOp
from ..common.limits import PERMISSION, check_bytes
from ..common.remedies import CUT
from ..common.runner import executed
from .allowed import CALLS

MOST_NODES = 2**17
"""Nodes of a graph with every call expanded, each result of a node beyond the first counted as one more."""
_MOST_NAMES = 2**26  # characters of the nodes' names, together
MOST_RANK = 8
"""Dimensions of a tensor; of many kernels, too."""
NUMBERS = frozenset({
    "bfloat16", "bool", "float16", "float32", "float64", "int16", "int32", "int64", "int8", "uint16", "uint32",
    "uint64", "uint8",
})  # fmt: skip
"""The types that are computed with."""

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
    "Abs", "Add", "AddN", "AddV2", "BiasAdd", "Cast", "Ceil", "ClipByValue", "Div", "Equal",
    "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel", "Floor", "FloorDiv",
    "Greater", "GreaterEqual", "LeakyRelu", "Less", "LessEqual", "LogicalAnd", "LogicalNot", "LogicalOr", "Maximum",
    "Minimum", "Mul", "Neg", "NotEqual", "Pow", "RealDiv", "Relu", "Relu6", "Round", "Select", "SelectV2", "Selu",
    "Sign", "Softmax", "Softplus", "Softsign", "Square", "SquaredDifference", "Sub",
    *(op.name.capitalize() for op in CURVES),
})  # fmt: skip


@dataclass(frozen=True, slots=True)
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
    build the layer and again to call it, as in Keras 3.  ``stored``: bytes of the file that it was read from; None: a
    model in memory, or a file that the user trusts.
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
    stored: int | None = None
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

    def execute(self, inputs: Sequence[Array], most: float = math.inf) -> Iterator[tuple[TfNode, dict[Tensor, Any]]]:
        """Every node with its results, in order; ``most``: bytes that all values may take at one time."""
        fed = dict(zip(self.inputs, inputs, strict=True))

        def run(node: TfNode, operands: list[Any]) -> dict[Tensor, Any]:
            if node.name in fed:
                return {(node.name, 0): fed[node.name]}
            try:
                for (name, i), operand in zip(node.inputs, operands, strict=True):
                    if operand is None:
                        raise CompileError(f"{node.op} reads result {i} of '{name}', which has fewer")
                results = self.run_op(node, operands)
            except CompileError as error:
                images = f" (in a batch of {len(inputs[0])})" if inputs else ""
                raise type(error)(f"layer '{self.layer(node.name)}': {error}{images}") from error
            return {(node.name, i): result for i, result in enumerate(results)}

        nodes = [node for node in self.nodes if node.op != "NoOp"]
        return executed(nodes, {}, run, named=self.named, most=most, remedy=PERMISSION, aliases=ALIASES)

    def named(self, node: TfNode) -> NamedOp:
        return NamedOp(self.layer(node.name), node.op, node.name)

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
    """All nodes of a GraphDef that TensorFlow has made of a model in memory."""
    expansion = _Expansion(tf, {f.signature.name: f for f in graph_def.library.function}, limited=False)
    nodes = []
    for node in graph_def.node:
        written = _written(tf, node, limited=False)
        nodes += expansion.expanded(written, node.name, tuple(map(_tensor, written.inputs)))
    return nodes


def from_function(
    tf: Any, function: Any, functions: Functions, arguments: Sequence[Tensor] | None = None, prefix: str = ""
) -> tuple[list[TfNode], tuple[Tensor, ...]]:
    """(all nodes of a FunctionDef, its results); ``arguments``: None if the nodes for them are made elsewhere."""
    return _Expansion(tf, functions).function(function, arguments, prefix)


@dataclass(frozen=True, slots=True)
class _Written:
    """A node as it is written in a function; ``called``: the function that a call names."""

    op: str
    name: str
    inputs: tuple[str, ...]  # without those that only wait
    attrs: dict[str, Any]
    results: list[tuple[str, int]]
    called: str


class _Expansion:
    """Functions with every call replaced by the called function's nodes.

    A function's own nodes are read once, however often it is called: what they hold is shared.  ``limited``: in size.
    """

    def __init__(self, tf: Any, functions: Functions, limited: bool = True) -> None:
        self.tf, self.functions, self.limited = tf, functions, limited
        self._read: dict[str, list[_Written]] = {}
        self._characters = self._nodes = 0

    def function(
        self, function: Any, arguments: Sequence[Tensor] | None = None, prefix: str = ""
    ) -> tuple[list[TfNode], tuple[Tensor, ...]]:
        signature = function.signature
        given = [argument.name for argument in signature.input_arg]
        if arguments is not None and len(arguments) != len(given):
            raise CompileError(f"the function '{signature.name}' takes {len(given)} values, not {len(arguments)}")
        nodes = [
            self._node("Identity", f"{prefix}{name}", (tensor,), {})
            for name, tensor in zip(given, arguments or (), strict=False)
        ]
        known: dict[str, Tensor] = {name: (f"{prefix}{name}", 0) for name in given}
        if signature.name not in self._read:
            self._read[signature.name] = [_written(self.tf, node, self.limited) for node in function.node_def]
        body = self._read[signature.name]
        for node in body:
            known |= _results(node, f"{prefix}{node.name}")
        if len({*given, *(node.name for node in body)}) < len(given) + len(body):
            raise CompileError(f"the function '{signature.name}' has two nodes of one name")
        try:
            for node in body:
                nodes += self.expanded(node, f"{prefix}{node.name}", tuple(known[text] for text in node.inputs))
            return nodes, tuple(known[function.ret[result.name]] for result in signature.output_arg)
        except KeyError as error:
            raise CompileError(f"the function '{signature.name}' names {error}, which it does not have") from error

    def expanded(self, node: _Written, name: str, inputs: tuple[Tensor, ...]) -> list[TfNode]:
        if node.op not in CALLS:
            return [self._node(node.op, name, inputs, node.attrs)]
        nodes, results = self.function(self.functions[node.called], inputs, f"{name}/")
        expected = sum(count for _, count in node.results)
        if len(results) != expected:
            raise CompileError(f"the call '{name}' has {expected} results, and '{node.called}' gives {len(results)}")
        return [*nodes, self._node("IdentityN", name, results, {})]

    def _node(self, op: str, name: str, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> TfNode:
        self._characters += len(name)
        self._nodes += 1
        if self.limited and self._nodes > MOST_NODES:
            raise CompileError(
                f"the graph has {self._nodes:,} nodes, with those of the functions that it calls; at most "
                f"{MOST_NODES:,} are read"
            )
        if self.limited and self._characters > _MOST_NAMES:
            raise CompileError(f"the names of the nodes have more than {_MOST_NAMES:,} characters together")
        return TfNode(op, name, inputs, attrs)


def _written(tf: Any, node: Any, limited: bool = True) -> _Written:
    """A NodeDef, whose operands are as many as its op takes."""
    inputs = tuple(text for text in node.input if not text.startswith("^"))
    attrs, results = _attributes(tf, node, limited), result_counts(node, node.name)
    expected = sum(count for _, count in _counts(node, node.name, "input_arg"))
    if len(inputs) != expected:
        raise CompileError(f"op {node.op} ('{node.name}') takes {expected} operands, not {len(inputs)}")
    return _Written(node.op, node.name, inputs, attrs, results, node.attr["f"].func.name if node.op in CALLS else "")


def _results(node: _Written, name: str) -> dict[str, Tensor]:
    """A node's results by their names in functions, "node:argument:number", since an argument can be a list."""
    found: dict[str, Tensor] = {}
    for argument, count in node.results:
        for i in range(count):
            found[f"{node.name}:{argument}:{i}"] = name, len(found)
    return found


def result_counts(node: Any, name: str) -> list[tuple[str, int]]:
    """The results of a node in a function: the name of each result argument and its number of tensors."""
    return _counts(node, name, "output_arg")


def _counts(node: Any, name: str, arguments: str) -> list[tuple[str, int]]:
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(node.op)
    if definition is None:
        raise UnsupportedOpError(
            f"op {node.op} ('{name}') is not known to this TensorFlow; save the model with the version that is "
            "installed here"
        )
    found = []
    for argument in getattr(definition, arguments):
        count = 1
        if argument.number_attr:
            count = node.attr[argument.number_attr].i if argument.number_attr in node.attr else 0
        elif argument.type_list_attr:
            types = argument.type_list_attr
            count = len(node.attr[types].list.type) if types in node.attr else 0
        if not 0 <= count <= MOST_NODES:
            raise UnsupportedOpError(
                f"op {node.op} ('{name}') has {count:,} results; at most {MOST_NODES:,} are read; {CUT}"
            )
        found.append((argument.name, count))
    return found


def _attributes(tf: Any, node: Any, limited: bool = True) -> dict[str, Any]:
    """A node's attributes by name; those that a file omits have the op's defaults."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(node.op)
    declared = () if definition is None else definition.attr
    defaults = {a.name: attribute(tf, a.default_value) for a in declared if a.HasField("default_value")}
    return defaults | {name: attribute(tf, value, limited) for name, value in node.attr.items()}


def _tensor(text: str) -> Tensor:
    name, _, index = text.partition(":")
    return name, int(index or 0)


def attribute(tf: Any, value: Any, limited: bool = True) -> Any:
    """A node's attribute as a plain value; None: it has none, or is a tensor of anything but numbers."""
    kind = value.WhichOneof("value")
    if kind == "tensor":
        return numbers(tf, value.tensor, limited)
    if kind == "type":
        return _type(tf, value.type).name
    if kind == "s":
        return value.s.decode(errors="replace")
    if kind == "shape":
        return [d.size for d in value.shape.dim]
    if kind == "list":
        lists = value.list
        types = [_type(tf, t).name for t in lists.type]
        return [s.decode(errors="replace") for s in lists.s] or list(lists.i) or list(lists.f) or types or list(lists.b)
    return getattr(value, kind) if kind else None


def _type(tf: Any, number: int) -> Any:
    try:
        return tf.dtypes.as_dtype(number)
    except TypeError:
        raise CompileError(f"a type has the number {number}, which this TensorFlow does not know") from None


def numbers(tf: Any, tensor: Any, limited: bool = True) -> Array | None:
    """A TensorProto's array; None: its elements are no numbers.

    Its size is checked before it is made: one number may stand for any number of them.
    """
    dtype, shape = _type(tf, tensor.dtype), [d.size for d in tensor.tensor_shape.dim]
    if dtype.name not in NUMBERS:
        return None
    if tensor.tensor_shape.unknown_rank or len(shape) > MOST_RANK or any(size < 0 for size in shape):
        raise CompileError(f"a constant has the shape {shape[:20]}; expected at most {MOST_RANK} sizes, none below 0")
    if limited:
        size = math.prod(max(size, 1) for size in shape) * dtype.size
        check_bytes("the graph", f"a constant of shape {shape}", size)
    try:
        return np.asarray(tf.make_ndarray(tensor))
    except Exception as error:  # numbers that do not fit the type or the shape
        raise CompileError(f"a constant of {dtype.name} {shape} is damaged: {error}") from error
