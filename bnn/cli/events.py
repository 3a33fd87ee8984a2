# SPDX-License-Identifier: Apache-2.0
"""bnn events: run a .bnn file event by event."""

from __future__ import annotations

import click
import numpy as np

from ..errors import InputError
from ..events import ORDERS, EventEngine
from ..events.rules import PARAMETERS, RULES, Rule
from ..events.runs import ImageRun, RecordingRun, StreamRun
from ..runtime import Model, load
from ..runtime.arrays import Inputs
from ..runtime.progress import live
from ..streams.grid import check_finite
from .common import Place, net_argument, refuse
from .inputs import read_arrays
from .spiking import Watching, watching

_RULE_OPTIONS = ("step", "window", "count", "tau", "level")
# Options of only some modes; all other options are for every mode.
_MODES = {
    ("image",): ("order", "which", "html"),
    ("image", "stream"): ("scale", "offset", "resize"),
    ("recording",): ("kind", "rule", "origin", "shrink", *_RULE_OPTIONS),
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
@click.option("--seed", type=click.IntRange(0), default=0, help="For --order random.")
@click.option("--switch", type=click.Choice(("never", "auto")), default="never", show_default=True,
              help="auto: layers that receive too many events at once run synchronously.")  # fmt: skip
@click.option("--rule", type=click.Choice(RULES), default="window", show_default=True, help="How events become bits.")
@click.option("--step", metavar="US", type=click.IntRange(1), help="Interval in microseconds at which bits are read.")
@click.option("--window", metavar="US", type=click.IntRange(1),
              help="Rule window: how long an event counts.  Default: 10000, or a longer step.")  # fmt: skip
@click.option("--count", metavar="N", type=click.IntRange(1), help="Rule window: events that set a bit.")
@click.option("--tau", metavar="US", type=click.FloatRange(0, min_open=True), help="Rule decay: decay time.")
@click.option("--level", metavar="X", type=click.FloatRange(0, min_open=True), help="Rule decay: least trace of a bit.")
@watching
def events(
    net: str,
    files: tuple[str, ...],
    mode: str,
    order: str,
    which: int,
    seed: int,
    switch: str,
    rule: str,
    watching: Watching,
    **options: int | float | None,
) -> None:
    """Run NET.bnn event by event on INPUT and report spikes, operations and energy.

    \b
    bnn events net.bnn digits.npy --order brightest --plot run.png --html run.html
    bnn events net.bnn video.npy --mode stream
    bnn events net.bnn 00002.bin --mode recording --rule window --window 20000

    Images and frames are given as for `bnn run`; recordings are .npy, .npz, .csv, .h5 or .mat with x, y, p, t,
    N-MNIST's .bin, AEDAT 2 to 4, or Prophesee's .dat and .raw.
    """
    _check_options(mode, rule, order)
    watching.check([net, *files])
    model = load(net)
    engine = EventEngine(model, switch=switch)
    if len(model.input_shapes) != 1:
        raise InputError(f"the model has {len(model.input_shapes)} inputs, expected one; use bnn run")
    names, label = watching.classes(model.output_shapes[0][-1], model.labels)
    run: ImageRun | StreamRun | RecordingRun
    if mode == "recording":
        given = {name: options[name] for name in _RULE_OPTIONS if options.get(name) is not None}
        how = Rule(rule, **given)  # type: ignore[arg-type]
        events, origin, shrink = watching.recording(*files), watching.origin, watching.shrink
        run = engine.run_events(events, how, origin=origin, shrink=shrink, label=label, progress=live())
    elif mode == "stream":
        run = engine.run_stream(read_arrays(model, files, watching.reading), label=label, progress=live())
    else:
        image = _image(model, files, watching, which)
        run = engine.run_image(image, order=order, seed=seed, label=label, trace=watching.trace, progress=live())
    watching.show(run, names, run.as_dict, lambda: f"{run.describe(names)}\n\n{run.report}")


def _check_options(mode: str, rule: str, order: str) -> None:
    """Refuse options that would have no effect."""
    takes = ", ".join(f"--{n}" for n in ("step", *PARAMETERS[rule]))
    others = {"window", "count", "tau", "level"}.difference(PARAMETERS[rule])
    refuse(
        *(
            (names, f"is for {' and '.join(f'--mode {m}' for m in modes)}, found --mode {mode}; leave it out")
            for modes, names in _MODES.items() if mode not in modes
        ),
        (others, f"is not for --rule {rule}, which takes {takes}; leave it out"),
        ({"seed"} if order != "random" else (), "is for --order random; leave it out"),
    )  # fmt: skip


def _image(model: Model, files: tuple[str, ...], watching: Watching, which: int) -> Inputs:
    (images,) = read_arrays(model, files, watching.reading)
    if which >= len(images):
        numbers = f", 0 to {len(images) - 1}" if len(images) else ", expected at least one"
        raise InputError(f"--image {which}: the input has {len(images)} images{numbers}")
    image = np.asarray(images[which])
    check_finite(image, f"{' '.join(files)}: image {which}")
    return image
