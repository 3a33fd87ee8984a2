# SPDX-License-Identifier: Apache-2.0
"""What is asked for, what the files share, and what is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..._types import Array
from ...ir.graph import Node
from .program import C_TYPES, Program

OUTPUTS = ("values", "logits", "probabilities", "class")


@dataclass(frozen=True)
class Target:
    """``flags``: what its compiler should be told.  ``lanes``: floats that functions compute side by side.  ``quads``:
    its vectors hold four filters."""

    flags: str
    lanes: int = 1
    quads: bool = False


TARGETS: Mapping[str, Target] = {
    "generic": Target("cc -O2", lanes=8),
    "cortex-m0": Target("arm-none-eabi-gcc -mthumb -mcpu=cortex-m0 -Os"),
    "cortex-m3": Target("arm-none-eabi-gcc -mthumb -mcpu=cortex-m3 -Os"),
    "cortex-m4": Target("arm-none-eabi-gcc -mthumb -mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard -Os"),
    "cortex-m7": Target("arm-none-eabi-gcc -mthumb -mcpu=cortex-m7 -mfpu=fpv5-sp-d16 -mfloat-abi=hard -Os"),
    "cortex-m33": Target("arm-none-eabi-gcc -mthumb -mcpu=cortex-m33 -mfloat-abi=hard -Os"),
    "cortex-m55": Target("arm-none-eabi-gcc -mthumb -mcpu=cortex-m55 -mfloat-abi=hard -O2", quads=True),
    "riscv32": Target("riscv64-unknown-elf-gcc -march=rv32imc_zicsr -mabi=ilp32 -Os"),
    "riscv64": Target("riscv64-unknown-elf-gcc -march=rv64gc -mabi=lp64d -Os", lanes=8),
    "wasm32": Target("clang --target=wasm32-wasi -O2", lanes=8),
}


@dataclass(frozen=True)
class EmitOptions:
    """See :func:`bnn.emit_c`."""

    name: str
    target: str = "generic"
    output: str = "values"
    fast: bool = False
    single_file: bool = False
    trace: bool = False
    stream: bool = False


def rounded(number: int) -> int:
    """The number rounded to two digits."""
    unit = int(10 ** max(len(str(number)) - 2, 0))
    return int(round(number / unit)) * unit


@dataclass(frozen=True)
class EmitLimits:
    """The most bytes of RAM, bytes of tables, and instructions for an image that a network may take; None: no limit."""

    ram: int | None = None
    flash: int | None = None
    instructions: int | None = None


@dataclass(frozen=True)
class LayerCost:
    """``op``, ``type`` of its output, ``macs``: products of one image, of ``kind`` bits, bytes or floats; ``flash``:
    bytes of its tables; ``ram``: bytes of its output."""

    name: str
    op: str
    type: str
    macs: int
    kind: str
    flash: int
    ram: int
    instructions: int | None  # about, of gcc -O2; None: not counted on this target


@dataclass(frozen=True)
class CSummary:
    """``files``: their names; ``arena``: bytes of RAM that the caller gives; ``flash``: bytes of all tables;
    ``functions``: those of the runtime that the network calls; ``remarks``: what costs more than it should, and why;
    ``rows``: that a call of a stream takes, whose products and instructions those of a call are; otherwise 0."""

    files: tuple[str, ...]
    arena: int
    flash: int
    layers: tuple[LayerCost, ...]
    functions: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    rows: int = 0

    def __str__(self) -> str:
        macs = sum(layer.macs for layer in self.layers)
        text = (
            f"{', '.join(self.files)}\n{len(self.layers)} layers, {macs:,} products, {self.flash:,} bytes of tables, "
            f"{self.arena:,} bytes of RAM"
        )
        if not self.rows:
            return text
        counts = [layer.instructions for layer in self.layers if layer.instructions is not None]
        counted = f", about {rounded(sum(counts)):,} instructions" if counts else ""
        return f"{text}; for a call, of {self.rows} new row{'s' * (self.rows > 1)}{counted}"


@dataclass(frozen=True)
class Vectors:
    """Inputs (each (N, ...) of its own type) and the outputs that they give (N, ...); ``layers``: for every image and
    op, the hash of its output's memory."""

    inputs: Sequence[Array]
    outputs: Sequence[Array]
    layers: Sequence[Sequence[int]] = ()


@dataclass(frozen=True)
class Interface:
    """What the files of one network share."""

    name: str
    output: str
    inputs: Sequence[tuple[Node, str]]
    outputs: Sequence[tuple[Node, str]]
    offsets: Sequence[int]  # of inputs in the arena
    arena: int
    program: Program
    ending: Sequence[str]
    digest: str
    version: str
    lanes: int
    meanings: Mapping[str, str]  # what 8-bit numbers of parameters stand for, where the file says it

    @property
    def prefix(self) -> str:
        return self.name.upper()

    def meaning(self, parameter: str) -> str:
        return f"; {self.meanings[parameter]}" if parameter in self.meanings else ""

    def place_function(self, parameter: str) -> str:
        """The name of the function that gives an input's place in the arena."""
        return f"{self.name}_input_{parameter}" if len(self.inputs) > 1 else f"{self.name}_input"

    @property
    def function(self) -> str:
        """The name of the function that runs the network."""
        return f"{self.name}_{'push' if self.program.stream else 'run'}"

    @property
    def parameters(self) -> str:
        parts = ["void *arena", "size_t size"]
        parts += [f"const {C_TYPES[node.type.dtype]} *{name}" for node, name in self.inputs]
        parts += [f"float *{name}" for _, name in self.outputs]
        parts += ["uint16_t *label"] * (self.output == "class")
        return ", ".join(parts)
