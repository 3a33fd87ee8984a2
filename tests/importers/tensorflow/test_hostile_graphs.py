# SPDX-License-Identifier: Apache-2.0
"""SavedModels with an op that reads, writes, waits or calls are refused by the op's name, and nothing happens."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from bnn.importers.tensorflow import allowed
from bnn.importers.tensorflow.allowed import FUNCTIONS
from bnn.importers.tensorflow.frozen import ALIASES, SHAPE_OPS
from bnn.importers.tensorflow.graphdef import SUPPORTED

from .hostile import Case, edit, function_of, inject, product, raw, refused, save_plain, writing
from .models import import_model

pytestmark = pytest.mark.timeout(method="thread")  # what hangs, hangs in C++
ONE = tf.TensorSpec([], tf.float32)
FLOAT = tf.float32


def loop(path: str) -> Any:
    return function_of(lambda x: writing(path)(x) > 0.0, ONE)


def dataset() -> Any:
    return raw.RangeDataset(start=0, stop=2, step=1, output_types=[tf.int64], output_shapes=[()])


def mapped(path: str) -> Any:
    def write(x: Any) -> Any:
        with tf.control_dependencies([raw.WriteFile(filename=path, contents="x")]):
            return tf.identity(x)

    return function_of(write, tf.TensorSpec([], tf.int64))


TYPES: dict[str, Any] = {"output_types": [tf.int64], "output_shapes": [()]}
# {op: how it is made, from what must not be written, and what must not be read}; every other op is refused as these
# are (test_saved_parts.py), and these do something when TensorFlow loads or builds a graph.
CASES: dict[str, Case] = {
    "WriteFile": lambda w, r: raw.WriteFile(filename=w, contents="x"),
    "SaveV2": lambda w, r: raw.SaveV2(
        prefix=w, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant(1.0)]
    ),
    "PrintV2": lambda w, r: raw.PrintV2(input="x", output_stream=f"file://{w}"),
    "DebugIdentity": lambda w, r: raw.DebugIdentity(
        input=tf.ones([3]), tensor_name="a:0", debug_urls=[f"file://{w}"]
    ),
    "DebugNanCount": lambda w, r: raw.DebugNanCount(
        input=tf.ones([3]), tensor_name="a:0", debug_urls=[f"file://{w}"]
    ),
    "SaveDataset": lambda w, r: raw.SaveDataset(
        input_dataset=dataset(), path=w, shard_func_other_args=[], shard_func=mapped(w)
    ),
    "ReadFile": lambda w, r: raw.ReadFile(filename=r),
    "ImmutableConst": lambda w, r: raw.ImmutableConst(dtype=FLOAT, shape=[3], memory_region_name=r),
    "InitializeTableFromTextFileV2": lambda w, r: raw.InitializeTableFromTextFileV2(
        table_handle=raw.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64), filename=r, key_index=-2,
        value_index=-1,
    ),
    "Unstage": lambda w, r: raw.Unstage(dtypes=[FLOAT])[0],
    "Abort": lambda w, r: raw.Abort(error_msg="x"),
    "PyFunc": lambda w, r: raw.PyFunc(input=[1.0], token="pyfunc_0", Tout=[FLOAT])[0],
    "RemoteCall": lambda w, r: raw.RemoteCall(
        target="/job:localhost/device:CPU:0", args=[tf.constant(1.0)], Tout=[FLOAT], f=writing(w)
    )[0],
    "MapDataset": lambda w, r: raw.MapDataset(input_dataset=dataset(), other_arguments=[], f=mapped(w), **TYPES),
}  # fmt: skip
# A writing function behind what is called while the graph is read: {op: how it is made}.
CALLED: dict[str, Case] = {
    "StatefulPartitionedCall": lambda w, r: raw.StatefulPartitionedCall(args=[1.0], Tout=[FLOAT], f=writing(w))[0],
    "PartitionedCall": lambda w, r: raw.PartitionedCall(args=[1.0], Tout=[FLOAT], f=writing(w))[0],
    "If": lambda w, r: raw.If(cond=True, input=[1.0], Tout=[FLOAT], then_branch=writing(w), else_branch=writing(w))[0],
    "StatelessIf": lambda w, r: raw.StatelessIf(
        cond=True, input=[1.0], Tout=[FLOAT], then_branch=writing(w), else_branch=writing(w)
    )[0],
    "Case": lambda w, r: raw.Case(branch_index=0, input=[1.0], Tout=[FLOAT], branches=[writing(w)])[0],
    "While": lambda w, r: raw.While(input=[1.0], cond=loop(w), body=writing(w))[0],
    "StatelessWhile": lambda w, r: raw.StatelessWhile(input=[1.0], cond=loop(w), body=writing(w))[0],
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_plain(tmp_path_factory.mktemp("plain") / "net")


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "net"))


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    return tmp_path / "it ran"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(b"\x00\x00\x80\x3f" * 3)
    return path


@pytest.mark.parametrize("op", CASES)
def test_ops(op: str, folder: Path, witness: Path, secret: Path) -> None:
    inject(folder, op, CASES[op], str(witness), str(secret))
    refused(folder, f"contains the TensorFlow op {op} (", "unsafe=True", "--unsafe")
    assert sorted(p.name for p in witness.parent.iterdir()) == ["net", "secret"]


@pytest.mark.parametrize("op", CALLED)
def test_called_functions(op: str, folder: Path, witness: Path, secret: Path) -> None:
    inject(folder, op, CALLED[op], str(witness), str(secret))
    refused(folder, "the TensorFlow op WriteFile", "of the function", "unsafe=True")
    assert not witness.exists()


@pytest.mark.parametrize("op", ["_Send", "_HostRecv", "XlaLaunch", "XlaHostCompute", "TPUExecute", "MyOwnOp"])
@pytest.mark.parametrize("where", ["graph", "function", "unused function", "gradient"])
def test_ops_wherever_they_stand(op: str, where: str, folder: Path) -> None:
    def change(saved: Any) -> None:
        graph = saved.meta_graphs[0].graph_def
        if where == "graph":
            graph.node.add(name="a", op=op)
        elif where == "function":
            product(saved).node_def.add(name="a", op=op)
        else:
            body = graph.library.function.add()
            body.signature.name = "unused"
            body.node_def.add(name="a", op=op)
            if where == "gradient":
                graph.library.gradient.add(function_name=product(saved).signature.name, gradient_func="unused")

    edit(folder, change)
    refused(folder, f"the TensorFlow op {op} ('a'", "unsafe=True")


@pytest.mark.parametrize("op", sorted(allowed.SAVER))
def test_saving_is_no_part_of_a_model(op: str, folder: Path) -> None:
    """The functions that save the variables are those that nobody calls."""
    import_model(folder)
    edit(folder, lambda saved: product(saved).node_def.add(name="a", op=op))
    refused(folder, f"the TensorFlow op {op} ('a'")


def test_an_op_with_a_function(folder: Path) -> None:
    """Whatever it is called: TensorFlow could give an op of the list an attribute that it does not look at."""

    def change(saved: Any) -> None:
        product(saved).node_def.add(name="a", op="Relu").attr["f"].func.name = product(saved).signature.name

    edit(folder, change)
    refused(folder, "the TensorFlow op Relu ('a'")


def test_what_is_allowed_is_known() -> None:
    for names in (allowed.PURE, allowed.KEPT, allowed.SAVER, allowed.CALLS, allowed.CONTROL, allowed.LOWERED):
        assert all(name in CASES or op_def_registry.get(name) is not None for name in names)
    assert allowed.PURE >= SUPPORTED | ALIASES | SHAPE_OPS
    assert not allowed.PURE & (allowed.KEPT | allowed.SAVER | allowed.CALLS | allowed.CONTROL | allowed.LOWERED)


def test_ops_that_compute_have_neither_state_nor_functions_nor_texts() -> None:
    """As TensorFlow declares them; CheckNumerics has a state so that it is not left out."""
    for name in sorted(allowed.PURE - {"CheckNumerics"}):
        definition = op_def_registry.get(name)
        assert not definition.is_stateful, name
        assert not {a.type for a in definition.attr} & {"func", "list(func)", "list(string)", "resource"}, name
        handles = {kind.as_datatype_enum for kind in (tf.resource, tf.variant, tf.string)}
        assert not any(a.type in handles or a.is_ref for a in [*definition.input_arg, *definition.output_arg]), name


def test_functions_of_tensorflow_that_are_called_by_name_exist() -> None:
    from tensorflow.python.util import tf_export

    known = {name for name in FUNCTIONS if callable(tf_export.get_symbol_from_name(name))}
    assert {name for name in FUNCTIONS if not name.startswith("compat.")} == {
        name for name in known if not name.startswith("compat.")
    }
