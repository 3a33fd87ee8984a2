# SPDX-License-Identifier: Apache-2.0
"""What the commands that train show, and how they end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from bnn.errors import BnnError
from training import UserError, fit


class ConsoleProgress(fit.Progress):
    """On a terminal a bar with figures, which goes when the block ends; elsewhere ``line`` says what was found."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.epochs = 0
        self._bar = Bar(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> ConsoleProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def started(self, settings: fit.Settings, parameters: int, done: int) -> None:
        self.epochs = settings.epochs
        self._task = self._bar.add_task("", total=settings.epochs, completed=done, epoch=done + 1, figures="")
        self._bar.start()

    def batch(self, epoch: int, share: float, loss: float, accuracy: float) -> None:
        figures = f"loss {loss:.4f}, {accuracy:.2%} right"
        self._bar.update(self._task, completed=epoch - 1 + share, epoch=f"{epoch}/{self.epochs}", figures=figures)

    def say(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def run(command: click.Command, name: str, arguments: Sequence[str] | None) -> Any:
    """Run a command; exits with 2 and one line on stderr for wrong use or bad input, with 130 when interrupted."""
    try:
        return command.main(arguments, prog_name=name, standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        print(f"\n{name}: interrupted", file=sys.stderr)
        sys.exit(130)
    except click.ClickException as error:
        message = error.format_message()
    except (UserError, BnnError) as error:
        message = str(error)
    except OSError as error:  # a full disk, for one
        message = f"{error.filename or 'writing failed'}: {error.strerror or error}"
    print(f"{name}: error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
