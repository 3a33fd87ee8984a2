# SPDX-License-Identifier: Apache-2.0
"""Import TensorFlow so that Larq works with it: Larq is written for Keras 2.

TensorFlow 2.15 and older carry Keras 2; from 2.16 on ``tf.keras`` is Keras 3 unless the package tf-keras is installed
and TF_USE_LEGACY_KERAS=1 is in the environment *before* TensorFlow is first imported.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from bnn.errors import SetupError
from bnn.importers.tensorflow.load import tensorflow


@contextlib.contextmanager
def _notes_withheld() -> Iterator[None]:
    """Keep what native code writes on stderr to itself, unless the block raises.

    TensorFlow's libraries report missing GPUs and the like before any log level is heeded; only the file descriptor
    stops them.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(stderr, 2)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def load() -> tuple[Any, Any, Any]:
    """Return the modules (tensorflow, Keras 2, larq); cheap after the first call.

    Raises SetupError when a package is missing, or when this process has already imported TensorFlow with Keras 3
    (which cannot be undone).
    """
    if "tensorflow" not in sys.modules:
        with _notes_withheld():
            tensorflow().config.list_physical_devices()  # looks for GPUs, and talks about it
    tf = tensorflow()
    # tf-keras gives the API module no version; Keras 3 and the Keras 2 inside TensorFlow have one.
    found = str(getattr(tf.keras, "__version__", "2"))
    if not found.startswith("2"):
        raise SetupError(
            f"TensorFlow {tf.__version__} was imported with Keras {found}, but Larq needs Keras 2: "
            "pip install tf-keras, and set TF_USE_LEGACY_KERAS=1 in the environment before anything imports tensorflow"
        )
    tf.get_logger().setLevel("ERROR")
    try:
        import larq
    except ImportError as error:
        raise SetupError(f"training needs Larq, which cannot be imported ({error}); pip install larq") from error
    return tf, tf.keras, larq
