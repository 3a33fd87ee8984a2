# SPDX-License-Identifier: Apache-2.0
"""What importers share: how compositions that many sources have are written in the IR.  Knows the IR alone.

An importer reads its source's op, gives its operands as nodes, and makes nodes through a :class:`layer.Layer`.
"""
