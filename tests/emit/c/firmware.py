# SPDX-License-Identifier: Apache-2.0
"""An emitted network on the targets: its outputs' bytes, instructions, stack, and sizes."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bnn
from bnn._types import Array
from bnn.emit.c.interface import CSummary
from bnn.runtime import Model
from targets import Target, run

PROGRAM = """
#include "target.h"
#include "net.h"
#include "net_vectors.h"
#include <string.h>
static union { unsigned char bytes[NET_ARENA_BYTES]; uint64_t aligned; } memory;
static int status;
%(buffers)s
static void run_image(void *number)
{
    size_t i = *(size_t *)number;
    status = net_run(memory.bytes, sizeof memory, %(arguments)s);
}
int main(void)
{
    uint64_t wrong = 0;
    for (size_t i = 0; i < NET_VECTORS; i++) {
        struct target_cost cost = target_measure(run_image, &i);
        wrong += status != NET_OK || %(differs)s;
        target_number("instructions", cost.instructions);
        target_number("stack", cost.stack);
    }
    target_number("wrong", wrong);
    return wrong != 0;
}
"""


@dataclass(frozen=True)
class Measured:
    instructions: list[int]
    stack: list[int]


def emitted(model: Model, folder: Path, vectors: Sequence[Array], **options: object) -> CSummary:
    """Write a network called net, and firmware.c, which runs the vectors."""
    summary = bnn.emit_c(model, folder, name="net", vectors=list(vectors), **options)  # type: ignore[arg-type]
    header = (folder / "net_vectors.h").read_text(encoding="utf-8")
    elements = {name: int(n) // len(vectors[0]) for name, n in re.findall(r"(vector_\w+)\[(\d+)\] = ", header)}
    names = list(elements)
    inputs, outputs = names[: len(vectors)], names[len(vectors) :]
    buffers = [f"static float {name}_found[{elements[name]}];" for name in outputs]
    arguments = [*(f"{name} + i * {elements[name]}" for name in inputs), *(f"{name}_found" for name in outputs)]
    differs = [f"memcmp({n}_found, {n} + i * {elements[n]}, sizeof {n}_found) != 0" for n in outputs]
    text = PROGRAM % {
        "buffers": "\n".join(buffers), "arguments": ", ".join(arguments), "differs": " || ".join(differs),
    }  # fmt: skip
    (folder / "firmware.c").write_text(text, encoding="utf-8")
    return summary


def run_on(target: Target, folder: Path, flags: Sequence[str]) -> Measured:
    """Raises if an output differs."""
    files = [folder / name for name in ("firmware.c", "net.c", "net_kernels.c")]
    output = run(target, files, [*flags, f"-I{folder}"], folder=folder)
    found: dict[str, list[int]] = {}
    for name, value in (line.split() for line in output.splitlines()):
        found.setdefault(name, []).append(int(value))
    assert found["wrong"] == [0]
    return Measured(found["instructions"], found["stack"])


def code_size(target: Target, folder: Path, flags: Sequence[str]) -> dict[str, int]:
    """Bytes of what the network's files put into a program that calls it, libgcc's functions included: ``text`` without
    const tables, and ``rodata``."""
    main = folder / "size.c"
    main.write_text('#include "net.h"\nint main(void)\n{\n    return (int)(size_t)net_run;\n}\n', encoding="utf-8")
    empty = folder / "empty.c"
    empty.write_text("int main(void)\n{\n    return 0;\n}\n", encoding="utf-8")
    sizes = []
    for sources in ([main, folder / "net.c", folder / "net_kernels.c"], [empty]):
        program = folder / "size.elf"
        command = [*target.compiler, *flags, f"-I{folder}", "-Wl,--entry=main,--gc-sections", *map(str, sources)]
        subprocess.run([*command, "-lm", "-o", str(program)], check=True, capture_output=True, text=True)
        tool = shutil.which(target.compiler[0].replace("gcc", "size")) or "size"
        lines = subprocess.run([tool, "-A", str(program)], check=True, capture_output=True, text=True).stdout
        sizes.append({n: int(v) for n, v in re.findall(r"^\.(text|rodata|data|bss)\s+(\d+)", lines, re.M)})
    return {name: value - sizes[1].get(name, 0) for name, value in sizes[0].items()}
