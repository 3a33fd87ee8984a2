# SPDX-License-Identifier: Apache-2.0
"""bnn compile: compile a Keras model to a .bnn file."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import click

from ..errors import InputError
from ..runtime import Model
from ..runtime.progress import note, waiting
from .apart import Limits, limit_options, run_apart
from .common import check_outputs, json_option, keras_argument, model_record, parse_shape, print_json, unsafe_option


@click.command("compile", short_help="Compile a Keras or Larq model to a .bnn file.")
@keras_argument
@click.option("-o", "--output", metavar="NET.bnn", type=click.Path(dir_okay=False, path_type=str),
              help="Output file.  Default: the model's name with .bnn, in the current folder.")  # fmt: skip
@click.option("--require-binary", is_flag=True, help="Fail if a convolution or dense layer stays float; name each.")
@click.option("--dump-after", metavar="PASS", help="Print the graph after this pass (also: import, all).")
@click.option("--input-shape", metavar="H,W,C", callback=parse_shape, help="For a model without a fixed input shape.")
@click.option("--input-dtype", type=click.Choice(["uint8", "int8", "float32"]),
              help="Input type of the network.  Default: the model's; uint8: bytes as in image files.")  # fmt: skip
@limit_options
@unsafe_option
@json_option
def compile_command(keras: str, output: str | None, limits: Limits, as_json: bool, **options: Any) -> None:
    """Compile MODEL, a .keras or .h5 file or a SavedModel folder, and report how each layer was compiled.

    Layers that are not binary are listed with the reason.

    MODEL is loaded and compiled in a separate process, limited by --max-memory and --timeout, since a malicious file
    can make TensorFlow use all memory or never end.
    """
    if keras.endswith(".bnn") and Path(keras).is_file():
        raise InputError(f"{keras}: has the name of a compiled network; give the Keras model (.keras, .h5, SavedModel)")
    target = output or Path(keras).stem + ".bnn"
    check_outputs({"-o": target}, [keras])
    with waiting("loading TensorFlow") as say:
        handlers = {
            "working": lambda _: say(f"compiling {keras}"),
            "dump": note if as_json else print,  # keep only the JSON object on stdout
        }
        data = run_apart("compile", keras, limits, handlers, **options)  # as bnn.compile calls them
    compiled = Model.from_bytes(base64.b64decode(data))
    compiled.save(target)
    if as_json:
        print_json({"model": keras, "output": target, **model_record(compiled)})
        return
    print(compiled.summary())
    for op in compiled.ops:
        if op.float_macs:
            print(f"float: '{op.layer}': {op.note or 'no reason recorded'}")
    for op in compiled.ops:
        if op.note and not op.float_macs:
            print(f"{'integer' if op.byte_macs else 'hint'}: '{op.layer}': {op.note}")
    print(f"wrote {target}: {compiled.nbytes:,} bytes")
