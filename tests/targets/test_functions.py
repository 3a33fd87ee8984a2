# SPDX-License-Identifier: Apache-2.0
"""Functions of one float: on every target the bytes of the oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bnn._types import Array
from bnn.ir.ops import CURVES, functions
from bnn.runtime.build import INCLUDE_FLAGS
from targets import HERE, TARGETS, run

SOURCES = [HERE / "functions.c", "csrc/mcu/functions.c"]
FLAGS = ["-std=c11", "-Os", "-ffp-contract=off", *INCLUDE_FLAGS]
CALLED = [op for op in CURVES if op.c == f"bnn_{op.name}(out, in, n)"]
EXPONENTS = np.float32([-1.5, 0.5, 3.0])


def operands(rng: np.random.Generator) -> Array:
    """Floats of every size and sign, denormals and NaN among them, and numbers that networks have."""
    any_bits = rng.integers(0, 2**32, 96, np.uint64).astype(np.uint32).view(np.float32)
    special = np.float32([0, -0.0, 1e-45, -1e-40, 1, -1, 104, -104, np.inf, -np.inf, np.nan])
    return np.concatenate([any_bits, special, rng.normal(0, 3, 64).astype(np.float32)])


def words(name: str, x: Array) -> str:
    return f"static const uint32_t {name}[] = {{{', '.join(f'{bits}u' for bits in x.view(np.uint32))}}};\n"


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("name", TARGETS)
def test_functions(name: str, lanes: int, rng: np.random.Generator, tmp_path: Path) -> None:
    target, x = TARGETS[name], operands(rng)
    text = f"enum {{ COUNT = {len(x)} }};\n{words('bits', x)}{words('exponents', EXPONENTS)}"
    (tmp_path / "operands.inc").write_text(text, encoding="utf-8")
    output = run(target, SOURCES, [*FLAGS, f"-DBNN_LANES={lanes}", f"-I{tmp_path}"], folder=tmp_path)
    with np.errstate(all="ignore"):
        expected = [(op.name, op.reference(x, a=op.attrs())) for op in CALLED]
        expected += [("pow", functions.pow(x, float(exponent))) for exponent in EXPONENTS]
    order = ">f4" if target.big_endian else "<f4"
    assert output.split("\n")[:-1] == [f"{name} {y.astype(order).tobytes().hex()}" for name, y in expected]
