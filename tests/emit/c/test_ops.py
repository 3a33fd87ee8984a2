# SPDX-License-Identifier: Apache-2.0
"""Every op as C, on random data, as its record's maker draws it: the bytes of the runtime's portable kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bnn
import op_graphs
from bnn.file.write import encode
from bnn.ir.graph import Graph
from bnn.ir.ops import OPS
from bnn.runtime import Model
from ops.test_every_op import TABLES
from sanitized import SANITIZE, call

Rng = np.random.Generator
CASES = [(data, name) for data, table in TABLES.items() for name in table if not OPS[name].whole_batch]


def check(graph: Graph, rng: Rng, folder: Path, *flags: str, **options: object) -> None:
    """The emitted program gives every output and every layer's memory the right bytes."""
    inputs = [op_graphs.values_of(rng, 3, x) for x in graph.inputs]
    bnn.emit_c(Model.from_bytes(encode(graph)), folder, name="net", trace=True, vectors=inputs, **options)  # type: ignore[arg-type]
    files = [folder / name for name in ("main.c", "net.c", "net_kernels.c") if (folder / name).exists()]
    strict = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-DNET_HOOK", *SANITIZE)
    call("cc", *strict, *flags, *map(str, files), "-lm", "-o", str(folder / "net"))
    call(str(folder / "net"))


@pytest.mark.parametrize(("data", "name"), CASES)
def test_every_op(data: str, name: str, rng: Rng, tmp_path: Path) -> None:
    check(op_graphs.one_op(rng, name, TABLES[data]), rng, tmp_path)
