# SPDX-License-Identifier: Apache-2.0
"""The inputs of a compiled network: floats, or bytes that are read as floats of the same value."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping, Sequence

import numpy as np

from ...errors import CompileError
from ...ir.graph import DType, Node
from ...ir.ops import constant, make

# The types of a compiled network's inputs.
INPUT_DTYPES = {"float32": DType.f32, "uint8": DType.u8, "int8": DType.i8}
InputDType = str | Mapping[str, str] | None
_MOST_SIZES = 8  # of an image: more are a mistake


def check_input_names(names: Sequence[str]) -> None:
    """Raises CompileError if two inputs have one name."""
    if len({*names}) < len(names):
        raise CompileError(f"two of the model's inputs have one name: found {', '.join(names)}; give each its own")


def checked_shape(input_shape: Sequence[int] | None) -> tuple[int, ...] | None:
    """The user's sizes of one image, checked."""
    if input_shape is None:
        return None
    try:
        sizes = tuple(operator.index(size) for size in itertools.islice(input_shape, _MOST_SIZES + 1))
    except TypeError:
        sizes = ()
    if not sizes or min(sizes) < 1 or len(sizes) > _MOST_SIZES:
        raise CompileError(
            f"input_shape: found {input_shape!r}, expected the sizes of one image without the batch, in the "
            "model's order, as (height, width, channels)"
        )
    return sizes


def check_single(input_shape: tuple[int, ...] | None, count: int) -> None:
    """Refuse an ``input_shape`` for a model with several inputs."""
    if input_shape is not None and count != 1:
        raise CompileError(
            f"input_shape: found {input_shape}, but the model has {count} inputs; build it with fixed sizes, or call "
            "it once on data of those sizes, and leave out input_shape"
        )


def fitted(name: str, own: Sequence[int | None] | None, wanted: tuple[int, ...] | None) -> tuple[int, ...]:
    """The sizes of an input without the batch: the model's, or where unknown (None: all) the user's."""
    if wanted is not None:
        takes = own is None or [w if o is None else o for o, w in zip(own, wanted, strict=False)] == list(wanted)
        if not takes or own is not None and len(own) != len(wanted):
            raise CompileError(
                f"input_shape: found {wanted}, but the model's input '{name}' is {_text(own)}; give sizes that it "
                "accepts, or leave out input_shape"
            )
        return wanted
    sizes = tuple(size for size in own or () if size is not None)
    if own is None or len(sizes) != len(own):
        raise CompileError(
            f"input '{name}' has shape {_text(own)}; only the batch size may be unknown: build the model with a "
            "fixed size, or, if it has one input, pass input_shape=, the sizes of one image (--input-shape)"
        )
    return sizes


def _text(sizes: Sequence[int | None] | None) -> str:
    return "unknown" if sizes is None else f"({', '.join('unknown' if s is None else str(s) for s in sizes)})"


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
