# SPDX-License-Identifier: Apache-2.0
"""Networks of the package Brevitas and of its layers."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from . import CLASSES


def published(name: str) -> nn.Module:
    """One of brevitas_examples.bnn_pynq, untrained."""
    from brevitas_examples.bnn_pynq.models import model_with_cfg

    return model_with_cfg(name, pretrained=False)[0]


def _layer(layer: Any, channels: int, norm: Any, bits: tuple[int, int]) -> list[nn.Module]:
    """A layer, a batch norm and a ReLU of levels; scales are powers of two, so that sums are exact in any order."""
    from brevitas import nn as qnn
    from brevitas.quant import Int8WeightPerTensorFixedPoint, Uint8ActPerTensorFixedPoint

    made = layer(bias=False, weight_quant=Int8WeightPerTensorFixedPoint, weight_bit_width=bits[0])
    relu = qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint, bit_width=bits[1], return_quant_tensor=True)
    return [made, norm(channels), relu]


def vgg10() -> nn.Module:
    """VGG10 for radio signals (O'Shea et al., 2018) with weights of 4 bits and activations of 3, as FINN's."""
    from brevitas import nn as qnn
    from brevitas.quant import Int8ActPerTensorFixedPoint, Int8WeightPerTensorFixedPoint

    layers: list[nn.Module] = [qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint)]
    for i, inputs in enumerate((2, *[64] * 6)):
        conv = partial(qnn.QuantConv1d, inputs, 64, 3, padding=1)
        layers += [*_layer(conv, 64, nn.BatchNorm1d, (4, 3 if i else 4)), nn.MaxPool1d(2)]
    layers.append(nn.Flatten())
    for inputs in (512, 128):
        layers += _layer(partial(qnn.QuantLinear, inputs, 128), 128, nn.BatchNorm1d, (4, 3))
    head = qnn.QuantLinear(128, CLASSES, bias=False, weight_quant=Int8WeightPerTensorFixedPoint, weight_bit_width=4)
    return nn.Sequential(*layers, head)


def separable() -> nn.Module:
    """As brevitas_examples' MobileNet of 4 bits: separable convolutions, a mean that loses its lowest bits, and a bias
    of 32 bits."""
    from brevitas import nn as qnn
    from brevitas.quant import Int8WeightPerTensorFixedPoint, Int32Bias

    layers = _layer(partial(qnn.QuantConv2d, 3, 16, 3, padding=1), 16, nn.BatchNorm2d, (8, 4))
    for inputs, outputs in ((16, 32), (32, 64)):
        depthwise = partial(qnn.QuantConv2d, inputs, inputs, 3, stride=2, padding=1, groups=inputs)
        layers += _layer(depthwise, inputs, nn.BatchNorm2d, (4, 4))
        layers += _layer(partial(qnn.QuantConv2d, inputs, outputs, 1), outputs, nn.BatchNorm2d, (4, 4))
    pool = qnn.TruncAvgPool2d(8, bit_width=4, float_to_int_impl_type="FLOOR")
    head = qnn.QuantLinear(
        64, CLASSES, bias=True, bias_quant=Int32Bias, weight_quant=Int8WeightPerTensorFixedPoint, weight_bit_width=4
    )
    return nn.Sequential(*layers, pool, nn.Flatten(), head)


def truncating() -> nn.Module:
    """Its average pooling cuts bits off the sum of integers, towards zero, which QONNX cannot say."""
    from brevitas import nn as qnn
    from brevitas.quant import SignedBinaryActPerTensorConst, SignedBinaryWeightPerTensorConst

    return nn.Sequential(
        qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst),
        qnn.QuantConv2d(3, 32, 3, bias=False, weight_quant=SignedBinaryWeightPerTensorConst),
        qnn.QuantReLU(bit_width=4, return_quant_tensor=True),
        *(
            qnn.TruncAvgPool2d(2, bit_width=4, float_to_int_impl_type="ROUND_TO_ZERO"),
            nn.Flatten(),
            nn.Linear(32 * 15 * 15, CLASSES),
        ),
    )


def float8() -> nn.Module:
    """Activations are 8-bit floats."""
    from brevitas import nn as qnn
    from brevitas.quant import SignedBinaryWeightPerTensorConst
    from brevitas.quant.float_quant_ocp import Fp8e4m3OCPActPerTensorFloat

    return nn.Sequential(
        qnn.QuantIdentity(act_quant=Fp8e4m3OCPActPerTensorFloat),
        qnn.QuantConv2d(3, 32, 3, bias=False, weight_quant=SignedBinaryWeightPerTensorConst),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES)),
    )
