# SPDX-License-Identifier: Apache-2.0
"""bnn emit: other forms of a compiled network; c: for firmware; nir: as spikes, for simulators and chips."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

from .._text import printable
from ..compiler import emit_c, emit_nir
from ..emit.c.interface import OUTPUTS, TARGETS
from ..emit.c.program import identifier
from ..emit.nir.write import PROFILES
from ..errors import InputError
from ..runtime import load
from ..runtime.progress import note, waiting
from .common import Place, check_outputs, check_suffix, json_option, net_argument, parse_size, print_json
from .inputs import InputOptions, read_arrays, reading_options


def _limit(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """A size that is a limit."""
    return None if text is None else parse_size(text, "16K or 1M")


@click.group(short_help="Write other forms of a .bnn file.")
def emit() -> None:
    """Write a compiled network in another form."""


@emit.command("nir", short_help="Write a spiking network that equals a .bnn file.")
@net_argument
@click.argument("output", metavar="[OUT.nir]", required=False, type=click.Path(dir_okay=False, path_type=str))
@click.option("--profile", type=click.Choice(PROFILES), default="if", show_default=True,
              help="Neurons: integrate-and-fire (if), leaky (lif), the same on vectors (flat, cuba).")  # fmt: skip
@click.option("--proof", "files", metavar="FILE", multiple=True, type=click.Path(path_type=str),
              help="Inputs for the proof: .npy, .npz or image files.  Default: random.")  # fmt: skip
@reading_options
@json_option
def emit_nir_command(
    net: str, output: str | None, profile: str, files: tuple[str, ...], reading: InputOptions, as_json: bool
) -> None:
    """Write NET.bnn as a spiking network in NIR, with a proof that they are equal (.proof.npz, .proof.json).

    The file begins where the network's values are bits; the command names the layers before that, the encoder.  If the
    network has no equal as spikes, for example because of a real-valued shortcut, an error names the layer and nothing
    is written.  Check the file in a simulator with `bnn verify --nir OUT.nir NET.bnn`.
    """
    target = output or f"{Path(net).stem}.nir"
    proof = f"{os.path.splitext(target)[0]}.proof"
    check_outputs({"OUT.nir": target, "the proof": f"{proof}.npz", "the proof's text": f"{proof}.json"}, [net, *files])
    check_suffix("OUT.nir", target, (".nir", ".h5", ".hdf5"))
    if os.path.exists(target) and not os.path.isfile(target):
        raise InputError(f"{target}: exists and is not a regular file; give the name of a file")
    model = load(net)
    proof_inputs = read_arrays(model, files, reading) if files else None
    with waiting(f"writing {target}"):
        summary = emit_nir(model, target, profile=profile, proof_inputs=proof_inputs)
    if as_json:
        print_json(asdict(summary))
    else:
        print(summary)


@emit.command("c", short_help="Write a .bnn file as C for firmware.")
@net_argument
@click.option("-o", "--folder", metavar="DIR", required=True, type=Place("a folder for the files: -o firmware"),
              help="Where to write the files; it is created if there is none.")  # fmt: skip
@click.option("--name", help="Name of the files and functions, like 'digits'.  Default: the .bnn file's name.")
@click.option("--target", type=click.Choice(tuple(TARGETS)), default="generic", show_default=True,
              help="The processor; all compute the same.")  # fmt: skip
@click.option("--output", type=click.Choice(OUTPUTS), default="values", show_default=True,
              help="What it gives: the network's outputs; logits, before a softmax; probabilities, after one; or "
                   "the index of the largest.")  # fmt: skip
@click.option("--fast", is_flag=True, help="Fewer instructions, more code.")
@click.option("--single-file", is_flag=True, help="All in one header.")
@click.option("--trace", is_flag=True, help="main.c can name the first layer that differs; takes more memory.")
@click.option("--stream", is_flag=True,
              help="The input is a window over time: a function takes new rows alone.")  # fmt: skip
@click.option("--max-ram", metavar="SIZE", callback=_limit,
              help="Fail, and name the largest layer, if it needs more memory: 16K.")  # fmt: skip
@click.option("--max-flash", metavar="SIZE", callback=_limit, help="The same of its tables; code comes to them.")
@click.option("--max-instructions", metavar="N", type=click.IntRange(1),
              help="The same of the instructions for an image or call, on a target that has them counted.")  # fmt: skip
@click.option("--vectors", "files", metavar="FILE", multiple=True, type=click.Path(path_type=str),
              help="Inputs that main.c tests: .npy, .npz or image files.  Default: random.")  # fmt: skip
@reading_options
@json_option
def emit_c_command(
    net: str, folder: str, name: str | None, target: str, output: str, fast: bool, single_file: bool, trace: bool,
    stream: bool, max_ram: int | None, max_flash: int | None, max_instructions: int | None, files: tuple[str, ...],
    reading: InputOptions, as_json: bool,
) -> None:  # fmt: skip
    """Write NET.bnn as C99 for firmware: const tables and a list of calls, the functions that it calls and no others,
    a program that tests it, and a README with what it costs.

    The code needs no file system, allocates nothing, and reads its weights where they are, in flash.  Its outputs have
    the same bytes on every processor.
    """
    check_outputs({}, [net, *files])
    model = load(net)
    vectors = read_arrays(model, files, reading) if files else None
    summary = emit_c(
        model, folder, name=name if name is not None else identifier(Path(net).stem), target=target, output=output,
        fast=fast, single_file=single_file, trace=trace, stream=stream, vectors=vectors, max_ram=max_ram,
        max_flash=max_flash, max_instructions=max_instructions,
    )  # fmt: skip
    for remark in summary.remarks:
        note(f"bnn: note: {remark}")
    if as_json:
        print_json(asdict(summary))
    else:
        print(f"{printable(folder)}: {summary}")
