# SPDX-License-Identifier: Apache-2.0
"""Numbers that depend on how many images a batch has: what is known of them for every batch.

A graph is read by executing it on a few images, so what TensorFlow computes of the data's shape has one value then, and
others for other batches.  Each such number is followed as slope * images + offset through the operations that keep it
so, and computed for batches of other sizes, too.  What is not of this form is unknown, and nothing may be made of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ..._types import Array
from ...errors import CompileError
from .frozen import ALIASES, SHAPE_OPS, Frozen, Tensor, TfNode

Shapes = Mapping[Tensor, tuple[int, ...]]
Slopes = dict[Tensor, Array]
# They put elements elsewhere: the first and the last operand that is data, the latter counted from the end where it is
# negative.
_MOVES = {
    "BroadcastTo": (0, 1), "ConcatV2": (0, -1), "ExpandDims": (0, 1), "Fill": (1, 2), "GatherV2": (0, 1),
    "Pack": (0, None), "Reshape": (0, 1), "Slice": (0, 1), "Split": (1, 2), "SplitV": (0, 1), "Squeeze": (0, 1),
    "StridedSlice": (0, 1), "Tile": (0, 1), "Transpose": (0, 1), "Unpack": (0, 1),
}  # fmt: skip
_OTHERS = (-2, 1, 8)  # images more than those that a graph is executed on
_SPREADS = ("BroadcastTo", "Fill", "Reshape", "Tile")  # how far a constant is spread may depend on the batch
# What they give of an element that does not grow does not grow.
_ELEMENTWISE = frozenset({
    "Abs", "Equal", "Exp", "Floor", "FloorDiv", "FloorMod", "Greater", "GreaterEqual", "Less", "LessEqual",
    "LogicalAnd", "LogicalNot", "LogicalOr", "Maximum", "Minimum", "NotEqual", "Pow", "Relu", "Rsqrt", "Select",
    "SelectV2", "Sign", "Sqrt", "Square",
})  # fmt: skip


def slopes(frozen: Frozen, values: Mapping[Tensor, Array], shapes: Shapes, fewer: Shapes) -> Slopes:
    """By how much each number of a tensor grows with every image of a batch: float64 of the tensor's shape, nan where
    it is not of that form.  Of ``values``, tensors that do not depend on the data; those of which no number grows are
    left out.  ``shapes``: of all tensors then, ``fewer``: for a batch of one image less.
    """
    found: Slopes = {}
    for node in frozen.nodes:
        outputs: list[Tensor] = []
        while (node.name, len(outputs)) in values:
            outputs.append((node.name, len(outputs)))
        inputs = [frozen.resolve(t) for t in node.inputs]
        if not outputs or node.op not in SHAPE_OPS and not any(t in found for t in inputs):
            continue
        if node.op in SHAPE_OPS:
            results = _of_shapes(node, inputs, shapes, fewer)
        else:
            operands = [(values[t], found.get(t, np.zeros(values[t].shape))) for t in inputs]
            followed = _followed(node, frozen, operands)
            results = followed or [np.full(values[t].shape, np.nan) for t in outputs]
        for tensor, result in zip(outputs, results, strict=True):
            if np.any(result != 0):  # nan is not 0
                found[tensor] = np.asarray(result, np.float64).reshape(values[tensor].shape)
    for more in _OTHERS:
        for tensor in list(_contradicted(frozen, values, shapes, fewer, found, more)):
            found[tensor] = np.full(values[tensor].shape, np.nan)
    return found


def _contradicted(
    frozen: Frozen, values: Mapping[Tensor, Array], shapes: Shapes, fewer: Shapes, found: Slopes, more: int
) -> Iterator[Tensor]:
    """Tensors that are not what their slopes say, for a batch of so many more images."""
    now: dict[Tensor, Array | None] = {}  # None: cannot be computed
    for node in frozen.nodes:
        inputs = [frozen.resolve(t) for t in node.inputs]
        if (node.name, 0) not in values or node.op in ALIASES:
            continue
        results: list[Array] = []
        if node.op in SHAPE_OPS:
            results = _shapes_then(node, inputs, values, shapes, fewer, now, more)
        elif any(t in now for t in inputs):
            operands = [now.get(t, values[t]) for t in inputs]
            with contextlib.suppress(CompileError):
                if not any(operand is None for operand in operands):
                    results = [np.asarray(r) for r in frozen.run_op(node, operands)]
        else:
            continue
        i = 0
        while (tensor := (node.name, i)) in values:
            now[tensor] = results[i] if results else None
            if not results or not _as_said(results[i], values[tensor], found.get(tensor), more):
                yield tensor
            i += 1


def _shapes_then(
    node: TfNode,
    inputs: Sequence[Tensor],
    values: Mapping[Tensor, Array],
    shapes: Shapes,
    fewer: Shapes,
    now: Mapping[Tensor, Array | None],
    more: int,
) -> list[Array]:
    """What an op of shapes gives for so many more images."""
    then = []
    for i, t in enumerate(inputs):
        known = now.get(t)
        shape = known.shape if known is not None else np.add(shapes[t], more * np.subtract(shapes[t], fewer[t]))
        like = values[node.name, i if node.op == "ShapeN" else 0]
        if node.op in ("Shape", "ShapeN"):
            then.append(np.asarray(shape, like.dtype).reshape(-1))
        elif node.op in ("Size", "Rank"):
            then.append(np.asarray(np.prod(shape) if node.op == "Size" else len(shape), like.dtype))
        else:
            one = 1 if node.op == "OnesLike" else 0
            then.append(np.full(tuple(int(d) for d in shape), one, like.dtype))
    return then


def _as_said(now: Array, value: Array, slope: Array | None, more: int) -> bool:
    """Whether a tensor is what it was and its slopes make of it; where there is more of it, more of the same."""
    if now.shape != value.shape:
        alike = now.shape[1:] == value.shape[1:] and len(value) > 0
        return slope is None and alike and bool((now == value[:1]).all() and (value == value[:1]).all())
    if slope is None or now.dtype.kind not in "iuf":
        return np.array_equal(now, value)
    return bool(np.isnan(slope).any()) or np.array_equal(now, value + more * slope)


def _of_shapes(node: TfNode, inputs: Sequence[Tensor], shapes: Shapes, fewer: Shapes) -> list[Array]:
    grown = [np.subtract(shapes[t], fewer[t]).astype(np.float64) for t in inputs]
    if node.op in ("Shape", "ShapeN"):
        return grown
    if node.op == "Size":
        return [_of_product(np.array(shapes[inputs[0]], np.float64), grown[0])]
    return [np.zeros(())] if node.op == "Rank" else [np.zeros(shapes[inputs[0]])]  # ones and zeros


def _of_product(values: Array, grown: Array) -> Array:
    """Of the product of several numbers, of which one may grow."""
    at = np.flatnonzero(grown)  # nan among them
    if len(at) > 1:
        return np.array(np.nan)
    return np.asarray(np.sum(grown[at] * np.prod(np.delete(values, at))))


def _followed(node: TfNode, frozen: Frozen, operands: Sequence[tuple[Array, Array]]) -> list[Array] | None:
    """The slopes of an op's results; None: unknown."""
    values, grown = [v for v, _ in operands], [g for _, g in operands]
    if node.op in ALIASES:
        return grown
    if node.op in _MOVES:
        data = range(len(operands))[slice(*_MOVES[node.op])]
        if node.op not in _SPREADS and any(g.any() for i, g in enumerate(grown) if i not in data):
            return None
        moved = frozen.run_op(node, [g if i in data else v for i, (v, g) in enumerate(operands)])
        return [np.asarray(m) for m in moved]
    slope = _ARITHMETIC[node.op](node, values, grown) if node.op in _ARITHMETIC else None
    if slope is None and node.op in _ELEMENTWISE:
        depends = np.zeros(np.broadcast_shapes(*(g.shape for g in grown)), bool)
        for g in grown:
            depends = depends | (g != 0)
        slope = np.where(depends, np.nan, 0.0)
    return None if slope is None else [slope]


def _cast(node: TfNode, values: Sequence[Array], grown: Sequence[Array]) -> Array | None:
    whole = np.array_equal(values[0], np.rint(values[0])) and np.array_equal(grown[0], np.rint(grown[0]))
    return grown[0] if whole and node.attrs.get("DstT") in ("float32", "float64", "int32", "int64") else None


def _mul(node: TfNode, values: Sequence[Array], grown: Sequence[Array]) -> Array:
    square = (grown[0] != 0) & (grown[1] != 0)
    return np.where(square, np.nan, grown[0] * values[1] + grown[1] * values[0])


def _div(node: TfNode, values: Sequence[Array], grown: Sequence[Array]) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(grown[1] != 0, np.nan, grown[0] / values[1])


def _prod(node: TfNode, values: Sequence[Array], grown: Sequence[Array]) -> Array | None:
    if values[0].ndim != 1 or values[1].reshape(-1).tolist() not in ([0], [-1]) or node.attrs.get("keep_dims"):
        return None
    return _of_product(values[0].astype(np.float64), grown[0])


_ARITHMETIC: dict[str, Callable[[TfNode, Sequence[Array], Sequence[Array]], Array | None]] = {
    "Add": lambda node, values, grown: grown[0] + grown[1],
    "AddV2": lambda node, values, grown: grown[0] + grown[1],
    "Cast": _cast,
    "Mul": _mul,
    "Neg": lambda node, values, grown: -grown[0],
    "Prod": _prod,
    "RealDiv": _div,
    "Sub": lambda node, values, grown: grown[0] - grown[1],
}


def multiple(value: Array, slope: Array, images: int) -> int:
    """n of a number that is n times the images, whatever their number; else 0."""
    if slope.ndim or not float(slope).is_integer():
        return 0
    return max(int(slope), 0) if float(value) == float(slope) * images else 0


def keeps_its_place(op: str, slope: Array) -> bool:
    """Whether a moving op may take such numbers as where to: those of the batch itself, which all images have alike."""
    if op in ("BroadcastTo", "Reshape"):
        return not np.isnan(slope).any()
    return op in ("Slice", "StridedSlice") and slope.ndim == 1 and not np.isnan(slope).any() and not slope[1:].any()
