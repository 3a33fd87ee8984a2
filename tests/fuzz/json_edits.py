# SPDX-License-Identifier: Apache-2.0
"""Edits of a JSON value, such as the configuration of a Keras model."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

from .recipe import MOST_EDITS, Recipe, damaged

NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    255,
    65536,
    2**31,
    2**63,
    -(2**63),
    10**30,
    0.0,
    -0.5,
    1e-30,
    1e38,
    1e308,
    True,
    False,
    None,
)
# Objects that a file may name: those that Keras knows, and those that would do harm.
NAMES = (
    "relu", "Dense", "Lambda", "function", "exec", "eval", "open", "__import__", "system", "Popen", "load_model",
    "get_file", "func_load", "deserialize", "get", "schedules.deserialize", "TFSMLayer", "TFOpLambda",
    "SlicingOpLambda", "TensorFlowOpLayer", "ModuleWrapper", "StringLookup", "Functional", "Sequential",
    "__lambda__", "GlorotUniform", "MeanSquaredError", "Adam", "L2", "MaxNorm", "LearningRateScheduler",
    "Custom>relu", "Larq>SteSign", "ste_sign", "io.write_file", "io.read_file", "math.abs", "fill", "py_function",
    "Path.touch", "abspath", "_CONSTANT_VALUE",
)  # fmt: skip
MODULES = (
    "builtins", "os", "subprocess", "keras.layers", "keras.activations", "keras.utils", "keras.src.saving", "keras",
    "tf_keras.src.saving.legacy.serialization", "tf_keras.src.utils.generic_utils", "tf_keras.optimizers", "tensorflow",
    "tensorflow.io", "larq.layers", "larq.quantizers", "pathlib", "this", "antigravity", "", None,
)  # fmt: skip
TEXTS = (
    "", "lambda", "function", "x" * 300, "\x1b[31m", "\u202e", "../written", "written", "/etc/passwd", "float16",
    "float64", "int8", "string", "channels_first", "same", "valid", "open('written', 'w')",
    "4wEAAAAAAAAAAAAAAAMAAADzCAAAAGkAUwA=",
)  # fmt: skip
# The keys of a layer's entry.
KEYS = (
    "class_name", "config", "module", "registered_name", "name", "build_config", "inbound_nodes", "layers", "function",
    "function_type", "output_shape_type", "mask_type", "vocabulary", "dtype", "batch_input_shape", "batch_shape",
    "shape", "activation", "kernel_initializer", "units", "filters", "kernel_size", "strides", "axis", "args",
    "kwargs", "value", "keras_version", "shared_object_id", "arguments", "trainable",
)  # fmt: skip
# Stands for a list in a list in a list ..., which cannot be made otherwise.
DEEP = "a deep list"
MOST_PLACES = 5000


def dumped(value: Any, recipe: Recipe) -> bytes:
    """The text of the value, now and then with bytes changed."""
    text = json.dumps(value, ensure_ascii=False).replace(f'"{DEEP}"', "[" * 20_000 + "]" * 20_000).encode()
    return damaged(text, recipe) if recipe.number(16) == 15 else text


def edited(value: Any, recipe: Recipe, donors: Sequence[Any]) -> Any:
    """The value after the edits of the recipe; ``donors``: values that parts are copied from.  None of them changes."""
    root = [copy.deepcopy(value)]
    for _ in range(MOST_EDITS):
        if not recipe:
            break
        _edit(root, recipe, donors)
    return root[0]


def places(root: Any) -> list[tuple[Any, Any]]:
    """(dict or list, key) of the values below; of very many, some."""
    found: list[tuple[Any, Any]] = []
    waiting = [root]
    while waiting and len(found) < MOST_PLACES:
        value = waiting.pop()
        keys = list(value) if isinstance(value, dict) else range(len(value))
        found += [(value, key) for key in keys[:MOST_PLACES]]
        waiting += [value[key] for key in keys[:MOST_PLACES] if isinstance(value[key], (dict, list))]
    return found


def _edit(root: list[Any], recipe: Recipe, donors: Sequence[Any]) -> None:
    inside, key = recipe.pick(places(root))
    value = copy.deepcopy(inside[key])  # nothing may contain itself
    kind = recipe.number(12)
    if kind == 0 and inside is not root:
        del inside[key]
    elif kind == 1:
        inside[key] = recipe.pick(NUMBERS)
    elif kind == 2:
        inside[key] = recipe.pick(recipe.pick((NAMES, MODULES, TEXTS)))
    elif kind == 3 and isinstance(value, (int, float)):
        inside[key] = value + recipe.number(9) - 4
    elif kind in (3, 4):
        inside[key] = _entry(recipe, value)
    elif kind == 5:
        source, there = recipe.pick(places([recipe.pick(donors)]))
        inside[key] = copy.deepcopy(source[there])
    elif kind == 6:
        source, there = recipe.pick(places(root))
        inside[key] = copy.deepcopy(source[there])
    elif kind == 7:
        inside[key] = [value] * recipe.number(5)
    elif kind == 8 and isinstance(inside, dict):
        inside[recipe.pick(KEYS)] = value
    elif kind == 9 and isinstance(value, dict):
        inside[key][recipe.pick(KEYS)] = recipe.pick(recipe.pick((NAMES, MODULES, TEXTS, NUMBERS)))
    elif kind == 10 and isinstance(value, list):
        inside[key].insert(recipe.number(len(value) + 1), _entry(recipe, value))
    elif kind == 11 and recipe.number(64) == 63:
        inside[key] = _large(recipe)
    else:
        inside[key] = {recipe.pick(KEYS): value}


def _entry(recipe: Recipe, inner: Any) -> Any:
    """An entry of a function, a class, a call of an op, a dtype or a tensor."""
    name, module = recipe.pick(NAMES), recipe.pick(MODULES)
    registered = (None, name, recipe.pick(NAMES))[recipe.number(3)]
    kind = recipe.number(7)
    if kind == 0:
        return {"class_name": "function", "config": name, "module": module, "registered_name": registered}
    if kind == 1:
        return {"class_name": name, "config": inner, "module": module, "registered_name": registered}
    if kind == 2:
        options = {"function": name, "function_type": recipe.pick(TEXTS), "arguments": inner, "name": "l"}
        return {"class_name": "Lambda", "config": options, "module": module}
    if kind == 3:
        call = [recipe.pick(NAMES), recipe.number(3) - 1, recipe.number(3), {"y": inner}]
        return {"class_name": "TFOpLambda", "config": {"function": name, "name": "t"}, "inbound_nodes": [call]}
    if kind == 4:
        return {"class_name": "__tensor__", "config": {"value": inner, "dtype": recipe.pick(TEXTS)}}
    if kind == 5:
        history = [recipe.pick(NAMES), recipe.number(3), recipe.number(3)]
        options = {"shape": [1, 2], "dtype": "float32", "keras_history": history}
        return {"class_name": "__keras_tensor__", "config": options}
    return {"class_name": name, "config": {"name": recipe.pick(TEXTS)}}


def _large(recipe: Recipe) -> Any:
    """Values whose readers may need much memory, time or depth."""
    kind = recipe.number(5)
    if kind == 0:
        return [{}] * 30_000
    if kind == 1:
        return "x" * 100_000
    if kind == 2:
        return {str(i): i for i in range(5_000)}
    if kind == 3:
        return [recipe.number(256)] * 30_000
    return DEEP
