# SPDX-License-Identifier: Apache-2.0
"""The version, stated here alone; setup and the package read it."""

__version__ = "0.1.0"
