# SPDX-License-Identifier: Apache-2.0
"""The importer of ONNX models, and of PyTorch modules, which PyTorch exports to ONNX."""
