# SPDX-License-Identifier: Apache-2.0
"""The inputs for calling a Keras model, in the structure that its ``call`` expects."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import CompileError


def checked_shape(input_shape: Sequence[int] | None) -> tuple[int, ...] | None:
    """The user's sizes of one image, checked."""
    if input_shape is None:
        return None
    try:
        sizes = tuple(operator.index(size) for size in input_shape)
    except TypeError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise CompileError(
            f"input_shape: found {input_shape!r}, expected the sizes of one image without the batch, as (height, "
            "width, channels)"
        )
    return sizes


def model_inputs(tf: Any, model: Any, input_shape: tuple[int, ...] | None) -> tuple[Any, list[str] | None]:
    """(the arguments and keyword arguments of a model in memory, with a TensorSpec in place of every tensor; the names
    of the tensors, or None if the model has none)

    Only the batch has an unknown size.  Names are in the order in which TensorFlow flattens the arguments: dicts by
    their keys.
    """
    args, kwargs = _arguments(tf, model)
    tensors = tf.nest.flatten((args, kwargs))
    if not tensors and input_shape is not None:
        tensors = args = [tf.TensorSpec([None, *input_shape], tf.float32)]
    label = getattr(model, "name", type(model).__name__)
    if not tensors:
        raise CompileError(
            f"model '{label}' has never been called, so its input shape is not known; call it once, or pass "
            "input_shape=(height, width, channels)"
        )
    if any(not hasattr(tensor, "shape") for tensor in tensors):
        raise CompileError(
            f"model '{label}' was called with positional arguments that are not tensors; call it once, as it was "
            "built, with a tensor, a list or a dict of tensors, and everything else by its name"
        )
    check_single(input_shape, len(tensors))
    names = _names(tf, model, args, kwargs, tensors)
    specs = []
    for i, tensor in enumerate(tensors):
        shape = tf.TensorShape(tensor.shape)
        name = names[i] if names else f"input {i}"
        sizes = fitted(name, None if shape.rank is None else shape.as_list()[1:], input_shape)
        specs.append(tf.TensorSpec([None, *sizes], tensor.dtype))
    return tf.nest.pack_sequence_as((args, kwargs), specs), names


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
            "fixed size, or, if it has one input, pass input_shape=(height, width, channels) (--input-shape)"
        )
    return sizes


def _text(sizes: Sequence[int | None] | None) -> str:
    return "unknown" if sizes is None else f"({', '.join('unknown' if s is None else str(s) for s in sizes)})"


def _arguments(tf: Any, model: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a model's call, as tensors or specs; empty if unknown."""
    inputs = getattr(model, "inputs", None)
    if inputs:
        try:
            return [model.input], {}  # functional: as it was built, perhaps a list or a dict
        except (AttributeError, ValueError):  # sequential, in some versions of Keras
            return [inputs[0] if len(inputs) == 1 else inputs], {}
    if hasattr(model, "save_spec"):  # subclassed, Keras 2: what it was called with
        specs = model.save_spec()
        return (list(specs[0]), dict(specs[1])) if specs else ([], {})
    shapes = getattr(model, "_build_shapes_dict", None) or {}  # Keras 3: by the names of build's arguments, "x_shape"
    specs = {name.removesuffix("_shape"): _specs(tf, shape) for name, shape in shapes.items() if shape}
    return (list(specs.values()), {}) if len(specs) == 1 else ([], specs)


def _specs(tf: Any, shapes: Any) -> Any:
    """Float tensors of nested shapes: Keras 3 does not keep the types."""
    if isinstance(shapes, Mapping):
        return {name: _specs(tf, shape) for name, shape in shapes.items()}
    sizes = list(shapes) if isinstance(shapes, (list, tuple)) else [shapes]
    if any(isinstance(size, (Mapping, list, tuple)) for size in sizes):
        return [_specs(tf, shape) for shape in sizes]
    try:
        return tf.TensorSpec([None, *shapes[1:]], tf.float32)
    except (TypeError, ValueError, OverflowError):  # a file says anything
        raise CompileError(
            f"the model was built for the shape {str(shapes):.100}; expected sizes, or lists of them: call the model "
            "once, as it was built, and save it again"
        ) from None


def _names(tf: Any, model: Any, args: list[Any], kwargs: dict[str, Any], tensors: Sequence[Any]) -> list[str] | None:
    """The keys if the model is called with a dict, otherwise Keras' names."""
    named = args[0] if len(args) == 1 and not kwargs else kwargs
    if isinstance(named, Mapping) and len(named) == len(tensors) and not any(map(tf.nest.is_nested, named.values())):
        return [str(name) for name in sorted(named)]
    if getattr(model, "inputs", None):
        names = getattr(model, "input_names", None) or [str(t.name).split(":")[0] for t in tensors]
        return list(map(str, names)) if len(names) == len(tensors) else None
    return None
