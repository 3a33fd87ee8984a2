# SPDX-License-Identifier: Apache-2.0
"""The inputs of a compiled network: floats, or bytes that are read as floats of the same value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...errors import CompileError
from ...ir.graph import DType, Node
from ...ir.ops import constant, make

# The types of a compiled network's inputs.
INPUT_DTYPES = {"float32": DType.f32, "uint8": DType.u8, "int8": DType.i8}
InputDType = str | Mapping[str, str] | None


def check_input_names(names: Sequence[str]) -> None:
    """Raises CompileError if two inputs have one name."""
    if len({*names}) < len(names):
        raise CompileError(f"two of the model's inputs have one name: found {', '.join(names)}; give each its own")


def input_dtypes(labels: Sequence[str], own: Sequence[str], wanted: InputDType) -> list[DType]:
    """One type per input, from the inputs' names, their types in the model, and ``input_dtype`` as for ``bnn.compile``;
    raises if a name or a type is invalid, or two inputs have one name."""
    check_input_names(labels)
    chosen = {n: dtype if dtype in INPUT_DTYPES else "float32" for n, dtype in zip(labels, own, strict=True)}
    if wanted is not None:
        named = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(chosen, str(wanted))
        for name, dtype in named.items():
            if name not in chosen:
                raise CompileError(f"input_dtype: found '{name}', expected names of inputs: {', '.join(chosen)}")
            if dtype not in INPUT_DTYPES:
                raise CompileError(f"input_dtype: found '{dtype}', expected {', '.join(INPUT_DTYPES)}")
        chosen |= named
    for name, dtype in zip(labels, own, strict=True):
        if chosen[name] not in ("float32", dtype) and dtype != "float32":
            raise CompileError(
                f"input '{name}' is {dtype} in the model, which {chosen[name]} cannot hold; leave out its input_dtype"
            )
    return [INPUT_DTYPES[dtype] for dtype in chosen.values()]


def as_floats(x: Node) -> Node:
    """The floats of the same value as an input's bytes."""
    if x.type.dtype is DType.u8:
        return make("cast", x, name=x.name)
    if x.type.dtype is DType.i8:
        return make("cast", make("excess_128", x, name=x.name), constant(np.arange(-128, 128)), name=x.name)
    return x
