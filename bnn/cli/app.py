# SPDX-License-Identifier: Apache-2.0
"""The `bnn` command with its subcommands.  A new subcommand is a file in this folder and a line here."""

from __future__ import annotations

import click

from .._distribution import DISTRIBUTION
from .._version import __version__
from .bench import bench
from .calibrate import calibrate_command
from .compile import compile_command
from .completion import completion
from .emit import emit
from .evaluate import evaluate
from .events import events
from .inspect import inspect
from .run import run
from .score import score
from .snn import snn
from .verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, package_name=DISTRIBUTION, message="%(package)s %(version)s")
def application(debug: bool) -> None:
    """Compile and run binarized neural networks.

    \b
    bnn compile model.keras -o net.bnn      compile a Keras, Larq or ONNX model
    bnn verify model.keras net.bnn          compare the two, layer by layer
    bnn run net.bnn photos/ a.jpg           classify
    bnn evaluate net.bnn photos/            count how often it is right

    \b
    Exit status: 0: success; 1: a comparison found a difference; 2: wrong usage or bad input; 130: Ctrl-C.
    """


for command in (
    compile_command,
    run,
    evaluate,
    score,
    verify,
    calibrate_command,
    inspect,
    bench,
    emit,
    events,
    snn,
    completion,
):
    application.add_command(command)
