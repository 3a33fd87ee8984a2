# SPDX-License-Identifier: Apache-2.0
"""Weights of an ONNX model that are in files beside it: how much is read is counted first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import CompileError
from ..common.limits import MOST_BYTES, MOST_CONSTANTS

_MOST_SHARED = 2**26  # bytes that may be read more than once


def load_weights(onnx: Any, model: Any, folder: Path) -> None:
    """Read what the model keeps in other files of its folder.

    Raises:
        CompileError: a tensor that is too large, tensors that name the same bytes over and over, a file that is not in
            the folder, or whatever onnx says.
    """
    from onnx import external_data_helper

    outside = [t for t in _tensors(onnx, model) if t.data_location == onnx.TensorProto.EXTERNAL]
    files: dict[Path, int] = {}
    total = 0
    for tensor in outside:
        given = {entry.key: entry.value for entry in tensor.external_data}
        location = given.get("location", "")
        path = folder / location
        if Path(location).is_absolute() or ".." in Path(location).parts:
            raise CompileError(f"the constant '{tensor.name}' is in {location}, which is not beside the model")
        if path not in files:
            if not path.is_file():
                raise CompileError(f"the constant '{tensor.name}' is in {path}, which is not a file")
            files[path] = path.stat().st_size
        size = _size(tensor, given, files[path])
        if size > MOST_BYTES:
            raise CompileError(f"the constant '{tensor.name}' is {size:,} bytes; at most {MOST_BYTES:,} are read")
        total += size
    if total > min(sum(files.values()) + _MOST_SHARED, MOST_CONSTANTS):
        raise CompileError(
            f"its constants are {total:,} bytes of files that have {sum(files.values()):,}; at most {MOST_CONSTANTS:,} "
            "are read, and none over and over"
        )
    for tensor in outside:
        external_data_helper.load_external_data_for_tensor(tensor, str(folder))


def _size(tensor: Any, given: dict[str, str], length: int) -> int:
    """The bytes that a tensor takes of its file."""
    try:
        begin = int(given.get("offset") or 0)
        size = int(given.get("length") or length - begin)
    except ValueError:
        raise CompileError(f"the constant '{tensor.name}' has an offset or a length that is no number") from None
    if begin < 0 or size < 0 or begin + size > length:
        raise CompileError(
            f"the constant '{tensor.name}' is bytes {begin:,} to {begin + size:,} of a file of {length:,}"
        )
    return size


def _tensors(onnx: Any, model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for nodes in (model.graph.node, *(f.node for f in model.functions)):
        for node in nodes:
            for a in node.attribute:
                if a.type == onnx.AttributeProto.TENSOR:
                    yield a.t
                yield from a.tensors
