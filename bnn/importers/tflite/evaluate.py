# SPDX-License-Identifier: Apache-2.0
"""What each operator computes, in NumPy: folds constants, and is the reference of ``verify``.

Bits are unpacked: float32 arrays of +1 and -1, with a channel for every bit.  What operators compute on 8-bit tensors
is in ``integers.py``, unless they only move numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..._types import Array
from ...errors import CompileError
from ...ir.ops import OPS, ConvAttrs, PoolAttrs
from ...ir.ops.bits import binarize
from ...ir.ops.conv import conv_accumulate
from ...ir.ops.elementwise import clamp, prelu, sigmoid, softmax
from ...ir.ops.functions import tanh
from ...ir.ops.pool import avg_pool, max_pool
from ..common.table import entering
from .integers import INTEGERS
from .larq import binary_convolution, unpacked, words
from .quantized import check_same, of_result
from .step import Step, Window
from .tables import CLAMPS

Evaluator = Callable[[Step, Sequence[Array]], Array]
EVALUATORS: dict[str, Evaluator] = {}
evaluator = entering(EVALUATORS)
MOVES = {"CONCATENATION", "PAD", "PADV2", "RESHAPE", "SPLIT", "STRIDED_SLICE"}
_HELD = {"INT8": np.int8, "UINT8": np.uint8}
SUM = "{} (sum)"
"""The name of the sums of a binary convolution, which the file has no tensor for, from that of its output."""


def folded(s: Step, operands: Sequence[Array]) -> list[Array]:
    """An operator's results from constants."""
    if s.op not in _FOLDED:
        names = ", ".join(sorted(_FOLDED))
        raise s.unsupported(f"it does not depend on the data; of such operators, {names} are computed")
    shapes, declared = [x.shape for x in operands], s.output().shape
    wanted: tuple[int, ...] | None = declared
    try:
        if s.op in PAIRS:  # all but these two give no more elements than they take
            wanted = np.broadcast_shapes(*shapes)
        elif s.op == "LceDequantize" and operands[0].dtype == np.int32:
            wanted = (*shapes[0][:-1], declared[-1]) if shapes[0][-1] == words(declared[-1]) else None
        if wanted == declared:
            return evaluated(s, operands, None)
    except CompileError:
        raise
    except (ValueError, IndexError, TypeError):
        pass  # operands that do not fit each other
    raise s.unsupported(f"constants of shapes {shapes} for a result of {declared}")


def evaluated(s: Step, operands: Sequence[Array], images: int | None) -> list[Array]:
    """An operator's results; its ``operands`` are the arrays of the operands that are there.

    ``images``: for operands that depend on the data, which come in a batch of this size; None: all are constants.
    """
    with np.errstate(all="ignore"):
        run = EVALUATORS[s.op] if not s.integer or s.op in MOVES else INTEGERS[s.op]
        found = run(s, operands)
        results = np.split(found, len(s.operator.outputs), axis=_split_axis(s)) if s.op == "SPLIT" else [found]
    for i, result in enumerate(results):
        expected = s.output(i).shape if images is None else (images, *s.output(i).shape[1:])
        shape = result.shape
        if s.output(i).dtype == "INT32":
            shape = (*shape[:-1], words(shape[-1]))
        if shape != expected:
            raise s.misread(expected, shape)
    return [np.asarray(r, _HELD.get(s.output(i).dtype, np.float32)) for i, r in enumerate(results)]


def sums(s: Step, x: Array) -> Array:
    """The sums of a binary convolution of bits."""
    conv = binary_convolution(s)
    return conv_accumulate(x, conv.filters, _attributes(conv.window, conv.groups, conv.pad_value))


def _attributes(w: Window, groups: int, pad_value: int = 0) -> ConvAttrs:
    return ConvAttrs(w.stride, w.dilation, w.pads, pad_value, groups)


@evaluator("LceQuantize")
def _quantize(s: Step, operands: Sequence[Array]) -> Array:
    return binarize(operands[0])


@evaluator("LceDequantize")
def _dequantize(s: Step, operands: Sequence[Array]) -> Array:
    x, channels = operands[0], s.output().shape[-1]
    return unpacked(x, channels) if x.dtype == np.int32 else x


@evaluator("LceBconv2d")
def _binary_convolution(s: Step, operands: Sequence[Array]) -> Array:
    return from_sums(s, sums(s, operands[0]))


def from_sums(s: Step, y: Array) -> Array:
    """What a binary convolution makes of its sums."""
    conv = binary_convolution(s)
    if not isinstance(conv.result, tuple):
        return np.where(y >= conv.result, np.float32(1), np.float32(-1))
    multiplier, offset = conv.result
    return np.asarray((clamp(y, *conv.clamp) - np.float32(conv.reach)) * multiplier + offset)


@evaluator("LceBMaxPool2d")
def _binary_max_pool(s: Step, operands: Sequence[Array]) -> Array:
    return max_pool(operands[0], _pool(s))


def _pool(s: Step) -> PoolAttrs:
    window = s.window()
    return PoolAttrs(window.kernel, window.stride, window.pads)


@evaluator("CONV_2D", "DEPTHWISE_CONV_2D")
def _convolution(s: Step, operands: Sequence[Array]) -> Array:
    x, w, *bias = operands
    if s.op == "DEPTHWISE_CONV_2D":  # (1, kh, kw, O)
        w = w.transpose(3, 1, 2, 0)
    groups = x.shape[-1] // w.shape[-1]
    y = conv_accumulate(x, w, _attributes(s.window((w.shape[1], w.shape[2])), groups))
    return clamp(y + bias[0] if bias else y, *s.clamp())


@evaluator("FULLY_CONNECTED")
def _fully_connected(s: Step, operands: Sequence[Array]) -> Array:
    x, w, *bias = operands
    y = x.reshape(-1, w.shape[1]) @ w.T
    return clamp(y + bias[0] if bias else y, *s.clamp()).reshape(len(x), *s.output().shape[1:])


@evaluator("MAX_POOL_2D")
def _max_pool(s: Step, operands: Sequence[Array]) -> Array:
    return clamp(max_pool(operands[0], _pool(s)), *s.clamp())


@evaluator("AVERAGE_POOL_2D")
def _average_pool(s: Step, operands: Sequence[Array]) -> Array:
    return clamp(avg_pool(operands[0], _pool(s)), *s.clamp())


def _pair(op: str) -> Evaluator:
    def run(s: Step, operands: Sequence[Array]) -> Array:
        a, b = s.aligned(operands)
        return clamp(OPS[op].reference(a, b, a=OPS[op].attrs()), *s.clamp())

    return run


PAIRS = {"ADD": "add", "DIV": "div", "MAXIMUM": "maximum", "MINIMUM": "minimum", "MUL": "mul", "SUB": "sub"}
EVALUATORS.update((op, _pair(name)) for op, name in PAIRS.items())
_FOLDED = {
    *PAIRS, "ABS", "DEQUANTIZE", "LceDequantize", "LceQuantize", "MEAN", "RELU", "RELU_N1_TO_1", "RESHAPE", "TRANSPOSE",
}  # fmt: skip
"""Operators that are computed from constants: some files apply them to weights."""


@evaluator("ABS")
def _absolute(s: Step, operands: Sequence[Array]) -> Array:
    return np.abs(operands[0])


@evaluator(*CLAMPS)
def _relu(s: Step, operands: Sequence[Array]) -> Array:
    return clamp(operands[0], *CLAMPS[s.op])


@evaluator("PRELU")
def _prelu(s: Step, operands: Sequence[Array]) -> Array:
    return prelu(operands[0], operands[1])


@evaluator("LEAKY_RELU")
def _leaky_relu(s: Step, operands: Sequence[Array]) -> Array:
    return prelu(operands[0], np.asarray(s.option("alpha"), np.float32))


@evaluator("HARD_SWISH")
def _hard_swish(s: Step, operands: Sequence[Array]) -> Array:
    (x,) = operands
    return x * clamp(x + np.float32(3), 0.0, 6.0) / np.float32(6)


@evaluator("LOGISTIC")
def _logistic(s: Step, operands: Sequence[Array]) -> Array:
    return sigmoid(operands[0])


@evaluator("TANH")
def _tanh(s: Step, operands: Sequence[Array]) -> Array:
    return tanh(operands[0])


@evaluator("SOFTMAX")
def _softmax(s: Step, operands: Sequence[Array]) -> Array:
    return softmax(operands[0] * np.float32(s.option("beta")))


@evaluator("MEAN")
def _mean(s: Step, operands: Sequence[Array]) -> Array:
    x, shape = operands[0], s.output().shape
    found = np.asarray(x.mean(axis=tuple(s.axes(1, x.ndim)), dtype=np.float32))
    return found.reshape(shape if s.is_constant(0) else (len(x), *shape[1:]))


@evaluator("PAD", "PADV2")
def _pad(s: Step, operands: Sequence[Array]) -> Array:
    return np.pad(operands[0], padding(s), constant_values=np.asarray(pad_value(s), operands[0].dtype))


def padding(s: Step) -> Array:
    """Elements (before, after) for every dimension."""
    pads, rank = s.constant(1), len(s.input(0).shape)
    most = max(s.output().shape, default=0)
    if pads.shape != (rank, 2) or pads.min(initial=0) < 0 or pads.max(initial=0) > most:
        raise s.unsupported(f"padding {pads.tolist()} of {s.input(0).shape}")
    return pads.astype(np.int64)


def pad_value(s: Step) -> float:
    """A float, or an 8-bit number."""
    if s.integer:
        check_same(s, [0, 2] if s.op == "PADV2" else [0])
    zero = of_result(s).zero_point if s.integer else 0
    value = s.constant(2) if s.op == "PADV2" else np.array([zero])
    if value.size != 1:
        raise s.unsupported(f"padding with {value.size} values")
    return float(value.reshape(-1)[0])


@evaluator("CONCATENATION")
def _concatenation(s: Step, operands: Sequence[Array]) -> Array:
    if s.integer:
        check_same(s, [*range(len(operands))])
    return np.concatenate(operands, axis=s.axis(s.option("axis"), operands[0].ndim))


@evaluator("SPLIT")
def _split(s: Step, operands: Sequence[Array]) -> Array:
    return operands[1]


def _split_axis(s: Step) -> int:
    (axis,) = s.axes(0, len(s.input(1).shape)) or (0,)
    return axis


@evaluator("STRIDED_SLICE")
def _strided_slice(s: Step, operands: Sequence[Array]) -> Array:
    index = (slice(None), *slices(s))
    return operands[0][index]


def slices(s: Step) -> list[slice]:
    """Start, end and step of STRIDED_SLICE in each dimension but the batch, which it must take whole."""
    shape, ends = s.input(0).shape, [s.constant(i).reshape(-1).tolist() for i in (1, 2, 3)]
    others = [name for name in ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask", "offset") if s.option(name)]
    if others or any(len(e) != len(shape) for e in ends) or min(ends[2], default=0) < 1:
        raise s.unsupported(
            f"slices {ends} of {shape}{''.join(f', with {name}' for name in others)}; expected a start, an end and a "
            "step above 0 for each dimension"
        )
    found = []
    for k, (size, first, last, step) in enumerate(zip(shape, *ends, strict=True)):
        start, end = (None if s.option(f"{m}_mask") >> k & 1 else n for m, n in (("begin", first), ("end", last)))
        found.append(slice(*slice(start, end, step).indices(size)))
    if found[0] != slice(0, shape[0], 1):
        raise s.unsupported(f"a slice {ends} of the batch of {shape}; only the other dimensions are sliced")
    return found[1:]


@evaluator("RESHAPE")
def _reshape(s: Step, operands: Sequence[Array]) -> Array:
    shape = s.output().shape
    return operands[0].reshape(shape if s.is_constant(0) else (len(operands[0]), *shape[1:]))


@evaluator("TRANSPOSE")
def _transpose(s: Step, operands: Sequence[Array]) -> Array:
    order = [s.axis(int(n), operands[0].ndim) for n in s.constant(1).reshape(-1)]
    if sorted(order) != list(range(operands[0].ndim)):
        raise s.unsupported(f"the order {order} of {operands[0].ndim} dimensions")
    return operands[0].transpose(order)
