# SPDX-License-Identifier: Apache-2.0
"""Read the graph of a SavedModel's signature as data: TensorFlow neither builds nor runs any of it.

To find shapes, TensorFlow executes what it takes for constants even while it builds a graph, so a file of a few bytes
could fill the memory unnoticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..._types import Array
from ...errors import CompileError
from .frozen import Tensor, TfNode, behind
from .inline import attribute, from_function
from .limits import check_bytes


class Signature(NamedTuple):
    """A signature's graph, its variables constants; not sorted."""

    nodes: list[TfNode]
    inputs: list[str]
    outputs: tuple[Tensor, ...]
    results: dict[str, Tensor]  # by their names


def read_signature(tf: Any, folder: Path, saved: Any, sizes: Mapping[int, int]) -> Signature:
    """The signature that TensorFlow serves, or the first; ``sizes``: bytes of an element by the number of its type."""
    (graph,) = saved.meta_graphs
    objects = graph.object_graph_def
    name, function_name = _served(objects.nodes)
    functions = {f.signature.name: f for f in graph.graph_def.library.function}
    try:
        if function_name not in objects.concrete_functions:  # which makes one when it is asked
            raise KeyError(function_name)
        function, bound = functions[function_name], objects.concrete_functions[function_name].bound_inputs
        own = len(function.signature.input_arg) - len(bound)
        nodes, outputs = from_function(tf, function, functions)
        values = _Values(tf, folder, graph, sizes)
        once = {i: values[i] for i in set(bound)}
        captured = {a.name: once[i] for a, i in zip(function.signature.input_arg[own:], bound, strict=True)}
    except (IndexError, KeyError, ValueError) as error:
        if isinstance(error, CompileError):
            raise
        raise CompileError(f"the SavedModel is damaged: {error!r} is missing") from error
    inputs = []
    for i, argument in enumerate(function.signature.input_arg[:own]):
        shapes = function.arg_attr[i].attr["_output_shapes"].list.shape if i in function.arg_attr else ()
        shape = [d.size for d in shapes[0].dim] if shapes else None
        dtype = tf.dtypes.as_dtype(argument.type).name
        nodes.append(TfNode("Placeholder", argument.name, (), {"dtype": dtype, "shape": shape}))
        inputs.append(argument.name)
    nodes += [TfNode("Const", n, (), {"value": value}) for n, (value, _) in captured.items()]
    variables = {n for n, (_, variable) in captured.items() if variable}
    keys = sorted(graph.signature_def[name].outputs)
    results = dict(zip(keys, outputs, strict=True)) if len(keys) == len(outputs) else {}
    return Signature(_without_handles(nodes, variables), inputs, outputs, results)


def _served(nodes: Any) -> tuple[str, str]:
    """(the signature's name, its function's)"""
    found = {}
    for child in nodes[0].children:
        if child.local_name == "signatures":
            for signature in nodes[child.node_id].children:
                kind = nodes[signature.node_id].bare_concrete_function
                found[signature.local_name] = kind.concrete_function_name
    if not found:
        raise CompileError(
            "the SavedModel has no signature; save the Keras model with model.export(...) or model.save(...)"
        )
    name = "serving_default" if "serving_default" in found else next(iter(found))
    return name, found[name]


class _Values:
    """What functions capture, by the numbers of the objects: (the value, whether it is a variable's)."""

    def __init__(self, tf: Any, folder: Path, graph: Any, sizes: Mapping[int, int]) -> None:
        self.tf = tf
        self.nodes = graph.object_graph_def.nodes
        self.constants = {n.name: n for n in graph.graph_def.node if n.op == "Const"}
        self.reader = None
        self.keys: dict[int, str] = {}
        prefix = folder / "variables" / "variables"
        if prefix.with_suffix(".index").exists():
            # tf.train.load_checkpoint would look into a folder of that name, and read what its list names, anywhere.
            self.reader = tf.compat.v1.train.NewCheckpointReader(str(prefix))
            types = self.reader.get_variable_to_dtype_map()
            declared = 0
            for name, shape in self.reader.get_variable_to_shape_map().items():
                declared += int(np.prod(shape, dtype=object)) * sizes[types[name].as_datatype_enum]
            check_bytes("its checkpoint", "what it declares", declared)
            self.keys = self._keys()

    def _keys(self) -> dict[int, str]:
        """What variables are called in the checkpoint, which has the objects' names in a graph of its own."""
        from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

        stored = TrackableObjectGraph()
        assert self.reader is not None
        stored.ParseFromString(self.reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        keys: dict[int, str] = {}
        waiting, seen = [(0, 0)], set()
        while waiting:
            here, there = waiting.pop()
            if here in seen:
                continue
            seen.add(here)
            for part in stored.nodes[there].attributes:
                if part.name == "VARIABLE_VALUE":
                    keys[here] = part.checkpoint_key
            named = {child.local_name: child.node_id for child in stored.nodes[there].children}
            for child in self.nodes[here].children:
                if child.local_name in named:
                    waiting.append((child.node_id, named[child.local_name]))
        return keys

    def __getitem__(self, number: int) -> tuple[Array, bool]:
        node = self.nodes[number]
        if node.WhichOneof("kind") == "constant":
            return attribute(self.tf, self.constants[node.constant.operation].attr["value"]), False
        if node.WhichOneof("kind") != "variable" or self.reader is None:
            raise CompileError(f"the SavedModel's function captures a {node.WhichOneof('kind')} without a value")
        value = np.asarray(self.reader.get_tensor(self.keys[number]))
        shape = self.tf.TensorShape(node.variable.shape)
        if not shape.is_compatible_with(value.shape) or self.tf.as_dtype(node.variable.dtype) != value.dtype:
            raise CompileError(
                f"the variable '{node.variable.name}' is {value.dtype} {value.shape} in the checkpoint, and "
                f"{self.tf.as_dtype(node.variable.dtype).name} {shape} in the graph"
            )
        return value, True


def _without_handles(nodes: list[TfNode], variables: set[str]) -> list[TfNode]:
    """Variables are constants, and are not read: what reads one is an identity."""
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
                "variables when it is called, a batch norm with training=True perhaps?"
            )
        else:
            found.append(node)
    return found
