# SPDX-License-Identifier: Apache-2.0
"""What the commands that run networks of spikes share: options, recordings, class names, and showing a run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import click

from .._types import Array
from ..errors import InputError
from ..runtime.files import replacing
from ..streams import recordings
from ..streams.answers import Answering
from .common import check_outputs, check_picture, check_suffix, json_option, print_json, print_line
from .inputs import InputOptions, read_labels, reading_options


@dataclass(frozen=True)
class Watching:
    """The values of the options that the commands share."""

    label: str | None
    labels: str | None
    kind: str | None
    part: str | None
    columns: str | None
    unit: str | None
    origin: tuple[int, int]
    shrink: int
    plot: str | None
    html: str | None
    reading: InputOptions
    as_json: bool

    @property
    def trace(self) -> bool:
        """Whether something is drawn, for which a run keeps its spikes."""
        return bool(self.plot or self.html)

    def check(self, inputs: Iterable[str | None]) -> None:
        """Refuse outputs that could not be written, before anything runs."""
        check_outputs({"--plot": self.plot, "--html": self.html}, [*inputs, self.labels])
        check_picture("--plot", self.plot)
        check_suffix("--html", self.html, (".html", ".htm"))

    def classes(self, count: int, names: Sequence[str] | None = None) -> tuple[Sequence[str] | None, int | None]:
        """(the names of ``count`` classes, by default a network's own ``names``; the right class)"""
        names = names if self.labels is None else read_labels(self.labels, {count})
        names = names if names is not None and len(names) == count else None
        return names, class_number(self.label, count, names)

    def recording(self, *files: str) -> Array:
        """A recording with at least one event."""
        if len(files) > 1:
            raise InputError(f"found {len(files)} recordings, expected one at a time")
        recording = recordings.read(files[0], self.kind, part=self.part, columns=self.columns, unit=self.unit)
        if not len(recording):
            raise InputError(f"{files[0]}: contains no events")
        return recording

    def show(
        self, run: Answering, names: Sequence[str] | None, record: Callable[[], dict[str, Any]], text: Callable[[], str]
    ) -> None:
        """Write the picture and the page of a run, and print its ``record`` or its ``text``."""
        if self.plot is not None:
            from ..streams.plot import save_run

            save_run(run, self.plot, names)
        if self.html is not None:
            from ..streams.page import run_page

            page = run_page(run, names)
            with replacing(self.html) as file:
                file.write(page.encode())
        if self.as_json:
            print_json(record() | ({} if names is None else {"classes": names}))
            return
        print(text())
        for path in filter(None, (self.plot, self.html)):
            print_line(f"wrote {path}")


_OPTIONS = (
    click.option("--label", metavar="CLASS", help="The right class, its number or label, to report when it is first "
                                                  "right."),
    click.option("--labels", metavar="FILE", type=click.Path(path_type=str), help="Class names, one per line."),
    click.option("--format", "kind", type=click.Choice(recordings.FORMATS),
                 help="Format of a recording.  Default: found from its name and first bytes."),
    click.option("--part", metavar="PART", help="Of a file with several recordings: the number or name of one."),
    click.option("--columns", metavar="XYPT", help="Of a recording without names: the order of its columns."),
    click.option("--unit", type=click.Choice(tuple(recordings.UNITS)),
                 help="Of a recording's times.  Default: us; of SHD and SSC s."),
    click.option("--origin", metavar="Y X", type=int, nargs=2, default=(0, 0),
                 help="Camera pixel of the input's corner."),
    click.option("--shrink", metavar="N", type=click.IntRange(1), default=1, help="Camera pixels per input pixel."),
    click.option("--plot", metavar="FILE", type=click.Path(dir_okay=False, path_type=str),
                 help="Picture of the run over time (.png, .svg, .pdf, .jpg)."),
    click.option("--html", metavar="FILE", type=click.Path(dir_okay=False, path_type=str),
                 help="One-file page that shows an image or a sample moment by moment, and every spike."),
    reading_options,
    json_option,
)  # fmt: skip


def watching(command: Callable[..., Any]) -> Callable[..., Any]:
    """The shared options, passed on as one argument ``watching``."""

    @functools.wraps(command)
    def collected(**options: Any) -> Any:
        shared = {field.name: options.pop(field.name) for field in fields(Watching)}
        return command(watching=Watching(**shared), **options)

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected


def class_number(label: str | None, classes: int, names: Sequence[str] | None) -> int | None:
    """The class that is meant by its number or, where classes have ``names``, by a name of one of them."""
    if label is None:
        return None
    if label in map(str, range(classes)):
        return int(label)
    if names is not None and names.count(label) == 1:
        return names.index(label)
    named = f", or a label, one of {', '.join(names[:5])}{', ...' * (len(names) > 5)}" if names else ""
    raise InputError(f"--label {label}: the model has {classes} classes; give a number, 0 to {classes - 1}{named}")
