# SPDX-License-Identifier: Apache-2.0
"""What became of a network that was calibrated."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .._text import printable
from ..runtime import Model
from ..runtime.summary import quantity


def in_decibels(ratio: float) -> str:
    """Signal over noise, as text."""
    return "exact" if ratio == math.inf else f"{ratio:.1f} dB"


@dataclass(frozen=True)
class CalibratedLayer:
    """A layer of floats: what became of it.

    ``scale`` and ``zero``: of its data (a byte u stands for (u - zero) * scale); ``snr``: of its sums on some of the
    images, in dB, signal over the error that quantizing its own data and weights makes; with integers only, of its
    results, bytes or bits.  A layer that stays float has none, and says ``why``.  ``binary``: a layer of bits whose
    sums become bytes; ``scale`` and ``zero`` mean nothing there.  ``int16``: its sums become int16 instead of bytes.
    """

    layer: str
    why: str = ""
    scale: float = 1.0
    zero: int = 0
    snr: float = math.inf
    binary: bool = False
    int16: bool = False

    def __str__(self) -> str:
        name = printable(self.layer)
        if self.why:
            return f"'{name}': float: {self.why}"
        if self.binary:
            return f"'{name}': binary, its sums become {'int16' if self.int16 else 'bytes'}, {in_decibels(self.snr)}"
        wide = ", its sums become int16" if self.int16 else ""
        return f"'{name}': int8, scale {self.scale:.4g}, zero {self.zero}{wide}, {in_decibels(self.snr)}"


@dataclass(frozen=True)
class Shortcut:
    """A sum of two values in whole numbers: the ``scale`` of int16, or None of bytes; ``snr``: of its numbers, in the
    whole network on some of the images, in dB."""

    layer: str
    scale: float | None
    snr: float

    def __str__(self) -> str:
        kind = "bytes" if self.scale is None else f"int16, scale {self.scale:.4g}"
        return f"'{printable(self.layer)}': a sum of {kind}, {in_decibels(self.snr)} end to end"


@dataclass(frozen=True)
class Calibration:
    """A calibrated network, its layers, and how often it gives the class of the float network: ``same`` of ``images``;
    None if its outputs are not classes.  ``accuracy``: that of the float network and its own, if classes were given.
    ``float_ops``: how many ops of the network still compute with floats, beside the one that makes bytes of its input
    and the table of its output.  With integers only: ``shortcuts``, its sums of two values; ``tried``, if it was
    measured whether they become int16: how near the outputs are to the floats with bytes and with int16, in dB."""

    model: Model
    layers: tuple[CalibratedLayer, ...]
    images: int
    same: int | None
    accuracy: tuple[float, float] | None = None
    float_ops: int = 0
    shortcuts: tuple[Shortcut, ...] = ()
    tried: tuple[float, float] | None = None

    def __str__(self) -> str:
        layers = [layer for layer in self.layers if not layer.binary]
        made = sum(not layer.why for layer in layers)
        head = f"{made} of {quantity(len(layers), 'float layer')} became int8"
        if not self.layers:
            head = "there is no convolution or dense layer of floats: nothing changes"
        if self.same is not None:
            head += f"; {self.same:,} of {self.images:,} images have the class of the float network"
        if self.accuracy is not None:
            before, after = self.accuracy
            head += f"; accuracy {after:.2%} (before: {before:.2%})"
        lines = [head, *(f"  {part}" for part in (*self.layers, *self.shortcuts))]
        if self.tried is not None:
            wide = any(shortcut.scale is not None for shortcut in self.shortcuts)
            kind, (before, after) = "int16" if wide else "bytes", self.tried
            noise = f"{in_decibels(before)} with bytes, {in_decibels(after)} with int16"
            lines.append(f"  shortcuts are {kind}: the outputs have {noise}")
        return "\n".join([*lines, f"  ops of floats: {self.float_ops}"])
