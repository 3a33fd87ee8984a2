# SPDX-License-Identifier: Apache-2.0
"""The graph that every importer makes and every pass rewrites, its ops, its verifier and its oracle.

Knows NumPy and the errors: nothing of frameworks, files or C.
"""
