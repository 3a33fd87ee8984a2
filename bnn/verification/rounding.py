# SPDX-License-Identifier: Apache-2.0
"""How far apart two float32 computations of one op can be: what ``verify`` allows, and no more.

Only two kinds of ops may round in more than one way: sums of floats, whose order is free, and the library's functions.
All others are one float32 operation an element (or several in a fixed order): of equal operands they give equal
results, and the bound is zero.  Where operands differ already, a bound says how much of that difference an op passes
on, and what its own rounding adds on both sides.

A sum of K products has a relative error of at most gamma(K) = K u / (1 - K u) of the sum of their magnitudes, in any
order, with fused multiply-adds or without; u = 2^-24.  Where all products are multiples of one power of two that is
not smaller than 2^-24 of that sum, every partial sum is a float, and the error is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..file.bits import WORD
from ..ir.graph import DType, Node
from ..ir.ops import CONVOLUTIONS, OPS, SMALLEST_NORMAL, ConvAttrs, Op, PoolAttrs
from ..ir.ops.bits import plane_channels
from ..ir.ops.conv import conv_accumulate
from ..ir.ops.pool import resize_bilinear, windows

Array = np.ndarray[Any, Any]
Rule = Callable[[Node, Sequence[Array], Sequence[Array]], Array]

UNIT = 2.0**-24  # the largest relative error of one float32 operation
NOTHING = np.zeros((), np.float32)
TINY = float(SMALLEST_NORMAL)  # what lies below is flushed to zero, here or there
# Exponentials and their kin, of TensorFlow and of the C library, are off by so many units of 1 at most.
FUNCTION = 16 * UNIT
_LARGEST_EXPONENT = 104.0  # exp(-104) is zero


def gamma(products: int) -> float:
    """The largest relative error of a float32 sum of so many products, of the sum of their magnitudes."""
    return products * UNIT / (1 - products * UNIT)


def bound(node: Node, read: Callable[[], Sequence[Array]], errors: Sequence[Array], own: float = 0.0) -> Array:
    """The largest difference that rounding explains between two results of an op, an array (N, *shape) or ``NOTHING``.

    ``read`` gives the operands of one computation, from which those of the other lie at most ``errors`` away.  ``own``:
    by how much the other rounds where this one does not: in a binary layer's accumulators, in a table's values.  The
    bound of a bit is 2 where it may turn, else 0.
    """
    differs = node.op in _ROUNDING or any(e.any() for e in errors)
    if not own and not differs:
        return NOTHING
    operands, errors = read(), [e.astype(np.float64) for e in errors]
    with np.errstate(all="ignore"):
        if node.op in CONVOLUTIONS:
            result = _convolution(node, operands, errors, own)
        else:
            result = (_ALL_RULES[node.op](node, operands, errors) if differs else NOTHING) + own
        if node.type.dtype is DType.b1 and (result > 0).any():
            result = np.where(_may_turn(node, operands, result), np.float32(2), np.float32(0))
    images = next(len(a) for a, i in zip(operands, node.inputs, strict=True) if not i.is_constant)
    # Not a number comes of infinity times zero: of values that both computations have, or of a difference without end.
    nan = np.inf if any(np.isinf(e).any() for e in errors) else 0.0
    return np.broadcast_to(np.nan_to_num(result, nan=nan, posinf=np.inf), (images, *node.type.shape))


def _may_turn(node: Node, operands: Sequence[Array], error: Array) -> Array:
    """Which bits turn where what they compare is another by no more than an error: those near their threshold."""
    x = operands[0]
    if node.op == "binarize":
        threshold = operands[1] if operands[1:] else np.zeros(1)
        return np.asarray((error > 0) & (np.abs(x.astype(np.float64) - threshold) <= error + TINY))
    if node.op == "binarize_levels":
        near = np.abs(x[..., None].astype(np.float64) - operands[1]).min(axis=-1)
        planes = node.type.shape[-1] // plane_channels(x.shape[-1])
        fill = [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % WORD)]
        return np.concatenate([np.pad((error > 0) & (near <= error), fill)] * planes, axis=-1)
    if not isinstance(node.attrs, ConvAttrs):
        return error > 0
    slots = tuple(s for s in node.attrs.slots if s not in ("threshold", "negated"))
    value = OPS[node.op].reference(*operands, a=replace(node.attrs, slots=slots, out=DType.f32)).astype(np.float64)
    if "threshold" not in node.attrs.slots:
        return np.asarray((error > 0) & (np.abs(value) <= 2 * error))
    # Keras' own threshold lies between two integers, of which the larger is here.
    threshold = operands[node.attrs.operand("threshold")]
    return np.asarray((error > 0) & (np.abs(value - threshold + 0.5) <= 1.5 + 2 * error))


def rounded_up(x: Array) -> Array:
    """As float32, not less."""
    nearest = x.astype(np.float32)
    return np.where(nearest < x, np.nextafter(nearest, np.float32(np.inf)), nearest)


def _size(x: Array) -> Array:
    """Magnitudes; infinity and not-a-number must be the same in both computations, and nothing is allowed for them."""
    return np.where(np.isfinite(x), np.abs(x), 0).astype(np.float64)


def _rounded(error: Array, size: Array) -> Array:
    """A difference after one more operation on both sides, with results of that size; equal results stay equal."""
    return np.where(error == 0, 0, error + 2 * UNIT * (size + error))


def spacing(x: Array) -> Array:
    """For every row, the largest power of two of which all its numbers are multiples; infinity where all are zero."""
    fraction, exponent = np.frexp(_size(x).reshape(len(x), -1))
    whole = (fraction * 2.0**24).astype(np.int64)
    lowest = np.where(whole > 0, np.ldexp((whole & -whole).astype(np.float64), exponent - 24), np.inf)
    return np.asarray(lowest.min(axis=1, initial=np.inf))


def _convolution(node: Node, operands: Sequence[Array], errors: Sequence[Array], own: float) -> Array:
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    x, w = operands[0], np.abs(operands[1])
    # The magnitudes' own sums are float32 sums too.
    products, plain = int(np.prod(w.shape[1:])), replace(attrs, pad_value=0)
    g = gamma(products)
    error: Array = np.asarray(own)
    if node.op == "conv2d":
        size = (1 + 2 * g) * conv_accumulate(_size(x), w, plain).astype(np.float64)
        grid = spacing(x).reshape(-1, *[1] * (size.ndim - 1)) * spacing(w)
        exact = (size < 2**24 * grid) & (grid > TINY) & ~errors[0].any()
        error = np.where(exact | (size == 0), 0, 2 * g * size + products * TINY)
    else:  # integers
        size = np.asarray(float(products * (2**attrs.planes - 1)))
    if errors[0].any():
        passed = (1 + 2 * g) ** 2 * conv_accumulate(errors[0], w, plain).astype(np.float64)
        size, error = size + passed, error + passed
    rest = iter(range(2, len(operands)))
    for slot in attrs.slots:
        if slot in ("clamp0", "clamp1"):
            size, error = _clamped(size, error, getattr(attrs, slot))
        elif slot == "zeros":
            zeros = operands[next(rest)]
            size = size * max(255.0, float(_size(zeros).max()), float(_size(255 - zeros).max()))
        elif slot not in ("threshold", "negated"):
            i = next(rest)
            scales = slot in ("pre_mul", "mul")
            size, error = _step(size, error, _size(operands[i]), errors[i], scales)
    return error


def _step(size: Array, error: Array, operand: Array, passed: Array, scales: bool) -> tuple[Array, Array]:
    """One operation with a constant or a residual."""
    size, error = (size * operand, error * operand) if scales else (size + operand, error + passed)
    return size, _rounded(error, size)


def _clamped(size: Array, error: Array, limits: tuple[float, float]) -> tuple[Array, Array]:
    lo, hi = limits
    return np.minimum(size, max(abs(lo), abs(hi))), np.minimum(error, hi - lo)


def _affine(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    size, error = _size(operands[0]), errors[0]
    for operand, scales in zip(operands[1:], (False, True, False), strict=True):
        size, error = _step(size, error, _size(operand), NOTHING, scales)
    attrs = node.attrs
    return _clamped(size, error, (attrs.lo, attrs.hi))[1]  # type: ignore[attr-defined]


def _pooled(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    g = gamma(int(np.prod(attrs.kernel)) + 1)
    size, passed = (OPS[node.op].reference(x, a=attrs) if x.any() else NOTHING for x in (_size(operands[0]), errors[0]))
    return (1 + 2 * g) * (2 * g * size + (1 + g) * passed)


def _resize(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    """Four pixels weighted by numbers from 0 to 1 that sum up to 1; three steps, each of which rounds twice."""
    if not errors[0].any():
        return NOTHING
    size, passed = (resize_bilinear(x, node.attrs) for x in (_size(operands[0]), errors[0]))
    return np.asarray((1 + 8 * UNIT) * passed + 16 * UNIT * (size + passed))


def _batch_sum(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    x = operands[0].reshape(-1, operands[0].shape[-1])
    g, size = gamma(len(x)), _size(x).sum(axis=0)
    exact = size < 2**24 * spacing(x.T)
    passed = np.broadcast_to(errors[0], operands[0].shape).reshape(x.shape).sum(axis=0)
    return np.asarray(np.where(exact, 0, 2 * g * size) + (1 + 2 * g) * passed)


def _max_pool(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    return np.asarray(windows(errors[0], node.attrs, 0.0).max(axis=(4, 5)))


def _softmax(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    """Exponents that move by d change a share by a factor between exp(-2 d) and exp(2 d)."""
    x = operands[0].astype(np.float64)
    shifted = np.minimum(x.max(axis=-1, keepdims=True) - x, _LARGEST_EXPONENT)
    share = np.exp(-shifted) / np.exp(-shifted).sum(axis=-1, keepdims=True)
    moved = 2 * np.minimum(np.broadcast_to(errors[0], x.shape).max(axis=-1, keepdims=True), _LARGEST_EXPONENT)
    own = 2 * (gamma(x.shape[-1]) + UNIT * shifted.max(axis=-1, keepdims=True) + FUNCTION)
    return np.asarray(np.minimum(share * (np.expm1(moved) + own * np.exp(moved)) + TINY, 1))


def _function(slope: float) -> Rule:
    """A library function that nowhere rises faster."""
    return lambda node, operands, errors: slope * errors[0] + FUNCTION


def _curve(size: float) -> Rule:
    """A library function that rises or falls all the way on either side of zero; its own errors are FUNCTION times its
    value, or times ``size`` where that is smaller."""

    def rule(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
        x, e = operands[0].astype(np.float64), errors[0]
        here, *ends = (OPS[node.op].reference(v, a=node.attrs) for v in (x, x - e, x + e))
        pole = (np.abs(x) <= e) & (getattr(node.attrs, "exponent", 1) < 0)
        apart = [np.where(np.isnan(end) | pole, np.inf, np.abs(end - here)) for end in ends]  # no number: past its end
        passed = np.where((e > 0) & ~np.isnan(here), np.fmax(*apart), 0)
        return np.asarray(passed + FUNCTION * np.maximum(_size(here) + passed, size) + TINY)

    return rule


def _elu(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    return np.asarray(errors[0] + np.where(operands[0] < errors[0], FUNCTION, 0))


def _sum(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    a, b = (_size(x) for x in operands)
    return _rounded(errors[0] + errors[1], a + b)


def _mul(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    a, b = (_size(x) for x in operands)
    return _rounded(a * errors[1] + b * errors[0] + errors[0] * errors[1], a * b)


def _div(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    a, b = (_size(x) for x in operands)
    passed = a * errors[1] + b * errors[0]
    smallest = np.maximum(b - errors[1], 0)  # of the other computation's divisors; by zero: anything
    return np.where(passed > 0, _rounded(passed / (b * smallest), a / b), 0)


def _prelu(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    slope = np.maximum(np.abs(operands[1]), 1)
    return _rounded(slope * errors[0], slope * _size(operands[0]))


def _either(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    return np.maximum(errors[0], errors[1])


def _clamp(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    return np.minimum(errors[0], node.attrs.hi - node.attrs.lo)  # type: ignore[attr-defined]


def _jump(step: float) -> Rule:
    """A function with steps, which a difference may cross."""
    return lambda node, operands, errors: np.where(errors[0] > 0, errors[0] + step, 0)


def _dequantize(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    # Bits that turn may make any level of another.
    return np.asarray(np.ptp(operands[1].astype(np.float64)) if errors[0].any() else 0)


def _moved(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    """Ops that move values and change none: their differences move with them; what they pad with is the same."""
    attrs = replace(node.attrs, value=0.0) if hasattr(node.attrs, "value") else node.attrs  # type: ignore[call-arg]
    pairs = zip(operands, errors, node.inputs, strict=True)
    moved = [x if i.is_constant else np.broadcast_to(e, x.shape) for x, e, i in pairs]
    return np.asarray(OPS[node.op].reference(*moved, a=attrs))


def _passed(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    """Bits, whose turning `bound` judges by what they compare."""
    return errors[0]


def _none(node: Node, operands: Sequence[Array], errors: Sequence[Array]) -> Array:
    """Of whole numbers that are Keras' own."""
    return NOTHING


_RULES: dict[str, Rule] = {
    "add": _sum, "sub": _sum, "mul": _mul, "div": _div, "maximum": _either, "minimum": _either, "clamp": _clamp,
    "prelu": _prelu, "affine": _affine, "sign": _jump(2), "round": _jump(1), "avg_pool": _pooled,
    "sum_pool": _pooled, "resize_bilinear": _resize, "batch_sum": _batch_sum, "batch_size": _none,
    "max_pool": _max_pool, "softmax": _softmax, "sigmoid": _function(0.25), "tanh": _function(1.0), "elu": _elu,
    "exp": _curve(0.0), "log1p": _curve(1.0), "erfc": _curve(1.0), "erf": _curve(0.0), "sqrt": _curve(0.0),
    "rsqrt": _curve(0.0), "pow": _curve(0.0), "binarize": _passed, "binarize_levels": _passed, "unpack": _moved,
    "dequantize": _dequantize, "cast": _none, "excess_128": _none,
}  # fmt: skip
_NO_RESULT = frozenset({"input", "constant"})  # of operands


def rules(ops: Mapping[str, Op]) -> dict[str, Rule]:
    """The rule of every op but convolutions, which `_convolution` has.

    Raises:
        NotImplementedError: an op has none, and does not move values.  Another op's would let `verify` accept what no
            rounding explains.
    """
    found = {op.name: _moved for op in ops.values() if op.moves} | _RULES
    missing = sorted(set(ops) - set(found) - set(CONVOLUTIONS) - _NO_RESULT)
    if missing:
        raise NotImplementedError(
            f"verify has no bound for the rounding of {', '.join(missing)}: add a rule to _RULES in "
            "_verify_rounding.py, and the op to _ROUNDING if equal operands may give results that differ"
        )
    return found


_ALL_RULES = rules(OPS)
FUNCTIONS = frozenset({"softmax", *(op.name for op in OPS.values() if op.library)})
# Those whose results may differ where their operands do not.
_ROUNDING = FUNCTIONS | {"conv2d", "avg_pool", "sum_pool", "batch_sum"}
