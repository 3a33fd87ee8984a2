# SPDX-License-Identifier: Apache-2.0
"""Options that commands share, what they show, and how those that train end."""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bnn.errors import BnnError
from training import UserError, fit

FOLDER = click.Path(file_okay=False, path_type=Path)
OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace the run in --out.")
JSON = click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout.")
RESUME = click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out, with its settings.")


def number(
    settings: type[Any], name: str, kind: Any, help: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """An option for a setting that has a default."""
    return click.option(f"--{name}", type=kind, default=getattr(settings, name), show_default=True, help=help)


def settings_of(context: click.Context, stored: Callable[[Path], Any], kind: type[Any], *required: str) -> Any:
    """Settings of a command with RESUME and OVERWRITE, from its other options.  When it resumes, options that were not
    given come from the checkpoint, whose settings ``stored`` reads."""
    switches = ("resume", "overwrite", "as_json")
    options = {name: value for name, value in context.params.items() if name not in switches}
    if not context.params["resume"]:
        for name in required:
            if options[name] is None:
                raise click.UsageError(f"Missing option '--{name}'.")
        return kind(**options)
    if context.params["overwrite"]:
        raise click.UsageError("--resume and --overwrite exclude each other.")
    default = click.core.ParameterSource.DEFAULT
    given = {name: value for name, value in options.items() if context.get_parameter_source(name) != default}
    return kind.from_json({**dataclasses.asdict(stored(options["out"])), **given})


def how_to_go_on(out: Path, parts: str, saved: bool) -> str:
    """The end of the message of a command that was interrupted; ``parts`` of a run that are saved when they end."""
    if not saved:
        return " before anything was saved"
    command = shlex.join(["python", sys.argv[0], "--out", str(out), "--resume"])
    return f"; finished {parts} are saved, go on with: {command}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> None:
    """Print a table, on a terminal with rules, elsewhere as Markdown; ``texts``: columns that are not numbers."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 1000  # there is no window to fit
    made = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN)
    for i, column in enumerate(columns):
        made.add_column(column, justify="left" if i < texts else "right", overflow="fold")
    for row in rows:
        made.add_row(*row)
    with console.capture() as capture:
        console.print(made)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    console.print(f"[bold]{title}[/bold]\n")
    console.out("\n".join(line for line in lines if line), highlight=False)
    console.print()


def progress() -> Progress:
    """A bar on stderr for work of many parts, which goes when the block ends; stdout is left alone."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)


def minutes(seconds: float) -> str:
    """Minutes and seconds: 1:05."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


class ConsoleProgress(fit.Progress):
    """About ``lines`` lines on the epochs, by default one on each; on a terminal a bar, too, which goes when the block
    ends."""

    def __init__(self, console: Console, lines: int | None = None) -> None:
        self.console, self._lines = console, lines
        self._bar = Progress(
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
        where = f"from epoch {done + 1}" if done else "from the beginning"
        network = f"network '{settings.network}' of {parameters:,} parameters"
        self._say(f"{network}, data set '{settings.dataset}', {settings.epochs} epochs, {where}")
        self.epochs = settings.epochs
        self._every = math.ceil(self.epochs / (self._lines or self.epochs))
        self._task = self._bar.add_task("", total=settings.epochs, completed=done, epoch=done + 1, figures="")
        self._bar.start()

    def epoch(self, epoch: fit.Epoch, best_epoch: int) -> None:
        if epoch.epoch % self._every and epoch.epoch != self.epochs:
            return
        best = "best so far" if best_epoch == epoch.epoch else f"best: epoch {best_epoch}"
        self._say(
            f"epoch {epoch.epoch}/{self.epochs}  loss {epoch.loss:.4f}  "
            f"acc {epoch.accuracy:.2%}  val acc {epoch.validation_accuracy:.2%} ({best})  "
            f"{epoch.seconds:.1f} s  ETA {minutes((self.epochs - epoch.epoch) * epoch.seconds)}"
        )

    def batch(self, epoch: int, share: float, loss: float, accuracy: float) -> None:
        figures = f"loss {loss:.4f}, {accuracy:.2%} right"
        self._bar.update(self._task, completed=epoch - 1 + share, epoch=f"{epoch}/{self.epochs}", figures=figures)

    def _say(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def run(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> Any:
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
