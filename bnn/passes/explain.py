# SPDX-License-Identifier: Apache-2.0
"""Notes on layers: why a layer is float, and warnings of what its author probably did not mean, one row per hint.

They are texts on a finished graph and change no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .._notes import joined, warning
from .._types import Array
from ..ir.graph import DType, Graph, Node
from ..ir.monotone import LARGEST, function, regions, staircase
from ..ir.ops import CONVOLUTIONS, OPS, SMALLEST_NORMAL, ClampAttrs, ConvAttrs, PadAttrs, conv_attrs
from ..ir.ops.bits import binarize
from ..ir.ops.conv import epilogue
from ..ir.rewrite import replanned, sources
from .binarize import why_not_bits
from .levels import MOST_SIGNS, MOST_STEPS, Levels, levels, scaled_by_batch, sign_planes
from .read_bytes import why_not_bytes
from .to_thresholds import reach

_MOST_LEVELS = 256  # levels of weights that somebody may have quantized
_BITS = ("binarize", *CONVOLUTIONS)
_FEW_ZEROS = 0.05  # share of ternary weights


def explain(graph: Graph, source: Graph | None = None) -> Graph:
    """A lowered graph whose notes say why a layer is float, and what its author may want to change.

    It computes the same: no pass looks at a note, and notes are written when all passes are done.  ``source``: the
    graph that was lowered, in which causes are looked for.
    """
    planes = set(_planes(graph))
    origins = {n.origin: n for n in source.nodes() if n.origin} if source is not None else {}

    def texts(node: Node) -> tuple[str, list[str]]:
        found = [hint for hint in HINTS if node.op in hint.ops and node not in planes and hint.fits(node)]
        return _kind(node), [warning(*hint.said(node, origins.get(node.origin))) for hint in found]

    return _with_notes(graph, texts)


def with_hints(graph: Graph, hints: Mapping[str, Sequence[str]]) -> Graph:
    """A lowered graph whose notes also have the importer's hints on layers, by their names."""
    left = dict(hints)

    def texts(node: Node) -> tuple[str, list[str]]:
        own = left.pop(node.name, ()) if node.op in CONVOLUTIONS else ()
        return "", [warning(node.name, text) for text in own]

    return _with_notes(graph, texts) if hints else graph


def _with_notes(graph: Graph, texts: Callable[[Node], tuple[str, list[str]]]) -> Graph:
    def noted(old: Node, node: Node) -> Node:
        note = joined(node.note, *texts(old))
        return node if note == node.note else replace(node, note=note)

    return replanned(graph, noted)


# -- why a layer is float ---------------------------------------------------------------------------------------------


def _kind(node: Node) -> str:
    """Why a layer is float, or that it sums integers."""
    if node.op == "iconv2d":
        one = node.inputs[1].type.shape[3] == node.inputs[0].type.shape[-1]
        return f"integer input, {'binary' if one else 'ternary'} weights"
    if node.op == "qconv2d" and conv_attrs(node).out is DType.u8:
        return "integers, requantized as in the source"
    if node.op == "qconv2d":
        return "integers: its data and weights were trained to be"
    return why_float(node) if node.op == "conv2d" else ""


def why_float(conv: Node) -> str:
    """Why a convolution of floats is neither binary nor integer."""
    x = conv.inputs[0]
    known = _levels(x)
    reason = why_not_bytes(conv) or (why_not_bits(conv, known) if known is not None else "")
    if reason:
        return reason
    if isinstance(x.attrs, PadAttrs) and _levels(x.inputs[0]) is not None:
        return f"its bits are padded with {x.attrs.value:g}"
    if x.op == "concat" and all(_levels(i) is not None for i in x.inputs):
        return "its input joins what different quantizers made"
    binary = sign_planes(conv.inputs[1].value, MOST_SIGNS) is not None
    too = "" if binary else ", its weights too"
    if scaled_by_batch(x):
        return f"each channel of its bits is scaled by a mean over the batch{too}"
    if _scaled_by_data(x):
        return f"its signs are scaled by other data{too}"
    if _rounded(x):
        return f"its input takes more than {MOST_STEPS + 1} values{too}"
    return f"its input is float (no input quantizer){too}"


def _levels(x: Node) -> Levels | None:
    """The bits behind a value; or the levels that arithmetic on floats makes, if they are few enough for bits."""
    if (known := levels(x)) is not None:
        return known
    channels = x.type.shape[-1]
    while x.op == "reshape":
        (x,) = x.inputs
    for y in regions(x):
        stair = staircase(function(x, y), MOST_STEPS)
        if stair is not None:
            return Levels(x, stair[0], channels)
    return None


def _scaled_by_data(x: Node) -> bool:
    """Whether x is what a quantizer made, times data."""
    while x.op in ("reshape", "pad"):
        x = x.inputs[0]
    made = [i.op == "sign" or levels(i) is not None for i in x.data]
    return x.op == "mul" and len(made) == 2 and any(made)


def _rounded(x: Node) -> bool:
    """Whether quantizers made it, one of them with many levels (a scaled rounding)."""

    def past(x: Node) -> bool:
        # Ops that quantizers consist of: a list, not a trait, since other functions that scale do not round here.
        scaled = x.op in ("mul", "div", "add", "sub", "clamp", "affine") and len(x.data) == 1
        return OPS[x.op].moves or scaled

    found = sources(x, past)
    return any(s.op == "round" for s in found) and all(s.op == "round" or levels(s) is not None for s in found)


# -- hints ------------------------------------------------------------------------------------------------------------


def _planes(graph: Graph) -> Iterator[Node]:
    """Bits that are planes of one quantizer, one threshold each: the author meant them as a whole."""
    for node in graph.nodes():
        data = [i.inputs[: 2 if i.op in CONVOLUTIONS else 1] for i in node.inputs if i.op in _BITS]
        if node.op == "concat" and len(data) == len(node.inputs) > len(set(data)):
            yield from node.inputs


@dataclass(frozen=True)
class Hint:
    """``ops``: where to look; ``fits``: whether to say ``text``.  ``of_bits``: it is about the layer whose quantizer
    makes the node's bits, which may be fused with the layer before, and the cause is added."""

    text: str
    ops: tuple[str, ...]
    fits: Callable[[Node], bool]
    of_bits: bool = False

    def said(self, node: Node, quantizer: Node | None) -> tuple[str, str]:
        """The layer, and what to say; ``quantizer``: the source's node that has the node's value."""
        if not self.of_bits:
            return node.name, self.text
        if quantizer is None:
            return node.tap or node.name, f"{self.text}; {_thresholds(node)}"
        return quantizer.name, f"{self.text}; {_not_negative(node, quantizer) or _thresholds(node)}"


def _not_negative(node: Node, quantizer: Node) -> str:
    """That what the source's quantizer reads is never negative; names the first layer that makes it so (of a pool
    behind a ReLU, the ReLU)."""
    before = quantizer
    while len(before.data) == 1 and before.name == quantizer.name:
        before = before.data[0]
    if _constant(node) != 1 or least(before) < 0:
        return ""
    while len(before.data) == 1 and least(before.data[0]) >= 0:
        before = before.data[0]
    return f"'{before.name}' before its quantizer gives nothing below 0, as a ReLU does"


def _thresholds(node: Node) -> str:
    """Why all bits are the same, if nothing else is known."""
    if node.op not in CONVOLUTIONS:
        return "its threshold is outside of the values that it reads"
    reached = "every" if _constant(node) == 1 else "no"
    return f"{reached} sum of '{node.name}' reaches the threshold that bias, batch norm and activation give"


def _float_weights(node: Node) -> bool:
    """Bits times weights that are not quantized."""
    return levels(node.inputs[0]) is not None and len(np.unique(node.inputs[1].value)) > _MOST_LEVELS


def _float_input(node: Node) -> bool:
    """Quantized weights times floats that are neither the network's input nor quantized."""
    x = node.inputs[0]
    grouped = conv_attrs(node).groups != 1
    if levels(x) is not None or sign_planes(node.inputs[1].value) is None or grouped or _first_half(node) is not None:
        return False
    todo, seen = [(x, True)], set()
    while todo:
        x, moved = todo.pop()  # moved: between x and the layer, values are only moved
        quantized = x.op in ("input", "cast", "round") or scaled_by_batch(x) or moved and levels(x) is not None
        if (x, moved) in seen or x.is_constant or quantized:
            continue
        seen.add((x, moved))
        if not OPS[x.op].moves and (not OPS[x.op].scales or x.op == "prelu"):  # an activation
            return True
        todo += [(i, moved and OPS[x.op].moves) for i in x.inputs]
    return False


def _first_half(node: Node) -> Node | None:
    """The depthwise half of the separable layer whose pointwise half this node is."""
    x, w = node.inputs[:2]
    while OPS[x.op].moves:
        x = x.inputs[0]
    pointwise = x.op == "conv2d" and x.name == node.name and w.type.shape[1:3] == (1, 1)
    return x if pointwise and x.inputs[1].type.shape[3] == 1 and x.inputs[1] is not w else None


def _pointwise(node: Node) -> bool:
    """Quantized weights after sums that a separable layer cannot quantize."""
    return sign_planes(node.inputs[1].value) is not None and _first_half(node) is not None


def _constant(node: Node) -> int:
    """The value of all of a node's bits, or 0 where an image can change one."""
    if node.type.dtype is not DType.b1:
        return 0
    attrs = node.attrs
    if isinstance(attrs, ConvAttrs) and "threshold" in attrs.slots:
        limit, most = node.inputs[attrs.operand("threshold")].value, reach(node)
        return 0 if most is None else 1 if (limit <= -most).all() else -1 if (limit > most).all() else 0
    if isinstance(attrs, ConvAttrs):
        return _same_at_ends(node) if "residual" not in attrs.slots else 0
    if len(node.inputs) == 1:
        return 1 if least(node.inputs[0]) >= 0 else 0
    threshold, flip = (i.value for i in node.inputs[1:])
    every = np.isneginf(threshold) | np.isnan(threshold)  # the bit is the same for every float
    always = binarize(np.broadcast_to(np.float32(LARGEST), threshold.shape), threshold, flip)
    return _same(always) if every.all() or (least(node.inputs[0]) >= threshold).all() else 0


def _same_at_ends(conv: Node) -> int:
    """The bit of a convolution's values at the lowest and the highest sum."""
    operands = tuple(i.value for i in conv.inputs[2:])
    ends = np.array([[-LARGEST], [LARGEST]], np.float32)
    with np.errstate(all="ignore"):
        values = epilogue(np.broadcast_to(ends, (2, conv.type.shape[-1])), conv_attrs(conv), operands)
    return 0 if np.isnan(values).any() else _same(binarize(values))


def _same(bits: Array) -> int:
    return int(bits.flat[0]) if (bits == bits.flat[0]).all() else 0


def least(node: Node) -> float:
    """A lower bound of the values of a float node."""
    if node.is_constant:
        return float(node.value.min())
    known = None if isinstance(node.attrs, ClampAttrs) else levels(node)
    if known is not None:
        return float(known.values.min())
    bound = OPS[node.op].least
    if bound is not None:
        return float(bound(node.attrs, (least(i) for i in node.inputs)))
    if isinstance(node.attrs, ConvAttrs) and node.attrs.slots[-1:] in (("clamp0",), ("clamp1",)):
        return float((node.attrs.clamp0 if node.attrs.slots[-1] == "clamp0" else node.attrs.clamp1)[0])
    return -np.inf


def _no_batch_norm(node: Node) -> bool:
    """Bits that are just the signs of sums."""
    attrs = node.attrs
    if not isinstance(attrs, ConvAttrs) or "threshold" not in attrs.slots:
        return False
    threshold = node.inputs[attrs.operand("threshold")].value
    return len(threshold) > 1 and not threshold.any()


def _bare_sign(node: Node) -> bool:
    """Counted planes of -1, 0 and 1, where 0 represents only zero (repeated for weights of several planes)."""
    x = node.inputs[0]
    if x.op == "concat" and len(set(x.inputs)) == 1:
        x = x.inputs[0]
    if x.op != "concat" or [i.op for i in x.inputs] != ["binarize"] * 2 or any(len(i.inputs) != 3 for i in x.inputs):
        return False
    if x.inputs[0].inputs[0] is not x.inputs[1].inputs[0]:  # bits side by side
        return False
    summed = x.inputs[0].inputs[0].inputs
    if any(i.op == "sign" or levels(i) is not None for i in summed):  # a sum of signs: ste_tern
        return False
    low, high = (i.inputs[1].value for i in x.inputs)
    return bool((low < high).all() and max(np.abs(low).max(), np.abs(high).max()) <= SMALLEST_NORMAL)


def _few_zeros(node: Node) -> bool:
    """Ternary weights (two planes of signs over the same bits) with few zeros, where the planes differ."""
    x, w = node.inputs[0], node.inputs[1].value
    if x.op != "concat" or len(x.inputs) != 2 or x.inputs[0] is not x.inputs[1]:
        return False
    first, second = np.split(w, 2, axis=3)
    return bool(np.mean(first != second) <= _FEW_ZEROS)


HINTS = (
    Hint("a kernel quantizer would make it binary", ("conv2d",), _float_weights),
    Hint("its weights are binary: an input quantizer would make it so", ("conv2d",), _float_input),
    Hint(
        "its weights are binary, but a separable layer quantizes nothing between its halves; two layers could",
        ("conv2d",),
        _pointwise,
    ),
    Hint("all its bits are +1, whatever the image", _BITS, lambda node: _constant(node) == 1, of_bits=True),
    Hint("all its bits are -1, whatever the image", _BITS, lambda node: _constant(node) == -1, of_bits=True),
    Hint(
        "every threshold of its bits is 0, as without a batch norm or with an untrained one; sums of 0 then give +1",
        ("bconv2d", "iconv2d"),
        _no_batch_norm,
    ),
    Hint(
        "its input is a sign that is 0 at 0 and takes twice the work; with +1 there (ste_sign, or zero=1) it is binary",
        ("bconv2d",),
        _bare_sign,
    ),
    Hint(
        "few of its weights are 0, and they double its work; does its kernel quantizer give 0 at 0?",
        ("bconv2d",),
        _few_zeros,
    ),
)
