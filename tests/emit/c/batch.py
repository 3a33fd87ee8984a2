# SPDX-License-Identifier: Apache-2.0
"""Many networks as C in one program: compilers and sanitizers start once, and cost more than the code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import bnn
from bnn._types import Array
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import Graph
from bnn.runtime import Model
from sanitized import SANITIZE, call

STRICT = ("gcc", "-std=c99", "-O0", "-Wall", "-Wextra", "-Wpedantic", "-Werror", *SANITIZE)
_OF_A_PROGRAM = re.compile(r"\b(main|memory|named|vector\w*|found_\w+)\b(?!\.h)")


def check(
    cases: Sequence[tuple[Graph, Sequence[Array]]], folder: Path, command: Sequence[str] = STRICT, *, exact: bool = True
) -> None:
    """Emitted C gives every output, and the memory of every layer, the bytes of portable kernels; these have the
    oracle's numbers, to the bit or (floats whose sums no order is said of) nearly."""
    texts = []
    for i, (graph, inputs) in enumerate(cases):
        name = f"n{i}"
        model = Model.from_bytes(encode(graph), kernels="portable")
        found, expected = model.predict(inputs), interpret.outputs(graph, inputs)
        for a, b in zip(found if isinstance(found, list | tuple) else [found], expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0 if exact else 1e-3, atol=0 if exact else 1e-4, err_msg=str(graph))
        bnn.emit_c(model, folder / name, name=name, single_file=True, trace=True, vectors=list(inputs))
        vectors, main = (folder / name / f"{name}_vectors.h", folder / name / "main.c")
        for path in (vectors, main):
            path.write_text(_OF_A_PROGRAM.sub(rf"{name}_\1", path.read_text("utf-8")), encoding="utf-8")
        texts.append(f'#define {name.upper()}_HOOK\n#include "{name}/main.c"\n')
    calls = "".join(f'    printf("n{i}\\n");\n    wrong += n{i}_main();\n' for i in range(len(cases)))
    text = "".join(texts) + f"int main(void)\n{{\n    int wrong = 0;\n{calls}    return wrong;\n}}\n"
    (folder / "all.c").write_text(text, encoding="utf-8")
    call(*command, str(folder / "all.c"), "-lm", "-o", str(folder / "all"))
    call(str(folder / "all"))
