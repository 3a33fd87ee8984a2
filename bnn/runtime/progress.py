# SPDX-License-Identifier: Apache-2.0
"""Progress on stderr: progress bars and spinners (drawn by rich if it is installed), and notes.

It never makes work fail: if stderr is closed, full or missing, nothing is shown and the work goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TypeVar

from .._text import printable, printable_lines, unguarded

T = TypeVar("T")
Steps = Callable[[int], None]
Texts = Callable[[str], None]
_SILENT: AbstractContextManager[Steps] = nullcontext(lambda steps: None)


def progress(label: str, total: int, enabled: bool = True) -> AbstractContextManager[Steps]:
    """A bar, or one line that counts; yields a function to call with the number of steps just done."""
    return _unfailing(lambda: _bar(label, total), True) if enabled else _SILENT  # every call of a model comes here


def waiting(text: str) -> AbstractContextManager[Texts]:
    """A spinner for a long wait; yields a function that changes its text."""
    return _unfailing(lambda: _spinner(text), live())


def note(line: str) -> None:
    """Print one line: a name in it cannot begin another."""
    note_lines(printable(line))


def note_lines(text: str) -> None:
    """Print a text that has lines."""
    with suppress(Exception):
        if sys.stderr is not None:
            print(printable_lines(text), file=sys.stderr, flush=True)


def live() -> bool:
    """Whether bars and spinners make sense."""
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # missing or closed
        return False


@contextmanager
def _unfailing(
    show: Callable[[], AbstractContextManager[Callable[[T], None]]], enabled: bool
) -> Iterator[Callable[[T], None]]:
    """The display and its updates; neither raises."""
    shown: AbstractContextManager[Callable[[T], None]] | None = None
    inner: Callable[[T], None] | None = None
    if enabled and sys.stderr is not None:
        with suppress(Exception):
            shown = show()
            inner = shown.__enter__()

    def tell(value: T) -> None:
        if inner is not None:
            with suppress(Exception):
                inner(value)

    try:
        yield tell
    finally:
        if shown is not None and inner is not None:
            with suppress(Exception):
                shown.__exit__(*sys.exc_info())


@contextmanager
def _bar(label: str, total: int) -> Iterator[Steps]:
    label = printable(label)
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield from _counted(label, total)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=unguarded(sys.stderr)), redirect_stdout=_stdout_is_live()) as bar:
        task = bar.add_task(label, total=total)
        yield lambda steps: bar.advance(task, steps)


def _counted(label: str, total: int) -> Iterator[Steps]:
    done = 0

    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        if live():
            print(f"\r{label} {done}/{total}", end="", file=unguarded(sys.stderr), flush=True)

    yield advance
    print("\r" if live() else "", f"{label} {done}/{total}", sep="", file=unguarded(sys.stderr))


@contextmanager
def _spinner(text: str) -> Iterator[Texts]:
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    def shown(text: str) -> Text:  # not markup: [red] in the name of a file is its name
        return Text(printable(text))

    spinner = Spinner("dots", shown(text), style="status.spinner")
    console = Console(file=unguarded(sys.stderr))
    with Live(
        spinner, console=console, refresh_per_second=12.5, transient=True, redirect_stdout=_stdout_is_live()
    ):  # fmt: skip
        yield lambda text: spinner.update(text=shown(text))


def _stdout_is_live() -> bool:
    """Whether lines on stdout are to appear above a bar, and not where stdout leads."""
    try:
        return sys.stdout.isatty()
    except (AttributeError, ValueError):
        return False
