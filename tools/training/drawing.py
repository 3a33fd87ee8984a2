# SPDX-License-Identifier: Apache-2.0
"""Pictures by matplotlib."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bnn.runtime.files import replacing

INK, SOFT, RULE = "#1d2733", "#6b7785", "#dfe4ea"


@contextmanager
def figure(path: Path, **options: Any) -> Iterator[Any]:
    """A Figure with these options; at the end of the block it is written as a PNG, which appears whole."""
    # The object interface with the Agg canvas: works without a screen, and changes no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(**options)
    FigureCanvasAgg(made)
    yield made
    with replacing(str(path)) as file:
        made.savefig(file, format="png")
