# SPDX-License-Identifier: Apache-2.0
"""Keras models and SavedModels, by way of TensorFlow's graph.  Alone in importing TensorFlow, when it is called."""
