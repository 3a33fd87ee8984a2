# SPDX-License-Identifier: Apache-2.0
"""A simulator of what SpikingJelly makes of a NIR file: float32, one operation after the other."""
