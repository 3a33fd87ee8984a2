# SPDX-License-Identifier: Apache-2.0
"""Predict the speed of the inner loops of binary kernels by llvm-mca, for processors that are not here, too.

Each family is compiled as the package is.  Of the innermost loop that counts the most bits, llvm-mca predicts the
cycles; caches and what is outside of this loop are not in it.  A MAC is the product of two bits.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import NamedTuple

import click

from bench import document
from bench.runner import Bench, Found, case
from bnn.runtime.build import FLAGS, INCLUDE_FLAGS, ROOT

MCA = "llvm-mca-19"
_X86, _ARM = "x86_64-linux-gnu", "aarch64-linux-gnu"
_ARM_PROCESSORS = ("cortex-a53", "cortex-a72", "neoverse-n1", "neoverse-v1")
COMPILERS = {"gcc 12": {_X86: "gcc-12", _ARM: f"{_ARM}-gcc-12"}, "clang 19": {_X86: "clang-19", _ARM: "clang-19"}}
_JUMP = r"j|b\s|b\.?(eq|ne|cs|hs|cc|lo|mi|pl|hi|ls|ge|lt|gt|le)\b|cbn?z|tbn?z|ret"


class Family(NamedTuple):
    """A family's file, the triple and names of its processors, and what counts bits: a pattern, and MACs of each.

    ``needs``: what an instruction of the loop matches, where a family has several loops.
    """

    file: str
    triple: str
    processors: tuple[str, ...]
    pattern: str
    macs: int
    needs: str = ""


FAMILIES = {
    "avx512": Family("x86/avx512.c", _X86, ("znver4",), r"vpopcntd\b.*%zmm", 512),
    "avx512bw": Family("x86/avx512bw.c", _X86, ("skylake-avx512",), r"vpshufb\b.*%zmm", 512),
    "avx2": Family("x86/avx2.c", _X86, ("haswell", "skylake-avx512", "znver2"), r"vpshufb\b.*%ymm", 256, r"vpaddb\b"),
    "neon": Family("simd/simd.c", _ARM, _ARM_PROCESSORS, r"cnt\b.*16b", 128),
    "neon, rest of segments": Family("simd/simd.c", _ARM, _ARM_PROCESSORS, r"cnt\b.*16b", 128, r"ld1r|dup"),
}


def missing(family: str, compiler: str) -> list[str]:
    """The tools for it that are not installed."""
    return [name for name in (MCA, COMPILERS[compiler][FAMILIES[family].triple]) if shutil.which(name) is None]


def _blocks(assembly: str) -> Iterator[tuple[str, list[str], list[str], bool]]:
    """Basic blocks in order: function, labels, instructions, and whether the next block may follow."""
    function, labels, body = "", list[str](), list[str]()
    for line in assembly.splitlines():
        label, text = re.match(r"([\w.$]+):", line), line.partition("//")[0].strip()
        if label:
            if body:
                yield function, labels, body, True
                labels, body = [], []
            labels.append(label[1])
            function = function if label[1].startswith(".") else label[1]
        elif text and text[0] not in ".#":
            body.append(text)
            if re.match(_JUMP, text):
                yield function, labels, body, re.match(r"jmp|b\s|ret", text) is None
                labels, body = [], []


def inner_loops(assembly: str, counts: Callable[[str], object]) -> Iterator[tuple[str, list[str]]]:
    """Of each block with an instruction that ``counts``, the shortest way back to it, if no block on it has a shorter
    one: the name of the function, and the instructions."""
    blocks = list(_blocks(assembly))
    places = {label: i for i, block in enumerate(blocks) for label in block[1]}
    target = [places.get(re.split(r"[\s,]+", block[2][-1])[-1]) for block in blocks]

    @functools.cache
    def way_back(start: int) -> tuple[int, ...]:
        ways, seen = list[tuple[int, ...]]([(start,)]), set[int]()
        for way in ways:
            for i in (target[way[-1]], way[-1] + 1 if blocks[way[-1]][3] else None):
                if i == start:
                    return way
                if i is not None and i < len(blocks) and i not in seen and blocks[i][0] == blocks[start][0]:
                    seen.add(i)
                    ways.append((*way, i))
        return ()

    for start, block in enumerate(blocks):
        way = way_back(start) if any(map(counts, block[2])) else ()
        if way and all(len(way_back(i)) == len(way) for i in way):
            yield block[0], [text for i in way for text in blocks[i][2]]


def _output(command: list[str], text: str | None = None) -> str:
    done = subprocess.run(command, input=text, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def rates(name: str, compiler: str) -> dict[str, float]:
    """MAC per cycle of a family's inner loop, by processor."""
    family = FAMILIES[name]
    target = [f"--target={family.triple}"] if compiler.startswith("clang") else []
    compile_it = [COMPILERS[compiler][family.triple], *target, *FLAGS, *INCLUDE_FLAGS, "-S", "-o", "-"]
    found = inner_loops(_output([*compile_it, f"kernels/{family.file}"]), functools.partial(re.match, family.pattern))

    def counting(loop: list[str]) -> int:
        return sum(re.match(family.pattern, text) is not None for text in loop)

    loops = [loop for _, loop in found if any(re.match(family.needs, text) for text in loop)]
    loop = max(loops, key=lambda loop: (counting(loop), -len(loop)))
    result = {}
    for processor in family.processors:
        options = [f"-mtriple={family.triple}", f"-mcpu={processor}", "--instruction-info=0", "--resource-pressure=0"]
        report = _output([MCA, *options, "-iterations=1000"], "\n".join(loop))
        cycles = int(re.findall(r"Total Cycles:\s+(\d+)", report)[0]) / 1000
        result[processor] = counting(loop) * family.macs / cycles
    return result


@case(docs=None)
@click.option("--family", "families", type=click.Choice(list(FAMILIES)), multiple=True, help="Default: all.")
def mca(bench: Bench, families: tuple[str, ...]) -> Found:
    rows = list[list[str]]()
    for name in families or FAMILIES:
        for compiler in COMPILERS:
            if absent := missing(name, compiler):
                raise click.ClickException(f"{name}, {compiler}: not installed: {', '.join(absent)}")
        found = [rates(name, compiler) for compiler in COMPILERS]
        rows += [[name, cpu, *(f"{each[cpu]:.1f}" for each in found)] for cpu in FAMILIES[name].processors]
    table = document.table(["kernels", "processor", *COMPILERS], rows)
    bench.say(table)
    return Found({"rows": rows}, {"mca": table})
