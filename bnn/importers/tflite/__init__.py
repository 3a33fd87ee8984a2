# SPDX-License-Identifier: Apache-2.0
"""Larq Compute Engine's .tflite files.  Imports the packages tflite and flatbuffers only when called."""
