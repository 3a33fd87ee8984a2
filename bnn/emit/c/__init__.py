# SPDX-License-Identifier: Apache-2.0
"""A network as C for firmware: const tables and a list of calls; sees the graph, the file and the C sources."""
