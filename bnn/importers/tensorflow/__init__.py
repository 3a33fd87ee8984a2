# SPDX-License-Identifier: Apache-2.0
"""Keras models and SavedModels, read through TensorFlow's graph.  Imports TensorFlow only when called."""
