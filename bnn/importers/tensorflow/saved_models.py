# SPDX-License-Identifier: Apache-2.0
"""Check whether loading a SavedModel could do more than compute.

``tf.saved_model.load`` runs the functions that fill tables, restore objects other than variables, or are called as its
own methods.  To find shapes, it executes ops that seem stateless even while it builds the graph, and some of these
write files.  So it is called only with the user's permission.  Otherwise the graph is read as data
(``read_signature``), and every op of every function, called or not, must be on the allow list.
``keras.models.load_model`` on the same folder could rebuild its Lambda layers and run them, so it is not used.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import CompileError, UnsupportedOpError
from ...ir.graph import reached
from ..common.limits import PERMISSION, check_bytes, most_made
from .allowed import CALLS, CONTROL, KEPT, MOST_CALLS, PURE, SAVER
from .checkpoint import Checkpoint
from .frozen import MOST_NODES, Tensor, TfNode, attribute, behind, from_function, result_counts

# Names of functions, with an underscore, in the SavedModels that Keras writes.
_OWN_FUNCTIONS = frozenset({"__call__", "_default_save_signature", "_jit_compiled_convolution_op", "_update_step_xla"})
_KINDS = frozenset({"bare_concrete_function", "captured_tensor", "constant", "function", "user_object", "variable"})
_PARENTS = frozenset({"function", "user_object"})
_READ = ("saved_model.pb", "fingerprint.pb", "variables", "debug")  # TensorFlow reads these
_TEXT_BYTES = 32  # size of an empty text in memory
_Calls = Mapping[str, Sequence[str]]  # the functions that each function calls


def check_files(folder: Path) -> int:
    """The bytes of the files that are read; refuses links out of the folder, and anything that is not a file."""
    inside, total = folder.resolve(), 0
    for top in _READ:
        for path in (folder / top, *(folder / top).rglob("*")):
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise CompileError(
                    f"{folder}: '{path.relative_to(folder)}' links out of the folder; copy the file into it"
                )
            if path.exists() and not path.is_dir():
                if not path.is_file():
                    raise CompileError(f"{folder}: '{path.relative_to(folder)}' is not a regular file")
                check_bytes(folder, f"'{path.relative_to(folder)}'", path.stat().st_size)
                total += path.stat().st_size
    return total


def check_saved_model(path: Path, saved: Any, hooks: Collection[str]) -> None:
    """Refuse a SavedModel (its protocol buffer) that could do more than compute.

    ``hooks``: the methods by which TensorFlow restores an object; a file could give its functions these names.
    """
    if len(saved.meta_graphs) != 1 or not saved.meta_graphs[0].HasField("object_graph_def"):
        raise CompileError(
            f"{path}: a SavedModel of TensorFlow 1, or of several graphs, whose initializer would run while loading; "
            f"{PERMISSION}"
        )
    (graph,) = saved.meta_graphs
    _check_objects(path, graph.object_graph_def.nodes, hooks)
    functions = {f.signature.name: f for f in graph.graph_def.library.function}
    calls = {name: [c for node in f.node_def for c in _called(node) if c in functions] for name, f in functions.items()}
    _check_ops(path, graph, functions, calls)
    _check_sizes(path, graph, functions, calls)


def _check_objects(path: Path, nodes: Any, hooks: Collection[str]) -> None:
    for node in nodes:
        kind = node.WhichOneof("kind")
        for child in (*node.children, *node.dependencies):
            _object(nodes, child.node_id)
        own = node.saveable_objects or node.registered_saver or node.registered_name
        if kind not in _KINDS or own or node.children and kind not in _PARENTS:
            raise CompileError(
                f"{path}: contains a table or another resource ({node.registered_name or kind}), whose functions would "
                f"run while loading; {PERMISSION}"
            )
        for child in node.children:
            private = child.local_name.startswith("_") and child.local_name not in _OWN_FUNCTIONS
            function = _object(nodes, child.node_id).WhichOneof("kind") in ("bare_concrete_function", "function")
            if private and (child.local_name in hooks or function):
                called = f"contains an object called {child.local_name}, which may run while loading"
                raise CompileError(f"{path}: {called}; {PERMISSION}")


def _object(nodes: Any, number: int) -> Any:
    """The object with this number."""
    if not 0 <= number < len(nodes):
        raise CompileError(f"the SavedModel is damaged: it names object {number} of {len(nodes)}")
    return nodes[number]


def _check_ops(path: Path, graph: Any, functions: Mapping[str, Any], calls: _Calls) -> None:
    """Check that every op of the graph and its functions is on the allow list."""
    own = reached(graph.object_graph_def.concrete_functions, lambda name: calls.get(name, ()))
    bodies = [("", graph.graph_def.node), *((name, f.node_def) for name, f in functions.items())]
    for name, nodes in bodies:
        # Functions that belong to no object are never called: those that save and restore the variables.
        allowed = PURE | KEPT if name in own else PURE | KEPT | SAVER
        for node in nodes:
            known = node.op in CALLS | CONTROL or node.op in allowed and not _called(node)
            if not known:
                inside = f" of the function '{name}'" if name else ""
                raise CompileError(
                    f"{path}: contains the TensorFlow op {node.op} ('{node.name}'{inside}), which may do more than "
                    f"compute: read and write files, wait, or call others; {PERMISSION}, or leave the op out"
                )


def _called(node: Any) -> list[str]:
    """The functions that a node names."""
    names = []
    for value in node.attr.values():
        names += [value.func.name] if value.WhichOneof("value") == "func" else [f.name for f in value.list.func]
    return names


def _check_sizes(path: Path, graph: Any, functions: Mapping[str, Any], calls: _Calls) -> None:
    """Limit the nodes of functions with every call expanded, and the bytes of constants and variables: a few bytes can
    declare a large one, whose elements are all equal.  A constant of a function counts once per call."""
    order = _order(path, calls)
    entries = _with_calls({name: sum(map(_entries, f.node_def)) for name, f in functions.items()}, calls, order)
    largest = max(entries, key=entries.__getitem__, default="")
    if largest and entries[largest] > MOST_NODES:
        raise CompileError(
            f"{path}: the function '{largest}' has {entries[largest]:,} nodes and further results, with those of the "
            f"functions that it calls; at most {MOST_NODES:,} are read; {PERMISSION}"
        )
    variables = [n.variable for n in graph.object_graph_def.nodes if n.WhichOneof("kind") == "variable"]
    check_bytes(path, "what its variables declare", sum(_elements(v.shape) * _bytes(v.dtype) for v in variables))
    declared = {name: _declared(f.node_def) for name, f in functions.items()}
    once = _declared(graph.graph_def.node) + sum(declared.values())
    constants = max([once, *_with_calls(declared, calls, order).values()])
    check_bytes(path, "what its constants declare", constants)
    check_bytes(path, "what its constants declare", constants, most_made(graph.ByteSize()))


def _order(path: Path, calls: _Calls) -> list[str]:
    """The functions, each after those that it calls; no function may call itself, and no chain of calls be too long."""
    try:
        order = list(TopologicalSorter(calls).static_order())
    except CycleError as error:
        raise CompileError(f"{path}: the function '{error.args[1][0]}' calls itself; {PERMISSION}") from None
    depth: dict[str, int] = {}
    for name in order:
        depth[name] = 1 + max((depth[c] for c in calls[name]), default=0)
        if depth[name] > MOST_CALLS:
            raise CompileError(f"{path}: more than {MOST_CALLS} functions call each other in a chain; {PERMISSION}")
    return order


def _with_calls(own: Mapping[str, int], calls: _Calls, order: Sequence[str]) -> dict[str, int]:
    """Each function's own number, plus those of the functions that it calls, once per call."""
    totals: dict[str, int] = {}
    for name in order:
        totals[name] = own[name] + sum(totals[c] for c in calls[name])
    return totals


def _entries(node: Any) -> int:
    """The entries of a node in a graph: itself, and each result beyond the first."""
    try:
        return max(sum(count for _, count in result_counts(node, node.name)), 1)
    except UnsupportedOpError:
        return 1  # the reader reports what is wrong


def _declared(nodes: Any) -> int:
    for tensor in _tensors(nodes):
        if any(dim.size < 0 for dim in tensor.tensor_shape.dim):
            shape = [dim.size for dim in tensor.tensor_shape.dim]
            raise CompileError(f"the SavedModel is damaged: a constant has the shape {shape[:20]}")
    return sum(_elements(t.tensor_shape) * _bytes(t.dtype) for t in _tensors(nodes))


def _tensors(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for value in node.attr.values():
            if value.WhichOneof("value") == "tensor":
                yield value.tensor
            else:
                yield from value.list.tensor


def _elements(shape: Any) -> int:
    return math.prod(max(dim.size, 0) for dim in shape.dim)


def _bytes(number: int) -> int:
    """Bytes per element of the type with this number; of texts, handles and types that are not known, at least."""
    from tensorflow.python.framework import dtypes

    try:
        dtype = dtypes.as_dtype(number)
    except TypeError:
        return _TEXT_BYTES
    return _TEXT_BYTES if dtype.base_dtype in (dtypes.string, dtypes.resource, dtypes.variant) else int(dtype.size)


def read_signature(
    tf: Any, folder: Path, saved: Any
) -> tuple[list[TfNode], list[str], tuple[Tensor, ...], dict[str, Any]]:
    """The signature that TensorFlow serves, or the first: (the nodes, not sorted, with variables as constants; the
    inputs; the outputs; a dict by the outputs' names).

    TensorFlow neither builds nor runs the graph: a file of a few bytes could fill the memory before any check.
    """
    (graph,) = saved.meta_graphs
    objects = graph.object_graph_def
    name, function_name = served(objects.nodes)
    functions = {f.signature.name: f for f in graph.graph_def.library.function}
    if function_name not in functions or function_name not in objects.concrete_functions:
        raise CompileError(
            f"the SavedModel is damaged: it has no function '{function_name}' for the signature '{name}'"
        )
    function, bound = functions[function_name], objects.concrete_functions[function_name].bound_inputs
    own = len(function.signature.input_arg) - len(bound)
    if own < 1 or not function.signature.output_arg:
        raise CompileError(
            f"the SavedModel's signature '{name}' takes {own} values and gives {len(function.signature.output_arg)}; "
            "expected one of each at least"
        )
    nodes, outputs = from_function(tf, function, functions)
    values = _Values(tf, folder, graph)
    once = {i: values[i] for i in set(bound)}
    captured = {a.name: once[i] for a, i in zip(function.signature.input_arg[own:], bound, strict=True)}
    inputs = []
    for i, argument in enumerate(function.signature.input_arg[:own]):
        shapes = function.arg_attr[i].attr["_output_shapes"].list.shape if i in function.arg_attr else ()
        shape = [d.size for d in shapes[0].dim] if shapes else None
        dtype = tf.dtypes.as_dtype(argument.type).name
        nodes.append(TfNode("Placeholder", argument.name, (), {"dtype": dtype, "shape": shape}))
        inputs.append(argument.name)
    nodes += [TfNode("Const", n, (), {"value": value}) for n, (value, _) in captured.items()]
    variables = {n for n, (_, variable) in captured.items() if variable}
    return without_handles(nodes, variables), inputs, outputs, dict(graph.signature_def[name].outputs)


def served(nodes: Any) -> tuple[str, str]:
    """(the signature's name, the name of its function)"""
    found = {}
    for child in nodes[0].children if nodes else ():
        if child.local_name == "signatures":
            for signature in _object(nodes, child.node_id).children:
                kind = _object(nodes, signature.node_id).bare_concrete_function
                found[signature.local_name] = kind.concrete_function_name
    if not found:
        raise CompileError(
            "the SavedModel has no signature; save the Keras model with model.export(...) or model.save(...)"
        )
    name = "serving_default" if "serving_default" in found else next(iter(found))
    return name, found[name]


class _Values:
    """The values that functions capture, by object number: (the value, whether it belongs to a variable)."""

    def __init__(self, tf: Any, folder: Path, graph: Any) -> None:
        self.tf = tf
        self.nodes = graph.object_graph_def.nodes
        self.constants = {n.name: n for n in graph.graph_def.node if n.op == "Const"}
        self.checkpoint: Checkpoint | None = None
        self.keys: dict[int, str] = {}
        prefix = folder / "variables" / "variables"
        if prefix.with_suffix(".index").exists():
            self.checkpoint = Checkpoint(tf, prefix)
            self.keys = self._keys(self.checkpoint)

    def _keys(self, checkpoint: Checkpoint) -> dict[int, str]:
        """The variables' names in the checkpoint, which stores the objects' names in its own graph."""
        from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

        stored = TrackableObjectGraph.FromString(checkpoint.text("_CHECKPOINTABLE_OBJECT_GRAPH")).nodes
        read: dict[int, tuple[dict[str, int], str | None]] = {}  # its objects' parts and keys, each looked at once
        keys: dict[int, str] = {}
        waiting, seen = [(0, 0)], set()
        while waiting:
            here, there = waiting.pop()
            if here in seen:
                continue
            seen.add(here)
            if there not in read:
                found = _object(stored, there)
                own = (part.checkpoint_key for part in found.attributes if part.name == "VARIABLE_VALUE")
                read[there] = {child.local_name: child.node_id for child in found.children}, next(own, None)
            named, key = read[there]
            if key is not None:
                keys[here] = key
            for child in _object(self.nodes, here).children:
                if child.local_name in named:
                    waiting.append((child.node_id, named[child.local_name]))
        return keys

    def __getitem__(self, number: int) -> tuple[Array, bool]:
        node = _object(self.nodes, number)
        kind = node.WhichOneof("kind")
        if kind == "constant" and node.constant.operation in self.constants:
            value = attribute(self.tf, self.constants[node.constant.operation].attr["value"])
            if isinstance(value, np.ndarray):
                return value, False
        if kind != "variable" or self.checkpoint is None:
            raise CompileError(f"the SavedModel's function captures a {kind} without a value")
        if number not in self.keys:
            raise CompileError(f"the SavedModel is damaged: its checkpoint has no value of object {number}")
        value = self.checkpoint.array(self.keys[number])
        wanted, shape = node.variable, self.tf.TensorShape(node.variable.shape)
        dtype = self.tf.as_dtype(wanted.dtype)
        if not shape.is_compatible_with(value.shape) or dtype != value.dtype:
            raise CompileError(
                f"the variable '{wanted.name}' is {value.dtype} {value.shape} in the checkpoint, and {dtype.name} "
                f"{shape} in the graph"
            )
        return value, True


def without_handles(nodes: list[TfNode], variables: set[str]) -> list[TfNode]:
    """Variables are constants here, so an op that reads one becomes an identity."""
    by_name = {node.name: node for node in nodes}
    resolved: dict[Tensor, Tensor] = {}

    def variable(tensor: Tensor) -> bool:
        return behind(by_name, ("Identity", "IdentityN"), resolved, tensor)[0] in variables

    found = []
    for node in nodes:
        if node.op == "ReadVariableOp":
            found.append(TfNode("Identity", node.name, node.inputs[:1], {}))
        elif node.op == "ResourceGather":
            axis = TfNode("Const", f"{node.name}/axis", (), {"value": np.int32(node.attrs.get("batch_dims") or 0)})
            gather = {"batch_dims": node.attrs.get("batch_dims") or 0}
            found += [axis, TfNode("GatherV2", node.name, (*node.inputs, (axis.name, 0)), gather)]
        elif node.op not in ("Identity", "IdentityN") and any(variable(tensor) for tensor in node.inputs):
            raise CompileError(
                f"op {node.op} ('{node.name}') needs a variable, not its value; does a layer change its "
                "variables when it is called, for example batch norm with training=True?"
            )
        else:
            found.append(node)
    return found
