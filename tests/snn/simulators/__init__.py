# SPDX-License-Identifier: Apache-2.0
"""Networks from NIR files against the simulators' own importers."""
