# SPDX-License-Identifier: Apache-2.0
"""bnn snn inspect: show the contents of a .snn file."""

from __future__ import annotations

from typing import Any

import click

from .._text import printable
from ..runtime.summary import quantity, table
from ..snn import SpikingModel, load
from ..snn.handle import PopulationInfo, ProjectionInfo
from ..snn.model import rule_text
from ..snn.rules import BY_OPCODE, Emits, Reset
from .common import Place, json_option, print_json, print_line

snn_argument = click.argument("net", metavar="NET.snn", type=Place("a network: bnn snn compile FILE.nir makes one"))


@click.command("inspect", short_help="Show a .snn file's populations, rules and projections.")
@snn_argument
@json_option
def snn_inspect(net: str, as_json: bool) -> None:
    """Show the populations of NET.snn with their rules, comparisons and resets; its projections with their weights; and
    whose rules these are."""
    model = load(net)
    if as_json:
        print_json({"file": net, **record(model)})
        return
    print_line(net)
    print()
    print_line(f"{_origin(model)}; {model.step_text}")
    print(f"{model.nbytes:,} bytes in the file, {model.state_bytes:,} bytes of state; kernels: {model.kernels}")
    if model.longest_delay > 1:
        print(f"a run needs {model.longest_delay:,} steps or more: so long is the longest delay")
    print(f"\nArrays, {model.layout}\n\n{_layout(model)}")
    print("\nPopulations, in the order in which they settle\n")
    head = ["population", "neurons", "rule", "sends", ""]
    rows = [[p.name, "x".join(map(str, p.shape)), rule_text(p), _sends(p), _role(p)] for p in model.populations]
    print(table(head, rows, head))
    texts = {BY_OPCODE[p.opcode].name: BY_OPCODE[p.opcode].text for p in model.populations if p.opcode}
    if texts:
        print("\nRules\n")
        for name, text in texts.items():
            print(f"{name}: {text}")
    if model.projections:
        print("\nProjections\n")
        head = ["projection", "from", "to", "kind", "weights", "type", "scale", "delay", "synapses", ""]
        print(
            table(head, [_row(model, q) for q in model.projections], ("projection", "from", "to", "kind", "type", ""))
        )
    neurons = sum(p.size for p in model.populations if p.opcode)
    print(f"\n{quantity(neurons, 'neuron')}, {quantity(sum(model.synapses), 'synapse')}")


def record(model: SpikingModel) -> dict[str, Any]:
    """A network as a whole, for JSON."""
    return {
        "bytes": model.nbytes,
        "state_bytes": model.state_bytes,
        "kernels": model.kernels,
        "simulator": model.simulator or None,
        "dt": model.dt or None,
        "inputs": [{"name": n, "shape": list(s)} for n, s in model.input_shapes.items()],
        "outputs": [{"name": n, "shape": list(s)} for n, s in model.output_shapes.items()],
        "populations": [_population(p) for p in model.populations],
        "projections": [
            {
                "name": q.name,
                "from": model.populations[q.source].name,
                "to": model.populations[q.target].name,
                "kind": q.kind,
                "weights": q.weights,
                "dtype": "int8" if q.whole else "float32",
                "scale": q.scale,
                "scales": q.scales,
                "delay": q.delay,
                "synapses": n,
                "bias": q.biased,
                "learns": q.learns,
                "masked": q.mask is not None,
                **(_geometry(q) if q.kind == "conv" else {}),
            }
            for q, n in zip(model.projections, model.synapses, strict=True)
        ],
    }


def _population(p: PopulationInfo) -> dict[str, Any]:
    neuron = {
        "comparison": (">=" if p.at_least else ">") if p.emits == Emits.SPIKES else None,
        "reset": Reset(p.reset).name.lower(),
        "floored": p.floored,
        "winner": p.winner,
    }
    return {
        "name": p.name,
        "shape": list(p.shape),
        "rule": BY_OPCODE[p.opcode].name if p.opcode else None,
        "update": BY_OPCODE[p.opcode].text if p.opcode else None,
        **(neuron if p.opcode else {}),
        "sends": p.emits.name.lower(),
        "output": p.output,
    }


def _geometry(q: ProjectionInfo) -> dict[str, Any]:
    names = ("kernel", "stride", "padding", "dilation")
    return {name: list(getattr(q, name)) for name in names} | {"groups": q.groups}


def _origin(model: SpikingModel) -> str:
    if model.converted:
        return "a ReLU network as counters (bnn snn convert)"
    return f"rules of {model.simulator}" if model.simulator else "rules of its own: it was not compiled from a NIR file"


def _layout(model: SpikingModel) -> str:
    """The shapes that arrays must have."""
    shapes = [("input", *x) for x in model.input_shapes.items()] + [("output", *x) for x in model.output_shapes.items()]
    return "\n".join(f"{role} {printable(name)}: (steps, {', '.join(map(str, shape))})" for role, name, shape in shapes)


def _sends(p: PopulationInfo) -> str:
    texts = {Emits.COUNTS: "counts of spikes", Emits.VALUES: "real values", Emits.CHANGES: "changes of its level"}
    return texts.get(p.emits, "spikes")


def _role(p: PopulationInfo) -> str:
    parts = [name for name, there in (("output", p.output), ("floored", p.floored), ("one winner", p.winner)) if there]
    return ", ".join(parts)


def _row(model: SpikingModel, q: ProjectionInfo) -> list[str]:
    notes = []
    if q.kind == "conv":
        notes = [f"{'x'.join(map(str, q.kernel))} kernel"]
        usual = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
        notes += [f"{n} {'x'.join(map(str, getattr(q, n)))}" for n, v in usual.items() if getattr(q, n) != v]
        notes += [f"{q.groups} groups"] if q.groups > 1 else []
    notes += ["bias"] if q.biased else []
    notes += ["learns"] if q.learns else []
    notes += [f"{int(q.mask.sum()):,} sources"] if q.mask is not None else []
    return [
        q.name, model.populations[q.source].name, model.populations[q.target].name, q.kind, f"{q.weights:,}",
        "int8" if q.whole else "float32", (f"{q.scales:,}" if q.scales > 1 else f"{q.scale:g}") if q.whole else "",
        quantity(q.delay, "step") if q.delay else "", f"{model.synapses[q.index]:,}", ", ".join(notes),
    ]  # fmt: skip
