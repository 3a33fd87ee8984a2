# SPDX-License-Identifier: Apache-2.0
"""Parts shared by the commands: options, output files, JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from typing import Any

import click
from click.core import ParameterSource

from .._arguments import shown
from .._distribution import install
from .._text import ascii_json, printable, printable_lines
from ..errors import InputError, SetupError
from ..importers.common.kinds import READ
from ..runtime import Model, OpInfo
from ..runtime.files import no_folder


class Place(click.Path):
    """The path of a file or folder.  An error says what to ``give`` where there is nothing."""

    def __init__(self, give: str, *, exists: bool = False) -> None:
        super().__init__(path_type=str)
        self._give, self._exists = give, exists

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"Give {self._give}."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if self._exists and not os.path.exists(value):
            self.fail(f"Path '{value}' does not exist; give {self._give}.", param, ctx)
        if os.path.exists(value) and not os.access(value, os.R_OK):
            self.fail(f"Path '{value}' is not readable; allow it: chmod u+r '{value}'", param, ctx)
        return super().convert(value, param, ctx)


net_argument = click.argument("net", metavar="NET.bnn", type=Place("a network: bnn compile MODEL -o NET.bnn makes one"))
model_argument = click.argument("model", metavar="MODEL", type=Place(READ, exists=True))
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
unsafe_option = click.option(
    "--unsafe", is_flag=True, help="Load model files that carry Python code (Lambda layers).  Only for files you trust."
)


def rows_option(what: str) -> Callable[..., Any]:
    return click.option("--rows", metavar="N", type=click.IntRange(1), default=20, show_default=True,
                        help=f"Number of {what} to show as text.")  # fmt: skip


def parse_shape(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """Parse H,W,C, the value of an option."""
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"found '{text}', expected something like 32,32,3")
    return tuple(map(int, parts))


_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_size(text: str, example: str) -> int:
    """A size in bytes, with an optional unit K, M, G or T."""
    found = re.fullmatch(r"([0-9]{1,18})([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if found is None:
        raise click.BadParameter(f"found '{text}', expected something like {example}")
    return min(int(found[1]) * _UNITS.get(found[2].upper(), 1), 2**62)


def size_text(size: int) -> str:
    """A size as :func:`parse_size` accepts it."""
    return next((f"{size // n}{unit}" for unit, n in reversed(_UNITS.items()) if size and size % n == 0), f"{size}B")


def parse_zero(_: click.Context, __: click.Parameter, text: str) -> int:
    return int(text)


def loading(model: str) -> str:
    """What is shown while the packages that read a model file are imported."""
    from ..importers import is_tflite

    if is_tflite(model):
        return f"reading {model}"
    return "loading ONNX Runtime" if model.lower().endswith((".onnx", ".pt2")) else "loading TensorFlow"


def was_given(name: str) -> bool:
    """Whether the user gave this option of the current command, even with its default value."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def refuse(*rules: tuple[Collection[str], str]) -> None:
    """Refuse options of the current command that were given and would have no effect: (their names, why) each."""
    for option in click.get_current_context().command.params:
        for names, why in rules:
            if option.name in names and was_given(str(option.name)):
                raise click.UsageError(f"{option.opts[0]} {why}")


def default_output(source: str, suffix: str) -> str:
    """A source's name with another suffix, in the current folder; beside the source if it is that folder itself."""
    path = os.path.realpath(source)
    name = os.path.splitext(os.path.basename(path))[0] + suffix
    return os.path.join(os.path.dirname(path), name) if _inside(os.path.realpath(name), path) else name


def check_outputs(outputs: Mapping[str, str | None], inputs: Sequence[str | None]) -> None:
    """Refuse an output that is an input, lies inside an input folder (a SavedModel), equals another output, or has no
    folder: before a command begins, so that no work is wasted and no input is lost.

    ``outputs``: paths by their options; None for an option that was not given.
    """
    taken: dict[str, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        target = os.path.realpath(path)
        folder = os.path.dirname(target)
        if not os.path.isdir(folder):
            raise no_folder(path, folder)
        for given in filter(None, inputs):
            if _same(path, given):
                raise InputError(f"{option} {path}: would overwrite the input {given}; give another path")
            if _inside(target, given):
                raise InputError(f"{option} {path}: lies inside the input {given}; give a path outside it")
        if target in taken:
            raise InputError(f"{option} {path}: is also written by {taken[target]}; give another path")
        taken[target] = option


def check_picture(option: str, path: str | None) -> None:
    """Refuse a picture that nothing could draw: before a command begins."""
    check_suffix(option, path, (".png", ".svg", ".pdf", ".jpg"))
    if path is not None:
        try:
            import_module("matplotlib")
        except ImportError as error:
            raise SetupError(f"{option} {path}: pictures need matplotlib ({error}): {install('events')}") from None


def check_suffix(option: str, path: str | None, kinds: Sequence[str], *, devices: bool = True) -> None:
    """Refuse a name whose ending does not match the file's kind; ``devices``: allow any name for pipes and devices."""
    if path is None or os.path.splitext(path)[1] in kinds:
        return
    if not devices or os.path.isfile(path) or not os.path.exists(path):
        raise InputError(f"{option} {path}: expected a name ending in {' or '.join(kinds)}")


def _same(path: str, given: str) -> bool:
    """Whether both names refer to one file; pipes and devices are not overwritten."""
    return os.path.isfile(path) and os.path.exists(given) and os.path.samefile(path, given)


def _inside(target: str, given: str) -> bool:
    folder = os.path.realpath(given)
    return os.path.isdir(folder) and os.path.commonpath([target, folder]) == folder


def print_line(line: str) -> None:
    """Print one line on stdout: a name in it cannot begin another."""
    print(printable(line))


def print_lines(text: str) -> None:
    """The same for a text whose names are printable; also beside a spinner, which takes what is on its way to stdout
    for styles."""
    print(printable_lines(text))


def print_json(value: Any) -> None:
    """Print one JSON object on stdout; NaN and infinity, which JSON lacks, become null."""
    print(ascii_json(value))


def layer_record(model: Model, op: OpInfo) -> dict[str, Any]:
    """One op of a model, for JSON."""
    output = model.tensors[op.output]
    return {
        "layer": op.layer,
        "op": op.op,
        "kind": op.kind,
        "output_shape": list(output.shape),
        "output_dtype": output.dtype,
        "weight_bytes": op.weight_bytes,
        "binary_macs": op.binary_macs,
        "byte_macs": op.byte_macs,
        "float_macs": op.float_macs,
        "why_float": op.note if op.float_macs else None,
        "warnings": list(op.warnings),
    }


def use_lines(model: Model) -> list[str]:
    """What a file says of its use, a line for each."""
    made, labels = model.preprocessing, model.labels
    more = ", ..." if labels and len(labels) > 3 else ""
    lines = [] if labels is None else [f"{len(labels)} labels: {', '.join(labels[:3])}{more}"]
    lines += [] if made is None else ["preprocessing: " + ", ".join(f"{k} {v}" for k, v in made.record().items())]
    return lines + [f"{key}: {shown(text)}" for key, text in model.metadata.items()]


def model_record(model: Model) -> dict[str, Any]:
    """A model as a whole, for JSON."""
    return {
        "bytes": model.nbytes,
        "arena_bytes": model.arena_bytes,
        "kernels": model.kernels,
        "layout": model.layout,
        "warnings": model.warnings,
        "labels": model.labels,
        "preprocessing": None if model.preprocessing is None else model.preprocessing.record(),
        "metadata": model.metadata,
        "inputs": [
            {"name": n, "shape": list(s), "dtype": d.name}
            for n, s, d in zip(model.input_names, model.input_shapes, model.input_dtypes, strict=True)
        ],
        "outputs": [
            {"name": n, "shape": list(s)} for n, s in zip(model.output_names, model.output_shapes, strict=True)
        ],
        "layers": [layer_record(model, op) for op in model.ops],
    }
