# SPDX-License-Identifier: Apache-2.0
"""bnn verify: a Keras model against its .bnn file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict

import click

from .._progress import live, progress, waiting
from ..runtime import load
from .apart import Limits, limit_options, run_apart
from .common import (
    json_option,
    keras_argument,
    net_argument,
    parse_shape,
    print_json,
    unsafe_option,
    was_given,
)
from .inputs import Reading, random_arrays, read_arrays, reading_options
from .verify_nir import NirOptions, check_kinds, nir_options, verify_nir_file


@click.command(short_help="Compare a .bnn file with the Keras model it came from.")
@keras_argument
@net_argument
@click.option("--data", "files", metavar="FILE", multiple=True, type=click.Path(path_type=str),
              help="Inputs to compare on: .npy, .npz or image files; may be repeated.")  # fmt: skip
@click.option("--random", "count", metavar="N", type=click.IntRange(1), default=256, show_default=True,
              help="Without --data: so many random images, multiples of 1/256 from 0 to 1, or bytes.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the random images.")
@click.option("--batch-size", type=click.IntRange(1, 4096), default=64, show_default=True, help="Images at a time.")
@click.option("--input-shape", metavar="H,W,C", callback=parse_shape,
              help="As the model was compiled with, where it has no fixed input shape.")  # fmt: skip
@reading_options
@nir_options
@limit_options
@unsafe_option
@json_option
@click.pass_context
def verify(
    context: click.Context,
    keras: str,
    net: str,
    files: tuple[str, ...],
    count: int,
    seed: int,
    batch_size: int,
    input_shape: tuple[int, ...] | None,
    reading: Reading,
    nir: NirOptions | None,
    limits: Limits,
    unsafe: bool,
    as_json: bool,
) -> None:
    """Compare MODEL (.keras, .h5 or SavedModel) with NET.bnn, layer by layer.  Exit status 1: they differ.

    First every layer is fed Keras' own input: bits and accumulators of binary layers must be Keras', and floats too, up
    to the rounding of their sums.  Then the network runs alone, where a bit may differ because a float sum lies within
    rounding of its threshold; where none does, the outputs must be Keras' up to rounding.

    As by `bnn compile`, MODEL is loaded in a process of its own; --timeout is about each batch.

    With --nir, MODEL is a NIR file made by `bnn emit nir`, which is run in SpikingJelly, Norse, snnTorch or
    Rockpool: every spike and every sum must be the runtime's, and every tap 0 or 1.
    """
    check_kinds(keras, net, nir)
    for name in ("count", "seed"):
        if files and was_given(name):
            option = "--random" if name == "count" else "--seed"
            raise click.UsageError(f"{option} is about random images; leave it out, or --data")
    for name in ("max_memory", "timeout"):
        if nir is not None and was_given(name):
            raise click.UsageError(f"--{name.replace('_', '-')} is about Keras models; leave it out, or --nir")
    if nir is not None:
        net_model = load(net)
        data = read_arrays(net_model, files, reading) if files else random_arrays(net_model, count, seed)
        context.exit(verify_nir_file(keras, net_model, data, nir, batch_size, as_json))
    with ExitStack() as shown:
        shown.enter_context(waiting("loading TensorFlow"))
        advance: list[Callable[[int], None]] = []

        def working(images: int) -> None:
            shown.close()
            advance.append(shown.enter_context(progress("verify", images, live())))

        record, _ = run_apart(
            "verify",
            keras,
            limits,
            {"working": working, "done": lambda images: advance[0](images)},
            net=net,
            files=files,
            reading=asdict(reading),
            count=count,
            seed=seed,
            batch_size=batch_size,
            unsafe=unsafe,
            input_shape=input_shape,
        )
    from .._verify_report import Report

    report = Report.from_record(record)
    if as_json:
        sums = {"different_bits": report.different_bits, "different_floats": report.different_floats}
        print_json({"ok": report.ok, **sums, **asdict(report)})
    else:
        print(report)
    context.exit(0 if report.ok else 1)
