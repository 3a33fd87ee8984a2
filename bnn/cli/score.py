# SPDX-License-Identifier: Apache-2.0
"""bnn score: run a .bnn file on very many pictures or rows, on one machine or on a Ray cluster."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..errors import InputError
from ..runtime import MOST_THREADS, load
from ..runtime.progress import live, note, progress
from ..runtime.summary import quantity
from .common import Place, json_option, net_argument, print_json, print_line
from .inputs import InputOptions, read_labels, reading_options
from .scoring import Job, find_parts, on_ray, on_this_machine, output_classes, parquet, planned, totals


@click.command(short_help="Run a .bnn file on very many pictures or rows.")
@net_argument
@click.option("--input", "given", metavar="INPUT", multiple=True, required=True,
              type=Place("pictures or Parquet files, such as --input photos/"),
              help="Folder of pictures or Parquet files, pattern, or file; may be repeated.")  # fmt: skip
@click.option("--output", metavar="FOLDER", required=True, type=click.Path(file_okay=False, path_type=str),
              help="Folder for the results, Parquet files.")  # fmt: skip
@click.option("--on", "where", type=click.Choice(["local", "ray"]), default="local", show_default=True,
              help="This process, or workers of Ray (RAY_ADDRESS: of a cluster).")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), help="Number of Ray's workers.  Default: this machine's processors.")
@click.option("--column", metavar="NAME", help="Column of Parquet files.  Default: the only one of pictures or lists.")
@click.option("--labels", metavar="FILE", type=click.Path(path_type=str),
              help="Class names, one per line.  Default: those in NET.bnn.")  # fmt: skip
@click.option("--scores", is_flag=True, help="Write all scores, not the best one alone.")
@click.option("--rows", metavar="N", type=click.IntRange(1), default=4096, show_default=True,
              help="Number of pictures per file of results; Parquet files have one per row group.")  # fmt: skip
@reading_options
@click.option("--portable", is_flag=True, help="Give the same bytes on every machine; float layers take longer.")
@click.option(
    "--threads", type=click.IntRange(1, MOST_THREADS), help="Threads per worker.  Default: BNN_THREADS, or 1."
)
@json_option
def score(
    net: str, given: tuple[str, ...], output: str, where: str, workers: int | None, column: str | None,
    labels: str | None, scores: bool, rows: int, reading: InputOptions, portable: bool, threads: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Run NET.bnn on very many pictures, or on the rows of Parquet files, and write what it gives to a folder.

    \b
    bnn score net.bnn --input photos/ --output scores/
    bnn score net.bnn --input 'day/*.parquet' --output scores/ --on ray --workers 64

    After an interruption, the same command goes on: finished parts are not repeated, and none is lost.  Results have
    one row per picture or row, in the order of the input: its file (and row), class, label, score, and why there is
    none (a damaged picture; the exit status is then 2).  They do not depend on --on, --workers and --threads.
    """
    if where != "ray" and workers is not None:
        raise click.UsageError("--workers is for --on ray; leave it out, or give --threads")
    parquet()
    model = load(net)
    classes = output_classes(model)
    names = model.labels if labels is None else read_labels(labels, {classes})
    named = tuple(names) if names is not None and len(names) == classes else None
    for path in given:
        if os.path.isdir(path) and Path(os.path.realpath(output)).is_relative_to(os.path.realpath(path)):
            raise InputError(f"--output {output}: lies inside the input {path}; give a folder outside it")
    job = Job(os.path.abspath(net), os.path.abspath(output), reading, named, column, scores, portable, threads)
    parts = find_parts([os.path.abspath(path) for path in given], rows, column)
    with planned(job, parts, rows, take_back=where == "local") as todo:
        left = sum(part.rows for part in todo)
        if done := sum(part.rows for part in parts) - left:
            note(f"bnn: {quantity(done, 'row')} scored before; {left:,} to go")
        with progress("score", left, live()) as advance:
            if where == "ray" and todo:
                on_ray(job, todo, workers or os.cpu_count() or 1, advance)
            else:
                on_this_machine(job, todo, advance)
    count, wrong = totals(job, parts)
    if as_json:
        print_json({"rows": count, "errors": wrong, "files": len(parts), "output": output})
    else:
        print_line(f"wrote {quantity(count, 'row')} in {quantity(len(parts), 'file')} to {output}")
    if wrong:
        note(f"bnn: {quantity(wrong, 'row')} without a result: see the column 'error'")
        click.get_current_context().exit(2)
