# SPDX-License-Identifier: Apache-2.0
"""Time every kernel family against the machine's register-loop rates.

They are measured in the same run, by loops that never leave the registers: xor + popcount + add for binary products and
FMA for float ones; and so is the rate at which memory is read.  The convolutions go through the runtime's driver (SAME,
one image, one thread): ResNet's 3x3 layers, with packed bits (thresholds) and with float32 (batch norm) as output; the
same with strides, dilation, groups, channels that fill no block and other kernel sizes; float layers; first layers of
images, of floats and of bytes.  `classic` is not a family of the runtime: it is AVX2 with a shuffle as popcount, which
lost to the lookup.
Shares are of nominal products, with those of the padding.  All measurements take turns; medians are shown, with half
the distance of the quartiles.
"""

from __future__ import annotations

import json
import platform
import subprocess
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import click

from bench import document, options
from bench.limits import ROOT, compile_c
from bench.plots import rooflines
from bench.results import KernelRow as Row
from bnn._distribution import install
from bnn.runtime import build as extension

HEADLINE = ("56x56x64 3x3", "28x28x128 3x3", "14x14x256 3x3", "7x7x512 3x3")
FLAGS = (*extension.FLAGS, *extension.HARDENING, *extension.INCLUDE_FLAGS)  # the extension's own


def build(folder: Path, compiler: str) -> Path:
    """Compile the benchmark; raises :class:`MissingError` with the compiler's words."""
    program = folder / "bench_kernels"
    own = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("tools/bench/*.c"))
    compile_c(compiler, [*FLAGS, *own, *extension.sources("core", "kernels"), "-lm", "-o", str(program)])
    return program


def measure(program: Path, rounds: int, families: tuple[str, ...]) -> list[Row]:
    """Run it; the rates of loops come first."""
    done = subprocess.run([program, str(rounds), *families], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise click.ClickException(f"the benchmark failed:\n{done.stderr}")
    rows = []
    for line in done.stdout.splitlines():
        kind, family, shape, output, *numbers = line.split("\t")
        rows.append(Row(kind, family, shape, output, *map(float, numbers)))
    return rows


def _products(row: Row) -> str:
    """What a row counts: "bits", "f32" or "u8" products, or "bytes" of memory."""
    return row.output if row.kind == "rate" else {"bconv2d": "bits", "conv2d": "f32", "iconv2d": "u8"}[row.kind]


def rates_of(rows: list[Row]) -> dict[str, float]:
    """The highest register-loop rates, in 10^9 a second; what this machine cannot measure is missing."""
    rates: dict[str, float] = {}
    for row in rows:
        if row.kind == "rate":
            rates[row.output] = max(rates.get(row.output, 0.0), row.rate)
    return rates


def with_shares(rows: list[Row]) -> list[Row]:
    """Fill in ``share``; it stays 0 where this machine has no measured rate."""
    rates = rates_of(rows)
    return [replace(row, share=row.rate / rates[_products(row)] if _products(row) in rates else 0.0) for row in rows]


def table(rows: list[Row]) -> str:
    lines = [f"{'kernels':<8} {'layer':<23} {'output':<6} {'us':>9} {'+-':>5} {'GMAC/s':>9} {'share':>7}"]
    for row in rows:
        if row.output == "bytes":
            lines.append(f"{'rate':<8} {row.family:<30}  {'':>15} {row.rate:>9.1f} GB/s")
        elif row.kind == "rate":
            lines.append(f"{'rate':<8} {row.family:<30}  {'':>15} {row.rate:>9.1f} {row.share:>7.1%}")
        else:
            share = f" {row.share:>7.1%}" if row.share else ""
            time = f"{row.ns / 1000:>9.1f} {row.spread / row.ns:>5.1%} {row.rate:>9.1f}{share}"
            lines.append(f"{row.family:<8} {row.shape:<23} {row.output:<6} {time}")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--family", "families", multiple=True, help="Only these kernels (repeat it); default: all that can run.")
@options.rounds(31)
@options.compiler
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the rooflines as a PNG here.")
@options.docs
@options.json
def main(families: tuple[str, ...], rounds: int, cc: str, plot: Path | None, docs: Path | None, as_json: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = with_shares(measure(build(Path(folder), cc), rounds, families))
    missing = [name for name in families if name not in {row.family for row in rows}]
    if missing:
        raise click.ClickException(f"no such kernels, or this processor cannot run them: {', '.join(missing)}")
    if plot is not None:
        try:
            rooflines(rows, rates_of(rows), plot)
        except ImportError as error:
            raise click.ClickException(f"--plot: {error}; {install('tools')}") from None
    if docs is not None:
        found = {"rates": "```text\n" + table([row for row in rows if row.kind == "rate"]) + "\n```"}
        found |= {"kernels": document.kernels(rows, HEADLINE), "others": document.other_layers(rows, HEADLINE)}
        document.update(docs, found)
    if as_json:
        report = {"machine": platform.machine(), "compiler": cc, "rounds": rounds, "rows": [asdict(r) for r in rows]}
        print(json.dumps(report))
    else:
        print(table(rows))


if __name__ == "__main__":
    main()
