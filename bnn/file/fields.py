# SPDX-License-Identifier: Apache-2.0
"""How each attribute of an op stands in the file: 32-bit words, in the attributes' order.

The C structs, the writer, the reader and the format's documentation derive from this list; an attribute that is not
here is not written.
"""

from __future__ import annotations

_HW = ("h", "w")
_SIDES = ("top", "left", "bottom", "right")


def _ints(prefix: str, parts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple(("int32_t", f"{prefix}_{part}") for part in parts)


def _range(prefix: str) -> tuple[tuple[str, str], ...]:
    return (("float", f"{prefix}_lo"), ("float", f"{prefix}_hi"))


FIELDS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("ConvAttrs", "stride"): _ints("stride", _HW),
    ("ConvAttrs", "dilation"): _ints("dilation", _HW),
    ("ConvAttrs", "pads"): _ints("pad", _SIDES),
    ("ConvAttrs", "pad_value"): (("int32_t", "pad_value"),),
    ("ConvAttrs", "groups"): (("int32_t", "groups"),),
    ("ConvAttrs", "slots"): (("int32_t", "slots"),),
    ("ConvAttrs", "layer_slots"): (("int32_t", "layer_slots"),),
    ("ConvAttrs", "clamp0"): _range("clamp0"),
    ("ConvAttrs", "clamp1"): _range("clamp1"),
    ("ConvAttrs", "planes"): (("int32_t", "planes"),),
    ("PoolAttrs", "kernel"): _ints("kernel", _HW),
    ("PoolAttrs", "stride"): _ints("stride", _HW),
    ("PoolAttrs", "pads"): _ints("pad", _SIDES),
    ("ResizeAttrs", "size"): _ints("size", _HW),
    ("ResizeAttrs", "align_corners"): (("int32_t", "align_corners"),),
    ("ResizeAttrs", "half_pixels"): (("int32_t", "half_pixels"),),
    ("PadAttrs", "pads"): _ints("pad", _SIDES),
    ("PadAttrs", "value"): (("float", "value"),),
    ("SliceAttrs", "begin"): (("int32_t", "begin"),),
    ("SliceAttrs", "end"): (("int32_t", "end"),),
    ("DequantizeAttrs", "channels"): (("int32_t", "channels"),),
    ("RoundAttrs", "direction"): (("int32_t", "direction"),),
    ("PowAttrs", "exponent"): (("float", "exponent"),),
    ("BatchSizeAttrs", "per_image"): (("int32_t", "per_image"),),
    ("PadChannelsAttrs", "before"): (("int32_t", "before"),),
    ("PadChannelsAttrs", "after"): (("int32_t", "after"),),
    ("PadChannelsAttrs", "value"): (("float", "value"),),
    ("ClampAttrs", "lo"): (("float", "lo"),),
    ("ClampAttrs", "hi"): (("float", "hi"),),
}
