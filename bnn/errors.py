# SPDX-License-Identifier: Apache-2.0
"""All errors of the package.  They share one base, and each is also the builtin that a caller would expect."""

from __future__ import annotations

import sys

from ._distribution import foreign_package


class BnnError(Exception):
    """Base of all errors raised by this package."""


class CompileError(BnnError, ValueError):
    """A model cannot be compiled; the message names the layer and what to do."""


class UnsupportedOpError(CompileError, NotImplementedError):
    """The model uses an operation (or a form of it) that the compiler does not know."""


class VerifierError(BnnError, AssertionError):
    """A pass broke a rule of the IR: a bug of the compiler, never of the user."""


class ModelFormatError(BnnError, ValueError):
    """A .bnn file is damaged, truncated, of another version or contradicts itself."""


class ModelFileError(ModelFormatError, OSError):
    """A .bnn file cannot be opened, read or written: a folder, a permission, a full disk."""


class ModelNotFoundError(ModelFileError, FileNotFoundError):
    """There is no file at the path."""


class InputError(BnnError, ValueError):
    """An array handed to a model has the wrong shape, type or layout."""


class InputTypeError(InputError, TypeError):
    """The same for a wrong type."""


class ClosedModelError(BnnError, ValueError):
    """A model was used after it was closed."""


class EnvironmentVariableError(BnnError, ValueError):
    """An environment variable of this package (BNN_KERNELS, BNN_THREADS) has a value that cannot be used."""


class SetupError(BnnError, RuntimeError):
    """Something that must be installed or set before is not (TensorFlow, tf-keras, the C extension)."""


# Every module of the package needs this one: so none of them works below a package that is not theirs.
if _problem := foreign_package(sys.modules["bnn"]):
    raise SetupError(_problem)
