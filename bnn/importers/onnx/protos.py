# SPDX-License-Identifier: Apache-2.0
"""An ONNX model as plain data: its nodes, constants, inputs and outputs."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import BnnError, CompileError, UnsupportedOpError
from ..common.inputs import check_input_names
from ..common.layer import NamedOp, loop
from ..common.remedies import CUT, OUTSIDE
from .functions import WITHOUT_LOOPS, check_nodes, expanded
from .singles import Singles

FRAMEWORK = "ONNX"
OLDEST_OPSET = 7
NEW_OPSET = 11  # from which on the readers know the operators
QONNX = frozenset({"qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general", "finn"})
_OWN = frozenset({"", "ai.onnx"})
_PASSED = frozenset({"Identity", "Cast", "CastLike"})
_BOOL = 9  # of ONNX's types
_MOST_SCOPES = 2**12  # characters
_QUANTIZER = ".act_quant.export_handler"  # what Brevitas exports of a layer that quantizes
_PARAMETERS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True, eq=False)
class OnnxNode(NamedOp):
    """One node; an operand that is left out is called ""."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, Any]
    custom: bool  # of QONNX's domain, not of ONNX's
    layer: str
    proto: Any = None


@dataclass(frozen=True)
class Input:
    """A graph input; ``shape``: None where a dimension is not fixed."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class OnnxGraph:
    """Nodes in an order in which operands come first; ``opset``: the version of ONNX's own operators."""

    nodes: Sequence[OnnxNode]
    constants: dict[str, Array]
    inputs: Sequence[Input]
    outputs: Sequence[str]
    opset: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    replaced: Sequence[str] = ()  # types of floats that are float32 here
    producers: dict[str, OnnxNode] = field(init=False)
    users: dict[str, list[OnnxNode]] = field(init=False)
    sources: dict[str, str] = field(init=False)  # of what nodes pass on

    def __post_init__(self) -> None:
        object.__setattr__(self, "producers", {o: n for n in self.nodes for o in n.outputs})
        users: dict[str, list[OnnxNode]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                users.setdefault(name, []).append(node)
        object.__setattr__(self, "users", users)
        sources: dict[str, str] = {}
        for node in self.nodes:
            if node.op in _PASSED and node.inputs and not self._gives_truth(node):
                sources |= dict.fromkeys(node.outputs, sources.get(node.inputs[0], node.inputs[0]))
        object.__setattr__(self, "sources", sources)

    def _gives_truth(self, node: OnnxNode) -> bool:
        """Whether a cast makes truth values of numbers, as far as this is known."""
        if node.op == "CastLike":
            like = self.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
            return like is None or like.dtype == np.bool_
        return node.op == "Cast" and node.attrs.get("to") == _BOOL

    @property
    def images(self) -> int | None:
        """The number of images that every batch has, or None if it is free."""
        fixed = {i.shape[0] for i in self.inputs} - {None}
        if len(fixed) > 1:
            raise CompileError(
                f"the inputs have batches of {sorted(map(int, filter(None, fixed)))} images; expected one"
            )
        return fixed.pop() if fixed else None

    def behind(self, tensor: str) -> str:
        """The tensor behind nodes that pass on their first operand."""
        return self.sources.get(tensor, tensor)


def from_model(model: Any) -> OnnxGraph:
    """The graph of an ``onnx.ModelProto``.  Raises as :func:`_from_model`."""
    try:
        return _from_model(model)
    except (BnnError, ImportError):
        raise
    except Exception as error:  # damaged fields: texts that are not UTF-8, attributes without a type
        raise CompileError(f"the ONNX model is damaged: {error}") from error


def _from_model(model: Any) -> OnnxGraph:
    """The graph of an ``onnx.ModelProto``; functions of the model are expanded.

    Raises:
        CompileError: it contradicts itself; UnsupportedOpError: an operator or a version that is not read.
    """
    import onnx
    from onnx import numpy_helper

    check_nodes(model)
    own = [o.version for o in model.opset_import if o.domain in _OWN]
    opset = max(own, default=0)
    if opset < OLDEST_OPSET:
        raise UnsupportedOpError(
            f"the model uses version {opset} of ONNX's operators; {OLDEST_OPSET} or newer is needed: export it with "
            f"opset_version={OLDEST_OPSET} or more, or convert it with onnx.version_converter"
        )
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise UnsupportedOpError(
            f"the model uses version {opset} of ONNX's operators; the package onnx that is installed knows {newest}: "
            "update it"
        )
    if opset < NEW_OPSET:
        model, opset = _converted(model), NEW_OPSET
    graph = model.graph
    if graph.sparse_initializer:
        raise UnsupportedOpError("the model has sparse weights; save them as dense ones")
    constants: dict[str, Array] = {}
    stored = {t.name for t in graph.initializer}
    singles = Singles(onnx, [i for i in graph.input if i.name not in stored])
    for tensor in graph.initializer:
        constants[tensor.name] = singles.array(_array(numpy_helper, tensor, tensor.name), tensor.data_type)
    nodes = []
    for proto in map(singles.node, expanded(model)):
        if proto.op_type == "Constant" and proto.domain in _OWN:
            constants[proto.output[0]] = _constant(onnx, numpy_helper, proto)
        else:
            nodes.append(_node(onnx, proto))
    nodes = _without_sequences(nodes, constants)
    nodes = _sorted(nodes, {*constants, *(i.name for i in graph.input), ""})
    found = OnnxGraph(
        _named(nodes, stored),
        constants,
        [_input(onnx, i, singles) for i in graph.input if i.name not in constants],
        [o.name for o in graph.output],
        opset,
        {entry.key: entry.value for entry in model.metadata_props},
        sorted(singles.found),
    )
    made = {*constants, *(i.name for i in found.inputs), *found.producers}
    if missing := [o for o in found.outputs if o not in made]:
        raise CompileError(f"the model's output '{missing[0]}' is not computed by any node")
    if not found.inputs or not found.outputs:
        raise CompileError("the model has no input or no output")
    check_input_names([i.name for i in found.inputs])
    for given in found.inputs:
        if len(given.shape) < 2:
            raise CompileError(f"input '{given.name}' has shape {given.shape}; expected (N, ...), the batch first")
    return found


def _converted(model: Any) -> Any:
    """A model of old operators, as the package onnx writes it with newer ones."""
    from onnx import checker, helper, version_converter

    changed = type(model)()
    changed.CopyFrom(model)
    stored, given = {t.name: t for t in model.graph.initializer}, {i.name for i in model.graph.input}
    for name in stored.keys() - given:  # all of them were inputs when such models were written
        tensor = stored[name]
        changed.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
    known = {o.domain for o in model.opset_import}
    for domain in sorted({n.domain for n in model.graph.node if n.domain in QONNX} - known):
        changed.opset_import.append(helper.make_opsetid(domain, 1))
    try:
        checker.check_model(changed)  # for the converter trusts it
        return version_converter.convert_version(changed, NEW_OPSET)
    except Exception as error:  # it may raise anything
        raise CompileError(
            f"the model cannot be converted to version {NEW_OPSET} of ONNX's operators: {error}; export it with "
            f"opset_version={NEW_OPSET} or more"
        ) from error


def _array(numpy_helper: Any, tensor: Any, name: str) -> Array:
    if tensor.data_type == tensor.STRING:
        raise UnsupportedOpError(f"the constant '{name}' is text, which is not read; {OUTSIDE}")
    if tensor.data_location == tensor.EXTERNAL:  # onnx would look for it in the current folder
        raise CompileError(
            f"the constant '{name}' is in another file, which was not loaded: give the path of the model, or load it "
            "with onnx.load(path)"
        )
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:  # damaged data; onnx raises many kinds
        raise CompileError(f"the constant '{name}' cannot be read: {error}") from error


def _constant(onnx: Any, numpy_helper: Any, proto: Any) -> Array:
    for a in proto.attribute:
        if a.name == "value":
            return _array(numpy_helper, a.t, proto.output[0])
        if a.name in ("value_float", "value_floats"):
            return np.asarray(onnx.helper.get_attribute_value(a), np.float32)
        if a.name in ("value_int", "value_ints"):
            return np.asarray(onnx.helper.get_attribute_value(a), np.int64)
    raise UnsupportedOpError(f"the Constant '{proto.output[0]}' is not made of numbers; {OUTSIDE}")


def _node(onnx: Any, proto: Any) -> OnnxNode:
    custom = proto.domain in QONNX
    name = proto.name or (proto.output[0] if proto.output else proto.op_type)
    if proto.domain not in _OWN and not custom:
        raise UnsupportedOpError(
            f"node '{name}' is the operator {proto.domain}::{proto.op_type}, which is not one of ONNX's own; export "
            "the model without custom operators"
        )
    attrs = {}
    for a in proto.attribute:
        if a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            raise loop(proto.op_type, name, WITHOUT_LOOPS)
        value = onnx.helper.get_attribute_value(a)
        attrs[a.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    layer = _scope(proto).removesuffix(_QUANTIZER)
    return OnnxNode(proto.op_type, name, tuple(proto.input), tuple(proto.output), attrs, custom, layer, proto)


def _without_sequences(nodes: Sequence[OnnxNode], constants: dict[str, Array]) -> list[OnnxNode]:
    """Parts of a tensor that was split into a sequence (torch.split, torch.chunk) as slices of it."""
    splits = {n.outputs[0]: n for n in nodes if n.op == "SplitToSequence" and not n.custom}
    result = []
    for node in nodes:
        split = splits.get(node.inputs[0]) if node.op == "SequenceAt" else None
        if split is not None:
            node = _part(split, node, constants)
        if node.op != "SplitToSequence":
            result.append(node)
    return result


def _part(split: OnnxNode, node: OnnxNode, constants: dict[str, Array]) -> OnnxNode:
    sizes = constants.get(split.inputs[1]) if len(split.inputs) > 1 else np.array(1)
    at = constants.get(node.inputs[1])
    if sizes is None or at is None or at.size != 1 or int(at.reshape(())) < 0:
        raise UnsupportedOpError(f"node '{split.name}' splits by numbers that are not constants; {CUT}")
    if len(split.inputs) < 2 and not split.attrs.get("keepdims", 1):
        raise UnsupportedOpError(f"node '{split.name}' splits a tensor and drops its axis (keepdims=0); {CUT}")
    i = int(at.reshape(()))
    ends = np.cumsum(sizes) if sizes.ndim else np.array([(i + 1) * int(sizes)])
    end = int(ends[min(i, len(ends) - 1)])
    begin = end - int(sizes.reshape(-1)[i if sizes.ndim else 0])
    names = []
    for what, number in (("begin", begin), ("end", end), ("axis", int(split.attrs.get("axis", 0)))):
        names.append(f"{node.outputs[0]}:{what}")
        constants[names[-1]] = np.array([number], np.int64)
    proto = type(node.proto)(op_type="Slice", name=node.name)
    return replace(node, op="Slice", inputs=(split.inputs[0], *names), attrs={}, layer=split.layer, proto=proto)


def _sorted(nodes: Sequence[OnnxNode], known: set[str]) -> list[OnnxNode]:
    """Operands first, as the format demands: checked, not assumed."""
    made = set(known)
    for node in nodes:
        if missing := [i for i in node.inputs if i not in made]:
            raise CompileError(f"node '{node.name}' reads '{missing[0]}', which nothing before it computes")
        if again := [o for o in node.outputs if o and o in made]:
            raise CompileError(f"node '{node.name}' computes '{again[0]}', which exists already")
        made.update(node.outputs)
    return list(nodes)


def _input(onnx: Any, value: Any, singles: Singles) -> Input:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        raise UnsupportedOpError(f"input '{value.name}' has no shape; export the model with an example of its input")
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in tensor.shape.dim)
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(singles.element(tensor.elem_type))).name
    except (KeyError, TypeError):
        dtype = "no numbers"
    return Input(value.name, dtype, shape)


# -- the layer that a node belongs to ---------------------------------------------------------------------------------


def _scope(proto: Any) -> str:
    """The module that a node was exported from, if PyTorch says so.

    torch.onnx writes it into the node's metadata (a list of names) or into its name ("/block/block.0/conv/Conv").
    """
    for entry in proto.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            try:
                scopes = [str(s) for s in ast.literal_eval(entry.value[:_MOST_SCOPES])]
            except (SyntaxError, TypeError, ValueError, MemoryError, RecursionError):
                continue
            return next((s for s in reversed(scopes[:-1]) if s), "")
    parts = [p for p in proto.name.split("/") if p]
    return _path(parts[:-1]) if proto.name.startswith("/") else ""


def _path(parts: Sequence[str]) -> str:
    """The name of a module from the steps to it: "block", "block.0", "conv" lead to "block.0.conv"."""
    path: list[str] = []
    for part in parts:
        if path and part.startswith(f"{path[-1]}."):
            path.pop()
        path.append(part)
    return ".".join(path)


def _named(nodes: Sequence[OnnxNode], weights: set[str]) -> list[OnnxNode]:
    """Nodes with the name of their layer: of the module that owns their weights, of the module that they were exported
    from, or their own."""
    owners: dict[str, str] = {}
    for name in weights:
        owner, _, last = name.rpartition(".")
        if owner and last in _PARAMETERS:
            owners[name] = owner
    named = []
    for node in nodes:
        found = [owners[i] for i in node.inputs if i in owners]
        if found and all(i in owners or not i for i in node.inputs):  # it computes weights from weights
            owners.update(dict.fromkeys(node.outputs, found[0]))
        layer = found[0] if found else node.layer or re.sub(r"^/|/$", "", node.name)
        named.append(replace(node, layer=layer))
    return named
