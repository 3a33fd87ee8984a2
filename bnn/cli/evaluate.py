# SPDX-License-Identifier: Apache-2.0
"""bnn evaluate: how often a .bnn file is right, on folders of pictures or on arrays."""

from __future__ import annotations

import heapq
import os
from collections.abc import Sequence
from typing import Any

import click
import numpy as np

from .._types import Array
from ..errors import InputError
from ..runtime import MOST_THREADS, Model, load
from ..runtime.evaluation import Counter, Evaluation, class_numbers, classes_of, scores_of
from ..runtime.files import replacing
from ..runtime.progress import live, note, progress
from ..runtime.summary import quantity, table
from ..streams.answers import short
from .common import Place, check_outputs, check_picture, json_option, net_argument, print_json, print_line
from .inputs import InputOptions, count_files, read_batches, read_labels, read_targets, reading_options

_DATA = "a folder with a folder of pictures per class, or a .npy file with --targets FILE.npy"
Worst = tuple[float, str, int, int]  # score, file, right class, answer


@click.command(short_help="Count how often a .bnn file is right.")
@net_argument
@click.argument("data", metavar="INPUT", type=Place(_DATA, exists=True))
@click.option("--targets", metavar="FILE.npy", type=click.Path(path_type=str),
              help="The right classes of an array: whole numbers, or rows with a single 1.")  # fmt: skip
@reading_options
@click.option("--labels", metavar="FILE", type=click.Path(path_type=str),
              help="Class names, one per line.  Default: those in NET.bnn.")  # fmt: skip
@click.option("--top", metavar="K", type=click.IntRange(1), default=5, show_default=True,
              help="Also count how often the right class is among the K best.")  # fmt: skip
@click.option("--worst", "most", metavar="N", type=click.IntRange(0), default=10, show_default=True,
              help="Number of wrong answers to list, those with the highest scores.")  # fmt: skip
@click.option("--plot", "--png", "plot", metavar="FILE", type=click.Path(dir_okay=False, path_type=str),
              help="Picture of the confusion matrix (.png, .svg, .pdf, .jpg).")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="Threads to use.  Default: BNN_THREADS, or 1.")
@json_option
def evaluate(
    net: str, data: str, targets: str | None, reading: InputOptions, labels: str | None, top: int, most: int,
    plot: str | None, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Count how often NET.bnn is right on INPUT: a folder with one folder of pictures per class, or images.npy with
    --targets.

    \b
    bnn evaluate net.bnn photos/                          photos/cat/*.jpg, photos/dog/*.jpg
    bnn evaluate net.bnn images.npy --targets classes.npy

    Folders have the names of the labels.  Without labels there must be one folder per class, and their names in order
    are the classes, as in Keras and torchvision; a note says which is which.  Pictures and arrays are read as by
    `bnn run`.
    """
    check_outputs({"--plot": plot}, [net, data, targets, labels])
    check_picture("--plot", plot)
    model = load(net)
    classes = classes_of(model.output_shapes)
    names = model.labels if labels is None else read_labels(labels, {classes})
    names = names if names is not None and len(names) == classes else None
    by_order = names is None and os.path.isdir(data)
    if os.path.isdir(data):
        if targets is not None:
            raise click.UsageError("--targets is for arrays; a folder's names are its classes: leave it out")
        folders, names = _folders(data, names, classes)
        if by_order:
            note(f"bnn: note: {net} names no classes: {_classes_by_order(names)}")
        files, right = list(folders), None
    else:
        files, folders, right = [data], {}, _targets(data, targets)
    counter = Counter(classes, top, names)
    skipped: dict[str, str] = {}
    worst = _count(model, files, folders, right, reading, counter, most, threads, skipped)
    result = counter.result()
    if plot is not None:
        _draw(result, plot)
    if as_json:
        wrong = [{"file": f, "target": t, "answer": a, "score": s} for s, f, t, a in worst]
        left_out = [{"file": file, "reason": reason} for file, reason in skipped.items()]
        more = {"folders": folders, "classes_by_order": by_order, "plot": plot}
        print_json({**result.as_dict(), "worst": wrong, "skipped": left_out, **more})
    else:
        print(result)
        if worst:
            header = ["file", "class", "answer", "score"]
            rows = [[f, result.name(t), result.name(a), f"{s:.4g}"] for s, f, t, a in worst]
            print(f"\nWrong, with the highest scores\n\n{table(header, rows, header[:3])}")
        if plot is not None:
            print_line(f"wrote {plot}")
    if skipped:
        note(f"bnn: {quantity(len(skipped), 'picture')} of {len(skipped) + result.images} skipped")
        click.get_current_context().exit(2)


def _folders(data: str, names: list[str] | None, classes: int) -> tuple[dict[str, int], list[str]]:
    """The class of each folder, and the names of all classes."""
    found = sorted(entry.name for entry in os.scandir(data) if entry.is_dir() and not entry.name.startswith("."))
    if not found:
        raise InputError(f"{data}: found no folder in it, expected one for each class, with its pictures")
    if names is None:
        numbers = all(name.isdecimal() for name in found) and found != sorted(found, key=int)
        if len(found) != classes or numbers:
            what = "names that are numbers in another order" if numbers else quantity(len(found), "folder")
            raise InputError(
                f"{data}: found {what}, and the model has {classes} classes without names; give --labels FILE, the "
                "names of the classes in their order"
            )
        names = found
    for name in found:
        if names.count(name) != 1:
            known = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            what = "is the name of several classes" if name in names else f"is not a label, expected one of {known}"
            raise InputError(f"{os.path.join(data, name)}: '{name}' {what}; rename the folder, or give --labels FILE")
    return {os.path.join(data, name): names.index(name) for name in found}, names


def _classes_by_order(names: Sequence[str]) -> str:
    """Which class each folder is taken for, the first ten of them."""
    listed = ", ".join(f"{i} is {name}" for i, name in enumerate(names[:10])) + (", ..." if len(names) > 10 else "")
    return f"{listed} (the folders in the order of their names); if training had another order, give --labels FILE"


def _targets(data: str, targets: str | None) -> Array:
    if targets is None:
        raise InputError(
            f"{data}: found no right classes; give --targets FILE.npy, or a folder with a folder of pictures per class"
        )
    return read_targets(targets)


def _count(
    model: Model, files: Sequence[str], folders: dict[str, int], right: Array | None, reading: InputOptions,
    counter: Counter, most: int, threads: int | None, skipped: dict[str, str],
) -> list[Worst]:  # fmt: skip
    """Counts all images; returns the wrong answers with the highest scores."""
    worst: list[Worst] = []
    count, classes = count_files(files), len(counter.confusion)
    whole = max(count, 1) if model.whole_batch else None
    with progress("evaluate", count, live() and count > 100) as advance:
        for names, inputs in read_batches(model, files, reading, skipped, advance, whole):
            scores = scores_of(model.predict(inputs, threads=threads), model.output_shapes)
            targets = np.array([_class_of(name, folders) for name in names], np.int64) if right is None else right
            targets = class_numbers(targets, len(scores), classes, "--targets")
            answers = counter.add(scores, targets)
            wrong = np.flatnonzero((answers >= 0) & (answers != targets))
            rows = ((float(scores[i, answers[i]]), names[i], int(targets[i]), int(answers[i])) for i in wrong)
            worst = heapq.nlargest(most, [*worst, *rows], key=lambda row: row[0])
    return worst


def _class_of(file: str, folders: dict[str, int]) -> int:
    return next(number for folder, number in folders.items() if file.startswith(os.path.join(folder, "")))


def _draw(result: Evaluation, path: str) -> None:
    """A picture of the confusion matrix: each row's shares, and the numbers where there is room."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    classes = len(result.confusion)
    side = min(3 + 0.4 * classes, 16)
    with rc_context({"text.parse_math": False}):  # the $ of a name is one
        figure: Any = Figure(figsize=(side, side), layout="constrained")
        canvas: Any = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        shares = result.confusion / np.maximum(result.confusion.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if classes <= 40:
            names = [short(result.name(i), 16) for i in range(classes)]
            axes.set_xticks(range(classes), names, rotation=90)
            axes.set_yticks(range(classes), names)
            for (i, j), images in np.ndenumerate(result.confusion):
                if images:
                    axes.text(j, i, str(images), ha="center", va="center", fontsize=7,
                              color="white" if shares[i, j] > 0.5 else "black")  # fmt: skip
        axes.set(xlabel="answer", ylabel="right class", title=f"{result.accuracy:.2%} of {result.images:,} images")
        with replacing(path) as file:
            canvas.print_figure(file, dpi=120, format=os.path.splitext(path)[1][1:] or "png")
