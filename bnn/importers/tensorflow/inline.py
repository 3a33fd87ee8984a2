# SPDX-License-Identifier: Apache-2.0
"""Graphs and functions from TensorFlow's protocol buffers as plain nodes, with every call expanded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import CompileError, UnsupportedOpError
from .frozen import Tensor, TfNode
from .limits import MOST_NODES
from .pure import CALLS

Functions = Mapping[str, Any]  # FunctionDefs


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
