"""TensorFlow with Keras 2, which Larq needs, and without oneDNN, whose sums round otherwise: the choice must be made
before TensorFlow is imported."""

from __future__ import annotations

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
