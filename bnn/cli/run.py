# SPDX-License-Identifier: Apache-2.0
"""bnn run: run a .bnn file on arrays, images and folders of images."""

from __future__ import annotations

import itertools
import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from .._text import printable
from .._types import Array, Floats
from ..runtime import MOST_THREADS, Model, load
from ..runtime.evaluation import class_count
from ..runtime.files import replacing
from ..runtime.handles import PORTABLE
from ..runtime.progress import live, note, progress
from ..runtime.summary import quantity, table
from .common import Place, check_outputs, check_suffix, json_option, net_argument, print_json, print_line, rows_option
from .inputs import (
    InputOptions,
    count_files,
    label_counts,
    read_batches,
    read_labels,
    reading_options,
)


@click.command(short_help="Run a .bnn file on arrays, images or folders of images.")
@net_argument
@click.argument(
    "files", metavar="INPUT...", nargs=-1, required=True, type=Place("pictures, folders of them, or arrays: .npy, .npz")
)
@reading_options
@click.option("--labels", metavar="FILE", type=click.Path(path_type=str),
              help="Class names, one per line.  Default: those in NET.bnn.")  # fmt: skip
@click.option(
    "--top", metavar="K", type=click.IntRange(1), default=3, show_default=True, help="Number of classes to show."
)
@rows_option("images")
@click.option("--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=str),
              help="Write the results to this .npy file (.npz for several outputs).")  # fmt: skip
@click.option("--portable", is_flag=True,
              help="Give the same bytes on every machine, and as emitted C; float layers take longer.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="Threads to use.  Default: BNN_THREADS, or 1.")
@json_option
def run(
    net: str,
    files: tuple[str, ...],
    reading: InputOptions,
    labels: str | None,
    top: int,
    rows: int,
    output: str | None,
    portable: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Run NET.bnn on INPUTs: image files, folders of them, .npy files (N, H, W, C) or one image, and .npz files.

    Pictures become the network's input as NET.bnn says (`bnn compile --preprocess`), unless options say otherwise.  A
    file that does not say needs the --scale used in training, and pictures of the network's size, or --resize.  Arrays
    of integers are pixels; arrays of floats are the network's own inputs.  A note says what reading a picture loses.  A
    damaged picture is skipped and named, and the exit status is then 2.

    Bits and integers are the same on every machine. Sums of floats may differ in their last bits between processors;
    with --portable they do not.
    """
    check_outputs({"--output": output}, [net, *files, labels])
    model = load(net, kernels=PORTABLE if portable else None)
    kinds = (".npy", ".npz") if len(model.output_shapes) == 1 else (".npz",)
    check_suffix("--output", output, kinds, devices=False)
    names = model.labels if labels is None else read_labels(labels, label_counts(model))
    answers = [_Answers(name, top, rows, output is not None) for name in model.output_names]
    images, skipped = _run(model, net, files, reading, threads, answers)
    if output is not None:
        _write(output, [answer.kept() for answer in answers], model.output_names)
    if as_json:
        print_json(
            {
                "images": len(images),
                "output": output,
                "kernels": model.kernels,
                "files": images,
                "skipped": [{"file": file, "reason": reason} for file, reason in skipped.items()],
                "results": [answer.record(names) for answer in answers],
            }
        )
    else:
        stored = all(Path(file).suffix in (".npy", ".npz") for file in files)
        shown = [str(i) for i in range(len(images))] if stored else images
        for answer in answers:
            print(answer.text(shown, names, several=len(answers) > 1))
        if output is not None:
            print_line(f"wrote {output}")
    if skipped:
        note(f"bnn: {quantity(len(skipped), 'picture')} of {len(skipped) + len(images)} skipped")
        click.get_current_context().exit(2)


def _run(
    model: Model,
    net: str,
    files: Sequence[str],
    reading: InputOptions,
    threads: int | None,
    answers: Sequence[_Answers],
) -> tuple[list[str], dict[str, str]]:
    """(the names of the images, the pictures that were skipped, and why)"""
    images: list[str] = []
    skipped: dict[str, str] = {}
    count, finite = count_files(files), []
    most = max(count, 1) if model.whole_batch else None
    with progress("run", count, live() and count > 100) as advance:
        for names, inputs in read_batches(model, files, reading, skipped, advance, most):
            if model.whole_batch and len(names) > 1:
                note(
                    f"bnn: note: {net}: these {len(names)} images are one batch, and each result depends on all of "
                    "them, as in Keras"
                )
            result = model.predict(inputs, threads=threads, progress=live() and len(names) > 100 and count == 1)
            results: list[Floats] = result if isinstance(result, list) else [result]
            for answer, array in zip(answers, results, strict=True):
                answer.add(array)
            finite.append(np.all([np.isfinite(r).all(axis=tuple(range(1, r.ndim))) for r in results], axis=0))
            images += names
    numbers = np.concatenate(finite)
    if not numbers.all():
        found = f"{quantity(int(np.count_nonzero(~numbers)), 'image')} (first {int(np.argmin(numbers))})"
        note(f"bnn: note: {found}: outputs that are not finite numbers; check the inputs")
    return images, skipped


class _Answers:
    """What one output gave: of classes, the best of each image; everything only where it is ``keep``-t."""

    def __init__(self, name: str, top: int, rows: int, keep: bool) -> None:
        self.name, self.top, self.rows, self.keep = name, top, rows, keep
        self.shape: tuple[int, ...] = ()
        self._whole: list[Floats] = []
        self._best: list[tuple[Array, Floats]] = []  # (classes, scores), (N, top) each
        self.classes = 0  # 0: its numbers are no classes

    def add(self, array: Floats) -> None:
        self.shape = (len(array) + (self.shape[0] if self.shape else 0), *array.shape[1:])
        if self.keep:
            self._whole.append(array)
        self.classes = class_count(array.shape[1:])
        if self.classes:
            scores = array.reshape(len(array), self.classes)
            order = np.argsort(-scores, axis=1, kind="stable")[:, : self.top]  # NumPy sorts NaN to the end
            self._best.append((order, np.take_along_axis(scores, order, axis=1)))

    def kept(self) -> Floats:
        return np.concatenate(self._whole)

    def best(self, most: int | None = None) -> Iterator[list[tuple[int | None, float]]]:
        """Per image, the best classes and their scores; the class of a NaN is None."""
        rows = ((o, s) for order, scores in self._best for o, s in zip(order.tolist(), scores.tolist(), strict=True))
        for order, scores in itertools.islice(rows, most):
            yield [(None if math.isnan(s) else i, s) for i, s in zip(order, scores, strict=True)]

    def record(self, labels: list[str] | None) -> dict[str, Any]:
        named = labels if labels is not None and len(labels) == self.classes else None
        top = [
            [{"index": i, "label": named[i] if named and i is not None else None, "score": s} for i, s in row]
            for row in self.best()
        ]
        return {"name": self.name, "shape": list(self.shape), "top": top if self.classes else None}

    def text(self, images: Sequence[str], labels: list[str] | None, several: bool) -> str:
        title = f"output '{printable(self.name)}', " if several else ""
        if not self.classes:
            return f"{title}float32 {self.shape}: give --output to save it"
        named = labels if labels is not None and len(labels) == self.classes else None
        rows = [
            [image, *("not a number" if i is None else f"{(named and named[i]) or i} {s:.4g}" for i, s in row)]
            for image, row in zip(images, self.best(self.rows), strict=False)
        ]
        header = ["image", *(f"{i + 1}." for i in range(len(rows[0]) - 1 if rows else 0))]
        more = len(images) - len(rows)
        end = f"\n... and {more:,} more: --json, --output or --rows" if more else ""
        left = header[1:] if rows and rows[0][0].isdecimal() else header
        return f"{title}{quantity(len(images), 'image')}\n\n{table(header, rows, left)}{end}"


def _write(path: str, results: Sequence[Floats], names: Sequence[str]) -> None:
    with replacing(path) as file:
        if Path(path).suffix == ".npy":
            np.save(file, results[0])
            return
        # Like np.savez, whose own keyword arguments would clash with the names.
        with zipfile.ZipFile(file, "w") as archive:
            for key, array in zip(_unique(names), results, strict=True):
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.save(member, array)


def _unique(names: Sequence[str]) -> list[str]:
    """The outputs' names as keys of an archive: name, name_1, ... if several outputs have the same name."""
    keys: list[str] = []
    for name in names:
        # Readers of archives would cut off this part.
        plain = name.partition("\0")[0].removesuffix(".npy") or "output"
        choices = (plain if i == 0 else f"{plain}_{i}" for i in itertools.count())
        keys.append(next(key for key in choices if key not in keys))
    return keys
