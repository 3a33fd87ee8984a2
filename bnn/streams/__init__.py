# SPDX-License-Identifier: Apache-2.0
"""What both engines of spikes share: recordings, answers over time, energy by stated constants, pictures and pages."""

from . import recordings

__all__ = ["recordings"]
