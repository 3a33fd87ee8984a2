# SPDX-License-Identifier: Apache-2.0
"""Its name is asked for, and nothing of it."""
