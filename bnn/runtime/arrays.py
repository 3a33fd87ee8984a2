# SPDX-License-Identifier: Apache-2.0
"""Check the arrays that go into and come out of a model.  Nothing is converted silently."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arguments import shown
from .._types import Array, Floats
from ..errors import InputError, InputTypeError

Inputs = Array  # of the dtype of the model's input
Shape = tuple[int, ...]

FLOAT32 = np.dtype(np.float32)
# How a tensor's type prints, and the dtype of an input of that type.
INPUT_DTYPES: dict[str, np.dtype[Any]] = {"f32": FLOAT32, "u8": np.dtype(np.uint8), "i8": np.dtype(np.int8)}

_HINTS = {
    FLOAT32: "convert with x.astype(np.float32), scaled as the network's training data were",
    INPUT_DTYPES["u8"]: "pass images as they are read, whole numbers from 0 to 255 that nothing has scaled",
    INPUT_DTYPES["i8"]: "pass whole numbers from -128 to 127; of a .tflite file, round(x / scale) + zero point "
    "(model.metadata has both)",
}

_LOAD = "; read the file first: np.load(path)"
_READ = f"{_LOAD}, or bnn.read_picture(model, path) for an image; or use: bnn run"
_ALWAYS_THERE = 2**20  # bytes: for fewer, the machine is not asked
_EXPECTED = {dtype: f"an array of {dtype}" for dtype in _HINTS}  # a dtype's text takes longer than a small network


def batched(shape: Shape) -> str:
    """How a shape with its batch dimension prints: (N, 28, 28, 1)."""
    return "(" + ", ".join(["N", *map(str, shape)]) + ")"


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: shape without the batch, ``bytes`` of one image with its halo (top, left, bottom, right).

    ``dtype`` is f32, b1, i32, u8, i8 or i16; ``storage`` is input, output, arena, constant or passed (the next op reads
    it a few rows at a time); ``offset`` is in the arena of one image, in the file (constants; ``bytes`` is then the
    size there), or the input's or output's index.  ``origin`` is the tensor of the source graph with the same value, or
    "".
    """

    index: int
    name: str
    origin: str
    dtype: str
    storage: str
    shape: Shape
    halo: tuple[int, int, int, int]
    offset: int
    bytes: int


def given_shape(shape: Shape, channels_first: bool) -> Shape:
    """The shape of an image, whose channels come last, as the caller has it."""
    return (shape[-1], *shape[:-1]) if channels_first else shape


def given(array: Array, channels_first: bool) -> Array:
    """A batch, whose channels come last, as the caller has it."""
    return np.ascontiguousarray(np.moveaxis(array, -1, 1)) if channels_first and array.ndim > 2 else array


def check_inputs(
    x: object, inputs: Sequence[TensorInfo], least: int = 0, convert: bool = False, channels_first: bool = False
) -> list[Inputs]:
    """One C-contiguous array (N, *shape) of the right dtype per input of a network, all with the same N, at least
    ``least``.  ``channels_first``: those in ``x`` are (N, C, H, W).

    ``x`` is an array (one input), a list or tuple in the inputs' order, or a dict by input name.  Contiguous arrays are
    used directly, others are copied.  ``convert``: a float input also takes other numbers.

    Raises:
        InputTypeError: an array's dtype is not the input's, or an argument is not an array.
        InputError: an array's shape, or the number or names of the inputs, are not the model's.
    """
    names = [t.name for t in inputs]
    checked = [
        _checked_input(array, t, convert, channels_first) for array, t in zip(_by_input(x, names), inputs, strict=True)
    ]
    for array, name in zip(checked, names, strict=True):
        if len(array) != len(checked[0]):
            raise InputError(
                f"input '{name}' has {len(array)} images but '{names[0]}' has {len(checked[0])}; "
                "all inputs of a call need the same batch size"
            )
    if len(checked[0]) < least:
        raise InputError(f"input '{names[0]}': found an empty batch, expected at least one image")
    return checked


def _checked_input(x: object, tensor: TensorInfo, convert: bool, channels_first: bool) -> Inputs:
    shape, dtype = given_shape(tensor.shape, channels_first), INPUT_DTYPES[tensor.dtype]
    array = check_array(x, f"input '{tensor.name}'", shape, dtype, convert)
    return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if channels_first else array


def _by_input(x: object, names: Sequence[str]) -> list[object]:
    """One array per input, from one array, a list or tuple in the inputs' order, or a dict by their names."""
    if isinstance(x, Mapping):
        missing = [name for name in names if name not in x]
        unknown = [str(name) for name in x if name not in names]
        if missing or unknown:
            raise InputError(
                f"the inputs are called {_listed(names)}; "
                + "; ".join(f"{what}: {_listed(which)}" for what, which in
                            (("missing", missing), ("unknown", unknown)) if which)
            )  # fmt: skip
        return [x[name] for name in names]
    arrays: list[object] = [x]
    if isinstance(x, (list, tuple)) and (len(names) > 1 or _is_no_batch(x)):
        arrays = list(x)
    if len(arrays) != len(names):
        found = f"{len(arrays)} arrays" if isinstance(x, (list, tuple)) else f"one {type(x).__name__}"
        one = len(names) == 1
        raise InputError(
            f"the model has {len(names)} input{'' if one else 's'} ({_listed(names)}), found {found}; "
            + ("pass its array alone" if one else "pass a list in this order, or a dict by name")
        )
    return arrays


def _is_no_batch(x: Sequence[object]) -> bool:
    """Whether these are arrays of whole batches, one or of several shapes, and not the images of one batch."""
    shapes = [tuple(a.shape) for a in x if hasattr(a, "dtype") and hasattr(a, "shape")]
    return len(shapes) == len(x) and (len(x) == 1 or len({*shapes}) > 1)


def as_array(x: object, what: str, expected: str = "an array") -> Array:
    """``np.asarray``.

    Raises:
        InputTypeError: it is no array; names ``what``, and what is ``expected``.
        InputError: it is an array that repeats itself (``np.broadcast_to``), or a view with gaps, and would need more
            memory than the machine has: nothing is computed with it.
    """
    try:
        array = np.asarray(x)
    except MemoryError:
        raise InputError(f"{what}: needs more memory than is available; pass fewer at a time") from None
    except Exception as error:  # of a tensor with gradients, for example; a class may raise anything
        raise InputTypeError(f"{what}: {type(x).__name__} is not an array: {error}") from None
    if isinstance(x, np.ma.MaskedArray) and np.any(x.mask):
        raise InputTypeError(f"{what}: found a masked array, expected {expected} without gaps; use x.filled(value)")
    if array.dtype.kind in "OUSV" and array.dtype.names is None:
        found = shown(x) if not isinstance(x, np.ndarray) else f"dtype {array.dtype}"
        hint = (_READ if expected in _EXPECTED.values() else _LOAD) if isinstance(x, (str, os.PathLike)) else ""
        raise InputTypeError(f"{what}: found {found}, expected {expected}{hint}")
    if not array.flags.c_contiguous and array.nbytes > machine_memory():
        raise InputError(
            f"{what}: found shape {array.shape} of {array.dtype}, {array.nbytes:,} bytes, expected less than the "
            f"machine's memory, {machine_memory():,}; pass fewer at a time"
        )
    return array


def as_numbers(x: object, what: str) -> Array:
    """An array of real numbers (bool, integers or floats); raises like :func:`as_array`."""
    return check_numbers(as_array(x, what, "an array of numbers"), what)


def check_numbers(array: Array, what: str) -> Array:
    """The array; raises InputTypeError if it does not hold real numbers."""
    if array.dtype.kind not in "buif":
        raise InputTypeError(f"{what}: found dtype {array.dtype}, expected numbers")
    return array


def as_bytes(data: object, expected: str) -> memoryview:
    """The bytes of an object that has some; ``expected``: which, for errors."""
    try:
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError):
        raise InputTypeError(f"found {type(data).__name__}, expected {expected}") from None
    return view


def room_for(shape: Shape, dtype: Any, what: str, made: Callable[..., Array] = np.empty) -> Array:
    """A new array; raises InputError, naming what it is for, if the machine has no room for it."""
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        if needed <= _ALWAYS_THERE or needed <= machine_memory():
            return made(shape, dtype)
    except MemoryError:
        pass
    raise InputError(f"{what}: {needed:,} bytes of results do not fit into memory; pass fewer at a time")


def results(batch: int, tensor: TensorInfo) -> Floats:
    """Room for a tensor of a batch."""
    return room_for((batch, *tensor.shape), FLOAT32, tensor.name)


def machine_memory() -> int:
    """Bytes; of a system that does not tell, more than any has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 2**62


def check_array(x: object, what: str, shape: Shape, dtype: np.dtype[Any], convert: bool = False) -> Inputs:
    """Check one array like :func:`check_inputs`, with any N; errors call it ``what``."""
    array = as_array(x, what, _EXPECTED[dtype])
    if convert and dtype == FLOAT32 and array.dtype.kind in "biuf":
        array = array.astype(FLOAT32, copy=False)
    if array.dtype != dtype:
        raise InputTypeError(f"{what}: found dtype {array.dtype}, expected {dtype}; {_HINTS[dtype]}")
    if array.shape[1:] != shape:
        raise wrong_shape(what, array.shape, shape)
    try:
        return np.require(array, requirements=("C", "A"))
    except MemoryError:
        raise InputError(f"{what}: its copy needs more memory than is available; pass fewer at a time") from None


def wrong_shape(what: str, found: Shape, expected: Shape) -> InputError:
    """The error for an array that is not (N, *expected), with what turns it into one."""
    has = f"shape {found}" if found else "a single value, of shape ()"
    return InputError(f"{what}: found {has}, expected {batched(expected)}{shape_hint(found, expected)}")


def shape_hint(found: Shape, expected: Shape) -> str:
    """What turns an array x of the shape ``found`` into (N, *expected); "" if nothing does for certain."""
    if found == expected:
        return "; for one image without a batch dimension pass x[None]"
    if len(found) == 2 and found[1] == math.prod(expected) or (*found[1:], 1) == expected:
        return f"; x.reshape({', '.join(map(str, (-1, *expected)))}) has it"
    if len(expected) == 3 and found[1:] == (expected[2], *expected[:2]):
        return "; np.moveaxis(x, 1, -1) puts the channels last"
    if len(expected) == 3 and found[1:] == (*expected[1:], expected[0]):
        return "; np.moveaxis(x, -1, 1) puts the channels first"
    return ""


def check_outputs(
    out: Floats | Sequence[Floats],
    inputs: Sequence[Inputs],
    outputs: Sequence[TensorInfo],
    channels_first: bool = False,
) -> list[Floats]:
    """The caller's output arrays: one float32, C-contiguous, writable (N, *shape) per output of a network, sharing no
    memory.

    Raises:
        InputTypeError: something is not a NumPy array of float32.
        InputError: an array is wrong in any other way.
    """
    arrays: list[Any] = list(out) if isinstance(out, (list, tuple)) else [out]
    if len(arrays) != len(outputs):
        names = _listed([t.name for t in outputs])
        raise InputError(f"out: found {len(arrays)} arrays, expected one for each of {len(outputs)} outputs ({names})")
    taken: list[tuple[str, Inputs]] = [("an input", x) for x in inputs]
    for array, tensor in zip(arrays, outputs, strict=True):
        name = tensor.name
        if not isinstance(array, np.ndarray) or array.dtype != FLOAT32:
            found = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            raise InputTypeError(f"out '{name}': found {found}, expected a NumPy array of float32")
        expected = (len(inputs[0]), *given_shape(tensor.shape, channels_first))
        if array.shape != expected:
            raise InputError(f"out '{name}': found shape {array.shape}, expected {expected}")
        if not (array.flags.c_contiguous and array.flags.aligned):
            raise InputError(
                f"out '{name}': the array is not C-contiguous and aligned; use np.empty({expected}, np.float32)"
            )
        if not array.flags.writeable:
            raise InputError(f"out '{name}': the array is read-only; pass a writable array")
        for what, other in taken:
            if np.may_share_memory(array, other):
                raise InputError(f"out '{name}': the array overlaps {what}; pass separate memory")
        taken.append((f"out '{name}'", array))
    return arrays


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
