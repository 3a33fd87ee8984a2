# SPDX-License-Identifier: Apache-2.0
"""Whether a compiled model equals its source: layer by layer, and spike for spike in other people's simulators.

The function is ``bnn.verify``; a room of that name would take its place once a part of it is imported.
"""
