# SPDX-License-Identifier: Apache-2.0
"""Small binary networks in PyTorch; each binarizes, scales, pads and orders its layers as its authors' code does."""

CLASSES = 10
