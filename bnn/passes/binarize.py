"""Convolutions and dense layers of bits by two-valued weights become binary ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..bitpack import WORD
from ..ir import DType, Graph, Node
from ..ops import ConvAttrs, PadAttrs, constant, make
from ..rewrite import Match, Pattern, Rule, any_, const, remade, rewrite


def binarize(graph: Graph) -> Graph:
    """Precondition: quantizers are unpack(binarize(x)).  Postcondition: every convolution whose data are bits and whose
    weights are two values +-alpha per filter is mul(bconv2d(bits, signs), alpha); layers that stay float carry the
    reason in their note; bits move through pools, reshapes, concatenations and +-1 padding as bits, and are not
    quantized again.

    Weights are read as numbers: whatever quantizer made them, freezing left a constant.  sum(alpha * w * x) is
    alpha * sum(w * x): equal wherever the float sums are exact.
    """
    return rewrite(graph, RULES)


def two_valued(w: np.ndarray) -> np.ndarray | None:  # type: ignore[type-arg]
    """The scale alpha per filter of OHWI weights that are +-alpha; None where they are not."""
    magnitude = np.abs(w.reshape(w.shape[0], -1))
    alpha = magnitude[:, 0]
    if not np.all(np.isfinite(alpha)):
        return None
    return alpha if np.array_equal(magnitude, np.broadcast_to(alpha[:, None], magnitude.shape)) else None


def why_float(attrs: ConvAttrs, w: np.ndarray) -> str:  # type: ignore[type-arg]
    """Why a convolution of bits cannot be a binary one; "" where it can."""
    if two_valued(w) is None:
        return f"its weights take {len(np.unique(w))} values, not two per filter"
    if attrs.groups > 1 and w.shape[3] % WORD:
        return f"groups of {w.shape[3]} channels are not whole {WORD}-bit words"
    return ""


def _binarize(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    bits, w, attrs = found["bits"], found["w"].value, node.attrs
    assert isinstance(attrs, ConvAttrs)
    reason = why_float(attrs, w)
    if reason:
        return _annotate(node, reason)
    node = replace(node, note="")
    if bits.op == "pad" and not any(attrs.pads):  # padding with +-1 is part of the convolution
        pad = bits.attrs
        assert isinstance(pad, PadAttrs)
        attrs = replace(attrs, pads=pad.pads, pad_value=int(pad.value))
        bits = bits.inputs[0]
    alpha = two_valued(w)
    assert alpha is not None
    signs = constant(np.where(w > 0, 1, -1), DType.b1, found["w"].name)
    if np.all(alpha == 1):
        return remade(node, "bconv2d", bits, signs, attrs=attrs)
    acc = make("bconv2d", bits, signs, attrs=attrs, name=node.name)
    return remade(node, "mul", acc, constant(alpha, name=node.name))


def _annotate(node: Node, reason: str) -> Node | None:
    return None if node.note else replace(node, note=reason)


def _float_input(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    x = node.inputs[0]
    if x.op == "pad" and x.inputs[0].op == "unpack":
        return _annotate(node, f"its bits are padded with {x.attrs.value:g}")  # type: ignore[attr-defined]
    binary = two_valued(found["w"].value) is not None
    return _annotate(node, f"its input is float{'' if binary else ', its weights too'} (no input quantizer)")


def _bits_on(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    """op(unpack(b)) -> unpack(op(b)) for ops that move values and do not change them."""
    if node.op == "pad" and node.attrs.value not in (-1.0, 1.0):  # type: ignore[attr-defined]
        return None
    if not all(i.op == "unpack" for i in node.inputs):
        return None
    return remade(node, "unpack", remade(node, node.op, *(i.inputs[0] for i in node.inputs), attrs=node.attrs))


def _already_bits(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    return found["bits"]


_BITS = Pattern(("unpack",), (any_("bits"),))

RULES = (
    Rule(Pattern(("conv2d",), (_BITS, const("w"))), _binarize),
    Rule(Pattern(("binarize",), (_BITS,)), _already_bits),
    Rule(Pattern(("max_pool", "pad", "reshape", "concat")), _bits_on),
    Rule(Pattern(("conv2d",), (any_("x"), const("w"))), _float_input),
)
