# SPDX-License-Identifier: Apache-2.0
"""What runs by events and over time share: recordings, answers, reports with energy, pictures and pages."""

from . import recordings

__all__ = ["recordings"]
