# SPDX-License-Identifier: Apache-2.0
"""Run compiled models with the C library.  Uses bnn.h and the errors; nothing from the compiler."""

from .model import MOST_THREADS, Macs, Model, OpInfo, TensorInfo, available_kernels, load

__all__ = ["MOST_THREADS", "Macs", "Model", "OpInfo", "TensorInfo", "available_kernels", "load"]
