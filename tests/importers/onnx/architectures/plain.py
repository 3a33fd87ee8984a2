# SPDX-License-Identifier: Apache-2.0
"""Layers in a row: BinaryNet, XNOR-Net, comparisons, weights that are stored as signs."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from . import CLASSES
from .signs import Ste, doubled_comparison, where_less, where_scalars, where_tensors

# BinaryNet (Hubara et al.): the first layer takes images as they are, every layer has a bias.


def binarized(x: Tensor) -> Tensor:
    """BinaryNet's ``Binarize``, whose scale is 1 unless asked for."""
    scale = 1
    return Ste.apply(x.div(scale)).mul(scale)


class BinarizedConv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        x = x if self.in_channels == 3 else binarized(x)
        y = F.conv2d(x, binarized(self.weight), None, self.stride, self.padding)
        return y if self.bias is None else y + self.bias.view(1, -1, 1, 1).expand_as(y)


class BinarizedLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        x = x if self.in_features == 784 else binarized(x)
        y = F.linear(x, binarized(self.weight))
        return y if self.bias is None else y + self.bias.view(1, -1).expand_as(y)


class BinaryNetMlp(nn.Module):
    """Dense layers; batch norm before hard tanh; the last layer is float."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(BinarizedLinear(784, 128), nn.BatchNorm1d(128), nn.Hardtanh()),
            *(BinarizedLinear(128, 96), nn.BatchNorm1d(96), nn.Hardtanh()),
            *(BinarizedLinear(96, 64), nn.BatchNorm1d(64), nn.Hardtanh()),
            nn.Linear(64, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.view(-1, 28 * 28))


class BinaryNetVgg(nn.Module):
    """Convolutions, max pooling between a convolution and its batch norm, dense layers; all of them binary."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, pool: bool = False) -> list[nn.Module]:
            pooling = [nn.MaxPool2d(kernel_size=2, stride=2)] if pool else []
            layer = BinarizedConv2d(inputs, outputs, 3, padding=1, bias=bias)
            return [layer, *pooling, nn.BatchNorm2d(outputs), nn.Hardtanh(inplace=True)]

        self.features = nn.Sequential(*conv(3, 32), *conv(32, 32, True), *conv(32, 64), *conv(64, 64, True))
        self.classifier = nn.Sequential(
            *(BinarizedLinear(64 * 8 * 8, 96, bias=bias), nn.BatchNorm1d(96), nn.Hardtanh(inplace=True)),
            *(BinarizedLinear(96, CLASSES, bias=bias), nn.BatchNorm1d(CLASSES, affine=False)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).view(-1, 64 * 8 * 8))


class ComparingConv2d(nn.Conv2d):
    """A convolution whose inputs and weights go through one of the functions above."""

    def __init__(self, sign: Callable[[Tensor], Tensor], *args: int, **options: int) -> None:
        super().__init__(*args, **options, bias=False)
        self.sign = sign

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.sign(x), self.sign(self.weight), None, self.stride, self.padding)


class Comparisons(nn.Module):
    """One layer for each way to write a sign that is +1 at 0."""

    def __init__(self) -> None:
        super().__init__()
        signs = (where_scalars, where_tensors, where_less, doubled_comparison)
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32))
        self.layers = nn.Sequential(
            *(nn.Sequential(ComparingConv2d(s, 32, 32, 3, padding=1), nn.BatchNorm2d(32)) for s in signs)
        )
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(F.max_pool2d(self.stem(x), 2))
        return self.head(x.mean((2, 3)))


# XNOR-Net: batch norm, sign, convolution, ReLU; pooling after it; weights are stored as +-(mean of |w| of the filter).


class XnorConv2d(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, padding: int = 0) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs, eps=1e-4)
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=padding)
        self.relu = nn.ReLU(inplace=True)
        weight = self.conv.weight.data
        weight = (weight - weight.mean(1, keepdim=True)).clamp(-1, 1)
        scale = weight.norm(1, 3, keepdim=True).sum(2, keepdim=True).sum(1, keepdim=True).div(weight[0].nelement())
        self.conv.weight.data = weight.sign() * scale

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv(Ste.apply(self.bn(x))))


class XnorNin(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.xnor = nn.Sequential(
            *(nn.Conv2d(3, 64, 5, padding=2), nn.BatchNorm2d(64, eps=1e-4, affine=False), nn.ReLU(inplace=True)),
            *(XnorConv2d(64, 48, 1), XnorConv2d(48, 32, 1), nn.MaxPool2d(3, stride=2, padding=1)),
            *(XnorConv2d(32, 64, 5, 2), XnorConv2d(64, 64, 1), nn.AvgPool2d(3, stride=2, padding=1)),
            *(XnorConv2d(64, 64, 3, 1), XnorConv2d(64, 64, 1), nn.BatchNorm2d(64, eps=1e-4, affine=False)),
            *(nn.Conv2d(64, CLASSES, 1), nn.ReLU(inplace=True), nn.AvgPool2d(8, stride=1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.xnor(x).view(x.size(0), CLASSES)


# Weights that are stored as signs, so that an exporter may multiply them by the batch norm that follows.


class StoredSignConv2d(nn.Conv2d):
    def __init__(self, *args: int, **options: int) -> None:
        super().__init__(*args, **options, bias=False)
        self.weight.data = self.weight.sign()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sign())


def stored_signs() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)),
        *(StoredSignConv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.MaxPool2d(2)),
        *(StoredSignConv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 8 * 8, CLASSES)),
    )
