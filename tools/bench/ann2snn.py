# SPDX-License-Identifier: Apache-2.0
"""SpikingJelly's ann2snn on a chain of layers: accuracy over time steps.  Runs alone, in an environment of its own.

    python ann2snn.py network.npz out.json

``network.npz``: x (N, C, H, W) float32, y (N,), calibration (M, C, H, W), steps, and per layer i: kind<i>, with a<i>,
b<i> and numbers<i>.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import ann2snn
from torch import nn


def affine(a: Any, b: Any) -> nn.BatchNorm2d:
    """x * a + b per channel: the converter takes no module that it does not know."""
    norm = nn.BatchNorm2d(a.size, eps=0.0)
    norm.weight.data, norm.bias.data = torch.tensor(a.reshape(-1)), torch.tensor(b.reshape(-1))
    return norm


def build(file: Any) -> nn.Sequential:
    layers: list[nn.Module] = []
    i = 0
    while f"kind{i}" in file:
        kind, numbers = str(file[f"kind{i}"]), [int(n) for n in file[f"numbers{i}"]]
        if kind == "conv":
            weights = torch.tensor(file[f"a{i}"])
            stride, top, left, bottom, right, groups = numbers
            if (top, left) != (bottom, right):
                raise SystemExit(f"found padding {top, left, bottom, right}, expected the same on both sides")
            conv = nn.Conv2d(
                weights.shape[1] * groups, weights.shape[0], weights.shape[2:], stride, (top, left), groups=groups,
                bias=False,
            )  # fmt: skip
            conv.weight.data = weights
            layers.append(conv)
        elif kind == "affine":
            layers.append(affine(file[f"a{i}"], file[f"b{i}"]))
        elif kind == "relu":
            layers.append(nn.ReLU())
        else:
            pool = nn.MaxPool2d if kind == "max" else nn.AvgPool2d
            layers.append(pool(tuple(numbers[:2]), tuple(numbers[2:])))
        i += 1
    return nn.Sequential(*layers, nn.Flatten()).eval()


def main() -> None:
    file = np.load(sys.argv[1])
    model = build(file)
    x, y, steps = torch.tensor(file["x"]), file["y"], [int(n) for n in file["steps"]]
    calibration = torch.tensor(file["calibration"])
    loader = [(calibration[k : k + 50], torch.zeros(50)) for k in range(0, len(calibration), 50)]
    with torch.no_grad():
        found: dict[str, Any] = {"float": float((model(x).argmax(1).numpy() == y).mean())}
        for mode in ("max", "99.9%", "99%"):
            recipe = ann2snn.RateCodingRecipe(dataloader=loader, mode=mode)
            snn = ann2snn.Converter(recipe=recipe).convert(build(file)).eval()
            for module in snn.modules():
                if hasattr(module, "reset"):
                    module.reset()
            total, accuracy = torch.zeros(1), {}
            for t in range(1, max(steps) + 1):
                total = total + snn(x)
                if t in steps:
                    accuracy[t] = float((total.argmax(1).numpy() == y).mean())
            found[mode] = accuracy
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        json.dump(found, out)


if __name__ == "__main__":
    main()
