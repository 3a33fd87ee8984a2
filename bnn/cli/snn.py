# SPDX-License-Identifier: Apache-2.0
"""bnn snn: networks of spiking neurons that live over many time steps.  A new subcommand is a file and a line here."""

from __future__ import annotations

import click

from .snn_compile import snn_compile
from .snn_convert import snn_convert
from .snn_inspect import snn_inspect
from .snn_run import snn_run
from .snn_verify import snn_verify


@click.group(short_help="Spiking networks that live over many time steps (.snn files).")
def snn() -> None:
    """Networks of spiking neurons that live over many time steps.

    \b
    bnn snn compile net.nir --simulator norse       compile a NIR file, for the simulator that trained it
    bnn snn verify net.nir net.snn                  compare every spike with that simulator's
    bnn snn convert model.keras --data images.npy   turn a ReLU network into counters that spike
    bnn snn inspect net.snn                         show populations, rules and projections
    bnn snn run net.snn --data spikes.npy           run on what the input sends over time
    bnn snn run net.snn --data digits.npy --coding rate --steps 100
    bnn snn run net.snn --recording 00002.bin       run on an event camera's recording
    """


for command in (snn_compile, snn_convert, snn_run, snn_verify, snn_inspect):
    snn.add_command(command)
