# SPDX-License-Identifier: Apache-2.0
"""Functions that a SavedModel would run while TensorFlow loads it are refused, unless it is trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from .hostile import Plain, refused
from .models import check, import_model


class Writes(tf.saved_model.experimental.TrackableResource):  # type: ignore[misc]
    """A resource of a SavedModel, whose functions TensorFlow runs while it loads it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    def _create_resource(self) -> Any:
        return tf.constant(0)

    def _initialize(self) -> None:
        tf.io.write_file(self.path, "x")


class Own(Plain):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    @tf.function(input_signature=[])  # type: ignore[untyped-decorator]
    def write(self) -> Any:
        tf.io.write_file(self.path, "x")
        return tf.constant(0)


def test_a_resource_of_a_saved_model(tmp_path: Path, witness: Path) -> None:
    model = Plain()
    tf.saved_model.save(model, tmp_path / "plain", signatures=model.__call__)
    check(str(tmp_path / "plain"), call=lambda x, training: model(x))
    model.resource = Writes(witness)
    tf.saved_model.save(model, tmp_path / "net", signatures=model.__call__)
    refused(tmp_path / "net", "contains a table or another resource", "unsafe=True")
    assert not witness.exists()
    import_model(tmp_path / "net", unsafe=True)
    assert witness.exists()


@pytest.mark.parametrize("name", ["_maybe_initialize_trackable", "_gather_saveables_for_checkpoint", "__del__", "_own"])
def test_a_function_of_a_saved_model_under_a_name_that_is_called(name: str, tmp_path: Path, witness: Path) -> None:
    tf.saved_model.save(Own(witness), tmp_path / "net")
    path = tmp_path / "net" / "saved_model.pb"
    saved = SavedModel()
    saved.ParseFromString(path.read_bytes())
    (child,) = (c for c in saved.meta_graphs[0].object_graph_def.nodes[0].children if c.local_name == "write")
    child.local_name = name
    path.write_bytes(saved.SerializeToString())
    refused(tmp_path / "net", f"an object called {name}", "unsafe=True")
    assert not witness.exists()


def test_a_saved_model_of_tensorflow_1(tmp_path: Path, witness: Path) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 3), "x")
        write = tf.io.write_file(str(witness), "x")
        v1.saved_model.simple_save(session, str(tmp_path / "net"), {"x": x}, {"y": x * 2.0}, legacy_init_op=write)
    refused(tmp_path / "net", "SavedModel of TensorFlow 1", "unsafe=True")
    assert not witness.exists()
