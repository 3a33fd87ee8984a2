# SPDX-License-Identifier: Apache-2.0
"""The graph that every importer makes and every pass rewrites, its ops, its verifier and its oracle.

Uses NumPy and the errors; nothing from frameworks, files or C.
"""
