# SPDX-License-Identifier: Apache-2.0
"""The calls of layers in the configuration of a Keras file: what Keras would compute, or wait for, while it loads them.

A call of Keras 2 is a list, [layer, call, number] or [layer, call, number, options] for each operand; of Keras 3 a dict
of "args" and "kwargs", whose tensors are entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

from .allowed import FUNCTIONS
from .keras_objects import VALUES

_Call = tuple[str, int]


def is_op(entry: dict[str, Any]) -> bool:
    """Whether an entry calls a function of TensorFlow."""
    return entry.get("class_name") in ("SlicingOpLambda", "TFOpLambda")


def called(entry: dict[str, Any]) -> str | None:
    """The call that would be computed while loading: of a function that is not on the list, or without a tensor."""
    calls = entry.get("inbound_nodes", [])
    calls = calls if isinstance(calls, list) else [calls]
    inner = entry.get("config")
    options = inner if isinstance(inner, dict) else {}
    if is_op(entry):
        symbol = str(options.get("function"))
        what = f"a call of the TensorFlow function {symbol}"
        if symbol not in FUNCTIONS:
            return f"{what}, which would run while loading"
    else:
        what = f"a call of the layer {options.get('name')}"
        if any(map(_has_text, calls)):
            return f"{what} with a text; layers are called with tensors and numbers"
    if not all(map(_takes_tensor, calls)):
        return f"{what} on constants only, which would run while loading"
    return None


def _inner(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _takes_tensor(call: Any) -> bool:
    """Whether an argument is a layer's result, [layer, call, number] or [layer, call, number, options], or of Keras 3
    a "__keras_tensor__": it is not known before the network runs."""
    if any(type(number) is int for _, number in _operands(call)):
        return True
    waiting = [call]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            return True
        waiting += _inner(value)
    return False


def _has_text(call: Any) -> bool:
    """Whether a constant argument has a text in it: ["_CONSTANT_VALUE", -1, value, options], or of Keras 3 {"args"}."""
    constants, waiting = [], [call]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list) and value[:1] == ["_CONSTANT_VALUE"]:
            constants += value[2:3]
        elif isinstance(value, dict) and "args" in value:
            constants.append(value["args"])
        else:
            waiting += _inner(value)
    while constants:
        value = constants.pop()
        if isinstance(value, str):
            return True
        name = value.get("class_name") if isinstance(value, dict) else None
        if not (isinstance(name, str) and name in VALUES):
            constants += _inner(value)
    return False


def endless(options: dict[str, Any]) -> str | None:
    """What Keras 2 would wait for without end, in the options of a functional model: a layer's call that never comes to
    be, because it is not there or depends on itself."""
    layers = options.get("layers")
    if not isinstance(layers, list) or "input_layers" not in options:
        return None
    known = [layer for layer in layers if isinstance(layer, dict) and isinstance(layer.get("name"), str)]
    calls = {layer["name"]: layer["inbound_nodes"] for layer in known if isinstance(layer.get("inbound_nodes"), list)}
    if len(calls) < len(layers):
        return "has a layer without a name or calls of its own, or two of one name, which Keras does not write"
    first = {layer["name"]: _first_call(layer) for layer in known}
    needs: dict[_Call, list[_Call]] = {}
    for name, own in calls.items():
        for i, call in enumerate(own):
            needs[name, i] = [(name, i - 1)] if i else []
            for n, k in _operands(call):
                if type(k) is not int:
                    return f"needs call {k!r} of the layer '{n}', which is not the number of one"
                if (begin := first.get(n)) is not None:
                    newer = isinstance(call, dict) and "args" in call  # Keras 3 counts from 0 in each model
                    needs[name, i].append((n, k if newer else k - begin))
    missing = next(((n, k) for operands in needs.values() for n, k in operands if (n, k) not in needs), None)
    if missing is not None:
        return f"needs call {missing[1]} of the layer '{missing[0]}', which has {len(calls[missing[0]])}"
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return f"has a layer that depends on its own result: '{error.args[1][0][0]}'"
    return None


def _first_call(layer: dict[str, Any]) -> int | None:
    """The number of a layer's first call: a model has one of its own before that; None: an input, which needs none."""
    if layer.get("class_name") == "InputLayer":
        return None
    config = layer.get("config")
    inner = config.get("layers") if isinstance(config, dict) else None
    if not isinstance(inner, list):
        return 0
    begins = not inner or isinstance(inner[0], dict) and inner[0].get("class_name") == "InputLayer"
    return int(begins or layer.get("class_name") != "Sequential")


def _operands(call: Any) -> Iterator[tuple[str, Any]]:
    """(layer, number of its call, or what stands there) of every list that Keras 2 takes for a result of a layer."""
    waiting = [call]
    while waiting:
        value = waiting.pop()
        result = isinstance(value, list) and len(value) in (3, 4) and isinstance(value[0], str)
        if result and value[0] != "_CONSTANT_VALUE":
            yield value[0], value[1]
            waiting += value[3:]
        else:
            waiting += _inner(value)
