# SPDX-License-Identifier: Apache-2.0
"""bnn snn convert: a trained ReLU network as a network of counters, which equals its quantized form."""

from __future__ import annotations

import base64
from typing import Any

import click

from ..importers.common.kinds import check_kind
from ..runtime.progress import waiting
from ..runtime.summary import quantity
from ..snn.model import SpikingModel
from .apart import Limits, limit_options, run_apart
from .common import (
    Place,
    check_outputs,
    check_suffix,
    default_output,
    json_option,
    loading,
    model_argument,
    parse_shape,
    print_json,
    print_line,
    unsafe_option,
)
from .inputs import check_scaling


@click.command("convert", short_help="Turn a ReLU network into counters that spike.")
@model_argument
@click.option("--data", metavar="FILE", required=True,
              type=Place("images of the training, such as --data x.npy", exists=True),
              help="Images like those of the training, whole numbers from 0 to 255: .npy or .npz, (N, *shape).  The "
                   "ranges of ReLUs are taken from them.")  # fmt: skip
@click.option("-o", "--output", metavar="NET.snn", type=click.Path(dir_okay=False, path_type=str),
              help="Output file.  Default: the model's name with .snn, in the current folder.")  # fmt: skip
@click.option("--levels", type=click.IntRange(1, 255), default=15, show_default=True,
              help="Levels of a ReLU, beside 0: 3 is 2 bits, 255 is 8.  Quantizers keep their own.")  # fmt: skip
@click.option("--scheme", type=click.Choice(["take-back", "staged"]), default="take-back", show_default=True,
              help="Neurons that take spikes back, or plain ones that fire layer by layer.")  # fmt: skip
@click.option("--weights-bits", type=click.IntRange(2, 16), default=8, show_default=True,
              help="Bits of the weights; with more than 8, each takes four bytes.")  # fmt: skip
@click.option("--percentile", type=click.FloatRange(0, 100, min_open=True), default=100.0, show_default=True,
              help="Which of a ReLU's values above 0 its highest level stands for.  With few levels, try 99."
              )  # fmt: skip
@click.option(
    "--scale", type=float, default=1.0, show_default=True, help="The model's input is pixel / SCALE + OFFSET."
)
@click.option("--offset", type=float, default=0.0, show_default=True)
@click.option("--count", type=click.IntRange(1), default=200, show_default=True, help="Images of FILE that are used.")
@click.option("--input-shape", metavar="H,W,C", callback=parse_shape, help="For a model without a fixed input shape.")
@limit_options
@unsafe_option
@json_option
def snn_convert(model: str, data: str, output: str | None, limits: Limits, as_json: bool, **options: Any) -> None:
    """Turn MODEL, a .keras, .h5 or .onnx file or a SavedModel folder with ReLU layers, into NET.snn.

    First the network is quantized: every activation becomes a whole number of levels, every weight a whole number.
    The spiking network equals this in every neuron; what quantizing costs is reported: the share of images whose class
    stays.

    A layer that cannot be counters is an error that names it, with the reason.
    """
    check_kind(model)
    target = output or default_output(model, ".snn")
    check_suffix("-o", target, [".snn"])
    check_outputs({"-o": target}, [model, data])
    check_scaling(options["scale"], options["offset"])
    with waiting(loading(model)) as say:
        handlers = {"working": lambda _: say(f"converting {model}")}
        found = run_apart("convert_snn", model, limits, handlers, data=data, **options)
    content = base64.b64decode(found.pop("data"))
    SpikingModel.from_bytes(content).save(target)
    text = found.pop("text")
    if as_json:
        print_json({"model": model, "output": target, "bytes": len(content), **found})
        return
    print(text)
    print(
        f"class as the model's: {found['agreement']:.1%} of {found['images']} images\n"
        f"{found['scheme']}: {found['neurons']:,} neurons; an image that arrives at once needs "
        f"{quantity(found['steps'], 'step')}"
    )
    print_line(f"wrote {target}: {len(content):,} bytes")
    print_line(f"run it: bnn snn run {target} --data IMAGES.npy --scale 1 --coding once --steps {found['steps']}")
