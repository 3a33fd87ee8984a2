# SPDX-License-Identifier: Apache-2.0
"""bnn: compile binarized neural networks and run them as bits.

    import bnn
    model = bnn.compile(keras_model)      # or a path: .keras, .h5, a SavedModel folder, .tflite
    model.save("net.bnn")
    model = bnn.load("net.bnn")
    y = model(x)                          # x: float32 (N, H, W, C), or bytes

Running needs only NumPy and cffi; TensorFlow is imported only when a model is compiled.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from ._distribution import foreign_distribution  # first: see foreign_package
from ._version import __version__
from .errors import (
    BnnError,
    ClosedModelError,
    CompileError,
    CompileWarning,
    EnvironmentVariableError,
    InputError,
    InputTypeError,
    ModelFileError,
    ModelFormatError,
    ModelNotFoundError,
    SetupError,
    UnsupportedOpError,
    VerifierError,
)
from .runtime import Model, Preprocessing, load

if _problem := foreign_distribution():
    warnings.warn(_problem, RuntimeWarning, stacklevel=2)

__all__ = [
    "BnnError",
    "ClosedModelError",
    "CompileError",
    "CompileWarning",
    "EnvironmentVariableError",
    "InputError",
    "InputTypeError",
    "Model",
    "ModelFileError",
    "ModelFormatError",
    "ModelNotFoundError",
    "Preprocessing",
    "SetupError",
    "UnsupportedOpError",
    "VerifierError",
    "__version__",
    "calibrate",
    "compile",
    "emit_c",
    "emit_nir",
    "event_sources",
    "events",
    "load",
    "read_picture",
    "snn",
    "streams",
    "verify",
    "verify_nir",
    "verify_snn",
]


if TYPE_CHECKING:
    from . import events, snn, streams
    from .calibration import calibrate
    from .cli.inputs import read_picture
    from .compiler import compile, emit_c, emit_nir
    from .streams import recordings as event_sources
    from .verification.nir import verify_nir
    from .verification.over_time import verify as verify_snn
    from .verification.synchronous import verify

# Imported when first used, so that loading and running a model stays light.
_LAZY = {
    "calibrate": ("calibration", "calibrate"),
    "compile": ("compiler", "compile"),
    "emit_c": ("compiler", "emit_c"),
    "emit_nir": ("compiler", "emit_nir"),
    "event_sources": ("streams.recordings", ""),  # its former name
    "events": ("events", ""),
    "read_picture": ("cli.inputs", "read_picture"),
    "snn": ("snn", ""),
    "streams": ("streams", ""),
    "verify": ("verification.synchronous", "verify"),
    "verify_nir": ("verification.nir", "verify_nir"),
    "verify_snn": ("verification.over_time", "verify"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'bnn' has no attribute '{name}'")
    module, attribute = _LAZY[name]
    loaded = importlib.import_module(f".{module}", __name__)
    return getattr(loaded, attribute) if attribute else loaded
