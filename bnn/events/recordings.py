# SPDX-License-Identifier: Apache-2.0
"""The former name of :mod:`bnn.streams.recordings`."""

from ..streams.recordings import (
    EVENT,
    FORMATS,
    decode_aedat3,
    decode_nmnist,
    encode_nmnist,
    from_fields,
    read,
    structured_columns,
    whole_columns,
)  # fmt: skip

__all__ = [
    "EVENT", "FORMATS", "decode_aedat3", "decode_nmnist", "encode_nmnist", "from_fields", "read", "structured_columns",
    "whole_columns",
]  # fmt: skip
