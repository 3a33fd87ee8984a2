# SPDX-License-Identifier: Apache-2.0
"""bnn verify: compare a trained model, or a NIR file run in the simulators that import it, with a .bnn file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import click

from ..errors import InputError
from ..runtime.progress import live, progress, waiting
from ..snn.simulators import IMPORTERS
from .apart import Limits, limit_options, run_apart
from .common import (
    json_option,
    loading,
    model_argument,
    net_argument,
    parse_shape,
    parse_zero,
    print_json,
    refuse,
    unsafe_option,
)
from .inputs import InputOptions, reading_options


@click.command(short_help="Compare a .bnn file with the model it came from.")
@model_argument
@net_argument
@click.option("--data", "files", metavar="FILE", multiple=True, type=click.Path(path_type=str),
              help="Inputs to compare on: .npy, .npz or image files; may be repeated.")  # fmt: skip
@click.option("--random", "count", metavar="N", type=click.IntRange(1), show_default="256; fewer of a large network",
              help="Without --data: number of random images, multiples of 1/256 from -1 to 1, or bytes.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="For the random images.")
@click.option("--batch-size", type=click.IntRange(1, 4096), show_default="64; fewer of a large network",
              help="Images at a time.")  # fmt: skip
@click.option("--input-shape", metavar="H,W,C", callback=parse_shape,
              help="The shape used in compiling, if the model has no fixed input shape.")  # fmt: skip
@click.option("--zero", type=click.Choice(["-1", "0", "1"]), default="0", show_default=True, callback=parse_zero,
              help="The --zero used in compiling.")  # fmt: skip
@reading_options
@click.option("--nir", is_flag=True, help="MODEL is a NIR file: run it in importers, compare every spike.")
@click.option("--importer", type=click.Choice([*IMPORTERS, "all"]), default="all", show_default=True,
              help="With --nir: the simulator to run the file in.")  # fmt: skip
@click.option("--allow-silent", is_flag=True, help="Accept a layer of which no bit changed, or in which nothing fired.")
@click.option("--stream", is_flag=True, help="With --nir: do not reset the neurons between batches.")
@limit_options
@unsafe_option
@json_option
def verify(
    model: str,
    net: str,
    files: tuple[str, ...],
    input_shape: tuple[int, ...] | None,
    zero: int,
    reading: InputOptions,
    allow_silent: bool,
    nir: bool,
    importer: str,
    stream: bool,
    limits: Limits,
    unsafe: bool,
    as_json: bool,
    batch_size: int | None,
    **data: int | None,  # count and seed
) -> None:
    """Compare MODEL (.keras, .h5, .onnx, .tflite or SavedModel) with NET.bnn, layer by layer.  Exit status 1: they
    differ.

    First every layer is fed MODEL's own input: bits and accumulators of binary layers must equal MODEL's, and so must
    floats, up to the rounding of their sums.  Then the network runs alone.  A bit may differ if a float sum is within
    rounding of its threshold; if no bit differs, the outputs must equal MODEL's up to rounding.

    A layer of which no bit changed from image to image equals any other such layer: the verdict names it, and the exit
    status is 1, unless --allow-silent accepts that.  With --nir this includes layers in which nothing fired.

    As in `bnn compile`, MODEL is loaded in a separate process; --timeout applies to each batch.

    With --nir, MODEL is a NIR file from `bnn emit nir`.  It runs in the simulators of --importer, also in a separate
    process: every spike and every sum must equal the runtime's, and every tap must be 0 or 1.
    """
    check_kinds(model, net, nir)
    _check_options(bool(files), nir)
    if nir:
        task, runs = "verify_nir", len(IMPORTERS) if importer == "all" else 1
        options: dict[str, Any] = {"importer": importer, "stream": stream}
    else:
        task, runs = "verify", 1
        options = {"unsafe": unsafe, "input_shape": input_shape, "zero": zero}
    options |= {"net": net, "files": files, "reading": asdict(reading), "allow_silent": allow_silent, **data}
    if batch_size is not None or nir:
        options["batch_size"] = batch_size or 64
    show_report(task, model, limits, "loading the simulators" if nir else loading(model), runs, as_json, **options)


def check_kinds(model: str, net: str, nir: bool) -> None:
    """Check that the files' names match the options."""
    if not nir and model.endswith(".nir"):
        raise InputError(f"{model}: to run a NIR file, add --nir")
    if not nir and model.endswith(".bnn"):
        raise InputError(f"{model}: is a compiled network; expected: bnn verify MODEL NET.bnn")
    if net.endswith(".nir"):
        raise InputError(f"{net}: is a NIR file; expected: bnn verify --nir MODEL.nir NET.bnn")


def _check_options(data: bool, nir: bool) -> None:
    """Refuse options that would have no effect."""
    refuse(
        (("count", "seed") if data else (), "is for random images; leave out either it or --data"),
        (("zero", "input_shape", "unsafe") if nir else (), "is for trained models; leave out either it or --nir"),
        (() if nir else ("importer", "stream"), "is for NIR files; add --nir, or leave it out"),
    )  # fmt: skip


def show_report(task: str, model: str, limits: Limits, before: str, runs: int, as_json: bool, **arguments: Any) -> None:
    """Print the report of a task of ``child.py`` that goes through its images or samples ``runs`` times; exit status 1
    if it is not ok.  Shows what is done ``before``, and progress."""
    with ExitStack() as shown:
        shown.enter_context(waiting(before))
        advance: list[Callable[[int], None]] = []

        def working(images: int) -> None:
            shown.close()
            advance.append(shown.enter_context(progress("verify", images * runs, live())))

        handlers = {"working": working, "done": lambda images: advance[0](images)}
        record, text = run_apart(task, model, limits, handlers, **arguments)
    if as_json:
        print_json(record)
    else:
        print(text)
    click.get_current_context().exit(0 if record["ok"] else 1)
