# SPDX-License-Identifier: Apache-2.0
"""What the engine for spikes over time takes of a small device, and what it calls."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bnn.runtime.build import INCLUDE_FLAGS, sources
from sanitized import call
from targets import TARGETS, missing
from targets.emitted import added_size

MOST = 21_912  # bytes of code
ENGINE = [path for path in sources("core") if path.startswith("csrc/snn/")]
MODEL = [path for path in sources("core") if path.startswith("csrc/model/")]
SCALAR = "kernels/scalar/scalar.c"
FLAGS = ["-std=c11", "-Os", "-ffp-contract=off", *INCLUDE_FLAGS]
# Of the C library; the others are the runtime's own.
CALLS = {"memcpy", "memset"}
# A program that opens a file and runs it, with the kernels that it names.
NAMES = ["size", "open", "state_size", "state_create", "reset", "send", "record", "run", "run_until_spike"]
PART = """
#include "bnn_ops.h"
#include "bnn_snn.h"
const bnn_kernels *const part = &bnn_kernels_scalar_spikes;
"""


def test_engine_calls_nothing_else(tmp_path: Path) -> None:
    """No allocation, no function of the mathematical library."""
    objects = [tmp_path / f"{Path(path).stem}.o" for path in ENGINE]
    for path, o in zip(ENGINE, objects, strict=True):
        call("gcc", *FLAGS, "-fno-stack-protector", "-c", path, "-o", str(o))
    names = subprocess.run(["nm", *objects], check=True, capture_output=True, text=True).stdout
    undefined = set(re.findall(r" U (\w+)$", names, re.M))
    assert {name for name in undefined if not name.startswith("bnn_")} <= CALLS


@pytest.mark.slow
def test_engine_on_a_microcontroller(tmp_path: Path) -> None:
    """Linked without the dispatcher, the other families and the ops of networks, which such a program does not need."""
    target = TARGETS["cortex-m4"]
    if text := missing(target):
        pytest.skip(text)
    flags = [*FLAGS, "-DBNN_SMALL", "-DBNN_NO_MESSAGES", "-DBNN_NO_EVENTS"]
    functions = ["part", *(f"bnn_snn_{name}" for name in NAMES)]
    size = added_size(target, tmp_path, flags, PART, [*ENGINE, *MODEL, SCALAR], functions)
    print(f"code {size}")
    assert size <= MOST
