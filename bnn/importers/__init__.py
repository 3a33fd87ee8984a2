# SPDX-License-Identifier: Apache-2.0
"""Readers of trained models: each opens its input as a :class:`SourceModel`.  Uses the IR, but no pass.

A new importer is a folder here with such a class, and a line in :func:`open_source`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Any

from .._arguments import check_flag
from ..errors import CompileError, InputError, InputTypeError
from .common.kinds import MODULE, check_kind
from .common.source import SourceModel


def is_module(model: Any) -> bool:
    """Whether a model is a PyTorch module, which is opened with an example of its input."""
    from .onnx.torch import is_module

    return is_module(model)


def open_source(
    model: Any,
    *,
    example: Any = None,
    unsafe: bool = False,
    input_shape: Sequence[int] | None = None,
    zero: int = 0,
) -> SourceModel:
    """Open a model in memory, or its path, with the importer for its kind; arguments as for ``bnn.compile``."""
    from .onnx.load import is_onnx, open_onnx
    from .onnx.torch import export, export_program, is_program

    check_flag(unsafe, "unsafe")
    if isinstance(model, type):
        raise InputTypeError(f"model: found the class {model.__name__}, expected a model: {model.__name__}(...)")
    if type(model).__module__.partition(".")[0] == "bnn" and type(model).__name__ in ("Model", "SpikingModel"):
        raise InputTypeError(f"model: found {model!r}, which is compiled; expected the model that was trained")
    if isinstance(model, (str, os.PathLike)):
        _check_path(model)
        check_kind(model)
    if not isinstance(zero, int) or zero not in (-1, 0, 1):
        raise InputError(f"zero: found {zero!r}, expected -1, 0 or 1: what Sign gives for zero")
    if is_module(model):
        if input_shape is not None:
            raise InputError("input_shape: a PyTorch module takes the shape of its example; leave input_shape out")
        return open_onnx(export(model, example), zero)
    if example is not None:
        raise InputError(f"example: only a PyTorch module needs one, and the model is a {type(model).__name__}")
    if is_program(model):
        return open_onnx(export_program(model, unsafe), zero, input_shape)
    if is_onnx(model):
        return open_onnx(model, zero, input_shape)
    if _is_of_torch(model):
        raise InputError(f"found a {type(model).__name__}; {MODULE}")
    if zero:
        raise InputError("zero: only models of ONNX and PyTorch have a Sign that is 0 at 0 by definition; leave it out")
    if is_tflite(model):
        from .tflite.model import TfliteModel

        return TfliteModel(model, unsafe=unsafe, input_shape=input_shape)
    from .tensorflow.load import TensorFlowModel, freeze

    return TensorFlowModel(freeze(model, unsafe=unsafe, input_shape=input_shape))


def _check_path(path: str | os.PathLike[str]) -> None:
    """Raise CompileError if nothing can be found there, whatever is: a name that is too long, a loop of links."""
    try:
        os.stat(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):  # what reads the file says what it expected
            raise CompileError(f"{os.fspath(path)}: cannot be opened: {error.strerror}") from None
    except ValueError as error:
        raise CompileError(f"{os.fspath(path)}: no file has this name: {error}") from None


def _is_of_torch(model: Any) -> bool:
    """Whether it is something of PyTorch that is no module: weights, an exported program."""
    return isinstance(model, dict) or type(model).__module__.partition(".")[0] == "torch"


def is_tflite(model: Any) -> bool:
    """Whether it is the path of a .tflite file, which needs no TensorFlow."""
    return isinstance(model, (str, os.PathLike)) and os.fsdecode(model).lower().endswith(".tflite")


def round_plainly() -> None:
    """Make every framework that is not imported yet round each operation separately, as ``verify`` expects."""
    from .tensorflow.load import without_onednn

    without_onednn()
