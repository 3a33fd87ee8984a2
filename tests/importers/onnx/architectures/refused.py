# SPDX-License-Identifier: Apache-2.0
"""What cannot be compiled."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from . import CLASSES
from .plain import BinarizedLinear
from .signs import SignConv2d


class Scaled(nn.Module):
    """The scale of a layer's inputs is a mean of |x|: of the pixel; or, which is imported, of the image."""

    def __init__(self, axes: tuple[int, ...] = (1,)) -> None:
        super().__init__()
        self.axes = axes
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32))
        self.conv, self.head = SignConv2d(32, 32, 3, padding=1, bias=False), nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.conv(x.sign() * x.abs().mean(self.axes, keepdim=True))
        return self.head(x.mean((2, 3)))


class Recurrent(nn.Module):
    """An LSTM over the rows of an image before a binary dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.dense = nn.LSTM(28, 64, batch_first=True), BinarizedLinear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.lstm(x.squeeze(1))[0][:, -1])


class Attention(nn.Module):
    """Scores between the rows of an image: a product of two computed matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(28, 32) for _ in range(3))
        self.dense = BinarizedLinear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.squeeze(1)
        scores = torch.softmax(self.query(x) @ self.key(x).transpose(1, 2) / math.sqrt(32), -1)
        return self.dense((scores @ self.value(x)).mean(1))


class CeilPooling(nn.Module):
    """Pooling whose last window leaves the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32))
        self.conv, self.head = SignConv2d(32, 32, 3, bias=False), nn.Linear(32, CLASSES)
        self.pool = nn.AvgPool2d(3, 2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.conv(self.stem(x).sign())).mean((2, 3)))
