# SPDX-License-Identifier: Apache-2.0
"""bnn inspect: show the contents of a .bnn file."""

from __future__ import annotations

from typing import Any

import click

from ..runtime import Model, TensorInfo, load
from ..runtime.arrays import batched
from ..runtime.summary import describe, table
from .common import json_option, model_record, net_argument, print_json, print_line, use_lines


@click.command(short_help="Show a .bnn file's graph, layers and memory plan.")
@net_argument
@json_option
def inspect(net: str, as_json: bool) -> None:
    """Show the graph of NET.bnn, a table of its layers (with the reason why one is float), and its memory plan."""
    model = load(net)
    if as_json:
        graph = [{"op": op.op, "layer": op.layer, "inputs": list(op.inputs), "output": op.output} for op in model.ops]
        print_json({"file": net, **model_record(model), "graph": graph, "memory": _memory(model)})
        return
    print_line(net)
    print()
    for name, shape, dtype in zip(model.input_names, model.input_shapes, model.input_dtypes, strict=True):
        print_line(f"input '{name}': {dtype} {batched(shape)}")
    for name, shape in zip(model.output_names, model.output_shapes, strict=True):
        print_line(f"output '{name}': float32 {batched(shape)}")
    for line in use_lines(model):
        print_line(line)
    print("\nGraph\n")
    for op in model.ops:
        operands = ", ".join(_operand(model.tensors[i]) for i in op.inputs)
        print_line(f'  %{op.output} = {op.op}({operands}) : {describe(model.tensors[op.output])}  "{op.layer}"')
    print(f"\nLayers\n\n{model.summary()}\n\nMemory of one image\n")
    header = ["tensor", "layer", "type", "halo", "begin", "end", "alive from op", "to op"]
    rows = [
        [f"%{m['tensor']}", *(str(m[k]) for k in ("layer", "type", "halo", "begin", "end", "from_op", "to_op"))]
        for m in _memory(model)
    ]
    print(table(header, rows, ("tensor", "layer", "type", "halo")))
    print(f"arena: {model.arena_bytes:,} bytes")


def _operand(tensor: TensorInfo) -> str:
    return describe(tensor) if tensor.storage == "constant" else f"%{tensor.index}"


def _memory(model: Model) -> list[dict[str, Any]]:
    """The place of every activation in the arena, and the ops between which it is alive."""
    plan = []
    for tensor in model.tensors:
        if tensor.storage != "arena":
            continue
        made = next(op for op in model.ops if op.output == tensor.index)
        # An op whose output is passed runs together with the next.
        readers = [op for op in model.ops if tensor.index in op.inputs]
        used = max((op.index + (model.tensors[op.output].storage == "passed") for op in readers), default=made.index)
        plan.append(
            {
                "tensor": tensor.index,
                "layer": made.layer,
                "type": describe(tensor),
                "halo": ",".join(map(str, tensor.halo)) if any(tensor.halo) else "",
                "begin": tensor.offset,
                "end": tensor.offset + tensor.bytes,
                "from_op": made.index,
                "to_op": used,
            }
        )
    return plan
