# SPDX-License-Identifier: Apache-2.0
"""Write a network as C for firmware: NAME.h, NAME.c, the functions that it calls, and a program that tests it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..._arguments import check_choice, check_flag, check_text
from ..._notes import parted
from ..._text import printable
from ..._types import Array
from ..._version import __version__
from ...errors import CompileError, InputError, UnsupportedOpError
from ...file.bits import pack
from ...ir.graph import DType, Graph, Node, Placement, Storage
from ...ir.stream import Stream
from . import readme, sources, texts
from .costs import COSTS
from .interface import OUTPUTS, TARGETS, CSummary, EmitLimits, EmitOptions, Interface, LayerCost, Vectors
from .nodes import emit_node
from .places import input_places
from .program import Program, identifier

# Of the C library: files named like the network would hide its headers, and a network called main its test program.
_HEADERS = ("main", "float", "limits", "math", "stddef", "stdint", "stdio", "stdlib", "string")


def check_options(options: EmitOptions) -> None:
    """Raises :class:`InputError` for what cannot be asked for."""
    check_text(options.name, "name", "a C identifier in lower case, like 'digits'")
    for flag in ("fast", "single_file", "trace", "stream"):
        check_flag(getattr(options, flag), flag)
    if options.trace and options.stream:
        raise InputError("trace: found True, expected False with stream=True, whose layers are never whole")
    if options.name != identifier(options.name) or options.name in _HEADERS:
        raise InputError(
            f"name: found {options.name!r}, expected a C identifier in lower case, like 'digits', and no word "
            "or header of C"
        )
    for what, found, known in (("target", options.target, tuple(TARGETS)), ("output", options.output, OUTPUTS)):
        check_choice(found, what, known)


def check_limits(summary: CSummary, target: str, limits: EmitLimits) -> None:
    """Raises :class:`CompileError` for what takes more than it may, and names the layer that takes the most.

    :class:`InputError`: instructions are limited, and not counted on this target.
    """
    layers, instructions = summary.layers, [layer.instructions for layer in summary.layers]
    if limits.instructions is not None and None in instructions:
        counted = ", ".join(COSTS)
        raise InputError(f"max_instructions: found the target '{target}', expected one of those counted: {counted}")
    for name, most, needed, of_layer, what, whose in (
        ("max_ram", limits.ram, summary.arena, [x.ram for x in layers], "bytes of RAM", "the largest output is that"),
        ("max_flash", limits.flash, summary.flash, [x.flash for x in layers], "bytes of tables", "the most are those"),
        (
            "max_instructions", limits.instructions, sum(n or 0 for n in instructions), [n or 0 for n in instructions],
            f"instructions for {'a call' if summary.rows else 'an image'}", "the most are those",
        ),
    ):  # fmt: skip
        if most is not None and needed > most:
            largest = max(of_layer)
            layer = layers[of_layer.index(largest)].name
            raise CompileError(
                f"{name}: found {needed:,} {what}, expected at most {most:,}; {whose} of '{printable(layer)}', "
                f"{largest:,}; raise the limit, or make that layer smaller"
            )


def last_values(graph: Graph, output: str) -> Graph:
    """The graph up to the values that the emitted function gives, or chooses from: without a softmax at its end, where
    logits or a class are asked for.  What a class is chosen from is in the arena."""
    if output == "values":
        return graph
    if len(graph.outputs) != 1 or len(graph.outputs[0].type.shape) != 1:
        shapes = ", ".join(str(node.type) for node in graph.outputs)
        raise UnsupportedOpError(f"output '{output}' is for one vector of classes; use 'values' for {shapes}")
    (last,) = graph.outputs
    if output == "class" and last.type.shape[0] > 2**16:
        raise UnsupportedOpError(f"a class is a number of 16 bits; this network has {last.type.shape[0]:,}")
    if output == "logits" and last.op == "cast" and last.inputs[0].op == "qsoftmax":
        raise UnsupportedOpError(
            "output 'logits': the softmax of this network is of bytes, and reads no floats; use 'values', or 'class', "
            "which is the same"
        )
    places, schedule = dict(graph.placements), graph.schedule
    if last.op == "softmax" and output != "probabilities":
        schedule = tuple(node for node in schedule if node is not last)
        (last,) = last.inputs
        if places[last].storage is Storage.INPUT:
            raise UnsupportedOpError("the network is nothing but a softmax; ask for its values")
    places[last] = Placement(Storage.ARENA if output == "class" else Storage.OUTPUT)
    return replace(graph, outputs=(last,), schedule=schedule, placements=places)


def _meanings(
    graph: Graph, inputs: Sequence[tuple[Node, str]], outputs: Sequence[tuple[Node, str]], names: Sequence[str]
) -> dict[str, str]:
    """What the numbers of parameters stand for, where the file's metadata have a scale and a zero point."""
    said: Mapping[str, str] = json.loads(graph.use or "{}").get("metadata") or {}
    found = {}
    ends = [*((node.name, parameter) for node, parameter in inputs), *zip(names, (p for _, p in outputs), strict=False)]
    for name, parameter in ends:
        try:
            scale, zero = float(said[f"{name}.scale"]), int(said[f"{name}.zero_point"])
        except (KeyError, ValueError):  # no such texts, or somebody's own
            continue
        found[parameter] = f"a number q stands for {scale:.9g} * (q {'+' if zero < 0 else '-'} {abs(zero)})"
    return found


def emit(
    graph: Graph, options: EmitOptions, digest: str, vectors: Vectors | None, stream: Stream | None = None
) -> tuple[CSummary, dict[str, str]]:
    """The summary, and the texts of the files by their names.  The graph is that of :func:`last_values`, with a plan
    of the pass ``interleave_rows``, or that of a ``stream``.

    Raises :class:`CompileError` for what only the runtime can do; names the layer.
    """
    check_options(options)
    target = TARGETS[options.target]
    program = Program(graph, options.name, fast=options.fast, quads=target.quads, stream=stream)
    inputs = [(node, program.parameter(node, node.name or "input")) for node in graph.inputs]
    names = graph.output_names or ("",) * len(graph.outputs)
    outputs = (
        []
        if options.output == "class"
        else [
            (node, program.parameter(node, name or "output")) for node, name in zip(graph.outputs, names, strict=True)
        ]
    )
    for node in graph.schedule:
        emit_node(program, node)
        program.layer.ram = program.bytes(node)
    ending = _ending(program, options.output, outputs)
    offsets, arena = input_places(program)
    interface = Interface(
        options.name, options.output, inputs, outputs, offsets, arena, program, ending, digest, __version__,
        target.lanes, _meanings(graph, inputs, outputs, names),
    )  # fmt: skip
    part = sources.part(program.functions)
    files = texts.files(interface, part, options.single_file)
    costs = COSTS.get(options.target)
    layers = tuple(
        LayerCost(x.name, x.op, x.type, x.macs, x.kind, x.flash, x.ram, round(costs.layer(x)) if costs else None)
        for x in program.layers
    )
    if vectors is not None:
        files |= texts.test_program(interface, vectors, options.single_file)
    summary = CSummary(
        (*files, "README.md"), arena, sum(layer.flash for layer in layers), layers, tuple(sorted(program.functions)),
        tuple(_remarks(program)), stream.rows if stream else 0,
    )  # fmt: skip
    files["README.md"] = readme.text(interface, summary, target.flags, options, vectors is not None, part)
    return summary, files


def _remarks(program: Program) -> Iterator[str]:
    for layer, node in zip(program.layers, program.graph.schedule, strict=True):
        if layer.kind != "floats":
            continue
        why, _ = parted(node.note)
        reason = f": {why}" if why else ""
        remedy = ""
        if node.inputs[0].op in ("input", "copy", "reshape"):
            remedy = (
                ". Its weights stay bits if the input is bytes: the Keras model's own, or, if it was trained on bytes "
                "as they are, by input_dtype='uint8' (--input-dtype uint8)"
            )
        yield f"layer '{node.name}' is float{reason}; its tables take {layer.flash:,} bytes{remedy}"


def _ending(program: Program, output: str, outputs: list[tuple[Node, str]]) -> list[str]:
    """What follows the last layer."""
    if output == "class":
        (node,) = program.graph.outputs
        program.functions.add("bnn_mcu_argmax")
        return [f"*label = (uint16_t)bnn_mcu_argmax({program.inside(node)}, {node.type.shape[0]});"]
    if output == "probabilities" and program.graph.outputs[0].op != "softmax":
        ((node, name),) = outputs
        program.functions.add("bnn_softmax")
        return [f"bnn_softmax({name}, {name}, {node.type.shape[0]});"]
    return []


def memory_of(graph: Graph, node: Node, values: Array) -> Array:
    """One image's value (logical shape) as it lies in memory: halo and packing included; one element of the memory per
    element of the array."""
    shape = (1,) * (3 - values.ndim) + values.shape
    x = values.reshape(shape)
    x = pack(x) if node.type.dtype is DType.b1 else x.astype(node.type.dtype.numpy)
    halo = graph.placements[node].halo
    pads = ((halo.top, halo.bottom), (halo.left, halo.right), (0, 0))
    return np.pad(x, pads)


def hash_of(memory: Array) -> int:
    """FNV-1a of 32 bits over the elements, each as one unsigned number."""
    unsigned = memory.reshape(-1).view(f"u{memory.itemsize}")
    result = 2166136261
    for element in unsigned.tolist():
        result = (result ^ element) * 16777619 & 0xFFFFFFFF
    return result
