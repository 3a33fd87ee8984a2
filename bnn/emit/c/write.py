# SPDX-License-Identifier: Apache-2.0
"""Write a network as C for firmware: NAME.h, NAME.c, the functions that it calls, and a program that tests it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..._types import Array
from ..._version import __version__
from ...errors import InputError, UnsupportedOpError
from ...file.bits import pack
from ...ir.graph import DType, Graph, Node, Placement, Storage
from . import readme, sources, texts
from .costs import COSTS
from .interface import OUTPUTS, TARGETS, CSummary, Interface, LayerCost, Options, Vectors
from .layers import emit_node
from .program import ALIGNMENT, Program, identifier

# Of the C library: files named like the network would hide its headers, and a network called main its test program.
_HEADERS = ("main", "float", "limits", "math", "stddef", "stdint", "stdio", "stdlib", "string")


def check_options(options: Options) -> None:
    """Raises :class:`InputError` for what cannot be asked for."""
    if options.name != identifier(options.name) or options.name in _HEADERS:
        raise InputError(
            f"name: found {options.name!r}, expected a C identifier in lower case, like 'digits', and no word "
            "or header of C"
        )
    for what, found, known in (("target", options.target, tuple(TARGETS)), ("output", options.output, OUTPUTS)):
        if found not in known:
            raise InputError(f"{what}: found {found!r}, expected one of {', '.join(known)}")


def last_values(graph: Graph, output: str) -> Graph:
    """The graph up to the values that the emitted function gives, or chooses from: without a softmax at its end, where
    logits or a class are asked for."""
    if output == "values":
        return graph
    if len(graph.outputs) != 1 or len(graph.outputs[0].type.shape) != 1:
        shapes = ", ".join(str(node.type) for node in graph.outputs)
        raise UnsupportedOpError(f"output '{output}' is for networks with one vector of classes; this one has {shapes}")
    (last,) = graph.outputs
    if output == "class" and last.type.shape[0] > 2**16:
        raise UnsupportedOpError(f"a class is a number of 16 bits; this network has {last.type.shape[0]:,}")
    if last.op != "softmax" or output == "probabilities":
        return graph
    (inner,) = last.inputs
    places = dict(graph.placements)
    if places[inner].storage is Storage.INPUT:
        raise UnsupportedOpError("the network is nothing but a softmax; ask for its values")
    places[inner] = Placement(Storage.OUTPUT)
    schedule = tuple(node for node in graph.schedule if node is not last)
    return replace(graph, outputs=(inner,), schedule=schedule, placements=places)


def emit(graph: Graph, options: Options, digest: str, vectors: Vectors | None) -> tuple[CSummary, dict[str, str]]:
    """The summary, and the texts of the files by their names.

    Raises :class:`CompileError` for what only the runtime can do; names the layer.
    """
    check_options(options)
    graph = last_values(graph, options.output)
    target = TARGETS[options.target]
    label = options.output == "class"
    if label:
        (last,) = graph.outputs
        place = Placement(Storage.ARENA, offset=-(-graph.arena_bytes // ALIGNMENT) * ALIGNMENT)
        graph = replace(
            graph,
            placements={**graph.placements, last: place},
            arena_bytes=place.offset + -(-last.type.shape[0] * 4 // ALIGNMENT) * ALIGNMENT,
        )
    program = Program(graph, options.name, fast=options.fast, quads=target.quads)
    inputs = [(node, program.parameter(node, node.name or "input")) for node in graph.inputs]
    names = graph.output_names or ("",) * len(graph.outputs)
    outputs = (
        []
        if label
        else [
            (node, program.parameter(node, name or "output")) for node, name in zip(graph.outputs, names, strict=True)
        ]
    )
    for node in graph.schedule:
        emit_node(program, node)
        program.layer.ram = program.view(node).size if graph.placements[node].storage is Storage.ARENA else 0
    ending = _ending(program, options.output, outputs)
    offsets, arena = _input_places(program)
    interface = Interface(
        options.name, options.output, inputs, outputs, offsets, arena, program, ending, digest, __version__,
        target.lanes,
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
        tuple(_remarks(program)),
    )  # fmt: skip
    files["README.md"] = readme.text(interface, summary, target.flags, options, vectors is not None, part)
    return summary, files


def _remarks(program: Program) -> Iterator[str]:
    for layer, node in zip(program.layers, program.graph.schedule, strict=True):
        if layer.kind != "floats":
            continue
        reason = f" ({node.note})" if node.note else ""
        remedy = ""
        if node.inputs[0].op in ("input", "copy", "reshape"):
            remedy = "; if the inputs are bytes, compile with input_dtype='uint8', and its weights stay bits"
        yield f"layer '{node.name}' is float{reason}: {layer.flash:,} bytes of tables{remedy}"


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


def _input_places(program: Program) -> tuple[list[int], int]:
    """For each input an offset in the arena where it may lie while the network runs, because nothing else is there
    before its last use; and the bytes of the whole arena."""
    graph = program.graph
    arena = -(-(graph.arena_bytes + program.scratch) // ALIGNMENT) * ALIGNMENT
    taken: list[tuple[int, int]] = []
    offsets = []
    end = arena
    for node in graph.inputs:
        size = program.view(node).size
        # A convolution that passes rows to the next op runs with it.
        ends = {n: i + (graph.placements[n].storage is Storage.PASSED) for i, n in enumerate(graph.schedule)}
        last = max((end for user, end in ends.items() if node in user.inputs), default=-1)
        busy = taken + [
            (graph.placements[n].offset, graph.placements[n].offset + program.view(n).size)
            for n in graph.schedule[: last + 1]
            if graph.placements[n].storage is Storage.ARENA
        ]
        if program.scratch:
            busy.append((graph.arena_bytes, graph.arena_bytes + program.scratch))
        at = 0
        for begin, stop in sorted(busy):
            if at + size <= begin:
                break
            at = max(at, -(-stop // ALIGNMENT) * ALIGNMENT)
        offsets.append(at)
        taken.append((at, at + size))
        end = max(end, at + size)
    return offsets, -(-end // ALIGNMENT) * ALIGNMENT


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
