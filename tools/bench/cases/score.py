# SPDX-License-Identifier: Apache-2.0
"""Time `bnn score` on JPEG pictures in Parquet files: in one process, and with one and two workers of Ray.

    python tools/benchmark.py score                      12,000 pictures of 500 x 375, for one dense layer of 224 x 224
    python tools/benchmark.py score net.bnn --pictures 2000 --workers 1,2,4

The last row has pictures of 224 x 224, in one process.  Times are those of whole commands, with the start of Python
and of Ray; the results of Ray must have the bytes of one process.  Needs the extra `score`, and `ray` unless --workers
names none (--workers '').
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pyarrow
import pyarrow.parquet as pq
from PIL import Image

from bench.runner import Bench, Found, case, numbers
from bnn.file.write import encode
from bnn.ir.graph import Graph
from bnn.ir.ops import ConvAttrs, constant, input_node, make
from bnn.passes import lower
from bnn.runtime.use import Preprocessing, Use

ROWS = 250  # of a row group
SIZES = ((500, 375), (224, 224))
_DIFFERENT = 200  # pictures; the others repeat them


def dense(path: Path) -> Path:
    """A network that takes little time, so that reading the pictures takes most: one layer, two classes."""
    x = input_node("x", (224, 224, 3))
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (2, 224, 224, 3)).astype(np.float32)
    layer = make("conv2d", x, constant(signs), attrs=ConvAttrs(), name="dense")
    use = Use(preprocessing=Preprocessing(scale=255.0, fit="crop"))
    path.write_bytes(encode(replace(lower(Graph((x,), (layer,), ("y",))), use=use.text())))
    return path


def jpegs(width: int, height: int) -> list[bytes]:
    """Blurred noise: files of about the size that photos have."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(_DIFFERENT):
        small = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
        memory = io.BytesIO()
        small.resize((width, height), Image.Resampling.BICUBIC).save(memory, "jpeg", quality=90)
        made.append(memory.getvalue())
    return made


def sample(path: Path, count: int, size: tuple[int, int]) -> Path:
    pictures = jpegs(*size)
    values = pyarrow.array([pictures[i % _DIFFERENT] for i in range(count)], pyarrow.binary())
    pq.write_table(pyarrow.table({"picture": values}), path, row_group_size=ROWS)
    return path


def timed(net: Path, file: Path, out: Path, workers: int) -> float:
    """Seconds of one command; 0 workers: without Ray."""
    command = [sys.executable, "-m", "bnn", "score", str(net), "--input", str(file), "--output", str(out)]
    command += ["--on", "ray", "--workers", str(workers)] if workers else []
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("part-*"))]


@case()
@click.argument("net", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--pictures", metavar="N", type=click.IntRange(1), default=12_000, show_default=True)
@click.option("--workers", default="1,2", show_default=True, callback=numbers, help="Of Ray; '': without it.")
def score(bench: Bench, net: Path | None, pictures: int, workers: list[int]) -> Found:
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        net = net or dense(folder / "net.bnn")
        large, small = (sample(folder / f"{size[0]}.parquet", pictures, size) for size in SIZES)
        runs = [("one process", large, 0), *((f"Ray, workers: {n}", large, n) for n in workers)]
        for i, (what, file, count) in enumerate([*runs, ("one process, 224 x 224", small, 0)]):
            seconds = timed(net, file, folder / str(i), count)
            found.append({"run": what, "pictures": pictures, "seconds": seconds})
            bench.say(f"{what:24} {seconds:7.1f} s {pictures / seconds:7.0f} pictures a second")
            if count and contents(folder / str(i)) != contents(folder / "0"):
                raise click.ClickException(f"{what}: the results are not those of one process")
    return Found({"rows": found})
