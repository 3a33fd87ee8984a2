# SPDX-License-Identifier: Apache-2.0
"""About how many instructions a layer takes, on processors where they were counted.

The numbers are fitted to the counts in tests/targets/instructions.json, of gcc with -O2; a test fits them again, and
compares whole networks, with `--fast` and without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .program import EmittedLayer

Line = tuple[float, float]
Bytes = tuple[float, float, float]


@dataclass(frozen=True)
class Costs:
    """Instructions.  ``bits``: for an output, and for a word of its window; ``fixed``: for an output, by the words of
    its window; ``shared`` (of any window, and of 5 words) and ``planes``: for a word.  ``bytes``, and ``bytes_fixed``
    (9 and 27): for four bytes of a pixel's window, for an output, for four bytes of its window.  ``floats`` and
    ``int8``: for an output, and for a product; ``depthwise``, of floats, int8 and bits (of any window, and by limits
    of four digits), and ``single``, of int8 by one pixel at a time: for a product.  ``quantize`` and ``levels``: for
    a float that becomes a byte, without and with thresholds; ``requantized``: for a sum that becomes a byte or int16;
    ``added``: for a sum of int16; ``finished``: for a value that is normalized; ``sign``: for a float that becomes a
    bit, and for a sum.  Other ops: for an element that they read.  ``moved``: for a byte of rows that are kept and
    move up."""

    bits: Line
    fixed: Mapping[int, float]
    shared: Line
    planes: float
    bytes: Bytes
    bytes_fixed: Bytes
    floats: Line
    int8: Line
    quantize: float
    levels: float
    depthwise: tuple[float, float, float, float]
    single: float
    requantized: float
    finished: float
    sign: Line
    element: float
    moved: float
    added: float

    def layer(self, layer: EmittedLayer) -> float:
        """All of a layer."""
        after = self.finished * layer.finished + self.requantized * layer.requantized + self.moved * layer.moved
        after += self.added * layer.added + self.sign[0] * layer.signs + self.sign[1] * layer.compared
        if layer.kind == "bytes":
            table, output, group = self.bytes_fixed if layer.way == "fixed" else self.bytes
            groups = -(-layer.window // 4)
            return layer.pixels * (table * groups + layer.outputs * (output + group * groups)) + after
        if layer.kind in ("quantize", "levels"):
            return layer.pixels * (self.quantize if layer.kind == "quantize" else self.levels) + after
        if not layer.kind:
            return layer.pixels * self.element + after
        return layer.pixels * layer.outputs * self._output(layer) + after

    def _output(self, layer: EmittedLayer) -> float:
        if layer.way == "fixed" and layer.window in self.fixed:
            return self.fixed[layer.window]
        shared, shared_5 = self.shared
        ways = {
            "shared": shared, "shared_5": shared_5, "planes": self.planes, "single": self.single,
            "depthwise": self.depthwise[("floats", "int8", "bits").index(layer.kind)], "depthwise_4": self.depthwise[3],
        }  # fmt: skip
        if layer.way in ways:
            return ways[layer.way] * layer.window
        first, each = {"floats": self.floats, "int8": self.int8}.get(layer.kind, self.bits)
        return max(first + each * layer.window, each)


COSTS: Mapping[str, Costs] = {
    "cortex-m0": Costs(
        (49.7, 16.8), {2: 53.4, 4: 92.7, 9: 158.8, 18: 269.2, 36: 585.6}, (32.4, 22.5), 23.3,
        (185.1, 33.6, 6.5), (206.8, 34.2, 8.4), (14.1, 177.6), (22.4, 5.7), 462.0, 175.1,
        (181.4, 11.1, 2.5, 1.1), 6.4, 53.5, 278.1, (83.6, 17.5), 31.6, 0.9, 13.4,
    ),
    "cortex-m3": Costs(
        (37.4, 10.1), {2: 37.4, 4: 63.4, 9: 106.6, 18: 174.8, 36: 353.9}, (21.4, 15.2), 15.4,
        (174.6, 21.2, 5.2), (169.3, 21.1, 1.8), (6.8, 68.0), (10.2, 3.4), 245.2, 113.1,
        (69.3, 7.5, 1.9, 0.7), 4.3, 15.7, 123.6, (89.4, 13.9), 22.5, 0.6, 11.6,
    ),
    "cortex-m4": Costs(
        (32.7, 9.8), {2: 32.3, 4: 59.4, 9: 102.6, 18: 170.8, 36: 343.9}, (20.0, 14.6), 14.5,
        (175.3, 21.3, 5.1), (170.0, 21.2, 1.8), (-1.7, 4.9), (12.7, 1.6), 28.0, 113.1,
        (8.8, 5.1, 1.9, 0.8), 2.1, 11.3, 27.2, (15.9, 13.9), 22.5, 0.6, 3.1,
    ),
    "cortex-m55": Costs(
        (16.2, 3.3), {9: 41.1, 18: 60.5, 36: 122.2}, (22.6, 15.0), 17.0,
        (175.9, 25.3, 4.1), (174.2, 19.6, 1.7), (-9.4, 5.4), (13.5, 0.5), 26.1, 108.1,
        (8.0, 1.8, 2.0, 0.7), 0.7, 3.9, 28.6, (14.9, 13.8), 21.6, 0.6, 2.6,
    ),
    "cortex-m7": Costs(
        (32.7, 9.8), {2: 32.3, 4: 59.4, 9: 102.7, 18: 170.8, 36: 343.9}, (20.0, 14.6), 14.5,
        (175.3, 21.3, 5.1), (170.0, 21.2, 1.8), (-1.7, 4.9), (11.3, 1.6), 27.0, 113.1,
        (8.8, 5.1, 1.8, 0.8), 2.1, 11.2, 27.2, (15.9, 13.9), 22.4, 0.6, 3.1,
    ),
    "riscv32": Costs(
        (36.7, 12.2), {2: 39.3, 4: 65.5, 9: 110.2, 18: 191.2, 36: 399.7}, (24.3, 16.2), 17.1,
        (147.9, 39.2, 6.4), (136.5, 35.2, 4.7), (-12.0, 172.4), (10.7, 4.3), 432.1, 105.1,
        (173.9, 8.2, 2.6, 0.7), 5.1, 23.6, 263.8, (54.6, 13.7), 19.0, 6.0, 12.7,
    ),
    "riscv64": Costs(
        (36.7, 12.2), {2: 39.5, 4: 65.6, 9: 110.2, 18: 191.2, 36: 397.9}, (24.3, 16.2), 17.1,
        (149.3, 39.1, 6.4), (137.7, 35.1, 4.8), (2.6, 5.8), (10.8, 4.3), 26.1, 106.1,
        (12.2, 8.4, 1.7, 0.8), 5.1, 19.6, 23.3, (10.7, 13.7), 19.0, 6.0, 12.6,
    ),
}  # fmt: skip
