"""Inputs of bytes are read as bytes, where the sums over them are exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..interpret import evaluate
from ..ir import DType, Graph, Node
from ..ops import MOST_BYTE_PRODUCTS, ConvAttrs, constant, make
from ..rewrite import Match, Pattern, Rule, const, is_elementwise, remade, rewrite
from .signs import sign_planes

Array = np.ndarray[Any, Any]
_BYTES = np.arange(256)


def read_bytes(graph: Graph) -> Graph:
    """Precondition: quantizers are recognized.  Postcondition: operations with scalars on an input of bytes are the
    table of its cast; a convolution of such values by weights of two values a filter, or three with zero, is an iconv2d
    of the bytes and a multiplication, wherever its float32 sums are exact; others carry the reason in their note.

    What the operations make of a byte is read off the table: 256 evaluations in float32.  If they are d (u - z) with a
    byte z, and weights are alpha times signs, a sum of K products is alpha d times an integer of at most 255 K.  With
    alpha d = m 2^e, m odd, all partial sums are multiples of 2^e, and exact in every order if 255 K m is at most 2^24;
    then multiplying the integer by alpha d gives the same float.  Zero padding is u = z.
    """
    return rewrite(graph, RULES)


def _table(cast: Node) -> Array:
    return cast.inputs[1].value if len(cast.inputs) > 1 else _BYTES.astype(np.float32)


def _into_table(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    """f(cast(u)) -> cast(u) by another table."""
    if not is_elementwise(node):
        return None
    data = [i for i in node.inputs if not i.is_constant]
    if not data or any(i.op != "cast" or i.inputs[0] is not data[0].inputs[0] or i.type != node.type for i in data):
        return None
    if any(i.value.size != 1 for i in node.inputs if i.is_constant):
        return None
    operands = [i.value.reshape(-1) if i.is_constant else _table(i) for i in node.inputs]
    return remade(node, "cast", data[0].inputs[0], constant(evaluate(node, operands)))


def spacing(table: Array) -> tuple[float, int] | None:
    """(d, z) of a table that is d (u - z) for every byte u, exactly; None where it is not, or z is no byte."""
    values = table.astype(np.float64)
    step = values[1] - values[0]
    if not np.isfinite(values).all() or step == 0:
        return None
    zero = -values[0] / step
    if zero not in range(256) or not np.array_equal((_BYTES - zero) * step, values):
        return None
    return float(step), int(zero)


def _bits_of(scale: Array) -> Array:
    """The odd numbers that numbers are, times a power of two; 0 of 0."""
    fraction, _ = np.frexp(np.abs(scale))
    odd = (fraction * 2.0**53).astype(np.int64)
    for shift in (32, 16, 8, 4, 2, 1):
        odd = np.where(odd & (1 << shift) - 1, odd, odd >> shift)
    return np.asarray(odd)


def _why_not(node: Node, scale: Array | None, products: int) -> str:
    """Why a layer on bytes stays float; "" where it need not."""
    attrs, w = node.attrs, node.inputs[1]
    assert isinstance(attrs, ConvAttrs)
    if scale is None:
        count = len(np.unique(w.value))
        return f"its input is bytes, but its weights take {count} values, not two or three"
    if attrs.groups != 1:
        return "its input is bytes, but in groups"
    if not scale.size:
        return (
            "its input is bytes, but scaled to values not evenly spaced in float32, or without a byte for zero"
        )
    if products > MOST_BYTE_PRODUCTS:
        return f"its input is bytes, but {products} products a sum are more than {MOST_BYTE_PRODUCTS}"
    # no denormal numbers, which TensorFlow flushes to zero, and no infinity
    used = scale[scale > 0]
    normal = np.all((used >= np.finfo(np.float32).tiny) & (used * 255 * products <= np.finfo(np.float32).max))
    if not normal or np.any(_bits_of(scale) * (255.0 * products) > 2**24):
        return (
            "its input is bytes, but their scale makes float sums round; a power of two (1/128, 1/256) does not"
        )
    return ""


def _convolution(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    cast, w = node.inputs
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    split = sign_planes(w.value)
    even = spacing(_table(cast))
    products = int(np.prod(w.type.shape[1:]))
    alpha, planes = split or (np.zeros(0), [])
    step, zero = even or (0.0, 0)
    scale = alpha.astype(np.float64) * abs(step) if even else np.zeros(0)
    reason = _why_not(node, scale if split else None, products)
    if reason:
        return None if node.note else replace(node, note=reason)
    signs = np.concatenate(planes, axis=3) * (1 if step > 0 else -1)
    kind = "binary" if len(planes) == 1 else "ternary"
    plain = bool(np.all(scale == 1))
    names = {"name": node.name, "note": f"integer input, {kind} weights"}
    if plain:
        names |= {"origin": node.origin, "tap": node.tap}
    filters = constant(signs, DType.b1, w.name)
    value = make("iconv2d", cast.inputs[0], filters, attrs=replace(attrs, pad_value=zero), **names)
    return value if plain else remade(node, "mul", value, constant(scale))


def _reshape_first(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    """reshape(cast(u)) -> cast(reshape(u)): a convolution then reads the bytes."""
    (cast,) = node.inputs
    moved = make("reshape", cast.inputs[0], attrs=node.attrs, name=node.name)
    return remade(node, "cast", moved, *cast.inputs[1:])


RULES = (
    Rule(Pattern(("conv2d",), (Pattern(("cast",)), const("w"))), _convolution),
    Rule(Pattern(("reshape",), (Pattern(("cast",)),)), _reshape_first),
    Rule(Pattern(), _into_table),
)
