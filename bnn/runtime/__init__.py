# SPDX-License-Identifier: Apache-2.0
"""Run compiled models through the C library.  Knows bnn.h and the errors: nothing of the compiler."""

from .model import MOST_THREADS, Macs, Model, OpInfo, TensorInfo, available_kernels, load

__all__ = ["MOST_THREADS", "Macs", "Model", "OpInfo", "TensorInfo", "available_kernels", "load"]
