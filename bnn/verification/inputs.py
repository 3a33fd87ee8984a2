# SPDX-License-Identifier: Apache-2.0
"""The data on which two computations of a network are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .._types import Array
from ..errors import InputError
from ..runtime import Model
from ..runtime.arrays import check_inputs, spread


def checked(model: Model, data: Array | Sequence[Array] | Mapping[str, Array]) -> list[Array]:
    """One array (N, *shape) per input, with N > 0; numbers become float32, but bytes are not made of other numbers.

    Raises :class:`InputError` where the data do not fit the model.
    """
    names, dtypes = model.input_names, model.input_dtypes
    given = zip(spread(data, names), dtypes, strict=True)
    arrays = [np.asarray(a, np.float32) if dtype == np.float32 else a for a, dtype in given]
    arrays = check_inputs(arrays, names, model.input_shapes, dtypes)
    if not len(arrays[0]):
        raise InputError("found no images to compare, expected arrays (N, ...) with N > 0")
    return arrays
