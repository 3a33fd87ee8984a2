# SPDX-License-Identifier: Apache-2.0
"""The .bnn file: how bits and floats are stored, how a RUNTIME graph is written and read.  Uses the IR."""
