# SPDX-License-Identifier: Apache-2.0
"""What the tests of the importer share: models with random weights, and the comparison with Keras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf

from bnn._types import Array
from bnn.importers import open_source
from bnn.importers.tensorflow.frozen import Frozen, TfNode, from_graph
from bnn.importers.tensorflow.load import TensorFlowModel, freeze, freeze_nodes
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph
from bnn.passes import lower

BATCH = 4
SEED = 20

needs_keras3 = pytest.mark.skipif(
    not keras3.__version__.startswith("3"), reason="the package keras is Keras 2, that of TensorFlow 2.15"
)


def scramble(model: Any) -> Any:
    """Random weights, batch norms with negative and zero gammas included."""
    rng = np.random.default_rng(SEED)
    values = []
    for weight in model.weights:
        name = getattr(weight, "path", weight.name)
        shape = tuple(weight.shape)
        if "variance" in name:
            value = rng.uniform(0.3, 2, shape)
        elif "gamma" in name:
            value = rng.choice([-1.5, -0.5, 0.0, 0.75, 1.25], shape)
        else:
            value = rng.normal(0, 0.5, shape)
        values.append(value.astype(np.float32))
    model.set_weights(values)
    return model


def import_model(model: Any, *, input_dtype: Any = None, **options: Any) -> Graph:
    """The SOURCE graph of a model, of a path, or of what ``freeze`` gave."""
    return open_source(model, **options).graph(input_dtype)


def frozen(function: Callable[[Any], Any], shape: tuple[int, ...]) -> Frozen:
    """The graph of a function of images of a shape, built without Keras; its results are the outputs."""
    return drawn(function, shape, "float32")[0]


def drawn(function: Callable[[Any], Any], shape: tuple[int, ...], dtype: str) -> tuple[Frozen, Callable[[Any], Any]]:
    """The same for images of another type, and what executes TensorFlow's own graph, as it is."""
    with tf.Graph().as_default() as made:
        x = tf.compat.v1.placeholder(dtype, (None, *shape), "x")
        results = tf.nest.flatten(function(x))
    nodes, outputs = from_graph(tf, made.as_graph_def()), [(t.op.name, t.value_index) for t in results]

    def execute(images: Array) -> Any:
        options = tf.compat.v1.ConfigProto()
        options.graph_options.rewrite_options.disable_meta_optimizer = True
        with tf.compat.v1.Session(graph=made, config=options) as session:
            return session.run(results, {x: images})

    return freeze_nodes(tf, nodes, ["x"], outputs, [""] * len(outputs), False, None), execute


def hand_made(
    *nodes: TfNode, last: str = "", dtype: str = "float32", shape: Any = (5,), labels: Sequence[str] = ("x",)
) -> Frozen:
    """A graph of these inputs and nodes.  Constants and casts are executed; any other node returns its operand."""

    def run(node: TfNode, operands: Any) -> list[Any]:
        if node.op == "Const":
            return [node.attrs["value"]]
        return [np.asarray(operands[2 if node.op == "Conv2DBackpropInput" else 0], node.attrs.get("DstT"))]

    taken = {"dtype": dtype, "shape": [-1, *shape]}
    inputs = [TfNode("Placeholder", label, (), dict(taken)) for label in labels]
    outputs = [(last or (nodes[-1].name if nodes else labels[0]), 0)]
    return Frozen([*inputs, *nodes], [*labels], [*labels], outputs, ["y"], run, lambda *_: np.zeros(0))


def images(graph: Graph) -> list[Array]:
    """Multiples of 1/16 for every input."""
    rng = np.random.default_rng(SEED)
    return [(rng.integers(-16, 17, (BATCH, *n.type.shape)) / 16).astype(np.float32) for n in graph.inputs]


def close(found: Array, expected: Array, what: str) -> None:
    assert found.shape == expected.shape, what
    scale = float(np.abs(expected).max()) or 1.0
    worst = float(np.abs(found - expected).max()) / scale
    assert worst < 1e-5, f"{what}: differs by {worst:.2g} of the largest value"


def check(model: Any, *, call: Any = None, **options: Any) -> Graph:
    """Import and lower a model and compare everything with Keras; gives the RUNTIME graph.

    ``call``: the Keras model, where ``model`` is a path.
    """
    frozen = freeze(model, **options)
    source = import_model(frozen)
    lowered = lower(source)
    inputs = images(source)
    keras_model = model if call is None else call
    keras_outputs = tf.nest.flatten(keras_model(inputs[0] if len(inputs) == 1 else inputs, training=False))
    expected = [np.asarray(v) for v in keras_outputs]
    for level, graph in (("source", source), ("lowered", lowered)):
        found = interpret.outputs(graph, inputs)
        assert len(found) == len(expected)
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            close(a, b, f"{level} output {i}")
    compare_values(lowered, frozen, inputs)
    return lowered


def compare_values(graph: Graph, frozen: Frozen, inputs: list[Array]) -> None:
    """Every value that names a TensorFlow tensor is that tensor: bits exactly, floats closely."""
    values = interpret.run(graph, inputs)
    named = {n: v for n, v in values.items() if n.origin and not n.is_constant}
    expected = TensorFlowModel(frozen).evaluate(inputs, [n.origin for n in named])
    for node, value in named.items():
        theirs = expected[node.origin].reshape(len(value), -1)
        ours = value.reshape(len(value), -1)
        if node.type.dtype is DType.b1:
            assert np.array_equal(ours, theirs), f"bits of {node.op} '{node.name}' differ from {node.origin}"
        else:
            close(ours.astype(np.float32), theirs, f"{node.op} '{node.name}' = {node.origin}")


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph.schedule]
