"""bnn events: a .bnn file event by event."""

from __future__ import annotations

from pathlib import Path

import click

from .. import event_sources
from .._arrays import Floats
from .._events_rules import RULES, Rule
from ..errors import InputError
from ..events import FIRING_ORDERS, ORDERS, EventEngine
from ..runtime import Model, load
from .common import json_option, net_argument, print_json
from .inputs import Reading, read_arrays, reading_options

_RULE_OPTIONS = ("step", "window", "count", "tau", "level")


@click.command(short_help="Run a .bnn file event by event, as the spiking network it equals.")
@net_argument
@click.argument("files", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=str))
@click.option("--mode", type=click.Choice(("image", "stream", "recording")), default="image", show_default=True,
              help="INPUT is an image whose pixels arrive in turn; frames of a video; a camera's events.")  # fmt: skip
@click.option("--order", type=click.Choice(ORDERS), default="raster", show_default=True, help="Of an image's pixels.")
@click.option("--image", "which", metavar="N", type=click.IntRange(0), default=0, help="Which image.  Default: 0.")
@click.option("--label", metavar="CLASS", type=click.IntRange(0), help="The right class, for 'first right'.")
@click.option("--labels", metavar="FILE", type=click.Path(path_type=str), help="Class names, one a line.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of random orders.")
@click.option("--firing", type=click.Choice(FIRING_ORDERS), default="layers", show_default=True,
              help="Which spike under way travels next.  The result does not depend on it.")  # fmt: skip
@click.option("--switch", type=click.Choice(("never", "auto")), default="never", show_default=True,
              help="auto: layers at which too much arrives at once run synchronously.")  # fmt: skip
@click.option("--format", "kind", type=click.Choice(event_sources.FORMATS),
              help="Of a recording.  Default: told by its name and first bytes.")  # fmt: skip
@click.option("--rule", type=click.Choice(RULES), default="window", show_default=True, help="From events to bits.")
@click.option("--step", metavar="US", type=click.IntRange(1), help="Look at the recording every so many microseconds.")
@click.option("--window", metavar="US", type=click.IntRange(1), help="Rule window: how long an event counts.")
@click.option("--count", metavar="N", type=click.IntRange(1), help="Rule window: events that set a bit.")
@click.option("--tau", metavar="US", type=click.FloatRange(0, min_open=True), help="Rule decay: decay time.")
@click.option("--level", metavar="X", type=click.FloatRange(0, min_open=True), help="Rule decay: least trace of a bit.")
@click.option("--origin", metavar="Y X", type=int, nargs=2, default=(0, 0), help="Camera pixel of the input's corner.")
@click.option("--shrink", metavar="N", type=click.IntRange(1), default=1, help="Camera pixels an input pixel.")
@click.option("--plot", metavar="FILE", type=click.Path(dir_okay=False, path_type=str),
              help="Picture of an image's run (.png, .svg, .pdf).")  # fmt: skip
@click.option("--html", metavar="FILE", type=click.Path(dir_okay=False, path_type=str),
              help="Page, in one file, of an image being recognized event by event.")  # fmt: skip
@reading_options
@json_option
def events(
    net: str,
    files: tuple[str, ...],
    mode: str,
    order: str,
    which: int,
    label: int | None,
    labels: str | None,
    seed: int,
    firing: str,
    switch: str,
    kind: str | None,
    rule: str,
    origin: tuple[int, int],
    shrink: int,
    plot: str | None,
    html: str | None,
    reading: Reading,
    as_json: bool,
    **options: int | float | None,
) -> None:
    """Run NET.bnn event by event on INPUT, and report spikes, operations and energy.

    \b
    bnn events net.bnn digits.npy --order brightest --plot run.png --html run.html
    bnn events net.bnn video.npy --mode stream
    bnn events net.bnn 00002.bin --mode recording --rule window --window 20000

    Images and frames are given as to `bnn run`; recordings are .npy or .npz with x, y, p, t, N-MNIST's .bin, AEDAT 3.1,
    or Prophesee's .dat and .raw.
    """
    model = load(net)
    engine = EventEngine(model, firing=firing, seed=seed, switch=switch)
    given = {name: options[name] for name in _RULE_OPTIONS if options.get(name) is not None}
    if (plot or html) and mode != "image":
        raise InputError(f"--plot and --html show an image's run, not a {mode}")
    if given and mode != "recording":
        raise InputError(f"--{next(iter(given))} is for --mode recording")
    if kind is not None and mode != "recording":
        raise InputError("--format is for --mode recording")
    if mode == "recording":
        if len(files) > 1:
            raise InputError(f"found {len(files)} recordings, expected one at a time")
        how = Rule(rule, **given)  # type: ignore[arg-type]
        recording = event_sources.read(files[0], kind)
        if not len(recording):
            raise InputError(f"{files[0]}: holds no events")
        recorded = engine.run_events(recording, how, origin=origin, shrink=shrink)
        _print(recorded, as_json)
        return
    (images,) = _arrays(model, files, reading)
    if mode == "stream":
        _print(engine.run_stream(images), as_json)
        return
    if which >= len(images):
        raise InputError(f"--image {which}: there are {len(images)} images, 0 to {len(images) - 1}")
    classes = model.output_shapes[0][-1]
    if label is not None and label >= classes:
        raise InputError(f"--label {label}: the model has {classes} classes, 0 to {classes - 1}")
    names = _names(labels, classes)
    run = engine.run_image(images[which], order=order, seed=seed, label=label, trace=bool(plot or html))
    if plot is not None:
        from .._events_plot import save_image_run

        save_image_run(run, plot, names)
    if html is not None:
        from .._events_html import image_page

        Path(html).write_text(image_page(engine, run, names), encoding="utf-8")
    _print(run, as_json)
    for path in filter(None, (plot, html)):
        if not as_json:
            print(f"wrote {path}")


def _arrays(model: Model, files: tuple[str, ...], reading: Reading) -> list[Floats]:
    if len(model.input_shapes) != 1:
        raise InputError(f"the model has {len(model.input_shapes)} inputs; `bnn events` runs models with one")
    return read_arrays(model, files, reading)


def _names(path: str | None, classes: int) -> list[str] | None:
    if path is None:
        return None
    names = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    if len(names) != classes:
        raise InputError(f"{path}: found {len(names)} labels, the model has {classes} classes; one a line")
    return names


def _print(run: object, as_json: bool) -> None:
    if as_json:
        print_json(run.as_dict())  # type: ignore[attr-defined]
        return
    print(run)
    print()
    print(run.report)  # type: ignore[attr-defined]
