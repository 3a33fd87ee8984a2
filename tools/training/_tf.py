# SPDX-License-Identifier: Apache-2.0
"""Import TensorFlow so that Larq works with it: Larq is written for Keras 2.

TensorFlow 2.15 and older carry Keras 2; from 2.16 on ``tf.keras`` is Keras 3 unless the package tf-keras is installed
and TF_USE_LEGACY_KERAS=1 is in the environment *before* TensorFlow is first imported.
"""

from __future__ import annotations

import sys
from typing import Any

from bnn._distribution import INSTALL_LARQ
from bnn.cli.child import load_tensorflow
from bnn.errors import SetupError
from bnn.importers.tensorflow.load import tensorflow


def load() -> tuple[Any, Any, Any]:
    """Return the modules (tensorflow, Keras 2, larq); cheap after the first call.

    Raises SetupError when a package is missing, or when this process has already imported TensorFlow with Keras 3
    (which cannot be undone).
    """
    if "tensorflow" not in sys.modules:
        load_tensorflow()
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
        raise SetupError(f"training needs Larq, which cannot be imported ({error}); {INSTALL_LARQ}") from error
    return tf, tf.keras, larq
