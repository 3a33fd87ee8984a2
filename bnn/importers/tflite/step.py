# SPDX-License-Identifier: Apache-2.0
"""One operator of a file: its tensors and options, and what both the reader and the evaluator derive from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..._types import Array
from ...ir.graph import Node
from ...ir.ops import INF
from ..common.layer import SourceOp
from ..common.limits import MOST_BYTES
from ..common.padding import same_pads
from .file import Operator, Tensor, TfliteNetwork

FRAMEWORK = "TensorFlow Lite"
# Fused activations by their numbers in the schema, of which Larq has these.
_CLAMPS = {0: (-INF, INF), 1: (0.0, INF), 2: (-1.0, 1.0), 3: (0.0, 6.0)}
BYTES = ("INT8", "UINT8")
_SAME, _VALID = 0, 1
_BITS = 32  # of a word
_MOST_SIZE = 2**31 - 1  # of a window, a stride or a dilation: Larq's options may have more bits


@dataclass(frozen=True)
class Window:
    """``pads``: top, left, bottom, right."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int, int, int]


class Step(SourceOp):
    """One operator.  ``constants``: the tensors that do not depend on the data; ``nodes``: what the others were read
    as, bits as floats +1 and -1.

    The reader's result gets the tensor's name as its origin afterwards, whatever nodes were final.
    """

    framework = FRAMEWORK

    def __init__(
        self,
        network: TfliteNetwork,
        operator: Operator,
        constants: Mapping[int, Array],
        nodes: Mapping[int, Node] = MappingProxyType({}),
    ) -> None:
        self.network, self.operator, self.constants, self.nodes = network, operator, constants, nodes
        super().__init__(layer_of(network, operator.outputs[0]), operator.op, self.output().name)

    @property
    def integer(self) -> bool:
        """Whether its data, or its result, have 8 bits."""
        data = (i for i in self.operator.inputs[self.op == "SPLIT" :][:1] if i is not None)
        return any(self.network.tensors[i].dtype in BYTES for i in (*data, *self.operator.outputs))

    def option(self, name: str) -> Any:
        return self.operator.options[name]

    def has(self, i: int) -> bool:
        """Whether there is an operand i."""
        return i < len(self.operator.inputs) and self.operator.inputs[i] is not None

    def number(self, i: int) -> int:
        """The number of the tensor that is operand i."""
        number = self.operator.inputs[i] if self.has(i) else None
        if number is None:
            raise self.unsupported(f"it has no operand {i}")
        return number

    def input(self, i: int) -> Tensor:
        return self.network.tensors[self.number(i)]

    def output(self, i: int = 0) -> Tensor:
        return self.network.tensors[self.operator.outputs[i]]

    def is_constant(self, i: int) -> bool:
        return self.number(i) in self.constants

    def constant(self, i: int, rank: int | None = None) -> Array:
        """The array of a constant operand."""
        tensor = self.input(i)
        if not self.is_constant(i):
            raise self.unsupported(f"operand {i}, '{tensor.name}', depends on the data; it must be a constant")
        value = self.constants[self.number(i)]
        if rank not in (None, value.ndim):
            raise self.unsupported(f"operand {i}, '{tensor.name}', has shape {value.shape}; expected {rank} dimensions")
        return value

    def value(self, i: int) -> Node:
        """An operand that depends on the data."""
        if self.number(i) not in self.nodes:
            raise self.unsupported(f"operand {i}, '{self.input(i).name}', is a constant; it must depend on the data")
        return self.nodes[self.number(i)]

    def texts(self, output: int) -> tuple[str, str]:
        return "", ""

    def per_filter(self, i: int, filters: int) -> Array:
        """A constant with one number per filter."""
        value = self.constant(i)
        if value.shape != (filters,):
            raise self.unsupported(
                f"operand {i} has shape {value.shape}; expected one number for each of {filters} filters"
            )
        return value

    def axes(self, i: int, rank: int) -> list[int]:
        """A constant that names dimensions, in rising order."""
        return sorted({self.axis(int(n), rank) for n in self.constant(i).reshape(-1)})

    def axis(self, number: int, rank: int) -> int:
        if not -rank <= number < rank:
            raise self.unsupported(f"dimension {number} of {rank}")
        return number % rank

    def aligned(self, operands: Sequence[Array]) -> list[Array]:
        """Operands that broadcast: data of fewer dimensions keep the batch first.  (In a batch of one image it may have
        been any dimension.)"""
        rank = len(self.output().shape)

        def shaped(i: int, x: Array) -> Array:
            return x if self.is_constant(i) else x.reshape(len(x), *[1] * (rank - x.ndim), *x.shape[1:])

        return [shaped(i, x) for i, x in enumerate(operands)]

    def clamp(self) -> tuple[float, float]:
        """The limits of the fused activation."""
        number = self.operator.options.get("fused_activation_function", 0)
        if number not in _CLAMPS:
            raise self.unsupported(f"fused activation {number}; supported: none, RELU, RELU_N1_TO_1, RELU6")
        return _CLAMPS[number]

    def filters(self) -> tuple[Array, int]:
        """The weights (O, kh, kw, I / groups) of a convolution, or a dense layer as that of a pixel; and its groups."""
        shape = self.input(0).shape
        if self.op == "FULLY_CONNECTED":
            w = self.constant(1, rank=2)
            if self.option("weights_format"):
                raise self.unsupported(
                    f"weights in format {self.option('weights_format')}; only the plain one is supported"
                )
            if math.prod(shape[1:]) != w.shape[1]:
                raise self.unsupported(
                    f"weights of shape {w.shape} for images of {shape[1:]}; expected one vector an image"
                )
            return w[:, None, None, :], 1
        w = self.constant(1, rank=4)
        if self.op == "DEPTHWISE_CONV_2D":  # (1, kh, kw, O)
            if w.shape[0] != 1:
                raise self.unsupported(f"filters of shape {w.shape}; expected (1, height, width, channels)")
            w = w.transpose(3, 1, 2, 0)
        groups = shape[-1] // w.shape[3] if w.shape[3] else 0
        if groups < 1 or groups * w.shape[3] != shape[-1] or len(w) % groups:
            raise self.unsupported(f"filters of shape {self.input(1).shape} for {shape[-1]} channels")
        return w, groups

    def window(self, kernel: tuple[int, int] | None = None) -> Window:
        """The window over operand 0, an image, with a kernel of this size, or that of a pool."""
        shape, options = self.input(0).shape, self.operator.options
        if len(shape) != 4:
            raise self.unsupported(f"data of shape {shape}; expected images (N, H, W, C)")
        if kernel is None:
            kernel = options["filter_height"], options["filter_width"]
        stride = options["stride_height"], options["stride_width"]
        dilation = options.get("dilation_height_factor", 1), options.get("dilation_width_factor", 1)
        sizes = (*kernel, *stride, *dilation)
        if min(sizes) < 1 or max(sizes) > _MOST_SIZE or options["padding"] not in (_SAME, _VALID):
            raise self.unsupported(
                f"a window of {kernel} with stride {stride}, dilation {dilation} and padding {options['padding']}"
            )
        top = bottom = left = right = 0
        if options["padding"] == _SAME:
            top, bottom = same_pads(shape[1], kernel[0], stride[0], dilation[0])
            left, right = same_pads(shape[2], kernel[1], stride[1], dilation[1])
        padded = (shape[1] + top + bottom) * (shape[2] + left + right) * shape[3] * 4
        if padded > MOST_BYTES:
            pads = (top, left, bottom, right)
            raise self.unsupported(f"padding {pads} of {shape} makes {padded:,} bytes; at most {MOST_BYTES:,} are read")
        return Window(kernel, stride, dilation, (top, left, bottom, right))

    def check_results(self, images: int) -> None:
        """Refuse results that are too large for this many images, before they are made."""
        for number in self.operator.outputs:
            size = 4 * images * math.prod(self.network.tensors[number].shape[1:])
            size *= _BITS if self.network.tensors[number].dtype == "INT32" else 1  # unpacked
            if size > MOST_BYTES:
                raise self.unsupported(
                    f"a result of {size:,} bytes for {images} images; at most {MOST_BYTES:,} are made",
                    "use smaller batches, or, if you trust the file, pass unsafe=True (--unsafe)",
                )


def layer_of(network: TfliteNetwork, number: int) -> str:
    """The layer that makes a tensor: the name in the signature, or the part of the tensor's name after the model's.

    The converter gives an operator the names of the TensorFlow ops that it stands for, in a row:
    "model/conv/Conv2D;model/norm/FusedBatchNormV3".
    """
    if number in network.labels:
        return network.labels[number]
    name = network.tensors[number].name
    parts = name.split(";")[0].split("/")
    return (parts[1] if len(parts) > 2 else parts[0]) or name
