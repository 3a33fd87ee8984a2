# SPDX-License-Identifier: Apache-2.0
"""The C extension.  Other modules import it from here, so that a useful error appears if it cannot be used."""

from __future__ import annotations

from typing import Any

from .._distribution import broken_extension
from .._version import __version__
from ..errors import SetupError

try:
    from .._native import ffi, lib
except ImportError as error:
    raise SetupError(broken_extension(error)) from error
_built = ffi.string(getattr(lib, "BNN_PACKAGE_VERSION", ffi.new("char[]", b"unknown"))).decode()
if _built != __version__:
    raise SetupError(broken_extension(f"it is of version {_built}, the package {__version__}"))

CData = Any  # cffi's objects, which have no public type

__all__ = ["CData", "ffi", "lib"]
