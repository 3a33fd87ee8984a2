# SPDX-License-Identifier: Apache-2.0
"""Readers of trained models: each gives a SOURCE graph."""
