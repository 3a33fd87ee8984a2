# SPDX-License-Identifier: Apache-2.0
"""bnn snn run: run a .snn file on arrays over time, images, and recordings of event cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from .._types import Array
from ..errors import InputError, InputTypeError
from ..runtime.arrays import FLOAT32, Shape
from ..runtime.progress import live, progress
from ..runtime.summary import quantity, table
from ..snn import SpikingModel, StepRun, load
from ..snn.activity import total
from ..snn.coding import CODINGS, MOST_PIXEL, MOST_STEPS
from ..snn.model import UNTIL
from ..snn.runs import samples_text
from .common import refuse, rows_option, was_given
from .inputs import InputOptions, read_arrays, read_numpy, read_over_time
from .snn_inspect import snn_argument
from .spiking import Watching, watching

_CAMERA = ("kind", "origin", "shrink", "dt")
_DATA = ("coding", "targets", "stream", "which", "rows")
_IMAGES = ("scale", "offset", "resize", "steps")


@dataclass(frozen=True)
class _Images:
    """The network's input, as images are read for it."""

    input_names: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    input_dtypes: tuple[np.dtype[Any], ...]
    layout: str


class _Run(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if "unexpected extra argument" not in error.message:
                raise
            raise click.UsageError(f"{error.message}; give what the input sends with --data FILE", ctx) from None


@click.command(
    "run", cls=_Run, short_help="Run a .snn file on arrays, images or recordings, and watch the output over time."
)
@snn_argument
@click.option("--data", "files", metavar="FILE", multiple=True, type=click.Path(path_type=str),
              help="What the input sends: .npy or .npz, (T, *shape) or (T, N, *shape).  With --coding: images, arrays "
                   "(N, *shape) or image files.  May be repeated.")  # fmt: skip
@click.option("--coding", type=click.Choice(CODINGS),
              help="How images of --data are shown: the same values in each step; spikes by chance; one spike for each "
                   "value, the larger the earlier; all values in the first step.")  # fmt: skip
@click.option("--steps", metavar="T", type=click.IntRange(1, MOST_STEPS), help="With --coding: steps for each image.")
@click.option("--seed", type=click.IntRange(0, 2**63), default=0, show_default=True,
              help="With --coding rate: for the spikes; image i takes this plus i.")  # fmt: skip
@click.option("--recording", metavar="FILE", type=click.Path(path_type=str),
              help="An event camera's recording; it steps the network in its own time.")  # fmt: skip
@click.option("--dt", metavar="SECONDS", type=click.FloatRange(0, min_open=True),
              help="With --recording: seconds of a step.  Default: as the file says.")  # fmt: skip
@click.option("--until", type=click.Choice(UNTIL),
              help="End each sample after the step of the first output spike.  Default: all steps.")  # fmt: skip
@click.option("--stream", is_flag=True, help="Do not reset the neurons between samples.")
@click.option("--sample", "which", metavar="N", type=click.IntRange(0),
              help="Run only this sample.  Default: all; of several, --plot and --html show the first.")  # fmt: skip
@click.option("--targets", metavar="FILE", type=click.Path(path_type=str),
              help="The right class of each sample: .npy, or the array labels of .npz.")  # fmt: skip
@rows_option("samples")
@watching
def snn_run(
    net: str,
    files: tuple[str, ...],
    coding: str | None,
    steps: int | None,
    seed: int,
    recording: str | None,
    dt: float | None,
    until: str | None,
    stream: bool,
    which: int | None,
    targets: str | None,
    rows: int,
    watching: Watching,
) -> None:
    """Run NET.snn and report the answer over time, spikes, operations and energy.

    \b
    bnn snn run net.snn --data spikes.npy --targets classes.npy
    bnn snn run net.snn --data digits.npy --coding rate --steps 100 --label 3 --plot run.png --html run.html
    bnn snn run net.snn --recording 00002.bin --origin 3 3 --plot run.png

    The answer is the class that the first output sent most spikes for so far (or the largest sum of its values); of
    equals, the first.
    """
    _check_options(files, coding, steps, recording, watching.label, targets)
    watching.check([net, *files, recording, targets])
    model = load(net)
    classes = int(np.prod(next(iter(model.output_shapes.values()))))
    names, label = watching.classes(classes)
    runs: list[StepRun]
    if recording is not None:
        events = watching.recording(recording)
        place: dict[str, Any] = {name: getattr(watching, name) for name in ("origin", "shrink") if was_given(name)}
        place |= {"label": label, "trace": watching.trace, "until": until}
        runs = [model.run_events(events, dt=dt, progress=live(), **place)]
    else:
        samples = _samples(model, files, coding, watching.reading)
        if which is not None:
            if which >= len(samples):
                raise InputError(f"--sample {which}: found {quantity(len(samples), 'sample')}, 0 to {len(samples) - 1}")
            samples = samples[which : which + 1]
        if stream and len(samples) == 1:
            raise InputError("--stream: found one sample, and it keeps neurons between several; leave it out")
        right = _right(label, targets, len(samples), which, classes)
        first, runs = which or 0, []
        with progress("samples", len(samples), live() and len(samples) > 10) as advance:
            for i, (x, y) in enumerate(zip(samples, right, strict=True)):
                options: dict[str, Any] = {"label": y, "trace": watching.trace and not i, "reset": not (stream and i)}
                options["until"] = until
                try:
                    if coding is None:
                        runs.append(model.run_stream(x, **options))
                    else:
                        assert steps is not None
                        runs.append(model.run_image(x, steps, coding=coding, seed=seed + first + i, **options))
                except InputError as error:
                    where = f"sample {first + i}: " if len(samples) > 1 or first else ""
                    raise type(error)(f"{where}{error}") from None
                advance(1)
    report = total([run.report for run in runs])

    def record() -> dict[str, Any]:
        return {"samples": [run.as_dict() for run in runs], "report": report.as_dict(), **_accuracy(runs)}

    watching.show(runs[0], names, record, lambda: f"{_text(runs, names, rows)}\n\n{report}")


def _check_options(
    files: Sequence[str], coding: str | None, steps: int | None, recording: str | None, label: str | None,
    targets: str | None,
) -> None:  # fmt: skip
    """Refuse options that contradict each other or would have no effect."""
    if bool(files) == (recording is not None):
        raise click.UsageError("expected --data or --recording, " + ("not both" if files else "found neither"))
    if coding is not None and steps is None:
        raise click.UsageError(f"--coding {coding} needs --steps, the number of steps for which an image is shown")
    if label is not None and targets is not None:
        raise click.UsageError("--label and --targets both give the right class; leave one out")
    refuse(
        (_CAMERA if recording is None else (), "is for --recording; leave it out"),
        (_DATA if recording is not None else (), "is for --data; leave it out"),
        (_IMAGES if coding is None else (), "is for images; add --coding, or leave it out"),
        (("seed",) if coding != "rate" else (), "is for --coding rate; leave it out"),
    )


def _samples(model: SpikingModel, files: Sequence[str], coding: str | None, reading: InputOptions) -> Sequence[Any]:
    """What :meth:`SpikingModel.run_stream` or :meth:`SpikingModel.run_image` takes, per sample."""
    names, shapes = list(model.input_shapes), list(model.input_shapes.values())
    if coding is not None:
        if len(names) != 1:
            raise InputError(f"the network has {len(names)} inputs; --coding is for networks with one")
        source = _Images(tuple(names), tuple(shapes), (FLOAT32,), model.layout)
        if reading.scale is None and model.converted:
            reading = replace(reading, scale=1.0)  # it takes the pixels themselves
        (images,) = read_arrays(source, files, reading)
        if not len(images):
            raise InputError(f"{files[0]}: found no image, expected at least one")
        return list(images)
    samples = [sample for file in files for sample in read_over_time(file, names, shapes, "--coding and --steps")]
    if model.converted:
        _check_pixels(files[0], samples)
    return samples


def _check_pixels(file: str, samples: Sequence[dict[str, Array]]) -> None:
    """Refuse images that were taken for steps: what a converted network gets over time adds up to one image."""
    for sample in samples:
        for name, x in sample.items():
            most = float(x.sum(axis=0, dtype=np.float64).max(initial=0))
            if most > MOST_PIXEL:
                raise InputError(
                    f"{file}: input '{name}': found {quantity(len(x), 'step')} that add up to {most:,.0f}, expected "
                    f"one image over time, at most {MOST_PIXEL}; for images add --scale 1 --coding once --steps T"
                )


def _right(
    label: int | None, targets: str | None, count: int, which: int | None, classes: int
) -> list[int] | list[None] | list[int | None]:
    """The right class of each sample."""
    if targets is None:
        if label is not None and count > 1:
            raise InputError(
                f"--label {label}: found {quantity(count, 'sample')}; give their classes with --targets, or one with "
                "--sample"
            )
        return [label] * count
    (found,) = read_numpy(Path(targets), ["labels"], "a .npy or .npz file of the right classes")
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise InputTypeError(
            f"{targets}: found {found.dtype} of shape {found.shape}, expected whole numbers, one per sample"
        )
    if which is not None:
        found = found[which : which + 1]
    if len(found) != count:
        raise InputError(f"{targets}: found {len(found)} classes, expected one for each of {count} samples")
    if len(found) and not 0 <= int(found.min()) <= int(found.max()) < classes:
        raise InputError(f"{targets}: found classes {found.min()} to {found.max()}, expected 0 to {classes - 1}")
    return [int(y) for y in found]


def _accuracy(runs: Sequence[StepRun]) -> dict[str, Any]:
    right = [run.answer == run.label for run in runs if run.label is not None]
    return {"right": sum(right), "labelled": len(right)} if right else {}


def _text(runs: Sequence[StepRun], names: Sequence[str] | None, most: int) -> str:
    if len(runs) == 1:
        return runs[0].describe(names)
    header, rows = samples_text(runs[:most], names)
    more = [f"... and {len(runs) - most:,} more: --json or --rows"] if len(runs) > most else []
    lines = [table(header, rows, ("answer", "right")), *more, ""]
    finals = [run.final for run in runs if run.answer >= 0]
    text = f"final after {np.mean(finals):.1f} steps on average" if finals else "the output sent nothing"
    found = _accuracy(runs)
    if found:
        firsts = [run.first_correct for run in runs if run.first_correct is not None]
        first = f", first right after {np.mean(firsts):.1f}" if firsts else ""
        right, labelled = found["right"], found["labelled"]
        text = f"{right:,} of {labelled:,} right ({right / labelled:.1%}); {text}{first}"
    return "\n".join([*lines, text])
