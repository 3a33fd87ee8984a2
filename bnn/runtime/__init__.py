# SPDX-License-Identifier: Apache-2.0
"""Run compiled models with the C library.  Uses bnn.h and the errors; nothing from the compiler."""

from .._arguments import MOST_THREADS
from .arrays import TensorInfo
from .handles import Macs, OpInfo, available_kernels
from .model import Model, load
from .use import Preprocessing

__all__ = ["MOST_THREADS", "Macs", "Model", "OpInfo", "Preprocessing", "TensorInfo", "available_kernels", "load"]
