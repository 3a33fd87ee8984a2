# SPDX-License-Identifier: Apache-2.0
"""The .tflite files of TensorFlow Lite and Larq Compute Engine; imports tflite and flatbuffers only when called."""
