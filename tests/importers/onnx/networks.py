# SPDX-License-Identifier: Apache-2.0
"""The networks of the folder architectures by name, with the images that they are tried on.

``build`` gives one in eval mode: random weights, and batch norms whose statistics are those of random images, so that
no layer's activations are all of one sign.  ``examples`` gives images for it, in PyTorch's layout, and ``eager`` what
PyTorch computes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bnn._types import Array

from .architectures import forms, of_brevitas, plain, refused, residual

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class Network:
    """``shape``: of one image, channels first.  ``binary``: convolutions and dense layers whose weights are binary and
    whose inputs are bits or levels; None if the network cannot be compiled."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    binary: int | None
    ties: bool = False
    """Batch norms have whole means and no betas, so that many of them give 0 before a sign."""


COLOUR, GREY = (3, 32, 32), (1, 28, 28)
NETWORKS = {
    "binarynet_mlp": Network(plain.BinaryNetMlp, GREY, 2),
    "binarynet_vgg": Network(plain.BinaryNetVgg, COLOUR, 5),
    "binarynet_ties": Network(lambda: plain.BinaryNetVgg(bias=False), COLOUR, 5, ties=True),
    "comparisons": Network(plain.Comparisons, COLOUR, 4, ties=True),
    "bitorch_resnet": Network(residual.bitorch_resnet, COLOUR, 4),
    "xnor_nin": Network(plain.XnorNin, COLOUR, 6),
    "birealnet": Network(residual.BiRealNet, COLOUR, 5),
    "reactnet": Network(residual.reactnet, COLOUR, 8),
    "reactnet_resnet": Network(lambda: residual.BiRealNet(residual.ReactResNetBlock), COLOUR, 5),
    "irnet": Network(residual.IrResNet, COLOUR, 6),
    "bnext": Network(residual.bnext, COLOUR, 5),
    "dorefa": Network(residual.dorefa, COLOUR, 7),
    "stored_signs": Network(plain.stored_signs, COLOUR, 2),
    "signals": Network(forms.signals, (9, 128), 2),
    "mobile": Network(forms.mobile, COLOUR, 4),
    "densenet": Network(forms.densenet, COLOUR, 4),
    "decoder": Network(forms.decoder, COLOUR, 2),
    "tfc_1w1a": Network(lambda: of_brevitas.published("tfc_1w1a"), GREY, 4),
    "tfc_1w2a": Network(lambda: of_brevitas.published("tfc_1w2a"), GREY, 4),
    "tfc_2w2a": Network(lambda: of_brevitas.published("tfc_2w2a"), GREY, 4),
    "lfc_1w1a": Network(lambda: of_brevitas.published("lfc_1w1a"), GREY, 4),
    "lfc_1w2a": Network(lambda: of_brevitas.published("lfc_1w2a"), GREY, 4),
    # The first layer's inputs have eight bits.
    "cnv_1w1a": Network(lambda: of_brevitas.published("cnv_1w1a"), COLOUR, 8),
    "cnv_1w2a": Network(lambda: of_brevitas.published("cnv_1w2a"), COLOUR, 8),
    "cnv_2w2a": Network(lambda: of_brevitas.published("cnv_2w2a"), COLOUR, 8),
    "vgg10_w4a3": Network(of_brevitas.vgg10, (2, 1024), 9),
    "separable_4b": Network(of_brevitas.separable, COLOUR, 3),
    "brevitas_truncating": Network(of_brevitas.truncating, COLOUR, None),
    "brevitas_float8": Network(of_brevitas.float8, COLOUR, None),
    "scale_per_image": Network(lambda: refused.Scaled((1, 2, 3)), COLOUR, 1),
    "scale_per_pixel": Network(refused.Scaled, COLOUR, None),
    "recurrent": Network(refused.Recurrent, GREY, None),
    "attention": Network(refused.Attention, GREY, None),
    "ceil_pooling": Network(refused.CeilPooling, COLOUR, None),
}


def examples(name: str, count: int, seed: int = 0) -> Array:
    """Images for a network, float32 (count, *shape): multiples of 1/256 below 1."""
    rng, shape = np.random.default_rng([zlib.crc32(name.encode()), seed]), NETWORKS[name].shape
    brightness = rng.integers(64, 257, (count, shape[0], *(1 for _ in shape[1:])))
    pixels = rng.integers(0, 256, (count, *shape)) * brightness // 256
    return (pixels / 256).astype(np.float32)


def build(name: str) -> nn.Module:
    """A network in eval mode, the same in every run on a machine."""
    network, threads = NETWORKS[name], torch.get_num_threads()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(zlib.crc32(name.encode()))
        module = network.make()
        torch.set_num_threads(1)  # the order of sums depends on it
        settle(module, torch.from_numpy(examples(name, 32, seed=1)), network.ties)
        torch.set_num_threads(threads)
    return module


def settle(module: nn.Module, images: Tensor, ties: bool = False) -> None:
    """Give batch norms random gammas, a quarter of them negative, random betas, and the statistics of the images; shift
    the logits so that no class is the most likely one for most images."""
    norms = [m for m in module.modules() if isinstance(m, NORMS)]
    for norm in norms:
        norm.momentum = None  # statistics are those of the images alone
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            norm.weight[::4].neg_()
            nn.init.constant_(norm.bias, 0) if ties else nn.init.normal_(norm.bias, 0, 0.5)
    module.train()(images)
    if ties:
        for norm in norms:
            norm.running_mean.round_()
    module.eval()
    heads = [m for m in module.modules() if type(m) is nn.Linear]
    if heads:
        logits: list[Tensor] = []
        hook = heads[-1].register_forward_hook(lambda layer, inputs, output: logits.append(output))
        module(images)
        hook.remove()
        heads[-1].bias -= logits[0].flatten(0, -2).mean(0)


def eager(module: nn.Module, images: Array) -> Array:
    """What PyTorch computes, node by node."""
    with torch.no_grad():
        return module(torch.from_numpy(images)).numpy()
