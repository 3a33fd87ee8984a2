"""Time every kernel family against the machine's own limits.

The limits are measured in the same run, from registers alone: xor + popcount + add for binary products, FMA for float
ones.  The convolutions go through the runtime's driver (ResNet's 3x3 layers, SAME, one image, one thread), with packed
bits (thresholds) and with float32 (batch norm) as output.  All measurements take turns; medians are shown.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("tools/bench_*.c", "csrc/*.c", "kernels/*.c", "kernels/*/*.c")
FLAGS = ("-std=c11", "-O2", "-ffp-contract=off", "-Icsrc/include")  # the project's own


@dataclass(frozen=True)
class Row:
    """One measurement.

    ``products``: multiply-accumulates of one image, those with padding counted.  ``ns``: median nanoseconds of
    processor time for one image.  ``share``: of the fastest limit of this machine for such products.
    """

    kind: str
    family: str
    shape: str
    output: str
    products: float
    ns: float
    share: float = 0.0

    @property
    def rate(self) -> float:
        """GMAC/s."""
        return self.products / self.ns


def build(folder: Path, compiler: str) -> Path:
    """Compile the benchmark; raises :class:`click.ClickException` with the compiler's words."""
    program = folder / "bench_kernels"
    sources = sorted(path.relative_to(ROOT).as_posix() for pattern in SOURCES for path in ROOT.glob(pattern))
    command = [*shlex.split(compiler), *FLAGS, *sources, "-lm", "-o", str(program)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise click.ClickException(f"no C compiler is called '{compiler}'; name one with --cc") from None
    if done.returncode != 0:
        raise click.ClickException(f"{compiler} failed:\n{done.stderr}")
    return program


def measure(program: Path, rounds: int, families: tuple[str, ...]) -> list[Row]:
    """Run it; the limits come first."""
    done = subprocess.run([program, str(rounds), *families], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise click.ClickException(f"the benchmark failed:\n{done.stderr}")
    rows = []
    for line in done.stdout.splitlines():
        kind, family, shape, output, products, ns = line.split("\t")
        rows.append(Row(kind, family, shape, output, float(products), float(ns)))
    return rows


def with_shares(rows: list[Row]) -> list[Row]:
    """Fill in ``share``; it stays 0 where this machine has no measured limit."""
    limits: dict[bool, float] = {}
    for row in rows:
        if row.kind == "limit":
            binary = row.output == "bits"
            limits[binary] = max(limits.get(binary, 0.0), row.rate)

    def share(row: Row) -> float:
        limit = limits.get(row.output == "bits" if row.kind == "limit" else row.kind == "bconv2d", 0.0)
        return row.rate / limit if limit else 0.0

    return [replace(row, share=share(row)) for row in rows]


def table(rows: list[Row]) -> str:
    lines = [f"{'kernels':<8} {'layer':<22} {'output':<6} {'us':>9} {'GMAC/s':>9} {'share':>7}"]
    for row in rows:
        if row.kind == "limit":
            lines.append(f"{'limit':<8} {row.family:<28}  {'':>9} {row.rate:>9.1f} {row.share:>7.1%}")
        else:
            time = f"{row.ns / 1000:>9.1f} {row.rate:>9.1f} {row.share:>7.1%}"
            lines.append(f"{row.family:<8} {row.shape:<22} {row.output:<6} {time}")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--family", "families", multiple=True, help="Only these kernels (repeat it); default: all that can run.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=31, show_default=True, help="Turns of each.")
@click.option("--cc", default=lambda: os.environ.get("CC", "cc"), help="The C compiler; default: CC, or cc.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def main(families: tuple[str, ...], rounds: int, cc: str, as_json: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = with_shares(measure(build(Path(folder), cc), rounds, families))
    missing = [name for name in families if name not in {row.family for row in rows}]
    if missing:
        raise click.ClickException(f"no such kernels, or this processor cannot run them: {', '.join(missing)}")
    if as_json:
        report = {"machine": platform.machine(), "compiler": cc, "rounds": rounds, "rows": [asdict(r) for r in rows]}
        print(json.dumps(report))
    else:
        print(table(rows))


if __name__ == "__main__":
    main()
