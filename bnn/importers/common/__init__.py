# SPDX-License-Identifier: Apache-2.0
"""Shared by importers: source models, how they are run, and how common compositions are written in the IR.  Uses only
the IR.

An importer reads an op of its source, passes the operands as nodes, and makes nodes through a
:class:`.layer.SourceOp`.
"""
