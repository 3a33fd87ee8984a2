# SPDX-License-Identifier: Apache-2.0
"""Many networks as C in one program: compilers and sanitizers start once, and cost more than the code."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import bnn
from bnn._types import Array
from bnn.emit.c.interface import TARGETS
from bnn.file.write import encode
from bnn.ir.graph import Graph
from bnn.runtime import Model
from sanitized import ENVIRONMENT, call

STRICT = ("-O0", "-Wall", "-Wextra", "-Wpedantic", "-Wcast-qual", "-Werror")
_OF_A_PROGRAM = re.compile(r"\b(main|memory|named|vector\w*|found_\w+)\b(?!\.h)")
# A graph, its inputs, and what the oracle has for them, to the bit; None: floats whose sums no order is said of.
Case = tuple[Graph, Sequence[Array], "Sequence[Array] | None"]


def check(cases: Sequence[Case], folder: Path, *flags: str, compiler: Sequence[str] = ("gcc", "-std=c99")) -> None:
    """Emitted C, for each target in turn, gives every output the bytes of portable kernels, and these the oracle's; one
    half of the networks computes rows of several layers in turn, the other has the memory of every layer."""
    texts, targets = [], list(TARGETS)
    for i, (graph, inputs, expected) in enumerate(cases):
        name = f"n{i}"
        model = Model.from_bytes(encode(graph))
        found = model.with_kernels("portable").predict(inputs)
        outputs = list(found) if isinstance(found, list | tuple) else [found]
        for a, b in zip(outputs, outputs if expected is None else expected, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{name}\n{graph}")
        traced = i // 2 % 2 > 0
        options = {"target": targets[i % len(targets)], "fast": i % 3 > 0, "trace": traced}
        bnn.emit_c(model, folder / name, name=name, single_file=True, vectors=list(inputs), **options)
        for path in (folder / name / f"{name}_vectors.h", folder / name / "main.c"):
            path.write_text(_OF_A_PROGRAM.sub(rf"{name}_\1", path.read_text("utf-8")), encoding="utf-8")
        (folder / name / "main.c").rename(folder / name / "main.inc")  # what is built again where it has changed
        texts.append(f"#define {name.upper()}_HOOK\n" * traced + f'#include "{name}/main.inc"\n')
    calls = "".join(f'    printf("network {i}\\n");\n    wrong += n{i}_main();\n' for i in range(len(cases)))
    text = "".join(texts) + f"int main(void)\n{{\n    int wrong = 0;\n{calls}    return wrong;\n}}\n"
    (folder / "all.c").write_text(text, encoding="utf-8")
    call(*compiler, *STRICT, *flags, str(folder / "all.c"), "-lm", "-o", str(folder / "all"))
    done = subprocess.run([folder / "all"], env=ENVIRONMENT, capture_output=True, text=True)
    wrong = [text for text in done.stdout.split("network ") if re.search("DIFFERENT|error|differs", text)]
    told = "\n".join(f"{text}{cases[int(text.split()[0])][0]}" for text in wrong[:2])
    assert done.returncode == 0 and "first that differs" not in done.stdout, (
        f"{told}\n{done.stdout[-200:]}\n{done.stderr[-3000:]}"
    )
