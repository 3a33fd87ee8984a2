"""Quantizers join the convolution before them: as exact integer thresholds where it is binary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .. import reference
from ..ir import DType, Graph, Node
from ..ops import CONVOLUTIONS, ConvAttrs, constant, make
from ..rewrite import Match, Pattern, Rule, rewrite

_CHUNK = 64  # channels evaluated at once, to bound the memory
_FARTHEST = 2**20  # sums of bytes that are evaluated, in either direction


def to_thresholds(graph: Graph) -> Graph:
    """binarize(bconv2d(...)) -> bconv2d whose bits are accumulator >= threshold[o], and so iconv2d; other convolutions
    give v >= 0.

    Precondition: epilogues are fused.  Postcondition: no binarize follows a convolution that has no other user.

    The threshold of a filter is found by evaluating its epilogue, float32 operation by operation, at every integer an
    accumulator can reach (-K to K; of bytes 255 times as far), and is right only if the bit changes once: that is
    checked, not assumed.  Where it falls (a negative gamma) the filter's weights are negated, so that the accumulator
    changes sign and the comparison is the same everywhere: acc <= t is -acc >= -t; the slot "negated" remembers which.
    A filter whose bit never changes (gamma 0) gets a threshold out of reach.
    """
    return rewrite(graph, [Rule(Pattern(("binarize",)), _fuse)])


def _fuse(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    conv = node.inputs[0]
    if conv.op not in CONVOLUTIONS or uses.get(conv, 1) != 1:
        return None
    attrs = conv.attrs
    assert isinstance(attrs, ConvAttrs)
    names = {"name": conv.name, "tap": node.tap or node.name, "origin": node.origin, "note": conv.note}
    if conv.op != "conv2d" and "residual" not in attrs.slots:
        found_thresholds = thresholds(conv, node)
        if found_thresholds is not None:
            limit, falling = found_thresholds
            w = conv.inputs[1]
            slots: tuple[str, ...] = ("threshold",)
            operands = [constant(limit, DType.i32)]
            if falling.any():
                slots += ("negated",)
                operands.append(constant(np.where(falling, 1, -1), DType.b1))
                signs = np.where(falling[:, None, None, None], -w.value, w.value)
                w = constant(signs, DType.b1, w.name)
            new = replace(
                attrs, slots=slots, layer_slots=(), clamp0=ConvAttrs.clamp0, clamp1=ConvAttrs.clamp1
            )
            new = replace(new, out=DType.b1)
            names["note"] = _constant_bits(conv, limit) or conv.note
            return make(conv.op, conv.inputs[0], w, *operands, attrs=new, **names)
    if len(node.inputs) > 1:  # a threshold of its own on floats stays where it is
        return None
    return make(conv.op, *conv.inputs, attrs=replace(attrs, out=DType.b1), **names)


def _constant_bits(conv: Node, limit: np.ndarray[Any, Any]) -> str:
    """A hint where no image can change a bit: the author surely meant something else."""
    reach = _reach(conv)
    for value, always in (("+1", limit <= -reach), ("-1", limit > reach)):
        if always.all():
            return f"all its bits are {value}, whatever the image; is there a ReLU before the quantizer?"
    return ""


def _reach(conv: Node) -> int:
    """The largest magnitude of an accumulator."""
    x, w = conv.inputs[:2]
    products = int(np.prod(w.type.shape[1:]))
    if conv.op != "iconv2d":
        return products
    zero = conv.attrs.pad_value  # type: ignore[attr-defined]
    planes = w.type.shape[3] // x.type.shape[-1]
    return int(products // planes * max(zero, 255 - zero))


def thresholds(conv: Node, quantizer: Node) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """Per filter: the threshold (int32), and whether the bit falls with the accumulator, the threshold then being
    that of the negated filter.  None where some filter's bit changes more than once."""
    attrs = conv.attrs
    assert isinstance(attrs, ConvAttrs)
    filters, reach = conv.type.shape[-1], _reach(conv)
    if conv.op == "iconv2d" and reach > _FARTHEST:  # its sums stay exact, and become floats
        return None
    acc = np.arange(-reach, reach + 1, dtype=np.float32)[:, None]
    operands = [i.value for i in conv.inputs[2:]]
    limit = np.empty(filters, np.int32)
    falling = np.zeros(filters, bool)
    chunk = max(1, min(_CHUNK, 2 * _FARTHEST // reach))
    for start in range(0, filters, chunk):
        part = slice(start, min(start + chunk, filters))
        spread = np.broadcast_to(acc, (len(acc), part.stop - start))
        value = reference.epilogue(spread, attrs, tuple(o[part] for o in operands))
        if np.isnan(value).any():
            return None
        bits = reference.binarize(value, *(i.value[part] for i in quantizer.inputs[1:])) > 0
        changes = np.diff(bits.astype(np.int8), axis=0)
        if (np.abs(changes).sum(axis=0) > 1).any():
            return None
        down = (changes == -1).any(axis=0)
        # rising: bits from the first +1 on; falling: up to the last +1, acc <= t, that is -acc >= -t
        ones = bits.sum(axis=0)
        limit[part] = np.where(down, -(ones - 1 - reach), reach + 1 - ones)
        falling[part] = down
    return limit, falling


