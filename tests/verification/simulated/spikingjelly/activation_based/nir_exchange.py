# SPDX-License-Identifier: Apache-2.0
"""Networks from NIR files, poisoned as the environment says: {node: {"weight": [place, what is added]} or a neuron's};
{"renamed": {node: another name}}; {"fails": why}."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import torch

from .neuron import IFNode


class Affine(torch.nn.Module):
    """Sources are added last first, after the bias: another order than the engine's."""

    def __init__(self, node: Any, poison: dict[str, Any]) -> None:
        super().__init__()
        self.weight, self.bias = node.weight.copy(), node.bias
        place, more = poison.get("weight", ((0, 0), 0))
        self.weight[tuple(place)] += more

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        products = x.numpy()[:, None, ::-1] * self.weight[:, ::-1]
        return torch.Tensor(np.cumsum(np.insert(products, 0, self.bias, axis=2), axis=2, dtype=np.float32)[..., -1])


class Network(torch.nn.Module):
    def __init__(self, graph: Any, dt: float, poison: dict[str, Any]) -> None:
        super().__init__()
        name = next(name for name, node in graph.nodes.items() if type(node).__name__ == "Input")
        following = dict(graph.edges)  # a chain
        while type(graph.nodes[name := following[name]]).__name__ != "Output":
            node, own = graph.nodes[name], poison.get(name, {})
            self.parts[poison.get("renamed", {}).get(name, name)] = (
                Affine(node, own) if hasattr(node, "weight") else IFNode(node, dt, own)
            )

    def forward(self, x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, dict[str, Any]]:
        for part in self.parts.values():
            x = part(x)
        return x, {}


def import_from_nir(graph: Any, dt: float = 1e-4) -> Network:
    poison = json.loads(os.environ.get("POISON", "{}"))
    if "fails" in poison:
        raise ValueError(poison["fails"])
    return Network(graph, dt, poison)
