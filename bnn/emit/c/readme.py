# SPDX-License-Identifier: Apache-2.0
"""The README of an emitted network."""

from __future__ import annotations

import re

from ...ir.graph import DType
from .interface import CSummary, EmitOptions, Interface, rounded
from .sources import SourcePart

_LIBRARY = ("memcpy", "memset", "sqrtf", "fabsf", "copysignf")

_START = """\
# {name}

A binarized network as C99, which also compiles as C++. Written by bnn {version}.

It needs {arena:,} bytes of RAM, which you give, and has {flash:,} bytes of const tables. It allocates
nothing, keeps {state} and calls no operating system. Of the C library it uses {library};
compilers add helpers of their own, from libgcc for example. The RAM is that of the activations, which `bnn compile`
states, and of what a layer works in: a window, and a row of sums before they become bits.

"""
_SINGLE = """\
All of it is in `{name}.h`. In one C or C++ file:

    #define {prefix}_IMPLEMENTATION
    #include "{name}.h"

and in the others only the include.
"""
_FILES = """\
Compile `{name}.c` and `{name}_kernels.c`, with any options:

    {compiler} -c {name}.c {name}_kernels.c
"""
_RUN = """
## Run

{buffers}
    int status = {function}({arguments});

`{prefix}_OK` is 0. An arena that is too small or misaligned is refused with `{prefix}_ERROR_ARENA`.{nan}

{inputs}
Outputs overlap neither inputs nor the arena. {kept}
once.{place} Networks that share a program need different names.

## Layers

| layer | op | output | products | tables, bytes | output, bytes | instructions, about |
|---|---|---|---|---|---|---|
{layers}
| all | | | {macs:,} | {flash:,} | arena: {arena:,} | {instructions} |

{counted} Stack: about half a kilobyte.

If `{prefix}_HOOK` is defined for every file (`-D{prefix}_HOOK`), the code calls a function of yours after every layer:

    void {name}_hook(unsigned layer, const void *output, size_t count, size_t element);

Read a timer there, or the layer's output. Otherwise these calls are not compiled.

`-D{prefix}_TABLE='__attribute__((section(".tables")))'` places the tables in a section of your linker script.
"""
_RUNS = "Nothing is kept between runs: threads that have an arena each may run at"
_STREAM = """\
A call takes the {rows} of a stream, oldest first, and gives the outputs for the
last {window} rows. Until the window is full, in call {calls}, it returns `{prefix}_MORE`, and no outputs. The arena
keeps the stream between calls: a new one begins with zeros in it, or after `{name}_reset(arena)`. After
`{prefix}_ERROR_NAN` the window fills anew. The layers' figures are those of a call. Streams that have an arena each may
run at"""
_COUNTED = """\
Instructions are estimated from counts of gcc's code with `-O2`, of whole networks to within 15%; `-Os` takes up to a
quarter more. They are not cycles: slow flash and caches come on top."""
_NOT_COUNTED = "Instructions are estimated for some targets: see `--target`."
_NAN = """
`{prefix}_ERROR_NAN` says that a float that becomes a bit was not a number."""
_TEST = """
## Test

`main.c` runs test vectors, and exits with 0 if every output has the right bytes:

    cc -O2 {files} -lm -o {name} && ./{name}

Without an operating system: `examples/board` of bnn has a start and a linker script; its `docs/howto/embedded.md` has
the commands.
"""
_TRACE = """
With `-D{prefix}_HOOK` it names the first layer that differs.
"""


def text(
    interface: Interface, summary: CSummary, compiler: str, options: EmitOptions, tested: bool, part: SourcePart
) -> str:
    """The whole file."""
    name, prefix, program = interface.name, interface.prefix, interface.program
    stream = program.stream
    code = [part.definitions, part.declarations, *program.tables, *(s for x in program.layers for s in x.lines)]
    library = [f"`{f}`" for f in _LIBRARY if re.search(rf"\b{f}\(", "\n".join(code))]
    label = interface.output == "class"
    parameters = [p for _, p in (*interface.inputs, *interface.outputs)]
    buffers = [f"    static uint64_t arena[{prefix}_ARENA_BYTES / 8];"]
    buffers += [f"    static float {p}[{prefix}_{p.upper()}_COUNT];" for _, p in interface.outputs]
    buffers += ["    uint16_t label;"] * label
    values = {DType.u8: "bytes from 0 to 255", DType.i8: "bytes from -128 to 127", DType.f32: "floats as in training"}
    inputs = [
        f"`{p}`: {values[node.type.dtype]}, {' x '.join(map(str, node.type.shape))}, row by row, channels last"
        f"{interface.meaning(p)}."
        for node, p in interface.inputs
    ]
    inputs += [f"`{p}`: floats{interface.meaning(p)}." for _, p in interface.outputs if interface.meaning(p)]
    layers = []
    for x in summary.layers:
        macs = f"{x.macs:,} of {x.kind}" if x.macs else ""
        taken = "" if x.instructions is None else f"{rounded(x.instructions):,}"
        layers.append(f"| {x.name} | {x.op} | {x.type} | {macs} | {x.flash:,} | {x.ram:,} | {taken} |")
    total = [x.instructions for x in summary.layers if x.instructions is not None]
    files = ["main.c"] if options.single_file else ["main.c", f"{name}.c", f"{name}_kernels.c"]
    sections = [_START, _SINGLE if options.single_file else _FILES, _RUN]
    sections += [_TEST] * tested + [_TRACE] * (tested and options.trace)
    return "".join(sections).format(
        name=name,
        prefix=prefix,
        version=interface.version,
        arena=interface.arena,
        flash=summary.flash,
        library=", ".join(library) or "nothing",
        compiler=compiler,
        buffers="\n".join(buffers),
        function=interface.function,
        state="its state there" if stream else "no state",
        kept=_STREAM.format(
            rows="next row" if stream.rows == 1 else f"next {stream.rows} rows",
            window=stream.window,
            calls=stream.calls,
            prefix=prefix,
            name=name,
        )
        if stream
        else _RUNS,
        arguments=", ".join(["arena", "sizeof arena", *parameters, *["&label"] * label]),
        nan=_NAN.format(prefix=prefix) if program.nan else "",
        inputs="\n".join(inputs),
        layers="\n".join(layers),
        place=f" `{name}_input(arena)` is a place in the arena for the input." if len(interface.inputs) == 1 else "",
        macs=sum(x.macs for x in summary.layers),
        files=" ".join(files),
        instructions=f"{rounded(sum(total)):,}" if total else "",
        counted=_COUNTED if total else _NOT_COUNTED,
    )
