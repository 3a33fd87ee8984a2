# SPDX-License-Identifier: Apache-2.0
"""The `bnn` command with its subcommands.  A new subcommand is a file in this folder and a line here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import click

from .._distribution import DISTRIBUTION
from .._version import __version__

# In the order of a user's work: the file in this folder, and the command in it.
_COMMANDS = {
    "compile": "compile_command",
    "run": "run",
    "evaluate": "evaluate",
    "score": "score",
    "verify": "verify",
    "calibrate": "calibrate_command",
    "inspect": "inspect",
    "bench": "bench",
    "emit": "emit",
    "events": "events",
    "snn": "snn",
    "completion": "completion",
}


class _Commands(Mapping[str, click.Command]):
    """Each is imported when it is asked for: a command does not wait for what only others need."""

    def __getitem__(self, name: str) -> click.Command:
        attribute = _COMMANDS[name]
        command: click.Command = getattr(import_module(f".{name}", __package__), attribute)
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


_commands: Any = _Commands()  # click would add to it, too


@click.group(commands=_commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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
