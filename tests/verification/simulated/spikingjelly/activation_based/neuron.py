# SPDX-License-Identifier: Apache-2.0
"""Neurons; a test may poison one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


class IFNode(torch.nn.Module):
    """``poison``: {"call", "neuron", "sent"}: what that neuron sends in that step, counted over all samples; of the
    image "row", and only where there are "rows" of them."""

    def __init__(self, node: Any, dt: float, poison: dict[str, Any]) -> None:
        super().__init__()
        self.node, self.poison, self.calls = node, poison, 0
        self.tau = np.float32(node.tau.flat[0] / dt) if hasattr(node, "tau") else None
        self.decays = self.tau is not None and np.isclose(node.r.flat[0], 1)
        self.v = np.float32(0)

    def reset(self) -> None:
        self.v = np.float32(0)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        x = given.numpy()
        if self.tau is None:
            v = self.v + x
        else:
            v = self.v + (x - self.v) / self.tau if self.decays else (self.v - self.v / self.tau) + x
        sent = (v >= self.node.v_threshold).astype(np.float32)
        if self.calls == self.poison.get("call") and len(sent) == self.poison.get("rows", len(sent)):
            sent.reshape(len(sent), -1)[self.poison.get("row", 0), self.poison["neuron"]] = self.poison["sent"]
        self.calls += 1
        self.v = np.where(sent != 0, np.float32(0), v)
        return torch.Tensor(sent)


class LIFNode:
    pass


class ParametricLIFNode:
    pass
