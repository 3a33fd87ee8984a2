"""bnn run: a .bnn file on arrays and images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from .._arrays import Floats
from .._report import table
from ..errors import InputError
from ..runtime import Model, load
from .common import json_option, live, net_argument, print_json, quantity, threads_option
from .inputs import Reading, read_arrays, reading_options


@click.command(short_help="Run a .bnn file on arrays or images.")
@net_argument
@click.argument("files", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=str))
@reading_options
@click.option("--labels", metavar="FILE", type=click.Path(path_type=str), help="Class names, one a line.")
@click.option("--top", metavar="K", type=click.IntRange(1), default=3, show_default=True, help="Classes to show.")
@click.option("--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=str),
              help="Write the results to this .npy file (.npz for several outputs).")  # fmt: skip
@threads_option
@json_option
def run(
    net: str,
    files: tuple[str, ...],
    reading: Reading,
    labels: str | None,
    top: int,
    output: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Run NET.bnn on INPUTs: .npy files (N, H, W, C) or one image, .npz files, and image files.

    Image files are converted to the model's channels; give --scale as they were scaled in training.
    """
    model = load(net)
    names = None if labels is None else _labels(labels, model)
    inputs = read_arrays(model, files, reading)
    result = model.predict(inputs, threads=threads, progress=live() and len(inputs[0]) > 100)
    results: list[Floats] = result if isinstance(result, list) else [result]
    if output is not None:
        _write(output, results, model.output_names)
    if as_json:
        print_json({"images": len(inputs[0]), "output": output, "results": _records(model, results, names, top)})
        return
    for name, array in zip(model.output_names, results, strict=True):
        print(_text(name, array, names, top, several=len(results) > 1))
    if output is not None:
        print(f"wrote {output}")


def _labels(path: str, model: Model) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a UTF-8 text file: {error}") from None
    names = text.splitlines()
    classes = {shape[0] for shape in model.output_shapes if len(shape) == 1}
    if len(names) not in classes:
        expected = " or ".join(map(str, sorted(classes))) or "no class output"
        raise InputError(f"{path}: found {quantity(len(names), 'label')}, the model has {expected}; one a line")
    return names


def _write(path: str, results: list[Floats], names: list[str]) -> None:
    suffix = Path(path).suffix
    if len(results) == 1 and suffix == ".npy":
        np.save(path, results[0])
    elif suffix == ".npz":
        np.savez(path, **dict(zip(names, results, strict=True)))
    else:
        raise InputError(f"--output {path}: expected a name ending in {'.npy or ' if len(results) == 1 else ''}.npz")


def _best(scores: Floats, labels: list[str] | None, top: int) -> list[dict[str, Any]]:
    """The highest first; a score that is not a number comes last."""
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
    title = f"output '{name}', " if several else ""
    if array.ndim != 2:
        return f"{title}float32 {array.shape}: give --output to keep it"
    rows = []
    for i, row in enumerate(array):
        classes = [f"{best['label'] or best['index']} {best['score']:.4g}" for best in _best(row, labels, top)]
        rows.append([str(i), *classes])
    header = ["image", *(f"{i + 1}." for i in range(len(rows[0]) - 1 if rows else 0))]
    return f"{title}{quantity(len(array), 'image')}\n\n{table(header, rows, header[1:])}"
