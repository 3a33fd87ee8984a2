# SPDX-License-Identifier: Apache-2.0
"""bnn run: run a .bnn file on arrays and images."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from .._text import printable
from .._types import Floats
from ..runtime import MOST_THREADS, Model, load
from ..runtime.files import replacing
from ..runtime.handles import PORTABLE
from ..runtime.progress import live, note
from ..runtime.report import quantity, table
from .common import check_outputs, check_suffix, json_option, net_argument, print_json, print_line
from .inputs import Reading, read_arrays, read_labels, reading_options


@click.command(short_help="Run a .bnn file on arrays or images.")
@net_argument
@click.argument("files", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=str))
@reading_options
@click.option("--labels", metavar="FILE", type=click.Path(path_type=str), help="Class names, one per line.")
@click.option(
    "--top", metavar="K", type=click.IntRange(1), default=3, show_default=True, help="Number of classes to show."
)
@click.option("--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=str),
              help="Write the results to this .npy file (.npz for several outputs).")  # fmt: skip
@click.option("--portable", is_flag=True,
              help="Give the same bytes on every machine, and as emitted C; float layers take longer.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="Threads to use.  Default: BNN_THREADS, or 1.")
@json_option
def run(
    net: str,
    files: tuple[str, ...],
    reading: Reading,
    labels: str | None,
    top: int,
    output: str | None,
    portable: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Run NET.bnn on INPUTs: .npy files (N, H, W, C) or one image, .npz files, and image files.

    Image files are converted to the model's channels, and a note says what this loses; give the --scale used in
    training.

    Bits and integers are the same on every machine. Sums of floats may differ in their last bits between processors;
    with --portable they do not.
    """
    check_outputs({"--output": output}, [net, *files, labels])
    model = load(net, kernels=PORTABLE if portable else None)
    kinds = (".npy", ".npz") if len(model.output_shapes) == 1 else (".npz",)
    check_suffix("--output", output, kinds, devices=False)
    names = None if labels is None else read_labels(labels, {s[0] for s in model.output_shapes if len(s) == 1})
    inputs = read_arrays(model, files, reading)
    if model.whole_batch and len(inputs[0]) > 1:
        note(
            f"bnn: note: {net}: these {len(inputs[0])} images are one batch, and each result depends on all of them, "
            "as in Keras"
        )
    result = model.predict(inputs, threads=threads, progress=live() and len(inputs[0]) > 100)
    results: list[Floats] = result if isinstance(result, list) else [result]
    numbers = np.all([np.isfinite(r).all(axis=tuple(range(1, r.ndim))) for r in results], axis=0)
    if not numbers.all():
        found = f"{quantity(int(np.count_nonzero(~numbers)), 'image')} (first {int(np.argmin(numbers))})"
        note(f"bnn: note: {found}: outputs that are not finite numbers; check the inputs")
    if output is not None:
        _write(output, results, model.output_names)
    if as_json:
        records = _records(model, results, names, top)
        print_json({"images": len(inputs[0]), "output": output, "kernels": model.kernels, "results": records})
        return
    for name, array in zip(model.output_names, results, strict=True):
        print(_text(name, array, names, top, several=len(results) > 1))
    if output is not None:
        print_line(f"wrote {output}")


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


def _best(scores: Floats, labels: list[str] | None, top: int) -> list[dict[str, Any]]:
    """The best classes, highest score first; NaN comes last."""
    order = np.argsort(-scores, kind="stable")[:top]  # NumPy sorts NaN to the end
    named = labels if labels is not None and len(labels) == len(scores) else None
    return [{"index": int(i), "label": named[i] if named else None, "score": float(scores[i])} for i in order]


def _records(model: Model, results: list[Floats], labels: list[str] | None, top: int) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "shape": list(array.shape),
            "top": [_best(row, labels, top) for row in array] if array.ndim == 2 else None,
        }
        for name, array in zip(model.output_names, results, strict=True)
    ]


def _text(name: str, array: Floats, labels: list[str] | None, top: int, several: bool) -> str:
    title = f"output '{printable(name)}', " if several else ""
    if array.ndim != 2:
        return f"{title}float32 {array.shape}: give --output to save it"
    rows = []
    for i, row in enumerate(array):
        classes = [f"{best['label'] or best['index']} {best['score']:.4g}" for best in _best(row, labels, top)]
        rows.append([str(i), *classes])
    header = ["image", *(f"{i + 1}." for i in range(len(rows[0]) - 1 if rows else 0))]
    return f"{title}{quantity(len(array), 'image')}\n\n{table(header, rows, header[1:])}"
