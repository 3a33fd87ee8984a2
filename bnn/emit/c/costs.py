# SPDX-License-Identifier: Apache-2.0
"""About how many instructions a layer takes, on processors where they were counted.

The numbers are fitted to the counts in tests/targets/instructions.json, of gcc with -O2 and `--fast`; a test fits them
again, and another compares whole networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .program import Layer


@dataclass(frozen=True)
class Costs:
    """Instructions.  Bits: for an output, and for a word of its window.  Bytes: for four bytes of a pixel's window; for
    an output, and for four bytes of its window.  Floats: for a product.  Other ops: for an element that they read."""

    output: float
    word: float
    table: float
    byte_output: float
    byte_group: float
    product: float
    element: float

    def layer(self, layer: Layer) -> float:
        """All of a layer."""
        groups = -(-layer.window // 4)
        if layer.kind == "bits":
            words = self.word * layer.window  # of small windows, the line of large ones would be below zero
            return layer.pixels * layer.outputs * max(self.output + words, 10 + 0.8 * words)
        if layer.kind == "bytes":
            of_outputs = layer.outputs * (self.byte_output + self.byte_group * groups)
            return layer.pixels * (self.table * groups + of_outputs)
        if layer.kind == "floats":
            return layer.pixels * layer.outputs * layer.window * self.product
        return layer.pixels * self.element


COSTS: Mapping[str, Costs] = {
    "cortex-m0": Costs(-47.2, 17.6, 210.9, 32.7, 8.5, 178.1, 31.6),
    "cortex-m3": Costs(-4.3, 10.0, 166.8, 22.5, 1.7, 68.0, 22.5),
    "cortex-m4": Costs(-2.3, 9.6, 167.1, 20.7, 1.9, 4.9, 22.5),
    "cortex-m55": Costs(-1.1, 3.4, 171.6, 18.9, 1.9, 5.1, 21.6),
    "cortex-m7": Costs(-2.3, 9.6, 167.1, 20.8, 1.9, 4.9, 22.4),
    "riscv32": Costs(-17.4, 11.6, 140.5, 35.6, 4.6, 172.1, 19.0),
    "riscv64": Costs(-15.5, 11.5, 142.8, 35.8, 4.5, 5.9, 19.0),
}
