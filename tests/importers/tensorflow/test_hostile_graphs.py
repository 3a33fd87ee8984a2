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
FLOAT, INT, TEXT = tf.float32, tf.int32, tf.string


def debug(url: str) -> list[str]:
    return [f"file://{url}"]


def table() -> Any:
    return raw.HashTableV2(key_dtype=TEXT, value_dtype=tf.int64)


def queue() -> Any:
    return raw.FIFOQueueV2(component_types=[FLOAT])


def loop(path: str) -> Any:
    return function_of(lambda x: writing(path)(x) > 0.0, ONE)


def dataset() -> Any:
    return raw.RangeDataset(start=0, stop=2, step=1, output_types=[tf.int64], output_shapes=[()])


def mapped(path: str) -> Any:
    def write(x: Any) -> Any:
        with tf.control_dependencies([raw.WriteFile(filename=path, contents="x")]):
            return tf.identity(x)

    return function_of(write, tf.TensorSpec([], tf.int64))


def reader(kind: Any, read: str, **options: Any) -> Any:
    names = queue_of_names(read)
    return raw.ReaderReadV2(reader_handle=kind(**options), queue_handle=names)


def queue_of_names(read: str) -> Any:
    made = raw.FIFOQueueV2(component_types=[TEXT])
    with tf.control_dependencies([raw.QueueEnqueueV2(handle=made, components=[read])]):
        return tf.identity(made)


TYPES: dict[str, Any] = {"output_types": [tf.int64], "output_shapes": [()]}
GROUP = {"group_size": 2, "group_key": 1, "instance_key": 1}
# {op: (how it is made; what must not be written, what must not be read)}
CASES: dict[str, Case] = {
    # writes
    "WriteFile": lambda w, r: raw.WriteFile(filename=w, contents="x"),
    "Save": lambda w, r: raw.Save(filename=w, tensor_names=["a"], data=[tf.constant(1.0)]),
    "SaveSlices": lambda w, r: raw.SaveSlices(
        filename=w, tensor_names=["a"], shapes_and_slices=[""], data=[tf.constant(1.0)]
    ),
    "SaveV2": lambda w, r: raw.SaveV2(
        prefix=w, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant(1.0)]
    ),
    "MergeV2Checkpoints": lambda w, r: raw.MergeV2Checkpoints(checkpoint_prefixes=[r], destination_prefix=w),
    "PrintV2": lambda w, r: raw.PrintV2(input="x", output_stream=f"file://{w}"),
    "Print": lambda w, r: raw.Print(input=tf.constant([1.0]), data=["x"]),
    "DebugIdentity": lambda w, r: raw.DebugIdentity(input=tf.ones([3]), tensor_name="a:0", debug_urls=debug(w)),
    "DebugIdentityV2": lambda w, r: raw.DebugIdentityV2(
        input=tf.ones([3]), debug_urls=debug(w), tensor_debug_mode=2, tfdbg_run_id="r"
    ),
    "DebugNanCount": lambda w, r: raw.DebugNanCount(input=tf.ones([3]), tensor_name="a:0", debug_urls=debug(w)),
    "DebugNumericSummary": lambda w, r: raw.DebugNumericSummary(
        input=tf.ones([3]), tensor_name="a:0", debug_urls=debug(w)
    ),
    "CopyHost": lambda w, r: raw.CopyHost(input=tf.ones([3]), debug_ops_spec=[f"DebugIdentity;file://{w};0"]),
    "CreateSummaryFileWriter": lambda w, r: raw.CreateSummaryFileWriter(
        writer=raw.SummaryWriter(), logdir=w, max_queue=1, flush_millis=1, filename_suffix=""
    ),
    "SaveDataset": lambda w, r: raw.SaveDataset(
        input_dataset=dataset(), path=w, shard_func_other_args=[], shard_func=mapped(w)
    ),
    # reads
    "ReadFile": lambda w, r: raw.ReadFile(filename=r),
    "MatchingFiles": lambda w, r: raw.MatchingFiles(pattern=r),
    "Restore": lambda w, r: raw.Restore(file_pattern=r, tensor_name="a", dt=FLOAT),
    "RestoreSlice": lambda w, r: raw.RestoreSlice(file_pattern=r, tensor_name="a", shape_and_slice="", dt=FLOAT),
    "RestoreV2": lambda w, r: raw.RestoreV2(prefix=r, tensor_names=["a"], shape_and_slices=[""], dtypes=[FLOAT])[0],
    "ImmutableConst": lambda w, r: raw.ImmutableConst(dtype=FLOAT, shape=[3], memory_region_name=r),
    "GenerateVocabRemapping": lambda w, r: raw.GenerateVocabRemapping(
        new_vocab_file=r, old_vocab_file=r, new_vocab_offset=0, num_new_vocab=1
    ),
    "LoadAndRemapMatrix": lambda w, r: raw.LoadAndRemapMatrix(
        ckpt_path=r, old_tensor_name="a", row_remapping=[0], col_remapping=[0], initializing_values=[1.0],
        num_rows=1, num_cols=1,
    ),
    "RecordInput": lambda w, r: raw.RecordInput(file_pattern=r),
    "TextLineReaderV2": lambda w, r: reader(raw.TextLineReaderV2, r),
    "TFRecordReaderV2": lambda w, r: reader(raw.TFRecordReaderV2, r),
    "WholeFileReaderV2": lambda w, r: reader(raw.WholeFileReaderV2, r),
    "FixedLengthRecordReaderV2": lambda w, r: reader(raw.FixedLengthRecordReaderV2, r, record_bytes=1),
    "DecodeProtoV2": lambda w, r: raw.DecodeProtoV2(
        bytes="", message_type="a", field_names=["a"], output_types=[FLOAT], descriptor_source=r
    ),
    "InitializeTableFromTextFileV2": lambda w, r: raw.InitializeTableFromTextFileV2(
        table_handle=table(), filename=r, key_index=-2, value_index=-1
    ),
    "LookupTableFindV2": lambda w, r: raw.LookupTableFindV2(
        table_handle=table(), keys="a", default_value=tf.constant(0, tf.int64)
    ),
    "TextLineDataset": lambda w, r: raw.TextLineDataset(filenames=r, compression_type="", buffer_size=0),
    "TFRecordDataset": lambda w, r: raw.TFRecordDataset(filenames=r, compression_type="", buffer_size=0),
    "SqlDataset": lambda w, r: raw.SqlDataset(driver_name="sqlite", data_source_name=r, query="select 1", **TYPES),
    "LoadDataset": lambda w, r: raw.LoadDataset(path=r, reader_func_other_args=[], reader_func=mapped(w), **TYPES),
    # waits
    "Unstage": lambda w, r: raw.Unstage(dtypes=[FLOAT])[0],
    "MapUnstage": lambda w, r: raw.MapUnstage(key=tf.constant(0, tf.int64), indices=[0], dtypes=[FLOAT])[0],
    "QueueDequeueV2": lambda w, r: raw.QueueDequeueV2(handle=queue(), component_types=[FLOAT])[0],
    "BarrierTakeMany": lambda w, r: raw.BarrierTakeMany(
        handle=raw.Barrier(component_types=[FLOAT]), num_elements=1, component_types=[FLOAT]
    ),
    "CollectiveReduce": lambda w, r: raw.CollectiveReduce(
        input=tf.ones([3]), merge_op="Add", final_op="Id", subdiv_offsets=[0], **GROUP
    ),
    "CollectiveBcastRecv": lambda w, r: raw.CollectiveBcastRecv(T=FLOAT, shape=[3], **GROUP),
    "InfeedDequeue": lambda w, r: raw.InfeedDequeue(dtype=FLOAT, shape=[3]),
    "Abort": lambda w, r: raw.Abort(error_msg="x"),
    # calls
    "PyFunc": lambda w, r: raw.PyFunc(input=[1.0], token="pyfunc_0", Tout=[FLOAT])[0],
    "EagerPyFunc": lambda w, r: raw.EagerPyFunc(input=[1.0], token="pyfunc_0", Tout=[FLOAT])[0],
    "PyFuncStateless": lambda w, r: raw.PyFuncStateless(input=[1.0], token="pyfunc_0", Tout=[FLOAT])[0],
    "RemoteCall": lambda w, r: raw.RemoteCall(
        target="/job:localhost/device:CPU:0", args=[tf.constant(1.0)], Tout=[FLOAT], f=writing(w)
    )[0],
    "BatchFunction": lambda w, r: raw.BatchFunction(
        in_tensors=[tf.ones([3])], captured_tensors=[], f=writing(w), num_batch_threads=1, max_batch_size=3,
        batch_timeout_micros=0, Tout=[FLOAT],
    )[0],
    "MapDefun": lambda w, r: raw.MapDefun(
        arguments=[tf.ones([3])], captured_inputs=[], output_types=[FLOAT], output_shapes=[()], f=writing(w)
    )[0],
    "SymbolicGradient": lambda w, r: raw.SymbolicGradient(input=[1.0, 1.0], Tout=[FLOAT], f=writing(w))[0],
    "For": lambda w, r: raw.For(start=0, limit=1, delta=1, input=[1.0], body=writing(w))[0],
    "MapDataset": lambda w, r: raw.MapDataset(input_dataset=dataset(), other_arguments=[], f=mapped(w), **TYPES),
    "ReduceDataset": lambda w, r: raw.ReduceDataset(
        input_dataset=dataset(), initial_state=[1.0], other_arguments=[], f=writing(w), output_types=[FLOAT],
        output_shapes=[()],
    ),
    "OneShotIterator": lambda w, r: raw.OneShotIterator(dataset_factory=function_of(dataset), **TYPES),
    "GeneratorDataset": lambda w, r: raw.GeneratorDataset(
        init_func_other_args=[], next_func_other_args=[], finalize_func_other_args=[], init_func=mapped(w),
        next_func=mapped(w), finalize_func=mapped(w), **TYPES,
    ),
    "IteratorGetNext": lambda w, r: raw.IteratorGetNext(iterator=raw.AnonymousIterator(**TYPES), **TYPES),
    "Timestamp": lambda w, r: raw.Timestamp(),
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


def test_ops_that_compute_have_neither_state_nor_functions() -> None:
    """As TensorFlow declares them; CheckNumerics has a state so that it is not left out."""
    for name in sorted(allowed.PURE - {"CheckNumerics"}):
        definition = op_def_registry.get(name)
        assert not definition.is_stateful, name
        assert not any(a.type in ("func", "list(func)", "resource") for a in definition.attr), name
        handles = {tf.resource.as_datatype_enum, tf.variant.as_datatype_enum}
        assert not any(a.type in handles or a.is_ref for a in [*definition.input_arg, *definition.output_arg]), name


def test_functions_of_tensorflow_that_are_called_by_name_exist() -> None:
    from tensorflow.python.util import tf_export

    known = {name for name in FUNCTIONS if callable(tf_export.get_symbol_from_name(name))}
    assert {name for name in FUNCTIONS if not name.startswith("compat.")} == {
        name for name in known if not name.startswith("compat.")
    }
