# SPDX-License-Identifier: Apache-2.0
"""Make convolutions and dense layers binary if they multiply bits by weights of few values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce

import numpy as np

from .._types import Array
from ..file.bits import WORD
from ..ir.counting import concatenated, cut
from ..ir.graph import DType, Graph, Node
from ..ir.interpret import evaluate
from ..ir.ops import (
    CONVOLUTIONS,
    INF,
    OPS,
    ConvAttrs,
    DequantizeAttrs,
    PadAttrs,
    SliceAttrs,
    constant,
    conv_attrs,
    make,
    unrepeated,
)
from ..ir.rewrite import Rewrite, by_scalars, remade, rewrite, sources, with_inputs
from .levels import MOST_SIGNS, Levels, ShiftedSigns, joined, levels, no_signs, shifted_signs, sign_planes
from .one_pixel import is_smaller, one_pixel, reads_all

_MOST_PRODUCTS = 25  # of planes: with more, floats are as fast
_MOST_GROUPS = 32  # convolutions that a grouped one is cut into


def binarize(graph: Graph) -> Graph:
    """Precondition: quantizers are unpack(binarize(x)) or dequantize(planes of bits).  Postcondition: every convolution
    of such data by weights of two values +-alpha per filter, or three with zero, is a bconv2d and an affine operation
    on its accumulators; bits pass through pools, reshapes, concatenations and padding as bits, and are not quantized
    again; a dense layer over an image with few channels reads it as one pixel.

    Weights are read as numbers: freezing leaves a constant, whatever the quantizer.

    Take data of evenly spaced levels, x = v0 + d (m + S) / 2, where S is the sum of bits s = +-1, each times its
    plane's weight (counted planes: 1; binary numbers: 2^p), and m is the largest S.  Take weights w = alpha (t_1 + ...
    + t_r) / r with signs t (r = 1: two values; r = 2: three values, where zero is +1 and -1; more: r + 1 evenly spaced
    values).  Then

        sum(x w) = alpha (v0 T + d (m T + A / r) / 2),   T = sum(w / alpha),  A = sum over signs of S t,

    so one bconv2d suffices: over the channels of all counted planes, or with several binary planes; with more weight
    values, over each plane r times, or (binary numbers) the sum of r.  It equals the float sums wherever these are
    exact.  Zero padding is a clear bit in every plane if v0 = 0, and the third value of a padded tap if the levels are
    symmetric around zero.

    Other weights of two to 32 evenly spaced values are w = o + a (t_0 + 2 t_1 + ...), o and a per filter (Tu et
    al., AdaBin, 2022, has two values).  With x = c + d S / 2 at the taps inside the image, and S = 0 outside,

        sum(x w) = a d / 2 (A_0 + 2 A_1 + ...) + o d / 2 sum(S) + c sum(w),

    where sum(S) is a bconv2d by one filter of ones, and the sums are over the taps inside: the last one depends on the
    pixel where an image is padded with zero that is none of the levels.

    A scale of the data that depends on the image multiplies the sums instead.
    """
    return rewrite(graph, RULES)


def _read_as_one_pixel(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """A dense layer over an image whose pixels' bits do not fill words."""
    x, w = levels(node.inputs[0]), node.inputs[1]
    if x is None or not x.even or x.bits.op == "pad" or not reads_all(node):
        return None
    if _signs(node, x) == (None, None):
        return None
    # Where a separate op quantizes (to binary numbers, or the image), its floats are reshaped instead of bits.
    moves_bits = not x.channels and bool(sources(x.bits, lambda y: y.op not in CONVOLUTIONS))
    pixel = (*x.bits.type.shape[:2], x.channels or x.bits.type.shape[2])
    if not is_smaller(pixel, len(w.value), moves_bits):
        return None
    filters = constant(w.value.reshape(len(w.value), 1, 1, -1), w.type.dtype, w.name)
    return remade(node, "conv2d", one_pixel(node.inputs[0], node.name), filters, attrs=node.attrs)


def _binarize(node: Node, uses: Mapping[Node, int]) -> Node | None:
    x = levels(node.inputs[0])
    if x is None or why_not_bits(node, x):
        return None
    attrs, bits = conv_attrs(node), x.bits
    if any(attrs.pads):
        attrs = replace(attrs, pad_value=x.zero or 0)
    elif isinstance(bits.attrs, PadAttrs):
        attrs = replace(attrs, pads=bits.attrs.pads, pad_value=int(bits.attrs.value))
        bits = bits.inputs[0]
    accumulate = partial(_numbers if x.channels else _counted, node, bits, attrs=attrs, planes=x.planes)
    split, shifted = _signs(node, x)
    if split is not None:
        alpha, planes = split
        return _affine(node, accumulate(planes), alpha, planes, x)
    assert shifted is not None
    return _shifted(node, accumulate, shifted, x, attrs.pad_value)


def _scale_after(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """conv(x s), or conv(x / s), of levels x -> conv(x) s, if s is one number per image (or per pixel, which the
    convolution does not mix): a quantizer whose scale depends on the data (Wang et al., BitNet, 2023)."""
    scaled, w = node.inputs[0], node.inputs[1]
    x, *others = sorted(scaled.inputs, key=lambda i: levels(i) is None)
    known = levels(x)
    if known is None or len(others) != 1 or others[0].is_constant or scaled.op == "div" and x is not scaled.inputs[0]:
        return None
    (s,), attrs = others, conv_attrs(node)
    per_pixel = w.type.shape[1:3] == (1, 1) and attrs.stride == (1, 1) and not any(attrs.pads)
    if s.type.shape[-1] != 1 or not per_pixel and np.prod(s.type.shape) != 1:
        return None
    plain = make("conv2d", x, w, attrs=attrs, name=node.name)
    return None if why_not_bits(plain, known) else remade(node, scaled.op, plain, s)


def _signs(conv: Node, x: Levels) -> tuple[tuple[Array, list[Array]] | None, ShiftedSigns | None]:
    """The weights as planes of signs, the first way if it is possible."""
    w, attrs = conv.inputs[1].value, conv_attrs(conv)
    split = sign_planes(w, MOST_SIGNS) if x.zero is not None or not any(attrs.pads) else None
    return split, shifted_signs(w) if split is None and attrs.groups == 1 else None


def why_not_bits(conv: Node, x: Levels) -> str:
    """Why a convolution of levels is not binary, or ""."""
    w, attrs = conv.inputs[1].value, conv_attrs(conv)
    split, shifted = _signs(conv, x)
    if split is not None:
        repeats = len(split[1])
    elif shifted is not None:
        repeats = shifted.repeats
    else:
        padding = sign_planes(w, MOST_SIGNS) is not None
        return f"zero padding is none of its input's levels {x}" if padding else no_signs(w)
    if not x.even:
        return f"the levels of its input, {x}, are not evenly spaced"
    if shifted is not None and len(shifted.planes) * x.planes > _MOST_PRODUCTS:
        return f"{len(shifted.planes)} planes of its weights times {x.planes} of its input take longer than floats"
    if attrs.groups > 1 and w.shape[3] == 1:
        return "it is depthwise: one product a tap"
    if attrs.groups > _MOST_GROUPS and w.shape[3] % WORD:
        return f"{attrs.groups} groups of {w.shape[3]} channels, which are not whole {WORD}-bit words"
    return why_not_exact(x, w, repeats)


def why_not_exact(x: Levels, w: Array, repeats: int) -> str:
    products = int(np.prod(w.shape[1:]))
    if products * repeats * x.top * (2 if x.channels else 1) < 2**24:
        return ""
    return f"sums of {products} products of {x.steps + 1} levels are not exact in float32"


def _numbers(node: Node, bits: Node, signs: list[Array], attrs: ConvAttrs, planes: int) -> Node:
    """The accumulators A of binary numbers: a convolution per plane of signs; separate ones for odd groups."""
    width, attrs = signs[0].shape[3], replace(attrs, planes=planes)
    if attrs.groups == 1 or width % WORD == 0:
        parts = [make("bconv2d", bits, constant(s, DType.b1), attrs=attrs, name=node.name) for s in signs]
        return reduce(lambda total, part: make("add", total, part, name=node.name), parts)
    x, thresholds = bits.inputs
    filters, parts = signs[0].shape[0] // attrs.groups, []
    for g in range(attrs.groups):
        data = make("slice", x, attrs=SliceAttrs(g * width, (g + 1) * width), name=node.name)
        own = [s[g * filters : (g + 1) * filters] for s in signs]
        part = make("binarize_levels", data, thresholds, name=node.name)
        parts.append(_numbers(node, part, own, replace(attrs, groups=1), planes))
    return concatenated(parts, node.name)


def _counted(node: Node, bits: Node, sides: list[Array], attrs: ConvAttrs, planes: int) -> Node:
    """The accumulators A of counted planes: the bits repeated for every plane of signs; odd groups separately."""
    repeats, width = len(sides), sides[0].shape[3]
    signs = np.concatenate([side for side in sides for _ in range(planes)], axis=3)
    one_word = width % WORD == 0 and planes * repeats == 1
    if attrs.groups == 1 or one_word:
        data = concatenated([bits] * repeats, node.name)
        return make("bconv2d", data, constant(signs, DType.b1), attrs=attrs, name=node.name)
    channels, filters = bits.type.shape[-1] // planes, signs.shape[0] // attrs.groups
    parts = []
    for g in range(attrs.groups):
        cuts = [
            make("slice", bits, attrs=SliceAttrs(begin, begin + width), name=node.name)
            for begin in range(g * width, planes * channels, channels)
        ] * repeats
        data = concatenated(cuts, node.name)
        own = constant(signs[g * filters : (g + 1) * filters], DType.b1)
        parts.append(make("bconv2d", data, own, attrs=replace(attrs, groups=1), name=node.name))
    return concatenated(parts, node.name)


def _affine(node: Node, acc: Node, alpha: Array, signs: list[Array], x: Levels) -> Node:
    """alpha (v0 T + d (m T + A / r) / 2) with r planes of signs, whose sum is r T; with operations that are exact
    wherever the sums are."""
    repeats = len(signs)
    first, last = np.float64(x.values[0]), np.float64(x.values[-1])
    step = (last - first) / x.steps
    scale = (alpha.astype(np.float64) * step / 2 / repeats).astype(np.float32)
    total = sum(plane.reshape(len(plane), -1).sum(axis=1) for plane in signs)
    value = acc
    if not x.centred:
        value = make("add", value, constant(total * x.top), name=node.name)
    if not np.all(scale == 1):
        value = make("mul", value, constant(scale), name=node.name)
    if not x.centred and first != 0:
        value = make("add", value, constant((alpha * first * total / repeats).astype(np.float32)), name=node.name)
    return replace(value, origin=node.origin, tap=node.tap)


def _shifted(node: Node, accumulate: Callable[[list[Array]], Node], w: ShiftedSigns, x: Levels, outside: int) -> Node:
    """a d / 2 (A_0 + 2 A_1 + ...) + o d / 2 sum(S) + c sum(w)."""
    name, step = node.name, (np.float64(x.values[-1]) - np.float64(x.values[0])) / x.steps
    value = accumulate(w.planes[:1])
    for p, plane in enumerate(w.planes[1:], 1):
        value = make("add", value, make("mul", accumulate([plane]), constant(2.0**p), name=name), name=name)
    value = make("mul", value, constant(w.scale * step / 2), name=name)
    if w.offset.any():
        ones = accumulate([np.ones_like(w.planes[0][:1])])
        value = make("add", value, make("mul", ones, constant(w.offset * step / 2), name=name), name=name)
    centre = x.values[0] + step * x.top / 2
    if centre:
        given = node.inputs[1].value.astype(np.float64)
        padded = outside == 0 and any(conv_attrs(node).pads)
        sums = _inside(node, given.sum(axis=3)) if padded else given.sum(axis=(1, 2, 3))
        value = make("add", value, constant(unrepeated((centre * sums).astype(np.float32))), name=name)
    return replace(value, origin=node.origin, tap=node.tap)


def _inside(conv: Node, taps: Array) -> Array:
    """The sum of the taps (O, kh, kw) that are inside the image, for each pixel of the result, (H, W, O)."""
    attrs = conv_attrs(conv)
    seen = []
    for axis in (0, 1):
        at = np.arange(conv.type.shape[axis])[:, None] * attrs.stride[axis] - attrs.pads[axis]
        at = at + np.arange(taps.shape[1 + axis]) * attrs.dilation[axis]
        seen.append(((at >= 0) & (at < conv.inputs[0].type.shape[axis])).astype(np.float64))
    return np.einsum("ya,xb,oab->yxo", *seen, taps)


def _bits_on(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """op(unpack(b)) -> unpack(op(b)) for ops that move values and do not change them."""
    if isinstance(node.attrs, PadAttrs) and node.attrs.value not in (-1.0, 1.0):
        return None
    data = node.inputs[:1] if node.op == "gather" else node.inputs
    if not all(i.op == "unpack" for i in data):
        return None
    operands = (*(i.inputs[0] for i in data), *node.inputs[len(data) :])
    return remade(node, "unpack", remade(node, node.op, *operands, attrs=node.attrs))


def _planes_on(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """op(dequantize(p, v)) -> dequantize(op(p), v) for counted planes: the maximum of rising levels is the OR of every
    plane; padding with the lowest or the highest level is a clear or a set bit."""
    x = node.inputs[0]
    table = x.inputs[1].value
    attrs = node.attrs
    assert isinstance(x.attrs, DequantizeAttrs)
    if x.attrs.channels:
        return _before_numbers(node, x, table)
    if node.op in ("reshape", "slice"):
        return remade(node, "dequantize", _plane_by_plane(node, [x]), x.inputs[1])
    if node.op == "gather":
        pixel, channel = np.divmod(node.inputs[1].value, x.type.shape[-1])
        width = x.inputs[0].type.shape[-1]
        planes = [pixel * width + channel + begin for begin in range(0, width, x.type.shape[-1])]
        index = constant(np.concatenate(planes, axis=-1), DType.i32)
        return remade(node, "dequantize", make("gather", x.inputs[0], index, name=node.name), x.inputs[1])
    if node.op == "max_pool" and (np.diff(table) < 0).any():
        return None
    if isinstance(attrs, PadAttrs):
        if attrs.value not in (table[0], table[-1]):
            return None
        attrs = replace(attrs, value=-1.0 if attrs.value == table[0] else 1.0)
    return remade(node, "dequantize", make(node.op, x.inputs[0], attrs=attrs, name=node.name), x.inputs[1])


def _plane_by_plane(node: Node, data: Sequence[Node]) -> Node:
    """The op on every counted plane; the planes come one after another."""
    planes = data[0].inputs[0].type.shape[-1] // data[0].type.shape[-1]
    cuts = zip(*(cut(x.inputs[0], planes, node.name) for x in data), strict=True)
    return concatenated([make(node.op, *own, attrs=node.attrs, name=node.name) for own in cuts], node.name)


def _levels_side_by_side(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """concat(dequantize(p, v), dequantize(q, v)) -> dequantize(.., v): concatenates the planes, or the values before
    quantizing."""
    data, first = node.inputs, levels(node.inputs[0])
    if first is None or not all(_same_levels(first, levels(x)) for x in data) or data[0].op != "dequantize":
        return None
    table = data[0].inputs[1]
    if not first.channels:
        return remade(node, "dequantize", _plane_by_plane(node, data), table)
    if any(x.inputs[0].op != "binarize_levels" for x in data):
        return None
    thresholds = [x.inputs[0].inputs[1] for x in data]
    if not all(np.array_equal(t.value, thresholds[0].value) for t in thresholds):
        return None
    y = make("concat", *(x.inputs[0].inputs[0] for x in data), name=node.name)
    numbers = make("binarize_levels", y, thresholds[0], name=node.name)
    return remade(node, "dequantize", numbers, table, attrs=DequantizeAttrs(y.type.shape[-1]))


def _same_levels(a: Levels, b: Levels | None) -> bool:
    return b is not None and bool(b.channels) == bool(a.channels) and np.array_equal(a.values, b.values)


def _before_numbers(node: Node, x: Node, table: Array) -> Node | None:
    """op(dequantize(binarize_levels(y), v)) -> dequantize(binarize_levels(op(y)), v): moves come before the quantizer,
    and so does the maximum, since levels rise; padding with a level becomes padding with a float of that level."""
    bits, attrs = x.inputs[0], node.attrs
    thresholds = bits.inputs[1].value
    if bits.op != "binarize_levels" or node.op == "max_pool" and (np.diff(table) < 0).any():
        return None
    if isinstance(attrs, PadAttrs):
        level = np.flatnonzero(table == np.float32(attrs.value))
        if len(level) == 0 or np.isneginf(thresholds[level[0] :]).any():  # that level is never reached
            return None
        attrs = replace(attrs, value=float(thresholds[level[0] - 1]) if level[0] else -INF)
    y = make(node.op, bits.inputs[0], *node.inputs[1:], attrs=attrs, name=node.name)
    moved = make("binarize_levels", y, bits.inputs[1], name=node.name)
    assert isinstance(x.attrs, DequantizeAttrs)
    return remade(node, "dequantize", moved, x.inputs[1], attrs=replace(x.attrs, channels=y.type.shape[-1]))


def _scalar_on(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """An operation on levels and scalars becomes one on their table; likewise on two values of the same bits (a choice)
    or of the same float (two comparisons)."""
    data = [x for i in node.data if (x := levels(i)) is not None]
    if not data or len(data) < len(node.data) or not by_scalars(node):
        return None
    x = data[0]
    if any(other.bits is not x.bits for other in data):
        return joined(node, data)
    table = evaluate(node, [_table(i) for i in node.inputs])
    made = {i: i.attrs.made_of for i in node.data if isinstance(i.attrs, DequantizeAttrs) and i.attrs.made_of}
    of = {y for y, _ in made.values()}
    root = with_inputs(node, tuple(made[i][1] if i in made else i for i in node.inputs))
    made_of = (of.pop(), root) if len(made) == len(node.data) and len(of) == 1 else None
    return remade(node, "dequantize", x.bits, constant(table), attrs=DequantizeAttrs(x.channels, made_of))


def _table(x: Node) -> Array:
    known = levels(x)
    return known.values if known else x.value.reshape(-1)


def _already_bits(node: Node, uses: Mapping[Node, int]) -> Node | None:
    return node.inputs[0].inputs[0] if len(node.inputs) == 1 else None


RULES = (
    Rewrite(_read_as_one_pixel, ("conv2d",), of=("unpack", "dequantize")),
    Rewrite(_binarize, ("conv2d",), of=("unpack", "dequantize")),
    Rewrite(_scale_after, ("conv2d",), of=("mul", "div")),
    Rewrite(_already_bits, ("binarize",), of=("unpack",)),
    Rewrite(_bits_on, ("max_pool", "pad", "reshape", "concat", "slice", "gather")),
    Rewrite(_planes_on, ("max_pool", "pad", "reshape", "slice", "gather"), of=("dequantize",)),
    Rewrite(_levels_side_by_side, ("concat",)),
    Rewrite(_scalar_on, tuple(op.name for op in OPS.values() if op.elementwise)),
)
