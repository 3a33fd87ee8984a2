# SPDX-License-Identifier: Apache-2.0
"""The kinds of files that are read, and what to do with others that hold models."""

from __future__ import annotations

import os
from contextlib import suppress

from ...errors import CompileError

READ = "a .keras, .h5, .onnx or .tflite file or a SavedModel folder"
MODULE = (
    "give the PyTorch module itself, with its weights loaded, and an example of its input: bnn.compile(module, example)"
)
_HDF5 = b"\x89HDF"  # Keras reads such a file whatever its name
_COMPILED = f"is a compiled network; give the model that was trained: {READ}"
_EXPORT = "or export it: torch.onnx.export(module, example, 'net.onnx')"
_WEIGHTS = f"holds the weights of a PyTorch model; {MODULE}; {_EXPORT}"
_INSTEAD = {
    ".bnn": _COMPILED, ".snn": _COMPILED,
    ".pt": _WEIGHTS, ".pth": _WEIGHTS,
    ".safetensors": "holds weights without a model; load them into the PyTorch module with "
                    "safetensors.torch.load_model(module, path), and give it with an example of its input: "
                    "bnn.compile(module, example)",
    ".ckpt": f"holds weights without a model; load them into the model and give that; for one of PyTorch, {MODULE}",
    ".json": "describes a model without its weights; load both in Keras, and save them with model.save('net.keras')",
    ".pb": "is a graph without its weights; give the SavedModel folder that it is part of, or make one with "
           "model.export(folder)",
    ".nir": "is a network of spiking neurons; compile it with bnn snn compile NET.nir --simulator SIMULATOR",
}  # fmt: skip


def check_kind(path: str | os.PathLike[str]) -> None:
    """Raise CompileError for a file whose name says that it is no model that is read, and for a folder that is no
    SavedModel; says what to do.  Opens no framework, and need not find the file."""
    name = os.fsdecode(path)
    if os.path.isdir(name) and not name.lower().endswith((".onnx", ".tflite")):  # whose readers say more
        if not os.path.exists(os.path.join(name, "saved_model.pb")):
            hint = "model.export(folder) makes one"
            raise CompileError(f"{name}: a folder without saved_model.pb is not a SavedModel; expected {READ}; {hint}")
        return
    instead = _INSTEAD.get(os.path.splitext(name)[1].lower())
    if instead and not (os.path.isfile(name) and instead != _INSTEAD[".nir"] and begins_with(name, _HDF5)):
        raise CompileError(f"{name}: {instead}")


def check_there(path: str | os.PathLike[str], expected: str, folder: bool = False) -> None:
    """Raise CompileError if there is no regular file; ``folder``: a folder will do."""
    if not os.path.exists(path):
        raise CompileError(f"{os.fspath(path)}: no such file{' or folder' * folder}; expected {expected}")
    if not os.path.isfile(path) and not (folder and os.path.isdir(path)):
        raise CompileError(f"{os.fspath(path)}: not a regular file; expected {expected}")


def begins_with(path: str | os.PathLike[str], *signatures: bytes) -> bool:
    with suppress(OSError), open(path, "rb") as file:  # what reads the file says why it cannot
        return file.read(4) in signatures
    return False
