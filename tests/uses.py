# SPDX-License-Identifier: Apache-2.0
"""A small network whose file says what it is used for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from bnn.file.write import encode
from bnn.ir.graph import DType, Graph
from bnn.ir.ops import ConvAttrs, constant, input_node, make
from bnn.passes import lower
from bnn.runtime import Model


def graph(shape: tuple[int, ...] = (4, 5, 3), dtype: DType = DType.f32, inputs: int = 1) -> Graph:
    """A picture to two classes; several inputs are added."""
    nodes = [input_node(f"x{i}", shape, dtype) for i in range(inputs)]
    x = make("cast", nodes[0]) if dtype is DType.u8 else nodes[0]
    for other in nodes[1:]:
        x = make("add", x, other)
    filters = constant(np.random.default_rng(0).choice([-1.0, 1.0], (2, *shape)).astype(np.float32))
    return lower(Graph(tuple(nodes), (make("conv2d", x, filters, attrs=ConvAttrs(), name="dense"),), ("y",)))


def using(use: Any, **options: Any) -> Model:
    text = use if isinstance(use, str) else json.dumps(use)
    return Model.from_bytes(encode(replace(graph(**options), use=text)))
