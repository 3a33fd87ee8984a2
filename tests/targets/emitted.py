# SPDX-License-Identifier: Apache-2.0
"""An emitted network on targets: whether its outputs have the right bytes, and what it costs.

    python tests/targets/emitted.py NET.bnn [TARGET ...] [--accuracy DATASET]

prints, with -Os and with -O2 --fast: bytes of code (with what the compiler adds from libgcc, without tables), of
tables, of RAM and of stack, and the instructions of one image.  Instructions are not cycles: what flash and caches cost
is not in them.  --accuracy: runs the emitted C on this machine, too, on every test image of a data set of
tools/training, and says how many it gets right.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tools")]

import numpy as np  # noqa: E402

import bnn  # noqa: E402
from bnn._types import Array  # noqa: E402
from bnn.emit.c.interface import TARGETS as EMITTED  # noqa: E402
from bnn.emit.c.interface import CSummary  # noqa: E402
from bnn.runtime import Model  # noqa: E402
from targets import TARGETS, Target, compiled, missing, run, with_objects  # noqa: E402

MODES: tuple[tuple[list[str], bool], ...] = ((["-std=c99", "-Os"], False), (["-std=c99", "-O2"], True))
PROGRAM = """
#include "target.h"
#include "net.h"
#include "net_vectors.h"
#include <string.h>
static union { unsigned char bytes[NET_ARENA_BYTES]; uint64_t aligned; } memory;
static int status;
#ifdef NET_STREAM_CALLS
#define RUN net_push
#else
#define RUN net_run
#define NET_STREAM_CALLS 1
#endif
%(buffers)s
static void run_image(void *number)
{
    size_t i = *(size_t *)number;
    status = RUN(memory.bytes, sizeof memory, %(arguments)s);
}
int main(void)
{
    uint64_t wrong = 0;
    for (size_t i = 0; i < NET_VECTORS; i++) {
        struct target_cost cost = {0};
        for (size_t call = 0; call < NET_STREAM_CALLS; call++) { /* the last one is that of a full window */
            size_t image = i * NET_STREAM_CALLS + call;
            cost = target_measure(run_image, &image);
        }
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
    """By image; 0 where the target does not measure."""

    instructions: list[int]
    stack: list[int]


def own_name(target: str) -> str:
    """What `bnn emit c --target` calls it."""
    return next((name for name in EMITTED if target.startswith(name)), "generic")


def emitted(model: Model, folder: Path, vectors: Sequence[Array], **options: object) -> CSummary:
    """Write a network called net, and firmware.c, which runs the vectors."""
    summary = bnn.emit_c(model, folder, name="net", vectors=list(vectors), **options)  # type: ignore[arg-type]
    header = (folder / "net_vectors.h").read_text(encoding="utf-8")
    elements = {name: int(n) // len(vectors[0]) for name, n in re.findall(r"(vector_\w+)\[(\d+)\] = ", header)}
    calls = int((re.findall(r"STREAM_CALLS (\d+)", (folder / "net.h").read_text(encoding="utf-8")) or ["1"])[0])
    names = list(elements)
    inputs, outputs = names[: len(vectors)], names[len(vectors) :]
    buffers = [f"static float {name}_found[{elements[name]}];" for name in outputs]
    arguments = [
        *(f"{name} + i * {elements[name] // calls}" for name in inputs),
        *(f"{name}_found" for name in outputs),
    ]
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
    if found["wrong"] != [0]:
        raise AssertionError(f"{target.name}: {found['wrong'][0]} outputs differ")
    return Measured(found["instructions"], found["stack"])


def added_size(
    target: Target, folder: Path, flags: Sequence[str], text: str, sources: Sequence[str | Path], names: Sequence[str]
) -> int:
    """Bytes that these functions add to a program, with what the compiler adds from libgcc; tables included.

    ``text``: includes that declare them, and more that is counted.
    """
    main, empty = folder / "size.c", folder / "empty.c"
    addresses = " + ".join(f"(size_t){name}" for name in names)
    main.write_text(f"{text}\nint main(void)\n{{\n    return (int)({addresses});\n}}\n", encoding="utf-8")
    empty.write_text("int main(void)\n{\n    return 0;\n}\n", encoding="utf-8")
    sizes = []
    for files in ([main, *sources], [empty]):
        program = folder / "size.elf"
        command = [*target.compiler, *flags, f"-I{folder}", "-Wl,--entry=main", "-Wl,--gc-sections"]
        compiled([*command, *with_objects(target, files, flags, folder), "-lm", "-o", str(program)])
        tool = shutil.which(target.compiler[0].replace("gcc", "size")) or "size"
        lines = subprocess.run([tool, "-A", str(program)], check=True, capture_output=True, text=True).stdout
        sizes.append(sum(int(v) for v in re.findall(r"^\.(?:text|rodata|data|bss)\s+(\d+)", lines, re.M)))
    return sizes[0] - sizes[1]


def code_size(target: Target, folder: Path, flags: Sequence[str]) -> int:
    """Bytes that the network adds to a program that calls it."""
    function = "net_push" if "net_push(" in (folder / "net.h").read_text(encoding="utf-8") else "net_run"
    return added_size(
        target, folder, flags, '#include "net.h"', [folder / "net.c", folder / "net_kernels.c"], [function]
    )


def classes(model: Model, images: Array) -> Array:
    """The class that the emitted C gives each image, on this machine."""
    with tempfile.TemporaryDirectory() as place:
        folder, library = Path(place), Path(place) / "net.so"
        size = bnn.emit_c(model, folder, name="net", output="class", fast=True).arena
        sources = [str(folder / name) for name in ("net.c", "net_kernels.c")]
        compiled(["cc", "-O2", "-shared", "-fPIC", *sources, "-lm", "-o", str(library)])
        run_image = ctypes.CDLL(str(library)).net_run
        arena, found = (ctypes.c_uint64 * (size // 8))(), np.empty(len(images), np.uint16)
        for image, label in zip(images, found.reshape(-1, 1), strict=True):
            status = run_image(arena, ctypes.c_size_t(size), ctypes.c_void_p(image.ctypes.data),
                               ctypes.c_void_p(label.ctypes.data))  # fmt: skip
            if status != 0:
                raise AssertionError(f"status {status}")
    return found


def random_images(model: Model, count: int, rng: np.random.Generator) -> list[Array]:
    """For every input."""
    return [
        rng.integers(0, 256, (count, *shape)).astype(dtype)
        for shape, dtype in zip(model.input_shapes, model.input_dtypes, strict=True)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Run an emitted network on targets and say what it costs.")
    parser.add_argument("net", metavar="NET.bnn")
    bare = [name for name, target in TARGETS.items() if target.counts]
    parser.add_argument("targets", nargs="*", metavar="TARGET", choices=[[], *bare], help=f"default: {' '.join(bare)}")
    parser.add_argument("--stream", action="store_true", help="as a stream; instructions are those of a call")
    parser.add_argument("--accuracy", metavar="DATASET", help="fashion-mnist, for example")
    arguments = parser.parse_args()
    model = bnn.load(arguments.net)
    images = random_images(model, 1, np.random.default_rng(0))
    print("| target | flags | code | tables | RAM | stack | instructions |\n|---|---|---|---|---|---|---|")
    for name in arguments.targets or bare:
        target = TARGETS[name]
        if text := missing(target):
            print(text, file=sys.stderr)
            continue
        for flags, fast in MODES:
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                summary = emitted(model, folder, images, target=own_name(name), fast=fast, stream=arguments.stream)
                cost = run_on(target, folder, flags)
                code = code_size(target, folder, flags) - summary.flash
            options = f"{flags[-1]}{' --fast' if fast else ''}"
            numbers = (code, summary.flash, summary.arena, max(cost.stack), cost.instructions[0])
            print(f"| {name} | {options} | {' | '.join(f'{n:,}' for n in numbers)} |", flush=True)
    if arguments.accuracy:
        from training import datasets

        test = datasets.load(arguments.accuracy).test
        right = int((classes(model, model.check_inputs(test.images)[0]) == test.labels).sum())
        print(f"\n{right:,} of {len(test):,} test images right: {right / len(test):.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
