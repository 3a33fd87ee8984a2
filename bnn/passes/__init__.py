# SPDX-License-Identifier: Apache-2.0
"""The pipeline: one line per pass, read top to bottom.  The verifier runs after each."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import CompileError
from ..ir import spec
from ..ir.graph import Graph, Node
from ..ir.ops import Level
from .binarize import binarize
from .byte_levels import byte_levels
from .canonicalize import canonicalize
from .choose_layout import choose_layout
from .cse import cse
from .explain import explain
from .fold_constants import fold_constants
from .fuse_affine import fuse_affine
from .fuse_epilogue import fuse_epilogue
from .integer_layers import integer_layers
from .one_pass_slopes import one_pass_slopes
from .plan_arena import plan_arena
from .read_bytes import read_bytes
from .recognize_quantizers import recognize_quantizers
from .regular_gathers import regular_gathers
from .round_levels import round_levels
from .schedule import schedule
from .sink_concat import sink_concat
from .sink_sign import sink_sign
from .threshold_floats import threshold_floats
from .to_thresholds import to_thresholds

Pass = Callable[[Graph], Graph]

PIPELINE: tuple[tuple[Pass, Level], ...] = (
    (canonicalize, Level.SOURCE),
    (fold_constants, Level.SOURCE),
    (recognize_quantizers, Level.BINARY),
    (read_bytes, Level.BINARY),
    (binarize, Level.BINARY),
    (integer_layers, Level.BINARY),
    (cse, Level.BINARY),  # before passes that join only values with one user
    (sink_sign, Level.BINARY),
    (sink_concat, Level.BINARY),
    (fuse_epilogue, Level.BINARY),
    (to_thresholds, Level.BINARY),
    (threshold_floats, Level.BINARY),
    (fuse_affine, Level.BINARY),
    # BINARY: what spikes are emitted from
    (byte_levels, Level.BINARY),
    (round_levels, Level.BINARY),
    (one_pass_slopes, Level.BINARY),
    (regular_gathers, Level.BINARY),
    (choose_layout, Level.RUNTIME),
    (schedule, Level.RUNTIME),
    (plan_arena, Level.RUNTIME),
    # RUNTIME: what the file holds
)

NAMES = tuple(function.__name__ for function, _ in PIPELINE)


def lower(
    graph: Graph, dump_after: str | None = None, dump: Callable[[str], object] = print, until: str | None = None
) -> Graph:
    """Run the pipeline on a SOURCE graph; returns the RUNTIME graph with its layers explained.

    ``dump_after``: the name of a pass ("all" for each), after which ``dump`` gets the graph's text.  ``until``: return
    the graph after that pass.  Raises :class:`CompileError` if a name is not a pass, :class:`VerifierError` if a pass
    breaks the IR.
    """
    for name in (dump_after, until):
        if name not in (None, "all", "import", *NAMES):
            raise CompileError(f"no pass is called '{name}'; expected one of import, {', '.join(NAMES)}, all")
    # By level: a node that passes keep is checked once.
    checked = {level: set[Node]() for level in (Level.SOURCE, Level.BINARY, Level.RUNTIME)}
    spec.verify(graph, Level.SOURCE, "import", checked[Level.SOURCE])
    if dump_after in ("import", "all"):
        dump(f"; after import\n{graph}\n")
    source = graph
    for function, level in PIPELINE:
        graph = function(graph)
        name = function.__name__
        spec.verify(graph, level, name, checked[level])
        if dump_after in (name, "all"):
            dump(f"; after {name}\n{graph}\n")
        if name == until:
            return graph
    return explain(graph, source)
