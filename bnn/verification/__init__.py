# SPDX-License-Identifier: Apache-2.0
"""Check that a compiled model equals its source: layer by layer, and spike for spike in other people's simulators.

The function is ``bnn.verify``; a package of that name would replace it once one of its modules is imported.
"""
