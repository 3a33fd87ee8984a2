# SPDX-License-Identifier: Apache-2.0
"""Signs as people write them, and layers that take them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Ste(torch.autograd.Function):
    """The sign that is 0 at 0; its gradient is that of hard tanh."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= 1)


# Signs that are +1 at 0.


def where_scalars(x: Tensor) -> Tensor:
    return torch.where(x >= 0, 1.0, -1.0)


def where_tensors(x: Tensor) -> Tensor:
    return torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x))


def where_less(x: Tensor) -> Tensor:
    return torch.where(x < 0, -1.0, 1.0)


def doubled_comparison(x: Tensor) -> Tensor:
    return (x >= 0).float() * 2 - 1


class HardSign(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.full((1,), 1e-8))

    def forward(self, x: Tensor) -> Tensor:
        replace = x.clamp(-1.5, 1.5)
        sign = x.div(self.temperature.clamp(min=1e-8)).clamp(-1, 1).sign()
        return (sign - replace).detach() + replace


class SignConv2d(nn.Conv2d):
    """A convolution by the signs of its weights, as it is; its inputs are signs already."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.sign(), None, self.stride, self.padding, self.dilation, self.groups)
