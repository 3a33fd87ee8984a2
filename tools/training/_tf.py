# SPDX-License-Identifier: Apache-2.0
"""Import TensorFlow so that Larq works with it.

Larq is written for Keras 2. TensorFlow 2.15 and older carry Keras 2; from 2.16 on `tf.keras` is
Keras 3 unless the package `tf-keras` is installed and TF_USE_LEGACY_KERAS=1 is in the environment
*before* TensorFlow is first imported. Every tool that needs TensorFlow gets it from `load()`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

_INSTALL = 'pip install "tensorflow>=2.15" tf-keras larq'
# The packages under which `import tensorflow` is published, most common first.
_DISTRIBUTIONS = ("tensorflow", "tensorflow-cpu", "tensorflow-macos", "tensorflow-intel")


class TensorFlowSetupError(ImportError):
    """TensorFlow, Keras 2 or Larq cannot be used as installed or as already imported."""


def _installed_version() -> tuple[int, int] | None:
    """(major, minor) of the installed TensorFlow without importing it; None if unknown."""
    for name in _DISTRIBUTIONS:
        try:
            major, minor = importlib.metadata.version(name).split(".")[:2]
        except importlib.metadata.PackageNotFoundError:
            continue
        return int(major), int(minor)
    return None


@contextlib.contextmanager
def _notes_withheld() -> Iterator[None]:
    """Keep what native code writes on stderr to itself, unless the block raises.

    TensorFlow's libraries report missing GPUs and the like before any log level is heeded; only
    the file descriptor stops them.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            if failed:
                held.seek(0)
                sys.stderr.write(held.read().decode(errors="replace"))


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise TensorFlowSetupError(
            f"cannot import {name} ({error}); training needs TensorFlow and Larq: {_INSTALL}"
        ) from error


def load() -> tuple[Any, Any, Any]:
    """Return the modules (tensorflow, Keras 2, larq); cheap after the first call.

    Raises TensorFlowSetupError when a package is missing, or when this process has already
    imported TensorFlow with Keras 3 (which cannot be undone).
    """
    if "tensorflow" not in sys.modules:
        # TensorFlow prints start-up notes on stderr; 2 leaves its errors.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        version = _installed_version()
        if version is None or version >= (2, 16):
            if importlib.util.find_spec("tensorflow") and not importlib.util.find_spec("tf_keras"):
                raise TensorFlowSetupError(
                    "TensorFlow 2.16 or newer comes with Keras 3, but Larq needs Keras 2; "
                    "install it: pip install tf-keras"
                )
            os.environ["TF_USE_LEGACY_KERAS"] = "1"
        elif not importlib.util.find_spec("tf_keras"):
            os.environ.pop("TF_USE_LEGACY_KERAS", None)  # it would look for Keras 2 there, without end
        with _notes_withheld():
            tf = _import("tensorflow")
            tf.config.list_physical_devices()  # looks for GPUs, and talks about it
    tf = _import("tensorflow")
    keras = tf.keras
    # tf-keras gives the API module no version; Keras 3 and the Keras 2 inside TensorFlow have one.
    found = str(getattr(keras, "__version__", "2"))
    if not found.startswith("2"):
        raise TensorFlowSetupError(
            f"TensorFlow {tf.__version__} was imported with Keras {found}, but Larq needs Keras 2; "
            "set TF_USE_LEGACY_KERAS=1 in the environment (with tf-keras installed) before "
            "anything imports tensorflow, then start Python again"
        )
    tf.get_logger().setLevel("ERROR")
    return tf, keras, _import("larq")
