# SPDX-License-Identifier: Apache-2.0
"""Functions of PyTorch that its exporters do not have, as others that they have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def substituting(torch: Any) -> Any:
    """A context in which PyTorch computes these functions by others."""
    substitutes: dict[str, Callable[..., Any]] = {
        "copysign": _copysign,
        "fake_quantize_per_tensor_affine": _fake_quantize,
        "fake_quantize_per_channel_affine": _fake_quantize_channels,
    }

    class Substituting(torch.overrides.TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = substitutes.get(getattr(function, "__name__", ""), function)
            return found(*args, **(kwargs or {}))

    return Substituting()


def _copysign(input: Any, other: Any) -> Any:
    """-0 counts as positive, as in comparisons."""
    return input.abs() * (2 * (other >= 0).to(input.dtype) - 1)


def _fake_quantize(input: Any, scale: Any, zero_point: Any, quant_min: int, quant_max: int) -> Any:
    """In PyTorch's order of operations: it multiplies by 1 / scale."""
    step = input.new_tensor(scale) if isinstance(scale, float) else scale
    levels = (input * (1 / step)).round() + zero_point
    return (levels.clamp(quant_min, quant_max) - zero_point) * step


def _fake_quantize_channels(input: Any, scale: Any, zero_point: Any, axis: int, quant_min: int, quant_max: int) -> Any:
    shape = [-1 if i == axis else 1 for i in range(input.dim())]
    return _fake_quantize(input, scale.reshape(shape), zero_point.reshape(shape), quant_min, quant_max)
