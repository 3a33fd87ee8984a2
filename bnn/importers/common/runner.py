# SPDX-License-Identifier: Apache-2.0
"""Run a source model node by node, with no more values in memory than the rest of it needs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from .layer import NamedOp


class RunNode(Protocol):
    """``inputs``: the keys of its operands; one that nothing makes or gives is an operand left out."""

    @property
    def op(self) -> str: ...

    @property
    def inputs(self) -> Sequence[Hashable]: ...


N = TypeVar("N", bound=RunNode)
Values = dict[Any, Any]  # arrays, or tensors of the framework, by key


def executed(
    nodes: Sequence[N],
    given: Mapping[Any, Any],
    run: Callable[[N, list[Any]], Values],
    *,
    named: Callable[[N], NamedOp],
    most: float = math.inf,
    remedy: str = "use smaller batches",
    aliases: Collection[str] = (),
) -> Iterator[tuple[N, Values]]:
    """Each node with its results, in order; these are freed after their last use.

    What the caller changes in the results is what the nodes after it get.  ``run``: a node's results of its operands;
    None for one that is left out.  ``most``: bytes that results may take at one time; ops in ``aliases`` pass on
    their operands, and are not counted.
    """
    left = Counter(key for node in nodes for key in node.inputs)
    values, sizes, held = dict(given), dict[Any, int](), 0
    for node in nodes:
        results = run(node, [values.get(key) for key in node.inputs])
        yield node, results
        kept = {key: value for key, value in results.items() if left[key]}
        values |= kept
        sizes |= {key: 0 if node.op in aliases else _bytes(value) for key, value in kept.items()}
        held += sum(sizes[key] for key in kept)
        if held > most:
            why = f"values of {held:,} bytes are needed at once; at most {most:,} are held"
            raise named(node).unsupported(why, remedy)
        for key in node.inputs:
            left[key] -= 1
            if not left[key]:
                values.pop(key, None)
                held -= sizes.pop(key, 0)


def _bytes(value: Any) -> int:
    return math.prod(value.shape) * int(getattr(value.dtype, "itemsize", 0) or value.dtype.size)
