# SPDX-License-Identifier: Apache-2.0
"""Train a small binary network, compile it, run it in C, and compare it with Keras bit by bit.

    python tools/demo.py
    python tools/demo.py --dataset fashion-mnist --data FOLDER
    python tools/demo.py --dataset fashion-mnist --model runs/fashion/model.keras

Exit status: 0 if the compiled network equals Keras, 1 if anything differs, 2 for wrong use or bad input.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path

import click
from rich.console import Console

import bnn
from demonstration import picture, steps
from training import console, datasets, fit
from training.console import ConsoleProgress, table

_LINES = 6  # of progress


def run(
    dataset: str, folder: Path | None, epochs: int | None, trained: Path | None, out: Path, console: Console
) -> steps.Result:
    """All steps, each announced on the console; writes model.bnn and training/ to ``out``.

    ``trained``: a model to take instead of training one.
    """

    def say(step: int, text: str) -> None:
        console.print(f"[{step}/5] {text}", markup=False)

    name, planned = steps.PLANS[dataset]
    epochs = planned if epochs is None else epochs
    plan = fit.Settings(dataset, name, out / "training", folder, epochs=epochs)
    plan.check()
    data = datasets.load(dataset, folder)
    if trained is None:
        say(1, f"train a network on {len(data.train):,} images")
        with ConsoleProgress(console, _LINES) as progress:
            fit.train(plan, progress, overwrite=True)
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


def show(result: steps.Result) -> None:
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
            f"{steps.ratio(sizes.float32 / sizes.bnn_file)} x smaller",
        ],
        [
            ".keras file and .bnn file, bytes",
            f"{sizes.keras_file:,}",
            f"{sizes.bnn_file:,}",
            f"{steps.ratio(sizes.keras_file / sizes.bnn_file)} x smaller",
        ],
    ]
    for latency in result.latencies:
        what = "1 image" if latency.images == 1 else f"{latency.images} images"
        for how, seconds in (("eager", latency.eager), ("tf.function", latency.function)):
            faster = f"{steps.ratio(seconds / latency.runtime)} x faster"
            rows.append([f"{what}, Keras {how}", steps.duration(seconds), steps.duration(latency.runtime), faster])
    table(f"{result.data.name}: Keras and the compiled network", ["", "Keras", "bnn", ""], rows)
    table(
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
    + ", ".join(f"{planned} for {name}" for name, (_, planned) in steps.PLANS.items())
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
        show(result)
        print(text)
    sys.exit(0 if result.check.ok else 1)


main = partial(console.run, _command, "demo")


if __name__ == "__main__":
    main()
