# SPDX-License-Identifier: Apache-2.0
"""Other forms of layers, binarized by torch.sign."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import CLASSES
from .signs import HardSign, SignConv2d


class SignConv1d(nn.Conv1d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x.sign(), self.weight.sign(), None, self.stride, self.padding)


def signals() -> nn.Module:
    """Convolutions in one dimension, for nine signals of 128 samples."""
    return nn.Sequential(
        *(nn.Conv1d(9, 32, 7, padding=3, bias=False), nn.BatchNorm1d(32)),
        *(SignConv1d(32, 64, 5, padding=2, bias=False), nn.MaxPool1d(2), nn.BatchNorm1d(64)),
        *(SignConv1d(64, 64, 5, stride=2, bias=False), nn.BatchNorm1d(64), nn.AdaptiveAvgPool1d(1)),
        *(nn.Flatten(), nn.Linear(64, CLASSES)),
    )


class MobileBlock(nn.Module):
    """Half of the channels pass; the other half goes through a depthwise, a grouped and binary convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.depthwise = nn.Sequential(nn.Conv2d(half, half, 3, padding=1, groups=half), nn.BatchNorm2d(half))
        self.pointwise = nn.Sequential(SignConv2d(half, half, 1, bias=False), nn.BatchNorm2d(half), nn.LeakyReLU(0.125))
        self.grouped = nn.Sequential(nn.Conv2d(half, half, 3, padding=1, groups=4), nn.BatchNorm2d(half))
        self.binary_grouped = nn.Sequential(
            SignConv2d(half, half, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(half)
        )

    def forward(self, x: Tensor) -> Tensor:
        kept, x = torch.chunk(x, 2, dim=1)
        x = self.pointwise(self.depthwise(x).sign())
        return torch.cat([kept, x + self.binary_grouped(self.grouped(x).sign())], dim=1)


def mobile() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU6()),
        *(MobileBlock(64), nn.AvgPool2d(2), MobileBlock(64), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(64, CLASSES), nn.Softmax(1)),
    )


class DenseLayer(nn.Module):
    """BinaryDenseNet's: what came in is kept before what it adds."""

    def __init__(self, inputs: int, growth: int, dilation: int = 1) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs)
        self.conv = SignConv2d(inputs, growth, 3, padding=dilation, dilation=dilation, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(self.bn(x).sign())], dim=1)


def densenet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
        *(DenseLayer(64, 32), DenseLayer(96, 32)),
        *(nn.BatchNorm2d(128), nn.MaxPool2d(2, 2), nn.ReLU(), nn.Conv2d(128, 64, 1, bias=False)),
        *(DenseLayer(64, 32, dilation=2), DenseLayer(96, 32, dilation=2)),
        *(nn.BatchNorm2d(128), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, CLASSES)),
    )


class SignConvTranspose2d(nn.ConvTranspose2d):
    def forward(self, x: Tensor) -> Tensor:
        y = F.conv_transpose2d(x.sign(), self.weight.sign(), None, self.stride, self.padding, self.output_padding)
        return y


def decoder() -> nn.Module:
    """From 32 x 32 to 8 x 8 and back to 32 x 32 by transposed convolutions, a binary one and a float one."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), HardSign()),
        *(SignConv2d(32, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64)),
        *(SignConvTranspose2d(64, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        nn.ConvTranspose2d(32, 4, 3, 2, 1, output_padding=1),
    )
