# SPDX-License-Identifier: Apache-2.0
"""The types of tensors that operators take and give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..common.limits import MOST_NODES
from .evaluate import MOVES
from .file import OPERATORS, Operator, TfliteNetwork
from .integers import INTEGERS
from .step import BYTES, Step

_FLOATS, _BITS, _NUMBERS, _INT8 = ("FLOAT32",), ("INT32",), ("INT32", "INT64"), ("INT8",)
# Operands that are packed bits or whole numbers, and results that are bits, or may be; all others are floats.
_OPERANDS: dict[tuple[str, int], tuple[str, ...]] = {
    ("LceBconv2d", 0): _BITS, ("LceBconv2d", 1): _BITS, ("LceBconv2d", 4): _BITS, ("LceBMaxPool2d", 0): _BITS,
    ("LceDequantize", 0): _BITS, ("MEAN", 1): _NUMBERS, ("PAD", 1): _NUMBERS, ("PADV2", 1): _NUMBERS,
    ("RESHAPE", 1): _NUMBERS, ("SPLIT", 0): _NUMBERS, ("TRANSPOSE", 1): _NUMBERS,
    **{("STRIDED_SLICE", k): _NUMBERS for k in (1, 2, 3)},
    ("DEQUANTIZE", 0): BYTES, ("QUANTIZE", 0): (*_FLOATS, *BYTES),
}  # fmt: skip
_RESULTS = {"LceBconv2d": (*_FLOATS, *_BITS), "LceBMaxPool2d": _BITS, "LceQuantize": _BITS, "QUANTIZE": BYTES}
# Where an operator's data have 8 bits, all that would be floats has; but biases, and results of these.
_BIASED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_OF_BYTES = {"DEQUANTIZE": _FLOATS, "LceQuantize": _BITS, "QUANTIZE": BYTES}
INTEGER = INTEGERS.keys() | MOVES
"""Operators that are read with data of 8 bits."""
# How many operands an operator takes, at least and at most; any other takes one.  All but SPLIT have one result.
_COUNTS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("ADD", "DIV", "MAXIMUM", "MEAN", "MINIMUM", "MUL", "PAD", "PRELU"), (2, 2)),
    **dict.fromkeys(("SPLIT", "SUB", "TRANSPOSE"), (2, 2)),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), (2, 3)),
    "CONCATENATION": (1, MOST_NODES), "LceBconv2d": (5, 5), "PADV2": (3, 3), "RESHAPE": (1, 2), "STRIDED_SLICE": (4, 4),
}  # fmt: skip
_QUANTIZED = frozenset({"INT4", "INT8", "INT16", "UINT8", "UINT16"})


def check_types(network: TfliteNetwork, operators: Sequence[Operator]) -> None:
    """Refuse operators on other types, or of another number of tensors than they take.  Of unknown operators, only
    quantized tensors."""
    for operator in operators:
        if operator.op in OPERATORS:
            _check_counts(network, operator)
        for i, types in _expected(Step(network, operator, {})):
            if i is None or network.tensors[i].dtype in types:
                continue
            if operator.op in OPERATORS or network.tensors[i].dtype in _QUANTIZED:
                why = unsupported_type(network.tensors[i].dtype, types)
                raise Step(network, operator, {}).unsupported(f"'{network.tensors[i].name}' {why}", remedy(types))


def _expected(s: Step) -> Iterator[tuple[int | None, tuple[str, ...]]]:
    """The operator's tensors, and the types that each may have."""
    plain = _INT8 if s.integer and s.op in INTEGER else _FLOATS
    for k, i in enumerate(s.operator.inputs):
        bias = plain is _INT8 and k == 2 and s.op in _BIASED
        known = _OPERANDS.get((s.op, k))
        yield i, _BITS if bias else known or plain
    for i in s.operator.outputs:
        yield i, _OF_BYTES.get(s.op, plain) if plain is _INT8 else _RESULTS.get(s.op, plain)


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
WHOLE = "convert the model with 8-bit integers throughout (representative_dataset, TFLITE_BUILTINS_INT8), or to floats"


def remedy(expected: Sequence[str]) -> str:
    return WHOLE if "INT8" in expected else FLOATS


def unsupported_type(dtype: str, expected: Sequence[str]) -> str:
    return f"is {dtype}; expected {' or '.join(expected)}"
