# SPDX-License-Identifier: Apache-2.0
"""Instructions that kernels and emitted networks take on targets, counted exactly, beside those of instructions.json.

    python tests/targets/instructions.py [--update] [TARGET ...]

Counts are not cycles: what flash and caches cost is not in them.  They depend on the compiler, whose version the file
names; with another one nothing is compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, TypedDict

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402

from bnn.emit.c.costs import COSTS, Costs  # noqa: E402
from bnn.emit.c.interface import TARGETS as EMITTED  # noqa: E402
from bnn.emit.c.nodes import emit_node  # noqa: E402
from bnn.emit.c.program import Program  # noqa: E402
from bnn.ir.graph import Graph  # noqa: E402
from bnn.passes.depthwise_bits import depthwise_bits  # noqa: E402
from bnn.passes.interleave_rows import interleave_rows  # noqa: E402
from bnn.runtime import Model  # noqa: E402
from bnn.runtime.build import INCLUDE_FLAGS, sources  # noqa: E402
from targets import TARGETS, emitted, missing, networks, run  # noqa: E402

BASELINE = Path(__file__).resolve().with_name("instructions.json")
MCU = [path for path in sources("core") if path.startswith("csrc/mcu/")]
FLAGS = ["-std=c11", "-O2", "-ffp-contract=off", *INCLUDE_FLAGS]
MOST = 1.01  # times the baseline

# A name: the target, and flags for another instruction set.
PROCESSORS: dict[str, tuple[str, list[str]]] = {
    **{name: (name, []) for name, target in TARGETS.items() if target.counts},
    "riscv32-zbb": ("riscv32-bare", ["-march=rv32imc_zicsr_zbb"]),
    "riscv64-zbb": ("riscv64-bare", ["-march=rv64gc_zbb"]),
}


class Counts(TypedDict):
    """Of one processor: the compiler's first line of --version, and instructions by kernel and layer."""

    compiler: str
    instructions: dict[str, int]


def count(processor: str) -> Counts:
    """What the program kernels.c prints, and emitted networks.  Raises targets.Missing and targets.Failed."""
    name, flags = PROCESSORS[processor]
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        output = run(target, ["tests/targets/kernels.c", *MCU], [*flags, *FLAGS], folder=Path(folder))
    version = subprocess.run([target.compiler[0], "--version"], capture_output=True, text=True, check=True).stdout
    pairs = [line.rsplit(" ", 1) for line in output.splitlines()]
    instructions = {key: int(value) for key, value in pairs}
    for key, (model, fast) in networks.emitted().items() if not flags else ():
        instructions[key] = _of_network(name, model, fast)
    return {"compiler": version.splitlines()[0], "instructions": instructions}


def _of_network(name: str, model: Model, fast: bool) -> int:
    images = emitted.random_images(model, 1, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        emitted.emitted(model, Path(folder), images, target=emitted.own_name(name), fast=fast)
        return emitted.run_on(TARGETS[name], Path(folder), ["-std=c99", "-O2"]).instructions[0]


def fitted(counts: dict[str, int], quads: bool) -> Costs:
    """What `bnn emit c` says of layers: straight lines through these counts, per pixel of 16x16."""

    def of(kernel: str, values: int = 1) -> float:
        return counts[kernel] / 256 / values

    def of_bytes(nine: str, more: str) -> tuple[float, ...]:
        grey, wide = (of(f"bytes_bits{nine},3x3,16x16x1->{n}") for n in (16, 64))
        colour = of(f"bytes_bits{more},3x3,16x16x3->32")
        output_of_9 = (wide - grey) / 48
        table = (grey - 16 * output_of_9) / 3
        group = ((colour - 7 * table) / 32 - output_of_9) / 4
        return table, output_of_9 - 3 * group, group

    bits = f"conv_bits{'_quads' * quads}"
    few, many = of(f"{bits},3x3,16x16x32->32", 32), counts[f"{bits},1568->64"] / 64
    word = (many - few) / (49 - 9)
    windows = [("conv_bits", 2, "1x1", 64, 64), ("conv_bits", 4, "1x1", 128, 64)] * (not quads)
    windows += [(bits, n, "3x3", c, o) for n, c, o in ((9, 32, 32), (18, 64, 64), (36, 128, 64))]
    small, large = of("conv_floats,1x1,16x16x16->16", 16), of("conv_floats,3x3,16x16x3->16", 16)
    product = (large - small) / (27 - 16)
    few_bytes, more_bytes = (of(f"conv_int8,{window},16x16x16->16", 16) for window in ("1x1", "3x3"))
    byte = (more_bytes - few_bytes) / (144 - 16)
    numbers = (
        (few - 9 * word, word),
        {n: of(f"{kernel}_{n},{size},16x16x{c}->{o}", o) for kernel, n, size, c, o in windows},
        [of(f"conv_bits_shared{five},3x3,16x16x16->16", 16 * 5) for five in ("", "_5")],
        of("planes_bits,3x3,16x16x32x2->32", 32 * 18), of_bytes("", ""), of_bytes("_9", "_27"),
        (small - 16 * product, product), (few_bytes - 16 * byte, byte),
        of("quantize,16x16x32", 32), of("quantize_at,16x16x32", 32),
        [of(f"depthwise_{kind},3x3,16x16x32", 32 * 9) for kind in ("floats", "int8")]
        + [of(f"depthwise_bits{four},3x3,16x16x64", 64 * 9) for four in ("", "_4")],
        counts["int8_sums,784->10"] / 7840, of("requantize,16x16x32", 32),
        of("finish,16x16x32", 32), [of(f"{kind}signs,16x16x32", 32) for kind in ("", "sum_")],
        of("max_pool_bits,2x2,16x16x64", 2),
        counts["move_up,16x1024"] / (16 * 1024), of("add_shorts,16x16x32", 32),
    )  # fmt: skip
    return Costs(*map(_rounded, numbers))  # type: ignore[arg-type]


def _rounded(numbers: Any) -> Any:
    if isinstance(numbers, float):
        return round(numbers, 1)
    if isinstance(numbers, dict):
        return {key: round(n, 1) for key, n in numbers.items()}
    return tuple(round(n, 1) for n in numbers)


def estimated(graph: Graph, target: str, fast: bool) -> float:
    """Instructions of an emitted network, by COSTS."""
    graph = interleave_rows(depthwise_bits(graph))
    program = Program(graph, "net", fast=fast, quads=EMITTED[target].quads)
    for node in (*graph.inputs, *graph.outputs):
        program.parameter(node, "array")
    for node in graph.schedule:
        emit_node(program, node)
    return sum(COSTS[target].layer(layer) for layer in program.layers)


def baseline() -> dict[str, Counts]:
    """The committed counts, by processor."""
    read: dict[str, Counts] = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else {}
    return read


def grown(now: dict[str, int], before: dict[str, int]) -> list[str]:
    """A line for each count that is more than 1% above the baseline, and for each that only one of them has."""
    lines = [f"{key}: in only one of them" for key in sorted(now.keys() ^ before.keys())]
    both = sorted(now.keys() & before.keys())
    return lines + [f"{key}: {before[key]} -> {now[key]}" for key in both if now[key] > MOST * before[key]]


def main() -> int:
    parser = argparse.ArgumentParser(description="Count the instructions of kernels on targets.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", choices=[[], *PROCESSORS], help="default: all")
    parser.add_argument("--update", action="store_true", help="write the counts to instructions.json")
    arguments = parser.parse_args()
    known, failed = baseline(), False
    for name in arguments.targets or PROCESSORS:
        if text := missing(TARGETS[PROCESSORS[name][0]]):
            print(text)
            continue
        found = count(name)
        before = known.get(name, {"compiler": "", "instructions": {}})
        same = before["compiler"] == found["compiler"]
        print(
            f"{name} ({found['compiler']}){'' if same else ': the baseline is of another compiler, or there is none'}"
        )
        for key, value in found["instructions"].items():
            old = before["instructions"].get(key)
            print(f"  {key:40} {value:10}" + (f" {value / old - 1:+8.2%}" if old and same else ""))
        if arguments.update:
            known[name] = found
        elif same and (lines := grown(found["instructions"], before["instructions"])):
            failed = True
            print("\n".join(["more than in the baseline:", *lines]))
    if arguments.update:
        BASELINE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
