# SPDX-License-Identifier: Apache-2.0
"""Proofs about the parser of files, by CBMC: parser.c says what of."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bnn.ir.ops import OPS
from bnn.runtime.build import INCLUDE_FLAGS

ROOT = Path(__file__).resolve().parents[2]
HARNESS, STRINGS = "tests/proof/parser.c", "model/container.h"  # which reads strings
PARSER = ("csrc/model/validate.c", "csrc/model/container.c")
OTHERS = ("csrc/model/problem.c", "csrc/model/coding.c")  # what the parser calls
PRODUCT = "bnn_times"
CHECKS = ("bounds", "pointer", "pointer-overflow", "signed-overflow", "div-by-zero", "undefined-shift")
KINDS = sum(op.opcode is not None for op in OPS.values())
# What is proven, the most bytes of the file, and how often a loop may turn: over the kinds of op, and over an op's
# inputs (32 at most).
PROOFS = {"CONTAINER": (512, 11), "HEADER": (512, 9), "TENSORS": (512, 9), "OPS": (448, KINDS + 2)}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cbmc") is None, reason="cbmc is not installed (on Debian: apt-get install cbmc)"),
]


def call(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def program(folder: Path, *flags: str) -> Path:
    """The parser with the harness, in CBMC's form.

    Products of sizes are hard for a solver, and nothing that is proven needs them: PRODUCT may return anything.
    """
    first, bare, abstract = (folder / name for name in ("program", "bare", "abstract"))
    call("goto-cc", "-std=c11", *INCLUDE_FLAGS, *flags, HARNESS, *PARSER, *OTHERS, "-o", str(first))
    removed = call("goto-instrument", "--remove-function-body", PRODUCT, str(first), str(bare))
    anything = ("--generate-function-body", PRODUCT, "--generate-function-body-options", "nondet-return")
    made = call("goto-instrument", *anything, str(bare), str(abstract))
    assert not re.search("no function", removed + made, re.IGNORECASE), f"there is no {PRODUCT}"
    return abstract


@pytest.mark.parametrize("name", PROOFS)
def test_no_file_leads_the_parser_astray(name: str, tmp_path: Path) -> None:
    size, turns = PROOFS[name]
    target = program(tmp_path, f"-DPROVE_{name}=1", f"-DFILE_BYTES={size}")
    checks = [f"--{check}-check" for check in CHECKS]
    answer = call("cbmc", str(target), *checks, "--unwinding-assertions", "--unwind", str(turns))
    assert "VERIFICATION SUCCESSFUL" in answer


def test_a_parser_with_a_mistake_is_found_out(tmp_path: Path) -> None:
    """The same harness on a parser that lets a name end one byte past the strings."""
    right = (ROOT / "csrc" / STRINGS).read_text(encoding="utf-8")
    wrong = right.replace("end <= c->sections[BNN_STRINGS].bytes,", "end <= c->sections[BNN_STRINGS].bytes + 1,")
    assert wrong != right
    (tmp_path / STRINGS).parent.mkdir()
    (tmp_path / STRINGS).write_text(wrong, encoding="utf-8")
    flags = ("-DPROVE_OPS=1", "-DFILE_BYTES=448", f"-I{tmp_path}", *INCLUDE_FLAGS)
    call("goto-cc", "-std=c11", *flags, HARNESS, *PARSER, *OTHERS, "-o", str(tmp_path / "program"))
    command = ("cbmc", str(tmp_path / "program"), "--unwind", "34", "--no-standard-checks")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "VERIFICATION FAILED" in done.stdout and "text_holds" in done.stdout
