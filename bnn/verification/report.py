# SPDX-License-Identifier: Apache-2.0
"""What every comparison reports: rows, a verdict that follows from them, one text and one JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

from .._text import printable
from .._types import Array
from ..runtime.summary import table

# What to do where nothing changed.
ACCEPT = "Give other images, or accept it: allow_silent=True, --allow-silent"


def column(name: str = "", default: Any = MISSING, *, fails: bool = False) -> Any:
    """A field, and the title of its column.  ``fails``: where it is neither 0 nor empty, the row has failed."""
    made = {"default_factory": list} if default == [] else {"default": default}
    return field(**made, metadata={"column": name, "fails": fails})


@dataclass
class Row:
    """A part of a comparison: of a layer, a population, a run.  ``told``: what JSON has beside the fields."""

    told: ClassVar[tuple[str, ...]] = ()

    @property
    def failed(self) -> bool:
        """Something differs that rounding does not explain, here or in a part of this."""
        values = [(getattr(self, one.name), one.metadata.get("fails")) for one in fields(self)]
        parts = [part for value, _ in values for part in (value if isinstance(value, list) else [value])]
        return any(value for value, fails in values if fails) or any(x.failed for x in parts if isinstance(x, Row))

    @property
    def ok(self) -> bool:
        return not self.failed

    def cells(self) -> dict[str, Any]:
        """Its line of a table, by the names of the columns."""
        shown = ((one.metadata.get("column"), one.name) for one in fields(self))
        return {title: getattr(self, name) for title, name in shown if title}


@dataclass
class Report(Row):
    """All of a comparison.  ``allow_silent``: it need not say something of every row."""

    told: ClassVar[tuple[str, ...]] = ("ok", "verdict", "silent")
    allow_silent: bool = field(default=False, kw_only=True)

    @property
    def silent(self) -> list[str]:
        """What the comparison says nothing of."""
        raise NotImplementedError

    @property
    def differs(self) -> bool:
        """Something differs that rounding does not explain, or nothing was compared."""
        return self.failed

    @property
    def ok(self) -> bool:
        """Nothing differs, and no row is silent unless ``allow_silent`` accepts that."""
        return not self.differs and (self.allow_silent or not self.silent)

    @property
    def verdict(self) -> str:
        """The outcome in one word."""
        return "DIFFERENT" if self.differs else "OK" if self.ok else "SILENT"

    def lines(self) -> Iterable[str]:
        """The text before the verdict."""
        raise NotImplementedError

    def __str__(self) -> str:
        """The tables, what is to be said of them, and the verdict, as the command prints them."""
        return "\n".join(map(printable, (*self.lines(), self.verdict)))


def rows_table(rows: Sequence[Row]) -> list[str]:
    """The rows' lines: texts to the left, numbers to the right, "-" for None; without the columns of None alone."""
    cells = [row.cells() for row in rows]
    names = [name for name in cells[0] if any(line[name] is not None for line in cells)] if cells else []
    left = [name for name in names if isinstance(cells[0][name], str)]
    return table(names, [[shown(line[name]) for name in names] for line in cells], left).split("\n") if cells else []


def shown(value: Any) -> str:
    """A cell."""
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.2g}"


def as_json(value: Any) -> Any:
    """A report, or a part of one, as JSON's types."""
    if isinstance(value, Row):
        return {n: as_json(getattr(value, n)) for n in (*value.told, *(one.name for one in fields(value)))}
    return [as_json(one) for one in value] if isinstance(value, (list, tuple)) else value


class Changes:
    """Whether any bit of a layer changed: one whose bits are the same whatever the image is equal to any that is so.

    With several images, a bit changes if it is not the same in all of them.  With one image, in which nothing can
    change, a layer counts as changing unless all of its bits are equal, and there are several.
    """

    def __init__(self) -> None:
        self._images = 0
        self._first: dict[int, Array] = {}
        self._changed = False
        self._values: set[float] = set()
        self._bits = 0

    def add(self, part: int, values: Array) -> None:
        """Count images (N, ...) of ``part``, one of the layer's tensors."""
        if part not in self._first:
            first = self._first[part] = values[0].copy()
            self._values |= {float(first.min()), float(first.max())} if first.size else set()
            self._bits += first.size
        self._images += len(values)
        self._changed = self._changed or bool((values != self._first[part]).any())

    @property
    def none(self) -> bool:
        """No bit of the layer changed."""
        if self._images > len(self._first):
            return self._bits > 0 and not self._changed
        return self._bits > 1 and len(self._values) == 1
