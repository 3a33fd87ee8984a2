"""bnn verify: a Keras model against its .bnn file."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from .._progress import progress
from .._report import table
from ..runtime import Model, load
from .common import (
    json_option,
    keras_argument,
    live,
    load_tensorflow,
    net_argument,
    parse_shape,
    print_json,
    quantity,
    unsafe_option,
)
from .inputs import Reading, read_arrays, reading_options
from .verify_nir import NirOptions, check_kinds, nir_options, verify_nir_file

if TYPE_CHECKING:
    from ..verify import LayerCheck, Report


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
    unsafe: bool,
    as_json: bool,
) -> None:
    """Compare MODEL (.keras, .h5 or SavedModel) with NET.bnn, layer by layer.  Exit status 1: they differ.

    First every layer is fed Keras' own input: bits and accumulators of binary layers must be Keras', and floats too, up
    to the rounding of their sums.  Then the network runs alone, where a bit may differ because a float sum lies within
    rounding of its threshold; where none does, the outputs must be Keras' up to rounding.

    With --nir, MODEL is a NIR file made by `bnn emit nir`, which is run in SpikingJelly, Norse, snnTorch or
    Rockpool: every spike and every sum must be the runtime's, and every tap 0 or 1.
    """
    check_kinds(keras, net, nir)
    if nir is not None:
        net_model = load(net)
        data = read_arrays(net_model, files, reading) if files else _random(net_model, count, seed)
        context.exit(verify_nir_file(keras, net_model, data, nir, batch_size, as_json))
    from ..verify import verify as compare
    from ..verify import without_onednn

    without_onednn()  # which is chosen when TensorFlow is imported
    load_tensorflow()
    model = load(net)
    data = read_arrays(model, files, reading) if files else _random(model, count, seed)
    batch = len(data[0])
    with progress("verify", batch, live()) as advance:
        report = compare(
            keras, model, data, batch_size=batch_size, unsafe=unsafe, input_shape=input_shape, progress=advance
        )
    if as_json:
        sums = {"different_bits": report.different_bits, "different_floats": report.different_floats}
        print_json({"ok": report.ok, **sums, **asdict(report)})
    else:
        print(_text(report))
    context.exit(0 if report.ok else 1)


def _random(model: Model, count: int, seed: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    shapes = [(count, *shape) for shape in model.input_shapes]
    return [
        (rng.integers(0, 257, shape) / 256).astype(np.float32) if dtype == np.float32
        else rng.integers(0, 256, shape, np.uint8).view(dtype)
        for shape, dtype in zip(shapes, model.input_dtypes, strict=True)
    ]  # fmt: skip


def _table(checks: list[LayerCheck]) -> str:
    header = ["layer", "kind", "compared as", "values", "different", "beyond rounding", "largest difference"]
    rows = [
        [
            c.layer,
            "binary" if c.binary else "float",
            c.kind,
            *(f"{n:,}" for n in (c.compared, c.different, c.beyond)),
            f"{c.largest:.2g}",
        ]
        for c in checks
    ]
    return table(header, rows, header[:3])


def _text(report: Report) -> str:
    end = report.end_to_end
    first = f"{quantity(end.first_differences, 'bit')} differ where nothing differed before"
    lines = [
        f"Each layer fed Keras' own input, {quantity(report.images - report.images_with_nan, 'image')}\n",
        _table(report.layers),
        "\nThe network alone: bits of all images, floats of those without a different bit\n",
        _table(end.layers),
        "",
        f"images with a different bit: {end.images_with_different_bits:,}",
        f"{first}; {end.beyond_rounding:,} of them not within rounding of the threshold"
        f" (largest distance {end.largest_distance:.2g} standard deviations)",
        f"images without a different bit: {end.images_judged:,}; "
        f"in {end.outputs_beyond_rounding:,} of them outputs differ by more than rounding",
        f"images whose class differs: {end.classes_different:,}; {end.classes_beyond_rounding:,} of them by more than"
        " rounding",
        f"largest difference of an output: {end.largest_output_difference:.3g}",
    ]
    if report.images_with_nan:
        lines.append(f"images in which not-a-number reaches a quantizer, not compared: {report.images_with_nan:,}")
    lines += [
        "",
        f"float layers: {quantity(report.different_floats, 'value')} differ by more than rounding",
        f"binary layers: {quantity(report.different_bits, 'bit')} differ.  {'OK' if report.ok else 'DIFFERENT'}",
    ]
    if report.hint:
        lines.append(report.hint)
    return "\n".join(lines)
