# SPDX-License-Identifier: Apache-2.0
"""Read byte inputs as bytes where the sums over them are exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .._types import Array
from ..ir.graph import DType, Graph, Node
from ..ir.interpret import evaluate
from ..ir.monotone import function
from ..ir.ops import MOST_BYTE_PRODUCTS, OPS, PadAttrs, ReshapeAttrs, constant, conv_attrs, make
from ..ir.ops.rounding import spacing
from ..ir.rewrite import Rewrite, by_scalars, is_elementwise, remade, rewrite, sources
from .levels import sign_planes
from .one_pixel import is_smaller, one_pixel, reads_all

_BYTES = np.arange(256)
_MIDDLE = 128  # the middle byte: at most 128 from any other
# The zero of a channel is at most _FARTHEST from 0, and a multiple of 1 / _FRACTION.
_FARTHEST, _FRACTION = 2**12, 2**8


def read_bytes(graph: Graph) -> Graph:
    """Precondition: quantizers are recognized.  Postcondition: scalar operations on a byte input form the table of its
    cast; a convolution of such values by weights of two values per filter, or three with zero, is an iconv2d of the
    bytes, a multiplication and perhaps an addition, if its float32 sums are exact.

    The operations on a byte become a table with one column, or one per channel: 256 evaluations in float32.  If a
    column c is v + d (u - z_c) for every byte u, with one d (up to its sign) for all columns, and weights w are alpha
    times signs, then

        sum(w x)  =  alpha d A + v sum(w),   A = the sum over signs of (u - z_c), which iconv2d gives.

    If v is the value outside the image, (u - z_c) is zero there, and the equation holds for padded images, too.
    Without padding, z is the byte of value 0 in each channel; if some channel has none, z is the middle byte in all,
    and v its value in each channel.

    Let 2^e be the largest power of two that divides all w x.  All float32 sums of K products are exact in every order
    if K times the largest product is at most 2^24 times 2^e; A and alpha d A must be exact, too.
    """
    return rewrite(graph, RULES)


@dataclass(frozen=True)
class _Data:
    """A convolution's data: ``top``, computed from a cast by elementwise ops that treat all elements of a channel
    alike, perhaps in another shape but with the same channels; ``outside``: the value around the image, if it is
    read."""

    cast: Node
    top: Node
    pads: tuple[int, int, int, int]
    outside: float | None

    @property
    def image(self) -> Node:
        """The bytes."""
        image, shape = self.cast.inputs[0], self.top.type.shape
        return image if image.type.shape == shape else make("reshape", image, attrs=ReshapeAttrs(shape))

    def table(self) -> Array:
        """The values (256, 1 or channels)."""
        return function(self.top, self.cast)(_table(self.cast)[:, None])


@dataclass(frozen=True)
class _Line:
    """Every column of a table: offset + step * (u - zero), exactly; the steps are equal except for their signs."""

    zeros: Array
    step: float
    signs: Array
    offset: Array

    @property
    def farthest(self) -> float:
        """The largest |u - zero|."""
        return float(np.maximum(np.abs(self.zeros), np.abs(255 - self.zeros)).max())


def _table(cast: Node) -> Array:
    return cast.inputs[1].value if len(cast.inputs) > 1 else _BYTES.astype(np.float32)


def _into_table(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """f(cast(u)) -> cast(u) by another table."""
    data = node.data
    if not is_elementwise(node) or not data or not by_scalars(node):
        return None
    if any(i.op != "cast" or i.inputs[0] is not data[0].inputs[0] or i.type != node.type for i in data):
        return None
    operands = [i.value.reshape(-1) if i.is_constant else _table(i) for i in node.inputs]
    return remade(node, "cast", data[0].inputs[0], constant(evaluate(node, operands)))


def _pad_last(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """f(pad(cast(u))) -> pad(f(cast(u))) for f of scalars: the padding value v becomes f(v)."""
    if not is_elementwise(node) or len(node.data) != 1 or not by_scalars(node):
        return None
    (pad,) = node.data
    attrs = pad.attrs
    if not isinstance(attrs, PadAttrs) or pad.inputs[0].op != "cast":
        return None
    around = function(node, pad)(np.full(1, attrs.value, np.float32))
    operands = (pad.inputs[0] if i is pad else i for i in node.inputs)
    inside = make(node.op, *operands, attrs=node.attrs, name=node.name)
    return remade(node, "pad", inside, attrs=replace(attrs, value=float(around[0])))


def _reshape_first(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """reshape(cast(u)) -> cast(reshape(u)): a convolution then reads the bytes."""
    (cast,) = node.inputs
    moved = make("reshape", cast.inputs[0], attrs=node.attrs, name=node.name)
    return remade(node, "cast", moved, *cast.inputs[1:])


def _read(conv: Node) -> _Data | str | None:
    """A convolution's data as a function of bytes; why they are not such a function; or None if they do not come from
    bytes."""
    x, attrs = conv.inputs[0], conv_attrs(conv)
    pads, outside = attrs.pads, 0.0 if any(attrs.pads) else None
    around = x.attrs
    if isinstance(around, PadAttrs) and outside is None:
        x, pads, outside = x.inputs[0], around.pads, around.value
    top = x
    while x.op != "cast":
        keeps = x.op == "reshape" and x.inputs[0].type.shape[-1] == top.type.shape[-1]
        if not keeps and (x.op == "round" or not _by_channel(x)):
            return f"the {x.op} before it works on floats" if _from_bytes(x) else None
        (x,) = x.data
    return _Data(x, top, pads, outside)


def _by_channel(x: Node) -> bool:
    """Whether the op maps every element of its one operand alike, except for constants per channel."""
    data = x.data
    alike = all(i.value.size == 1 or i.type.shape[-1] == i.value.size for i in x.inputs if i.is_constant)
    return is_elementwise(x) and len(data) == 1 and data[0].type == x.type and alike


def _from_bytes(x: Node) -> bool:
    """Whether data are computed only from bytes; if they are rounded, a quantizer made them."""

    def past(x: Node) -> bool:
        return OPS[x.op].moves or x.op in ("avg_pool", "sum_pool") or x.op != "round" and is_elementwise(x)

    return all(source.op == "cast" for source in sources(x, past))


def _line(table: Array, outside: float | None) -> _Line | str:
    """A table as a line through the value outside the image; or why there is none."""
    table = table.astype(np.float64)
    steps = table[1] - table[0]
    if not np.isfinite(table).all() or not steps.all() or (_BYTES[:, None] * steps + table[0] != table).any():
        return "scaled to values not evenly spaced in float32"
    if (np.abs(steps) != abs(steps[0])).any():
        return "scaled differently in its channels"
    if outside is None:
        zeros, offset = np.full(len(steps), float(_MIDDLE)), table[_MIDDLE]
        if (table == 0).any(axis=0).all():  # then there is nothing to add
            zeros, offset = (table == 0).argmax(axis=0).astype(np.float64), np.zeros(len(steps))
    else:
        zeros, offset = (outside - table[0]) / steps, np.full(len(steps), outside)
        near = (np.abs(zeros) <= _FARTHEST) & (zeros * _FRACTION == np.rint(zeros * _FRACTION))
        if not near.all() or (table[0] + steps * zeros != outside).any():
            return f"padded with {outside:g}, which is too far from all bytes' values, or between them"
    return _Line(zeros, float(abs(steps[0])), np.sign(steps), offset)


def _rounds(alpha: Array, line: _Line, table: Array, products: int) -> bool:
    """Whether some float32 sum of the table's values times +-alpha may round or overflow, or TensorFlow may flush a
    denormal to zero."""
    values = np.concatenate([table.astype(np.float64).reshape(-1), line.offset])
    unit = float(spacing(values[None])[0])
    used = alpha[alpha > 0].astype(np.float64)
    largest = max(np.abs(values).max(), line.step * line.farthest)
    if products * (255 + np.abs(line.zeros).max()) >= 2.0**24 * min(1.0, float(spacing(line.zeros[None])[0])):
        return True
    tiny, most = np.finfo(np.float32).tiny, np.finfo(np.float32).max
    if unit < tiny or (used < tiny).any() or (used * unit < tiny).any() or (used * largest * products > most).any():
        return True
    return bool((used * largest * products > 2.0**24 * spacing(used[:, None]) * unit).any())


def _planned(conv: Node) -> tuple[_Data, _Line, Array, list[Array]] | str | None:
    """How a convolution can read bytes: its weights are an alpha per filter times the mean of planes of signs; or why
    it cannot; None if its data do not come from bytes."""
    data, w = _read(conv), conv.inputs[1].value
    if data is None:
        return None
    split, products = sign_planes(w), int(np.prod(w.shape[1:]))
    if split is None:
        return f"its weights take {len(np.unique(w))} values, not two or three"
    if isinstance(data, str):
        return data
    if conv_attrs(conv).groups != 1:
        return "in groups"
    if products > MOST_BYTE_PRODUCTS:
        return f"{products} products a sum are more than {MOST_BYTE_PRODUCTS}"
    table = data.table()
    line = _line(table, data.outside)
    if isinstance(line, str):
        return line
    if _rounds(split[0], line, table, products):
        return "float sums round at their scale (a power of two, 1/128 or 1/256, is best) and offset"
    return data, line, *split


def why_not_bytes(conv: Node) -> str:
    """Why a convolution of bytes does not sum integers; "" if it does, or if it does not read bytes."""
    found = _planned(conv)
    return f"its input is bytes, but {found}" if isinstance(found, str) else ""


def _convolution(node: Node, uses: Mapping[Node, int]) -> Node | None:
    plan, w, attrs = _planned(node), node.inputs[1], conv_attrs(node)
    if not isinstance(plan, tuple):
        return None
    data, line, alpha, planes = plan
    planes, image = [p * line.signs for p in planes], data.image
    attrs = replace(attrs, pads=data.pads, slots=("zeros",), layer_slots=("zeros",))
    zeros = np.broadcast_to(line.zeros, image.type.shape[-1:])
    h, width, c = w.type.shape[1:]
    if not any(attrs.pads) and reads_all(node) and is_smaller((h, width, c * len(planes)), len(alpha), False):
        zeros = np.broadcast_to(zeros, image.type.shape).reshape(-1)
        image, planes = one_pixel(image, node.name), [p.reshape(len(p), 1, 1, -1) for p in planes]
    signs = constant(np.concatenate(planes, axis=3), DType.b1, w.name)
    value = make("iconv2d", image, signs, constant(zeros), attrs=attrs, name=node.name)
    scale = alpha.astype(np.float64) * line.step
    rest = (w.value.astype(np.float64) * line.offset).sum(axis=(1, 2, 3))
    if (scale != 1).any():
        value = make("mul", value, constant(scale), name=node.name)
    if rest.any():
        value = make("add", value, constant(rest), name=node.name)
    return replace(value, origin=node.origin, tap=node.tap)


RULES = (
    Rewrite(_convolution, ("conv2d",)),
    Rewrite(_reshape_first, ("reshape",), of=("cast",)),
    Rewrite(_into_table),
    Rewrite(_pad_last),
)
