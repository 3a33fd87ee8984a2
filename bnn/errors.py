# SPDX-License-Identifier: Apache-2.0
"""All errors of the package.  They share one base, and each is also the builtin that a caller would expect."""

from __future__ import annotations

import sys

from ._distribution import foreign_package
from ._text import clipped, printable


class BnnError(Exception):
    """Base of all errors raised by this package.  The text is one line that a terminal may show, whatever the names in
    it, the longest without their middle; ``args`` has the names as they are."""

    def __str__(self) -> str:
        return clipped(printable(super().__str__()))


class CompileError(BnnError, ValueError):
    """A model cannot be compiled; the message names the layer and the remedy."""


class UnsupportedOpError(CompileError, NotImplementedError):
    """The model uses an operation, or a form of it, that the compiler does not support."""


class VerifierError(BnnError, AssertionError):
    """A pass broke a rule of the IR: a bug in the compiler, never the user's mistake."""


class ModelFormatError(BnnError, ValueError):
    """A .bnn file is damaged, truncated, contradictory or of another version."""


class ModelFileError(ModelFormatError, OSError):
    """A .bnn file cannot be opened, read or written: a folder, a permission, a full disk."""


class ModelNotFoundError(ModelFileError, FileNotFoundError):
    """There is no file at the path."""


class InputError(BnnError, ValueError):
    """An array or argument is wrong: shape, type, layout or value."""


class InputTypeError(InputError, TypeError):
    """An array or argument has the wrong type."""


class ClosedModelError(BnnError, ValueError):
    """A model was used after it was closed."""


class EnvironmentVariableError(BnnError, ValueError):
    """An environment variable of this package (BNN_KERNELS, BNN_THREADS) has an invalid value."""


class SetupError(BnnError, RuntimeError):
    """A requirement is not installed or not set up (TensorFlow, tf-keras, the C extension)."""


class CompileWarning(UserWarning):
    """A layer is probably not what the model's author meant: its bits never change, or it could be binary.  Or
    metadata are not kept."""


# Every module of the package imports this one, so none of them works inside a foreign package.
if _problem := foreign_package(sys.modules["bnn"]):
    raise SetupError(_problem)
