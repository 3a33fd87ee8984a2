# SPDX-License-Identifier: Apache-2.0
"""What may stand in a SavedModel and in a Keras file's containers, part by part: protocol buffers and HDF5 by hand."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.text_format import Parse
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from bnn.errors import CompileError
from bnn.importers.common import limits
from bnn.importers.tensorflow import allowed, saved_models
from bnn.importers.tensorflow.frozen import TfNode
from bnn.importers.tensorflow.keras_files import check_hdf5
from bnn.importers.tensorflow.saved_models import check_files, check_saved_model
from bnn.ir import interpret

from .hostile import Plain, edit, product, refused, save_plain
from .models import import_model

HERE = Path("net")
HOOKS = ["_restore", "restore"]


def saved(nodes: str = "", functions: str = "", graph: str = "", more: str = "") -> Any:
    text = f"graph_def {{ {graph} library {{ {functions} }} }} object_graph_def {{ {nodes} {more} }}"
    return Parse(f"meta_graphs {{ {text} }}", SavedModel())


def check(model: Any) -> None:
    check_saved_model(HERE, model, HOOKS)


def child(name: str) -> str:
    """An object with another of that name, which is a function."""
    return f'nodes {{ user_object {{}} children {{ node_id: 1 local_name: "{name}" }} }} nodes {{ function {{}} }}'


KINDS = ("bare_concrete_function", "captured_tensor", "constant", "function", "user_object", "variable")
PARENTS = ("function", "user_object")
OWN_FUNCTIONS = ("__call__", "_default_save_signature", "_jit_compiled_convolution_op", "_update_step_xla")
OBJECTS = {
    **{kind: f"nodes {{ {kind} {{}} }}" for kind in KINDS},
    "a function with variables": "nodes { function {} children { node_id: 1 } } nodes { variable {} }",
    **{f"a function called {name}": child(name) for name in ("call", "restore", *OWN_FUNCTIONS)},
    "an own variable": child("_own").replace("function", "variable"),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects(name: str) -> None:
    check(saved(OBJECTS[name]))


TABLE, CALLED = "contains a table or another resource", "which may run while loading"
OTHERS = {
    "a resource": ("nodes { resource {} }", TABLE), "an asset": ("nodes { asset {} }", TABLE),
    "nothing": ("nodes {}", TABLE),
    "a saveable object": ('nodes { user_object {} saveable_objects { key: "a" } }', TABLE),
    "a registered saver": ('nodes { variable {} registered_saver: "a" }', TABLE),
    "a registered name": ('nodes { variable {} registered_name: "My.Own" }', r"another resource \(My.Own\)"),
    **{f"what hangs on a {kind}": (f"nodes {{ {kind} {{}} children {{}} }}", rf"another resource \({kind}\)")
       for kind in [kind for kind in KINDS if kind not in PARENTS]},
    "a private function": (child("_own"), f"object called _own, {CALLED}"),
    "a private bare function": (child("_own").replace("function", "bare_concrete_function"), CALLED),
    "a hook that is a variable": (child("_restore").replace("function", "variable"), f"called _restore, {CALLED}"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_objects(name: str) -> None:
    nodes, message = OTHERS[name]
    with pytest.raises(CompileError, match=message):
        check(saved(nodes))


def body(name: str, *nodes: str) -> str:
    return f'function {{ signature {{ name: "{name}" }} {" ".join(nodes)} }}'


def node(op: str, *called: str, word: str = "node_def") -> str:
    named = "".join(f'attr {{ key: "f" value {{ func {{ name: "{name}" }} }} }}' for name in called)
    return f'{word} {{ name: "a" op: "{op}" {named} }}'


def listed(op: str, name: str) -> str:
    """A node that names a function in a list."""
    return f'node_def {{ name: "a" op: "{op}" attr {{ key: "f" value {{ list {{ func {{ name: "{name}" }} }} }} }} }}'


OWN = 'concrete_functions { key: "own" value {} }'
OPS = {
    "ops that compute": (body("own", node("Relu"), node("AssignVariableOp"), node("If", "a"), node("Exit")), False),
    "calls": (body("own", node("PartitionedCall", "other")) + body("other", node("Relu")), True),
    "saving by nobody": (body("saver", node("SaveV2"), node("RestoreV2"), node("Relu")), True),
    "saving by its own": (body("own", node("SaveV2")), False),
    "saving by what it calls": (body("own", node("PartitionedCall", "b")) + body("b", node("SaveV2")), False),
    "saving by a choice": (body("own", listed("Case", "b")) + body("b", node("MergeV2Checkpoints")), False),
    "a call of nobody": (body("own", node("PartitionedCall", "absent")), True),
    "writing by nobody": (body("unused", node("WriteFile")), False),
    "a function of what computes": (body("own", node("Relu", "own2")), False),
    "functions of what computes": (body("own", listed("Relu", "own2")), False),
    "a function of what saves": (body("saver", node("SaveV2", "other")), False),
}


@pytest.mark.parametrize("name", OPS)
def test_ops_of_functions(name: str) -> None:
    functions, fine = OPS[name]
    model = saved(functions=functions, more=OWN)
    if fine:
        check(model)
    else:
        with pytest.raises(
            CompileError, match=r"contains the TensorFlow op \w+ \('a' of the function '\w+'\), which may"
        ):
            check(model)


def test_every_op() -> None:
    """Those on the lists, and no other, in the graph and in functions."""
    lists = allowed.PURE | allowed.KEPT | allowed.CALLS | allowed.CONTROL
    known = {op for op in dir(tf.raw_ops) if not op.startswith("__")} | {"MyOwn", "_Send", "XlaLaunch"}
    assert len(known) > 1000
    for op in sorted(known | lists | allowed.SAVER):
        for where, listed in ((node(op, word="node"), lists | allowed.SAVER), (body("own", node(op)), lists)):
            function = where.startswith("function")
            model = saved(functions=where, more=OWN) if function else saved(graph=where, more=OWN)
            if op in listed:
                check(model)
                continue
            place = "'a' of the function 'own'" if function else "'a'"
            with pytest.raises(CompileError, match=rf"contains the TensorFlow op {op} \({place}\), which may"):
                check(model)


def test_graphs() -> None:
    for model in (SavedModel(), Parse("meta_graphs {}", SavedModel())):
        with pytest.raises(CompileError, match="of TensorFlow 1, or of several graphs"):
            check(model)
    two = saved()
    two.meta_graphs.add().CopyFrom(two.meta_graphs[0])
    with pytest.raises(CompileError, match="or of several graphs"):
        check(two)


def test_functions_that_call_each_other() -> None:
    calls = partial(node, "PartitionedCall")
    with pytest.raises(CompileError, match="'a' calls itself"):
        check(saved(functions=body("a", calls("b")) + body("b", calls("a"))))
    check(saved(functions=body("a", calls("c"), calls("b")) + body("b", calls("c")) + body("c")))


def constant(dtype: int, *dims: int, key: str = "value", text: str = "tensor") -> str:
    shape = " ".join(f"dim {{ size: {size} }}" for size in dims)
    tensor = f"tensor {{ dtype: {dtype} tensor_shape {{ {shape} }} }}"
    value = tensor if text == "tensor" else f"list {{ {tensor} {tensor} }}"
    return f'node_def {{ name: "a" op: "Const" attr {{ key: "{key}" value {{ {value} }} }} }}'


@pytest.mark.parametrize(("nodes", "size"), [
    ([constant(1, 2, 3)], 24), ([constant(2, 5)], 40), ([constant(7, 5)], 160), ([constant(1)], 4), ([constant(10,
    0)], 0),
    ([constant(1, 2), constant(4, 3)], 11), ([constant(1, 2, text="list")], 16),
    ([constant(20, 2)], 64), ([constant(18, 2)], 32), ([constant(10, 3)], 3), ([constant(999, 2)], 64),
    ([constant(21, 2)], 64),
])  # fmt: skip
def test_what_constants_declare(nodes: list[str], size: int, at_most: Any) -> None:
    model, message = saved(functions=body("f", *nodes)), f"what its (constants|variables) declare is {size} bytes"
    at_most(limits, "MOST_BYTES", size, message, lambda: check(model))


def test_all_constants_together(at_most: Any) -> None:
    """Of the graph and all functions once, or of a function with what it calls: the larger."""
    calls = [node("PartitionedCall", "c")] * 3
    functions = body("f", constant(1, 5), *calls) + body("c", constant(1, 10))
    many = "".join(body(f"g{i}", constant(1, 10)) for i in range(4))
    for model, size in ((saved(functions=functions), 140), (saved(functions=functions + many), 220)):
        message = f"what its constants declare is {size} bytes"
        at_most(limits, "MOST_BYTES", size, message, lambda model=model: check(model))


@pytest.mark.parametrize(("made", "count"), [
    ({"op": "Relu"}, 1), ({"op": "NoOp"}, 1), ({"op": "TopKV2"}, 2), ({"op": "Unpack", "attr": {"num": {"i": 5}}}, 5),
    ({"op": "Unpack", "attr": {"num": {"i": 0}}}, 1),
])  # fmt: skip
def test_what_a_node_takes(made: dict[str, Any], count: int, at_most: Any) -> None:
    model = saved()
    function = model.meta_graphs[0].graph_def.library.function.add()
    function.signature.name = "f"
    function.node_def.add().CopyFrom(NodeDef(**made))
    at_most(saved_models, "MOST_NODES", count, "nodes|results", lambda: check(model))


@pytest.fixture(scope="module")
def plain_net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_plain(tmp_path_factory.mktemp("saved") / "net")


def test_files_of_a_folder(tmp_path: Path, at_most: Any) -> None:
    inside, outside = tmp_path / "net", tmp_path / "netting"
    (inside / "variables" / "deep").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_bytes(b"x" * 9)
    (inside / "saved_model.pb").write_bytes(b"x" * 8)
    (inside / "assets").symlink_to(outside)  # nobody reads it
    (inside / "variables" / "deep" / "link").symlink_to("../../saved_model.pb")
    at_most(limits, "MOST_BYTES", 8, "'saved_model.pb' is 8 bytes; at most 7 are read", lambda: check_files(inside))
    for name in ("saved_model.pb", "fingerprint.pb", "variables/deep/a", "debug"):
        path = inside / name
        before = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        path.write_bytes(b"x" * 9)
        at_most(limits, "MOST_BYTES", 9, f"'{name}' is 9 bytes; at most 8 are read", lambda: check_files(inside))
        path.unlink()
        for target in (outside / "file", outside, tmp_path / "absent"):
            path.symlink_to(target)
            with pytest.raises(CompileError, match=f"'{name}' links out of the folder"):
                check_files(inside)
            path.unlink()
        os.mkfifo(path)
        with pytest.raises(CompileError, match=f"'{name}' is not a regular file"):
            check_files(inside)
        path.unlink()
        if before is not None:
            path.write_bytes(before)


def objects(*signatures: str) -> Any:
    children = "".join(f'children {{ node_id: {i + 2} local_name: "{name}" }}' for i, name in enumerate(signatures))
    kinds = "".join(
        f'nodes {{ bare_concrete_function {{ concrete_function_name: "f_{name}" }} }}' for name in signatures
    )
    others = 'children { node_id: 0 local_name: "signature_other" } children { node_id: 1 local_name: "signatures" }'
    return saved(f"nodes {{ {others} }} nodes {{ {children} }} {kinds}").meta_graphs[0].object_graph_def.nodes


def test_which_signature_is_served() -> None:
    assert saved_models.served(objects("one", "serving_default")) == ("serving_default", "f_serving_default")
    assert saved_models.served(objects("one", "two")) == ("one", "f_one")
    with pytest.raises(CompileError, match="has no signature"):
        saved_models.served(objects())


def test_variables_are_constants() -> None:
    def made(op: str, name: str, *inputs: str, **attributes: Any) -> TfNode:
        return TfNode(op, name, tuple((i, 0) for i in inputs), attributes)

    handles = [made("Const", "v"), made("Identity", "w", "v"), made("Const", "x")]
    reads = [
        made("ReadVariableOp", "r", "w"),
        made("ResourceGather", "g", "v", "x", batch_dims=1),
        made("Relu", "y", "x"),
    ]
    found = {n.name: n for n in saved_models.without_handles([*handles, *reads], {"v"})}
    assert found["r"] == made("Identity", "r", "w") and found["y"] == reads[2]
    assert found["g"] == made("GatherV2", "g", "v", "x", "g/axis", batch_dims=1)
    assert found["g/axis"].op == "Const" and found["g/axis"].attrs == {"value": 1}
    found = {n.name: n for n in saved_models.without_handles([*handles, made("ResourceGather", "g", "v", "x")], {"v"})}
    assert found["g"].attrs == {"batch_dims": 0} and found["g/axis"].attrs == {"value": 0}
    for op in ("AssignAddVariableOp", "Relu", "VariableShape", "IdentityX"):
        with pytest.raises(CompileError, match=f"op {op} .* needs a variable, not its value"):
            saved_models.without_handles([*handles, made(op, "a", "x", "w")], {"v"})


def bound(change: Callable[[Any], object]) -> Callable[[Any], None]:
    """Change what the served function captures."""

    def edited(model: Any) -> None:
        for function in model.meta_graphs[0].object_graph_def.concrete_functions.values():
            if function.bound_inputs:
                change(function)

    return edited


def retyped(model: Any) -> None:
    for found in model.meta_graphs[0].object_graph_def.nodes:
        if found.WhichOneof("kind") == "variable":
            found.variable.dtype = 3


def reshaped(model: Any) -> None:
    for found in model.meta_graphs[0].object_graph_def.nodes:
        if found.WhichOneof("kind") == "variable":
            found.variable.shape.dim.add(size=1)


def child_number(number: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model.meta_graphs[0].object_graph_def.nodes[0].children[0].node_id = number

    return change


def signature_number(number: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        nodes = model.meta_graphs[0].object_graph_def.nodes
        (signatures,) = (nodes[c.node_id] for c in nodes[0].children if c.local_name == "signatures")
        signatures.children[0].node_id = number

    return change


def no_result(model: Any) -> None:
    for found in model.meta_graphs[0].graph_def.library.function:
        found.signature.ClearField("output_arg")


def negative_sizes(model: Any) -> None:
    added = product(model).node_def.add(name="a", op="Const").attr["value"].tensor
    added.dtype = 1
    for size in (-2, -3):
        added.tensor_shape.dim.add(size=size)


def mul(model: Any) -> Any:
    return next(n for n in product(model).node_def if n.op == "Mul")


DAMAGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "a number of no object": (bound(lambda f: f.bound_inputs.__setitem__(0, 10**6)), "the SavedModel is damaged"),
    "an object without a value": (bound(lambda f: f.bound_inputs.__setitem__(0, 0)), "a user_object without a value"),
    "more than it takes": (bound(lambda f: f.bound_inputs.extend([f.bound_inputs[0]] * 9)), "takes -8 values"),
    "no such function": (lambda m: m.meta_graphs[0].object_graph_def.concrete_functions.clear(), "is damaged"),
    "another type": (retyped, r"is float32 \(3,\) in the checkpoint, and int32 \(3,\) in the graph"),
    "another shape": (reshaped, r"is float32 \(3,\) in the checkpoint, and float32 \(3, 1\) in the graph"),
    "a part that is not there": (child_number(10**6), "it names object 1000000 of"),
    "a part before the first": (child_number(-1), "it names object -1 of"),
    "a signature that is no function": (signature_number(0), "it has no function ''"),
    "a type that nobody knows": (lambda m: setattr(mul(m).attr["T"], "type", 99), "a type has the number 99"),
    "too few operands": (lambda m: mul(m).input.pop(), "op Mul .* takes 2 operands, not 1"),
    "too many operands": (lambda m: mul(m).input.append(mul(m).input[0]), "op Mul .* takes 2 operands, not 3"),
    "two nodes of one name": (lambda m: product(m).node_def.add().CopyFrom(mul(m)), "has two nodes of one name"),
    "no result": (no_result, "takes 1 values and gives 0"),
    "negative sizes": (negative_sizes, r"a constant has the shape \[-2, -3\]"),
    "no such operand": (lambda m: mul(m).input.__setitem__(0, "absent:y:0"), "which it does not have"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged(name: str, plain_net: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain_net, tmp_path / "net"))
    change, message = DAMAGES[name]
    edit(folder, change)
    with pytest.raises(CompileError, match=message) as error:
        import_model(folder)
    assert str(error.value).startswith(f"{folder}: ")


def test_objects_in_circles_and_beside_the_checkpoint(tmp_path: Path) -> None:
    """An object that holds itself is looked at once, one that the checkpoint does not know has no value; and outputs
    without names have none."""
    model = Plain()
    model.inner = tf.Module()
    model.inner.outer = model
    tf.saved_model.save(model, tmp_path / "net", signatures=model.__call__)

    def change(saved: Any) -> None:
        nodes = saved.meta_graphs[0].object_graph_def.nodes
        nodes.add().user_object.identifier = "_generic_user_object"
        nodes[0].children.add(node_id=len(nodes) - 1, local_name="later")
        saved.meta_graphs[0].signature_def["serving_default"].outputs["further"].name = "x:0"

    edit(tmp_path / "net", change)
    graph = import_model(tmp_path / "net")
    x = np.float32([[1, 2, 3]])
    assert interpret.outputs(graph, [x])[0].tolist() == [[2, 6, 12]] and graph.output_names != ("further",)


def test_without_a_checkpoint(plain_net: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain_net, tmp_path / "net"))
    shutil.rmtree(folder / "variables")
    refused(folder, "captures a variable without a value")


def checked(path: Path) -> int:
    with h5py.File(path) as file, path.open("rb") as stored:
        return check_hdf5("here", file, stored)


def test_containers(tmp_path: Path, at_most: Any) -> None:
    """Sizes at their limits: what is declared and what is stored, and what a list names again."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("layer/deep")
        group["w"] = np.zeros(10, np.float32)
        group["v"] = np.zeros((2, 3), np.float64)
        group["one"], group["empty"] = 3.0, h5py.Empty("f4")
        group["again"] = group["w"]
        group.attrs["weight_names"] = np.array([b"w", b"v"])
        group.attrs["weight_names1"] = np.array([b"v", b"./w", b"absent", b"."])
        group.attrs["other_names"] = np.array([b"v", b"v"])
        plain = 40 + 48 + 8
    most = plain + 48 + 40
    most += 2 * 1 + 4 * 6 + 2 * 1  # the attributes
    assert checked(path) == most
    at_most(limits, "MOST_BYTES", most, f"here: what its datasets declare is {most} bytes", lambda: checked(path))


def join(path: Path, length: int, count: int) -> None:
    """Let the references that follow that to a text of this length be equal to it."""
    data = bytearray(path.read_bytes())
    where = data.find(struct.pack("<I", length))
    while data[int.from_bytes(data[where + 4 : where + 12], "little") :][:4] != b"GCOL":
        where = data.find(struct.pack("<I", length), where + 1)
    data[where : where + 16 * count] = data[where : where + 16] * count
    path.write_bytes(data)


def test_texts_that_are_one(tmp_path: Path) -> None:
    """A list of a thousand names, each of them the same text of a megabyte, would be read as a gigabyte."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        names = np.array([b"x" * 2**20, *[b"a"] * 999], object)
        file.attrs.create("weight_names", names, dtype=h5py.string_dtype())
    assert checked(path) == 0
    assert path.stat().st_size < 2**21
    join(path, 2**20, 1000)
    with pytest.raises(CompileError, match=r"here: what its texts may take is 1,0.*at most 134,217,728"):
        checked(path)


def test_long_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        for i in range(64):
            file.attrs[f"text{i}"] = "x" * 4104
    checked(path)
    with h5py.File(path, "a") as file:
        file.attrs["one more"] = "x" * 4104
    with pytest.raises(CompileError, match="has 65 texts of more than 4096 bytes; at most 64 are read"):
        checked(path)


def test_short_addresses(tmp_path: Path) -> None:
    plist = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    plist.set_sizes(4, 4)
    h5py.h5f.create(bytes(tmp_path / "a.h5"), fcpl=plist).close()
    with pytest.raises(CompileError, match="has addresses that are not of 8 bytes"):
        checked(tmp_path / "a.h5")


@pytest.mark.parametrize(("value", "message"), [
    (np.array([1, 2]), "has weight_names that are not texts, but int64"), (h5py.Empty("f4"), "but Empty"),
    (np.zeros(0), None),
    ("time", "has an attribute 'weight_names' that is neither numbers nor texts"),
    (np.array([(1, 2)], [("a", "i4"), ("b", "i4")]), "has an attribute 'weight_names' that is neither"),
])  # fmt: skip
def test_attributes_of_other_types(value: Any, message: str | None, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if isinstance(value, str):
            kind = h5py.h5t.UNIX_D32LE
            h5py.h5a.create(file.id, b"weight_names", kind, h5py.h5s.create(h5py.h5s.SCALAR))
        else:
            file.attrs["weight_names"] = value
    if message is None:
        checked(tmp_path / "a.h5")
    else:
        with pytest.raises(CompileError, match=message):
            checked(tmp_path / "a.h5")


@pytest.mark.parametrize(("kind", "message"), [
    ("one file", "is stored in other files"), ("two files", "is stored in other files"), ("filter", "is encoded"),
    ("half", "declares 128 bytes but stores 64"),
    ("texts", "contains strings or other elements of variable length"),
    ("texts within", "contains strings or other elements of variable length"), ("soft", "is a symbolic link"),
    ("external", "is a link to another file"), ("virtual", "is a virtual dataset"), ("dangling", "is a symbolic link"),
])  # fmt: skip
def test_datasets(kind: str, message: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("deep")
        if kind in ("one file", "two files"):
            parts = [(str(tmp_path / name), 0, 8) for name in ("a", "b")][: 1 if kind == "one file" else 2]
            group.create_dataset("x", (2 * len(parts),), "f4", external=parts)
        elif kind == "filter":
            group.create_dataset("x", data=np.zeros(4, np.float32), shuffle=True, chunks=(4,))
        elif kind == "half":
            group.create_dataset("x", (32,), "f4", chunks=(16,))[:16] = 1.0
        elif kind == "texts":
            group.create_dataset("x", (2,), h5py.string_dtype())
        elif kind == "texts within":
            group.create_dataset("x", (2,), np.dtype([("n", "f4"), ("s", h5py.string_dtype())]))
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4,), "f4")
            layout[:] = h5py.VirtualSource(tmp_path / "b.h5", "b", (4,))
            group.create_virtual_dataset("x", layout)
        else:
            file["y"] = np.zeros(3)
            links = {
                "soft": h5py.SoftLink("/y"),
                "dangling": h5py.SoftLink("/no"),
                "external": h5py.ExternalLink("a", "/b"),
            }
            group["x"] = links[kind]
    with pytest.raises(CompileError, match=rf"here: '/deep/x' {message}"):
        checked(tmp_path / "a.h5")
