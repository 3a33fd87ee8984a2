# SPDX-License-Identifier: Apache-2.0
"""bnn events: run a .bnn file event by event."""

from __future__ import annotations

import click
import numpy as np

from .._types import Array
from ..errors import InputError
from ..events import ORDERS, EventEngine
from ..events.rules import PARAMETERS, RULES, Rule
from ..events.runs import ImageRun, RecordingRun, StreamRun
from ..runtime import Model, load
from ..runtime.arrays import Inputs
from ..runtime.files import replacing
from ..runtime.progress import live
from .common import (
    Place,
    check_outputs,
    check_picture,
    check_suffix,
    json_option,
    net_argument,
    print_json,
    print_line,
    was_given,
)
from .inputs import InputOptions, read_arrays, read_labels, reading_options
from .spiking import (
    PAGES,
    PICTURES,
    class_number,
    format_option,
    label_option,
    labels_option,
    origin_option,
    plot_option,
    read_recording,
    shrink_option,
)  # fmt: skip

_RULE_OPTIONS = ("step", "window", "count", "tau", "level")
# Options of only some modes; all other options are for every mode.
_MODES = {
    **dict.fromkeys(("order", "which", "html"), ("image",)),
    **dict.fromkeys(("scale", "offset", "resize"), ("image", "stream")),
    **dict.fromkeys(("kind", "rule", "origin", "shrink", *_RULE_OPTIONS), ("recording",)),
}


@click.command(short_help="Run a .bnn file event by event, as the equivalent spiking network.")
@net_argument
@click.argument(
    "files", metavar="INPUT...", nargs=-1, required=True, type=Place("pictures, arrays (.npy, .npz) or a recording")
)
@click.option("--mode", type=click.Choice(("image", "stream", "recording")), default="image", show_default=True,
              help="INPUT: an image whose pixels arrive in turn; frames of a video; a camera's events.")  # fmt: skip
@click.option("--order", type=click.Choice(ORDERS), default="raster", show_default=True,
              help="Order in which an image's pixels arrive.")  # fmt: skip
@click.option(
    "--image", "which", metavar="N", type=click.IntRange(0), default=0, help="Number of the image.  Default: 0."
)
@label_option
@labels_option
@click.option("--seed", type=click.IntRange(0), default=0, help="For --order random.")
@click.option("--switch", type=click.Choice(("never", "auto")), default="never", show_default=True,
              help="auto: layers that receive too many events at once run synchronously.")  # fmt: skip
@format_option
@click.option("--rule", type=click.Choice(RULES), default="window", show_default=True, help="How events become bits.")
@click.option("--step", metavar="US", type=click.IntRange(1), help="Interval in microseconds at which bits are read.")
@click.option("--window", metavar="US", type=click.IntRange(1),
              help="Rule window: how long an event counts.  Default: 10000, or a longer step.")  # fmt: skip
@click.option("--count", metavar="N", type=click.IntRange(1), help="Rule window: events that set a bit.")
@click.option("--tau", metavar="US", type=click.FloatRange(0, min_open=True), help="Rule decay: decay time.")
@click.option("--level", metavar="X", type=click.FloatRange(0, min_open=True), help="Rule decay: least trace of a bit.")
@origin_option
@shrink_option
@plot_option
@click.option("--html", metavar="FILE", type=click.Path(dir_okay=False, path_type=str),
              help="One-file page that shows an image being recognized event by event.")  # fmt: skip
@reading_options
@json_option
def events(
    net: str,
    files: tuple[str, ...],
    mode: str,
    order: str,
    which: int,
    label: str | None,
    labels: str | None,
    seed: int,
    switch: str,
    kind: str | None,
    rule: str,
    origin: tuple[int, int],
    shrink: int,
    plot: str | None,
    html: str | None,
    reading: InputOptions,
    as_json: bool,
    **options: int | float | None,
) -> None:
    """Run NET.bnn event by event on INPUT and report spikes, operations and energy.

    \b
    bnn events net.bnn digits.npy --order brightest --plot run.png --html run.html
    bnn events net.bnn video.npy --mode stream
    bnn events net.bnn 00002.bin --mode recording --rule window --window 20000

    Images and frames are given as for `bnn run`; recordings are .npy or .npz with x, y, p, t, N-MNIST's .bin, AEDAT
    3.1, or Prophesee's .dat and .raw.
    """
    _check_options(mode, rule, order == "random")
    check_outputs({"--plot": plot, "--html": html}, [net, *files, labels])
    check_picture("--plot", plot, PICTURES)
    check_suffix("--html", html, PAGES)
    model = load(net)
    engine = EventEngine(model, switch=switch)
    if len(model.input_shapes) != 1:
        raise InputError(f"the model has {len(model.input_shapes)} inputs, expected one; use bnn run")
    classes = model.output_shapes[0][-1]
    names = model.labels if labels is None else read_labels(labels, {classes})
    names = names if names is not None and len(names) == classes else None
    right = class_number(label, classes, names)
    run: ImageRun | StreamRun | RecordingRun
    if mode == "recording":
        given = {name: options[name] for name in _RULE_OPTIONS if options.get(name) is not None}
        how = Rule(rule, **given)  # type: ignore[arg-type]
        recording = _recording(files, kind)
        run = engine.run_events(recording, how, origin=origin, shrink=shrink, label=right, progress=live())
    elif mode == "stream":
        run = engine.run_stream(read_arrays(model, files, reading), label=right, progress=live())
    else:
        image = _image(model, files, reading, which)
        trace = bool(plot or html)
        run = engine.run_image(image, order=order, seed=seed, label=right, trace=trace, progress=live())
    if plot is not None:
        from ..streams.plot import save_run

        save_run(run, plot, names)
    if html is not None:
        from ..streams.page import run_page

        assert isinstance(run, ImageRun)
        page = run_page(run, names)
        with replacing(html) as file:
            file.write(page.encode())
    if as_json:
        print_json(run.as_dict() | ({} if names is None else {"classes": names}))
        return
    print(run.describe(names), run.report, sep="\n\n")
    for path in filter(None, (plot, html)):
        print_line(f"wrote {path}")


def _check_options(mode: str, rule: str, random: bool) -> None:
    """Refuse options that would have no effect."""
    for option in click.get_current_context().command.params:
        name = option.name or ""
        if not was_given(name):
            continue
        if mode not in _MODES.get(name, (mode,)):
            modes = " and ".join(f"--mode {m}" for m in _MODES[name])
            raise click.UsageError(f"{option.opts[0]} is for {modes}, found --mode {mode}; leave it out")
        if name in ("window", "count", "tau", "level") and name not in PARAMETERS[rule]:
            takes = ", ".join(f"--{n}" for n in ("step", *PARAMETERS[rule]))
            raise click.UsageError(f"{option.opts[0]} is not for --rule {rule}, which takes {takes}; leave it out")
        if name == "seed" and not random:
            raise click.UsageError("--seed is for --order random; leave it out")


def _recording(files: tuple[str, ...], kind: str | None) -> Array:
    if len(files) > 1:
        raise InputError(f"found {len(files)} recordings, expected one at a time")
    return read_recording(files[0], kind)


def _image(model: Model, files: tuple[str, ...], reading: InputOptions, which: int) -> Inputs:
    (images,) = read_arrays(model, files, reading)
    if which >= len(images):
        numbers = f", 0 to {len(images) - 1}" if len(images) else ", expected at least one"
        raise InputError(f"--image {which}: the input has {len(images)} images{numbers}")
    return np.asarray(images[which])
