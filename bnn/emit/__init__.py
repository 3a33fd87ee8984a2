# SPDX-License-Identifier: Apache-2.0
"""Writers of other forms of a compiled network."""
