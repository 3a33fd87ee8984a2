# SPDX-License-Identifier: Apache-2.0
"""bnn snn verify: a .snn file against the simulator whose rules it has."""

from __future__ import annotations

from typing import Any

import click

from ..errors import InputError
from .apart import Limits, limit_options
from .common import Place, json_option, refuse
from .verify import show_report


@click.command("verify", short_help="Compare a .snn file with the simulator, spike for spike.")
@click.argument("nir", metavar="FILE.nir", type=Place("a NIR file, of networks of spiking neurons", exists=True))
@click.argument("net", metavar="NET.snn", type=click.Path(path_type=str))
@click.option("--data", metavar="X.npy", type=click.Path(path_type=str),
              help="Inputs, channels first: .npy or .npz, (steps, ...) or (steps, samples, ...).")  # fmt: skip
@click.option("--samples", type=click.IntRange(1), default=1, show_default=True, help="Without --data: random ones.")
@click.option("--steps", type=click.IntRange(1), default=100, show_default=True, help="Steps of each random sample.")
@click.option("--rate", type=click.FloatRange(0, 1), default=0.1, show_default=True,
              help="With which probability an input sends in a step.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="For random samples.")
@click.option("--model", "module", metavar="FILE.py:NAME",
              help="Compare with the trained torch module, too: NAME of this Python file, which is run, or what it "
                   "returns when called.  Only your own files: they run with your rights.")  # fmt: skip
@click.option("--time-major", type=bool, metavar="YES|NO",
              help="Whether --model takes all steps at once, (steps, 1, ...).  Default: found out.")  # fmt: skip
@click.option("--allow-silent", is_flag=True, help="Do not fail where a population never sent anything.")
@limit_options
@json_option
def snn_verify(
    nir: str, net: str, data: str | None, module: str | None, time_major: bool | None, allow_silent: bool,
    limits: Limits, as_json: bool, **random: Any,
) -> None:  # fmt: skip
    """Compare NET.snn with the simulator, on FILE.nir, from which it was compiled.  Exit status 1: they differ.

    The engine is compared with its definition in NumPy, bit for bit; each population, fed with the simulator's own
    currents; and the whole network, alone.  If every sum is exact the spikes are proven equal; otherwise decisions
    within rounding of turning are counted.  The file does not say all that neurons do: --model compares with the module
    that you trained.

    \b
    bnn snn verify net.nir net.snn --data spikes.npy --model train.py:net

    The simulator (extra spiking) runs in a separate process, limited by --max-memory and --timeout.
    """
    if nir.endswith(".snn"):
        raise InputError(f"{nir}: is a compiled network; expected: bnn snn verify FILE.nir NET.snn")
    refuse(
        (("time_major",) if module is None else (), "is for --model; leave it out"),
        (random if data is not None else (), "is for random samples; leave out either it or --data"),
    )
    own = {"module": module, "time_major": time_major, "allow_silent": allow_silent}
    show_report("verify_snn", nir, limits, "loading the simulator", 1, as_json, net=net, data=data, **random, **own)
