# SPDX-License-Identifier: Apache-2.0
"""bnn calibrate: turn a .bnn file's float layers into int8."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..calibration import METHODS, calibrate
from ..runtime import load
from ..runtime.evaluation import class_numbers, classes_of
from ..runtime.progress import note, waiting
from ..runtime.summary import quantity
from .common import Place, check_outputs, check_suffix, json_option, net_argument, print_json, print_line, print_lines
from .inputs import InputOptions, read_arrays, read_targets, reading_options

_FEW = 32


@click.command("calibrate", short_help="Turn the float layers of a .bnn file into int8.")
@net_argument
@click.argument(
    "files", metavar="IMAGES...", nargs=-1, required=True,
    type=Place("pictures, folders of them, or arrays: .npy, .npz", exists=True),
)  # fmt: skip
@click.option("-o", "--output", metavar="OUT.bnn", required=True, type=click.Path(dir_okay=False, path_type=str),
              help="Output.")  # fmt: skip
@click.option("--method", type=click.Choice(METHODS), default="mse", show_default=True,
              help="How the range of a layer's data is chosen.")  # fmt: skip
@click.option("--targets", metavar="FILE.npy", type=click.Path(path_type=str),
              help="The right classes: the report then has the accuracy before and after.")  # fmt: skip
@click.option("--keep-float", metavar="LAYER", multiple=True, help="Leave this layer as it is; may be repeated.")
@click.option("--integer-only", is_flag=True, help="No op computes with floats; an error names the first that would.")
@click.option("--int16", metavar="LAYER", multiple=True,
              help="With --integer-only: sums of two values that are int16, no others; may be repeated.  By default "
                   "all, if that halves the noise of the outputs.")  # fmt: skip
@click.option("--no-int16", is_flag=True, help="With --integer-only: all values are bytes.")
@reading_options
@json_option
def calibrate_command(
    net: str, files: tuple[str, ...], output: str, method: str, targets: str | None, keep_float: tuple[str, ...],
    integer_only: bool, int16: tuple[str, ...], no_int16: bool, reading: InputOptions, as_json: bool,
) -> None:  # fmt: skip
    """Turn the float convolutions and dense layers of NET.bnn into int8: faster, with a quarter of the bytes of
    weights.  IMAGES, a hundred or more of all classes, say which values their data have.

    \b
    bnn calibrate net.bnn photos/ -o net8.bnn

    Binary layers do not change; with --integer-only, their sums become bytes.  For each float layer the report says
    what became of it, and how far its sums are from those before, in dB.  Pictures and arrays are read as by `bnn run`.
    """
    if int16 and no_int16:
        raise click.UsageError("--int16 and --no-int16 contradict each other; give one of them")
    check_outputs({"-o": output}, [net, targets, *files])
    check_suffix("-o", output, [".bnn"])
    model = load(net)
    right = None if targets is None else read_targets(targets)
    with waiting(f"calibrating {net}"):
        images = read_arrays(model, files, reading)
        if right is not None:
            right = class_numbers(right, len(images[0]), classes_of(model.output_shapes), "--targets")
        found = calibrate(
            model, images, right, method=method, keep_float=keep_float, integer_only=integer_only,
            int16=int16 if int16 or no_int16 else None,
        )  # fmt: skip
    if found.images < _FEW:
        note(f"bnn: note: {quantity(found.images, 'image')}; ranges of a hundred or more, of all classes, hold better")
    found.model.save(output)
    if as_json:
        layers, shortcuts = ([asdict(part) for part in parts] for parts in (found.layers, found.shortcuts))
        print_json({"net": net, "output": output, "layers": layers, "images": found.images, "same_class": found.same,
                    "accuracy": found.accuracy, "float_ops": found.float_ops, "bytes": found.model.nbytes,
                    "shortcuts": shortcuts, "tried": found.tried})  # fmt: skip
        return
    print_lines(str(found))
    print_line(f"wrote {output}: {found.model.nbytes:,} bytes (before: {model.nbytes:,})")
