# SPDX-License-Identifier: Apache-2.0
"""Layer normalization as Keras 2 writes it: batch norm in training mode of one image whose channels are all
vectors."""

from __future__ import annotations

from dataclasses import replace

from ...ir.ops import PoolAttrs, ReshapeAttrs, constant
from .moves import Moved, in_order
from .source import Source

NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})


def layer_norm(s: Source, x: Moved) -> Moved:
    """(x - mean) * rsqrt(variance + epsilon) of every vector, for data (1, images * vectors, size, 1) in their order.

    The scale and the offset are ones and zeros there; the layer's own follow it.
    """
    shape = x.index.shape
    size = shape[2]
    scale, offset = (s.constant_of_batch(i) for i in (1, 2))
    plain = (scale == 1).all() and not offset.any() and s.attr("data_format") == "NCHW"
    rows = in_order(s, x.mapped(lambda a: a.index[..., 0])) if shape[0] == shape[3] == 1 else None
    if not plain or rows is None:
        raise s.unsupported(f"batch norm in training mode of data {shape}; supported: what LayerNormalization makes")
    data = s.make("reshape", rows.base, attrs=ReshapeAttrs((*rows.base.type.shape, 1)), final=False)
    mean = PoolAttrs(kernel=(1, size))
    centred = s.make("sub", data, s.make("avg_pool", data, attrs=mean, final=False), final=False)
    squares = s.make("mul", centred, centred, final=False)
    variance = s.make("avg_pool", squares, attrs=mean, final=False)
    safe = s.make("add", variance, constant([float(s.attr("epsilon"))]), final=False)
    result = s.make("mul", centred, s.make("rsqrt", safe, final=False), final=False)
    return replace(rows, base=result).mapped(lambda a: a.index[..., None])
