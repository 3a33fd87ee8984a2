# SPDX-License-Identifier: Apache-2.0
"""Data sets, networks, and how they are trained; knows nothing of the other tools."""


class UserError(ValueError):
    """What the user can put right; the message says how."""
