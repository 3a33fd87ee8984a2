# SPDX-License-Identifier: Apache-2.0
"""bnn snn compile: a NIR file, torch module or Nengo network becomes a .snn file, with its simulator's rules."""

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
from .common import Place, check_outputs, check_suffix, json_option, print_json, refuse

RESETS = tuple(dict.fromkeys(reset for record in SIMULATORS.values() for reset in record.resets))


#: What a NIR file leaves open, and a module does not.
_OPEN = ("dt", "reset", "reset_delay", "v_reset", "parametric", "spike_fn", "norm_input", "tau_syn", "min_v_mem")


class _Source(Place):
    """A NIR file, or FILE.py:NAME."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if _is_module(value) else super().convert(value, param, ctx)


def _is_module(source: str) -> bool:
    return source.rpartition(":")[0].endswith(".py")


def _task(source: str, sample: str | None, unsafe: bool, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What the separate process does with a source, and its arguments."""
    nengo = options["simulator"] == "nengo"
    if not _is_module(source):
        if source.endswith(".py"):
            raise InputError(f"{source}: found a Python file, expected {source}:NAME, the name of the network in it")
        refuse((("sample", "unsafe"), "is for FILE.py:NAME; leave it out"))
        if nengo:
            raise InputError(f"{source}: found no Python file; --simulator nengo is for FILE.py:NAME, a nengo.Network")
        return "compile_snn", options
    if nengo:
        refuse((("sample", "inputs", "weights", *_OPEN[1:]), "is not for networks of Nengo; leave it out"))
    else:
        refuse((_OPEN, "is for NIR files, and a module says it itself; leave it out"))
    if not unsafe:
        path = source.rpartition(":")[0]
        raise InputError(f"{source}: compiling it runs {path}, with your rights; if you trust it, say --unsafe")
    if nengo:
        return "compile_nengo", {} if options["dt"] is None else {"dt": options["dt"]}
    if sample is None:
        raise InputError(f"{source}: found no --sample; expected an input as the module takes it, a .npy file")
    return "compile_module", {"sample": sample, **{k: value for k, value in options.items() if k not in _OPEN}}


@click.command("compile", short_help="Compile a NIR file, torch module or Nengo network to a .snn file.")
@click.argument("source", metavar="FILE.nir|FILE.py:NAME",
                type=_Source("a NIR file, of networks of spiking neurons", exists=True))  # fmt: skip
@click.option("-o", "--output", metavar="NET.snn", type=click.Path(dir_okay=False, path_type=str),
              help="Output file.  Default: the file's name with .snn, in the current folder.")  # fmt: skip
@click.option("--simulator", "--as", "simulator", type=click.Choice([*SIMULATORS, "nengo"]), required=True,
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
@click.option("--sample", metavar="X.npy", type=click.Path(exists=True, dir_okay=False, path_type=str),
              help="FILE.py:NAME: one input as the module takes it, with the batch: .npy or .npz.")  # fmt: skip
@click.option("--unsafe", is_flag=True, help="FILE.py:NAME: run the Python file.  Only for files you trust.")
@limit_options
@json_option
def snn_compile(
    source: str, output: str | None, sample: str | None, unsafe: bool, limits: Limits, as_json: bool, **options: Any
) -> None:  # fmt: skip
    """Compile FILE.nir to the network that a simulator makes of it, spike for spike; or a torch module, or a network of
    Nengo.

    A NIR file does not say what happens in a step: the comparison with the threshold, the reset and its moment, the
    order of updates.  --simulator says whose they are.  What that simulator would ignore or get wrong is refused by
    name.  What the file leaves open of its neurons is taken as they have it by default; a warning says so, and how to
    say something else.

    FILE.py:NAME is a module that was trained in the simulator: what FILE.py calls NAME, or what that returns when it is
    called.  This runs FILE.py, with your rights, so it needs --unsafe.  The module runs on --sample, and its network is
    compared with it.  With --simulator nengo it is a nengo.Network, which needs no sample: Nengo runs it.

    \b
    bnn snn compile net.nir --simulator norse
    bnn snn compile train.py:net --simulator snntorch --sample x.npy --unsafe
    bnn snn compile model.py:net --simulator nengo --unsafe

    The file is read in a separate process, limited by --max-memory and --timeout.
    """
    if source.endswith(".snn"):
        raise InputError(f"{source}: is a compiled network; give the .nir file that it came from")
    path = source.rpartition(":")[0] if _is_module(source) else source
    target = output or Path(path).stem + ".snn"
    check_suffix("-o", target, [".snn"])
    check_outputs({"-o": target}, [path, sample])
    task, arguments = _task(source, sample, unsafe, options)
    with waiting(f"compiling {source}"):
        made = run_apart(task, source, limits, {}, **arguments)
    model = SpikingModel.from_bytes(base64.b64decode(made["data"]))
    model.save(target)
    rows = [(p.name, "x".join(map(str, p.shape)), p.size, rule_text(p)) for p in model.populations]
    size = len(model.to_bytes())
    if as_json:
        populations = [dict(zip(("name", "shape", "neurons", "rule"), row, strict=True)) for row in rows]
        facts = {"output": target, "bytes": size, "dt": model.dt or None, "populations": populations}
        facts = {"source" if _is_module(source) else "nir": source, **facts}
        print_json({**facts, "warnings": made["warnings"]})
        return
    for name, shape, neurons, rule in rows:
        print(f"{printable(name)}: {shape} = {quantity(neurons, 'neuron')}: {rule}")
    whole = sum(p.whole for p in model.projections)
    how = "rounded to 8 bits" if options["weights"] == "int8" else "stored in 8 bits, exactly"
    stored = f", {whole} of them {how}" if whole else ""
    print(f"{quantity(len(model.projections), 'projection')}{stored}; {model.step_text}")
    print(f"wrote {target}: {size:,} bytes")
    for text in made["warnings"]:
        print(f"warning: {text}")
