# SPDX-License-Identifier: Apache-2.0
"""The spiking network that equals a compiled one, as a NIR file with its proof.  Uses the IR."""
