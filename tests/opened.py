# SPDX-License-Identifier: Apache-2.0
"""A model opened through the C functions."""

from __future__ import annotations

from typing import Any

from bnn._native import ffi, lib
from bnn.runtime import Model, handles
from raw_model import F32, INPUT, OUTPUT, Net, Op, Tensor, aligned, buffer

NULL = ffi.NULL
KERNELS = lib.bnn_kernels_select(NULL)


class Opened:
    """A model opened through the C functions, with everything that must outlive it."""

    def __init__(self, data: bytes) -> None:
        self.data, self.file = data, buffer(data)
        size, model = ffi.new("size_t *"), ffi.new("bnn_model **")
        assert lib.bnn_model_size(self.file, len(data), KERNELS, size, NULL) == lib.BNN_OK
        self.size = size[0]
        self.memory = aligned(self.size)
        assert lib.bnn_model_open(self.file, len(data), KERNELS, self.memory, self.size, model, NULL) == lib.BNN_OK
        self.model = model[0]
        self.kept: list[Any] = []

    def context(self, images: int = 2, workers: int = 1, stepping: bool = True) -> Any:
        size, context = ffi.new("size_t *"), ffi.new("bnn_context **")
        size_of = lib.bnn_stepping_size if stepping else lib.bnn_context_size
        assert size_of(self.model, images, workers, size) == lib.BNN_OK
        self.kept.append(aligned(size[0]))
        assert lib.bnn_context_create(self.model, images, workers, self.kept[-1], size[0], context) == lib.BNN_OK
        return context[0]


def again(model: Model) -> handles.Opened:
    """A model's file, opened once more."""
    contents = handles.Contents.of_bytes(model.to_bytes(), handles.BNN)
    return handles.Opened(contents, handles.select_kernels(model.kernels), handles.NO_LIMIT, handles.NO_LIMIT)


def context_of(model: Model, images: int, workers: int = 1, stepping: bool = False) -> handles.Context:
    return handles.Context(again(model), images, workers, stepping)


def no_arena() -> bytes:
    """An input and an output and nothing between."""
    return Net([Op("copy", [Tensor(F32, (1,), INPUT)], Tensor(F32, (1,), OUTPUT))]).bytes()
