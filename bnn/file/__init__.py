# SPDX-License-Identifier: Apache-2.0
"""The .bnn file: how bits and floats lie in it, how a RUNTIME graph is written and read.  Knows the IR."""
