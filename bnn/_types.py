# SPDX-License-Identifier: Apache-2.0
"""Array types for annotations."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]  # any shape and dtype
Floats = np.ndarray[Any, np.dtype[np.float32]]
