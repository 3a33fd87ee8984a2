# SPDX-License-Identifier: Apache-2.0
"""The command `bnn`.

Exit status: 0 for success; 1 if a comparison found a difference; 2 for wrong usage or bad input, with a message on
stderr; 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Any

from .._distribution import install
from .._text import Guarded, printable
from ..errors import BnnError
from ..runtime.progress import note, note_lines

# What click calls the type of an option, in "'x' is not a valid TYPE."
_PLAIN = {"integer range": "whole number", "integer": "whole number", "float range": "number", "float": "number"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments`` (default: the process's) and return its exit status.

    What it writes to the terminal is printable, whatever the names in files and of files: see ``_text.py``.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with redirect_stdout(_guarded(sys.stdout)), redirect_stderr(_guarded(sys.stderr)):
        return _run(given)


def _guarded(stream: Any) -> Any:
    """``stream``: None if it is closed."""
    return None if stream is None else Guarded(stream)


def _run(given: list[str]) -> int:
    try:
        import click

        from .app import application
        from .completion import VARIABLE, complete
    except ImportError as error:
        if error.name not in ("click", "rich"):
            raise
        note(f"bnn: the command needs the package {error.name}: {install('cli')}")
        return 2
    debug = False
    try:
        if instruction := os.environ.get(VARIABLE):
            return complete(application, instruction)
        context = application.make_context("bnn", given)
        with context:
            debug = context.params["debug"]
            application.invoke(context)
        if sys.stdout is not None:
            sys.stdout.flush()
        return 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        for argument in filter(None, given):  # it may be the name of a file
            error.message = error.message.replace(argument, printable(argument))  # type: ignore[misc]
        for jargon, plain in _PLAIN.items():
            error.message = error.message.replace(f" valid {jargon}.", f" {plain}.")  # type: ignore[misc]
        with suppress(OSError, ValueError):
            error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        note("bnn: interrupted")
        return 130
    except BrokenPipeError:  # `bnn inspect net.bnn | head`: the reader is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (BnnError, OSError, MemoryError) as error:
        if debug:
            note_lines(traceback.format_exc().rstrip())
        text = _text(error)
        note(f"bnn: error: {_with_options(text, application, given) if isinstance(error, BnnError) else text}")
        return 2
    except Exception:
        note_lines(f"{traceback.format_exc()}bnn: this is a bug of bnn: please report it with the lines above")
        return 2


def _with_options(text: str, command: Any, given: Sequence[str]) -> str:
    """A message that names parameters of a function, with the options that the command has for them."""
    for argument in given:
        command = getattr(command, "commands", {}).get(argument, command)
    options = {p.name: max(p.opts, key=len) for p in command.params if p.param_type_name == "option"}
    first, colon, _ = text.partition(":")
    if colon and first in options and first not in given:
        text = options[first] + text.removeprefix(first)
    return re.sub(r"(?<![^ (])[a-z]+(_[a-z0-9]+)+(?=[ :;,)]|$)", lambda name: options.get(name[0], name[0]), text)


def _text(error: BnnError | OSError | MemoryError) -> str:
    """The message of an error: the file first, without the error number."""
    if isinstance(error, MemoryError):
        why = f" ({error})" if str(error) else ""
        return f"this takes more memory than is available{why}; give fewer or smaller inputs"
    if isinstance(error, OSError) and error.strerror:  # this package's own errors have none
        what = os.fsdecode(error.filename) if error.filename else "the output cannot be written"
        return printable(f"{what}: {error.strerror}")
    return str(error)
