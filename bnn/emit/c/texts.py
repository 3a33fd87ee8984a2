# SPDX-License-Identifier: Apache-2.0
"""The text of the emitted C files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from ..._types import Array
from ...ir.graph import Node, Turn
from ...ir.ops import rows_computed
from .interface import Interface, Vectors
from .program import ALIGNMENT, C_TYPES, MOVE_UP, EmittedLayer, Program, array, private
from .sources import SourcePart

_PROTOTYPE = re.compile(r"^((?:void |int |size_t |const uint32_t \*)\w+\()", re.M)
# Around what is exact in a file of the user's own.
_SAVED = """\
#if defined(__clang__)
#pragma float_control(push)
#elif defined(__GNUC__)
#pragma GCC push_options
#endif
"""
_RESTORED = """\
#if defined(__clang__)
#pragma float_control(pop)
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
"""
# Products and sums are rounded one by one.  gcc contracts them to fused multiply-adds in its gnu modes, and -Ofast
# reorders sums.
_EXACT = """\
/* Every product and sum is rounded by itself: fused multiply-adds and -ffast-math would change the last bits. */
#if defined(__clang__)
#pragma float_control(precise, on)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off", "no-associative-math", "no-reciprocal-math", "no-finite-math-only", \\
                     "signed-zeros", "trapping-math", "no-unsafe-math-optimizations")
#else
#pragma STDC FP_CONTRACT OFF
#endif
"""


def files(interface: Interface, part: SourcePart, single: bool) -> dict[str, str]:
    """The header and the code."""
    name = interface.name

    def own(text: str) -> str:
        return _private(text, part, name)

    if not single:
        includes = f'#include "{name}.h"\n#include "{name}_kernels.h"\n\n#include <string.h>\n'
        return {
            f"{name}.h": _header(interface, ""),
            f"{name}.c": own(_code(interface, includes)),
            f"{name}_kernels.h": own(_kernel_header(interface, part)),
            f"{name}_kernels.c": own(_kernels(interface, part)),
        }
    body = "\n".join(
        [
            f"#if defined({interface.prefix}_IMPLEMENTATION) && !defined({interface.prefix}_IMPLEMENTED)",
            f"#define {interface.prefix}_IMPLEMENTED",
            *(f"#include <{header}>" for header in sorted({*part.headers, "math.h", "string.h"})),
            "",
            _SAVED,
            _EXACT,
            f"#ifndef BNN_LANES\n#define BNN_LANES {interface.lanes}\n#endif\n",
            _PROTOTYPE.sub(r"static \1", part.declarations),  # so that definitions are static, too
            part.definitions,
            _code(interface, ""),
            _RESTORED,
            f"#endif /* {interface.prefix}_IMPLEMENTATION */\n",
        ]
    )
    return {f"{name}.h": _header(interface, own(body))}


def _private(text: str, part: SourcePart, name: str) -> str:
    """The text with the network's name in front of all that the runtime's sources define, so that several networks,
    of other versions too, can be in one program and in one file."""

    def own(found: re.Match[str]) -> str:
        pasted = found[0] == "bnn_"  # by a macro, to the rest of a function's name
        return private(found[0], name) if found[0] in part.names or pasted else found[0]

    return re.sub(r"^#include.*|\b[A-Za-z_]\w*", own, text, flags=re.M)


def _title(interface: Interface, what: str) -> str:
    return (
        "/* SPDX-License-Identifier: Apache-2.0 */\n"
        f"/* {what}  Written by bnn {interface.version} from the network with SHA-256\n"
        f" * {interface.digest}.  Do not edit. */\n"
    )


def _header(interface: Interface, body: str) -> str:
    name, prefix = interface.name, interface.prefix
    lines = [
        _title(interface, f"The network {name}."),
        f"#ifndef {prefix}_H\n#define {prefix}_H\n",
        "#include <stddef.h>\n#include <stdint.h>\n",
        '#ifdef __cplusplus\nextern "C" {\n#endif\n',
        f"/* RAM that the caller gives, from a multiple of {ALIGNMENT} bytes on. */",
        f"#define {prefix}_ARENA_BYTES {interface.arena}",
        f"#define {prefix}_LAYERS {len(interface.program.layers)}\n",
    ]
    for node, parameter in interface.inputs:
        shape = "".join(f"[{n}]" for n in node.type.shape)
        lines.append(f"/* {parameter}: {C_TYPES[node.type.dtype]} {shape}{interface.meaning(parameter)} */")
        size = int(np.prod(node.type.shape)) * node.type.dtype.element
        lines.append(f"#define {prefix}_{parameter.upper()}_BYTES {size}")
    for node, parameter in interface.outputs:
        shape = "".join(f"[{n}]" for n in node.type.shape)
        lines.append(f"/* {parameter}: float {shape}{interface.meaning(parameter)} */")
        lines.append(f"#define {prefix}_{parameter.upper()}_COUNT {int(np.prod(node.type.shape))}")
    stream = interface.program.stream
    if stream:
        lines += [
            "\n/* A stream: the new rows of a call, oldest first; the rows of the window that outputs are for; and the",
            " * number of the first call that has outputs. */",
            f"#define {prefix}_STREAM_ROWS {stream.rows}",
            f"#define {prefix}_STREAM_WINDOW {stream.window}",
            f"#define {prefix}_STREAM_CALLS {stream.calls}",
        ]
    lines += [
        "",
        "/* Status. */",
        f"#define {prefix}_OK 0",
        f"#define {prefix}_ERROR_ARENA 1 /* the arena is too small, or does not begin at a multiple of {ALIGNMENT} */",
        f"#define {prefix}_ERROR_NAN 2 /* a float that becomes a bit was not a number: the outputs have no meaning */",
        *([f"#define {prefix}_MORE 3 /* the window is not full yet: there are no outputs */"] if stream else []),
        "",
    ]
    for _, parameter in interface.inputs:
        lines += [
            f"/* Where in the arena {parameter} may be written in place, by a DMA for example: pass this address to",
            " * the run, which overwrites it.  Inputs that lie elsewhere, in flash too, are only read. */",
            f"void *{interface.place_function(parameter)}(void *arena);\n",
        ]
    lines += [
        *_call_comment(interface),
        f"int {interface.function}({interface.parameters});\n",
        f"/* If {prefix}_HOOK is defined when the code is compiled, it calls this function, which you write, after",
        " * every layer.  output: `count` elements of `element` bytes, halo included; NULL where a layer's rows are",
        " * computed as the next layer needs them. */",
        f"#ifdef {prefix}_HOOK",
        f"void {name}_hook(unsigned layer, const void *output, size_t count, size_t element);",
        "#endif\n",
        "#ifdef __cplusplus\n}\n#endif\n",
        f"#endif /* {prefix}_H */" if not body else "",
    ]
    text = "\n".join(lines)
    if body:
        text = text.rstrip("\n") + f"\n\n#endif /* {prefix}_H */\n\n{body}"
    return text.rstrip("\n") + "\n"


def _call_comment(interface: Interface) -> list[str]:
    """C: what the function does that runs the network; of a stream, after the function that begins one."""
    name, prefix = interface.name, interface.prefix
    what = {
        "values": "the network's outputs",
        "logits": "its outputs before the softmax",
        "probabilities": "its outputs after a softmax",
        "class": "label: the index of the largest output",
    }[interface.output]
    if not interface.program.stream:
        return [
            f"/* Run the network on one image.  The result: {what}.",
            " * size: bytes of the arena.  Outputs overlap neither the inputs nor the arena.  Nothing is kept between",
            " * runs: threads that have an arena each may run at once. */",
        ]
    return [
        f"/* A stream begins with the next {interface.function}.  An arena of zeros needs no reset. */",
        f"void {name}_reset(void *arena);\n",
        f"/* Take the next {prefix}_STREAM_ROWS rows of a stream.  The result: {what}, for the last",
        f" * {prefix}_STREAM_WINDOW rows; {prefix}_MORE before call number {prefix}_STREAM_CALLS.",
        " * size: bytes of the arena, which keeps the stream between calls: only the place of new rows in it may",
        f" * be written.  After {prefix}_ERROR_NAN the window fills anew.  Outputs overlap neither the rows nor",
        " * the arena.  Streams that have an arena each may run at once. */",
    ]


def _code(interface: Interface, includes: str) -> str:
    name, prefix, program = interface.name, interface.prefix, interface.program
    statements = [line for layer in program.layers for line in (*layer.lines, *layer.row)]
    if includes and re.search(r"\b(INFINITY|NAN|sqrtf)\b", "\n".join([*program.tables, *statements])):
        includes = includes.replace("#include <string.h>", "#include <math.h>\n#include <string.h>")
    read = {operand for node in program.graph.schedule for operand in node.inputs}
    lines = [_title(interface, f"The network {name}."), includes] if includes else []
    lines += [
        f"#ifndef {prefix}_TABLE",
        f"#define {prefix}_TABLE /* where tables of numbers are placed: an attribute with a section, for example */",
        "#endif\n",
        *program.tables,
        f"#ifdef {prefix}_HOOK",
        f"#define {prefix}_AFTER(layer, output, count, element) {name}_hook(layer, output, count, element)",
        "#else",
        f"#define {prefix}_AFTER(layer, output, count, element) ((void)0)",
        "#endif\n",
    ]
    for (_, parameter), offset in zip(interface.inputs, interface.offsets, strict=True):
        function = interface.place_function(parameter)
        lines.append(f"void *{function}(void *arena)\n{{\n    return (unsigned char *)arena + {offset};\n}}\n")
    stream = program.stream
    if stream:
        lines.append(f"void {name}_reset(void *arena)\n{{\n    *(uint32_t *)arena = 0;\n}}\n")
    lines += [
        f"int {interface.function}({interface.parameters})",
        "{",
        "    unsigned char *memory = (unsigned char *)arena;",
        *(["    int nan = 0;"] * program.nan),
        f"    if (arena == NULL || size < {prefix}_ARENA_BYTES || (uintptr_t)arena % {ALIGNMENT} != 0)",
        f"        return {prefix}_ERROR_ARENA;",
        *(["    (void)memory;"] if not stream and not any("memory" in line for line in statements) else []),
        *(f"    (void){parameter};" for node, parameter in interface.inputs if node not in read),
    ]
    if stream:
        lines += [
            "    uint32_t *const calls = (uint32_t *)(void *)memory; /* up to the one whose window is full */",
            f"    *calls += *calls < {stream.calls};",
        ]
    lines += _layers(interface)
    lines += [f"    {line}" for line in interface.ending]
    if stream:
        lines += _restart(interface)
    failed = program.nan and not stream
    lines += [f"    return {f'nan ? {prefix}_ERROR_NAN : {prefix}_OK' if failed else f'{prefix}_OK'};", "}\n"]
    return "\n".join(lines)


def _layers(interface: Interface) -> list[str]:
    """C: every layer in a block of its own, rows of a chain in turn; those of a stream once there is what they read."""
    program, stream = interface.program, interface.program.stream
    chains = {next(iter(chain)): chain for chain in program.graph.chains}
    layers = dict(zip(program.graph.schedule, program.layers, strict=True))
    lines: list[str] = []
    enough, waited = _enough(program), False
    for node, layer in layers.items():
        if node is enough:
            waited = True
            lines += _more(interface)
        if node in chains:
            lines += _chain(program, chains[node], layers)
        if node not in program.turns:
            first = stream.first[node] if stream and not waited else 1
            begun = f"if (*calls >= {first}) " if first > 1 else ""
            lines += [
                f"    {begun}{{ {_described(layer)}",
                *_indented(2, [*layer.lines, _after(program, node)]),
                "    }",
            ]
    return lines + (_more(interface) if stream and not waited else [])


def _enough(program: Program) -> Node | None:
    """Of a stream, the first of the last ops that wait for the whole window."""
    found = None
    for node in reversed(program.graph.schedule):
        if not program.stream or program.stream.first[node] < max(program.stream.calls, 2):
            break
        found = node
    return found


def _more(interface: Interface) -> list[str]:
    """C: the end of a call before the window is full."""
    prefix = interface.prefix
    return [*_restart(interface), f"    if (*calls < {prefix}_STREAM_CALLS)", f"        return {prefix}_MORE;"]


def _restart(interface: Interface) -> list[str]:
    """C: a float that was not a number makes all rows of a stream meaningless, so the window fills anew."""
    if not interface.program.nan:
        return []
    return ["    if (nan) {", "        *calls = 0;", f"        return {interface.prefix}_ERROR_NAN;", "    }"]


def _described(layer: EmittedLayer) -> str:
    macs = f", {layer.macs:,} products of {layer.kind}" if layer.macs else ""
    return f"/* {layer.name}: {layer.op}, {layer.type}{macs} */"


def _after(program: Program, node: Node) -> str:
    """C: the call of the hook after a layer."""
    number, view = program.graph.schedule.index(node), program.view(node)
    program.current = node
    place = "NULL, 0" if program.kept(node) else f"{program.at(node)}, {view.size // view.dtype.element}"
    return f"{program.prefix.upper()}_AFTER({number}, {place}, {view.dtype.element});"


def _chain(program: Program, chain: Mapping[Node, Turn], layers: Mapping[Node, EmittedLayer]) -> list[str]:
    """C: a loop in which every op computes its rows as soon as there are those that it reads."""
    heights = {node: rows_computed(node) for node in chain}
    ticks = max(turn.first + turn.every * (heights[node] - 1) for node, turn in chain.items()) + 1
    lines = ["    { /* several layers, a row of each in turn */"]
    for node in chain:
        lines += _indented(2, layers[node].lines)
    lines.append(f"        for (size_t tick = 0; tick < {ticks}; tick++) {{")
    for node, turn in chain.items():
        row = f"(tick - {turn.first})" if turn.first else "tick"
        due = [f"tick >= {turn.first}"] * (turn.first > 0) + [f"{row} % {turn.every} == 0"] * (turn.every > 1)
        until = turn.first + turn.every * heights[node]  # from this tick on, its rows are behind the image
        inside = [f"tick < {until}"] * (until < ticks)
        statements = [*layers[node].row]
        if any(re.search(r"\brow\b", line) for line in statements):
            statements.insert(0, f"const size_t row = {row}{f' / {turn.every}' * (turn.every > 1)};")
        below = turn.kept > 0 and program.view(node).halo.bottom > 0
        if turn.kept < 2 and not below:
            due, inside = due + inside, []
        if inside:
            statements = [f"if ({inside[0]}) {{", *(f"    {line}" for line in statements), "}"]
            if below:
                statements[-1:] = ["} else {", f"    {_empty_row(program, node, turn.kept)}", "}"]
        condition = f"if ({' && '.join(due)}) " if due else ""
        lines += [f"            {_described(layers[node])}", f"            {condition}{{"]
        lines += _indented(4, [*_moved_up(program, node, turn.kept), *statements])
        lines.append("            }")
    lines.append("        }")
    lines += [f"        {_after(program, node)}" for node in chain]
    return [*lines, "    }"]


def _moved_up(program: Program, node: Node, kept: int) -> list[str]:
    """C: the statements after which the place of the newest row is free."""
    if kept < 2:
        return []
    first = f"memory + {program.graph.placements[node].offset}"
    return [f"{MOVE_UP}({first}, {program.bytes(node) // kept}, {kept - 1});"]


def _empty_row(program: Program, node: Node, kept: int) -> str:
    """C: a row of the halo becomes the newest one."""
    size = program.bytes(node) // kept
    return f"memset(memory + {program.graph.placements[node].offset + (kept - 1) * size}, 0, {size});"


def _indented(depth: int, lines: Iterable[str]) -> list[str]:
    return [text for line in lines for text in _broken("    " * depth + line)]


def _broken(line: str) -> list[str]:
    """A long line at its commas."""
    lines = []
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    while len(line) > 118 and ", " in line[len(indent) : 118]:
        at = line.rindex(", ", len(indent), 118)
        lines.append(line[: at + 1])
        line = indent + line[at + 2 :]
    return [*lines, line]


def _kernel_header(interface: Interface, part: SourcePart) -> str:
    guard = f"{interface.prefix}_KERNELS_H"
    return "\n".join(
        [
            _title(interface, "The functions that the network calls."),
            f"#ifndef {guard}\n#define {guard}\n",
            *(f"#include <{header}>" for header in part.headers),
            "",
            _EXACT,
            part.declarations,
            f"#endif /* {guard} */\n",
        ]
    )


def _kernels(interface: Interface, part: SourcePart) -> str:
    return "\n".join(
        [
            _title(interface, "The functions that the network calls."),
            f'#include "{interface.name}_kernels.h"\n',
            f"#ifndef BNN_LANES\n#define BNN_LANES {interface.lanes}\n#endif\n",
            part.definitions,
        ]
    )


# -- tests -------------------------------------------------------------------------------------------------------------


def test_program(interface: Interface, vectors: Vectors, single: bool) -> dict[str, str]:
    """main.c, which runs vectors, and the vectors."""
    return {
        "main.c": _main(interface, bool(vectors.layers), single),
        f"{interface.name}_vectors.h": _vectors(interface, vectors),
    }


def _vectors(interface: Interface, vectors: Vectors) -> str:
    count = len(vectors.inputs[0])
    lines = [
        _title(interface, "Inputs, and the outputs that they give, floats as their bits."),
        "#include <math.h>\n#include <stdint.h>\n",
        f"enum {{ {interface.prefix}_VECTORS = {count} }};\n",
    ]
    for (node, name), values in zip(interface.inputs, vectors.inputs, strict=True):
        if stream := interface.program.stream:  # other rows come before the window, up to whole calls
            windows = values.reshape(count, stream.window, -1)
            values = np.pad(windows, ((0, 0), (stream.calls * stream.rows - stream.window, 0), (0, 0)), mode="wrap")
        lines.append(array(C_TYPES[node.type.dtype], f"vector_{name}", values.reshape(-1)))
    if interface.output == "class":
        lines.append(array("uint16_t", "vector_label", np.asarray(vectors.outputs[0]).reshape(-1)))
    for (_, name), values in zip(interface.outputs, vectors.outputs if interface.outputs else (), strict=True):
        bits: Array = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32)
        lines.append(array("uint32_t", f"vector_{name}", bits))
    if vectors.layers:
        lines.append("/* [vector][layer]: FNV-1a of the layer's output, over its elements as unsigned numbers */")
        lines.append(array("uint32_t", "vector_layers", np.array(vectors.layers, np.uint32).reshape(-1)))
    return "\n".join(lines)


def _main(interface: Interface, trace: bool, single: bool) -> str:
    name, prefix = interface.name, interface.prefix
    arguments = ["memory.bytes", "sizeof memory.bytes"]
    number = f"(i * {prefix}_STREAM_CALLS + call)" if interface.program.stream else "i"
    for node, parameter in interface.inputs:
        arguments.append(f"vector_{parameter} + {number} * {int(np.prod(node.type.shape))}")
    buffers, checks = [], []
    for node, parameter in interface.outputs:
        n = int(np.prod(node.type.shape))
        buffers.append(f"static float found_{parameter}[{n}];")
        arguments.append(f"found_{parameter}")
        checks.append(f"memcmp(found_{parameter}, vector_{parameter} + i * {n}, sizeof found_{parameter}) != 0")
    if interface.output == "class":
        buffers.append("static uint16_t found_label;")
        arguments.append("&found_label")
        checks.append("found_label != vector_label[i]")
    lines = [
        _title(interface, f"Runs test vectors: exits with 0 if {name} gives the right outputs."),
        *([f"#define {prefix}_IMPLEMENTATION"] * single),
        f'#include "{name}.h"\n#include "{name}_vectors.h"\n',
        "#include <stdio.h>\n#include <string.h>\n",
        f"static union {{\n    unsigned char bytes[{prefix}_ARENA_BYTES];\n    uint64_t aligned;\n}} memory;",
        *buffers,
        "",
    ]
    lines += _trace(interface) if trace else []
    lines += [
        "int main(void)",
        "{",
        "    unsigned wrong = 0;",
        f"    for (size_t i = 0; i < {prefix}_VECTORS; i++) {{",
    ]
    if trace:
        lines += [f"#ifdef {prefix}_HOOK", "        vector = i;", "        named = 0;", "#endif"]
    call = f"{interface.function}({', '.join(arguments)})"
    lines += [f"        int status = {call};"]
    if interface.program.stream:
        lines[-1:] = [
            f"        int status = {prefix}_MORE;",
            f"        {name}_reset(memory.bytes);",
            f"        for (size_t call = 0; call < {prefix}_STREAM_CALLS && status == {prefix}_MORE; call++)",
            f"            status = {call};",
        ]
    lines += [
        f"        int differs = status != {prefix}_OK || {' || '.join(checks)};",
        "        if (differs)",
        '            printf("vector %u: %s\\n", (unsigned)i, status ? "error" : "DIFFERENT");',
        "        wrong += (unsigned)differs;",
        "    }",
        f'    printf("%u of %u wrong\\n", wrong, (unsigned){prefix}_VECTORS);',
        "    return wrong != 0;",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _trace(interface: Interface) -> list[str]:
    """The hook of main.c, which names the first layer whose output's hash is wrong."""
    name, prefix = interface.name, interface.prefix
    return [
        f"#ifdef {prefix}_HOOK",
        "static size_t vector;",
        "static int named;\n",
        f"void {name}_hook(unsigned layer, const void *values, size_t count, size_t element)",
        "{",
        "    uint32_t hash = 2166136261u;",
        "    const unsigned char *at = (const unsigned char *)values;",
        "    for (size_t i = 0; i < count; i++, at += element) {",
        "        uint16_t half;",
        "        uint32_t word = *at;",
        "        if (element == sizeof word)",
        "            memcpy(&word, at, sizeof word);",
        "        else if (element == sizeof half) {",
        "            memcpy(&half, at, sizeof half);",
        "            word = half;",
        "        }",
        "        hash = (hash ^ word) * 16777619u;",
        "    }",
        f"    if (values == NULL || hash == vector_layers[vector * {prefix}_LAYERS + layer] || named)",
        "        return;",
        '    printf("vector %u: layer %u is the first that differs\\n", (unsigned)vector, layer);',
        "    named = 1;",
        "}",
        "#endif\n",
    ]
