# SPDX-License-Identifier: Apache-2.0
"""Quantization after training: convolutions and dense layers of floats become those of bytes by int8 weights.

Data of a layer x become bytes u = round(x / s) + z, with one scale s and zero z for the tensor, found on images;
weights become q = round(w / t) from -127 to 127, with a scale t for each filter (Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018).  The layer's sums of (u - z) q are
whole numbers, and s t times them replaces its float sums; what follows them (bias, batch norm, residual, activation,
quantizers) is computed as before.  With integers only, every value becomes bytes or bits, and every op computes with
whole numbers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from .._arguments import check_choice, check_flag, shown
from ..errors import InputError, InputTypeError
from ..file.read import decode
from ..file.write import encode
from ..ir.graph import Node
from ..runtime import Model
from ..runtime.arrays import Inputs
from ..runtime.handles import NO_LIMIT
from ..runtime.model import opened_model
from .integers import float_ops
from .layers import as_int8
from .report import CalibratedLayer, Calibration
from .values import METHODS
from .whole import as_integers

__all__ = ["METHODS", "CalibratedLayer", "Calibration", "calibrate"]


def calibrate(
    model: Model | str | os.PathLike[str],
    images: object,
    y: object = None,
    *,
    method: str = "mse",
    keep_float: Sequence[str] = (),
    integer_only: bool = False,
    int16: Sequence[str] | None = None,
) -> Calibration:
    """Turn a compiled network's float convolutions and dense layers into int8.

    Binary layers do not change.  Depthwise layers, groups and small layers, which would not gain, stay float.

    Args:
        model: a compiled model, or the path of a .bnn file.
        images: (N, ...) like the model's input, as it is given to ``model(x)``: a hundred or more, of all classes.
        y: the right classes, as for ``model.evaluate``: the accuracy before and after is then in the result.
        method: how a tensor's range is chosen from its values: "mse", the range with the least squared error;
            "minmax", from the least to the greatest; "percentile", without the 0.01% at either end.
        keep_float: names of layers that stay float.
        integer_only: every op computes with whole numbers alone: between two ops there are bytes, int16 or bits.  An
            input of floats becomes bytes first, and the outputs are the numbers of bytes, by a table.
        int16: with ``integer_only``, names of layers that add two values (shortcuts) whose sums are int16, with what
            leads to them, and no others; by default all, if that halves the noise of the outputs on the images and
            the outputs are above it.

    Raises:
        InputError: wrong images or classes, or a method or layer that does not exist.
        UnsupportedOpError: ``integer_only``, and an op would stay float; names its layer, the reason and what to do.
    """
    check_choice(method, "method", METHODS)
    check_flag(integer_only, "integer_only")
    opened = opened_model(model)
    arrays = opened.check_inputs(images, least=1, convert=True)
    _check_finite(arrays)
    before = None if y is None else opened.evaluate(images, y).accuracy
    graph = decode(opened.to_bytes())
    layers = [node for node in graph.schedule if node.op == "conv2d"]
    _check_names(keep_float, layers, integer_only)
    if int16 is not None:
        _check_list(int16, "int16")
        if not integer_only:
            raise InputError("int16: needs integer_only; without it, sums of two values stay float")
    if integer_only:
        made, found, shortcuts, tried = as_integers(graph, arrays, method, int16)
    else:
        made, found = as_int8(opened, graph, layers, keep_float, arrays, method)
        shortcuts, tried = (), None
    result = Model.from_bytes(encode(made), max_bytes=NO_LIMIT)
    accuracy = None if before is None else (before, result.evaluate(images, y).accuracy)
    same = _same_classes(opened, result, images)
    return Calibration(result, found, len(arrays[0]), same, accuracy, len(float_ops(made)), shortcuts, tried)


def _check_finite(arrays: Sequence[Inputs]) -> None:
    for array in arrays:
        finite = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        if not finite.all():
            raise InputError(
                f"images: found NaN or infinity in {int((~finite).sum())} of {len(array)}, first in number "
                f"{int(finite.argmin())} (from 0); expected finite numbers"
            )


def _check_names(keep_float: Sequence[str], layers: Sequence[Node], integer_only: bool) -> None:
    _check_list(keep_float, "keep_float")
    names = {node.name for node in layers}
    if unknown := [name for name in keep_float if name not in names]:
        known = ", ".join(sorted(names)) or "none"
        raise InputError(f"keep_float: found {unknown[0]!r}, expected float layers of this network: {known}")
    if keep_float and integer_only:
        raise InputError(f"keep_float: found {keep_float[0]!r}; with integer_only no layer stays float")


def _check_list(names: Sequence[str], what: str) -> None:
    named = isinstance(names, list | tuple)
    if not named or not all(isinstance(name, str) for name in names):
        wrong = next(name for name in names if not isinstance(name, str)) if named else names
        raise InputTypeError(f"{what}: found {shown(wrong)}, expected a list of layers' names")


def _same_classes(model: Model, result: Model, images: object) -> int | None:
    if len(model.output_shapes) != 1 or len(model.output_shapes[0]) != 1:
        return None
    first, second = (net.predict(images).argmax(axis=-1) for net in (model, result))
    return int((first == second).sum())
