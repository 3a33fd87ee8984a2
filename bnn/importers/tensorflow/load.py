# SPDX-License-Identifier: Apache-2.0
"""Load and freeze Keras models.  The only file that imports TensorFlow, and only when called."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..._distribution import INSTALL_LARQ, install
from ..._types import Array
from ...errors import CompileError, SetupError
from ...ir.graph import Graph
from ..common.inputs import InputDType, check_single, checked_shape, fitted
from ..common.kinds import READ, check_kind, check_there
from ..common.layer import loop
from ..common.limits import check_bytes
from ..common.source import SourceModel
from .allowed import CONTROL, LOWERED, UNUSED
from .frozen import Frozen, Tensor, TfNode, from_graph
from .graphdef import read
from .keras_files import check_trusted, find_functions, read_config
from .keras_inputs import model_inputs
from .reason import reason
from .run import TfRunner, check_pure
from .saved_models import check_files, check_saved_model, read_signature
from .source import FRAMEWORK

_MORE_WEIGHTS = 2**26
"""Bytes of weights that a file need not store: states of random numbers, and layers that were never built."""

_UNROLL = "unroll it (unroll=True in a recurrent layer), or cut the model before it"


def tensorflow() -> Any:
    """Import TensorFlow with Keras 2 (Larq needs it), quietly.

    Raises :class:`SetupError` if TensorFlow is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow 2.15 without tf_keras has Keras 2 itself, and fails if the variable is set.
    if "tensorflow" not in sys.modules and importlib.util.find_spec("tf_keras"):
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise SetupError(
            f"compiling a Keras model needs TensorFlow, which cannot be imported ({error}); install the extra "
            f"tensorflow: {install('tensorflow')}; models of Larq need this, too: {INSTALL_LARQ}"
        ) from None
    return tf


def without_onednn() -> None:
    """Make TensorFlow, if it is not imported yet, use its plain kernels: they round every operation separately, while
    oneDNN fuses and reorders, which changes the last bit of batch norms."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


class TensorFlowModel(SourceModel):
    """A frozen graph as a :class:`bnn.importers.SourceModel`; a tensor is called "op:0"."""

    framework = FRAMEWORK

    def __init__(self, frozen: Frozen) -> None:
        self._frozen = frozen
        self.input_names: Sequence[str] = frozen.input_names
        self.outputs: Sequence[str] = [f"{name}:{i}" for name, i in frozen.outputs]

    def graph(self, input_dtype: InputDType = None) -> Graph:
        return read(self._frozen, input_dtype)

    def _tensors(self, inputs: Sequence[Array], wanted: Collection[str]) -> Iterator[Mapping[str, Any]]:
        dtypes = (self._frozen.by_name[name].attrs["dtype"] for name in self._frozen.inputs)
        fed = [array.astype(dtype) for array, dtype in zip(inputs, dtypes, strict=True)]
        for _, results in self._frozen.execute(fed):
            yield {f"{op}:{i}": value for (op, i), value in results.items()}

    def rounding_hint(self) -> str:
        if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0":
            return ""
        return (
            "TensorFlow may run with oneDNN, which rounds differently; set TF_ENABLE_ONEDNN_OPTS=0 in the environment "
            "before it is imported"
        )


def freeze(model: Any, *, unsafe: bool = False, input_shape: Sequence[int] | None = None) -> Frozen:
    """Trace a model as a tf.function in inference mode and freeze its variables to constants."""
    if isinstance(model, Frozen):
        return model
    if not (isinstance(model, (str, os.PathLike)) or callable(model) or hasattr(model, "signatures")):
        kinds = "a Keras model, an ONNX model, a PyTorch module"
        raise CompileError(f"found {type(model).__name__}, expected {kinds}, or the path of {READ}")
    shape = checked_shape(input_shape)
    if isinstance(model, (str, os.PathLike)):
        check_there(model, READ, folder=True)  # before TensorFlow is imported
    tf = tensorflow()
    if not isinstance(model, (str, os.PathLike)):
        return _frozen_model(tf, model, shape, unsafe)
    path = Path(model)
    if unsafe:
        return _frozen_model(tf, load_keras(path, unsafe=True), shape, True)
    if path.is_dir():
        return _frozen_signature(tf, path, shape)
    with _without_autograph():
        return replace(_frozen_model(tf, load_keras(path), shape, False), stored=path.stat().st_size)


def _without_autograph() -> Any:
    """A context in which TensorFlow does not translate Python code: it would write it to temporary files.  No layer of
    Keras or Larq needs it; a layer of the user's that does can be compiled from memory."""
    from tensorflow.python.autograph.core import ag_ctx

    return ag_ctx.ControlStatusCtx(status=ag_ctx.Status.DISABLED)


def _frozen_model(tf: Any, model: Any, shape: tuple[int, ...] | None, unsafe: bool) -> Frozen:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    names: list[str] | None = None
    layers: frozenset[str] = frozenset()
    saved = hasattr(model, "signatures")
    if saved:
        if not model.signatures:
            raise CompileError(
                "the SavedModel has no signature; save the Keras model with model.export(...) or model.save(...)"
            )
        concrete = model.signatures.get("serving_default") or next(iter(model.signatures.values()))
    else:
        arguments, names = model_inputs(tf, model, shape)
        concrete = _traced(tf, model, arguments)
        layers = frozenset(_layer_names(model))
    try:
        frozen = convert_variables_to_constants_v2(concrete)
    except ValueError as error:
        raise CompileError(
            f"TensorFlow cannot freeze the model ({reason(error)}); does a layer change its variables when it is "
            "called, for example batch norm with training=True?"
        ) from error
    inputs = [t.op.name for t in frozen.inputs]
    outputs = [(t.op.name, t.value_index) for t in frozen.outputs]
    nodes = from_graph(tf, frozen.graph.as_graph_def())
    labels = _output_names(model, concrete.structured_outputs, len(outputs))
    found = freeze_nodes(tf, nodes, inputs, outputs, labels, unsafe, shape if saved else None)
    return replace(found, input_names=names or inputs, layers=layers, scopes_twice=_is_keras_3(model))


def _frozen_signature(tf: Any, folder: Path, shape: tuple[int, ...] | None) -> Frozen:
    """The graph of an untrusted SavedModel."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    stored = check_files(folder)
    with _saved_model(folder):
        saved = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        check_saved_model(folder, saved, dir(tf.__internal__.tracking.AutoTrackable))
        nodes, inputs, outputs, results = read_signature(tf, folder, saved)
    found = freeze_nodes(tf, nodes, inputs, outputs, _output_names(None, results, len(outputs)), False, shape)
    return replace(found, stored=stored)


def freeze_nodes(
    tf: Any,
    nodes: Sequence[TfNode],
    inputs: list[str],
    outputs: Sequence[Tensor],
    output_names: list[str],
    unsafe: bool,
    shape: tuple[int, ...] | None,
) -> Frozen:
    """The nodes that inputs and outputs need, operands first; ``shape``: of the one input, if it leaves sizes open."""
    needed = _needed(nodes, [*inputs, *(name for name, _ in outputs)], unsafe)
    return Frozen(
        nodes=_with_shape(needed, inputs, shape) if shape else needed,
        inputs=inputs,
        input_names=inputs,
        outputs=list(outputs),
        output_names=output_names,
        run_op=TfRunner(tf, unsafe),
        multiplier=lambda variance, epsilon, gamma: np.asarray(
            tf.math.rsqrt(tf.constant(variance) + tf.constant(epsilon, tf.float32)) * tf.constant(gamma)
        ),
    )


def load_keras(path: str | os.PathLike[str], *, unsafe: bool = False) -> Any:
    """Load a model file with the Keras that wrote it.

    Unless ``unsafe``, the whole file is checked first.  Anything that could do more than compute (run code, read or
    write files, wait, call out) or could grow far beyond the file's size raises :class:`CompileError`.
    """
    where = Path(path)
    check_there(where, READ, folder=True)
    if where.is_dir() and not unsafe:
        raise CompileError(f"{where}: a folder is read as a graph, and loaded as a model only with unsafe=True")
    if where.is_dir():
        with _saved_model(where):
            return tensorflow().saved_model.load(str(where))
    tf = tensorflow()
    file = read_config(where, unsafe=unsafe)
    keras = keras_of(tf, file.version)
    changed = not unsafe and check_trusted(where, file.config, keras)
    legacy = keras is tf.keras and isinstance(file.config, dict) and "module" not in file.config
    functions = legacy and find_functions(file.config, keras)
    try:
        with contextlib.nullcontext() if unsafe else limited_variables(tf, where, file.stored):
            if functions:  # which JSON cannot hold
                model = keras.models.model_from_config(file.config)
            elif changed:
                model = keras.models.model_from_json(json.dumps(file.config))
            else:
                model = keras.models.load_model(str(where), compile=False, safe_mode=not unsafe)
            if functions or changed:
                model.load_weights(str(where))
    except CompileError:
        raise
    except Exception as error:  # Keras may raise anything; the caller wants one kind
        raise CompileError(
            f"{where}: written by Keras {file.version}; Keras {getattr(keras, '__version__', '2')} here cannot load "
            f"it: {reason(error)}; if a class or function of your own is missing, register it with "
            "@keras.saving.register_keras_serializable() and import its module first (or compile the model from "
            "memory), or export the model as a SavedModel: model.export(folder)"
        ) from error
    if not callable(model):  # Keras returns entries unchanged if it has no class for them
        raise CompileError(f"{where}: contains no Keras model; save it with model.save(...)")
    return model


@contextlib.contextmanager
def _saved_model(folder: Path) -> Iterator[None]:
    """What goes wrong while a SavedModel is read, as one kind of error that names the folder."""
    check_kind(folder)
    try:
        yield
    except CompileError as error:
        if str(error).startswith(f"{folder}: "):
            raise
        raise type(error)(f"{folder}: {error}") from error
    except Exception as error:  # TensorFlow may raise anything, on a damaged file, too; the caller wants one kind
        raise CompileError(f"{folder}: TensorFlow cannot load the SavedModel: {reason(error)}") from error


@contextlib.contextmanager
def limited_variables(tf: Any, path: Path, stored: int) -> Iterator[None]:
    """Count weights before they are made: a configuration of a few bytes can request any number of them.

    ``stored``: bytes of the file's values, which become the weights.
    """
    total = 0
    refused: list[CompileError] = []

    def create(next_creator: Any, **options: Any) -> Any:
        nonlocal total
        total += _variable_bytes(tf, options)
        try:
            check_bytes(path, "what its layers have as weights", total, stored + _MORE_WEIGHTS)
        except CompileError as error:
            refused.append(error)  # Keras may make another error of it
            raise
        return next_creator(**options)

    try:
        with tf.variable_creator_scope(create):
            yield
    finally:
        if refused:
            raise refused[0]


def _variable_bytes(tf: Any, options: Mapping[str, Any]) -> int:
    """The size of a variable to be made: its initial value is computed as a graph, which is not executed."""
    shape, dtype, value = options.get("shape"), options.get("dtype"), options.get("initial_value")
    if shape is None and callable(value):
        with tf.Graph().as_default():
            made = value()
            shape, dtype = made.shape, made.dtype
    elif shape is None:
        shape, dtype = getattr(value, "shape", ()), dtype or getattr(value, "dtype", tf.float32)
    sizes = [size or 0 for size in tf.TensorShape(shape).as_list()]
    return int(np.prod(sizes, dtype=object)) * int(tf.as_dtype(dtype or tf.float32).size)


def _is_keras_3(model: Any) -> bool:
    version = str(getattr(sys.modules.get("keras"), "__version__", "2"))
    own = any(c.__module__.partition(".")[0] == "keras" for c in type(model).__mro__)
    return own and not version.startswith("2")


def keras_of(tf: Any, version: str) -> Any:
    """The Keras that reads files of a version."""
    if not version.startswith("2"):
        try:
            import keras
        except ImportError:
            raise SetupError(f"the model was written by Keras {version}; pip install keras") from None
        return keras
    keras = tf.keras
    if not str(getattr(keras, "__version__", "2")).startswith("2"):
        raise SetupError(
            "the model was written by Keras 2, but TensorFlow was imported with Keras 3; "
            "set TF_USE_LEGACY_KERAS=1 before TensorFlow is imported (and pip install tf-keras)"
        )
    with contextlib.suppress(ImportError):
        import larq  # noqa: F401  registers its layers and quantizers with Keras
    return keras


def _traced(tf: Any, model: Any, arguments: Any) -> Any:
    """The model as a concrete function of its inputs, one tensor after the other."""
    specs = tf.nest.flatten(arguments)

    def call(*xs: Any) -> Any:
        args, kwargs = tf.nest.pack_sequence_as(arguments, xs)
        return model(*args, training=False, **kwargs)

    try:
        # AutoGraph would write `call` to a temporary file; Keras asks for it where a layer of the user's needs it.
        return tf.function(call, autograph=False).get_concrete_function(*specs)
    except Exception as error:  # Keras or the model's code may raise anything; the caller wants one kind
        shapes = " and ".join(str(tuple(spec.shape)).replace("None", "N") for spec in specs)
        raise CompileError(
            f"model '{getattr(model, 'name', type(model).__name__)}' cannot be called with {shapes}: {reason(error)}; "
            "the compiler calls a model with one tensor, a list or a dict of tensors: call it that way once, or "
            "pass an input_shape that its layers accept"
        ) from error


def _with_shape(nodes: Sequence[TfNode], inputs: Sequence[str], shape: tuple[int, ...]) -> list[TfNode]:
    """A SavedModel's nodes with the sizes that its signature leaves open; it accepts no others."""
    check_single(shape, len(inputs))
    found = next(node for node in nodes if node.name == inputs[0])
    dims = found.attrs.get("shape") or None  # unknown rank: None
    own = None if dims is None else [None if d < 0 else d for d in dims[1:]]
    fixed = replace(found, attrs={**found.attrs, "shape": [-1, *fitted(found.name, own, shape)]})
    return [fixed if node is found else node for node in nodes]


def _output_names(model: Any, structured: Any, count: int) -> list[str]:
    """A unique name per output: as in Keras 2, a name that is taken becomes name_1.  Empty names if the model has none,
    so that outputs get the names of their layers."""
    if isinstance(structured, dict):
        names = [str(name) for name in sorted(structured)]  # the order in which TensorFlow flattens it
    else:
        names = [str(name) for name in getattr(model, "output_names", None) or []]
    if len(names) != count:
        return [""] * count
    unique: list[str] = []
    for name in names:
        tries = (f"{name}_{i}" for i in itertools.count(1))
        unique.append(name if name not in unique else next(n for n in tries if n not in unique and n not in names))
    return unique


def _layer_names(model: Any) -> list[str]:
    names = []
    for layer in getattr(model, "layers", []):
        names += [layer.name, *_layer_names(layer)]
    return names


def _needed(nodes: Sequence[TfNode], roots: Sequence[str], unsafe: bool) -> list[TfNode]:
    """The nodes that the roots need."""
    needed = _sorted({n.name: n for n in nodes}, roots)
    for node in needed:
        if node.op in CONTROL:
            raise loop(node.op, node.name, _UNROLL)
    for node in needed:
        if not unsafe and node.op not in LOWERED | UNUSED and node.op != "Placeholder":  # these are never executed
            check_pure(node)
    return needed


def _sorted(nodes: Mapping[str, TfNode], roots: Sequence[str]) -> list[TfNode]:
    """The nodes that the roots need, operands first: a GraphDef promises no order."""
    order: dict[str, TfNode] = {}
    opened: set[str] = set()
    stack = list(reversed(roots))
    while stack:
        node = nodes[stack[-1]]
        waiting = [name for name, _ in node.inputs if name not in order]
        if node.name in order or not waiting:
            order[stack.pop()] = node
        elif node.name in opened:
            raise loop(node.op, node.name, _UNROLL)
        else:
            opened.add(node.name)
            stack += waiting
    return list(order.values())
