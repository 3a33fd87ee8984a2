# SPDX-License-Identifier: Apache-2.0
"""bnn snn compile: a NIR file becomes a .snn file, with the rules of the simulator that it is for."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import click

from .._text import printable
from ..errors import InputError
from ..runtime.progress import waiting
from ..runtime.summary import quantity
from ..snn.compiler import INPUTS, WEIGHTS
from ..snn.model import SpikingModel, rule_text
from ..snn.simulators import SIMULATORS, SPIKE_FNS
from .apart import Limits, limit_options, run_apart
from .common import Place, check_outputs, check_suffix, json_option, print_json

RESETS = tuple(dict.fromkeys(reset for record in SIMULATORS.values() for reset in record.resets))


@click.command("compile", short_help="Compile a NIR file to a .snn file.")
@click.argument("nir", metavar="FILE.nir", type=Place("a NIR file, of networks of spiking neurons", exists=True))
@click.option("-o", "--output", metavar="NET.snn", type=click.Path(dir_okay=False, path_type=str),
              help="Output file.  Default: the file's name with .snn, in the current folder.")  # fmt: skip
@click.option("--simulator", "--as", "simulator", type=click.Choice(list(SIMULATORS)), required=True,
              help="The simulator that trained the network: its rules are what the file leaves open.")  # fmt: skip
@click.option("--dt", type=float, metavar="SECONDS", help="Duration of a step.  Default: the simulator's own.")
@click.option("--reset", type=click.Choice(RESETS),
              help="What a spike does to the membrane, which NIR does not say: snnTorch's reset_mechanism; Norse, "
                   "value or subtract; sinabs, subtract or zero.  Default: its own, with a warning.")  # fmt: skip
@click.option("--reset-delay", type=bool, metavar="YES|NO",
              help="snnTorch: whether the reset comes one step later.  Default: yes, as its neurons do.")  # fmt: skip
@click.option("--v-reset", type=float, metavar="V",
              help="Norse: what a spike leaves with --reset value.  Default: 0, as its neurons do.")  # fmt: skip
@click.option("--parametric", type=bool, metavar="YES|NO",
              help="SpikingJelly: whether LIF is ParametricLIFNode.  Default: no, it is LIFNode.")  # fmt: skip
@click.option("--spike-fn", type=click.Choice(SPIKE_FNS),
              help="sinabs: several spikes per step, or one.  Default: multi, as its neurons do.")  # fmt: skip
@click.option("--norm-input", type=bool, metavar="YES|NO",
              help="sinabs: norm_input of LIF and ExpLeak.  Default: yes, as its neurons do.")  # fmt: skip
@click.option("--tau-syn", type=float, metavar="STEPS",
              help="sinabs: the synaptic time constant of LIF; 0: none.  Default: none.")  # fmt: skip
@click.option("--min-v-mem", type=float, metavar="V",
              help="sinabs: the lowest membrane; -inf: none.  Default: none.")  # fmt: skip
@click.option("--inputs", type=click.Choice(list(INPUTS)), default="spikes", show_default=True,
              help="What the input sends in a step.")  # fmt: skip
@click.option("--weights", type=click.Choice(WEIGHTS), default="float32", show_default=True,
              help="int8: round weights to k * 2^-e, -127 <= k <= 127, per node; biases to k * 2^-e.")  # fmt: skip
@limit_options
@json_option
def snn_compile(nir: str, output: str | None, limits: Limits, as_json: bool, **options: Any) -> None:
    """Compile FILE.nir to the network that a simulator makes of it, spike for spike.

    A NIR file does not say what happens in a step: the comparison with the threshold, the reset and its moment, the
    order of updates.  --simulator says whose they are.  What that simulator would ignore or get wrong is refused by
    name.  What the file leaves open of its neurons is taken as they have it by default; a warning says so, and how to
    say something else.

    The file is read in a separate process, limited by --max-memory and --timeout.
    """
    if nir.endswith(".snn"):
        raise InputError(f"{nir}: is a compiled network; give the .nir file that it came from")
    target = output or Path(nir).stem + ".snn"
    check_suffix("-o", target, [".snn"])
    check_outputs({"-o": target}, [nir])
    with waiting(f"compiling {nir}"):
        made = run_apart("compile_snn", nir, limits, {}, **options)
    model = SpikingModel.from_bytes(base64.b64decode(made["data"]))
    model.save(target)
    rows = [(p.name, "x".join(map(str, p.shape)), p.size, rule_text(p)) for p in model.populations]
    size = len(model.to_bytes())
    if as_json:
        populations = [dict(zip(("name", "shape", "neurons", "rule"), row, strict=True)) for row in rows]
        facts = {"nir": nir, "output": target, "bytes": size, "dt": model.dt or None, "populations": populations}
        print_json({**facts, "warnings": made["warnings"]})
        return
    for name, shape, neurons, rule in rows:
        print(f"{printable(name)}: {shape} = {quantity(neurons, 'neuron')}: {rule}")
    whole = sum(p.whole for p in model.projections)
    how = "rounded to 8 bits" if options["weights"] == "int8" else "stored in 8 bits, exactly"
    print(f"{quantity(len(model.projections), 'projection')}, {whole} of them {how}; {model.step_text}")
    print(f"wrote {target}: {size:,} bytes")
    for text in made["warnings"]:
        print(f"warning: {text}")
