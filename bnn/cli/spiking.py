# SPDX-License-Identifier: Apache-2.0
"""Parts shared by the commands that run networks of spikes: recordings, class names, pictures."""

from __future__ import annotations

from collections.abc import Sequence

import click

from .._types import Array
from ..errors import InputError
from ..streams import recordings

format_option = click.option("--format", "kind", type=click.Choice(recordings.FORMATS),
                             help="Format of a recording.  Default: found from its name and first bytes.")  # fmt: skip
origin_option = click.option("--origin", metavar="Y X", type=int, nargs=2, default=(0, 0),
                             help="Camera pixel of the input's corner.")  # fmt: skip
shrink_option = click.option(
    "--shrink", metavar="N", type=click.IntRange(1), default=1, help="Camera pixels per input pixel."
)
label_option = click.option(
    "--label", metavar="CLASS", help="The right class, its number or label, to report when it is first right."
)
labels_option = click.option(
    "--labels", metavar="FILE", type=click.Path(path_type=str), help="Class names, one per line."
)
plot_option = click.option("--plot", metavar="FILE", type=click.Path(dir_okay=False, path_type=str),
                           help="Picture of the run over time (.png, .svg, .pdf, .jpg).")  # fmt: skip
PICTURES, PAGES = (".png", ".svg", ".pdf", ".jpg"), (".html", ".htm")


def read_recording(file: str, kind: str | None) -> Array:
    """A recording with at least one event."""
    recording = recordings.read(file, kind)
    if not len(recording):
        raise InputError(f"{file}: contains no events")
    return recording


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
