# SPDX-License-Identifier: Apache-2.0
"""Networks with shortcuts: bitorch, Bi-Real Net, ReActNet, IR-Net, BNext, DoReFa-Net."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import CLASSES
from .signs import HardSign, SignConv2d, Ste

# bitorch: sign, then 1 where that is 0; padding with -1.


def bitorch_sign(x: Tensor) -> Tensor:
    signs = torch.sign(x)
    return torch.where(signs == 0, torch.tensor(1.0, device=signs.device), signs)


class QConv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(bitorch_sign(x), self._reversed_padding_repeated_twice, mode="constant", value=-1.0)
        return F.conv2d(x, bitorch_sign(self.weight), None, self.stride, 0, self.dilation, self.groups)


class BitorchBlock(nn.Module):
    """ResNet-E: a shortcut around every convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            QConv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs, momentum=0.9)
        )
        self.downsample = None
        if stride != 1:
            shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.downsample = nn.Sequential(nn.AvgPool2d(2, stride=2), shortcut, nn.BatchNorm2d(outputs, momentum=0.9))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.body(x) + shortcut


def bitorch_resnet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)),
        *(BitorchBlock(32, 32), BitorchBlock(32, 64, 2), BitorchBlock(64, 64), BitorchBlock(64, 128, 2)),
        *(nn.BatchNorm2d(128), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, CLASSES)),
    )


# Bi-Real Net: the sign has the gradient of a polynomial, the weights that of a clip; both by adding and subtracting.


def polynomial_sign(x: Tensor) -> Tensor:
    below, negative, inside = ((x < bound).type(torch.float32) for bound in (-1, 0, 1))
    soft = -1 * below + (x * x + 2 * x) * (1 - below)
    soft = soft * negative + (-x * x + 2 * x) * (1 - negative)
    soft = soft * inside + 1 * (1 - inside)
    return torch.sign(x).detach() - soft.detach() + soft


def mean_of_filters(weight: Tensor) -> Tensor:
    """Mean of |w| of each filter, (O, 1, 1, 1), dimension by dimension."""
    mean = torch.mean(torch.mean(weight.abs(), dim=3, keepdim=True), dim=2, keepdim=True)
    return torch.mean(mean, dim=1, keepdim=True)


class BiRealConv2d(nn.Module):
    """Weights are one column; a few large ones, as training gives, make the rounding of - clip + clip visible."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.padding = stride, kernel // 2
        self.shape = (outputs, inputs, kernel, kernel)
        self.weights = nn.Parameter(torch.randn((math.prod(self.shape), 1)).pow(3) * 0.05)

    def forward(self, x: Tensor) -> Tensor:
        real = self.weights.view(self.shape)
        signs = mean_of_filters(real).detach() * torch.sign(real)
        clipped = torch.clamp(real, -1.0, 1.0)
        weight = signs.detach() - clipped.detach() + clipped
        return F.conv2d(x, weight, stride=self.stride, padding=self.padding)


def pooled_shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    conv = nn.Conv2d(inputs, outputs, 1, bias=False)
    return nn.Sequential(nn.AvgPool2d(2, stride=stride), conv, nn.BatchNorm2d(outputs))


class BiRealBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv, self.bn = BiRealConv2d(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs)
        self.downsample = pooled_shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(polynomial_sign(x))) + self.downsample(x)


class BiRealNet(nn.Module):
    def __init__(self, block: Callable[..., nn.Module] = BiRealBlock) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *(nn.Conv2d(3, 32, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(32)),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        self.layers = nn.Sequential(block(32, 32), block(32, 32), block(32, 64, 2), block(64, 64), block(64, 128, 2))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.layers(self.stem(x)))
        return self.fc(x.view(x.size(0), -1))


# ReActNet: shifts per channel before signs and around PReLU; in eval mode weights are signs and sums are scaled.


class Shift(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(1, channels, 1, 1) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.expand_as(x)


class ReactConv2d(BiRealConv2d):
    def forward(self, x: Tensor) -> Tensor:
        real = self.weights.view(self.shape)
        y = F.conv2d(x, torch.sign(real), stride=self.stride, padding=self.padding)
        return y * mean_of_filters(real).reshape([-1, 1, 1])


class RPRelu(nn.Sequential):
    def __init__(self, channels: int) -> None:
        super().__init__(Shift(channels), nn.PReLU(channels), Shift(channels))
        self[1].weight.data = torch.rand(channels) * 0.6 - 0.1


class ReactBlock(nn.Module):
    """3 x 3, then 1 x 1; where channels double, two 1 x 1 convolutions of the same input, concatenated."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.shift1 = Shift(inputs)
        self.conv1, self.bn1 = ReactConv2d(inputs, inputs, 3, stride), nn.BatchNorm2d(inputs)
        self.pooling = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()
        self.relu1, self.shift2 = RPRelu(inputs), Shift(inputs)
        self.pointwise = nn.ModuleList(ReactConv2d(inputs, inputs, 1) for _ in range(outputs // inputs))
        self.bn2 = nn.ModuleList(nn.BatchNorm2d(inputs) for _ in self.pointwise)
        self.relu2 = RPRelu(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.pooling(x) + self.bn1(self.conv1(torch.sign(self.shift1(x)))))
        signs = torch.sign(self.shift2(y))
        halves = [bn(conv(signs)) + y for conv, bn in zip(self.pointwise, self.bn2, strict=True)]
        return self.relu2(halves[0] if len(halves) == 1 else torch.cat(halves, dim=1))


def reactnet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)),
        *(ReactBlock(32, 64), ReactBlock(64, 64), ReactBlock(64, 128, 2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, CLASSES)),
    )


class ReactResNetBlock(BiRealBlock):
    """ReActNet on ResNet: Bi-Real Net's block with shifts and RPReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, stride)
        self.shift, self.relu = Shift(inputs), RPRelu(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(polynomial_sign(self.shift(x))))
        return self.relu(y + self.downsample(x))


# IR-Net: weights are balanced and normalized, their signs scaled by powers of two; the shortcut drops pixels and pads
# channels.


class IrConv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        w, filters = self.weight, self.weight.size(0)
        w = w - w.view(filters, -1).mean(-1).view(filters, 1, 1, 1)
        w = w / w.view(filters, -1).std(-1).view(filters, 1, 1, 1)
        exponent = (torch.log(w.abs().view(filters, -1).mean(-1)) / math.log(2)).round().float()
        scale = torch.pow(torch.tensor([2] * filters).float(), exponent).view(filters, 1, 1, 1).detach()
        return F.conv2d(Ste.apply(x), Ste.apply(w) * scale, self.bias, self.stride, self.padding)


class IrBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = IrConv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = IrConv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.more = (outputs - inputs) // 2

    def shortcut(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more, self.more), "constant", 0) if self.more else x

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardtanh(self.bn1(self.conv1(x)) + self.shortcut(x))
        return F.hardtanh(self.bn2(self.conv2(x)) + x)


class IrResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.layers = nn.Sequential(IrBlock(32, 32), IrBlock(32, 64, 2), IrBlock(64, 128, 2))
        self.bn2, self.linear = nn.BatchNorm1d(128), nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(F.hardtanh(self.bn1(self.conv1(x))))
        x = F.avg_pool2d(x, x.size()[3])
        return self.linear(self.bn2(x.view(x.size(0), -1)))


# BNext: the sign of a clip of a quotient; a gate per channel (squeeze and expand) and the shortcut multiply the sums.


class BNextLayer(nn.Module):
    """Its binary convolution 3 x 3 ("Attention", multiplied by the shortcut) or 1 x 1 ("FFN")."""

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.move, self.sign = Shift(channels), HardSign()
        self.conv = SignConv2d(channels, channels, kernel, stride, kernel // 2, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.activation1, self.activation2 = nn.PReLU(channels), nn.PReLU(channels)
        self.pooling = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()
        self.se = nn.Sequential(
            *(nn.AdaptiveAvgPool2d((1, 1)), nn.Conv2d(channels, channels // 8, 1), nn.ReLU()),
            *(nn.Conv2d(channels // 8, channels, 1), nn.Sigmoid()),
        )
        self.scale = nn.Parameter(torch.rand(1, channels, 1, 1))
        self.attention = kernel == 3

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.pooling(self.activation1(x) if self.attention else x)
        y = self.activation2(self.norm1(self.conv(self.sign(self.move(x)))))
        mixed = self.scale * self.pooling(x) + y * (1 - self.scale)
        y = self.se(mixed) * y
        return self.norm2(y * shortcut if self.attention else y) + shortcut


class BNextBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.attention = BNextLayer(inputs, 3, stride)
        self.ffn = nn.ModuleList(BNextLayer(inputs, 1) for _ in range(outputs // inputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(x)
        parts = [layer(x) for layer in self.ffn]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def bnext() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32)),
        *(BNextBlock(32, 64, 2), BNextBlock(64, 64), nn.PReLU(64), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(64, CLASSES)),
    )


# DoReFa-Net: activations of k bits in 0..1; signs scaled by the mean of |w| of the whole layer.


class Levels(torch.autograd.Function):
    """2**bits levels from 0 to 1."""

    @staticmethod
    def forward(ctx, x: Tensor, bits: int) -> Tensor:
        n = float(2**bits - 1)
        return torch.round(x * n) / n

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class Quantize(nn.Module):
    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, x: Tensor) -> Tensor:
        return Levels.apply(torch.clamp(x, 0, 1), self.bits)


class DoReFaConv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        scale = torch.mean(torch.abs(self.weight)).detach()
        weight = Ste.apply(self.weight / scale) * scale
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class DoReFaBlock(nn.Module):
    """Batch norm, quantize, convolve, twice, around a shortcut (a strided 1 x 1 of the quantized values)."""

    def __init__(self, inputs: int, outputs: int, stride: int, bits: int) -> None:
        super().__init__()
        self.bn0, self.bn1, self.quantize = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs), Quantize(bits)
        self.conv0 = DoReFaConv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv1 = DoReFaConv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.skip = DoReFaConv2d(inputs, outputs, 1, stride, bias=False) if stride != 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.quantize(self.bn0(x))
        shortcut = x if self.skip is None else self.skip(y)
        return self.conv1(self.quantize(self.bn1(self.conv0(y)))) + shortcut


def dorefa() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1, bias=False), DoReFaBlock(32, 32, 1, 2), DoReFaBlock(32, 64, 2, 2)),
        *(DoReFaBlock(64, 64, 1, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(64, CLASSES)),
    )
