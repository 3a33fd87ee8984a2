# SPDX-License-Identifier: Apache-2.0
"""The inputs for calling a Keras model, in the structure that its ``call`` expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import CompileError
from ..common.inputs import check_single, fitted


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
