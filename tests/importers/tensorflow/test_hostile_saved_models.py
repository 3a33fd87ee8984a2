# SPDX-License-Identifier: Apache-2.0
"""SavedModels that name other files, are far larger than they seem, or go in circles: refused, and read as data."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bnn.errors import CompileError
from bnn.importers.common import limits
from bnn.importers.tensorflow import allowed, frozen, graphdef, run, saved_models
from conftest import Limit

from .hostile import edit, product, refused
from .models import import_model

keras = tf.keras
pytestmark = pytest.mark.timeout(method="thread")
Change = Callable[[Path], object]
HUGE = 2**31


def constant(shape: list[int], dtype: int = 1) -> Callable[[Any], None]:
    """A constant of one number, many times."""

    def change(saved: Any) -> None:
        node = product(saved).node_def.add(name="a", op="Const")
        node.attr["dtype"].type = dtype
        value = node.attr["value"].tensor
        value.dtype = dtype
        for size in shape:
            value.tensor_shape.dim.add(size=size)
        value.float_val.append(1.0)

    return change


def variable(saved: Any) -> None:
    nodes = saved.meta_graphs[0].object_graph_def.nodes
    (found,) = (n.variable for n in nodes if n.WhichOneof("kind") == "variable")
    found.shape.dim[0].size = HUGE


def many_calls(saved: Any) -> None:
    """2^40 nodes of 40 functions."""
    library = saved.meta_graphs[0].graph_def.library
    for i in range(40):
        body = library.function.add()
        body.signature.name = f"level_{i}"
        for name in ("a", "b"):
            body.node_def.add(name=name, op="PartitionedCall").attr["f"].func.name = f"level_{i + 1}"


def calls_in_a_row(saved: Any, first: int = 0, count: int = 1000) -> None:
    library = saved.meta_graphs[0].graph_def.library
    for i in range(first, first + count):
        body = library.function.add()
        body.signature.name = f"level_{i}"
        body.node_def.add(name="a", op="PartitionedCall").attr["f"].func.name = f"level_{i + 1}"


def test_as_many_calls_in_a_row_as_may_be(folder: Path) -> None:
    edit(folder / "net", partial(calls_in_a_row, count=allowed.MOST_CALLS))
    import_model(folder / "net")
    edit(folder / "net", partial(calls_in_a_row, first=allowed.MOST_CALLS, count=1))
    refused(folder / "net", "more than 100 functions call each other in a chain", "unsafe=True")


def results(saved: Any) -> None:
    split = product(saved).node_def.add(name="a", op="Unpack")
    split.attr["num"].i = 2**31
    split.input.append("x")


def many_results(saved: Any) -> None:
    """Each node has no more than may be read."""
    for i in range(200):
        split = product(saved).node_def.add(name=f"a{i}", op="Unpack")
        split.attr["num"].i = 2**17
        split.input.append("x")


def constant_of_calls(saved: Any) -> None:
    """A constant within the limit, of a function that is called often."""
    constant([2**27])(saved)
    (node,) = (n for n in product(saved).node_def if n.name == "a")
    body = saved.meta_graphs[0].graph_def.library.function.add()
    body.signature.name = "called"
    body.node_def.add().CopyFrom(node)
    product(saved).node_def.remove(node)
    for i in range(40):
        product(saved).node_def.add(name=f"c{i}", op="PartitionedCall").attr["f"].func.name = "called"


SAVED: dict[str, tuple[Callable[[Any], None], str]] = {
    "a constant": (constant([2**16, 2**16]), "what its constants declare is 17,179,869,"),
    "a variable": (variable, "what its variables declare is 8,589,934,592"),
    "calls of calls": (many_calls, "'level_0' has 2,199,023,255,550 nodes"),
    "results": (results, "has 2,147,483,648 results; at most 131,072 are read"),
    "many results": (many_results, "nodes and further results"),
    "a constant of calls": (constant_of_calls, "what its constants declare is 21,474,836,480"),
}


@pytest.mark.parametrize("name", SAVED)
def test_saved_models(name: str, folder: Path) -> None:
    change, message = SAVED[name]
    edit(folder / "net", change)
    refused(folder / "net", message, *([] if name == "results" else ["unsafe=True"]))


@pytest.mark.parametrize("name", ["net/variables/variables.index", "net/saved_model.pb", "net.keras", "net.h5"])
def test_pipes(name: str, folder: Path) -> None:
    """Whoever opens one waits for ever."""
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(folder / name.split("/")[0], "not a regular file")


def test_a_checkpoint_of_another_type(folder: Path) -> None:
    checkpoint = tf.train.Checkpoint(weight=tf.Variable(tf.zeros([3], tf.float64)))
    checkpoint.write(str(folder / "net" / "variables" / "variables"))
    refused(folder / "net", "'Variable' is float64 (3,) in the checkpoint, and float32 (3,) in the graph")


@pytest.mark.parametrize("shape", [(2,), (3, 4)])
def test_shapes_that_kernels_trust(shape: tuple[int, ...], folder: Path) -> None:
    """TensorFlow ends the whole process where it executes a convolution with them."""

    def change(saved: Any) -> None:
        function = product(saved)
        node = function.node_def.add(name="k", op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.ones(shape, np.float32)))
        node.attr["dtype"].type = 1
        node = function.node_def.add(name="w", op="Conv2D", input=["x", "k:output:0"])
        node.attr["T"].type = 1
        node.attr["strides"].list.i.extend([1, 1, 1, 1])
        node.attr["padding"].s = b"VALID"
        next(n for n in function.node_def if n.op == "Mul").input[1] = "w:output:0"

    edit(folder / "net", change)
    with pytest.raises(CompileError, match="Conv2D .* cannot be executed: Shape must be rank 4"):
        import_model(folder / "net")


def test_a_folder_with_the_name_of_the_checkpoint(folder: Path) -> None:
    """In it TensorFlow would find a list of checkpoints, which may lie anywhere."""
    expected = str(import_model(folder / "net"))
    other = tf.train.Checkpoint(weight=tf.Variable([41.0, 42.0, 43.0]))
    other.write(str(folder / "other"))
    listed = folder / "net" / "variables" / "variables"
    listed.mkdir()
    (listed / "checkpoint").write_text(f'model_checkpoint_path: "{folder}/other"\n')
    assert str(import_model(folder / "net")) == expected


@pytest.mark.parametrize("name", ["weight", "other"])
def test_other_checkpoints(name: str, folder: Path) -> None:
    checkpoint = tf.train.Checkpoint(**{name: tf.Variable(tf.zeros([2**17]))})
    checkpoint.write(str(folder / "net" / "variables" / "variables"))
    message = (
        "'Variable' is float32 (131072,) in the checkpoint, and float32 (3,)" if name == "weight" else "is damaged"
    )
    refused(folder / "net", message)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (limits, "MOST_BYTES"), (saved_models, "MOST_NODES"), (frozen, "MOST_NODES"), (run, "MOST_BYTES"),
        (graphdef, "MOST_BYTES"), (limits, "MOST_CONSTANTS"),
    ],
)  # fmt: skip
def test_as_much_as_each_limit_allows(module: Any, name: str, folder: Path, limit: Limit) -> None:
    """From nothing allowed on, to what is refused each time: then all of it is, and one less is not."""
    most = 0
    for _ in range(20):
        limit(f"{module.__name__}.{name}", most)
        try:
            import_model(folder / "net")
        except CompileError as error:
            found = re.search(r" (?:has|is|are|makes) ([\d,]+) (?:nodes|results|bytes)", str(error))
            assert found and f"at most {most:,} are" in str(error), str(error)
            assert int(found[1].replace(",", "")) > most
            most = int(found[1].replace(",", ""))
        else:
            break
    assert most > 0
    limit(f"{module.__name__}.{name}", most - 1)
    with pytest.raises(CompileError, match=rf" {most:,} .*at most {most - 1:,} are"):
        import_model(folder / "net")
