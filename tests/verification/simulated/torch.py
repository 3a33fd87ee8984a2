# SPDX-License-Identifier: Apache-2.0
"""As much of torch as verification calls, in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np

no_grad = nullcontext


class Tensor:
    device = "cpu"

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)
        self.shape = self.values.shape

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def to(self, device: str) -> Tensor:
        return self

    def numpy(self) -> Any:
        return self.values

    def __getitem__(self, place: Any) -> Tensor:
        return Tensor(self.values[place])

    def __iter__(self) -> Iterator[Tensor]:
        return map(Tensor, self.values)


from_numpy = Tensor


class Module:
    """Its parts are the modules among ``self.parts``, by name."""

    training = True

    def __init__(self) -> None:
        self.parts: dict[str, Any] = {}
        self.hooks: list[Callable[..., Any]] = []

    def named_modules(self) -> list[tuple[str, Module]]:
        return [("", self), *((name, part) for name, part in self.parts.items() if isinstance(part, Module))]

    def modules(self) -> list[Module]:
        return [part for _, part in self.named_modules()]

    def parameters(self) -> Iterator[Tensor]:
        return iter(())

    def eval(self) -> Module:
        for part in self.modules():
            part.training = False
        return self

    def register_forward_hook(self, hook: Callable[..., Any]) -> Any:
        self.hooks.append(hook)
        return SimpleNamespace(remove=lambda: self.hooks.remove(hook))

    def __call__(self, *inputs: Any) -> Any:
        output = self.forward(*inputs)  # type: ignore[attr-defined]
        for hook in self.hooks:
            hook(self, inputs, output)
        return output


nn = SimpleNamespace(Module=Module)
