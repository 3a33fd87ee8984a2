# SPDX-License-Identifier: Apache-2.0
"""Networks of spiking neurons that live over many time steps, trained elsewhere and run in C spike for spike."""
