# SPDX-License-Identifier: Apache-2.0
"""The float network of the same shape as an imported one, as an ONNX graph with which ONNX Runtime is timed.

Layers keep their kernels, strides and channels; the signs between them and the quantizers of weights are left out.
This is the network without binarization, in the form that suits ONNX Runtime best (channels first, batch norm as
multiplication and addition, which it fuses).  Only its time means anything: weights are rescaled so that values stay in
the range of float32 and of calibration without the signs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bench import MissingError
from bnn.ir.graph import Graph, Node
from bnn.ir.ops import constant

_OPSET = 17
_BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "maximum": "Max", "minimum": "Min"}
_SKIPPED = ("binarize", "unpack", "sign", "copy", "round")


class _Writer:
    """ONNX nodes and constants under construction; activations are (N, C, H, W) or (N, C)."""

    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy = helper, numpy_helper
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.names: dict[Node, str] = {}  # of activations

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(self._numpy.from_array(np.ascontiguousarray(array), name))
        return name

    def emit(self, op: str, inputs: Iterable[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def name(self, node: Node, vector: bool = False) -> str:
        """The name of an activation, or of a constant operand laid out for broadcasting; ``vector``: with vectors."""
        if node in self.names:
            return self.names[node]
        array = np.asarray(node.value, np.float32)
        if vector:
            return self.constant(array.reshape(-1))
        array = array.reshape((1,) * (3 - array.ndim) + array.shape)
        return self.constant(np.moveaxis(array, -1, 0)[None])


def _is_vector(node: Node) -> bool:
    return len(node.type.shape) == 1


def _conv(w: _Writer, node: Node) -> str:
    attrs: Any = node.attrs
    filters = np.moveaxis(np.asarray(node.inputs[1].value, np.float32), -1, 1)
    filters = filters / max(float(filters.std() * np.sqrt(filters[0].size)), 1e-6)
    if _is_vector(node):
        return w.emit("Gemm", [w.name(node.inputs[0]), w.constant(filters.reshape(len(filters), -1))], transB=1)
    return w.emit(
        "Conv",
        [w.name(node.inputs[0]), w.constant(filters)],
        strides=attrs.stride,
        dilations=attrs.dilation,
        group=attrs.groups,
        pads=attrs.pads,
    )


def _pool(w: _Writer, node: Node) -> str:
    attrs: Any = node.attrs
    shape = node.inputs[0].type.shape
    average = node.op == "avg_pool"
    if average and attrs.kernel == shape[:2]:
        return w.emit("GlobalAveragePool", [w.name(node.inputs[0])])
    kind = "AveragePool" if average else "MaxPool"
    pads = attrs.pads
    return w.emit(kind, [w.name(node.inputs[0])], kernel_shape=attrs.kernel, strides=attrs.stride, pads=pads)


def _arithmetic(w: _Writer, node: Node) -> str:
    op, (a, b) = node.op, node.inputs
    if op == "sub" and b.is_constant:  # an addition is fused into the convolution, unlike a subtraction
        op, b = "add", constant(-b.value)
    return w.emit(_BINARY[op], [w.name(operand, _is_vector(node)) for operand in (a, b)])


def _hard(w: _Writer, node: Node) -> str | None:
    """hard_sigmoid(x) = clip(x + 3, 0, 6) / 6 and x * hard_sigmoid(x), each as the single op that runtimes have."""
    x = _hard_sigmoid_of(node)
    if x is not None:
        return w.emit("HardSigmoid", [w.name(x)], alpha=1 / 6, beta=0.5)
    for factor, other in (node.inputs, node.inputs[::-1]):
        if _hard_sigmoid_of(other) is factor:
            return w.emit("HardSwish", [w.name(factor)])
    return None


def _hard_sigmoid_of(node: Node) -> Node | None:
    if node.op != "mul" or not node.inputs[1].is_constant or not np.allclose(node.inputs[1].value, 1 / 6):
        return None
    clamp = node.inputs[0]
    attrs: Any = clamp.attrs
    if clamp.op != "clamp" or (attrs.lo, attrs.hi) != (0, 6) or clamp.inputs[0].op != "add":
        return None
    x, three = clamp.inputs[0].inputs
    return x if three.is_constant and np.all(three.value == 3) else None


def _clamp(w: _Writer, node: Node) -> str:
    attrs: Any = node.attrs
    if attrs.lo == 0 and attrs.hi == np.inf:
        return w.emit("Relu", [w.name(node.inputs[0])])
    limits = [w.constant(np.float32(v)) for v in (attrs.lo, attrs.hi)]
    return w.emit("Clip", [w.name(node.inputs[0]), *limits])


def _reshape(w: _Writer, node: Node) -> str:
    source, x = node.inputs[0].type.shape, w.name(node.inputs[0])
    if len(source) == 3 and source[:2] != (1, 1):
        x = w.emit("Transpose", [x], perm=[0, 2, 3, 1])
    shape = node.type.shape
    target = (-1, *shape) if len(shape) < 3 else (-1, *shape[:2], shape[2])
    y = w.emit("Reshape", [x, w.constant(np.asarray(target, np.int64))])
    return w.emit("Transpose", [y], perm=[0, 3, 1, 2]) if len(shape) == 3 else y


def _slice(w: _Writer, node: Node) -> str:
    attrs: Any = node.attrs
    bounds = [w.constant(np.asarray([v], np.int64)) for v in (attrs.begin, attrs.end, 1)]
    return w.emit("Slice", [w.name(node.inputs[0]), *bounds])


def _padded(w: _Writer, node: Node) -> str:
    attrs: Any = node.attrs
    if node.op == "pad":
        top, left, bottom, right = attrs.pads
        pads = [0, 0, top, left, 0, 0, bottom, right]
    else:
        pads = [0, attrs.before, 0, 0, 0, attrs.after, 0, 0]
    value = w.constant(np.float32(attrs.value))
    return w.emit("Pad", [w.name(node.inputs[0]), w.constant(np.asarray(pads, np.int64)), value])


def _prelu(w: _Writer, node: Node) -> str:
    return w.emit("PRelu", [w.name(node.inputs[0]), w.constant(node.inputs[1].value.reshape(-1, 1, 1))])


_EMIT: dict[str, Callable[[_Writer, Node], str]] = {
    "conv2d": _conv,
    "max_pool": _pool,
    "avg_pool": _pool,
    **dict.fromkeys(_BINARY, _arithmetic),
    "mul": lambda w, node: _hard(w, node) or _arithmetic(w, node),
    "clamp": _clamp,
    "softmax": lambda w, node: w.emit("Softmax", [w.name(node.inputs[0])], axis=1),
    "concat": lambda w, node: w.emit("Concat", [w.name(i) for i in node.inputs], axis=1),
    "pad": _padded,
    "pad_channels": _padded,
    "reshape": _reshape,
    "slice": _slice,
    "prelu": _prelu,
    "sigmoid": lambda w, node: w.emit("Sigmoid", [w.name(node.inputs[0])]),
}


def export(graph: Graph) -> Any:
    """An ONNX model of a canonical SOURCE graph with one input; its input is channels-first, (1, C, H, W).

    Raises :class:`MissingError` for an op without a float counterpart here.
    """
    from onnx import TensorProto, helper

    w = _Writer()
    w.names[graph.inputs[0]] = "input"
    for node in graph.nodes():
        if node.is_constant or node.op == "input":
            continue
        if node.op in _SKIPPED:
            w.names[node] = w.name(node.inputs[0])
        elif node.op in _EMIT:
            w.names[node] = _EMIT[node.op](w, node)
        else:
            raise MissingError(f"the exporter has no '{node.op}'")
    h, width, c = graph.inputs[0].type.shape
    made = helper.make_graph(
        w.nodes,
        "float network of the same shape",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, c, h, width))],
        [helper.make_tensor_value_info(w.name(graph.outputs[0]), TensorProto.FLOAT, None)],
        w.constants,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
