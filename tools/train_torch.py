# SPDX-License-Identifier: Apache-2.0
"""Train a binarized network in PyTorch on scikit-learn's digits and export it for the compiler.

    python tools/train_torch.py --out runs/torch

Writes to the folder given by --out: model.pt (the weights, for ``network().load_state_dict``) and model.onnx, which
takes one image, float32 (1, 1, 8, 8) from 0 to 1, and gives a logit for each digit.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import click

from training import UserError, datasets
from training.console import FOLDER, JSON, run

try:
    import onnxscript  # noqa: F401  (what PyTorch exports with; it would ask for it last of all)
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError as error:
    print(
        f"train_torch: error: training needs PyTorch and ONNX ({error}); pip install torch onnxscript", file=sys.stderr
    )
    sys.exit(2)


class Sign(torch.autograd.Function):
    """The sign that is +1 at 0, so that a value fits a bit; its gradient is that of a clip to -1..1."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return gradients[0] * (x.abs() <= 1)


class BinaryConv2d(nn.Conv2d):
    """Binary weights and, but for the first layer, inputs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.in_channels == 1 else Sign.apply(x)
        return functional.conv2d(x, Sign.apply(self.weight), padding=self.padding)


class BinaryLinear(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(Sign.apply(x), Sign.apply(self.weight))


def network() -> nn.Module:
    """Batch norm scales the sums of each layer, also the last one's, to logits."""
    return nn.Sequential(
        *(BinaryConv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)),
        *(BinaryConv2d(32, 64, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(64)),
        *(BinaryConv2d(64, 64, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(64)),
        *(nn.Flatten(), BinaryLinear(64 * 2 * 2, 10, bias=False), nn.BatchNorm1d(10)),
    )


def tensors(split: datasets.Split, scale: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images, channels first, and labels."""
    images = datasets.to_input(split.images, scale).transpose(0, 3, 1, 2).copy()
    return torch.from_numpy(images), torch.from_numpy(split.labels.copy()).long()


def accuracy(module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return float((module.eval()(images).argmax(1) == labels).float().mean())


def train(data: datasets.Dataset, epochs: int, batch_size: int, learning_rate: float, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    module = network()
    images, labels = tensors(data.train, data.scale)
    optimizer = torch.optim.Adam(module.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(1, epochs + 1):
        module.train()
        for batch in torch.randperm(len(images)).split(batch_size):
            if len(batch) == 1:  # batch norm needs two
                continue
            optimizer.zero_grad()
            loss = functional.cross_entropy(module(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            with torch.no_grad():  # latent weights stay where the sign has a gradient
                for layer in module:
                    if isinstance(layer, BinaryConv2d | BinaryLinear):
                        layer.weight.clamp_(-1, 1)
        schedule.step()
        found = accuracy(module, *tensors(data.validation, data.scale))
        print(f"epoch {epoch}/{epochs}  loss {loss.item():.4f}  val acc {found:.2%}", file=sys.stderr)
    return module.eval()


def export(module: nn.Module, data: datasets.Dataset, path: Path) -> None:
    """Export the module as it is: an optimizer would multiply the batch norms into binary weights."""
    example = tensors(data.test, data.scale)[0][:1]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which nothing here needs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PyTorch about itself
        torch.onnx.export(module, (example,), path, dynamo=True, optimize=False, external_data=False, verbose=False)


RATE = click.FloatRange(0, 10, min_open=True, max_open=True)


@click.command(help="Train a binarized network in PyTorch on the digits and export it for the compiler.")
@click.option("--out", type=FOLDER, required=True, help="Folder for the files.")
@click.option("--epochs", type=click.IntRange(min=1), default=30, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=2), default=64, show_default=True)
@click.option("--learning-rate", type=RATE, default=0.01, show_default=True, help="Adam's, at the start.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace the files in --out.")
@JSON
def _command(out: Path, overwrite: bool, as_json: bool, **settings: Any) -> None:
    weights, exported = out / "model.pt", out / "model.onnx"
    if weights.exists() and not overwrite:
        raise UserError(f"{weights} exists already; --overwrite replaces it")
    out.mkdir(parents=True, exist_ok=True)
    data = datasets.load("digits")
    module = train(data, **settings)
    torch.save(module.state_dict(), weights)
    export(module, data, exported)
    found = accuracy(module, *tensors(data.test, data.scale))
    if as_json:
        print(json.dumps({**settings, "test_accuracy": found, "files": [str(weights), str(exported)]}))
        return
    print(f"test accuracy {found:.2%}; written to {out}: {weights.name}, {exported.name}")


main = partial(run, _command, "train_torch")


if __name__ == "__main__":
    main()
