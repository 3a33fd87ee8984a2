# SPDX-License-Identifier: Apache-2.0
"""Turn standalone batch norm and the activation after it into one op: one pass over memory instead of four."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..ir.graph import Graph, Node
from ..ir.ops import INF, ClampAttrs, constant, make
from ..ir.rewrite import Rewrite, fused, rewrite
from .sink_sign import is_channel_operation

# Operations that change no float, including zeros of either sign: x - 0, x * 1, x + -0.
_NEUTRAL = {"sub": np.float32(0), "mul": np.float32(1), "add": np.float32(-0.0)}
_UNCLAMPED = ClampAttrs(-INF, INF)
# The slots an operation can take; those of "-" take its negated operand (x + c = x - (-c) exactly).
_CANDIDATES = {"add": ("-sub", "add"), "sub": ("sub", "-add"), "mul": ("mul",)}


def fuse_affine(graph: Graph) -> Graph:
    """Precondition: every operation that could join a convolution or a threshold has done so.  Postcondition: in chains
    of per-channel operations with one user each, those that fit (x - sub) * mul + add, clamped, are one op.

    The same float32 operations in the same order: no result changes by a bit.
    """
    return rewrite(graph, [Rewrite(_fuse, ("add", "sub", "mul", "clamp"))])


def _fuse(node: Node, uses: Mapping[Node, int]) -> Node | None:
    below = node.inputs[0]
    if not is_channel_operation(node) or uses.get(below, 1) != 1:
        return None
    if below.op != "affine" and not is_channel_operation(below):
        return None
    affine = _appended(_appended(None, below), node) if below.op != "affine" else _appended(below, node)
    return None if affine is None else fused(below, node, "affine", *affine.inputs, attrs=affine.attrs)


def _appended(affine: Node | None, node: Node) -> Node | None:
    """The affine op (None: one that changes nothing), then the node; None if it does not fit."""
    channels = node.type.shape[-1]
    if affine is None:
        neutral = [constant(np.full(channels, value)) for value in _NEUTRAL.values()]
        affine = make("affine", node.inputs[0], *neutral, attrs=_UNCLAMPED)
    operands = dict(zip(_NEUTRAL, affine.inputs[1:], strict=True))
    if affine.attrs != _UNCLAMPED:
        return None
    if node.op == "clamp":
        return make("affine", *affine.inputs, attrs=node.attrs)
    free = _free(operands)
    for candidate in _CANDIDATES[node.op]:
        slot = candidate.lstrip("-")
        if slot in free:
            value = node.inputs[1].value.reshape(-1) * np.float32(-1 if slot != candidate else 1)
            operands[slot] = constant(np.broadcast_to(value, (channels,)))
            return make("affine", affine.inputs[0], *operands.values(), attrs=_UNCLAMPED)
    return None


def _free(operands: dict[str, Node]) -> list[str]:
    """The slots after the last one in use."""
    free: list[str] = []
    for slot in reversed(operands):
        value, neutral = operands[slot].value, _NEUTRAL[slot]
        if not np.array_equal(value.view(np.uint32), np.full_like(value, neutral).view(np.uint32)):
            break
        free.append(slot)
    return free
