# SPDX-License-Identifier: Apache-2.0
"""Train a small binary network, compile it, run it in C, and compare it with Keras bit by bit.

    python tools/demo.py
    python tools/demo.py --dataset fashion-mnist --data FOLDER
    python tools/demo.py --dataset fashion-mnist --model runs/fashion/model.keras

Exit status: 0 if the compiled network equals Keras, 1 if anything differs, 2 for wrong use or bad input.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import bnn
from demonstration import picture, steps
from train import USER_ERRORS
from training import datasets, fit

_LINES = 6  # of progress, where it cannot be a bar


class TrainingProgress(fit.Progress):
    """A bar on a terminal; elsewhere a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._epochs = 0
        self._bar = Progress(
            TextColumn("      epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def started(self, settings: fit.Settings, model: Any, history: Sequence[fit.Epoch]) -> None:
        self._epochs = settings.epochs
        self._task = self._bar.add_task("", total=settings.epochs, epoch=1, figures="")
        self._bar.start()

    def batch(self, epoch: int, done: int, batches: int, loss: float, accuracy: float) -> None:
        figures = f"{accuracy:.1%} right"
        self._bar.update(self._task, completed=epoch - 1 + done / batches, epoch=epoch, figures=figures)

    def epoch(self, epoch: fit.Epoch, best_epoch: int) -> None:
        if epoch.epoch % math.ceil(self._epochs / _LINES) == 0 or epoch.epoch == self._epochs:
            width = len(str(self._epochs))
            self._console.print(
                f"      epoch {epoch.epoch:{width}}/{self._epochs}: {epoch.accuracy:.2%} right in training, "
                f"{epoch.validation_accuracy:.2%} in validation"
            )

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._bar.stop()


def run(
    dataset: str, folder: Path | None, epochs: int | None, trained: Path | None, out: Path, console: Console
) -> steps.Result:
    """All steps, each announced on the console; writes model.bnn and training/ to ``out``.

    ``trained``: a model to take instead of training one.
    """

    def say(step: int, text: str) -> None:
        console.print(f"[{step}/5] {text}", markup=False)

    plan = steps.settings(dataset, folder, epochs, out / "training")
    plan.check()
    data = datasets.load(dataset, folder)
    if trained is None:
        say(1, f"train network '{plan.network}' on {len(data.train):,} images of {dataset}, {plan.epochs} epochs")
        progress = TrainingProgress(console)
        try:
            fit.train(plan, progress, overwrite=True)
        finally:
            progress.close()
    else:
        say(1, f"take the network in {trained}")
    keras_file, bnn_file = trained or plan.out / "model.keras", out / "model.bnn"
    network = steps.load(keras_file, data)

    say(2, f"compile {keras_file}")
    out.mkdir(parents=True, exist_ok=True)
    bnn.compile(network).save(bnn_file)
    model = bnn.load(bnn_file)
    console.print(f"      {bnn_file}: {len(model.ops)} ops, {model.nbytes:,} bytes", markup=False)

    say(3, f"run in C ({model.kernels} kernels) and compare with Keras on {len(data.test):,} test images")
    check = steps.check(model, keras_file, bnn_file, data, folder)

    say(4, "measure the time of Keras and of the runtime")
    x = steps.test_input(data)
    result = steps.Result(
        data=data,
        check=check,
        sizes=steps.sizes(network, keras_file, bnn_file),
        latencies=steps.latencies(network, model, x),
        times=steps.layer_times(model, x),
        kernels=model.kernels,
    )

    say(5, f"draw {out / 'demo.png'}")
    picture.draw(result, out / "demo.png")
    return result


def duration(seconds: float) -> str:
    """Three digits in the unit that fits."""
    unit, scale = next(((u, s) for u, s in (("us", 1e6), ("ms", 1e3)) if seconds * s < 999.5), ("s", 1.0))
    value = seconds * scale
    digits = 2 - math.floor(math.log10(max(value, 1.0)))
    return f"{value:.{max(digits, 0)}f} {unit}"


def ratio(value: float) -> str:
    """Two digits: 1.3, 74, 1,100."""
    rounded = float(f"{value:.1e}")
    return f"{rounded:.1f}" if rounded < 10 else f"{rounded:,.0f}"


def _table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """On a terminal with rules; elsewhere as plain text (which is Markdown)."""
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN)
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    with console.capture() as capture:
        console.print(table)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    console.print(f"[bold]{title}[/bold]\n")
    console.out("\n".join(line for line in lines if line), highlight=False)
    console.print()


def show(result: steps.Result, console: Console) -> None:
    """The two tables."""
    check, sizes = result.check, result.sizes
    images = len(result.data.test)
    keras, compiled = result.accuracy(check.keras), result.accuracy(check.compiled)
    rows = [
        ["test accuracy", f"{keras:.2%}", f"{compiled:.2%}", "equal" if keras == compiled else "NOT EQUAL"],
        ["images whose class differs", "", f"{check.classes_different} of {images:,}", ""],
        [
            "weights (float32) and .bnn file, bytes",
            f"{sizes.float32:,}",
            f"{sizes.bnn_file:,}",
            f"{ratio(sizes.float32 / sizes.bnn_file)} x smaller",
        ],
        [
            ".keras file and .bnn file, bytes",
            f"{sizes.keras_file:,}",
            f"{sizes.bnn_file:,}",
            f"{ratio(sizes.keras_file / sizes.bnn_file)} x smaller",
        ],
    ]
    for latency in result.latencies:
        what = "1 image" if latency.images == 1 else f"{latency.images} images"
        for how, seconds in (("eager", latency.eager), ("tf.function", latency.function)):
            faster = f"{ratio(seconds / latency.runtime)} x faster"
            rows.append([f"{what}, Keras {how}", duration(seconds), duration(latency.runtime), faster])
    _table(console, f"{result.data.name}: Keras and the compiled network", ["", "Keras", "bnn", ""], rows)
    _table(
        console,
        f"Binary layers, bit by bit, over {images:,} test images",
        ["layer", "input bits", "differ", "sums", "differ"],
        [
            [layer.layer, *(f"{n:,}" for n in (layer.bits, layer.bits_different, layer.sums, layer.sums_different))]
            for layer in check.layers
        ],
    )


def verdict(result: steps.Result, out: Path, seconds: float) -> str:
    check = result.check
    if check.ok:
        first = (
            f"The compiled network equals Keras in all {len(check.keras):,} classes "
            f"and all {check.compared:,} bits and sums."
        )
    else:
        first = (
            f"The compiled network DIFFERS from Keras: {check.classes_different:,} classes, "
            f"{check.different:,} of {check.compared:,} bits and sums."
        )
    return (
        f"{first}\n"
        f"Times are medians; the runtime has one thread ({result.kernels} kernels), Keras every core.\n"
        f"Picture: {out / 'demo.png'}. All this took {seconds:.0f} seconds."
    )


@click.command(help=(__doc__ or "").split("\n", 1)[0])
@click.option(
    "--dataset", type=click.Choice(list(steps.PLANS)), default="digits", show_default=True, help="What to learn."
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the data set's files, if unusual.")
@click.option(
    "--epochs",
    type=int,
    help="How long to train; default: "
    + ", ".join(f"{plan.epochs} for {name}" for name, plan in steps.PLANS.items())
    + ".",
)
@click.option(
    "--model",
    "trained",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Do not train: take this .keras or .h5 file, of a network trained on the data set.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the models, the picture and the figures; default: runs/demo-DATASET.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead of the tables.")
def _command(
    dataset: str, data: Path | None, epochs: int | None, trained: Path | None, out: Path | None, as_json: bool
) -> None:
    begin = time.perf_counter()
    if trained is not None and epochs is not None:
        raise click.UsageError("--model takes a trained network; it excludes --epochs.")
    folder = out or Path("runs") / f"demo-{dataset}"
    progress = Console(stderr=True, highlight=False, soft_wrap=True)
    result = run(dataset, data, epochs, trained, folder, progress)
    figures = json.dumps(result.to_json())
    (folder / "demo.json").write_text(figures + "\n")
    text = verdict(result, folder, time.perf_counter() - begin)
    if as_json:
        print(figures)
    else:
        tables = Console(highlight=False)
        if not tables.is_terminal:
            tables.width = 100  # where there is no window to fit
        show(result, tables)
        print(text)
    sys.exit(0 if result.check.ok else 1)


def _fail(message: str) -> NoReturn:
    print("demo: error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    try:
        _command.main(arguments, prog_name="demo", standalone_mode=False)
    except click.ClickException as error:
        _fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        print("\ndemo: interrupted", file=sys.stderr)
        sys.exit(130)
    except (*USER_ERRORS, bnn.BnnError) as error:
        _fail(str(error))
    except OSError as error:  # a full disk, for one
        _fail(f"{error.filename or 'writing failed'}: {error.strerror or error}")


if __name__ == "__main__":
    main()
