# SPDX-License-Identifier: Apache-2.0
"""Which values are int16: sums of shortcuts, for which bytes can be too coarse, and what leads to them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from ..ir.graph import DType, Node
from ..ir.ops import CONVOLUTIONS
from ..ir.ops.requantize import INT16
from .units import Units, is_mean

_SPARE = 1.25  # of the largest number on the images, which other images may exceed


def is_addition(core: Node) -> bool:
    """Whether a value is the sum of two others, number by number."""
    return core.op == "add" and all(not x.is_constant and x.type == core.type for x in core.inputs)


def additions(units: Units) -> list[Node]:
    return [x for x in units.order if x not in units.rounded and units.base[x] is x and is_addition(units.core(x))]


def steps_of(units: Units, sums: Collection[Node], largest: Mapping[Node, float]) -> dict[Node, float]:
    """The values that are int16 so that these sums are, and the scale of each: operands of a sum and the sum share one,
    and so do both ends of a pool, and the parts of a concatenation.  A scale is a power of two: sums of bits without a
    batch norm are exact.

    ``largest``: the largest number of each measured value, without its sign."""
    scales = dict[frozenset[Node], float]()
    groups = _groups(units, sums)
    for group in {*groups.values()}:
        # What is raised to a sum's int16 has a place there, too.
        known = {i for x in group for i in (x, *(units.core(x).inputs if x in sums else ())) if i in largest}
        most = max(largest[x] for x in known)
        scales[group] = 2.0 ** math.ceil(math.log2(_SPARE * most / INT16[1])) if most else 1.0
    return {x: scales[group] for x, group in groups.items()}


def _groups(units: Units, sums: Collection[Node]) -> dict[Node, frozenset[Node]]:
    """The values that are int16, and those that share the scale of each, itself among them."""
    readers, found = units.readers(), {*sums}
    for x in reversed(units.order):
        reads = any(reader in found and _reads_shorts(units, reader) for reader in readers[x])
        if reads and x.type.dtype is DType.f32 and _gives_shorts(units, x):
            found.add(x)
    groups = dict[Node, frozenset[Node]]()
    for x in units.order:
        moves = _moves_shorts(x)
        same = [i for i in units.core(x).inputs if i in groups] if x in sums or moves else []
        if x in found and (not moves or len(same) == len(x.inputs)):
            joined = frozenset({x}).union(*(groups[i] for i in same))
            groups.update(dict.fromkeys(joined, joined))
    return groups


def _reads_shorts(units: Units, reader: Node) -> bool:
    core = units.core(reader)
    return core.op == "add" or _moves_shorts(core) or core.op == "affine" and bool((core.inputs[2].value >= 0).all())


def _gives_shorts(units: Units, x: Node) -> bool:
    alone = x not in units.rounded and units.base[x] is x
    return alone and (_moves_shorts(x) or units.core(x).op in (*CONVOLUTIONS, "affine"))


def _moves_shorts(x: Node) -> bool:
    """Whether a value of int16 has the scale of its operands, which are int16, too."""
    return x.op in ("max_pool", "concat") or x.op == "avg_pool" and not is_mean(x)
