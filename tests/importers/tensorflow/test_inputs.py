# SPDX-License-Identifier: Apache-2.0
"""What models are called with: shapes that a user gives, and inputs in lists, dicts and several arguments."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf

from bnn.errors import CompileError
from bnn.importers.common.inputs import checked_shape, fitted
from bnn.importers.tensorflow.keras_inputs import model_inputs
from bnn.ir import interpret
from bnn.ir.graph import Graph
from bnn.passes import lower
from seed import some

from .models import Array, check, import_model, needs_keras3, scramble

KERAS = {"keras 2": tf.keras, "keras 3": keras3}


@pytest.fixture(params=KERAS)
def keras(request: pytest.FixtureRequest) -> Any:
    return KERAS[request.param]


def network(keras: Any, *shape: int | None) -> Any:
    of = keras.layers
    return scramble(keras.Sequential([of.Input(shape), of.Conv2D(2, 3), of.GlobalMaxPooling2D(), of.Dense(3)]))


def small_number(*shape: int) -> Array:
    return (np.random.default_rng(3).integers(-16, 17, shape) / 16).astype(np.float32)


@pytest.mark.parametrize("wrong", [8, "8,8,3", (8, 8, 0), (8.0, 8, 3), (), (8, None, 3)])
def test_a_shape_that_is_none(wrong: Any, keras: Any) -> None:
    with pytest.raises(CompileError, match=r"input_shape: found .*, expected the sizes of one image without the batch"):
        import_model(network(keras, 8, 8, 3), input_shape=wrong)


@pytest.mark.drawn
@pytest.mark.parametrize(
    ("wrong", "form"),
    some(
        [*itertools.product([(9, 9, 3), (8, 8, 1), (3,), (1, 8, 8, 3)], ["memory", "net.keras", "net.h5", "exported"])]
    ),
)
def test_a_shape_that_is_not_the_models(wrong: tuple[int, ...], form: str, keras: Any, tmp_path: Path) -> None:
    model = network(keras, 8, 8, 3)
    path = tmp_path / form
    if form == "exported":
        model.export(path)
    elif form != "memory":
        model.save(path)
    what = model if form == "memory" else path
    with pytest.raises(CompileError) as refused:
        import_model(what, input_shape=wrong)
    assert f"input_shape: found {wrong}" in str(refused.value) and "(8, 8, 3)" in str(refused.value)
    assert import_model(what, input_shape=(8, 8, 3)).inputs[0].type.shape == (8, 8, 3)


@pytest.mark.parametrize("exported", [False, True])
def test_open_sizes(exported: bool, keras: Any, tmp_path: Path) -> None:
    model = network(keras, None, None, 3)
    what: Any = model
    if exported:
        model.export(tmp_path)
        what = str(tmp_path)
    with pytest.raises(CompileError, match=r"only the batch size may be unknown.*pass input_shape="):
        import_model(what)
    with pytest.raises(CompileError, match=r"input_shape: found \(5, 6, 4\).*\(unknown, unknown, 3\)"):
        import_model(what, input_shape=(5, 6, 4))
    check(what, call=model, input_shape=(5, 6, 3))


def test_a_shape_that_layers_do_not_take(keras: Any) -> None:
    with pytest.raises(
        CompileError, match=r"cannot be called with \(N, 2, 2, 3\): .*input_shape that its layers accept"
    ):
        import_model(network(keras, None, None, 3), input_shape=(2, 2, 3))


def test_one_shape_for_two_inputs(keras: Any, tmp_path: Path) -> None:
    a, b = keras.layers.Input((4,)), keras.layers.Input((4,))
    model = keras.Model([a, b], keras.layers.Add()([a, b]))
    model.export(tmp_path)
    for what in (model, tmp_path):
        with pytest.raises(CompileError, match=r"input_shape: found \(4,\), but the model has 2 inputs"):
            import_model(what, input_shape=(4,))


def test_one_input_named_twice() -> None:
    """Keras 2 refuses to build such a model."""
    x = keras3.layers.Input((4,), name="x")
    with pytest.raises(CompileError, match="two of the model's inputs have one name: found x, x, x; give each its own"):
        import_model(keras3.Model([x, x, x], keras3.layers.Dense(3)(x)))


def test_own_errors_of_a_model(keras: Any) -> None:
    class Broken(keras.Model):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            raise RuntimeError("a line of its own")

    with pytest.raises(CompileError, match=r"'broken.*' cannot be called with \(N, 3\): a line of its own"):
        import_model(Broken(), input_shape=(3,))


def same(graph: Graph, values: dict[str, Array], expected: Any) -> None:
    """The graph gives what Keras gave for the inputs of these names."""
    labels = [node.attrs.label for node in graph.inputs]  # type: ignore[attr-defined]
    assert labels == sorted(values)
    for form in (graph, lower(graph)):
        found = interpret.outputs(form, [values[label] for label in labels])
        np.testing.assert_allclose(found[0], np.asarray(expected), rtol=1e-5, atol=1e-6)


def test_functional_with_a_dict(keras: Any) -> None:
    """The keys, by which the model is called, are not the names of the tensors."""
    a, b = keras.layers.Input((4,), name="aa"), keras.layers.Input((4,), name="bb")
    model = keras.Model({"z": a, "y": b}, keras.layers.Subtract()([a, b]))
    values = {"z": small_number(3, 4), "y": 2 * small_number(3, 4)}
    same(import_model(model), values, model(values))


def called(keras: Any, function: Callable[..., Any]) -> Any:
    class Called(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = keras.layers.Dense(3), keras.layers.Dense(3)

        def call(self, x: Any) -> Any:
            return function(self, x)

    return Called()


def test_subclassed_with_a_dict(keras: Any) -> None:
    model = called(keras, lambda m, x: m.a(x["z"]) - 2 * m.b(x["a"]))
    values = {"z": small_number(3, 4), "a": 2 * small_number(3, 5)}
    expected = model(values)
    same(import_model(model), values, expected)


def test_subclassed_with_a_list(keras: Any) -> None:
    model = called(keras, lambda m, x: m.a(x[0]) - 2 * m.b(x[1]))
    values = [small_number(3, 4), small_number(3, 5)]
    expected = np.asarray(model(values))
    graph = import_model(model)
    assert [node.type.shape for node in graph.inputs] == [(4,), (5,)]
    np.testing.assert_allclose(interpret.outputs(lower(graph), values)[0], expected, rtol=1e-5, atol=1e-6)


def test_a_shape_for_a_model_with_a_dict(keras: Any) -> None:
    model = called(keras, lambda m, x: m.a(x["z"]))
    with pytest.raises(CompileError, match=r"cannot be called.*with one tensor, a list or a dict of tensors: call it"):
        import_model(model, input_shape=(4,))


class Arguments(tf.keras.Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.dense = tf.keras.layers.Dense(3)

    def call(self, x: Any, y: Any, flag: Any = None) -> Any:
        return self.dense(x) - 2 * self.dense(y)


def test_two_arguments() -> None:
    values = [small_number(3, 4), 2 * small_number(3, 4)]
    for by_name in (False, True):
        model = Arguments()
        expected = model(values[0], y=values[1]) if by_name else model(*values)
        found = interpret.outputs(lower(import_model(model)), values)[0]
        np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-5, atol=1e-6)


def test_arguments_that_are_no_tensors() -> None:
    model = Arguments()
    model(small_number(3, 4), small_number(3, 4), True)
    with pytest.raises(CompileError, match=r"positional arguments that are not tensors; call it once"):
        import_model(model)


@needs_keras3
def test_two_arguments_in_keras3() -> None:
    class Two(keras3.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras3.layers.Dense(3)

        def call(self, x: Any, y: Any) -> Any:
            return self.dense(x) - self.dense(y)

    model = Two()
    model(small_number(3, 4), small_number(3, 4))
    with pytest.raises(CompileError, match=r"cannot be called with \(N, 4\).*'y'.*one tensor, a list or a dict"):
        import_model(model)


def test_sizes_that_fit_what_is_open() -> None:
    assert fitted("x", (None, None, 3), (4, 5, 3)) == (4, 5, 3) == fitted("x", None, (4, 5, 3))
    assert fitted("x", (4, 5, 3), None) == (4, 5, 3)
    for wanted in ((4, 5), (4, 5, 3, 1), (4, 5, 4), (3,)):
        with pytest.raises(
            CompileError, match=r"the model's input 'x' is \(unknown, unknown, 3\); give sizes that it accepts"
        ):
            fitted("x", (None, None, 3), wanted)
    for own in (None, (None, 5, 3)):
        with pytest.raises(CompileError, match="only the batch size may be unknown"):
            fitted("x", own, None)


def test_what_a_model_is_called_with() -> None:
    def shapes(shape: Any = None, **model: Any) -> Any:
        (args, kwargs), names = model_inputs(tf, SimpleNamespace(**model), shape)
        return [s.shape.as_list() for s in tf.nest.flatten((args, kwargs))], names, list(kwargs)

    assert shapes((3, 4)) == ([[None, 3, 4]], None, [])
    nested = {"b": [(2, 4), (5, 4, 6)], "a": (None, 3)}
    assert shapes(_build_shapes_dict={"x_shape": nested}) == ([[None, 3], [None, 4], [None, 4, 6]], None, [])
    assert shapes(_build_shapes_dict={"x_shape": {"b": (2, 4), "a": (None, 3)}})[1] == ["a", "b"]
    assert shapes(_build_shapes_dict={"x_shape": (2, 3)}) == ([[None, 3]], None, [])
    two = shapes(_build_shapes_dict={"x_shape": (2, 3), "y_shape": (2, 4)})
    assert two == ([[None, 3], [None, 4]], ["x", "y"], ["x", "y"])
    for options in ({}, {"save_spec": lambda: None}, {"_build_shapes_dict": {"x_shape": None}}):
        with pytest.raises(CompileError, match="has never been called"):
            shapes(**options)
    for wrong in ([None, 4, {"dtype": []}, 2], 5, "ab", [None, "x"], [None, -3], [None, 4.5]):  # a file says anything
        with pytest.raises(CompileError, match="was built for the shape .*; expected sizes, or lists of them"):
            shapes(_build_shapes_dict={"x_shape": wrong})
    spec = tf.TensorSpec([2, 5])
    with pytest.raises(CompileError, match="positional arguments that are not tensors"):
        shapes(save_spec=lambda: ([spec, True], {}))
    with pytest.raises(CompileError, match="the model has 2 inputs"):
        shapes((5,), save_spec=lambda: ([spec, spec], {}))
    assert shapes(save_spec=lambda: ([spec], {"z": spec})) == ([[None, 5], [None, 5]], None, ["z"])


def test_sizes_that_a_user_gives() -> None:
    assert checked_shape(None) is None and checked_shape([1]) == (1,) and checked_shape(np.array([2, 3])) == (2, 3)
    for wrong in ([0], [-1, 3], [], [1.0], "1", [None], [1, 0]):
        with pytest.raises(CompileError, match="expected the sizes of one image"):
            checked_shape(wrong)  # type: ignore[arg-type]
    assert fitted("x", (0, None), (0, 3)) == (0, 3)
    for own, wanted in (((0,), (3,)), ((None, 3), (3,)), ((3,), (3, 4)), ((3, 4), (4, 3))):
        with pytest.raises(CompileError, match="give sizes that it accepts"):
            fitted("x", own, wanted)
