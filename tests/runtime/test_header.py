# SPDX-License-Identifier: Apache-2.0
"""bnn.h as its readers use it: the example at its top compiles, without a warning."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "csrc/include/bnn.h"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")

# What the example leaves to its reader.
FUNCTION = """#include "bnn.h"

void life_of_a_model(const void *file, size_t size, size_t images, size_t workers, void *model_memory,
                     void *context_memory, const void *const *inputs, float *const *outputs, size_t batch);

void life_of_a_model(const void *file, size_t size, size_t images, size_t workers, void *model_memory,
                     void *context_memory, const void *const *inputs, float *const *outputs, size_t batch)
{
%s
}
"""


def example() -> str:
    """The indented lines of the comment that the header begins with."""
    comment = HEADER.read_text(encoding="utf-8").partition("#ifndef")[0]
    return "\n".join(re.findall(r"^ \*     (.*)$", comment, flags=re.M))


@pytest.mark.parametrize("language", [("c", "-std=c11"), ("c++", "-std=c++17")], ids=["c", "c++"])
def test_the_example_compiles(tmp_path: Path, language: tuple[str, str]) -> None:
    source = tmp_path / "example"
    source.write_text(FUNCTION % example())
    command = [os.environ.get("CC", "cc"), "-x", language[0], language[1], *WARNINGS, "-fsyntax-only"]
    done = subprocess.run([*command, f"-I{HEADER.parent}", str(source)], capture_output=True, text=True, check=False)
    if "cannot execute" in done.stderr:  # gcc without g++
        pytest.skip("the compiler has no C++")
    assert done.returncode == 0, done.stderr


def test_the_example_uses_what_a_model_needs() -> None:
    calls = set(re.findall(r"\bbnn_\w+(?=\()", example()))
    assert calls >= {"bnn_model_size", "bnn_model_open", "bnn_context_size", "bnn_context_create", "bnn_run"}


def test_names_of_kernels_and_length_of_lines() -> None:
    text = HEADER.read_text(encoding="utf-8")
    families = set(re.findall(r"^BNN_KERNEL\((\w+)\)", (ROOT / "kernels/kernels.inc").read_text(), flags=re.M))
    comment = text.partition("/* The fastest kernels")[2].partition("*/")[0]
    assert families | {"portable"} == set(re.findall(r'"(\w+)"', comment))
    assert max(map(len, text.splitlines())) <= 120
