# SPDX-License-Identifier: Apache-2.0
"""SavedModels with one hostile op each, and what is common to the tests of hostile files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.framework import op_def_registry

from bnn.errors import CompileError

from .models import import_model

raw = tf.raw_ops
Case = Callable[[str, str], Any]  # of a file that must not be written, and of one that must not be read


def refused(path: Path, *words: str) -> None:
    with pytest.raises(CompileError) as error:
        import_model(path)
    for word in (str(path), *words):
        assert word in str(error.value), str(error.value)


class Plain(tf.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable([2.0, 3.0, 4.0])

    @tf.function(input_signature=[tf.TensorSpec([None, 3])])  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        return x * self.weight


def save_plain(folder: Path) -> Path:
    model = Plain()
    tf.saved_model.save(model, folder, signatures=model.__call__)
    return folder


def edit(folder: Path, change: Callable[[Any], object]) -> None:
    """Change a SavedModel's protocol buffer."""
    path = folder / "saved_model.pb"
    saved = SavedModel()
    saved.ParseFromString(path.read_bytes())
    change(saved)
    path.write_bytes(saved.SerializeToString())


def product(saved: Any) -> Any:
    """The function of a plain model that has the product."""
    library = saved.meta_graphs[0].graph_def.library
    return next(f for f in library.function if any(n.op == "Mul" for n in f.node_def))


def inject(folder: Path, op: str, case: Case, written: str, read: str) -> None:
    """Put ops into the function of a plain model: the product's constant operand is theirs, or it waits for them."""
    with tf.Graph().as_default() as graph:
        result = case(written, read)
    traced = graph.as_graph_def()
    nodes = {n.name: n for n in traced.node}
    last = next((n for n in traced.node if n.op == op), traced.node[-1])

    def renamed(text: str) -> str:
        if text.startswith("^"):
            return text
        name, _, index = text.partition(":")
        arguments = op_def_registry.get(nodes[name].op).output_arg
        lists = len(arguments) == 1
        return f"{name}:{arguments[0 if lists else int(index or 0)].name}:{int(index or 0) if lists else 0}"

    def change(saved: Any) -> None:
        function = product(saved)
        saved.meta_graphs[0].graph_def.library.function.extend(traced.library.function)
        for node in (last, *(n for n in traced.node if n is not last)):
            inputs = [renamed(text) for text in node.input]
            node = function.node_def.add(name=node.name, op=node.op, attr=dict(node.attr))
            node.input.extend(inputs)
        (mul,) = (n for n in function.node_def if n.op == "Mul")
        if isinstance(result, tf.Tensor) and result.dtype == tf.float32:
            mul.input[1] = renamed(result.name)
        else:
            mul.input.append(f"^{last.name}")

    edit(folder, change)


def function_of(body: Callable[..., Any], *specs: Any) -> Any:
    """A function for an attribute."""
    return tf.function(body).get_concrete_function(*specs)


def writing(path: str) -> Any:
    """A function of a number that writes a file."""

    def write(x: Any) -> Any:
        with tf.control_dependencies([raw.WriteFile(filename=path, contents="x")]):
            return tf.identity(x)

    return function_of(write, tf.TensorSpec([], tf.float32))
