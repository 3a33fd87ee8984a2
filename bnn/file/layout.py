# SPDX-License-Identifier: Apache-2.0
"""The fixed parts of a .bnn file, for its writer and its reader; docs/model-format.md is the specification."""

from __future__ import annotations

import struct

SIGNATURE = b"\x89BNN\r\n\x1a\n"
VERSION = 2
ALIGNMENT = 64
HEADER = struct.Struct("<8sIIQIIIIQQQQQQQQ24x")
TENSOR = struct.Struct("<4B4I4HIQQ4I")
OP = struct.Struct("<IIII4I")  # before the operands' numbers and the attributes


def aligned(size: int, alignment: int = ALIGNMENT) -> int:
    """``size`` rounded up."""
    return -(-size // alignment) * alignment
