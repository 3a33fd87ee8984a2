# SPDX-License-Identifier: Apache-2.0
"""The types of tensors that operators take and give."""

from __future__ import annotations

from collections.abc import Sequence

from ..common.limits import MOST_NODES
from .file import OPERATORS, Operator, TfliteNetwork
from .step import Step

_FLOATS, _BITS, _NUMBERS = ("FLOAT32",), ("INT32",), ("INT32", "INT64")
# Operands that are packed bits or whole numbers, and results that are bits, or may be; all others are floats.
_OPERANDS: dict[tuple[str, int], tuple[str, ...]] = {
    ("LceBconv2d", 0): _BITS, ("LceBconv2d", 1): _BITS, ("LceBconv2d", 4): _BITS, ("LceBMaxPool2d", 0): _BITS,
    ("LceDequantize", 0): _BITS, ("MEAN", 1): _NUMBERS, ("PAD", 1): _NUMBERS, ("PADV2", 1): _NUMBERS,
    ("RESHAPE", 1): _NUMBERS, ("SPLIT", 0): _NUMBERS, ("TRANSPOSE", 1): _NUMBERS,
}  # fmt: skip
_RESULTS = {"LceBconv2d": (*_FLOATS, *_BITS), "LceBMaxPool2d": _BITS, "LceQuantize": _BITS}
# How many operands an operator takes, at least and at most; any other takes one.  All but SPLIT have one result.
_COUNTS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("ADD", "DIV", "MAXIMUM", "MEAN", "MINIMUM", "MUL", "PAD", "PRELU"), (2, 2)),
    **dict.fromkeys(("SPLIT", "SUB", "TRANSPOSE"), (2, 2)),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), (2, 3)),
    "CONCATENATION": (1, MOST_NODES), "LceBconv2d": (5, 5), "PADV2": (3, 3), "RESHAPE": (1, 2),
}  # fmt: skip
_QUANTIZED = frozenset({"INT4", "INT8", "INT16", "UINT8", "UINT16"})


def check_types(network: TfliteNetwork, operators: Sequence[Operator]) -> None:
    """Refuse operators on other types, quantized ones in particular, or of another number of tensors than they take.
    Of unknown operators, only quantized tensors."""
    for operator in operators:
        if operator.op in OPERATORS:
            _check_counts(network, operator)
        given = [(i, _OPERANDS.get((operator.op, k), _FLOATS)) for k, i in enumerate(operator.inputs)]
        given += [(i, _RESULTS.get(operator.op, _FLOATS)) for i in operator.outputs]
        for i, types in given:
            if i is None or network.tensors[i].dtype in types:
                continue
            if operator.op in OPERATORS or network.tensors[i].dtype in _QUANTIZED:
                why = unsupported_type(network.tensors[i].dtype, types)
                raise Step(network, operator, {}).unsupported(f"'{network.tensors[i].name}' {why}", FLOATS)


def _check_counts(network: TfliteNetwork, operator: Operator) -> None:
    least, most = _COUNTS.get(operator.op, (1, 1))
    given = len(operator.inputs)
    results = len(operator.outputs)
    if not least <= given <= most or results > 1 and operator.op != "SPLIT":
        expected = least if least == most else f"{least} to {most:,}"
        raise Step(network, operator, {}).unsupported(
            f"{given} operands and {results} results; expected {expected}, and one"
        )


FLOATS = "convert the model to floats, without inference_input_type and experimental_default_int8_range"


def unsupported_type(dtype: str, expected: Sequence[str]) -> str:
    if dtype in _QUANTIZED:
        return f"is {dtype}: 8-bit quantized models are not supported"
    return f"is {dtype}; expected {' or '.join(expected)}"
