# SPDX-License-Identifier: Apache-2.0
"""bnn compile: compile a Keras or ONNX model, or a .tflite file, to a .bnn file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import click

from ..calibration import calibrate as quantized
from ..errors import InputError
from ..events import populations
from ..importers.common.kinds import check_kind
from ..runtime import Model
from ..runtime.arrays import Inputs
from ..runtime.progress import note, note_lines, waiting
from ..runtime.use import PRESETS
from .apart import Limits, limit_options, run_apart
from .common import (
    Place,
    check_outputs,
    check_suffix,
    default_output,
    json_option,
    loading,
    model_argument,
    model_record,
    parse_shape,
    parse_zero,
    print_json,
    print_line,
    print_lines,
    unsafe_option,
    use_lines,
)
from .inputs import InputOptions, read_arrays


def _parse_meta(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    """KEY=TEXT, the values of an option."""
    pairs = [text.partition("=") for text in texts]
    if wrong := [text for text, (key, sign, _) in zip(texts, pairs, strict=True) if not (key and sign)]:
        raise click.BadParameter(f"found '{wrong[0]}', expected KEY=TEXT")
    if len({key for key, _, _ in pairs}) < len(pairs):
        raise click.BadParameter("found a key twice, expected each once")
    return {key: text for key, _, text in pairs}


def _images(compiled: Model, path: str) -> list[Inputs]:
    """The images of --calibrate.  Errors of reading name options that this command does not have."""
    try:
        return read_arrays(compiled, [path], InputOptions(None, 0.0, False))
    except InputError as error:
        found, named, _ = str(error).partition("; give --")
        if not named:
            raise
        how = "give --preprocess, how a picture becomes the input; or leave out --calibrate and run bnn calibrate"
        raise InputError(f"{found}; {how}, which has --scale and --resize") from None


@click.command("compile", short_help="Compile a Keras, Larq, ONNX or .tflite model to a .bnn file.")
@model_argument
@click.option("-o", "--output", metavar="NET.bnn", type=click.Path(dir_okay=False, path_type=str),
              help="Output; NET.snn: its event populations.  Default: the model's name with .bnn, here.")  # fmt: skip
@click.option(
    "--require-binary",
    is_flag=True,
    help="Fail if a convolution or dense layer stays float, except those that read the network's input; name each.",
)
@click.option("--dump-after", metavar="PASS", help="Print the graph after this pass (also: import, all).")
@click.option("--input-shape", metavar="H,W,C", callback=parse_shape, help="For a model without a fixed input shape.")
@click.option("--input-dtype", type=click.Choice(["uint8", "int8", "float32"]),
              help="Input type of the network.  Default: the model's; uint8: bytes as in image files.")  # fmt: skip
@click.option("--zero", type=click.Choice(["-1", "0", "1"]), default="0", show_default=True, callback=parse_zero,
              help="What Sign gives for 0 in an ONNX model.")  # fmt: skip
@click.option("--labels", metavar="FILE", type=click.Path(path_type=str),
              help="Names of the classes, one per line, to write into NET.bnn.")  # fmt: skip
@click.option("--preprocess", metavar="NAME",
              help=f"How a picture becomes the input: {', '.join(PRESETS)}, or a .json file.")  # fmt: skip
@click.option("--meta", metavar="KEY=TEXT", multiple=True, callback=_parse_meta,
              help="Write this into NET.bnn, too; may be repeated.")  # fmt: skip
@click.option("--calibrate", metavar="IMAGES", type=Place("a picture, a folder of them, or .npy, .npz", exists=True),
              help="Turn layers that stay float into int8, by these images (see `bnn calibrate`).")  # fmt: skip
@click.option("--integer-only", is_flag=True,
              help="With --calibrate: no op computes with floats; an error names one that would.")  # fmt: skip
@limit_options
@unsafe_option
@json_option
def compile_command(
    model: str, output: str | None, calibrate: str | None, integer_only: bool, limits: Limits, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Compile MODEL, a .keras, .h5, .onnx or .tflite file or a SavedModel folder, and report how each layer was
    compiled.

    Layers that are not binary are listed with the reason.  The last lines are warnings: what the author of the model
    probably did not mean.

    MODEL is loaded and compiled in a separate process, limited by --max-memory and --timeout, since a malicious file
    can make TensorFlow use all memory or never end.

    With --labels and --preprocess, `bnn run NET.bnn photo.jpg` needs no options.  Layers that scale the input
    (Rescaling) stay part of the network; what the file says then must not scale a second time.  The metadata of an ONNX
    model are kept, and so are the labels that they name.
    """
    if integer_only and calibrate is None:
        raise click.UsageError("--integer-only: needs --calibrate IMAGES, which say the ranges of the values")
    check_kind(model)
    target = output or default_output(model, ".bnn")
    check_outputs({"-o": target}, [model, calibrate, options["labels"], options["preprocess"]])
    check_suffix("-o", target, [".bnn", ".snn"])
    with waiting(loading(model)) as say:
        handlers = {
            "working": lambda _: say(f"compiling {model}"),
            "note": lambda text: note(f"bnn: note: {text}"),
            "dump": note_lines if as_json else print_lines,  # keep only the JSON object on stdout
        }
        data = run_apart("compile", model, limits, handlers, **options)  # as bnn.compile calls them
    compiled = Model.from_bytes(base64.b64decode(data))
    if calibrate is not None:
        with waiting(f"calibrating {model}"):
            compiled = quantized(compiled, _images(compiled, calibrate), integer_only=integer_only).model
    saved = compiled if not target.endswith(".snn") else populations(compiled)
    saved.save(target)
    if as_json:
        print_json({"model": model, "output": target, **model_record(compiled), "bytes": saved.nbytes})
        return
    print(compiled.summary(warnings=False))
    for op in compiled.ops:
        if op.float_macs:
            print_line(f"float: '{op.layer}': {op.note or 'no reason recorded'}")
    for op in compiled.ops:
        if op.note and not op.float_macs:
            print_line(f"integer: '{op.layer}': {op.note}")
    print_line(f"wrote {target}: {saved.nbytes:,} bytes")
    for line in (*use_lines(compiled), *compiled.warnings):
        print_line(line)
