# SPDX-License-Identifier: Apache-2.0
"""Edits of a .tflite file: of the network that is written, then of the words and bytes of the file."""

from __future__ import annotations

import contextlib
import copy
import struct
from typing import Any

import numpy as np

from .recipe import MOST_EDITS, Recipe, damaged

DTYPES = ("FLOAT32", "INT32", "INT8", "UINT8", "INT64", "FLOAT16", "BOOL", "STRING", "INT16", "COMPLEX64", "INT4")
SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 16, 32, 33, 64, 255, 4096, 65536, 2**20, 2**31 - 1, -1, -2, -(2**31))
SCALES = (0.5, 1 / 256, 1 / 128, 1e-30, 1e-45, 1e30, 3e38, float("inf"), float("nan"), 0.0, -1.0)
ZERO_POINTS = (0, -128, 127, 128, 255, -129, 2**40)
NAMES = ("", "x", "\x1b[31m", "\u202e", "y" * 300, "../written", "x:0")
OPERATORS = (
    "ADD", "MUL", "SUB", "DIV", "PRELU", "RELU", "RELU6", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED",
    "MAX_POOL_2D", "AVERAGE_POOL_2D", "RESHAPE", "CONCATENATION", "SPLIT", "MEAN", "PAD", "PADV2", "TRANSPOSE",
    "SOFTMAX", "LOGISTIC", "LEAKY_RELU", "TANH", "HARD_SWISH", "QUANTIZE", "DEQUANTIZE", "STRIDED_SLICE", "MAXIMUM",
    "IF", "WHILE", "CALL_ONCE", "READ_VARIABLE", "LceQuantize",
    "LceDequantize", "LceBconv2d", "LceBMaxPool2d", "FlexWriteFile", "",
)  # fmt: skip


def edited(net: Any, recipe: Recipe) -> bytes:
    """The file of a network (importers.tflite.build.Net) after the edits of the recipe; the network stays as it is."""
    bytes_alone, bytes_too = recipe.number(4) == 3, recipe.number(3) == 2
    changed, outputs = copy.deepcopy(net), list(net.outputs)
    for _ in range(0 if bytes_alone else MOST_EDITS):
        if not recipe:
            break
        # The network has nothing of the kind.
        with contextlib.suppress(IndexError, KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError):
            _edit(changed, outputs, recipe)
    try:
        file = changed.to_bytes(*outputs)
    except (AttributeError, TypeError, ValueError, OverflowError, IndexError, struct.error, AssertionError):
        file = net.to_bytes(*net.outputs)  # flatbuffers writes no such file
    return damaged(file, recipe) if bytes_alone or bytes_too else file


def _edit(net: Any, outputs: list[int], recipe: Recipe) -> None:
    kind = recipe.number(14)
    tensor, operator = recipe.pick(net.tensors), recipe.pick(net.operators)
    if kind in (0, 1):
        shape = list(tensor["shape"])
        shape[recipe.number(len(shape))] = recipe.pick(SIZES)
        tensor["shape"] = tuple(shape) if kind else (*shape, recipe.pick(SIZES))
    elif kind > 11:
        count = recipe.pick((1, 1, 1, recipe.number(9)))
        scales, zeros = ([recipe.pick(of) for _ in range(count)] for of in (SCALES, ZERO_POINTS))
        tensor["scale"] = (scales, zeros, recipe.pick((0, 3, *SIZES[:6], -1)))
    elif kind == 2:
        tensor["dtype"] = recipe.pick(DTYPES)
    elif kind == 3:
        tensor["value"] = (
            recipe.pick(net.tensors)["value"] if recipe.number(2) else np.zeros(recipe.number(9), np.int32)
        )
    elif kind == 4:
        tensor["name"] = recipe.pick(NAMES)
    elif kind == 5:
        tensor.update(
            recipe.pick(({"buffer": recipe.number(20)}, {"signature": [recipe.pick(SIZES)] * recipe.number(4)}))
        )
    elif kind == 6:
        place = recipe.pick((operator["inputs"], operator["outputs"], net.inputs, outputs))
        number = recipe.number(len(net.tensors) + 2) - 1
        if recipe.number(3):
            place[recipe.number(len(place))] = number
        else:
            place.insert(recipe.number(len(place) + 1), number)
    elif kind == 7:
        operator["op"] = recipe.pick(OPERATORS)
    elif kind == 8:
        options = operator["options"]
        options[recipe.pick(sorted(options))] = recipe.pick(SIZES[:17])
    elif kind == 9:
        other = recipe.pick(net.operators)
        operator.update({key: other[key] for key in ("custom", "table", "options", "op") if key in other})
    elif kind == 10:
        if operator.get("custom"):
            operator["custom"] = damaged(operator["custom"], recipe)
        else:
            operator["code"] = recipe.number(20)
    else:
        net.operators.insert(recipe.number(len(net.operators)), copy.deepcopy(operator))
