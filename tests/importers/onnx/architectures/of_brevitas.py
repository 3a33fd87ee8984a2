# SPDX-License-Identifier: Apache-2.0
"""Networks of the package Brevitas and of its layers."""

from __future__ import annotations

from torch import nn

from . import CLASSES


def published(name: str) -> nn.Module:
    """One of brevitas_examples.bnn_pynq, untrained."""
    from brevitas_examples.bnn_pynq.models import model_with_cfg

    return model_with_cfg(name, pretrained=False)[0]


def truncating() -> nn.Module:
    """Its average pooling cuts bits off the sum of integers."""
    from brevitas import nn as qnn
    from brevitas.quant import SignedBinaryActPerTensorConst, SignedBinaryWeightPerTensorConst

    return nn.Sequential(
        qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst),
        qnn.QuantConv2d(3, 32, 3, bias=False, weight_quant=SignedBinaryWeightPerTensorConst),
        qnn.QuantReLU(bit_width=4, return_quant_tensor=True),
        *(
            qnn.TruncAvgPool2d(2, bit_width=4, float_to_int_impl_type="FLOOR"),
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
