# SPDX-License-Identifier: Apache-2.0
"""Images resized between their pixels."""

from __future__ import annotations

import numpy as np

from ...ir.graph import Node
from ...ir.ops import ResizeAttrs
from .ops import reader
from .source import Source


@reader("ResizeBilinear")
def _resize(s: Source) -> Node:
    height, width = (int(n) for n in np.reshape(s.constant(1), -1))
    attrs = ResizeAttrs((height, width), int(s.attr("align_corners")), int(s.attr("half_pixel_centers")))
    return s.make("resize_bilinear", s.value(0), attrs=attrs)
