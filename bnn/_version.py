# SPDX-License-Identifier: Apache-2.0
"""The version, stated only here; setup and the package read it."""

__version__ = "0.1.0"
"""The version of the package, of the C library, and of what they install."""
