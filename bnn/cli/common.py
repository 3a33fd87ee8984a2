# SPDX-License-Identifier: Apache-2.0
"""Parts shared by the commands: options, messages, JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import click
from click.core import ParameterSource

from ..runtime import Model, OpInfo

net_argument = click.argument("net", metavar="NET.bnn", type=click.Path(path_type=str))
keras_argument = click.argument("keras", metavar="MODEL", type=click.Path(exists=True, path_type=str))
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
threads_option = click.option(
    "--threads", type=click.IntRange(1, 256), help="Threads to use.  Default: BNN_THREADS, or 1."
)
unsafe_option = click.option(
    "--unsafe", is_flag=True, help="Load model files that carry Python code (Lambda layers).  Only for files you trust."
)


def parse_shape(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """Parse H,W,C, the value of an option."""
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"found '{text}', expected something like 32,32,3")
    return tuple(map(int, parts))


def was_given(name: str) -> bool:
    """Whether the user gave this option of the current command, even with its default value."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def print_json(value: Any) -> None:
    """Print one JSON object on stdout; NaN and infinity, which JSON lacks, become null."""
    print(json.dumps(_finite(value), indent=2))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


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
        "hint": op.note if op.note and not op.float_macs else None,
    }


def model_record(model: Model) -> dict[str, Any]:
    """A model as a whole, for JSON."""
    return {
        "bytes": model.nbytes,
        "arena_bytes": model.arena_bytes,
        "kernels": model.kernels,
        "inputs": [
            {"name": n, "shape": list(s), "dtype": d.name}
            for n, s, d in zip(model.input_names, model.input_shapes, model.input_dtypes, strict=True)
        ],
        "outputs": [
            {"name": n, "shape": list(s)} for n, s in zip(model.output_names, model.output_shapes, strict=True)
        ],
        "layers": [layer_record(model, op) for op in model.ops],
    }
