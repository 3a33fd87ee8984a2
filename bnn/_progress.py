"""A progress bar on stderr: rich's where it is installed, else one line that counts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(label: str, total: int, enabled: bool = True) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with the number of steps just done."""
    if not enabled:
        yield lambda steps: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield from _plain(label, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda steps: bar.advance(task, steps)


def _plain(label: str, total: int) -> Iterator[Callable[[int], None]]:
    done = 0
    live = sys.stderr.isatty()

    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        if live:
            print(f"\r{label} {done}/{total}", end="", file=sys.stderr, flush=True)

    yield advance
    print("\r" if live else "", f"{label} {done}/{total}", sep="", file=sys.stderr)
