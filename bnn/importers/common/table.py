# SPDX-License-Identifier: Apache-2.0
"""Tables with a function per op: its reader, its evaluator, or the size of its results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def entering(table: dict[str, F]) -> Callable[..., Callable[[F], F]]:
    """Make a decorator that enters a function into the table, under the names of the ops that it is given."""

    def of(*ops: str) -> Callable[[F], F]:
        def enter(function: F) -> F:
            table.update(dict.fromkeys(ops, function))
            return function

        return enter

    return of
